/**
 * Shows a text at the pace of a quick reader, however fast it comes. Falls behind by no more than a second or two: the
 * more waits, the more is shown at a time.
 */

const TICK_MS = 24;
/** A backlog is worked off in about this many ticks. */
const CATCH_UP_TICKS = 60;

export class Typewriter {
  readonly #show: (text: string, tokens: number) => void;
  readonly #hurry: () => boolean;
  readonly #waiting: { text: string; tokens: number }[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #text: string;
  #tokens = 0;
  #whenEmpty: (() => void) | null = null;

  /** `hurry`: nobody looks on, or nothing may move; then all is shown at once. */
  constructor(start: string, show: (text: string, tokens: number) => void, hurry: () => boolean) {
    this.#text = start;
    this.#show = show;
    this.#hurry = hurry;
  }

  push(text: string, tokens = 1): void {
    this.#waiting.push({ text, tokens });
    if (this.#hurry()) this.flush();
    else this.#timer ??= setTimeout(this.#tick, TICK_MS);
  }

  /** When all that has come is shown. */
  settled(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
    });
  }

  /** Shows what is left, at once. */
  flush(): void {
    this.#take(this.#waiting.length);
  }

  /** Drops what has not been shown. */
  stop(): void {
    this.#waiting.length = 0;
    this.#take(0);
  }

  readonly #tick = (): void => {
    this.#timer = null;
    this.#take(this.#hurry() ? this.#waiting.length : Math.ceil(this.#waiting.length / CATCH_UP_TICKS));
    if (this.#waiting.length > 0) this.#timer = setTimeout(this.#tick, TICK_MS);
  };

  #take(count: number): void {
    const taken = this.#waiting.splice(0, count);
    if (taken.length > 0) {
      for (const { text, tokens } of taken) {
        this.#text += text;
        this.#tokens += tokens;
      }
      this.#show(this.#text, this.#tokens);
    }
    if (this.#waiting.length > 0) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#whenEmpty?.();
    this.#whenEmpty = null;
  }
}
