"""What all tests share: their order, and how hard property tests try."""

from __future__ import annotations

import functools
import os
import signal
import ssl
from typing import TYPE_CHECKING, Any

import certifi
import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shared or busy machine is no reason to fail: pytest's own timeout bounds a test.
hypothesis.settings.register_profile("default", deadline=None)
# A run that others judge by must give the same verdict twice; at one's own desk new examples are welcome.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell's background jobs ignore interrupts, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _authorities_are_read_once() -> Iterator[None]:
    """Each client of httpx's reads the certificates of all authorities, 20 ms of processor time; tests make thousands.

    Clients that name certificates of their own get those.
    """
    create = ssl.create_default_context
    of_authorities = functools.cache(lambda: create(cafile=certifi.where()))

    def context(*arguments: Any, **named: Any) -> ssl.SSLContext:
        ordinary = not arguments and named == {"cafile": certifi.where()}
        return of_authorities() if ordinary else create(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", context)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: a broken one is heard of in seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
