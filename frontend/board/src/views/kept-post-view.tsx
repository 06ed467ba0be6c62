import { useCallback, useState } from "react";

import { type Post, keptPost } from "../keep/thread.ts";
import * as service from "../net/service.ts";
import { useFetched, useFetchedPlace } from "./fetched.ts";
import { PostCard } from "./post-card.tsx";
import { Trouble, keptWords } from "./trouble.tsx";

/** One text that the service keeps, for who has its link. */
export function KeptPostView({ id }: { id: string }) {
  const ask = useCallback(() => service.generation(id), [id]);
  const { value, failure, untilMs, again } = useFetched(ask);
  return (
    <>
      <div className="view-head">
        <h2>{failure?.kind === "gone" ? "This text was deleted" : "A post"}</h2>
        <p>
          <a href="#/board">The board</a>
        </p>
      </div>
      {failure?.kind === "gone" && (
        <p className="empty">
          Whoever had it written took it back. <a href="#/board">There are others</a>, or{" "}
          <a href="#/">write one</a>.
        </p>
      )}
      {failure?.kind === "missing" && (
        <p className="empty">
          There is no such text here; it may have been too old to be kept.{" "}
          <a href="#/board">There are others</a>, or <a href="#/">write one</a>.
        </p>
      )}
      {failure && failure.kind !== "gone" && failure.kind !== "missing" && (
        <Trouble failure={failure} untilMs={untilMs} again={again} words={keptWords(failure)} />
      )}
      {!value && !failure && <p className="empty">Looking …</p>}
      {value && <Fetched first={keptPost(value)} />}
    </>
  );
}

function Fetched({ first }: { first: Post }) {
  const [post, setPost] = useState<Post | null>(first);
  const change = useCallback((_key: string, fields: Partial<Post>) => {
    setPost((before) => before && { ...before, ...fields });
  }, []);
  const removed = useCallback(() => {
    setPost(null);
  }, []);
  const place = useFetchedPlace(first.key, change, removed);
  if (!post) return <p className="empty">It is deleted.</p>;
  return (
    <div className="posts">
      <PostCard post={post} place={place} />
    </div>
  );
}
