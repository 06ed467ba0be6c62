from __future__ import annotations

import argparse
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from data_pipeline.settings import Settings, SettingsError, add_options, from_options, make


class Colour(StrEnum):
    GREEN = "green"
    DARK_BLUE = "dark-blue"


class Everything(Settings):
    """A field of each kind that a stage has use for."""

    min_score: int = Field(1, ge=0, description="100 % of the score")
    share: float = Field(0.5, gt=0, le=1, description="a share")
    name: str = Field("", description="a name")
    follow_links: bool = Field(True, description="whether to follow")
    words: tuple[str, ...] = Field(("a", "b"), description="some words")
    sizes: tuple[int, ...] = Field((), description="some sizes")
    limit: int | None = Field(7, description="a limit")
    mode: Literal["fast", "slow"] = Field("fast", description="how")
    level: Literal[1, 2, 3] = Field(2, description="how much")
    colour: Colour = Field(Colour.GREEN, description="of the text")
    colours: tuple[Annotated[Colour, Field()], ...] = Field((), description="of the texts")
    prices: dict[str, float] = Field({"small": 0.5}, description="by model")

    @model_validator(mode="after")
    def _score_and_limit(self) -> Everything:
        if self.limit is not None and self.min_score > 100 * self.limit:
            raise ValueError("min_score is beyond what the limit allows")
        return self


def said(*words: str) -> Everything:
    parser = argparse.ArgumentParser(prog="p", allow_abbrev=False)
    add_options(parser, Everything)
    return from_options(Everything, parser.parse_args(words))


def test_what_is_not_said_has_its_default() -> None:
    assert said() == Everything()


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--min-score", "5"], "min_score", 5),
        (["--share", "0.25"], "share", 0.25),
        (["--name", "x y"], "name", "x y"),
        (["--name", "none"], "name", "none"),
        (["--no-follow-links"], "follow_links", False),
        (["--words", "x", "y"], "words", ("x", "y")),
        (["--words"], "words", ()),
        (["--sizes", "1", "2"], "sizes", (1, 2)),
        (["--limit", "9"], "limit", 9),
        (["--limit", "none"], "limit", None),
        (["--mode", "slow"], "mode", "slow"),
        (["--level", "3"], "level", 3),
        (["--colour", "dark-blue"], "colour", Colour.DARK_BLUE),
        (["--colours", "green", "dark-blue"], "colours", (Colour.GREEN, Colour.DARK_BLUE)),
        (["--prices", "large=2", "small=0.1"], "prices", {"large": 2.0, "small": 0.1}),
    ],
)
def test_every_kind_of_field_can_be_said(words: list[str], name: str, value: Any) -> None:
    assert getattr(said(*words), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-score", "-1"], "--min-score: Input should be greater than or equal to 0"),
        (["--min-score", "many"], "--min-score: Input should be a valid integer"),
        (["--sizes", "1", "x"], "--sizes.1: Input should be a valid integer"),
        (["--prices", "large"], "--prices: expected NAME=VALUE, got 'large'"),
        (["--prices", "large=much"], "--prices.large: Input should be a valid number"),
    ],
)
def test_a_value_that_cannot_be_is_named_as_it_was_said(words: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        said(*words)
    assert str(raised.value).startswith(message)


def test_a_complaint_about_several_settings_together_names_no_option() -> None:
    with pytest.raises(SettingsError) as raised:
        said("--min-score", "1000")
    assert str(raised.value) == "min_score is beyond what the limit allows"
    with pytest.raises(SettingsError) as raised:
        make(Everything, {"min_score": 1000}, "[stage]")
    assert str(raised.value) == "[stage]: min_score is beyond what the limit allows"


@pytest.mark.parametrize("words", [["--mode", "quick"], ["--level", "4"], ["--colour", "red"], ["--min-sco", "1"]])
def test_argparse_refuses_what_is_no_choice_and_no_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        said(*words)
    assert ended.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_help_shows_every_description_default_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        said("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "--min-score SCORE 100 % of the score (default: 1)",
        "some words (default: a b)",
        "some sizes (default: nothing)",
        "a limit (default: 7)",
        "--mode {fast,slow}",
        "--level {1,2,3}",
        "--colour {green,dark-blue}",
        "--prices [NAME=VALUE ...] by model (default: small=0.5)",
        "--follow-links, --no-follow-links whether to follow (default: true)",
    ):
        assert part in shown, part


def test_all_complaints_come_at_once_and_each_says_where() -> None:
    with pytest.raises(SettingsError) as raised:
        make(Everything, {"min_scor": 1, "share": 2, "words": "x"}, "[stage]")
    complaints = str(raised.value).split("\n")
    assert len(complaints) == 3
    assert all(complaint.startswith("[stage]: ") for complaint in complaints)
    assert any("min_scor: there is no such setting; there are min_score, share" in part for part in complaints)


def test_an_option_that_two_would_have_is_a_mistake() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    with pytest.raises(argparse.ArgumentError, match="--name"):
        add_options(parser, Everything)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "min_score": st.integers(0, 700),
            "share": st.floats(0.01, 1),
            "follow_links": st.booleans(),
            "sizes": st.lists(st.integers()),
            "words": st.lists(st.text("abcxyz ,=", min_size=1).filter(lambda word: word != "none")),
            "limit": st.none() | st.integers(7, 10**9),
            "mode": st.sampled_from(["fast", "slow"]),
            "level": st.sampled_from([1, 2, 3]),
            "colour": st.sampled_from(list(Colour)),
        },
    )
)
def test_the_command_line_says_what_toml_says(values: dict[str, Any]) -> None:
    words: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-"))
        elif isinstance(value, list):
            # An option's value that begins with a dash wants the form with `=`, which takes one value only.
            if any(str(part).startswith("-") for part in value):
                return
            words += [flag, *map(str, value)]
        else:
            words.append(f"{flag}={'none' if value is None else value}")
    plain = {name: "none" if value is None else value for name, value in values.items()}
    assert said(*words) == make(Everything, plain, "")
