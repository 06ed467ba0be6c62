from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from greentext.bundle import Dataset, DefaultSampling, verify
from training.decoder_reader import read_decoder
from training.evaluate import HeldOut, Score
from training.package import CardFacts, PackageError, model_card, package
from training.parity import ParityError, ParityReport
from training.quantize import FormatReport, Measured, QuantizationError, choose_format, write_serving_graph
from training.samples import Sample
from training.tokenizer import save_tokenizer
from training.weight_formats import Fp32

if TYPE_CHECKING:
    from pathlib import Path

    from greentext.manifest import ModelManifest
    from training.checkpoint import Checkpoint

PARITY = ParityReport(
    differences={"portable, whole texts": 3e-6, "serving, in chunks": 2e-5},
    greedy_prompts=32,
    greedy_mismatches={"portable": 0, "serving": 0},
    pytorch_perplexity=20.0,
    fp32_perplexity=20.0,
    served_perplexity=20.1,
)
FORMATS = FormatReport(
    "fp32",
    (
        Measured("fp32", "fp32", 1000, 20.0, 0.0, {1: 10.0, 8: 40.0}),
        Measured("int8-static-8", "int8", 300, 20.1, 0.005, {1: 30.0, 8: 90.0}, "saturates"),
    ),
)
FACTS = CardFacts(
    name="tiny",
    description="Writes nothing of sense.",
    base_model="trained from scratch",
    license="MIT",
    trained_on=("Made up texts (MIT).",),
    limits=("It knows nothing.",),
    sampling=DefaultSampling(
        temperature=0.8, top_k=50, top_p=0.95, min_p=0.0, repetition_penalty=1.0, max_new_tokens=20
    ),
    dataset=Dataset(name="made", sha256="0" * 64, documents=3),
)
SAMPLES = [Sample(0, ">be me\n>thank you", ended=True), Sample(1, ">be me\n>```", ended=False)]


def make(
    directory: Path, checkpoint: Checkpoint, *, parity: ParityReport = PARITY, max_bytes: int | None = None
) -> ModelManifest:
    work = directory.parent / "work"
    decoder = read_decoder(checkpoint.model)
    save_tokenizer(checkpoint.tokenizer, work)
    return package(
        directory,
        checkpoint,
        decoder,
        FACTS,
        model=write_serving_graph(decoder, Fp32(), work / "model.onnx"),
        tokenizer=work / "tokenizer.json",
        parity=parity,
        formats=FORMATS,
        scores={"test": Score(texts=4, tokens=100, text_bytes=300, nats=300.0)},
        samples=SAMPLES,
        max_bytes=max_bytes,
    )


def test_a_bundle_passes_verification_and_its_card_says_what_it_must(neo: Checkpoint, tmp_path: Path) -> None:
    manifest = make(tmp_path / "bundle", neo)
    assert verify(tmp_path / "bundle") == manifest
    assert manifest.architecture == "gpt_neo"
    assert manifest.precision == "fp32"
    assert manifest.evaluation["test_bits_per_byte"] == pytest.approx(300 / 0.693147 / 300, rel=1e-3)
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    for part in ("Made up texts (MIT).", "It knows nothing.", "saturates", "**chosen**", "Seed 1", "cut at the token"):
        assert part in card
    assert card.count("```") == 2 * len(SAMPLES), "a sample must not end its own block"


def test_the_same_inputs_give_the_same_bytes(neo: Checkpoint, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / name, neo)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


BAD = [
    (replace(PARITY, differences={"serving, in chunks": 2e-4}), "in chunks: logits differ by 2.00e-04"),
    (replace(PARITY, differences={"serving, in chunks": float("nan")}), "logits differ by nan"),
    (replace(PARITY, greedy_mismatches={"portable": 1, "serving": 0}), "portable: 1 of 32 greedy texts"),
    (replace(PARITY, served_perplexity=20.3), "the served format: perplexity 20.3"),
    (replace(PARITY, served_perplexity=float("nan")), "the served format"),
    (replace(PARITY, fp32_perplexity=20.3), "the fp32 serving graph"),
]


@pytest.mark.parametrize(("parity", "message"), BAD)
def test_nothing_is_packaged_when_the_forms_disagree(
    neo: Checkpoint, tmp_path: Path, parity: ParityReport, message: str
) -> None:
    with pytest.raises(ParityError, match=message):
        make(tmp_path / "bundle", neo, parity=parity)
    assert not (tmp_path / "bundle").exists()


def test_large_logits_may_differ_by_more_in_proportion(neo: Checkpoint, tmp_path: Path) -> None:
    differing = replace(PARITY, differences={"serving, in chunks": 2.5e-4})
    make(tmp_path / "bundle", neo, parity=replace(differing, largest_logit=90.0))
    with pytest.raises(ParityError, match="at most 2e-04 is allowed"):
        make(tmp_path / "other", neo, parity=replace(differing, largest_logit=60.0))


def test_a_card_says_only_what_was_measured(neo: Checkpoint, tmp_path: Path) -> None:
    make(tmp_path / "bundle", neo)
    assert "PyTorch, the portable ONNX export and" in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    decoder = read_decoder(neo.model)
    parity = replace(PARITY, greedy_mismatches={"serving": 0})
    card = model_card(FACTS, decoder, formats=FORMATS, parity=parity, scores={}, samples=[])
    assert "portable" not in card
    assert "has not seen" not in card


def test_a_bundle_that_is_too_large_is_refused(neo: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="at most 1,000 are allowed"):
        make(tmp_path / "bundle", neo, max_bytes=1000)
    assert not (tmp_path / "bundle").exists()


def test_a_format_report_survives_a_file() -> None:
    import json

    assert FormatReport.from_json(json.loads(json.dumps(FORMATS.as_json()))) == FORMATS


def measured_as(perplexities: dict[str, float], rates: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces measuring by given figures."""
    from training import quantize

    class Runner:
        def __init__(self, path: Path, **_: object) -> None:
            self.name = path.stem

    monkeypatch.setattr(quantize, "ModelRunner", Runner)
    monkeypatch.setattr(
        quantize,
        "score_runner",
        lambda runner, held_out: Score(1, 1, 1, __import__("math").log(perplexities.get(runner.name, 20.0))),
    )
    monkeypatch.setattr(quantize, "decode_rate", lambda runner, batch, seconds: rates.get(runner.name, 1.0) * batch)


def choose(checkpoint: Checkpoint, directory: Path, **limits: Any) -> FormatReport:
    held_out = HeldOut(((1, 5, 9, 0),), 10)
    return choose_format(read_decoder(checkpoint.model), [[1, 5, 9, 0]], held_out, directory, **limits)


def test_the_fastest_of_what_keeps_the_quality_is_chosen(
    neo: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"int8-static-8": 9.0, "blocks-4": 8.0, "int8-static-7": 7.0, "int8-rows-7": 6.0}
    measured_as({"blocks-4": 20.5}, rates, monkeypatch)
    report = choose(neo, tmp_path)
    assert report.chosen == "int8-static-7"
    refused = {measured.name: measured.refused for measured in report.formats}
    assert "VNNI" in refused["int8-static-8"]
    assert "1% over fp32" in refused["blocks-4"]
    assert (tmp_path / "int8-static-7.onnx").is_file()


def test_a_format_at_the_edge_of_quality_is_refused_and_a_nan_too(
    neo: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {"int8-static-7": 20.21, "int8-rows-7": float("nan"), "blocks-8": 20.19}
    measured_as(bad, {"int8-static-7": 9.0, "int8-rows-7": 9.0, "blocks-8": 5.0}, monkeypatch)
    assert choose(neo, tmp_path).chosen == "blocks-8"


def test_a_precision_that_was_asked_for_is_taken(
    neo: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as({}, {"fp32": 9.0, "blocks-8": 2.0}, monkeypatch)
    report = choose(neo, tmp_path, precision="int8")
    assert report.chosen == "blocks-8"
    assert report.formats[0].refused == "int8 was asked for"
    assert all(measured.precision != "int4" for measured in report.formats)
    assert choose(neo, tmp_path, precision="fp32").chosen == "fp32"


def test_nothing_eligible_is_an_error_with_the_table(
    neo: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as({}, {}, monkeypatch)
    with pytest.raises(QuantizationError, match=r"larger than 0\.0 MB"):
        choose(neo, tmp_path, max_model_bytes=10)
