"""The study as a whole, at a size that takes seconds: all claims, resumed, and written up from the figures alone."""

from __future__ import annotations

import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from training.cli import main
from training.findings import cells, study
from training.findings.bases import Sources
from training.findings.cells import Cell, Texts
from training.findings.designs import experiments, parameters
from training.findings.report import markdown
from training.findings.scales import SCALES, Scale
from training.findings.verdicts import Finding, Verdict, find
from training.pretrain import ModelShape, new_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from training.findings.samples import Written

SYLLABLES = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
SHAPE = ModelShape(hidden_size=32, num_layers=2, num_heads=2, context_length=96, window_size=96, vocab_size=400)
TINY = Scale(
    name="quick",
    large=SHAPE,
    small=replace(SHAPE, hidden_size=16, num_heads=1),
    stories=0,
    pretrain_steps=3,
    pretrain_batch_rows=4,
    tune_steps=2,
    tune_epochs=4,
    seeds=2,
    bases=1,
    samples=4,
    few_texts=(5,),
    shares=(0.4,),
)


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=3))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Stories of two hundred common words and five hundred others, and greentexts with words of their own."""
    rng, directory = random.Random(5), tmp_path_factory.mktemp("sources")
    words = sorted({_word(rng) for _ in range(900)})
    rng.shuffle(words)
    common, known, own = words[:200], words[200:600], words[600:700]
    told = [" ".join(rng.choice(known if rng.random() < 0.3 else common) for _ in range(60)) + "." for _ in range(300)]
    stories = directory / "stories.txt"
    stories.write_text("\n<|endoftext|>\n".join(told), encoding="utf-8")
    rows = []
    for number in range(150):
        genre = rng.choice(["thanks", "general"])
        lines = [">be me", *(f">the {rng.choice(own)} {rng.choice(own)} {number}" for _ in range(2))]
        lines.append(">thank you" if genre == "thanks" else ">the end")
        rows.append({"text": "\n".join(lines), "genre": genre})
    greentexts = directory / "greentexts.jsonl"
    greentexts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Sources(stories, greentexts)


# --- designs


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_every_claim_has_something_that_decides_and_no_two_cells_share_a_name(scale: Scale) -> None:
    planned = experiments(scale, 283)
    assert [one.name for one in planned] == ["specific", "size", "start", "words"]
    cells = {cell for one in planned for label in one.conditions for cell in one.cells(label, scale.seeds)}
    assert len({cell.name for cell in cells}) == len(cells)
    for one in planned:
        assert any(comparison.decides for comparison in one.comparisons)
        named = {label for comparison in one.comparisons for label in (comparison.one, comparison.other)}
        assert named <= set(one.conditions)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_parameters_are_counted_as_the_models_have_them(scale: Scale) -> None:
    for name, shape in (("large", scale.large), ("small", scale.small)):
        model = new_model(shape, shape.vocab_size, seed=0)
        assert parameters(scale, name) == sum(parameter.numel() for parameter in model.parameters())  # type: ignore[arg-type]
    assert 4.5 < parameters(scale, "large") / parameters(scale, "small") < 7


def test_seeds_draw_texts_and_words_and_conditions_share_them(sources: Sources) -> None:
    texts = Texts(sources, TINY)
    few = [texts.tuning(Cell(base="large", texts=5, seed=seed))[0] for seed in (0, 1)]
    assert len(few[0]) == len(few[1]) == 5
    assert few[0] != few[1]
    assert few[0] == texts.tuning(Cell(base="code", texts=5, start_token=False, seed=0))[0]
    original, validation = texts.tuning(Cell(base="large"))
    swapped, unswapped = texts.tuning(Cell(base="large", share=0.4))
    assert validation == unswapped, "what tells when to stop is never swapped"
    left_out = texts.swapped_anywhere(0)
    changed = 0
    for before, after in zip(original, swapped, strict=True):
        old, new = before.text.split(), after.text.split()
        assert len(old) == len(new)
        assert before.text.count("\n") == after.text.count("\n")
        different = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert all(left_out[a] == b for a, b in different)
        changed += len(different)
    assert changed > 50


# --- verdicts and text follow from the figures


def _figures(nats: Callable[[Cell, int], float], cells: Sequence[Cell]) -> list[dict[str, Any]]:
    texts = range(20)
    return [
        {
            "cell": {"seed": cell.seed},
            "condition": cell.condition,
            "genres": ["thanks"] * 20,
            "bytes": [100] * 20,
            "nats": [nats(cell, text) for text in texts],
            "kept_bytes": [80] * 20,
            "kept_nats": [nats(cell, text) for text in texts],
            "second_marker_first": 0.1 * (cell.start_token + 1) + 0.001 * cell.seed,
            "samples": {
                "thanks": [1] * 50, "valid": [0, 1] * 25, "code": [int(cell.start_token)] * 50, "ended": [1] * 50,
                "simple_lines": [0.5] * 50, "distinct_2": None if cell.share else 0.5 + 0.01 * cell.seed,
            },
            "shown": [">be me\n```\n>thanks"],
            "steps": 7,
            "training_texts": 9,
            "cell_seconds": 1.0,
        }
        for cell in cells
    ]  # fmt: skip


def _findings(nats: Callable[[Cell, int], float]) -> list[Finding]:
    scale = replace(TINY, seeds=3)
    return [
        find(one, {label: _figures(nats, one.cells(label, 3)) for label in one.conditions})
        for one in experiments(scale, 40)
    ]


def _better_when_specific(cell: Cell, text: int) -> float:
    return 80.0 + text - 10 * (cell.genre == "thanks") + 20 * cell.share * (cell.swap_for == "rare") + 0.1 * cell.seed


def test_verdicts_turn_with_the_figures() -> None:
    for_claims = {finding.experiment.name: finding.verdict for finding in _findings(_better_when_specific)}
    assert for_claims == {
        "specific": Verdict.SUPPORTED,
        "size": Verdict.SUPPORTED,
        "start": Verdict.NOT_SUPPORTED,  # the figures made here have code where there is a start token
        "words": Verdict.SUPPORTED,
    }
    against = {f.experiment.name: f.verdict for f in _findings(lambda c, t: 200 - _better_when_specific(c, t))}
    assert [against[name] for name in ("specific", "size", "words")] == [Verdict.NOT_SUPPORTED] * 3
    rng = random.Random(1)
    unclear = {finding.experiment.name: finding.verdict for finding in _findings(lambda _c, _t: rng.gauss(80, 30))}
    assert [unclear[name] for name in ("specific", "size", "words")] == [Verdict.UNDECIDED] * 3


def test_rare_words_that_hurt_no_more_than_known_ones_do_not_speak_for_the_claim() -> None:
    [words] = [
        f for f in _findings(lambda c, t: 80.0 + t + 20 * c.share + 0.1 * c.seed) if f.experiment.name == "words"
    ]
    assert words.verdict is not Verdict.SUPPORTED


def test_the_report_says_what_the_figures_say() -> None:
    described: dict[str, Any] = {
        "cells": [cell for one in _findings(_better_when_specific) for cells in one.records.values() for cell in cells],
        "computing_seconds": 600,
        "machine": "2 cores",
        "bases": {"large-0": {"steps": 3, "validation_loss": 5.0}},
    }
    for_claims = markdown(_findings(_better_when_specific), TINY, described)
    assert for_claims.count("**supported**") == 3
    assert "**Verdict: supported.**" in for_claims
    assert ", and so it is." in for_claims
    assert "too close to 0 to matter" not in for_claims
    against = markdown(_findings(lambda c, t: 200 - _better_when_specific(c, t)), TINY, described)
    assert against.count("**not supported**") == 4
    assert "but it is the other way round." in against
    same = markdown(_findings(lambda _c, t: 80.0 + t), TINY, described)
    assert "too close to 0 to matter" in same
    assert for_claims.count("```text") * 2 == for_claims.count("```"), "a sample has closed its block"


# --- the whole


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_study_goes_on_and_ends_as_an_uninterrupted_one(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = ["specific", "start"]
    report = study.run_study(sources, TINY, tmp_path / "whole", jobs=1, claims=claims)
    whole = json.loads((tmp_path / "whole" / study.CELLS).read_text())
    assert set(whole["verdicts"]) == set(claims)
    assert (tmp_path / "whole" / "findings" / "specific.svg").read_text().startswith("<?xml")
    assert "## 2. The start token" in report.read_text()

    written_before, write = [], cells.write

    def dies(*arguments: Any, **named: Any) -> list[Written]:
        if len(written_before) == 4:  # in the midst of the fifth cell, when it has been tuned
            raise KeyboardInterrupt
        written_before.append(arguments)
        return write(*arguments, **named)

    monkeypatch.setattr(cells, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        study.run_study(sources, TINY, tmp_path / "killed", jobs=1, claims=claims)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "cells").glob("*/figures.json")}
    assert len(kept) == 4
    assert not (tmp_path / "killed" / study.CELLS).exists()
    monkeypatch.setattr(cells, "write", write)
    study.run_study(sources, TINY, tmp_path / "killed", jobs=1, claims=claims)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items()), "a cell was made again"
    gone_on = json.loads((tmp_path / "killed" / study.CELLS).read_text())
    assert [_lasting(cell) for cell in gone_on["cells"]] == [_lasting(cell) for cell in whole["cells"]]


@pytest.fixture
def _one_pool_a_study(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What makes the bases makes the cells too: it takes each process seconds to begin."""
    pools: list[ProcessPoolExecutor] = []

    class Kept(ProcessPoolExecutor):
        def __exit__(self, *raised: object) -> None:
            pass

    def pool(count: int, **options: Any) -> ProcessPoolExecutor:
        assert count <= 2
        if not pools:
            pools.append(Kept(2, **options))
        return pools[0]

    monkeypatch.setattr(study, "ProcessPoolExecutor", pool)
    yield
    for one in pools:
        one.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("_one_pool_a_study")
def test_cells_made_side_by_side_are_those_made_one_by_one(sources: Sources, tmp_path: Path) -> None:
    ended = [
        study.run_study(sources, replace(TINY, seeds=2), tmp_path / str(jobs), jobs=jobs, claims=["words"])
        for jobs in (1, 2)
    ]
    one, two = (json.loads((path.parent / study.CELLS).read_text()) for path in ended)
    assert [_lasting(cell) for cell in one["cells"]] == [_lasting(cell) for cell in two["cells"]]
    assert one["verdicts"] == two["verdicts"]


def _lasting(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell's figures but for how long it took."""
    return {name: value for name, value in cell.items() if name not in ("cell_seconds", "tokens_per_second")}


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.txt"], "missing.txt"),
        (["{stories}", "--greentexts", "missing.jsonl"], "missing.jsonl"),
        (["{stories}", "--claim", "weather"], "claims are specific, size, start, words; got 'weather'"),
    ],
)
def test_mistakes_are_told_at_once(
    sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    given = [argument.format(stories=sources.stories) for argument in arguments]
    if "--greentexts" not in given:
        given += ["--greentexts", str(sources.greentexts)]
    assert main(["findings", *given, "--quick", "--work", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_one_seed_is_refused(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(study.FindingsError, match="two seeds"):
        study.run_study(sources, replace(TINY, seeds=1), tmp_path)
    with pytest.raises(study.FindingsError, match="scale must be one of quick, short, night"):
        study.run_findings(sources.stories, sources.greentexts, tmp_path, scale="huge")


def test_texts_without_two_held_out_thanks_are_refused(sources: Sources, tmp_path: Path) -> None:
    greentexts = tmp_path / "few.jsonl"
    greentexts.write_text(json.dumps({"text": ">be me", "genre": "general"}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="too few held-out thanks texts"):
        study.run_study(Sources(sources.stories, greentexts), TINY, tmp_path)
