"""Every loss of rankings as its formula says, with every option that it takes."""

import math
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from policyrank.learn import losses
from policyrank.learn.losses import (
    listwise,
    pairwise,
    pointwise,
    soft_ndcg,
)
from ragged import (
    LISTS,
    Lists,
    N,
    agrees,
    choices_twin,
    in_order,
    log_softmax,
    pair_twin,
    sigmoid,
    softplus,
    tensors,
)


def lambda_twin(lists, name, k):
    """Weights of pairs by what swapping the two would do, from places and gains."""

    def weight(row, i, j):
        shown = sorted(lists.shown(row), key=lambda item: (-lists.s[row, item], item))
        place = {item: rank for rank, item in enumerate(shown, 1)}
        best = sorted((2 ** lists.y[row, item] - 1 for item in shown), reverse=True)
        ideal = sum(g / math.log2(p + 1) for p, g in enumerate(best[:k], 1))
        gain = {item: (2 ** lists.y[row, item] - 1) / ideal for item in shown}
        top = {item: k is None or place[item] <= k for item in shown}
        inverse = {item: top[item] / math.log2(place[item] + 1) for item in shown}
        gap, apart = abs(gain[i] - gain[j]), abs(place[i] - place[j])
        swap = gap * abs(inverse[i] - inverse[j])
        near = (top[i] or top[j]) * (1 / math.log2(apart + 1) - 1 / math.log2(apart + 2))
        of_better = (top[i] or top[j]) * gain[i] / math.log2(place[i] + 1)
        return {
            "lambdarank": swap,
            "dcg": swap * ideal / math.log(2),
            "ndcg-1": of_better,
            "ndcg-2": gap * near,
            "ndcg-2pp": 10 * gap * near + swap,
        }[name]

    return weight


PHIS = {
    "ranknet": (pairwise.ranknet, {"sigma": 1.7}, lambda gap, _: softplus(-1.7 * gap)),
    "ranknet of 1": (pairwise.ranknet, {}, lambda gap, _: softplus(-gap)),
    "hinge": (pairwise.hinge, {"margin": 0.6}, lambda gap, _: max(0.0, 0.6 - gap)),
    "hinge of 1": (pairwise.hinge, {}, lambda gap, _: max(0.0, 1 - gap)),
    "pair softmax": (pairwise.pair_softmax, {}, lambda gap, _: sigmoid(-gap)),
    "margin mse": (pairwise.margin_mse, {}, lambda gap, wanted: (gap - wanted) ** 2),
}


@pytest.mark.parametrize("block", [2**17, 7])
@pytest.mark.parametrize("pairs", ["mean", "sum"])
@pytest.mark.parametrize("name", PHIS)
def test_losses_of_pairs_with_weights(name, pairs, block, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", block)
    loss, options, phi = PHIS[name]
    lists = Lists(0)
    agrees(loss, lists, pair_twin(lists, phi, pairs), pairs=pairs, **options)
    for which, weight in (
        ("weights", lambda row, i, j: lists.weights[row, i]),
        ("of_pairs", lambda row, i, j: lists.of_pairs[row, i, j]),
    ):
        given = torch.tensor(getattr(lists, which))
        twin = pair_twin(lists, phi, pairs, weight)
        agrees(loss, lists, twin, weights=given, pairs=pairs, **options)
    if pairs == "mean":
        agrees(loss, lists, pair_twin(lists, phi), **options)


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("name", losses.LAMBDA_WEIGHTS)
def test_losses_of_pairs_with_lambda_weights(name, k):
    lists = Lists(1)
    weight = lambda_twin(lists, name, k)
    both = {"weights": torch.tensor(lists.weights), "lambda_weight": name, "k": k}

    def weighted(row, i, j):
        return weight(row, i, j) * lists.weights[row, i]

    for which in ("ranknet of 1", "hinge of 1"):
        loss, _, phi = PHIS[which]
        agrees(loss, lists, pair_twin(lists, phi, "mean", weight), lambda_weight=name, k=k)
        agrees(loss, lists, pair_twin(lists, phi, "sum", weighted), pairs="sum", **both)


@pytest.mark.parametrize("block", [2**17, 7])
@pytest.mark.parametrize("name", PHIS)
def test_gradients_of_pairs_are_slopes(name, block, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", block)
    loss, options, _ = PHIS[name]
    lists = Lists(2)
    s = torch.tensor(lists.s, requires_grad=True)
    given = tensors(lists, "where", "weights")
    assert torch.autograd.gradcheck(
        lambda x: loss(x, torch.tensor(lists.y), reduce="none", **given, **options), s
    )


def test_losses_of_single_items():
    lists = Lists(3, shares=True)
    weights, w = torch.tensor(lists.weights), lists.weights
    always = {"counts": lambda own: True}

    def mean_of(each, weighted):
        def twin(row):
            return np.mean(
                [each(row, k) * (w[row, k] if weighted else 1) for k in lists.shown(row)]
            )

        return twin

    def squared(row, k):
        return (lists.s[row, k] - lists.y[row, k]) ** 2

    def crossed(row, k):
        p, y = sigmoid(lists.s[row, k]), lists.y[row, k]
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    for loss, each in ((pointwise.mse, squared), (pointwise.sigmoid_cross_entropy, crossed)):
        agrees(loss, lists, mean_of(each, False), **always)
        agrees(loss, lists, mean_of(each, True), weights=weights, **always)
    whole = pointwise.mse(torch.tensor(lists.s), torch.tensor(lists.y))
    assert float(whole) == pytest.approx(((lists.s - lists.y) ** 2).mean())
    graded = Lists(4)
    cut = [-0.5, 0.7]

    def cumulated(row, k):
        total = 0.0
        for grade, c in enumerate(cut):
            p = sigmoid(graded.s[row, k] - c)
            total -= np.log(p) if graded.y[row, k] > grade else np.log(1 - p)
        return total

    for weighted in (False, True):
        options = {"weights": torch.tensor(graded.weights)} if weighted else {}

        def twin(row, weighted=weighted):
            shown = graded.shown(row)
            own = graded.weights[row] if weighted else np.ones(N)
            return np.mean([cumulated(row, k) * own[k] for k in shown])

        agrees(pointwise.ordinal, graded, twin, cutoffs=cut, **always, **options)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_softmax(normalise, weighted):
    lists = Lists(5)
    lists.y[1, lists.where[1]] = 0.0

    def twin(row):
        y = lists.of("y", row)
        if normalise:
            y = y / y.sum()
        if weighted:
            y = y * lists.of("weights", row)
        return -(y @ log_softmax(lists.of("s", row)))

    options = {"normalise": normalise} if normalise else {}
    if weighted:
        options["weights"] = torch.tensor(lists.weights)
    agrees(listwise.softmax_cross_entropy, lists, twin, counts=lambda y: y.max() > 0, **options)
    if weighted:
        options["weights"] = options["weights"][2:]
    s, y = torch.tensor(lists.s[2:]), torch.tensor(lists.y[2:])
    full = listwise.softmax_cross_entropy(s, y, reduce="none", **options)
    lists.where[:] = True
    assert full.numpy() == pytest.approx([twin(row) for row in range(2, LISTS)])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_listnet(temperature):
    lists = Lists(6)

    def twin(row):
        target = np.exp(log_softmax(lists.of("y", row) / temperature))
        return -(target @ log_softmax(lists.of("s", row)))

    options = {} if temperature == 1 else {"temperature": temperature}
    agrees(listwise.listnet, lists, twin, counts=lambda y: len(y) > 1, **options)
    full = listwise.listnet(torch.tensor(lists.s), torch.tensor(lists.y), reduce="none", **options)
    lists.where[:] = True
    assert full.numpy() == pytest.approx([twin(row) for row in range(LISTS)])


@pytest.mark.parametrize("places", ["sum", "mean"])
@pytest.mark.parametrize("position", [False, True])
@pytest.mark.parametrize("k", [None, 1, 3])
def test_likelihood_of_orders(k, position, places):
    for seed in (7, 8):
        lists = Lists(seed)
        twin = choices_twin(lists, k, position, places)
        options = {"k": k, "places": places}
        if position:
            options["position_weights"] = "p-listmle"
        agrees(listwise.listmle, lists, twin, **options)
        if position and places == "sum":
            agrees(listwise.p_listmle, lists, twin, k=k)


def test_gradients_of_orders_are_slopes():
    lists = Lists(9)
    s = torch.tensor(lists.s, requires_grad=True)
    given = {"where": torch.tensor(lists.where), "reduce": "none"}
    for options in ({}, {"k": 2}, {"position_weights": "p-listmle"}):
        run = partial(listwise.listmle, labels=torch.tensor(lists.y), **given, **options)
        assert torch.autograd.gradcheck(lambda x, run=run: run(x), s)


@pytest.mark.parametrize("form", ["sum", "lse"])
@pytest.mark.parametrize("skip", [1, 2, None])
def test_ranklist_of_neighbouring_labels(skip, form):
    for seed in (10, 11):
        lists = Lists(seed)

        def twin(row, lists=lists):
            levels = sorted(set(lists.of("y", row)), reverse=True)
            terms = []
            for i, j in in_order(lists, row):
                apart = levels.index(lists.y[row, j]) - levels.index(lists.y[row, i])
                if skip is None or apart <= skip:
                    terms.append(lists.s[row, j] - lists.s[row, i])
            if form == "sum":
                return sum(softplus(term) for term in terms)
            return np.log(1 + np.exp(terms).sum())

        agrees(listwise.ranklist, lists, twin, skip=skip, form=form)
        if skip == 1 and form == "sum":
            agrees(listwise.ranklist, lists, twin)


def ideal_of(y, k):
    gains = sorted((2**label - 1 for label in y), reverse=True)
    return sum(g / math.log2(p + 1) for p, g in enumerate(gains[:k], 1))


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_ndcg_with_smooth_places(k, temperature):
    lists = Lists(12)

    def twin(row):
        s, y = lists.of("s", row), lists.of("y", row)
        total = 0.0
        for i in range(len(s)):
            place = 1 + sum(sigmoid((s[j] - s[i]) / temperature) for j in range(len(s)) if j != i)
            value = (2 ** y[i] - 1) / np.log2(place + 1)
            total += value * (1 if k is None else sigmoid((k + 0.5 - place) / temperature))
        return 1 - total / ideal_of(y, k)

    options = {} if temperature == 0.1 else {"temperature": temperature}
    agrees(soft_ndcg.approx_ndcg, lists, twin, k=k, **options)


@pytest.mark.parametrize("sinkhorn", [0, 1, 20])
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_ndcg_with_a_smooth_sort(k, temperature, sinkhorn):
    lists = Lists(13)

    def twin(row):
        s, y = lists.of("s", row), lists.of("y", row)
        n = len(s)
        apart = np.abs(s[:, None] - s).sum(axis=1)
        logits = [((n + 1 - 2 * i) * s - apart) / temperature for i in range(1, n + 1)]
        p = np.exp([log_softmax(line) for line in logits])
        for _ in range(sinkhorn):
            p = p / p.sum(axis=0)
            p = p / p.sum(axis=1, keepdims=True)
        gains = (p @ (2**y - 1))[:k]
        return 1 - sum(g / math.log2(i + 1) for i, g in enumerate(gains, 1)) / ideal_of(y, k)

    options = {} if temperature == 1 else {"temperature": temperature}
    if sinkhorn != 20:
        options["sinkhorn"] = sinkhorn
    agrees(soft_ndcg.neural_ndcg, lists, twin, k=k, **options)


@pytest.mark.parametrize("sinkhorn", [0, 1, 3])
def test_gradients_of_the_smooth_sort_are_slopes(sinkhorn):
    lists = Lists(13)
    s = torch.tensor(lists.s[2:], requires_grad=True)
    y, where = torch.tensor(lists.y[2:]), torch.tensor(lists.where[2:])
    run = partial(soft_ndcg.neural_ndcg, labels=y, where=where, sinkhorn=sinkhorn, reduce="none")
    assert torch.autograd.gradcheck(lambda x: run(x), s)
