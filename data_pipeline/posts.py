"""Stage `posts`: of the submissions of `dumps` and `fetch`, those worth having for their pictures (`Post` rows).

What is dropped, `data_pipeline.worth` says, and beyond that:

    no_picture   nothing in it can be a picture: a text, a video, an album whose pictures its address does not name
    repost       all of its pictures were in a post before

User names end before this stage: neither rows nor what is set aside hold any. Pictures are fetched by `images`; texts
of self-posts are for `selftext`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from data_pipeline.picture_urls import Picture, pictures_of
from data_pipeline.rows import Post, Submission
from data_pipeline.stage import Drop, Summary
from data_pipeline.worth import Worth, WorthSettings, judge_submissions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_pipeline.rows import Row

STAGE: Final = "posts"
VERSION: Final = 1
"""Of the judgement: other versions' folders are not gone on with."""


class PostsSettings(WorthSettings):
    """What `posts` can be told."""

    max_pictures: int = Field(default=20, ge=1, description="a gallery's pictures beyond that many are left out")
    reposts: bool = Field(default=False, description="keep posts whose pictures were all posted before")


def run(inputs: Sequence[Path], folder: Path, settings: PostsSettings, *, restart: bool = False) -> Summary:
    """Makes posts of submissions. Raises StageError."""
    made_from = {"version": VERSION, **settings.judgement()}
    return judge_submissions(STAGE, inputs, folder, made_from, PostJudge(settings), restart=restart)


class PostJudge:
    """Judges submissions one after another by their pictures."""

    def __init__(self, settings: PostsSettings) -> None:
        self._settings = settings
        self._worth = Worth(settings)
        self._seen: set[int] = set()

    def __call__(self, submission: Submission) -> Row | Drop | str:
        """The post, or why it is none."""
        why_not = self._worth.why_not(submission)
        if why_not:
            return Drop(why_not[0], submission, why_not[1])
        pictures = pictures_of(submission)[: self._settings.max_pictures]
        if not pictures:
            return Drop("no_picture", submission, "text" if submission.selftext else submission.url)
        if self._all_seen(pictures) and not self._settings.reposts:
            return Drop("repost", submission, pictures[0].url)
        return Post(
            id=submission.id,
            created_s=submission.created_s,
            title=submission.title,
            score=submission.score,
            flair=submission.flair,
            image_urls=tuple(picture.url for picture in pictures),
            fallback_urls=tuple(picture.fallbacks for picture in pictures),
        )

    def _all_seen(self, pictures: list[Picture]) -> bool:
        # A hash of 64 bits each: of ten million pictures, the odds that any two share one are 1 in 370,000.
        hashes = {hash(picture.url) for picture in pictures}
        seen = hashes <= self._seen
        self._seen |= hashes
        return seen
