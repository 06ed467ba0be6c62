from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.cli import RECIPE
from training.recipe import RecipeError, read_recipe

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
        assert recipe.card.max_bytes <= 12_000_000
        assert recipe.stages


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^hidden_size =", "hiden_size =", r"model: unknown key hiden_size; known are hidden_size"),
        (r"^\[sampling\]", "[smapling]", "unknown section smapling"),
        (r"^learning_rate = 3e-3", 'learning_rate = "fast"', "pretrain: learning_rate must be a float"),
        (r"^compile = true", "compile = 1", "pretrain: compile must be a bool"),
        (r'^precision = "bf16"', 'precision = "fp8"', "precision must be one of bf16, fp32, got 'fp8'"),
        (r"^steps = \d+", "steps = 0", "pretrain: steps must be at least 1"),
        (r"^steps = \d+", "", "pretrain: steps is missing"),
        (r"^num_layers = 6", "num_layers = 5", "model: num_layers must be even"),
        (r'^genre = "all"', 'genre = "sad"', "genre must be one of"),
        (r'^name = "all"', 'name = "../up"', "name must be a word"),
        (r"^temperature = .*", "temperature = -1.0", "sampling: .*temperature"),
        (r"^texts = .*", "text = 1", "calibration has one key"),
        (r"^trained_on = \[", "trained_on = [1,", "card: trained_on must be a list of strings"),
        (r"^\[\[finetune\]\]", "[finetune]", "finetune must be"),
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
