"""Writes docs/data-settings.md from the settings' own descriptions: `python -m data_pipeline.settings_reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from data_pipeline.settings import flag_of, spelled
from data_pipeline.stages import STAGES

PATH: Final = Path("docs/data-settings.md")
HEAD: Final = """\
# Settings of the data stages

Written by `python -m data_pipeline.settings_reference`; [data.md](data.md) tells what the stages do. On the command
line a setting is an option (`gtx-data posts … --min-score 10`), in a configuration a key of its stage's section
(`min_score = 10`). Those whose default is `none` take `none` for nothing. Every stage has `--out DIR` and `--restart`
besides; in a configuration every section may have `inputs` and `after`.
"""


def reference() -> str:
    """The whole file."""
    parts = [HEAD]
    for stage in STAGES:
        parts.append(f"## {stage.name}\n\n{stage.summary}\n")
        if stage.inputs:
            parts.append(f"Reads {stage.inputs}.\n")
        rows = [
            f"| `{name}` | `{flag_of(name)}` | {_default(info.get_default(call_default_factory=True))} "
            f"| {_cell(info.description or '')} |"
            for name, info in stage.settings_kind().model_fields.items()
        ]
        if rows:
            parts.append("\n".join(["| key | option | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]))
    return "\n".join(parts)


def _default(value: object) -> str:
    return f"`{_cell(spelled(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PATH.write_text(reference(), encoding="utf-8")
