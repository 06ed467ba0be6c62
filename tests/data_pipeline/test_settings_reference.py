from __future__ import annotations

from pathlib import Path

from data_pipeline.settings_reference import PATH, reference
from data_pipeline.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_settings_say() -> None:
    command = "python -m data_pipeline.settings_reference"
    assert (ROOT / PATH).read_text(encoding="utf-8") == reference(), f"write it anew: {command}"


def test_every_setting_has_a_description() -> None:
    for stage in STAGES:
        for name, info in stage.settings_kind().model_fields.items():
            assert info.description, f"{stage.name}: {name}"


def test_every_stage_is_explained() -> None:
    guide = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for stage in STAGES:
        assert f"### {stage.name}: " in guide
