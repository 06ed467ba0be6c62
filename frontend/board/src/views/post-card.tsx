import { type ReactNode, memo, useState } from "react";

import { type Post, numberOf } from "../keep/thread.ts";
import { inWords } from "../net/failure.ts";
import { retriesFor } from "../net/retry.ts";
import { Countdown } from "../parts/countdown.tsx";
import { go } from "../routes.ts";
import { type Place, useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { boardDate, counted } from "../text/dates.ts";
import { linesOf, shown, wordsIn } from "../text/lines.ts";
import { Greentext, PickLine } from "./greentext.tsx";
import { PostActions } from "./post-actions.tsx";

interface PostCardProps {
  post: Post;
  place: Place;
  /** The posts of its thread, for what it answers and what answers it. */
  among?: readonly Post[];
  subject?: ReactNode;
  /** Above the buttons: what else is to be said of it. */
  note?: ReactNode;
}

/** A post: who and when, the text, and what can be done with it. */
export const PostCard = memo(function PostCard({ post, place, among = [], subject, note }: PostCardProps) {
  const space = useSpace();
  const [picking, setPicking] = useState<number | null>(null);
  const number = numberOf(post);
  const parent = among.find(({ key }) => key === post.parent);
  const replies = among.filter((other) => other.parent === post.key);
  const ended = post.state !== "writing" && post.state !== "failed";
  return (
    <article
      className={`post ${post.kind === "op" ? "op" : "reply"}`}
      id={`post-${post.key}`}
      data-post={post.state}
      tabIndex={-1}
      aria-label={`Post ${number}`}
      aria-busy={post.state === "writing"}
    >
      <header>
        {subject !== undefined && <span className="subject">{subject}</span>}
        <span className="name">Anonymous</span>
        <time dateTime={new Date(post.atMs).toISOString()}>{boardDate(post.atMs)}</time>
        <span className="number" title={post.seed === null ? undefined : "The number is the seed"}>
          No.{number}
        </span>
        <ModelTag name={post.model} />
        {replies.length > 0 && (
          <span className="backlinks">
            {replies.map((reply) => (
              <QuoteLink key={reply.key} post={reply} thread={place.thread} />
            ))}
          </span>
        )}
      </header>
      {parent && (
        <p className="answers">
          <QuoteLink post={parent} thread={place.thread} />{" "}
          <span className="quiet">{post.kind === "retry" ? "once more" : "going on from there"}</span>
        </p>
      )}
      {picking === null ? (
        <Greentext
          text={post.text}
          prompt={post.prompt}
          writing={post.state === "writing"}
          onLine={ended ? setPicking : null}
        />
      ) : (
        <>
          <p className="pick-note">
            Continue after which line?{" "}
            <button
              type="button"
              className="link"
              onClick={() => {
                setPicking(null);
              }}
            >
              Cancel
            </button>
          </p>
          <PickLine
            text={post.text}
            prompt={post.prompt}
            line={picking}
            onPick={(line) => {
              setPicking(null);
              void space.continueFrom(post, line, place);
            }}
            onCancel={() => {
              setPicking(null);
              document.getElementById(`post-${post.key}`)?.focus();
            }}
          />
        </>
      )}
      <PostState post={post} place={place} />
      {note}
      {ended && (
        <PostActions
          post={post}
          place={place}
          onContinue={() => {
            setPicking(linesOf(shown(post.text)).length - 1);
          }}
        />
      )}
    </article>
  );
});

function ModelTag({ name }: { name: string }) {
  const space = useSpace();
  const { list } = useStore(space.models);
  if (list !== null && list.length < 2 && list[0]?.name === name) return null;
  return <span className="model-tag">{name}</span>;
}

/** `>>number`: leads to the post, in the whole thread if it is left out here. */
function QuoteLink({ post, thread }: { post: Post; thread: string | null }) {
  return (
    <button
      type="button"
      className="quotelink"
      onClick={() => {
        const target = document.getElementById(`post-${post.key}`);
        if (!target && thread !== null) go({ name: "thread", id: thread });
        target?.focus();
        target?.scrollIntoView({ block: "nearest" });
      }}
    >
      &gt;&gt;{numberOf(post)}
    </button>
  );
}

/** Why it is not written (on), and what can be done about it. */
function PostState({ post, place }: { post: Post; place: Place }) {
  const space = useSpace();
  const { phase, key, failures } = useStore(space.writer.state);
  const again = () => {
    if (place.thread !== null) space.writer.resume(place.thread, post.key);
  };
  const words = counted(wordsIn(post.text) - wordsIn(post.prompt ?? ""), "word");
  if (post.state === "writing" && key === post.key && phase.name === "waiting") {
    const most = retriesFor(phase.failure.kind);
    return (
      <p className="state waiting">
        {inWords(phase.failure)} It is tried again <Countdown key={phase.untilMs} untilMs={phase.untilMs} />
        {most === null ? "." : `, ${phase.tries} of ${most}.`}{" "}
        <button
          type="button"
          className="link"
          onClick={() => {
            space.writer.tryNow();
          }}
        >
          Now
        </button>{" "}
        <button
          type="button"
          className="link"
          onClick={() => {
            space.writer.stop();
          }}
        >
          Cancel
        </button>
      </p>
    );
  }
  if (post.state === "lost")
    return (
      <p className="state">
        The connection was lost after {words}.{" "}
        <button type="button" className="link strong" onClick={again}>
          Go on from there
        </button>
      </p>
    );
  const failure = failures[post.key];
  if (post.state === "failed" && failure)
    return (
      <p className="state">
        {inWords(failure)}{" "}
        <button type="button" className="link strong" onClick={again}>
          Try again
        </button>{" "}
        <button
          type="button"
          className="link"
          onClick={() => {
            place.removed();
          }}
        >
          Leave it
        </button>
      </p>
    );
  if (post.state === "stopped") return <p className="state quiet">(stopped by you after {words})</p>;
  if (post.finish === "deadline") return <p className="state quiet">(it took too long, and ends here)</p>;
  return null;
}
