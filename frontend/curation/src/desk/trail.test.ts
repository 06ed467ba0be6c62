import { expect, test } from "vitest";

import { Trail } from "./trail.ts";

test("back and forth", () => {
  const trail = new Trail();
  for (const id of ["1", "2", "3"]) trail.visit(id);
  expect([trail.back, trail.current, trail.forward]).toEqual(["2", "3", null]);
  trail.visit("2");
  expect([trail.back, trail.current, trail.forward]).toEqual(["1", "2", "3"]);
  trail.visit("3");
  trail.visit("3");
  expect(trail.back).toBe("2");
});

test("a row from elsewhere takes the place of what lay ahead", () => {
  const trail = new Trail();
  for (const id of ["1", "2", "3", "2", "9"]) trail.visit(id);
  expect([trail.back, trail.current, trail.forward]).toEqual(["2", "9", null]);
});

test("before all", () => {
  const trail = new Trail();
  trail.visit("5");
  trail.visitBefore("4");
  expect([trail.back, trail.current, trail.forward]).toEqual([null, "4", "5"]);
});
