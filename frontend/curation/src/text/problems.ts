/**
 * What keeps a text from being accepted, told while it is typed.
 *
 * The server's `greentext.text.parse` has the last word; this says the same for what people type, without asking it.
 */

import type { Problem } from "../contract.ts";

export function problemsOf(text: string): Problem[] {
  const problems: Problem[] = [];
  let words = 0;
  text.split("\n").forEach((line, index) => {
    const problem = problemOf(line);
    if (problem === "") words += 1;
    else if (problem !== null) problems.push({ line: index + 1, message: problem });
  });
  if (words === 0 && problems.length === 0) problems.push({ line: 1, message: "no line holds words" });
  return problems;
}

/** Empty for a good line, null for a blank one. */
function problemOf(line: string): string | null {
  const plain = line
    .trim()
    .replace(/^\\?(?:>|＞|&gt;)/i, ">")
    .trim();
  if (plain === "" || plain === ">") return null;
  if (!plain.startsWith(">")) return "does not begin with >";
  return /^>\s*(?:>|＞|&gt;)/i.test(plain) ? "quotes another post (more than one >)" : "";
}
