"""Where pictures are: addresses as they stand in dumps, from every host that matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.picture_urls import Picture, clean_url, pictures_of, undo_entities
from data_pipeline.submissions import from_record

if TYPE_CHECKING:
    from data_pipeline.rows import Submission

PREVIEW = "https://preview.redd.it/abc.png?auto=webp&amp;s=12"
PLAIN_PREVIEW = "https://preview.redd.it/abc.png?auto=webp&s=12"


def submission(url: str = "", *, preview: str = "", **fields: Any) -> Submission:
    record = {"id": "a", "subreddit": "s", "created_utc": 1, "title": "t", "url": url, **fields}
    if preview:
        record["preview"] = {"images": [{"source": {"url": preview}}]}
    return from_record(record)


def urls(url: str, **fields: Any) -> list[str]:
    """The only picture's addresses, the best first; none where there is no picture."""
    pictures = pictures_of(submission(url, **fields))
    assert len(pictures) <= 1
    return [pictures[0].url, *pictures[0].fallbacks] if pictures else []


@pytest.mark.parametrize(
    ("url", "best"),
    [
        ("https://i.redd.it/gi0ll4n0646y.png", ["https://i.redd.it/gi0ll4n0646y.png"]),
        ("HTTP://I.Redd.It/gi0ll4n0646y.PNG", ["https://i.redd.it/gi0ll4n0646y.PNG"]),
        ("http://i.imgur.com/WW0C4.jpg?1", ["https://i.imgur.com/WW0C4.jpg"]),
        ("https://i.imgur.com/BsQ8ZXol.jpg", ["https://i.imgur.com/BsQ8ZXo.jpg", "https://i.imgur.com/BsQ8ZXol.jpg"]),
        ("https://imgur.com/5g1YIOV.jpg", ["https://i.imgur.com/5g1YIOV.jpg"]),
        ("http://imgur.com/pvHNN8E", ["https://i.imgur.com/pvHNN8E.jpg"]),
        ("https://m.imgur.com/JwprLXZ", ["https://i.imgur.com/JwprLXZ.jpg"]),
        ("https://www.imgur.com/JwprLXZ/", ["https://i.imgur.com/JwprLXZ.jpg"]),
        ("https://imgur.com/r/4chan/dYQMh", ["https://i.imgur.com/dYQMh.jpg"]),
        ("https://imgur.com/a/DWBpb#rId2Al8", ["https://i.imgur.com/rId2Al8.jpg"]),
        ("https://imgur.com/gallery/uKfSPaM", ["https://i.imgur.com/uKfSPaM.jpg"]),
        ("http://imgur.com/gallery/DVuLarr/new", ["https://i.imgur.com/DVuLarr.jpg"]),
        ("https://imgur.com/gallery/anon-is-happy-DVuLarr", ["https://i.imgur.com/DVuLarr.jpg"]),
        ("https://imgur.com/t/wholesome/DVuLarr", ["https://i.imgur.com/DVuLarr.jpg"]),
        ("https://imgur.com/a/pgRXG", []),
        ("https://imgur.com/a/SetLBM7/layout/grid", []),
        ("https://imgur.com/gallery/jNOru", []),
        ("https://imgur.com/user/someone", []),
        ("https://imgur.com/", []),
        ("https://i.imgur.com/abcdefg.gifv", []),
        ("https://i.imgur.com/abcdefg.gif", []),
        ("https://i.redd.it/abc.gif", []),
        ("https://v.redd.it/abc", []),
        (
            "https://preview.redd.it/xp4s0ar5r2u11.png?width=640&amp;auto=webp&amp;s=f8ba",
            [
                "https://i.redd.it/xp4s0ar5r2u11.png",
                "https://preview.redd.it/xp4s0ar5r2u11.png?width=640&auto=webp&s=f8ba",
            ],
        ),
        (
            "https://preview.redd.it/anon-is-happy-v0-xp4s0ar5r2u11.jpg?s=1",
            [
                "https://i.redd.it/xp4s0ar5r2u11.jpg",
                "https://preview.redd.it/anon-is-happy-v0-xp4s0ar5r2u11.jpg?s=1",
            ],
        ),
        ("https://i.reddituploads.com/53d2?fit=max&amp;h=1536&amp;s=bff9", ["https://i.reddituploads.com/53d2?fit=max&h=1536&s=bff9"]),
        ("https://i0.kym-cdn.com/photos/1/a.jpg?v=1#top", ["https://i0.kym-cdn.com/photos/1/a.jpg?v=1"]),
        ("https://www.reddit.com/r/greentext/comments/6gpa6d/anon_orders_pizza/", []),
        ("https://reddit.app.link/1y5IzlNrnN", []),
        ("https://mybligr.com", []),
        ("http://Gay", []),
        ("", []),
        ("/r/wholesomegreentext/comments/a/b", []),
        ("ftp://i.imgur.com/abcdefg.jpg", []),
        ("file:///etc/passwd.png", []),
        ("https://user:password@i.redd.it/a.png", []),
        ("https://i.redd.it/a b.png", []),
        ("https://evil.com/i.redd.it/abc", []),
        ("https://notimgur.com/abcdefg", []),
        ("javascript:alert(1).png", []),
        ("https://i.redd.it/" + "a" * 3000 + ".png", []),
    ],
)  # fmt: skip
def test_links_of_every_kind(url: str, best: list[str]) -> None:
    assert urls(url) == best


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://i.redd.it/abc.png", ["https://i.redd.it/abc.png", PLAIN_PREVIEW]),
        ("https://imgur.com/a/pgRXG", [PLAIN_PREVIEW]),
        ("https://imgur.com/gallery/jNOru", [PLAIN_PREVIEW]),
        ("https://imgur.com/pvHNN8E", ["https://i.imgur.com/pvHNN8E.jpg", PLAIN_PREVIEW]),
        ("https://www.reddit.com/r/greentext/comments/95etln/anon/", [PLAIN_PREVIEW]),
        ("https://news.example.com/article", []),
        ("https://i.imgur.com/abcdefg.gifv", []),
        ("https://v.redd.it/abc", []),
    ],
)
def test_the_preview_stands_in_where_it_shows_what_is_meant(url: str, expected: list[str]) -> None:
    assert urls(url, preview=PREVIEW) == expected


def gallery(**changes: dict[str, Any]) -> dict[str, Any]:
    pictures = {
        name: {"status": "valid", "e": "Image", "m": f"image/{kind}", "s": {"u": f"https://preview.redd.it/{name}.{kind}?s=1&amp;w=2"}}
        for name, kind in (("aaa", "png"), ("bbb", "jpg"), ("ccc", "webp"))
    }  # fmt: skip
    for name, change in changes.items():
        pictures[name] |= change
    return {
        "media_metadata": pictures,
        "gallery_data": {"items": [{"media_id": name} for name in ("ccc", "aaa", "bbb")]},
    }


def test_a_gallery_comes_in_its_order_with_originals_first() -> None:
    found = pictures_of(submission("https://www.reddit.com/gallery/a", preview=PREVIEW, **gallery()))
    assert found == [
        Picture(f"https://i.redd.it/{name}", (f"https://preview.redd.it/{name}?s=1&w=2",))
        for name in ("ccc.webp", "aaa.png", "bbb.jpg")
    ]


def test_what_failed_or_moves_in_a_gallery_is_left_out() -> None:
    changes = {"aaa": {"status": "failed"}, "bbb": {"e": "AnimatedImage"}, "ccc": {"s": {}, "m": ""}}
    assert pictures_of(submission(**gallery(**changes))) == [Picture("https://i.redd.it/ccc.jpg")]
    fields = gallery()
    fields["gallery_data"]["items"].append({"media_id": "gone"})
    assert len(pictures_of(submission(**fields))) == 3


def test_pictures_within_a_text_come_in_the_texts_order() -> None:
    fields = gallery()
    del fields["gallery_data"]
    text = "&amp;#x200B;\n\nhttps://i.redd.it/bbb.jpg\n\n![img](aaa)"
    assert [p.url for p in pictures_of(submission(selftext=text, **fields))] == [
        "https://i.redd.it/bbb.jpg",
        "https://i.redd.it/aaa.png",
        "https://i.redd.it/ccc.webp",
    ]


def test_a_texts_links_are_pictures_each_once() -> None:
    text = (
        "[a](https://i.redd.it/one.png) &amp; http://imgur.com/pvHNN8E, (https://i.redd.it/one.png) https://x.org/page"
    )
    found = pictures_of(submission("https://www.reddit.com/r/s/comments/a/t/", selftext=text))
    assert [picture.url for picture in found] == ["https://i.redd.it/one.png", "https://i.imgur.com/pvHNN8E.jpg"]


def test_a_cross_post_shows_what_its_parent_does() -> None:
    parent = {"url": "https://i.redd.it/parent.png", "selftext": ""}
    assert urls("https://www.reddit.com/r/x/comments/b/c/", crosspost_parent_list=[parent]) == [parent["url"]]
    assert len(pictures_of(submission("/r/x/comments/b", crosspost_parent_list=[gallery()]))) == 3
    own = submission("https://i.redd.it/own.png", crosspost_parent_list=[parent])
    assert [picture.url for picture in pictures_of(own)] == ["https://i.redd.it/own.png"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a&amp;b", "a&b"),
        ("a&amp;amp;b", "a&b"),
        ("&amp;#x200B;", "\u200b"),
        ("&amp;gt;be me", ">be me"),
        ("a & b; c", "a & b; c"),
        ("?a=1&s=2", "?a=1&s=2"),
    ],
)
def test_entities_are_undone_as_often_as_they_were_done(text: str, plain: str) -> None:
    assert undo_entities(text) == plain


@given(st.text() | st.from_regex(r"https?://[^ ]*", fullmatch=True))
def test_any_text_is_an_address_in_plain_spelling_or_none(text: str) -> None:
    url = clean_url(text)
    assert clean_url(url) == url
    assert url == "" or (
        url.startswith(("http://", "https://"))
        and url.isprintable()
        and " " not in url
        and "@" not in url.split("/")[2]
    )


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_submission_has_its_pictures_each_once(url: str, text: str, more: list[str]) -> None:
    links = " ".join(f"https://i.redd.it/{name}.png" for name in more)
    found = pictures_of(submission(url, selftext=f"{text} {links}"))
    assert len({picture.url for picture in found}) == len(found)
    assert all(picture.url not in picture.fallbacks for picture in found)
