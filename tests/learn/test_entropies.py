"""Unfinished answers ranked by entropy: card values, ties, groups against a slow twin."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn.rewards import (
    dominance_counts,
    entropy_rank_reward,
    mean_entropy,
    peak_entropy,
    rank_ramp,
)

FOUR = torch.tensor([[2.0, 0, 0, 0, 0], [1.0] * 5, [0.5] * 5, [1.5, 0.2, 0.2, 0.2, 0.2]])
ALL = torch.ones(4, 5)


def test_values_of_the_card():
    peak, whole = peak_entropy(FOUR, ALL), mean_entropy(FOUR, ALL)
    assert peak.tolist() == pytest.approx([2, 1, 0.5, 1.5])
    assert whole.tolist() == pytest.approx([0.4, 1, 0.5, 0.46])
    assert dominance_counts(peak, whole).tolist() == [3, 0, 0, 2]
    found = entropy_rank_reward(
        FOUR, ALL, [0] * 4, torch.ones(4), torch.zeros(4), share=0.2, most=1.0
    )
    assert found.tolist() == pytest.approx([1, 1 / 6, 1 / 6, 2 / 3])


def test_how_many_tokens_are_peaks():
    entropies = torch.arange(90.0)[None]
    for length, share, taken in ((3, 0.2, 1), (11, 0.2, 2), (90, 0.7, 63), (5, 1.0, 5)):
        where = torch.arange(90)[None] < length
        expected = np.arange(length)[-taken:].mean()
        assert peak_entropy(entropies, where, share).item() == pytest.approx(expected)
    masked = torch.tensor([[9.0, 1.0, torch.nan]])
    assert peak_entropy(masked, torch.tensor([[0, 1, 0]])).tolist() == [1]
    assert mean_entropy(masked, torch.tensor([[0, 1, 0]])).tolist() == [1]
    assert peak_entropy(masked, torch.zeros(1, 3)).isnan().all()
    assert mean_entropy(masked, torch.zeros(1, 3)).isnan().all()
    for wrong in (0.0, 1.5):
        with pytest.raises(OptionError):
            peak_entropy(FOUR, ALL, wrong)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_against_a_slow_twin(seed):
    draw = np.random.default_rng(seed)
    rows = 14
    high, low = draw.integers(0, 4, size=(2, rows)).astype(float)
    high[draw.random(rows) < 0.2] = np.nan
    groups = draw.integers(0, 3, size=rows)
    found = dominance_counts(torch.tensor(high), torch.tensor(low), [f"g{k}" for k in groups])
    ramp = rank_ramp(found, torch.tensor(groups), most=2.0)
    for i in range(rows):
        if np.isnan(high[i]):
            assert found[i].isnan()
            assert ramp[i].isnan()
            continue
        others = [j for j in range(rows) if groups[j] == groups[i] and not np.isnan(high[j])]
        wins = sum(high[i] > high[j] and low[i] < low[j] for j in others)
        assert found[i].item() == wins
        if len(others) == 1:
            assert ramp[i] == 0
            continue
        above = sum(found[j] > found[i] for j in others)
        ties = sum(found[j] == found[i] for j in others) - 1
        place = above + ties / 2
        assert ramp[i].item() == pytest.approx(2.0 * (1 - place / (len(others) - 1)))


def test_who_is_ranked():
    """Cut answers of groups where nobody succeeded; the rest has nothing."""
    entropies = torch.cat([FOUR, FOUR, FOUR[:1]])
    groups = torch.tensor([7] * 4 + [3] * 4 + [5])
    unfinished = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1, 1])
    outcomes = torch.tensor([0, 0, 0, 0, 1, 0, 0, 0, 0])
    found = entropy_rank_reward(entropies, torch.ones(9, 5), groups, unfinished, outcomes)
    assert found[:4].tolist() == pytest.approx([0.5, 0, 0, 0.25])
    assert (found[4:] == 0).all()


def test_parallel_entropies_are_no_lottery():
    entropies = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    ones = torch.ones(3)
    found = entropy_rank_reward(entropies, torch.ones(3, 2), [0] * 3, ones, ones * 0, most=0.8)
    assert found.tolist() == pytest.approx([0.4] * 3)


def test_refusals():
    with pytest.raises(OptionError):
        dominance_counts(torch.ones(3), torch.ones(2))
    with pytest.raises(OptionError):
        dominance_counts(torch.ones(3), torch.ones(3), [0])
