import { type ReactNode, useEffect } from "react";

import type { Post, Thread } from "../keep/thread.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { counted } from "../text/dates.ts";
import { hashOf } from "../routes.ts";
import { usePlace } from "./place.ts";
import { PostCard } from "./post-card.tsx";

interface ThreadPostsProps {
  thread: Thread;
  /** How many of the newest replies are shown; all, if it is left out. */
  replies?: number;
  note?: ReactNode;
}

/** A thread: its first post, and what followed. */
export function ThreadPosts({ thread, replies = Infinity, note }: ThreadPostsProps) {
  const [op, ...rest] = thread.posts;
  const left = Math.max(0, rest.length - replies);
  const newest = rest.slice(left);
  if (!op) return null;
  return (
    <section className="thread" aria-label="Thread">
      <InThread post={op} thread={thread} note={note} />
      {left > 0 && (
        <p className="omitted">
          {counted(left, "reply", "replies")} left out.{" "}
          <a href={hashOf({ name: "thread", id: thread.id })}>See all</a>
        </p>
      )}
      {newest.map((post) => (
        <InThread key={post.key} post={post} thread={thread} />
      ))}
    </section>
  );
}

function InThread({ post, thread, note }: { post: Post; thread: Thread; note?: ReactNode }) {
  const place = usePlace(thread.id, post.key);
  useInSight(post);
  return <PostCard post={post} place={place} among={thread.posts} note={note} />;
}

/** What is being written stays in sight, line by line. */
function useInSight(post: Post): void {
  const space = useSpace();
  const { key, phase } = useStore(space.writer.state);
  const follows = key === post.key && phase.name !== "idle";
  const lines = post.text.split("\n").length;
  useEffect(() => {
    if (follows) document.getElementById(`post-${post.key}`)?.scrollIntoView({ block: "nearest" });
  }, [follows, lines, post.key]);
}
