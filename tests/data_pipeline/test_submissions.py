"""Records of dumps and APIs, as they were over the years, and as they never should be."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.rows import Submission
from data_pipeline.submissions import RecordError, cut_down, from_record, without_user_names

PLAIN: dict[str, Any] = {
    "id": "5jqsrx", "subreddit": "wholesomegreentext", "created_utc": 1482416555, "title": "Anon is happy",
    "author": "somebody", "score": 3,
}  # fmt: skip


def test_a_record_becomes_a_submission() -> None:
    submission = from_record({**PLAIN, "selftext": "&gt;be me", "url": "https://a.b/c.png", "link_flair_text": "Meta"})
    assert submission == Submission(
        id="5jqsrx", subreddit="wholesomegreentext", created_s=1482416555, title="Anon is happy", selftext="&gt;be me",
        url="https://a.b/c.png", score=3, over_18=False, flair="Meta", removed_by_category=None, author_deleted=False,
        media={},
    )  # fmt: skip


@pytest.mark.parametrize("created", [1482416555, 1482416555.0, "1482416555", "1482416555.0"])
def test_times_are_numbers_however_spelled(created: object) -> None:
    assert from_record({**PLAIN, "created_utc": created}).created_s == 1482416555


def test_oddities_of_the_years_are_taken() -> None:
    odd = from_record(
        {"name": "t3_abc", "subreddit": "greentext", "created": 1.0, "score": "12", "over_18": "true", "author": None}
    )
    assert (odd.id, odd.created_s, odd.score, odd.over_18, odd.author_deleted) == ("abc", 1, 12, True, True)
    assert odd.title == odd.selftext == odd.url == ""
    nulls = from_record({**PLAIN, "title": None, "selftext": None, "score": None, "over_18": None, "preview": None})
    assert (nulls.title, nulls.selftext, nulls.score, nulls.over_18) == ("", "", 0, False)
    for author in ("[deleted]", "[removed]", "", None, 7):
        assert from_record({**PLAIN, "author": author}).author_deleted
    assert from_record({**PLAIN, "score": 1e400}).score == 0
    assert from_record({**PLAIN, "score": 10**40}).score == 0


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], "not_an_object"),
        (None, "not_an_object"),
        ("text", "not_an_object"),
        ({"id": "a", "body": "a comment", "subreddit": "x", "created_utc": 1}, "comment"),
        ({**PLAIN, "id": ""}, "no_id"),
        ({**PLAIN, "id": None}, "no_id"),
        ({**PLAIN, "id": 17}, "no_id"),
        ({**PLAIN, "id": "../../etc"}, "no_id"),
        ({**PLAIN, "id": "a" * 40}, "no_id"),
        ({**PLAIN, "subreddit": None}, "no_subreddit"),
        ({**PLAIN, "subreddit": ["a"]}, "no_subreddit"),
        ({**PLAIN, "created_utc": None}, "no_time"),
        ({**PLAIN, "created_utc": True}, "no_time"),
        ({**PLAIN, "created_utc": -5}, "no_time"),
        ({**PLAIN, "created_utc": 10**15}, "no_time"),
        ({**PLAIN, "created_utc": "soon"}, "no_time"),
        ({**PLAIN, "created_utc": float("nan")}, "no_time"),
    ],
)
def test_what_is_no_submission_is_named(record: object, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_record(record)
    assert caught.value.reason == reason


def test_removals_found_later_are_removals() -> None:
    assert from_record({**PLAIN, "removed_by_category": "moderator"}).removed_by_category == "moderator"
    later = {**PLAIN, "_meta": {"was_deleted_later": True, "removal_type": "author"}}
    assert from_record(later).removed_by_category == "author"
    assert from_record({**PLAIN, "_meta": {"was_deleted_later": True}}).removed_by_category == "deleted"
    assert from_record({**PLAIN, "_meta": {"is_edited": True}}).removed_by_category is None


def test_media_are_cut_down_to_what_is_read() -> None:
    source = {"url": "https://preview.redd.it/a.png?s=1&amp;b=2", "width": 9, "height": 9}
    record = {
        **PLAIN,
        "preview": {"images": [{"source": source, "resolutions": [source] * 6, "variants": {"nsfw": {}}}]},
        "media_metadata": {"abc": {"status": "valid", "e": "Image", "m": "image/png", "s": {"u": "u", "x": 1}}},
        "gallery_data": {"items": [{"media_id": "abc", "id": 5, "caption": "by u/somebody"}]},
        "crosspost_parent_list": [{**PLAIN, "over_18": True, "author": "whoever", "preview": {"images": []}}, {}],
    }  # fmt: skip
    assert from_record(record).media == {
        "preview": {"images": [{"source": {"url": source["url"]}}]},
        "media_metadata": {"abc": {"status": "valid", "e": "Image", "m": "image/png", "s": {"u": "u"}}},
        "gallery_data": {"items": [{"media_id": "abc"}]},
        "crosspost_parent_list": [{"url": "", "selftext": "", "over_18": True, "removed_by_category": None}],
    }


def test_user_names_end_here() -> None:
    record = {
        **PLAIN,
        "author": "SECRET-one", "author_fullname": "t2_SECRET", "title": "found by u/SECRET_two, /u/SECRET-3",
        "selftext": "thanks [him](/u/SECRET_4), u/SECRET\\_5 and /user/SECRET6/ U/SECRET7",
        "url": "https://www.reddit.com/user/SECRET8/comments/abc", "subreddit": "u_SECRET9",
        "link_flair_text": "by u/SECRET10", "crosspost_parent_list": [
            {"author": "SECRET11", "title": "SECRET12", "selftext": "u/SECRET13", "url": "https://reddit.com/u/SECRET14"}
        ],
    }  # fmt: skip
    submission = from_record(record)
    assert "SECRET" not in submission.model_dump_json()
    assert submission.title == "found by anon, anon"


@pytest.mark.parametrize(
    "text", ["gu/ru/meh", "https://i.imgur.com/abcdefg.jpg", "either/or", "mu/nothing", "u/a", "w/u/dude"]
)
def test_what_is_no_user_stays(text: str) -> None:
    assert without_user_names(text) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = [
    "id", "subreddit", "created_utc", "title", "selftext", "url", "score", "over_18", "link_flair_text", "author",
    "_meta", "removed_by_category", "preview", "media_metadata", "gallery_data", "crosspost_parent_list", "body",
    "name", "created",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.booleans())
def test_whatever_the_fields_hold_the_row_is_sound_or_the_record_refused(fields: dict[str, Any], sound: bool) -> None:
    record = {**fields, **PLAIN} if sound else fields
    try:
        row = cut_down(record)
    except RecordError:
        assert not sound or "body" in record
        return
    submission = Submission(**row)
    assert Submission.model_validate_json(submission.model_dump_json()) == submission


def anything_or(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return json_values | values


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return anything_or(st.fixed_dictionaries(fields))


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return anything_or(st.lists(values, max_size=3))


media_shapes = st.fixed_dictionaries(
    {},
    optional={
        "preview": objects(images=lists(objects(source=objects(url=json_values)))),
        "media_metadata": anything_or(
            st.dictionaries(st.text(max_size=5), objects(s=objects(u=json_values)), max_size=3)
        ),
        "gallery_data": objects(items=lists(objects(media_id=json_values))),
    },
)


@given(media_shapes, media_shapes)
def test_media_of_any_shape_are_taken_or_left(media: dict[str, Any], parent: dict[str, Any]) -> None:
    submission = from_record({**PLAIN, **media, "crosspost_parent_list": [parent]})
    assert Submission.model_validate_json(submission.model_dump_json()) == submission


def test_half_a_surrogate_pair_is_no_character() -> None:
    record = json.loads('{"title": "ok \\ud83d half", "selftext": "\\ud83d\\ude00 whole"}')
    submission = from_record({**PLAIN, **record})
    assert submission.title == "ok \ufffd half"
    assert submission.selftext == "\U0001f600 whole"
    submission.model_dump_json().encode()


@given(st.text(alphabet=string.ascii_letters + "/_- u", max_size=40))
def test_names_are_gone_at_once(text: str) -> None:
    once = without_user_names(text)
    assert without_user_names(once) == once
