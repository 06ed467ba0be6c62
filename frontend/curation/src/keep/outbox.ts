/**
 * Decisions on their way to the server, in order, kept in the browser until the server has answered each.
 *
 * Every entry has a request id, so sending it again after a lost answer changes nothing. What the server refused
 * (somebody else changed the row, the text is no greentext) waits among the stuck ones until the person has seen to it.
 */

import type { DecisionBody, ErrorBody } from "../contract.ts";
import { type Keeper, Shelf, shelfPrefix } from "./shelf.ts";

interface Sent {
  request_id: string;
  tab: string;
  at_ms: number;
  /** How often it was sent without an answer. */
  attempts: number;
}

export interface DecisionEntry extends Sent {
  kind: "decision";
  row_id: string;
  excerpt: string;
  body: DecisionBody;
}

export interface UndoEntry extends Sent {
  kind: "undo";
  /** Leave out the step that somebody else's change keeps from being undone. */
  skip: boolean;
}

export type Entry = DecisionEntry | UndoEntry;

export interface StuckDecision {
  entry: DecisionEntry;
  error: ErrorBody;
}

export class Outbox {
  readonly #waiting: Shelf<Entry>;
  readonly #stuck: Shelf<StuckDecision>;
  #sequence = 0;

  constructor(keeper: Keeper, store: string, person: string) {
    this.#waiting = new Shelf(keeper, shelfPrefix("outbox", store, person));
    this.#stuck = new Shelf(keeper, shelfPrefix("stuck", store, person));
  }

  /** False when the browser would not keep it. */
  add(entry: Entry): boolean {
    this.#sequence = Math.max(this.#sequence + 1, entry.at_ms * 1000);
    return this.#waiting.put(`${String(this.#sequence).padStart(20, "0")}-${entry.request_id}`, entry);
  }

  /** The oldest first. */
  entries(): Entry[] {
    return this.#waiting.names().flatMap((name) => this.#waiting.get(name) ?? []);
  }

  /** The oldest that this tab is to send. */
  next(ours: (entry: Entry) => boolean): Entry | null {
    return this.entries().find(ours) ?? null;
  }

  attempted(entry: Entry): void {
    this.#rewrite(entry.request_id, { ...entry, attempts: entry.attempts + 1 });
  }

  /** The server has answered: later decisions on that row build on what it is now. */
  done(entry: Entry, version: number | null): void {
    this.remove(entry.request_id);
    if (entry.kind !== "decision" || version === null) return;
    for (const later of this.entries())
      if (
        later.kind === "decision" &&
        later.row_id === entry.row_id &&
        later.body.version === entry.body.version
      )
        this.#rewrite(later.request_id, { ...later, body: { ...later.body, version } });
  }

  remove(requestId: string): void {
    const name = this.#name(requestId);
    if (name !== undefined) this.#waiting.remove(name);
  }

  refuse(entry: DecisionEntry, error: ErrorBody): void {
    this.#stuck.put(entry.row_id, { entry, error });
    this.remove(entry.request_id);
  }

  stuck(): StuckDecision[] {
    return this.#stuck
      .names()
      .flatMap((name) => this.#stuck.get(name) ?? [])
      .sort((a, b) => a.entry.at_ms - b.entry.at_ms);
  }

  stuckOn(rowId: string): StuckDecision | null {
    return this.#stuck.get(rowId);
  }

  settle(rowId: string): void {
    this.#stuck.remove(rowId);
  }

  #name(requestId: string): string | undefined {
    return this.#waiting.names().find((name) => name.endsWith(`-${requestId}`));
  }

  #rewrite(requestId: string, entry: Entry): void {
    const name = this.#name(requestId);
    if (name !== undefined) this.#waiting.put(name, entry);
  }
}
