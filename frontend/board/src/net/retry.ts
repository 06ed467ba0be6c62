/** When to ask again by itself. */

import type { Failure, FailureKind } from "./failure.ts";

export const MOST_RETRIES = 4;
const MOST_CHANCES = 2;
const LONGEST_WAIT_S = 60;
const UNREACHABLE_PAUSES_S = [1, 2, 4, 8, 15, 30];

/**
 * How long to wait before trying again, after `tries` attempts that failed; null: it is told, and left at that.
 *
 * A full queue says itself when there is room. Who cannot be reached is tried as long as somebody waits, ever more
 * seldom; what broke, or broke off before its first word, gets two chances more, in case it was one worker of several.
 */
export function pauseBefore(failure: Failure, tries: number): number | null {
  switch (failure.kind) {
    case "full":
      return tries > MOST_RETRIES ? null : bounded(failure.retryAfterS ?? 2 ** tries);
    case "starting":
      return tries > MOST_RETRIES ? null : bounded(failure.retryAfterS ?? 2 ** tries, 2 ** (tries - 1));
    case "broken":
    case "lost":
      return tries > MOST_CHANCES ? null : bounded(failure.retryAfterS ?? 2 * tries);
    case "unreachable":
      return UNREACHABLE_PAUSES_S[Math.min(tries, UNREACHABLE_PAUSES_S.length) - 1] ?? null;
    case "unknown-model":
    case "missing":
    case "gone":
    case "refused":
      return null;
  }
}

/** How often it is tried again at most; null: without end. */
export function retriesFor(kind: FailureKind): number | null {
  if (kind === "unreachable") return null;
  return kind === "broken" || kind === "lost" ? MOST_CHANCES : MOST_RETRIES;
}

function bounded(seconds: number, least = 1): number {
  return Math.min(LONGEST_WAIT_S, Math.max(least, seconds));
}
