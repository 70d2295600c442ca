"""Distributions of rankings, curricula and labels: against slow twins, an item at a time."""

from itertools import permutations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from scipy.stats import norm

from policyrank.errors import OptionError
from policyrank.learn import distributions
from policyrank.learn.curricula import (
    Curriculum,
    kde,
    named_easiness,
    normalised_score,
    pair_weights,
    point_weights,
    reciprocal_rank,
)
from policyrank.learn.distributions import BradleyTerry, Mallows, PlackettLuce
from policyrank.learn.labels import (
    check_labels,
    label_distribution,
    win_shares,
    winrate_labels,
)

N = 5


def some_lists(seed, lists=4, n=N):
    """Scores and a mask that shows two items at least."""
    rng = np.random.default_rng(seed)
    scores = torch.tensor(rng.normal(size=(lists, n)) * 1.5)
    where = torch.tensor(rng.random((lists, n)) > 0.3)
    where[:, 1:3] = True
    where[0] = True
    return scores, where


def choices(scores, shown, ranking):
    """Log-probability of each place's choice, 0 of padding."""
    left, out = set(shown), []
    for item in ranking:
        if item not in shown:
            out.append(0.0)
            continue
        total = sum(np.exp(scores[k]) for k in left)
        out.append(scores[item] - np.log(total))
        left.remove(item)
    return out


def shown_of(where):
    return np.flatnonzero(where.numpy()).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("k", [1, 3, N])
def test_chances_of_choices_and_of_prefixes(k, temperature):
    scores, where = some_lists(k)
    policy = PlackettLuce(scores, where, temperature)
    rng = np.random.default_rng(0)
    rankings = np.empty((6, 4, k), dtype=int)
    for draw in range(6):
        for row in range(4):
            shown = shown_of(where[row])
            padding = [item for item in range(N) if item not in shown]
            whole = [*rng.permutation(shown), *rng.permutation(padding)]
            rankings[draw, row] = whole[:k]
    by_step = policy.step_log_prob(torch.tensor(rankings))
    for draw in range(6):
        for row in range(4):
            own = scores[row].numpy() / temperature
            slow = choices(own, shown_of(where[row]), rankings[draw, row].tolist())
            assert by_step[draw, row].tolist() == pytest.approx(slow)
    whole = policy.log_prob(torch.tensor(rankings))
    assert whole.numpy() == pytest.approx(by_step.sum(dim=-1).numpy())
    one = policy.step_log_prob(torch.tensor(rankings[0]))
    assert one.numpy() == pytest.approx(by_step[0].numpy())


def test_size_mode_and_what_is_refused():
    scores, where = some_lists(1)
    policy = PlackettLuce(scores, where)
    assert policy.size.tolist() == where.sum(dim=-1).tolist()
    for row, mode in enumerate(policy.mode().tolist()):
        shown = sorted(shown_of(where[row]), key=lambda k: -float(scores[row, k]))
        assert mode[: len(shown)] == shown
    assert policy.mode(2).tolist() == policy.mode()[:, :2].tolist()
    assert PlackettLuce(torch.zeros(3)).mode().tolist() == [0, 1, 2]
    for temperature in (0, -1.0):
        with pytest.raises(OptionError, match="temperature"):
            PlackettLuce(scores, where, temperature)
    assert PlackettLuce(scores, where, 0.5).scores.max() == pytest.approx(
        float(2 * scores.masked_fill(~where, 0).max())
    )
    assert PlackettLuce(scores.half()).scores.dtype == torch.float32


@pytest.mark.parametrize("k", [None, 2, N])
def test_draws_have_their_chances_and_end_in_padding(k):
    scores, where = some_lists(2)
    where[1, 0], where[1, 3:] = True, False
    policy = PlackettLuce(scores, where)
    drawn = policy.sample(20_000, k, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 4, k or N)
    again = policy.sample(20_000, k, torch.Generator().manual_seed(0))
    assert (drawn == again).all()
    for row in (0, 1):
        shown = shown_of(where[row])
        firsts = np.bincount(drawn[:, row, 0].numpy(), minlength=N) / 20_000
        weight = np.where(where[row], np.exp(scores[row].numpy()), 0)
        assert firsts == pytest.approx(weight / weight.sum(), abs=0.015)
        seconds = np.zeros(N)
        for first in shown:
            rest = weight * (np.arange(N) != first)
            seconds += weight[first] / weight.sum() * rest / rest.sum()
        found = np.bincount(drawn[:, row, 1].numpy(), minlength=N) / 20_000
        assert found == pytest.approx(seconds, abs=0.015)
        places = drawn[:, row, : len(shown)]
        assert bool(where[row][places].all())


def weak_orders(own, shown, labels, ties):
    """Log-probability of the order by label: groups of equals, by Efron or Breslow."""
    total, left = 0.0, list(shown)
    levels = sorted({labels[k] for k in shown}, reverse=True)
    for level in levels:
        group = [k for k in left if labels[k] == level]
        if group == left and len(group) > 1:
            break
        everything = sum(np.exp(own[k]) for k in left)
        tied = sum(np.exp(own[k]) for k in group)
        for place, item in enumerate(group):
            share = place / len(group) if ties == "efron" else 0
            total += own[item] - np.log(everything - share * tied)
        left = [k for k in left if labels[k] < level]
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("seed", range(4))
def test_chances_of_weak_orders(seed, ties):
    scores, where = some_lists(seed, lists=6)
    labels = torch.tensor(np.random.default_rng(seed).integers(0, 3, (6, N)))
    found = PlackettLuce(scores, where).log_prob_labels(labels, ties)
    for row in range(6):
        slow = weak_orders(scores[row].numpy(), shown_of(where[row]), labels[row].tolist(), ties)
        assert float(found[row]) == pytest.approx(slow)
    if ties == "efron":
        default = PlackettLuce(scores, where).log_prob_labels(labels)
        assert default.tolist() == found.tolist()
    with pytest.raises(OptionError, match="'efron' or 'breslow'"):
        PlackettLuce(scores).log_prob_labels(labels, "exact")


def enumerated(scores, shown):
    return {order: sum(choices(scores, shown, order)) for order in permutations(shown)}


@pytest.mark.parametrize("exact", [7, 2])
def test_entropy_divergence_and_places(exact, monkeypatch):
    """By enumeration, and of longer lists by samples."""
    monkeypatch.setattr(distributions, "EXACT", exact)
    scores, where = some_lists(5)
    others = scores + torch.tensor(np.random.default_rng(0).normal(size=(4, N)))
    policy, other = PlackettLuce(scores, where), PlackettLuce(others, where)
    near = 1e-9 if exact == 7 else 0.05
    entropy = policy.entropy(samples=4000)
    divergence = policy.kl(other, samples=4000)
    places = policy.rank_probabilities(4000, torch.Generator().manual_seed(0))
    for row in range(4):
        shown = shown_of(where[row])
        own = enumerated(scores[row].numpy(), shown)
        theirs = enumerated(others[row].numpy(), shown)
        chance = {order: np.exp(value) for order, value in own.items()}
        slow = -sum(chance[order] * own[order] for order in own)
        assert float(entropy[row]) == pytest.approx(slow, abs=near)
        slow = sum(chance[order] * (own[order] - theirs[order]) for order in own)
        assert float(divergence[row]) == pytest.approx(slow, abs=near)
        table = np.zeros((N, N))
        for order, p in chance.items():
            for place, item in enumerate(order):
                table[item, place] += p
        assert places[row][where[row]].numpy()[:, : len(shown)] == pytest.approx(
            table[shown][:, : len(shown)], abs=0.03 if near > 0.01 else near
        )
    assert float(policy.kl(policy)[0]) == pytest.approx(0, abs=1e-12)


def test_sampled_entropy_draws_what_it_is_told(monkeypatch):
    monkeypatch.setattr(distributions, "EXACT", 2)
    policy = PlackettLuce(*some_lists(6))
    default = policy.entropy()
    assert default.tolist() == policy.entropy(256).tolist()
    assert default.tolist() == policy.entropy(256, torch.Generator().manual_seed(0)).tolist()
    assert default.tolist() != policy.entropy(256, torch.Generator().manual_seed(1)).tolist()
    assert default.tolist() != policy.entropy(255).tolist()
    other = PlackettLuce(policy.scores + 1, policy.where)
    assert policy.kl(other).abs().max() < 1e-12


def distance(order, centre):
    place = {item: k for k, item in enumerate(centre)}
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    return sum(place[a] > place[b] for a, b in pairs)


@pytest.mark.parametrize("dispersion", [0.0, 0.7])
def test_mallows_by_enumeration(dispersion):
    centre = [2, 0, 3, 1]
    law = Mallows(torch.tensor(centre), dispersion)
    orders = list(permutations(range(4)))
    weight = np.array([np.exp(-dispersion * distance(order, centre)) for order in orders])
    assert law.log_partition() == pytest.approx(np.log(weight.sum()))
    table = torch.tensor(orders)
    assert law.distance(table).tolist() == [distance(order, centre) for order in orders]
    assert law.log_prob(table).exp().numpy() == pytest.approx(weight / weight.sum())
    drawn = law.sample(20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 4)
    found = dict.fromkeys(orders, 0.0)
    for order in map(tuple, drawn.tolist()):
        found[order] += 1 / 20_000
    assert list(found.values()) == pytest.approx(weight / weight.sum(), abs=0.012)
    with pytest.raises(OptionError, match="dispersion"):
        Mallows(torch.tensor(centre), -0.1)


def test_bradley_terry_by_hand():
    scores = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 0.5]], dtype=torch.float64)
    law, own = BradleyTerry(scores), scores.numpy()
    p = 1 / (1 + np.exp(own[:, None, :] - own[:, :, None]))
    assert law.probabilities().numpy() == pytest.approx(p)
    i, j = torch.tensor([[0, 1], [2, 0]]), torch.tensor([[1, 2], [0, 1]])
    rows = np.arange(2)[:, None]
    beats = p[rows, i, j]
    assert law.log_prob(i, j).numpy() == pytest.approx(np.log(beats))
    outcome = torch.tensor([[0.0, 0.5], [1.0, 0.25]], dtype=torch.float64)
    y = outcome.numpy()
    slow = y * np.log(beats) + (1 - y) * np.log(1 - beats)
    assert law.log_prob(i, j, outcome).numpy() == pytest.approx(slow)
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack([law.sample(i, j, generator=g) for _ in range(4000)])
    assert drawn.mean(dim=0).numpy() == pytest.approx(beats, abs=0.03)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}


# Curricula ------------------------------------------------------------------------------------


def first_run(seed):
    """Scores of a first run with ties, some documents that it lacks, some that are padding."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, 6)).astype(float)
    scores[:, 5] = -np.inf
    where = rng.random((5, 6)) > 0.2
    where[:, :2] = True
    return torch.tensor(scores), torch.tensor(where)


@pytest.mark.parametrize("seed", range(3))
def test_how_easy_items_are(seed):
    scores, where = first_run(seed)
    found = [easy(scores, where) for easy in (reciprocal_rank, normalised_score, kde)]
    for row in range(5):
        run = [float(scores[row, k]) for k in range(6) if where[row, k] and k != 5]
        for k in range(6):
            own, shown = float(scores[row, k]), bool(where[row, k])
            if not shown or k == 5:
                assert float(found[0][row, k]) == pytest.approx(1e-3 if shown else 0)
                assert float(found[1][row, k]) == float(found[2][row, k]) == 0
                continue
            above, level = sum(s > own for s in run), sum(s == own for s in run)
            assert float(found[0][row, k]) == pytest.approx(1 / (above + (level + 1) / 2))
            apart = max(run) - min(run)
            slow = (own - min(run)) / apart if apart else 0.5
            assert float(found[1][row, k]) == pytest.approx(slow)
            width = np.std(run, ddof=1) * len(run) ** -0.2
            slow = norm.cdf((own - np.array(run)) / width).mean() if width else 0.5
            assert float(found[2][row, k]) == pytest.approx(slow, abs=1e-6)
    level = torch.full((1, 3), 2.0)
    shown = torch.tensor([[True, True, False]])
    for easy in (normalised_score, kde):
        assert easy(level, shown).tolist() == [[0.5, 0.5, 0]]
    assert kde(level, torch.tensor([[True, False, False]])).tolist() == [[0.5, 0, 0]]


def test_weights_of_pairs_and_points():
    easy = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    assert pair_weights(easy)[0].numpy() == pytest.approx(
        np.array([[0.5, 0.85], [0.15, 0.5]]), abs=1.1e-8
    )
    labels = torch.tensor([[1.0, 0.0]])
    assert point_weights(easy, labels)[0].tolist() == pytest.approx([0.9, 0.8])
    assert point_weights(easy * 0, labels)[0, 0].item() == pytest.approx(1e-8)
    assert named_easiness(kde) is kde
    assert named_easiness("normalised") is normalised_score
    with pytest.raises(OptionError, match="reciprocal-rank, normalised, kde"):
        Curriculum("easy")


@pytest.mark.parametrize("samples", ["pairs", "points"])
@pytest.mark.parametrize("anti", [False, True])
@pytest.mark.parametrize("mean", [None, "normalise", "batch_mean"])
def test_weights_fade_from_difficulty_to_one(samples, anti, mean):
    scores, where = first_run(0)
    labels = torch.tensor(np.random.default_rng(1).integers(0, 3, (5, 6)).astype(float))
    options = {} if mean is None else {mean: True}
    curriculum = Curriculum("normalised", 10, samples, anti=anti, **options)
    easy = normalised_score(scores, where)
    for epoch, fade in ((0, 0.0), (4, 0.4), (10, 1.0), (25, 1.0)):
        if samples == "pairs":
            start = pair_weights(easy)
            used = where[:, :, None] & where[:, None, :]
            used &= labels[:, :, None] > labels[:, None, :]
            axes = (1, 2)
        else:
            start, used, axes = point_weights(easy, labels), where, (1,)
        slow = (1 - start if anti else start) * (1 - fade) + fade
        if mean == "normalise":
            total = (slow * used).sum(dim=axes, keepdim=True)
            slow = slow / (total / used.sum(dim=axes, keepdim=True).clamp(min=1)).clamp(min=1e-8)
        if mean == "batch_mean":
            slow = torch.full_like(slow, float(slow[used].mean()))
        found = curriculum(scores, labels, where, epoch)
        assert found.shape == start.shape
        assert found.numpy() == pytest.approx(slow.numpy())
        same = curriculum.weights(curriculum.easy(scores, where), labels, where, epoch)
        assert same.tolist() == found.tolist()


def test_curricula_as_they_come():
    default = Curriculum()
    assert (default.easiness, default.epochs, default.samples) == ("reciprocal-rank", 20, "pairs")
    scores, where = first_run(1)
    labels = torch.zeros(5, 6)
    never = Curriculum(epochs=None)(scores, labels, where, 1000)
    assert never.tolist() == default(scores, labels, where, 0).tolist()
    assert (Curriculum(epochs=0)(scores, labels, where, 1) == 1).all()
    assert (Curriculum(epochs=1)(scores, labels, where, 0) != 1).any()


# Labels ---------------------------------------------------------------------------------------


def test_shares_of_wins_one_by_one():
    labels, where = first_run(2)
    found = win_shares(labels, where)
    for row in range(5):
        shown = shown_of(where[row])
        for k in range(6):
            slow = 0.0
            if k in shown:
                others = [float(labels[row, j]) for j in shown if j != k]
                own = float(labels[row, k])
                beaten = [1.0 if own > y else 0.5 * (own == y) for y in others]
                slow = np.mean(beaten)
            assert float(found[row, k]) == pytest.approx(slow)
    alone = win_shares(torch.tensor([[3.0, 1.0]]), torch.tensor([[True, False]]))
    assert alone.tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_labels_as_a_distribution(standardise, temperature):
    labels, where = some_lists(3)
    found = label_distribution(
        labels, where=where, temperature=temperature, standardise=standardise, least_gap=0.5
    )
    for row in range(4):
        shown = shown_of(where[row])
        own = labels[row].numpy()[shown]
        if np.ptp(own) <= 0.5:
            slow = np.full(len(own), 1 / len(own))
        else:
            z = (own - own.mean()) / own.std() if standardise else own
            slow = np.exp(z / temperature) / np.exp(z / temperature).sum()
        assert found[row].numpy()[shown] == pytest.approx(slow)
        assert float(found[row].sum()) == pytest.approx(1)
        assert (found[row][~where[row]] == 0).all()
    near = torch.tensor([[1.0, 1.4, 0.9]])
    level = label_distribution(near, least_gap=0.51)
    assert level[0].tolist() == pytest.approx([1 / 3] * 3)
    assert float(label_distribution(near, least_gap=0.49).max()) > 0.5
    default = label_distribution(labels, where=where)
    same = label_distribution(labels, where=where, temperature=1.0, standardise=True, least_gap=0.0)
    assert default.tolist() == same.tolist()


def test_mean_win_rates_of_tables():
    wins = torch.tensor(np.random.default_rng(0).random((2, 3, 3)))
    where = torch.tensor([[True, True, False], [False, True, False]])
    for mask in (None, where):
        found = winrate_labels(wins, mask)
        for row in range(2):
            shown = range(3) if mask is None else shown_of(mask[row])
            for k in range(3):
                rates = [0.5 if j == k else float(wins[row, k, j]) for j in shown]
                slow = np.mean(rates) if k in shown else 0.0
                assert float(found[row, k]) == pytest.approx(slow)


@pytest.mark.parametrize(
    ("domain", "labels", "most", "message"),
    [
        ("gains", [[1.0, 2.0], [0.0, -0.5]], np.inf, "x takes gains, which are at least 0: list 1"),
        ("shares", [[1.0, 0.0], [1.5, 0.0]], np.inf, "list 1 has a label 1.5; give shares of wins"),
        ("shares", [-0.1], np.inf, "label 0 is -0.1; give shares"),
        ("grades", [0.0, 1.0, 1.5], np.inf, "label 2 is 1.5; give the grades"),
        ("grades", [-1.0], np.inf, "label 0 is -1"),
        ("grades", [0.0, 4.0], 3, "which are whole numbers from 0 and at most 3: label 1 is 4"),
        ("gains", [np.inf], np.inf, "label 0 is inf"),
        ("grades", [np.inf], np.inf, "label 0 is inf"),
        ("scores", [[0.0], [np.nan]], np.inf, "list 1 has a label nan; mask that item"),
        ("order", [np.inf], np.inf, "finite labels, whose order counts: label 0 is inf; mask"),
    ],
)
def test_labels_that_are_refused(domain, labels, most, message):
    with pytest.raises(OptionError, match=message):
        check_labels(labels, domain, most=most, name="x")
    shown = torch.zeros_like(torch.tensor(labels))
    check_labels(labels, domain, most=most, where=shown)


def test_labels_that_are_taken():
    check_labels([0.0, 0.5, 7.0], "gains")
    check_labels([0.0, 1.0], "shares")
    check_labels([0, 1, 3], "grades", most=3)
    check_labels([-5.5, 0], "scores")
    check_labels([-5.5, 0], "order")
    with pytest.raises(OptionError, match="the loss takes gains"):
        check_labels([-1.0], "gains")
