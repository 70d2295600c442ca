"""Trajectories of unordered steps: by hand, by every order, and what must never enter."""

from fractions import Fraction
from itertools import combinations, permutations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import (
    PlackettLuce,
    Unmasking,
    choice_log_prob,
    group_advantage,
    token_log_prob,
    without_ties,
)

THREE = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).log()
ALL = torch.ones(1, 3, dtype=torch.bool)


def chance_of(weights, order):
    """Of these items first, in this order, as a fraction."""
    left, found = sum(weights), Fraction(1)
    for item in order:
        found *= Fraction(weights[item]) / left
        left -= weights[item]
    return found


def set_chance(weights, members):
    """Of these items first, by inclusion and exclusion over exponential waiting times."""
    rest = sum(weights) - sum(weights[k] for k in members)
    found = Fraction(0)
    for size in range(len(members) + 1):
        for some in combinations(members, size):
            sign = (-1) ** size
            found += sign * Fraction(rest) / (rest + sum(weights[k] for k in some))
    return found


def test_orders_and_sets_by_hand():
    policy = PlackettLuce(THREE)
    assert float(policy.log_prob(torch.tensor([[2, 1, 0]])).exp()) == pytest.approx(1 / 3)
    assert float(policy.log_prob(torch.tensor([[2, 1]])).exp()) == pytest.approx(1 / 3)
    drawn = torch.tensor([[0, 2, 1]])
    assert float(choice_log_prob(THREE, ALL, drawn, "order").exp()) == pytest.approx(1 / 3)
    assert float(choice_log_prob(THREE, ALL, drawn).exp()) == pytest.approx(7 / 12)
    other = torch.tensor([[0, 1, 2]])
    assert float(choice_log_prob(THREE, ALL, other, "order").exp()) == pytest.approx(1 / 4)
    assert torch.equal(choice_log_prob(THREE, ALL, other), choice_log_prob(THREE, ALL, drawn))


def test_the_gradient_of_an_order_by_hand():
    scores = THREE.clone().requires_grad_()
    choice_log_prob(scores, ALL, torch.tensor([[0, 2, 1]]), "order").backward()
    assert scores.grad[0].tolist() == pytest.approx([-0.5, 0, 0.5])


def test_what_had_no_choice_says_nothing():
    """All that is left is unmasked: the set is certain, the order is not, and teaches nothing."""
    drawn = torch.tensor([[3, 2, 1]])
    assert float(PlackettLuce(THREE).log_prob(torch.tensor([[2, 1, 0]]))) == pytest.approx(
        float(torch.tensor(1 / 3).log())
    )
    for choice in ("set", "order"):
        scores = THREE.clone().requires_grad_()
        found = choice_log_prob(scores, ALL, drawn, choice)
        found.sum().backward()
        assert found.tolist() == [0]
        assert scores.grad.tolist() == [[0, 0, 0]]
        nothing = choice_log_prob(THREE, ALL & False, drawn * 0, choice)
        assert nothing.tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_sets_by_inclusion_and_exclusion(weights, random):
    members = sorted(random.sample(range(len(weights)), random.randint(1, len(weights) - 1)))
    scores = torch.tensor(weights, dtype=torch.float64).log()
    inside = torch.zeros(len(weights), dtype=torch.bool)
    inside[members] = True
    found = float(PlackettLuce(scores).set_log_prob(inside).exp())
    assert found == pytest.approx(float(set_chance(weights, members)), abs=1e-12)
    orders = sum(chance_of(weights, order) for order in permutations(members))
    assert orders == set_chance(weights, members)


def by_every_order(scores, where, members):
    """The same, by all orders of the members, with a gradient."""
    left = where.nonzero().squeeze(-1).tolist()
    total = []
    for order in permutations(members.nonzero().squeeze(-1).tolist()):
        open_ones, log = list(left), scores.new_zeros(())
        for item in order:
            log = log + scores[item] - torch.logsumexp(scores[open_ones], dim=0)
            open_ones.remove(item)
        total.append(log)
    return torch.logsumexp(torch.stack(total), dim=0)


def test_sets_of_ragged_lists_equal_all_their_orders():
    rng = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(40, 8, generator=rng, dtype=torch.float64)
    where = torch.rand(40, 8, generator=rng) < 0.8
    members = (torch.rand(40, 8, generator=rng) < 0.5) & where
    first, second = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    found = PlackettLuce(first, where).set_log_prob(members)
    slow = torch.stack([by_every_order(*own) for own in zip(second, where, members, strict=True)])
    assert torch.allclose(found, slow, atol=1e-12)
    weights = torch.randn(40, generator=rng, dtype=torch.float64)
    (found * weights).sum().backward()
    (slow * weights).sum().backward()
    assert torch.allclose(first.grad, second.grad, atol=1e-10)


def test_sets_of_one_size_are_all_there_is():
    scores = torch.tensor([0.3, -2.0, 1.0, 5.0, 0.0, -40.0], dtype=torch.float64)
    for size in range(7):
        rows = []
        for members in combinations(range(6), size):
            rows.append([k in members for k in range(6)])
        found = PlackettLuce(scores.expand(len(rows), 6)).set_log_prob(torch.tensor(rows))
        assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_large_scores_stay_finite():
    """exp would leave float32 at 88, and half precision sooner."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.tensor([[300.0, -300.0, 0.0, 299.0]], dtype=dtype, requires_grad=True)
        here, drawn = torch.ones(1, 4, dtype=torch.bool), torch.tensor([[0, 1, 2, 0]])
        for choice in ("set", "order"):
            found = choice_log_prob(scores, here, drawn, choice)
            assert found.dtype == torch.float32
            assert -1300 < float(found.detach()) < -500
            (grad,) = torch.autograd.grad(found.sum(), scores)
            assert torch.isfinite(grad).all()


def test_the_largest_set_and_one_too_large():
    scores = torch.randn(1, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here = torch.ones(1, 30, dtype=torch.bool)
    drawn = torch.zeros(1, 30, dtype=torch.long)
    drawn[0, :10] = torch.arange(1, 11)
    members = [round(w) for w in (scores[0].exp() * 1e6).tolist()]
    exact = float(set_chance(members, list(range(10))))
    assert float(choice_log_prob(scores, here, drawn).exp()) == pytest.approx(exact, rel=1e-4)
    drawn[0, 10] = 11
    with pytest.raises(OptionError, match=r"set of 11 items.*log_prob"):
        choice_log_prob(scores, here, drawn)
    assert torch.isfinite(choice_log_prob(scores, here, drawn, "order")).all()


def test_sets_have_the_mean_of_their_orders_gradients():
    """So the set's gradient is the order's, with the order's own noise averaged out."""
    weights = [1, 2, 3, 5]
    scores = torch.tensor([weights], dtype=torch.float64).log()
    here = torch.ones(1, 4, dtype=torch.bool)
    for members in combinations(range(4), 2):
        by_order = torch.zeros(1, 4, dtype=torch.float64)
        for order in permutations(members):
            drawn = torch.zeros(1, 4, dtype=torch.long)
            drawn[0, list(order)] = torch.tensor([1, 2])
            own = scores.clone().requires_grad_()
            choice_log_prob(own, here, drawn, "order").backward()
            by_order += float(chance_of(weights, order)) * own.grad
        own = scores.clone().requires_grad_()
        choice_log_prob(own, here, drawn).backward()
        assert torch.allclose(by_order, float(set_chance(weights, members)) * own.grad, atol=1e-12)


def success_of_pairs(scores):
    """Exactly: two pairs of two equal symbols, two positions a step, tokens by their marginals."""
    total = scores.new_zeros(())
    for members in combinations(range(4), 2):
        inside = torch.tensor([k in members for k in range(4)])
        # A pair at once is drawn twice by the marginal, and the other pair in the step after.
        whole = 0.25 if members in ((0, 1), (2, 3)) else 1.0
        total = total + PlackettLuce(scores).set_log_prob(inside).exp() * whole
    return total


@pytest.mark.parametrize("choice", ["set", "order"])
def test_the_policy_gradient_of_the_toy_is_that_of_its_success(choice):
    """Three quarters at the start; the expectation of the estimator, over all trajectories."""
    start = torch.zeros(4, dtype=torch.float64)
    assert float(success_of_pairs(start)) == pytest.approx(0.75)
    for scores in (start, torch.tensor([0.5, -1.0, 0.2, 0.9], dtype=torch.float64)):
        own = scores.clone().requires_grad_()
        success_of_pairs(own).backward()
        expected, estimate = own.grad, torch.zeros(4, dtype=torch.float64)
        for order in permutations(range(4), 2):
            rest = [k for k in range(4) if k not in order]
            steps, places = torch.full((1, 4), 2), torch.ones(1, 4, dtype=torch.long)
            steps[0, list(order)] = 1
            places[0, [order[1], rest[1]]] = 2
            path = Unmasking(steps, places)
            own = scores.clone().requires_grad_()
            log = own.new_zeros(1)
            for step in (1, 2):
                log = log + choice_log_prob(own[None], path.eligible(step), path.now(step), choice)
            log.sum().backward()
            reward = 0.25 if sorted(order) in ([0, 1], [2, 3]) else 1.0
            chance = PlackettLuce(scores).log_prob(torch.tensor(order)).exp()
            estimate += chance * reward * own.grad
        assert torch.allclose(estimate, expected, atol=1e-12)


def test_what_is_not_eligible_never_enters():
    rng = torch.Generator().manual_seed(1)
    scores = torch.randn(5, 9, generator=rng)
    eligible = torch.rand(5, 9, generator=rng) < 0.6
    places = torch.zeros(5, 9, dtype=torch.long)
    for row in range(5):
        some = eligible[row].nonzero().squeeze(-1)[: 1 + row % 3]
        places[row, some] = torch.arange(1, len(some) + 1)
    for choice in ("set", "order"):
        found = choice_log_prob(scores, eligible, places, choice)
        for value in (1e9, -1e9, torch.nan, torch.inf):
            other = scores.masked_fill(~eligible, value)
            assert torch.equal(found, choice_log_prob(other, eligible, places, choice))
    with pytest.raises(OptionError, match="not eligible"):
        choice_log_prob(scores, eligible & (places == 0), places)
    with pytest.raises(OptionError, match="use 'set' or 'order'"):
        choice_log_prob(scores, eligible, places, "sets")
    with pytest.raises(OptionError, match="padding"):
        PlackettLuce(scores, eligible).set_log_prob(~eligible)


def test_tokens_at_the_temperature_of_sampling():
    logits = torch.tensor([[[2.0, 0.0], [1.0, -torch.inf], [0.5, 0.5]]]).expand(2, 3, 2)
    ids = torch.tensor([[0, 0, 1], [1, 0, 1]])
    chosen = torch.tensor([[True, True, False], [True, False, True]])
    found = token_log_prob(logits, ids, chosen, 2.0)
    one, two = torch.tensor([1.0, 0.0]).log_softmax(0).tolist()
    assert found.tolist() == pytest.approx([one, two - 0.6931472], abs=1e-6)
    assert torch.equal(found, token_log_prob(logits, ids.masked_fill(~chosen, 0), chosen, 2.0))
    assert token_log_prob(logits, ids, chosen & False, 1.0).tolist() == [0, 0]
    with pytest.raises(OptionError, match="above 0"):
        token_log_prob(logits, ids, chosen, 0.0)


def test_steps_are_made_again():
    """Two rows of a prompt of one and two blocks of two; the second row takes its time."""
    steps = torch.tensor([[0, 1, 1, 2, 2], [0, 2, 1, 4, 3]])
    places = torch.tensor([[0, 2, 1, 1, 2], [0, 1, 1, 1, 1]])
    blocks = torch.tensor([[0, 1, 1, 2, 2]]).expand(2, 5)
    path = Unmasking(steps, places, blocks)
    assert path.count == 4
    assert path.masked(1).tolist() == [[False, True, True, True, True]] * 2
    assert path.eligible(1).tolist() == [[False, True, True, False, False]] * 2
    assert path.eligible(2).int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]
    assert path.eligible(4).int().tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert path.now(1).tolist() == [[0, 2, 1, 0, 0], [0, 0, 1, 0, 0]]
    whole = Unmasking(steps, places)
    assert whole.eligible(1).int().tolist() == [[0, 1, 1, 1, 1]] * 2
    assert whole.eligible(3).int().tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert torch.equal(path.take(torch.tensor([1])).steps, steps[1:])
    # A row that is done has no part in a step.
    scores = torch.zeros(2, 5)
    assert choice_log_prob(scores, whole.eligible(3), whole.now(3)).tolist() == pytest.approx(
        [0, -0.6931472]
    )


def test_paths_that_are_none_are_refused():
    steps, places = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 2]])
    for wrong, told in (
        ((steps[0], places[0]), "must be"),
        ((steps, places[:, 1:]), "places"),
        ((steps, places, steps[:, 1:]), "blocks"),
        ((steps, places * 0), "each position with a step"),
    ):
        with pytest.raises(OptionError, match=told):
            Unmasking(*wrong)
    with pytest.raises(OptionError, match="two blocks"):
        Unmasking(steps, places, torch.tensor([[0, 1, 2]])).eligible(1)


def test_rewards_of_a_group_by_hand():
    gain = group_advantage(torch.tensor([1.0, -1, -1, -1]), scale="sample")
    assert gain.tolist() == pytest.approx([1.49985, -0.49995, -0.49995, -0.49995], abs=1e-5)
    assert without_ties(group_advantage(torch.ones(4), scale="sample")).isnan().all()


def test_drawn_sets_come_as_often_as_they_should():
    scores = torch.tensor([0.0, 1.0, -1.0, 2.0])
    policy, members = PlackettLuce(scores), torch.tensor([False, True, True, False])
    drawn = policy.sample(40_000, k=2, generator=torch.Generator().manual_seed(0))
    both = ((drawn == 1) | (drawn == 2)).all(dim=-1).double().mean()
    chance = float(policy.set_log_prob(members).exp())
    assert abs(float(both) - chance) < 4 * (chance * (1 - chance) / 40_000) ** 0.5
