"""``python -m training.findings``: the study from the command line, as ``gtx-train findings`` starts it too."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from training.corpus import CorpusError
from training.findings.scales import SCALES
from training.findings.study import FindingsError, run_findings
from training.steps import StepError
from training.training_state import TrainingStateError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study and returns the exit code: 0 done, 1 it could not be done, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m training.findings", description=__doc__)
    parser.add_argument("stories", type=Path, metavar="STORIES", help="what bases are pretrained on")
    parser.add_argument("--greentexts", type=Path, default=Path("data/starter.jsonl"), metavar="FILE")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/findings"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--scale", choices=list(SCALES), default="night", help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_const", dest="scale", const="quick", help="the same as --scale quick")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="models at a time (default: one a core)")
    parser.add_argument("--claim", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (default: with the rest)")
    options = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        path = run_findings(
            options.stories,
            options.greentexts,
            options.work,
            scale=options.scale,
            jobs=options.jobs,
            claims=options.claim,
            output=options.output,
        )
    except (CorpusError, FindingsError, ImportError, OSError, StepError, TrainingStateError) as error:
        print(f"findings: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("findings: interrupted; start it again to go on", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
