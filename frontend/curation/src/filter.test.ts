import { expect, test } from "vitest";

import { NO_FILTER, filterBody, filterFromQuery, filterQuery } from "./filter.ts";
import { hashOf, routeFromHash } from "./routes.ts";

test("through the address and back", () => {
  const filter = { ...NO_FILTER, queue: "all" as const, search: "a & b=c #ü", below_confidence: "0.75" };
  expect(filterFromQuery(new URLSearchParams(filterQuery(filter)))).toEqual(filter);
  for (const view of [{ name: "desk", id: "a/b?c" }, { name: "list" }, { name: "history", id: "7" }] as const)
    expect(routeFromHash(hashOf({ view, filter }))).toEqual({ view, filter });
});

test("only what is asked for is sent", () => {
  expect(filterQuery(NO_FILTER)).toEqual({ queue: "todo" });
  expect(filterBody({ ...NO_FILTER, below_confidence: "0.75" })).toEqual({
    queue: "todo",
    below_confidence: 0.75,
  });
});

test("an address by hand asks for nothing that is not there", () => {
  const filter = filterFromQuery(new URLSearchParams("queue=x&order=y&below_confidence=7"));
  expect(filter).toEqual(NO_FILTER);
  expect(routeFromHash("#/row/%E0%A4%A").view).toEqual({ name: "desk", id: null });
});
