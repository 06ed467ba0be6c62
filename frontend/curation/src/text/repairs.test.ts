import { describe, expect, test } from "vitest";

import { type Repair, applied, repairEdit } from "./repairs.ts";

/** `|` marks the caret, or both ends of a selection. */
function repaired(repair: Repair, marked: string): string | null {
  const [head = "", middle = "", tail] = marked.split("|");
  const text = head + middle + (tail ?? "");
  const edit = repairEdit(
    repair,
    text,
    head.length,
    tail === undefined ? head.length : head.length + middle.length,
  );
  if (!edit) return null;
  const after = applied(text, edit);
  return `${after.slice(0, edit.caret)}|${after.slice(edit.caret)}`;
}

describe("mark", () => {
  test.each([
    [">be me\nwake| up", ">be me\n>wake| up"],
    ["|be me", ">|be me"],
    ["} be| me", ">be| me"],
    ["» be me|", ">be me|"],
    ["  be me|", ">be me|"],
    ["|", ">|"],
    ["one\n|two\nthree|\nfour", "one\n>two\n>three|\nfour"],
    ["|one\n\ntwo|", ">one\n\n>two|"],
  ])("%j", (before, after) => {
    expect(repaired("mark", before)).toBe(after);
  });
  test("leaves a marked line alone", () => {
    expect(repaired("mark", ">be| me")).toBeNull();
  });
});

describe("join", () => {
  test.each([
    [">make a cup of\nyellow| tea\n>end", ">make a cup of| yellow tea\n>end".replace("of| ", "of |")],
    [">make a cup of  \n>yellow| tea", ">make a cup of |yellow tea"],
    [">\n>wor|ds", ">|words"],
    [">one\n|", ">one|"],
  ])("%j", (before, after) => {
    expect(repaired("join", before)).toBe(after);
  });
  test("the first line has none above", () => {
    expect(repaired("join", ">fir|st\n>second")).toBeNull();
  });
});

describe("split", () => {
  test.each([
    [">one |two", ">one\n>|two"],
    [">one| two\n>three", ">one\n>|two\n>three"],
    [">one|", ">one\n>|"],
    [">one |gone| two", ">one\n>|two"],
  ])("%j", (before, after) => {
    expect(repaired("split", before)).toBe(after);
  });
});

describe("delete", () => {
  test.each([
    [">one\n>t|wo\n>three", ">one\n|>three"],
    [">one\n>two|", "|>one"],
    [">on|e", "|"],
    [">one\n>|two\n>thr|ee\n>four", ">one\n|>four"],
    [">one\n>two\n>th|ree", ">one\n|>two"],
  ])("%j", (before, after) => {
    expect(repaired("delete", before)).toBe(after);
  });
  test("nothing to delete", () => {
    expect(repaired("delete", "|")).toBeNull();
  });
});
