/**
 * What people type, kept in the browser at every key, for each row and tab; and which of all copies to show.
 *
 * Nothing is thrown away but what equals the row as it stands, or what the person has decided about.
 */

import type { Draft, Row } from "../contract.ts";
import { type Keeper, Shelf, shelfPrefix } from "./shelf.ts";

export interface LocalCopy {
  row_id: string;
  tab: string;
  text: string;
  genre: string | null;
  /** The row's version that typing began from. */
  version: number;
  at_s: number;
  /** Whether the server has this text as a draft. */
  synced: boolean;
}

/** A text that the person once typed and then decided against. */
export interface AsideText {
  text: string;
  at_s: number;
}

export class LocalDrafts {
  readonly #copies: Shelf<LocalCopy>;
  readonly #aside: Shelf<AsideText[]>;

  constructor(keeper: Keeper, store: string, person: string) {
    this.#copies = new Shelf(keeper, shelfPrefix("draft", store, person));
    this.#aside = new Shelf(keeper, shelfPrefix("aside", store, person));
  }

  /** False when the browser would not keep it. */
  put(copy: LocalCopy): boolean {
    return this.#copies.put(`${copy.row_id}:${copy.tab}`, copy);
  }

  /** The server has exactly this text. */
  synced(rowId: string, tab: string, text: string): void {
    const copy = this.#copies.get(`${rowId}:${tab}`);
    if (copy?.text === text) this.put({ ...copy, synced: true });
  }

  /** The newest first. */
  all(): LocalCopy[] {
    return this.#copies
      .names()
      .flatMap((name) => this.#copies.get(name) ?? [])
      .sort((a, b) => b.at_s - a.at_s);
  }

  of(rowId: string): LocalCopy[] {
    return this.all().filter((copy) => copy.row_id === rowId);
  }

  remove(rowId: string, tab: string): void {
    this.#copies.remove(`${rowId}:${tab}`);
  }

  /** Forgets all copies of a row with that text, in whichever tab they were typed. */
  removeText(rowId: string, text: string): void {
    for (const copy of this.of(rowId)) if (copy.text === text) this.remove(rowId, copy.tab);
  }

  setAside(rowId: string, text: AsideText): void {
    const others = this.aside(rowId).filter((other) => other.text !== text.text);
    this.#aside.put(rowId, [text, ...others].slice(0, 20));
  }

  aside(rowId: string): AsideText[] {
    return this.#aside.get(rowId) ?? [];
  }
}

export interface Choice {
  text: string;
  genre: string | null;
  /** The version that the text was typed from. */
  version: number;
  from: "row" | "server" | "browser";
  at_s: number;
  /** Other texts that were typed for this row, the newest first. */
  others: AsideText[];
}

/** The newest of what was typed for a row, or the row's own text. */
export function chooseDraft(row: Row, draft: Draft | null, copies: LocalCopy[]): Choice {
  const typed = [
    ...copies.map((copy) => ({ ...copy, from: "browser" as const })),
    ...(draft ? [{ ...draft, at_s: draft.saved_at_s, genre: null, from: "server" as const }] : []),
  ]
    .filter((copy) => copy.text !== row.text || (copy.genre !== null && copy.genre !== row.genre))
    .sort((a, b) => b.at_s - a.at_s);
  const [newest, ...older] = typed;
  if (newest === undefined)
    return {
      text: row.text,
      genre: null,
      version: row.version,
      from: "row",
      at_s: row.changed_at_s,
      others: [],
    };
  const others: AsideText[] = [];
  for (const { text, at_s } of older)
    if (text !== newest.text && text !== row.text && others.every((other) => other.text !== text))
      others.push({ text, at_s });
  return {
    text: newest.text,
    genre: newest.genre,
    version: newest.version,
    from: newest.from,
    at_s: newest.at_s,
    others,
  };
}
