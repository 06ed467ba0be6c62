from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluation.figures import Figure, difference, jackknife, mean, paired_difference, ratio, share


def test_wilsons_interval_is_what_the_formula_says() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20, with the score method.
    some, none = share(81, 263), share(0, 20)
    assert (round(some.low, 4), round(some.high, 4)) == (0.2553, 0.3662)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)
    assert share(20, 20).high == 1.0
    assert share(20, 20).low == pytest.approx(1 - none.high)


@pytest.mark.parametrize(("count", "of"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="share"):
        share(count, of)


def test_differences_of_shares_are_newcombes() -> None:
    # Newcombe (1998), method 10: 56/70 less 48/80.
    found = difference(share(56, 70), share(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_intervals_of_means_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    draws = [mean(rng.exponential(2.0, 60)) for _ in range(150)]
    held = sum(one.low <= 2.0 <= one.high for one in draws)
    assert 0.86 <= held / 150 <= 1.0


def test_a_ratio_is_of_sums_not_of_ratios() -> None:
    found = ratio([1, 30], [1, 10])
    assert found.value == pytest.approx(31 / 11)
    assert found.low <= found.value <= found.high


def test_the_same_numbers_give_the_same_interval() -> None:
    assert mean([1, 2, 5, 9]) == mean([1, 2, 5, 9])
    assert mean([3.0]) == Figure(3.0, 3.0, 3.0, 1)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    found = jackknife(values.mean(), [np.delete(values, place).mean() for place in range(5)])
    assert found.high - found.value == pytest.approx(1.959964 * values.std(ddof=1) / math.sqrt(5))


def test_texts_compared_as_pairs_tell_small_differences() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(100, 30, 80)
    better = hard - 1 + rng.normal(0, 0.5, 80)
    sizes = np.full(80, 50.0)
    paired = paired_difference(better, hard, sizes)
    apart = difference(ratio(better, sizes), ratio(hard, sizes))
    assert paired.high < 0
    assert apart.low < 0 < apart.high
    assert paired.value == pytest.approx(apart.value)


@pytest.mark.parametrize("empty", [lambda: mean([]), lambda: ratio([1], []), lambda: jackknife(0, [])])
def test_no_text_has_no_figure(empty: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        empty()  # type: ignore[operator]


def test_figures_survive_json() -> None:
    figure = share(3, 7)
    again = Figure.from_json(figure.as_json())
    assert again.kind == "share"
    assert again.value == pytest.approx(figure.value, rel=1e-5)
