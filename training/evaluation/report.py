"""The report of one model: a page of Markdown with its figures, plots and unselected samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.evaluation.judge import GRADES, SEPARATOR
from training.evaluation.measures import MEASURES
from training.evaluation.plots import draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from training.evaluation.figures import Figure
    from training.evaluation.result import Evaluation
    from training.evaluation.text_checks import TextChecks
    from training.samples import Sample

REPORT = "report.md"
METHOD = """\
Intervals are of 95 %: Wilson's for shares, a bootstrap over texts for means and bits per byte, a jackknife over texts
for distinct-n. They say what other samples of this model and other held-out texts would give, not what another training
would. "Held-out texts" are what people wrote, put through the same checks."""


def write_report(
    directory: Path, result: Evaluation, shown: Sequence[tuple[Sample, TextChecks]], *, plots: bool = True
) -> Path:
    """Writes ``report.md``, with its plots unless they are not wanted; ``shown`` are the samples to print."""
    page = markdown(result, shown, draw(directory, result) if plots else ())
    path = directory / REPORT
    part = path.with_name(f"{REPORT}.part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def markdown(result: Evaluation, shown: Sequence[tuple[Sample, TextChecks]], plots: Sequence[str] = ()) -> str:
    """The page."""
    lines = [f"# Evaluation of {result.name}", "", *facts_of(result), "", *figures_table(result), "", METHOD, ""]
    if result.by_genre:
        rows = [(genre, number(figure, 4), str(figure.of)) for genre, figure in result.by_genre.items()]
        lines += ["## Bits per byte by genre", "", *table(("genre", "bits per byte", "texts"), rows), ""]
    if plots:
        lines += ["## Pictures", "", *(f"![{name.split('/')[-1].split('.')[0]}]({name})" for name in plots), ""]
    lines += [*_found(result), *_graded(result)]
    if result.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in result.notes), ""]
    if shown:
        lines += [
            "## Unselected samples",
            "",
            f"The first {len(shown)} of {result.samples['count']:,}, in the order of their seeds.",
            "",
        ]
        for sample, checks in shown:
            lines += [f"{_headline(sample, checks)}:", "", *fenced(sample.text), ""]
    return "\n".join(lines)


def number(figure: Figure, digits: int) -> str:
    """A value with its interval, shares as percentages."""
    if figure.kind == "share":
        return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"
    if figure.low == figure.high == figure.value:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first column is text, the others are figures."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]


def fenced(text: str) -> list[str]:
    """A block that shows a text as it is, whatever marks are in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}text", text, fence]


def facts_of(result: Evaluation) -> list[str]:
    """What was measured on what, and how the samples were drawn: a sentence each."""
    samples, data = result.samples, result.data
    measured = (
        f"Measured through the serving engine, in {result.model['precision']}, on {data['name']}: "
        f"{data['held_out_texts']:,} held-out texts, {data['training_texts']:,} training texts "
        f"(SHA-256 {data['sha256'][:16]})."
    )
    facts = [measured]
    if samples["count"]:
        sampling = ", ".join(f"{name} {value:g}" for name, value in samples["sampling"].items() if value is not None)
        last = samples["first_seed"] + samples["count"] - 1
        facts.append(f"{samples['count']:,} samples, seeds {samples['first_seed']} to {last}: {sampling}.")
    return facts


def figures_table(result: Evaluation) -> list[str]:
    """Lines of a Markdown table of all figures, with those of the held-out texts beside them."""
    names = [name for name in MEASURES if name in result.figures]
    rows = []
    for name in names:
        measure, original = MEASURES[name], result.reference.get(name)
        shown = number(original, measure.digits) if original else ""
        rows.append((measure.title, number(result.figures[name], measure.digits), shown, measure.meaning))
    lines = table(("", "this model", "held-out texts", "what it is"), rows)
    lines[1] = "| --- | ---: | ---: | --- |"
    return lines


def _found(result: Evaluation) -> list[str]:
    """What lies behind the shares, in counts of texts."""
    samples: dict[str, Any] = result.details.get("samples", {})
    if not samples:
        return []
    lines = ["## What was found in the samples", ""]
    for name, title in (
        ("problems", "Problems of shape"),
        ("flags", "Content flags"),
        ("code_marks", "Marks of code"),
        ("unknown_words", "Commonest words that are not simple"),
    ):
        counts = ", ".join(f"`{word}` {count}" for word, count in samples[name].items()) or "none"
        lines.append(f"- {title}: {counts}")
    sizes = result.details["diversity_of"]
    lines.append(f"- Distinct-n is of {sizes['words']:,} words of either kind, self-BLEU of {sizes['texts']:,} texts")
    run = samples["longest_shared_run"]
    lines += [f"- Longest run shared with a training text, {len(run.split())} words: `{run}`", ""]
    return lines


def _graded(result: Evaluation) -> list[str]:
    judged = result.details.get("judge")
    if not judged:
        return []
    ages = ", ".join(f"{age} ({count})" for age, count in judged["ages"].items())
    lines = [
        "## The judge",
        "",
        (
            f"{judged['model']} graded {judged['completions']} completions of {judged['beginnings']} beginnings, and "
            f"the originals, after the protocol of Eldan and Li (2023). Ages that it guessed: {ages}."
        ),
        "",
    ]
    for example in judged["examples"]:
        grades = ", ".join(f"{name} {example[name]}" for name in GRADES)
        said = " ".join(example["said"].split())
        lines += [*fenced(example["beginning"] + SEPARATOR + example["completion"]), "", f"{grades}. {said}", ""]
    return lines


def _headline(sample: Sample, checks: TextChecks) -> str:
    found = [] if sample.ended else ["cut at the token limit"]
    found += [problem.replace("_", " ") for problem in checks.problems]
    found += [f"flagged {flag.replace('_', ' ')}" for flag in checks.flags]
    found += ["looks like code"] if checks.code else []
    return f"Seed {sample.seed}" + (f" ({', '.join(found)})" if found else "")
