"""Stage `fetch`: submissions of a subreddit from the search API of Arctic Shift or PullPush, as `Submission` rows.

Both answer at most 100 submissions a page, by time, and know no other cursor than the time of creation. Whether `after`
includes its second neither documents, and submissions may share one, so each page begins a second early and what is
known is passed over: nothing is lost and nothing comes twice. An item of the run is a page; a run that was stopped goes
on from its last page, and ends where nothing new comes.

Records that are no submissions are dropped under the reasons that `dumps` has. Counted are `other_subreddit` (not asked
for) and `crowded_second`: more submissions in a second than two pages hold, of which some may be missing.

Sources: https://github.com/ArthurHeitmann/arctic_shift, api/README.md; https://pullpush.io. Neither promises to be up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
from pydantic import Field

from data_pipeline.search_api import FetchError, SearchApi
from data_pipeline.settings import Settings
from data_pipeline.stage import Drop, StageError, StageRun, Summary, progress_bar
from data_pipeline.submissions import RecordError, SubredditName, from_record
from greentext import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.rows import Submission

STAGE: Final = "fetch"
VERSION: Final = 1
"""Of what is taken from an answer: other versions' folders are not gone on with."""
PAGE: Final = 100
"""As many as both APIs answer at most."""

_BEGINNING_S: Final = 1_117_584_000
"""June 2005, when Reddit opened. Without `after` an API may begin with the newest."""
_PAGES: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class _Source:
    url: str
    size: str
    """What the parameter for a page's size is called."""
    requests_per_minute: float
    more: tuple[tuple[str, str], ...] = ()


SOURCES: Final = {
    "arctic-shift": _Source("https://arctic-shift.photon-reddit.com/api/posts/search", "limit", 60.0),
    # Its users report blocks beyond 15 requests a minute.
    "pullpush": _Source(
        "https://api.pullpush.io/reddit/search/submission/", "size", 15.0, (("sort_type", "created_utc"),)
    ),
}


class FetchSettings(Settings):
    """What `fetch` can be told."""

    source: Literal["arctic-shift", "pullpush"] = Field(default="arctic-shift", description="whom to ask")
    subreddits: tuple[SubredditName, ...] = Field(
        default=("wholesomegreentext",), min_length=1, description="whose submissions are asked for"
    )
    since: date | None = Field(default=None, description="the first day (UTC, 2020-12-31)")
    until: date | None = Field(default=None, description="the day before which to end (UTC)")
    base_url: str = Field(default="", description="another address of an API of that kind; empty: the source's own")
    requests_per_minute: float = Field(
        default=0.0, ge=0.0, description="at most that many; 0: what the source bears (60; 15 of PullPush)"
    )
    timeout_s: float = Field(default=60.0, gt=0.0, description="how long an answer may take")
    attempts: int = Field(default=8, ge=1, description="how often a page is asked for before the run ends")
    backoff_s: float = Field(default=2.0, ge=0.0, description="the first wait after a fault; each further one doubles")
    max_wait_s: float = Field(default=900.0, ge=0.0, description="wait as long if asked to; if longer, the run ends")
    user_agent: str = Field(default=f"wholesome-greentext/{__version__}", min_length=1, description="who we are")


def run(inputs: Sequence[Path], folder: Path, settings: FetchSettings, *, restart: bool = False) -> Summary:
    """Fetches all submissions of the subreddits, the oldest first.

    Raises:
        FetchError: The API cannot be reached, refuses, or answers what was not asked for. What came is not lost.
        StageError: The folder cannot be used.
    """
    if inputs:
        raise StageError(f"fetch reads no files, but was given {inputs[0]}: name subreddits with --subreddits")
    source = SOURCES[settings.source]
    subreddits = list(dict.fromkeys(settings.subreddits))
    url = settings.base_url or source.url
    made_from = {
        "version": VERSION,
        "url": url,
        "subreddits": subreddits,
        "since": settings.since and settings.since.isoformat(),
        "until": settings.until and settings.until.isoformat(),
    }
    with StageRun(folder, STAGE, made_from, restart=restart) as stage:
        if stage.summary is None:
            api = SearchApi(
                url,
                user_agent=settings.user_agent,
                requests_per_minute=settings.requests_per_minute or source.requests_per_minute,
                timeout_s=settings.timeout_s,
                attempts=settings.attempts,
                backoff_s=settings.backoff_s,
                max_wait_s=settings.max_wait_s,
            )
            with api, progress_bar(STAGE, None, "post") as bar:
                for number, subreddit in enumerate(subreddits):
                    listing = _Listing(stage, number, subreddit, settings)
                    while not listing.ended:
                        bar.update(listing.next_page(api, source))
        return stage.finish()


@dataclass(slots=True)
class _Sifted:
    """What a page holds."""

    fresh: dict[str, Submission] = field(default_factory=dict)
    known: int = 0
    dropped: list[Drop] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    beyond: bool = False
    """Whether something was created at the end of what is asked for, or after it."""
    times_s: list[int] = field(default_factory=list)
    """When each submission was created, in the page's order."""


class _Listing:
    """The submissions of a subreddit, page by page; what an earlier run recorded is behind it."""

    def __init__(self, stage: StageRun, number: int, subreddit: str, settings: FetchSettings) -> None:
        self._stage, self._number, self._subreddit = stage, number, subreddit
        self._since_s = max(_BEGINNING_S, _midnight_s(settings.since) or 0)
        self._until_s = _midnight_s(settings.until)
        self._page = 0
        self._cursor_s = self._since_s
        """What was created before this second is known."""
        self._known: dict[str, int] = {}
        """When each submission that may come again was created, by its id."""
        self._bad: set[int] = set()
        """Hashes of the records that are none."""
        self.ended = False
        self._resume()

    def _resume(self) -> None:
        for key, kept, _ in self._stage.entries():
            number, page, cursor = key.split("/")
            if int(number) == self._number:
                self._page = int(page) + 1
                self.ended = cursor == "end"
                self._cursor_s = self._cursor_s if self.ended else int(cursor)
                self._learn({row["id"]: row["created_s"] for row in kept})

    def next_page(self, api: SearchApi, source: _Source) -> int:
        """Asks for a page, records it, and returns how many new submissions there were. Raises FetchError."""
        # A second early: whatever was created from the cursor's second on will come, be `after` inclusive or not.
        after_s = self._cursor_s - 1
        records = api.ask(self._parameters(source, after_s, self._until_s, "asc"))
        page = self._sifted(records, after_s)
        if page.fresh:
            if len(records) >= PAGE and page.times_s[0] > page.times_s[-1]:
                raise FetchError(
                    f"asked for the oldest submissions to r/{self._subreddit} first, was given the newest: the API "
                    "does not do what it should; try another --source"
                )
            self._cursor_s = max(self._cursor_s, *(each.created_s for each in page.fresh.values()))
        elif len(records) < PAGE or page.beyond:
            self.ended = True
        elif not page.known:
            raise FetchError(
                f"a page of {len(records)} records holds no submission to r/{self._subreddit}: try another --source"
            )
        else:
            page = self._other_end(api, source, after_s)
        self._stage.record(
            self._number * _PAGES + self._page,
            f"{self._number}/{self._page}/{'end' if self.ended else self._cursor_s}",
            kept=list(page.fresh.values()),
            dropped=page.dropped,
            counted=page.counted,
        )
        self._page += 1
        self._learn({submission.id: submission.created_s for submission in page.fresh.values()})
        return len(page.fresh)

    def _other_end(self, api: SearchApi, source: _Source, after_s: int) -> _Sifted:
        """The page that ends with the cursor's second, after one that was full of what is known up to it."""
        last_s = self._cursor_s
        self._cursor_s += 1
        records = api.ask(self._parameters(source, after_s, last_s + 1, "desc"))
        page = self._sifted(records, after_s)
        if max(page.times_s, default=0) > last_s:  # `before` is inclusive here
            records = api.ask(self._parameters(source, after_s, last_s, "desc"))
            page = self._sifted(records, after_s)
        if len(records) >= PAGE and not page.known:
            page.counted["crowded_second"] += 1
        return page

    def _parameters(self, source: _Source, after_s: int, before_s: int | None, sort: str) -> dict[str, str | int]:
        asked: dict[str, str | int] = {"subreddit": self._subreddit, source.size: PAGE, "sort": sort}
        asked |= {**dict(source.more), "after": after_s}
        if before_s is not None:
            asked["before"] = before_s
        return asked

    def _sifted(self, records: list[Any], after_s: int) -> _Sifted:
        page = _Sifted()
        for record in records:
            try:
                submission = from_record(record)
            except RecordError as error:
                self._set_aside(page, record, error)
                continue
            created_s = submission.created_s
            page.times_s.append(created_s)
            if submission.subreddit.lower() != self._subreddit:
                page.counted["other_subreddit"] += 1
            elif created_s < after_s:
                raise FetchError(
                    f"asked for submissions to r/{self._subreddit} after {after_s}, was given one of {created_s}: the "
                    "API does not do what it should; try another --source"
                )
            elif submission.id in self._known or submission.id in page.fresh or created_s < self._since_s:
                page.known += 1
            elif self._until_s is not None and created_s >= self._until_s:
                page.beyond = True
            else:
                page.fresh[submission.id] = submission
        return page

    def _set_aside(self, page: _Sifted, record: object, error: RecordError) -> None:
        written = hash(orjson.dumps(record))
        if written not in self._bad:  # pages overlap
            self._bad.add(written)
            # Its name and no more: who wrote it may stand in it.
            name = record.get("id") if isinstance(record, dict) else None
            page.dropped.append(Drop(error.reason, {"subreddit": self._subreddit, "id": str(name)[:40]}, str(error)))

    def _learn(self, created_s: dict[str, int]) -> None:
        """Remembers the submissions that overlapping pages may bring again."""
        self._known = {
            name: time_s for name, time_s in {**self._known, **created_s}.items() if time_s >= self._cursor_s - 1
        }


def _midnight_s(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())
