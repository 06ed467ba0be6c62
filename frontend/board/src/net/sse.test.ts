import { describe, expect, test } from "vitest";

import { EventParser, type ServerEvent } from "./sse.ts";

const BYTES = new TextEncoder();

function read(chunks: Uint8Array[]): ServerEvent[] {
  const parser = new EventParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

const STREAM = 'event: token\ndata: {"text":"a frög 🐸"}\n\n: ping\n\nevent: end\ndata: {"ok":1}\n\n';
const EVENTS = [
  { event: "token", data: '{"text":"a frög 🐸"}' },
  { event: "end", data: '{"ok":1}' },
];

describe("events are the same, however the bytes are cut", () => {
  test.each(["\n", "\r\n", "\r"])("line ends %j", (end) => {
    // A CR at the end could be half of a CRLF: what comes next decides.
    const bytes = BYTES.encode(`${STREAM.replaceAll("\n", end)}:${end}`);
    expect(read([bytes])).toEqual(EVENTS);
    expect(read(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(EVENTS);
    for (let cut = 1; cut < bytes.length; cut += 1)
      expect(read([bytes.slice(0, cut), bytes.slice(cut)]), `cut at ${cut}`).toEqual(EVENTS);
  });
});

test("several lines of data are joined, one space after the colon goes", () => {
  expect(read([BYTES.encode("data: one\ndata:  two\ndata:three\ndata\n\n")])).toEqual([
    { event: "message", data: "one\n two\nthree\n" },
  ]);
});

test("no event without data, and none that is not complete", () => {
  expect(read([BYTES.encode("event: end\n\nid: 7\nretry: 3\n\ndata: half\n")])).toEqual([]);
});
