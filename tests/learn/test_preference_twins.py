"""Every objective of preferences as its formula says, with every option that it takes."""

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from policyrank.learn.losses import groups, implicit, likely, odds, pairwise, ratios, unpaired
from ragged import (
    Lists,
    agrees,
    in_order,
    log_softmax,
    nll_of_best,
    of_deviation,
    pair_twin,
    sigmoid,
    softplus,
    tensors,
)


def ratio_of(lists, beta=1.0, reference=True, per_token=False):
    value = lists.s - (lists.reference if reference else 0)
    return beta * (value / lists.lengths if per_token else value)


def test_scores_that_policies_imply():
    lists = Lists(14)
    s, given = torch.tensor(lists.s), tensors(lists, "lengths")
    reference = torch.tensor(lists.reference)
    found = implicit.implicit_scores(s, reference)
    assert found.numpy() == pytest.approx(ratio_of(lists, 0.1))
    found = implicit.implicit_scores(s, reference, beta=0.7, per_token=True, **given)
    assert found.numpy() == pytest.approx(ratio_of(lists, 0.7, per_token=True))
    assert implicit.implicit_scores(s, beta=2.0).numpy() == pytest.approx(2 * lists.s)
    empty = implicit.implicit_scores(s, beta=1.0, per_token=True, lengths=0 * given["lengths"])
    assert empty.numpy() == pytest.approx(lists.s)
    with pytest.raises(ValueError, match="give lengths"):
        implicit.implicit_scores(s, per_token=True)


@pytest.mark.parametrize("per_token", [False, True])
def test_losses_of_rankings_on_implicit_scores(per_token):
    lists = Lists(15)
    given = tensors(lists, "reference", "lengths")
    implied = ratio_of(lists, 0.3, per_token=per_token)
    twin = pair_twin(lists, lambda gap, _: max(0.0, 0.2 - gap), "sum", s=implied)
    loss = partial(implicit.of_ranking, pairwise.hinge)
    agrees(loss, lists, twin, beta=0.3, per_token=per_token, margin=0.2, pairs="sum", **given)
    implied = ratio_of(lists, 0.1)
    agrees(loss, lists, pair_twin(lists, lambda gap, _: max(0.0, 1 - gap), s=implied), **given)


@pytest.mark.parametrize("pairs", ["mean", "sum"])
@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("smoothing", [0.1, 0.3, 0.0])
def test_smoothed_dpo(smoothing, robust, pairs):
    lists = Lists(16)

    def phi(gap, _):
        if robust:
            plain = (1 - smoothing) * softplus(-gap) - smoothing * softplus(gap)
            return plain / (1 - 2 * smoothing)
        return (1 - smoothing) * softplus(-gap) + smoothing * softplus(gap)

    options = {} if smoothing == 0.1 else {"smoothing": smoothing}
    if robust:
        options["robust"] = True
    agrees(ratios.smoothed_dpo, lists, pair_twin(lists, phi, pairs), pairs=pairs, **options)
    for wrong in (0.5, -0.1):
        with pytest.raises(ValueError, match="smoothing"):
            ratios.smoothed_dpo(torch.tensor(lists.s), torch.tensor(lists.y), smoothing=wrong)


@pytest.mark.parametrize("pairs", ["mean", "sum"])
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("beta", [0.1, 0.4])
def test_ipo(beta, per_token, pairs):
    lists = Lists(17)
    implied = ratio_of(lists, per_token=per_token)
    twin = pair_twin(lists, lambda gap, _: (gap - 1 / (2 * beta)) ** 2, pairs, s=implied)
    options = {} if beta == 0.1 else {"beta": beta}
    if not per_token:
        options["per_token"] = False
    given = tensors(lists, "reference", "lengths")
    agrees(ratios.ipo, lists, twin, pairs=pairs, **given, **options)


@pytest.mark.parametrize("loss", [ratios.smoothed_dpo, ratios.ipo, likely.simpo])
def test_gradients_of_preferences_are_slopes(loss):
    lists = Lists(18)
    s = torch.tensor(lists.s, requires_grad=True)
    given = {} if loss is ratios.smoothed_dpo else tensors(lists, "lengths")
    run = partial(loss, labels=torch.tensor(lists.y), where=torch.tensor(lists.where), **given)
    assert torch.autograd.gradcheck(lambda x: run(x, reduce="none"), s)


def kinds(lists, row):
    y = lists.of("y", row)
    return y > y.mean(), y <= y.mean()


def test_apo_and_kto_of_lists():
    lists = Lists(19)

    def apo(row):
        s, (good, bad) = lists.of("s", row), kinds(lists, row)
        return sigmoid(-s[good]).mean() + sigmoid(s[bad]).mean()

    agrees(ratios.apo_zero, lists, apo)
    for beta in (0.1, 0.8):
        implied = ratio_of(lists, beta)

        def kto(row, implied=implied):
            s, (good, bad) = implied[row, lists.shown(row)], kinds(lists, row)
            up, down = max(s[good].mean(), 0), max(s[bad].mean(), 0)
            return sigmoid(down - s[good]).mean() + sigmoid(s[bad] - up).mean()

        options = {} if beta == 0.1 else {"beta": beta}
        agrees(ratios.kto, lists, kto, **tensors(lists, "reference"), **options)


def test_sppo():
    lists = Lists(20)
    for beta in (0.1, 0.6):

        def twin(row, beta=beta):
            shown, ratio = lists.shown(row), ratio_of(lists)[row]
            total = 0.0
            for i in shown:
                others = [lists.y[row, j] for j in shown if j != i]
                own = lists.y[row, i]
                p = np.mean([1.0 if own > y else 0.5 * (own == y) for y in others])
                total += (ratio[i] - (p - 0.5) / beta) ** 2
            return 2 * total / len(shown)

        options = {} if beta == 0.1 else {"beta": beta}
        agrees(ratios.sppo, lists, twin, **tensors(lists, "reference"), **options)


@pytest.mark.parametrize("pairs", ["mean", "sum"])
def test_simpo(pairs):
    lists = Lists(21)
    for beta, margin, options in ((2.0, 1.0, {}), (0.5, 0.3, {"beta": 0.5, "margin": 0.3})):
        implied = ratio_of(lists, beta, reference=False, per_token=True)
        twin = pair_twin(lists, lambda gap, _, m=margin: softplus(m - gap), pairs, s=implied)
        agrees(likely.simpo, lists, twin, pairs=pairs, **tensors(lists, "lengths"), **options)


def test_rrhf():
    lists = Lists(22)
    mean = ratio_of(lists, reference=False, per_token=True)
    for weight in (1.0, 0.4):

        def twin(row, weight=weight):
            chosen = in_order(lists, row)
            total = sum(max(0.0, mean[row, j] - mean[row, i]) for i, j in chosen)
            return (total + weight * nll_of_best(lists, row, lists.s)) / len(chosen)

        options = {} if weight == 1 else {"sft_weight": weight}
        agrees(likely.rrhf, lists, twin, **tensors(lists, "lengths"), **options)


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("centre", [False, True])
def test_pro(gaps, centre):
    lists = Lists(23)
    mean = ratio_of(lists, reference=False, per_token=True)
    for weight in (0.05, 0.5):

        def twin(row, weight=weight):
            shown, total, stages = lists.shown(row), 0.0, 0
            p = mean[row] - (mean[row, shown].mean() if centre else 0)
            y = lists.y[row]
            for k in shown:
                worse = [i for i in shown if y[i] < y[k]]
                if worse:
                    stages += 1
                    largest = max(y[k] - y[i] for i in worse) if gaps else 1.0
                    terms = [p[i] * (y[k] - y[i] if gaps else 1.0) for i in worse]
                    own = p[k] * largest
                    total += np.log(np.exp([own, *terms]).sum()) - own
            return total / stages + weight * stages * nll_of_best(lists, row, lists.s)

        options = {"gaps": gaps} if not gaps else {}
        if centre:
            options["centre"] = True
        if weight != 0.05:
            options["sft_weight"] = weight
        agrees(likely.pro, lists, twin, **tensors(lists, "lengths"), **options)


@pytest.mark.parametrize("pairs", ["mean", "sum"])
def test_orpo_and_cpo(pairs):
    lists = Lists(24)
    lists.s = -np.abs(lists.s) - 0.05
    mean = ratio_of(lists, reference=False, per_token=True)
    lengths = tensors(lists, "lengths")
    for beta, nll, options in ((0.1, 1.0, {}), (0.7, 0.3, {"beta": 0.7})):
        log_odds = mean - np.log1p(-np.exp(mean))
        ahead = pair_twin(lists, lambda gap, _: softplus(-gap), pairs, s=log_odds)

        def orpo(row, beta=beta, ahead=ahead):
            return nll_of_best(lists, row, mean) + beta * ahead(row)

        agrees(odds.orpo, lists, orpo, pairs=pairs, **lengths, **options)
        summed = pair_twin(lists, lambda gap, _: softplus(-gap), pairs, s=beta * lists.s)

        def cpo(row, nll=nll, summed=summed):
            return summed(row) + nll * nll_of_best(lists, row, mean)

        weights = {} if nll == 1 else {"nll_weight": nll}
        agrees(odds.cpo, lists, cpo, pairs=pairs, **lengths, **options, **weights)


def test_distilling_shares_of_labels():
    lists = Lists(25)

    def twin_of(temperature, standardise, least):
        def twin(row):
            y = lists.of("y", row)
            z = (y - y.mean()) / y.std() if standardise else y
            return -(np.exp(log_softmax(z / temperature)) @ log_softmax(lists.of("s", row)))

        return twin, lambda y: np.ptp(y) > least

    loss = groups.distribution_matching
    for temperature, standardise, least in ((1.0, True, 0.0), (0.5, False, 1.0), (2.0, True, 1.5)):
        twin, counts = twin_of(temperature, standardise, least)
        options = {"temperature": temperature, "standardise": standardise, "least_gap": least}
        agrees(loss, lists, twin, counts=counts, **options)
        if least == 0:
            agrees(loss, lists, twin)


def clipped_twin(lists, gain_of, clip, per_token, reference=True):
    def twin(row):
        shown = lists.shown(row)
        ahead = ratio_of(lists, reference=reference, per_token=per_token)[row, shown]
        ratio = np.exp(ahead) if reference else np.ones(len(shown))
        gain = gain_of(lists.of("y", row))
        return -np.minimum(ratio * gain, np.clip(ratio, 1 - clip, 1 + clip) * gain).mean()

    return twin


@pytest.mark.parametrize("per_token", [False, True])
def test_clipped_gain_of_a_group(per_token):
    lists = Lists(26)
    given = tensors(lists, "reference")
    if per_token:
        given |= tensors(lists, "lengths")
    twin = clipped_twin(lists, of_deviation, 0.2, per_token)
    agrees(groups.group_clipped, lists, twin, **given)
    twin = clipped_twin(lists, lambda y: y - y.mean(), 0.5, per_token)
    agrees(groups.group_clipped, lists, twin, clip=0.5, advantage="centred", **given)
    far = {"counts": lambda y: np.ptp(y) > 1, "least_gap": 1.0}
    twin = clipped_twin(lists, of_deviation, 0.2, per_token)
    agrees(groups.group_clipped, lists, twin, **far, **given)
    twin = clipped_twin(lists, of_deviation, 0.2, per_token, reference=False)
    agrees(groups.group_clipped, lists, twin)

    def shares(y, temperature, standardise):
        z = of_deviation(y) if standardise else y
        return of_deviation(np.exp(log_softmax(z / temperature)))

    twin = clipped_twin(lists, lambda y: shares(y, 1.0, True), 0.2, per_token)
    agrees(groups.share_clipped, lists, twin, **given)
    twin = clipped_twin(lists, lambda y: shares(y, 0.5, False), 0.4, per_token)
    options = {"clip": 0.4, "temperature": 0.5, "standardise": False, "least_gap": 1.0}
    agrees(groups.share_clipped, lists, twin, counts=lambda y: np.ptp(y) > 1, **options, **given)


def test_beyond_a_log_ratio_of_twenty_a_line_goes_on():
    labels = torch.tensor([0.0, 1.0], dtype=torch.float64)
    ahead = torch.tensor([25.0, 0.0], dtype=torch.float64, requires_grad=True)
    loss = groups.group_clipped(ahead, labels, reference=torch.zeros(2, dtype=torch.float64))
    assert loss.item() == pytest.approx((np.exp(20) * 6 - 1) / 2)
    loss.backward()
    assert float(ahead.grad[0]) == pytest.approx(np.exp(20) / 2)


@pytest.mark.parametrize("zero", [None, 0.4, -0.4])
def test_kto_of_single_answers(zero):
    rng = np.random.default_rng(27)
    log_probs, reference = rng.normal(size=(2, 6, 2))
    labels = np.column_stack([rng.integers(0, 2, 6), np.full(6, -1)]).astype(float)
    ratio = log_probs - reference
    options = {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.7}
    for given in ({}, options):
        beta = given.get("beta", 0.1)
        z = max(ratio[:, 1].mean() if zero is None else zero, 0)
        each = []
        for (own, _), (label, _) in zip(ratio, labels, strict=True):
            good = label == 1
            weight = given.get("desirable_weight" if good else "undesirable_weight", 1.0)
            each.append(weight * sigmoid(beta * ((z - own) if good else (own - z))))
        at = {} if zero is None else {"zero": torch.tensor(zero, dtype=torch.float64)}
        run = partial(
            unpaired.unpaired_kto,
            torch.tensor(log_probs),
            torch.tensor(labels),
            reference=torch.tensor(reference),
            **at,
            **given,
        )
        assert run(reduce="none").numpy() == pytest.approx(each)
        assert float(run()) == pytest.approx(np.mean(each))
        shown = np.ones((6, 2), dtype=bool)
        shown[0] = False
        part = run(where=torch.tensor(shown), reduce="none")
        assert float(part[0]) == 0
