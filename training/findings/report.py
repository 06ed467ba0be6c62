"""The report, written from the figures alone: method, tables, plot and verdict of each claim, and how all was made.

Every sentence about a result is put together from intervals. The same figures give the same files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.findings.code_sessions import code_session
from training.findings.designs import parameters
from training.findings.outcomes import OUTCOMES
from training.findings.plots import plot
from training.findings.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.evaluation.figures import Figure
    from training.findings.outcomes import Outcome
    from training.findings.scales import Scale
    from training.findings.verdicts import Compared, Finding

REPORT, PLOTS = "findings.md", "findings"


def write_report(findings: Sequence[Finding], scale: Scale, study: dict[str, Any], directory: Path) -> Path:
    """Writes ``findings.md`` and its plots into ``directory``, and returns the report's path."""
    plots = directory / PLOTS
    plots.mkdir(parents=True, exist_ok=True)
    for finding in findings:
        plot(finding, plots / f"{finding.experiment.name}.svg")
    path = directory / REPORT
    part = directory / f"{REPORT}.part"
    part.write_text(markdown(findings, scale, study), encoding="utf-8")
    part.replace(path)
    return path


def markdown(findings: Sequence[Finding], scale: Scale, study: dict[str, Any]) -> str:
    """The report's text."""
    lines = [
        "# Findings",
        "",
        (
            "The original project made claims about tuning small models to write greentexts. These are controlled "
            "experiments on them, made and written up by `gtx-train findings`: the text below follows from the "
            "measurements, whatever they are."
        ),
        "",
        "| claim | verdict at this scale | what decides |",
        "| --- | --- | --- |",
        *(_summary(number, finding) for number, finding in enumerate(findings, start=1)),
        "",
        *_how_made(scale, study),
        *_how_judged(),
    ]
    for number, finding in enumerate(findings, start=1):
        lines += _section(number, finding)
    return "\n".join([*lines, *_limits(scale, study)]) + "\n"


def _summary(number: int, finding: Finding) -> str:
    title = finding.experiment.title
    decided = "; ".join(
        f"{compared.comparison.one} - {compared.comparison.other}: {OUTCOMES[compared.comparison.outcome].label} "
        f"{_with_interval(compared.figure, OUTCOMES[compared.comparison.outcome], signed=True)}"
        for compared in finding.deciding
    )
    return f"| [{title}](#{_anchor(f'{number}. {title}')}) | **{finding.verdict}** | {decided} |"


def _how_made(scale: Scale, study: dict[str, Any]) -> list[str]:
    cells, spent = study["cells"], study["computing_seconds"]
    lengths = [cell["steps"] for cell in cells if "steps" in cell]
    texts = f"{len(cells[0]['bytes'])} held-out greentexts, {cells[0]['genres'].count('thanks')} of them thanks texts"
    return [
        "## How they were made",
        "",
        (
            f"Scale `{scale.name}`. Bases are GPT-Neo models of {parameters(scale, 'large'):,} parameters (large, "
            f"and the "
            f"one that has read code) and {parameters(scale, 'small'):,} (small), with a vocabulary of "
            f"{scale.large.vocab_size:,} tokens, pretrained for {scale.pretrain_steps:,} steps of "
            f"{scale.pretrain_batch_rows} rows of {scale.large.context_length} tokens; {_bases(scale)}. Tuning takes "
            f"{_range(lengths)} steps; the weights of the best validation loss are kept. "
            f"{scale.seeds} seeds a condition: a seed chooses texts, order, dropout and samples, and is the same "
            f"in all "
            f"conditions. Every model is scored on {texts}, and writes {scale.samples} texts at temperature 1 "
            f"with nothing "
            f"cut off, through the serving engine."
        ),
        "",
        "| base | steps | held-out loss (nats a token) |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {base['steps']:,} | {base['validation_loss']:.3f} |"
            for name, base in sorted(study["bases"].items())
        ),
        "",
        (
            f"{len(cells)} models measured, on {study['machine']}. The clock times of all add up to "
            f"{spent / 60:.0f} minutes, with whatever else ran there, and pauses. To make it again: "
            f"`gtx-train findings STORIES --scale {scale.name}`."
        ),
        "",
    ]


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


def _bases(scale: Scale) -> str:
    return f"{scale.bases} of each, which seeds take in turn" if scale.bases > 1 else "one of each"


def _how_judged() -> list[str]:
    shares = OUTCOMES["thanks"].negligible * 100
    return [
        "## How they are judged",
        "",
        (
            "All intervals are of 95 %. Bits per byte are compared text by text and seed by seed; the interval covers "
            "other seeds and other texts (Clark 1973, with Satterthwaite's degrees of freedom). Shares of "
            "samples have the "
            "wider of a t interval over seeds and Newcombe's (1998) over samples. What decides about a claim was fixed "
            "beforehand and is marked so in the tables. A claim is *supported* when the whole interval of every "
            "deciding "
            "difference lies on its side; *not supported* when one lies wholly on the other side, or within "
            f"{OUTCOMES['bits'].negligible} bits per byte ({shares:.0f} points of a share) of nothing; else it is "
            "*undecided*. The differences that do not decide are shown to understand the claim by; with so many "
            "of them, "
            "one or two would stand out by chance."
        ),
        "",
        (
            "In the plots a dot is a seed; bars are intervals. Those of conditions, left, hold how much texts differ "
            "from one another; those of differences, right, do not, since both are of the same texts. Green speaks for "
            "the claim, red against it, grey for neither; of blue ones the claim says nothing. Within the grey band a "
            "difference would not matter."
        ),
        "",
    ]


def _section(number: int, finding: Finding) -> list[str]:
    experiment = finding.experiment
    shown = [OUTCOMES[name] for name in experiment.outcomes]
    return [
        f"## {number}. {experiment.title}",
        "",
        f"**Claim.** {experiment.claim}",
        "",
        f"**Verdict: {finding.verdict}.** {' '.join(_sentence(compared) for compared in finding.deciding)}",
        "",
        "**Method.** " + " ".join(experiment.method),
        "",
        f"![{experiment.title}]({PLOTS}/{experiment.name}.svg)",
        "",
        "| tuned on | " + " | ".join(outcome.label for outcome in shown) + " |",
        "| --- |" + " ---: |" * len(shown),
        *(
            f"| {label} | " + " | ".join(_with_interval(levels[outcome.name], outcome) for outcome in shown) + " |"
            for label, levels in finding.levels.items()
        ),
        "",
        "| difference | in | value and interval | speaks |",
        "| --- | --- | ---: | --- |",
        *(_difference_row(compared) for compared in finding.compared),
        "",
        *_samples(finding),
    ]


def _sentence(compared: Compared) -> str:
    """A deciding comparison in words, from its interval."""
    comparison, figure = compared.comparison, compared.figure
    outcome = OUTCOMES[comparison.outcome]
    said = f"{_capital(outcome.label)}: “{comparison.one}” has {_amount(figure.value, outcome, signed=True)} against "
    said += f"“{comparison.other}”, with an interval from {_amount(figure.low, outcome, signed=True)} to "
    said += f"{_amount(figure.high, outcome, signed=True)}; the claim expects less than 0"
    if comparison.expected == "higher":
        said = said.removesuffix("less than 0") + "more than 0"
    return (
        said
        + {
            None: ".",
            Verdict.SUPPORTED: ", and so it is.",
            Verdict.UNDECIDED: ", but 0 lies within.",
            Verdict.NOT_SUPPORTED: (
                ", but it is too close to 0 to matter." if compared.too_close else ", but it is the other way round."
            ),
        }[compared.verdict]
    )


def _difference_row(compared: Compared) -> str:
    comparison = compared.comparison
    outcome = OUTCOMES[comparison.outcome]
    speaks = {
        None: "",
        Verdict.SUPPORTED: "for the claim",
        Verdict.NOT_SUPPORTED: "for no difference" if compared.too_close else "against the claim",
        Verdict.UNDECIDED: "for neither",
    }[compared.verdict]
    value = _with_interval(compared.figure, outcome, signed=True)
    speaks = f"**{speaks} (decides)**" if comparison.decides else speaks
    return f"| {comparison.one} - {comparison.other} | {outcome.label} | {value} | {speaks} |"


def _samples(finding: Finding) -> list[str]:
    lines = ["<details><summary>One unselected sample of each (the first seed's first)</summary>", ""]
    for label, records in finding.records.items():
        text = records[0]["shown"][0].replace("```", "'''")
        lines += [f"{_capital(label)}:", "", "```text", *(text.split("\n") or [""]), "```", ""]
    if finding.experiment.name == "start":
        lines += ["A session of code that the base has read:", "", "```text", code_session(0, 0), "```", ""]
    return [*lines, "</details>", ""]


def _limits(scale: Scale, study: dict[str, Any]) -> list[str]:
    bases = (
        "One base of each kind: the intervals do not cover what another pretraining would give."
        if scale.bases == 1
        else f"{scale.bases} bases of each kind, over which seeds are spread: the intervals cover little of what "
        "other pretrainings would give."
    )
    largest = max(cell.get("training_texts", 0) for cell in study["cells"])
    return [
        "## What this does not say",
        "",
        f"- {bases}",
        (
            f"- The models are small, the texts few ({largest:,} to train on) and written for the project: that a "
            f"claim "
            "holds or fails here says little of models a hundred times as large, or of texts gathered from the world."
        ),
        (
            "- Learning rate, dropout and batch are the same in all conditions. They were not searched for in "
            "each, so a "
            "condition that would like others is at a disadvantage."
        ),
        (
            "- The thank-you ending is read off the last two lines, and code by a rule; nobody has judged "
            "whether texts "
            "are any good."
        ),
    ]


def _with_interval(figure: Figure, outcome: Outcome, *, signed: bool = False) -> str:
    low, high = (_number(bound, outcome, signed=signed) for bound in (figure.low, figure.high))
    return f"{_amount(figure.value, outcome, signed=signed)} [{low}, {high}]"


def _amount(value: float, outcome: Outcome, *, signed: bool = False) -> str:
    unit = (" points" if signed else " %") if outcome.unit == "%" else ""
    return f"{_number(value, outcome, signed=signed)}{unit}"


def _number(value: float, outcome: Outcome, *, signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if outcome.unit == "%" else f"{value:{sign}.3f}"


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]


def _anchor(title: str) -> str:
    kept = "".join(character for character in title.lower() if character.isalnum() or character in " -")
    return kept.replace(" ", "-")
