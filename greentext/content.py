"""The content policy: what in a text is not wholesome, and why.

Three judges look at each line, and each finding says which of them spoke:

- a list of words and phrases (`greentext.content_terms`), seen through disguises, with idioms that mean no harm;
- patterns of personal data (`greentext.personal_data`);
- a small classifier (`greentext.content_classifier`) for what single words do not tell: "kill time" from "kill them".

A mention is a finding, whoever disapproves of it: a story about overcoming a suicide attempt is not for this model.
Sadness, therapy, illness, death of old age, romance and fights with dragons are no findings; nor is who somebody is:
no word for a group of people counts by itself. Figures: docs/content-filter.md. Each line is judged alone; what only
several together say is missed, and so is any language but English.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from greentext.content_classifier import default_classifier
from greentext.content_terms import default_terms
from greentext.personal_data import personal_data


class Category(StrEnum):
    """What a text can have in it that is not wholesome."""

    SLUR = "slur"
    SEXUAL = "sexual"
    VIOLENT = "violent"
    HATEFUL = "hateful"
    SELF_HARM = "self_harm"
    PERSONAL_DATA = "personal_data"
    PROFANITY = "profanity"


ALL_CATEGORIES: Final = frozenset(Category)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in one line."""

    category: Category
    line: int
    """From 1."""
    judge: Literal["terms", "pattern", "classifier"]
    words: str
    """What was found; the classifier's finding is the whole line."""
    score: float = 1.0
    """The classifier's probability; 1.0 where a list or a pattern spoke."""


def judge(text: str) -> list[Finding]:
    """All findings in a text, in the order of its lines; an empty list for a wholesome one. Never raises."""
    lines = text.split("\n")
    terms = default_terms()
    read = [terms.read(line) for line in lines]
    findings: list[Finding] = []
    for number, (line, found) in enumerate(zip(lines, read, strict=True), start=1):
        findings += (Finding(Category(section), number, "terms", words) for section, words in found.found)
        findings += (Finding(Category.PERSONAL_DATA, number, "pattern", words) for words in personal_data(line))
    named = {(finding.line, finding.category.value) for finding in findings}
    for at, category, chance in default_classifier().judge([found.words for found in read]):
        if (at + 1, category) not in named:
            findings.append(Finding(Category(category), at + 1, "classifier", lines[at], chance))
    return sorted(findings, key=lambda finding: finding.line)


def is_wholesome(text: str) -> bool:
    """Whether there is no finding in a text."""
    return not judge(text)
