"""What a study ran on, in a few words that a reader can compare with his own machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

CPU_FACTS = Path("/proc/cpuinfo")


def machine_of() -> str:
    """Cores, processor, and PyTorch's version; no names."""
    cores = os.cpu_count() or 1
    return f"{cores} core{'s' * (cores != 1)} ({_processor()}), PyTorch {torch.__version__.split('+')[0]}, CPU only"


def _processor() -> str:
    if CPU_FACTS.is_file():
        for line in CPU_FACTS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.machine() or "unknown processor"
