"""A model on its way from its bundle to its engine: what it takes, what it is called, how it is opened.

Heavy libraries are imported when a model is opened, so that the process that only supervises the others need not carry
them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from greentext.bundle import MANIFEST_NAME, ModelManifest
from service.models_folder import WholeBundle
from service.settings import Settings

if TYPE_CHECKING:
    import asyncio

    from service.engine.async_engine import AsyncEngine
    from service.engine.llm_engine import Completion, EngineObserver

FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is loaded: its engine, and what its bundle says of it."""

    name: str
    manifest: ModelManifest
    card: str
    engine: "AsyncEngine"


@dataclass(slots=True, eq=False)
class Bundle:
    """A bundle that is served under a name, loaded or not."""

    name: str
    whole: WholeBundle
    is_default: bool
    context_tokens: int
    size_bytes: int
    """What it takes when it is loaded, at most; see `memory_bytes`."""
    model: ServedModel | None = None
    loading: "asyncio.Future[None] | None" = None
    """Is done when somebody has loaded it, or has found out that it cannot be."""
    waiting: int = 0
    """How many requests wait for that."""
    fault: str | None = None
    """Why it cannot be loaded, as far as anybody tried."""
    used_s: float = 0.0
    """When it was last asked for."""

    @property
    def manifest(self) -> ModelManifest:
        """What it says of itself."""
        return self.whole.manifest

    @property
    def card(self) -> str:
        """The model card."""
        return self.whole.card

    @property
    def written_s(self) -> int:
        """When its manifest was written, in seconds since 1970."""
        return next((changed_ns for name, changed_ns, *_ in self.whole.stamp if name == MANIFEST_NAME), 0) // 10**9

    @property
    def state(self) -> Literal["loaded", "loading", "unloaded"]:
        """Whether a request is served at once."""
        if self.model is not None:
            return "loaded"
        return "unloaded" if self.loading is None else "loading"


class AfterWarmUp:
    """An observer that begins to listen when the model is ready: a warm-up is nobody's request."""

    def __init__(self, observer: "EngineObserver") -> None:
        self._observer = observer
        self.listens = False

    def on_step(self, batch_size: int, prefill_tokens: int, decode_tokens: int, seconds: float) -> None:
        """A step has run."""
        if self.listens:
            self._observer.on_step(batch_size, prefill_tokens, decode_tokens, seconds)

    def on_queue(self, seconds: float) -> None:
        """A sequence has left the queue."""
        if self.listens:
            self._observer.on_queue(seconds)

    def on_first_token(self, seconds: float) -> None:
        """A sequence has its first token."""
        if self.listens:
            self._observer.on_first_token(seconds)

    def on_inter_token(self, seconds: float, count: int) -> None:
        """Sequences got their next token."""
        if self.listens:
            self._observer.on_inter_token(seconds, count)

    def on_finish(self, completion: "Completion") -> None:
        """A sequence has ended."""
        if self.listens:
            self._observer.on_finish(completion)


def served_context_tokens(manifest: ModelManifest, settings: Settings) -> int:
    """Tokens that a text may have, prompt and all."""
    return min(settings.context_tokens or manifest.context_length, manifest.context_length)


def memory_bytes(manifest: ModelManifest, settings: Settings) -> int:
    """What a model counts as when it is loaded: its files, and the keys and values of all its slots."""
    width = manifest.num_layers * manifest.num_kv_heads * manifest.head_dim
    slot_bytes = 2 * width * served_context_tokens(manifest, settings) * FLOAT_BYTES
    slots = min(settings.max_slots, settings.kv_memory_bytes // slot_bytes)
    return sum(record.size_bytes for record in manifest.files.values()) + slots * slot_bytes


def load_engine(settings: Settings, bundle: WholeBundle, observer: "EngineObserver | None" = None) -> "AsyncEngine":
    """The engine of a verified bundle, not started yet.

    Raises:
        ModelLoadError: The model's graph or tokenizer is not one that the engine can run.
    """
    from service.engine.async_engine import AsyncEngine  # noqa: PLC0415 - see the module's first lines
    from service.engine.cpu import cpu_limit  # noqa: PLC0415
    from service.engine.llm_engine import EngineConfig, LLMEngine  # noqa: PLC0415

    config = EngineConfig(
        model_path=bundle.directory / "model.onnx",
        tokenizer_path=bundle.directory / "tokenizer.json",
        end_token_id=bundle.manifest.control_tokens.end.id,
        max_slots=settings.max_slots,
        max_waiting=settings.max_waiting,
        context_tokens=settings.context_tokens,
        cache_budget_bytes=settings.kv_memory_bytes,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        threads=settings.threads or max(1, cpu_limit() // settings.workers),
    )
    return AsyncEngine(LLMEngine(config, observer), max_unread_events=settings.max_unread_events)
