"""The whole study: bases, then cells, then the report; what is done already is not done again.

A killed study goes on where it stopped when started again with the same files and scale. Several cells may be made at
once, each in a process of its own with one thread: small models gain nothing from more.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from datetime import timedelta
from functools import lru_cache, partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import structlog
import torch

from training.corpus import take_split
from training.findings.bases import Sources, base_directory, make_base, read_summary, shared_tokenizer
from training.findings.cells import Texts, make_cell, read_figures
from training.findings.designs import experiments
from training.findings.machine import machine_of
from training.findings.report import write_report
from training.findings.scales import SCALES
from training.findings.verdicts import find
from training.finetune import of_genre

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from training.findings.bases import BaseName
    from training.findings.cells import Cell
    from training.findings.designs import Experiment
    from training.findings.scales import Scale

log = structlog.get_logger(__name__)

CELLS = "findings.json"


class FindingsError(ValueError):
    """The study cannot be made as asked; the message says what to change."""


def run_findings(
    stories: Path,
    greentexts: Path,
    work: Path,
    *,
    scale: str = "night",
    jobs: int = 0,
    claims: Sequence[str] = (),
    output: Path | None = None,
) -> Path:
    """Makes the study and returns the report's path, ``findings.md`` with its plots in ``findings/`` beside it.

    ``scale`` is ``quick``, ``short`` or ``night``. Files go to a folder of
    the scale's name in ``work``, the report to ``output``, by default the same folder. ``jobs`` are processes at a
    time, 0 one for each core. ``claims`` names the experiments to make; none makes all. Raises FindingsError,
    CorpusError, StepError.
    """
    if scale not in SCALES:
        raise FindingsError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    return run_study(Sources(stories, greentexts), SCALES[scale], work / scale, jobs=jobs, claims=claims, output=output)


def run_study(
    sources: Sources,
    scale: Scale,
    work: Path,
    *,
    jobs: int = 0,
    claims: Sequence[str] = (),
    output: Path | None = None,
) -> Path:
    """As ``run_findings``, at any scale, in ``work`` itself."""
    if scale.seeds < 2:
        raise FindingsError(f"intervals over seeds need two seeds or more, got {scale.seeds}")
    sources.sha256()  # missing files are told of before anything else happens
    texts = Texts(sources, scale)
    thanks = of_genre(take_split(texts.greentexts, "train"), "thanks")
    _ = texts.test
    planned = _chosen(experiments(scale, len(thanks)), claims)
    cells = list(
        dict.fromkeys(cell for one in planned for label in one.conditions for cell in one.cells(label, scale.seeds))
    )
    cells += [cell.before for cell in cells if cell.before and cell.before not in cells]
    shared_tokenizer(sources, scale, work)
    bases = sorted({(cell.base, cell.seed % scale.bases) for cell in cells})
    jobs = jobs or os.cpu_count() or 1
    _all(jobs, "bases", [partial(make_base, sources, scale, work, name, number) for name, number in bases])
    # Cells that others go on from come first.
    followed = {cell.before for cell in cells if cell.before}
    for part in ([c for c in cells if c in followed], [c for c in cells if not c.before and c not in followed],
                 [c for c in cells if c.before]):  # fmt: skip
        _all(jobs, "cells", [partial(_make_cell, sources, scale, work, cell) for cell in part])
    return _report(sources, scale, work, planned=planned, bases=bases, output=output or work)


def _report(
    sources: Sources,
    scale: Scale,
    work: Path,
    *,
    planned: Sequence[Experiment],
    bases: Sequence[tuple[BaseName, int]],
    output: Path,
) -> Path:
    records = {
        one.name: {label: [_figures(work, cell) for cell in one.cells(label, scale.seeds)] for label in one.conditions}
        for one in planned
    }
    pretrained = {f"{name}-{number}": read_summary(base_directory(work, name, number)) for name, number in bases}
    findings = [find(one, records[one.name]) for one in planned]
    every = {figures["condition"] + str(figures["cell"]["seed"]): figures
             for by_label in records.values() for cells in by_label.values() for figures in cells}  # fmt: skip
    study: dict[str, Any] = {
        "scale": asdict(scale),
        "sources": sources.sha256(),
        "machine": machine_of(),
        "computing_seconds": round(
            sum(figures["cell_seconds"] for figures in every.values())
            + sum(base["seconds"] for base in pretrained.values())
        ),
        "bases": pretrained,
        "verdicts": {one.experiment.name: one.verdict for one in findings},
        "cells": list(every.values()),
    }
    part = work / f"{CELLS}.part"
    part.write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    part.replace(work / CELLS)
    path = write_report(findings, scale, study, output)
    log.info("report", path=str(path), **study["verdicts"])
    return path


def _chosen(planned: list[Experiment], claims: Sequence[str]) -> list[Experiment]:
    names = [one.name for one in planned]
    for claim in claims:
        if claim not in names:
            raise FindingsError(f"claims are {', '.join(names)}; got {claim!r}")
    return [one for one in planned if not claims or one.name in claims]


def _figures(work: Path, cell: Cell) -> dict[str, Any]:
    figures = read_figures(work, cell)
    if figures is None:
        raise FindingsError(f"{cell.name} is not made; start the study again")
    return figures


@lru_cache(maxsize=1)
def _texts(sources: Sources, scale: Scale) -> Texts:
    """Read once in each process."""
    return Texts(sources, scale)


def _make_cell(sources: Sources, scale: Scale, work: Path, cell: Cell) -> None:
    make_cell(sources, _texts(sources, scale), scale, work, cell)


def _all(jobs: int, what: str, made: Sequence[Callable[[], object]]) -> None:
    """Makes all, so many at a time; says how far it is, and how long it may still take."""
    if not made:
        return
    started = time.monotonic()
    if jobs == 1:
        for number, make in enumerate(made, start=1):
            make()
            _tell(what, number, len(made), started)
        return
    # Not forked: PyTorch's threads do not survive it.
    with ProcessPoolExecutor(min(jobs, len(made)), mp_context=get_context("spawn"), initializer=_begin_process) as pool:
        waiting = [pool.submit(make) for make in made]
        try:
            for number, done in enumerate(as_completed(waiting), start=1):
                done.result()
                _tell(what, number, len(made), started)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_process() -> None:
    torch.set_num_threads(1)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def _tell(what: str, number: int, of: int, started: float) -> None:
    left = round((time.monotonic() - started) / number * (of - number))
    log.info("findings", done=f"{number} of {of} {what}", time_left=str(timedelta(seconds=left)))
