import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greentext.text import (
    EmptyTextError,
    Greentext,
    GreentextError,
    Limits,
    LineWithoutMarkerError,
    NestedQuoteError,
    NotCanonicalError,
    Problem,
    ProblemName,
    is_greentext,
    normalise,
    parse,
    validate,
)

CANONICAL = ">be me\n>lose a yellow boot\n>a dog brings it back"
UNLIMITED = Limits(min_lines=0, max_lines=10**6, max_line_characters=10**6, max_text_characters=10**6)

# Any text, and texts of the characters that make, hide, escape and compose with markers.
TROUBLE = list("\u0338\u0301\u0345\\>&;#x27 \n\r\u2028\u200b\u200d\u037e\u1fef\x00\x1f\x85\ufeff\ud800`…”가\u1161")
texts = st.text() | st.lists(
    st.sampled_from([*TROUBLE, "&gt;", "amp;", "gt;", "&#x200B;", "＆ｇｔ；", "be me", ">>12"])  # noqa: RUF001
).map("".join)


@pytest.mark.parametrize(
    "spelling",
    [
        CANONICAL,
        "> be me\n>  lose a yellow boot \n>\ta dog brings it back\n",
        "\n>be me\n\n>lose a  yellow\u00a0boot\n>\n  >a dog brings it back\n\n",
        "&gt;be me\n&amp;gt; lose a yellow boot\n&#62;a dog brings it back\n\n&amp;#x200B;",
        ">be me\r\n>lose a yellow boot\r>a dog brings it back",
        "\\>be me\n\\> lose a yellow boot\n\\>a dog brings it back",
        "＞be me\n>lose a ｙellow boot\n>a dog brings it back",  # noqa: RUF001
        ">be\u200b me\n>lose a yel\x07low boot\n>a dog brings it back\ufeff",
    ],
)
def test_every_spelling_has_one_form(spelling: str) -> None:
    assert str(parse(spelling)) == CANONICAL
    assert normalise(spelling) == CANONICAL
    assert is_greentext(spelling)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (">she says “hi” – it’s me…", '>she says "hi" - it\'s me...'),  # noqa: RUF001
        (">mum &amp; dad", ">mum & dad"),
        (">I say &quot;ok&quot;", '>I say "ok"'),
        (">cafe\u0301", ">café"),
        (">mfw <3 > 4", ">mfw <3 > 4"),
        (">thank you 🐌", ">thank you 🐌"),
    ],
)
def test_characters_become_plain_and_meaning_stays(line: str, plain: str) -> None:
    assert normalise(line) == plain


def test_lines_are_without_markers() -> None:
    assert parse("> be me\n>go home").lines == ("be me", "go home")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", EmptyTextError),
        (" \n>\n> \n", EmptyTextError),
        ("be me", LineWithoutMarkerError),
        (">be me\nthe end", LineWithoutMarkerError),
        (">>12345678\n>be me", NestedQuoteError),
        (">be me\n>>be you", NestedQuoteError),
        (">be me\n> > be you", NestedQuoteError),
    ],
)
def test_parse_is_strict(text: str, error: type[GreentextError]) -> None:
    with pytest.raises(error):
        parse(text)
    assert not is_greentext(text)


def test_parse_names_the_line() -> None:
    with pytest.raises(LineWithoutMarkerError, match="line 3 "):
        parse(">be me\n\nthe end")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Here is one for you:\n\n" + CANONICAL + "\n\nHope you like it!", CANONICAL),
        (">make a cup of\nyellow tea\n>sleep", ">make a cup of yellow tea\n>sleep"),
        (">a very\nlong\nline", ">a very long line"),
        (">be me\n>>12345\nnice story anon\n>go home", ">be me\n>go home"),
        (">>>/b/123\n>be me", ">be me"),
        ("no greentext at all", ""),
        ("", ""),
    ],
)
def test_normalise_takes_what_there_is(text: str, found: str) -> None:
    assert normalise(text) == found


@given(texts)
@example("> \u0338be me")
@example("&gt;\u0338")
@example("a\n>b\u037e &gt\u037e")
@example(">&g&#x200b;t;")
def test_normalise_never_raises_and_is_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    once.encode()
    assert validate(once, UNLIMITED) == []


@given(texts)
def test_what_parses_is_canonical_and_round_trips(text: str) -> None:
    try:
        greentext = parse(text)
    except GreentextError:
        return
    assert str(greentext) == normalise(text)
    assert parse(str(greentext)) == greentext


@given(st.lists(st.text(min_size=1), min_size=1).map(tuple))
def test_a_greentext_is_canonical_or_does_not_exist(lines: tuple[str, ...]) -> None:
    try:
        greentext = Greentext(lines)
    except NotCanonicalError:
        return
    assert parse(str(greentext)) == greentext


@pytest.mark.parametrize("line", ["", " be me", "be  me", ">be me", "be\nme", "it’s me", "\u0338x"])  # noqa: RUF001
def test_a_line_that_would_be_spelled_differently_is_refused(line: str) -> None:
    with pytest.raises(NotCanonicalError):
        Greentext(("be me", line))


def test_no_greentext_without_lines() -> None:
    with pytest.raises(EmptyTextError):
        Greentext(())


def test_a_canonical_text_has_no_problem() -> None:
    assert validate(CANONICAL) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (">be me\n>go home", Problem(ProblemName.TOO_FEW_LINES)),
        ("", Problem(ProblemName.TOO_FEW_LINES)),
        ("\n".join([">x"] * 31), Problem(ProblemName.TOO_MANY_LINES)),
        ("\n".join([">" + "x" * 200] * 10), Problem(ProblemName.TEXT_TOO_LONG)),
        (CANONICAL + "\n>" + "x" * 240, Problem(ProblemName.LINE_TOO_LONG, 4)),
        (CANONICAL + "\n", Problem(ProblemName.EMPTY_LINE, 4)),
        (CANONICAL + "\n>", Problem(ProblemName.EMPTY_LINE, 4)),
        (CANONICAL + "\nthe end", Problem(ProblemName.LINE_WITHOUT_MARKER, 4)),
        (CANONICAL + "\n>>123", Problem(ProblemName.NESTED_QUOTE, 4)),
        (CANONICAL + "\n>ding\x07", Problem(ProblemName.CONTROL_CHARACTER, 4)),
        (CANONICAL + "\n>a\tb", Problem(ProblemName.CONTROL_CHARACTER, 4)),
        (CANONICAL + "\n>half\ud800", Problem(ProblemName.CONTROL_CHARACTER, 4)),
        (CANONICAL + "\n> go home", Problem(ProblemName.NOT_CANONICAL, 4)),
        (CANONICAL + "\n>it’s me", Problem(ProblemName.NOT_CANONICAL, 4)),  # noqa: RUF001
        (CANONICAL + "\n>a\u2028b", Problem(ProblemName.NOT_CANONICAL, 4)),
    ],
)
def test_each_problem_is_named_with_its_line(text: str, problem: Problem) -> None:
    assert validate(text) == [problem]


def test_all_problems_are_named() -> None:
    names = [problem.name for problem in validate("be me\n>>1\n")]
    assert names == [ProblemName.LINE_WITHOUT_MARKER, ProblemName.NESTED_QUOTE, ProblemName.EMPTY_LINE]


@given(texts)
def test_validate_agrees_with_normalise(text: str) -> None:
    assert (validate(text, UNLIMITED) == []) == (normalise(text) == text)


def test_limits_are_the_callers() -> None:
    assert is_greentext(">be me", Limits(min_lines=1))
    assert not is_greentext(CANONICAL, Limits(max_line_characters=10))
