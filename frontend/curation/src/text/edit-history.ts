/**
 * Undo and redo of one text, over typing and repairs alike.
 *
 * The browser's own history breaks as soon as a program writes into a text area, so the page keeps this one. Letters
 * typed in a row are one step, up to a pause, a new word or a move of the caret.
 */

export interface TextState {
  text: string;
  start: number;
  end: number;
}

/** A pause this long begins a new step. */
const PAUSE_MS = 1000;
const LIMIT_STEPS = 500;

export class EditHistory {
  #past: TextState[] = [];
  #future: TextState[] = [];
  #now: TextState;
  #typing: { atMs: number; caret: number; grows: boolean } | null = null;

  constructor(text: string) {
    this.#now = { text, start: 0, end: 0 };
  }

  get now(): TextState {
    return this.#now;
  }

  /** The caret moved, or something was selected: nothing to undo, but the next letter begins a new step. */
  select(start: number, end: number): void {
    if (start !== this.#now.start || end !== this.#now.end) this.#typing = null;
    this.#now = { ...this.#now, start, end };
  }

  /** What a person typed, pasted or cut. */
  type(next: TextState, atMs: number): void {
    if (next.text === this.#now.text) {
      this.select(next.start, next.end);
      return;
    }
    const by = next.text.length - this.#now.text.length;
    const grows = by > 0;
    const goesOn =
      this.#typing !== null &&
      Math.abs(by) === 1 &&
      this.#typing.grows === grows &&
      this.#typing.caret === this.#now.start &&
      atMs - this.#typing.atMs < PAUSE_MS &&
      !(grows && /\s/.test(next.text[next.start - 1] ?? ""));
    this.#step(next, goesOn);
    this.#typing = Math.abs(by) === 1 ? { atMs, caret: next.start, grows } : null;
  }

  /** One step of its own: a repair, a restored version. */
  replace(next: TextState): void {
    if (next.text === this.#now.text) {
      this.select(next.start, next.end);
      return;
    }
    this.#step(next, false);
    this.#typing = null;
  }

  /** The text a step back, or null when there is none. */
  undo(): TextState | null {
    return this.#travel(this.#past, this.#future);
  }

  redo(): TextState | null {
    return this.#travel(this.#future, this.#past);
  }

  #step(next: TextState, goesOn: boolean): void {
    if (!goesOn) {
      this.#past.push(this.#now);
      if (this.#past.length > LIMIT_STEPS) this.#past.shift();
    }
    this.#future = [];
    this.#now = next;
  }

  #travel(from: TextState[], to: TextState[]): TextState | null {
    const state = from.pop();
    if (!state) return null;
    to.push(this.#now);
    this.#now = state;
    this.#typing = null;
    return state;
  }
}
