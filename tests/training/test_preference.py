from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.training.conftest import CONTEXT_LENGTH, tiny_model
from tests.training.counting import losses, tiny_llama
from training.attention import fuse_attention
from training.checkpoint import load_checkpoint
from training.corpus import CorpusError, read_greentexts, sha256_of
from training.finetune import Tuning, TuningTexts, finetune, finetune_on, greentexts_of
from training.packing import pack_pairs
from training.preference import PreferenceLoss
from training.trainer import TrainingPlan, train

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from training.packing import PackedRows

PLAN = TrainingPlan(
    steps=12, batch_rows=4, learning_rate=1e-3, optimizer="adamw", warmup_steps=1, cooldown_steps=4,
    evaluate_every_steps=12, checkpoint_every_steps=4, seed=1,
)  # fmt: skip


def some_pairs(count: int) -> list[tuple[list[int], list[int]]]:
    """Texts that count up, and drafts that say one thing over and over."""
    rng = np.random.default_rng(5)
    pairs = []
    for _ in range(count):
        begin, lines = int(rng.integers(3, 20)), rng.integers(3, 20, 2)
        pairs.append(([1, *range(begin, begin + int(lines[0])), 0], [1, *[begin] * int(lines[1]), 0]))
    return pairs


def rows_of(pairs: list[tuple[list[int], list[int]]], row_tokens: int = 96) -> PackedRows:
    return pack_pairs(pairs, row_tokens, fill_id=0, document_tokens=CONTEXT_LENGTH)


def total(loss: PreferenceLoss, rows: PackedRows) -> torch.Tensor:
    arrays = (rows.input_ids, rows.labels, rows.position_ids, rows.document_ids)
    value: torch.Tensor = loss(*map(torch.from_numpy, arrays))
    return value


def nats(model: PreTrainedModel, document: list[int]) -> float:
    ids = torch.tensor(document)[None]
    with torch.no_grad():
        logits = model(ids).logits.double()
    return float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum"))


def models(seed: int) -> list[PreTrainedModel]:
    return [tiny_model("gpt2", 64, seed), tiny_model("gpt_neo", 64, seed), tiny_llama(64)]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_the_loss_of_packed_pairs_is_that_of_each_pair_by_itself(which: int, beta: float) -> None:
    before, model = models(0)[which], models(0)[which]
    fused = deepcopy(before)
    fuse_attention(fused, 96)
    loss = PreferenceLoss(fused, beta, compiled=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.03)
    fused.load_state_dict(model.state_dict())
    pairs = some_pairs(20)
    wanted = 0.0
    for text, draft in pairs:
        margin = (nats(before, text) - nats(model, text)) - (nats(before, draft) - nats(model, draft))
        wanted += nats(model, text) + (len(text) - 1) * math.log1p(math.exp(-beta * margin))
    assert total(loss, rows_of(pairs)).item() == pytest.approx(wanted, rel=1e-4)


def test_nothing_is_preferred_at_first_and_the_copy_stays_as_it_is() -> None:
    model = tiny_model("gpt_neo", 64)
    pairs = some_pairs(6)
    usual = sum(nats(model, text) for text, _ in pairs)
    fuse_attention(model, 96)
    loss = PreferenceLoss(model, 0.3, compiled=False)
    tokens = sum(len(text) - 1 for text, _ in pairs)
    value = total(loss, rows_of(pairs))
    assert value.item() == pytest.approx(usual + tokens * math.log(2), rel=1e-4)
    value.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in loss.before.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_training_makes_drafts_unlikely_as_texts_alone_do_not(tmp_path: Path) -> None:
    pairs = some_pairs(60)
    rows, held_out = rows_of(pairs[:40]), pairs[40:]
    likelier = {}
    for preference in (0.0, 0.3):
        model = tiny_model("gpt_neo", 64)
        before = [nats(model, draft) for _, draft in held_out]
        usual = np.mean([nats(model, text) for text, _ in held_out])
        plan = replace(PLAN, steps=30, evaluate_every_steps=30)
        train(model, rows, rows, plan, tmp_path / str(preference), preference=preference)
        trained = tiny_model("gpt_neo", 64)
        trained.load_state_dict(model.state_dict())
        after = [nats(trained, draft) for _, draft in held_out]
        likelier[preference] = np.mean(np.array(before) - after)
        assert np.mean([nats(trained, text) for text, _ in held_out]) < usual
    assert likelier[0.3] < -5 < 0 < likelier[0.0], "without a preference drafts are texts like any others"


def test_a_resumed_run_prefers_to_the_model_that_it_began_with(tmp_path: Path) -> None:
    rows = rows_of(some_pairs(40))
    for name, ends in (("whole", [12]), ("halves", [8, 12])):
        for steps in ends:
            plan = replace(PLAN, steps=steps, schedule="constant", evaluate_every_steps=4)
            train(tiny_model("gpt_neo", 64), rows, rows, plan, tmp_path / name, preference=0.2)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    with pytest.raises(ValueError, match="was written with preference=0.2, this run has 0.3"):
        train(tiny_model("gpt_neo", 64), rows, rows, PLAN, tmp_path / "whole", preference=0.3)


# ------------------------------------------------------------------------------------------------- from files


@pytest.fixture
def mended(greentexts_path: Path, tmp_path: Path) -> Path:
    """The small corpus, and forty texts with drafts."""
    rows = [json.loads(line) for line in greentexts_path.read_text(encoding="utf-8").splitlines()]
    for number in range(40):
        text = f">be me\n>my friend {number} gives me a cake\n>thank you, my friend"
        rows.append({"text": text, "genre": "thanks", "source": "synthetic", "draft": text.replace("friend", "cake")})
    path = tmp_path / "greentexts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_stage_learns_from_mended_texts(checkpoint_directory: Path, mended: Path, tmp_path: Path) -> None:
    texts = greentexts_of(mended, "train", texts="mended")
    assert len(texts) == 40
    assert {document.draft for document in greentexts_of(mended, "train", texts="written")} == {""}
    assert not [document for document in greentexts_of(mended, "test") if document.draft]
    tuning = Tuning(texts="mended", preference=0.3, row_tokens=96)
    summary = finetune(checkpoint_directory, mended, tuning, replace(PLAN, steps=40), tmp_path / "tuned")
    assert summary.training_texts == 40
    before, after = load_checkpoint(checkpoint_directory), load_checkpoint(tmp_path / "tuned" / "checkpoint")

    def mean(checkpoint: object, which: str) -> float:
        from training.finetune import encode_documents

        documents = encode_documents(after, [getattr(document, which) for document in texts])
        return float(np.mean([nats(checkpoint.model, ids) for ids in documents]))  # type: ignore[attr-defined]

    assert mean(after, "text") < mean(before, "text")
    assert mean(after, "draft") - mean(after, "text") > mean(before, "draft") - mean(before, "text") + 20


def test_another_draft_is_other_data(mended: Path) -> None:
    documents = read_greentexts(mended)
    assert sha256_of(documents) != sha256_of([replace(document, draft="") for document in documents])


def test_mistakes_are_named(checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path) -> None:
    for values in ({"preference": -0.1}, {"preference": float("nan")}, {"preference": 0.1},
                   {"preference": 0.1, "texts": "mended", "replay": 0.1}):  # fmt: skip
        with pytest.raises(ValueError, match="preference"):
            Tuning(**values)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match=r"\(mended\) in its train split"):
        greentexts_of(greentexts_path, "train", texts="mended")
    texts = greentexts_of(greentexts_path, "train")
    tuning = Tuning(texts="mended", preference=0.1)
    with pytest.raises(CorpusError, match="needs texts with drafts"):
        finetune_on(checkpoint_directory, TuningTexts(texts, texts[:5]), tuning, PLAN, tmp_path)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"text": ">be me", "draft": 3}) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="draft strings"):
        read_greentexts(broken)
