/** What can go wrong between the page and the service, and how it is told: in plain words, for whoever reads it. */

import type { ErrorBody } from "../contract.ts";

export type FailureKind =
  | "full" // 429: the queue, or too often
  | "starting" // 503
  | "broken" // other 5xx
  | "unreachable" // no answer at all
  | "lost" // an answer that broke off
  | "unknown-model"
  | "missing" // 404
  | "gone" // 410
  | "refused"; // any other 4xx

export class Failure extends Error {
  readonly kind: FailureKind;
  readonly retryAfterS: number | null;
  readonly field: string | null;

  constructor(
    kind: FailureKind,
    message = "",
    more: { retryAfterS?: number | null; field?: string | null } = {},
  ) {
    super(message);
    this.kind = kind;
    this.retryAfterS = more.retryAfterS ?? null;
    this.field = more.field ?? null;
  }
}

export function failureOf(status: number, body: ErrorBody | null, retryAfter: string | null): Failure {
  const message = body?.message ?? "";
  const retryAfterS = secondsOf(retryAfter);
  if (status === 429) return new Failure("full", message, { retryAfterS });
  if (status === 503) return new Failure("starting", message, { retryAfterS });
  if (status >= 500) return new Failure("broken", message, { retryAfterS });
  if (body?.type === "model_not_found") return new Failure("unknown-model", message);
  if (status === 404 || status === 405) return new Failure("missing", message);
  if (status === 410) return new Failure("gone", message);
  return new Failure("refused", message || `The service answered with status ${status}.`, {
    field: body?.field ?? null,
  });
}

/** `Retry-After` in seconds, whether it names a number or a date; null for anything else. */
export function secondsOf(retryAfter: string | null, nowMs: number = Date.now()): number | null {
  if (retryAfter === null) return null;
  if (/^\d+$/.test(retryAfter.trim())) return Number(retryAfter);
  const at = Date.parse(retryAfter);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - nowMs) / 1000));
}

/** Why nothing could be written. */
export function inWords(failure: Failure): string {
  switch (failure.kind) {
    case "full":
      return "Too many people are having texts written.";
    case "starting":
      return "The service is starting, or about to stop.";
    case "broken":
      return "Something went wrong on the other side.";
    case "unreachable":
      return "The service does not answer; perhaps you are offline.";
    case "lost":
      return "The connection was lost.";
    case "unknown-model":
      return "The model that was asked for is not here.";
    case "missing":
      return "There is nothing here by that name.";
    case "gone":
      return "This was deleted.";
    case "refused":
      return failure.field === "prompt" && /tokens|characters/.test(failure.message)
        ? "That is more text than the model can read. Make the beginning shorter."
        : `The service would not do that: ${failure.message}`;
  }
}

/** Whether it is for want of a store that there is nothing. */
export function keepsNothing(failure: Failure): boolean {
  return failure.kind === "missing" && failure.message.includes("not kept");
}

/** Whatever was thrown, as a failure; a bug is thrown on. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  // An answer that is not the service's, as from a network that wants people to sign in first.
  if (error instanceof SyntaxError) return new Failure("broken", error.message);
  // What `fetch` throws when there is no answer, and a reader when one breaks off.
  if (error instanceof TypeError || error instanceof DOMException)
    return new Failure("unreachable", error.message);
  throw error;
}
