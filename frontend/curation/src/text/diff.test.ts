import { describe, expect, test } from "vitest";

import { diffCounts, diffTexts } from "./diff.ts";

/** Each line with its sign; what changed within it in brackets. */
function told(before: string, after: string): string[] {
  const signs = { same: " ", removed: "-", added: "+" };
  return diffTexts(before, after).map(
    (line) =>
      signs[line.kind] + line.parts.map((part) => (part.changed ? `[${part.text}]` : part.text)).join(""),
  );
}

describe("diffTexts", () => {
  test("words that differ", () => {
    expect(told(">be me\n>sit in the comer\n>end", ">be me\n>sit in the corner\n>end")).toEqual([
      " >be me",
      "->sit in the [comer]",
      "+>sit in the [corner]",
      " >end",
    ]);
  });

  test("each changed line stands above what became of it", () => {
    expect(told(">go io sleep\n>feels cozyman", ">go to sleep\n>feels cosyman")).toEqual([
      "->go [io] sleep",
      "+>go [to] sleep",
      "->feels [cozyman]",
      "+>feels [cosyman]",
    ]);
  });

  test("joined lines lose no word", () => {
    const lines = told(">make a cup of\nyellow tea", ">make a cup of yellow tea");
    expect(lines.map((line) => line[0])).toEqual(["-", "-", "+"]);
    expect(lines.join("").replaceAll(/\[\s*\]/g, "")).not.toContain("[");
  });

  test("spaces after the marker are no change", () => {
    expect(told("> be me\n>  wake   up ", ">be me\n>wake up")).toEqual([" >be me", " >wake up"]);
  });

  test("lines that came and went are changed as a whole", () => {
    expect(told("Anonymous No.469\n>be me", ">be me\n>end")).toEqual([
      "-[Anonymous No.469]",
      " >be me",
      "+[>end]",
    ]);
  });

  test("from nothing, and to nothing", () => {
    expect(told("", ">be me")).toEqual(["+[>be me]"]);
    expect(told(">be me", "")).toEqual(["-[>be me]"]);
    expect(told("", "")).toEqual([]);
  });

  test("numbers of lines, and every letter of both texts", () => {
    const before = "a\nb b\nc\nd\n>x y z";
    const after = "a\nb c\nc\n>x y\n>z\ne";
    const lines = diffTexts(before, after);
    const text = (kinds: string[]) =>
      lines
        .filter((line) => kinds.includes(line.kind))
        .map((line) => line.parts.map((part) => part.text).join(""))
        .join("\n");
    expect(text(["same", "added"])).toBe(after);
    expect(text(["same", "removed"])).toBe(before);
    expect(lines.flatMap((line) => line.after ?? [])).toEqual([1, 2, 3, 4, 5, 6]);
    expect(lines.flatMap((line) => line.before ?? [])).toEqual([1, 2, 3, 4, 5]);
    expect(diffCounts(lines)).toEqual({ removed: 3, added: 4 });
  });
});
