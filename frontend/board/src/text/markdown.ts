/**
 * The little Markdown that model cards are written in, as a tree: headings, paragraphs, lists, tables, code, emphasis,
 * links. Whatever else stands there, HTML too, is text. Links lead to http and https only.
 */

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "strong"; inside: Inline[] }
  | { kind: "em"; inside: Inline[] }
  | { kind: "link"; to: string; inside: Inline[] };

export type Block =
  | { kind: "heading"; level: number; inside: Inline[] }
  | { kind: "paragraph"; inside: Inline[] }
  | { kind: "list"; ordered: boolean; items: Inline[][] }
  | { kind: "code"; text: string }
  | { kind: "table"; head: Inline[][]; right: boolean[]; rows: Inline[][][] };

const FENCE = /^(`{3,}|~{3,})/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const BULLET = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$/;

export function blocksOf(markdown: string): Block[] {
  const lines = withoutFrontMatter(markdown.replace(/\r\n?/g, "\n")).split("\n");
  const blocks: Block[] = [];
  let at = 0;
  const line = (offset = 0) => lines[at + offset] ?? "";
  while (at < lines.length) {
    const fence = FENCE.exec(line())?.[1];
    const heading = HEADING.exec(line());
    if (line().trim() === "") at += 1;
    else if (fence !== undefined) {
      const code: string[] = [];
      for (at += 1; at < lines.length && !line().startsWith(fence); at += 1) code.push(line());
      at += 1;
      blocks.push({ kind: "code", text: code.join("\n") });
    } else if (heading) {
      blocks.push({
        kind: "heading",
        level: heading[1]?.length ?? 1,
        inside: inlineOf(heading[2] ?? ""),
      });
      at += 1;
    } else if (line().includes("|") && RULE.test(line(1).trim()) && line(1).includes("-")) {
      const head = cellsOf(line());
      const right = cellsOf(line(1)).map((cell) => cell.endsWith("-:"));
      const rows: Inline[][][] = [];
      for (at += 2; at < lines.length && line().includes("|"); at += 1)
        rows.push(head.map((_, column) => inlineOf(cellsOf(line())[column] ?? "")));
      blocks.push({
        kind: "table",
        head: head.map(inlineOf),
        right: head.map((_, i) => right[i] ?? false),
        rows,
      });
    } else if (BULLET.test(line())) {
      const ordered = BULLET.exec(line())?.[1] !== undefined;
      const items: string[] = [];
      for (; at < lines.length && line().trim() !== ""; at += 1) {
        const bullet = BULLET.exec(line());
        if (bullet) items.push(bullet[2] ?? "");
        else items.push(`${items.pop() ?? ""} ${line().trim()}`);
      }
      blocks.push({ kind: "list", ordered, items: items.map(inlineOf) });
    } else {
      const words: string[] = [];
      for (; at < lines.length && line().trim() !== "" && !startsBlock(line()); at += 1)
        words.push(line().trim());
      blocks.push({ kind: "paragraph", inside: inlineOf(words.join(" ")) });
    }
  }
  return blocks;
}

function startsBlock(line: string): boolean {
  return FENCE.test(line) || HEADING.test(line) || BULLET.test(line);
}

function withoutFrontMatter(markdown: string): string {
  return markdown.replace(/^---\n[\s\S]*?\n---\n/, "");
}

function cellsOf(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*|\[([^\]]*)\]\(([^)\s]+)\)/;

export function inlineOf(text: string): Inline[] {
  const found: Inline[] = [];
  let rest = text;
  for (;;) {
    const match = INLINE.exec(rest);
    if (!match) break;
    if (match.index > 0) found.push({ kind: "text", text: rest.slice(0, match.index) });
    const [whole, code, strong, em, label, to] = match;
    if (code !== undefined) found.push({ kind: "code", text: code });
    else if (strong !== undefined) found.push({ kind: "strong", inside: inlineOf(strong) });
    else if (em !== undefined) found.push({ kind: "em", inside: inlineOf(em) });
    else if (to !== undefined && safeLink(to) !== null)
      found.push({ kind: "link", to: safeLink(to) ?? "", inside: inlineOf(label ?? "") });
    else found.push({ kind: "text", text: whole });
    rest = rest.slice(match.index + whole.length);
  }
  if (rest !== "") found.push({ kind: "text", text: rest });
  return found;
}

/** An address of http or https, spelt out; null for anything else. */
export function safeLink(to: string): string | null {
  if (!/^https?:\/\//i.test(to)) return null;
  try {
    const url = new URL(to);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
