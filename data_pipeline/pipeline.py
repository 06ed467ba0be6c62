"""A whole pipeline from one TOML file: the stages that it has sections for, in order, each reading those before it.

```toml
folder = "runs/data"            # each stage's folder goes in here, under the stage's name

[dumps]
inputs = ["RS_2024-01.zst"]     # files, or other stages' folders, besides what comes from the stages before
subreddits = ["wholesomegreentext"]

[posts]                         # reads dumps, because there is such a section
min_score = 10

[filters]
after = ["posts"]               # only these stages of this file, in place of all that could come before
```

Relative paths begin where the program runs. The whole file is checked before the first stage begins.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.errors import OtherSettingsError
from data_pipeline.results import by_count
from data_pipeline.settings import SettingsError, make
from data_pipeline.stages import BY_NAME, STAGES, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from data_pipeline.results import Summary
    from data_pipeline.settings import Settings

RESERVED: Final = ("inputs", "after")
"""Keys of a section that are the pipeline's and not the stage's."""
REASONS_SHOWN: Final = 3
CONFIGS: Final = Path(__file__).parent / "configs"


class PipelineError(Exception):
    """A configuration cannot be used; the message names the file, the section and the key."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stage as a configuration has it."""

    stage: Stage
    after: tuple[str, ...]
    """Stages of this pipeline whose folders it reads."""
    inputs: tuple[Path, ...]
    """What else it reads."""
    settings: Settings


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a configuration says, checked: its steps can run in their order."""

    folder: Path
    steps: tuple[Step, ...]

    def folder_of(self, name: str) -> Path:
        """A stage's folder."""
        return self.folder / name


def read_pipeline(path: Path, changes: Sequence[str] = ()) -> Pipeline:
    """Reads a configuration, with changes of the form `SECTION.KEY=VALUE` or `KEY=VALUE` laid over it.

    Those that come along go by their names, too: `texts` for `data_pipeline/configs/texts.toml`.

    Raises:
        PipelineError: The file or a change cannot be used.
    """
    built_in = CONFIGS / f"{path}.toml"
    if len(path.parts) == 1 and built_in.exists() and not path.exists():
        path = built_in
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        names = ", ".join(sorted(one.stem for one in CONFIGS.glob("*.toml")))
        raise PipelineError(f"{path} cannot be read ({error.strerror}); to begin with, there are {names}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _change(content, change)
    try:
        return _pipeline(content)
    except (PipelineError, SettingsError) as error:
        raise PipelineError("\n".join(f"{path}: {line}" for line in str(error).split("\n"))) from error


def run_pipeline(
    pipeline: Pipeline,
    *,
    restart_from: str | None = None,
    remake: bool = False,
    until: str | None = None,
    finished: Callable[[Summary], None] = lambda _: None,
) -> list[Summary]:
    """Runs the steps in their order, and answers what each did. What has finished already is not done again.

    Args:
        pipeline: What to run.
        restart_from: This stage, and all that read what it writes, begin anew.
        remake: So does what was made from other inputs or settings, which is refused otherwise.
        until: The last stage to run.
        finished: Is told of each stage as it finishes.

    Raises:
        PipelineError: `restart_from` or `until` is no stage of this pipeline.
        StageError: A stage cannot go on; those before it are finished.
        OSError: The disk is full, or fails.
    """
    names = [step.stage.name for step in pipeline.steps]
    for name in (restart_from, until):
        if name is not None and name not in names:
            raise PipelineError(f"{name} is no stage of this pipeline, which has {', '.join(names)}")
    anew: set[str] = {restart_from} if restart_from else set()
    summaries = []
    for step in pipeline.steps:
        name = step.stage.name
        if anew & set(step.after):
            anew.add(name)
        summaries.append(_run(step, pipeline, restart=name in anew, remake=remake))
        finished(summaries[-1])
        if name == until:
            break
    return summaries


def table(summaries: Iterable[Summary]) -> str:
    """One table for all stages: rows kept and dropped, seconds, and the most frequent reasons."""
    head = ("stage", "kept", "dropped", "seconds", "why, mostly")
    rows = [head]
    for summary in summaries:
        reasons = by_count(summary.dropped)
        shown = [f"{name} {count:,}" for name, count in reasons[:REASONS_SHOWN]]
        if len(reasons) > REASONS_SHOWN:
            shown.append(f"{len(reasons) - REASONS_SHOWN} more")
        dropped = sum(summary.dropped.values())
        rows.append(
            (
                summary.stage,
                f"{summary.kept:,}",
                f"{dropped:,}",
                f"{summary.seconds:,.1f}",
                ", ".join(shown),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[4]]).rstrip())
    return "\n".join(lines)


def _run(step: Step, pipeline: Pipeline, *, restart: bool, remake: bool) -> Summary:
    inputs = [*(pipeline.folder_of(name) for name in step.after), *step.inputs]
    folder = pipeline.folder_of(step.stage.name)
    try:
        return step.stage.run(inputs, folder, step.settings, restart=restart)
    except OtherSettingsError as error:
        if remake:
            return step.stage.run(inputs, folder, step.settings, restart=True)
        raise OtherSettingsError(
            f"{error}. In a pipeline, --remake makes anew what was made from other inputs or settings"
        ) from error


def _change(content: dict[str, Any], change: str) -> None:
    place, equals, spelled = change.partition("=")
    section, dot, key = place.strip().rpartition(".")
    if not (equals and key):
        raise PipelineError(f"--set {change}: expected SECTION.KEY=VALUE or KEY=VALUE")
    try:
        value = tomllib.loads(f"value = {spelled}")["value"]
    except tomllib.TOMLDecodeError:
        value = spelled  # a word or a path, for which nobody wants to quote quotes
    target = content.setdefault(section, {}) if dot else content
    if not isinstance(target, dict):
        raise PipelineError(f"--set {change}: {section} is no section")
    target[key] = value


def _pipeline(content: Mapping[str, Any]) -> Pipeline:
    folder = content.get("folder")
    if not isinstance(folder, str) or not folder:
        raise PipelineError('folder is missing: say where the stages\' folders go, as in folder = "runs/data"')
    sections = {name: section for name, section in content.items() if name != "folder"}
    if unknown := sorted(set(sections) - set(BY_NAME)):
        raise PipelineError(f"unknown {', '.join(unknown)}; stages are {', '.join(BY_NAME)}")
    if not sections:
        raise PipelineError(f"no stage has a section; stages are {', '.join(BY_NAME)}")
    complaints: list[str] = []
    steps = []
    for stage in STAGES:
        if stage.name in sections:
            try:
                steps.append(_step(stage, sections))
            except (PipelineError, SettingsError) as error:
                complaints.append(str(error))
    if complaints:
        raise PipelineError("\n".join(complaints))
    return Pipeline(Path(folder).expanduser(), tuple(steps))


def _step(stage: Stage, sections: Mapping[str, Any]) -> Step:
    where = f"[{stage.name}]"
    section = sections[stage.name]
    if not isinstance(section, dict):
        raise PipelineError(f"{stage.name} must be a section: {where}")
    inputs = tuple(Path(path).expanduser() for path in _strings(f"{where}: inputs", section.get("inputs", [])))
    if missing := [str(path) for path in inputs if not path.exists()]:
        raise PipelineError(f"{where}: inputs: {', '.join(missing)} does not exist")
    before = [name for name in stage.after if name in sections]
    after = tuple(_strings(f"{where}: after", section.get("after", before)))
    if wrong := [name for name in after if name not in before]:
        allowed = ", ".join(before) or "no stage of this file"
        raise PipelineError(f"{where}: after: {', '.join(wrong)} cannot come before; {allowed} can")
    if inputs and not stage.inputs:
        raise PipelineError(f"{where}: inputs: this stage reads nothing")
    if stage.needs_inputs and not (inputs or after):
        sources = " or ".join(f"[{name}]" for name in stage.after)
        hint = f"add a section {sources}, or inputs" if sources else "add inputs"
        raise PipelineError(f"{where} has nothing to read ({stage.inputs}): {hint}")
    values = {key: value for key, value in section.items() if key not in RESERVED}
    return Step(stage, after, inputs, make(stage.settings_kind(), values, where))


def _strings(where: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise PipelineError(f"{where} must be a list of strings")
    return value
