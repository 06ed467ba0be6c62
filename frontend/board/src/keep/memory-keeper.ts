/** What `localStorage` is in a browser, for tests: with room for `room` characters. */

import type { Keeper } from "./threads.ts";

export class MemoryKeeper implements Keeper {
  readonly records = new Map<string, string>();
  room = Infinity;

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
    let taken = value.length;
    for (const [other, record] of this.records) if (other !== key) taken += record.length;
    if (taken > this.room) throw new DOMException("full", "QuotaExceededError");
    this.records.set(key, value);
  }

  removeItem(key: string): void {
    this.records.delete(key);
  }
}
