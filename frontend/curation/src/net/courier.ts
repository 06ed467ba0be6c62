/**
 * Carries the outbox to the server, one entry at a time and in order, for as long as it takes.
 *
 * `outcome` tells whoever waits for one entry what became of it; `onOutcome` tells of all, and whether one waited.
 */

import type { DecisionAnswer, ErrorBody, UndoAnswer } from "../contract.ts";
import type { DecisionEntry, Entry, Outbox, UndoEntry } from "../keep/outbox.ts";
import { ApiError } from "./api.ts";
import { type Tab, isOurs } from "./tab.ts";

export type Outcome =
  | { kind: "decided"; entry: DecisionEntry; answer: DecisionAnswer }
  | { kind: "undone"; entry: UndoEntry; answer: UndoAnswer }
  | { kind: "refused"; entry: Entry; error: ErrorBody };

export interface Carrier {
  decide(entry: DecisionEntry): Promise<DecisionAnswer>;
  undo(entry: UndoEntry): Promise<UndoAnswer>;
}

const RETRY_MS = [250, 500, 1000, 2000];
/** Answers after which the same request may well go through later. */
const LATER = new Set([401, 403, 408, 425, 429, 500]);

export class Courier {
  readonly #outbox: Outbox;
  readonly #carrier: Carrier;
  readonly #tab: Tab;
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  #running = false;
  #stopped = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  onOutcome: (outcome: Outcome, awaited: boolean) => void = () => undefined;

  constructor(outbox: Outbox, carrier: Carrier, tab: Tab) {
    this.#outbox = outbox;
    this.#carrier = carrier;
    this.#tab = tab;
  }

  /** What the server answers, or null when it takes longer than that: then `onOutcome` alone will tell. */
  outcome(requestId: string, withinMs: number): Promise<Outcome | null> {
    return new Promise((resolve) => {
      const giveUp = setTimeout(() => {
        this.#waiting.delete(requestId);
        resolve(null);
      }, withinMs);
      this.#waiting.set(requestId, (outcome) => {
        clearTimeout(giveUp);
        resolve(outcome);
      });
    });
  }

  /** Sends what there is to send. To be called when something was added, and when the server is back. */
  async wake(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    clearTimeout(this.#timer);
    try {
      for (let entry = this.#next(); entry !== null && !this.#stopped; entry = this.#next()) {
        if (!(await this.#send(entry))) break;
        this.#failures = 0;
      }
    } finally {
      this.#running = false;
    }
  }

  start(): void {
    this.#stopped = false;
    void this.wake();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped = true;
  }

  #next(): Entry | null {
    return this.#outbox.next((entry) => isOurs(this.#tab, entry, Date.now()));
  }

  async #send(entry: Entry): Promise<boolean> {
    this.#outbox.attempted(entry);
    let outcome: Outcome;
    try {
      outcome =
        entry.kind === "decision"
          ? { kind: "decided", entry, answer: await this.#carrier.decide(entry) }
          : { kind: "undone", entry, answer: await this.#carrier.undo(entry) };
      this.#outbox.done(entry, entry.kind === "decision" ? outcome.answer.row.version : null);
    } catch (error) {
      if (!(error instanceof ApiError) || LATER.has(error.status)) {
        this.#tryLater();
        return false;
      }
      outcome = { kind: "refused", entry, error: error.body };
      if (entry.kind === "decision") this.#outbox.refuse(entry, error.body);
      else this.#outbox.remove(entry.request_id);
    }
    const awaited = this.#waiting.get(entry.request_id);
    this.#waiting.delete(entry.request_id);
    this.onOutcome(outcome, awaited !== undefined);
    awaited?.(outcome);
    return true;
  }

  #tryLater(): void {
    const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)] ?? 2000;
    this.#failures += 1;
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.wake(), wait);
  }
}
