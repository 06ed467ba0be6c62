"""What an evaluation found, and the file it is kept in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from training.evaluation.figures import Figure

if TYPE_CHECKING:
    from pathlib import Path

RESULT = "evaluation.json"
SCHEMA_VERSION = 1


class ResultError(ValueError):
    """A file is no result of an evaluation; the message names it."""


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Scores of each held-out text that fits the model's context, in their order."""

    texts_sha256: str
    """Of the texts that were scored: where it is the same, scores can be compared text by text."""
    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    text_bytes: tuple[int, ...]
    left_out: int
    """Texts that are longer than the context."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> HeldOutScores:
        """What ``dataclasses.asdict`` gave and JSON kept. Raises KeyError, TypeError."""
        return cls(
            texts_sha256=content["texts_sha256"],
            nats=tuple(content["nats"]),
            tokens=tuple(content["tokens"]),
            text_bytes=tuple(content["text_bytes"]),
            left_out=content["left_out"],
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of a model, by the names of ``measures.MEASURES``."""

    name: str
    model: dict[str, Any]
    """Precision, context, hash."""
    data: dict[str, Any]
    """Name, hash and sizes of what it was measured on."""
    samples: dict[str, Any]
    """How many, from which seeds, how sampled."""
    figures: dict[str, Figure]
    reference: dict[str, Figure]
    """The same figures of the held-out texts themselves, where they have them."""
    held_out: HeldOutScores
    by_genre: dict[str, Figure] = field(default_factory=dict)
    """Bits per byte."""
    details: dict[str, Any] = field(default_factory=dict)
    """Counts behind the figures."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader must know."""

    def write(self, path: Path) -> None:
        """Writes it as JSON, at once or not at all."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "model": self.model,
            "data": self.data,
            "samples": self.samples,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "reference": {name: figure.as_json() for name, figure in self.reference.items()},
            "by_genre": {name: figure.as_json() for name, figure in self.by_genre.items()},
            "details": self.details,
            "notes": list(self.notes),
            "held_out": asdict(self.held_out),
        }
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def read_result(path: Path) -> Evaluation:
    """Reads an ``evaluation.json``, or that of a directory. Raises ResultError."""
    file = path / RESULT if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"{file} does not exist; evaluate the model first") from error
    except ValueError as error:
        raise ResultError(f"{file} is not JSON: {error}") from error
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ResultError(f"{file} is of version {content['schema_version']}; evaluate the model anew")
        return Evaluation(
            name=str(content["name"]),
            model=content["model"],
            data=content["data"],
            samples=content["samples"],
            figures=_figures(content["figures"]),
            reference=_figures(content["reference"]),
            by_genre=_figures(content["by_genre"]),
            details=content["details"],
            notes=tuple(content["notes"]),
            held_out=HeldOutScores.from_json(content["held_out"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"{file} is no result of an evaluation ({error!r}); evaluate the model anew") from error


def _figures(content: dict[str, Any]) -> dict[str, Figure]:
    return {name: Figure.from_json(figure) for name, figure in content.items()}
