import { expect, test } from "vitest";

import { figuresOf } from "./figures.ts";

test("figures of sets of texts as a table, others one by one", () => {
  expect(
    figuresOf({
      test_bits_per_byte: 1.72774,
      test_perplexity: 53.3353,
      test_texts: 74,
      validation_thanks_texts: 1234,
      perplexity_over_fp32: 0.00494,
      largest_fp32_logit_difference: 0.00003,
      new_measure: 2,
    }),
  ).toEqual({
    sets: [
      { name: "Test", cells: { bits_per_byte: "1.728", perplexity: "53.34", texts: "74" } },
      { name: "Validation thanks", cells: { bits_per_byte: "", perplexity: "", texts: "1,234" } },
    ],
    others: [
      { name: "Perplexity that fewer bits cost", value: "+0.49 %" },
      { name: "Largest difference from PyTorch, in logits", value: "3.0e-5" },
      { name: "New measure", value: "2" },
    ],
  });
});
