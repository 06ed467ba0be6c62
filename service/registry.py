"""The models that are served, by name, from the opening of their bundles to the draining of their engines.

The default model is there from start to end. The others, in the models folder, are loaded when somebody asks for them:
once, however many ask, off the event loop, one after the other. What is loaded stays within a budget of memory: for
another model to come, those that nobody has asked for the longest go, after their running texts have ended.

Each engine has a thread of its own and lets ONNX Runtime take all the processors that the service may use, since most
of the time one engine works and the others' threads sleep. Several that step at once share the processors by the
operating system's leave: each gets slower, together they do not get faster.

Knows nothing of HTTP. All methods belong to the event loop's thread.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from greentext.bundle import BundleError
from service.models_folder import ModelsFolder, UnusableBundle, WholeBundle, open_bundle
from service.served_model import AfterWarmUp, Bundle, ServedModel, load_engine, memory_bytes, served_context_tokens
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.async_engine import AsyncEngine, EngineStats
    from service.engine.llm_engine import EngineObserver

LOOK_INTERVAL_S: Final = 1.0
"""How often the models folder is looked at, at most."""

logger = logging.getLogger("bentoml.service.greentext")


class UnknownModelError(LookupError):
    """No model of that name is served; `known` are the names there are."""

    def __init__(self, known: list[str]) -> None:
        super().__init__(f"the models here are {', '.join(known)}")
        self.known = known


class UnusableModelError(LookupError):
    """The model is there, but cannot be loaded."""


class ModelBusyError(RuntimeError):
    """Too many wait for models to be loaded."""


class Registry:
    """The models that are served. Empty until `start`."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._aliases = dict(self._settings.model_aliases)
        self._folder = ModelsFolder(self._settings.models_dir, self._settings.model_dir)
        self._observer: EngineObserver | None = None
        self._default: Bundle | None = None
        self._bundles: dict[str, Bundle] = {}
        self._unusable: list[UnusableBundle] = []
        self._leaving: dict[asyncio.Task[None], tuple[ServedModel, int]] = {}
        """Engines that are ending, and what they still take."""
        self._engines: tuple[AsyncEngine, ...] = ()
        """Of all that are loaded or leaving: replaced, never changed, since other threads read it."""
        self._loading: set[asyncio.Task[None]] = set()
        self._loads = asyncio.Lock()
        self._waiting = 0
        self._look: asyncio.Task[None] | None = None
        self._looked_s = 0.0
        self._draining = False

    @property
    def default(self) -> Bundle | None:
        """The model that answers requests that name none; None until it is loaded."""
        return self._default

    @property
    def bundles(self) -> Sequence[Bundle]:
        """All that can be served, the default first. As of the last `look`."""
        return tuple(bundle for bundle in self._bundles.values() if bundle.fault is None)

    @property
    def unusable(self) -> Sequence[UnusableBundle]:
        """All that cannot, with why. As of the last `look`."""
        faulty = [
            UnusableBundle(bundle.whole.directory.name, "broken", bundle.fault)
            for bundle in self._bundles.values()
            if bundle.fault is not None
        ]
        return (*self._unusable, *faulty)

    @property
    def is_draining(self) -> bool:
        """Whether the service was asked to stop."""
        return self._draining

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken: the default model has written its first text, and nobody asked to stop."""
        return self._default is not None and not self._draining

    @property
    def is_alive(self) -> bool:
        """Whether the default model's engine has not died. Another's is loaded again when it is asked for."""
        default = self._default
        return default is None or default.model is None or default.model.engine.is_healthy

    @property
    def stats(self) -> "EngineStats":
        """Where the engines stand, added up. May be read from any thread."""
        from service.engine.async_engine import EngineStats  # noqa: PLC0415 - see the module's first lines

        all_stats = [engine.stats for engine in self._engines]
        return EngineStats(
            running=sum(stats.running for stats in all_stats),
            waiting=sum(stats.waiting for stats in all_stats),
            slots=sum(stats.slots for stats in all_stats),
            slots_free=sum(stats.slots_free for stats in all_stats),
        )

    def aliases_of(self, name: str) -> list[str]:
        """The other names of a model."""
        return [alias for alias, target in self._aliases.items() if target == name and alias not in self._bundles]

    def find(self, name: str) -> Bundle | None:
        """The bundle of a name or alias, loaded or not, as of the last look."""
        bundle = self._bundles.get(name)
        if bundle is None and name in self._aliases:
            bundle = self._bundles.get(self._aliases[name])
        return bundle

    def loaded(self, name: str | None) -> ServedModel | None:
        """The model of a name, or the default, if it is loaded. Never waits."""
        bundle = self._default if name is None else self.find(name)
        if bundle is None or bundle.model is None:
            return None
        if not bundle.is_default and not bundle.model.engine.is_healthy:
            logger.error("engine of model=%s has died, it is loaded again when asked for", bundle.name)
            self._unload(bundle)
            return None
        bundle.used_s = time.monotonic()
        if bundle.used_s - self._looked_s > LOOK_INTERVAL_S:
            self._begin_look()
        return bundle.model

    async def get(self, name: str | None) -> ServedModel:
        """The model of a name, or the default; loads it, if it is not.

        Raises:
            UnknownModelError: There is none of that name.
            UnusableModelError: It cannot be loaded.
            ModelBusyError: Too many wait already.
        """
        if (model := self.loaded(name)) is not None:
            return model
        await self.look()
        while (model := self.loaded(name)) is None:
            bundle = self._default if name is None else self.find(name)
            if bundle is None:
                raise UnknownModelError([bundle.name for bundle in self.bundles])
            if bundle.fault is not None:
                raise UnusableModelError(bundle.fault)
            if self._waiting >= self._settings.max_waiting + self._settings.max_slots or self._draining:
                raise ModelBusyError
            if bundle.loading is None:
                bundle.loading = asyncio.get_running_loop().create_future()
                task = asyncio.create_task(self._load(bundle, bundle.loading))
                self._loading.add(task)
                task.add_done_callback(self._loading.discard)
            self._waiting += 1
            bundle.waiting += 1
            try:
                # Whoever waits may give up; the others still want it.
                await asyncio.shield(bundle.loading)
            finally:
                self._waiting -= 1
                bundle.waiting -= 1
        return model

    async def look(self) -> None:
        """Learns what lies in the models folder, unless that was learnt just now."""
        if time.monotonic() - self._looked_s > LOOK_INTERVAL_S:
            await asyncio.shield(self._begin_look())

    async def start(self, observer: "EngineObserver | None" = None) -> ServedModel:
        """Loads the default model; it is served once it has written a text.

        Raises:
            BundleError: Its bundle is not whole; the message says what to do.
            ModelLoadError: The engine cannot run it.
        """
        self._observer = observer
        whole = await asyncio.to_thread(open_bundle, self._settings.model_dir)
        bundle = self._bundle(whole, self._settings.model_name or whole.manifest.name, is_default=True)
        bundle.model = model = await self._open(bundle)
        self._bundles = {bundle.name: bundle, **self._bundles}
        self._default = bundle
        return model

    async def drain(self, drain_s: float) -> None:
        """Takes no more requests, gives running texts `drain_s` to end, and stops the engines."""
        self._draining = True
        if self._loading:
            await asyncio.wait(self._loading, timeout=drain_s)
        models = [bundle.model for bundle in self._bundles.values() if bundle.model is not None]
        models += [model for model, _ in self._leaving.values()]
        await asyncio.gather(*(model.engine.stop(drain_s) for model in models))

    # ------------------------------------------------------------------------------------------- the folder

    def _begin_look(self) -> "asyncio.Task[None]":
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_now())
        return self._look

    async def _look_now(self) -> None:
        self._looked_s = time.monotonic()
        whole, unusable = await asyncio.to_thread(self._folder.look)
        self._looked_s = time.monotonic()
        bundles = {} if self._default is None else {self._default.name: self._default}
        for found in whole:
            name = found.manifest.name
            if name in bundles:
                reason = f"another bundle has the name {name}; name one of them otherwise in its manifest"
                unusable.append(UnusableBundle(found.directory.name, "broken", reason))
                continue
            known = self._bundles.get(name)
            same = known is not None and known.whole is found
            bundles[name] = known if known and same else self._bundle(found, name, is_default=False)
        gone = [bundle for name, bundle in self._bundles.items() if bundles.get(name) is not bundle]
        self._bundles, self._unusable = bundles, unusable
        for bundle in gone:
            if bundle.model is not None:
                self._unload(bundle)

    def _bundle(self, whole: WholeBundle, name: str, *, is_default: bool) -> Bundle:
        context_tokens = served_context_tokens(whole.manifest, self._settings)
        return Bundle(name, whole, is_default, context_tokens, memory_bytes(whole.manifest, self._settings))

    # ------------------------------------------------------------------------------------------- engines

    async def _load(self, bundle: Bundle, done: "asyncio.Future[None]") -> None:
        """Loads a model, or says in its bundle why it cannot be. Raises nothing."""
        try:
            async with self._loads:
                await self._make_room(bundle)
                bundle.model = await self._open(bundle)
                bundle.loading = None
                done.set_result(None)
                # Those who waited for it have their turn before another model may want its room.
                while bundle.waiting:  # noqa: ASYNC110 - a turn of the event loop or two
                    await asyncio.sleep(0)
            if self._draining or self._bundles.get(bundle.name) is not bundle:  # it went while it was loaded
                self._unload(bundle)
        except Exception as error:  # whatever a library finds wrong with a model harms that model only
            logger.exception("cannot load model=%s", bundle.name)
            # The words of our own errors are for people; of others, only their kind is known to be.
            ours = isinstance(error, BundleError | _NoRoomError)
            said = str(error).replace(f"{self._settings.models_dir}/", "") if ours else type(error).__name__
            bundle.fault = f"it cannot be loaded: {said}"
            bundle.loading = None
            done.set_result(None)

    async def _open(self, bundle: Bundle) -> ServedModel:
        """A model whose engine has written a first text."""
        observer = None if self._observer is None else AfterWarmUp(self._observer)
        engine = await asyncio.to_thread(self._engine, bundle, observer)
        await engine.start()
        self._engines = (*self._engines, engine)
        try:
            await engine.warm_up([bundle.manifest.control_tokens.start.id])
        except BaseException:
            self._engines = tuple(other for other in self._engines if other is not engine)
            await engine.stop()
            raise
        if observer is not None:
            observer.listens = True
        logger.info("loaded model=%s slots=%d", bundle.name, engine.stats.slots)
        return ServedModel(bundle.name, bundle.manifest, bundle.card, engine)

    def _engine(self, bundle: Bundle, observer: "EngineObserver | None") -> "AsyncEngine":
        """Blocks. A bundle that was whole when the folder was looked at need not be so now."""
        return load_engine(self._settings, open_bundle(bundle.whole.directory), observer)

    async def _make_room(self, bundle: Bundle) -> None:
        """Unloads as many models as must go for another to come."""
        budget_bytes = self._settings.model_memory_bytes
        default_bytes = self._default.size_bytes if self._default is not None else 0
        if default_bytes + bundle.size_bytes > budget_bytes:
            raise _NoRoomError(
                f"it takes {bundle.size_bytes} bytes beside the default model's {default_bytes}, and "
                f"model_memory_bytes is {budget_bytes}; raise it, or lower max_slots or context_tokens"
            )
        while self._used_bytes() + bundle.size_bytes > budget_bytes:
            if not self._leaving:
                others = [other for other in self._bundles.values() if other.model and not other.is_default]
                self._unload(min(others, key=_dispensability))
            await asyncio.wait(self._leaving, return_when=asyncio.FIRST_COMPLETED)

    def _used_bytes(self) -> int:
        loaded = sum(bundle.size_bytes for bundle in self._bundles.values() if bundle.model is not None)
        return loaded + sum(size_bytes for _, size_bytes in self._leaving.values())

    def _unload(self, bundle: Bundle) -> None:
        """Takes a model out of use; its engine ends when its running texts have."""
        model, bundle.model = bundle.model, None
        if model is None:
            return
        task = asyncio.create_task(self._end(model))
        self._leaving[task] = model, bundle.size_bytes
        task.add_done_callback(self._ended)

    async def _end(self, model: ServedModel) -> None:
        # No text runs longer than its deadline.
        await model.engine.stop(self._settings.deadline_s)
        logger.info("unloaded model=%s", model.name)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        model, _ = self._leaving.pop(task)
        self._engines = tuple(engine for engine in self._engines if engine is not model.engine)


class _NoRoomError(RuntimeError):
    """A model does not fit the budget, whatever is unloaded."""


def _dispensability(bundle: Bundle) -> tuple[bool, float]:
    """The smaller, the sooner it may go: first what writes nothing now, of these what nobody asked for the longest."""
    stats = bundle.model.engine.stats if bundle.model is not None else None
    return (stats is not None and stats.running + stats.waiting > 0, bundle.used_s)
