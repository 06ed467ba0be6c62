import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { DecisionAnswer, Row } from "../contract.ts";
import { MemoryKeeper } from "../keep/memory-keeper.ts";
import { type DecisionEntry, Outbox } from "../keep/outbox.ts";
import { ApiError, Unreachable } from "./api.ts";
import { Courier, type Outcome } from "./courier.ts";
import { ORPHANED_AFTER_MS, type Tab, isOurs } from "./tab.ts";

const TAB: Tab = { name: "tab1", others: new Set(["tab2"]), began_ms: 1000 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function decision(requestId: string): DecisionEntry {
  return {
    kind: "decision",
    request_id: requestId,
    row_id: requestId,
    tab: "tab1",
    at_ms: Date.now(),
    attempts: 0,
    excerpt: "",
    body: { action: "accept", text: ">x", version: 0 },
  };
}

const ANSWER = { row: { version: 1 } as Row, undo_depth: 1 };

function carried(decide: (entry: DecisionEntry) => Promise<DecisionAnswer>) {
  const outbox = new Outbox(new MemoryKeeper(), "store", "Ann");
  const courier = new Courier(
    outbox,
    { decide, undo: () => Promise.reject(new Error("not asked for")) },
    TAB,
  );
  const outcomes: [string, boolean][] = [];
  courier.onOutcome = (outcome: Outcome, awaited) =>
    outcomes.push([`${outcome.kind} ${outcome.entry.request_id}`, awaited]);
  return { outbox, courier, outcomes };
}

test("one after the other, in order", async () => {
  const sent: string[] = [];
  const { outbox, courier, outcomes } = carried(async (entry) => {
    sent.push(entry.request_id);
    await new Promise((resolve) => setTimeout(resolve, 10));
    return ANSWER;
  });
  outbox.add(decision("a"));
  outbox.add(decision("b"));
  const awaited = courier.outcome("b", 1000);
  void courier.wake();
  void courier.wake();
  await vi.advanceTimersByTimeAsync(5);
  expect(sent).toEqual(["a"]);
  await vi.advanceTimersByTimeAsync(50);
  expect(sent).toEqual(["a", "b"]);
  expect(outcomes).toEqual([
    ["decided a", false],
    ["decided b", true],
  ]);
  expect((await awaited)?.kind).toBe("decided");
  expect(outbox.entries()).toEqual([]);
});

test("a server that is gone: the same request again until it answers", async () => {
  let tries = 0;
  const { outbox, courier, outcomes } = carried(() => {
    tries += 1;
    return tries < 4 ? Promise.reject(new Unreachable("gone")) : Promise.resolve(ANSWER);
  });
  outbox.add(decision("a"));
  const soon = courier.outcome("a", 400);
  void courier.wake();
  await vi.advanceTimersByTimeAsync(400);
  expect(await soon).toBeNull();
  expect(outbox.entries()).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(5000);
  expect(tries).toBe(4);
  expect(outcomes).toEqual([["decided a", false]]);
});

test("a refusal sets the decision apart, and the next one goes", async () => {
  const { outbox, courier, outcomes } = carried((entry) =>
    entry.request_id === "a"
      ? Promise.reject(new ApiError(409, { code: "conflict", message: "changed" }))
      : Promise.resolve(ANSWER),
  );
  outbox.add(decision("a"));
  outbox.add(decision("b"));
  await courier.wake();
  expect(outcomes.map(([told]) => told)).toEqual(["refused a", "decided b"]);
  expect(outbox.stuck().map((stuck) => stuck.entry.request_id)).toEqual(["a"]);
});

test("somebody who is signed out loses nothing", async () => {
  let signedIn = false;
  const { outbox, courier } = carried(() =>
    signedIn
      ? Promise.resolve(ANSWER)
      : Promise.reject(new ApiError(401, { code: "not_signed_in", message: "" })),
  );
  outbox.add(decision("a"));
  await courier.wake();
  expect(outbox.entries()).toHaveLength(1);
  signedIn = true;
  await courier.wake();
  expect(outbox.entries()).toEqual([]);
});

test("a tab sends its own, and what a dead tab left", () => {
  expect(isOurs(TAB, { tab: "tab1", at_ms: 2000 }, 2000)).toBe(true);
  expect(isOurs(TAB, { tab: "dead", at_ms: 900 }, 2000)).toBe(true);
  expect(isOurs(TAB, { tab: "tab2", at_ms: 900 }, 2000)).toBe(false);
  expect(isOurs(TAB, { tab: "new", at_ms: 1500 }, 2000)).toBe(false);
  expect(isOurs(TAB, { tab: "tab2", at_ms: 900 }, 901 + ORPHANED_AFTER_MS)).toBe(true);
});
