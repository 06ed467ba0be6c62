"""Which submissions are worth having, for their pictures (`posts`) or for their text (`selftext`) alike.

    duplicate         a submission of that id came before, from another dump or API
    other_subreddit   not among those asked for
    over_18           it, or what it cross-posts
    deleted           by its author; that is to be respected
    removed           by moderators or by Reddit; so is what it cross-posts
    low_score         few have liked it
    unwanted_flair    what moderators say of it: a repost, not wholesome, not a greentext

`judge_submissions` runs a judgement over the rows of `dumps` and `fetch`. It knows nothing of pictures and texts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from data_pipeline.rows import Submission
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageError, StageRun, Summary, progress_bar, read_rows, sha256_of
from data_pipeline.submissions import SubredditName  # noqa: TC001  # pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from data_pipeline.rows import Row

ROWS_AT_ONCE: Final = 100
"""Rows that are judged and recorded together: an item of the run."""

_BY_AUTHOR: Final = frozenset(("deleted", "author"))


class WorthSettings(Settings):
    """Which submissions are worth having."""

    subreddits: tuple[SubredditName, ...] = Field(
        default=(), description="whose submissions are kept, in any case; none: of all"
    )
    min_score: int = Field(
        default=1, description="below it nobody liked it; recent submissions were often archived with a score of 1"
    )
    unwanted_flairs: tuple[str, ...] = Field(
        default=(
            "removed",
            "repost",
            "eeepost",
            "not wholesome",
            "not a wholesome",
            "not uplifting",
            "not greentext",
            "depressing",
            "meta",
            "spam",
            "political",
            "nazi",
            "doxx",
            "shitpost",
            "nsfw",
        ),
        description="a flair with one of these in it, in any case, is unwanted",
    )
    wanted_flairs: tuple[str, ...] = Field(
        default=(), description="only flairs with one of these in them are kept; none: all, and submissions without"
    )

    def judgement(self) -> dict[str, Any]:
        """What a result depends on; the order of names does not matter."""
        values = self.model_dump(mode="json")
        return {name: sorted(value) if isinstance(value, list) else value for name, value in values.items()}


class Worth:
    """Judges submissions one after another."""

    def __init__(self, settings: WorthSettings) -> None:
        self._settings = settings
        self._subreddits = frozenset(settings.subreddits)
        self._unwanted = [flair.casefold() for flair in settings.unwanted_flairs]
        self._wanted = [flair.casefold() for flair in settings.wanted_flairs]
        self._ids: set[int] = set()

    def why_not(self, submission: Submission) -> tuple[str, str] | None:
        """Reason and detail, or None of a submission worth having. Whoever was judged before is a duplicate."""
        number = int(submission.id, 36)
        if number in self._ids:
            return "duplicate", ""
        self._ids.add(number)
        if self._subreddits and submission.subreddit.lower() not in self._subreddits:
            return "other_subreddit", submission.subreddit
        gone = why_gone(submission)
        if gone:
            return gone
        if submission.score < self._settings.min_score:
            return "low_score", str(submission.score)
        return self._why_not_flair((submission.flair or "").casefold())

    def _why_not_flair(self, flair: str) -> tuple[str, str] | None:
        if flair and any(unwanted in flair for unwanted in self._unwanted):
            return "unwanted_flair", flair
        if self._wanted and not any(wanted in flair for wanted in self._wanted):
            return "unwanted_flair", flair or "none"
        return None


def why_gone(submission: Submission) -> tuple[str, str] | None:
    """Reason and detail if a submission, or what it cross-posts, is not for everybody any more, or never was."""
    if submission.over_18:
        return "over_18", ""
    removal = submission.removed_by_category
    if removal or submission.selftext in ("[removed]", "[deleted]") or submission.title == "[deleted by user]":
        deleted = removal in _BY_AUTHOR or (not removal and submission.selftext != "[removed]")
        return "deleted" if deleted else "removed", removal or ""
    parents: Any = submission.media.get("crosspost_parent_list")
    parent = parents[0] if parents else {}
    if parent.get("over_18"):
        return "over_18", "what it cross-posts"
    if parent.get("removed_by_category") or parent.get("selftext") in ("[removed]", "[deleted]"):
        return "removed", "what it cross-posts"
    return None


def judge_submissions(
    stage: str,
    inputs: Sequence[Path],
    folder: Path,
    made_from: Mapping[str, Any],
    judge: Callable[[Submission], Row | Drop | str],
    *,
    restart: bool,
) -> Summary:
    """Runs a stage over rows of submissions: `judge` makes a row of each, drops it, or names what it is counted as.

    `judge` is asked about every submission in order, also when a run goes on, and so may remember what it saw.

    Raises:
        StageError: There is no input, it is no file of submissions, or the folder cannot be used.
    """
    if not inputs:
        raise StageError(f"name what {stage} is to read: the folders of dumps or fetch, or their kept.jsonl")
    made_from = {**made_from, "inputs": [sha256_of(path) for path in inputs]}
    with StageRun(folder, stage, made_from, restart=restart) as run:
        if run.summary is None:
            rows = itertools.chain.from_iterable(read_rows(path, Submission) for path in inputs)
            with progress_bar(stage, None, "post") as bar:
                for number, some in enumerate(_in_parts(rows)):
                    _judge_some(run, number, some, judge)
                    bar.update(len(some))
        return run.finish()


def _judge_some(
    run: StageRun, number: int, some: list[Submission], judge: Callable[[Submission], Row | Drop | str]
) -> None:
    verdicts = [judge(submission) for submission in some]
    if run.is_done(str(number)):
        return
    run.record(
        number,
        str(number),
        # Their fields are JSON as they are: to have pydantic say so takes longer than all the rest of a drop.
        kept=[vars(verdict) for verdict in verdicts if not isinstance(verdict, Drop | str)],
        dropped=[
            Drop(verdict.reason, vars(verdict.row), verdict.detail) for verdict in verdicts if isinstance(verdict, Drop)
        ],
        counted=Counter(verdict for verdict in verdicts if isinstance(verdict, str)),
    )


def _in_parts(rows: Iterator[Submission]) -> Iterator[list[Submission]]:
    while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
        yield some
