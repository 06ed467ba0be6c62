"""A stage's settings, once: checked by pydantic, read from TOML, and offered as options on the command line."""

from __future__ import annotations

import argparse
import types
import typing
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo


class SettingsError(Exception):
    """Settings that cannot be; the message names each and says what is wrong."""


class Settings(BaseModel):
    """What a stage can be told. Every field has a default and a description; subclasses are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def make(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Settings from plain values; `where` stands before each complaint.

    Raises:
        SettingsError: A name is unknown, or a value cannot be.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        complaints = []
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            message = "there is no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
            complaints.append(f"{where}: {name}: {message}")
        raise SettingsError("\n".join(complaints)) from error


def add_options(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """An option for each field: `--min-score`, `--follow-links/--no-follow-links`, several values for a tuple."""
    group = parser.add_argument_group("settings")
    for name, info in kind.model_fields.items():
        group.add_argument(_flag(name), dest=name, default=argparse.SUPPRESS, **_argument(name, info))


def from_options(kind: type[S], options: argparse.Namespace) -> S:
    """Settings from what the command line said; what it did not say has its default. Raises SettingsError."""
    given = {name: getattr(options, name) for name in kind.model_fields if hasattr(options, name)}
    try:
        return make(kind, given, "")
    except SettingsError as error:
        lines = str(error).split("\n")
        raise SettingsError("\n".join(_flag(line.removeprefix(": ")) for line in lines)) from error


def _flag(name: str) -> str:
    field, colon, rest = name.partition(":")
    return f"--{field.replace('_', '-')}{colon}{rest}"


def _argument(name: str, info: FieldInfo) -> dict[str, Any]:
    """What argparse is to make of a field; pydantic converts and checks the values afterwards."""
    text = f"{info.description} (default: {_spelled(info.get_default(call_default_factory=True))})".replace("%", "%%")
    kind = _without_none(info.annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    several = typing.get_origin(kind) in (tuple, list)
    one = _without_none(typing.get_args(kind)[0]) if several else kind
    argument: dict[str, Any] = {"help": text, "metavar": name.rsplit("_", 1)[-1].upper()}
    if typing.get_origin(one) is Literal:
        argument["choices"] = typing.get_args(one)
        del argument["metavar"]
    elif isinstance(one, type) and issubclass(one, StrEnum):
        argument["choices"] = [member.value for member in one]
        del argument["metavar"]
    if several:
        argument["nargs"] = "*"
    return argument


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _spelled(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return str(value)
