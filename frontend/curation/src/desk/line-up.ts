/**
 * The row at hand and the one after it: fetched ahead with its screenshot, and both held for this tab.
 *
 * Never more than two rows are held. A lease that another person has now is told through `onHeld`.
 */

import type { Row } from "../contract.ts";
import { type Filter, sameFilter } from "../filter.ts";
import { type Api, ApiError } from "../net/api.ts";

const RENEW_EVERY_MS = 30_000;
const PICTURES_KEPT = 3;

interface Ahead {
  filter: Filter;
  after: string;
  row: Promise<Row | null>;
}

export class LineUp {
  readonly #api: Api;
  readonly #tab: string;
  readonly #renewEveryMs: number;
  readonly #pictures = new Map<string, Promise<string>>();
  #current: string | null = null;
  #ahead: Ahead | null = null;
  #aheadId: string | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  onHeld: (id: string, person: string) => void = () => undefined;
  onRenewed: (id: string) => void = () => undefined;

  constructor(api: Api, tab: string, leaseS: number) {
    this.#api = api;
    this.#tab = tab;
    this.#renewEveryMs = Math.min(RENEW_EVERY_MS, (leaseS * 1000) / 3);
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.renew();
    }, this.#renewEveryMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#release(this.#current);
    this.#release(this.#aheadId);
  }

  renew(): void {
    for (const id of [this.#current, this.#aheadId]) if (id !== null) void this.lease(id);
  }

  /** Takes or renews the lease of a row. */
  async lease(id: string): Promise<void> {
    try {
      await this.#api.lease(id, this.#tab);
      this.onRenewed(id);
    } catch (error) {
      if (error instanceof ApiError && error.body.code === "held_by_another")
        this.onHeld(id, error.body.person ?? "somebody else");
    }
  }

  /** A row is on the desk: the one before it is let go. */
  settle(id: string): void {
    if (this.#current !== id && this.#current !== this.#aheadId) this.#release(this.#current);
    this.#current = id;
    if (this.#aheadId === id) {
      this.#ahead = null;
      this.#aheadId = null;
    }
  }

  /** Fetches the row after this one, unless that is done already. */
  lookAhead(filter: Filter, after: string): void {
    if (this.has(filter, after)) return;
    this.#release(this.#aheadId);
    this.#aheadId = null;
    const ahead: Ahead = { filter, after, row: this.#fetch(filter, after) };
    this.#ahead = ahead;
    ahead.row.then(
      (row) => {
        if (this.#ahead !== ahead) {
          if (row && row.id !== this.#current) this.#release(row.id);
          return;
        }
        if (!row) return;
        this.#aheadId = row.id;
        if (row.has_image) void this.picture(row).catch(() => undefined);
      },
      () => {
        if (this.#ahead === ahead) this.#ahead = null;
      },
    );
  }

  /** Whether the row after this one is being fetched, or is here. */
  has(filter: Filter, after: string | null): boolean {
    return this.#ahead?.after === after && sameFilter(this.#ahead.filter, filter);
  }

  /** The row after this one; null when none but this one is left. */
  async next(filter: Filter, after: string | null): Promise<Row | null> {
    const ahead = this.#ahead;
    if (ahead && this.has(filter, after)) {
      const row = await ahead.row;
      if (row) return row;
      this.#ahead = null;
    }
    return this.#fetch(filter, after);
  }

  /** The address of a row's screenshot in this page. */
  picture(row: Row): Promise<string> {
    const id = row.id;
    const known = this.#pictures.get(id);
    if (known) {
      this.#pictures.delete(id);
      this.#pictures.set(id, known);
      return known;
    }
    const picture = this.#api.image(id).then((blob) => URL.createObjectURL(blob));
    this.#pictures.set(id, picture);
    picture.catch(() => this.#pictures.delete(id));
    for (const [old, address] of [...this.#pictures].slice(0, -PICTURES_KEPT)) {
      this.#pictures.delete(old);
      address.then(
        (url) => {
          URL.revokeObjectURL(url);
        },
        () => undefined,
      );
    }
    return picture;
  }

  async #fetch(filter: Filter, after: string | null): Promise<Row | null> {
    const row = await this.#api.next(filter, after, this.#tab);
    if (row || after === null) return row;
    // The end of the line: what was passed over comes round.
    const first = await this.#api.next(filter, null, this.#tab);
    return first && first.id !== after ? first : null;
  }

  #release(id: string | null): void {
    if (id !== null) this.#api.release(id, this.#tab).catch(() => undefined);
  }
}
