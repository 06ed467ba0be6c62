"""Refuses a model whose three forms disagree: PyTorch, the portable ONNX export, and the serving graph.

In fp32 the logits must agree within 1e-4, with PyTorch's or with the exact ones, in every way the engine uses the
graph (token by token through the cache, in a batch of prompts of different lengths, and in chunks), and greedy
decoding must give the same text. The format that is served, where it is another, may cost 1 % of perplexity.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from service.engine.llm_engine import EngineConfig, LLMEngine
from service.engine.model_runner import ModelRunner
from service.engine.sampling_params import SamplingParams
from training.evaluate import score_model, score_runner
from training.samples import complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from training.checkpoint import Checkpoint
    from training.evaluate import HeldOut

    Logits = NDArray[np.float32]

MAX_LOGIT_DIFFERENCE = 1e-4
LARGE_LOGIT = 30.0
MAX_PERPLEXITY_INCREASE = 0.01
COMPARED_TEXTS = 8
GREEDY_PROMPTS = 32
GREEDY_TOKENS = 48


class ParityError(RuntimeError):
    """The forms of a model disagree; the message has the figures."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What was compared. Differences are the largest between any two logits, by way of use."""

    differences: dict[str, float]
    greedy_prompts: int
    greedy_mismatches: dict[str, int]
    """Prompts whose greedy text is not PyTorch's, by form."""
    pytorch_perplexity: float
    fp32_perplexity: float
    served_perplexity: float
    largest_logit: float = 0.0
    """In magnitude. fp32 has seven digits: logits beyond LARGE_LOGIT may differ by more, in proportion."""

    @property
    def allowed_difference(self) -> float:
        """How far two logits may be apart."""
        return MAX_LOGIT_DIFFERENCE * max(1.0, self.largest_logit / LARGE_LOGIT)

    @property
    def problems(self) -> list[str]:
        """Why the model must not be packaged; empty where it may be."""
        found = [
            f"{way}: logits differ by {difference:.2e}, at most {self.allowed_difference:.0e} is allowed"
            for way, difference in self.differences.items()
            if not difference <= self.allowed_difference  # a NaN must not pass
        ]
        found += [
            f"{form}: {count} of {self.greedy_prompts} greedy texts are not PyTorch's"
            for form, count in self.greedy_mismatches.items()
            if count
        ]
        for form, perplexity, reference in (
            ("the fp32 serving graph", self.fp32_perplexity, self.pytorch_perplexity),
            ("the served format", self.served_perplexity, self.fp32_perplexity),
        ):
            if not perplexity / reference - 1 <= MAX_PERPLEXITY_INCREASE:
                found.append(
                    f"{form}: perplexity {perplexity:.4f} against {reference:.4f}, "
                    f"at most {MAX_PERPLEXITY_INCREASE:.0%} more is allowed"
                )
        return found

    def require(self) -> None:
        """Raises ParityError unless everything agrees."""
        if problems := self.problems:
            raise ParityError("the model's forms disagree; it cannot be packaged:\n- " + "\n- ".join(problems))

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {**asdict(self), "problems": self.problems}


def check_parity(
    checkpoint: Checkpoint,
    held_out: HeldOut,
    *,
    portable: Path | None,
    serving_fp32: Path,
    served: Path,
    tokenizer: Path,
) -> ParityReport:
    """Compares the forms on held-out texts, and returns the report whether it is good or not (see ``require``).

    ``portable`` is the export's ``model.onnx`` (None where there is no such export to compare), ``serving_fp32`` and
    ``served`` serving graphs, ``tokenizer`` the ``tokenizer.json`` that the engine reads.
    """
    # The longest texts show most of what depends on position, the window of local attention included.
    texts = sorted(held_out.documents, key=len, reverse=True)[:COMPARED_TEXTS]
    wanted = [_pytorch_logits(checkpoint.model, text) for text in texts]
    exported = None if portable is None else _Portable(portable)
    # Room for these texts, not for the model's whole context, which may take gigabytes.
    room = len(texts[0])
    runner = ModelRunner(serving_fp32, slots=COMPARED_TEXTS, max_len=room)
    differences = _differences(wanted, texts, exported, runner)
    if max(differences.values()) > MAX_LOGIT_DIFFERENCE:
        # fp32 rounds in PyTorch too. Who is near the exact logits is right, however far PyTorch's own are from them.
        exact = copy.deepcopy(checkpoint.model).double()
        of_exact = _differences([_pytorch_logits(exact, text) for text in texts], texts, exported, runner)
        del exact
        differences = {way: min(difference, of_exact[way]) for way, difference in differences.items()}
    prompts = _beginnings(held_out)
    written = _greedy(serving_fp32, tokenizer, checkpoint.end_id, prompts)
    mismatches = {"serving": 0} if exported is None else {"portable": 0, "serving": 0}
    for prompt, answer in zip(prompts, written, strict=True):
        # A text is the greedy one exactly when each of its tokens is the best after those before it.
        text = [*prompt, *answer][: checkpoint.context_length]
        of_pytorch = _pytorch_logits(checkpoint.model, text).argmax(axis=1)[len(prompt) - 1 : -1].tolist()
        mismatches["serving"] += of_pytorch != text[len(prompt) :]
        if exported is not None:
            of_portable = exported.whole(text).argmax(axis=1)[len(prompt) - 1 : -1].tolist()
            mismatches["portable"] += of_pytorch != of_portable
    return ParityReport(
        differences=differences,
        greedy_prompts=len(prompts),
        greedy_mismatches=mismatches,
        pytorch_perplexity=score_model(checkpoint.model, held_out).perplexity,
        fp32_perplexity=score_runner(runner, held_out).perplexity,
        largest_logit=max(float(np.abs(logits).max()) for logits in wanted),
        served_perplexity=score_runner(ModelRunner(served, slots=COMPARED_TEXTS, max_len=room), held_out).perplexity,
    )


def _differences(
    wanted: Sequence[Logits], texts: Sequence[Sequence[int]], exported: _Portable | None, runner: ModelRunner
) -> dict[str, float]:
    """The largest difference from the wanted logits, by way of use."""
    differences = {} if exported is None else _compare_portable(exported, wanted, texts)
    return differences | {
        "serving, token by token": _largest(wanted, serve_stepwise(runner, texts)),
        "serving, prompts of different lengths": max(
            _largest([logits[[end - 1]] for logits, end in zip(wanted, ends, strict=True)], served_ends)
            for ends, served_ends in serve_ragged(runner, texts)
        ),
        "serving, in chunks": max(
            float(np.abs(logits[end - 1] - row).max())
            for logits, text in zip(wanted, texts, strict=True)
            for end, row in serve_chunks(runner, text)
        ),
    }


def _compare_portable(
    exported: _Portable, wanted: Sequence[Logits], texts: Sequence[Sequence[int]]
) -> dict[str, float]:
    return {
        "portable, whole texts": _largest(wanted, [exported.whole(text) for text in texts]),
        "portable, token by token": _largest(wanted, [exported.stepwise(text) for text in texts]),
    }


def serve_stepwise(runner: ModelRunner, texts: Sequence[Sequence[int]]) -> list[Logits]:
    """The logits [tokens, vocab_size] of each text, one token at a time, all in one batch. The longest come first."""
    logits: list[list[Logits]] = [[] for _ in texts]
    for position in range(len(texts[0])):
        live = [text for text in texts if len(text) > position]
        tokens = np.array([text[position] for text in live], np.int64)
        step = runner.decode(tokens, np.full(len(live), position, np.int32), 1)
        for row in range(len(live)):
            logits[row].append(step.logits[row].copy())
    return [np.stack(rows) for rows in logits]


def serve_ragged(runner: ModelRunner, texts: Sequence[Sequence[int]]) -> list[tuple[list[int], list[Logits]]]:
    """Ends within the texts, of different lengths, and the logits [1, vocab_size] there, prefilled in one batch."""
    found = []
    for share in (1.0, 0.6, 0.25):
        ends = [max(1, round(len(text) * share) - row % 3) for row, text in enumerate(texts)]
        ids = np.zeros((len(texts), max(ends)), np.int64)
        for row, (text, end) in enumerate(zip(texts, ends, strict=True)):
            ids[row, :end] = text[:end]
        step = runner.run(0, ids, np.zeros(len(texts), np.int32), np.array(ends, np.int32))
        found.append((ends, [step.logits[[row]].copy() for row in range(len(texts))]))
    return found


def serve_chunks(runner: ModelRunner, text: Sequence[int], chunk_tokens: int = 7) -> list[tuple[int, Logits]]:
    """Ends of the chunks that a text is fed in, and the logits [vocab_size] there."""
    found = []
    for start in range(0, len(text), chunk_tokens):
        ids = np.array([text[start : start + chunk_tokens]], np.int64)
        new = np.array([ids.shape[1]], np.int32)
        step = runner.run(0, ids, np.array([start], np.int32), new)
        found.append((start + ids.shape[1], step.logits[0].copy()))
    return found


class _Portable:
    """The portable export, run by plain ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        self._past = {value.name: value.shape for value in inputs if value.name.startswith("past_key_values.")}
        self._names = {value.name for value in inputs}

    def whole(self, text: Sequence[int]) -> Logits:
        """Logits [tokens, vocab_size] of a text in one run."""
        return self._run(text, 0, self._empty())[0]

    def stepwise(self, text: Sequence[int]) -> Logits:
        """The same, one token at a time through the cache."""
        cache, rows = self._empty(), []
        for position, token in enumerate(text):
            logits, cache = self._run([token], position, cache)
            rows.append(logits[0])
        return np.stack(rows)

    def _empty(self) -> dict[str, Logits]:
        return {name: np.zeros((1, heads, 0, dim), np.float32) for name, (_, heads, _, dim) in self._past.items()}

    def _run(self, ids: Sequence[int], cached: int, cache: dict[str, Logits]) -> tuple[Logits, dict[str, Logits]]:
        total = cached + len(ids)
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(cached, total, dtype=np.int64)[None],
            **cache,
        }
        present = [name.replace("past_key_values", "present") for name in cache]
        outputs = self._session.run(
            ["logits", *present], {name: value for name, value in feeds.items() if name in self._names}
        )
        return outputs[0][0], dict(zip(cache, outputs[1:], strict=True))


def _pytorch_logits(model: PreTrainedModel, text: Sequence[int]) -> Logits:
    with torch.no_grad():
        logits: Logits = model(input_ids=torch.tensor([list(text)]), use_cache=False).logits[0].numpy()
    return logits


def _largest(wanted: Sequence[Logits], got: Sequence[Logits]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(wanted, got, strict=True))


def _beginnings(held_out: HeldOut) -> list[list[int]]:
    """Prompts of many lengths: the start token alone, and beginnings of held-out texts."""
    texts = held_out.documents[: GREEDY_PROMPTS - 1]
    prompts = [list(text[: 1 + i % max(2, len(text) // 2)]) for i, text in enumerate(texts, start=1)]
    return [list(held_out.documents[0][:1]), *prompts]


def _greedy(model: Path, tokenizer: Path, end_id: int, prompts: Sequence[list[int]]) -> list[list[int]]:
    """What the engine writes greedily after each prompt, the end token included where it came."""
    engine = LLMEngine(
        EngineConfig(
            model_path=model,
            tokenizer_path=tokenizer,
            end_token_id=end_id,
            max_slots=len(prompts),
            context_tokens=max(map(len, prompts)) + GREEDY_TOKENS,
        )
    )
    params = SamplingParams(temperature=0.0, max_new_tokens=GREEDY_TOKENS, seed=0)
    completions = complete(engine, [(prompt, params) for prompt in prompts])
    return [
        [*completion.token_ids, end_id] if completion.finish_reason == "end" else list(completion.token_ids)
        for completion in completions
    ]
