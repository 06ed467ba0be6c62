/**
 * Writes: one text at a time, into a post that is there from the first moment. Waits where waiting helps, keeps what
 * came when a connection is lost, and can be stopped at any moment.
 */

import type { EndEvent, ModelInfo } from "../contract.ts";
import type { Post, Wish } from "../keep/thread.ts";
import type { Threads } from "../keep/threads.ts";
import { type Failure, asFailure } from "../net/failure.ts";
import { pauseBefore } from "../net/retry.ts";
import * as service from "../net/service.ts";
import { Store } from "../store.ts";
import { Typewriter } from "./typewriter.ts";

export type Phase =
  | { name: "idle" }
  | { name: "asking" }
  | { name: "writing" }
  | { name: "waiting"; failure: Failure; untilMs: number; tries: number };

export interface WriterState {
  phase: Phase;
  /** The post that is being written, or was last. */
  thread: string | null;
  key: string | null;
  /** Why posts that could not be written could not, by their keys. */
  failures: Record<string, Failure>;
}

export interface Surroundings {
  threads: Threads;
  /** Nobody looks on, or nothing may move. */
  hurry: () => boolean;
  /** Before a text of one's own: a session that it belongs to. */
  beforeWriting: () => Promise<void>;
  /** A text has ended, well or not. */
  ended: (post: Post) => void;
}

export class Writer {
  readonly state = new Store<WriterState>({ phase: { name: "idle" }, thread: null, key: null, failures: {} });
  readonly #around: Surroundings;
  #stop: AbortController | null = null;
  #skipWait: (() => void) | null = null;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  get busy(): boolean {
    return this.state.get().phase.name !== "idle";
  }

  /** A text in a thread of its own. */
  start(wish: Wish, options: { fleeting?: boolean } = {}): { thread: string; key: string } {
    this.stop();
    const place = this.#around.threads.start(wish, options.fleeting);
    void this.#write(place.thread, place.key);
    return place;
  }

  /** A retry or a continuation, as a reply. */
  reply(thread: string, wish: Wish): string {
    this.stop();
    const key = this.#around.threads.reply(thread, wish);
    void this.#write(thread, key);
    return key;
  }

  /** Goes on with what broke off: the same seed gives the same text, of which the first part is there. */
  resume(thread: string, key: string): void {
    this.stop();
    this.#around.threads.change(thread, key, { state: "writing" });
    void this.#write(thread, key);
  }

  stop(): void {
    this.#stop?.abort();
  }

  /** Waits no longer, as when the browser is online again. */
  tryNow(): void {
    this.#skipWait?.();
  }

  async #write(thread: string, key: string): Promise<void> {
    const { threads } = this.#around;
    const post = threads.post(thread, key);
    if (post?.prompt == null || post.seed === null || post.sampling === null) return;
    const stop = new AbortController();
    this.#stop = stop;
    const failures = Object.fromEntries(
      Object.entries(this.state.get().failures).filter(([other]) => other !== key),
    );
    this.state.set({ phase: { name: "asking" }, thread, key, failures });
    const writing = new Writing(post, threads, thread, this.#around.hurry);
    stop.signal.addEventListener("abort", () => {
      writing.stop();
    });
    let end: EndEvent | null = null;
    try {
      if (!threads.find(thread)?.fleeting) await this.#around.beforeWriting();
      end = await this.#attempts(writing, post, stop);
      await writing.typewriter.settled();
      stop.signal.throwIfAborted();
      writing.end(end);
    } catch (error) {
      if (stop.signal.aborted) {
        writing.stopped();
        // It had ended there, unseen: what nobody has seen is not kept there either.
        if (end?.greentexts[0]) service.remove(end.greentexts[0].id).catch(() => undefined);
      } else this.#failed(writing, key, asFailure(error));
    }
    // Whoever came next has taken over already.
    if (this.#stop !== stop) return;
    this.#stop = null;
    this.state.set({ phase: { name: "idle" } });
    const ended = threads.post(thread, key);
    if (ended) this.#around.ended(ended);
  }

  async #attempts(writing: Writing, post: Post, stop: AbortController): Promise<EndEvent> {
    const { prompt, seed, sampling, model } = post;
    if (prompt === null || seed === null || sampling === null) throw new RangeError("nothing to write");
    for (let tries = 1; ; tries += 1) {
      stop.signal.throwIfAborted();
      this.#phase(stop, { name: "asking" });
      try {
        return await service.write(
          { prompt, model, seed, ...sampling },
          ({ text, token_id }) => {
            if (!writing.begun) this.#phase(stop, { name: "writing" });
            writing.token(text, token_id === null ? 0 : 1);
          },
          stop.signal,
        );
      } catch (error) {
        stop.signal.throwIfAborted();
        const failure = asFailure(error);
        const pauseS = writing.begun ? null : pauseBefore(failure, tries);
        if (pauseS === null) throw failure;
        const untilMs = Date.now() + pauseS * 1000;
        this.#phase(stop, { name: "waiting", failure, untilMs, tries });
        await this.#pause(pauseS * 1000, stop.signal);
      }
    }
  }

  #failed(writing: Writing, key: string, failure: Failure): void {
    this.state.set({ failures: { ...this.state.get().failures, [key]: failure } });
    writing.brokeOff();
  }

  #phase(stop: AbortController, phase: Phase): void {
    if (this.#stop === stop) this.state.set({ phase });
  }

  #pause(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const go = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", go);
        this.#skipWait = null;
        resolve();
      };
      const timer = setTimeout(go, waitMs);
      signal.addEventListener("abort", go);
      this.#skipWait = go;
    });
  }
}

/** One post while it is written. */
class Writing {
  readonly typewriter: Typewriter;
  readonly #before: Post;
  readonly #threads: Threads;
  readonly #thread: string;
  /** Whether a token has come in this attempt. */
  begun = false;

  constructor(before: Post, threads: Threads, thread: string, hurry: () => boolean) {
    this.#before = before;
    this.#threads = threads;
    this.#thread = thread;
    this.typewriter = new Typewriter(
      before.prompt ?? "",
      (text, tokens) => {
        // What stands there already stays while a resumed text catches up with it.
        if (before.text.startsWith(text)) return;
        this.#change({ text, tokens });
      },
      hurry,
    );
  }

  token(text: string, tokens: number): void {
    this.begun = true;
    this.typewriter.push(text, tokens);
  }

  stop(): void {
    this.typewriter.stop();
  }

  end(end: EndEvent): void {
    const [written] = end.greentexts;
    if (!written) return;
    this.#change({
      state: "done",
      text: written.text,
      tokens: end.usage.completion_tokens,
      finish: written.finish_reason,
      id: written.id,
      edition: end.model_edition ?? this.#before.edition,
    });
  }

  /** Somebody stopped it: what is shown stays, and nothing of what is not. */
  stopped(): void {
    if (this.#now()?.tokens === 0) this.#threads.removePost(this.#thread, this.#before.key);
    else this.#change({ state: "stopped" });
  }

  brokeOff(): void {
    this.typewriter.flush();
    this.#change({ state: (this.#now()?.tokens ?? 0) > 0 ? "lost" : "failed" });
  }

  #now(): Post | null {
    return this.#threads.post(this.#thread, this.#before.key);
  }

  #change(fields: Partial<Post>): void {
    this.#threads.change(this.#thread, this.#before.key, fields);
  }
}

/** The model that a name or an alias stands for, or the default; null if it is not there. */
export function modelNamed(models: readonly ModelInfo[], name: string | null): ModelInfo | null {
  const found = models.find((model) =>
    name === null ? model.default : model.name === name || model.aliases.includes(name),
  );
  return found ?? null;
}
