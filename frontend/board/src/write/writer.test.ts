import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { EndEvent, GenerateBody, TokenEvent } from "../contract.ts";
import type { Post, Wish } from "../keep/thread.ts";
import { Threads } from "../keep/threads.ts";
import { Failure } from "../net/failure.ts";
import * as service from "../net/service.ts";
import { Writer } from "./writer.ts";

vi.mock("../net/service.ts");

const WISH: Wish = {
  model: "m",
  edition: "old",
  seed: 7,
  prompt: ">be me",
  sampling: {
    temperature: 1,
    opening_temperature: 1,
    top_k: 0,
    top_p: 1,
    min_p: 0,
    repetition_penalty: 1,
    max_new_tokens: 9,
  },
  kind: "op",
  parent: null,
};

/** One call of the service, answered by hand. */
interface Call {
  body: GenerateBody;
  token: (text: string) => void;
  end: (text: string) => Promise<void>;
  fail: (failure: Failure) => Promise<void>;
}

let calls: Call[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  vi.mocked(service.remove).mockResolvedValue();
  vi.mocked(service.write).mockImplementation(
    (body: GenerateBody, onToken: (token: TokenEvent) => void, signal: AbortSignal) =>
      new Promise<EndEvent>((resolve, reject) => {
        let tokens = 0;
        signal.addEventListener("abort", () => {
          reject(new DOMException("aborted", "AbortError"));
        });
        calls.push({
          body,
          token: (text) => {
            tokens += 1;
            onToken({ index: 0, text, token_id: tokens });
          },
          end: async (text) => {
            resolve({
              model: "m",
              model_edition: "new",
              greentexts: [{ id: "id", text, finish_reason: "end", seed: body.seed, prompt: body.prompt }],
              usage: { prompt_tokens: 1, completion_tokens: tokens },
            });
            await vi.advanceTimersByTimeAsync(0);
          },
          fail: async (failure) => {
            reject(failure);
            await vi.advanceTimersByTimeAsync(0);
          },
        });
      }),
  );
});
afterEach(() => {
  vi.useRealTimers();
  vi.resetAllMocks();
});

function writer(hurry = true) {
  const ended: Post[] = [];
  const threads = new Threads(null);
  const beforeWriting = vi.fn(() => Promise.resolve());
  const made = new Writer({ threads, hurry: () => hurry, beforeWriting, ended: (post) => ended.push(post) });
  return { threads, ended, beforeWriting, writer: made };
}

/** The call that is under way now. */
async function call(): Promise<Call> {
  await vi.advanceTimersByTimeAsync(0);
  const last = calls.at(-1);
  if (!last) throw new Error("nobody asked");
  return last;
}

describe("a text", () => {
  test("is in its post from the first token, and known to the service at the end", async () => {
    const { writer: one, threads, ended, beforeWriting } = writer();
    const { thread, key } = one.start(WISH);
    expect(threads.post(thread, key)?.state).toBe("writing");
    const asked = await call();
    expect(asked.body).toEqual({ prompt: ">be me", model: "m", seed: 7, ...WISH.sampling });
    expect(beforeWriting).toHaveBeenCalledOnce();
    asked.token("\n>b");
    expect(threads.post(thread, key)).toMatchObject({ text: ">be me\n>b", tokens: 1, id: null });
    expect(one.state.get().phase.name).toBe("writing");
    asked.token("us");
    await asked.end(">be me\n>bus");
    const post = threads.post(thread, key);
    expect(post).toMatchObject({ state: "done", text: ">be me\n>bus", id: "id", edition: "new", tokens: 2 });
    expect(one.busy).toBe(false);
    expect(ended).toEqual([post]);
  });

  test("from a link asks for no session", async () => {
    const { writer: one, beforeWriting } = writer();
    one.start(WISH, { fleeting: true });
    await call();
    expect(beforeWriting).not.toHaveBeenCalled();
  });
});

describe("stopped", () => {
  test("what is shown stays; what came unseen is not kept by the service either", async () => {
    const { writer: one, threads } = writer(false);
    const { thread, key } = one.start(WISH);
    const asked = await call();
    for (const text of ["\n>", "bus", " is", " late"]) asked.token(text);
    await asked.end(">be me\n>bus is late");
    await vi.advanceTimersByTimeAsync(50);
    one.stop();
    await vi.advanceTimersByTimeAsync(1000);
    expect(threads.post(thread, key)).toMatchObject({
      state: "stopped",
      text: ">be me\n>bus",
      tokens: 2,
      id: null,
    });
    expect(service.remove).toHaveBeenCalledExactlyOnceWith("id");
  });

  test("before anything came, nothing is left", async () => {
    const { writer: one, threads } = writer();
    const { thread } = one.start(WISH);
    await call();
    one.stop();
    await vi.advanceTimersByTimeAsync(0);
    expect(threads.find(thread)).toBeNull();
    expect(one.busy).toBe(false);
  });

  test("by the next one, which is then the one that is written", async () => {
    const { writer: one, threads, ended } = writer();
    const first = one.start(WISH);
    (await call()).token("\n>a");
    const second = one.start(WISH);
    const asked = await call();
    expect(calls).toHaveLength(2);
    expect(threads.post(first.thread, first.key)?.state).toBe("stopped");
    expect(one.state.get()).toMatchObject({ key: second.key });
    expect(one.busy).toBe(true);
    asked.token("\n>b");
    await asked.end(">be me\n>b");
    expect(ended.map(({ key }) => key)).toEqual([second.key]);
  });
});

describe("trouble", () => {
  test("a full queue is waited for, as long as it says, with the same request", async () => {
    const { writer: one, threads } = writer();
    const { thread, key } = one.start(WISH);
    await (await call()).fail(new Failure("full", "", { retryAfterS: 3 }));
    expect(one.state.get().phase).toMatchObject({ name: "waiting", tries: 1 });
    await vi.advanceTimersByTimeAsync(2900);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(calls).toHaveLength(2);
    expect(calls[1]?.body).toEqual(calls[0]?.body);
    await (await call()).fail(new Failure("full", "", { retryAfterS: 30 }));
    one.tryNow();
    await (await call()).end(">be me\n>c");
    expect(calls).toHaveLength(3);
    expect(threads.post(thread, key)?.state).toBe("done");
  });

  test("the wait can be given up", async () => {
    const { writer: one, threads } = writer();
    one.start(WISH);
    await (await call()).fail(new Failure("full", "", { retryAfterS: 30 }));
    one.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls).toHaveLength(1);
    expect(threads.state.get().threads).toEqual([]);
  });

  test("a cut line keeps what came, and resuming shows nothing less meanwhile", async () => {
    const { writer: one, threads } = writer();
    const { thread, key } = one.start(WISH);
    const asked = await call();
    asked.token("\n>bus");
    asked.token(" is");
    await asked.fail(new Failure("lost"));
    expect(threads.post(thread, key)).toMatchObject({ state: "lost", text: ">be me\n>bus is", tokens: 2 });
    one.resume(thread, key);
    const again = await call();
    expect(again.body).toEqual(asked.body);
    again.token("\n>bus");
    expect(threads.post(thread, key)?.text).toBe(">be me\n>bus is");
    again.token(" is");
    again.token(" late");
    expect(threads.post(thread, key)?.text).toBe(">be me\n>bus is late");
    await again.end(">be me\n>bus is late");
    expect(threads.post(thread, key)).toMatchObject({ state: "done", tokens: 3 });
  });

  test("what cannot be is told at once, and can be tried again", async () => {
    const { writer: one, threads } = writer();
    const { thread, key } = one.start(WISH);
    await (await call()).fail(new Failure("refused", "no"));
    expect(threads.post(thread, key)?.state).toBe("failed");
    expect(one.state.get().failures[key]?.kind).toBe("refused");
    one.resume(thread, key);
    expect(one.state.get().failures).toEqual({});
    await (await call()).end(">be me\n>d");
    expect(threads.post(thread, key)?.state).toBe("done");
  });
});
