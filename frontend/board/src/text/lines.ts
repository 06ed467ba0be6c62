/** Greentexts as lines and words. A line keeps its `>`. */

export function linesOf(text: string): string[] {
  return text.split("\n");
}

/** What a beginning that somebody typed becomes: each line with a `>`, nothing empty, nothing at the ends. */
export function beginningOf(typed: string): string {
  return typed
    .replace(/\r\n?/g, "\n")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && line !== ">")
    .map((line) => (line.startsWith(">") ? line : `>${line}`))
    .join("\n");
}

/** The prompt for going on after line `index`: all that stands to there, and the head of a new line. */
export function promptAfterLine(text: string, index: number): string {
  return `${linesOf(text)
    .slice(0, index + 1)
    .join("\n")}\n>`;
}

/** Without an open `>` at its end, which is how a text looks that was stopped there. */
export function shown(text: string): string {
  return text.replace(/\n>?\s*$/, "");
}

export function wordsIn(text: string): number {
  return text.replace(/^>/gm, " ").match(/\S+/g)?.length ?? 0;
}

/** As it is read aloud. */
export function spoken(text: string): string {
  return linesOf(shown(text))
    .map((line) => line.replace(/^>\s*/, ""))
    .filter(Boolean)
    .join(". ");
}

export interface Piece {
  text: string;
  /** Stood there before the model began. */
  given: boolean;
}

/** Each line of a text in pieces: what was given, and what the model wrote. */
export function piecesOf(text: string, prompt: string | null): Piece[][] {
  let left = prompt !== null && text.startsWith(prompt) ? prompt.length : 0;
  return linesOf(text).map((line) => {
    const given = Math.max(0, Math.min(left, line.length));
    left -= line.length + 1;
    // The mark of a new line that was only opened for the model is no words of anybody.
    const cut = line.slice(0, given) === ">" ? 0 : given;
    return [
      { text: line.slice(0, cut), given: true },
      { text: line.slice(cut), given: false },
    ].filter((piece) => piece.text !== "");
  });
}

/** One line for a list. */
export function summary(text: string, characters = 90): string {
  const line = linesOf(shown(text)).slice(0, 3).join(" ");
  return line.length <= characters ? line : `${line.slice(0, characters - 1).trimEnd()}…`;
}
