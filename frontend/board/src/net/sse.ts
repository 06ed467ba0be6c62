/**
 * Server-sent events out of a stream of bytes, as the HTML standard reads them: lines end in CR, LF or both, a line that
 * begins with `:` is a comment, an event ends at an empty line. Chunks may be cut anywhere, in a character too.
 *
 * `EventSource` cannot POST; what it knows besides (`id`, `retry`) nobody sends here.
 */

export interface ServerEvent {
  event: string;
  data: string;
}

export class EventParser {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #event = "";
  #data: string[] = [];

  /** The events that these bytes complete. */
  push(chunk: Uint8Array): ServerEvent[] {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    const events: ServerEvent[] = [];
    for (;;) {
      const end = /\r\n|\n|\r/.exec(this.#rest);
      // A CR at the very end may be half of a CRLF.
      if (!end || (end[0] === "\r" && end.index === this.#rest.length - 1)) return events;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      const event = this.#line(line);
      if (event) events.push(event);
    }
  }

  #line(line: string): ServerEvent | null {
    if (line === "") {
      const complete = this.#data.length > 0;
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      this.#event = "";
      this.#data = [];
      return complete ? event : null;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null;
  }
}
