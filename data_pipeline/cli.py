"""``gtx-data``: one command a stage. Exit codes: 0 done, 1 it could not be done, 2 wrong arguments."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.stages import BY_NAME, STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_pipeline.stages import Stage

DESCRIPTION: Final = """\
From Reddit dumps, screenshots and model answers to published datasets of greentexts.

Every stage reads files and folders that earlier stages wrote, and writes a folder: kept.jsonl for the next stage,
dropped.jsonl with what it dropped and why, summary.json. Stop it whenever you like: started again, it goes on where it
was. A folder that was made from other inputs or settings is refused; --restart empties it first.
"""

EPILOG: Final = """\
from a dump to a dataset:
  gtx-data dumps RS_2024-01.zst --out runs/data/dumps
  gtx-data posts runs/data/dumps --out runs/data/posts
  gtx-data images runs/data/posts --out runs/data/images
  gtx-data ocr runs/data/images --out runs/data/ocr
  gtx-data selftext runs/data/dumps --out runs/data/selftext
  gtx-data filters runs/data/ocr runs/data/selftext --out runs/data/filters
  gtx-data dataset runs/data/filters --out runs/data/dataset
then, in Python:
  datasets.load_dataset("runs/data/dataset/published", "full")

the same in one command, with every setting in one file:
  gtx-data run example --set dumps.inputs=RS_2024-01.zst

what a stage dropped, by reason:
  jq -r .reason runs/data/filters/dropped.jsonl | sort | uniq -c

gtx-data STAGE --help lists the stage's settings. docs/data.md explains them all.
"""

RUN: Final = "run"
RUN_SUMMARY: Final = "Runs all stages that a TOML file has sections for."
OCR_REPORT: Final = "ocr-report"
OCR_REPORT_SUMMARY: Final = "Measures how well OCR reads: character error rate, whole lines, speed."
CURATE: Final = "curate"
CURATE_SUMMARY: Final = "Opens an app in the browser in which people read, mend, accept and reject texts."
_MODULES: Final = {
    CURATE: ("data_pipeline.curation.command", CURATE_SUMMARY),
    OCR_REPORT: ("data_pipeline.ocr_report", OCR_REPORT_SUMMARY),
}
"""Commands that are no stages: a module with `add_options(parser)` and `main(options) -> int` each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(given).parse_args(given)
    except ModuleNotFoundError as error:
        return _say_what_is_missing(error)
    try:
        with _ended_by_sigterm_as_by_a_key():
            code: int = options.stage_command(options)
    except KeyboardInterrupt:
        print(f"gtx-data {options.stage_name}: interrupted; start it again to go on", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        return _say_what_is_missing(error)
    except _expected_errors() as error:
        for line in str(error).split("\n"):
            print(f"gtx-data {options.stage_name}: {line}", file=sys.stderr)
        return 1
    return code


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """All commands, but options only for the one that is asked for: others need not be imported for it."""
    parser = argparse.ArgumentParser(
        prog="gtx-data",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="stage_name", required=True, metavar="STAGE", title="stages and commands")
    asked = next((word for word in given if not word.startswith("-")), None)
    for stage in STAGES:
        command = commands.add_parser(stage.name, help=stage.summary, description=stage.summary, allow_abbrev=False)
        if stage.name == asked:
            _add_stage(command, stage)
    _add_run(commands.add_parser(RUN, help=RUN_SUMMARY, description=RUN_SUMMARY, allow_abbrev=False))
    for name, (module_name, summary) in _MODULES.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == asked:
            module = importlib.import_module(module_name)
            module.add_options(command)
            command.set_defaults(stage_command=module.main)
    return parser


def _add_stage(command: argparse.ArgumentParser, stage: Stage) -> None:
    from data_pipeline.settings import add_options  # noqa: PLC0415  pydantic: not for --help and mistakes

    if stage.inputs:
        command.add_argument(
            "stage_inputs",
            nargs="+" if stage.needs_inputs else "*",
            type=Path,
            metavar="INPUT",
            help=f"{stage.inputs} (name them before options that take several values)",
        )
    command.add_argument(
        "--out", dest="stage_folder", type=Path, required=True, metavar="DIR", help="the folder that it writes"
    )
    command.add_argument(
        "--restart", dest="stage_restart", action="store_true", help="begin anew: what the folder holds goes"
    )
    add_options(command, stage.settings_kind())
    command.set_defaults(stage_command=_run_stage, stage_inputs=[])


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "config",
        type=Path,
        metavar="CONFIG",
        help="a TOML file, or one that comes along: example, texts, screenshots (in data_pipeline/configs)",
    )
    command.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change a setting of the file, as in --set images.workers=4; may be given several times",
    )
    command.add_argument("--out", metavar="DIR", help="the same as --set folder=DIR")
    command.add_argument("--until", choices=tuple(BY_NAME), metavar="STAGE", help="the last stage to run")
    command.add_argument(
        "--restart-from",
        choices=tuple(BY_NAME),
        metavar="STAGE",
        help="begin anew with this stage; stages that do not read from it stay",
    )
    command.add_argument("--remake", action="store_true", help="make anew what was made from other inputs or settings")
    command.set_defaults(stage_command=_run_pipeline)


def _run_stage(options: argparse.Namespace) -> int:
    from data_pipeline.settings import from_options  # noqa: PLC0415

    stage = BY_NAME[options.stage_name]
    settings = from_options(stage.settings_kind(), options)
    summary = stage.run(options.stage_inputs, options.stage_folder, settings, restart=options.stage_restart)
    print(summary.table())
    return 0


def _run_pipeline(options: argparse.Namespace) -> int:
    from data_pipeline.pipeline import read_pipeline, run_pipeline, table  # noqa: PLC0415

    changes = [*options.changes, *([f"folder={json.dumps(options.out)}"] if options.out else [])]
    pipeline = read_pipeline(options.config, changes)
    summaries = run_pipeline(
        pipeline,
        restart_from=options.restart_from,
        remake=options.remake,
        until=options.until,
        finished=lambda summary: print(summary.table(), file=sys.stderr),
    )
    print(table(summaries))
    print(f"\nin {pipeline.folder}: STAGE/kept.jsonl, and STAGE/dropped.jsonl with reasons")
    return 0


def _expected_errors() -> tuple[type[BaseException], ...]:
    """What a message is enough for; anything else is a mistake of ours and shows where it happened."""
    from data_pipeline.errors import StageError  # noqa: PLC0415
    from data_pipeline.pipeline import PipelineError  # noqa: PLC0415
    from data_pipeline.settings import SettingsError  # noqa: PLC0415

    return (StageError, PipelineError, SettingsError, OSError)


def _say_what_is_missing(error: ModuleNotFoundError) -> int:
    if error.name is None or error.name.partition(".")[0] in ("data_pipeline", "greentext"):
        raise error  # a mistake of ours
    print(
        f"gtx-data: {error.name} is not installed: pip install 'wholesome-greentext[data]', or make setup-dev",
        file=sys.stderr,
    )
    return 1


@contextlib.contextmanager
def _ended_by_sigterm_as_by_a_key() -> Iterator[None]:
    """SIGTERM ends a stage as Ctrl-C does: worker processes and temporary files go, the journal is closed."""

    def end(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a script puts behind `&`
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    try:
        before: Any = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
