"""Where a submission's pictures are: the best address of each, and where else to look when that one is gone.

    i.redd.it, i.imgur.com, any address of a picture   as it is; Reddit's preview behind it
    imgur.com/<id>                                      the picture itself on i.imgur.com; the preview behind it
    imgur.com/a/<id>, imgur.com/gallery/<id>            an album: the picture that the address names, or the preview
    reddit.com/gallery/<id>                             each picture of `media_metadata`, in the gallery's order
    a self-post                                         the pictures that its text links
    a cross-post                                        what its parent shows

HTML entities are undone as often as they were done. Nothing is asked of the network, so an album's other pictures stay
unknown, and animations and videos are left out.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from data_pipeline.rows import Submission

MAX_URL_CHARACTERS: Final = 2048

# No names or passwords before the host, which is a name (of a country's letters in their ASCII spelling) or a number.
_URL: Final = re.compile(
    r"(https?)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)+(?::\d{1,5})?)(/[^\s?#\\]*)?(\?[^\s#\\]*)?(?:#(\S*))?", re.IGNORECASE
)
_PICTURE: Final = re.compile(r"\.(?:png|jpe?g|webp|bmp)$", re.IGNORECASE)
_MOVING: Final = re.compile(r"\.(?:gifv?|mp4|webm)$", re.IGNORECASE)
_LINK: Final = re.compile(r"https?://[^\s<>\"'()\[\]{}|\\^`]*[^\s<>\"'()\[\]{}|\\^`.,;:!?*_~]", re.IGNORECASE)
_IMGUR_ID: Final = re.compile(r"[A-Za-z0-9]{5}(?:[A-Za-z0-9]{2})?")
# A small, medium, large… rendering of a picture whose id has 5 or 7 characters: BsQ8ZXol.jpg is BsQ8ZXo, made smaller.
_IMGUR_SMALLER: Final = re.compile(r"([A-Za-z0-9]{5}(?:[A-Za-z0-9]{2})?)[sbtmlh](\.\w+)")
_LONG_ID: Final = 7
_EXTENSIONS: Final = {"image/png": "png", "image/jpg": "jpg", "image/jpeg": "jpg", "image/webp": "webp"}
_IMGUR: Final = (".imgur.com",)
_PREVIEWED: Final = (".redd.it", ".reddit.com", ".reddituploads.com", ".redditmedia.com", *_IMGUR)


@dataclass(frozen=True, slots=True)
class Picture:
    """Where a picture is: the best address, and others to try after it, in their order."""

    url: str
    fallbacks: tuple[str, ...] = ()


class _Address(NamedTuple):
    """An http address in its parts; as a string without the fragment, which never reaches a server."""

    scheme: str
    host: str
    """Lower case, perhaps with a port."""
    path: str
    """Begins with `/`."""
    query: str
    """With its `?`, or empty."""
    fragment: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}{self.query}"

    def is_of(self, domains: tuple[str, ...]) -> bool:
        """Whether the host is one of some domains (each with a dot before it), or within one."""
        return f".{self.host}".endswith(domains)


def pictures_of(submission: Submission) -> list[Picture]:
    """The pictures that a submission shows, each once, in its order."""
    first: dict[str, Picture] = {}
    for picture in _pictures(submission.url, submission.selftext, submission.media):
        first.setdefault(picture.url, picture)
    return list(first.values())


def _pictures(url: str, selftext: str, media: Mapping[str, Any]) -> list[Picture]:
    found = list(_of_gallery(selftext, media)) if "media_metadata" in media else []
    found = found or _of_link(url, media)
    if not found and selftext:
        found = [picture for link in _LINK.findall(undo_entities(selftext)) for picture in _of_link(link, {})]
    parents = media.get("crosspost_parent_list")
    if found or not parents:
        return found
    parent = parents[0]
    return _pictures(parent.get("url", ""), parent.get("selftext", ""), {**parent, "crosspost_parent_list": []})


def undo_entities(text: str) -> str:
    """The text with its HTML entities undone, were they doubly escaped (`&amp;amp;`)."""
    for _ in range(3):
        if "&" not in text or ";" not in text:
            break
        text = html.unescape(text)
    return text


def clean_url(url: str) -> str:
    """An http address in plain spelling, without its fragment; empty where it is none that can be asked for."""
    return str(_address(url) or "")


def _address(url: str) -> _Address | None:
    url = undo_entities(url).strip()
    match = _URL.fullmatch(url)
    if not match or len(url) > MAX_URL_CHARACTERS:
        return None
    scheme, host, path, query, fragment = match.groups("")
    host = host.lower()
    if f".{host}".endswith(_PREVIEWED):
        scheme = "https"  # they all speak it
    return _Address(scheme.lower(), host, path or "/", query, fragment)


def _of_gallery(selftext: str, media: Mapping[str, Any]) -> Iterator[Picture]:
    """The pictures of `media_metadata`: originals on i.redd.it by their names, signed previews behind them."""
    metadata = media.get("media_metadata", {})
    order = [item["media_id"] for item in media.get("gallery_data", {}).get("items", ())]
    if not order:  # pictures within a text: there is no gallery to tell their order, but the text does
        order = sorted(metadata, key=lambda name: (selftext.find(name) % (len(selftext) + 1), name))
    for name in order:
        picture = metadata.get(name, {})
        extension = _EXTENSIONS.get(picture.get("m", ""), "jpg")
        if picture.get("e") == "Image" and picture.get("status") in ("valid", "") and name.isalnum():
            yield _picture([f"https://i.redd.it/{name}.{extension}", clean_url(picture["s"]["u"])])


def _of_link(url: str, media: Mapping[str, Any]) -> list[Picture]:
    """The picture that a link leads to: at most one."""
    address = _address(url)
    if address is None:
        return []
    path = address.path
    if address.is_of(_IMGUR):
        candidates = _of_imgur(address)
    elif address.host == "preview.redd.it":
        # What stands there is signed, perhaps made smaller; the original is on i.redd.it. Newer names begin with a
        # title: `anon-is-happy-v0-<name>.png`.
        original = path.rsplit("-", 1)[-1].lstrip("/")
        candidates = [f"https://i.redd.it/{original}", str(address)] if _PICTURE.search(path) else []
    elif address.host == "i.reddituploads.com" or _PICTURE.search(path):
        candidates = [str(address)]
    else:
        candidates = []
    # Elsewhere than on these hosts a preview may be a newspaper's masthead, and of a moving picture it is one still.
    previewed = bool(candidates) or (address.is_of(_PREVIEWED) and address.host != "v.redd.it")
    if previewed and not _MOVING.search(path):
        previews = media.get("preview", {}).get("images", ())
        candidates += [clean_url(image["source"]["url"]) for image in previews[:1]]
    return [_picture(candidates)] if any(candidates) else []


def _picture(candidates: list[str]) -> Picture:
    unique = list(dict.fromkeys(filter(None, candidates)))
    return Picture(unique[0], tuple(unique[1:]))


def _of_imgur(address: _Address) -> list[str]:
    """The addresses on i.imgur.com of what an imgur page shows; none for an album that names no picture."""
    steps = [step for step in address.path.split("/") if step]
    if not steps or _MOVING.search(address.path):
        return []
    if _PICTURE.search(address.path):
        direct = f"https://i.imgur.com/{steps[-1]}"
        smaller = _IMGUR_SMALLER.fullmatch(steps[-1])
        return [f"https://i.imgur.com/{smaller[1]}{smaller[2]}", direct] if smaller else [direct]
    name = address.fragment or _imgur_name(steps)
    # imgur sends what the picture is, whatever the ending asks for.
    return [f"https://i.imgur.com/{name}.jpg"] if _IMGUR_ID.fullmatch(name) else []


def _imgur_name(steps: list[str]) -> str:
    """The id of the picture that a page shows; empty where it is an album for sure."""
    match steps:
        case ["gallery", name, *_] | ["t" | "topic", _, name, *_]:
            # Ids of 5 characters were albums here; among those of 7 are albums and pictures. Titles stand before ids.
            name = name.rsplit("-", 1)[-1]
            return name if len(name) == _LONG_ID else ""
        case ["r", _, name, *_] | [name]:
            return name
        case _:
            return ""
