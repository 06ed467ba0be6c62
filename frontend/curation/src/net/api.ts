/**
 * The server's routes. Answers are taken as the contract has them.
 *
 *     Error
 *     ├── ApiError      the server refused: its status and error object
 *     └── Unreachable   no answer, or one that says that the server cannot work now (502, 503, 504)
 */

import type {
  DecisionAnswer,
  ErrorBody,
  Facets,
  Page,
  Progress,
  Row,
  RowHistory,
  Session,
  UndoAnswer,
} from "../contract.ts";
import { type Filter, filterBody, filterQuery } from "../filter.ts";
import type { DecisionEntry, UndoEntry } from "../keep/outbox.ts";

export class ApiError extends Error {
  readonly status: number;
  readonly body: ErrorBody;

  constructor(status: number, body: ErrorBody) {
    super(body.message);
    this.status = status;
    this.body = body;
  }
}

export class Unreachable extends Error {}

const UNAVAILABLE = new Set([502, 503, 504]);
const PAGE_ROWS = 60;
/** A server on the same machine or network that takes longer is not there. */
const PATIENCE_MS = 15_000;

interface Call {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  body?: unknown;
  keepalive?: boolean;
}

export class Api {
  #csrf = "";
  /** Who the page works for; a session of anybody else counts as none. */
  person: string | null = null;
  /** Called after every answer with whether there was one. */
  onReach: (reached: boolean) => void = () => undefined;
  onSignedOut: () => void = () => undefined;

  async session(): Promise<Session> {
    const session = this.#took(await this.#json<Session>("/session"));
    if (this.person !== null && session.person !== this.person) this.onSignedOut();
    return session;
  }

  async signIn(person: string, password: string): Promise<Session> {
    if (this.#csrf === "") await this.session();
    const body = password === "" ? { person } : { person, password };
    return this.#took(await this.#json<Session>("/session", { method: "POST", body }));
  }

  async signOut(): Promise<void> {
    await this.#call("/session", { method: "DELETE" });
    this.person = null;
    await this.session();
  }

  facets(): Promise<Facets> {
    return this.#json("/facets");
  }

  progress(): Promise<Progress> {
    return this.#json("/progress");
  }

  rows(filter: Filter, after: string | null): Promise<Page> {
    const query = new URLSearchParams(filterQuery(filter));
    query.set("limit", String(PAGE_ROWS));
    if (after !== null) query.set("after", after);
    return this.#json(`/rows?${query.toString()}`);
  }

  row(id: string): Promise<Row> {
    return this.#json(rowPath(id));
  }

  /** The next row in line, held for this tab; null when none is left. */
  next(filter: Filter, after: string | null, tab: string): Promise<Row | null> {
    return this.#json("/rows/next", { method: "POST", body: { filter: filterBody(filter), after, tab } });
  }

  previous(filter: Filter, before: string, tab: string): Promise<Row | null> {
    return this.#json("/rows/previous", {
      method: "POST",
      body: { filter: filterBody(filter), before, tab },
    });
  }

  async lease(id: string, tab: string): Promise<void> {
    await this.#call(`${rowPath(id)}/lease`, { method: "POST", body: { tab } });
  }

  async release(id: string, tab: string): Promise<void> {
    await this.#call(`${rowPath(id)}/lease?tab=${encodeURIComponent(tab)}`, { method: "DELETE" });
  }

  async saveDraft(id: string, text: string, version: number, tab: string, keepalive = false): Promise<void> {
    await this.#call(`${rowPath(id)}/draft`, { method: "PUT", body: { text, version, tab }, keepalive });
  }

  async dropDraft(id: string): Promise<void> {
    await this.#call(`${rowPath(id)}/draft`, { method: "DELETE" });
  }

  decide(entry: DecisionEntry): Promise<DecisionAnswer> {
    const body = { ...entry.body, tab: entry.tab, request_id: entry.request_id };
    return this.#json(`${rowPath(entry.row_id)}/decision`, { method: "POST", body });
  }

  undo(entry: UndoEntry): Promise<UndoAnswer> {
    const body = { request_id: entry.request_id, ...(entry.skip ? { skip: true } : {}) };
    return this.#json("/undo", { method: "POST", body });
  }

  history(id: string): Promise<RowHistory> {
    return this.#json(`${rowPath(id)}/history`);
  }

  async image(id: string): Promise<Blob> {
    const answer = await this.#call(`${rowPath(id)}/image`);
    return answer.blob();
  }

  #took(session: Session): Session {
    this.#csrf = session.csrf;
    return session;
  }

  async #json<T>(path: string, call: Call = {}): Promise<T> {
    const answer = await this.#call(path, call);
    if (answer.status === 204) return null as T;
    try {
      return (await answer.json()) as T;
    } catch {
      throw this.#lost("the answer broke off");
    }
  }

  async #call(path: string, call: Call = {}, again = true): Promise<Response> {
    const method = call.method ?? "GET";
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method !== "GET") headers["X-Greentext-CSRF"] = this.#csrf;
    if (call.body !== undefined) headers["Content-Type"] = "application/json";
    let answer: Response;
    try {
      answer = await fetch(`/api${path}`, {
        method,
        headers,
        body: call.body === undefined ? null : JSON.stringify(call.body),
        keepalive: call.keepalive ?? false,
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
    } catch {
      throw this.#lost("no answer");
    }
    if (UNAVAILABLE.has(answer.status)) throw this.#lost(`status ${answer.status}`);
    this.onReach(true);
    if (answer.ok) return answer;
    const error = new ApiError(answer.status, await errorBody(answer));
    if (error.body.code === "cross_site" && again && method !== "GET" && call.keepalive !== true) {
      // Signing in in another tab changes the token; if it was somebody else, nothing is done in their name.
      const session = await this.session();
      const asBefore = this.person === null || session.person === this.person;
      if (asBefore || path === "/session") return this.#call(path, call, false);
    }
    if (error.status === 401 && path !== "/session") this.onSignedOut();
    throw error;
  }

  #lost(why: string): Unreachable {
    this.onReach(false);
    return new Unreachable(why);
  }
}

export function rowPath(id: string): string {
  return `/rows/${encodeURIComponent(id)}`;
}

async function errorBody(answer: Response): Promise<ErrorBody> {
  try {
    const body = (await answer.json()) as { error?: ErrorBody };
    if (body.error) return body.error;
  } catch {
    // Not ours: told by its status below.
  }
  return { code: "unknown", message: `The server answered with status ${answer.status}.` };
}
