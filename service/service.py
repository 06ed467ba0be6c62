"""The BentoML service: `bentoml serve service.service:GreentextService`.

BentoML runs the processes, the health checks and the metrics; requests are answered by the API mounted into it, which
keeps bodies, limits and disconnects in our hands. What BentoML counts by path sees only paths that exist. Traces, and
the log's lines for requests, are our own.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from greentext.bundle import BundleError, verify
from service.api.app import PathLabels, create_app
from service.api.edition import edition_of
from service.api.guard import TRUE_PATH
from service.event_loop import tune, watch_lag
from service.logs import configure, leave
from service.metrics import EngineMetrics, forget_dead_workers
from service.registry import Registry
from service.settings import Settings, SettingsError
from service.store.errors import StoreConfigError
from service.store.metrics import StoreMetrics
from service.store.store import Store
from service.tracing import Tracing, TracingConfigError, is_wanted

SYSTEM_PATHS: Final = frozenset({"/healthz", "/livez", "/metrics", "/readyz"})
SPAN_LAYER: Final = "OpenTelemetryMiddleware"
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LAST_ANSWERS_S: Final = 2.0
"""After the drain, how long connections have to take what has been written to them."""
STORE_FLUSH_S: Final = 1.5
"""After the drain, how long the store has to save what it was handed; less than `LAST_ANSWERS_S`."""
TRACES_FLUSH_S: Final = 1.5
"""At the same time, how long the last traces have to be sent."""

logger = logging.getLogger("bentoml.service.greentext")

try:
    SETTINGS: Final = Settings.from_environment(os.environ)
except SettingsError as error:
    sys.exit(f"greentext: {error}")
configure(SETTINGS)

REGISTRY: Final = Registry(SETTINGS)
STORE: Final = Store(SETTINGS)
TRACING: Final = Tracing.from_environment(os.environ)
API: Final = create_app(REGISTRY, SETTINGS, STORE, tracing=TRACING)


class PathGate:
    """Lets BentoML see known paths only, and of those with a name in them only the pattern.

    It would keep a label for every path that anybody makes up.
    """

    def __init__(self, inner: ASGIApp, api: ASGIApp, labels: PathLabels) -> None:
        self.inner = inner
        self.api = api
        self.labels = labels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan."""
        if scope["type"] != "http":
            app = self.inner if scope["type"] == "lifespan" else self.api
        elif scope["path"] in SYSTEM_PATHS:
            app = self.inner
        elif (label := self.labels.label(scope["path"])) is None:
            app = self.api
        else:
            app = self.inner
            if label != scope["path"]:
                scope = {**scope, "path": label, TRUE_PATH: scope["path"]}
        await app(scope, receive, send)


class MountedService(bentoml.Service[Any]):  # type: ignore[misc] # BentoML ships no types
    """A BentoML service that leaves limits to the API it carries."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:  # noqa: FBT001, FBT002 - BentoML's signature
        """The application that a worker serves."""
        # Wants the worker's configuration to be there.
        from _bentoml_impl.server.app import (  # type: ignore[import-untyped] # noqa: PLC0415
            ServiceAppFactory,
        )
        from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: PLC0415

        self.inject_config()
        # BentoML cannot be configured without its own spans: with none to make it need not import what makes them.
        BentoMLContainer.tracer_provider.set(None)
        factory = ServiceAppFactory(self, is_main=is_main)
        # Nor without a timer for each request that outlives it, and an answer of its own.
        factory.timeout = None
        app = factory()
        app.user_middleware = [layer for layer in app.user_middleware if layer.cls.__name__ != SPAN_LAYER]
        return PathGate(app, API, PathLabels(API))


@bentoml.asgi_app(API, path="/")
@bentoml.service(
    service_class=MountedService,
    workers=SETTINGS.workers,
    logging={"access": {"enabled": False}},
    metrics={"enabled": True, "namespace": "bentoml_service"},
)
class GreentextService:
    """Writes wholesome greentexts."""

    def __init__(self) -> None:
        self._metrics = EngineMetrics()
        self._lag_watch: asyncio.Task[None] | None = None
        self._is_asked_to_stop = False
        self._drain: asyncio.Task[None] | None = None
        self._force: asyncio.Task[None] | None = None

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Before any worker starts: whether there is something to serve."""
        try:
            verify(SETTINGS.model_dir)
            Store.check(SETTINGS)
            is_wanted(os.environ)
        except (BundleError, StoreConfigError) as error:
            leave(SETTINGS, str(error))
        except TracingConfigError as error:
            logger.warning("no traces are sent: %s", error)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Loads the model and lets it write a first text, then makes ready to serve and to stop."""
        forget_dead_workers()
        model = await REGISTRY.start(self._metrics)
        self._metrics.follow(lambda: REGISTRY.stats)
        manifest = model.manifest
        self._metrics.tell_model(model.name, edition=edition_of(manifest), precision=manifest.precision)
        STORE.start(StoreMetrics())
        if TRACING is not None:
            TRACING.start()
        self._listen_for_stop()
        tune()
        self._lag_watch = asyncio.create_task(watch_lag(self._metrics.on_event_loop_lag))
        logger.info("serving model=%s slots=%d", model.name, model.engine.stats.slots)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Ends what still runs."""
        if self._lag_watch is not None:
            self._lag_watch.cancel()
        await (self._drain or REGISTRY.drain(SETTINGS.drain_s))
        saving = asyncio.create_task(asyncio.to_thread(STORE.stop, STORE_FLUSH_S))
        if TRACING is not None:
            await asyncio.to_thread(TRACING.stop, TRACES_FLUSH_S)
        await saving
        if self._force is not None:
            self._force.cancel()

    async def __is_alive__(self) -> bool:
        """For `/livez`: whether the engine works. A process whose engine has died should be replaced."""
        return REGISTRY.is_alive

    async def __is_ready__(self) -> bool:
        """For `/readyz`: whether requests are taken."""
        return REGISTRY.is_ready and REGISTRY.is_alive

    def _listen_for_stop(self) -> None:
        """Begins to drain as soon as the process is asked to stop.

        The server hears of it when the drain is over: until then connections are taken, and new requests refused with
        a 503, where a server that stops would leave them hanging in a socket that its parent keeps open. Asked a second
        time, the server hears of it at once.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            served = signal.getsignal(number)

            def handle(signal_number: int, frame: FrameType | None, served: Any = served) -> None:
                def stop_serving() -> None:
                    if callable(served):
                        served(signal_number, frame)

                if self._is_asked_to_stop:
                    stop_serving()
                else:
                    self._is_asked_to_stop = True
                    loop.call_soon_threadsafe(self._begin_drain, stop_serving)

            signal.signal(number, handle)

    def _begin_drain(self, stop_serving: Callable[[], None]) -> None:
        logger.info("asked to stop: what runs may end, what is new is refused")
        self._drain = asyncio.create_task(REGISTRY.drain(SETTINGS.drain_s))
        self._force = asyncio.create_task(_leave_after(self._drain, stop_serving))


async def _leave_after(drain: asyncio.Task[None], stop_serving: Callable[[], None]) -> None:
    """Stops the server, and ends the process although connections are open: it would wait without end for a client to
    read.
    """
    try:
        await drain
    finally:
        stop_serving()
    await asyncio.sleep(LAST_ANSWERS_S)
    logger.warning("clients have not taken their answers, leaving")
    signal.raise_signal(signal.SIGINT)  # the second request to stop: the server waits no longer for connections
    await asyncio.sleep(LAST_ANSWERS_S)
    os._exit(1)
