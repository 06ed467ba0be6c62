import { expect, test } from "vitest";

import { fitted, moved, zoomed } from "./pan-zoom.ts";

const PICTURE = { width: 1000, height: 2000 };
const FRAME = { width: 500, height: 400 };

test("fits", () => {
  expect(fitted("width", PICTURE, FRAME)).toEqual({ scale: 0.5, x: 0, y: 0 });
  expect(fitted("page", PICTURE, FRAME)).toEqual({ scale: 0.2, x: 150, y: 0 });
  expect(fitted("width", { width: 100, height: 50 }, FRAME)).toEqual({ scale: 2, x: 150, y: 0 });
});

test("the point under the pointer stays", () => {
  const before = { scale: 0.5, x: 0, y: -100 };
  const after = zoomed(before, 2, { x: 100, y: 200 }, PICTURE, FRAME);
  const under = (lie: typeof before) => [(100 - lie.x) / lie.scale, (200 - lie.y) / lie.scale];
  expect(under(after)).toEqual(under(before));
});

test("the picture is never dragged away", () => {
  const lie = fitted("width", PICTURE, FRAME);
  expect(moved(lie, 5000, 5000, PICTURE, FRAME)).toEqual({ scale: 0.5, x: 0, y: 0 });
  expect(moved(lie, -5000, -5000, PICTURE, FRAME)).toEqual({ scale: 0.5, x: 0, y: -600 });
});

test("zoom has ends", () => {
  const lie = fitted("width", PICTURE, FRAME);
  expect(zoomed(lie, 1000, { x: 0, y: 0 }, PICTURE, FRAME).scale).toBe(8);
  expect(zoomed(lie, 0.0001, { x: 0, y: 0 }, PICTURE, FRAME).scale).toBe(0.05);
});
