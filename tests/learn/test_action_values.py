"""What critics of actions lose and are told: card values, d3rlpy's formulas in loops, gradients."""

import math

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import (
    ValueBins,
    conservative_penalty,
    demonstrated,
    expectile_loss,
    subset_minimum,
    td_target,
)

RANDOM_AND_POLICY = torch.tensor([[0.5, 1.0]]).log()


def test_expectiles():
    gap = torch.tensor([2.0, -2.0])
    assert expectile_loss(gap, 0.7, reduce="none").tolist() == pytest.approx([2.8, 1.2])
    assert float(expectile_loss(gap, 0.5)) == pytest.approx(2.0)
    # Its least is the expectile: of 0 and 1 in equal shares, 0.7.
    value = torch.tensor(0.7, requires_grad=True)
    expectile_loss(torch.tensor([0.0, 1.0]) - value, 0.7).backward()
    assert value.grad.item() == pytest.approx(0, abs=1e-6)
    for bad in (0, 1, -1):
        with pytest.raises(OptionError, match="between 0 and 1"):
            expectile_loss(gap, bad)


@pytest.mark.parametrize(
    ("values", "density", "returns", "told"),
    [
        ([1.0, 2.0], [0.5, 1.0], None, 0.051445),
        ([1.0, 2.0], [0.5, 1.0], 3.0, 0.739545),
        ([1.0, 2.0, 2.0], [0.5, 1.0, 1.0], None, 0.506409),
        ([1.0, 2.0, 2.0], [0.5, 1.0, 1.0], 3.0, 1.320075),
    ],
)
def test_the_soft_maximum_less_the_data(values, density, returns, told):
    """Card V-GPS: a uniform action in one dimension, and one or two of the policy."""
    floored = torch.tensor([False] + [True] * (len(values) - 1))
    options = {} if returns is None else {"returns": torch.tensor([returns]), "floored": floored}
    found = conservative_penalty(
        torch.tensor([values]),
        torch.tensor([2.5]),
        log_density=torch.tensor([density]).log(),
        **options,
    )
    assert found.item() == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize(("returns", "told"), [(None, -0.702096), (3.0, 0.155230)])
def test_with_the_data_s_action_and_per_action(returns, told):
    """Card PA-RL: ten uniform actions, twenty optimised ones, and the data's."""
    values = torch.tensor([[1.0] * 10 + [2.0] * 20])
    floored = torch.tensor([False] * 10 + [True] * 20)
    options = {} if returns is None else {"returns": torch.tensor([returns]), "floored": floored}
    found = conservative_penalty(
        values, torch.tensor([2.5]), with_data=True, per_action=True, **options
    )
    assert found.item() == pytest.approx(told, abs=1e-6)


def test_penalties_and_expectiles_of_d3rlpy():
    """Its formulas, a member, a row and an action at a time."""
    generator = torch.Generator().manual_seed(0)
    members, batch, each, size = 2, 5, 4, 3
    random, now, then = torch.randn(3, members, batch, each, generator=generator)
    data = torch.randn(members, batch, generator=generator)
    log_now, log_then = torch.randn(2, batch, each, generator=generator)
    uniform = torch.full((batch, each), size * math.log(0.5))
    found = conservative_penalty(
        torch.cat([random, now, then], dim=-1),
        data,
        log_density=torch.cat([uniform, log_now, log_then], dim=-1),
        reduce="none",
    )
    for member in range(members):
        for row in range(batch):
            total = 0.0
            for k in range(each):
                total += math.exp(random[member, row, k] - size * math.log(0.5))
                total += math.exp(now[member, row, k] - log_now[row, k])
                total += math.exp(then[member, row, k] - log_then[row, k])
            wanted = math.log(total) - data[member, row]
            assert found[member, row].item() == pytest.approx(wanted.item(), abs=1e-5)
    value = torch.randn(batch, generator=generator)
    gap = data.amin(dim=0) - value
    told = expectile_loss(gap, 0.9, reduce="none")
    for own, loss in zip(gap.tolist(), told.tolist(), strict=True):
        weight = abs(0.9 - (own < 0))
        assert loss == pytest.approx(weight * own**2, abs=1e-6)


def test_the_floor_stops_the_gradient_of_what_is_low_enough():
    values = torch.tensor([[1.0, 4.0]], requires_grad=True)
    penalty = conservative_penalty(values, torch.tensor([0.0]), returns=torch.tensor([2.0]))
    penalty.backward()
    assert values.grad[0, 0] == 0
    assert values.grad[0, 1] > 0
    data = torch.tensor([0.0], requires_grad=True)
    conservative_penalty(values.detach(), data).backward()
    assert data.grad.item() == pytest.approx(-1)
    with pytest.raises(OptionError, match="must be"):
        conservative_penalty(values, torch.zeros(2))


def test_targets_continue_what_was_cut_and_end_what_ended():
    reward, after = torch.tensor([-1.0, -1.0]), torch.tensor([-8.0, torch.nan])
    found = td_target(reward, after, torch.tensor([False, True]), 0.99)
    assert found.tolist() == pytest.approx([-8.92, -1.0])
    with pytest.raises(OptionError, match="discount"):
        td_target(reward, after, torch.zeros(2), 1.1)
    with pytest.raises(OptionError, match="must agree"):
        td_target(reward, after, torch.zeros(3), 0.9)


def test_the_least_of_some_members():
    values = torch.randn(10, 50, generator=torch.Generator().manual_seed(0))
    assert (subset_minimum(values, 10) == values.amin(dim=0)).all()
    drawn = subset_minimum(values, 2, seed=3)
    assert (subset_minimum(values, 2, seed=3) == drawn).all()
    pairs = [torch.minimum(values[i], values[j]) for i in range(10) for j in range(i)]
    assert any((own == drawn).all() for own in pairs)
    again = [subset_minimum(values, 2, replace=True, seed=seed) for seed in range(60)]
    assert any((own == values[k]).all() for own in again for k in range(10))
    with pytest.raises(OptionError, match="has 10"):
        subset_minimum(values, 11)


def test_demonstrations():
    found = demonstrated(5, last=3, discount=0.98)
    assert found.rewards.tolist() == [-1, -1, 0, 0, 0]
    assert found.terminated.tolist() == [False, False, True, True, True]
    assert found.returns.tolist() == pytest.approx([-1.98, -1, 0, 0, 0])
    short = demonstrated(2, last=3)
    assert short.returns.tolist() == [0, 0]
    # By the recursion G = r + discount * mask * G of the next.
    long, carried = demonstrated(40, last=4, discount=0.9), 0.0
    for step in range(39, -1, -1):
        carried = float(long.rewards[step]) + 0.9 * (not long.terminated[step]) * carried
        assert float(long.returns[step]) == pytest.approx(carried, abs=1e-5)
    failed = demonstrated(7, discount=0.99, success=False)
    assert failed.returns.tolist() == pytest.approx([-100.0] * 7)
    assert not failed.terminated.any()
    for bad in ({"length": 0}, {"length": 3, "last": 0}, {"length": 3, "discount": 1.0}):
        with pytest.raises(OptionError, match="at least a step"):
            demonstrated(**bad)


def test_values_as_shares_of_bins():
    bins = ValueBins(0, 1, 4)
    assert bins.shares(torch.tensor(0.5)).tolist() == pytest.approx(
        [0.088055, 0.411945, 0.411945, 0.088055], abs=1e-6
    )
    near_an_end = bins.shares(torch.tensor(0.25))
    assert near_an_end.tolist() == pytest.approx([0.449833, 0.449833, 0.096154, 0.004180], abs=1e-6)
    assert bins.mean(near_an_end).item() == pytest.approx(0.28867, abs=1e-5)
    # The released code divides by sqrt(2) twice: its spread is 1.41 times as wide.
    wide = ValueBins(0, 1, 4, width=0.75 * 2**0.5)
    assert wide.shares(torch.tensor(0.5)).tolist() == pytest.approx(
        [0.152252, 0.347748, 0.347748, 0.152252], abs=1e-6
    )
    usual = ValueBins(-100, 0)
    assert usual.shares(torch.tensor(-50.0)).max().item() == pytest.approx(0.409, abs=1e-3)
    assert usual.mean(usual.shares(torch.tensor(0.0))).item() == pytest.approx(-0.539, abs=1e-3)
    assert (usual.shares(torch.tensor(9.0)) == usual.shares(torch.tensor(0.0))).all()
    inner = torch.linspace(-90, -10, 33)
    assert usual.mean(usual.shares(inner)).tolist() == pytest.approx(inner.tolist(), abs=1e-3)
    logits = usual.shares(inner).clamp(min=1e-12).log().requires_grad_()
    usual.loss(logits, inner).backward()
    assert logits.grad.abs().max() < 1e-6
    for options in ({"low": 1, "high": 0}, {"low": 0, "high": 1, "bins": 1}):
        with pytest.raises(OptionError, match="below high"):
            ValueBins(**options)
    with pytest.raises(OptionError, match="logits"):
        usual.loss(torch.zeros(3, 4), torch.zeros(3))
