import { describe, expect, test } from "vitest";

import { Failure, asFailure, failureOf, inWords, keepsNothing, secondsOf } from "./failure.ts";
import { MOST_RETRIES, pauseBefore } from "./retry.ts";

describe("answers as failures", () => {
  test.each([
    [429, null, "full"],
    [503, null, "starting"],
    [500, null, "broken"],
    [502, null, "broken"],
    [504, null, "broken"],
    [404, { type: "model_not_found", message: "model: no" }, "unknown-model"],
    [404, { type: "not_found", message: "no" }, "missing"],
    [405, null, "missing"],
    [410, { type: "gone", message: "deleted" }, "gone"],
    [400, { type: "invalid_request", message: "top_k: no" }, "refused"],
    [413, null, "refused"],
  ] as const)("%i %j is %s", (status, body, kind) => {
    expect(failureOf(status, body, null).kind).toBe(kind);
  });

  test("a prompt that is too long is told as such, and only that", () => {
    const long = { type: "invalid_request", message: "prompt: has 300 tokens", field: "prompt" };
    expect(inWords(failureOf(400, long, null))).toContain("more text than the model can read");
    expect(inWords(failureOf(400, { ...long, message: "top_k: no", field: "top_k" }, null))).toContain(
      "top_k: no",
    );
  });

  test("Retry-After as seconds, as a date, as nonsense", () => {
    expect(secondsOf("7")).toBe(7);
    expect(secondsOf("Mon, 23 Nov 2026 08:00:30 GMT", Date.UTC(2026, 10, 23, 8, 0, 0))).toBe(30);
    expect(secondsOf("Mon, 23 Nov 2026 08:00:30 GMT", Date.UTC(2027, 1, 1))).toBe(0);
    expect(secondsOf("soon")).toBeNull();
    expect(secondsOf(null)).toBeNull();
  });

  test("a service that keeps nothing is told from a text that is not there", () => {
    const nothing = { type: "not_found", message: "greentexts are not kept here" };
    expect(keepsNothing(failureOf(404, nothing, null))).toBe(true);
    expect(keepsNothing(failureOf(404, { ...nothing, message: "no such greentext" }, null))).toBe(false);
  });

  test("what fetch throws is a failure, a bug is not", () => {
    expect(asFailure(new TypeError("Failed to fetch")).kind).toBe("unreachable");
    expect(asFailure(new SyntaxError("Unexpected token '<'")).kind).toBe("broken");
    expect(() => asFailure(new RangeError("a bug"))).toThrow(RangeError);
  });
});

describe("trying again by itself", () => {
  const pauses = (failure: Failure, most = 6) =>
    Array.from({ length: most }, (_, tries) => pauseBefore(failure, tries + 1));

  test("a full queue four times, after what it says", () => {
    expect(MOST_RETRIES).toBe(4);
    expect(pauses(new Failure("full", "", { retryAfterS: 3 }))).toEqual([3, 3, 3, 3, null, null]);
    expect(pauses(new Failure("full", "", { retryAfterS: 900 }))[0]).toBe(60);
    expect(pauses(new Failure("full", "", { retryAfterS: 0 }))[0]).toBe(1);
    expect(pauses(new Failure("full"))).toEqual([2, 4, 8, 16, null, null]);
  });

  test("a service that starts, with growing pauses whatever it says", () => {
    expect(pauses(new Failure("starting", "", { retryAfterS: 1 }))).toEqual([1, 2, 4, 8, null, null]);
  });

  test("what broke twice, who is out of reach for as long as somebody waits", () => {
    expect(pauses(new Failure("broken"))).toEqual([2, 4, null, null, null, null]);
    expect(pauses(new Failure("lost"))).toEqual([2, 4, null, null, null, null]);
    expect(pauses(new Failure("unreachable"), 8)).toEqual([1, 2, 4, 8, 15, 30, 30, 30]);
  });

  test.each(["unknown-model", "missing", "gone", "refused"] as const)("not when %s", (kind) => {
    expect(pauses(new Failure(kind), 2)).toEqual([null, null]);
  });
});
