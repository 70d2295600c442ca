"""Gates of constraints: exact values, what each guarantees, and the optimum that each has."""

import numpy as np
import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import Rollouts
from policyrank.learn.rewards import (
    feasible_first,
    smoothed_geometric_mean,
    two_layer_reward,
    two_layers,
    violation_bound,
)
from policyrank.learn.rewards.gates import TWO_LAYER_GATES

PERFECT = torch.ones(1, 1, dtype=torch.float64)
GATES = (*TWO_LAYER_GATES, "linear")


def test_values_of_the_card():
    for parts, value in (
        ([1.0, 1, 1], 1.0),
        ([0.0] + [1.0] * 8, 0.5988),
        ([0.0, 0, 0], 0.0099),
        ([0.5, 0.8], 0.6364),
    ):
        assert smoothed_geometric_mean(torch.tensor(parts)).item() == pytest.approx(value, abs=5e-5)
    found = two_layer_reward(
        torch.tensor([[0.5, 0.8]]), torch.tensor([[0.2, 0.6]]), torch.tensor([1.0, 3.0])
    )
    assert found.item() == pytest.approx(0.3182, abs=5e-5)


@pytest.mark.parametrize(
    ("gate", "constraints", "best"),
    [
        ("linear", 3, 1.0),
        ("linear", 1, 0.0),
        ("geometric", 3, 0.650),
        ("geometric", 9, 0.866),
        ("product", 9, 0.291),
        ("geometric", 1, 0.291),
        ("least", 9, 2 / 7),
        ("hard", 9, 0.0),
    ],
)
def test_how_far_each_gate_lets_an_answer_fabricate(gate, constraints, best):
    """A share of fabricated sentences breaks one constraint, and looks rich: U = .3 + .7 share."""
    made = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    parts = torch.ones(len(made), constraints, dtype=torch.float64)
    parts[:, 0] = 1 - made
    rewards = two_layer_reward(parts, (0.3 + 0.7 * made)[:, None], gate=gate)
    assert made[rewards.argmax()].item() == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("gate", GATES)
def test_what_each_gate_guarantees(gate):
    """The bound is reached by one violation, and by nothing that fails more."""
    draw = np.random.default_rng(0)
    for constraints in (1, 3, 9):
        bound = violation_bound(gate, constraints, threshold=0.5)
        parts = torch.tensor(draw.random((200, constraints)))
        parts[:, 0] = 0.0
        utility = torch.tensor(draw.random((200, 2)))
        found = two_layer_reward(parts, utility, gate=gate, thresholds=0.5)
        assert (found <= bound + 1e-9).all()
        whole = two_layer_reward(torch.ones(1, constraints).double(), PERFECT, gate=gate)
        assert whole.item() == pytest.approx(1)
        assert bound < 1
    bounds = {name: violation_bound(name, 9) for name in GATES}
    assert bounds["hard"] == bounds["least"] == 0
    assert bounds["product"] == pytest.approx(0.01 / 1.01)
    assert bounds["geometric"] == pytest.approx((0.01 / 1.01) ** (1 / 9))
    assert bounds["linear"] == pytest.approx(1 - 0.5 / 9)
    assert violation_bound("sigmoid", 9, threshold=0.5, width=0.1) == pytest.approx(
        torch.sigmoid(torch.tensor(-5.0)).item() / torch.sigmoid(torch.tensor(5.0)).item()
    )


def test_what_does_not_apply():
    s = torch.tensor([[0.5, torch.nan], [torch.nan, torch.nan], [1.0, 1.0]])
    u = torch.tensor([[0.4, torch.nan], [0.5, 0.7], [torch.nan, torch.nan]])
    for gate in TWO_LAYER_GATES:
        found = two_layer_reward(s, u, gate=gate, thresholds=0.5)
        alone = two_layer_reward(s[:1, :1], u[:1, :1], gate=gate, thresholds=0.5)
        assert found[0].item() == pytest.approx(alone.item())
        assert found[1].item() == pytest.approx(0.6)
        assert found[2].isnan()
    none = two_layer_reward(torch.zeros(1, 0), torch.tensor([[0.4]]))
    assert none.item() == pytest.approx(0.4)


def test_hard_gates_have_thresholds_and_a_penalty():
    s, u = torch.tensor([[0.9, 0.5], [0.9, 0.7]]), torch.tensor([[0.8], [0.8]])
    given = {"gate": "hard", "thresholds": torch.tensor([0.8, 0.6])}
    assert two_layer_reward(s, u, **given).tolist() == pytest.approx([0, 0.8])
    assert two_layer_reward(s, u, penalty=-1.0, **given).tolist() == pytest.approx([-1, 0.8])
    for wrong in (
        {"gate": "soft"},
        {"gate": "hard", "delta": 0.1},
        {"gate": "geometric", "delta": -0.1},
    ):
        with pytest.raises(OptionError):
            two_layer_reward(s, u, **wrong)
    with pytest.raises(OptionError, match=r"\[0, 1\]"):
        two_layer_reward(s + 1, u)


def test_what_breaks_a_constraint_never_gains():
    draw = np.random.default_rng(0)
    rewards = torch.tensor(draw.random(400))
    feasible = torch.tensor(draw.random(400) < 0.5)
    groups = torch.tensor(draw.integers(0, 90, 400))
    for scale in ("none", "std", "sample"):
        found = feasible_first(rewards, feasible, groups, scale=scale)
        known = ~found.isnan()
        assert (found[known & ~feasible] <= 0).all()
        for key in groups.unique():
            own = groups == key
            if not feasible[own].any() or own.sum() < 2:
                assert found[own].isnan().all()
                continue
            if not feasible[own].all():
                assert found[own & feasible].min() > found[own & ~feasible].max()
            assert found[own].sum().item() == pytest.approx(0, abs=1e-9)
    some = torch.tensor([0.9, 0.1])
    none = feasible_first(some, torch.tensor([False, True]), [0, 0], margin=0.0)
    assert none.tolist() == [0, 0]
    with pytest.raises(OptionError):
        feasible_first(some, torch.tensor([True, True]), [0, 0], margin=-1.0)


def test_as_a_reward_of_rewards():
    def kept(group):
        return [1.0, 0.0]

    def rich(group):
        return [0.5, 1.0]

    group = Rollouts(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2), prompts=["p", "p"])
    found = two_layers([kept], [rich], gate="product")(group)
    assert found.values.tolist() == pytest.approx([0.5, 0.01 / 1.01])
    assert set(found.parts) == {"kept", "rich"}
    with pytest.raises(OptionError, match="'kept'"):
        two_layers([kept], [kept])
