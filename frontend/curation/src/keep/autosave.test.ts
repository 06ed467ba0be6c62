import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Autosave, LONGEST_MS, QUIET_MS, type SaveState, type Typed } from "./autosave.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function typed(text: string, rowId = "1"): Typed {
  return { rowId, text, version: 0 };
}

function recorded(answer: () => Promise<boolean> = () => Promise.resolve(true)) {
  const saved: string[] = [];
  const states: SaveState[] = [];
  const autosave = new Autosave(
    (one) => {
      saved.push(one.text);
      return answer();
    },
    (state) => states.push(state),
  );
  return { autosave, saved, states };
}

test("saves when typing pauses", async () => {
  const { autosave, saved, states } = recorded();
  autosave.typed(typed("a"));
  await vi.advanceTimersByTimeAsync(QUIET_MS - 1);
  autosave.typed(typed("ab"));
  await vi.advanceTimersByTimeAsync(QUIET_MS - 1);
  expect(saved).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(saved).toEqual(["ab"]);
  expect(states.at(-1)).toBe("saved");
});

test("saves while somebody types without a pause", async () => {
  const { autosave, saved } = recorded();
  for (let ms = 0; ms < LONGEST_MS + 200; ms += 100) {
    autosave.typed(typed(String(ms)));
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(saved).toHaveLength(1);
});

test("a failed save says so", async () => {
  const { autosave, states } = recorded(() => Promise.resolve(false));
  autosave.typed(typed("a"));
  await vi.advanceTimersByTimeAsync(QUIET_MS);
  expect(states.at(-1)).toBe("kept");
});

test("another row's text goes at once", () => {
  const { autosave, saved } = recorded();
  autosave.typed(typed("a"));
  autosave.typed(typed("b", "2"));
  return vi.advanceTimersByTimeAsync(0).then(() => {
    expect(saved).toEqual(["a"]);
  });
});

test("what is decided is not saved as a draft any more, and a save that runs is waited for", async () => {
  let finish: (ok: boolean) => void = () => undefined;
  const { autosave, saved } = recorded(() => new Promise((resolve) => (finish = resolve)));
  autosave.typed(typed("a"));
  await vi.advanceTimersByTimeAsync(QUIET_MS);
  autosave.typed(typed("ab"));
  let settled = false;
  void autosave.cancel("1").then(() => (settled = true));
  await vi.advanceTimersByTimeAsync(LONGEST_MS);
  expect([saved, settled]).toEqual([["a"], false]);
  finish(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(settled).toBe(true);
  expect(autosave.pending).toBeNull();
});
