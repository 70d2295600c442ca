"""Groups by history: the released code's numbers, a slow twin, and what must not change them."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import (
    discounted_step_returns,
    group_advantage,
    hierarchical_advantage,
    history_keys,
    mixed_advantage,
    one_sided,
    shares_compared,
)

FIRST = ["a", "a", "a", "b", "b", "b"]
FINAL = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def six_trajectories(depth):
    """Two steps each: a or b, then h for all; rows of the first steps, then of the second."""
    trajectories = torch.arange(6).repeat(2)
    rewards = torch.tensor([0.0] * 6 + FINAL)
    returns = discounted_step_returns(rewards, trajectories, discount=1.0)
    return returns, history_keys(FIRST + ["h"] * 6, trajectories, depth=depth)


@pytest.mark.parametrize(
    ("depth", "options", "first", "second"),
    [
        (0, {"scale": "none"}, None, [0.5, 0.5, -0.5, -0.5, -0.5, 0.5]),
        (
            1,
            {"scale": "none"},
            [1 / 3, 1 / 3, -2 / 3, -1 / 3, -1 / 3, 2 / 3],
            [0.4, 0.4, -0.6, -0.4, -0.4, 0.6],
        ),
        (
            1,
            {"scale": "none", "alpha": 0.0},
            None,
            [0.4167, 0.4167, -0.5833, -0.4167, -0.4167, 0.5833],
        ),
        (
            1,
            {},
            [0.7071, 0.7071, -1.4142, -0.7071, -0.7071, 1.4142],
            [0.82426, 0.82426, -1.24853, -0.82426, -0.82426, 1.24853],
        ),
        (
            1,
            {"scale": "none", "offset": 0.0},
            None,
            [(0.5 + 2 / 3) / 3] * 2 + [(-0.5 - 4 / 3) / 3, -(0.5 + 2 / 3) / 3]
            + [-(0.5 + 2 / 3) / 3, (0.5 + 4 / 3) / 3],
        ),
    ],
)  # fmt: skip
def test_values_of_the_card(depth, options, first, second):
    found = hierarchical_advantage(*six_trajectories(depth), **options)
    assert found[6:].tolist() == pytest.approx(second, abs=5e-5)
    if first is not None:
        assert found[:6].tolist() == pytest.approx(first, abs=5e-5)


def slow(values, tasks, trajectories, seen, depth, scale, alpha, offset, drop, base):
    """The released code's way: a dictionary of tuples, exact where it rounds."""
    own = defaultdict(list)
    members, told = defaultdict(list), [[] for _ in values]
    for row, name in enumerate(trajectories):
        own[name].append(row)
    for rows in own.values():
        for t, row in enumerate(rows):
            for k in range(1, min(depth, t) + 2):
                past = tuple(seen[rows[u]] for u in range(t - k + 1, t + 1))
                members[tasks[row], k, past].append(row)
    for (_, k, _), rows in members.items():
        given = [values[row] for row in rows]
        if len(rows) < 2:
            continue
        for row in rows:
            gain = 0.0 if max(given) == min(given) else values[row] - np.mean(given)
            if scale == "std" and max(given) > min(given):
                gain /= np.std(given) + 1e-6
            told[row].append((k, gain))
    out = []
    for row, levels in enumerate(told):
        if base is not None:
            levels = [(0, base[row]), *levels]
        levels = [(k, gain) for k, gain in levels if gain != 0 or not drop]
        weights = [(k + offset) ** alpha for k, _ in levels]
        summed = sum(w * gain for w, (_, gain) in zip(weights, levels, strict=True))
        out.append(summed / sum(weights) if sum(weights) else 0.0)
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 4),
    st.sampled_from(["none", "std"]),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([1.0, 0.0]),
    st.booleans(),
    st.booleans(),
)
def test_against_a_slow_twin(seed, depth, scale, alpha, offset, drop, with_base):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 7, size=8)
    trajectories = np.repeat(np.arange(8), lengths)
    tasks = trajectories % 2
    seen = draw.integers(0, 3, size=len(tasks))
    values = draw.integers(0, 3, size=len(tasks)) / 4  # sums are exact, so are zeros
    base = draw.normal(size=len(tasks)) if with_base and offset else None
    levels = history_keys(
        [f"place {k}" for k in seen], torch.tensor(trajectories), depth=depth, tasks=tasks.tolist()
    )
    found = hierarchical_advantage(
        torch.tensor(values),
        levels,
        scale=scale,
        alpha=alpha,
        offset=offset,
        drop_zero=drop,
        base=None if base is None else torch.tensor(base),
    )
    expected = slow(values, tasks, trajectories, seen, depth, scale, alpha, offset, drop, base)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    rows = torch.tensor(draw.permutation(len(tasks)))
    steps = torch.tensor(np.concatenate([np.arange(n) for n in lengths]))
    shuffled = history_keys(
        torch.tensor(seen)[rows],
        torch.tensor(trajectories)[rows],
        depth=depth,
        tasks=torch.tensor(tasks)[rows],
        steps=steps[rows],
    )
    again = hierarchical_advantage(torch.tensor(values)[rows], shuffled, scale="none")
    plain = hierarchical_advantage(torch.tensor(values), levels, scale="none")
    assert again.tolist() == pytest.approx(plain[rows].tolist(), abs=1e-9)


def test_equal_returns_are_nobodys_merit():
    """Returns 10 * .95^p in float32, whose mean is off by rounding for many p and sizes."""
    for members in (3, 5, 6, 7, 8):
        for power in range(50):
            returns = torch.full((members,), 10 * 0.95**power)
            levels = torch.zeros(members, 1, dtype=torch.long)
            assert (hierarchical_advantage(returns, levels) == 0).all()
            none = hierarchical_advantage(returns, levels, otherwise=torch.nan)
            assert none.isnan().all()


def test_one_alone_has_no_group():
    levels = history_keys(["x", "y", "y"], [0, 1, 2], depth=2)
    found = hierarchical_advantage(torch.tensor([5.0, 1.0, 0.0]), levels, scale="none")
    assert found.tolist() == [0, 0.5, -0.5]
    assert shares_compared(levels).tolist() == pytest.approx([2 / 3, 0, 0])


def test_zeros_that_count_hold_back():
    """All with the same history fare alike; only the wider group tells them apart."""
    values = torch.tensor([1.0, 1.0, 0.0, 0.0])
    levels = torch.tensor([[0, 0], [0, 0], [0, 1], [0, 1]])
    dropped = hierarchical_advantage(values, levels, scale="none")
    counted = hierarchical_advantage(values, levels, scale="none", drop_zero=False)
    assert dropped.tolist() == [0.5, 0.5, -0.5, -0.5]
    assert counted.tolist() == pytest.approx([0.2, 0.2, -0.2, -0.2])


def test_actions_and_observations_of_any_kind():
    seen = [{"text": "hub", "exits": [1, 2]}, np.array([1, 2]), {"exits": [1, 2], "text": "hub"}]
    seen += [[1, 2], {"b", "a"}, {"a", "b"}]
    assert history_keys(seen, range(6), depth=0)[:, 0].tolist() == [0, 1, 0, 1, 2, 2]
    after = {"observations": [0, 1, 0, 1], "trajectories": [0, 0, 1, 1], "depth": 1}
    assert history_keys(**after)[[1, 3], 1].unique().numel() == 1
    by_action = history_keys(**after, actions=["left", "on", "right", "on"])
    assert by_action[[1, 3], 1].tolist() == [-1, -1]
    assert by_action[[1, 3], 0].unique().numel() == 1
    big = history_keys(torch.tensor([-1, 10**15, -1]), [0, 1, 2], depth=1)
    assert big.tolist() == [[0, -1], [-1, -1], [0, -1]]


def test_refusals():
    values, levels = torch.zeros(2), torch.zeros(2, 1, dtype=torch.long)
    for wrong in (
        lambda: history_keys([1, 2], [0, 0], depth=-1),
        lambda: history_keys([1, 2], [0], depth=0),
        lambda: history_keys([1, 2], [0, 0], depth=0, tasks=[1]),
        lambda: history_keys(torch.zeros(2), [0, 0], depth=0),
        lambda: hierarchical_advantage(values, levels[:1]),
        lambda: hierarchical_advantage(values, levels, alpha=-1.0),
        lambda: hierarchical_advantage(values, levels, base=values[:1]),
        lambda: hierarchical_advantage(values, levels, base=values, offset=0.0),
        lambda: mixed_advantage(values, levels[:, 0], damping=0.0),
    ):
        with pytest.raises(OptionError):
            wrong()


@pytest.mark.parametrize(
    ("options", "fresh", "replayed"),
    [
        ({"scale": "sample"}, -0.333333, 2.666667),
        ({"scale": "std"}, -0.353553, 2.828427),
        ({"scale": "sample", "damping": 2.0}, -0.166667, 1.333333),
        ({"scale": "none", "damping": 2.0}, -1 / 9, 8 / 9),
    ],
)
def test_a_replayed_success_among_failures(options, fresh, replayed):
    for success in (1.0, 1.75):  # a bonus for length is divided away where only one differs
        rewards = torch.tensor([0.0] * 8 + [success])
        found = mixed_advantage(rewards, torch.zeros(9, dtype=torch.long), epsilon=0.0, **options)
        factor = success if options["scale"] == "none" else 1.0
        expected = [fresh * factor] * 8 + [replayed * factor]
        assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_damping_is_of_the_deviation_alone():
    rewards = torch.tensor([0.0, 0.5, 2.0, 1.0, 4.0])
    groups = torch.tensor([0, 0, 0, 1, 1])
    found = mixed_advantage(rewards, groups, damping=3.0, epsilon=0.1)
    own = rewards[:3]
    assert found[:3].tolist() == pytest.approx(
        ((own - own.mean()) / (3 * own.std() + 0.1)).tolist()
    )
    plain = group_advantage(rewards, groups, scale="sample", epsilon=0.1)
    assert torch.equal(mixed_advantage(rewards, groups, epsilon=0.1), plain)


def test_one_sided_by_outcome():
    outcomes = torch.tensor([1.0, torch.nan, 0.0, 0.0, torch.nan])
    assert one_sided(outcomes, ["a", "a", "b", "b", "c"]).tolist() == [1, 1, -1, -1, 0]
