/** What `localStorage` is in a browser, for tests. `full` makes it refuse everything new. */

import type { Keeper } from "./shelf.ts";

export class MemoryKeeper implements Keeper {
  readonly records = new Map<string, string>();
  full = false;

  get length(): number {
    return this.records.size;
  }

  key(index: number): string | null {
    return [...this.records.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.records.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    if (this.full) throw new Error("full");
    this.records.set(key, value);
  }

  removeItem(key: string): void {
    this.records.delete(key);
  }
}
