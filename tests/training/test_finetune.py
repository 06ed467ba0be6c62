from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from tests.training.conftest import CONTEXT_LENGTH, tiny_model
from tests.training.counting import tiny_llama
from training import finetune as module
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from training.corpus import CorpusError, Document, read_greentexts, take_split
from training.evaluate import hold_out, score_model
from training.finetune import Tuning, TuningTexts, finetune, finetune_on, greentexts_of
from training.tokenizer import END_TOKEN_ID, START_TOKEN_ID
from training.trainer import TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path

    from training.packing import PackedRows

PLAN = TrainingPlan(
    steps=40, batch_rows=4, learning_rate=3e-3, warmup_steps=2, cooldown_steps=20, evaluate_every_steps=20, seed=1
)


def test_tuning_teaches_greentexts(checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path) -> None:
    before = load_checkpoint(checkpoint_directory)
    texts = [document.text for document in greentexts_of(greentexts_path, "test")]
    summary = finetune(checkpoint_directory, greentexts_path, Tuning(dropout=0.1), PLAN, tmp_path)
    after = load_checkpoint(tmp_path / "checkpoint")
    untrained = score_model(before.model, hold_out(before, texts)).bits_per_byte
    assert score_model(after.model, hold_out(after, texts)).bits_per_byte < untrained / 2
    assert after.model.config.bos_token_id == START_TOKEN_ID
    assert after.model.config.resid_dropout == before.model.config.resid_dropout, "dropout is for training only"
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["summary"]["bits_per_byte"] == summary.bits_per_byte
    assert set(summary.by_genre) == {"thanks", "general"}


def seen_in_training(monkeypatch: pytest.MonkeyPatch) -> dict[str, PackedRows]:
    """What ``train`` is given, in place of training."""
    seen: dict[str, PackedRows] = {}

    class StopError(Exception):
        pass

    def train(model: object, training: PackedRows, validation: PackedRows, *_: object) -> None:
        seen.update(training=training, validation=validation)
        raise StopError

    monkeypatch.setattr(module, "train", train)
    seen["stop"] = StopError  # type: ignore[assignment]
    return seen


def decoded(directory: Path, rows: PackedRows) -> list[tuple[int, str, int]]:
    """(first token, text, last token) of each document."""
    tokenizer = load_checkpoint(directory).tokenizer
    found = []
    for ids, documents in zip(rows.input_ids, rows.document_ids, strict=True):
        for number in range(1, documents.max() + 1):
            document = ids[documents == number].tolist()
            found.append((document[0], tokenizer.decode(document[1:-1]), document[-1]))
    return found


@pytest.mark.parametrize("genre", ["all", "thanks", "general"])
def test_training_sees_the_training_split_of_the_genre_and_nothing_else(
    checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genre: str
) -> None:
    seen = seen_in_training(monkeypatch)
    with pytest.raises(seen["stop"]):  # type: ignore[arg-type]
        finetune(checkpoint_directory, greentexts_path, Tuning(genre=genre), PLAN, tmp_path)  # type: ignore[arg-type]
    for split, rows in (("train", seen["training"]), ("validation", seen["validation"])):
        wanted = [
            document.text
            for document in take_split(read_greentexts(greentexts_path), split)  # type: ignore[arg-type]
            if genre in ("all", document.genre)
        ]
        documents = decoded(checkpoint_directory, rows)
        assert sorted(text for _, text, _ in documents) == sorted(wanted)
        assert {(first, last) for first, _, last in documents} == {(START_TOKEN_ID, END_TOKEN_ID)}


def test_replayed_stories_take_their_share_and_begin_as_in_pretraining(
    checkpoint_directory: Path,
    greentexts_path: Path,
    stories_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = seen_in_training(monkeypatch)
    with pytest.raises(seen["stop"]):  # type: ignore[arg-type]
        finetune(checkpoint_directory, greentexts_path, Tuning(replay=0.3), PLAN, tmp_path, stories_path=stories_path)
    rows = seen["training"]
    story_tokens = 0
    for ids, documents in zip(rows.input_ids, rows.document_ids, strict=True):
        for number in range(1, documents.max() + 1):
            document = ids[documents == number]
            story_tokens += len(document) * (document[0] == END_TOKEN_ID)
    assert story_tokens / (rows.document_ids > 0).sum() == pytest.approx(0.3, abs=0.05)
    assert all(first == START_TOKEN_ID for first, _, _ in decoded(checkpoint_directory, seen["validation"]))


def test_rows_may_be_longer_than_the_context_and_no_text_is(
    checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Document(text=">be me\n" + ">and then\n" * 60)
    texts = [document for document in read_greentexts(greentexts_path) if document.genre == "thanks"]
    seen = seen_in_training(monkeypatch)
    with pytest.raises(seen["stop"]):  # type: ignore[arg-type]
        finetune_on(
            checkpoint_directory, TuningTexts([*texts, long], texts[:5]), Tuning(row_tokens=200), PLAN, tmp_path
        )
    for rows in (seen["training"], seen["validation"]):
        assert rows.input_ids.shape[1] == 200
        assert rows.position_ids.max() < CONTEXT_LENGTH
    assert seen["training"].position_ids.max() == CONTEXT_LENGTH - 1
    monkeypatch.undo()
    summary = finetune_on(
        checkpoint_directory, TuningTexts(texts, texts[:5]), Tuning(row_tokens=200), PLAN, tmp_path / "tuned"
    )
    assert summary.training_texts == len(texts)
    assert summary.by_genre.keys() == {"thanks"}


def test_dropout_reaches_every_architecture() -> None:
    for model in (tiny_model("gpt2", 30), tiny_model("gpt_neo", 30), tiny_llama(30)):
        model.train()
        ids = torch.arange(20)[None]
        module._set_dropout(Checkpoint(model, None), 0.5)  # type: ignore[arg-type]
        torch.manual_seed(0)
        first = model(ids).logits
        assert not first.equal(model(ids).logits)
        module._set_dropout(Checkpoint(model, None), 0.0)  # type: ignore[arg-type]
        assert model(ids).logits.equal(model(ids).logits)


def test_a_second_stage_keeps_the_start_token_of_the_first(
    checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path
) -> None:
    finetune(checkpoint_directory, greentexts_path, Tuning(), PLAN, tmp_path / "all")
    first = load_checkpoint(tmp_path / "all" / "checkpoint").model.get_input_embeddings().weight
    assert not first[START_TOKEN_ID].equal(first[END_TOKEN_ID])
    still = TrainingPlan(steps=1, batch_rows=4, learning_rate=0.0, evaluate_every_steps=1)
    finetune(tmp_path / "all" / "checkpoint", greentexts_path, Tuning(genre="thanks"), still, tmp_path / "thanks")
    second = load_checkpoint(tmp_path / "thanks" / "checkpoint").model.get_input_embeddings().weight
    assert second.equal(first)


def test_mistakes_are_named(checkpoint_directory: Path, greentexts_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="replay"):
        finetune(checkpoint_directory, greentexts_path, Tuning(replay=0.1), PLAN, tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        finetune(tmp_path, greentexts_path, Tuning(), PLAN, tmp_path)
    with pytest.raises(ValueError, match="genre"):
        Tuning(genre="sad")  # type: ignore[arg-type]
    for field in ("replay", "dropout"):
        with pytest.raises(ValueError, match=field):
            Tuning(**{field: 1.0})
    with pytest.raises(ValueError, match="row_tokens"):
        Tuning(row_tokens=1)
    text = [Document(text=">be me")]
    for texts in (([], text), (text, [])):
        with pytest.raises(CorpusError, match="texts to validate on"):
            TuningTexts(*texts)
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps({"text": ">be me\n>thanks", "genre": "thanks"}) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="general"):
        greentexts_of(one, "train", "general")


def test_a_broken_checkpoint_is_named(checkpoint_directory: Path, tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(checkpoint_directory, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(broken)


def test_a_stage_may_take_synthetic_or_written_texts_only(tmp_path: Path) -> None:
    rows = [{"text": f">be {source} {i}", "genre": "general", "source": source}
            for source in ("synthetic", "written") for i in range(60)]  # fmt: skip
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    everything = greentexts_of(tmp_path, "train")
    synthetic = greentexts_of(tmp_path, "train", texts="synthetic")
    written = greentexts_of(tmp_path, "train", texts="written")
    assert len(synthetic) == 60
    assert {document.source for document in written} == {"written"}
    assert [*synthetic, *written] == everything
    assert {document.source for document in greentexts_of(tmp_path, "validation")} == {"written"}
    with pytest.raises(CorpusError, match=r"of genre thanks \(synthetic\) in its train split"):
        greentexts_of(tmp_path, "train", "thanks", "synthetic")
    with pytest.raises(ValueError, match="texts must be"):
        Tuning(texts="copied")  # type: ignore[arg-type]
