import { describe, expect, test } from "vitest";

import { blocksOf, inlineOf, safeLink } from "./markdown.ts";

const text = (words: string) => [{ kind: "text", text: words }];

test("the kinds of blocks", () => {
  const card = [
    "---",
    "license: mit",
    "---",
    "# A card #",
    "Two lines",
    "of words.",
    "",
    "- one",
    "- two",
    "  goes on",
    "",
    "1. first",
    "",
    "| a | b |",
    "| --- | ---: |",
    "| x \\| y | 2 |",
    "| short |",
    "```text",
    ">be me",
    "# no heading",
    "```",
  ].join("\r\n");
  expect(blocksOf(card)).toEqual([
    { kind: "heading", level: 1, inside: text("A card") },
    { kind: "paragraph", inside: text("Two lines of words.") },
    { kind: "list", ordered: false, items: [text("one"), text("two goes on")] },
    { kind: "list", ordered: true, items: [text("first")] },
    {
      kind: "table",
      head: [text("a"), text("b")],
      right: [false, true],
      rows: [
        [text("x | y"), text("2")],
        [text("short"), []],
      ],
    },
    { kind: "code", text: ">be me\n# no heading" },
  ]);
});

test("a fence that nobody closes ends with the text, and nothing loops", () => {
  expect(blocksOf("```\nx")).toEqual([{ kind: "code", text: "x" }]);
  expect(blocksOf("")).toEqual([]);
  expect(blocksOf("|\n\n####### seven\n-")).toHaveLength(2);
});

test("inline", () => {
  expect(inlineOf("a `<b>` **bold** *em* [x](https://example.org/a_b) 2 * 3 * 4")).toEqual([
    { kind: "text", text: "a " },
    { kind: "code", text: "<b>" },
    { kind: "text", text: " " },
    { kind: "strong", inside: text("bold") },
    { kind: "text", text: " " },
    { kind: "em", inside: text("em") },
    { kind: "text", text: " " },
    { kind: "link", to: "https://example.org/a_b", inside: text("x") },
    { kind: "text", text: " 2 * 3 * 4" },
  ]);
  expect(inlineOf("**chosen**")).toEqual([{ kind: "strong", inside: text("chosen") }]);
});

describe("links lead to the web only", () => {
  test.each(["https://example.org/", "http://example.org/a?b=c#d"])("%s", (to) => {
    expect(safeLink(to)).toBe(to);
  });

  test.each([
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "//example.org",
    "/docs",
    "https://",
    "vbscript:x",
    " https://example.org",
  ])("not %j", (to) => {
    expect(safeLink(to)).toBeNull();
    expect(inlineOf(`[x](${to})`).every((part) => part.kind === "text")).toBe(true);
  });

  test("HTML is text", () => {
    expect(inlineOf("<img src=x onerror=alert(1)>")).toEqual(text("<img src=x onerror=alert(1)>"));
  });
});
