import { expect, test } from "vitest";

import { beginningOf } from "../text/lines.ts";
import { BEGINNINGS, TAGLINES, pick } from "./beginnings.ts";

test("beginnings are many, different, short, and begin as beginnings do", () => {
  expect(BEGINNINGS.length).toBeGreaterThanOrEqual(16);
  expect(new Set(BEGINNINGS).size).toBe(BEGINNINGS.length);
  for (const beginning of BEGINNINGS) {
    expect(beginningOf(beginning)).toBe(`>${beginning}`);
    expect(beginning).toMatch(/^be [a-z0-9 ,]{2,28}$/);
  }
  expect(new Set(TAGLINES).size).toBe(TAGLINES.length);
});

test("a die never shows the same twice", () => {
  for (const random of [0, 0.3, 0.6, 0.999]) expect(pick(["a", "b", "c"], "b", () => random)).not.toBe("b");
  expect(pick(["a"], "a")).toBe("a");
  expect(() => pick([])).toThrow(RangeError);
});
