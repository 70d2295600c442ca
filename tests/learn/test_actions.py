"""Actions on a critic's scale, lifted by its gradient, chosen, masked: card values, properties."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from policyrank.errors import OptionError
from policyrank.learn import (
    ActionScale,
    ascend,
    best_of_kl,
    choose,
    masked_categorical,
    pooled,
)


def hill(actions):
    return -((actions[..., 0] - 0.5) ** 2)


def test_scales():
    low, high = torch.tensor([-0.05, -0.25, 0.0]), torch.tensor([0.05, 0.25, 1.0])
    scale = ActionScale(low, high, margin=1e-5)
    found = scale.to_critic(torch.tensor([0.025, 9.0, 1.0]))
    assert found.tolist() == pytest.approx([0.5, 0.99999, 0.99999], abs=1e-7)
    inner = torch.tensor([[0.01, -0.1, 0.3]])
    assert torch.allclose(scale.to_policy(scale.to_critic(inner)), inner)
    assert scale.outside(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]])).item() == 0.5
    for bad in ([-0.05, 0.25, 0.0], [-0.05, torch.nan, 0.0]):
        with pytest.raises(OptionError, match="dimension 1"):
            ActionScale(torch.tensor(bad), high)


def test_the_best_iterate():
    found = ascend(hill, torch.zeros(1), steps=3, rate=0.1)
    assert found.actions.item() == pytest.approx(0.244)
    assert found.steps.item() == 3
    assert found.gradient.item() == pytest.approx(1.0)
    # Iterates -0.7, 1, -1 are all worse than the start.
    thrown = ascend(hill, torch.tensor([0.9]), steps=3, rate=2.0)
    assert (thrown.actions.item(), thrown.steps.item()) == (pytest.approx(0.9), 0)
    assert thrown.values.item() == pytest.approx(-0.16)
    still = ascend(hill, torch.tensor([0.9]), steps=0)
    assert (still.actions.item(), still.steps.item()) == (pytest.approx(0.9), 0)
    flat = ascend(lambda own: 0 * own[..., 0], torch.zeros(1), steps=4)
    assert flat.steps.item() == 4  # of equals the later


def test_a_linear_critic():
    observed = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
    slope = torch.stack([2 * observed[:, 0], -observed[:, 1], observed[:, 2]], dim=-1)
    start = torch.zeros(2, 3)
    found = ascend(lambda own: (slope * own).sum(-1), start, steps=10, rate=10, low=-1e9, high=1e9)
    assert torch.allclose(found.actions, 100 * slope)
    assert found.gradient.item() == pytest.approx(slope.norm(dim=-1).mean().item())


@given(st.floats(0, 50), st.integers(0, 5), st.integers(0, 1000))
def test_no_value_falls(rate, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, generator=generator)
    start = torch.rand(3, 5, 4, generator=generator) * 2 - 1

    def critic(own):
        return torch.sin(3 * own @ weights) - own.square().sum(-1)

    found = ascend(critic, start, steps=steps, rate=rate)
    assert (found.values >= critic(start)).all()
    assert torch.allclose(found.values, critic(found.actions))
    assert (found.actions.abs() <= 1).all()


def test_another_judges():
    """One critic's gradient is followed, the iterate that another likes best is taken."""
    found = ascend(lambda own: own[..., 0], torch.zeros(1), steps=3, rate=0.4, judge=hill, high=2.0)
    assert found.actions.item() == pytest.approx(0.4)
    with pytest.raises(OptionError, match="not finite"):
        ascend(lambda own: own[..., 0] * torch.nan, torch.zeros(1))
    with pytest.raises(OptionError, match="steps"):
        ascend(hill, torch.zeros(1), steps=-1)


def test_choices():
    values = torch.tensor([[-3.0, -1.0, -2.0]])
    assert choose(values).index.item() == 1
    soft = choose(values, temperature=1.0, seed=0).chances
    assert soft.tolist() == pytest.approx([0.090031, 0.665241, 0.244728], abs=1e-6)
    sharp = choose(values, temperature=0.1, seed=0).chances
    assert sharp[1].item() == pytest.approx(0.999955, abs=1e-6)
    members = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    least = choose(members)
    assert (least.values.tolist(), least.index.item()) == ([1, 0], 0)
    mean = choose(members, pooling="mean")
    assert (mean.values.tolist(), mean.index.item()) == ([1.5, 1.5], 0)
    cautious = pooled(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), "mean", 1.0)
    assert cautious.tolist() == [0, 1]


def test_draws_follow_their_chances_and_the_seed():
    values = torch.tensor([[0.0, math.log(3), 5.0]]).expand(1, 3)[:, None].repeat(1, 4000, 1)
    where = torch.tensor([True, True, False])
    found = choose(values, temperature=1.0, where=where, seed=1)
    share = (found.index == 1).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.03)
    assert (found.index != 2).all()
    assert (choose(values, temperature=1.0, where=where, seed=1).index == found.index).all()


@given(st.permutations(range(5)), st.integers(0, 100), st.floats(-100, 100))
def test_neither_order_nor_a_shift_matter(order, seed, shift):
    values = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed))
    first = choose(values).index.item()
    moved = choose(values[:, list(order)] + shift).index.item()
    assert order[moved] == first


def test_what_cannot_be_chosen_from_is_named():
    values = torch.zeros(1, 3, 4)
    where = torch.ones(3, 4, dtype=torch.bool)
    where[1] = False
    with pytest.raises(OptionError, match=r"list \[1\] has no candidate"):
        choose(values, where=where)
    values[0, 2, 3] = torch.nan
    with pytest.raises(OptionError, match=r"list \[2\] has a value that is NaN"):
        choose(values)
    for options in ({"temperature": -1}, {"pooling": "max"}, {"caution": 1.0}):
        with pytest.raises(OptionError):
            choose(torch.zeros(1, 4), **options)
    with pytest.raises(OptionError, match="members"):
        choose(torch.zeros(4))


def test_how_far_the_best_of_many_is():
    found = [round(best_of_kl(count), 4) for count in (1, 2, 10, 50)]
    assert found == [0, 0.1931, 1.4026, 2.932]
    with pytest.raises(OptionError):
        best_of_kl(0)


def test_masked_choices():
    logits = torch.tensor([[1.0, 2.0, torch.inf], [0.0, 0.0, 0.0]], requires_grad=True)
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    found = masked_categorical(logits, allowed)
    two = torch.distributions.Categorical(logits=torch.tensor([1.0, 2.0]))
    assert found.probs[0, :2].tolist() == pytest.approx(two.probs.tolist())
    assert found.entropy()[0].item() == pytest.approx(two.entropy().item())
    assert found.entropy()[1].item() == pytest.approx(math.log(3))
    found.log_prob(torch.tensor([1, 2])).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 2] == 0
    assert found.sample((200,))[:, 0].max() < 2
    with pytest.raises(OptionError, match=r"row \(1,\)"):
        masked_categorical(torch.zeros(2, 3), torch.tensor([[True] * 3, [False] * 3]))
