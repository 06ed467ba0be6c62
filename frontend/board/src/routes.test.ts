import { describe, expect, test } from "vitest";

import { type View, hashOf, viewOf } from "./routes.ts";

const VIEWS: View[] = [
  { name: "write" },
  { name: "threads" },
  { name: "thread", id: "m1-a?b/c" },
  { name: "board", order: "recent" },
  { name: "board", order: "best" },
  { name: "post", id: "pb7MT2YyRLuaCLPTp8ch-A" },
  { name: "again", query: "model=a&prompt=%3Ebe+me%3F&seed=7" },
  { name: "about" },
];

test.each(VIEWS)("%j has an address of its own", (view) => {
  expect(viewOf(hashOf(view))).toEqual(view);
});

test("nothing is where the writing is", () => {
  expect(viewOf("")).toEqual({ name: "write" });
  expect(viewOf("#")).toEqual({ name: "write" });
});

describe("nowhere", () => {
  test.each(["#/nothing", "#/thread/", "#/post", "#/thread/a/b", "#/board/worst", "#/about/x", "#/thread/%"])(
    "%s",
    (hash) => {
      expect(viewOf(hash)).toEqual({ name: "nowhere" });
    },
  );
});
