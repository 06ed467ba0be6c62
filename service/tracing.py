"""Whether requests leave OpenTelemetry traces, by the variables that OpenTelemetry defines, and where to leave them.

Where they are not wanted nothing is made of them, and the SDK is not imported; `service.spans` knows it.

Source: OpenTelemetry specification 1.50, "Environment Variable Specification" and "OTLP Exporter". One liberty: without
an endpoint nothing is sent, where the specification would try port 4318 of this machine.
"""

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.spans import RequestSpan, Spans

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The first of them that is given holds."""
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"

logger = logging.getLogger("bentoml.service.greentext")


class TracingConfigError(ValueError):
    """Traces are wanted in a way that is not known here."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an environment asks for traces.

    Raises:
        TracingConfigError: It does, of an exporter or in a protocol that is not known here.
    """
    given = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_") and value.strip()}
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = given.get("OTEL_TRACES_EXPORTER")
    if exporter == "none" or (exporter is None and not any(name in given for name in ENDPOINTS)):
        return False
    if exporter not in (None, "otlp"):
        raise TracingConfigError("OTEL_TRACES_EXPORTER: give otlp or none")
    for name in PROTOCOLS:
        if name in given:
            if given[name] != PROTOCOL:
                raise TracingConfigError(f"{name}: give {PROTOCOL}, and the endpoint's port for it, mostly 4318")
            break
    return True


class Tracing:
    """Takes requests' spans, once it has been started."""

    def __init__(self) -> None:
        self._spans: Spans | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Tracing | None":
        """One that has not been started; None where no traces are wanted, or none can be had (`is_wanted`)."""
        try:
            return cls() if is_wanted(environment) else None
        except TracingConfigError:
            return None

    def start(self) -> None:
        """Begins to take spans. Where that cannot be, the log says why, and the service goes without."""
        from service.spans import Spans  # noqa: PLC0415 - the SDK, for those who want it

        try:
            self._spans = Spans()
        except (OSError, RuntimeError, ValueError) as error:
            logger.error("no traces are sent: %s", error)  # noqa: TRY400 - a setting is wrong, no program
            return
        logger.info("sending traces to %s", self._spans.place)

    def begin(self, method: str, scheme: str, headers: Mapping[str, str], started_s: float) -> "RequestSpan | None":
        """The span of a request that arrived at `started_s` (`time.perf_counter`); None before `start`."""
        return None if self._spans is None else self._spans.begin(method, scheme, headers, started_s)

    def stop(self, within_s: float) -> None:
        """Sends what waits, if that can be done `within_s`. Waits for that long at most."""
        if (spans := self._spans) is None:
            return
        self._spans = None
        # The SDK would wait as long as the collector takes. It has no time of its own left to do so in.
        sending = threading.Thread(target=spans.close, name="traces-last", daemon=True)
        sending.start()
        sending.join(within_s)
        if sending.is_alive():
            logger.warning("the last traces were not sent: the collector did not take them within %g s", within_s)
