from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.cli import EMBEDDED, RECIPE
from training.recipe import RecipeError, find_recipe, read_recipe

TEXT = RECIPE.read_text(encoding="utf-8")


def edited(tmp_path: Path, pattern: str, replacement: str) -> Path:
    text, count = re.subn(pattern, replacement, TEXT, count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_recipe_of_the_project_can_be_read() -> None:
    paths = sorted(RECIPE.parent.glob("*.toml"))
    assert paths
    for path in paths:
        recipe = read_recipe(path)
        assert recipe.stages
        assert recipe.card.name == path.stem or path in EMBEDDED
        assert find_recipe(path.stem) == path
        if recipe.base is not None:
            # A commit, or what is pinned to one at its first use; texts are of whom the stages name.
            assert recipe.base.revision
            assert {stage.data for stage in recipe.stages} == set(recipe.data)
            assert all(stage.plan.warmup_steps == 0 for stage in recipe.stages)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^hidden_size =", "hiden_size =", r"model: unknown key hiden_size; known are hidden_size"),
        (r"^\[sampling\]", "[smapling]", "unknown section smapling"),
        (r"^learning_rate = 2.5e-3", 'learning_rate = "fast"', "pretrain: learning_rate must be a float"),
        (r"^compile = true", "compile = 1", "pretrain: compile must be a bool"),
        (r'^precision = "bf16"', 'precision = "fp8"', "precision must be one of .*got 'fp8'"),
        (r"^epochs = 1.5", "steps = 0", "pretrain: steps must be at least 1"),
        (r"^epochs = 1.5", "", "pretrain: steps must be at least 1 .or epochs"),
        (r"^num_layers = 6", "num_layers = 5", "model: num_layers must be even"),
        (r'^genre = "thanks"', 'genre = "sad"', "genre must be one of"),
        (r'^name = "all"', 'name = "../up"', "name must be a word"),
        (r"^temperature = .*", "temperature = -1.0", "sampling: .*temperature"),
        (r"^texts = \d+", "text = 1", "calibration has one key"),
        (r"^trained_on = \[", "trained_on = [1,", "card: trained_on must be a list of strings"),
        (r"(?s)^\[\[finetune\]\].*(?=^\[sampling\])", "[finetune]\n", "finetune must be"),
        (r"^\[card\]", "[card", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, pattern: str, replacement: str, message: str) -> None:
    path = edited(tmp_path, pattern, replacement)
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    stage = '[[finetune]]\nname = "all"\nsteps = 1\n'
    path.write_text(TEXT.replace("[sampling]", f"{stage}\n[sampling]"), encoding="utf-8")
    with pytest.raises(RecipeError, match="names must differ"):
        read_recipe(path)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(RecipeError, match=r"none\.toml does not exist"):
        read_recipe(Path("none.toml"))


TUNED = RECIPE.with_name("tinystories-33m-sequential.toml")


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^\[base\]", "[bass]", "unknown section bass"),
        (r"^id = .*", "", "base: id is missing"),
        (r"^revision = .*", "rev = 1", "base: unknown key rev; known are id, revision, tokenizer_revision"),
        (r"^\[data\.full\]", "[data.poems]", "data: unknown name poems; names are full, simple"),
        (r'^data = "thanks"', 'data = "simple"', r"data simple is not in \[data\]; there is full, thanks"),
        (r'^data = "thanks"', 'data = "sad"', "finetune thanks: data must be one of"),
        (r'^data = "thanks"', "only_simple = 1", "finetune thanks: only_simple must be a bool"),
        (r"^context_length = .*", "context_length = 4", "tokens: context_length must be at least 16"),
        (r"^trim_to = .*", "trim_to = -1", "tokens: trim_to must not be negative"),
        (r"^samples = .*", "samples = -1", "evaluation: samples and seed"),
        (r"^\[sampling\]", "[pretrain]\nsteps = 1\n\n[sampling]", "one of the sections base"),
        (r"^\[sampling\]", "[model]\n\n[sampling]", "section model is for pretraining"),
        (r"^epochs = .*", "epochs = 1\nreplay = 0.1", "replay needs stories"),
    ],
)
def test_a_mistake_in_a_recipe_with_a_base_is_named(
    tmp_path: Path, pattern: str, replacement: str, message: str
) -> None:
    text, count = re.subn(pattern, replacement, TUNED.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_settings_change_what_a_recipe_says() -> None:
    recipe = read_recipe(
        TUNED,
        ["finetune.epochs=2", "finetune.thanks.learning_rate=1e-5", "card.license=MIT", "base.id=a/b",
         "data.full.column=story", "tokens.trim_to = 0", "export.portable=false", 'card.limits=["none"]'],
    )  # fmt: skip
    full, thanks = recipe.stages
    assert (full.plan.epochs, thanks.plan.epochs) == (2.0, 2.0)
    assert (full.plan.learning_rate, thanks.plan.learning_rate) == (3e-4, 1e-5)
    assert (recipe.card.license, recipe.card.limits, recipe.tokens.trim_to) == ("MIT", ("none",), 0)
    assert recipe.base is not None
    assert (recipe.base.id, recipe.data["full"].column, recipe.export.portable) == ("a/b", "story", False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=2", "write SECTION.KEY=VALUE"),
        ("finetune.epochs", "write SECTION.KEY=VALUE"),
        ("finetune.poems.epochs=2", "names no stage"),
        ("finetune.epoch=2", "unknown key epoch"),
        ("finetune.epochs=two", "epochs must be a float"),
        ("card.name.first=x", "names no section"),
        ("poems.x=1", "unknown section poems"),
    ],
)
def test_a_setting_that_names_nothing_is_refused(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(TUNED, [setting])


def test_an_unknown_recipe_is_told_which_there_are() -> None:
    with pytest.raises(RecipeError, match="known are distilgpt2-full"):
        find_recipe("poems")


def test_the_models_that_ship_have_all_steps_in_common_until_each_gets_its_genre() -> None:
    thanks, general = (read_recipe(path) for path in EMBEDDED)
    assert (thanks.model, thanks.pretraining) == (general.model, general.pretraining)
    assert thanks.stages[:2] == general.stages[:2]
    assert [stage.name for stage in thanks.stages[2:]] == ["thanks"]
    assert [stage.name for stage in general.stages[2:]] == ["general"]
    assert [recipe.card.name for recipe in (thanks, general)] == ["greentext-thanks", "greentext-general"]
    assert thanks.sampling == general.sampling
