/** Evaluation figures of a model's bundle: those of held-out texts as a table, the others one by one. */

/** What is measured of each set of texts: `test_perplexity` is the perplexity of `test`. */
export const MEASURES = ["bits_per_byte", "perplexity", "texts"] as const;
export type Measure = (typeof MEASURES)[number];

export const MEASURE_WORDS: Record<Measure, string> = {
  bits_per_byte: "bits per byte",
  perplexity: "perplexity per token",
  texts: "texts",
};

const OTHERS: Record<string, string> = {
  perplexity_over_fp32: "Perplexity that fewer bits cost",
  largest_fp32_logit_difference: "Largest difference from PyTorch, in logits",
};

export interface Figures {
  sets: { name: string; cells: Record<Measure, string> }[];
  others: { name: string; value: string }[];
}

export function figuresOf(evaluation: Record<string, number>): Figures {
  const sets = new Map<string, Record<Measure, string>>();
  const others: Figures["others"] = [];
  for (const [key, value] of Object.entries(evaluation)) {
    const measure = MEASURES.find((one) => key.endsWith(`_${one}`));
    if (measure === undefined) {
      others.push({ name: OTHERS[key] ?? capital(key), value: valueOf(key, value) });
      continue;
    }
    const name = capital(key.slice(0, -measure.length - 1));
    const cells = sets.get(name) ?? { bits_per_byte: "", perplexity: "", texts: "" };
    sets.set(name, { ...cells, [measure]: valueOf(key, value) });
  }
  return { sets: Array.from(sets, ([name, cells]) => ({ name, cells })), others };
}

function valueOf(key: string, value: number): string {
  if (key === "perplexity_over_fp32") return `${value >= 0 ? "+" : ""}${(value * 100).toFixed(2)} %`;
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 0.001 ? String(Number(value.toPrecision(4))) : value.toExponential(1);
}

function capital(key: string): string {
  const words = key.replaceAll("_", " ");
  return `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}`;
}
