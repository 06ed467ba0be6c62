"""Keeps the event loop from pausing, and measures whether it does."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter from another: a tenth of Python's own, since one thread runs the engine
and another answers."""

GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Generation 0 is collected after so many more objects than were freed; Python's own 700 is for small programs."""

LAG_INTERVAL_S: Final = 0.1


def tune() -> None:
    """For a process that has loaded all it needs: what lives now is never looked at again by the garbage collector,
    whose full collections would take 100 ms and more, with every thread waiting.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Tells again and again how much later than asked the event loop wakes up, until cancelled."""
    while True:
        asked_s = time.perf_counter() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        observe(max(0.0, time.perf_counter() - asked_s))
