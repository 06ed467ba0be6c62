/**
 * Keeps what is typed: in the browser before the key's event ends, with the server a moment later.
 *
 * What cannot be saved now stays in the browser, and goes to the server when that is back.
 */

import { Autosave, type Typed } from "../keep/autosave.ts";
import type { LocalCopy } from "../keep/local-drafts.ts";
import type { Store } from "../store.ts";
import type { Workspace } from "../workspace.ts";
import type { DeskState } from "./desk-state.ts";

/** A decision waits no longer for a save that runs. */
const SETTLED_WITHIN_MS = 1000;

export class Saving {
  readonly #desk: Store<DeskState>;
  readonly #space: Workspace;
  readonly #standing: (rowId: string) => string | undefined;
  readonly #autosave: Autosave;

  /** `standing`: the text of a row at the server, where it is known. */
  constructor(desk: Store<DeskState>, space: Workspace, standing: (rowId: string) => string | undefined) {
    this.#desk = desk;
    this.#space = space;
    this.#standing = standing;
    this.#autosave = new Autosave(
      (typed) => this.#save(typed),
      (save) => {
        desk.set({ save });
      },
    );
  }

  start(): void {
    window.addEventListener("pagehide", this.#lastMoment);
    document.addEventListener("visibilitychange", this.#hidden);
  }

  stop(): void {
    window.removeEventListener("pagehide", this.#lastMoment);
    document.removeEventListener("visibilitychange", this.#hidden);
  }

  /** The text on the desk: in the browser at once, with the server soon. */
  keep(): void {
    const { row, text, genre, base } = this.#desk.get();
    if (!row) return;
    const { name } = this.#space.tab;
    const copy = { row_id: row.id, tab: name, text, genre, version: base, at_s: Date.now() / 1000 };
    const kept = this.#space.drafts.put({ ...copy, synced: false });
    if (kept !== this.#space.state.get().keeps) this.#space.state.set({ keeps: kept });
    this.soon({ rowId: row.id, text, version: base });
  }

  /** What the browser has already goes to the server soon. */
  soon(typed: Typed): void {
    this.#autosave.typed(typed);
  }

  flush(): void {
    void this.#autosave.flush();
  }

  /** Waits for a save that runs, and begins none, because the text is decided about. */
  async settle(rowId: string): Promise<void> {
    const patience = new Promise((resolve) => setTimeout(resolve, SETTLED_WITHIN_MS));
    await Promise.race([this.#autosave.cancel(rowId), patience]);
  }

  /** The typed text is not wanted any more: it is decided about. */
  forget(rowId: string, text: string): void {
    this.#space.drafts.removeText(rowId, text);
    this.#space.drafts.remove(rowId, this.#space.tab.name);
  }

  /** The server is back: it gets what is kept here, of this tab and of those that are gone. */
  async resume(): Promise<void> {
    const ours = (copy: LocalCopy) => !copy.synced && !this.#space.tab.others.has(copy.tab);
    for (const copy of this.#space.drafts.all().filter(ours)) {
      const saved = await this.#save(
        { rowId: copy.row_id, text: copy.text, version: copy.version },
        copy.tab,
      );
      const { row, text } = this.#desk.get();
      if (saved && copy.row_id === row?.id && copy.text === text) this.#desk.set({ save: "saved" });
    }
  }

  async #save({ rowId, text, version }: Typed, tab = this.#space.tab.name): Promise<boolean> {
    const unchanged = this.#standing(rowId) === text;
    try {
      if (unchanged) await this.#space.api.dropDraft(rowId);
      else await this.#space.api.saveDraft(rowId, text, version, tab);
    } catch {
      return false;
    }
    const copy = this.#space.drafts.of(rowId).find((kept) => kept.tab === tab);
    if (unchanged && copy?.text === text && copy.genre === null) this.#space.drafts.remove(rowId, tab);
    else this.#space.drafts.synced(rowId, tab, text);
    if (rowId === this.#desk.get().row?.id) this.#desk.set({ savedAtS: Date.now() / 1000 });
    return true;
  }

  /** The page may be gone after this. */
  readonly #lastMoment = (): void => {
    const typed = this.#autosave.pending;
    if (!typed) return;
    this.#space.api
      .saveDraft(typed.rowId, typed.text, typed.version, this.#space.tab.name, true)
      .catch(() => undefined);
  };

  readonly #hidden = (): void => {
    if (document.visibilityState === "hidden") this.#lastMoment();
  };
}
