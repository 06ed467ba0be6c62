import { describe, expect, test } from "vitest";

import { beginningOf, piecesOf, promptAfterLine, shown, spoken, summary, wordsIn } from "./lines.ts";

describe("beginnings", () => {
  test.each([
    ["", ""],
    ["  \n > \n", ""],
    ["be me", ">be me"],
    [">be me", ">be me"],
    ["be me\r\n\r\n  late for the bus ", ">be me\n>late for the bus"],
    ["> be me", "> be me"],
  ])("%j becomes %j", (typed, prompt) => {
    expect(beginningOf(typed)).toBe(prompt);
  });
});

test("going on after a line: all to there, and a new line opened", () => {
  const text = ">be me\n>late\n>wait";
  expect(promptAfterLine(text, 0)).toBe(">be me\n>");
  expect(promptAfterLine(text, 2)).toBe(">be me\n>late\n>wait\n>");
});

test("an open mark at the end is not shown", () => {
  expect(shown(">be me\n>")).toBe(">be me");
  expect(shown(">be me\n")).toBe(">be me");
  expect(shown(">be me")).toBe(">be me");
  expect(shown(">")).toBe(">");
});

test("words and speech", () => {
  expect(wordsIn(">be me\n>late for the bus\n>")).toBe(6);
  expect(wordsIn("")).toBe(0);
  expect(spoken(">be me\n> late\n>")).toBe("be me. late");
  expect(summary(">be me\n>late\n>bus\n>more")).toBe(">be me >late >bus");
  expect(summary("x".repeat(200), 10)).toBe(`${"x".repeat(9)}…`);
});

describe("what was given is told from what was written", () => {
  const plain = (text: string, prompt: string | null) =>
    piecesOf(text, prompt).map((line) =>
      line.map(({ text: words, given }) => (given ? `[${words}]` : words)),
    );

  test("within a line", () => {
    expect(plain(">be me, 8\n>go", ">be me")).toEqual([["[>be me]", ", 8"], [">go"]]);
  });

  test("an opened line is nobody's words", () => {
    expect(plain(">a\n>b\n>c", ">a\n>")).toEqual([["[>a]"], [">b"], [">c"]]);
  });

  test("over lines, up to the end, with nothing given, with another beginning", () => {
    expect(plain(">a\n>b", ">a\n>b")).toEqual([["[>a]"], ["[>b]"]]);
    expect(plain(">a\n\n>b", "")).toEqual([[">a"], [], [">b"]]);
    expect(plain(">a", null)).toEqual([[">a"]]);
    expect(plain(">a", ">b")).toEqual([[">a"]]);
  });
});
