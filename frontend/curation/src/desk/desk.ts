/**
 * The row at hand: its text while somebody works on it, and the ways from row to row.
 *
 * `Saving` keeps what is typed, `LineUp` holds rows and fetches the next one, `Decisions` decides and undoes.
 */

import type { Row } from "../contract.ts";
import type { Filter } from "../filter.ts";
import { chooseDraft } from "../keep/local-drafts.ts";
import { ApiError, Unreachable } from "../net/api.ts";
import type { Outcome } from "../net/courier.ts";
import { route, stay } from "../routes.ts";
import { Store } from "../store.ts";
import { EditHistory, type TextState } from "../text/edit-history.ts";
import { type Repair, applied, repairEdit } from "../text/repairs.ts";
import type { Workspace } from "../workspace.ts";
import { Decisions } from "./decisions.ts";
import { type Conflict, type DeskState, type DiffBase, EMPTY_DESK } from "./desk-state.ts";
import { LineUp } from "./line-up.ts";
import { Saving } from "./saving.ts";
import { Trail } from "./trail.ts";
import { ago } from "./words.ts";

const SEEN_KEPT = 30;

export class Desk {
  readonly state = new Store<DeskState>(EMPTY_DESK);
  readonly lineUp: LineUp;
  readonly decisions: Decisions;
  readonly saving: Saving;
  readonly #space: Workspace;
  readonly #seen = new Map<string, Row>();
  #trail = new Trail();
  #history = new EditHistory("");
  #compare: DiffBase = "raw";
  #ticket = 0;
  #turn: Promise<void> = Promise.resolve();
  #retry: (() => Promise<void>) | null = null;

  constructor(space: Workspace, leaseS: number) {
    this.#space = space;
    this.lineUp = new LineUp(space.api, space.tab.name, leaseS);
    this.decisions = new Decisions(this, space);
    this.saving = new Saving(this.state, space, (id) => this.#seen.get(id)?.text);
  }

  start(): void {
    this.lineUp.onHeld = (id, person) => {
      if (id === this.rowId) this.state.set({ heldBy: person });
    };
    this.lineUp.onRenewed = (id) => {
      if (id === this.rowId && this.state.get().heldBy !== null) void this.open(id);
    };
    this.lineUp.start();
    this.saving.start();
  }

  stop(): void {
    this.saving.stop();
    this.lineUp.stop();
  }

  get rowId(): string | null {
    const { row } = this.state.get();
    return row ? row.id : null;
  }

  get filter(): Filter {
    return route.get().filter;
  }

  /** The server is back, or somebody has just signed in: what was kept here goes there. */
  async resume(): Promise<void> {
    const retry = this.#retry;
    this.#retry = null;
    if (retry) await retry();
    this.lineUp.renew();
    await this.saving.resume();
    this.#lookAhead();
  }

  // ------------------------------------------------------------------------------------ from row to row

  /** What the address asks for: that row, or where work was left, or the next in line. */
  async begin(id: string | null): Promise<void> {
    if (id !== null) {
      if (id !== this.rowId) await this.open(id);
      return;
    }
    const decided = new Set(
      this.#space.outbox.entries().map((entry) => entry.kind === "decision" && entry.row_id),
    );
    const left = this.#space.drafts
      .all()
      .find((copy) => !this.#space.tab.others.has(copy.tab) && !decided.has(copy.row_id));
    if (left) await this.open(left.row_id);
    else await this.#fetchNext(null);
  }

  async open(id: string): Promise<void> {
    await this.#bring(
      async () => {
        try {
          return await this.#space.api.row(id);
        } catch (error) {
          const seen = this.#seen.get(id);
          if (error instanceof Unreachable && seen) return seen;
          throw error;
        }
      },
      () => this.open(id),
    );
  }

  /** `leave`: the row at hand is decided about, and goes from the desk even when no other can be had. */
  async next(leave = false): Promise<void> {
    const { forward } = this.#trail;
    if (
      !leave &&
      !this.#space.state.get().reached &&
      forward === null &&
      !this.lineUp.has(this.filter, this.rowId)
    ) {
      this.#space.say("The next row comes when the server is back.");
      return;
    }
    if (forward !== null) await this.open(forward);
    else await this.#fetchNext(this.rowId);
  }

  /** One after the other, in the order asked for: keys may come faster than answers. */
  inTurn(task: () => Promise<void>): void {
    this.#turn = this.#turn.then(task).catch(() => {
      this.#space.say("That did not work: reload the page. What you typed is kept.", true);
    });
  }

  async previous(): Promise<void> {
    const { back } = this.#trail;
    if (back !== null) {
      await this.open(back);
      return;
    }
    const before = this.rowId;
    if (before === null) return;
    const row = await this.#space.api.previous(this.filter, before, this.#space.tab.name).catch(() => null);
    if (!row) {
      this.#space.say("This is the first row.");
      return;
    }
    this.#trail.visitBefore(row.id);
    this.show(row);
    await this.lineUp.lease(row.id);
  }

  /** Another filter: the trail belongs to the old one. */
  restart(): void {
    this.#trail = new Trail();
    if (this.rowId !== null) this.#trail.visit(this.rowId);
    this.#lookAhead();
  }

  /** Puts a row on the desk with what was typed for it; `typed` goes before all copies. */
  show(row: Row, typed?: string, conflict: Conflict | null = null): void {
    const id = row.id;
    this.saving.flush();
    this.#trail.visit(id);
    this.lineUp.settle(id);
    this.#remember(row);
    const stuck = this.#space.outbox.stuckOn(id);
    const choice = chooseDraft(row, row.draft, this.#space.drafts.of(id));
    const behind = choice.from !== "row" && choice.version !== row.version;
    const text = typed ?? conflict?.mine ?? choice.text;
    this.#history = new EditHistory(row.text);
    if (text !== row.text) this.#history.replace({ text, start: 0, end: 0 });
    this.state.set({
      ...EMPTY_DESK,
      phase: "row",
      row,
      text,
      stamp: this.state.get().stamp + 1,
      genre: choice.genre,
      base: conflict || behind || typed !== undefined ? row.version : choice.version,
      diffBase: this.#compare === "raw" && row.raw_text === "" ? "imported" : this.#compare,
      notice:
        typed === undefined && choice.from !== "row" ? `Restored what you typed ${ago(choice.at_s)}.` : null,
      others: choice.others,
      save: text === row.text || choice.from === "server" ? "saved" : "unsaved",
      heldBy: row.held_by === this.#space.person ? null : row.held_by,
      conflict:
        conflict ??
        (stuck?.error.row
          ? {
              theirs: row,
              mine: stuck.entry.body.text,
              decision: stuck.entry.body,
              message: stuck.error.message,
            }
          : behind && typed === undefined
            ? { theirs: row, mine: choice.text, decision: null, message: null }
            : null),
      undoDepth: this.state.get().undoDepth ?? row.undo_depth,
      undoBlocked: this.state.get().undoBlocked,
    });
    if (typed !== undefined && text !== row.text) this.saving.keep();
    else if (choice.from === "browser") this.saving.soon({ rowId: id, text, version: choice.version });
    const at = route.get();
    if (at.view.name === "desk") stay({ name: "desk", id }, at.filter);
    this.#lookAhead();
  }

  async #fetchNext(after: string | null): Promise<void> {
    await this.#bring(
      () => this.lineUp.next(this.filter, after),
      () => this.#fetchNext(after),
      true,
    );
  }

  /** Puts what `fetch` brings on the desk, unless something else was asked for meanwhile. */
  async #bring(fetch: () => Promise<Row | null>, retry: () => Promise<void>, leased = false): Promise<void> {
    const ticket = ++this.#ticket;
    this.state.set({ busy: true });
    this.saving.flush();
    try {
      const row = await fetch();
      if (ticket !== this.#ticket) return;
      if (!row) this.#nothingLeft();
      else {
        this.show(row);
        if (!leased) await this.lineUp.lease(row.id);
      }
    } catch (error) {
      if (ticket !== this.#ticket) return;
      if (error instanceof ApiError && error.status === 404) this.#clear("missing");
      else {
        this.#retry = retry;
        this.#clear("waiting");
      }
    } finally {
      if (ticket === this.#ticket) this.state.set({ busy: false });
    }
  }

  #nothingLeft(): void {
    const { row } = this.state.get();
    if (row && (this.filter.queue === "all" || row.queue === this.filter.queue)) {
      this.#space.say("This is the only row left here.");
      return;
    }
    this.#clear("empty");
    this.#space.say("No rows are left here.");
  }

  #clear(phase: "empty" | "waiting" | "missing"): void {
    this.state.set({
      ...EMPTY_DESK,
      phase,
      undoDepth: this.state.get().undoDepth,
      stamp: this.state.get().stamp + 1,
    });
    if (phase === "empty" && route.get().view.name === "desk") stay({ name: "desk", id: null });
  }

  #lookAhead(): void {
    const id = this.rowId;
    if (id !== null && this.#trail.forward === null) this.lineUp.lookAhead(this.filter, id);
  }

  #remember(row: Row): void {
    this.#seen.delete(row.id);
    this.#seen.set(row.id, row);
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > SEEN_KEPT && oldest !== undefined) this.#seen.delete(oldest);
  }

  // ------------------------------------------------------------------------------------------- the text

  /** What a person typed into the editor. */
  type(next: TextState): void {
    this.#history.type(next, Date.now());
    this.#took(next, false);
  }

  select(start: number, end: number): void {
    const { start: wasStart, end: wasEnd } = this.state.get();
    if (start === wasStart && end === wasEnd) return;
    this.#history.select(start, end);
    this.state.set({ start, end });
  }

  /** Moves the caret for the person. */
  place(offset: number): void {
    this.#history.select(offset, offset);
    this.state.set({ start: offset, end: offset, stamp: this.state.get().stamp + 1 });
  }

  repair(repair: Repair): void {
    const { text, start, end, heldBy, row } = this.state.get();
    if (!row || heldBy !== null) return;
    const edit = repairEdit(repair, text, start, end);
    if (edit) this.replaceText(applied(text, edit), edit.caret);
  }

  /** One step for undo: a repair, another version. */
  replaceText(text: string, caret = 0): void {
    const next = { text, start: caret, end: caret };
    this.#history.replace(next);
    this.#took(next, true);
  }

  undoText(): void {
    const state = this.#history.undo();
    if (state) this.#took(state, true);
  }

  redoText(): void {
    const state = this.#history.redo();
    if (state) this.#took(state, true);
  }

  /** What texts are compared with from now on. */
  compareWith(base: DiffBase): void {
    this.#compare = base;
    this.state.set({ diffBase: base });
  }

  pickGenre(genre: string): void {
    const { row } = this.state.get();
    if (!row) return;
    this.state.set({ genre: genre === row.genre ? null : genre });
    this.saving.keep();
  }

  onOutcome(outcome: Outcome, awaited: boolean): void {
    if (outcome.kind !== "refused") this.#remember(outcome.answer.row);
    this.decisions.onOutcome(outcome, awaited);
  }

  #took(next: TextState, byProgram: boolean): void {
    const { stamp, refusal } = this.state.get();
    this.state.set({ ...next, stamp: byProgram ? stamp + 1 : stamp, refusal: refusal && null });
    this.saving.keep();
  }
}
