"""Tiny random models with all that the engine needs, and engines on them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.engine.async_engine import AsyncEngine
from service.engine.llm_engine import EngineConfig, LLMEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CONTEXT_TOKENS = 96
WINDOW_TOKENS = 8
"""Of GPT-Neo's local attention: less than most texts here."""
START, END = "<|start|>", "<|end|>"
SENTENCES = [
    ">be me",
    ">find a tiny snail on the path",
    ">carry it over to the wet grass, “thank you” it says",
    ">naïve café, 12 °C, 3 €",
    ">the whole week is a good one 🐌🐌",
]


@dataclass(frozen=True)
class TinyModel:
    """A graph, its tokenizer, and the ``transformers`` model that it was made from."""

    name: str
    model_path: Path
    tokenizer_path: Path
    torch_model: Any
    vocab_size: int
    start_id: int
    end_id: int
    exact: bool
    """Whether the graph computes what the ``transformers`` model computes (it is not quantised)."""

    def logits(self, token_ids: list[int]) -> NDArray[np.float32]:
        """What ``transformers`` gives at each position, [tokens, vocab_size]."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = self.torch_model(torch.tensor([token_ids])).logits[0].numpy()
        return logits

    def greedy(self, prompt_ids: list[int], tokens: int) -> list[int]:
        """The most likely continuation, each step from the whole text; ends before the end token."""
        ids = list(prompt_ids)
        for _ in range(tokens):
            best = int(self.logits(ids)[-1].argmax())
            if best == self.end_id:
                break
            ids.append(best)
        return ids[len(prompt_ids) :]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Threads of ``transformers``' models here wait for each other more than they compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer with two control tokens, ids 0 and 1, and an added one that is text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_tokens([AddedToken("wet grass", normalized=False)])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer_path: Path) -> dict[str, TinyModel]:
    """GPT-2 and GPT-Neo in fp32, and GPT-Neo in 8 bits."""
    import onnx
    import torch
    from tokenizers import Tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

    from training.decode_graph import build_serving_graph
    from training.decoder_reader import read_decoder
    from training.weight_formats import Fp32, Int8Rows

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    vocab_size = tokenizer.get_vocab_size()
    with torch.random.fork_rng():
        torch.manual_seed(20)
        # Large weights, so that a step's best token stands out and depends on more than the last one.
        gpt2 = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size,
                n_positions=CONTEXT_TOKENS,
                n_embd=32,
                n_layer=2,
                n_head=2,
                initializer_range=0.3,
                bos_token_id=0,
                eos_token_id=1,
            )
        )
        neo = GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=vocab_size,
                max_position_embeddings=CONTEXT_TOKENS,
                hidden_size=32,
                num_layers=2,
                num_heads=2,
                attention_types=[[["global", "local"], 1]],
                window_size=WINDOW_TOKENS,
                initializer_range=0.3,
                bos_token_id=0,
                eos_token_id=1,
            )
        )
    made = {}
    folder = tmp_path_factory.mktemp("models")
    for name, model, weights in (("gpt2", gpt2, Fp32()), ("gpt_neo", neo, Fp32()), ("gpt_neo_int8", neo, Int8Rows())):
        model.eval()
        path = folder / f"{name}.onnx"
        onnx.save(build_serving_graph(read_decoder(model), weights), str(path))
        start_id, end_id = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
        made[name] = TinyModel(
            name, path, tokenizer_path, model, vocab_size, start_id, end_id, exact=isinstance(weights, Fp32)
        )
    return made


@pytest.fixture(scope="session")
def gpt2(models: dict[str, TinyModel]) -> TinyModel:
    return models["gpt2"]


@pytest.fixture(params=["gpt2", "gpt_neo"])
def exact_model(request: pytest.FixtureRequest, models: dict[str, TinyModel]) -> TinyModel:
    """Each model that computes in fp32."""
    return models[request.param]


@pytest.fixture(params=["gpt2", "gpt_neo", "gpt_neo_int8"])
def any_model(request: pytest.FixtureRequest, models: dict[str, TinyModel]) -> TinyModel:
    return models[request.param]


def make_config(model: TinyModel, **changes: Any) -> EngineConfig:
    """A small engine's configuration."""
    sizes: dict[str, Any] = {"max_slots": 4, "max_waiting": 8, "prefill_chunk_tokens": 8, "threads": 1}
    return EngineConfig(
        model_path=model.model_path,
        tokenizer_path=model.tokenizer_path,
        end_token_id=model.end_id,
        **(sizes | changes),
    )


@pytest.fixture
def make_engine() -> Callable[..., LLMEngine]:
    """Makes an engine on a tiny model; keywords are EngineConfig's, and ``observer``."""

    def make(model: TinyModel, *, observer: Any = None, **changes: Any) -> LLMEngine:
        return LLMEngine(make_config(model, **changes), observer)

    return make


@pytest.fixture
def serving(gpt2: TinyModel) -> Callable[..., AbstractAsyncContextManager[AsyncEngine]]:
    """``async with serving() as engine``: a started engine that is stopped at the end, whatever happens."""

    @asynccontextmanager
    async def serve(*, max_unread_events: int = 256, **changes: Any) -> AsyncIterator[AsyncEngine]:
        engine = AsyncEngine(LLMEngine(make_config(gpt2, **changes)), max_unread_events=max_unread_events)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()

    return serve
