"""The stage `posts`: which submissions are worth having, and for which pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from data_pipeline import dumps, worth
from data_pipeline.posts import PostsSettings, run
from data_pipeline.rows import Post, Submission
from data_pipeline.stage import KEPT, OtherSettingsError, StageError, read_rows
from data_pipeline.submissions import from_record

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = (
    Path(os.environ.get("GTX_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    / "data"
    / "wholesomegreentext_submissions_sample.zst"
)


def submission(name: int, **fields: Any) -> Submission:
    return from_record({
        "id": f"{name:x}", "subreddit": "wholesomegreentext", "created_utc": 1_500_000_000 + name,
        "title": f"Anon {name}", "author": "x", "url": f"https://i.redd.it/p{name}.png", "score": 10, **fields,
    })  # fmt: skip


def write(path: Path, rows: Sequence[Submission]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def verdicts(folder: Path) -> dict[int, str]:
    """`kept` or the reason, by number."""
    found = {int(row.id, 16): "kept" for row in read_rows(folder, Post)}
    for line in (folder / "dropped.jsonl").read_text().splitlines():
        drop = json.loads(line)
        found[int(drop["row"]["id"], 16)] = drop["reason"]
    return found


CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "kept"),
    ({"author": "[deleted]"}, "kept"),  # the account went, the post stayed
    ({"link_flair_text": "Greentext|OP in comments"}, "kept"),
    ({"over_18": True}, "over_18"),
    ({"removed_by_category": "moderator"}, "removed"),
    ({"removed_by_category": "deleted"}, "deleted"),
    ({"removed_by_category": "author", "selftext": "[removed]"}, "deleted"),
    ({"selftext": "[removed]"}, "removed"),
    ({"selftext": "[deleted]"}, "deleted"),
    ({"title": "[deleted by user]"}, "deleted"),
    ({"_meta": {"was_deleted_later": True}}, "deleted"),
    ({"score": 0}, "low_score"),
    ({"score": -4}, "low_score"),
    ({"link_flair_text": "Removed - Not 'Wholesome'"}, "unwanted_flair"),
    ({"link_flair_text": "REEEEPOST"}, "unwanted_flair"),
    ({"link_flair_text": "Rule 8: No Reposts"}, "unwanted_flair"),
    ({"link_flair_text": "Not a wholesome greentext (funny tho)"}, "unwanted_flair"),
    ({"link_flair_text": "Not Greentext - try /r/WholesomeTextPosts"}, "unwanted_flair"),
    ({"link_flair_text": "Meta"}, "unwanted_flair"),
    ({"url": "https://www.reddit.com/r/x/comments/1/"}, "no_picture"),
    ({"url": "https://v.redd.it/abc"}, "no_picture"),
    ({"crosspost_parent_list": [{"over_18": True}]}, "over_18"),
    ({"crosspost_parent_list": [{"removed_by_category": "reddit"}]}, "removed"),
    ({"crosspost_parent_list": [{"selftext": "[deleted]"}]}, "removed"),
    ({"url": "https://i.redd.it/p0.png"}, "repost"),
    ({"id": "0"}, "duplicate"),
]


def test_each_verdict_has_its_name(tmp_path: Path) -> None:
    rows = [submission(n, **fields) for n, (fields, _) in enumerate(CASES)]
    summary = run([write(tmp_path / "in.jsonl", rows)], tmp_path / "out", PostsSettings())
    expected = {n: reason for n, (_, reason) in enumerate(CASES) if reason != "duplicate"}
    found = verdicts(tmp_path / "out")
    assert found.pop(0) == "duplicate"
    assert expected.pop(0) == "kept"
    assert found == expected
    assert summary.kept == sum(reason == "kept" for _, reason in CASES)
    assert summary.kept + sum(summary.dropped.values()) == len(CASES)


def test_a_post_is_its_pictures_and_nobodys_name(tmp_path: Path) -> None:
    preview = {"images": [{"source": {"url": "https://preview.redd.it/p1.png?a=1&amp;s=2"}}]}
    row = submission(1, title="thanks u/somebody", author="SECRET", link_flair_text="Greentext", preview=preview)
    run([write(tmp_path / "in.jsonl", [row])], tmp_path / "out", PostsSettings())
    assert list(read_rows(tmp_path / "out", Post)) == [
        Post(
            id="1", created_s=1_500_000_001, title="thanks anon", score=10, flair="Greentext",
            image_urls=("https://i.redd.it/p1.png",),
            fallback_urls=(("https://preview.redd.it/p1.png?a=1&s=2",),),
        )
    ]  # fmt: skip


def test_settings_choose(tmp_path: Path) -> None:
    rows = [
        submission(1, score=3),
        submission(2, subreddit="greentext"),
        submission(3, link_flair_text="Wholesome"),
        submission(4, link_flair_text="Meta"),
        submission(5, url="https://i.redd.it/p1.png"),
    ]
    path = write(tmp_path / "in.jsonl", rows)

    def chosen(**settings: Any) -> list[int]:
        run([path], tmp_path / "out", PostsSettings(**settings), restart=True)
        return sorted(n for n, verdict in verdicts(tmp_path / "out").items() if verdict == "kept")

    assert chosen() == [1, 2, 3]
    assert chosen(min_score=5) == [2, 3, 5]
    assert chosen(subreddits=("r/GreenText",)) == [2]
    assert chosen(wanted_flairs=("wholesome",)) == [3]
    assert chosen(unwanted_flairs=()) == [1, 2, 3, 4]
    assert chosen(reposts=True) == [1, 2, 3, 5]


def test_a_gallery_of_old_and_new_pictures_is_no_repost_and_is_bounded(tmp_path: Path) -> None:
    def of(*names: str) -> dict[str, Any]:
        pictures = {name: {"status": "valid", "e": "Image", "m": "image/png", "s": {}} for name in names}
        return {"url": "https://www.reddit.com/gallery/x", "media_metadata": pictures,
                "gallery_data": {"items": [{"media_id": name} for name in names]}}  # fmt: skip

    rows = [submission(1, **of("a", "b")), submission(2, **of("b", "c", "d", "e")), submission(3, **of("c", "a"))]
    run([write(tmp_path / "in.jsonl", rows)], tmp_path / "out", PostsSettings(max_pictures=3))
    assert verdicts(tmp_path / "out") == {1: "kept", 2: "kept", 3: "repost"}
    assert [len(post.image_urls) for post in read_rows(tmp_path / "out", Post)] == [2, 3]


def test_duplicates_are_found_across_inputs(tmp_path: Path) -> None:
    one = write(tmp_path / "dump.jsonl", [submission(n) for n in range(5)])
    two = write(tmp_path / "live.jsonl", [submission(n) for n in range(3, 8)])
    summary = run([one, two], tmp_path / "out", PostsSettings())
    assert [int(post.id, 16) for post in read_rows(tmp_path / "out", Post)] == list(range(8))
    assert summary.dropped == {"duplicate": 2}


class Killed(BaseException):
    """Stands in for a kill."""


@pytest.mark.parametrize("after", [0, 5, 12])
def test_a_stopped_run_goes_on_and_remembers_what_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(worth, "ROWS_AT_ONCE", 4)
    rows = [submission(n % 15, url=f"https://i.redd.it/p{n % 11}.png", score=n % 5) for n in range(25)]
    path = write(tmp_path / "in.jsonl", rows)
    run([path], tmp_path / "whole", PostsSettings())
    asked = 0
    real = worth.why_gone

    def stopping(submission: Submission) -> tuple[str, str] | None:
        nonlocal asked
        asked += 1
        if asked > after:
            raise Killed
        return real(submission)

    with monkeypatch.context() as patch:
        patch.setattr(worth, "why_gone", stopping)
        with pytest.raises(Killed):
            run([path], tmp_path / "stopped", PostsSettings())
    run([path], tmp_path / "stopped", PostsSettings())
    for name in (KEPT, "dropped.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_inputs_and_settings_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [submission(1)])
    run([path], tmp_path / "out", PostsSettings(unwanted_flairs=("a", "b")))
    run([path], tmp_path / "out", PostsSettings(unwanted_flairs=("b", "a")))
    with pytest.raises(OtherSettingsError, match="min_score"):
        run([path], tmp_path / "out", PostsSettings(unwanted_flairs=("a", "b"), min_score=9))
    with pytest.raises(StageError, match="dumps or fetch"):
        run([], tmp_path / "new", PostsSettings())
    path.write_text('{"id": "a", "text": "another stage\'s row"}\n')
    with pytest.raises(StageError, match="is no Submission"):
        run([path], tmp_path / "new", PostsSettings())
    with pytest.raises(StageError):
        run([tmp_path / "nothing"], tmp_path / "new2", PostsSettings())


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs the sample dump")
def test_the_real_sample_becomes_a_table_of_posts(tmp_path: Path) -> None:
    dumps.run([SAMPLE], tmp_path / "dumps", dumps.DumpsSettings(workers=1))
    summary = run([tmp_path / "dumps"], tmp_path / "posts", PostsSettings())
    assert summary.kept + sum(summary.dropped.values()) == 2500
    assert summary.kept == 1752
    assert summary.dropped["no_picture"] < 30
    posts = list(read_rows(tmp_path / "posts", Post))
    hosts = {url.split("/")[2] for post in posts for url in post.image_urls}
    assert hosts <= {"i.redd.it", "i.imgur.com", "i.reddituploads.com", "i.redditmedia.com", "preview.redd.it",
                     "external-preview.redd.it", "i0.kym-cdn.com", "vgy.me"}  # fmt: skip
    written = (tmp_path / "posts" / KEPT).read_text() + (tmp_path / "posts" / "dropped.jsonl").read_text()
    assert "redditor_" not in written
    assert "&amp;" not in "".join(url for post in posts for url in post.image_urls)
