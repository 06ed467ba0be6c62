/**
 * Links that write a text again: all that it depends on, and a check of what came out. The text itself is never in the
 * link, so nobody can put words into the model's mouth; the beginning is, and is shown as given.
 */

import type { Sampling } from "../contract.ts";
import { KNOBS, standIn } from "./sampling.ts";
import { LARGEST_SEED } from "./seeds.ts";

/** Longer than the service takes (4,096 characters), shorter than what browsers cut. */
const LONGEST_PROMPT = 6000;

export interface Again {
  model: string;
  /** Null where whoever made the link did not know it. */
  edition: string | null;
  seed: number;
  prompt: string;
  sampling: Sampling;
  check: string;
}

/** FNV-1a over UTF-8, 64 bits, in hex: it tells texts apart, on plain http too, where browsers hash nothing. */
export function checkOf(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text))
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash.toString(16).padStart(16, "0");
}

export function queryOf(again: Again): string {
  const query = new URLSearchParams({ model: again.model });
  if (again.edition !== null) query.set("edition", again.edition);
  query.set("seed", String(again.seed));
  query.set("prompt", again.prompt);
  for (const { knob } of KNOBS) query.set(knob, String(again.sampling[knob]));
  query.set("check", again.check);
  return query.toString();
}

/** What a link asks for; null if it is not one of ours, or somebody cut or changed it so that it says nothing. */
export function readQuery(text: string): Again | null {
  const query = new URLSearchParams(text);
  const model = query.get("model");
  const prompt = query.get("prompt");
  const seed = whole(query.get("seed"));
  const check = query.get("check");
  if (!model || model.length > 128 || prompt === null || prompt.length > LONGEST_PROMPT) return null;
  if (seed === null || seed > LARGEST_SEED || check === null || !/^[0-9a-f]{16}$/.test(check)) return null;
  const sampling: Partial<Sampling> = {};
  for (const { knob } of KNOBS) {
    const value = decimal(query.get(knob) ?? query.get(standIn(knob) ?? knob));
    if (value === null) return null;
    sampling[knob] = value;
  }
  const edition = query.get("edition");
  return {
    model,
    edition: edition !== null && /^[0-9a-f]{1,64}$/.test(edition) ? edition : null,
    seed,
    prompt,
    sampling: sampling as Sampling,
    check,
  };
}

function whole(text: string | null): number | null {
  return text !== null && /^\d{1,16}$/.test(text) ? Number(text) : null;
}

function decimal(text: string | null): number | null {
  return text !== null && /^\d{1,10}(\.\d{1,20})?(e-\d{1,2})?$/.test(text) ? Number(text) : null;
}

export type Verdict = "same" | "other-edition" | "different";

/** Whether a text that was written again is the one that was sent. */
export function verdictOf(again: Again, text: string, edition: string | null): Verdict {
  if (checkOf(text) === again.check) return "same";
  return again.edition !== null && edition !== null && again.edition !== edition
    ? "other-edition"
    : "different";
}
