"""``gtx-train``: the commands that make a model. Exit codes: 0 done, 1 it could not be done, 2 wrong arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Adder = Callable[..., argparse.ArgumentParser]

RECIPE = Path(__file__).parent / "recipes" / "embedded.toml"
EMBEDDED = (RECIPE, RECIPE.with_name("embedded-general.toml"))
"""Of the models that ship in the repository, the default first."""
GREENTEXTS = Path("data/greentexts")
STARTER = GREENTEXTS / "starter.jsonl"

EPILOG = """\
a model of your own, from a folder of texts to a bundle:
  gtx-train recipes
  gtx-train run tinystories-1m-simple --data my-texts --work runs/mine --bundle models/mine
the same step by step:
  gtx-train base tinystories-1m-simple --work runs/mine
  gtx-train data tinystories-1m-simple --data my-texts --work runs/mine
  gtx-train finetune runs/mine/base/checkpoint --recipe tinystories-1m-simple --data my-texts --work runs/mine
  gtx-train trim runs/mine/finetune-simple/checkpoint runs/mine/trimmed --data my-texts
  gtx-train package runs/mine/trimmed --recipe tinystories-1m-simple --data my-texts --work runs/mine
  gtx-train evaluate models/tinystories-1m-simple --data my-texts --choice simple
  gtx-train publish you/mine models/tinystories-1m-simple --checkpoint runs/mine/trimmed --dry-run
from stories to the bundles that ship in the repository, a few hours on two cores:
  gtx-train embedded stories.txt.zst
what holds of the original project's claims, at a scale of minutes:
  gtx-train findings stories.txt.zst --quick --out my-findings
on several processes or machines (the work directory on a disk that all of them see):
  accelerate launch --num_processes 4 -m training.cli run tinystories-33m-full

DATA is a folder of .txt files (blank lines between greentexts), JSON Lines with "text", a dataset by gtx-data or any
other that the library `datasets` loads, or OWNER/NAME[@REVISION] of the hub. STORIES is UTF-8 text (plain or .zst),
stories separated by <|endoftext|>. Interrupted runs go on where they stopped when started again.
"""


FINDINGS_DETAIL = "Each scale is several times the work of the one before; `night` is meant for one, on two cores."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    options = parser().parse_args(arguments)
    # The libraries take seconds to import: only now, so that --help and mistakes answer at once.
    from training import commands  # noqa: PLC0415

    return commands.run(options)


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(
        prog="gtx-train",
        description="Trains small language models to write greentexts, and packages them for the service.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, detail: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=f"{summary} {detail}".strip())

    _add_tuning(add)
    _add_own_training(add)
    _add_checkpoint_steps(add)
    return top


def _add_tuning(add: Adder) -> None:
    add("recipes", "Lists the recipes that come along.")

    command = add("run", "All steps of a recipe that begins with a published model, to a bundle.")
    command.add_argument("recipe", metavar="RECIPE", help="a name of `gtx-train recipes`, or a .toml file")
    _add_base(command)
    _add_data(command, "take this in place of the recipe's data")
    _add_work(command)
    _add_bundle(command)
    _add_settings(command)
    command.add_argument(
        "--until", choices=("base", "data", "finetune", "trim", "package", "evaluate"), default="package",
        help="end behind this step (default: %(default)s)",
    )  # fmt: skip

    command = add("base", "Fetches a recipe's base and registers the start token.")
    command.add_argument("recipe", metavar="RECIPE")
    _add_base(command)
    _add_work(command)
    _add_settings(command)

    command = add("data", "Reads a recipe's texts, splits them, and counts what was left out.", "After `base`.")
    command.add_argument("recipe", metavar="RECIPE")
    _add_data(command, "take this in place of the recipe's data")
    _add_work(command)
    _add_settings(command)


def _add_own_training(add: Adder) -> None:
    command = add(
        "embedded",
        "All steps of recipes that pretrain, from stories to a bundle each.",
        "Steps that recipes have in common are done once.",
    )
    command.add_argument("stories", type=Path, metavar="STORIES", help="what to pretrain on")
    command.add_argument("--base", type=Path, metavar="CHECKPOINT", help="take this in place of pretraining")
    command.add_argument(
        "--recipe",
        action="append",
        metavar="RECIPE",
        help="repeatable (default: those of the models that ship in the repository)",
    )
    _add_data(command, f"(default: {GREENTEXTS})")
    _add_work(command)
    _add_settings(command)
    command.add_argument(
        "--bundle", type=Path, metavar="DIR", help="where the bundle of one recipe goes (default: models/ and its name)"
    )

    command = add("pretrain", "Trains a tokenizer and a model on stories.")
    command.add_argument("stories", type=Path, metavar="STORIES", help="what to pretrain on")
    _add_recipe(command)

    command = add("finetune", "Tunes a checkpoint on greentexts, by the recipe's stages.")
    command.add_argument("base", type=Path, metavar="CHECKPOINT", help="what to begin with")
    command.add_argument("--stories", type=Path, metavar="FILE", help="where replayed stories come from")
    _add_recipe(command)


def _add_checkpoint_steps(add: Adder) -> None:
    command = add("trim", "Writes a checkpoint without the tokens that the texts never use.")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    command.add_argument("output", type=Path, metavar="DIR", help="must not exist")
    _add_data(command, "the texts that must encode as before", required=True)
    command.add_argument("--tokens", type=int, metavar="N", help="keep frequent further tokens, up to N in all")

    command = add("export", "Exports a checkpoint to portable ONNX, with past keys and values.")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    command.add_argument("output", type=Path, metavar="DIR", help="is replaced")

    command = add("unpack", "Makes a checkpoint of a GPT-Neo bundle, to tune it further.")
    command.add_argument("bundle", type=Path, metavar="BUNDLE")
    command.add_argument("output", type=Path, metavar="DIR", help="must not exist")

    command = add("package", "Checks a tuned checkpoint, chooses its format, and writes a model bundle.")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    _add_recipe(command)
    _add_bundle(command)

    command = add("evaluate", "Measures models on held-out greentexts and on what they write; writes a report each.")
    command.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="checkpoints or bundles")
    _add_data(command, f"what they are measured against, split as for training (default: {GREENTEXTS})")
    command.add_argument("--choice", choices=("full", "simple", "thanks", "real"), default="full", help="of the data")
    command.add_argument("--split", choices=("validation", "test"), default="test", help="(default: %(default)s)")
    command.add_argument("--samples", type=int, default=2000, metavar="N", help="texts to write (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the first sample (default: %(default)s)")
    command.add_argument(
        "--out", type=Path, default=Path("runs/evaluation"), metavar="DIR", help="(default: %(default)s)"
    )
    command.add_argument("--judge", metavar="MODEL", help="of a server that speaks OpenAI's API: it grades texts too")
    command.add_argument("--judge-url", default="", metavar="URL", help="(default: OPENAI_BASE_URL, or OpenAI's own)")
    command.add_argument("--mauve", default="", metavar="MODEL", help="measure MAUVE too, with this model's features")

    command = add(
        "sample", "Has a model write many texts, as rows for `gtx-data filters`.", "Without --out it shows them only."
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="a checkpoint or a bundle")
    command.add_argument("--count", type=int, default=10, metavar="N", help="(default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the first (default: %(default)s)")
    command.add_argument("--prompt", default="", metavar="TEXT", help="what each begins with")
    command.add_argument("--temperature", type=float, metavar="T", help="(default: the bundle's, or 0.8)")
    command.add_argument(
        "--opening-temperature", type=float, metavar="T", help="of the first line (default: T, or the bundle's)"
    )
    command.add_argument("--top-p", type=float, metavar="P", help="(default: the bundle's, or 0.95)")
    command.add_argument("--top-k", type=int, metavar="K", help="0 takes all (default: the bundle's, or 50)")
    command.add_argument("--out", type=Path, metavar="DIR", help="goes on where an earlier run there stopped")

    command = add("compare", "Sets what `evaluate` found side by side.")
    command.add_argument(
        "results", type=Path, nargs="+", metavar="DIR", help="what `evaluate` wrote, the first is the measure"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="write comparison.md, its figures and a picture here")

    _add_findings(
        add("findings", "Tests the original project's claims by experiments, and writes a report.", FINDINGS_DETAIL)
    )
    _add_import(add("import", "Makes a bundle of a published GPT-Neo, GPT-2 or Llama checkpoint."))

    command = add("publish", "Puts a bundle, its checkpoint and its card on the hub.", "The token is HF_TOKEN's.")
    command.add_argument("repository", metavar="OWNER/NAME")
    command.add_argument("bundle", type=Path, metavar="BUNDLE")
    command.add_argument("--checkpoint", type=Path, metavar="DIR", help="what the bundle was made of")
    command.add_argument("--portable", type=Path, metavar="DIR", help="what `export` wrote of it")
    command.add_argument("--public", action="store_true", help="a repository that is made is for everybody")
    command.add_argument("--dry-run", action="store_true", help="list the files, send nothing")


def _add_findings(command: argparse.ArgumentParser) -> None:
    command.add_argument("stories", type=Path, metavar="STORIES", help="what bases are pretrained on")
    _add_data(command, f'the greentexts to tune on, JSON Lines with "text" and "genre" (default: {STARTER})')
    command.add_argument(
        "--scale", choices=("quick", "short", "night"), default="night", help="of the models (default: %(default)s)"
    )
    command.add_argument("--quick", action="store_const", dest="scale", const="quick", help="the same as --scale quick")
    command.add_argument("--claim", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    command.add_argument("--jobs", type=int, default=0, metavar="N", help="models at a time (default: one a core)")
    command.add_argument(
        "--work", type=Path, default=Path("runs/findings"), metavar="DIR", help="(default: %(default)s)"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: with the rest)")


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="OWNER/NAME of the hub, or a directory")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="where it goes (default: models/ and its name)")
    command.add_argument("--revision", metavar="REVISION", help="branch, tag, refs/pr/N or commit (default: main)")
    command.add_argument(
        "--precision", choices=("fp32", "int8", "int4"), help="(default: the fastest of those measured)"
    )
    _add_data(command, "texts to measure formats on: what the model is meant to write; without them it is fp32")
    command.add_argument("--context", type=int, metavar="TOKENS", help="less than the model's own context")
    command.add_argument("--name", help="the bundle's (default: the model's)")
    command.add_argument("--license", metavar="SPDX", help="(default: what the model's card says)")
    command.add_argument("--work", type=Path, metavar="DIR", help="keep the graphs that were measured here")


def _add_base(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--base", metavar="BASE", help="a checkpoint's directory, or OWNER/NAME[@REVISION], in place of the recipe's"
    )
    command.add_argument(
        "--renew-pins", action="store_true", help="take what the hub's branches are now, not what they were at first"
    )


def _add_data(command: argparse.ArgumentParser, summary: str, *, required: bool = False) -> None:
    command.add_argument("--data", "--greentexts", metavar="DATA", required=required, help=summary)


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default=str(RECIPE), metavar="RECIPE", help="(default: the embedded model's)")
    _add_data(command, f"(default: the recipe's, or {GREENTEXTS})")
    _add_work(command)
    _add_settings(command)


def _add_work(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="where steps keep their files (default: runs/ and the recipe's file's name)",
    )


def _add_bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--bundle", type=Path, metavar="DIR", help="where the bundle goes (default: models/ and the recipe's name)"
    )


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="settings",
        help="change what the recipe says, as often as you like: --set finetune.epochs=2 --set card.license=MIT",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
