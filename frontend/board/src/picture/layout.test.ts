import { describe, expect, test } from "vitest";

import { type Measure, layoutOf, wrapped } from "./layout.ts";

/** Letters of one width, an emoji of two. */
const wide = (text: string) => Array.from(text, (one) => one.length).reduce((a, b) => a + b, 0);
const measure: Measure = (text, font) => wide(text) * (font === "small" ? 7 : 9);

const POST = {
  title: "/wg/",
  name: "Anonymous",
  date: "2026-11-23(Mon)08:00:00",
  number: "31415926",
  text: ">be me\n>bus",
  source: "somewhere",
};

describe("wrapping", () => {
  test.each([
    ["a line that fits", 20, ["a line that fits"]],
    ["words go to the next row", 10, ["words go", "to the", "next row"]],
    ["", 10, [""]],
    [">aaaaaaaaaaaaaaaaaaaaaaaaa", 10, [">aaaaaaaaa", "aaaaaaaaaa", "aaaaaa"]],
    ["a bbbbbbbbbbbbbbb c", 10, ["a", "bbbbbbbbbb", "bbbbb c"]],
    ["🐸🐸🐸", 4, ["🐸🐸", "🐸"]],
    ["ends in spaces   ", 14, ["ends in spaces"]],
  ])("%j in %i", (line, width, rows) => {
    expect(wrapped(line, width, wide)).toEqual(rows);
  });

  test("loses nothing but spaces, and keeps within the width", () => {
    const line = `>${"the quick brown fox ".repeat(9)}${"x".repeat(99)}`;
    for (let width = 3; width < 60; width += 1) {
      const rows = wrapped(line, width, wide);
      expect(rows.join("").replaceAll(" ", "")).toBe(line.replaceAll(" ", ""));
      expect(Math.max(...rows.map(wide))).toBeLessThanOrEqual(width);
    }
  });
});

describe("layout", () => {
  test("the same post is always the same picture", () => {
    expect(layoutOf(POST, measure)).toEqual(layoutOf(POST, measure));
  });

  test("everything is within the picture, and the text within the post", () => {
    const long = { ...POST, text: `>${"long ".repeat(80)}\n\nplain\n>${"y".repeat(300)}` };
    for (const post of [POST, long]) {
      const { width, height, post: box, written } = layoutOf(post, measure);
      for (const { text, x, y, font } of written) {
        expect(x).toBeGreaterThanOrEqual(0);
        expect(x + measure(text, font)).toBeLessThanOrEqual(width);
        expect(y).toBeLessThan(height);
        if (font === "text") {
          expect(x + measure(text, font)).toBeLessThanOrEqual(box.x + box.width);
          expect(y).toBeLessThan(box.y + box.height);
        }
      }
    }
  });

  test("grows with the text, line by line", () => {
    const one = layoutOf({ ...POST, text: ">a" }, measure);
    const two = layoutOf({ ...POST, text: ">a\n>b" }, measure);
    const three = layoutOf({ ...POST, text: ">a\n>b\n>c" }, measure);
    expect(two.height - one.height).toBe(three.height - two.height);
    expect(two.height).toBeGreaterThan(one.height);
  });

  test("only quoted lines are green", () => {
    const { written } = layoutOf({ ...POST, text: ">a\nb" }, measure);
    expect(written.filter(({ font }) => font === "text").map(({ ink }) => ink)).toEqual(["green", "ink"]);
  });

  test("a long number goes to a row of its own", () => {
    const normal = layoutOf(POST, measure);
    const long = layoutOf({ ...POST, number: "9".repeat(60) }, measure);
    expect(long.height).toBeGreaterThan(normal.height);
  });
});
