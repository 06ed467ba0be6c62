/** Which rows are asked for, in what order; the same in the address bar, in queries and in bodies. */

import type { Order, Queue } from "./contract.ts";

export interface Filter {
  queue: Queue | "all";
  search: string;
  source: string;
  genre: string;
  /** Rows with a line below it, 0..1; empty for all. */
  below_confidence: string;
  warning: string;
  problem: string;
  order: Order;
}

export const NO_FILTER: Filter = {
  queue: "todo",
  search: "",
  source: "",
  genre: "",
  below_confidence: "",
  warning: "",
  problem: "",
  order: "imported",
};

const QUEUES: readonly string[] = ["todo", "accepted", "rejected", "skipped", "all"];
const ORDERS: readonly string[] = ["imported", "confidence", "changed"];

/** Only what is asked for, for a query. */
export function filterQuery(filter: Filter): Record<string, string> {
  const entries = Object.entries(filter) as [keyof Filter, string][];
  return Object.fromEntries(entries.filter(([key, value]) => key === "queue" || value !== NO_FILTER[key]));
}

/** The same for a JSON body, where a number is one. */
export function filterBody(filter: Filter): Record<string, string | number> {
  const { below_confidence, ...words } = filterQuery(filter);
  return below_confidence === undefined ? words : { ...words, below_confidence: Number(below_confidence) };
}

export function filterFromQuery(query: URLSearchParams): Filter {
  const filter = { ...NO_FILTER };
  const take = (key: "search" | "source" | "genre" | "warning" | "problem") => {
    filter[key] = query.get(key) ?? "";
  };
  for (const key of ["search", "source", "genre", "warning", "problem"] as const) take(key);
  const below = Number(query.get("below_confidence") ?? "");
  if (below > 0 && below <= 1) filter.below_confidence = String(below);
  const queue = query.get("queue") ?? "";
  if (QUEUES.includes(queue)) filter.queue = queue as Filter["queue"];
  const order = query.get("order") ?? "";
  if (ORDERS.includes(order)) filter.order = order as Order;
  return filter;
}

export function sameFilter(a: Filter, b: Filter): boolean {
  return (Object.keys(a) as (keyof Filter)[]).every((key) => a[key] === b[key]);
}

/** What narrows the queue down, in words; empty when nothing does. */
export function filterWords(filter: Filter): string {
  const words = [
    filter.search && `“${filter.search}”`,
    filter.source,
    filter.genre,
    filter.below_confidence && `below ${Math.round(Number(filter.below_confidence) * 100)} %`,
    filter.warning && (filter.warning === "any" ? "any warning" : filter.warning.replaceAll("_", " ")),
    filter.problem && "with problems",
  ];
  return words.filter(Boolean).join(", ");
}
