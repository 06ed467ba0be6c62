/** The service's endpoints as functions. Each raises `Failure`, and nothing else, when there is no good answer. */

import type {
  BoardOrder,
  BoardPage,
  EndEvent,
  ErrorBody,
  GenerateBody,
  Kept,
  ModelInfo,
  Opinion,
  RatingAnswer,
  SharedAnswer,
  TokenEvent,
} from "../contract.ts";
import { Failure, asFailure, failureOf } from "./failure.ts";
import { EventParser } from "./sse.ts";

const PATIENCE_MS = 15_000;
/** Longer than the service's own silence between two comment lines (15 s), twice. */
const SILENCE_MS = 40_000;

export async function models(): Promise<ModelInfo[]> {
  const answer = (await (await call("GET", "/models")).json()) as { models: ModelInfo[] };
  return answer.models;
}

/** Whether texts are kept here at all; afterwards they belong to whoever sits here. */
export async function openSession(): Promise<boolean> {
  try {
    await call("POST", "/session", {});
    return true;
  } catch (error) {
    if (asFailure(error).kind === "missing") return false;
    throw error;
  }
}

export async function forgetSession(): Promise<void> {
  await call("DELETE", "/session", {});
}

export async function rate(id: string, rating: Opinion | null): Promise<RatingAnswer> {
  const answer = await call("POST", "/ratings", { generation_id: id, rating });
  return (await answer.json()) as RatingAnswer;
}

export async function board(order: BoardOrder, after: string | null, limit = 15): Promise<BoardPage> {
  const query = new URLSearchParams({ order, limit: String(limit), ...(after === null ? {} : { after }) });
  return (await (await call("GET", `/board?${query.toString()}`)).json()) as BoardPage;
}

export async function generation(id: string): Promise<Kept> {
  return (await (await call("GET", generationPath(id))).json()) as Kept;
}

export async function share(id: string, shared: boolean): Promise<SharedAnswer> {
  return (await (await call("PATCH", generationPath(id), { shared })).json()) as SharedAnswer;
}

/** Deletes a text of one's own; that it is not there, or not any more, is as good. */
export async function remove(id: string): Promise<void> {
  try {
    await call("DELETE", generationPath(id), {});
  } catch (error) {
    const failure = asFailure(error);
    if (failure.kind !== "missing" && failure.kind !== "gone") throw failure;
  }
}

/** Writes one text: each token as it comes, then the end. Aborting the signal ends it, there too. */
export async function write(
  body: GenerateBody,
  onToken: (token: TokenEvent) => void,
  signal: AbortSignal,
): Promise<EndEvent> {
  const answer = await call("POST", "/generate_stream", body, signal);
  if (!answer.body) throw new Failure("lost");
  const reader = answer.body.getReader();
  const parser = new EventParser();
  for (;;) {
    const { done, value } = await readWithin(reader, signal);
    if (done) throw new Failure("lost");
    for (const { event, data } of parser.push(value)) {
      if (event === "token") onToken(parsed(data) as TokenEvent);
      else if (event === "end") return parsed(data) as EndEvent;
      else if (event === "error")
        throw new Failure("lost", (parsed(data) as { error?: ErrorBody }).error?.message);
    }
  }
}

async function readWithin(reader: ReadableStreamDefaultReader<Uint8Array>, signal: AbortSignal) {
  const silence = setTimeout(() => void reader.cancel(), SILENCE_MS);
  try {
    return await reader.read();
  } catch (error) {
    signal.throwIfAborted();
    throw new Failure("lost", error instanceof Error ? error.message : "");
  } finally {
    clearTimeout(silence);
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data) as unknown;
  } catch {
    throw new Failure("lost", "the answer could not be read");
  }
}

function generationPath(id: string): string {
  return `/generations/${encodeURIComponent(id)}`;
}

async function call(method: string, path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? AbortSignal.timeout(PATIENCE_MS),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw new Failure("unreachable", error instanceof Error ? error.message : "");
  }
  if (answer.ok) return answer;
  throw failureOf(answer.status, await errorBody(answer), answer.headers.get("retry-after"));
}

async function errorBody(answer: Response): Promise<ErrorBody | null> {
  try {
    return ((await answer.json()) as { error?: ErrorBody }).error ?? null;
  } catch {
    return null; // not ours: told by its status
  }
}
