/**
 * Records in the browser's `localStorage`, each under its own key, so that tabs never write over each other's.
 *
 * Reading skips what is no JSON. `put` answers false when the browser keeps nothing (full, or forbidden).
 */

export type Keeper = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

/** The beginning of keys for what one person has in one database; no name is the beginning of another's. */
export function shelfPrefix(kind: string, store: string, person: string): string {
  return `gtx:${kind}:${encodeURIComponent(store)}:${encodeURIComponent(person)}:`;
}

export class Shelf<T> {
  readonly #keeper: Keeper;
  readonly #prefix: string;

  constructor(keeper: Keeper, prefix: string) {
    this.#keeper = keeper;
    this.#prefix = prefix;
  }

  put(name: string, record: T): boolean {
    try {
      this.#keeper.setItem(this.#prefix + name, JSON.stringify(record));
      return true;
    } catch {
      return false;
    }
  }

  get(name: string): T | null {
    const text = this.#keeper.getItem(this.#prefix + name);
    if (text === null) return null;
    try {
      return JSON.parse(text) as T;
    } catch {
      return null;
    }
  }

  remove(name: string): void {
    this.#keeper.removeItem(this.#prefix + name);
  }

  /** Names whose record can be read, sorted. */
  names(): string[] {
    const names: string[] = [];
    for (let index = 0; index < this.#keeper.length; index += 1) {
      const key = this.#keeper.key(index);
      if (key?.startsWith(this.#prefix)) names.push(key.slice(this.#prefix.length));
    }
    return names.filter((name) => this.get(name) !== null).sort();
  }
}
