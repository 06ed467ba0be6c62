"""The models that speed is measured on: the bases' exact shapes with random weights, and the embedded one's.

Speed does not depend on what weights say, but for the text's length, which the benchmark fixes. Everything is made
once and kept in a work folder.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from greentext.bundle import read_manifest, write_bundle
from greentext.control_tokens import END_TOKEN, START_TOKEN
from greentext.manifest import ModelDescription

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Shape = Literal["distilgpt2", "tinystories-33m", "embedded"]
SHAPES: tuple[Shape, ...] = ("distilgpt2", "tinystories-33m", "embedded")
EMBEDDED = Path(__file__).resolve().parent.parent / "models" / "greentext-thanks"
BENCHMARK_CONTEXT_TOKENS = 256
GPT2_VOCAB_SIZE = 50257


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """One model in the forms that are compared."""

    shape: Shape
    portable: Path
    """optimum's export, with cache"""
    bundles: dict[str, Path]
    """precision to bundle"""


def prepare(shape: Shape, work: Path) -> BenchmarkModel:
    """Makes checkpoint, portable export and bundles of a shape, or takes those of an earlier run."""
    home = work / shape
    precisions = ("fp32", "int8")
    model = BenchmarkModel(shape, home / "portable", {name: home / name for name in precisions})
    done = home / "done.json"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        _make(model, home / "checkpoint")
        done.write_text(json.dumps({"shape": shape}), encoding="utf-8")
    if shape == "embedded":
        precision = read_manifest(EMBEDDED).precision
        return BenchmarkModel(shape, model.portable, {precision: EMBEDDED})
    return model


def _make(model: BenchmarkModel, checkpoint: Path) -> None:
    # Imported here: the service's half of the benchmark needs none of it, and it takes seconds.
    from training.calibrate import calibrate  # noqa: PLC0415
    from training.checkpoint import save_checkpoint  # noqa: PLC0415
    from training.decoder_reader import read_decoder  # noqa: PLC0415
    from training.export_portable import export_portable  # noqa: PLC0415
    from training.quantize import write_serving_graph  # noqa: PLC0415
    from training.weight_formats import Fp32, Int8Static  # noqa: PLC0415

    tokenizer = _tokenizer()
    network = _network(model.shape, len(tokenizer))
    save_checkpoint(network, tokenizer, checkpoint)
    export_portable(checkpoint, model.portable)
    if model.shape == "embedded":
        return
    decoder = read_decoder(network)
    rng = np.random.default_rng(0)
    ranges = calibrate(decoder, rng.integers(2, len(tokenizer), (16, 48)).tolist())
    for precision, weights in (("fp32", Fp32()), ("int8", Int8Static(ranges=ranges))):
        graph = write_serving_graph(decoder, weights, checkpoint / f"{precision}.onnx")
        description = ModelDescription.model_validate(
            {
                "name": f"{model.shape}-{precision}",
                "description": "Random weights, for measuring speed.",
                "base_model": model.shape,
                "architecture": decoder.architecture,
                "precision": precision,
                "context_length": decoder.context_length,
                "vocab_size": decoder.vocab_size,
                "num_layers": len(decoder.layers),
                "num_heads": decoder.num_heads,
                "num_kv_heads": decoder.num_heads,
                "head_dim": decoder.head_dim,
                "control_tokens": {
                    "start": {"id": tokenizer.convert_tokens_to_ids(START_TOKEN), "text": START_TOKEN},
                    "end": {"id": tokenizer.convert_tokens_to_ids(END_TOKEN), "text": END_TOKEN},
                },
                "default_sampling": {
                    "temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.0, "repetition_penalty": 1.2,
                    "max_new_tokens": 48,
                },
                "evaluation": {},
                "dataset": {"name": "none", "sha256": "0" * 64, "documents": 1},
                "license": "MIT",
            }
        )  # fmt: skip
        write_bundle(
            model.bundles[precision],
            description,
            model=graph,
            tokenizer=checkpoint / "tokenizer.json",
            model_card="Random weights.\n",
        )
        graph.unlink()


def _tokenizer() -> PreTrainedTokenizerFast:
    from training.tokenizer import train_tokenizer  # noqa: PLC0415

    return train_tokenizer([">be me\n>write a story about a dog and a bus driver\n>thank you"] * 4, 512)


def _network(shape: Shape, tokenizer_size: int) -> PreTrainedModel:
    import torch  # noqa: PLC0415
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    if shape == "distilgpt2":
        return GPT2LMHeadModel(GPT2Config(n_layer=6, bos_token_id=0, eos_token_id=0)).eval()
    if shape == "tinystories-33m":
        config = GPTNeoConfig(
            hidden_size=768, num_layers=4, num_heads=16, attention_types=[[["global", "local"], 2]], window_size=256,
            vocab_size=GPT2_VOCAB_SIZE, max_position_embeddings=2048, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return GPTNeoForCausalLM(config).eval()
    manifest = read_manifest(EMBEDDED)
    config = GPTNeoConfig(
        hidden_size=manifest.num_heads * manifest.head_dim, num_layers=manifest.num_layers,
        num_heads=manifest.num_heads, attention_types=[[["global", "local"], manifest.num_layers // 2]],
        vocab_size=max(manifest.vocab_size, tokenizer_size), max_position_embeddings=manifest.context_length,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPTNeoForCausalLM(config).eval()
