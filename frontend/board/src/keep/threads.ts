/**
 * The threads of this browser, newest first: shown from memory, kept in `localStorage`, each under a key of its own, so
 * that tabs do not write over each other's. A browser that keeps nothing is no obstacle; it is only said.
 */

import { Store } from "../store.ts";
import { type Post, type Thread, type Wish, blankPost, isThread } from "./thread.ts";

export const MOST_THREADS = 100;
export const MOST_POSTS = 60;
const PREFIX = "gtx-board:thread:";

export type Keeper = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

export interface ThreadsState {
  threads: Thread[];
  /** Whether the browser keeps what is written. */
  keeps: boolean;
}

export class Threads {
  readonly state = new Store<ThreadsState>({ threads: [], keeps: true });
  readonly #keeper: Keeper | null;
  readonly #now: () => number;
  #lastMs = 0;

  constructor(keeper: Keeper | null, now: () => number = Date.now) {
    this.#keeper = keeper;
    this.#now = now;
    this.reload();
  }

  /** Takes over what is kept: at the start, and when another tab has changed something. */
  reload(): void {
    const kept = this.#readAll();
    const here = this.state.get().threads;
    const onlyHere = here.filter((thread) => thread.fleeting ?? thread.posts.some((post) => !isKept(post)));
    const ids = new Set(onlyHere.map((thread) => thread.id));
    const unkept = this.state.get().keeps ? [] : here.filter((thread) => !ids.has(thread.id));
    const others = [...unkept, ...kept.filter((thread) => !unkept.some(({ id }) => id === thread.id))];
    this.#show([...onlyHere, ...others.filter((thread) => !ids.has(thread.id))], this.#keeper !== null);
  }

  find(id: string): Thread | null {
    return this.state.get().threads.find((thread) => thread.id === id) ?? null;
  }

  post(id: string, key: string): Post | null {
    return this.find(id)?.posts.find((post) => post.key === key) ?? null;
  }

  /** A new thread with a post that is about to be written. */
  start(wish: Wish, fleeting = false): { thread: string; key: string } {
    const atMs = this.#tick();
    const id = newKey(atMs);
    const post = blankPost(newKey(atMs), wish, atMs);
    const thread: Thread = { id, atMs, changedMs: atMs, posts: [post] };
    if (fleeting) {
      thread.fleeting = true;
      post.mine = false;
    }
    this.#show([thread, ...this.state.get().threads]);
    return { thread: id, key: post.key };
  }

  /** A reply that is about to be written; a thread that was only passing through stays from now on. */
  reply(id: string, wish: Wish): string {
    const atMs = this.#tick();
    const post = blankPost(newKey(atMs), wish, atMs);
    this.#change(id, (thread) => ({
      id,
      atMs: thread.atMs,
      changedMs: atMs,
      // Of a thread that grows without end the beginning stays, and what is newest.
      posts: [...thread.posts.slice(0, 1), ...[...thread.posts.slice(1), post].slice(-(MOST_POSTS - 1))],
    }));
    return post.key;
  }

  change(id: string, key: string, fields: Partial<Post>): void {
    this.#change(id, (thread) => ({
      ...thread,
      posts: thread.posts.map((post) => (post.key === key ? { ...post, ...fields } : post)),
    }));
  }

  removePost(id: string, key: string): void {
    const thread = this.find(id);
    if (!thread) return;
    const posts = thread.posts.filter((post) => post.key !== key);
    if (posts.length === 0) this.removeThread(id);
    else this.#change(id, (found) => ({ ...found, posts }));
  }

  removeThread(id: string): void {
    this.#show(this.state.get().threads.filter((thread) => thread.id !== id));
    this.#forget(id);
  }

  forgetAll(): void {
    for (const id of this.#keptIds()) this.#forget(id);
    this.#show([]);
  }

  #change(id: string, how: (thread: Thread) => Thread): void {
    const thread = this.find(id);
    if (!thread) return;
    const changed = how(thread);
    this.#show(this.state.get().threads.map((one) => (one.id === id ? changed : one)));
    this.#keep(changed);
  }

  #show(threads: Thread[], keeps = this.state.get().keeps): void {
    const sorted = threads.toSorted((a, b) => b.changedMs - a.changedMs);
    for (const { id, fleeting } of sorted.slice(MOST_THREADS)) if (!fleeting) this.#forget(id);
    this.state.set({ threads: sorted.slice(0, MOST_THREADS), keeps });
  }

  /** Only what has ended is kept; the oldest threads make room. */
  #keep(thread: Thread): void {
    const posts = thread.posts.filter(isKept);
    if (thread.fleeting || posts.length === 0 || !this.#keeper) return;
    const text = JSON.stringify({ ...thread, posts });
    const oldest = this.state
      .get()
      .threads.map(({ id }) => id)
      .filter((id) => id !== thread.id)
      .reverse();
    for (;;) {
      try {
        this.#keeper.setItem(PREFIX + thread.id, text);
        if (!this.state.get().keeps) this.state.set({ keeps: true });
        return;
      } catch {
        const goes = oldest.shift();
        if (goes === undefined) {
          this.state.set({ keeps: false });
          return;
        }
        this.#forget(goes);
        this.state.set({ threads: this.state.get().threads.filter(({ id }) => id !== goes) });
      }
    }
  }

  #forget(id: string): void {
    try {
      this.#keeper?.removeItem(PREFIX + id);
    } catch {
      // A browser that forbids this keeps nothing either.
    }
  }

  #keptIds(): string[] {
    const ids: string[] = [];
    try {
      for (let index = 0; index < (this.#keeper?.length ?? 0); index += 1) {
        const key = this.#keeper?.key(index);
        if (key?.startsWith(PREFIX)) ids.push(key.slice(PREFIX.length));
      }
    } catch {
      return [];
    }
    return ids;
  }

  #readAll(): Thread[] {
    return this.#keptIds().flatMap((id) => {
      try {
        const thread: unknown = JSON.parse(this.#keeper?.getItem(PREFIX + id) ?? "null");
        return isThread(thread) && thread.id === id ? [thread] : [];
      } catch {
        return [];
      }
    });
  }

  /** Later than ever before, so that the order is that of what was done. */
  #tick(): number {
    this.#lastMs = Math.max(this.#now(), this.#lastMs + 1);
    return this.#lastMs;
  }
}

function isKept(post: Post): boolean {
  return post.state === "done" || post.state === "stopped" || post.state === "lost";
}

function newKey(atMs: number): string {
  const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1));
  return `${atMs.toString(36)}-${drawn.toString(36)}`;
}

export function storageOf(get: () => Storage): Keeper | null {
  try {
    return get();
  } catch {
    return null; // forbidden: then nothing is kept
  }
}
