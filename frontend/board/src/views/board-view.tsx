import { useCallback, useState } from "react";

import type { BoardOrder } from "../contract.ts";
import { type Post, keptPost } from "../keep/thread.ts";
import { type Failure, asFailure, inWords, keepsNothing } from "../net/failure.ts";
import * as service from "../net/service.ts";
import { hashOf } from "../routes.ts";
import { useFetched, useFetchedPlace } from "./fetched.ts";
import { PostCard } from "./post-card.tsx";
import { Trouble, keptWords } from "./trouble.tsx";

/** What others put here: the newest, or the best. */
export function BoardView({ order }: { order: BoardOrder }) {
  const ask = useCallback(() => service.board(order, null), [order]);
  const { value, failure, untilMs, again } = useFetched(ask);
  const closed = failure?.kind === "missing";
  return (
    <>
      <div className="view-head">
        <h2>The board</h2>
        <nav aria-label="Order">
          <OrderLink order="recent" shown={order} label="Newest" />
          <OrderLink order="best" shown={order} label="Best" />
        </nav>
      </div>
      {closed && (
        <p className="empty">
          {keepsNothing(failure)
            ? "There is no board here: nothing is kept."
            : "The board is closed here. What you write is yours alone."}
        </p>
      )}
      {failure && !closed && (
        <Trouble failure={failure} untilMs={untilMs} again={again} words={keptWords(failure)} />
      )}
      {!value && !failure && <p className="empty">Looking …</p>}
      {value && (
        <Posts
          key={value.next ?? value.greentexts[0]?.id ?? ""}
          order={order}
          first={value.greentexts.map(keptPost)}
          firstNext={value.next}
        />
      )}
    </>
  );
}

function OrderLink({ order, shown, label }: { order: BoardOrder; shown: BoardOrder; label: string }) {
  return (
    <a href={hashOf({ name: "board", order })} aria-current={order === shown ? "page" : undefined}>
      {label}
    </a>
  );
}

function Posts(props: { order: BoardOrder; first: Post[]; firstNext: string | null }) {
  const [posts, setPosts] = useState(props.first);
  const [next, setNext] = useState(props.firstNext);
  const [loading, setLoading] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const change = useCallback((key: string, fields: Partial<Post>) => {
    setPosts((before) => before.map((post) => (post.key === key ? { ...post, ...fields } : post)));
  }, []);
  const removed = useCallback((key: string) => {
    setPosts((before) => before.filter((post) => post.key !== key));
  }, []);
  const more = async () => {
    setLoading(true);
    setFailure(null);
    try {
      const page = await service.board(props.order, next);
      // While people rate, a text can stand on two pages.
      setPosts((before) => [
        ...before,
        ...page.greentexts.map(keptPost).filter((post) => !before.some(({ key }) => key === post.key)),
      ]);
      setNext(page.next);
    } catch (error) {
      setFailure(asFailure(error));
    }
    setLoading(false);
  };
  if (posts.length === 0)
    return (
      <p className="empty">
        {props.order === "best"
          ? "Nobody has called anything good yet."
          : "Nobody has put anything here yet. Each text of yours has a button for it."}
      </p>
    );
  return (
    <>
      <div className="posts">
        {posts.map((post) => (
          <OnBoard key={post.key} post={post} change={change} removed={removed} />
        ))}
      </div>
      {failure && <p className="trouble">{keptWords(failure) ?? inWords(failure)}</p>}
      {next !== null && (
        <button type="button" className="more" disabled={loading} onClick={() => void more()}>
          {loading ? "Looking …" : failure ? "Try again" : "More"}
        </button>
      )}
    </>
  );
}

function OnBoard(props: {
  post: Post;
  change: (key: string, fields: Partial<Post>) => void;
  removed: (key: string) => void;
}) {
  const place = useFetchedPlace(props.post.key, props.change, props.removed);
  return <PostCard post={props.post} place={place} />;
}
