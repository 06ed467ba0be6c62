import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.filters import FiltersSettings, run
from data_pipeline.filters import stage as filters_stage
from data_pipeline.filters.content import ContentFilter
from data_pipeline.filters.genre import GenreFilter
from data_pipeline.filters.language import LanguageFilter
from data_pipeline.filters.shape import ShapeFilter
from data_pipeline.filters.stage import filters_of, judge
from data_pipeline.filters.vocabulary import VocabularyFilter
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import Drop, OtherSettingsError, StageError, read_rows
from greentext.content import Category

STARTER = Path(__file__).parent.parent.parent / "data" / "greentexts" / "starter.jsonl"
TEXTS = [json.loads(line)["text"] for line in STARTER.read_text().splitlines()]
GOOD = ">be me\n>lose my yellow boot in the snow\n>a dog brings it back to me\n>it is not my boot"


def row(text: str = GOOD, name: str = "written:1", **others: Any) -> TextRow:
    return TextRow(id=name, text=text, source=Source.WRITTEN, **others)


def write(folder: Path, rows: list[TextRow]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kept.jsonl").write_text("".join(f"{each.model_dump_json()}\n" for each in rows))
    return folder


def reason(verdict: TextRow | Drop) -> str:
    return verdict.reason if isinstance(verdict, Drop) else "kept"


# ------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "kept"),
        (">be me\n>go home", "too_few_lines"),
        ("\n".join([">one more line of words"] * 31), "too_many_lines"),
        (f"{GOOD}\n>{'long ' * 60}end", "line_too_long"),
        (f"{GOOD}\nno marker here", "line_without_marker"),
        (f"{GOOD}\n>>12345678", "nested_quote"),
        (f"{GOOD}\n", "empty_line"),
        (f"{GOOD}\n> not canonical", "not_canonical"),
        (f"{GOOD}\x07", "control_character"),
        ("", "too_few_lines"),
        (">be me\n>hm\n>ok then", "too_few_words"),
        (
            ">be me now\n>i walk home\n>i walk home!\n>I walk  home".replace("  ", " ") + "\n>i walk home...",
            "repeated_lines",
        ),
        (">be me 12345\n>one two three 98765432123456\n>four five six 1234567890123456", "not_words"),
    ],
)
def test_shape(text: str, expected: str) -> None:
    assert reason(ShapeFilter().judge(row(text))) == expected


def test_shape_names_the_line() -> None:
    verdict = ShapeFilter().judge(row(f"{GOOD}\nno marker here"))
    assert isinstance(verdict, Drop)
    assert verdict.detail == "line 5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "kept"),
        (">be me, sysadmin\n>mainframe kernel panics at midnight\n>reboot everything with a broom", "kept"),
        (">ich gehe mit meinem hund in den wald\n>wir finden einen alten stiefel\n>danke, hund", "not_english"),
        (">soy yo en la escuela\n>mi perro se come la tarea\n>gracias, perro", "not_english"),
        (">je suis dans le jardin\n>mon chat mange une fleur\n>merci beaucoup le chat", "not_english"),
        (">это я дома\n>кошка спит на клавиатуре\n>спасибо кошка", "not_english"),
        (">日本語の話です\n>犬が靴を持ってくる\n>ありがとう", "not_english"),
        (">bc mc\n>lcsc rny yc11ow hoot\n>tbe bog brjngs jt bacl<", "not_english"),
    ],
)
def test_language(text: str, expected: str) -> None:
    assert reason(LanguageFilter().judge(row(text))) == expected


def test_content_is_dropped_under_its_gravest_category() -> None:
    verdict = ContentFilter().judge(row(f"{GOOD}\n>what the fuck\n>call the faggot"))
    assert isinstance(verdict, Drop)
    assert verdict.reason == "content_slur"
    assert "line 5: profanity" in verdict.detail
    assert "line 6: slur" in verdict.detail


def test_content_that_is_allowed_passes() -> None:
    allowed = ContentFilter(frozenset(Category) - {Category.PROFANITY})
    assert reason(allowed.judge(row(f"{GOOD}\n>what the fuck"))) == "kept"
    assert reason(allowed.judge(row(f"{GOOD}\n>mail a@example.com"))) == "content_personal_data"


HARD = f"{GOOD}\n>the mortgage amortisation is opaque"


@pytest.mark.parametrize(
    ("rows", "misfits", "kind", "text", "expected"),
    [
        ("simple", "relabel", "simple", GOOD, "simple"),
        ("simple", "relabel", "simple", HARD, "full"),
        ("simple", "drop", "simple", HARD, "not_simple"),
        ("simple", "drop", "full", HARD, "full"),
        ("all", "relabel", "full", HARD, "not_simple"),
        ("all", "relabel", "", GOOD, ""),
    ],
)
def test_vocabulary(rows: Any, misfits: Any, kind: Any, text: str, expected: str) -> None:
    verdict = VocabularyFilter(rows, misfits).judge(row(text, kind=kind))
    assert (verdict.reason if isinstance(verdict, Drop) else verdict.kind) == expected


def test_vocabulary_says_which_words() -> None:
    verdict = VocabularyFilter("all").judge(row(HARD))
    assert isinstance(verdict, Drop)
    assert verdict.detail == "mortgage amortisation opaque"


@pytest.mark.parametrize(
    ("misfits", "kind", "ending", "expected"),
    [
        ("relabel", "thanks", "thank you, dog", ("thanks", "thanks")),
        ("relabel", "thanks", "the end of it", ("full", "general")),
        ("relabel", "full", "thanks, dog", ("full", "thanks")),
        ("relabel", "", "the end of it", ("", "general")),
        ("drop", "thanks", "the end of it", "no_thanks"),
        ("drop", "full", "the end of it", ("full", "general")),
    ],
)
def test_genre(misfits: Any, kind: Any, ending: str, expected: Any) -> None:
    verdict = GenreFilter(misfits).judge(row(f"{GOOD}\n>{ending}", kind=kind))
    assert (verdict.reason if isinstance(verdict, Drop) else (verdict.kind, verdict.genre)) == expected


@given(st.text(max_size=200) | st.lists(st.text(max_size=40), max_size=8).map(lambda lines: ">" + "\n>".join(lines)))
def test_any_text_is_judged_and_what_is_kept_is_kept_again(text: str) -> None:
    filters = filters_of(FiltersSettings())
    verdict = judge(row(text), filters)
    if isinstance(verdict, TextRow):
        assert verdict.text == text
        assert judge(verdict, filters) == verdict


def test_each_filter_can_be_switched_off() -> None:
    names = [each.name for each in filters_of(FiltersSettings())]
    assert names == ["shape", "language", "content", "vocabulary", "genre"]
    off: dict[str, Any] = {"shape": False, "language": False, "content": False, "vocabulary": "off", "genre": False}
    assert filters_of(FiltersSettings(**off)) == []
    for name in names:
        assert name not in [each.name for each in filters_of(FiltersSettings(**{name: off[name]}))]


# --------------------------------------------------------------------------------------------- stage


def test_the_stage_keeps_the_wholesome_corpus(tmp_path: Path) -> None:
    rows = [row(text, f"written:{number}") for number, text in enumerate(TEXTS)]
    summary = run([write(tmp_path / "in", rows)], tmp_path / "out", FiltersSettings())
    assert summary.items == len(rows)
    assert summary.kept >= 0.995 * len(rows)
    kept = list(read_rows(tmp_path / "out", TextRow))
    assert {each.genre for each in kept} == {"thanks", "general"}
    assert [each.id for each in kept] == sorted((each.id for each in kept), key=lambda name: int(name.split(":")[1]))


def test_the_stage_counts_and_keeps_aside_what_it_drops(tmp_path: Path) -> None:
    rows = [
        row(name="a"),
        row(">too short", "b"),
        row(f"{GOOD}\n>what the fuck", "c"),
        row(GOOD.upper(), "d"),
        row(f"{GOOD}\n>the end", "e"),
        row(TEXTS[5], "a"),
        row(f"{TEXTS[8]}\n>the amortisation is opaque", "f", kind="simple"),
    ]
    summary = run([write(tmp_path / "in", rows)], tmp_path / "out", FiltersSettings())
    assert summary.dropped == {
        "too_few_lines": 1, "content_profanity": 1, "duplicate_exact": 1, "duplicate_near": 1, "repeated_id": 1
    }  # fmt: skip
    assert summary.counted == {"relabelled_not_simple": 1}
    assert [(each.id, each.kind) for each in read_rows(tmp_path / "out", TextRow)] == [("a", ""), ("f", "full")]
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(each["reason"], each["row"]["id"]) for each in dropped] == [
        ("too_few_lines", "b"), ("content_profanity", "c"), ("duplicate_exact", "d"), ("duplicate_near", "e"),
        ("repeated_id", "a"),
    ]  # fmt: skip
    assert dropped[2]["detail"] == "of a"


@pytest.mark.parametrize(("duplicates", "kept"), [("near", 1), ("exact", 2), ("off", 3)])
def test_duplicates_can_be_told_which(tmp_path: Path, duplicates: Any, kept: int) -> None:
    rows = [row(name="a"), row(GOOD.upper(), "b"), row(f"{GOOD}\n>the end", "c")]
    summary = run([write(tmp_path / "in", rows)], tmp_path / "out", FiltersSettings(duplicates=duplicates))
    assert summary.kept == kept


def test_of_duplicates_the_surest_stays_and_among_equals_the_first_input(tmp_path: Path) -> None:
    unsure = write(tmp_path / "ocr", [row(name="unsure", line_confidences=(0.9, 0.7, 0.8, 0.9))])
    surer = write(tmp_path / "again", [row(name="surer", line_confidences=(0.9, 0.9, 0.9, 0.9))])
    written = write(tmp_path / "written", [row(name="written")])
    copied = write(tmp_path / "copied", [row(name="copied")])

    def kept(*inputs: Path) -> list[str]:
        run(inputs, tmp_path / "out", FiltersSettings(), restart=True)
        return [each.id for each in read_rows(tmp_path / "out", TextRow)]

    assert kept(unsure, surer) == ["surer"]
    assert kept(unsure, surer, written, copied) == ["written"]
    assert kept(copied, unsure, written) == ["copied"]


def test_a_finished_run_is_not_repeated_and_other_settings_are_refused(tmp_path: Path) -> None:
    rows = write(tmp_path / "in", [row()])
    first = run([rows], tmp_path / "out", FiltersSettings())
    assert run([rows], tmp_path / "out", FiltersSettings(workers=3)) == first
    with pytest.raises(OtherSettingsError, match="min_words"):
        run([rows], tmp_path / "out", FiltersSettings(min_words=9))
    write(tmp_path / "in", [row(), row(TEXTS[0], "b")])
    with pytest.raises(OtherSettingsError, match="inputs"):
        run([rows], tmp_path / "out", FiltersSettings())


def test_other_word_lists_are_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write(tmp_path / "in", [row()])
    run([rows], tmp_path / "out", FiltersSettings())
    monkeypatch.setattr(filters_stage, "WORDS_FOLDER", tmp_path / "in")
    with pytest.raises(OtherSettingsError, match="lists"):
        run([rows], tmp_path / "out", FiltersSettings())


def test_a_mix_up_of_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text('{"id": "x", "subreddit": "y"}\n')
    with pytest.raises(StageError, match="line 1, is no TextRow"):
        run([tmp_path], tmp_path / "out", FiltersSettings())
    with pytest.raises(StageError, match=r"is not there|cannot be read"):
        run([tmp_path / "nowhere"], tmp_path / "out2", FiltersSettings())


def test_no_rows_are_no_texts(tmp_path: Path) -> None:
    summary = run([write(tmp_path / "in", [])], tmp_path / "out", FiltersSettings())
    assert (summary.items, summary.kept) == (0, 0)


@pytest.mark.slow
def test_processes_judge_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write(tmp_path / "in", [row(text, f"{number}") for number, text in enumerate(TEXTS * 2)])
    alone = run([rows], tmp_path / "alone", FiltersSettings(workers=1))
    monkeypatch.setattr(filters_stage, "PARALLEL_FROM_ROWS", 0)
    together = run([rows], tmp_path / "together", FiltersSettings(workers=2))
    assert together.kept_sha256 == alone.kept_sha256
    assert together.dropped == alone.dropped


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    rows = write(tmp_path / "in", [row(text, f"{number}") for number, text in enumerate(TEXTS)])
    whole = run([rows], tmp_path / "whole", FiltersSettings())
    program = (
        "import sys, time; from pathlib import Path; from data_pipeline import stage\n"
        "slowly = stage.StageRun.record\n"
        "def record(*args, **named):\n    slowly(*args, **named); time.sleep(0.01)\n"
        "stage.StageRun.record = record\n"
        "from data_pipeline.filters import FiltersSettings, run\n"
        "run([Path(sys.argv[1])], Path(sys.argv[2]), FiltersSettings())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(rows), str(tmp_path / "out")],
        cwd=Path(__file__).parent.parent.parent,
        stderr=subprocess.DEVNULL,
    )
    journal = tmp_path / "out" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 100:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "kept.jsonl").exists()
    again = run([rows], tmp_path / "out", FiltersSettings())
    assert again.kept_sha256 == whole.kept_sha256
    assert again.items == len(TEXTS)
