"""Output tokens a second and latencies of (a) the bare decode step, (b) the engine, (c) HTTP, (d) the naive way.

All four run in one process tree, round by round; bare step, engine and HTTP in turn, a wave each, so that a noisy
machine treats them alike. What is reported is the median over the rounds, and ratios are taken within a round first.
Requests have 8 prompt and 48 new tokens and are sampled as the bundle's manifest says; the number in flight is held
constant.

    python -m loadtests.engine_benchmark --models embedded --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import math
import platform
import statistics
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from greentext.bundle import read_manifest
from loadtests.benchmark_models import BENCHMARK_CONTEXT_TOKENS, SHAPES, BenchmarkModel, prepare
from loadtests.http_client import Connection
from loadtests.load.servers import start_service
from service.engine.cpu import cpu_limit
from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampler import TIES
from service.engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PROMPT_TOKENS = 8
NEW_TOKENS = 48
CONCURRENCIES = (1, 8, 32, 64)
FIRST = PROMPT_TOKENS + 1
"""The cache's length when the first token is decoded."""
SAMPLED_BY = ("temperature", "opening_temperature", "top_k", "top_p", "min_p", "repetition_penalty")
WAVES = {1: 15, 8: 9, 32: 5, 64: 5}
"""How often each way has its turn, by requests in flight."""
HTTP_REQUESTS = 2
"""Of each client in one turn."""
WARMING = 8
"""Requests of an engine's wave that is not timed."""
STREAMED_TURNS = 2
"""For latencies: every token is handed out."""


@dataclass(slots=True)
class Timed:
    """What one way did at one concurrency in one round."""

    tokens_per_second: float
    ttft_s: list[float] = field(default_factory=list)
    itl_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds. Latencies are milliseconds."""

    model: str
    precision: str
    way: str
    concurrency: int
    tokens_per_second: float
    rounds: tuple[float, ...]
    ttft_ms: dict[str, float]
    itl_ms: dict[str, float]


def open_engine(bundle: Path, slots: int) -> LLMEngine:
    """The engine on a bundle, as the service would open it."""
    config = EngineConfig(
        model_path=bundle / "model.onnx",
        tokenizer_path=bundle / "tokenizer.json",
        end_token_id=read_manifest(bundle).control_tokens.end.id,
        max_slots=slots,
        context_tokens=BENCHMARK_CONTEXT_TOKENS,
    )
    return LLMEngine(config)


def sampling_of(bundle: Path) -> dict[str, Any]:
    """A bundle's default sampling, for texts of exactly NEW_TOKENS."""
    defaults = read_manifest(bundle).default_sampling.model_dump(include=set(SAMPLED_BY))
    return {**defaults, "max_new_tokens": NEW_TOKENS, "ignore_eos": True}


def prompt_of(index: int, vocab_size: int) -> list[int]:
    """Start token and PROMPT_TOKENS others, different for each request."""
    rng = np.random.default_rng(index)
    return [1, *rng.integers(2, vocab_size, PROMPT_TOKENS).tolist()]


def replay(engine: LLMEngine, sampling: dict[str, Any], tokens: NDArray[np.int64]) -> list[float]:
    """(a) the decode steps that wrote ``tokens`` [requests, NEW_TOKENS] once more, nothing sampled: seconds of each.

    The rows' prompts are still in the cache, so that the model computes what it did before: how long it takes depends
    on its numbers (TopK), on real memory, and on tokens that change.
    """
    # As many candidates as sampling asked for: with a penalty, as many more as there are tokens to penalise.
    candidates, penalised = sampling["top_k"] + TIES + 1, sampling["repetition_penalty"] != 1.0
    steps = []
    for step in range(NEW_TOKENS - 1):
        newest = np.ascontiguousarray(tokens[:, step])
        cached = np.full(len(tokens), FIRST + step, np.int32)
        started_s = time.perf_counter()
        engine.runner.decode(newest, cached, candidates + (FIRST + step) * penalised)
        steps.append(time.perf_counter() - started_s)
    return steps


def engine_wave(
    engine: LLMEngine, sampling: dict[str, Any], seeds: range, *, stream: bool
) -> tuple[Timed, NDArray[np.int64]]:
    """(b) the engine, sampling and all, on one request a seed, all there from the start; and the tokens it wrote."""
    vocab_size = engine.tokenizer.vocab_size
    timed, last_s = Timed(0.0), dict[int, float]()
    written: dict[int, tuple[int, ...]] = {}
    started_s = time.perf_counter()
    for seed in seeds:
        params = SamplingParams(seed=seed, **sampling)
        engine.add(engine.make_sequences(prompt_of(seed, vocab_size), params, stream=stream))
    while engine.has_work:
        events = engine.step()
        now_s = time.perf_counter()
        for sequence, event in events:
            if event.finished is not None:
                written[sequence.sequence_id] = event.finished.token_ids
            elif sequence.sequence_id in last_s:
                timed.itl_s.append(now_s - last_s[sequence.sequence_id])
                last_s[sequence.sequence_id] = now_s
            else:
                timed.ttft_s.append(now_s - sequence.arrived_s)
                last_s[sequence.sequence_id] = now_s
    timed.tokens_per_second = sum(map(len, written.values())) / (time.perf_counter() - started_s)
    return timed, np.array([tokens for _, tokens in sorted(written.items())], np.int64)


def in_turn(engine: LLMEngine, sampling: dict[str, Any], concurrency: int, port: int | None) -> dict[str, Timed]:
    """(a), (b) and (c) in turn, so that all meet the same machine; rates are medians over the turns.

    Latencies of the engine are from waves of their own, in which every token is handed out. Without a ``port`` there is
    no HTTP.
    """
    turns: dict[str, list[Timed]] = {"bare": [], "engine": [], "http": [], "http-stream": []}
    for number in range(WAVES.get(concurrency, 5)):
        seeds = range(number * concurrency, (number + 1) * concurrency)
        if port is not None:  # the service has had the caches; the bare steps will find them warm, so must the engine
            engine_wave(engine, sampling, range(min(concurrency, WARMING)), stream=False)
        whole, tokens = engine_wave(engine, sampling, seeds, stream=False)
        steps = replay(engine, sampling, tokens)
        turns["engine"].append(whole)
        turns["bare"].append(Timed(concurrency * len(steps) / sum(steps), itl_s=steps))
        if port is not None:
            turns["http"].append(asyncio.run(over_http(port, sampling, concurrency, number, stream=False)))
    for number in range(STREAMED_TURNS):
        streamed, _ = engine_wave(engine, sampling, range(concurrency), stream=True)
        turns["engine"].append(Timed(math.nan, streamed.ttft_s, streamed.itl_s))
        if port is not None:
            turns["http-stream"].append(asyncio.run(over_http(port, sampling, concurrency, number, stream=True)))
    timed = {way: together(of_way) for way, of_way in turns.items() if of_way}
    if port is not None:
        timed["http"].ttft_s, timed["http"].itl_s = timed["http-stream"].ttft_s, timed["http-stream"].itl_s
    return timed


def together(turns: Sequence[Timed]) -> Timed:
    """The median rate of those that have one, and all latencies."""
    return Timed(
        statistics.median(one.tokens_per_second for one in turns if not math.isnan(one.tokens_per_second)),
        [second for one in turns for second in one.ttft_s],
        [second for one in turns for second in one.itl_s],
    )


async def over_http(port: int, sampling: dict[str, Any], concurrency: int, turn: int, *, stream: bool) -> Timed:
    """(c) whole answers or streams, to as many clients as ``concurrency``, each on its own connection."""
    # Eight tokens or so: what the tokenizer makes of a prompt is the model's affair.
    prompts = [f"be {name}" for name in ("me", "dog", "cat", "mom", "a boss", "anon", "a bus", "robot")]
    connections = [await Connection.open("127.0.0.1", port) for _ in range(concurrency)]
    timed = Timed(0.0)

    async def client(number: int) -> int:
        tokens = 0
        for i in range(HTTP_REQUESTS):
            seed = (turn * concurrency + number) * HTTP_REQUESTS + i
            request = {**sampling, "seed": seed, "prompt": prompts[seed % len(prompts)]}
            if stream:
                times, gaps = await connections[number].stream("/generate_stream", request)
                tokens += len(times)
                timed.ttft_s += times[:1]
                timed.itl_s += gaps
            else:
                answer = await connections[number].post("/generate", request)
                tokens += answer["usage"]["completion_tokens"]
        return tokens

    started_s = time.perf_counter()
    counts = await asyncio.gather(*map(client, range(concurrency)))
    timed.tokens_per_second = sum(counts) / (time.perf_counter() - started_s)
    for connection in connections:
        connection.close()
    return timed


class Naive:
    """(d) optimum's ``ORTModelForCausalLM.generate`` on the portable export, all requests as one static batch."""

    def __init__(self, portable: Path, sampling: dict[str, Any]) -> None:
        """Loads the export; what ``sampling`` leaves off is not asked for."""
        import torch  # noqa: PLC0415 - seconds, and only this needs it
        from optimum.onnxruntime import ORTModelForCausalLM  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        self._torch = torch
        off = {"min_p": 0.0, "repetition_penalty": 1.0}
        self._sampling = {name: value for name, value in sampling.items() if off.get(name) != value}
        del self._sampling["ignore_eos"]
        self._sampling.pop("opening_temperature", None)  # transformers has no such thing
        self._sampling["min_new_tokens"] = NEW_TOKENS  # transformers' way to a length
        torch.set_num_threads(cpu_limit())
        self._model = ORTModelForCausalLM.from_pretrained(portable, session_options=options, local_files_only=True)

    def run(self, concurrency: int) -> Timed:
        """One batch from start to end; a token counts as delivered when its step is over."""
        from transformers import LogitsProcessorList, StoppingCriteriaList  # noqa: PLC0415

        vocab_size = self._model.config.vocab_size
        prompts = self._torch.tensor([prompt_of(i, min(vocab_size, 512)) for i in range(concurrency)])
        at_s: list[float] = []

        def note(*_: Any) -> Any:
            at_s.append(time.perf_counter())
            return self._torch.zeros(concurrency, dtype=self._torch.bool)

        started_s = time.perf_counter()
        self._model.generate(
            prompts,
            attention_mask=self._torch.ones_like(prompts),
            do_sample=True,
            pad_token_id=0,
            logits_processor=LogitsProcessorList(),
            stopping_criteria=StoppingCriteriaList([note]),
            **self._sampling,
        )
        seconds = time.perf_counter() - started_s
        gaps = [later - earlier for earlier, later in itertools.pairwise(at_s)]
        return Timed(concurrency * NEW_TOKENS / seconds, [at_s[0] - started_s], gaps)


@contextmanager
def serving(bundle: Path, folder: Path) -> Iterator[int]:
    """The service on a bundle, in processes of its own; gives its port once it is ready."""
    settings = {
        "GREENTEXT_MODEL_DIR": str(bundle.resolve()),
        "GREENTEXT_CONTEXT_TOKENS": str(BENCHMARK_CONTEXT_TOKENS),
        "GREENTEXT_KV_MEMORY_BYTES": str(2 * 1024**3),  # 64 slots of every shape, as in process
    }
    with start_service(folder, settings=settings) as service:
        service.wait_until_ready()
        yield int(service.url.rpartition(":")[2])


class Benchmark:
    """Runs all ways of all models and keeps what they did."""

    def __init__(self, concurrencies: Sequence[int], rounds: int, work: Path, skip: set[str]) -> None:
        """``skip`` names ways to leave out (http, naive) and precisions (fp32, int8)."""
        self.concurrencies, self.rounds, self.work, self.skip = concurrencies, rounds, work, skip
        self.timed: dict[tuple[str, str, str, int], list[Timed]] = {}

    def measure(self, model: BenchmarkModel) -> None:
        """Measures one model in all its precisions."""
        naive = None if "naive" in self.skip else Naive(model.portable, sampling_of(next(iter(model.bundles.values()))))
        for number in range(self.rounds):
            for precision, bundle in model.bundles.items():
                if precision in self.skip:
                    continue
                print(f"{model.shape} {precision}, round {number + 1} of {self.rounds}", file=sys.stderr, flush=True)
                self._round(model.shape, precision, bundle)
            if naive is not None:
                for concurrency in self.concurrencies:
                    self._keep(model.shape, "fp32", "naive", concurrency, naive.run(concurrency))

    def _round(self, shape: str, precision: str, bundle: Path) -> None:
        engine, sampling = open_engine(bundle, max(self.concurrencies)), sampling_of(bundle)
        engine_wave(engine, sampling, range(1), stream=True)  # warms everything up
        with nullcontext() if "http" in self.skip else serving(bundle, self.work / "service") as port:
            if port is not None:
                asyncio.run(over_http(port, sampling, 1, 0, stream=False))
            gc.collect()
            gc.freeze()
            for concurrency in self.concurrencies:
                for way, timed in in_turn(engine, sampling, concurrency, port).items():
                    self._keep(shape, precision, way, concurrency, timed)

    def _keep(self, shape: str, precision: str, way: str, concurrency: int, timed: Timed) -> None:
        self.timed.setdefault((shape, precision, way, concurrency), []).append(timed)

    def rows(self) -> list[Row]:
        """Medians, in the order of measuring."""
        return [
            Row(
                *key,
                tokens_per_second=round(statistics.median(one.tokens_per_second for one in timed), 1),
                rounds=tuple(round(one.tokens_per_second, 1) for one in timed),
                ttft_ms=percentiles([t for one in timed for t in one.ttft_s]),
                itl_ms=percentiles([t for one in timed for t in one.itl_s]),
            )
            for key, timed in self.timed.items()
        ]

    def ratio(self, shape: str, precision: str, way: str, to: tuple[str, str], concurrency: int) -> float | None:
        """Median over the rounds of ``way``'s rate to that of another (precision, way)."""
        ours = self.timed.get((shape, precision, way, concurrency))
        theirs = self.timed.get((shape, *to, concurrency))
        if not ours or not theirs:
            return None
        pairs = zip(ours, theirs, strict=True)
        return statistics.median(one.tokens_per_second / other.tokens_per_second for one, other in pairs)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds; empty where nothing was measured."""
    if not seconds:
        return {}
    values = np.percentile(np.array(seconds) * 1000, [50, 95, 99])
    return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}


def report(benchmark: Benchmark, shape: str) -> str:
    """The table of one model, in Markdown."""
    lines = [
        (
            "| model | precision | way | in flight | tokens/s | of bare | of engine | of naive | TTFT p50/p95/p99 ms "
            "| ITL p50/p95/p99 ms |"
        ),
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for row in benchmark.rows():
        if row.model != shape:
            continue
        key = (row.model, row.precision, row.way)

        def ratio(to: tuple[str, str], key: tuple[str, str, str] = key, at: int = row.concurrency) -> str:
            value = benchmark.ratio(*key, to, at) if key[1:] != to else None
            return "" if value is None else f"{value:.2f}"

        of_bare = ratio((row.precision, "bare"))
        of_engine = ratio((row.precision, "engine")) if row.way.startswith("http") else ""
        of_naive = ratio(("fp32", "naive"))
        ttft, itl = ("/".join(f"{value:.1f}" for value in times.values()) for times in (row.ttft_ms, row.itl_ms))
        lines.append(
            f"| {row.model} | {row.precision} | {row.way} | {row.concurrency} | {row.tokens_per_second:.0f} "
            f"| {of_bare} | {of_engine} | {of_naive} | {ttft} | {itl} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine_benchmark", description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES), help="default: all")
    parser.add_argument("--concurrency", nargs="+", type=int, default=list(CONCURRENCIES), help="requests in flight")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions that medians are taken over (default 3)")
    parser.add_argument("--skip", nargs="+", choices=("http", "naive", "fp32", "int8"), default=[], help="to leave out")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="where models are made and kept")
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or min(options.concurrency) < 1:
        parser.error("--rounds and --concurrency must be at least 1")
    options.work.mkdir(parents=True, exist_ok=True)
    benchmark = Benchmark(options.concurrency, options.rounds, options.work, set(options.skip))
    machine = f"{platform.machine()}, {cpu_limit()} CPUs, onnxruntime {onnxruntime.__version__}"
    print(f"{PROMPT_TOKENS} prompt and {NEW_TOKENS} new tokens a request, {options.rounds} rounds; {machine}")
    for shape in options.models:
        benchmark.measure(prepare(shape, options.work))
        print(f"\n{report(benchmark, shape)}", flush=True)
        if options.json is not None:
            figures = {"machine": machine, "rows": [asdict(row) for row in benchmark.rows()]}
            part = options.json.with_suffix(".part")
            part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            part.replace(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
