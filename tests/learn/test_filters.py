"""Filters by rank: the released code's weights, ties, draws, and the R^2 rule."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import RANK_FILTERS, rank_weights, resampled, reward_reliability
from policyrank.learn.filters import tied_share
from policyrank.learn.reliability import resampled_r2

FIVE = torch.tensor([0.5, 0.9, 0.1, 0.3, 0.2])
TIED = torch.tensor([0.5, 0.5, 0.1, 0.1, 0.5])
ONE = torch.zeros(5, dtype=torch.long)


def test_values_of_the_card():
    assert (2 * rank_weights(FIVE, ONE)).tolist() == [0, 1, 1, 0, 0]
    random = rank_weights(FIVE, ONE, "best-random")
    assert random.tolist() == pytest.approx([0.125, 0.5, 0.125, 0.125, 0.125])
    assert rank_weights(FIVE, ONE, "best").tolist() == [0, 1, 0, 0, 0]
    assert rank_weights(FIVE, ONE, "all").tolist() == pytest.approx([0.2] * 5)
    squared = rank_weights(torch.tensor([0.5, -1.0, 0.1]), ONE[:3], "power", exponent=2)
    assert squared.tolist() == pytest.approx((np.array([0.25, 1, 0.01]) / 1.26).tolist())


def test_ties():
    shared = rank_weights(TIED, ONE)
    assert shared.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 4, 1 / 4, 1 / 6])
    assert rank_weights(TIED, ONE, ties="last").tolist() == [0, 0, 0.5, 0, 0.5]  # items 5 and 3
    assert rank_weights(TIED, ONE, ties="first").tolist() == [0.5, 0, 0, 0.5, 0]
    same = torch.full((5,), 0.3)
    for rule in ("best", "best-random", "best-worst", "all"):
        assert rank_weights(same, ONE, rule).tolist() == pytest.approx([0.2] * 5)
    assert rank_weights(same[:2], ONE[:2], ties="last").tolist() == [0.5, 0.5]
    assert rank_weights(torch.tensor([0.3]), ONE[:1]).tolist() == [1]
    assert tied_share(torch.cat([TIED, FIVE, FIVE[:1]]), [0] * 5 + [1] * 5 + [2]) == 0.5


def test_a_batch_of_prompts():
    rewards = torch.tensor([2.0, torch.nan, 1.0, 3.0, 0.0])
    keys = ["p", "p", "q", "q", "q"]
    by_group = rank_weights(rewards, keys, "power", exponent=1, over="group")
    assert by_group.tolist() == pytest.approx([1, 0, 0.25, 0.75, 0])
    whole = rank_weights(rewards, keys, "power", exponent=1)
    assert whole.tolist() == pytest.approx([2 / 3, 0, 1 / 3, 1, 0])
    assert rank_weights(rewards, keys, "above", threshold=1.5).tolist() == [1, 0, 0, 1, 0]
    half = rank_weights(rewards, keys, "above-random", threshold=1.5, over="group")
    assert half.tolist() == pytest.approx([1, 0, 0.25, 0.5, 0.25])
    ends = rank_weights(rewards, keys, "outside", threshold=2.5, bottom=0.5)
    assert ends.tolist() == [0, 0, 0, 1, 1]
    assert rank_weights(rewards, keys, "above", threshold=9.0).tolist() == [0] * 5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(RANK_FILTERS)))
def test_whatever_the_order(seed, rule):
    draw = np.random.default_rng(seed)
    rewards = torch.tensor(draw.integers(0, 4, size=12) / 2.0)
    groups = torch.tensor(draw.integers(0, 3, size=12))
    mixed = torch.tensor(draw.permutation(12))
    found = rank_weights(rewards, groups, rule)
    again = rank_weights(rewards[mixed], groups[mixed], rule)
    assert again.tolist() == pytest.approx(found[mixed].tolist())
    if rule in ("all", "best", "best-random", "best-worst"):
        for key in groups.unique():
            assert found[groups == key].sum().item() == pytest.approx(1)
    elif found.sum() > 0:
        assert found.sum().item() == pytest.approx(len(groups.unique()))
    for own, weight in zip(rewards, found, strict=True):  # equals in a group weigh alike
        assert weight >= 0
        assert own >= 0


def test_draws_follow_the_weights():
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0])
    drawn = resampled(weights, 20_000, seed=1)
    share = torch.bincount(drawn, minlength=4) / 20_000
    assert share.tolist() == pytest.approx([0, 0.25, 0, 0.75], abs=0.015)
    assert torch.equal(drawn, resampled(weights, 20_000, seed=1))
    assert sorted(resampled(weights, 2, replacement=False).tolist()) == [1, 3]
    firsts = [resampled(weights, 1, replacement=False, seed=k).item() for k in range(2000)]
    assert firsts.count(3) / 2000 == pytest.approx(0.75, abs=0.04)
    for wrong in (
        lambda: resampled(torch.zeros(3), 1),
        lambda: resampled(torch.tensor([-1.0, 2.0]), 1),
        lambda: resampled(weights, 3, replacement=False),
        lambda: rank_weights(FIVE, ONE, "worst"),
        lambda: rank_weights(FIVE, ONE, "best", exponent=2),
        lambda: rank_weights(FIVE, ONE, ties="random"),
        lambda: rank_weights(FIVE, ONE, over="all"),
        lambda: rank_weights(FIVE, ONE[:3]),
        lambda: rank_weights(FIVE, ONE, lambda answers: -answers.rewards),
    ):
        with pytest.raises(OptionError):
            wrong()


def slow_r2(rewards, scores, weights, bins):
    """Bin by bin: each distinct reward goes where the middle of its weight lies."""
    total, below, points = weights.sum(), 0.0, {}
    for value in np.unique(rewards):
        at = rewards == value
        own = weights[at].sum()
        place = min(int((below + own / 2) / total * bins), bins - 1)
        points.setdefault(place, []).append(at)
        below += own
    means = []
    for masks in points.values():
        at = np.any(masks, axis=0)
        if weights[at].sum() > 0:
            held = weights[at] / weights[at].sum()
            means.append((held @ rewards[at], held @ scores[at]))
    x, y = np.array(means).T
    if len(means) < 3 or np.ptp(y) == 0:
        return np.nan
    line = np.polyval(np.polyfit(x, y, 1), x)
    return 1 - ((y - line) ** 2).sum() / ((y - y.mean()) ** 2).sum()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.booleans())
def test_r2_against_a_slow_twin(seed, bins, weighted):
    draw = np.random.default_rng(seed)
    rewards = np.round(draw.normal(size=60), 1)
    scores = rewards + draw.normal(size=60)
    weights = draw.integers(0, 3, size=60).astype(float) if weighted else np.ones(60)
    found = reward_reliability(*map(torch.tensor, (rewards, scores, weights)), bins=bins)
    assert found.r2 == pytest.approx(slow_r2(rewards, scores, weights, bins), abs=1e-9, nan_ok=True)
    assert found.bins[:, 2].sum().item() == pytest.approx(weights.sum())


def test_r2_of_a_line_and_of_too_little():
    rewards = torch.linspace(0, 1, 50)
    found = reward_reliability(rewards, 3 * rewards - 1)
    assert (found.r2, found.slope, found.intercept) == pytest.approx((1, 3, -1))
    down = reward_reliability(rewards, -rewards)
    assert (down.r2, down.slope) == pytest.approx((1, -1))
    assert np.isnan(reward_reliability(rewards, torch.ones(50)).r2)
    two = torch.tensor([0.0, 1.0]).repeat(20)
    assert np.isnan(reward_reliability(two, two).r2)
    for wrong in (
        lambda: reward_reliability(rewards, rewards, bins=2),
        lambda: reward_reliability(rewards, rewards[:3]),
        lambda: reward_reliability(rewards / 0, rewards),
    ):
        with pytest.raises(OptionError):
            wrong()


def test_resamples_are_of_prompts():
    draw = np.random.default_rng(0)
    prompts = np.repeat(np.arange(30), 5)
    rewards = draw.normal(size=150)
    scores = rewards + draw.normal(size=150)
    given = [torch.tensor(own) for own in (rewards, scores, np.ones(150))]
    found = resampled_r2(*given, torch.tensor(prompts), bins=6, resamples=50, seed=3)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(30, (50, 30), generator=generator).numpy()
    for k in (0, 49):
        weights = np.bincount(drawn[k], minlength=30)[prompts].astype(float)
        assert found[k].item() == pytest.approx(slow_r2(rewards, scores, weights, 6))
    wide = resampled_r2(*given, [f"p{k}" for k in prompts], bins=6, resamples=50, seed=3)
    assert torch.equal(wide, found)
