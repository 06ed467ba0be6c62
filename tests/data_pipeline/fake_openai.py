"""A server that speaks OpenAI's API as far as synthesis uses it, and fails on demand the ways the real one does.

Shapes, status codes, error bodies and headers follow https://platform.openai.com/docs/api-reference (chat, files,
batch) and .../docs/guides/error-codes, .../docs/guides/rate-limits. It keeps books: what it would bill, and to whom it
delivered, so that a test can say whether something was lost or paid for twice.

Start it with `serve()`; it runs in a thread and is reached over real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

KEY = "sk-test-1234567890"
MODEL = "fake-mini"
INPUT_TOKENS = 400

WHO = ["mom", "the baker", "a goat", "my boss", "grandpa", "a robot", "the cat", "an owl", "the twins", "a pirate"]
WHAT = ["a kite", "one shoe", "cold soup", "a map", "the last bun", "a lamp", "a wet hat", "an old bell", "a button"]
WHERE = ["on the bus", "by the lake", "at school", "in the attic", "at the shop", "under the table", "on the roof"]


def story(seed: str) -> str:
    """A greentext that nobody else has."""
    rng = random.Random(seed)
    number = hashlib.sha256(seed.encode()).hexdigest()[:8]
    who = rng.choice(WHO)
    return (
        f">be me\n>find {rng.choice(WHAT)} {rng.choice(WHERE)}\n>{who} wants it back, ticket {number}\n"
        f'>"keep it, I\'ve got two"\n>thank you, {who}'
    )


def error(status: int, message: str, *, kind: str = "invalid_request_error", code: Any = None, param: Any = None,
          headers: dict[str, str] | None = None) -> Response:  # fmt: skip
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers=headers)


class CutOff(Response):
    """Promises more bytes than it sends, and hangs up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        raise ConnectionResetError("the fake hangs up")


@dataclass
class Asked:
    """One attempt at a request."""

    id: str
    """The client's, from X-Client-Request-Id."""
    attempt: int
    """Of the same id, from 1."""
    body: dict[str, Any]
    at_s: float
    fault: str = ""


@dataclass
class FakeOpenAI:
    """The server's mind. Tests set the first part and read the second."""

    fault: Callable[[Asked], str] = lambda _: ""
    """Names a fault for an attempt: see `_completion`; empty for a good answer."""
    formats: tuple[str, ...] = ("json_schema", "json_object")
    """Response formats that it knows."""
    output_limit_names: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    latency_s: float = 0.0
    with_usage: bool = True
    batch_looks: int = 2
    """How many times a batch must be looked at until it is done."""
    batch_fault: str = ""
    """For batches as wholes: `failed`, `expires_half`, `create_500_after`, `stuck`."""
    headers: dict[str, str] = field(default_factory=dict)

    asked: list[Asked] = field(default_factory=list)
    billed: Counter[str] = field(default_factory=Counter)
    """Completions by request id, delivered or not."""
    delivered: Counter[str] = field(default_factory=Counter)
    """Completions by request id whose last byte was handed to the socket."""
    most_in_flight: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    authorisations: set[str] = field(default_factory=set)
    _in_flight: int = 0
    _looks: Counter[str] = field(default_factory=Counter)

    url: str = ""

    def attempts(self) -> Counter[str]:
        return Counter(asked.id for asked in self.asked)

    # ------------------------------------------------------------------------------------- completions

    async def chat(self, request: Request) -> Response:
        if (refused := self._unauthorised(request)) is not None:
            return refused
        try:
            body = await request.json()
        except ValueError:
            return error(400, "We could not parse the JSON body of your request.")
        name = request.headers.get("x-client-request-id", "")
        asked = Asked(name, self.attempts()[name] + 1, body, time.monotonic())
        self.asked.append(asked)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self.latency_s)
            if (refused := self._invalid(body)) is not None:
                return refused
            asked.fault = self.fault(asked)
            return await self._completion(asked)
        finally:
            self._in_flight -= 1

    async def _completion(self, asked: Asked) -> Response:
        fault = asked.fault
        match fault:
            case "429":
                text = f"Rate limit reached for {MODEL} on requests per min (RPM): Limit 3, Used 3, Requested 1."
                limited = {"retry-after-ms": "20", "retry-after": "1", "x-ratelimit-remaining-requests": "0",
                           "x-ratelimit-reset-requests": "20ms"}  # fmt: skip
                return error(429, text, kind="requests", code="rate_limit_exceeded", headers=limited)
            case "429_long":
                return error(429, "Slow down.", kind="requests", headers={"retry-after": "3600"})
            case "quota":
                text = "You exceeded your current quota, please check your plan and billing details."
                return error(429, text, kind="insufficient_quota", code="insufficient_quota")
            case "500":
                text = "The server had an error while processing your request. Sorry about that!"
                return error(500, text, kind="server_error")
            case "502":
                return Response("<html><body><h1>502 Bad Gateway</h1></body></html>", 502, media_type="text/html")
            case "503":
                return error(503, "The engine is currently overloaded.", kind="server_error")
            case "policy":
                text = "Your request was rejected as a result of our safety system."
                return error(400, text, code="content_policy_violation")
            case "hang":
                await asyncio.sleep(30)
            case "html":
                return Response("<html>Sign in to the wireless network</html>", 200, media_type="text/html")
        completion = self.completion(asked.body, asked.id, fault)
        self.billed[asked.id] += 1
        headers = {
            "x-request-id": f"req_{hashlib.sha256(asked.id.encode()).hexdigest()[:16]}",
            "x-ratelimit-limit-requests": "10000", "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-reset-requests": "6ms", "x-ratelimit-remaining-tokens": "199000",
            "x-ratelimit-reset-tokens": "1m0s", **self.headers,
        }  # fmt: skip
        if fault == "cut":
            return CutOff(json.dumps(completion))
        if fault == "half_body":
            return Response(json.dumps(completion)[:-40], 200, media_type="application/json", headers=headers)
        self.delivered[asked.id] += 1
        return JSONResponse(completion, headers=headers)

    def completion(self, body: dict[str, Any], seed: str, fault: str = "") -> dict[str, Any]:
        """A chat completion, its content spoilt where the fault says so."""
        wanted = re.search(r"Write (\d+) greentexts", body["messages"][-1]["content"])
        texts = [story(f"{seed}/{number}") for number in range(int(wanted[1]) if wanted else 1)]
        content: str | None = json.dumps({"greentexts": texts})
        finish, refusal = "stop", None
        if "response_format" not in body:
            content = "Sure! Here you are:\n\n" + "\n\n".join(f"{n}.\n{text}" for n, text in enumerate(texts, 1))
        match fault:
            case "length":
                content, finish = content[:-15], "length"  # within the last text
            case "fence":
                content = f"Here is the JSON:\n```json\n{content}\n```\nEnjoy!"
            case "numbered":
                content = json.dumps({str(number): text for number, text in enumerate(texts)}, indent="\t")
            case "python":
                content = repr({"greentexts": texts})
            case "raw_line_ends":
                content = content.replace("\\n", "\n")
            case "capital":
                content = content.replace(">be me", ">Be me")
            case "nonsense":
                content = "As a language model I would rather talk about the weather."
            case "empty":
                content = ""
            case "filter":
                content, finish = None, "content_filter"
            case "refusal":
                content, refusal = None, "I'm sorry, I can't help with that."
        output_tokens = max(1, len(content or "") // 4)
        completion = {
            "id": f"chatcmpl-{hashlib.sha256(seed.encode()).hexdigest()[:24]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": f"{body['model']}-2026-01-01",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": refusal, "annotations": []},
                    "logprobs": None,
                    "finish_reason": finish,
                }
            ],
            "usage": {
                "prompt_tokens": INPUT_TOKENS,
                "completion_tokens": output_tokens,
                "total_tokens": INPUT_TOKENS + output_tokens,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_0123456789",
        }
        if not self.with_usage:
            del completion["usage"]
        return completion

    def _unauthorised(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "")
        self.authorisations.add(given)
        if given == f"Bearer {KEY}":
            return None
        return error(401, "Incorrect API key provided: sk-****.", code="invalid_api_key")

    def _invalid(self, body: dict[str, Any]) -> Response | None:
        if body.get("model") != MODEL:
            text = f"The model `{body.get('model')}` does not exist or you do not have access to it."
            return error(404, text, code="model_not_found")
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            return error(
                400, "Missing required parameter: 'messages'.", code="missing_required_parameter", param="messages"
            )
        limits = {"max_completion_tokens", "max_tokens"} & set(body)
        if wrong := sorted(limits - set(self.output_limit_names)):
            text = f"Unsupported parameter: '{wrong[0]}' is not supported with this model."
            return error(400, text, code="unsupported_parameter", param=wrong[0])
        response_format = body.get("response_format")
        if response_format is None:
            return None
        if response_format["type"] not in self.formats:
            kind = response_format["type"]
            text = f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model."
            return error(400, text, param="response_format")
        if response_format["type"] == "json_object" and "json" not in json.dumps(body["messages"]).lower():
            text = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            return error(400, text, param="messages")
        if response_format["type"] == "json_schema":
            schema = response_format["json_schema"]
            if schema["schema"]["additionalProperties"] is not False or not re.fullmatch(
                r"[\w-]{1,64}", schema["name"]
            ):
                return error(400, "Invalid schema for response_format 'greentexts'.", param="response_format")
        return None

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, request: Request) -> Response:
        if (refused := self._unauthorised(request)) is not None:
            return refused
        async with request.form() as form:
            if form.get("purpose") != "batch":
                return error(400, "Invalid purpose.", param="purpose")
            content = await form["file"].read()
            filename = form["file"].filename
        name = f"file-{len(self.files):06}"
        self.files[name] = content
        return JSONResponse(self._file(name, filename))

    def _file(self, name: str, filename: str) -> dict[str, Any]:
        return {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": int(time.time()),
                "filename": filename, "purpose": "batch", "status": "processed"}  # fmt: skip

    async def content(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.files:
            return error(404, f"No such File object: {name}", param="id")
        return Response(self.files[name], media_type="application/octet-stream")

    # ----------------------------------------------------------------------------------------- batches

    async def create_batch(self, request: Request) -> Response:
        if (refused := self._unauthorised(request)) is not None:
            return refused
        body = await request.json()
        if body.get("endpoint") != "/v1/chat/completions" or body.get("completion_window") != "24h":
            return error(400, "Invalid value for 'endpoint' or 'completion_window'.")
        if body.get("input_file_id") not in self.files:
            return error(400, "Invalid input_file_id.", param="input_file_id")
        name = f"batch_{len(self.batches):06}"
        now = int(time.time())
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        ids = [line["custom_id"] for line in lines]
        problem = ""
        if len(set(ids)) < len(ids) or any(len(id_) > 64 for id_ in ids):
            problem = "duplicate_custom_id"
        if any((line["method"], line["url"]) != ("POST", body["endpoint"]) for line in lines):
            problem = "mismatched_endpoint"
        if self.batch_fault == "failed":
            problem = "token_limit_exceeded"
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "errors": None,
            "input_file_id": body["input_file_id"], "completion_window": "24h", "status": "validating",
            "output_file_id": None, "error_file_id": None, "created_at": now, "expires_at": now + 86400,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
        }  # fmt: skip
        if problem:
            said = {"code": problem, "line": None, "message": f"The batch was refused: {problem}.", "param": None}
            self.batches[name] |= {"status": "failed", "errors": {"object": "list", "data": [said]}}
        if self.batch_fault == "create_500_after":
            self.batch_fault = ""
            return error(500, "The server had an error.", kind="server_error")
        return JSONResponse(self.batches[name])

    async def retrieve_batch(self, request: Request) -> Response:
        batch = self.batches.get(request.path_params["name"])
        if batch is None:
            return error(404, "No batch found.")
        self._looks[batch["id"]] += 1
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return JSONResponse(batch)
        if batch["status"] == "cancelling":
            self._finish(batch, "cancelled", half=True)
        elif self._looks[batch["id"]] > self.batch_looks and self.batch_fault != "stuck":
            expires = self.batch_fault == "expires_half"
            self._finish(batch, "expired" if expires else "completed", half=expires)
        else:
            batch["status"] = "in_progress"
        return JSONResponse(batch)

    def _finish(self, batch: dict[str, Any], status: str, *, half: bool) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        done = lines[: len(lines) // 2] if half else lines
        good, bad = [], []
        for number, line in enumerate(done):
            asked = Asked(line["custom_id"], self.attempts()[line["custom_id"]] + 1, line["body"], time.monotonic())
            self.asked.append(asked)
            fault = asked.fault = self.fault(asked)
            invalid = self._invalid(line["body"])
            status_code, body = 200, None
            if invalid is not None:
                status_code, body = invalid.status_code, json.loads(invalid.body)
            elif fault in ("429", "500", "503", "cut", "hang"):
                status_code = 500 if fault in ("cut", "hang") else int(fault)
                body = {"error": {"message": "The server had an error.", "type": "server_error", "code": None}}
            else:
                body = self.completion(line["body"], line["custom_id"], fault)
                self.billed[line["custom_id"]] += 1
                self.delivered[line["custom_id"]] += 1
            entry = {"id": f"batch_req_{batch['id']}_{number}", "custom_id": line["custom_id"], "error": None,
                     "response": {"status_code": status_code, "request_id": f"req_{number}", "body": body}}  # fmt: skip
            (good if status_code == 200 else bad).append(entry)
        for line in lines[len(done) :]:
            said = {"code": f"batch_{status}", "message": "This request was not executed before the batch ended."}
            bad.append({"id": "batch_req_x", "custom_id": line["custom_id"], "response": None, "error": said})
        random.Random(batch["id"]).shuffle(good)  # the order of outputs is nobody's promise
        for what, entries in (("output_file_id", good), ("error_file_id", bad)):
            if entries:
                name = f"file-{len(self.files):06}"
                self.files[name] = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
                batch[what] = name
        batch["status"] = status
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    async def cancel_batch(self, request: Request) -> Response:
        batch = self.batches[request.path_params["name"]]
        if batch["status"] not in ("validating", "in_progress", "finalizing"):
            return error(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch["status"] = "cancelling"
        return JSONResponse(batch)

    async def list_batches(self, request: Request) -> Response:
        newest_first = sorted(self.batches.values(), key=lambda batch: batch["id"], reverse=True)
        after, limit = request.query_params.get("after"), min(2, int(request.query_params.get("limit", 20)))
        ids = [batch["id"] for batch in newest_first]
        start = ids.index(after) + 1 if after else 0
        page = newest_first[start : start + limit]
        body = {"object": "list", "data": page, "has_more": start + limit < len(ids),
                "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}  # fmt: skip
        return JSONResponse(body)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/files", self.upload, methods=["POST"]),
                Route("/v1/files/{name}/content", self.content),
                Route("/v1/batches", self.create_batch, methods=["POST"]),
                Route("/v1/batches", self.list_batches, methods=["GET"]),
                Route("/v1/batches/{name}", self.retrieve_batch),
                Route("/v1/batches/{name}/cancel", self.cancel_batch, methods=["POST"]),
            ]
        )


@contextlib.contextmanager
def serve(fake: FakeOpenAI | None = None) -> Iterator[FakeOpenAI]:
    """The server on a free port, until the `with` ends."""
    fake = fake or FakeOpenAI()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        config = uvicorn.Config(
            fake.app(), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield fake
        finally:
            server.should_exit = True
            thread.join(10)
