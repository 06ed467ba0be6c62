import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Typewriter } from "./typewriter.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function typewriter(hurry = false) {
  const shown: [string, number][] = [];
  const writer = new Typewriter(
    ">",
    (text, tokens) => shown.push([text, tokens]),
    () => hurry,
  );
  return { shown, writer };
}

describe("pace", () => {
  test("one token at a time, in order, then settled", async () => {
    const { shown, writer } = typewriter();
    for (const text of ["be", " me", "\n"]) writer.push(text);
    expect(shown).toEqual([]);
    const settled = writer.settled();
    await vi.runAllTimersAsync();
    await settled;
    expect(shown).toEqual([
      [">be", 1],
      [">be me", 2],
      [">be me\n", 3],
    ]);
  });

  test("never far behind, however fast it comes", async () => {
    const { shown, writer } = typewriter();
    for (let token = 0; token < 2000; token += 1) writer.push("x");
    await vi.advanceTimersByTimeAsync(8000);
    expect(shown.at(-1)?.[1]).toBe(2000);
  });

  test("at once when nobody looks", () => {
    const { shown, writer } = typewriter(true);
    writer.push("be");
    writer.push("", 0);
    expect(shown).toEqual([
      [">be", 1],
      [">be", 1],
    ]);
  });
});

test("stopped, nothing more is shown", async () => {
  const { shown, writer } = typewriter();
  writer.push("be");
  writer.push(" me");
  await vi.advanceTimersByTimeAsync(24);
  const settled = writer.settled();
  writer.stop();
  await settled;
  await vi.runAllTimersAsync();
  expect(shown).toEqual([[">be", 1]]);
});

test("flushed, all is shown", () => {
  const { shown, writer } = typewriter();
  writer.push("be");
  writer.push(" me");
  writer.flush();
  expect(shown).toEqual([[">be me", 2]]);
});
