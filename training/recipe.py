"""Recipes: short TOML files that say all of how a model is made.

Every section is a dataclass; a key that it does not have, a missing one, and a value of another type are errors that
name themselves. A recipe either pretrains (sections ``model`` and ``pretrain``) or begins with a published model
(section ``base``).
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from greentext.bundle import DefaultSampling
from training.dataset import CHOICES, Choice
from training.finetune import Tuning
from training.pretrain import ModelShape
from training.recipe_values import RecipeError, apply_settings, section
from training.trainer import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RECIPES", "Base", "Card", "Evaluation", "Export", "Recipe", "RecipeError", "Source", "Stage", "Tokens"]

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Card:
    """What the bundle says of itself (see ``package.CardFacts``)."""

    name: str
    description: str
    license: str
    limits: tuple[str, ...]
    max_bytes: int
    """The bundle's files together."""
    base_model: str = ""
    """Left out where there is a ``base``: its name and commit are taken."""
    trained_on: tuple[str, ...] = ()
    """Further sentences; of base and data the card tells by itself where there is a ``base``."""
    samples: int = 20


@dataclass(frozen=True, slots=True)
class Base:
    """A published model: a repository of the hub, or a directory."""

    id: str
    revision: str = "main"
    """A commit; a branch is resolved to one at its first use, and pinned."""
    tokenizer_revision: str = ""
    """Where the tokenizer's files are, when the revision with the weights lacks them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset of the hub, or a path; what one name of ``[data]`` stands for."""

    id: str
    revision: str = "main"
    configuration: str = ""
    """The dataset's own name of the configuration, where it has several and none of the recipe's name."""
    column: str = "text"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a text may consist of. It begins with the project's start token, always."""

    context_length: int = 512
    """In tokens; a base's longer context is cut to it, which changes nothing for texts that fit."""
    trim_to: int = 0
    """Tokens that the packaged vocabulary keeps, or as many as the data needs if that is more; 0 keeps all."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.context_length < 16:
            raise ValueError(f"context_length must be at least 16, got {self.context_length}")
        if self.trim_to < 0:
            raise ValueError(f"trim_to must not be negative, got {self.trim_to}")


@dataclass(frozen=True, slots=True)
class Export:
    """What is made of the tuned checkpoint."""

    portable: bool = True
    """Whether optimum's ONNX export is made, and compared with the serving graph."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``gtx-train evaluate`` is asked, of the bundle. 0 samples leaves it out."""

    samples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.samples < 0 or self.seed < 0:
            raise ValueError(f"samples and seed must not be negative, got {self.samples} and {self.seed}")


@dataclass(frozen=True, slots=True)
class Stage:
    """One fine-tuning; stages follow one another, each from the checkpoint of the one before."""

    name: str
    tuning: Tuning
    plan: TrainingPlan
    data: Choice = "full"
    """Which of the data: a name of ``[data]``, a dataset's configuration, or a choice among one file's texts."""
    only_simple: bool = False
    """Leave out what is not in simple words (``greentext.vocabulary``)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model, from stories or a published base to a bundle."""

    card: Card
    model: ModelShape
    pretraining: TrainingPlan | None
    stages: tuple[Stage, ...]
    sampling: DefaultSampling
    calibration_texts: int = field(default=160)
    base: Base | None = None
    data: dict[str, Source] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    export: Export = field(default_factory=Export)
    evaluation: Evaluation = field(default_factory=Evaluation)


SECTIONS = (
    "card", "model", "pretrain", "base", "data", "tokens", "finetune", "sampling", "calibration", "export",
    "evaluation",
)  # fmt: skip


def recipe_paths() -> dict[str, Path]:
    """The recipes that come along, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe that comes along, or of one's own. Raises RecipeError."""
    known = recipe_paths()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.is_file():
        raise RecipeError(f"there is no recipe {name_or_path}; known are {', '.join(known)}, or name a .toml file")
    return path


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, with ``SECTION.KEY=VALUE`` settings in place of what it says. Raises RecipeError."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist; training/recipes/embedded.toml is an example") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    try:
        return _recipe(apply_settings(content, settings))
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _recipe(content: dict[str, Any]) -> Recipe:
    if unknown := sorted(set(content) - set(SECTIONS)):
        raise RecipeError(f"unknown section {', '.join(unknown)}; sections are {', '.join(SECTIONS)}")
    if missing := [name for name in ("card", "finetune", "sampling") if name not in content]:
        raise RecipeError(f"section {', '.join(missing)} is missing")
    if ("base" in content) == ("pretrain" in content):
        raise RecipeError("one of the sections base (a published model) and pretrain (one of your own) is needed")
    if "base" in content and "model" in content:
        raise RecipeError("section model is for pretraining; a base has its own shape")
    stages = content["finetune"]
    if not isinstance(stages, list) or not stages:
        raise RecipeError("finetune must be one [[finetune]] table or several")
    calibration = content.get("calibration", {})
    if set(calibration) - {"texts"} or not isinstance(calibration.get("texts", 1), int):
        raise RecipeError("calibration has one key, texts, a whole number")
    recipe = Recipe(
        card=section(Card, "card", content["card"]),
        model=section(ModelShape, "model", content.get("model", {})),
        pretraining=section(TrainingPlan, "pretrain", content["pretrain"]) if "pretrain" in content else None,
        stages=tuple(_stage(stage) for stage in stages),
        sampling=_sampling(content["sampling"]),
        calibration_texts=calibration.get("texts", 160),
        base=section(Base, "base", content["base"]) if "base" in content else None,
        data=_data(content.get("data", {})),
        tokens=section(Tokens, "tokens", content.get("tokens", {})),
        export=section(Export, "export", content.get("export", {})),
        evaluation=section(Evaluation, "evaluation", content.get("evaluation", {})),
    )
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        raise RecipeError(f"finetune: names must differ, got {', '.join(names)}")
    if recipe.base is None and not (recipe.card.base_model and recipe.card.trained_on):
        raise RecipeError("card: base_model, trained_on is missing")
    if recipe.data and (without := sorted({stage.data for stage in recipe.stages} - set(recipe.data))):
        raise RecipeError(f"finetune: data {', '.join(without)} is not in [data]; there is {', '.join(recipe.data)}")
    if recipe.base is not None and any(stage.tuning.replay for stage in recipe.stages):
        raise RecipeError("finetune: replay needs stories, which a recipe with a base has not")
    return recipe


def _data(tables: object) -> dict[str, Source]:
    if not isinstance(tables, dict):
        raise RecipeError("data must be tables: [data.full], [data.thanks] ...")
    if unknown := sorted(set(tables) - set(CHOICES)):
        raise RecipeError(f"data: unknown name {', '.join(unknown)}; names are {', '.join(CHOICES)}")
    return {name: section(Source, f"data.{name}", table) for name, table in tables.items()}


def _stage(table: object) -> Stage:
    """A stage's keys are those of Tuning, of TrainingPlan, and its own together."""
    if not isinstance(table, dict):
        raise RecipeError("finetune must be tables")
    name = table.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise RecipeError(f"finetune: name must be a word, got {name!r}; its checkpoint is kept under it")
    own, tuning = {"name", "data", "only_simple"}, {field_.name for field_ in dataclasses.fields(Tuning)}
    where = f"finetune {name}"
    data, only_simple = table.get("data", "full"), table.get("only_simple", False)
    if data not in CHOICES:
        raise RecipeError(f"{where}: data must be one of {', '.join(CHOICES)}, got {data!r}")
    if type(only_simple) is not bool:
        raise RecipeError(f"{where}: only_simple must be a bool, got {only_simple!r}")
    return Stage(
        name=name,
        tuning=section(Tuning, where, {key: value for key, value in table.items() if key in tuning}),
        plan=section(TrainingPlan, where, {k: v for k, v in table.items() if k not in tuning | own}),
        data=data,
        only_simple=only_simple,
    )


def _sampling(table: object) -> DefaultSampling:
    try:
        return DefaultSampling.model_validate(table)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        named = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise RecipeError(f"sampling: {named}") from error
