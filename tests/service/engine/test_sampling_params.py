"""Each value out of range is refused with its field's name."""

import math
from dataclasses import fields
from typing import Any

import pytest

from service.engine.sampling_params import (
    MAX_LOGIT_BIASES,
    MAX_LOGPROBS,
    MAX_N,
    MAX_SEED,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    SamplingParams,
    SamplingParamsError,
)

NOT_NUMBERS: list[Any] = ["1", None, True, math.nan, math.inf, -math.inf, 10**400, [1.0], 1j]
NOT_INTEGERS: list[Any] = ["1", None, True, 1.0, math.nan, [1], -(10**400), 10**400]
BAD: dict[str, list[Any]] = {
    "temperature": [*NOT_NUMBERS, -0.1, 100.1],
    "opening_temperature": [*(value for value in NOT_NUMBERS if value is not None), 0.0, -0.1, 100.1],
    "top_p": [*NOT_NUMBERS, 0.0, 0, -0.5, 1.0001, 2],
    "min_p": [*NOT_NUMBERS, -1e-9, 1.0001],
    "typical_p": [*NOT_NUMBERS, 0.0, 1.5],
    "repetition_penalty": [*NOT_NUMBERS, 0.0, 1e-300, 0.009, 100.5],
    "presence_penalty": [*NOT_NUMBERS, -100.5, 101],
    "frequency_penalty": [*NOT_NUMBERS, -100.5, 101],
    "top_k": [*NOT_INTEGERS, -1, 2**31],
    "max_new_tokens": [*NOT_INTEGERS, 0, -1, 2**31],
    "min_new_tokens": [*NOT_INTEGERS, -1, 97],
    "ignore_eos": ["true", None, 1, 0.0, []],
    "n": [*NOT_INTEGERS, 0, -1, MAX_N + 1],
    "seed": [value for value in NOT_INTEGERS if value is not None] + [-1, MAX_SEED + 1],
    "logprobs": [value for value in NOT_INTEGERS if value is not None] + [-1, MAX_LOGPROBS + 1],
    "stop": [
        "end", None, 7, ("",), (7,), (None,), ("ok", b"no"), ("a",) * (MAX_STOP_STRINGS + 1),
        ("a" * (MAX_STOP_CHARACTERS + 1),),
    ],
    "logit_bias": [
        None, [(1, 1.0)], {-1: 1.0}, {"1": 1.0}, {1.0: 1.0}, {True: 1.0}, {1: math.nan}, {1: math.inf}, {1: 100.1},
        {1: -101}, {1: "1"}, {1: None}, {1: True}, {1: 10**400},
        dict.fromkeys(range(MAX_LOGIT_BIASES + 1), 1.0),
    ],
}  # fmt: skip
GOOD: dict[str, list[Any]] = {
    "temperature": [0, 0.0, 1, 100.0],
    "opening_temperature": [None, 1e-300, 1, 100.0],
    "top_p": [1e-9, 1, 1.0],
    "min_p": [0, 0.0, 1.0],
    "typical_p": [1e-9, 1.0],
    "repetition_penalty": [0.01, 1, 100],
    "presence_penalty": [-100, 0, 100.0],
    "frequency_penalty": [-100, 0, 100.0],
    "top_k": [0, 1, 2**31 - 1],
    "max_new_tokens": [1, 2**31 - 1],
    "min_new_tokens": [0, 96],
    "ignore_eos": [True, False],
    "n": [1, MAX_N],
    "seed": [None, 0, MAX_SEED],
    "logprobs": [None, 0, MAX_LOGPROBS],
    "stop": [(), ("a" * MAX_STOP_CHARACTERS,) * MAX_STOP_STRINGS],
    "logit_bias": [{}, {0: -100, 1: 100.0}, dict.fromkeys(range(MAX_LOGIT_BIASES), 0.5)],
}


def test_every_field_is_tried() -> None:
    assert set(BAD) == set(GOOD) == {field.name for field in fields(SamplingParams)}


def cases(values: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{i}") for name, of_it in values.items() for i, value in enumerate(of_it)
    ]


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_a_bad_value_names_its_field(name: str, value: Any) -> None:
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(**{name: value})
    assert refused.value.field == name
    assert str(refused.value) == f"{name} {refused.value.message}"
    assert refused.value.message.startswith("must")


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_a_value_at_the_limit_is_taken(name: str, value: Any) -> None:
    assert getattr(SamplingParams(**{name: value}), name) == value


def test_only_temperature_0_is_greedy() -> None:
    assert SamplingParams(temperature=0.0).is_greedy
    assert not SamplingParams(temperature=1e-300).is_greedy


def test_the_texts_of_a_request_have_seeds_of_their_own() -> None:
    params = SamplingParams(seed=MAX_SEED - 1, n=4, temperature=0.5, stop=("x",))
    one = SamplingParams(seed=0, temperature=0.5, stop=("x",))
    expanded = params.expand()
    assert [text.seed for text in expanded] == [MAX_SEED - 1, MAX_SEED, 0, 1]
    assert expanded[2] == one
    assert {text.n for text in expanded} == {1}


def test_without_a_seed_texts_cannot_be_told_apart() -> None:
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(n=2).expand()
    assert refused.value.field == "seed"
