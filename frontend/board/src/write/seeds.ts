/** Seeds, which are the posts' numbers too: whoever has the number, the beginning and the values has the text. */

/** The service takes more (to 2^63 - 1), but a number in a browser holds no more exactly. */
export const LARGEST_SEED = Number.MAX_SAFE_INTEGER;

/** Eight digits, as post numbers have. */
export function drawSeed(): number {
  const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1));
  return 10_000_000 + (drawn % 90_000_000);
}

/** A seed that was typed; null is none, undefined is no seed. */
export function readSeed(typed: string): number | null | undefined {
  const text = typed.trim();
  if (text === "") return null;
  if (!/^\d{1,16}$/.test(text)) return undefined;
  const seed = Number(text);
  return seed <= LARGEST_SEED ? seed : undefined;
}
