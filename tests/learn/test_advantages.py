"""Advantages of ragged groups: card values, a slow twin, and what must not change them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import (
    GROUP_ADVANTAGES,
    group_advantage,
    group_keys,
    group_mean,
    reward_to_go,
)
from policyrank.learn.advantages import named_group_advantage, standardised

ONE_OF_EIGHT = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("options", "hit", "miss"),
    [
        ({"scale": "sample"}, 2.4742, -0.3535),
        ({"scale": "std"}, 2.6450, -0.3779),
        ({}, 0.875, -0.125),
        ({"baseline": "loo"}, 1.0, -1 / 7),
        ({"baseline": "rank"}, 1.0, -1 / 7),
        ({"baseline": "none"}, 1.0, 0.0),
        ({"scale": "batch"}, 2.4742, -0.3535),
    ],
)
def test_one_hit_of_eight(options, hit, miss):
    found = group_advantage(ONE_OF_EIGHT, **options)
    assert found.tolist() == pytest.approx([hit] + [miss] * 7, abs=1e-4)


def test_numbers_of_verl():
    """Rewards 1, 0, 0, 0 in one group; a group of one says nothing, where verl keeps its reward."""
    rewards = torch.tensor([1.0, 0, 0, 0, 1.0, 0.25])
    groups = torch.tensor([7, 7, 7, 7, 8, 9])
    grpo = group_advantage(rewards, groups, scale="sample", epsilon=1e-6)
    assert grpo[:2].tolist() == pytest.approx([1.499997, -0.499999], abs=1e-6)
    assert grpo[4:].isnan().all()
    rloo = group_advantage(rewards, groups, baseline="loo")
    assert rloo[:2].tolist() == pytest.approx([1.0, -1 / 3])
    assert group_advantage(rewards, groups, baseline="none", least=1)[4:].tolist() == [1.0, 0.25]


def test_segments_are_each_for_themselves():
    """F-GRPO's two phases; hits at the first rank over four lists."""
    phases = torch.tensor([[1.0, 0.2], [0.5, 0.6]])
    assert group_advantage(phases).tolist() == [
        pytest.approx([0.25, -0.2]),
        pytest.approx([-0.25, 0.2]),
    ]
    joint = group_advantage(phases.sum(dim=1))
    assert joint.tolist() == pytest.approx([0.05, -0.05])
    hits = torch.zeros(4, 3)
    hits[0, 0] = 1
    found = group_advantage(hits, scale="sample")
    assert found[:, 0].tolist() == pytest.approx([1.4997, -0.4999, -0.4999, -0.4999], abs=1e-4)
    assert (found[:, 1:] == 0).all()


def test_equal_rewards_are_nobodys_merit():
    rounded = torch.tensor([0.1 + 0.2, 0.3, 0.3], dtype=torch.float64)
    for values in (torch.full((8,), 0.3), rounded, torch.full((3,), 1e6 / 3), torch.zeros(3)):
        for scale in ("none", "std", "sample"):
            for baseline in ("mean", "loo"):
                found = group_advantage(values, baseline=baseline, scale=scale, epsilon=0.0)
                assert (found == 0).all()
    close = torch.tensor([1.0, 1.0 + 1e-4], dtype=torch.float64)
    assert group_advantage(close, scale="std", epsilon=0).tolist() == pytest.approx([-1, 1])


def slow(rewards, keys, baseline, scale, epsilon, least):
    out = np.full(len(rewards), np.nan)
    known = [k for k in range(len(rewards)) if not np.isnan(rewards[k])]
    spread = np.std([rewards[k] for k in known], ddof=1) if len(known) > 1 else 0.0
    for k in known:
        own = np.array([rewards[j] for j in known if keys[j] == keys[k]])
        if len(own) < least:
            continue
        tied = len(set(own)) == 1
        others = [rewards[j] for j in known if keys[j] == keys[k] and j != k]
        gain = {
            "none": rewards[k],
            "mean": rewards[k] - own.mean(),
            "loo": rewards[k] - np.mean(others) if others else 0.0,
            "rank": sum(np.sign(rewards[k] - other) for other in others) / max(len(others), 1),
        }[baseline]
        if tied and baseline in ("mean", "loo"):
            gain = 0.0
        if scale != "none":
            deviation = {
                "std": own.std(),
                "sample": own.std(ddof=1) if len(own) > 1 else 0.0,
                "batch": spread,
            }[scale]
            if tied and scale != "batch":
                deviation = 1.0
            gain = gain / (deviation + epsilon)
        out[k] = gain
    return out


values = st.one_of(st.sampled_from([0.0, 0.25, 1.0, -2.0, np.nan]), st.integers(-9, 9).map(float))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(values, st.integers(0, 4)), max_size=25),
    st.sampled_from(["none", "mean", "loo", "rank"]),
    st.sampled_from(["none", "std", "sample", "batch"]),
    st.integers(1, 3),
)
def test_against_a_slow_twin(rows, baseline, scale, least):
    rewards = [value for value, _ in rows]
    keys = [key for _, key in rows]
    options = {"baseline": baseline, "scale": scale, "epsilon": 0.01, "least": least}
    wanted = slow(rewards, keys, **options)
    tensor = torch.tensor(rewards, dtype=torch.float64)
    for groups in (torch.tensor(keys, dtype=torch.long), [f"key {key}" for key in keys]):
        found = group_advantage(tensor, groups, **options)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)
    far = torch.tensor(keys, dtype=torch.long) * 10**12 - 5
    np.testing.assert_allclose(group_advantage(tensor, far, **options).numpy(), wanted, atol=1e-9)
    two = group_advantage(torch.stack([tensor, -tensor], dim=1), far, **options)
    np.testing.assert_allclose(two[:, 0].numpy(), wanted, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["mean", "loo", "rank"]))
def test_order_shift_and_scale(seed, baseline):
    rng = np.random.default_rng(seed)
    rewards = torch.tensor(rng.choice([0.0, 0.5, 1.0, 2.0], size=30))
    groups = torch.tensor(rng.integers(6, size=30))
    found = group_advantage(rewards, groups, baseline=baseline)
    order = torch.tensor(rng.permutation(30))
    moved = group_advantage(rewards[order], groups[order], baseline=baseline)
    assert torch.allclose(moved, found[order], equal_nan=True)
    shifted = group_advantage(rewards + 3.0 * groups, groups, baseline=baseline)
    assert torch.allclose(shifted, found, equal_nan=True)
    turned = group_advantage(-rewards, groups, baseline=baseline)
    assert torch.allclose(turned, -found, equal_nan=True)
    if baseline != "rank":
        assert torch.allclose(
            found.nan_to_num().sum(), torch.zeros((), dtype=found.dtype), atol=1e-9
        )
        doubled = group_advantage(2 * rewards, groups, baseline=baseline)
        assert torch.allclose(doubled, 2 * found, equal_nan=True)


def test_means_of_groups():
    values = torch.tensor([[1.0, torch.nan], [3.0, torch.nan], [5.0, 2.0]])
    found = group_mean(values, torch.tensor([4, 4, 9]))
    assert found[:, 0].tolist() == [2, 2, 5]
    assert found[:2, 1].isnan().all()
    assert found[2, 1] == 2
    assert group_mean(values[:, 0]).tolist() == [3, 3, 3]


def test_lists_are_groups_too():
    rewards = torch.tensor([[3.0, 1.0, 9.0], [2.0, 2.0, 2.0]], dtype=torch.float16)
    where = torch.tensor([[True, True, False], [True, True, True]])
    assert standardised(rewards, where).tolist() == [[1, -1, 0], [0, 0, 0]]
    assert standardised(rewards, where, scale=False).tolist() == [[1, -1, 0], [0, 0, 0]]
    assert standardised(torch.tensor([5.0]), torch.tensor([True])).tolist() == [0]


def test_what_cannot_be_compared():
    assert group_advantage(torch.zeros(0)).shape == (0,)
    assert group_advantage(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0, 3)
    with pytest.raises(OptionError, match="3 samples"):
        group_advantage(torch.zeros(3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(OptionError, match="integers"):
        group_advantage(torch.zeros(3), torch.zeros(3))
    with pytest.raises(OptionError, match="baseline='median'"):
        group_advantage(torch.zeros(3), baseline="median")
    with pytest.raises(OptionError, match="scale='iqr'"):
        group_advantage(torch.zeros(3), scale="iqr")
    assert group_keys(["b", "a", "b"]).tolist() == [0, 1, 0]


def test_reward_to_go_counts_what_can_still_be_caused():
    """Rank-GRPO's log rewards, and F-GRPO's unbiased slate reward."""
    discounts = 1 / torch.log2(torch.arange(2.0, 6.0))
    relevant = torch.tensor([[0.0, 1, 0, 1]])
    found = reward_to_go(relevant, discounts)
    assert found[0].tolist() == pytest.approx([1.0616, 1.0616, 0.4307, 0.4307], abs=1e-4)
    phases = torch.tensor([[0.5, 0.4], [1.0, torch.nan]])
    found = reward_to_go(phases, torch.tensor([1.0, 0.5]))
    assert found[0].tolist() == pytest.approx([0.7, 0.2])
    assert found[1, 0] == 1.0
    assert found[1, 1].isnan()


def test_settings_that_have_names_are_trls_and_take_options():
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, 5.0, 7.0]), torch.tensor([0, 0, 0, 1, 1])
    found = named_group_advantage("grpo")(rewards, groups)
    mean, deviation = rewards[:3].mean(), rewards[:3].std()
    assert found[:3] == pytest.approx((rewards[:3] - mean) / (deviation + 1e-4))
    assert named_group_advantage("rloo")(rewards, groups)[0] == 1
    assert named_group_advantage("dr-grpo", scale="std", epsilon=0.0)(rewards, groups)[3] == -1
    for name in GROUP_ADVANTAGES:
        equal = named_group_advantage(name)(torch.ones(4), torch.tensor([0, 0, 1, 1]))
        assert equal.tolist() == [1.0 if name == "none" else 0.0] * 4
    with pytest.raises(OptionError, match="use one of grpo"):
        named_group_advantage("no")
    with pytest.raises(OptionError, match="scal"):
        named_group_advantage("grpo", scal="std")
