/** Posts and threads as values: a thread is a beginning's first text, its retries and its continuations. */

import type { Kept, Opinion, Sampling } from "../contract.ts";
import { type Again, checkOf } from "../write/again.ts";
import { samplingKept } from "../write/sampling.ts";

export type PostState = "writing" | "done" | "stopped" | "lost" | "failed";
export type PostKind = "op" | "retry" | "continuation";

export interface Post {
  /** Within this browser; of a text on the board, its id. */
  key: string;
  state: PostState;
  kind: PostKind;
  /** The key of the post that it retries or continues. */
  parent: string | null;
  atMs: number;
  model: string;
  edition: string | null;
  /** Null where it is not known. */
  seed: number | null;
  prompt: string | null;
  sampling: Sampling | null;
  /** The whole text, beginning and all. */
  text: string;
  /** New tokens that are shown. */
  tokens: number;
  /** Why it ended: `end`, `length`, `deadline`; null while it has not. */
  finish: string | null;
  /** What the service knows it by; null if it does not know it as it stands here. */
  id: string | null;
  rating: Opinion | null;
  good: number | null;
  bad: number | null;
  shared: boolean;
  onBoard: boolean;
  mine: boolean;
}

export interface Thread {
  id: string;
  atMs: number;
  changedMs: number;
  posts: Post[];
  /** Shown, but not kept: a text that a link had written. */
  fleeting?: true;
}

export interface Wish {
  model: string;
  edition: string | null;
  seed: number;
  prompt: string;
  sampling: Sampling;
  kind: PostKind;
  parent: string | null;
}

export function blankPost(key: string, wish: Wish, atMs: number): Post {
  return {
    key,
    state: "writing",
    kind: wish.kind,
    parent: wish.parent,
    atMs,
    model: wish.model,
    edition: wish.edition,
    seed: wish.seed,
    prompt: wish.prompt,
    sampling: wish.sampling,
    text: wish.prompt,
    tokens: 0,
    finish: null,
    id: null,
    rating: null,
    good: null,
    bad: null,
    shared: false,
    onBoard: false,
    mine: true,
  };
}

/** A text from the board, as a post. */
export function keptPost(kept: Kept): Post {
  return {
    key: kept.id,
    state: "done",
    kind: "op",
    parent: null,
    atMs: kept.created_s * 1000,
    model: kept.model,
    edition: kept.model_edition ?? null,
    seed: Number.isSafeInteger(kept.seed) ? (kept.seed ?? null) : null,
    prompt: kept.prompt ?? null,
    sampling: samplingKept(kept.sampling),
    text: kept.text,
    tokens: 0,
    finish: kept.finish_reason,
    id: kept.id,
    rating: kept.your_rating,
    good: kept.good,
    bad: kept.bad,
    shared: kept.shared,
    onBoard: kept.on_board,
    mine: kept.mine,
  };
}

/** What a link needs to have this text written again; null where something of it is not known. */
export function againOf(post: Post): Again | null {
  const { seed, prompt, sampling, model, edition } = post;
  if (seed === null || prompt === null || sampling === null || post.state === "writing") return null;
  // A text that was cut is the same text with that many tokens.
  const cut = post.tokens > 0 && post.finish !== "end" && post.finish !== "length";
  return {
    model,
    edition,
    seed,
    prompt,
    sampling: cut ? { ...sampling, max_new_tokens: post.tokens } : sampling,
    check: checkOf(post.text),
  };
}

/** A number to call it by: its seed; else one made of its id. */
export function numberOf(post: Pick<Post, "seed" | "key">): string {
  if (post.seed !== null) return String(post.seed);
  return String(10_000_000 + (Number.parseInt(checkOf(post.key).slice(0, 8), 16) % 90_000_000));
}

export function isPost(value: unknown): value is Post {
  if (typeof value !== "object" || value === null) return false;
  const post = value as Record<string, unknown>;
  return (
    typeof post.key === "string" &&
    typeof post.text === "string" &&
    typeof post.atMs === "number" &&
    typeof post.model === "string" &&
    (post.prompt === null || typeof post.prompt === "string") &&
    (post.seed === null || typeof post.seed === "number") &&
    (post.state === "done" || post.state === "stopped" || post.state === "lost")
  );
}

export function isThread(value: unknown): value is Thread {
  if (typeof value !== "object" || value === null) return false;
  const thread = value as Record<string, unknown>;
  return (
    typeof thread.id === "string" &&
    typeof thread.atMs === "number" &&
    typeof thread.changedMs === "number" &&
    Array.isArray(thread.posts) &&
    thread.posts.length > 0 &&
    thread.posts.every(isPost)
  );
}
