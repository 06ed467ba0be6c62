from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from greentext.bundle import DefaultSampling
from service.engine.llm_engine import LLMEngine
from tests.data_pipeline.fake_openai import KEY, MODEL, FakeOpenAI, serve
from tests.training.conftest import greentexts, tiny_model
from tests.training.test_evaluation_judge import FakeJudge
from training.checkpoint import load_checkpoint, save_checkpoint
from training.corpus import Document
from training.evaluate import hold_out, score_model
from training.evaluation.compare import compare, compare_results, write_comparison
from training.evaluation.judge import JudgeError, JudgePlan
from training.evaluation.mauve_score import Mauve, MauveError
from training.evaluation.report import fenced
from training.evaluation.result import ResultError, read_result
from training.evaluation.run import EvaluationData, EvaluationPlan, evaluate, evaluate_all

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

ROWS = greentexts(60)
DATA = EvaluationData(
    name="made",
    sha256="0" * 64,
    training=tuple(row["text"] for row in ROWS[:40]),
    held_out=tuple(Document(row["text"], row["genre"]) for row in ROWS[40:]),
)
SAMPLING = DefaultSampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, max_new_tokens=12)
PLAN = EvaluationPlan(samples=24, sampling=SAMPLING, shown_samples=3, plots=False, threads=1)


def test_a_checkpoint_is_measured_through_the_engine(checkpoint_directory: Path, tmp_path: Path) -> None:
    result = evaluate(checkpoint_directory, DATA, replace(PLAN, plots=True), tmp_path)
    checkpoint = load_checkpoint(checkpoint_directory)
    wanted = score_model(checkpoint.model, hold_out(checkpoint, [document.text for document in DATA.held_out]))
    assert result.figures["bits_per_byte"].value == pytest.approx(wanted.bits_per_byte, rel=1e-4)
    assert result.figures["perplexity"].value == pytest.approx(wanted.perplexity, rel=1e-3)
    assert set(result.by_genre) == {"general", "thanks"}
    assert result.figures["valid_shape"].of == 24
    assert result.reference["valid_shape"].value == 1.0
    assert all(figure.low <= figure.value <= figure.high for figure in result.figures.values())
    again = read_result(tmp_path)
    assert again.held_out == result.held_out
    assert again.figures["bits_per_byte"].value == pytest.approx(result.figures["bits_per_byte"].value, rel=1e-5)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert page.count("\nSeed ") == 3
    for picture in ("rates", "lengths", "shared_runs"):
        assert f"(plots/{picture}.png)" in page
        assert (tmp_path / f"plots/{picture}.png").read_bytes().startswith(b"\x89PNG")
    checked = [json.loads(line) for line in (tmp_path / "checked.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["seed"] for row in checked] == list(range(24))


def test_an_interrupted_evaluation_goes_on_to_the_same_samples(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(checkpoint_directory, DATA, PLAN, tmp_path / "whole")
    whole = (tmp_path / "whole" / "samples.jsonl").read_text(encoding="utf-8")
    steps = LLMEngine.step
    left = 9

    def dies(engine: LLMEngine) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return steps(engine)

    monkeypatch.setattr(LLMEngine, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(checkpoint_directory, DATA, PLAN, tmp_path / "cut")
    path = tmp_path / "cut" / "samples.jsonl"
    kept = path.read_text(encoding="utf-8")
    assert 1 <= len(kept.splitlines()) < 25
    path.write_text(kept + '{"seed": 3, "te', encoding="utf-8")  # as a crash leaves it
    left = -1
    evaluate(checkpoint_directory, DATA, PLAN, tmp_path / "cut")
    assert path.read_text(encoding="utf-8") == whole


def test_samples_that_are_there_are_not_made_again(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(checkpoint_directory, DATA, PLAN, tmp_path)

    def never(engine: LLMEngine) -> Any:
        raise AssertionError

    monkeypatch.setattr(LLMEngine, "step", never)
    assert evaluate(checkpoint_directory, DATA, PLAN, tmp_path) == first
    fewer = evaluate(checkpoint_directory, DATA, replace(PLAN, samples=10), tmp_path)
    assert fewer.figures["valid_shape"].of == 10


def test_samples_of_another_model_or_other_sampling_are_replaced(
    checkpoint_directory: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    evaluate(checkpoint_directory, DATA, PLAN, tmp_path / "out")
    before = (tmp_path / "out" / "samples.jsonl").read_text(encoding="utf-8")
    save_checkpoint(tiny_model("gpt_neo", len(tokenizer), seed=5), tokenizer, tmp_path / "other")
    evaluate(tmp_path / "other", DATA, PLAN, tmp_path / "out")
    after = (tmp_path / "out" / "samples.jsonl").read_text(encoding="utf-8")
    assert not set(before.splitlines()) & set(after.splitlines())


def test_a_prompt_without_the_start_token_is_what_samples_begin_with(
    checkpoint_directory: Path, tmp_path: Path
) -> None:
    with_start = evaluate(checkpoint_directory, DATA, replace(PLAN, prompt=">be"), tmp_path / "with")
    without = evaluate(checkpoint_directory, DATA, replace(PLAN, prompt=">be", start_token=False), tmp_path / "without")
    texts = {}
    for name in ("with", "without"):
        lines = (tmp_path / name / "samples.jsonl").read_text(encoding="utf-8").splitlines()[1:]
        texts[name] = [json.loads(line)["text"] for line in lines]
        assert all(text.startswith(">be") for text in texts[name])
    assert texts["with"] != texts["without"]
    assert any("without the start token" in note for note in without.notes)
    assert any("whether samples begin with" in one for one in compare_results([with_start, without]).warnings)


def test_texts_beyond_the_context_are_left_out_and_counted(checkpoint_directory: Path, tmp_path: Path) -> None:
    long = Document(">be me\n" + "\n".join(f">{'a b c ' * 9}" for _ in range(9)), "general")
    data = replace(DATA, held_out=(long, *DATA.held_out))
    result = evaluate(checkpoint_directory, data, replace(PLAN, samples=0), tmp_path)
    assert result.held_out.left_out == 1
    assert any(note.startswith("1 held-out texts are longer") for note in result.notes)
    assert "valid_shape" not in result.figures
    with pytest.raises(ValueError, match="none of 1 held-out texts fits"):
        evaluate(checkpoint_directory, replace(data, held_out=(long,)), PLAN, tmp_path / "none")


def test_what_cannot_be_measured_is_told_before_anything_is_done(checkpoint_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no held-out texts"):
        evaluate(checkpoint_directory, replace(DATA, held_out=()), PLAN, tmp_path / "out")
    with pytest.raises(ValueError, match="there must be a prompt"):
        EvaluationPlan(start_token=False)
    with pytest.raises(ValueError, match="samples must not be negative"):
        EvaluationPlan(samples=-1)
    with pytest.raises(ValueError, match="no model"):
        evaluate_all([], DATA, PLAN, tmp_path)


# ----------------------------------------------------------------------------------------- comparing


def test_models_are_set_side_by_side(
    checkpoint_directory: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    save_checkpoint(tiny_model("gpt2", len(tokenizer), seed=3), tokenizer, tmp_path / "gpt2" / "checkpoint")
    comparison = evaluate_all(
        [checkpoint_directory, tmp_path / "gpt2" / "checkpoint", checkpoint_directory], DATA, PLAN, tmp_path / "out"
    )
    first, second, third = comparison.results
    found = comparison.differences
    nats = [np.array(comparison.results[label].held_out.nats) for label in (first, second)]
    text_bytes = sum(comparison.results[first].held_out.text_bytes)
    wanted = (nats[1].sum() - nats[0].sum()) / np.log(2) / text_bytes
    assert found[second]["bits_per_byte"].value == pytest.approx(wanted)
    assert found[third]["bits_per_byte"].low == found[third]["bits_per_byte"].high == 0
    assert "Some of these evaluations are of the same model." in comparison.warnings
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert all(label in page for label in comparison.results)
    assert (tmp_path / "out" / "plots" / "compared.png").is_file()
    again = compare(sorted((tmp_path / "out").glob("*/evaluation.json")))
    assert set(again.results) == set(comparison.results)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))["models"][second]


def test_what_makes_results_incomparable_is_said(checkpoint_directory: Path, tmp_path: Path) -> None:
    one = evaluate(checkpoint_directory, DATA, PLAN, tmp_path / "one")
    plan = replace(PLAN, samples=8, sampling=SAMPLING.model_copy(update={"temperature": 0.5}))
    other = evaluate(checkpoint_directory, replace(DATA, held_out=DATA.held_out[:10]), plan, tmp_path / "other")
    comparison = compare_results([one, other])
    said = " ".join(comparison.warnings)
    for what in ("how they were sampled", "how many samples", "the texts that were scored", "distinct-n"):
        assert what in said
    label = list(comparison.results)[1]
    assert "perplexity" not in comparison.differences[label]
    assert write_comparison(comparison, tmp_path / "cmp").read_text(encoding="utf-8").count("differ in") >= 4


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist; evaluate"), ("{", "not JSON"), ("{}", "no result"), ("[]", "no result"),
     ('{"schema_version": 9}', "of version 9")],
)  # fmt: skip
def test_what_is_no_result_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ResultError, match=message):
        compare([path])
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([])


# ------------------------------------------------------------------------------------ judge and MAUVE


def test_a_judge_grades_completions_and_originals(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(FakeJudge()) as fake:
        plan = replace(PLAN, judge=JudgePlan(MODEL, base_url=fake.url, prompts=5, completions=2, workers=2))
        result = evaluate(checkpoint_directory, DATA, plan, tmp_path)
        assert len(fake.billed) <= 15
        assert result.figures["judged_plot"].of == 5
        assert 1 <= result.figures["judged_grammar"].value <= 10
        assert 1 <= result.reference["judged_grammar"].value <= 10
        asked = fake.attempts().total()
        assert evaluate(checkpoint_directory, DATA, plan, tmp_path) == result
        assert fake.attempts().total() == asked
    assert "## The judge" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_judge_that_fails_costs_nothing_but_the_grades(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(FakeOpenAI(fault=lambda asked: "quota")) as fake:
        judge = JudgePlan(MODEL, base_url=fake.url, prompts=3, attempts=1)
        with pytest.raises(JudgeError, match="credit"):
            evaluate(checkpoint_directory, DATA, replace(PLAN, judge=judge), tmp_path)
    assert "judged_plot" not in read_result(tmp_path).figures
    assert (tmp_path / "report.md").is_file()


def test_mauve_without_its_package_says_what_to_install(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(MauveError, match="pip install mauve-text"):
        evaluate(checkpoint_directory, DATA, replace(PLAN, mauve_model="anything"), tmp_path)
    assert not (tmp_path / "samples.jsonl").exists()


def test_mauve_without_its_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mauve", ModuleType("mauve"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MauveError, match="cannot be loaded"):
        Mauve(str(tmp_path / "empty"))


def test_mauve_gets_the_features_of_each_texts_last_token(
    checkpoint_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    package = ModuleType("mauve")
    package.compute_mauve = lambda **kwargs: given.update(kwargs) or SimpleNamespace(mauve=0.5)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mauve", package)
    result = evaluate(checkpoint_directory, DATA, replace(PLAN, mauve_model=str(checkpoint_directory)), tmp_path)
    assert result.figures["mauve"].value == 0.5
    assert given["p_features"].shape == given["q_features"].shape == (20, 32)
    mauve = Mauve(str(checkpoint_directory))
    texts = [DATA.training[0], DATA.training[1][:9]]
    together = mauve.features(texts)
    apart = np.concatenate([mauve.features([text]) for text in texts])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert any("rough" in note for note in result.notes)


def test_a_sample_with_fences_is_shown_whole() -> None:
    assert fenced("a\n```\nb")[0].startswith("````")
