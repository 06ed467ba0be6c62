"""The colours of 4chan's themes, as its style sheets name them (yotsubanew, yotsubluenew, tomorrow and photon)."""

from dataclasses import dataclass
from typing import Final

Colour = tuple[int, int, int]


def _hex(colour: str) -> Colour:
    return int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16)


@dataclass(frozen=True, slots=True)
class Theme:
    """What has which colour."""

    name: str
    page: Colour
    post: Colour
    border: Colour
    header: Colour
    """Behind a post's head on a phone."""
    text: Colour
    quote: Colour
    poster: Colour
    subject: Colour
    link: Colour
    quote_link: Colour
    faint: Colour


def _theme(name: str, colours: str) -> Theme:
    return Theme(name, *(_hex(colour) for colour in colours.split()))


THEMES: Final[dict[str, Theme]] = {
    theme.name: theme
    for theme in (
        #                    page   post   border header text   quote  poster subject link  quotelink faint
        _theme("yotsuba", "ffffee f0e0d6 d9bfb7 e7d3c8 800000 789922 117743 cc1105 0000ee dd0000 707070"),
        _theme("yotsuba-b", "eef2ff d6daf0 b7c5d9 c5cde6 000000 789922 117743 0f0c5d 34345c dd0000 707070"),
        _theme("tomorrow", "1d1f21 282a2e 3a3c40 34363b c5c8c6 b5bd68 c5c8c6 b294bb 81a2be 5f89ac 8a8d8b"),
        _theme("photon", "eeeeee dddddd cccccc c8c8c8 333333 789922 004a99 002244 ff6600 ff3300 707070"),
    )
}
