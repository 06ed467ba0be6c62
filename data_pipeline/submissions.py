"""From a record of a dump or an API to a `Submission`: what later stages judge by, and no user names.

Takes what Reddit, Pushshift, PullPush and Arctic Shift have made of a submission over the years: numbers as strings,
absent fields, nulls. Pictures' addresses stay as they came; their many smaller sizes go. Mentions of users in titles
and texts become "anon". Whether a submission is any good is not asked here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, StringConstraints

from data_pipeline.rows import Submission

if TYPE_CHECKING:
    from pydantic import JsonValue

MAX_PICTURES: Final = 100
"""Of a gallery; Reddit allows 20."""

_ID: Final = re.compile(r"(?:t3_)?([0-9a-z]{1,13})")
_NOBODY: Final = frozenset(("[deleted]", "[removed]", ""))
# `u/name`, `/u/name`, `/user/name`, not within another word or path, or a profile's address. Names have 3 to 20 of
# these characters, an underscore perhaps escaped as Markdown wants it.
_USER: Final = re.compile(r"(?:(?<![\w/])/?|(?<=\.com/))u(?:ser)?/(?:[\w-]|\\_){3,20}", re.ASCII | re.IGNORECASE)
_PROFILE: Final = re.compile(r"u_[\w-]{3,20}", re.ASCII)
_MAX_WHOLE: Final = 1 << 53
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


SubredditName: TypeAlias = Annotated[
    str,
    BeforeValidator(lambda name: name.removeprefix("r/") if isinstance(name, str) else name),
    StringConstraints(pattern=r"^[A-Za-z0-9_]{2,24}$", to_lower=True),
]
"""A subreddit in a setting: as people write it, with or without `r/` and in any case; lower case afterwards."""


class RecordError(ValueError):
    """A record is no submission; `reason` is the name under which it is counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def from_record(record: object) -> Submission:
    """The submission that a JSON value is. Raises RecordError."""
    return Submission(**cut_down(record))


def cut_down(record: object) -> dict[str, Any]:
    """The fields of the `Submission` that a JSON value is, unchecked because they are built to fit.

    Raises:
        RecordError: It is none: not an object, a comment, or without an id, a subreddit or a time.
    """
    if not isinstance(record, dict):
        raise RecordError("not_an_object", f"expected a JSON object, got {type(record).__name__}")
    if "body" in record and "title" not in record:
        raise RecordError("comment", "a comment: name the files of submissions (RS_…), not those of comments (RC_…)")
    return {
        "id": _id_of(record),
        "subreddit": _subreddit_of(record),
        "created_s": _time_of(record),
        "title": _text(record, "title"),
        "selftext": _text(record, "selftext"),
        "url": _text(record, "url"),
        "score": _whole(record.get("score"), 0),
        "over_18": _flag(record.get("over_18")),
        "flair": _text(record, "link_flair_text") or None,
        "removed_by_category": _removal_of(record),
        "author_deleted": _author_deleted(record),
        "media": _media_of(record),
    }


def without_user_names(text: str) -> str:
    """The text with "anon" where it mentions a Reddit user (`u/name`)."""
    if "u/" in text or "ser/" in text or "U/" in text or "SER/" in text:  # spares most of them the search
        return _USER.sub("anon", text)
    return text


def _id_of(record: dict[str, Any]) -> str:
    name = record.get("id") or record.get("name")
    match = _ID.fullmatch(name) if isinstance(name, str) else None
    if match:
        return match[1]
    raise RecordError("no_id", f"expected an id in base 36, got {str(name)[:40]!r}")


def _subreddit_of(record: dict[str, Any]) -> str:
    subreddit = record.get("subreddit")
    if not isinstance(subreddit, str) or not subreddit:
        raise RecordError("no_subreddit", f"expected a subreddit, got {str(subreddit)[:40]!r}")
    return "u_anon" if _PROFILE.fullmatch(subreddit) else _sound(subreddit)


def _time_of(record: dict[str, Any]) -> int:
    created_s = _whole(record.get("created_utc", record.get("created")), -1)
    if not 0 <= created_s < 1 << 40:
        raise RecordError("no_time", f"expected a Unix time, got {str(record.get('created_utc'))[:40]!r}")
    return created_s


def _whole(value: object, otherwise: int) -> int:
    """The whole number that a value spells, as dumps do: 3, 3.0 or "3"."""
    if type(value) is not int:
        if isinstance(value, bool) or not isinstance(value, float | str):
            return otherwise
        try:
            value = int(float(value))
        except (ValueError, OverflowError):
            return otherwise
    return value if -_MAX_WHOLE <= value <= _MAX_WHOLE else otherwise


def _flag(value: object) -> bool:
    return value is True or value == 1 or (isinstance(value, str) and value.lower() in ("true", "1"))


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not value or not isinstance(value, str):
        return ""
    if not value.isascii():
        value = _sound(value)
    return without_user_names(value) if "/" in value else value


def _sound(text: str) -> str:
    """The text with half pairs of surrogates, which JSON can spell but are no characters, replaced."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _removal_of(record: dict[str, Any]) -> str | None:
    """Who removed it: Reddit's own field, or what Arctic Shift found when it looked again 36 hours later."""
    removal = _text(record, "removed_by_category")
    meta = record.get("_meta")
    if not removal and isinstance(meta, dict):
        removal = _text(meta, "removal_type") or ("deleted" if meta.get("was_deleted_later") is True else "")
    return removal or None


def _author_deleted(record: dict[str, Any]) -> bool:
    author = record.get("author")
    return not isinstance(author, str) or author in _NOBODY


def _media_of(record: dict[str, Any], *, parents: bool = True) -> dict[str, JsonValue]:
    """`preview`, `media_metadata`, `gallery_data` and `crosspost_parent_list`, each cut down to what is read."""
    media: dict[str, JsonValue] = {}
    if (preview := record.get("preview")) and (images := _previews(preview)):
        media["preview"] = {"images": images}
    if (found := record.get("media_metadata")) and (metadata := _metadata(found)):
        media["media_metadata"] = metadata
    if (gallery := record.get("gallery_data")) and (items := _gallery(gallery)):
        media["gallery_data"] = {"items": items}
    crossposts = record.get("crosspost_parent_list") if parents else None
    if isinstance(crossposts, list) and crossposts and isinstance(crossposts[0], dict):
        media["crosspost_parent_list"] = [_parent(crossposts[0])]
    return media


def _parent(record: dict[str, Any]) -> JsonValue:
    """What a cross-post shows: Reddit lists one parent, with all its fields."""
    return {
        "url": _text(record, "url"),
        "selftext": _text(record, "selftext"),
        "over_18": _flag(record.get("over_18")),
        "removed_by_category": _removal_of(record),
        **_media_of(record, parents=False),
    }


def _previews(preview: object) -> list[JsonValue]:
    images = preview.get("images") if isinstance(preview, dict) else None
    sources = [image.get("source") for image in _objects(images)]
    return [
        {"source": {"url": _sound(source["url"])}}
        for source in sources
        if isinstance(source, dict) and isinstance(source.get("url"), str)
    ]


def _metadata(metadata: object) -> dict[str, JsonValue]:
    if not isinstance(metadata, dict):
        return {}
    kept: dict[str, JsonValue] = {}
    for key, picture in list(metadata.items())[:MAX_PICTURES]:
        if isinstance(picture, dict):
            size = picture.get("s")
            url = size.get("u") if isinstance(size, dict) else None
            kept[_sound(key)] = {
                "status": _text(picture, "status"),
                "e": _text(picture, "e"),
                "m": _text(picture, "m"),
                "s": {"u": _sound(url) if isinstance(url, str) else ""},
            }
    return kept


def _gallery(gallery: object) -> list[JsonValue]:
    items = gallery.get("items") if isinstance(gallery, dict) else None
    names = [item.get("media_id") for item in _objects(items)]
    return [{"media_id": _sound(name)} for name in names if isinstance(name, str)]


def _objects(values: object) -> list[dict[str, Any]]:
    found = values[:MAX_PICTURES] if isinstance(values, list) else []
    return [value for value in found if isinstance(value, dict)]
