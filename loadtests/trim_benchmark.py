"""What vocabulary trimming is worth: output tokens a second of the engine before and after, and whether texts agree.

DistilGPT-2's exact shape with random weights. A model that was tuned on the dataset never writes the tokens that are
trimmed; random weights would, so their embeddings are set to zero first, which costs and saves no time. Both models
take turns, and ratios are taken within a turn: a busy moment of the machine then falls on both.

    python -m loadtests.trim_benchmark --texts data/greentexts/starter.jsonl
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from greentext.control_tokens import END_TOKEN, START_TOKEN
from service.engine.cpu import cpu_limit
from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.sampling_params import SamplingParams
from training.calibrate import calibrate
from training.checkpoint import Checkpoint
from training.decoder_reader import read_decoder
from training.quantize import write_serving_graph
from training.samples import complete
from training.tokenizer import encode_plain
from training.trim import trim
from training.weight_formats import Fp32, Int8Static

STARTER = Path("data/greentexts/starter.jsonl")

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GPT2_MERGES = 50_000
CONTEXT_TOKENS = 256
PROMPT_TOKENS, NEW_TOKENS = 8, 48
CONCURRENCIES = (1, 8, 32)
CALIBRATION_TEXTS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds of one precision at one number of requests in flight."""

    precision: str
    concurrency: int
    whole_tokens_per_second: float
    trimmed_tokens_per_second: float
    ratio: float
    same_text: bool


def read_texts(path: Path) -> list[str]:
    """The texts of a JSON Lines file."""
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def tokenizer_of(path: Path | None) -> PreTrainedTokenizerFast:
    """A tokenizer file's, or one of GPT-2's size with made-up merges; both control tokens are in it."""
    bpe = Tokenizer.from_file(str(path)) if path else Tokenizer(_made_up_bpe())
    if path is None:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True) for token in (END_TOKEN, START_TOKEN)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=START_TOKEN, eos_token=END_TOKEN, additional_special_tokens=[START_TOKEN]
    )


def _made_up_bpe() -> models.BPE:
    """As many merges as GPT-2 has, of random pairs; what they spell does not matter to speed."""
    rng = random.Random(0)
    vocab = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letters = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
    tokens = letters[:]
    merges: list[tuple[str, str]] = []
    while len(merges) < GPT2_MERGES:
        left, right = rng.choice(tokens), rng.choice(letters)
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            tokens.append(left + right)
            merges.append((left, right))
    return models.BPE(vocab=vocab, merges=merges)


def distilgpt2(tokenizer: PreTrainedTokenizerFast, kept_ids: Sequence[int]) -> Checkpoint:
    """The shape of DistilGPT-2; tokens that are not kept are never the best."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=6, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0)).eval()
    dropped = np.setdiff1d(np.arange(len(tokenizer)), np.asarray(kept_ids))
    with torch.no_grad():
        # Wider apart than fresh weights are, so that no two tokens are equally good but for rounding.
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.dim() == 2:
                parameter.mul_(2.0)
        model.transformer.wte.weight[torch.from_numpy(dropped)] = 0
    return Checkpoint(model, tokenizer)


def open_engine(
    checkpoint: Checkpoint, precision: str, texts: Sequence[str], directory: Path, *, threads: int
) -> LLMEngine:
    """The engine on a checkpoint's serving graph."""
    decoder = read_decoder(checkpoint.model)
    weights: Fp32 | Int8Static = Fp32()
    if precision == "int8":
        sample = encode_plain(checkpoint.tokenizer, list(texts[:CALIBRATION_TEXTS]))
        weights = Int8Static(ranges=calibrate(decoder, [ids[:CONTEXT_TOKENS] for ids in sample]))
    graph = write_serving_graph(decoder, weights, directory / "model.onnx")
    checkpoint.tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    return LLMEngine(
        EngineConfig(
            model_path=graph, tokenizer_path=directory / "tokenizer.json", end_token_id=checkpoint.end_id,
            max_slots=max(CONCURRENCIES), context_tokens=CONTEXT_TOKENS, threads=threads,
        )
    )  # fmt: skip


def write_greedily(
    engine: LLMEngine, start_id: int, texts: Sequence[str], clock: Callable[[], float]
) -> tuple[float, list[str]]:
    """Output tokens a second of all requests together, and what was written."""
    params = SamplingParams(temperature=0.0, max_new_tokens=NEW_TOKENS, ignore_eos=True)
    prompts = [([start_id, *engine.tokenizer.encode(text)[:PROMPT_TOKENS]], params) for text in texts]
    started_s = clock()
    written = complete(engine, prompts)
    return len(texts) * NEW_TOKENS / (clock() - started_s), [completion.text for completion in written]


def measure(
    whole: Checkpoint,
    trimmed: Checkpoint,
    texts: Sequence[str],
    precision: str,
    *,
    rounds: int,
    work: Path,
    cpu_time: bool,
) -> list[Row]:
    """Both models in turns, at every number of requests in flight."""
    engines = []
    for name, checkpoint in (("whole", whole), ("trimmed", trimmed)):
        directory = work / f"{precision}-{name}"
        directory.mkdir()
        engine = open_engine(checkpoint, precision, texts, directory, threads=1 if cpu_time else 0)
        engines.append((engine, checkpoint.start_id))
    clock = time.process_time if cpu_time else time.perf_counter
    rows = []
    for concurrency in CONCURRENCIES:
        prompts = [texts[i % len(texts)] for i in range(concurrency)]
        rates: list[tuple[float, float]] = []
        same = True
        for _ in range(rounds + 1):
            done = [write_greedily(engine, start_id, prompts, clock) for engine, start_id in engines]
            rates.append((done[0][0], done[1][0]))
            same = same and done[0][1] == done[1][1]
        rates = rates[1:]  # the first warms up
        rows.append(
            Row(
                precision,
                concurrency,
                statistics.median(before for before, _ in rates),
                statistics.median(after for _, after in rates),
                statistics.median(after / before for before, after in rates),
                same_text=same,
            )
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 1 when a text differs."""
    parser = argparse.ArgumentParser(prog="trim_benchmark", description=__doc__.split("\n\n")[0])
    parser.add_argument("--texts", type=Path, default=STARTER, help="JSON Lines (%(default)s)")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json, such as GPT-2's (default: one of its size)")
    parser.add_argument("--vocab-size", type=int, default=8192, help="tokens to keep (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that medians are taken over (default 5)")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "int8"), default=["fp32", "int8"], help="(both)")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread, seconds of processor time: where others use the machine too",
    )
    options = parser.parse_args(arguments)
    texts = read_texts(options.texts)
    tokenizer = tokenizer_of(options.tokenizer)
    # Which tokens stay does not depend on the model: the first trimming is for their ids alone.
    tiny = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, n_positions=8, vocab_size=len(tokenizer)))
    kept_ids = trim(Checkpoint(tiny, tokenizer), texts, vocab_size=options.vocab_size).kept_ids
    whole = distilgpt2(tokenizer, kept_ids.tolist())
    trimmed = trim(whole, texts, vocab_size=options.vocab_size).checkpoint
    print(f"{len(tokenizer):,} tokens trimmed to {len(kept_ids):,}; {platform.machine()}, {cpu_limit()} CPUs, ", end="")
    print(f"onnxruntime {onnxruntime.__version__}, {options.rounds} rounds")
    print("| precision | in flight | whole tokens/s | trimmed tokens/s | ratio | same greedy text |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    same = True
    with tempfile.TemporaryDirectory() as work:
        for precision in options.precision:
            for row in measure(
                whole, trimmed, texts, precision, rounds=options.rounds, work=Path(work), cpu_time=options.cpu_time
            ):
                same = same and (row.same_text or precision != "fp32")
                print(
                    f"| {row.precision} | {row.concurrency} | {row.whole_tokens_per_second:.0f} "
                    f"| {row.trimmed_tokens_per_second:.0f} | {row.ratio:.2f} | {'yes' if row.same_text else 'no'} |",
                    flush=True,
                )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
