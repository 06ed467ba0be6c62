from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from service.engine.model_runner import ModelRunner
from tests.training.conftest import greentexts
from training.decoder_reader import read_decoder
from training.evaluate import decode_rate, hold_out, log_probabilities, score_model, score_runner
from training.quantize import write_serving_graph
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from pathlib import Path

    from training.checkpoint import Checkpoint

TEXTS = [row["text"] for row in greentexts(9)]


def test_bits_per_byte_is_what_the_definition_says(tiny: Checkpoint) -> None:
    text = TEXTS[0]
    held_out = hold_out(tiny, [text])
    [ids] = held_out.documents
    assert ids[0] == tiny.start_id
    assert ids[-1] == tiny.end_id
    with torch.no_grad():
        logs = torch.log_softmax(tiny.model(torch.tensor([ids])).logits[0], dim=-1)
    nats = -sum(logs[i, token].item() for i, token in enumerate(ids[1:]))
    score = score_model(tiny.model, held_out)
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)


def test_the_serving_graph_scores_as_pytorch_does_however_many_slots(tiny: Checkpoint, tmp_path: Path) -> None:
    path = write_serving_graph(read_decoder(tiny.model), Fp32(), tmp_path / "model.onnx")
    held_out = hold_out(tiny, TEXTS)
    wanted = score_model(tiny.model, held_out)
    for slots in (1, 4, 16):
        score = score_runner(ModelRunner(path, slots=slots, threads=1), held_out)
        assert score.nats == pytest.approx(wanted.nats, rel=1e-5)
        assert (score.texts, score.tokens, score.text_bytes) == (wanted.texts, wanted.tokens, wanted.text_bytes)


def test_log_probabilities_stand_large_logits() -> None:
    logits = np.array([[1000.0, 0.0], [-1000.0, 1000.0]], np.float32)
    assert log_probabilities(logits, np.array([0, 0])).tolist() == [0.0, -2000.0]


def test_what_cannot_be_scored_is_said(tiny: Checkpoint) -> None:
    with pytest.raises(ValueError, match="no held-out texts"):
        hold_out(tiny, [])
    with pytest.raises(ValueError, match="context"):
        hold_out(tiny, ["a b c d e f g " * 40])


def test_a_rate_is_measured(tiny: Checkpoint, tmp_path: Path) -> None:
    path = write_serving_graph(read_decoder(tiny.model), Fp32(), tmp_path / "model.onnx")
    assert decode_rate(ModelRunner(path, slots=4, threads=1), 4, seconds=0.02) > 0
