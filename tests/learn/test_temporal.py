"""Advantages over time: card values, verl's and stable-baselines3's numbers, a slow twin."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import RunningMoments, discounted_step_returns, gae, step_gae, whitened


def test_values_of_the_card():
    rewards, values = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.6, 0.7])
    found = gae(rewards, values)
    assert found.advantages.tolist() == pytest.approx([0.46575, 0.385, 0.3], abs=1e-6)
    assert found.returns.tolist() == pytest.approx([0.96575, 0.985, 1.0], abs=1e-6)
    found = discounted_step_returns(rewards, torch.zeros(3, dtype=torch.long))
    assert found.tolist() == pytest.approx([0.9025, 0.95, 1])


def slow(rewards, values, mask, discount, decay, ends, last):
    gains, returns = np.zeros(len(rewards)), np.zeros(len(rewards))
    following, gain = last, 0.0
    for t in reversed(range(len(rewards))):
        if not mask[t]:
            continue
        if ends[t]:
            following = gain = 0.0
        gain = rewards[t] + discount * following - values[t] + discount * decay * gain
        gains[t], returns[t] = gain, gain + values[t]
        following = values[t]
    return gains, returns


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.sampled_from([0.0, 0.3, 1.0]))
def test_against_a_slow_twin(seed, length, discount):
    draw = np.random.default_rng(seed)
    rewards, values = draw.normal(size=(2, 3, length))
    mask, ends = draw.random((2, 3, length)) < 0.7
    last = draw.normal(size=3)
    decay = draw.random()
    poisoned = np.where(mask, values, draw.choice([np.nan, 1e30], size=values.shape))
    found = gae(
        torch.tensor(np.where(mask, rewards, np.nan)),
        torch.tensor(poisoned),
        torch.tensor(mask),
        discount=discount,
        decay=decay,
        ends=torch.tensor(ends),
        last=torch.tensor(last),
    )
    for k in range(3):
        gains, returns = slow(rewards[k], values[k], mask[k], discount, decay, ends[k], last[k])
        assert found.advantages[k].numpy() == pytest.approx(gains, abs=1e-9)
        assert found.returns[k].numpy() == pytest.approx(returns, abs=1e-9)


def test_numbers_of_verl():
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 8, 33, dtype=torch.float64)
    mask = (torch.rand(8, 33) < 0.7).double()
    theirs, returns = core.compute_gae_advantage_return(rewards, values, mask, 0.97, 0.9)
    found = gae(rewards, values, mask, discount=0.97, decay=0.9)
    seen = mask.bool()
    assert torch.allclose(found.returns[seen], returns[seen], atol=1e-6, rtol=0)
    white = whitened(found.advantages, mask, sample=True, epsilon=1e-8)
    assert torch.allclose(white[seen], theirs[seen], atol=1e-6, rtol=0)


def test_whitening_of_verl():
    their = pytest.importorskip("verl.utils.torch_functional")
    torch.manual_seed(1)
    values, mask = torch.randn(4, 9, dtype=torch.float64), (torch.rand(4, 9) < 0.6).double()
    for centre in (True, False):
        theirs = their.masked_whiten(values, mask, shift_mean=centre)[mask.bool()]
        ours = whitened(values, mask, centre=centre, sample=True)[mask.bool()]
        assert torch.allclose(ours, theirs, atol=1e-9)


def test_buffer_of_stable_baselines3():
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    spaces = pytest.importorskip("gymnasium").spaces
    steps, worlds, draw = 25, 3, np.random.default_rng(0)
    buffer = buffers.RolloutBuffer(
        steps,
        spaces.Box(-1, 1, (1,)),
        spaces.Discrete(2),
        device="cpu",
        gamma=0.97,
        gae_lambda=0.9,
        n_envs=worlds,
    )
    rewards, values = draw.normal(size=(2, steps, worlds)).astype(np.float32)
    starts = draw.random((steps + 1, worlds)) < 0.2
    last = torch.tensor(draw.normal(size=worlds), dtype=torch.float32)
    for t in range(steps):
        buffer.add(
            np.zeros((worlds, 1)),
            np.zeros((worlds, 1)),
            rewards[t],
            starts[t],
            torch.tensor(values[t]),
            torch.zeros(worlds),
        )
    buffer.compute_returns_and_advantage(last, dones=starts[-1])
    found = gae(
        torch.tensor(rewards.T),
        torch.tensor(values.T),
        discount=0.97,
        decay=0.9,
        ends=torch.tensor(starts[1:].T),
        last=last,
    )
    assert found.advantages.numpy() == pytest.approx(buffer.advantages.T, abs=1e-5)
    assert found.returns.numpy() == pytest.approx(buffer.returns.T, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_rows_of_trajectories_are_each_its_own(seed):
    draw = np.random.default_rng(seed)
    trajectories = np.repeat(np.arange(6), draw.integers(1, 9, size=6))
    steps = np.concatenate([np.arange(n) for n in np.bincount(trajectories)])
    rewards, values = draw.normal(size=(2, len(steps)))
    shuffled = draw.permutation(len(steps))
    given = [torch.tensor(own[shuffled]) for own in (rewards, values, trajectories, steps)]
    found = step_gae(*given, discount=0.9, decay=0.8)
    returns = discounted_step_returns(given[0], [f"t{k}" for k in given[2].tolist()], given[3])
    in_order = discounted_step_returns(torch.tensor(rewards), torch.tensor(trajectories))
    assert returns.tolist() == pytest.approx(in_order[shuffled].tolist())
    for k in range(6):
        own = trajectories == k
        gains, sums = slow(rewards[own], values[own], [1] * 9, 0.9, 0.8, [0] * 9, 0.0)
        rows = np.argsort(shuffled)[own]
        assert found.advantages[rows].numpy() == pytest.approx(gains)
        assert found.returns[rows].numpy() == pytest.approx(sums)
        total = 0.0
        for t in reversed(range(own.sum())):
            total = rewards[own][t] + 0.95 * total
            assert in_order[own][t].item() == pytest.approx(total)


def test_what_says_nothing_is_said_of_nobody_else():
    rewards = torch.tensor([0.0, torch.nan, 1.0, 2.0])
    found = step_gae(rewards, torch.zeros(4), ["a", "a", "a", "b"])
    assert found.advantages[:2].isnan().all()
    assert found.advantages[2:].tolist() == [1, 2]
    assert discounted_step_returns(rewards, ["a", "a", "a", "b"])[2:].tolist() == [1, 2]


def test_whitening():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 99.0])
    mask = torch.tensor([1, 1, 1, 1, 0])
    own = values[:4].numpy()
    found = whitened(values, mask, epsilon=1e-6)
    assert found[:4].numpy() == pytest.approx((own - 2.5) / np.sqrt(1.25 + 1e-6), abs=1e-6)
    assert found[4] == 0
    kept = whitened(values, mask, centre=False, epsilon=0.0)
    assert kept[:4].numpy() == pytest.approx((own - 2.5) / np.sqrt(1.25) + 2.5, abs=1e-6)
    floored = whitened(values, mask, floor=100.0, epsilon=0.0)
    assert floored[:4].numpy() == pytest.approx((own - 2.5) / 10)
    all_ranks = RunningMoments.of(torch.tensor([0.0, 10.0]))
    assert whitened(values, mask, epsilon=0.0, moments=all_ranks)[:4].numpy() == pytest.approx(
        (own - 5) / 5
    )
    assert (whitened(torch.full((7,), 0.1), epsilon=0.0) == 0).all()
    assert whitened(torch.tensor([3.0]), sample=True).tolist() == [0]
    assert whitened(torch.tensor([3.0]), torch.tensor([0])).tolist() == [0]
    some = whitened(torch.tensor([1.0, torch.nan, 3.0]), epsilon=0.0)
    assert some[1].isnan()
    assert some[[0, 2]].tolist() == [-1, 1]


def test_refusals():
    zero = torch.zeros(2)
    for wrong in (
        lambda: gae(zero, zero, discount=1.1),
        lambda: gae(zero, zero, decay=-0.1),
        lambda: gae(zero, torch.zeros(3)),
        lambda: gae(torch.zeros(2, 2), torch.zeros(2, 2), last=torch.zeros(3)),
        lambda: discounted_step_returns(zero, [0]),
        lambda: discounted_step_returns(torch.zeros(2, 1), [0, 0]),
        lambda: whitened(zero, torch.ones(3)),
    ):
        with pytest.raises(OptionError):
            wrong()
    with pytest.raises(OptionError, match="row 2: its trajectory has step 1 twice"):
        discounted_step_returns(torch.zeros(3), [7, 7, 7], torch.tensor([0, 1, 1]))
