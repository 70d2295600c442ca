"""Numbers about estimated effects: exact values, and nothing decided by the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics.effects import (
    Targeting,
    ate_error,
    autoc,
    effect_calibration,
    pehe,
    qini,
    top_share_regret,
    treatment_regret,
)

Y = [4.0, 3.0, 2.0, 1.0]
NUMBERS = (pehe, treatment_regret, top_share_regret, qini, autoc)


def area(estimate, effect):
    t, y = np.array(estimate, dtype=float), np.array(effect, dtype=float)
    return Targeting.of(t, y, np.ones(len(t))).gain_area()


@pytest.mark.parametrize(
    ("estimate", "expected", "gains"),
    [
        ([1, 1, 2, 2], -0.583333, -0.25),
        ([2, 1, 1, 1], 0.541667, 0.1875),
        ([4, 3, 2, 1], 0.75, 0.3125),
        ([1, 2, 3, 4], -0.75, -0.3125),
        ([7, 7, 7, 7], 0.0, 0.0),
    ],
)
def test_targeting_by_hand(estimate, expected, gains):
    assert autoc(estimate, Y) == pytest.approx(expected, abs=1e-6)
    assert area(estimate, Y) == pytest.approx(gains)
    assert qini(estimate, Y) == pytest.approx(gains / 0.3125)


def test_other_numbers_by_hand():
    assert pehe([1, 2], [1, 4]) == pytest.approx(np.sqrt(2))
    assert treatment_regret([-1, -1], [2, -1]) == 1
    assert top_share_regret([1, 2, 3, 4], Y, 0.25) == 3
    assert top_share_regret([1, 1, 0], [3, 1, 2], 1 / 3) == pytest.approx(1)
    assert top_share_regret([2, 1, 1, 1], Y, 0.5) == pytest.approx(0.5)
    # A place and a half: the best and half of the second.
    assert top_share_regret([1, 2, 3, 4], Y, 1.5 / 4) == pytest.approx((5.5 - 2) / 1.5)
    assert np.isnan(qini([1, 2], [1, 1]))
    assert autoc([2, 1], [3, 0]) == pytest.approx(0.75)


def test_shares_against_noise():
    rng = np.random.default_rng(0)
    effect = rng.normal(size=500)
    assert qini(effect, effect) == 1
    assert qini(-effect, effect) < -0.9
    assert abs(qini(np.random.default_rng(1).normal(size=500), effect)) < 0.2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ties_are_the_mean_over_orders_and_rows_may_be_moved(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 9))
    t, y = rng.integers(3, size=n).astype(float), rng.normal(size=n)
    w = rng.random(n) + 0.1
    order = rng.permutation(n)
    for number in NUMBERS:
        before, after = number(t, y, weight=w), number(t[order], y[order], weight=w[order])
        assert before == pytest.approx(after, nan_ok=True)
        assert number(t, y) == pytest.approx(number(t, y, weight=np.full(n, 3.0)), nan_ok=True)
    broken = []
    for _ in range(400):
        noise = t + 1e-6 * rng.random(n)
        broken.append((autoc(noise, y), area(noise, y), top_share_regret(noise, y, 0.4)))
    error = np.std(broken, axis=0) / 20 + 1e-9
    exact = (autoc(t, y), area(t, y), top_share_regret(t, y, 0.4))
    assert (np.abs(np.mean(broken, axis=0) - exact) < 5 * error).all()


def test_input_that_cannot_be_used():
    for number in NUMBERS:
        with pytest.raises(EvidenceError, match="equally long"):
            number([1], [1, 2])
        with pytest.raises(EvidenceError, match="row 2: its estimate is nan"):
            number([1, np.nan], [1, 2])
        with pytest.raises(EvidenceError, match="row 1: its effect is inf"):
            number([1, 2], [np.inf, 2])
        with pytest.raises(EvidenceError, match="0 or more, and not all 0"):
            number([1, 2], [1, 2], weight=[0, 0])
    with pytest.raises(ValueError, match="share=2"):
        top_share_regret([1, 2], [1, 2], 2)


def test_size_of_effects_by_hand():
    assert ate_error([1, 3], [2, 6]) == 2.0
    assert ate_error([1, 3], [2, 6], [3, 1]) == pytest.approx(1.5)
    t, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.5, 2.0, 2.5])
    found = effect_calibration(t, y, bins=2)
    assert (found.slope, found.intercept, found.r2) == pytest.approx((0.5, 1.0, 1.0))
    assert found.error == pytest.approx((abs(1.25 - 0.5) + abs(2.25 - 2.5)) / 2)
    assert effect_calibration(t, t).error == 0
    rng = np.random.default_rng(0)
    t = rng.normal(size=200).round(1)
    y = 2 * t + 1 + rng.normal(size=200)
    found = effect_calibration(t, y, bins=7)
    slope, intercept = np.polyfit(t, y, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept))
    assert found.r2 == pytest.approx(np.corrcoef(t, y)[0, 1] ** 2)
    order = rng.permutation(200)
    assert effect_calibration(t[order], y[order], bins=7) == pytest.approx(found)
    doubled = effect_calibration(np.repeat(t, 2), np.repeat(y, 2), bins=7)
    assert effect_calibration(t, y, np.full(200, 2.0), bins=7) == pytest.approx(doubled)
    with pytest.raises(EvidenceError, match="all estimates are equal"):
        effect_calibration([1, 1], [1, 2])
    with pytest.raises(OptionError, match="bins=0"):
        effect_calibration([1, 2], [1, 2], bins=0)
