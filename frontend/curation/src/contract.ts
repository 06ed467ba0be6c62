/** What the server's `/api` takes and answers. Times are unix seconds; lines count from 1. */

export type Queue = "todo" | "accepted" | "rejected" | "skipped";
export type Action = "accept" | "reject" | "skip" | "reopen" | "save";
export type Order = "imported" | "confidence" | "changed";

export interface Session {
  person: string | null;
  csrf: string;
  password_needed: boolean;
  signed_in: boolean;
  tab_lease_s: number;
  /** The database's own random name: local copies are kept under it. */
  store?: string;
}

export interface Reason {
  code: string;
  label: string;
}

export interface Facets {
  sources: string[];
  genres: string[];
  themes: string[];
  reasons: Reason[];
  genres_to_give: string[];
}

export interface PersonProgress {
  person: string;
  decided: number;
  last_at_s: number | null;
}

export interface Progress {
  total: number;
  todo: number;
  accepted: number;
  rejected: number;
  skipped: number;
  mine_today: number;
  pace_per_hour: number;
  left_hours: number | null;
  people: PersonProgress[];
}

export interface Summary {
  id: string;
  queue: Queue;
  excerpt: string;
  lines: number;
  source: string;
  genre: string | null;
  theme: string | null;
  confidence: number | null;
  warnings: string[];
  problems: number;
  version: number;
  changed_at_s: number;
  held_by: string | null;
  has_image: boolean;
  has_draft: boolean;
}

export interface Word {
  line: number;
  word: string;
  confidence: number;
}

export interface Draft {
  text: string;
  saved_at_s: number;
  version: number;
}

export interface Warning {
  category: string;
  line: number;
  words: string;
}

export interface Problem {
  line: number | null;
  message: string;
}

export interface Row extends Summary {
  text: string;
  imported_text: string;
  raw_text: string;
  line_confidences: number[];
  words: Word[];
  kind: string;
  origin: string;
  reason: string | null;
  note: string | null;
  draft: Draft | null;
  warning_details: Warning[];
  unknown_words: string[];
  problem_details: Problem[];
  undo_depth: number;
}

export interface Version {
  version: number;
  at_s: number;
  person: string | null;
  action: string;
  text: string;
  queue: Queue;
  reason: string | null;
  note: string | null;
  genre: string | null;
}

export interface RowHistory {
  /** The newest first; version 0 is the import. */
  versions: Version[];
  /** Drafts of this person that something else took the place of, the newest first. */
  set_aside?: Draft[];
}

export interface Page {
  rows: Summary[];
  next: string | null;
  total: number;
}

export interface DecisionBody {
  action: Action;
  text: string;
  version: number;
  genre?: string;
  reason?: string;
  note?: string;
}

export interface DecisionAnswer {
  row: Row;
  undo_depth: number;
}

export interface UndoAnswer extends DecisionAnswer {
  undone: { action: Action; row_id: string; at_s: number };
}

/** The body of an error answer; what is there besides `code` and `message` depends on the code. */
export interface ErrorBody {
  code: string;
  message: string;
  row?: Row;
  yours?: { text: string };
  problems?: Problem[];
  person?: string;
  until_s?: number;
}
