"""Lists brought into a catalogue: the card's numbers, a gradient, and a popular item taken down."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import log_softmax

from policyrank.errors import OptionError
from policyrank.train.catalogues import (
    Adjustment,
    first_of,
    fit_adjustment,
    place_weights,
    reflect,
    remap,
)


def test_remap_and_reflect_by_hand():
    assert place_weights(4) == pytest.approx([1, 0.7071, 0.5774, 0.5], abs=1e-4)
    similarity = np.array([[1.8, 0.2, 0.0], [0.1, 0.0, 2.0]])
    context = np.array([0.0, 0.5, 0.0])
    scores = remap(similarity, context, weight=2.0)
    assert scores == pytest.approx([1.8 + 0.1 / 2**0.5, 1.2, 2 / 2**0.5])
    graded = reflect(scores, np.array([-2.0, 2.0, np.nan]))
    assert graded == pytest.approx(scores + np.array([-1, 1, 0]))
    with pytest.raises(OptionError, match="catalogue"):
        remap(similarity, np.zeros(2))


def test_what_is_listed():
    scores = np.array([0.1, 0.9, 0.9, 0.5])
    assert first_of(scores, 3) == [1, 2, 3]
    without = np.array([False, True, False, True])
    assert first_of(scores, 3, without=without) == [2, 0]


def test_adjustment_is_the_penalised_maximum():
    rng = np.random.default_rng(0)
    scores, chosen = rng.normal(size=(30, 6)), rng.multinomial(2, np.ones(6) / 6, size=30)
    found = fit_adjustment(scores, chosen.astype(float), penalty=0.05)

    def loss(parameters):
        log = log_softmax(parameters[:6] * scores + parameters[6:], axis=1)
        size = ((parameters[:6] - 1) ** 2).sum() + (parameters[6:] ** 2).sum()
        return -(chosen * log).sum() / chosen.sum() + 0.05 * size

    at = np.r_[found.scale, found.shift]
    assert np.abs(approx_fprime(at, loss, 1e-6)).max() < 1e-4
    assert loss(at) < loss(np.r_[np.ones(6), np.zeros(6)])
    held = fit_adjustment(scores, chosen.astype(float), penalty=1e6)
    assert held.scale == pytest.approx(np.ones(6), abs=1e-4)
    assert held.shift == pytest.approx(np.zeros(6), abs=1e-4)
    assert Adjustment(np.full(2, 2.0), np.ones(2))(np.array([1.0, 3.0])).tolist() == [3, 7]


def test_what_is_listed_too_often_comes_down():
    rng = np.random.default_rng(1)
    truth = rng.integers(1, 8, size=300)
    scores = rng.normal(size=(300, 8)) + 3 * np.eye(8)[truth]
    scores[:, 0] += 4
    chosen = np.eye(8)[truth]
    adjust = fit_adjustment(scores[:200], chosen[:200], penalty=0.001)
    before = np.argmax(scores[200:], axis=1) == truth[200:]
    after = np.argmax(adjust(scores[200:]), axis=1) == truth[200:]
    assert adjust(scores)[:, 0].mean() < scores[:, 0].mean() - 2
    assert after.mean() > before.mean() + 0.3


def test_what_cannot_be_fitted():
    for scores, chosen in ((np.zeros((2, 3)), np.zeros((2, 3))), (np.zeros(3), np.ones(3))):
        with pytest.raises(OptionError, match="chosen"):
            fit_adjustment(scores, chosen)
