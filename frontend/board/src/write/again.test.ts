import { describe, expect, test } from "vitest";

import { againOf, blankPost, keptPost, numberOf } from "../keep/thread.ts";
import { type Again, checkOf, queryOf, readQuery, verdictOf } from "./again.ts";

const AGAIN: Again = {
  model: "greentext-thanks",
  edition: "a962a3120dce",
  seed: 31415926,
  prompt: ">be me & you\n>1+1 = 2? 100% #sure\n>frög 🐸\n>",
  sampling: {
    temperature: 0.8,
    opening_temperature: 0.9,
    top_k: 50,
    top_p: 0.95,
    min_p: 0.00001,
    repetition_penalty: 1.1,
    max_new_tokens: 120,
  },
  check: "cbf29ce484222325",
};

test("FNV-1a, 64 bits: the published values", () => {
  expect(checkOf("")).toBe("cbf29ce484222325");
  expect(checkOf("a")).toBe("af63dc4c8601ec8c");
  expect(checkOf("foobar")).toBe("85944171f73967e8");
  expect(checkOf("frög")).not.toBe(checkOf("frog"));
});

describe("links", () => {
  test("say all that a text depends on, and nothing of the text", () => {
    expect(readQuery(queryOf(AGAIN))).toEqual(AGAIN);
    expect(readQuery(queryOf({ ...AGAIN, edition: null, prompt: "" }))).toEqual({
      ...AGAIN,
      edition: null,
      prompt: "",
    });
    expect([...new URLSearchParams(queryOf(AGAIN)).keys()]).not.toContain("text");
  });

  test.each([
    ["no model", { model: "" }],
    ["a long model", { model: "x".repeat(200) }],
    ["a seed that is none", { seed: "seven" }],
    ["a seed too large to be exact", { seed: "9007199254740993" }],
    ["a value less than none", { temperature: "-1" }],
    ["a value that is none", { top_p: "NaN" }],
    ["endless", { max_new_tokens: "Infinity" }],
    ["no check", { check: "" }],
    ["a long beginning", { prompt: "x".repeat(7000) }],
  ])("with %s are no links of ours", (_, change) => {
    const query = new URLSearchParams(queryOf(AGAIN));
    for (const [name, value] of Object.entries(change)) query.set(name, value);
    expect(readQuery(query.toString())).toBeNull();
  });

  test("from before first lines had a temperature of their own still write the same", () => {
    const query = new URLSearchParams(queryOf(AGAIN));
    query.delete("opening_temperature");
    expect(readQuery(query.toString())?.sampling).toEqual({ ...AGAIN.sampling, opening_temperature: 0.8 });
  });

  test("cut anywhere, they are none or the same", () => {
    const query = queryOf(AGAIN);
    for (let end = 0; end < query.length; end += 1) expect(readQuery(query.slice(0, end))).toBeNull();
  });
});

test("verdicts", () => {
  const again = { ...AGAIN, check: checkOf(">be me") };
  expect(verdictOf(again, ">be me", "ffffffffffff")).toBe("same");
  expect(verdictOf(again, ">be you", "ffffffffffff")).toBe("other-edition");
  expect(verdictOf(again, ">be you", again.edition)).toBe("different");
  expect(verdictOf({ ...again, edition: null }, ">be you", again.edition)).toBe("different");
});

describe("posts", () => {
  const post = {
    ...blankPost("k", { ...AGAIN, kind: "op", parent: null }, 0),
    state: "done" as const,
    text: ">be me\n>bus",
    tokens: 7,
    finish: "end",
  };

  test("that ended by themselves are asked for as they were", () => {
    expect(againOf(post)?.sampling).toEqual(AGAIN.sampling);
    expect(againOf({ ...post, finish: "length", tokens: 120 })?.sampling.max_new_tokens).toBe(120);
    expect(againOf(post)?.check).toBe(checkOf(post.text));
  });

  test("that were cut are asked for with as many tokens", () => {
    expect(againOf({ ...post, state: "stopped", finish: null })?.sampling.max_new_tokens).toBe(7);
    expect(againOf({ ...post, finish: "deadline" })?.sampling.max_new_tokens).toBe(7);
  });

  test("of which something is not known have no link", () => {
    expect(againOf({ ...post, seed: null })).toBeNull();
    expect(againOf({ ...post, prompt: null })).toBeNull();
    expect(againOf({ ...post, state: "writing" })).toBeNull();
  });

  test("from the board; a seed that a browser cannot hold is not known", () => {
    const kept = {
      id: "pb7MT2YyRLuaCLPTp8ch-A",
      text: ">be me",
      model: "m",
      created_s: 5,
      finish_reason: "end",
      good: 1,
      bad: 0,
      your_rating: null,
      mine: false,
      shared: true,
      on_board: true,
      seed: 7,
    };
    expect(keptPost(kept)).toMatchObject({ seed: 7, prompt: null, sampling: null, atMs: 5000, id: kept.id });
    const large = keptPost({ ...kept, seed: 2 ** 60 });
    expect(large.seed).toBeNull();
    expect(numberOf(large)).toMatch(/^\d{8}$/);
    expect(numberOf(large)).toBe(numberOf(large));
  });
});
