/** The rows that were on the desk, in order: back leads to the one before, also when it has left its queue since. */

export class Trail {
  #ids: string[] = [];
  #at = -1;

  get current(): string | null {
    return this.#ids[this.#at] ?? null;
  }

  get back(): string | null {
    return this.#ids[this.#at - 1] ?? null;
  }

  get forward(): string | null {
    return this.#ids[this.#at + 1] ?? null;
  }

  /** A row is on the desk now: a neighbour in the trail, or a new one behind the current one. */
  visit(id: string): void {
    if (id === this.current) return;
    if (id === this.back) this.#at -= 1;
    else if (id === this.forward) this.#at += 1;
    else {
      this.#ids.splice(this.#at + 1, Infinity, id);
      this.#at = this.#ids.length - 1;
    }
  }

  /** A row that comes before all of the trail. */
  visitBefore(id: string): void {
    this.#ids.unshift(id);
    this.#at = 0;
  }
}
