/**
 * What changed from one text to another, line by line, with the words that differ.
 *
 * Lines that differ in spaces only count as the same, and are told once. Where lines changed, each old line (or the
 * lines that were joined) stands above what became of it, and words are compared over the whole stretch: so a line that
 * was broken in two shows no word as changed.
 */

import { diffArrays, diffWordsWithSpace } from "diff";

export interface DiffPart {
  text: string;
  changed: boolean;
}

export interface DiffLine {
  kind: "same" | "removed" | "added";
  /** Its number in the old text, from 1. */
  before: number | null;
  after: number | null;
  parts: DiffPart[];
}

export function diffTexts(before: string, after: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let beforeNumber = 1;
  let afterNumber = 1;
  let removed: string[] = [];
  let added: string[] = [];

  const finishStretch = () => {
    const [old, fresh] = stretch(removed, added);
    for (const [olds, news] of groups(removed, added)) {
      for (const parts of old.splice(0, olds))
        lines.push({ kind: "removed", before: beforeNumber++, after: null, parts });
      for (const parts of fresh.splice(0, news))
        lines.push({ kind: "added", before: null, after: afterNumber++, parts });
    }
    removed = [];
    added = [];
  };

  for (const piece of diffArrays(split(before), split(after), { comparator: sameWords })) {
    if (piece.removed) removed.push(...piece.value);
    else if (piece.added) added.push(...piece.value);
    else {
      finishStretch();
      for (const text of piece.value)
        lines.push({
          kind: "same",
          before: beforeNumber++,
          after: afterNumber++,
          parts: [{ text, changed: false }],
        });
    }
  }
  finishStretch();
  return lines;
}

/** How many lines were taken and added, for a heading. */
export function diffCounts(lines: DiffLine[]): { removed: number; added: number } {
  return {
    removed: lines.filter((line) => line.kind === "removed").length,
    added: lines.filter((line) => line.kind === "added").length,
  };
}

function split(text: string): string[] {
  return text === "" ? [] : text.split("\n");
}

/** Spaces are nothing to look at: `> be me` is what canonical spelling makes `>be me` of. */
function sameWords(one: string, other: string): boolean {
  return spaced(one) === spaced(other);
}

function spaced(line: string): string {
  return line.trim().replace(/^>\s+/, ">").replace(/\s+/g, " ");
}

/** How many old and new lines stand together: a group begins where an old line has a new one much like it. */
function groups(removed: string[], added: string[]): [number, number][] {
  const pairs = likePairs(removed, added);
  const bounds: [number, number][] = [[0, 0], ...pairs, [removed.length, added.length]];
  return bounds.slice(1).map(([old, fresh], index) => {
    const [oldFrom, freshFrom] = bounds[index] ?? [0, 0];
    return [old - oldFrom, fresh - freshFrom];
  });
}

/** Pairs of like lines, in the order of both; those that are most alike in all. */
function likePairs(removed: string[], added: string[]): [number, number][] {
  const width = added.length + 1;
  const best = new Float64Array((removed.length + 1) * width);
  const at = (old: number, fresh: number) => best[old * width + fresh] ?? 0;
  const likes = removed.map((old) => added.map((fresh) => likeness(old, fresh)));
  const like = (old: number, fresh: number) => likes[old]?.[fresh] ?? 0;
  for (let old = removed.length - 1; old >= 0; old -= 1)
    for (let fresh = added.length - 1; fresh >= 0; fresh -= 1)
      best[old * width + fresh] = Math.max(
        at(old + 1, fresh),
        at(old, fresh + 1),
        like(old, fresh) > 0 ? at(old + 1, fresh + 1) + like(old, fresh) : 0,
      );
  const pairs: [number, number][] = [];
  for (let old = 0, fresh = 0; old < removed.length && fresh < added.length;)
    if (like(old, fresh) > 0 && at(old, fresh) === at(old + 1, fresh + 1) + like(old, fresh))
      pairs.push([old++, fresh++]);
    else if (at(old, fresh) === at(old + 1, fresh)) old += 1;
    else fresh += 1;
  return pairs;
}

/** The share of letter pairs that two lines have in common; 0 below a third. */
function likeness(one: string, other: string): number {
  const pairs = new Map<string, number>();
  for (const pair of letterPairs(one)) pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  let common = 0;
  for (const pair of letterPairs(other)) {
    const left = pairs.get(pair) ?? 0;
    if (left > 0) common += 1;
    pairs.set(pair, left - 1);
  }
  const share = (2 * common) / Math.max(1, one.length + other.length - 2);
  return share > 1 / 3 ? share : 0;
}

function letterPairs(line: string): string[] {
  return Array.from({ length: Math.max(0, line.length - 1) }, (_, at) =>
    line.slice(at, at + 2).toLowerCase(),
  );
}

function stretch(removed: string[], added: string[]): [DiffPart[][], DiffPart[][]] {
  if (removed.length === 0 || added.length === 0)
    return [removed.map((text) => whole(text)), added.map((text) => whole(text))];
  const old: DiffPart[][] = [[]];
  const fresh: DiffPart[][] = [[]];
  for (const piece of diffWordsWithSpace(removed.join("\n"), added.join("\n"))) {
    if (!piece.added) append(old, piece.value, piece.removed);
    if (!piece.removed) append(fresh, piece.value, piece.added);
  }
  return [old, fresh];
}

function whole(text: string): DiffPart[] {
  return [{ text, changed: true }];
}

function append(lines: DiffPart[][], value: string, changed: boolean): void {
  value.split("\n").forEach((text, index) => {
    if (index > 0) lines.push([]);
    if (text !== "") lines.at(-1)?.push({ text, changed });
  });
}
