from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.calibrate import BINS, best_range, calibrate
from training.decoder_reader import read_decoder
from training.weight_formats import UNEMBED

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint


def histogram(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return np.histogram(values, bins=BINS, range=(low, high))[0], low, high


def test_one_outlier_does_not_take_the_range() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=1_000_000), [30.0]])
    found = best_range(*histogram(values))
    assert found.high < 20
    assert found.low == pytest.approx(values.min(), rel=0.5)


def test_an_even_spread_keeps_its_range() -> None:
    found = best_range(*histogram(np.random.default_rng(0).uniform(-1, 3, 100_000)))
    assert found.low == pytest.approx(-1, abs=0.03)
    assert found.high == pytest.approx(3, abs=0.03)


@pytest.mark.parametrize("sign", [1, -1])
def test_zero_is_in_every_range(sign: int) -> None:
    found = best_range(*histogram(sign * np.random.default_rng(0).uniform(2, 3, 1000)))
    assert found.low <= 0 <= found.high


def test_each_matrix_has_a_range_that_its_inputs_fill(tiny: Checkpoint) -> None:
    decoder = read_decoder(tiny.model)
    texts = np.random.default_rng(0).integers(2, 300, (10, 30)).tolist()
    ranges = calibrate(decoder, texts)
    parts = ("qkv", "attention_out", "mlp_in", "mlp_out")
    assert set(ranges) == {UNEMBED, *(f"layer.{i}.{part}" for i in range(2) for part in parts)}
    for i in range(2):
        # What leaves the layer norm is centred; what leaves GELU is never below -0.171.
        assert ranges[f"layer.{i}.qkv"].low < -0.5 < 0.5 < ranges[f"layer.{i}.qkv"].high
        assert -0.2 < ranges[f"layer.{i}.mlp_out"].low < 0


def test_padding_is_not_seen(tiny: Checkpoint) -> None:
    decoder = read_decoder(tiny.model)
    text = np.random.default_rng(0).integers(2, 300, 40).tolist()
    # A first text of one token is padded to forty in the batch; alone, nothing is.
    together = calibrate(decoder, [text[:1], text])
    for name, covered in calibrate(decoder, [text]).items():
        if name != UNEMBED:
            assert together[name].low == pytest.approx(covered.low, rel=0.15, abs=0.02), name
            assert together[name].high == pytest.approx(covered.high, rel=0.15, abs=0.02), name


def test_no_text_is_refused(tiny: Checkpoint) -> None:
    with pytest.raises(ValueError, match="at least one text"):
        calibrate(read_decoder(tiny.model), [])
