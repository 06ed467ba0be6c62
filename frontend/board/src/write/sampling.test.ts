import { describe, expect, test } from "vitest";

import { KNOBS, changed, ofSeed, samplingKept, samplingOf } from "./sampling.ts";
import { LARGEST_SEED, drawSeed, readSeed } from "./seeds.ts";

const DEFAULTS = {
  temperature: 0.8,
  opening_temperature: 0.9,
  top_k: 50,
  top_p: 0.95,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 120,
};

describe("what a value means", () => {
  test("each control says something at each of its values, and something else at its ends", () => {
    for (const { knob, least, most, step, inWords } of KNOBS) {
      for (let value = least; value <= most; value += step)
        expect(inWords(value), knob).toMatch(/^[a-z].{8,}$/);
      expect(inWords(least), knob).not.toBe(inWords(most));
    }
  });

  test.each([
    ["temperature", 0, "always the likeliest word"],
    ["temperature", 0.3, "careful, says the likely thing"],
    ["temperature", 1, "as it learned"],
    ["temperature", 2, "wild"],
    ["top_p", 1, "off"],
    ["top_p", 0.95, "5 %"],
    ["top_k", 0, "all words"],
    ["top_k", 50, "the 50 likeliest"],
    ["min_p", 0.07, "7 %"],
    ["repetition_penalty", 1, "off"],
    ["max_new_tokens", 100, "about 70 words"],
  ] as const)("%s %d", (knob, value, words) => {
    expect(KNOBS.find((info) => info.knob === knob)?.inWords(value)).toContain(words);
  });

  test("a seed, and none", () => {
    expect(ofSeed(null)).not.toBe(ofSeed(7));
  });
});

test("only what differs from the model's own is somebody's choice", () => {
  expect(changed(DEFAULTS, { temperature: 0.8, top_k: 7 })).toEqual({ top_k: 7 });
  expect(samplingOf(DEFAULTS, { top_k: 7 })).toEqual({ ...DEFAULTS, top_k: 7 });
  expect(Object.keys(samplingOf({ ...DEFAULTS, other: 1 } as typeof DEFAULTS, {}))).toHaveLength(7);
});

describe("values of a kept text", () => {
  const KEPT = { ...DEFAULTS, typical_p: 1, stop: [], logit_bias: {}, ignore_eos: false, min_new_tokens: 0 };

  test("are those that the page can ask for again", () => {
    expect(samplingKept(KEPT)).toEqual(DEFAULTS);
  });

  test("from before first lines had a temperature of their own: that of the others", () => {
    expect(samplingKept({ ...KEPT, opening_temperature: null })).toEqual({
      ...DEFAULTS,
      opening_temperature: 0.8,
    });
  });

  test.each([
    ["nothing", null],
    ["a value less", { ...KEPT, top_k: undefined }],
    ["typical_p", { ...KEPT, typical_p: 0.5 }],
    ["a string to stop at", { ...KEPT, stop: ["\n"] }],
    ["a bias", { ...KEPT, logit_bias: { 7: 1 } }],
    ["no end", { ...KEPT, ignore_eos: true }],
  ])("or, with %s, none", (_, kept) => {
    expect(samplingKept(kept)).toBeNull();
  });
});

describe("seeds", () => {
  test.each([
    ["", null],
    [" 42 ", 42],
    ["0", 0],
    [String(LARGEST_SEED), LARGEST_SEED],
    ["9007199254740993", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
  ])("%j is %j", (typed, seed) => {
    expect(readSeed(typed)).toBe(seed);
  });

  test("drawn ones have eight digits", () => {
    for (let draw = 0; draw < 200; draw += 1) expect(String(drawSeed())).toMatch(/^\d{8}$/);
  });
});
