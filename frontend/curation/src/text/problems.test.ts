import { expect, test } from "vitest";

import { problemsOf } from "./problems.ts";

test.each([
  [">be me\n>wake up", []],
  ["> be me\n\n>\n\\>wake up\n&gt;end", []],
  ["be me", [1]],
  [">be me\nbe me\n>>123\n> > x", [2, 3, 4]],
  ["", [1]],
  [">\n\n", [1]],
])("%j", (text, lines) => {
  expect(problemsOf(text).map((problem) => problem.line)).toEqual(lines);
});
