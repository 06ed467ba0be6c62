from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.settings import Settings, SettingsError, variable

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "settings.md"
UNITS = ("_bytes", "_s", "_days", "_tokens", "_characters", "_per_minute")
ROW = re.compile(r"^\| `(?P<name>GREENTEXT_\w+)` \| (?P<default>.*?) \| (?P<meaning>.*) \|$", re.MULTILINE)


def default_in_words(field: str) -> str:
    value = Settings.model_fields[field].default
    if field in ("model_dir", "models_dir"):
        return f"`{value.relative_to(ROOT)}`"
    if value is None or value == ():
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_each_setting_is_documented_as_it_is() -> None:
    rows = {row["name"]: (row["default"], row["meaning"]) for row in ROW.finditer(DOCUMENT.read_text(encoding="utf-8"))}
    assert rows == {
        variable(name): (default_in_words(name), field.description) for name, field in Settings.model_fields.items()
    }


def test_each_limit_names_its_unit_or_is_a_count() -> None:
    counts = {"database_queue", "max_slots", "max_waiting", "max_n", "max_unread_events", "threads", "workers"}
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float, int | None):
            assert name in counts or name.endswith(UNITS), name


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({"PATH": "/bin"}) == Settings()


def test_values_are_read_from_the_environment() -> None:
    settings = Settings.from_environment(
        {
            "GREENTEXT_MAX_SLOTS": "8",
            "GREENTEXT_DEADLINE_S": "1.5",
            "GREENTEXT_CORS_ORIGINS": "https://a.example, https://b.example",
            "GREENTEXT_ACCESS_LOG": "true",
            "GREENTEXT_MODEL_DIR": "/srv/model",
        }
    )
    assert (settings.max_slots, settings.deadline_s, settings.access_log) == (8, 1.5, True)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.model_dir == Path("/srv/model")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GREENTEXT_MAX_SLOTS", "many"),
        ("GREENTEXT_MAX_SLOTS", "0"),
        ("GREENTEXT_MAX_SLOTS", ""),
        ("GREENTEXT_DEADLINE_S", "nan"),
        ("GREENTEXT_DEADLINE_S", "inf"),
        ("GREENTEXT_DEADLINE_S", "-1"),
        ("GREENTEXT_MODEL_NAME", "a b"),
        ("GREENTEXT_ACCESS_LOG", "perhaps"),
        ("GREENTEXT_MAX_SLOT", "8"),
        ("GREENTEXT_", "8"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(name)):
        Settings.from_environment({name: value})


def test_all_bad_variables_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"GREENTEXT_MAX_SLOTS: .*; GREENTEXT_MAX_N: "):
        Settings.from_environment({"GREENTEXT_MAX_N": "x", "GREENTEXT_MAX_SLOTS": "x"})


@given(st.sampled_from(sorted(map(variable, Settings.model_fields))), st.text())
def test_whatever_a_variable_holds_it_is_taken_or_named(name: str, value: str) -> None:
    try:
        Settings.from_environment({name: value})
    except SettingsError as caught:
        message = str(caught)
    else:
        message = name
    assert name in message
