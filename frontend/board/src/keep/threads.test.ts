import { describe, expect, test } from "vitest";

import { MemoryKeeper } from "./memory-keeper.ts";
import type { Wish } from "./thread.ts";
import { MOST_POSTS, MOST_THREADS, Threads } from "./threads.ts";

const WISH: Wish = {
  model: "m",
  edition: null,
  seed: 7,
  prompt: ">be me",
  sampling: {
    temperature: 0.8,
    opening_temperature: 0.8,
    top_k: 50,
    top_p: 0.95,
    min_p: 0,
    repetition_penalty: 1,
    max_new_tokens: 120,
  },
  kind: "op",
  parent: null,
};

function threadsIn(keeper: MemoryKeeper | null) {
  let clock = 1000;
  return new Threads(keeper, () => (clock += 10));
}

function written(threads: Threads, text = ">be me\n>bus"): string {
  const { thread, key } = threads.start(WISH);
  threads.change(thread, key, { state: "done", text });
  return thread;
}

const ids = (threads: Threads) => threads.state.get().threads.map(({ id }) => id);

describe("kept", () => {
  test("what has ended is there after a reload, newest first", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    const [first, second] = [written(threads), written(threads)];
    expect(ids(threadsIn(keeper))).toEqual([second, first]);
    threads.change(first, threads.reply(first, { ...WISH, kind: "retry" }), { state: "stopped" });
    expect(ids(threadsIn(keeper))).toEqual([first, second]);
    expect(threadsIn(keeper).find(first)?.posts).toHaveLength(2);
  });

  test("what is being written, or could not be, is not", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    threads.start(WISH);
    const { thread, key } = threads.start(WISH);
    threads.change(thread, key, { state: "failed" });
    expect(keeper.length).toBe(0);
    expect(ids(threads)).toHaveLength(2);
  });

  test("a text that a link had written passes through, until somebody goes on with it", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    const { thread, key } = threads.start(WISH, true);
    threads.change(thread, key, { state: "done" });
    expect(keeper.length).toBe(0);
    threads.change(thread, threads.reply(thread, WISH), { state: "done" });
    expect(threads.find(thread)?.fleeting).toBeUndefined();
    expect(threadsIn(keeper).find(thread)?.posts).toHaveLength(2);
  });

  test("what another tab wrote is taken over, and what is being written here stays", () => {
    const keeper = new MemoryKeeper();
    const here = threadsIn(keeper);
    const writing = here.start(WISH).thread;
    const there = written(threadsIn(keeper));
    here.reload();
    expect(ids(here).sort()).toEqual([there, writing].sort());
  });
});

describe("bounds", () => {
  test("the oldest threads go", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    const all = Array.from({ length: MOST_THREADS + 5 }, () => written(threads));
    expect(ids(threads)).toEqual(all.slice(5).reverse());
    expect(keeper.length).toBe(MOST_THREADS);
  });

  test("of a long thread the beginning stays, and the newest", () => {
    const threads = threadsIn(new MemoryKeeper());
    const id = written(threads);
    const op = threads.find(id)?.posts[0]?.key;
    const replies = Array.from({ length: MOST_POSTS + 9 }, () => threads.reply(id, WISH));
    const keys = threads.find(id)?.posts.map(({ key }) => key);
    expect(keys).toEqual([op, ...replies.slice(-(MOST_POSTS - 1))]);
  });

  test("a full browser: the oldest make room", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    const all = Array.from({ length: 4 }, () => written(threads));
    keeper.room = [...keeper.records.values()].join("").length + 20;
    const last = written(threads);
    expect(ids(threads)).toEqual([last, all[3], all[2], all[1]]);
    expect(threads.state.get().keeps).toBe(true);
  });

  test("a browser that keeps nothing at all: the threads are there all the same, and it is said", () => {
    const keeper = new MemoryKeeper();
    keeper.room = 0;
    const threads = threadsIn(keeper);
    const id = written(threads);
    expect(ids(threads)).toEqual([id]);
    expect(threads.state.get().keeps).toBe(false);
    expect(threadsIn(null).state.get()).toEqual({ threads: [], keeps: false });
  });
});

describe("removed", () => {
  test("a post, and with the last one its thread", () => {
    const keeper = new MemoryKeeper();
    const threads = threadsIn(keeper);
    const id = written(threads);
    const reply = threads.reply(id, WISH);
    threads.change(id, reply, { state: "done" });
    threads.removePost(id, threads.find(id)?.posts[0]?.key ?? "");
    expect(
      threadsIn(keeper)
        .find(id)
        ?.posts.map(({ key }) => key),
    ).toEqual([reply]);
    threads.removePost(id, reply);
    expect(keeper.length).toBe(0);
    expect(ids(threads)).toEqual([]);
  });

  test("everything, and nothing of anybody else", () => {
    const keeper = new MemoryKeeper();
    keeper.setItem("other", "stays");
    const threads = threadsIn(keeper);
    written(threads);
    written(threads);
    threads.forgetAll();
    expect([...keeper.records.keys()]).toEqual(["other"]);
    expect(ids(threads)).toEqual([]);
  });
});

test("what cannot be read is skipped", () => {
  const keeper = new MemoryKeeper();
  const id = written(threadsIn(keeper));
  for (const [name, record] of [
    ["a", "{"],
    ["b", "null"],
    ["c", '{"id":"c","atMs":1,"changedMs":1,"posts":[]}'],
    ["d", '{"id":"d","atMs":1,"changedMs":1,"posts":[{"key":"x","text":7}]}'],
  ] as const)
    keeper.setItem(`gtx-board:thread:${name}`, record);
  expect(ids(threadsIn(keeper))).toEqual([id]);
});
