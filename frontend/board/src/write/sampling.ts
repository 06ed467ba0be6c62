/** The sampling controls: their bounds, and what a value means, in words. Asking for a value changes the wording. */

import type { Sampling } from "../contract.ts";

export type Knob = keyof Sampling;

export interface KnobInfo {
  knob: Knob;
  label: string;
  least: number;
  most: number;
  step: number;
  inWords: (value: number) => string;
}

export const KNOBS: readonly KnobInfo[] = [
  { knob: "temperature", label: "Temperature", least: 0, most: 2, step: 0.05, inWords: ofTemperature },
  {
    knob: "opening_temperature",
    label: "First line’s temperature",
    least: 0.05,
    most: 2,
    step: 0.05,
    inWords: ofTemperature,
  },
  { knob: "top_p", label: "Top-p", least: 0.05, most: 1, step: 0.01, inWords: ofTopP },
  { knob: "top_k", label: "Top-k", least: 0, most: 200, step: 1, inWords: ofTopK },
  { knob: "min_p", label: "Min-p", least: 0, most: 0.5, step: 0.01, inWords: ofMinP },
  {
    knob: "repetition_penalty",
    label: "Repetition penalty",
    least: 0.8,
    most: 2,
    step: 0.05,
    inWords: ofRepetition,
  },
  { knob: "max_new_tokens", label: "Length", least: 4, most: 400, step: 1, inWords: ofLength },
];

function ofTemperature(value: number): string {
  if (value === 0) return "always the likeliest word: the seed changes nothing";
  if (value < 0.5) return "careful, says the likely thing";
  if (value < 0.95) return "at ease, mostly sensible, sometimes a surprise";
  if (value <= 1.05) return "as it learned: neither careful nor bold";
  if (value < 1.5) return "bold, odd turns and some nonsense";
  return "wild, a heap of words";
}

function ofTopP(value: number): string {
  if (value >= 1) return "off: even the unlikeliest word has its chance";
  return `leaves out the unlikeliest words, ${percent(1 - value)} of all chances together`;
}

function ofTopK(value: number): string {
  if (value === 0) return "off: chooses among all words";
  if (value === 1) return "only ever the likeliest word";
  return `chooses among the ${value} likeliest words`;
}

function ofMinP(value: number): string {
  if (value === 0) return "off: no word is too unlikely";
  return `a word must be at least ${percent(value)} as likely as the likeliest`;
}

function ofRepetition(value: number): string {
  if (value < 1) return "likes to say things again";
  if (value === 1) return "off: may repeat itself";
  if (value <= 1.2) return "tries not to repeat itself";
  if (value <= 1.5) return "goes out of its way not to repeat itself";
  return "says hardly anything twice, not even “the”";
}

function ofLength(value: number): string {
  return `ends after ${value} tokens at the latest, about ${Math.max(1, Math.round(value * 0.7))} words`;
}

export function ofSeed(seed: number | null): string {
  return seed === null
    ? "a new one for each text; it becomes the post’s number"
    : "with the same beginning and values, always the same text";
}

/** A share in percent, with as many digits as it has. */
function percent(share: number): string {
  return `${Number((share * 100).toFixed(2))} %`;
}

/** A model's defaults, with what somebody set. */
export function samplingOf(defaults: Sampling, set: Partial<Sampling>): Sampling {
  const { temperature, opening_temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens } = {
    ...defaults,
    ...set,
  };
  return { temperature, opening_temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens };
}

/** Values that are the model's own are not kept as somebody's choice. */
export function changed(defaults: Sampling, set: Partial<Sampling>): Partial<Sampling> {
  return Object.fromEntries(
    KNOBS.filter(({ knob }) => set[knob] !== undefined && set[knob] !== defaults[knob]).map(({ knob }) => [
      knob,
      set[knob],
    ]),
  );
}

/** What the service cannot be asked for through the page, with the value that does nothing. */
const BESIDES: Record<string, (value: unknown) => boolean> = {
  typical_p: (value) => value === 1,
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  min_new_tokens: (value) => value === 0,
  ignore_eos: (value) => value === false,
  stop: (value) => Array.isArray(value) && value.length === 0,
  logit_bias: (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0,
};

/** What holds where a text was kept, or a link made, before there was such a knob. */
export function standIn(knob: Knob): Knob | null {
  return knob === "opening_temperature" ? "temperature" : null;
}

/** The values that a kept text was written with; null if it cannot be written again from here. */
export function samplingKept(kept: Record<string, unknown> | null | undefined): Sampling | null {
  if (!kept) return null;
  const found: Partial<Sampling> = {};
  for (const { knob } of KNOBS) {
    const value = kept[knob] ?? kept[standIn(knob) ?? knob];
    if (typeof value !== "number") return null;
    found[knob] = value;
  }
  for (const [name, idle] of Object.entries(BESIDES))
    if (kept[name] !== undefined && kept[name] !== null && !idle(kept[name])) return null;
  return found as Sampling;
}
