"""Running moments, rewards normalised by them, and rewards of tokens."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import RunningMoments, kl_shaped_rewards, normalised_rewards


def test_values_of_the_card():
    moments = RunningMoments()
    moments.update(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert (moments.mean, moments.variance) == (2.5, 1.25)
    assert moments.std == pytest.approx(1.2909944, abs=1e-7)
    moments.update(torch.tensor([10.0, 12.0]))
    found = (moments.mean, moments.variance, moments.std)
    assert found == pytest.approx((5.3333333, 17.2222222, 4.5460606), abs=1e-7)
    clipped = normalised_rewards(torch.tensor([20.0, 16 / 3, -20.0]), moments, clip=0.8)
    assert clipped.tolist() == pytest.approx([0.8, 0.0, -0.8], abs=1e-6)
    shaped = kl_shaped_rewards(
        torch.tensor([1.5]),
        torch.tensor([[0.2, -0.1, 0.4]]),
        torch.zeros(1, 3),
        torch.ones(1, 3),
        beta=0.05,
    )
    assert shaped[0].tolist() == pytest.approx([-0.01, 0.005, 1.48], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=6), min_size=1, max_size=6))
def test_merged_as_of_all_at_once(parts):
    every = [value for part in parts for value in part]
    one = RunningMoments()
    for part in parts:
        one.update(torch.tensor(part, dtype=torch.float64))
    packed = torch.stack(
        [RunningMoments.of(torch.tensor(part, dtype=torch.float64)).packed() for part in parts]
    )
    for moments in (one, RunningMoments.unpacked(packed)):
        assert moments.count == len(every)
        if every:
            assert moments.mean == pytest.approx(np.mean(every), abs=1e-9)
            assert moments.variance == pytest.approx(np.var(every), rel=1e-9, abs=1e-7)
        if len(every) > 1:
            assert moments.std == pytest.approx(np.std(every, ddof=1), rel=1e-9, abs=1e-3)


def test_far_from_zero_and_apart():
    draw = np.random.default_rng(0).normal(1e6, 1, size=1000)
    moments = RunningMoments()
    for part in np.split(draw, 20):
        moments.update(torch.tensor(part))
    assert moments.std == pytest.approx(np.std(draw, ddof=1), rel=1e-9)


def test_the_first_sample_divides_nothing():
    moments = RunningMoments()
    assert math.isnan(moments.variance)
    moments.update(torch.tensor([5.0]))
    assert math.isnan(moments.std)
    assert normalised_rewards(torch.tensor([5.0, 7.0]), moments).tolist() == [0, 2]
    moments.update(torch.full((6,), 5.0))
    assert (moments.std, moments.scale) == (0, 1)
    same = RunningMoments.of(torch.full((7,), 0.1))
    assert same.squares == 0
    masked = RunningMoments.of(torch.tensor([1.0, torch.nan, 9.0]), torch.tensor([1, 1, 0]))
    assert (masked.count, masked.mean) == (1, 1)


def test_goes_on_from_a_checkpoint():
    moments = RunningMoments.of(torch.tensor([1.0, 4.0]))
    again = RunningMoments()
    again.load_state_dict(moments.state_dict())
    assert again == moments
    for wrong in ({"count": 1}, {"count": -1, "mean": 0, "squares": 0}):
        with pytest.raises(OptionError):
            again.load_state_dict(wrong)
    assert again == moments


def test_normalising_parts():
    moments = RunningMoments.of(torch.tensor([2.0, 4.0]))
    rewards = torch.tensor([2.0, torch.nan, 6.0])
    scaled = normalised_rewards(rewards, moments, centre=False)
    assert scaled[[0, 2]].tolist() == pytest.approx([2 / math.sqrt(2), 6 / math.sqrt(2)])
    assert scaled[1].isnan()
    centred = normalised_rewards(rewards, moments, scale=False, clip=2.0)
    assert centred[[0, 2]].tolist() == [-1, 2]
    with pytest.raises(OptionError):
        normalised_rewards(rewards, moments, clip=0.0)
    with pytest.raises(OptionError):
        RunningMoments.of(torch.tensor([1.0, torch.inf]))


def test_masked_log_probabilities_never_enter():
    """Whatever stands at what the policy did not write, NaN even: nothing moves."""
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]])
    log_probs = torch.tensor([[-1.0, 1.0, -2.0, torch.nan], [torch.inf] * 4], requires_grad=True)
    reference = torch.tensor([[-1.5, torch.nan, -1.0, -torch.inf], [1.0] * 4])
    found = kl_shaped_rewards(torch.tensor([2.0, 3.0]), log_probs, reference, mask, beta=0.1)
    assert found[0].tolist() == pytest.approx([-0.05, 0, 2.1, 0])
    assert found[1].tolist() == [0, 0, 0, 0]
    assert not found.requires_grad


def test_scores_of_segments():
    segments = torch.tensor([[1, 1, 0, 2, 2], [2, 2, 3, 0, 0]])
    scores = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])
    none = torch.zeros(2, 5)
    found = kl_shaped_rewards(scores, none, none, torch.ones(2, 5), beta=0.0, segments=segments)
    assert found[0].tolist() == [0, 1, 0, 0, 2]
    assert found[1, [0, 2, 3, 4]].tolist() == [0, 0, 0, 0]
    assert found[1, 1].isnan()
    for wrong in (
        {"scores": scores},
        {"scores": scores[:1, 0]},
        {"beta": -1.0},
        {"where": torch.ones(2, 4)},
    ):
        options = {"scores": scores[:, 0], "where": torch.ones(2, 5), "beta": 0.1} | wrong
        with pytest.raises(OptionError):
            kl_shaped_rewards(log_probs=none, reference=none, **options)
