"""What OCR gets wrong in greentexts, put right: markers, letters that look alike, and which post tells the story.

Every rule is about the shapes of letters, with the words of the vocabulary to tell which reading is meant; none knows
what a story should say. The vocabulary is small, and many a good word is not in it: words that Tesseract was sure of
are never replaced.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from greentext.text import normalise
from greentext.vocabulary import default_vocabulary, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from greentext.vocabulary import Vocabulary

# What Tesseract reads in place of a marker, where it stands by itself or before a word.
_MARKER: Final = re.compile(r"""[>}\]»›)]\s*|[‘'`]\s?(?=\w)|[a>S]\s(?=be\b)|[SsP](?=[A-Z][a-z])""")  # noqa: RUF001
_SURE_MARKER: Final = re.compile(r"[>}\]»›]\s*")  # noqa: RUF001
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001
SURE: Final = 0.93
"""Confidence from which a word is left as it was read."""
# Right:read. Each is tried where a word is in no vocabulary; one replacement that leads to a word is taken.
_ALIKE: Final = """
    m:rn rn:m i:l l:i I:l l:I l:f f:l t:f f:t i:t t:i t:l l:t l:j d:j i:j h:b b:h h:n n:h e:c c:e o:e e:o o:0
    l:1 s:5 n:ri ri:n u:ii u:v v:u d:cl w:vv fi:h li:h g:q q:g y:v v:y k:lc ll:U ll:II th:tn
"""
_CONFUSIONS: Final = tuple((right, read) for right, _, read in (pair.partition(":") for pair in _ALIKE.split()))
# What OCR makes of `it is` and its like, however sure it is.
_RUN_TOGETHER: Final = {
    "iiis": "it is", "iis": "it is", "itis": "it is", "ltis": "it is", "ttis": "it is", "tam": "I am", "lam": "I am",
}  # fmt: skip
# What OCR makes of `i`, `is`, `in`, `it`, `if`, where it is no word.
_SHORT: Final = {
    "ts": "is", "tn": "in", "tt": "it", "tf": "if", "ls": "is", "ln": "in", "lt": "it", "lf": "if", "1s": "is",
    "1n": "in", "1t": "it", "l": "I", "1m": "I'm", "ld": "I'd", "l'm": "I'm", "l'll": "I'll", "l've": "I've",
    "l'd": "I'd",
}  # fmt: skip
# A post's head (a name and a date, or its number), what stands at a picture, links to posts, and what apps write.
_INTERFACE: Final = re.compile(
    r"\d{2}/\d{2}/\d{2}\s?\(|\bNo[.,:]? ?\d{6,}"
    r"|^File:? |\(\d+ [KM]B, \d+x\d+|^\d+ [KM]B (?:JPG|PNG|GIF|WEBM)$|^[>}»]{2}\d{5,}"
    r"|^\d+ (?:Replies|Images)\b|^\[(?:Return|Catalog|Reply|Post a Reply)\b"
)
_AGE: Final = re.compile(r"\W?\s?[bBh]e\s?[sSGBbgoOlI&Q]\W?")
_FILE_ENDINGS: Final = frozenset(
    ("com", "org", "net", "gov", "io", "jpg", "jpeg", "png", "gif", "webm", "pdf", "exe", "mp3", "mp4")
)
_SPECK: Final = re.compile(r"(?<=[a-z])\.(?=([a-z]+)\b)")
_SHORT_WORDS: Final = frozenset(
    (
        "a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "if", "in", "is", "it", "me", "my", "no", "of",
        "on", "or", "so", "to", "up", "us", "we",
    )
)  # fmt: skip
_CAPITAL_WITHIN: Final = re.compile(r"(?<=[a-z,] )(I[fnst]|It's|Isn't)(?![\w'])")
_LONE_I: Final = re.compile(r"(?<![\w'])[Ii](?=$|[ ,.!?\"]|'(?:m|ll|d|ve)\b)")


def is_age(read: str) -> bool:
    """Whether a line seems to be `be` and a digit that was read as a letter."""
    return _AGE.fullmatch(read) is not None


def is_interface(read: str) -> bool:
    """Whether a line is of the page rather than of a post: heads, `File:` lines, numbers, counts."""
    return _INTERFACE.search(read) is not None


def line_text(read: str, *, marked: bool, begins: bool) -> tuple[str, bool]:
    """The text of a line without its marker, and whether there was one.

    `marked`: the marker was seen, and cut off. `begins`: a line begins here, whether or not its marker was seen.
    """
    text = " ".join(read.split())
    if marked:
        return _SURE_MARKER.sub("", text, count=1) if _SURE_MARKER.match(text) else text.lstrip("'`‘ "), True  # noqa: RUF001
    pattern = _MARKER if begins else _SURE_MARKER
    found = pattern.match(text)
    if found:
        return text[found.end() :], True
    return text, begins


def main_story(posts: Sequence[Sequence[str]]) -> list[int]:
    """Which of the posts, each its lines, tell the story: the longest, and those below that go on with it.

    A post goes on with it unless it begins anew (`be me`), or only repeats lines from above.
    """
    if not posts:
        return []
    sizes = [sum(map(len, post)) for post in posts]
    first = sizes.index(max(sizes))
    chosen = [first]
    if first and not _opens(posts[first]) and not _repeats(posts[first - 1], posts[first]):
        chosen.insert(0, first - 1)
    for number in range(first + 1, len(posts)):
        above = [line for index in chosen for line in posts[index]]
        if not _opens(posts[number]) and not _repeats(posts[number], above):
            chosen.append(number)
    return chosen


def _opens(post: Sequence[str]) -> bool:
    return bool(post) and re.match(r"be (?!\d)", post[0], re.IGNORECASE) is not None


def _repeats(post: Sequence[str], above: Sequence[str]) -> bool:
    from rapidfuzz import fuzz  # noqa: PLC0415

    return all(any(fuzz.ratio(line, other) > 85 for other in above) for line in post)


def words_in(text: str) -> list[str]:
    """The words of a text, without the marks around them."""
    return _WORD.findall(text)


def words_text(words: Sequence[tuple[str, float]]) -> str:
    """The text of words, each with Tesseract's confidence from 0 to 1; those it was unsure of are put right."""
    texts = _bars(" ".join(text for text, _ in words)).split(" ")
    pairs = zip(texts, (sure for _, sure in words), strict=True) if words else ()
    mended = " ".join(text if sure >= SURE else _WORD.sub(_replaced, text) for text, sure in pairs)
    return _WORD.sub(lambda match: _RUN_TOGETHER.get(match[0].lower(), match[0]), mended)


def _replaced(match: re.Match[str]) -> str:
    return _word(match[0])


def story_texts(lines: Sequence[str]) -> list[str]:
    """Lines, without markers, with their letters put right; as many as there were, and empty where nothing is left."""
    texts = [_letters(line) for line in lines]
    texts = _with_one_i(texts)
    return [normalise(f">{text}").removeprefix(">") for text in texts]


def _letters(line: str) -> str:
    line = re.sub(r"^([Bb]e)(\d)", r"\1 \2", line)
    line = _SPECK.sub(lambda match: " " if _is_word_at(match) else match[0], line)
    if line.count("'") == 1 and not line.endswith("s'"):
        line = line.removesuffix("'")
    return _CAPITAL_WITHIN.sub(lambda match: match[1].lower(), line)


def _is_word_at(match: re.Match[str]) -> bool:
    """Whether a dot within a word, `dug.a`, is a speck in the space between two."""
    return match[1] not in _FILE_ENDINGS and match[1] in default_vocabulary()


def _bars(line: str) -> str:
    """A stroke is an `I` where it stands alone, and an `l` within a word."""
    line = re.sub(r"(?<![\w|])[|](?![\w|])|(?<![\w|])\|(?=')|^\\(?= \w)", "I", line)
    return re.sub(r"(?<=\w)[|}\]](?=[\w|])|(?<=[a-z])[|}\]](?!\w)", "l", line)


def strange_words(text: str) -> int:
    """How many words of a text are in no vocabulary."""
    vocabulary = default_vocabulary()
    return sum(word not in vocabulary for word in words_of(text))


def _word(word: str) -> str:
    lower = word.lower()
    if lower in _SHORT:
        return _SHORT[lower]
    vocabulary = default_vocabulary()
    if lower in vocabulary:
        # `moming` might be from `mom`, but is not.
        parted = [word[:at] + "rn" + word[at + 1 :] for at, letter in enumerate(word) if letter == "m"]
        found = [other for other in parted if other.lower() in vocabulary.words]
        return found[0] if found and lower not in vocabulary.words else word
    if len(word) < 3:
        return word
    variants = {other.lower(): other for other in _variants(word)}
    # A word of the list before one that only a rule leads to.
    for known in (vocabulary.words, vocabulary):
        found = [other for other in variants if other in known]
        if found:
            return variants[found[0]] if len(found) == 1 else word
    halves = [(word[:at], word[at:]) for at in range(1, len(word)) if _is_pair(word[:at], word[at:], vocabulary)]
    return " ".join(halves[0]) if len(halves) == 1 else word


def _is_pair(one: str, other: str, vocabulary: Vocabulary) -> bool:
    """Whether two words of the list were read as one for want of a space, as happens about the short and thin ones."""
    one, other = one.lower(), other.lower()
    if one in _SHORT_WORDS:
        return other in _SHORT_WORDS or (len(other) >= 3 and other in vocabulary.words)
    return other in _SHORT_WORDS and len(one) >= 3 and one in vocabulary.words


def _variants(word: str) -> Iterator[str]:
    for right, read in _CONFUSIONS:
        start = word.find(read)
        while start >= 0:
            yield word[:start] + right + word[start + len(read) :]
            start = word.find(read, start + 1)


def _with_one_i(texts: list[str]) -> list[str]:
    """Who writes a small `i` writes it everywhere: what most of them are, all are."""
    votes = Counter(match[0] for text in texts for match in _LONE_I.finditer(text))
    if len(votes) < 2 or votes["i"] == votes["I"]:
        return texts
    usual = votes.most_common(1)[0][0]
    return [_LONE_I.sub(usual, text) for text in texts]
