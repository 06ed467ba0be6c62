"""Chooses how the serving graph stores its matrices: measures every format, refuses what costs quality, takes the
fastest of the rest.

Rates are of the machine it runs on; which formats may be chosen is not: a format whose results depend on the
processor's instructions is measured and shown, never taken (see ``weight_formats`` on saturation).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import onnx
import structlog

from greentext.manifest import MAX_FILE_BYTES
from service.engine.model_runner import ModelRunner
from training.calibrate import calibrate
from training.decode_graph import WeightFormat, build_serving_graph
from training.evaluate import DECODE_POSITION, decode_rate, score_runner
from training.weight_formats import Blocks, Fp32, Int8Rows, Int8Static

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.decoder_weights import DecoderWeights
    from training.evaluate import HeldOut

log = structlog.get_logger(__name__)

Precision = Literal["fp32", "int8", "int4"]
BATCHES = (1, 8, 32)
MAX_PERPLEXITY_INCREASE = 0.01
ROUNDS = 3
"""Rates are measured in turns, so that a busy moment of the machine does not fall on one format alone."""
ROUND_SECONDS = 0.7
GRAPH_ROOM_BYTES = 4 * 1024**2
"""What a graph's file holds beside its weights, at most."""


class QuantizationError(ValueError):
    """No format can be chosen."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to store the matrices. ``unportable`` says why it is measured but never taken, empty where it may be."""

    name: str
    precision: Precision
    weights: WeightFormat
    unportable: str = ""


@dataclass(slots=True)
class Measured:
    """A format's figures. ``rates`` are tokens a second of the bare decode step, by batch size."""

    name: str
    precision: Precision
    size_bytes: int
    perplexity: float
    increase: float
    """Of the perplexity over fp32, as a share."""
    rates: dict[int, float]
    refused: str = ""
    """Why it was not eligible, empty where it was."""

    @property
    def speed(self) -> float:
        """The geometric mean of the rates."""
        return math.exp(sum(map(math.log, self.rates.values())) / len(self.rates))


@dataclass(frozen=True, slots=True)
class FormatReport:
    """What was measured, and what was chosen."""

    chosen: str
    formats: tuple[Measured, ...]

    @property
    def best(self) -> Measured:
        """The chosen format's figures."""
        return next(measured for measured in self.formats if measured.name == self.chosen)

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {"chosen": self.chosen, "formats": [{**asdict(m), "speed": m.speed} for m in self.formats]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> FormatReport:
        """What ``as_json`` gave, once it has been through a file."""
        formats = []
        for entry in content["formats"]:
            fields = {key: value for key, value in entry.items() if key != "speed"}
            fields["rates"] = {int(batch): rate for batch, rate in fields["rates"].items()}
            formats.append(Measured(**fields))
        return cls(content["chosen"], tuple(formats))

    def as_markdown(self) -> str:
        """A table for people."""
        heads = [f"tokens/s at {batch}" for batch in self.formats[0].rates]
        lines = [
            f"| format | MB | perplexity | over fp32 | {' | '.join(heads)} | |",
            f"| --- | ---: | ---: | ---: | {' | '.join(['---:'] * len(heads))} | --- |",
        ]
        for measured in self.formats:
            rates = " | ".join(f"{rate:,.0f}" for rate in measured.rates.values())
            verdict = "**chosen**" if measured.name == self.chosen else measured.refused or "slower"
            lines.append(
                f"| {measured.name} | {measured.size_bytes / 1e6:.1f} | {measured.perplexity:.4f} "
                f"| {measured.increase:+.2%} | {rates} | {verdict} |"
            )
        return "\n".join(lines) + "\n"


def candidates(
    decoder: DecoderWeights, calibration: Sequence[Sequence[int]], precision: Precision | None = None
) -> list[Candidate]:
    """Every format that fits the decoder's shape, or fp32 and those of ``precision``; fp32 first.

    ``calibration`` is token ids of training texts.
    """
    fp32 = Candidate("fp32", "fp32", Fp32())
    if precision == "fp32":
        return [fp32]
    ranges = calibrate(decoder, calibration)
    found = [
        fp32,
        Candidate("int8-static-7", "int8", Int8Static(weight_bits=7, ranges=ranges)),
        Candidate(
            "int8-static-8", "int8", Int8Static(weight_bits=8, ranges=ranges), "saturates on processors without VNNI"
        ),
        Candidate("int8-rows-7", "int8", Int8Rows(weight_bits=7)),
        Candidate("int8-rows-8", "int8", Int8Rows(weight_bits=8), "saturates on processors without VNNI"),
    ]
    if not any(inputs % Blocks().block_size for inputs in _inputs_of(decoder)):
        found += [Candidate("blocks-8", "int8", Blocks(bits=8)), Candidate("blocks-4", "int4", Blocks(bits=4))]
    return [candidate for candidate in found if precision in (None, candidate.precision) or candidate is fp32]


def _inputs_of(decoder: DecoderWeights) -> set[int]:
    """How many inputs the matrices have."""
    layer = decoder.layers[0]
    return {decoder.width, *(len(affine.weight) for affine in (layer.attention_out, layer.mlp_in, layer.mlp_out))}


def write_serving_graph(decoder: DecoderWeights, weights: WeightFormat, path: Path) -> Path:
    """Writes the serving graph in a format, and returns ``path``. The same weights give the same bytes.

    Raises QuantizationError when it would be larger than one file of a bundle may be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model = build_serving_graph(decoder, weights)
    size_bytes = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size_bytes > MAX_FILE_BYTES - GRAPH_ROOM_BYTES:
        raise QuantizationError(
            f"the {decoder.parameters / 1e6:,.0f} million parameters take {size_bytes / 1e9:.1f} GB in this format, "
            f"and a bundle's graph is one file of at most {MAX_FILE_BYTES / 1e9:.1f} GB; take a smaller model"
        )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def choose_format(
    decoder: DecoderWeights,
    calibration: Sequence[Sequence[int]],
    held_out: HeldOut,
    directory: Path,
    *,
    max_model_bytes: int | None = None,
    threads: int = 0,
    precision: Precision | None = None,
) -> FormatReport:
    """Writes ``directory/NAME.onnx`` for each format, measures all, and chooses.

    Eligible is what is portable, at most ``max_model_bytes`` large, and at most 1 % above fp32 in perplexity on
    ``held_out``; of those the fastest by the geometric mean of its decode rates at 1, 8 and 32 rows. With
    ``precision`` only formats of that precision are measured, beside fp32, which they are held against.
    Raises QuantizationError when nothing is eligible.
    """
    runners: dict[str, ModelRunner] = {}
    formats: list[Measured] = []
    # A long context's cache would take gigabytes for nothing.
    max_len = max(DECODE_POSITION + 1, *map(len, held_out.documents))
    for candidate in candidates(decoder, calibration, precision):
        path = write_serving_graph(decoder, candidate.weights, directory / f"{candidate.name}.onnx")
        runner = ModelRunner(path, slots=max(BATCHES), max_len=max_len, threads=threads)
        perplexity = score_runner(runner, held_out).perplexity
        increase = perplexity / (formats[0].perplexity if formats else perplexity) - 1
        size_bytes = path.stat().st_size
        refused = candidate.unportable if precision in (None, candidate.precision) else f"{precision} was asked for"
        if not increase <= MAX_PERPLEXITY_INCREASE:  # a NaN must not pass
            refused = f"perplexity more than {MAX_PERPLEXITY_INCREASE:.0%} over fp32"
        elif max_model_bytes is not None and size_bytes > max_model_bytes:
            refused = f"larger than {max_model_bytes / 1e6:.1f} MB"
        runners[candidate.name] = runner
        formats.append(Measured(candidate.name, candidate.precision, size_bytes, perplexity, increase, {}, refused))
    for _ in range(ROUNDS):
        for measured in formats:
            for batch in BATCHES:
                rate = decode_rate(runners[measured.name], batch, seconds=ROUND_SECONDS)
                measured.rates[batch] = round(max(rate, measured.rates.get(batch, 0.0)), 1)
    for measured in formats:
        log.info("measured", **{key: value for key, value in asdict(measured).items() if value != ""})
    eligible = [measured for measured in formats if not measured.refused]
    if not eligible:
        raise QuantizationError(f"no format is eligible:\n{FormatReport('', tuple(formats)).as_markdown()}")
    return FormatReport(max(eligible, key=lambda measured: measured.speed).name, tuple(formats))
