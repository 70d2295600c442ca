"""Reward models, gains of rankings, advantages and segments: one by one."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from policyrank.learn.advantages import of_shares, standardised
from policyrank.learn.distributions import PlackettLuce
from policyrank.learn.losses.policy_gradient import pg_rank
from policyrank.learn.rewards.models import (
    bradley_terry_reward,
    discriminator_oracle,
    plackett_luce_reward,
)
from policyrank.learn.segments import segment_mean, segment_sum, step_weights
from policyrank.learn.utilities import (
    ndcg_gains,
    precision_gains,
    recall_gains,
    reciprocal_rank_gains,
)
from ragged import (
    LISTS,
    Lists,
    N,
    agrees,
    choices_twin,
    log_softmax,
    nll_of_best,
    of_deviation,
    pair_twin,
    softplus,
    tensors,
)


def kept_twin(lists, loss, centre, imitation):
    def twin(row):
        s = lists.of("s", row)
        squares = [(s[i] + s[j]) ** 2 for i in range(len(s)) for j in range(i)]
        imitated = nll_of_best(lists, row, lists.reference)
        return loss(row) + centre * np.mean(squares) + imitation * imitated

    return twin


@pytest.mark.parametrize(("centre", "imitation"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.1, 0.4)])
def test_losses_of_reward_models(centre, imitation):
    lists = Lists(28)
    kept = {"centre": centre, "log_probs": torch.tensor(lists.reference), "imitation": imitation}
    for margin, per_label, pairs in ((0.0, 0.0, "mean"), (0.5, 0.0, "sum"), (0.2, 0.3, "mean")):

        def short(gap, wanted, margin=margin, per_label=per_label):
            return softplus(margin + per_label * wanted - gap)

        pair = pair_twin(lists, short, pairs)
        options = {"margin": margin, "margin_per_label": per_label, "pairs": pairs}
        twin = kept_twin(lists, pair, centre, imitation)
        agrees(bradley_terry_reward, lists, twin, **kept, **options)
    for k, places in ((None, "mean"), (2, "sum")):
        order = choices_twin(lists, k, False, places)
        twin = kept_twin(lists, order, centre, imitation)
        agrees(plackett_luce_reward, lists, twin, k=k, places=places, **kept)
    if not centre and not imitation:
        agrees(bradley_terry_reward, lists, pair_twin(lists, lambda gap, _: softplus(-gap)))
        agrees(plackett_luce_reward, lists, choices_twin(lists, None, False, "mean"))


def test_rewards_of_policies_that_are_told_apart():
    policies = np.random.default_rng(29).dirichlet(np.ones(4), 3)
    found = discriminator_oracle(torch.tensor(policies), 2).numpy()
    for a in range(4):
        for b in range(4):
            joint = [0.0, 0.0]
            for own in range(3):
                for other in range(3):
                    if own != other:
                        joint[0] += policies[own, 2] * policies[own, a] * policies[other, b]
                        joint[1] += policies[own, 2] * policies[own, b] * policies[other, a]
            assert found[a, b] == pytest.approx(np.log(joint[0]) - np.log(joint[1]))


def test_gains_at_each_place():
    lists = Lists(30)
    lists.y[4, :] = 0
    rng = np.random.default_rng(0)
    rankings = np.array([[rng.permutation(N)[:3] for _ in range(LISTS)] for _ in range(4)])
    y, where = torch.tensor(lists.y), torch.tensor(lists.where)
    given = (y, torch.tensor(rankings), where)
    found = {
        "ndcg": ndcg_gains(*given),
        "linear": ndcg_gains(*given, exponential=False),
        "rank": reciprocal_rank_gains(*given),
        "recall": recall_gains(*given),
        "precision": precision_gains(*given),
    }
    for draw in range(4):
        for row in range(LISTS):
            own = np.where(lists.where[row], lists.y[row], 0)
            positive = [bool(own[item] > 0) for item in rankings[draw, row]]
            number = max((own > 0).sum(), 1)
            for name, gain in (("ndcg", 2**own - 1), ("linear", own)):
                best = np.sort(gain)[::-1][:3]
                ideal = sum(g / math.log2(p + 2) for p, g in enumerate(best))
                for p, item in enumerate(rankings[draw, row]):
                    slow = gain[item] / math.log2(p + 2) / ideal if ideal else 0.0
                    assert float(found[name][draw, row, p]) == pytest.approx(slow)
            for p in range(3):
                first = positive[p] and not any(positive[:p])
                assert float(found["rank"][draw, row, p]) == pytest.approx(first / (p + 1))
                assert float(found["recall"][draw, row, p]) == pytest.approx(positive[p] / number)
                assert float(found["precision"][draw, row, p]) == pytest.approx(positive[p] / 3)


@pytest.mark.parametrize("scale", [True, False])
def test_advantages_in_a_group(scale):
    lists = Lists(31)
    rewards, where = torch.tensor(lists.s), torch.tensor(lists.where)
    options = {} if scale else {"scale": False}
    found = standardised(rewards, where, **options)
    shares = of_shares(rewards, where, temperature=0.5, standardise=False)
    default = of_shares(rewards, where)
    for row in range(LISTS):
        own, shown = lists.of("s", row), lists.shown(row)
        slow = of_deviation(own) if scale else own - own.mean()
        assert found[row].numpy()[shown] == pytest.approx(slow)
        assert (found[row][~where[row]] == 0).all()
        slow = of_deviation(np.exp(log_softmax(own / 0.5)))
        assert shares[row].numpy()[shown] == pytest.approx(slow)
        slow = of_deviation(np.exp(log_softmax(of_deviation(own))))
        assert default[row].numpy()[shown] == pytest.approx(slow)
    level = standardised(torch.full((1, 3), 0.7), torch.ones(1, 3).bool(), **options)
    assert (level == 0).all()


def test_segments_one_by_one():
    rng = np.random.default_rng(32)
    index = rng.integers(0, 4, (2, 3, 8))
    values, states = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8, 5))
    at = torch.tensor(index)
    sums = segment_sum(torch.tensor(values), at, 4)
    means = segment_mean(torch.tensor(values), at, 4)
    hidden = segment_mean(torch.tensor(states), at, 4)
    assert (sums.shape, hidden.shape) == ((2, 3, 4), (2, 3, 4, 5))
    for place in np.ndindex(2, 3):
        for segment in range(1, 5):
            own = index[place] == segment
            mean = values[place][own].mean() if own.any() else 0.0
            vector = states[place][own].mean(axis=0) if own.any() else np.zeros(5)
            assert float(sums[place][segment - 1]) == pytest.approx(values[place][own].sum())
            assert float(means[place][segment - 1]) == pytest.approx(mean)
            assert hidden[place][segment - 1].numpy() == pytest.approx(vector)


@pytest.mark.parametrize("kind", ["ones", "similar", "different", "exp"])
def test_weights_of_steps(kind):
    rng = np.random.default_rng(33)
    steps = rng.normal(size=(2, 3, 4, 5))
    present = rng.random((2, 3, 4)) > 0.3
    present[:, :, 0] = True
    best = np.array([1, 2])
    found = step_weights(torch.tensor(steps), torch.tensor(present), torch.tensor(best), kind)
    rule = {
        "ones": lambda c: 1.0,
        "similar": lambda c: 1 + c,
        "different": lambda c: 1 - c,
        "exp": lambda c: np.exp(-c),
    }[kind]
    for row in range(2):
        for answer in range(3):
            weight = np.zeros(4)
            for step in np.flatnonzero(present[row, answer]):
                one, other = steps[row, answer, step], steps[row, best[row], step]
                cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                weight[step] = rule(cosine if present[row, best[row], step] else 0.0)
            mean = weight.sum() / present[row, answer].sum()
            slow = weight / mean if mean > 1e-8 else present[row, answer].astype(float)
            assert found[row, answer].numpy() == pytest.approx(slow)
    if kind == "similar":
        default = step_weights(torch.tensor(steps), torch.tensor(present), torch.tensor(best))
        assert default.tolist() == found.tolist()


def slow_surrogate(lists, row, rankings, gains, baseline, to_go, temperature):
    """Each draw's advantage times the log-probability of its choices, a place at a time."""
    k, total = gains.shape[1], 0.0
    reward = np.array([[own[p:].sum() if to_go else own.sum() for p in range(k)] for own in gains])
    draws = len(reward)
    others = (reward.sum(axis=0) - reward) / (draws - 1)
    spread = reward.std(axis=0, ddof=1)
    centred = reward - reward.mean(axis=0)
    weight = {
        "none": reward,
        "loo": reward - others,
        "mean": centred,
        "std": np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12),
        "rank": np.sign(reward[:, None] - reward[None]).sum(axis=1) / (draws - 1),
    }[baseline]
    for own, ranking in zip(weight, rankings, strict=True):
        left = set(lists.shown(row).tolist())
        for value, item in zip(own, ranking, strict=True):
            if item in left:
                s = lists.s[row] / temperature
                total += value * (s[item] - np.log(sum(np.exp(s[j]) for j in left)))
                left.remove(item)
    return -total / draws


@pytest.mark.parametrize("baseline", ["none", "loo", "mean", "std", "rank"])
@pytest.mark.parametrize("to_go", [True, False])
def test_expected_utilities_by_their_surrogate(baseline, to_go):
    lists = Lists(35)
    given = tensors(lists, "where")
    s, y = torch.tensor(lists.s), torch.tensor(lists.y)
    for k, temperature, draws in ((10, 1.0, 16), (2, 0.5, 5)):
        policy = PlackettLuce(s, given["where"], temperature)
        rankings = policy.sample(draws, k, torch.Generator().manual_seed(3))
        gains = precision_gains(y, rankings, given["where"])
        options = {"baseline": baseline, "reward_to_go": to_go}
        if draws == 5:
            options |= {"k": 2, "temperature": 0.5, "samples": 5}
        found = pg_rank(
            s, y, utility="precision", generator=torch.Generator().manual_seed(3),
            reduce="none", **given, **options,
        )  # fmt: skip
        for row in range(LISTS):
            own = rankings[:, row].numpy(), gains[:, row].numpy()
            slow = slow_surrogate(lists, row, *own, baseline, to_go, temperature)
            asks = np.ptp(lists.of("y", row)) > 0
            assert found[row].item() == pytest.approx(slow if asks else 0.0)


def test_expected_ndcg_is_what_is_raised_by_default():
    lists = Lists(36)
    s, y = torch.tensor(lists.s), torch.tensor(lists.y)
    drawn = torch.Generator().manual_seed(0)
    told = {"utility": "ndcg", "k": 10, "samples": 16, "baseline": "loo", "reward_to_go": True}
    default = pg_rank(s, y, generator=drawn)
    same = pg_rank(s, y, generator=torch.Generator().manual_seed(0), temperature=1.0, **told)
    assert default.item() == same.item()
    with pytest.raises(ValueError, match="at least two samples, not 1"):
        pg_rank(s, y, samples=1)
    assert torch.isfinite(pg_rank(s, y, samples=1, baseline="none"))
    with pytest.raises(ValueError, match="use none, loo, mean, std, rank"):
        pg_rank(s, y, baseline="median")
