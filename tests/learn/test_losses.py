"""Distributions, losses, utilities, advantages and curricula: card values, enumeration, independent
packages, properties.
"""

import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck

from generators import lists
from policyrank.learn import (
    EASINESS,
    LOSSES,
    UTILITIES,
    BradleyTerry,
    Curriculum,
    Mallows,
    PlackettLuce,
    losses,
)
from policyrank.learn.curricula import kde, normalised_score, reciprocal_rank
from policyrank.learn.losses.pairwise import LAMBDA_WEIGHTS
from policyrank.learn.utilities import ndcg_gains
from twins import expected_utility

OPTIONS = {"ordinal": {"cutoffs": torch.tensor([0.0, 1.0, 2.0])}}
SMOOTH = [n for n in LOSSES if n not in ("hinge", "pg-rank") and not n.startswith("lambda")]


def call(name, scores, labels, **options):
    return LOSSES[name](scores, labels, **OPTIONS.get(name, {}), **options)


# Plackett-Luce ------------------------------------------------------------------------------------
# ------------------------------


def test_plackett_luce_card_values():
    policy = PlackettLuce(torch.tensor([3.0, 2.0, 1.0]).log())
    assert policy.log_prob(torch.tensor([[0, 1, 2], [2, 1, 0]])).exp().tolist() == pytest.approx(
        [1 / 3, 1 / 15]
    )
    for n in (2, 5, 9):
        assert PlackettLuce(torch.zeros(n)).entropy(samples=4).item() == pytest.approx(
            math.lgamma(n + 1), abs=1e-4
        )


@pytest.mark.parametrize("k", [1, 2, 4])
def test_probabilities_of_prefixes_sum_to_one(k):
    policy = PlackettLuce(torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64))
    prefixes = torch.tensor(list(permutations(range(4), k)))
    assert policy.log_prob(prefixes).exp().sum().item() == pytest.approx(1)


def test_samples_have_the_probabilities_and_respect_masks():
    scores = torch.tensor([[0.5, -0.5, 1.0, 9.0], [0.0, 2.0, float("nan"), float("nan")]])
    where = torch.tensor([[True, True, True, False], [True, True, False, False]])
    policy = PlackettLuce(scores, where=where)
    draws = policy.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (20_000, 2, 4)
    assert (draws[:, 0, 3] == 3).all()
    found = policy.rank_probabilities()
    for place in range(3):
        share = torch.bincount(draws[:, 0, place], minlength=4) / 20_000
        assert share.tolist() == pytest.approx(found[0, :, place].tolist(), abs=0.015)
    assert found[1, 1, 0].item() == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-6)
    assert found.sum(dim=-1) == pytest.approx(np.ones((2, 4)), abs=1e-5)
    top = policy.sample(20_000, k=1, generator=torch.Generator().manual_seed(1))[:, 0, 0]
    assert (torch.bincount(top, minlength=4) / 20_000).tolist() == pytest.approx(
        found[0, :, 0].tolist(), abs=0.015
    )
    assert policy.mode().tolist() == [[2, 0, 1, 3], [1, 0, 2, 3]]
    assert torch.isfinite(policy.log_prob(draws[:5])).all()


def test_entropy_and_divergence_estimated_as_enumerated():
    g = torch.Generator().manual_seed(0)
    p, q = (PlackettLuce(torch.randn(6, generator=g, dtype=torch.float64)) for _ in range(2))
    exact = p.entropy().item(), p.kl(q).item()
    import policyrank.learn.distributions as module

    module.EXACT = 0
    try:
        estimated = p.entropy(4000).item(), p.kl(q, 4000).item()
        assert p.kl(p).item() == pytest.approx(0, abs=1e-9)
    finally:
        module.EXACT = 7
    assert estimated == pytest.approx(exact, rel=0.03)
    assert exact[1] > 0
    both = PlackettLuce(torch.stack([p.scores, q.scores]))
    other = PlackettLuce(torch.stack([q.scores, q.scores]))
    assert both.entropy().tolist() == pytest.approx([p.entropy().item(), q.entropy().item()])
    assert both.kl(other).tolist() == pytest.approx([p.kl(q).item(), 0])


def test_tied_orders():
    scores = torch.tensor([0.4, -0.3, 1.1, 0.0], dtype=torch.float64)
    policy = PlackettLuce(scores)
    strict = torch.tensor([3.0, 1.0, 4.0, 2.0], dtype=torch.float64)
    assert policy.log_prob_labels(strict).item() == pytest.approx(
        policy.log_prob(torch.tensor([2, 0, 3, 1])).item()
    )
    # One tie at the top: exact probability is the sum over both orders; Efron comes close, a last
    # group is free.
    tied = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    exact = sum(policy.log_prob(torch.tensor(o)).exp() for o in ([0, 2], [2, 0])).log().item()
    assert policy.log_prob_labels(tied).item() == pytest.approx(exact - math.log(2), abs=0.05)
    assert policy.log_prob_labels(torch.ones(4)).item() == 0
    assert policy.log_prob_labels(tied, "breslow").item() < policy.log_prob_labels(tied).item()


@given(st.integers(0, 10_000), st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
@settings(max_examples=30, deadline=None)
def test_half_precision_is_safe(seed, dtype):
    scores, labels, where = lists(seed, dtype=torch.float32)
    s = (scores * 30).to(dtype).requires_grad_()
    for name in LOSSES:
        y = (labels > 1).to(dtype) if name == "sigmoid" else labels.to(dtype)
        loss = call(name, s, y, where=where)
        (grad,) = torch.autograd.grad(loss, s)
        assert torch.isfinite(loss), name
        assert torch.isfinite(grad).all(), name


def test_mallows():
    centre = torch.tensor([2, 0, 1, 3])
    model = Mallows(centre, 0.7)
    orders = torch.tensor(list(permutations(range(4))))
    assert model.log_prob(orders).exp().sum().item() == pytest.approx(1)
    draws = model.sample(40_000, torch.Generator().manual_seed(0))
    assert draws.sort(dim=-1).values.eq(torch.arange(4)).all()
    share = (draws[:, None] == orders).all(dim=-1).float().mean(dim=0)
    assert share.tolist() == pytest.approx(model.log_prob(orders).exp().tolist(), abs=0.01)
    assert model.distance(centre).item() == 0
    with pytest.raises(ValueError, match="dispersion"):
        Mallows(centre, -1)


def test_bradley_terry():
    model = BradleyTerry(torch.tensor([1.0, 0.0]))
    i, j = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert model.probabilities()[0, 1].item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert model.log_prob(i, j, 1.0).exp().sum().item() == pytest.approx(1)
    many = model.sample(
        torch.zeros(9000, dtype=torch.long),
        torch.ones(9000, dtype=torch.long),
        torch.Generator().manual_seed(0),
    )
    assert many.mean().item() == pytest.approx(0.731, abs=0.015)


# Losses -------------------------------------------------------------------------------------------
# ------------------------------


def test_ranklist_card_values():
    y = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    for s, values in (
        ((2.0, 1.0, 0.0), (0.626523, 0.551445, 0.753451, 0.626523)),
        ((0.0, 0.0, 0.0), (1.386294, 1.098612, 2.079442, 1.386294)),
        ((0.0, 1.0, 2.0), (2.626523, 1.861995, None, None)),
    ):
        x = torch.tensor(s, dtype=torch.float64)
        found = [
            losses.ranklist(x, y),
            losses.ranklist(x, y, form="lse"),
            losses.ranklist(x, y, skip=None),
            losses.ranklist(x, y, skip=None, form="lse"),
        ]
        for got, want in zip(found, values, strict=True):
            assert want is None or got.item() == pytest.approx(want, abs=1e-6)
    two = torch.tensor([0.3, -0.4]), torch.tensor([1.0, 0.0])
    want = math.log1p(math.exp(-0.7))
    for name in ("ranklist", "ranklist-lse", "ranknet", "listmle"):
        assert call(name, *two).item() == pytest.approx(want, abs=1e-6)
    assert losses.listmle(torch.zeros(3), torch.tensor([2.0, 1.0, 0.0])).item() == pytest.approx(
        math.log(6)
    )
    assert losses.softmax_cross_entropy(torch.zeros(8), torch.eye(8)[0]).item() == pytest.approx(
        math.log(8)
    )
    assert losses.pair_softmax(torch.zeros(2), torch.tensor([1.0, 0.0])).item() == 0.5
    assert [losses.skip_schedule(e, every=5) for e in (0, 5, 10, 99)] == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("scores", "labels", "k", "utility", "gradient"),
    [
        ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 3, 0.710310, (0.118385, -0.059192, -0.059192)),
        ((1.0, 0.0, -1.0), (0.0, 0.0, 1.0), 3, 0.572260, (-0.028010, -0.030989, 0.058999)),
        ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1, 1 / 3, (2 / 9, -1 / 9, -1 / 9)),
    ],
)
@pytest.mark.parametrize(
    ("baseline", "to_go"), [("none", False), ("loo", False), ("none", True), ("loo", True)]
)
def test_policy_gradient_is_unbiased(scores, labels, k, utility, gradient, baseline, to_go):
    s, y = torch.tensor(scores, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)
    x = s.clone().requires_grad_()
    value = expected_utility(x, y, k)
    assert value.item() == pytest.approx(utility, abs=1e-6)
    assert torch.autograd.grad(value, x)[0].tolist() == pytest.approx(gradient, abs=1e-6)
    many = s.expand(40_000, 3).clone().requires_grad_()
    loss = losses.pg_rank(
        many,
        y.expand(40_000, 3),
        k=k,
        samples=8,
        baseline=baseline,
        reward_to_go=to_go,
        reduce="none",
        generator=torch.Generator().manual_seed(0),
    )
    got = -torch.autograd.grad(loss.sum(), many)[0]
    error = got.std(dim=0) / math.sqrt(len(got))
    assert (
        (got.mean(dim=0) - torch.tensor(gradient, dtype=torch.float64)).abs() < 5 * error + 1e-9
    ).all()
    assert got.sum(dim=-1).abs().max() < 1e-9


def test_baselines_reduce_the_variance():
    g = torch.Generator().manual_seed(0)
    s, y = (
        torch.randn(6, generator=g).expand(3000, 6),
        torch.randint(0, 3, (6,), generator=g).float().expand(3000, 6),
    )
    variance = {}
    for baseline in ("none", "loo"):
        for to_go in (False, True):
            x = s.clone().requires_grad_()
            losses.pg_rank(
                x,
                y,
                k=3,
                samples=8,
                baseline=baseline,
                reward_to_go=to_go,
                reduce="sum",
                generator=g,
            ).backward()
            variance[baseline, to_go] = x.grad.var(dim=0).sum().item()
    assert variance["loo", False] < 0.8 * variance["none", False]
    assert variance["loo", True] < 0.8 * variance["loo", False]


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_numerically(name):
    scores, labels, where = lists(n=5)
    labels = (labels > 1).double() if name == "sigmoid" else labels
    assert gradcheck(
        lambda s: call(name, s, labels, where=where), scores.requires_grad_(), atol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_contract(name):
    """Shapes, reductions, padding, order of the list, silent lists."""
    scores, labels, where = lists()
    labels = (labels > 1).double() if name == "sigmoid" else labels
    options = {"generator": torch.Generator().manual_seed(0)} if name == "pg-rank" else {}
    each = call(name, scores, labels, where=where, reduce="none", **options)
    assert each.shape == (4,)
    if name != "pg-rank":
        assert call(name, scores, labels, where=where, reduce="sum").item() == pytest.approx(
            each.sum().item()
        )
        # What is masked may be anything, and padding changes nothing.
        dirty = torch.where(where, scores, torch.nan)
        assert torch.allclose(
            call(name, dirty, torch.where(where, labels, torch.nan), where=where, reduce="none"),
            each,
        )
        pad = torch.zeros(4, 3, dtype=torch.float64)
        padded = [torch.cat([x, pad.to(x.dtype)], dim=-1) for x in (scores, labels, where)]
        assert torch.allclose(
            call(name, padded[0], padded[1], where=padded[2], reduce="none"), each
        )
        distinct = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        distinct = (
            torch.round(distinct)
            if name == "sigmoid"
            else distinct.argsort(dim=-1).double() % 4
            if name == "ordinal"
            else distinct.argsort(dim=-1).double()
        )
        shuffle = torch.randperm(6, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(
            call(
                name,
                scores[:, shuffle],
                distinct[:, shuffle],
                where=where[:, shuffle],
                reduce="none",
            ),
            call(name, scores, distinct, where=where, reduce="none"),
        )
        batched = call(
            name,
            scores.reshape(2, 2, 6),
            labels.reshape(2, 2, 6),
            where=where.reshape(2, 2, 6),
            reduce="none",
        )
        assert torch.allclose(batched.flatten(), each)
    # Lists that are empty say nothing, and leave the mean alone.
    nothing = torch.cat([scores, scores[:1]]).requires_grad_()
    mask = torch.cat([where, torch.zeros(1, 6, dtype=torch.bool)])
    options = {"generator": torch.Generator().manual_seed(0)} if name == "pg-rank" else {}
    out = call(name, nothing, torch.cat([labels, labels[:1]]), where=mask, reduce="none", **options)
    assert out[-1] == 0
    out.sum().backward()
    assert torch.isfinite(nothing.grad).all()
    assert (nothing.grad[~mask] == 0).all()
    flat = call(name, scores, torch.zeros_like(labels), where=where, **options)
    assert torch.isfinite(flat)
    with pytest.raises(ValueError, match="hold no list"):
        call(name, torch.zeros(2, 0), torch.zeros(2, 0))
    with pytest.raises(ValueError, match="one shape"):
        call(name, torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="reduce"):
        call(name, scores, labels, reduce="median")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mse", "pointwise_mse_loss"),
        ("sigmoid", "pointwise_sigmoid_loss"),
        ("ranknet", "pairwise_logistic_loss"),
        ("hinge", "pairwise_hinge_loss"),
        ("margin-mse", None),
        ("softmax", "softmax_loss"),
        ("listmle", "listmle_loss"),
    ],
)
def test_shared_losses_equal_rax(ours, theirs):
    rax = pytest.importorskip("rax")
    scores, labels, where = lists(seed=3, dtype=torch.float32)
    labels = torch.tensor(
        np.random.default_rng(0).permuted(np.tile(np.arange(6.0), (4, 1)), axis=1),
        dtype=torch.float32,
    )
    labels = (labels > 2).float() if ours == "sigmoid" else labels
    each = call(ours, scores, labels, where=where, reduce="none")
    for k in range(4):
        s, y, w = scores[k].numpy(), labels[k].numpy(), where[k].numpy()
        if theirs is None:
            a, b = s[w][:, None] - s[w], y[w][:, None] - y[w]
            want = ((a - b) ** 2)[b > 0].mean() if (b > 0).any() else 0.0
        else:
            want = float(getattr(rax, theirs)(s, y, where=w))
        assert each[k].item() == pytest.approx(want, rel=1e-4, abs=1e-5), (ours, k)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("lambdarank", "LambdaRankScheme"),
        ("ndcg-1", "NDCGLoss1Scheme"),
        ("ndcg-2", "NDCGLoss2Scheme"),
        ("ndcg-2pp", "NDCGLoss2PPScheme"),
    ],
)
def test_lambda_weights_equal_sentence_transformers(ours, theirs):
    module = pytest.importorskip("sentence_transformers.cross_encoder.losses.LambdaLoss")
    scores, labels, _ = lists(seed=5)
    order = scores.argsort(dim=-1, descending=True)
    y = labels.gather(-1, order)
    gain = (2**y - 1) / (
        (2 ** labels.sort(dim=-1, descending=True).values - 1) / torch.log2(torch.arange(2, 8.0))
    ).sum(dim=-1, keepdim=True)
    discount = torch.log2(torch.arange(2, 8, dtype=torch.float64))[None]
    want = getattr(module, theirs)()(gain, discount, y)
    got = LAMBDA_WEIGHTS[ours](scores, labels, torch.ones_like(scores, dtype=torch.bool), None)
    got = got.gather(-2, order[..., None].expand(4, 6, 6)).gather(
        -1, order[:, None, :].expand(4, 6, 6)
    )
    assert torch.allclose(got, want.expand(4, 6, 6).double(), atol=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_properties(seed):
    scores, labels, where = lists(seed)
    for name in (
        "ranknet",
        "hinge",
        "listmle",
        "p-listmle",
        "listnet",
        "ranklist",
        "ranklist-lse",
        "approx-ndcg",
        "neural-ndcg",
        "lambdarank",
    ):
        shifted = call(name, scores + 3.0, labels, where=where, reduce="none")
        assert torch.allclose(
            shifted, call(name, scores, labels, where=where, reduce="none"), atol=1e-8
        ), name
        x = scores.clone().requires_grad_()
        call(name, x, labels, where=where, reduce="sum").backward()
        assert x.grad.sum(dim=-1).abs().max() < 1e-8, name
    for skip in (1, 2, None):
        terms = losses.ranklist(scores, labels, where=where, skip=skip, reduce="none")
        lse = losses.ranklist(scores, labels, where=where, skip=skip, form="lse", reduce="none")
        assert (lse <= terms + 1e-9).all()
    every = losses.ranklist(scores, labels, where=where, skip=None, reduce="none")
    assert torch.allclose(
        every, losses.ranknet(scores, labels, where=where, pairs="sum", reduce="none")
    )


def test_approximations_come_close_to_ndcg():
    scores, labels, where = lists(seed=8)
    exact = ndcg_gains(labels, PlackettLuce(scores, where=where).mode()[None], where).sum(dim=-1)[0]
    assert torch.allclose(
        1 - losses.approx_ndcg(scores, labels, where=where, temperature=1e-3, reduce="none"),
        exact,
        atol=1e-3,
    )
    assert torch.allclose(
        1 - losses.neural_ndcg(scores, labels, where=where, temperature=1e-3, reduce="none"),
        exact,
        atol=1e-3,
    )


def test_utilities():
    y = torch.tensor([0.0, 2.0, 1.0, 0.0])
    r = torch.tensor([[1, 0, 2], [0, 3, 2]])
    ones = torch.ones(4, dtype=torch.bool)
    ideal = 3 + 1 / math.log2(3)
    want = {
        "ndcg": [(3 + 0.5) / ideal, 0.5 / ideal],
        "reciprocal-rank": [1, 1 / 3],
        "recall": [1, 0.5],
        "precision": [2 / 3, 1 / 3],
        "ndcg-linear": [(2 + 0.5) / (2 + 1 / math.log2(3)), 0.5 / (2 + 1 / math.log2(3))],
    }
    assert want.keys() == UTILITIES.keys()
    for name, value in want.items():
        assert UTILITIES[name](y, r, ones).sum(dim=-1).tolist() == pytest.approx(value, abs=1e-6)
    assert (ndcg_gains(torch.zeros(4), r, ones) == 0).all()


def test_padding_gains_nothing_and_utilities_are_told_of_it():
    labels, where = torch.tensor([9.0, 2.0, 0.0]), torch.tensor([False, True, True])
    rankings = torch.tensor([[0, 1], [1, 2]])
    for name, utility in UTILITIES.items():
        found = utility(labels, rankings, where)
        assert found[0, 0] == found[1, 1] == 0, name
        unpadded = utility(labels[1:], torch.tensor([[0, 1]]), where[1:])
        assert found[1].tolist() == unpadded[0].tolist(), name
    told = []

    def utility(labels, rankings, mask):
        told.append(mask)
        return ndcg_gains(labels, rankings, mask)

    losses.pg_rank(torch.zeros(3), labels, where=where, utility=utility)
    assert torch.equal(told[0], where)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_which_lists_count_is_told_by_their_labels(name):
    """Scores and draws never change what the mean divides by: it is its lists' sum over a count."""
    labels = torch.tensor([[2.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    options = {"cutoffs": torch.tensor([0.0, 1.0])} if name == "ordinal" else {}
    counts = set()
    for seed, size in ((0, 1.0), (1, 30.0), (2, 0.01)):
        generator = torch.Generator().manual_seed(seed)
        scores = size * torch.randn(4, 4, generator=generator, dtype=torch.float64)
        found = {}
        for reduce in ("sum", "mean"):
            own = scores.clone().requires_grad_()
            if name == "pg-rank":
                options = {"generator": torch.Generator().manual_seed(seed), "samples": 2, "k": 1}
            losses.LOSSES[name](own, labels, reduce=reduce, **options).backward()
            found[reduce] = own.grad
        told = found["mean"].abs() > 1e-12
        if told.any():
            ratio = found["sum"][told] / found["mean"][told]
            counts |= set(ratio.round().tolist())
            assert (ratio - ratio.round()).abs().max() < 1e-3
    assert len(counts) == 1


@pytest.mark.parametrize("name", ["ranknet", "hinge", "listmle", "p-listmle", "listnet"])
def test_lists_of_one_leave_the_mean_alone(name):
    scores, labels = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[1.0, 0.0], [1.0, 9.0]])
    where = torch.tensor([[True, True], [True, False]])
    alone = call(name, scores[0], labels[0]).item()
    assert alone > 0
    assert call(name, scores, labels, where=where).item() == pytest.approx(alone)


def test_pg_rank_is_unbiased_over_batches():
    """Two lists of two, one place: minus the gradient of the mean probability of the better one.

    With two samples many lists gain nothing; they count in the mean all the same.
    """
    pair = torch.tensor([[0.0, 3.0], [1.0, 2.0]], dtype=torch.float64)
    scores = pair.repeat(20_000, 1).requires_grad_()
    labels = torch.tensor([[1.0, 0.0]]).expand(40_000, 2)
    generator = torch.Generator().manual_seed(0)
    loss = losses.pg_rank(scores, labels, utility="ndcg", k=1, samples=2, generator=generator)
    found = torch.autograd.grad(loss, scores)[0].reshape(-1, 2, 2).sum(dim=0)
    p = torch.sigmoid(pair[:, 0] - pair[:, 1])
    assert found[:, 0].tolist() == pytest.approx((-p * (1 - p) / 2).tolist(), abs=0.004)


# Ties, grades -------------------------------------------------------------------------------------
# ------------------------------


def choices_by_hand(s, y, place_weights):
    """Breslow's choices, item by item; each weighs as its places do on average over all orders."""
    above = [sum(b > a for b in y) for a in y]
    size = [y.count(a) for a in y]
    total = 0.0
    for score, label, first, many in zip(s, y, above, size, strict=True):
        if label > min(y):
            rest = sum(math.exp(other) for other, b in zip(s, y, strict=True) if b <= label)
            weight = sum(place_weights[first : first + many]) / many
            total += weight * (math.log(rest) - score)
    return total


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 3)), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_ties_of_labels_are_breslows(items):
    s, y = [score for score, _ in items], [label for _, label in items]
    n, lowest = len(y), y.count(min(y))
    scores, labels = torch.tensor(s, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    found = losses.listmle(scores, labels).item()
    assert found == pytest.approx(choices_by_hand(s, y, [1] * n))
    twin = PlackettLuce(scores).log_prob_labels(labels, ties="breslow").item()
    assert found == pytest.approx(-twin)
    by_place = [(2 ** (n - i) - 1) / (2 ** (n - 1) - 1) if n > 1 else 1 for i in range(1, n + 1)]
    weighed = losses.p_listmle(scores, labels).item()
    assert weighed == pytest.approx(choices_by_hand(s, y, by_place))
    for k in range(1, n + 1):
        within = choices_by_hand(s, y, [1] * k + [0] * (n - k))
        assert losses.listmle(scores, labels, k=k).item() == pytest.approx(within)
        of_choices = within / max(min(k, n - lowest), 1)
        found = losses.listmle(scores, labels, k=k, places="mean").item()
        assert found == pytest.approx(of_choices)
        found = losses.p_listmle(scores, labels, k=k).item()
        assert found == pytest.approx(choices_by_hand(s, y, by_place[:k] + [0] * (n - k)))


def test_the_generator_given_breaks_the_ties():
    scores, labels = torch.arange(6.0), torch.zeros(6)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return [losses.listmle(scores, labels, generator=generator).item() for _ in range(3)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 3


def test_a_generator_breaks_ties_at_random():
    s, y = torch.tensor([0.5, -1.0, 2.0, 0.0]).double(), torch.tensor([0.0, 0.0, 0.0, 1.0])
    orders = torch.tensor([(3, *order) for order in permutations(range(3))])
    each = -PlackettLuce(s).log_prob(orders)
    g = torch.Generator().manual_seed(0)
    found = losses.listmle(s.expand(9000, 4), y.expand(9000, 4), generator=g, reduce="none")
    assert (found[:, None] - each).abs().amin(dim=-1).max() < 1e-12
    assert found.mean().item() == pytest.approx(each.mean().item(), abs=0.02)
    tied = losses.listmle(s, torch.ones(4), generator=g)
    assert tied > 0
    assert losses.listmle(s, torch.ones(4)) == 0


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, None]))
@settings(max_examples=40, deadline=None)
def test_ranklist_counts_distances_between_labels(seed, skip):
    scores, labels, where = lists(seed, n=7)
    for form in ("sum", "lse"):
        found = losses.ranklist(scores, labels, where=where, skip=skip, form=form, reduce="none")
        for row in range(4):
            s, y = scores[row][where[row]].tolist(), labels[row][where[row]].tolist()
            place = {label: k for k, label in enumerate(sorted(set(y), reverse=True))}
            far = len(y) if skip is None else skip
            odds = [
                math.exp(s[j] - s[i])
                for i in range(len(y))
                for j in range(len(y))
                if 1 <= place[y[j]] - place[y[i]] <= far
            ]
            expected = math.log1p(sum(odds))
            if form == "sum":
                expected = sum(math.log1p(odd) for odd in odds)
            assert found[row].item() == pytest.approx(expected)


def test_ordinal_takes_cutoffs_as_numbers():
    scores, labels, where = lists(n=5)
    cutoffs = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    expected = losses.ordinal(scores, labels, cutoffs=cutoffs, where=where)
    found = losses.ordinal(scores, labels, cutoffs=[-1.0, 0.5, 2.0], where=where)
    assert found.item() == pytest.approx(expected.item())
    assert (torch.autograd.grad(expected, cutoffs)[0] != 0).all()
    assert losses.ordinal(scores, labels, cutoffs=[0, 1, 2]) > 0
    for wrong in ([1.0, 0.0], [0.0, 0.0], [0.0, math.nan], [[0.0, 1.0]], torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match="each above the last"):
            losses.ordinal(scores, labels, cutoffs=wrong)
    crossed = torch.tensor([1.0, 0.0], requires_grad=True)  # on its way while it is learned
    assert losses.ordinal(scores, labels, cutoffs=crossed) > 0
    with pytest.raises(ValueError, match="give them"):
        losses.ordinal(scores, labels)


def test_gains_of_usual_grades_are_what_they_were():
    """2^label - 1 over its ideal has no scale, and large labels need one."""
    labels = torch.randint(0, 5, (50, 8), generator=torch.Generator().manual_seed(0)).float()
    gain = torch.exp2(labels) - 1
    discount = torch.log2(torch.arange(2, 10).float())
    ideal = (gain.sort(descending=True).values / discount).sum(dim=-1, keepdim=True)
    order, shown = torch.arange(8).expand(1, 50, 8), torch.ones(50, 8, dtype=torch.bool)
    expected = gain / discount / ideal.clamp(min=1e-10)
    found = ndcg_gains(labels, order, shown)[0]  # equal to the bit on some processors only
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    large = ndcg_gains(labels + 1000, order, shown)[0]
    linear = torch.exp2(labels)
    assert torch.allclose(
        large, linear / discount / (linear.sort(descending=True).values / discount).sum(-1, True)
    )


# Curricula ----------------------------------------------------------------------------------------
# ------------------------------


def test_curriculum_card_values():
    run, y = torch.tensor([9.0, 5.0, 4.0, 3.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    ones = torch.ones(4, dtype=torch.bool)
    for epoch, value in ((0, 0.875), (5, 0.90625), (20, 1.0), (50, 1.0)):
        assert Curriculum("reciprocal-rank", 20)(run, y, ones, epoch)[0, 3].item() == pytest.approx(
            value, abs=1e-6
        )
    assert Curriculum("reciprocal-rank", 20, anti=True)(run, y, ones, 0)[
        0, 3
    ].item() == pytest.approx(0.125, abs=1e-6)
    assert Curriculum("reciprocal-rank", None)(run, y, ones, 99)[0, 3].item() == pytest.approx(
        0.875, abs=1e-6
    )
    missing = torch.tensor([-torch.inf, 9.0, 4.0, 3.0])
    assert Curriculum("reciprocal-rank", 20)(missing, y, ones, 0)[0, 1].item() == pytest.approx(
        0.0005, abs=1e-6
    )
    points = Curriculum("reciprocal-rank", 20, samples="points")
    assert points(run, y, ones, 0)[1].item() == pytest.approx(0.5, abs=1e-6)
    assert points(run, y, ones, 10)[1].item() == pytest.approx(0.75, abs=1e-6)
    assert normalised_score(
        torch.tensor([10.0, 6.0, 2.0]), torch.ones(3, dtype=torch.bool)
    ).tolist() == [1, 0.5, 0]
    three = torch.ones(3, dtype=torch.bool)
    assert kde(torch.tensor([-1.0, 0.0, 1.0]), three)[1].item() == pytest.approx(0.5)
    for rule in EASINESS.values():
        flat = rule(torch.full((3,), 2.0), three)
        assert torch.isfinite(flat).all()
    assert normalised_score(torch.full((3,), 2.0), three).tolist() == [0.5] * 3
    assert kde(torch.full((3,), 2.0), three).tolist() == [0.5] * 3
    assert reciprocal_rank(run, ones).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    mean = Curriculum("reciprocal-rank", 20, normalise=True)(run, y, ones, 0)[0, 1:].mean().item()
    assert mean == pytest.approx(1, abs=1e-6)
    batch = Curriculum("reciprocal-rank", 20, batch_mean=True)(run, y, ones, 0)
    assert batch.unique().numel() == 1


@pytest.mark.parametrize("name", EASINESS)
def test_easiness_knows_no_order_of_rows(name):
    """Of equal first-stage scores neither; padding and missing documents may stand anywhere."""
    run = torch.tensor([5.0, 7.0, 5.0, -torch.inf, 5.0, 99.0, 2.0])
    where = torch.tensor([True] * 5 + [False, True])
    easy = EASINESS[name](run, where)
    order = torch.tensor([6, 5, 4, 0, 3, 2, 1])
    assert torch.allclose(EASINESS[name](run[order], where[order]), easy[order])
    assert easy[0] == easy[2] == easy[4]
    if name == "reciprocal-rank":
        expected = [1 / 3, 1, 1 / 3, 1e-3, 1 / 3, 0, 1 / 5]
        assert easy.tolist() == pytest.approx(expected)


def test_kde_is_scipys():
    from scipy.stats import gaussian_kde

    x = np.random.default_rng(0).normal(size=9)
    density = gaussian_kde(x)
    found = kde(torch.tensor(x), torch.ones(9, dtype=torch.bool))
    assert found.tolist() == pytest.approx(
        [density.integrate_box_1d(-np.inf, v) for v in x], abs=1e-9
    )


def test_weights_reach_the_losses():
    """A curriculum at its end changes no gradient; before, each pair's loss is scaled."""
    scores, labels, where = lists(seed=4)
    run = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    late = Curriculum("kde", 3)(run, labels, where, epoch=3)
    plain = losses.ranknet(scores, labels, where=where, reduce="none")
    assert torch.allclose(
        losses.ranknet(scores, labels, where=where, weights=late, reduce="none"), plain
    )
    early = Curriculum("kde", 3)(run, labels, where, epoch=0)
    pair = torch.nn.functional.softplus(-(scores[..., :, None] - scores[..., None, :])) * early
    valid = (
        where[..., :, None] & where[..., None, :] & (labels[..., :, None] > labels[..., None, :])
    )
    want = (pair * valid).sum(dim=(-1, -2)) / valid.sum(dim=(-1, -2)).clamp(min=1)
    assert torch.allclose(
        losses.ranknet(scores, labels, where=where, weights=early, reduce="none"), want
    )
    assert not torch.allclose(want, plain)


def test_partial_of_a_loss_is_a_loss():
    scores, labels, _ = lists()
    deeper = partial(losses.ranklist, skip=2)
    assert deeper(scores, labels) > losses.ranklist(scores, labels)
