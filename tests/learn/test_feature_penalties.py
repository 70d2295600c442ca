"""Features of consecutive pairs, ranks of features, low-rank attention: card values, bounds."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from policyrank.errors import OptionError
from policyrank.learn import (
    attention_change_bound,
    attention_cost,
    bellman_cosine_bound,
    bellman_cosine_penalty,
    cut_to_rank,
    energy_share,
    feature_coadaptation,
    feature_ranks,
    low_rank_attention,
    power_iteration,
    principal_directions,
    ranks_of,
    tail_norm,
    transition_norm,
)

PHI, AFTER, W = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]), torch.ones(2)


@pytest.mark.parametrize(
    ("discount", "reward", "bound", "penalty"),
    [
        (0.5, 1, 1.23, 0),
        (0.5, 4, 0.93, 0.03),
        (0.99, 2, 0.959646, 0.000354),
        (0.99, 4, 0.838434, 0.121566),
        (1.0, 1, 0.99, 0),
        (1.0, 2, 0.96, 0),
    ],
)
def test_values_of_the_card(discount, reward, bound, penalty):
    rewards = torch.tensor([float(reward)])
    found = bellman_cosine_bound(PHI, AFTER, rewards, W, discount=discount)
    assert found.item() == pytest.approx(bound, abs=1e-6)
    loss = bellman_cosine_penalty(PHI, AFTER, rewards, W, discount=discount)
    assert loss.loss.item() == pytest.approx(penalty, abs=1e-6)
    assert loss.active.item() == (penalty > 0)
    far = bellman_cosine_penalty(PHI, AFTER, rewards, W, discount=discount, form="distance")
    assert far.loss.item() == pytest.approx(2 * discount * 25 * penalty, abs=1e-4)


def test_both_forms_act_on_the_same_pairs():
    generator = torch.Generator().manual_seed(0)
    features, after = torch.randn(2, 5000, 8, generator=generator, dtype=torch.float64).relu()
    rewards = torch.randn(5000, generator=generator, dtype=torch.float64) * 6
    w = torch.randn(8, generator=generator, dtype=torch.float64)
    cosine, distance = (
        [
            bellman_cosine_penalty(
                features[k : k + 1], after[k : k + 1], rewards[k : k + 1], w, bias=0.4, form=form
            ).loss.item()
            for k in range(600)
        ]
        for form in ("cosine", "distance")
    )
    alive = (features[:600].norm(dim=-1) * after[:600].norm(dim=-1)).numpy() > 0
    acts = np.array(cosine) > 1e-9
    assert (acts == (np.array(distance) > 1e-9))[alive].all()
    assert 0.05 < acts.mean() < 0.95


def test_never_without_a_reward_at_an_end_or_where_the_bellman_equation_holds():
    generator = torch.Generator().manual_seed(1)
    after = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    w = torch.rand(6, generator=generator, dtype=torch.float64) + 0.1
    alike = 0.99 * after
    none = bellman_cosine_penalty(alike, after, torch.zeros(40), w)
    assert none.loss.item() == pytest.approx(0, abs=1e-12)
    assert none.active == 0
    ones = torch.ones(40, dtype=torch.float64)
    assert bellman_cosine_penalty(alike, after, ones, w).active == 1
    ended = bellman_cosine_penalty(alike, after, ones, w, ends=torch.ones(40, dtype=torch.bool))
    assert ended.loss == 0
    # Features that solve q = r + discount q' exactly, with a bias.
    features = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    rewards = (features - 0.9 * after) @ w + (1 - 0.9) * 2.5
    for form in ("cosine", "distance"):
        solved = bellman_cosine_penalty(
            features, after, rewards, w, discount=0.9, bias=2.5, form=form
        )
        assert solved.active == 0
        unsolved = bellman_cosine_penalty(
            features, after, rewards + 30, w, discount=0.9, bias=2.5, form=form
        )
        assert unsolved.active == 1


def test_gradients_reach_the_features_alone():
    phi, after = PHI.clone().requires_grad_(), AFTER.clone().requires_grad_()
    w = W.clone().requires_grad_()
    for form in ("cosine", "distance"):
        loss = bellman_cosine_penalty(phi, after, torch.tensor([4.0]), w, discount=0.5, form=form)
        slope = torch.autograd.grad(loss.loss, [phi, after, w], allow_unused=True)
        assert slope[0].abs().sum() > 0
        assert slope[1:] == (None, None)
        moved = phi.detach() - 0.01 * slope[0]
        less = bellman_cosine_penalty(moved, AFTER, torch.tensor([4.0]), W, discount=0.5, form=form)
        assert less.loss < loss.loss
    dead = bellman_cosine_penalty(torch.zeros(1, 2), AFTER, torch.tensor([9.0]), W)
    assert dead.loss == 0
    feature_coadaptation(phi, after).backward()
    assert (phi.grad.tolist(), after.grad.tolist()) == ([[4, 3]], [[3, 4]])


def test_shapes_that_do_not_fit():
    reward = torch.tensor([1.0])
    with pytest.raises(OptionError, match="form"):
        bellman_cosine_penalty(PHI, AFTER, reward, W, form="angle")
    with pytest.raises(OptionError, match="rewards"):
        bellman_cosine_penalty(PHI, AFTER, reward[:, None], W)
    with pytest.raises(OptionError, match="both"):
        feature_coadaptation(PHI, AFTER[:, :1])


def test_ranks_of_the_card():
    singular = torch.tensor([10.0, 5, 1, 0.05, 0.001], dtype=torch.float64)
    found = ranks_of(singular, rows=100)
    assert (int(found.numerical), int(found.srank)) == (3, 3)
    assert found.effective.item() == pytest.approx(2.3388, abs=1e-4)
    assert found.stable.item() == pytest.approx((singular**2).sum().item() / 100)
    assert found.condition.item() == pytest.approx(10_000)


@given(st.integers(1, 6), st.integers(0, 50))
def test_ranks_do_not_depend_on_a_rotation_or_on_the_order_of_rows(rank, seed):
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(n, rank, generator=generator).double() for n in (20, 6))
    features = left @ right.mT
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator).double()).Q
    found = feature_ranks(features)
    turned = feature_ranks(features[torch.randperm(20, generator=generator)] @ turn)
    assert int(found.numerical) <= rank
    for own, other in zip(found[:4], turned[:4], strict=True):
        assert own.item() == pytest.approx(other.item(), rel=1e-6)
    assert 1 - 1e-9 <= found.stable <= found.effective**2 + 1e-9
    assert found.effective <= rank + 1e-6


def test_features_without_a_direction():
    found = feature_ranks(torch.zeros(4, 3))
    assert [own.item() for own in found] == [0, 0, 0, 0, math.inf]
    assert feature_ranks(torch.randn(2, 7, 3)).srank.shape == (2,)
    for bad in (torch.zeros(3), torch.zeros(0, 3), torch.full((2, 2), torch.nan)):
        with pytest.raises(OptionError, match="features"):
            feature_ranks(bad)


def test_what_is_lost_by_a_rank():
    singular = torch.tensor([5.0, 4, 3, 2, 1])
    assert energy_share(singular, 2).item() == pytest.approx(0.745455, abs=1e-6)
    assert transition_norm(singular, 2, 4).item() == pytest.approx(3.605551, abs=1e-6)
    assert transition_norm(singular, 4, 2) == transition_norm(singular, 2, 4)
    assert tail_norm(singular, 2).item() == pytest.approx(3.741657, abs=1e-6)
    matrix = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(matrix)
    apart = (cut_to_rank(matrix, 2) - cut_to_rank(matrix, 4)).norm(dim=(-2, -1))
    assert torch.allclose(apart, transition_norm(values, 2, 4))
    lost = (matrix - cut_to_rank(matrix, 3)).norm(dim=(-2, -1))
    assert torch.allclose(lost, tail_norm(values, 3))
    by_basis = cut_to_rank(matrix, 3, principal_directions(matrix))
    assert torch.allclose(by_basis, cut_to_rank(matrix, 3))
    assert (cut_to_rank(matrix, 5) == matrix).all()
    with pytest.raises(OptionError, match="rank=0"):
        cut_to_rank(matrix, 0)
    start = torch.ones(2, dtype=torch.float64) / 2**0.5
    estimate = power_iteration(torch.diag(torch.tensor([3.0, 1.0]).double()), start)
    assert estimate.item() == pytest.approx(2.9999975, abs=1e-7)
    assert (power_iteration(matrix, torch.ones(3, 5).double()) <= values[:, 0] + 1e-12).all()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_changes_no_more_than_its_bound(causal):
    generator = torch.Generator().manual_seed(3)
    q, k, v = torch.randn(3, 40, 7, 6, generator=generator, dtype=torch.float64)
    where = torch.ones(7, 7, dtype=torch.bool)
    where = where.tril() if causal else where
    exact = low_rank_attention(q, k, v, 6, where=where)
    told = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=where)
    assert torch.allclose(exact.out, told, atol=1e-5)
    for rank in (1, 3, 5):
        cut = low_rank_attention(q, k, v, rank, where=where)
        moved = (cut.weights - exact.weights).norm(dim=(-2, -1))
        assert (moved <= attention_change_bound(q, k, rank)).all()
        assert (moved > 0).all()


def test_its_own_directions_look_ahead_and_given_ones_do_not():
    generator = torch.Generator().manual_seed(4)
    q, k, v = torch.randn(3, 7, 6, generator=generator, dtype=torch.float64)
    later = k.clone()
    later[-1] += 3
    where = torch.ones(7, 7, dtype=torch.bool).tril()
    basis = principal_directions(torch.randn(50, 6, generator=generator, dtype=torch.float64))
    for bases, same in ((None, False), ((basis, basis), True)):
        before, after = (
            low_rank_attention(q, own, v, 2, where=where, bases=bases).out[:-1]
            for own in (k, later)
        )
        assert torch.allclose(before, after) == same


def test_what_attention_costs():
    assert attention_cost(1024, 64).scores == 134_217_728
    cut = attention_cost(1024, 64, 16)
    assert cut.scores == 33_554_432 + 2_097_152
    assert cut.mixing == 134_217_728
    own = attention_cost(64, 64, 16, own_factors=True)
    assert own.factors == 2 * (4 * 64**3 + 8 * 64**3)
    assert own.total > attention_cost(64, 64).total
    assert attention_cost(8, 4, 2, batch=3, heads=5).total == 15 * attention_cost(8, 4, 2).total
    assert attention_cost(8, 4, 4) == attention_cost(8, 4)
    with pytest.raises(OptionError, match="1 or more"):
        attention_cost(8, 4, 0)
