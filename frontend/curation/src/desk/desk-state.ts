/** What the desk shows. */

import type { Action, Problem, Row } from "../contract.ts";
import type { SaveState } from "../keep/autosave.ts";
import type { AsideText } from "../keep/local-drafts.ts";

/** What the text is compared with. */
export type DiffBase = "raw" | "imported" | "saved";

/** Somebody else changed the row: both texts, and what was about to happen. */
export interface Conflict {
  theirs: Row;
  mine: string;
  /** The decision that the server refused; null when only a draft is behind. */
  decision: Decision | null;
  /** Who changed it, in the server's words. */
  message: string | null;
}

export interface Decision {
  action: Action;
  genre?: string;
  reason?: string;
  note?: string;
}

export interface DeskState {
  /** `waiting`: the server does not answer, and no row is at hand; `missing`: there is no such row. */
  phase: "loading" | "row" | "empty" | "waiting" | "missing";
  row: Row | null;
  text: string;
  start: number;
  end: number;
  /** Rises when the text or the caret was set by the program: the editor then takes both. */
  stamp: number;
  /** Picked here, and not decided yet. */
  genre: string | null;
  /** The version of the row that the text was made from. */
  base: number;
  diffBase: DiffBase;
  /** About this row, until it is left. */
  notice: string | null;
  /** Other texts that were typed for this row. */
  others: AsideText[];
  save: SaveState;
  savedAtS: number | null;
  heldBy: string | null;
  conflict: Conflict | null;
  /** Why it was not accepted. */
  refusal: Problem[] | null;
  /** A decision is on its way, or another row. */
  busy: boolean;
  undoDepth: number | null;
  /** Undo met a change by somebody else: the next one leaves that step out. */
  undoBlocked: boolean;
}

export const EMPTY_DESK: DeskState = {
  phase: "loading",
  row: null,
  text: "",
  start: 0,
  end: 0,
  stamp: 0,
  genre: null,
  base: 0,
  diffBase: "imported",
  notice: null,
  others: [],
  save: "saved",
  savedAtS: null,
  heldBy: null,
  conflict: null,
  refusal: null,
  busy: false,
  undoDepth: null,
  undoBlocked: false,
};
