/** Whether the server answers; while it does not, it is asked again and again. */

import { ApiError } from "./api.ts";

const FIRST_ASK_MS = 500;
const LONGEST_ASK_MS = 3000;

export class Connection {
  readonly #ask: () => Promise<unknown>;
  #reached = true;
  #wait = FIRST_ASK_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  onChange: (reached: boolean) => void = () => undefined;

  constructor(ask: () => Promise<unknown>) {
    this.#ask = ask;
  }

  get reached(): boolean {
    return this.#reached;
  }

  /** What the last call met. */
  tell(reached: boolean): void {
    if (reached === this.#reached) return;
    this.#reached = reached;
    clearTimeout(this.#timer);
    this.#wait = FIRST_ASK_MS;
    if (!reached) this.#askLater();
    this.onChange(reached);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #askLater(): void {
    this.#timer = setTimeout(() => {
      this.#ask().catch((error: unknown) => {
        if (error instanceof ApiError) return;
        this.#wait = Math.min(this.#wait * 1.5, LONGEST_ASK_MS);
        if (!this.#reached) this.#askLater();
      });
    }, this.#wait);
  }
}
