"""The original project's four claims as controlled experiments, each with seeds and intervals.

Small models are pretrained on stories, tuned on greentexts in different ways, and scored on texts that none of them
has seen. ``study`` runs it all and resumes cell by cell, ``report`` writes what came of it. No result stands in the
code: verdicts follow from intervals.
"""

from training.findings.study import FindingsError, run_findings

__all__ = ["FindingsError", "run_findings"]
