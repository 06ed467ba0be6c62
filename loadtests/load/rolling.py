"""Services behind nginx, stopped and started one after the other under load: how many requests are lost?

    python -m loadtests.load.rolling --requests 5000

As in a cluster: nginx is told to send nothing more to a service, which then gets SIGTERM, ends what it writes (refusing
what is new), leaves with exit code 0, and is started again; when it is ready, nginx is told. Then comes the next, until
as many requests as asked for were sent.
A request is lost that gets no whole answer, a status other than 200 (429 too), or a stream without its end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from loadtests.load.bench import Bench, GeneratorError
from loadtests.load.plan import Plan
from loadtests.load.servers import SERVICE, Nginx, Server, ServerError, nginx_is_there, start_nginx, start_service

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS: Final = {"GREENTEXT_DATABASE_URL": "none", "GREENTEXT_DRAIN_S": "60"}
"""As in a cluster without a database: services share no file."""
BREATH_S: Final = 3.0
"""Between a service that is ready and the next that is stopped."""
NO_NGINX: Final = 2


@dataclass(slots=True)
class Restarts:
    """Restarts services in turn, from a thread, while the context lasts; the last one begun is finished."""

    services: list[Server]
    nginx: Nginx
    folder: Path
    settings: dict[str, str]
    target: str
    exit_codes: list[int] = field(default_factory=list)
    drain_s: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    error: Exception | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for index in range(len(self.services)):
                    if self._stop.wait(BREATH_S):
                        return
                    self._restart(index)
        except Exception as error:  # noqa: BLE001 - told by whoever waits for this thread
            self.error = error

    def _restart(self, index: int) -> None:
        old = self.services[index]
        self.nginx.leave_out(index)
        began_s = time.monotonic()
        self.exit_codes.append(old.stop())
        self.drain_s.append(round(time.monotonic() - began_s, 2))
        began_s = time.monotonic()
        new = start_service(
            self.folder / f"service-{index}",
            port=int(old.url.rpartition(":")[2]),
            settings=self.settings,
            target=self.target,
        )
        self.services[index] = new
        new.wait_until_ready()
        self.nginx.put_back(index)
        self.start_s.append(round(time.monotonic() - began_s, 2))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


def roll(
    folder: Path,
    *,
    requests: int,
    rate_per_s: float,
    services: int = 2,
    settings: dict[str, str],
    target: str = SERVICE,
) -> dict[str, Any]:
    """The figures of one such run. Raises ServerError, GeneratorError."""
    plan = Plan(
        "rolling", "open", {"board": 2, "stream": 1}, duration_s=requests / rate_per_s, warm_s=0, rate_per_s=rate_per_s,
        rates=False,
    )  # fmt: skip
    with ExitStack() as stack:
        started = [start_service(folder / f"service-{i}", settings=settings, target=target) for i in range(services)]
        stack.callback(lambda: [server.stop() for server in started])
        for server in started:
            server.wait_until_ready()
        nginx = stack.enter_context(start_nginx(folder / "nginx", [server.url for server in started]))
        nginx.wait_until_ready()
        with Restarts(started, nginx, folder, settings, target) as restarts:
            result = Bench([], folder, front=nginx).run(plan)
        if restarts.error is not None:
            raise ServerError(f"a restart failed: {restarts.error}") from restarts.error
    outcomes = result["polite"]
    sent = sum(outcomes.values())
    return {
        "sent": sent,
        "lost": sent - outcomes["ok"],
        "outcomes": outcomes,
        "remarks": result["remarks"],
        "rate_per_s": rate_per_s,
        "write_ms": result["write_ms"],
        "restarts": len(restarts.exit_codes),
        "exit_codes": sorted(set(restarts.exit_codes)),
        "drain_s": restarts.drain_s,
        "start_s": restarts.start_s,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. 0: nothing was lost; 1: something was, or a service did not leave with 0; 2: no nginx."""
    parser = argparse.ArgumentParser(prog="rolling", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=5500, help="about how many (default: 5500)")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (default: 20)")
    parser.add_argument("--services", type=int, default=2, help="processes behind nginx (default: 2)")
    parser.add_argument("--service", default=SERVICE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not nginx_is_there():
        print("nginx is not there: on Debian, apt-get install nginx-light", file=sys.stderr)
        return NO_NGINX
    with tempfile.TemporaryDirectory(prefix="gtx-rolling-") as name:
        try:
            figures = roll(
                Path(name), requests=options.requests, rate_per_s=options.rate, services=options.services,
                settings=SETTINGS, target=options.service,
            )  # fmt: skip
        except (ServerError, GeneratorError) as error:
            print(error, file=sys.stderr)
            return 1
    print(json.dumps(figures, indent=1))
    return 0 if figures["lost"] == 0 and figures["exit_codes"] == [0] and figures["restarts"] else 1


if __name__ == "__main__":
    sys.exit(main())
