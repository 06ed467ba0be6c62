"""The models that are served, by name, from the opening of their bundles to the draining of their engines.

Knows nothing of HTTP. Heavy libraries are imported when a model is opened, so that the process that only supervises
the others need not carry them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greentext.bundle import ModelManifest, verify
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.async_engine import AsyncEngine
    from service.engine.llm_engine import EngineObserver


class UnknownModelError(LookupError):
    """No model of that name is served; `known` are the names there are."""

    def __init__(self, known: list[str]) -> None:
        super().__init__(f"the models here are {', '.join(known)}")
        self.known = known


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, its engine, and what its bundle says of it."""

    name: str
    manifest: ModelManifest
    card: str
    engine: "AsyncEngine"


def load_engine(settings: Settings, manifest: ModelManifest, observer: "EngineObserver | None" = None) -> "AsyncEngine":
    """The engine of a verified bundle, not started yet.

    Raises:
        ModelLoadError: The model's graph or tokenizer is not one that the engine can run.
    """
    from service.engine.async_engine import AsyncEngine  # noqa: PLC0415 - see the module's first lines
    from service.engine.cpu import cpu_limit  # noqa: PLC0415
    from service.engine.llm_engine import EngineConfig, LLMEngine  # noqa: PLC0415

    config = EngineConfig(
        model_path=settings.model_dir / "model.onnx",
        tokenizer_path=settings.model_dir / "tokenizer.json",
        end_token_id=manifest.control_tokens.end.id,
        max_slots=settings.max_slots,
        max_waiting=settings.max_waiting,
        context_tokens=settings.context_tokens,
        cache_budget_bytes=settings.kv_memory_bytes,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        threads=settings.threads or max(1, cpu_limit() // settings.workers),
    )
    return AsyncEngine(LLMEngine(config, observer), max_unread_events=settings.max_unread_events)


def open_model(settings: Settings, observer: "EngineObserver | None" = None) -> ServedModel:
    """The model of the settings' bundle, its engine not started yet.

    Raises:
        BundleError: The bundle is not whole; the message says what to do.
        ModelLoadError: The engine cannot run it.
    """
    manifest = verify(settings.model_dir)
    card = (settings.model_dir / "README.md").read_text(encoding="utf-8")
    engine = load_engine(settings, manifest, observer)
    return ServedModel(settings.model_name or manifest.name, manifest, card, engine)


class Registry:
    """The models that are served. The first is the default."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}
        self._draining = False

    @property
    def models(self) -> Sequence[ServedModel]:
        """All of them, the default first."""
        return tuple(self._models.values())

    @property
    def is_draining(self) -> bool:
        """Whether the service was asked to stop."""
        return self._draining

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken: models have written their first text, and nobody asked to stop."""
        return bool(self._models) and not self._draining

    @property
    def is_alive(self) -> bool:
        """Whether no engine has died."""
        return all(model.engine.is_healthy for model in self._models.values())

    def get(self, name: str | None) -> ServedModel:
        """The model of a name, or the default.

        Raises:
            UnknownModelError: There is none of that name.
        """
        if name is None:
            return next(iter(self._models.values()))
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModelError(list(self._models)) from None

    async def start(self, model: ServedModel) -> None:
        """Starts a model's engine; it is served once it has written a text."""
        await model.engine.start()
        await model.engine.warm_up([model.manifest.control_tokens.start.id])
        self._models[model.name] = model

    async def drain(self, drain_s: float) -> None:
        """Takes no more requests, gives running texts `drain_s` to end, and stops the engines."""
        self._draining = True
        await asyncio.gather(*(model.engine.stop(drain_s) for model in self._models.values()))
