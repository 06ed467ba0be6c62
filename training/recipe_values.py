"""From TOML values to dataclasses, and settings of the command line on top of them.

Knows nothing of what a recipe means.
"""

from __future__ import annotations

import copy
import dataclasses
import tomllib
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Section = typing.TypeVar("Section")


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the file, the section and the key."""


def section(kind: type[Section], name: str, table: object) -> Section:
    """A table as a dataclass. Raises RecipeError naming a key that is unknown, missing or of another type."""
    if not isinstance(table, dict):
        raise RecipeError(f"{name} must be a table")
    fields = {field.name: field for field in dataclasses.fields(typing.cast("Any", kind))}
    types = typing.get_type_hints(kind)
    if unknown := sorted(set(table) - set(fields)):
        raise RecipeError(f"{name}: unknown key {', '.join(unknown)}; known are {', '.join(fields)}")
    required = [key for key, field in fields.items() if field.default is dataclasses.MISSING]
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


def apply_settings(content: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A recipe's tables with ``SECTION.KEY=VALUE`` settings in place of what they say, as new tables.

    ``finetune.KEY`` is for every stage, ``finetune.STAGE.KEY`` for one. A value is TOML, or text as it stands. Raises
    RecipeError where a setting names nothing.
    """
    changed = copy.deepcopy(content)
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise RecipeError(f"{setting!r} is no setting; write SECTION.KEY=VALUE, as finetune.epochs=2")
        for table in _tables(changed, keys[:-1], setting):
            table[keys[-1]] = _parsed(text.strip())
    return changed


def _tables(content: dict[str, Any], keys: Sequence[str], setting: str) -> list[dict[str, Any]]:
    """The tables that a setting changes; a section that is not there is made."""
    name, *below = keys
    found = content.setdefault(name, {})
    if isinstance(found, list):
        chosen = [stage for stage in found if not below or stage.get("name") == below[0]]
        if not chosen or len(below) > 1:
            names = ", ".join(str(stage.get("name")) for stage in found)
            raise RecipeError(f"{setting!r} names no stage; write {name}.KEY=VALUE, or {name}.STAGE.KEY with {names}")
        return chosen
    for key in below:
        found = found.setdefault(key, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise RecipeError(f"{setting!r} names no section; write SECTION.KEY=VALUE")
    return [found]


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a word without quotes, as shells leave it
