/** Where everything goes on a picture of a post: lines of text at places, from the widths of words alone. */

export type Ink = "heading" | "name" | "quiet" | "green" | "ink";

export interface Written {
  text: string;
  x: number;
  /** Of the baseline. */
  y: number;
  ink: Ink;
  font: "text" | "head" | "bold" | "small";
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  width: number;
  height: number;
  post: Box;
  /** The mark in the corner: its middle and its size. */
  mark: { x: number; y: number; size: number };
  written: Written[];
}

export interface PostOnPicture {
  title: string;
  name: string;
  date: string;
  number: string;
  text: string;
  /** Where it comes from, in the last line. */
  source: string;
}

export type Measure = (text: string, font: Written["font"]) => number;

const WIDTH = 680;
const MARGIN = 28;
const PAD = 20;
const LINE = 27;
const HEAD = 64;
const FOOT = 40;
const GAP = 12;

export function layoutOf(post: PostOnPicture, measure: Measure): Layout {
  const inner = WIDTH - 2 * (MARGIN + PAD);
  const x = MARGIN + PAD;
  const written: Written[] = [{ text: post.title, x: MARGIN + 46, y: 44, ink: "heading", font: "head" }];
  let y = HEAD + PAD + 14;
  written.push({ text: post.name, x, y, ink: "name", font: "bold" });
  const beside = x + measure(post.name, "bold") + GAP;
  const facts = `${post.date}  No.${post.number}`;
  const fits = beside + measure(facts, "small") <= x + inner;
  if (!fits) y += LINE;
  written.push({ text: facts, x: fits ? beside : x, y, ink: "quiet", font: "small" });
  y += LINE + 8;
  for (const line of post.text.split("\n")) {
    const ink = line.startsWith(">") ? "green" : "ink";
    for (const row of wrapped(line, inner, (text) => measure(text, "text"))) {
      written.push({ text: row, x, y, ink, font: "text" });
      y += LINE;
    }
  }
  const bottom = y - LINE + PAD + 4;
  written.push({ text: post.source, x: MARGIN, y: bottom + 27, ink: "quiet", font: "small" });
  return {
    width: WIDTH,
    height: bottom + FOOT + 6,
    post: { x: MARGIN, y: HEAD, width: WIDTH - 2 * MARGIN, height: bottom - HEAD },
    mark: { x: MARGIN + 18, y: 37, size: 36 },
    written,
  };
}

/** A line in rows that are no wider; words that are wider themselves are broken between characters. */
export function wrapped(line: string, width: number, measure: (text: string) => number): string[] {
  const rows: string[] = [];
  let row = "";
  for (const word of line.split(/(?<=\s)/)) {
    if (measure((row + word).trimEnd()) <= width) {
      row += word;
      continue;
    }
    if (row.trim() !== "") rows.push(row.trimEnd());
    row = "";
    for (const character of characters(word)) {
      if (row !== "" && measure((row + character).trimEnd()) > width) {
        rows.push(row.trimEnd());
        row = "";
      }
      row += character;
    }
  }
  rows.push(row.trimEnd());
  return rows;
}

/** As people see them: an emoji of several code points is one. */
function characters(text: string): string[] {
  return Array.from(new Intl.Segmenter("en").segment(text), ({ segment }) => segment);
}
