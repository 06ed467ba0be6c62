/**
 * Decisions about the row at hand, undo, and what to do when somebody else was faster.
 *
 * A decision is in the outbox before anything else happens. The server usually answers at once, and what it refuses is
 * shown in place; when it takes longer, work goes on with the next row, and a refusal waits in the bar on top.
 */

import type { Action, Row, UndoAnswer } from "../contract.ts";
import type { DecisionEntry, StuckDecision } from "../keep/outbox.ts";
import type { Outcome } from "../net/courier.ts";
import { randomName } from "../net/tab.ts";
import { problemsOf } from "../text/problems.ts";
import type { Workspace } from "../workspace.ts";
import type { Desk } from "./desk.ts";
import type { Conflict, Decision } from "./desk-state.ts";
import { DONE, count } from "./words.ts";

/** After that work goes on without the server's answer. */
const ANSWER_WITHIN_MS = 400;
/** An undo has to say which row it brings back. */
const UNDONE_WITHIN_MS = 10_000;

export class Decisions {
  readonly #desk: Desk;
  readonly #space: Workspace;
  /** What was decided in this tab, to be put back by undo. */
  readonly #typed = new Map<string, string>();

  constructor(desk: Desk, space: Workspace) {
    this.#desk = desk;
    this.#space = space;
  }

  async decide(decision: Decision): Promise<void> {
    const { row, text, base, genre, heldBy, conflict } = this.#desk.state.get();
    if (!row || conflict) return;
    if (heldBy !== null) {
      this.#space.say(`${heldBy} is working on this row. Press n for the next one.`, true);
      return;
    }
    const problems = decision.action === "accept" ? problemsOf(text) : [];
    if (problems.length > 0) {
      this.#refuse(problems);
      return;
    }
    const picked = decision.genre ?? genre;
    const entry: DecisionEntry = {
      kind: "decision",
      request_id: randomName(),
      tab: this.#space.tab.name,
      at_ms: Date.now(),
      attempts: 0,
      row_id: row.id,
      excerpt: text.split("\n")[0] ?? "",
      body: { ...decision, text, version: base, ...(picked === null ? {} : { genre: picked }) },
    };
    await this.#send(entry);
  }

  /** Takes back this person's newest decision; the row comes back with the text that was typed. */
  async undo(): Promise<void> {
    const { undoBlocked } = this.#desk.state.get();
    const last = this.#space.outbox.entries().at(-1);
    if (last?.kind === "decision" && last.tab === this.#space.tab.name && last.attempts === 0) {
      this.#space.outbox.remove(last.request_id);
      this.#space.recount();
      await this.#desk.open(last.row_id);
      this.#space.say("Taken back before it was sent.");
      return;
    }
    const entry = {
      kind: "undo" as const,
      request_id: randomName(),
      tab: this.#space.tab.name,
      at_ms: Date.now(),
      attempts: 0,
      skip: undoBlocked,
    };
    this.#desk.state.set({ busy: true, undoBlocked: false });
    this.#space.outbox.add(entry);
    this.#space.recount();
    const answered = this.#space.courier.outcome(entry.request_id, UNDONE_WITHIN_MS);
    void this.#space.courier.wake();
    const waits = this.#space.state.get().reached
      ? answered
      : Promise.race([
          answered,
          new Promise<null>((resolve) =>
            setTimeout(() => {
              resolve(null);
            }, ANSWER_WITHIN_MS),
          ),
        ]);
    const outcome = await waits;
    this.#desk.state.set({ busy: false });
    if (outcome?.kind === "undone") await this.#putBack(outcome.answer);
    else if (outcome?.kind === "refused") this.#undoRefused(outcome);
    else this.#space.say("Will be undone when the server is back.");
  }

  onOutcome(outcome: Outcome, awaited: boolean): void {
    if (outcome.kind === "decided") {
      const { entry } = outcome;
      this.#desk.saving.forget(entry.row_id, entry.body.text);
      this.#space.outbox.settle(entry.row_id);
      this.#space.recount();
      this.#desk.state.set({ undoDepth: outcome.answer.undo_depth });
    }
    if (awaited) return;
    if (outcome.kind === "decided") {
      // A page that was reloaded in between shows the row as it was before.
      const { row, text } = this.#desk.state.get();
      if (row?.id === outcome.entry.row_id && text === outcome.entry.body.text)
        this.#desk.show(outcome.answer.row);
    } else if (outcome.kind === "undone") void this.#putBack(outcome.answer);
    else if (outcome.entry.kind === "undo") this.#undoRefused(outcome);
    else this.#space.say(`A decision was not taken: ${outcome.error.message} Press c to look at it.`, true);
  }

  // ------------------------------------------------------------------------------------------- conflicts

  /** Goes to a decision that the server refused. */
  async attend(stuck: StuckDecision): Promise<void> {
    const { row } = stuck.error;
    const { entry } = stuck;
    if (row) {
      this.#desk.show(row, undefined, conflictOf(row, stuck));
      await this.#desk.lineUp.lease(row.id);
      return;
    }
    await this.#desk.open(entry.row_id);
    if (this.#desk.rowId !== entry.row_id) return;
    this.#settle(entry.row_id);
    if (this.#desk.state.get().text !== entry.body.text) this.#desk.replaceText(entry.body.text);
    this.#desk.state.set({ notice: stuck.error.message, refusal: stuck.error.problems ?? null });
  }

  /** What I was about to do, on top of what the other person did. */
  async keepMine(): Promise<void> {
    const { conflict } = this.#desk.state.get();
    if (!conflict) return;
    const { theirs, mine, decision } = conflict;
    this.merge();
    if (!decision) return;
    this.#desk.state.set({ base: theirs.version, text: mine });
    const { action, genre, reason, note } = decision;
    await this.decide({
      action,
      ...(genre === undefined ? {} : { genre }),
      ...(reason === undefined ? {} : { reason }),
      ...(note === undefined ? {} : { note }),
    });
  }

  /** The other person's text stands; mine is put aside where the row's history shows it. */
  takeTheirs(): void {
    const { conflict } = this.#desk.state.get();
    if (!conflict) return;
    const { theirs, mine } = conflict;
    const id = theirs.id;
    this.#space.drafts.setAside(id, { text: mine, at_s: Date.now() / 1000 });
    for (const copy of this.#space.drafts.of(id)) {
      if (copy.text !== mine) this.#space.drafts.setAside(id, { text: copy.text, at_s: copy.at_s });
      this.#space.drafts.remove(id, copy.tab);
    }
    this.#settle(id);
    this.#space.api.dropDraft(id).catch(() => undefined);
    this.#desk.show({ ...theirs, draft: null });
    this.#space.say("Their text stands. Yours is under the row’s history.");
  }

  /** My text in the editor, compared with theirs. */
  merge(): void {
    const { conflict } = this.#desk.state.get();
    if (!conflict) return;
    const { theirs, mine } = conflict;
    this.#settle(theirs.id);
    this.#desk.show(theirs, mine);
    this.#desk.state.set({ diffBase: "saved", conflict: null });
  }

  // --------------------------------------------------------------------------------------------- inside

  async #send(entry: DecisionEntry): Promise<void> {
    const { action } = entry.body;
    this.#desk.state.set({ busy: true, refusal: null, undoBlocked: false });
    if (!this.#space.outbox.add(entry)) this.#space.state.set({ keeps: false });
    this.#space.recount();
    this.#typed.set(entry.row_id, entry.body.text);
    await this.#desk.saving.settle(entry.row_id);
    const answered = this.#space.courier.outcome(entry.request_id, ANSWER_WITHIN_MS);
    void this.#space.courier.wake();
    const outcome = await answered;
    this.#desk.state.set({ busy: false });
    if (outcome?.kind === "refused") {
      this.#refused(entry, outcome);
      return;
    }
    const row = this.#desk.state.get().row;
    if (row) this.#space.foresee(action, row.queue);
    if (!outcome) this.#desk.state.set({ undoDepth: (this.#desk.state.get().undoDepth ?? 0) + 1 });
    const left = this.#space.state.get().progress?.todo;
    const tail = action === "save" || left === undefined ? "." : `. ${count(left, "left", "left")}.`;
    this.#space.say(
      outcome ? DONE[action] + tail : `${DONE[action]} here; it goes to the server when that is back.`,
    );
    if (action !== "save" && action !== "reopen") await this.#desk.next(true);
    else if (outcome?.kind === "decided") this.#desk.show(outcome.answer.row);
  }

  #refused(entry: DecisionEntry, { error }: { error: StuckDecision["error"] }): void {
    if (error.row) {
      this.#desk.show(error.row, undefined, conflictOf(error.row, { entry, error }));
      this.#space.say(error.message, true);
      return;
    }
    this.#settle(entry.row_id);
    if (error.code === "held_by_another") this.#desk.state.set({ heldBy: error.person ?? "somebody else" });
    if (error.problems) this.#refuse(error.problems);
    else {
      this.#desk.state.set({ notice: error.message });
      this.#space.say(error.message, true);
    }
  }

  #refuse(problems: { line: number | null; message: string }[]): void {
    this.#desk.state.set({ refusal: problems });
    const [first] = problems;
    const where = first?.line ? `line ${first.line}: ` : "";
    this.#space.say(
      `Not accepted. ${count(problems.length, "problem")}; ${where}${first?.message ?? ""}.`,
      true,
    );
  }

  #settle(rowId: string): void {
    this.#space.outbox.settle(rowId);
    this.#space.recount();
  }

  async #putBack({ row, undone, undo_depth }: UndoAnswer): Promise<void> {
    const id = undone.row_id;
    const typed = await this.#typedBefore(id, undone);
    this.#typed.delete(id);
    const kept = undone.action !== "save" && typed !== null && typed !== row.text;
    this.#desk.show(row, kept ? typed : undefined);
    this.#desk.state.set({
      undoDepth: undo_depth,
      notice: kept ? "Taken back. What you had typed is in the editor." : null,
    });
    this.#space.say(`Undone: ${DONE[undone.action].toLowerCase()}.`);
    await this.#desk.lineUp.lease(id);
  }

  /** The text that went with the decision: known here, or else told by the row's history. */
  async #typedBefore(id: string, undone: { action: Action; at_s: number }): Promise<string | null> {
    const typed = this.#typed.get(id);
    if (typed !== undefined) return typed;
    const history = await this.#space.api.history(id).catch(() => null);
    return (
      history?.versions.find((version) => version.action === undone.action && version.at_s === undone.at_s)
        ?.text ?? null
    );
  }

  #undoRefused({ error }: { error: StuckDecision["error"] }): void {
    if (error.code === "conflict" && error.row) {
      this.#desk.state.set({ undoBlocked: true });
      this.#space.say(
        `Somebody else changed row ${error.row.id} after you. Press u again to leave that step out.`,
        true,
      );
    } else this.#space.say(error.code === "nothing_to_undo" ? "Nothing to undo." : error.message);
  }
}

function conflictOf(theirs: Row, { entry, error }: StuckDecision): Conflict {
  return { theirs, mine: entry.body.text, decision: entry.body, message: error.message };
}
