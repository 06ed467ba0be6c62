"""Recipes: short TOML files that say all of how a model is made.

Every section is a dataclass; a key that it does not have, a missing one, and a value of another type are errors that
name themselves.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from greentext.bundle import DefaultSampling
from training.finetune import Tuning
from training.pretrain import ModelShape
from training.trainer import TrainingPlan

if TYPE_CHECKING:
    from pathlib import Path


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the file, the section and the key."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One fine-tuning; stages follow one another, each from the checkpoint of the one before."""

    name: str
    tuning: Tuning
    plan: TrainingPlan


@dataclass(frozen=True, slots=True)
class Card:
    """What the bundle says of itself (see ``package.CardFacts``)."""

    name: str
    description: str
    base_model: str
    license: str
    trained_on: tuple[str, ...]
    limits: tuple[str, ...]
    max_bytes: int
    """The bundle's files together."""
    samples: int = 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model from stories and greentexts to a bundle."""

    card: Card
    model: ModelShape
    pretraining: TrainingPlan
    stages: tuple[Stage, ...]
    sampling: DefaultSampling
    calibration_texts: int = field(default=160)


SECTIONS = ("card", "model", "pretrain", "finetune", "sampling", "calibration")


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe. Raises RecipeError."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist; training/recipes/embedded.toml is an example") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    try:
        return _recipe(content)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _recipe(content: dict[str, Any]) -> Recipe:
    if unknown := sorted(set(content) - set(SECTIONS)):
        raise RecipeError(f"unknown section {', '.join(unknown)}; sections are {', '.join(SECTIONS)}")
    if missing := [name for name in ("card", "pretrain", "finetune", "sampling") if name not in content]:
        raise RecipeError(f"section {', '.join(missing)} is missing")
    stages = content["finetune"]
    if not isinstance(stages, list) or not stages:
        raise RecipeError("finetune must be one [[finetune]] table or several")
    calibration = content.get("calibration", {})
    if set(calibration) - {"texts"} or not isinstance(calibration.get("texts", 1), int):
        raise RecipeError("calibration has one key, texts, a whole number")
    recipe = Recipe(
        card=_section(Card, "card", content["card"]),
        model=_section(ModelShape, "model", content.get("model", {})),
        pretraining=_section(TrainingPlan, "pretrain", content["pretrain"]),
        stages=tuple(_stage(stage) for stage in stages),
        sampling=_sampling(content["sampling"]),
        calibration_texts=calibration.get("texts", 160),
    )
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        raise RecipeError(f"finetune: names must differ, got {', '.join(names)}")
    return recipe


def _stage(table: object) -> Stage:
    """A stage's keys are those of Tuning and of TrainingPlan together."""
    if not isinstance(table, dict):
        raise RecipeError("finetune must be tables")
    name = table.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise RecipeError(f"finetune: name must be a word, got {name!r}; its checkpoint is kept under it")
    tuning = {field_.name for field_ in dataclasses.fields(Tuning)}
    section = f"finetune {name}"
    return Stage(
        name=name,
        tuning=_section(Tuning, section, {key: value for key, value in table.items() if key in tuning}),
        plan=_section(TrainingPlan, section, {k: v for k, v in table.items() if k not in tuning and k != "name"}),
    )


def _sampling(table: object) -> DefaultSampling:
    try:
        return DefaultSampling.model_validate(table)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        named = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise RecipeError(f"sampling: {named}") from error


Section = typing.TypeVar("Section")


def _section(kind: type[Section], name: str, table: object) -> Section:
    if not isinstance(table, dict):
        raise RecipeError(f"{name} must be a table")
    fields = {field_.name: field_ for field_ in dataclasses.fields(typing.cast("Any", kind))}
    types = typing.get_type_hints(kind)
    if unknown := sorted(set(table) - set(fields)):
        raise RecipeError(f"{name}: unknown key {', '.join(unknown)}; known are {', '.join(fields)}")
    required = [key for key, field_ in fields.items() if field_.default is dataclasses.MISSING]
    if missing := [key for key in required if key not in table]:
        raise RecipeError(f"{name}: {', '.join(missing)} is missing")
    values = {key: _value(f"{name}: {key}", types[key], value) for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from error


def _value(where: str, wanted: Any, value: Any) -> Any:
    """A TOML value as a field's type: numbers, strings, booleans, literals, tuples of strings."""
    if typing.get_origin(wanted) is typing.Literal:
        if value not in typing.get_args(wanted):
            raise RecipeError(f"{where} must be one of {', '.join(typing.get_args(wanted))}, got {value!r}")
        return value
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RecipeError(f"{where} must be a list of strings")
        return tuple(value)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise RecipeError(f"{where} must be a {wanted.__name__}, got {value!r}")
    return value
