from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from data_pipeline.cli import main
from data_pipeline.dataset.rows import DatasetRow
from data_pipeline.dataset.stage import published_sha256
from data_pipeline.pipeline import Pipeline, PipelineError, read_pipeline, run_pipeline, table
from data_pipeline.stage import DROPPED, KEPT, OtherSettingsError, Summary, read_rows
from data_pipeline.stages import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIGS = Path(__file__).resolve().parents[2] / "data_pipeline" / "configs"
WHO = ("mom", "grandma", "the bus driver", "a small cat", "my friend", "an old man", "the baker", "a girl")
WHAT = ("a cake", "a red ball", "some soup", "a warm hat", "one cookie", "a kite", "a note", "the last bun")
WHERE = ("at the park", "in the kitchen", "on the bus", "by the lake", "at school", "in the snow")


def story(rng: random.Random) -> list[str]:
    return [
        f"be {rng.randint(5, 30)}",
        f"sit {rng.choice(WHERE)} and eat {rng.choice(WHAT)}",
        f"{rng.choice(WHO)} comes {rng.choice(WHERE)} with {rng.choice(WHAT)}",
        f"we look for {rng.choice(WHAT)} {rng.choice(WHERE)} with {rng.choice(WHO)}",
        f"thank you {rng.choice(WHO)}",
    ]


def submission(number: int, **fields: Any) -> dict[str, Any]:
    lines = story(random.Random(number))
    return {
        "id": f"x{number}",
        "subreddit": "wholesomegreentext",
        "author": f"secret_user_{number}",
        "created_utc": 1_600_000_000 + number,
        "title": "a story",
        "selftext": "\n\n".join(f"&gt;{line}" for line in lines),
        "url": f"https://www.reddit.com/r/wholesomegreentext/comments/x{number}/",
        "score": 100,
        "over_18": False,
        "is_self": True,
        "link_flair_text": "Greentext",
    } | fields


def dump(path: Path, submissions: Sequence[dict[str, Any]]) -> Path:
    content = "".join(json.dumps(record) + "\n" for record in submissions).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(content))
    return path


def written(path: Path, count: int = 8) -> Path:
    rng = random.Random(99)
    rows = [{"text": "\n".join(f">{line}" for line in story(rng)), "theme": "animals"} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def config(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two sources that need neither the internet nor Tesseract."""
    dump(tmp_path / "dump.zst", [submission(number) for number in range(8)])
    written(tmp_path / "mine.jsonl")
    return config(
        tmp_path / "small.toml",
        f'folder = "{tmp_path / "out"}"',
        f'[dumps]\ninputs = ["{tmp_path / "dump.zst"}"]',
        "[selftext]",
        f'[written]\ninputs = "{tmp_path / "mine.jsonl"}"',
        "[filters]",
        "[dataset]\nvalidation = 0.2\ntest = 0.2",
    )


def wired(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    return {step.stage.name: step.after for step in pipeline.steps}


def names(summaries: Sequence[Summary]) -> list[str]:
    return [summary.stage for summary in summaries]


def test_stages_run_in_order_and_read_those_before_them(small: Path) -> None:
    assert wired(read_pipeline(small)) == {
        "dumps": (),
        "selftext": ("dumps",),
        "written": (),
        "filters": ("written", "selftext"),
        "dataset": ("filters",),
    }


def test_a_dump_and_texts_become_a_dataset_and_nobodys_name_comes_along(small: Path, tmp_path: Path) -> None:
    told: list[Summary] = []
    summaries = run_pipeline(read_pipeline(small), finished=told.append)
    assert names(summaries) == ["dumps", "selftext", "written", "filters", "dataset"]
    assert told == summaries
    rows = list(read_rows(tmp_path / "out" / "dataset", DatasetRow))
    assert {row.source for row in rows} == {"reddit-text", "written"}
    assert len(rows) == 16
    assert all(row.simple and row.genre == "thanks" for row in rows)
    for stage in names(summaries):
        for path in (tmp_path / "out" / stage).rglob("*"):
            assert path.is_dir() or b"secret_user" not in path.read_bytes(), path


def test_a_second_run_does_nothing(small: Path) -> None:
    first = run_pipeline(read_pipeline(small))
    assert run_pipeline(read_pipeline(small)) == first


def test_changed_settings_are_refused_until_somebody_says_remake(small: Path) -> None:
    run_pipeline(read_pipeline(small))
    changed = read_pipeline(small, ["selftext.min_score=1000"])
    with pytest.raises(OtherSettingsError, match=r"min_score.*--remake makes anew"):
        run_pipeline(changed)
    summaries = run_pipeline(changed, remake=True)
    assert {summary.stage: summary.kept for summary in summaries} == {
        "dumps": 8, "selftext": 0, "written": 8, "filters": 8, "dataset": 8,
    }  # fmt: skip


def test_a_restart_begins_anew_with_a_stage_and_what_reads_from_it(small: Path, tmp_path: Path) -> None:
    run_pipeline(read_pipeline(small))
    before = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/summary.json")}
    run_pipeline(read_pipeline(small), restart_from="selftext")
    after = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/summary.json")}
    assert {name for name in before if before[name] != after[name]} == {"selftext", "filters", "dataset"}


def test_it_can_end_before_the_end(small: Path) -> None:
    assert names(run_pipeline(read_pipeline(small), until="selftext")) == ["dumps", "selftext"]


@pytest.mark.parametrize("options", [{"until": "ocr"}, {"restart_from": "ocr"}])
def test_a_stage_that_is_not_there_is_named(small: Path, options: dict[str, Any]) -> None:
    with pytest.raises(PipelineError, match="ocr is no stage of this pipeline, which has dumps, selftext"):
        run_pipeline(read_pipeline(small), **options)


def test_after_and_inputs_say_otherwise(small: Path, tmp_path: Path) -> None:
    pipeline = read_pipeline(small, ['filters.after=["selftext"]', f"filters.inputs={tmp_path / 'mine.jsonl'}"])
    assert wired(pipeline)["filters"] == ("selftext",)
    assert next(step for step in pipeline.steps if step.stage.name == "filters").inputs == (tmp_path / "mine.jsonl",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("folder=3", "folder is missing"),
        ("ocrs.workers=3", "unknown ocrs; stages are dumps, fetch"),
        ("dumps=3", "dumps must be a section: [dumps]"),
        ("dumps.inputs=nowhere.zst", "[dumps]: inputs: nowhere.zst does not exist"),
        ("dumps.inputs=3", "[dumps]: inputs must be a list of strings"),
        ("dumps.inputs=[]", "[dumps] has nothing to read (dump files of Pushshift or Arctic Shift: .zst"),
        ("selftext.min_scor=3", "[selftext]: min_scor: there is no such setting; there are subreddits, min_score"),
        ('selftext.min_score="many"', "[selftext]: min_score: Input should be a valid integer"),
        ("selftext.after=[]", "[selftext] has nothing to read"),
        ("filters.after=images", "[filters]: after: images cannot come before; written, selftext can"),
        ("dataset.test=0.9", "[dataset]: validation and test together leave nothing to train on"),
        (
            "ocr.after=[]",
            "[ocr] has nothing to read (folders that images wrote, or folders of pictures): add a section",
        ),
        ("fetch.inputs=data", "[fetch]: inputs"),
        ("selftext", "--set selftext: expected SECTION.KEY=VALUE"),
        ("folder.x=3", "--set folder.x=3: folder is no section"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    small: Path, tmp_path: Path, change: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(PipelineError) as raised:
        read_pipeline(small, [change])
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_all_mistakes_come_at_once(small: Path) -> None:
    with pytest.raises(PipelineError) as raised:
        read_pipeline(small, ["selftext.a=1", "selftext.b=1", "filters.c=1"])
    lines = str(raised.value).splitlines()
    assert [re.search(r"\[\w+\]: \w", line)[0] for line in lines] == [  # type: ignore[index]
        "[selftext]: a", "[selftext]: b", "[filters]: c",
    ]  # fmt: skip
    assert all(line.startswith(str(small)) for line in lines)


@pytest.mark.parametrize("content", ["folder = ", "\xff", "", 'folder = "x"', "[dumps"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(PipelineError, match=r"bad\.toml"):
        read_pipeline(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_of_the_project_can_be_used(path: Path, tmp_path: Path) -> None:
    changes = []
    if "[dumps]" in path.read_text(encoding="utf-8"):
        changes.append(f"dumps.inputs={dump(tmp_path / 'dump.zst', [])}")
    elif "[images]" in path.read_text(encoding="utf-8"):
        changes.append(f"images.inputs={tmp_path}")
    assert read_pipeline(path, changes).steps[-1].stage.name == "dataset"


def test_a_configuration_that_comes_along_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "mine.jsonl")
    changes = ["written.inputs=mine.jsonl", f"dumps.inputs={dump(tmp_path / 'dump.zst', [])}"]
    assert read_pipeline(Path("texts"), changes) == read_pipeline(CONFIGS / "texts.toml", changes)
    with pytest.raises(PipelineError, match="to begin with, there are example, screenshots, texts"):
        read_pipeline(Path("text"))
    config(tmp_path / "texts", "folder = 3")
    with pytest.raises(PipelineError, match="folder is missing"):  # one's own comes first
        read_pipeline(Path("texts"))


def test_what_the_example_has_commented_out_can_be_used_too(tmp_path: Path) -> None:
    text = (CONFIGS / "example.toml").read_text(encoding="utf-8")
    text = re.sub(r"^# (\[\w+\]|\w+ = .+)$", r"\1", text, flags=re.MULTILINE)
    path = config(tmp_path / "all.toml", text)
    changes = [f"dumps.inputs={dump(tmp_path / 'dump.zst', [])}", f"curated.inputs={tmp_path}"]
    pipeline = read_pipeline(path, changes)
    assert [step.stage.name for step in pipeline.steps] == list(BY_NAME)


def test_the_command_prints_one_table_for_all_stages(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(small), "--out", str(tmp_path / "elsewhere"), "--set", "dataset.name=mine"]) == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0][:4] == ["stage", "kept", "dropped", "seconds"]
    assert [line[0] for line in lines[1:6]] == ["dumps", "selftext", "written", "filters", "dataset"]
    assert lines[5][1] == "16"
    assert str(tmp_path / "elsewhere") in said.out
    assert "# mine" in (tmp_path / "elsewhere" / "dataset" / "published" / "README.md").read_text(encoding="utf-8")


def test_the_table_names_the_most_frequent_reasons(tmp_path: Path) -> None:
    dropped = {"a": 5, "b": 4, "c": 3, "d": 2, "e": 1}
    summary = Summary("test", tmp_path, {}, 20, 5, dropped, {}, 1.5, "")
    assert table([summary]).splitlines()[1].split() == [
        "test", "5", "15", "1.5", "a", "5,", "b", "4,", "c", "3,", "2", "more",
    ]  # fmt: skip


def test_a_stage_that_fails_ends_the_run_and_the_next_run_goes_on(small: Path, tmp_path: Path) -> None:
    whole = (tmp_path / "dump.zst").read_bytes()
    (tmp_path / "dump.zst").write_bytes(whole[: len(whole) // 2])  # still on its way
    assert main(["run", str(small)]) == 1
    assert not (tmp_path / "out" / "selftext").exists()
    (tmp_path / "dump.zst").write_bytes(whole)
    assert main(["run", str(small), "--remake"]) == 0


def started(config_path: Path) -> subprocess.Popen[bytes]:
    """A run in a group of its own: worker processes go with it, as when a container ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "data_pipeline.cli", "run", str(config_path)],
        cwd=CONFIGS.parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_again_and_again_ends_with_the_same_dataset(small: Path, tmp_path: Path) -> None:
    run_pipeline(read_pipeline(small, [f"folder={tmp_path / 'whole'}"]))
    kills = 0
    for place in (
        "dumps",
        "selftext/journal.jsonl",
        "filters/journal.jsonl",
        "filters/*.part",
        "dataset/published.part",
    ):
        process = started(small)
        while process.poll() is None and not any((tmp_path / "out").glob(place)):
            time.sleep(0.002)
        kills += process.poll() is None
        with contextlib.suppress(ProcessLookupError):  # ended in the very moment
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert kills >= 3
    process = started(small)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    assert published_sha256(tmp_path / "out" / "dataset") == published_sha256(tmp_path / "whole" / "dataset")
    for stage in ("dumps", "selftext", "written", "filters", "dataset"):
        for name in (KEPT, DROPPED):
            assert (tmp_path / "out" / stage / name).read_bytes() == (tmp_path / "whole" / stage / name).read_bytes()
