"""What all tests share: their order, and how hard property tests try."""

import os
import signal

import hypothesis
import pytest

# A shared or busy machine is no reason to fail: pytest's own timeout bounds a test.
hypothesis.settings.register_profile("default", deadline=None)
# A run that others judge by must give the same verdict twice; at one's own desk new examples are welcome.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell's background jobs ignore interrupts, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: a broken one is heard of in seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
