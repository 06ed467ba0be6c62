/**
 * What in a text deserves a second look, and where it stands now that lines were edited, joined and moved.
 *
 * The server tells about the lines of the text as it was last saved. Lines that did not change since keep what was said
 * of them; of a changed line only words that are still in it are marked; lines without a counterpart carry nothing.
 */

import { diffArrays } from "diff";

import type { Problem, Row } from "../contract.ts";

/** Below it OCR was not sure of a line. */
export const DOUBTFUL_BELOW = 0.85;

export type MarkKind = "unsure" | "warning" | "unknown";

export interface Mark {
  start: number;
  end: number;
  kind: MarkKind;
}

export interface LineNotes {
  text: string;
  /** Of a line that nobody changed; null for others, and where nobody had to read. */
  confidence: number | null;
  unsure: boolean;
  warnings: string[];
  problems: string[];
  /** In order, none overlapping another. */
  marks: Mark[];
}

/** What is doubtful in it, for people; null for a line without doubt. */
export function doubtOf(line: LineNotes): string | null {
  const doubts = [
    ...line.problems,
    ...line.warnings.map((category) => `content: ${category.replaceAll("_", " ")}`),
  ];
  if (line.unsure && line.confidence !== null)
    doubts.push(`OCR was ${Math.round(line.confidence * 100)} % sure`);
  const words = line.marks.filter((mark) => mark.kind === "unsure");
  if (words.length > 0)
    doubts.push(`unsure: ${words.map((mark) => line.text.slice(mark.start, mark.end)).join(", ")}`);
  return doubts.length > 0 ? doubts.join("; ") : null;
}

export type Origin = { line: number; same: boolean } | null;

/** For each line now, which line it was; changed lines are paired in order within each changed stretch. */
export function lineOrigins(before: string, after: string): Origin[] {
  const origins: Origin[] = [];
  let old = 0;
  let removed = 0;
  for (const piece of diffArrays(before.split("\n"), after.split("\n"))) {
    if (piece.removed) {
      removed += piece.value.length;
    } else if (piece.added) {
      piece.value.forEach((_, index) =>
        origins.push(index < removed ? { line: old + index, same: false } : null),
      );
      old += removed;
      removed = 0;
    } else {
      old += removed;
      removed = 0;
      origins.push(...piece.value.map(() => ({ line: old++, same: true })));
    }
  }
  return origins;
}

export function notesOf(text: string, row: Row, problems: Problem[]): LineNotes[] {
  const origins = lineOrigins(row.text, text);
  const unknown = new Set(row.unknown_words.map((word) => word.toLowerCase()));
  return text.split("\n").map((line, index) => {
    const was = origins[index] ?? null;
    const confidence = was?.same ? (row.line_confidences[was.line] ?? null) : null;
    const warnings = row.warning_details.filter(
      (warning) =>
        was !== null &&
        warning.line === was.line + 1 &&
        (was.same || line.toLowerCase().includes(warning.words.toLowerCase())),
    );
    const unsureWords = row.words.filter((word) => was !== null && word.line === was.line + 1);
    const claims = [
      ...warnings
        .filter((warning) => warning.words.length < line.length - 1)
        .flatMap((warning) => places(line, warning.words, "warning")),
      ...unsureWords.flatMap((word) => places(line, word.word, "unsure")),
      ...[...line.matchAll(/[\p{L}\p{N}'-]+/gu)]
        .filter((match) => unknown.has(match[0].toLowerCase()))
        .map((match) => ({
          start: match.index,
          end: match.index + match[0].length,
          kind: "unknown" as const,
        })),
    ];
    return {
      text: line,
      confidence,
      unsure: confidence !== null && confidence < DOUBTFUL_BELOW,
      warnings: [...new Set(warnings.map((warning) => warning.category))],
      problems: problems.filter((problem) => problem.line === index + 1).map((problem) => problem.message),
      marks: disjoint(claims),
    };
  });
}

/** The next line after `line` with a doubt, going round; null when there is none at all. */
export function nextDoubt(notes: LineNotes[], line: number): number | null {
  for (let step = 1; step <= notes.length; step += 1) {
    const at = (line + step) % notes.length;
    const note = notes[at];
    if (note && doubtOf(note) !== null) return at;
  }
  return null;
}

function places(line: string, words: string, kind: MarkKind): Mark[] {
  const found: Mark[] = [];
  const sought = words.toLowerCase();
  const folded = line.toLowerCase();
  // Folding may change a text's length in a few scripts: then offsets mean nothing.
  if (sought === "" || folded.length !== line.length) return found;
  for (let at = folded.indexOf(sought); at !== -1; at = folded.indexOf(sought, at + sought.length)) {
    const end = at + sought.length;
    if (!isLetter(line[at - 1], line[at]) && !isLetter(line[end - 1], line[end]))
      found.push({ start: at, end, kind });
  }
  return found;
}

/** Whether two neighbours are in one word. */
function isLetter(left: string | undefined, right: string | undefined): boolean {
  const letter = /[\p{L}\p{N}]/u;
  return left !== undefined && right !== undefined && letter.test(left) && letter.test(right);
}

/** What comes first in the list wins. */
function disjoint(marks: Mark[]): Mark[] {
  const kept: Mark[] = [];
  for (const mark of marks)
    if (kept.every((other) => mark.end <= other.start || mark.start >= other.end)) kept.push(mark);
  return kept.sort((a, b) => a.start - b.start);
}
