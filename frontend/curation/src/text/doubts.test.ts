import { describe, expect, test } from "vitest";

import type { Row } from "../contract.ts";
import { lineOrigins, nextDoubt, notesOf } from "./doubts.ts";

const TEXT = ">be me\n>sit in the comer\n>i hate him\n>end";
const ROW = {
  text: TEXT,
  imported_text: TEXT,
  line_confidences: [0.99, 0.6, 0.95, 0.9],
  words: [{ line: 2, word: "comer", confidence: 0.4 }],
  warning_details: [{ category: "hateful", line: 3, words: "hate" }],
  unknown_words: ["comer", "end"],
} as unknown as Row;

describe("notesOf", () => {
  test("as it was imported", () => {
    const notes = notesOf(TEXT, ROW, []);
    expect(notes.map((note) => note.unsure)).toEqual([false, true, false, false]);
    expect(notes[1]?.marks).toEqual([{ start: 12, end: 17, kind: "unsure" }]);
    expect(notes[2]?.warnings).toEqual(["hateful"]);
    expect(notes[2]?.marks).toEqual([{ start: 3, end: 7, kind: "warning" }]);
    expect(notes[3]?.marks).toEqual([{ start: 1, end: 4, kind: "unknown" }]);
  });

  test("notes move with their lines", () => {
    const notes = notesOf(">new\n" + TEXT, ROW, []);
    expect(notes.map((note) => note.unsure)).toEqual([false, false, true, false, false]);
    expect(notes[3]?.warnings).toEqual(["hateful"]);
  });

  test("a mended line is not doubtful any more", () => {
    const notes = notesOf(TEXT.replace("comer", "corner").replace("hate", "like"), ROW, []);
    expect(notes[1]).toMatchObject({ unsure: false, marks: [] });
    expect(notes[2]?.warnings).toEqual([]);
  });

  test("in a line changed elsewhere, the unsure word stays marked", () => {
    const notes = notesOf(TEXT.replace("sit in", "sit down in"), ROW, []);
    expect(notes[1]).toMatchObject({ unsure: false, marks: [{ start: 17, end: 22, kind: "unsure" }] });
  });

  test("parts of words are not marked", () => {
    expect(notesOf(">newcomer", { ...ROW, text: ">newcomer" }, [])[0]?.marks).toEqual([]);
  });

  test("problems by line", () => {
    const notes = notesOf("be me\n>x", ROW, [{ line: 1, message: "does not begin with >" }]);
    expect(notes[0]?.problems).toEqual(["does not begin with >"]);
    expect(notes[1]?.problems).toEqual([]);
  });
});

test("lineOrigins pairs changed lines in order", () => {
  expect(lineOrigins("a\nb\nc", "a\nx\ny\nc")).toEqual([
    { line: 0, same: true },
    { line: 1, same: false },
    null,
    { line: 2, same: true },
  ]);
});

test("nextDoubt goes round", () => {
  const notes = notesOf(TEXT, ROW, []);
  expect(nextDoubt(notes, 0)).toBe(1);
  expect(nextDoubt(notes, 1)).toBe(2);
  expect(nextDoubt(notes, 2)).toBe(1);
  expect(nextDoubt(notesOf(">a\n>b", ROW, []), 0)).toBeNull();
});
