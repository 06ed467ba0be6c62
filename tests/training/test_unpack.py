"""Checkpoints out of bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from greentext.bundle import BundleError
from service.engine.model_runner import ModelRunner
from tests.training.conftest import tiny_model
from tests.training.published import llama_model, publish, smollm_tokenizer
from training import quantize
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from training.cli import main
from training.evaluate import hold_out, score_model, score_runner
from training.import_model import import_bundle
from training.unpack import unpack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models" / "greentext-thanks"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are not what is tested here."""
    monkeypatch.setattr(quantize, "decode_rate", lambda runner, batch, *, seconds: float(batch))


def test_an_fp32_bundle_gives_its_weights_back(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = tiny_model("gpt_neo", len(tokenizer))
    save_checkpoint(model, tokenizer, tmp_path / "source")
    import_bundle(str(tmp_path / "source"), tmp_path / "bundle", license_expression="MIT")
    assert main(["unpack", str(tmp_path / "bundle"), str(tmp_path / "checkpoint")]) == 0
    again = load_checkpoint(tmp_path / "checkpoint")
    for name, weight in load_checkpoint(tmp_path / "source").model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], weight, rtol=0, atol=0)
    assert again.model.config.attention_layers == model.config.attention_layers
    assert again.model.config.window_size == model.config.window_size
    assert again.model.config.layer_norm_epsilon == pytest.approx(model.config.layer_norm_epsilon)
    assert again.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_the_shipped_model_unpacked_knows_what_the_bundle_knows(tmp_path: Path) -> None:
    unpack(SHIPPED, tmp_path / "checkpoint")
    loaded = load_checkpoint(tmp_path / "checkpoint")
    assert loaded.model.config.bos_token_id == loaded.start_id
    lines = (ROOT / "data" / "greentexts" / "written4.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[::90]]
    held_out = hold_out(loaded, texts)
    served = score_runner(ModelRunner(SHIPPED / "model.onnx", slots=8, threads=1), held_out)
    # Activations alone are rounded in one and not in the other.
    assert score_model(loaded.model, held_out).perplexity == pytest.approx(served.perplexity, rel=0.01)


def test_what_cannot_be_unpacked_is_told(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    source = publish(llama_model(tokenizer, tied=True), tokenizer, tmp_path / "llama", "---\nlicense: mit\n---\n")
    import_bundle(str(source), tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="is a llama in fp32; only GPT-Neo"):
        unpack(tmp_path / "bundle", tmp_path / "checkpoint")
    with pytest.raises(BundleError):
        unpack(tmp_path, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
