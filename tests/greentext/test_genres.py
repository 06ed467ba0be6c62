import pytest

from greentext.genres import Genre, classify, ends_with_thanks


@pytest.mark.parametrize("ending", ["thank you bus driver", "Thanks, mom", "thx anon", "ty grandpa", "THANK YOU"])
def test_a_thank_you_in_the_last_two_lines_is_a_genre(ending: str) -> None:
    assert classify(f">be me\n>miss the bus\n>{ending}") is Genre.THANKS
    assert ends_with_thanks(f"> be me\n> miss the bus\n> {ending}\n>feels good\n\n")


@pytest.mark.parametrize(
    "text",
    [
        ">thank the cook\n>eat soup\n>it is cold",
        ">be me\n>feel thankful",
        ">be me\n>empty",
        ">be me\n>it is thanksgiving",
        "thank you",
        "",
    ],
)
def test_all_else_is_general(text: str) -> None:
    assert classify(text) is Genre.GENERAL
