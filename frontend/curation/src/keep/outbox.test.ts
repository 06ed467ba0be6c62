import { expect, test } from "vitest";

import { MemoryKeeper } from "./memory-keeper.ts";
import { type DecisionEntry, Outbox } from "./outbox.ts";

function decision(
  requestId: string,
  rowId: string,
  version: number,
  fields: Partial<DecisionEntry> = {},
): DecisionEntry {
  return {
    kind: "decision",
    request_id: requestId,
    row_id: rowId,
    tab: "tab1",
    at_ms: 1000,
    attempts: 0,
    excerpt: ">x",
    body: { action: "accept", text: ">x", version },
    ...fields,
  };
}

function ids(outbox: Outbox): string[] {
  return outbox.entries().map((entry) => entry.request_id);
}

test("in order, also of entries of the same millisecond, and over a reload", () => {
  const keeper = new MemoryKeeper();
  const outbox = new Outbox(keeper, "store", "Ann");
  for (let index = 0; index < 12; index += 1) outbox.add(decision(`request${index}`, String(index), 0));
  expect(ids(new Outbox(keeper, "store", "Ann"))).toEqual(
    Array.from({ length: 12 }, (_, index) => `request${index}`),
  );
});

test("nobody else's", () => {
  const keeper = new MemoryKeeper();
  new Outbox(keeper, "store", "Ann").add(decision("a", "1", 0));
  expect(ids(new Outbox(keeper, "store", "Bob"))).toEqual([]);
  expect(ids(new Outbox(keeper, "other", "Ann"))).toEqual([]);
  new Outbox(keeper, "store", "Ann:1").add(decision("b", "1", 0));
  expect(ids(new Outbox(keeper, "store", "Ann"))).toEqual(["a"]);
});

test("the oldest of ours", () => {
  const outbox = new Outbox(new MemoryKeeper(), "store", "Ann");
  outbox.add(decision("a", "1", 0, { tab: "tab2" }));
  outbox.add(decision("b", "2", 0));
  outbox.add(decision("c", "3", 0));
  expect(outbox.next((entry) => entry.tab === "tab1")?.request_id).toBe("b");
  expect(outbox.next((entry) => entry.tab === "tab3")).toBeNull();
});

test("a second decision on a row builds on the first one's answer", () => {
  const outbox = new Outbox(new MemoryKeeper(), "store", "Ann");
  const first = decision("a", "1", 3);
  outbox.add(first);
  outbox.add(decision("b", "1", 3));
  outbox.add(decision("c", "2", 3));
  outbox.done(first, 4);
  expect(outbox.entries().map((entry) => entry.kind === "decision" && entry.body.version)).toEqual([4, 3]);
});

test("what was refused waits until it is settled, and holds nobody up", () => {
  const keeper = new MemoryKeeper();
  const outbox = new Outbox(keeper, "store", "Ann");
  const entry = decision("a", "1", 0);
  outbox.add(entry);
  outbox.refuse(entry, { code: "conflict", message: "changed" });
  expect(ids(outbox)).toEqual([]);
  expect(new Outbox(keeper, "store", "Ann").stuckOn("1")?.entry.body.text).toBe(">x");
  outbox.settle("1");
  expect(outbox.stuck()).toEqual([]);
});

test("counts attempts", () => {
  const outbox = new Outbox(new MemoryKeeper(), "store", "Ann");
  const entry = decision("a", "1", 0);
  outbox.add(entry);
  outbox.attempted(entry);
  expect(outbox.entries()[0]?.attempts).toBe(1);
});

test("says when nothing is kept", () => {
  const keeper = new MemoryKeeper();
  keeper.full = true;
  expect(new Outbox(keeper, "store", "Ann").add(decision("a", "1", 0))).toBe(false);
});
