/** Where lines begin and end in a text. Lines are split at `\n` only, and count from 0 here. */

export interface Span {
  start: number;
  end: number;
}

/** The line that an offset is in; an offset at a line's end belongs to that line. */
export function lineAt(text: string, offset: number): number {
  let line = 0;
  const end = Math.min(offset, text.length);
  for (let at = text.indexOf("\n"); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) line += 1;
  return line;
}

/** From a line's first character to behind its last; the last line for a line beyond it. */
export function lineSpan(text: string, line: number): Span {
  let start = 0;
  for (let left = line; left > 0; left -= 1) {
    const end = text.indexOf("\n", start);
    if (end === -1) break;
    start = end + 1;
  }
  const end = text.indexOf("\n", start);
  return { start, end: end === -1 ? text.length : end };
}

export function lineCount(text: string): number {
  return text.split("\n").length;
}

/** Where words begin and end in a line, in order; its end is the last stop. */
export function wordStops(line: string): number[] {
  const stops = [...line.matchAll(/[^\s>]+/g)].map((match) => match.index);
  return [...stops, line.length];
}
