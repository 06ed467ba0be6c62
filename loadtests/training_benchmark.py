"""Training throughput: this project's packed rows against the plain ``transformers.Trainer``, which pads.

Both train the same model on the same texts in one process, turn and turn about, with AdamW and about as many real
tokens a step: each as it comes (this project's recipes take bf16 where the processor multiplies it, the Trainer fp32),
or, with ``--precision``, both in one precision. A token counts when a loss is taken on it; padding never does. The
first steps, and so compiling, do not count. Ratios are taken within a round, and what is reported is the median over
the rounds, so that a noisy machine treats both alike; where it is busy with other work, seconds of processor time (one
thread) say more.

What packing gains depends on how unlike in length the texts are; what bf16 gains, on the processor.

    python -m loadtests.training_benchmark --shape embedded --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from training.corpus import read_greentexts, read_stories, take_split
from training.packing import PackedRows, pack
from training.tokenizer import END_TOKEN_ID, START_TOKEN_ID, encode_plain, wrap_tokenizer
from training.trainer import TrainingPlan, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "data" / "greentexts" / "starter.jsonl"
TOKENIZER = ROOT / "models" / "greentext-thanks" / "tokenizer.json"
WARM_UP_STEPS = 2
RATE = 1e-4
MOST_TEXTS = 2000
SHAPES = ("embedded", "tinystories-1m", "tinystories-33m", "distilgpt2")


@dataclass(frozen=True, slots=True)
class Setting:
    """What both are given."""

    shape: str
    texts: str
    precision: Literal["auto", "fp32", "bf16"]
    """``auto`` is each as it comes."""
    compile: bool
    row_tokens: int
    batch_rows: int
    steps: int
    threads: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Real tokens a second: of the clock, and of processor time."""

    wall: float
    processor: float


def new_model(shape: str) -> PreTrainedModel:
    """A base's exact shape with fresh weights, without dropout; the same each time."""
    torch.manual_seed(0)
    if shape == "distilgpt2":
        return GPT2LMHeadModel(GPT2Config(n_layer=6, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    if shape == "embedded":
        sizes = {"hidden_size": 256, "num_layers": 6, "num_heads": 4, "vocab_size": 8192, "context": 256}
    elif shape == "tinystories-1m":
        sizes = {"hidden_size": 64, "num_layers": 8, "num_heads": 16, "vocab_size": 50257, "context": 2048}
    else:
        sizes = {"hidden_size": 768, "num_layers": 4, "num_heads": 16, "vocab_size": 50257, "context": 2048}
    config = GPTNeoConfig(
        hidden_size=sizes["hidden_size"],
        num_layers=sizes["num_layers"],
        num_heads=sizes["num_heads"],
        vocab_size=sizes["vocab_size"],
        max_position_embeddings=sizes["context"],
        attention_types=[[["global", "local"], sizes["num_layers"] // 2]],
        resid_dropout=0.0,
        embed_dropout=0.0,
        attention_dropout=0.0,
    )
    return GPTNeoForCausalLM(config)


def rows_of(setting: Setting, documents: Sequence[Sequence[int]], context_length: int) -> PackedRows:
    """The documents packed; none is longer than the context."""
    return pack(documents, setting.row_tokens, fill_id=END_TOKEN_ID, document_tokens=context_length)


class _Clock:
    """Wall and processor time at each step's end or, it is the same, at the next one's beginning."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []

    def mark(self) -> None:
        self.wall.append(time.perf_counter())
        self.processor.append(time.process_time())

    def rates(self, tokens: int) -> Rates:
        """Of the tokens between the first and the last mark."""
        return Rates(tokens / (self.wall[-1] - self.wall[0]), tokens / (self.processor[-1] - self.processor[0]))


def packed_rates(setting: Setting, documents: Sequence[Sequence[int]]) -> Rates:
    """Tokens a second of this project's trainer."""
    model = new_model(setting.shape)
    # One more, because a step's end is seen when the next begins.
    steps = WARM_UP_STEPS + setting.steps + 1
    plan = TrainingPlan(
        steps=steps,
        batch_rows=setting.batch_rows,
        optimizer="adamw",
        learning_rate=RATE,
        schedule="constant",
        warmup_steps=0,
        evaluate_every_steps=steps,
        checkpoint_every_steps=steps,
        log_every_steps=steps,
        precision=setting.precision,
        compile=setting.compile,
    )
    clock, seen = _Clock(), []

    class Watched(PackedRows):
        """Rows that tell when they are asked for."""

        def take(self, rows: NDArray[np.int64]) -> PackedRows:
            taken = super().take(rows)
            seen.append(taken.target_tokens)
            if len(seen) > WARM_UP_STEPS:
                clock.mark()
            return taken

    rows = rows_of(setting, documents, model.config.max_position_embeddings)
    watched = Watched(rows.input_ids, rows.labels, rows.position_ids, rows.document_ids)
    with tempfile.TemporaryDirectory() as directory:
        train(model, watched, rows.take(np.arange(1)), plan, Path(directory))
    return clock.rates(sum(seen[WARM_UP_STEPS:-1]))


def padded_rates(setting: Setting, documents: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerFast) -> Rates:
    """Tokens a second of the plain Trainer: a document a row, padded to the longest of its batch."""
    model = new_model(setting.shape)
    context_length = model.config.max_position_embeddings
    rows = rows_of(setting, documents, context_length)
    steps = WARM_UP_STEPS + setting.steps
    a_step = round(setting.batch_rows * len(documents) / len(rows))
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    seen: list[int] = []

    def counting(examples: list[dict[str, Any]]) -> Any:
        seen.append(sum(len(example["input_ids"]) - 1 for example in examples))
        return collate(examples)

    clock = _Clock()

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step >= WARM_UP_STEPS:
                clock.mark()

    with tempfile.TemporaryDirectory() as directory:
        arguments = TrainingArguments(
            output_dir=directory,
            max_steps=steps,
            per_device_train_batch_size=a_step,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            bf16=setting.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": list(document[:context_length])} for document in documents],
            data_collator=counting,
            callbacks=[Watch()],
        ).train()
    # The loader is a batch ahead of the steps, so there may be a count too many.
    return clock.rates(sum(seen[WARM_UP_STEPS:steps]))


def read_texts(path: Path) -> list[str]:
    """Texts of a JSON Lines file, or stories of a text file."""
    documents = take_split(read_greentexts(path), "train") if path.suffix == ".jsonl" else read_stories(path)
    return [document.text for document in documents[:MOST_TEXTS]]


def compare(setting: Setting, rounds: int) -> dict[str, Any]:
    """Both, turn and turn about."""
    torch.set_num_threads(setting.threads)
    tokenizer = wrap_tokenizer(Tokenizer.from_file(str(TOKENIZER)))
    encoded = encode_plain(tokenizer, read_texts(Path(setting.texts)))
    documents = [[START_TOKEN_ID, *ids, END_TOKEN_ID] for ids in encoded]
    found: list[dict[str, float]] = []
    for number in range(1, rounds + 1):
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001  it holds to the first one's precision
        packed = packed_rates(setting, documents)
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
        padded = padded_rates(setting, documents, tokenizer)
        found.append(
            {
                "packed": packed.wall,
                "padded": padded.wall,
                "ratio": packed.wall / padded.wall,
                "processor_ratio": packed.processor / padded.processor,
            }
        )
        print(f"round {number}:", ", ".join(f"{name} {value:,.2f}" for name, value in found[-1].items()), flush=True)
    median = {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}
    return {"setting": asdict(setting), "documents": len(documents), "rounds": found, "median": median}


def main() -> None:
    """Prints the medians, and writes them as JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="embedded")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="(default: each as it comes)"
    )
    parser.add_argument(
        "--texts", type=Path, default=TEXTS, help="JSON Lines, or stories (default: the starter corpus)"
    )
    parser.add_argument("--compile", action="store_true", help="compile this project's training")
    parser.add_argument("--row-tokens", type=int, default=256, metavar="N", help="(default: 256)")
    parser.add_argument("--batch-rows", type=int, default=8, metavar="N", help="(default: 8)")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="of each run (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    setting = Setting(
        shape=options.shape,
        texts=str(options.texts),
        precision=options.precision,
        compile=options.compile,
        row_tokens=options.row_tokens,
        batch_rows=options.batch_rows,
        steps=options.steps,
        threads=options.threads,
    )
    result = compare(setting, options.rounds)
    print(json.dumps(result["median"]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
