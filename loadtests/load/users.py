"""Who asks. Each class does one thing, `act`, timed from when it was meant to start; its lines tell what became of it.

    locust -f loadtests/load/users.py --host http://localhost:3000

lets Locust itself run them, closed loop, with its page at localhost:8089; `generator` runs them by a plan.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from typing import TYPE_CHECKING, Any, Final

import gevent
from locust import User, between, task

from loadtests.load.figures import Recorder
from loadtests.load.wire import PATIENCE_S, LostError, Reply, Stream, Wire

if TYPE_CHECKING:
    import openai
    from locust.env import Environment

RATE_SHARE: Final = 0.3
"""Of those who write on our own page, how many rate what they got."""
LOOK_SHARE: Final = 0.1
"""Of the users of the board, how many read the board in place of writing."""
OWN_PAGE_SHARE: Final = 0.4
"""Of those who write, how many do so by our own call, which a text can be rated after; others by the contract's."""
SLOW_BODY_S: Final = 20.0
START: Final = "<|4chanGtxStart|>"
BEGINNINGS: Final = ("be me", "be dog", "be a frog", "be mom", "be anon", "be a bus driver", "tfw", "mfw")


class Recording:
    """What users tell their results to, one for each process; the time is counted from `zero_s`."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.zero_s = time.perf_counter()
        self.new_tokens = 45
        self.rates = True
        self.seeds = itertools.count(1)


RECORDING: Final = Recording()


class Asker(User):
    """One user with a connection of its own."""

    abstract = True
    wait_time = between(1, 3)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.wire = Wire.to(str(environment.host))
        self.rng = random.Random(next(RECORDING.seeds))

    @task
    def go(self) -> None:
        """What Locust calls in a closed loop: it is meant to start now."""
        self.act(time.perf_counter())

    def act(self, intended_s: float) -> None:
        """One request, or a few; `intended_s` by `time.perf_counter`."""
        raise NotImplementedError

    def on_stop(self) -> None:
        """The connection goes with the user."""
        self.wire.close()

    def note(self, name: str, outcome: str, intended_s: float, *, size_bytes: int = 0, remark: str = "") -> None:
        """Tells the recorder, and Locust for its report."""
        ended_s = time.perf_counter()
        zero_s = RECORDING.zero_s
        RECORDING.recorder.note(name, outcome, intended_s - zero_s, ended_s - zero_s, remark)
        self.environment.events.request.fire(
            request_type="POST" if name.startswith(("write", "stream", "openai", "rate")) else "",
            name=name,
            response_time=(ended_s - intended_s) * 1000,
            response_length=size_bytes,
            exception=None if outcome == "ok" else RuntimeError(f"{outcome} {remark}".strip()),
            context={},
        )

    def tell(self, name: str, reply: Reply, intended_s: float, *, good: bool = True) -> bool:
        """Notes an answer; whether it was as it should be: a status of success, and `good`."""
        outcome = outcome_of(reply.status) if reply.status >= 300 or good else "wrong"
        remark = "" if outcome == "ok" else f"{reply.status} {reply.body[:80].decode(errors='replace')}"
        self.note(name, outcome, intended_s, size_bytes=len(reply.body), remark=remark)
        return outcome == "ok"

    def metrics(self, stream: Stream, intended_s: float) -> None:
        """Time to first token, from when it was meant to be asked for, and the times between tokens."""
        gaps_s = [later - earlier for earlier, later in itertools.pairwise(stream.at_s)]
        for name, values_s in (("TTFT", [at - intended_s for at in stream.at_s[:1]]), ("ITL", gaps_s)):
            RECORDING.recorder.metric(name, values_s, intended_s - RECORDING.zero_s)
            # Not through Locust's event: that would add them to its sum of requests, at ten times the price.
            entry = self.environment.stats.get(name, "metric")
            for value_s in values_s:
                entry.log(value_s * 1000, 0)


class BoardUser(Asker):
    """Somebody at one of the two pages: the original front end's call, or our own, and then an opinion on it."""

    weight = 6

    def act(self, intended_s: float) -> None:
        """Mostly writes; sometimes rates what came, or reads the board."""
        try:
            if RECORDING.rates and self.rng.random() < LOOK_SHARE:
                self.tell("board", self.wire.ask("GET", "/board?order=best&limit=15"), intended_s)
            elif RECORDING.rates and self.rng.random() < OWN_PAGE_SHARE:
                self._write_and_rate(intended_s)
            else:
                reply = self.wire.ask("POST", "/", contract(RECORDING.new_tokens))
                self.tell("write", reply, intended_s, good=b'"generated_text"' in reply.body)
        except LostError as error:
            self.note("write", "lost", intended_s, remark=str(error))

    def _write_and_rate(self, intended_s: float) -> None:
        # The cookie first, as the page does: texts and ratings belong to it.
        if not self.wire.cookie:
            self.wire.ask("POST", "/session", {})
        body = {"prompt": self.rng.choice(BEGINNINGS), "max_new_tokens": RECORDING.new_tokens}
        reply = self.wire.ask("POST", "/generate", body)
        if not self.tell("write, own call", reply, intended_s) or self.rng.random() > RATE_SHARE:
            return
        rated_s = time.perf_counter()
        rating = {"generation_id": text_id(reply.json()), "rating": self.rng.choice(("good", "good", "bad"))}
        self.tell("rate", self.wire.ask("POST", "/ratings", rating), rated_s)


class StreamUser(Asker):
    """Reads each token as it comes."""

    weight = 2

    def act(self, intended_s: float) -> None:
        """One text."""
        body = {"prompt": self.rng.choice(BEGINNINGS), "max_new_tokens": RECORDING.new_tokens}
        try:
            stream = self.wire.stream("/generate_stream", body)
        except LostError as error:
            self.note("stream", "lost", intended_s, remark=str(error))
            return
        outcome = outcome_of(stream.status)
        remark = f"{stream.status} {stream.body[:80].decode(errors='replace')}"
        if outcome == "ok" and stream.last_event != "end":
            outcome = "failed" if stream.last_event == "error" else "lost"
            remark = f"ended with {stream.last_event or 'nothing'} {stream.last_data[:80]}"
        self.note("stream", outcome, intended_s, remark="" if outcome == "ok" else remark)
        if outcome == "ok":
            self.metrics(stream, intended_s)


class OpenAIUser(Asker):
    """OpenAI's own client, half of the time streaming."""

    weight = 1

    def on_start(self) -> None:
        """One client for all, with a connection for each that is under way: to make one takes tens of milliseconds."""
        self.client, self.model, self.errors = _openai(str(self.environment.host))

    def act(self, intended_s: float) -> None:
        """One completion."""
        is_streamed = self.rng.random() < 0.5
        name = "openai, streamed" if is_streamed else "openai"
        asked: dict[str, Any] = {
            "model": self.model, "prompt": self.rng.choice(BEGINNINGS), "max_tokens": RECORDING.new_tokens,
        }  # fmt: skip
        try:
            if is_streamed:
                reasons = [
                    part.choices[0].finish_reason for part in self.client.completions.create(**asked, stream=True)
                ]
            else:
                reasons = [self.client.completions.create(**asked).choices[0].finish_reason]
        except self.errors as error:
            status = getattr(error, "status_code", None)
            self.note(name, "lost" if status is None else outcome_of(status), intended_s, remark=str(error)[:100])
        else:
            self.note(name, "ok" if reasons and reasons[-1] else "lost", intended_s, remark=f"no end in {reasons[-1:]}")


class RudeUser(Asker):
    """Does what a service must bear: each act has the one answer that is right."""

    weight = 1

    def act(self, intended_s: float) -> None:
        """One of them, on a connection of its own."""
        acts = (
            self.leave,
            self.leave_at_once,
            self.slow_body,
            self.nonsense,
            self.no_http,
            self.too_large,
            self.too_much,
        )
        act = self.rng.choice(acts)
        name = f"rude: {act.__name__.replace('_', ' ')}"
        try:
            said = act()
            self.note(name, "wrong" if said else "ok", intended_s, remark=said)
        except (LostError, OSError, ValueError) as error:
            self.note(name, "lost", intended_s, remark=f"{type(error).__name__} {error}"[:100])
        finally:
            self.wire.close(reset=act in (self.leave, self.leave_at_once))

    def leave(self) -> str:
        """Goes in the middle of a stream."""
        self.wire.send(self.wire.request_bytes("POST", "/generate_stream", {"max_new_tokens": 400, "ignore_eos": True}))
        status, _ = self.wire.head()
        gevent.sleep(self.rng.uniform(0, 0.2))
        return "" if status in (200, 429) else f"{status} in place of 200"

    def leave_at_once(self) -> str:
        """Goes as soon as it has asked."""
        self.wire.send(self.wire.request_bytes("POST", "/generate", {"max_new_tokens": 400, "n": 4}))
        return ""

    def slow_body(self) -> str:
        """Sends a body a byte at a time: 408, however patient it is itself."""
        self.wire.send(self.wire.request_bytes("POST", "/generate", b" " * 1000)[:-1000])
        end_s = time.perf_counter() + SLOW_BODY_S
        while time.perf_counter() < end_s:
            self.wire.send_more(b" ")
            if self.wire.has_answer(0.3):
                return expect(self.wire.read(), 408)
        return f"no answer within {SLOW_BODY_S:g} s"

    def nonsense(self) -> str:
        """JSON that is none, or none that is meant here."""
        bodies = (b'{"prompt": ', b"\xff\xfe", b'{"promt": "be me"}', b"[]", b'{"n": "many"}', b"[" * 20000)
        return expect(self.wire.ask("POST", "/generate", self.rng.choice(bodies)), 400)

    def no_http(self) -> str:
        """Bytes that are no HTTP."""
        self.wire.send(b"\x16\x03\x01\x02\x00\x01 hello\r\n\r\n")
        return expect(self.wire.read(), 400)

    def too_large(self) -> str:
        """A body above the limit."""
        return expect(self.wire.ask("POST", "/generate", b'{"prompt": "' + b"a" * 100_000 + b'"}'), 413)

    def too_much(self) -> str:
        """More of everything than there may be."""
        body = self.rng.choice(({"n": 1000}, {"max_new_tokens": 10**9}, {"prompt": "a" * 5000}, {"temperature": -1}))
        return expect(self.wire.ask("POST", "/generate", body), 400)


@functools.cache
def _openai(url: str) -> tuple[openai.OpenAI, str, tuple[type[Exception], ...]]:
    """Client, model and what the client raises. Its import takes a second or more: only who needs it pays."""
    import openai  # noqa: PLC0415 - see above

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S)
    return client, client.models.list().data[0].id, (openai.APIConnectionError, openai.APIStatusError)


def contract(new_tokens: int) -> dict[str, Any]:
    """What the original front end posts."""
    parameters = {
        "top_k": 50, "top_p": 0.9, "temperature": 0.8, "repetition_penalty": 1.2, "max_new_tokens": new_tokens,
        "return_full_text": False, "do_sample": True, "num_return_sequences": 1,
    }  # fmt: skip
    return {"inputs": START, "parameters": parameters, "options": {"use_cache": False}}


def outcome_of(status: int) -> str:
    """As `figures.OUTCOMES` has them."""
    if status == 429:
        return "refused"
    return "failed" if status >= 500 else "ok" if 200 <= status < 300 else "wrong"


def expect(reply: Reply, status: int) -> str:
    """Nothing, or how the answer differs from the one that is right; 429 is right whenever slots are full."""
    if reply.headers.get("content-type") == "application/json" and "error" not in reply.json():
        return f"{reply.status} without an error"
    return "" if reply.status in (status, 429) else f"{reply.status} in place of {status}"


def text_id(answer: Any) -> str:
    """The id of the first text of an answer of `/generate`."""
    return str(answer["greentexts"][0]["id"])


CLASSES: Final[dict[str, type[Asker]]] = {
    "board": BoardUser, "stream": StreamUser, "openai": OpenAIUser, "rude": RudeUser,
}  # fmt: skip
