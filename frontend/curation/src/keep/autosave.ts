/**
 * When typed text goes to the server: 400 ms after the last key, and at most 2 s after the first that is not saved.
 *
 * One save runs at a time. A save that fails leaves the text to whoever tries again (`LocalDrafts` has it all along).
 */

export interface Typed {
  rowId: string;
  text: string;
  version: number;
}

export type SaveState = "saved" | "unsaved" | "saving" | "kept";

export const QUIET_MS = 400;
export const LONGEST_MS = 2000;

type Save = (typed: Typed) => Promise<boolean>;

export class Autosave {
  readonly #save: Save;
  readonly #changed: (state: SaveState) => void;
  #pending: Typed | null = null;
  #firstMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | null = null;

  constructor(save: Save, changed: (state: SaveState) => void) {
    this.#save = save;
    this.#changed = changed;
  }

  /** What is typed and not with the server; for the last moment of a page. */
  get pending(): Typed | null {
    return this.#pending;
  }

  typed(typed: Typed): void {
    const now = Date.now();
    if (this.#pending && this.#pending.rowId !== typed.rowId) void this.flush();
    if (!this.#pending) this.#firstMs = now;
    this.#pending = typed;
    this.#changed("unsaved");
    clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(QUIET_MS, this.#firstMs + LONGEST_MS - now));
    this.#timer = setTimeout(() => void this.flush(), wait);
  }

  /** Saves what is pending now, behind what is being saved. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    const typed = this.#pending;
    this.#pending = null;
    const before = this.#running;
    const run = (async () => {
      await before;
      if (!typed) return;
      this.#changed("saving");
      const saved = await this.#save(typed);
      if (!this.#pending) this.#changed(saved ? "saved" : "kept");
    })();
    this.#running = run;
    await run;
  }

  /** The row's text is decided about: a save that has not begun does not begin, and one that runs is waited for. */
  async cancel(rowId: string): Promise<void> {
    if (this.#pending?.rowId === rowId) {
      clearTimeout(this.#timer);
      this.#pending = null;
    }
    await this.#running;
  }
}
