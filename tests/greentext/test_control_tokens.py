import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentext.control_tokens import END_TOKEN, START_TOKEN, strip_leading_start


@pytest.mark.parametrize(
    ("sent", "prompt"),
    [
        (START_TOKEN, ""),
        (START_TOKEN + ">be me", ">be me"),
        (START_TOKEN * 2, START_TOKEN),
        (" " + START_TOKEN, " " + START_TOKEN),
        (">be me " + START_TOKEN, ">be me " + START_TOKEN),
        (END_TOKEN, END_TOKEN),
    ],
)
def test_only_a_leading_start_token_is_dropped(sent: str, prompt: str) -> None:
    assert strip_leading_start(sent) == prompt


@given(st.text())
def test_nothing_else_of_a_prompt_is_touched(text: str) -> None:
    assert strip_leading_start(START_TOKEN + text) == text
