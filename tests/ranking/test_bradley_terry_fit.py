"""Bradley-Terry and its family: exact values, independent packages, slow twins, properties."""

import choix
import evalica
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize
from scipy.special import expit, ndtr

from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Labels, Rankings
from policyrank.ranking import bradley_terry, plackett_luce, robust_errors, thurstone
from policyrank.ranking.cells import Cells
from policyrank.ranking.likelihood import expected_inverse, newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.robust_errors import sandwich


def rating(board, *names):
    return np.array([board.rating[board.position(n)] for n in names])


def test_three_wins_to_one_is_log_three():
    c = Comparisons.of(["x"] * 4, ["y"] * 4, [1, 1, 1, 0])
    x, y = rating(bradley_terry(c), "x", "y")
    assert x - y == pytest.approx(190.8485, abs=1e-4)
    assert (x + y) / 2 == pytest.approx(1500)
    natural = bradley_terry(c, ties="davidson", scale="natural")
    assert np.diff(rating(natural, "y", "x")) == pytest.approx(np.log(3), abs=1e-6)
    assert any(n.kind == "no ties" for n in natural.notes)


def test_davidson_symmetric_ties():
    c = Comparisons.of(["x"] * 4, ["y"] * 4, [1, 0, 0.5, 0.5])
    board = bradley_terry(c, ties="davidson", scale="natural")
    assert board.rating == pytest.approx([0, 0], abs=1e-9)
    assert board.extras["tie_parameter"] == pytest.approx(1.0, abs=1e-5)


def test_roboarena_card_values(data):
    c = data("roboarena")
    c = c.filter(policies=[p for p in c.policies if p != "pi05_droid"])
    board = bradley_terry(c, ties="davidson", scale="natural")
    assert c.total == 737
    assert board.extras["tie_parameter"] == pytest.approx(0.2582, abs=5e-5)
    assert board.extras["loglik"] == pytest.approx(-667.335, abs=5e-4)
    card = {
        "pi0_fast_droid": 0.455,
        "paligemma_fast_specialist_droid": 0.564,
        "paligemma_fast_droid": 0.322,
        "paligemma_vq_droid": 0.596,
        "paligemma_diffusion_droid": 0.534,
        "pi0_droid": 0.134,
        "paligemma_binning_droid": -2.605,
    }
    assert rating(board, *card) == pytest.approx(list(card.values()), abs=6e-4)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_choix(battles, seed):
    c = battles(ties=0.0, seed=seed)
    pairs = [(a, b) if y == 1 else (b, a) for a, b, y in zip(c.a, c.b, c.outcome, strict=True)]
    theirs = choix.ilsr_pairwise(len(c.policies), pairs)
    ours = rating(bradley_terry(c, scale="natural", interval="none"), *c.policies)
    assert ours == pytest.approx(theirs - theirs.mean(), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_evalica(battles, seed):
    c = battles(seed=seed)
    winners = [
        {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}[y]
        for y in c.outcome
    ]
    xs, ys = [c.policies[a] for a in c.a], [c.policies[b] for b in c.b]
    scores = evalica.bradley_terry(
        xs, ys, winners, tie_weight=0.5, tolerance=1e-12, limit=100_000
    ).scores
    theirs = np.log([scores[p] for p in c.policies])
    ours = rating(bradley_terry(c, scale="natural", interval="none"), *c.policies)
    assert ours == pytest.approx(theirs - theirs.mean(), abs=1e-5)


def probabilities(name, d, phi):
    """Win, tie and loss by the definition of each model."""
    if name == "half":
        return expit(d), np.zeros_like(d), expit(-d)
    if name == "probit":
        return ndtr(d), np.zeros_like(d), ndtr(-d)
    if name == "davidson":
        w = np.array([np.exp(d / 2), np.full_like(d, np.exp(phi)), np.exp(-d / 2)])
        return tuple(w / w.sum(axis=0))
    cdf = expit if name == "rao-kupper" else ndtr
    win, loss = cdf(d - phi), cdf(-d - phi)
    return win, 1 - win - loss, loss


@pytest.mark.parametrize("name", LINKS)
def test_link_derivatives(name):
    """Value against the definition, first and second derivatives against finite differences."""
    link, step = LINKS[name], 1e-5
    d = np.linspace(-4, 4, 33)
    phi = 0.4
    for outcome in (0.0, 1.0) if link.linear else (0.0, 0.5, 1.0):
        y = np.full_like(d, outcome)
        at = lambda dd, pp: link.terms(d + dd, y, phi + pp)  # noqa: B023, E731
        win, tie, loss = probabilities(name, d, phi)
        assert at(0, 0).value == pytest.approx(
            np.log({1.0: win, 0.5: tie, 0.0: loss}[outcome]), abs=1e-9
        )
        assert at(0, 0).d == pytest.approx(
            (at(step, 0).value - at(-step, 0).value) / (2 * step), abs=1e-6
        )
        assert at(0, 0).dd == pytest.approx(
            -(at(step, 0).d - at(-step, 0).d) / (2 * step), abs=1e-6
        )
        if link.start is not None:
            assert at(0, 0).phi == pytest.approx(
                (at(0, step).value - at(0, -step).value) / (2 * step), abs=1e-6
            )
            assert at(0, 0).phiphi == pytest.approx(
                -(at(0, step).phi - at(0, -step).phi) / (2 * step), abs=1e-6
            )
            assert at(0, 0).dphi == pytest.approx(
                -(at(0, step).d - at(0, -step).d) / (2 * step), abs=1e-6
            )


@pytest.mark.parametrize(
    ("method", "ties", "name"),
    [
        (bradley_terry, "half", "half"),
        (bradley_terry, "davidson", "davidson"),
        (bradley_terry, "rao-kupper", "rao-kupper"),
        (thurstone, "half", "probit"),
        (thurstone, "glenn-david", "glenn-david"),
    ],
)
def test_fit_against_a_general_optimiser(battles, method, ties, name):
    c = battles(n=5, size=300, seed=4)
    n = len(c.policies)

    def loss(p):
        d = p[c.a] - p[c.b]
        win, tie, lost = probabilities(name, d, p[-1])
        if ties == "half":
            return -(c.outcome @ np.log(win) + (1 - c.outcome) @ np.log(lost))
        return -np.log(np.where(c.outcome == 1, win, np.where(c.outcome == 0, lost, tie))).sum()

    start = np.r_[np.zeros(n), 0.3]
    found = minimize(
        loss,
        start,
        method="L-BFGS-B",
        bounds=[(-3, 3)] * n + [(-3 if ties == "davidson" else 1e-3, 3)],
        options={"ftol": 1e-15, "gtol": 1e-8},
    )
    board = method(c, ties=ties, scale="natural")
    assert rating(board, *c.policies) == pytest.approx(found.x[:n] - found.x[:n].mean(), abs=2e-4)
    assert board.extras["loglik"] == pytest.approx(-found.fun, abs=1e-5)


@pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
def test_sandwich_against_a_loop(battles, ties):
    """CR2 by hand: one score vector a comparison, its expected leverage by hand, and the floor."""
    c = battles(n=4, size=60, seed=1)
    link, cells = LINKS[ties], Cells.of(c)
    fit = newton(cells, link)
    bread = expected_inverse(cells, link, fit)
    found = sandwich(cells, link, fit)
    n = len(c.policies)
    meat = np.zeros_like(fit.inverse)
    for a, b, y in zip(c.a, c.b, c.outcome, strict=True):
        gap = np.array([fit.theta[a] - fit.theta[b]])
        t, mean = link.terms(gap, np.array([y]), fit.phi), link.expected(gap, fit.phi)
        v = np.zeros(n + 1)
        v[a], v[b] = 1, -1
        tie = np.zeros(n + 1)
        tie[n] = 1
        information = mean.dd[0] * np.outer(v, v) + mean.phiphi[0] * np.outer(tie, tie)
        information += mean.dphi[0] * (np.outer(v, tie) + np.outer(tie, v))
        leverage = np.trace(information @ bread)
        score = t.d[0] * v + t.phi[0] * tie
        meat += np.outer(score, score) / (1 - leverage)
    expected = fit.inverse @ meat @ fit.inverse + fit.inverse / 60
    assert found.covariance == pytest.approx(expected, abs=1e-9)
    assert found.clusters == 60


def test_clustered_sandwich_is_the_row_adjustment(battles):
    """CR2 by its definition: residuals of a cluster times (I - H)^-1/2 of its own rows."""
    c = battles(n=4, size=90, seed=2)
    codes = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 3] * 9)
    rater = Labels(codes.astype(np.int32), tuple("rstu"))
    c = Comparisons(c.policies, c.a, c.b, c.outcome, rater=rater)
    fit = newton(Cells.of(c), LINKS["half"])
    p = expit(fit.theta[c.a] - fit.theta[c.b])
    design = np.zeros((90, 5))
    design[np.arange(90), c.a], design[np.arange(90), c.b] = 1, -1
    scaled = design * np.sqrt(p * (1 - p))[:, None]
    residual = (c.outcome - p) / np.sqrt(p * (1 - p))
    meat = np.zeros((5, 5))
    for g in range(4):
        rows = codes == g
        value, axis = np.linalg.eigh(scaled[rows] @ fit.inverse @ scaled[rows].T)
        adjusted = axis @ ((axis.T @ residual[rows]) / np.sqrt(1 - value))
        score = scaled[rows].T @ adjusted
        meat += np.outer(score, score)
    expected = fit.inverse @ meat @ fit.inverse + fit.inverse / 4
    found = sandwich(Cells.of(c, cluster="rater"), LINKS["half"], fit)
    assert found.covariance == pytest.approx(expected, abs=1e-9)
    assert (found.clusters, found.largest) == (4, 0.4)
    assert found.effective == pytest.approx(1 / 0.3)


@pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
def test_light_clusters_are_corrected_to_first_order(battles, ties, monkeypatch):
    c = battles(n=4, size=600, seed=2, ties=0.3)
    rater = Labels((np.arange(600) // 5).astype(np.int32), tuple(f"r{k}" for k in range(120)))
    covariates = np.random.default_rng(0).normal(size=(600, 1))
    c = Comparisons(c.policies, c.a, c.b, c.outcome, rater=rater, covariates=covariates)
    cells = Cells.of(c, cluster="rater")
    fit, covariance = newton(cells, LINKS[ties]), []
    for of_heavy in (120, 0):
        monkeypatch.setattr(robust_errors, "heaviest", lambda held, n=of_heavy: np.arange(n))
        covariance.append(sandwich(cells, LINKS[ties], fit).covariance)
    assert covariance[1] == pytest.approx(covariance[0], rel=0, abs=4e-6)


def test_bootstrap_agrees_with_closed_form(battles):
    c = battles(n=6, size=3000)
    for ties in ("half", "davidson", "rao-kupper"):
        closed = bradley_terry(c, ties=ties)
        boot = bradley_terry(c, ties=ties, interval="bootstrap", resamples=1500)
        assert boot.rating == pytest.approx(closed.rating)
        assert (boot.upper - boot.lower) == pytest.approx(closed.upper - closed.lower, rel=0.12)


def test_bootstrap_refits_are_maxima(battles):
    """Every refit of the batch solves its own resample exactly (the gradient vanishes)."""
    from policyrank.ranking.resampling import bootstrap_fits

    cells = Cells.of(battles(n=5, size=80, seed=3))
    fit = newton(cells, LINKS["half"])
    refits, _ = bootstrap_fits(cells, LINKS["half"], fit, resamples=40, seed=5, weak_prior=2.0)
    again, _ = bootstrap_fits(cells, LINKS["half"], fit, resamples=40, seed=5, weak_prior=2.0)
    assert np.array_equal(refits, again)
    rng = np.random.default_rng(5).spawn(1)[0]
    counts = rng.multinomial(int(cells.count.sum()), cells.count / cells.count.sum(), size=40)
    for p, w in zip(refits, counts, strict=True):
        g = w * (cells.y - expit(p[cells.i] - p[cells.j]))
        slope = np.bincount(cells.i, g, 5) - np.bincount(cells.j, g, 5)
        assert np.abs(slope).max() < 2.0 if np.abs(p).max() > 5 else np.abs(slope).max() < 1e-4


def test_order_effect_and_covariates_are_recovered():
    rng = np.random.default_rng(0)
    n, size = 5, 20_000
    theta = np.array([1.0, 0.5, 0, -0.5, -1])
    i = rng.integers(n, size=size)
    j = (i + rng.integers(1, n, size)) % n
    x = rng.normal(size=(size, 1))
    win = rng.random(size) < expit(theta[i] - theta[j] + 0.3 + 0.7 * x[:, 0])
    c = Comparisons(
        [f"p{k}" for k in range(n)],
        i,
        j,
        win.astype(float),
        covariates=x,
        covariate_names=("length",),
    )
    board = bradley_terry(c, order_effect=True, scale="natural")
    first, length = board.extras["coefficients"]
    assert (first["name"], length["name"]) == ("listed first", "length")
    assert abs(first["log_odds"] - 0.3) < 4 * first["standard_error"] < 0.1
    assert abs(length["log_odds"] - 0.7) < 4 * length["standard_error"] < 0.1
    assert rating(board, *c.policies) == pytest.approx(theta, abs=0.1)
    # Swapping the two sides of every row changes the sign of the order effect and nothing else.
    swapped = Comparisons(c.policies, j, i, 1.0 - win, covariates=-x, covariate_names=("length",))
    other = bradley_terry(swapped, order_effect=True, scale="natural")
    assert other.extras["coefficients"][0]["log_odds"] == pytest.approx(
        -first["log_odds"], abs=1e-6
    )
    assert rating(other, *c.policies) == pytest.approx(rating(board, *c.policies), abs=1e-6)


def test_anchors_fix_ratings(battles):
    c = battles()
    free = bradley_terry(c)
    one = bradley_terry(c, anchors={"p03": 1000})
    assert rating(one, "p03") == pytest.approx(1000)
    assert rating(one, *c.policies) - 1000 == pytest.approx(
        rating(free, *c.policies) - rating(free, "p03"), abs=1e-5
    )
    assert one.upper[one.position("p03")] == pytest.approx(1000)
    two = bradley_terry(c, anchors={"p03": 1000, "p00": 1300})
    assert rating(two, "p03", "p00") == pytest.approx([1000, 1300])
    with pytest.raises(EvidenceError, match="no policy is called"):
        bradley_terry(c, anchors={"nobody": 0})


def test_undefeated_and_disconnected_are_finite_and_said():
    undefeated = Comparisons.of(list("xxyz"), list("yzzy"), [1, 1, 1, 1])
    board = bradley_terry(undefeated)
    assert np.isfinite(board.rating).all()
    assert board.policies[0] == "x"
    assert {"prior", "undefeated"} <= {n.kind for n in board.notes}
    with pytest.raises(EvidenceError, match="no finite maximum"):
        bradley_terry(undefeated, prior=None)
    apart = Comparisons.of(list("xyuv") * 3, list("yxvu") * 3, [1, 1, 1, 1] * 3)
    assert "disconnected" in {n.kind for n in bradley_terry(apart).notes}
    tiers = Comparisons.of(list("xyuvxy"), list("yxvuuv"), [1, 1, 1, 1, 1, 1])
    assert "not strongly connected" in {n.kind for n in bradley_terry(tiers).notes}
    only_ties = Comparisons.of(list("xy"), list("yz"), [0.5, 0.5])
    assert bradley_terry(only_ties).rating == pytest.approx([1500] * 3)
    for ties in ("davidson", "rao-kupper"):
        assert np.isfinite(bradley_terry(only_ties, ties=ties).rating).all()


def test_prior_is_the_penalised_maximum():
    c = Comparisons.of(["x"] * 10, ["y"] * 10, [1] * 10)
    x, y = rating(bradley_terry(c, prior=2.0, scale="natural"), "x", "y")
    assert 10 * expit(y - x) == pytest.approx((x - y) / 2 / 4, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_properties_of_the_fit(seed):
    """Order of rows and sides, counting, and doubling the data change nothing but the width of
    intervals.
    """
    rng = np.random.default_rng(seed)
    n, size = 5, 60
    i = rng.integers(n, size=size)
    j = (i + rng.integers(1, n, size)) % n
    y = rng.choice([0, 0.5, 1], size=size)
    names = [f"p{k}" for k in range(n)]
    c = Comparisons.of(np.array(names)[i], np.array(names)[j], y, policies=names)
    base = bradley_terry(c)
    shuffle = rng.permutation(size)
    flip = rng.random(size) < 0.5
    k, m, z = np.where(flip, j, i), np.where(flip, i, j), np.where(flip, 1 - y, y)
    other = bradley_terry(Comparisons(names, k[shuffle], m[shuffle], z[shuffle]))
    assert other.rating == pytest.approx(base.rating, abs=1e-5)
    assert other.lower == pytest.approx(base.lower, abs=1e-4)
    counted = bradley_terry(c.counted())
    assert counted.upper == pytest.approx(base.upper, abs=1e-4)
    if base.settings["prior"] is None:
        twice = bradley_terry(c.merge(c), interval="fisher")
        once = bradley_terry(c, interval="fisher")
        assert twice.rating == pytest.approx(once.rating, abs=1e-4)
        assert (twice.upper - twice.lower) * np.sqrt(2) == pytest.approx(
            once.upper - once.lower, rel=1e-4
        )
        gradient = c.preferences().sum(axis=1) - np.array(
            [
                sum(
                    expit((rating(base, p) - rating(base, q))[0] * np.log(10) / 400)
                    * (c.preferences() + c.preferences().T)[a, b]
                    for b, q in enumerate(names)
                )
                for a, p in enumerate(names)
            ]
        )
        assert gradient == pytest.approx(np.zeros(n), abs=1e-4)


def test_more_policies_than_a_dense_fit(monkeypatch, battles):
    c = battles(n=30, size=4000)
    dense = bradley_terry(c, interval="none")
    import sys

    import policyrank.ranking.likelihood as paired

    monkeypatch.setattr(paired, "DENSE_LIMIT", 10)
    for module in ("bradley_terry_fit", "paired_errors"):
        monkeypatch.setattr(sys.modules[f"policyrank.ranking.{module}"], "DENSE_LIMIT", 10)
    sparse = bradley_terry(c)
    assert sparse.rating == pytest.approx(dense.rating, abs=1e-4)
    assert "no intervals" in {n.kind for n in sparse.notes}


def test_wrong_evidence_names_the_conversion():
    with pytest.raises(EvidenceError, match="of_rankings"):
        bradley_terry(Rankings.of([["x", "y"]]))
    with pytest.raises(EvidenceError, match=r"needs outcomes 0, 0\.5 and 1"):
        bradley_terry(Comparisons.of(["x", "y"], ["y", "x"], [0.7, 0.4]), ties="davidson")


def test_plackett_luce_is_bradley_terry_on_pairs(battles):
    c = battles(ties=0.0)
    pl, bt = (
        plackett_luce(c.to_rankings(), scale="natural"),
        bradley_terry(c, scale="natural", interval="fisher"),
    )
    assert rating(pl, *c.policies) == pytest.approx(rating(bt, *c.policies), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_plackett_luce_agrees_with_choix(seed):
    rng = np.random.default_rng(seed)
    ballots = [rng.permutation(6)[: rng.integers(2, 7)].tolist() for _ in range(60)]
    theirs = choix.opt_rankings(6, ballots, alpha=0.0)
    board = plackett_luce(
        Rankings.of([[f"p{i}" for i in b] for b in ballots]), scale="natural", prior=None
    )
    assert rating(board, *[f"p{i}" for i in range(6)]) == pytest.approx(
        theirs - theirs.mean(), abs=1e-4
    )
    top = [b[:2] for b in ballots]
    data = [(b[0], [k for k in range(6) if k != b[0]]) for b in top] + [
        (b[1], [k for k in range(6) if k not in b]) for b in top
    ]
    theirs = choix.opt_top1(6, data, alpha=0.0)
    board = plackett_luce(
        Rankings.of([[f"p{i}" for i in b] for b in top]),
        unranked="last",
        scale="natural",
        prior=None,
    )
    assert rating(board, *[f"p{i}" for i in range(6)]) == pytest.approx(
        theirs - theirs.mean(), abs=1e-4
    )


def test_plackett_luce_ties_by_hand():
    """Efron's ties: one ballot {x, y} > z and one z > x > y; the likelihood written out."""
    r = Rankings.of([[["x", "y"], "z"], ["z", "x", "y"], ["y", "z", "x"]])
    board = plackett_luce(r, scale="natural", prior=None, interval="none")

    def loss(t):
        x, y, z = np.exp(t)
        total = x + y + z
        return -(
            np.log(x / total)
            + np.log(y / (total - (x + y) / 2))
            + np.log(z / total)
            + np.log(x / (x + y))
            + np.log(y / total)
            + np.log(z / (x + z))
        )

    found = minimize(loss, np.zeros(3), options={"gtol": 1e-9}).x
    assert rating(board, "x", "y", "z") == pytest.approx(found - found.mean(), abs=1e-5)


def test_plackett_luce_recovers_the_truth_with_coverage():
    rng = np.random.default_rng(0)
    theta = np.linspace(1, -1, 6)
    inside = []
    for _ in range(60):
        scores = theta + rng.gumbel(size=(80, 6))
        board = plackett_luce(
            Rankings.of_scores(scores, [f"p{i}" for i in range(6)]), scale="natural"
        )
        truth = np.array([theta[int(p[1])] for p in board.policies])
        inside.append(((board.lower <= truth) & (truth <= board.upper)).mean())
    assert 0.92 < np.mean(inside) < 0.985
