"""``gtx-train``: the commands that make a model. Exit codes: 0 done, 1 it could not be done, 2 wrong arguments."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPE = Path(__file__).parent / "recipes" / "embedded.toml"
GREENTEXTS = Path("data/starter.jsonl")
WORK = Path("runs/embedded")

EPILOG = """\
from stories to the bundle that ships in the repository, about an hour and a half on two cores:
  gtx-train embedded stories.txt.zst
the same by hand:
  gtx-train pretrain stories.txt.zst --work runs/mine
  gtx-train finetune runs/mine/pretrain/checkpoint --work runs/mine
  gtx-train evaluate runs/mine/finetune-all/checkpoint
  gtx-train package runs/mine/finetune-all/checkpoint --work runs/mine --bundle models/mine

STORIES is UTF-8 text (plain or .zst), stories separated by <|endoftext|>. Greentexts are JSON Lines with "text" and
"genre". Interrupted runs go on where they stopped when started again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    options = _parser().parse_args(arguments)
    # The libraries take seconds to import: only now, so that --help and mistakes answer at once.
    from training import commands  # noqa: PLC0415

    commands.log_to_stderr()
    try:
        result = getattr(commands, options.command)(options)
    except commands.EXPECTED_ERRORS as error:
        print(f"gtx-train {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gtx-train {options.command}: interrupted; start it again to go on", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gtx-train",
        description="Trains small language models to write greentexts, and packages them for the service.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument(
            "--greentexts", type=Path, default=GREENTEXTS, metavar="FILE", help="JSON Lines (default: %(default)s)"
        )
        return command

    def add_recipe(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--recipe", type=Path, default=RECIPE, metavar="FILE", help="TOML (default: the embedded model's)"
        )
        command.add_argument(
            "--work", type=Path, default=WORK, metavar="DIR", help="where steps keep their files (default: %(default)s)"
        )

    command = add("embedded", "All steps of a recipe, from stories to a bundle.")
    command.add_argument("stories", type=Path, metavar="STORIES", help="what to pretrain on")
    command.add_argument("--base", type=Path, metavar="CHECKPOINT", help="take this in place of pretraining")
    add_recipe(command)
    _add_bundle(command)

    command = add("pretrain", "Trains a tokenizer and a model on stories.")
    command.add_argument("stories", type=Path, metavar="STORIES", help="what to pretrain on")
    add_recipe(command)

    command = add("finetune", "Tunes a checkpoint on greentexts, by the recipe's stages.")
    command.add_argument("base", type=Path, metavar="CHECKPOINT", help="what to begin with")
    command.add_argument("--stories", type=Path, metavar="FILE", help="where replayed stories come from")
    add_recipe(command)

    command = add("evaluate", "Scores a checkpoint or a bundle on held-out greentexts; prints JSON.")
    command.add_argument("model", type=Path, metavar="MODEL", help="a checkpoint or a bundle")
    command.add_argument("--split", choices=("validation", "test"), default="test", help="(default: %(default)s)")
    command.add_argument("--genre", choices=("all", "thanks", "general"), default="all", help="(default: %(default)s)")
    command.add_argument("--samples", type=int, default=0, metavar="N", help="write N texts too (a bundle only)")

    command = commands.add_parser(
        "export",
        help="Exports a checkpoint to portable ONNX.",
        description="Exports a checkpoint to portable ONNX, with past keys and values.",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    command.add_argument("output", type=Path, metavar="DIR", help="is replaced")

    command = add("package", "Checks a tuned checkpoint, chooses its format, and writes a model bundle.")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    add_recipe(command)
    _add_bundle(command)
    return parser


def _add_bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--bundle", type=Path, metavar="DIR", help="where the bundle goes (default: models/ and the recipe's name)"
    )


if __name__ == "__main__":
    sys.exit(main())
