"""Finds what would lead to a person: addresses, numbers, handles, links and full names.

It knows forms, not people: a telephone number that nobody has is found like one that somebody has. A first name alone
is nothing, a full name is, unless everybody knows who bears it. Names outside the lists in `data/personal_data.txt` are
missed, and so are addresses of countries that write the number behind the street.
"""

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from greentext.content_terms import read_sections
from greentext.vocabulary import default_vocabulary

LISTS_FILE: Final = Path(__file__).parent / "data" / "personal_data.txt"

_EMAIL: Final = re.compile(
    r"[\w.+-]+ ?(?:@|\(at\)|\[at\]) ?[\w-]+(?: ?(?:\.|\(dot\)|\[dot\]) ?[\w-]+)+"
    r"|\b[\w.+-]+ at [\w-]+ dot (?:com|org|net)\b",
    re.IGNORECASE,
)
_URL: Final = re.compile(
    r"\b(?:https?://|www\.)\S+|\b[a-z0-9-]{2,}\.(?:com|org|net|edu|gov|io|gg|tv|xyz|info|co\.uk|de|ru|ly)\b(?:/\S*)?",
    re.IGNORECASE,
)
_HANDLE: Final = re.compile(
    r"(?<![\w@])@[a-z_]\w{2,}|(?<!\w)/?u/[\w-]{3,}|\b[a-z]\w{1,31}#\d{4}\b"
    r"|\b(?:discord|snap|snapchat|insta|instagram|twitter|kik|telegram|steam|skype|gamertag|tiktok|venmo|cashapp)"
    r" ?(?:is|name is|id is|:|=) ?(?!(?:a|an|the|my|so|not|down|up|on|off|for|full|dead|like|gone|great|good|bad|just"
    r"|too|very|really|where|what|how|when|broken|fun|lame|cool|all|still)\b)\w*[\d_.]\w*",
    re.IGNORECASE,
)
_PHONE: Final = re.compile(
    r"(?<![\w.#-])(?:"
    r"\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5}"  # international
    r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]?\d{4}|(?:1[ .-])?\d{3}[ .-]\d{3}[ .-]\d{4}"  # North America
    r"|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"  # Britain and others
    r"|\d{3}-\d{4}"
    r")(?![\w-]|[.]\d)"
)
_CALL: Final = re.compile(
    r"\b(?:call|phone|cell|mobile|whatsapp|text me|number is|dial)\b\D{0,20}(\d(?:[ .-]?\d){6,14})(?!\d)", re.IGNORECASE
)
_SOCIAL_SECURITY: Final = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_CARD: Final = re.compile(r"(?<![\w-])\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}(?![\w-])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_IP: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_COORDINATES: Final = re.compile(r"-?\d{1,2}\.\d{4,},? ?-?\d{1,3}\.\d{4,}")
_BIRTH: Final = re.compile(
    r"\b(?:born|dob|birth ?date|birthday)\b\D{0,12}\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}", re.IGNORECASE
)
_STREET: Final = re.compile(
    r"(?<![\w./-])\d{1,5}[a-z]?,? ((?:[a-z'0-9]+\.? ){1,3})"
    r"(?:street|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|terrace|crescent|court|parkway|st|dr|ct)\b(?!')",
    re.IGNORECASE,
)
_ZIP: Final = re.compile(
    r"\b(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])"
    r",? \d{5}\b|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
)
_CAPITALISED: Final = re.compile(r"[A-Z][a-z'’-]*[a-z](?:[A-Z][a-z]+)?")  # noqa: RUF001  the quote is meant
_PAIR: Final = re.compile(r"(?<![\w'])(?=([A-Za-z]{2,}) ([A-Za-z'’]{2,}))")  # noqa: RUF001
_HINT: Final = re.compile(r"[\d@#]|\w[._]\w|u/|://| dot |[(\[]dot[)\]]", re.IGNORECASE)


def personal_data(line: str) -> Iterator[str]:
    """Each thing in a line that would lead to a person, as it stands there."""
    if _HINT.search(line):
        yield from dict.fromkeys(_by_form(line))
    yield from _full_names(line)


def _by_form(line: str) -> Iterator[str]:
    for pattern in (_EMAIL, _URL, _HANDLE, _SOCIAL_SECURITY, _IBAN, _COORDINATES, _BIRTH, _ZIP):
        yield from (match[0] for match in pattern.finditer(line))
    for match in _PHONE.finditer(line):
        if sum(character.isdigit() for character in match[0]) >= 7:
            yield match[0]
    yield from (match[1] for match in _CALL.finditer(line))
    yield from (match[0] for match in _CARD.finditer(line) if _passes_luhn(match[0]))
    yield from (match[0] for match in _IP.finditer(line) if _is_public_address(match[0]))
    for match in _STREET.finditer(line):
        if _lists()["no street"].isdisjoint(match[1].lower().split()):
            yield match[0]


def _passes_luhn(number: str) -> bool:
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_public_address(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_global
    except ValueError:
        return False


@lru_cache(maxsize=1)
def _lists() -> dict[str, frozenset[str]]:
    sections = read_sections(LISTS_FILE.read_text(encoding="utf-8").splitlines())
    return {section: frozenset(entries) for section, entries in sections.items()}


def _full_names(line: str) -> Iterator[str]:
    lists = _lists()
    for match in _PAIR.finditer(line):
        given = match[1].lower()
        capitals = match[1][0].isupper() and match[2][0].isupper()
        if given not in lists["given"] and not (capitals and given in lists["given with a capital"]):
            continue
        family = match[2].lower().removesuffix("'s").replace("'", "")
        if f"{given} {family}" in lists["public"]:
            continue
        if family in lists["family"] or (capitals and _may_be_family(match[2], family)):
            yield f"{match[1]} {match[2]}"


def _may_be_family(spelled: str, family: str) -> bool:
    """Whether a capitalised word behind a given name can be nothing else."""
    if family in _lists()["family with a capital"]:
        return True
    return _CAPITALISED.fullmatch(spelled) is not None and family not in default_vocabulary()
