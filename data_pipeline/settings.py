"""A stage's settings, once: checked by pydantic, read from TOML, and offered as options on the command line."""

from __future__ import annotations

import argparse
import json
import types
import typing
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

NONE = "none"
"""How nothing is spelled where a setting may be nothing: TOML and command lines have no word for it."""


class SettingsError(Exception):
    """Settings that cannot be; the message names each and says what is wrong."""


class Settings(BaseModel):
    """What a stage can be told. Every field has a default and a description; subclasses are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def make(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Settings from plain values; `where` stands before each complaint. `"none"` is None where a setting may be that.

    Raises:
        SettingsError: A name is unknown, or a value cannot be.
    """
    try:
        return kind.model_validate(_with_none(kind, values))
    except ValidationError as error:
        complaints = [
            ": ".join(part for part in (where, *_complaint(kind, problem)) if part) for problem in _all(error)
        ]
        raise SettingsError("\n".join(complaints)) from error


def add_options(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """An option for each field: `--min-score`, `--follow-links/--no-follow-links`, several values for a tuple.

    Raises:
        argparse.ArgumentError: The parser has an option of a field's name already.
    """
    group = parser.add_argument_group("settings")
    for name, info in kind.model_fields.items():
        group.add_argument(flag_of(name), dest=name, default=argparse.SUPPRESS, **_argument(name, info))


def from_options(kind: type[S], options: argparse.Namespace) -> S:
    """Settings from what the command line said; what it did not say has its default. Raises SettingsError."""
    given = {
        name: _pairs(name, getattr(options, name), info)
        for name, info in kind.model_fields.items()
        if hasattr(options, name)
    }
    try:
        return kind.model_validate(_with_none(kind, given))
    except ValidationError as error:
        complaints = []
        for problem in _all(error):
            name, message = _complaint(kind, problem)
            complaints.append(f"{flag_of(name)}: {message}" if name else message)
        raise SettingsError("\n".join(complaints)) from error


def flag_of(name: str) -> str:
    """The option of a setting."""
    return f"--{name.replace('_', '-')}"


def spelled(value: object) -> str:
    """A setting's value as it may be typed; `nothing` for what is empty."""
    if value is None:
        return NONE
    if value in ((), [], {}, "", frozenset()):
        return "nothing"
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items())
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if isinstance(value, set | frozenset):
        return " ".join(sorted(map(str, value)))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _all(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _complaint(kind: type[Settings], problem: ErrorDetails) -> tuple[str, str]:
    """Name (empty where several settings together are wrong) and message."""
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return name, f"there is no such setting; there are {', '.join(kind.model_fields) or 'none'}"
    return name, problem["msg"].removeprefix("Value error, ")


def _argument(name: str, info: FieldInfo) -> dict[str, Any]:
    """What argparse is to make of a field; pydantic converts and checks the values afterwards."""
    text = f"{info.description} (default: {spelled(info.get_default(call_default_factory=True))})".replace("%", "%%")
    kind = _bare(info.annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    origin = typing.get_origin(kind) or kind
    argument: dict[str, Any] = {"help": text, "metavar": _metavar(name)}
    if origin is dict:
        return argument | {"metavar": "NAME=VALUE", "nargs": "*"}
    several = origin in (tuple, list, set, frozenset)
    one = _bare(typing.get_args(kind)[0]) if several and typing.get_args(kind) else kind
    if choices := _choices(one):
        # What pydantic wants is the value, what people type its spelling.
        argument |= {"choices": list(choices.values()), "type": lambda said: choices.get(said, said)}
        argument["metavar"] = f"{{{','.join(choices)}}}"
    if several:
        argument["nargs"] = "*"
    return argument


def _metavar(name: str) -> str:
    """What stands for the value: `min_score` SCORE, `timeout_s` SECONDS, `texts_per_request` TEXTS."""
    last = name.partition("_per_")[0].rsplit("_", 1)[-1]
    return {"s": "SECONDS", "to": "NAME"}.get(last, last.upper())


def _choices(kind: Any) -> dict[str, Any]:
    """Each value that a literal or enumerated type has, by its spelling; none for other types."""
    if typing.get_origin(kind) is Literal:
        return {str(value): value for value in typing.get_args(kind)}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {member.value: member.value for member in kind}
    return {}


def _pairs(name: str, said: Any, info: FieldInfo) -> Any:
    """`NAME=VALUE` words as a dictionary, where that is what a field is; a value may be JSON. Raises SettingsError."""
    kind = _bare(info.annotation)
    if (typing.get_origin(kind) or kind) is not dict or said == [NONE]:
        return said
    pairs = {}
    for word in said:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise SettingsError(f"{flag_of(name)}: expected NAME=VALUE, got {word!r}")
        try:
            pairs[key] = json.loads(value)
        except ValueError:
            pairs[key] = value
    return pairs


def _with_none(kind: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with `none` as None, where the field may be None and is no text of that spelling."""
    plain = dict(values)
    for name, info in kind.model_fields.items():
        if plain.get(name) in (NONE, [NONE]) and _optional(info.annotation):
            plain[name] = None
    return plain


def _optional(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType) and type(None) in typing.get_args(kind)


def _bare(kind: Any) -> Any:
    """The type without `None` and without notes (`Annotated`)."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _bare(next(part for part in typing.get_args(kind) if part is not type(None)))
    return kind
