/**
 * The repairs that pages read by OCR need most, each as one replacement in a text.
 *
 * A repair that has nothing to do answers null. None of them looks at what the words mean.
 */

import { lineAt, lineSpan } from "./lines.ts";

/** Put `insert` in place of `start..end`; then the caret stands at `caret`. */
export interface Edit {
  start: number;
  end: number;
  insert: string;
  caret: number;
}

export type Repair = "mark" | "join" | "split" | "delete";

/** What OCR takes a marker for. */
const MISREAD_MARKER = /^[}»›≻]\s*/;

export function applied(text: string, edit: Edit): string {
  return text.slice(0, edit.start) + edit.insert + text.slice(edit.end);
}

export function repairEdit(repair: Repair, text: string, start: number, end = start): Edit | null {
  switch (repair) {
    case "mark":
      return mark(text, start, end);
    case "join":
      return joinAbove(text, start);
    case "split":
      return split(text, start, end);
    case "delete":
      return deleteLines(text, start, end);
  }
}

/** `>` before each line from `start` to `end` that has words and no marker; a misread marker goes. */
function mark(text: string, start: number, end: number): Edit | null {
  const from = lineSpan(text, lineAt(text, start)).start;
  const to = lineSpan(text, lineAt(text, end)).end;
  const before = text.slice(from, to);
  const single = !before.includes("\n");
  const after = before
    .split("\n")
    .map((line) => (single || line.trim() ? marked(line) : line))
    .join("\n");
  if (after === before) return null;
  return { start: from, end: to, insert: after, caret: Math.max(from, end + after.length - before.length) };
}

function marked(line: string): string {
  const words = line.trimStart();
  return words.startsWith(">") ? words : ">" + words.replace(MISREAD_MARKER, "");
}

/** The line goes to the end of the one above, without its marker. */
function joinAbove(text: string, offset: number): Edit | null {
  const line = lineAt(text, offset);
  if (line === 0) return null;
  const above = lineSpan(text, line - 1);
  const here = lineSpan(text, line);
  const words = text.slice(here.start, here.end).replace(/^[\s>]+/, "");
  const head = text.slice(above.start, above.end).trimEnd();
  const space = head === "" || head.endsWith(">") || words === "" ? "" : " ";
  const seam = above.start + head.length + space.length;
  return { start: above.start + head.length, end: here.end, insert: space + words, caret: seam };
}

/** What stands behind the caret becomes a line of its own, with a marker. */
function split(text: string, start: number, end: number): Edit {
  const line = lineSpan(text, lineAt(text, end));
  const head = text.slice(0, start).replace(/[ \t]+$/, "");
  const tail = text.slice(end, line.end).replace(/^[ \t>]+/, "");
  const insert = "\n>" + tail;
  return { start: head.length, end: line.end, insert, caret: head.length + 2 };
}

/** The lines from `start` to `end` go; the caret stands in what comes to their place. */
function deleteLines(text: string, start: number, end: number): Edit | null {
  if (text === "") return null;
  const from = lineSpan(text, lineAt(text, start)).start;
  const to = lineSpan(text, lineAt(text, end)).end;
  if (to < text.length) return { start: from, end: to + 1, insert: "", caret: from };
  const cut = Math.max(0, from - 1);
  return { start: cut, end: to, insert: "", caret: lineSpan(text.slice(0, cut), Infinity).start };
}
