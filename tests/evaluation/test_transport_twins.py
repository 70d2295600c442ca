"""Transports of effects step by step: the same by plain least squares, written down in full."""

import numpy as np
import pytest
from scipy.optimize import root
from scipy.stats import t

pytest.importorskip("sklearn")
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LassoCV, Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from policyrank.board.clusters import clustered_mean
from policyrank.errors import EvidenceError, OptionError
from policyrank.evaluation import transport
from policyrank.evaluation.transport import TRANSPORTS, transfer_lasso
from policyrank.evaluation.transport_weights import (
    average_effects,
    balanced_on_target,
    balanced_transport,
    balancing_weights,
    effective_rows,
    odds_of_target,
    overlap,
    weighted_transport,
)
from policyrank.evaluation.trials import Trial, all_rows_of


def some_trial(seed, rows=24, shift=0.0, effect=1.0, noise=0.3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2)) + shift
    treated = np.arange(rows) % 2
    outcome = x @ [1.0, -0.5] + treated * effect * (1 + x[:, 0]) + noise * rng.normal(size=rows)
    return Trial(x, treated, outcome)


def least_squares(x, y, seed):
    """In place of the lasso: it depends on the rows and, a little, on the seed."""
    if not len(y):
        return lambda z: np.zeros(len(z))
    design = np.column_stack([np.ones(len(x)), x])
    coef = np.linalg.lstsq(design, y, rcond=None)[0] + seed * 1e-3
    return lambda z: np.column_stack([np.ones(len(z)), z]) @ coef


def fitted(*tables, seed=0):
    x, y = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    return least_squares(x, y, seed)


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(transport, "_fit", least_squares)
    monkeypatch.setattr(
        transport, "_forest", lambda trials, arm, seed: fitted(*arms(trials, arm), seed=seed + arm)
    )


def arms(trials, arm):
    return [trial.arm(arm) for trial in trials]


def slow_transfer(target, sources, seed=0, kept=None):
    kept = range(len(sources)) if kept is None else kept
    pooled = fitted(target, *(sources[c] for c in kept), seed=seed)
    x, y = target
    correction = least_squares(x, y - pooled(x), seed)
    if not len(kept) or not len(x):
        return pooled
    return lambda z: pooled(z) + correction(z)


AT = np.random.default_rng(9).normal(size=(7, 2))
TARGET = some_trial(0)
SOURCES = [some_trial(k, 30, effect=1 + k / 9, noise=0.1 * k) for k in (1, 2, 3)]


@pytest.mark.parametrize("seed", [0, 4])
def test_pooled_and_corrected(plain, seed):
    target, sources = TARGET.arm(0), arms(SOURCES, 0)
    found = transfer_lasso(target, sources, detect=False, seed=seed)
    assert found.kept == (0, 1, 2)
    assert found.predict(AT) == pytest.approx(slow_transfer(target, sources, seed)(AT))
    alone = transfer_lasso(target, [], seed=seed)
    assert alone.kept == ()
    assert alone.predict(AT) == pytest.approx(fitted(target, seed=seed)(AT))
    nothing = (np.zeros((0, 2)), np.zeros(0))
    of_sources = transfer_lasso(nothing, sources, seed=seed)
    assert of_sources.kept == (0, 1, 2)
    assert of_sources.predict(AT) == pytest.approx(fitted(*sources, seed=seed)(AT))
    few = (target[0][:8], target[1][:8])
    flipped = [(x, 50 - y) for x, y in sources]
    assert transfer_lasso(few, flipped, seed=seed).kept == (0, 1, 2)
    nine = (target[0][:9], target[1][:9])
    assert transfer_lasso(nine, flipped, seed=seed).kept == ()


@pytest.mark.parametrize("strictness", [0.0, 2.0, 6.0])
def test_sources_are_kept_whose_loss_is_near_the_targets(plain, strictness):
    target = TARGET.arm(0)
    x, y = target
    rng = np.random.default_rng(5)
    sources = []
    for away in np.linspace(0, 3, 9):
        z = rng.normal(size=(20, 2))
        sources.append((z, z @ [1.0, -0.5] + away + 0.2 * rng.normal(size=20)))
    fold = np.random.default_rng(3).permutation(len(x)) % 3
    own, theirs = [], np.empty((9, 3))
    for part in range(3):
        held, rest = fold == part, (x[fold != part], y[fold != part])
        own.append(((fitted(rest, seed=3)(x[held]) - y[held]) ** 2).mean())
        for c, source in enumerate(sources):
            error = fitted(rest, source, seed=3)(x[held]) - y[held]
            theirs[c, part] = (error**2).mean()
    limit = np.mean(own) + strictness * max(np.std(own, ddof=1), 0.01)
    kept = tuple(np.flatnonzero(theirs.mean(axis=1) <= limit).tolist())
    found = transfer_lasso(target, sources, strictness=strictness, seed=3)
    assert found.kept == kept
    assert found.predict(AT) == pytest.approx(slow_transfer(target, sources, 3, kept)(AT))
    if strictness == 2:
        assert transfer_lasso(target, sources, seed=3).kept == kept
        assert 0 < len(kept) < 9


def test_sources_of_a_target_without_noise_have_a_hundredth_of_room(plain):
    x = np.random.default_rng(0).normal(size=(12, 2))
    target = (x, x @ [1.0, 2.0])
    sources = [(x + 1, (x + 1) @ [1.0, 2.0] + away) for away in (0.1, 2.0)]
    assert transfer_lasso(target, sources, seed=0).kept == (0,)


def pseudo(trial, control, treated, chance):
    residual = trial.outcome - np.where(trial.treated == 1, treated, control)
    return treated - control + (trial.treated - chance) / (chance * (1 - chance)) * residual


@pytest.mark.parametrize("seed", [0, 3])
def test_transports_step_by_step(plain, seed):
    """Each of the estimators, with its folds and its corrections."""
    slow = {}
    kept = [transfer_lasso(TARGET.arm(a), arms(SOURCES, a), seed=seed).kept for a in (0, 1)]
    both = [slow_transfer(TARGET.arm(a), arms(SOURCES, a), seed, kept[a])(AT) for a in (0, 1)]
    slow["proposed"] = both[1] - both[0]
    pooled = [fitted(*arms(SOURCES, a), seed=seed)(AT) for a in (0, 1)]
    slow["outcome transport"] = pooled[1] - pooled[0]
    proxy = [fitted(*arms(SOURCES, a), seed=seed + a)(AT) for a in (0, 1)]
    slow["proxy only"] = proxy[1] - proxy[0]

    fold = np.random.default_rng(seed).permutation(24) % 2
    of = {name: np.empty((24, 2)) for name in ("proposed-cf", "target only", "anchored proxy")}
    for part in (0, 1):
        held = fold == part
        rest = Trial(TARGET.x[~held], TARGET.treated[~held], TARGET.outcome[~held])
        at = TARGET.x[held]
        for a in (0, 1):
            own, sources = rest.arm(a), arms(SOURCES, a)
            of["proposed-cf"][held, a] = slow_transfer(own, sources, seed)(at)
            of["target only"][held, a] = slow_transfer(own, [], seed)(at)
            forest = fitted(*sources, seed=seed + a)
            correction = least_squares(own[0], own[1] - forest(own[0]), seed)
            of["anchored proxy"][held, a] = forest(at) + correction(at)
    for name, mu in of.items():
        scores = pseudo(TARGET, mu[:, 0], mu[:, 1], 0.5)
        slow[name] = least_squares(TARGET.x, scores, seed)(AT)

    agreeing = [SOURCES[c] for c in kept[0]] or SOURCES
    x, treated, outcome = (
        np.concatenate([getattr(trial, part) for trial in agreeing])
        for part in ("x", "treated", "outcome")
    )
    whole = Trial(x, treated, outcome)
    control, other = (fitted(*arms(agreeing, a), seed=seed)(x) for a in (0, 1))
    scores = pseudo(whole, control, other, treated.mean())
    slow["proposed-b"] = least_squares(x, scores, seed)(AT)
    assert set(slow) | {"weighted transport", "balanced transport"} == set(TRANSPORTS)
    for name, effects in slow.items():
        found = TRANSPORTS[name](TARGET, SOURCES, seed)
        assert found(AT) == pytest.approx(effects), name
        if seed == 0:
            assert TRANSPORTS[name](TARGET, SOURCES)(AT) == pytest.approx(effects)


def test_a_generator_gives_a_seed_and_shares_keep_away_from_the_ends(plain):
    number = int(np.random.default_rng(7).integers(2**31))
    assert transport._seed(np.random.default_rng(7)) == number
    assert transport._seed(np.int64(5)) == 5
    rare = Trial(TARGET.x, np.r_[1, np.zeros(23, int)], TARGET.outcome)
    assert transport._share_treated(rare) == pytest.approx(np.full(24, 0.05))
    often = Trial(TARGET.x, np.r_[0, np.ones(23, int)], TARGET.outcome)
    assert transport._share_treated(often) == pytest.approx(np.full(24, 0.95))


def test_the_lasso_is_sklearns_and_of_few_rows_the_mean():
    trial = some_trial(6, rows=20)
    x, y = trial.x, trial.outcome
    for rows in (6, 20):
        scaler = StandardScaler().fit(x[:rows])
        cut = KFold(min(5, rows // 2), shuffle=True, random_state=2)
        model = LassoCV(cv=cut, max_iter=20_000, alphas=50)
        model.fit(scaler.transform(x[:rows]), y[:rows])
        found = transport._fit(x[:rows], y[:rows], 2)
        assert found(AT) == pytest.approx(model.predict(scaler.transform(AT)))
    assert transport._fit(x[:5], y[:5], 0)(AT) == pytest.approx(np.full(7, y[:5].mean()))
    assert transport._fit(x[:0], y[:0], 0)(AT).tolist() == [0.0] * 7
    level = transport._fit(x, np.full(20, 3.0), 0)
    assert level(AT).tolist() == [3.0] * 7


def test_forests_are_sklearns():
    model = RandomForestRegressor(100, max_depth=10, min_samples_leaf=5, random_state=3)
    x, y = (np.concatenate(parts) for parts in zip(*arms(SOURCES, 1), strict=True))
    found = transport._forest(SOURCES, 1, 3)(AT)
    assert found == pytest.approx(model.fit(x, y).predict(AT))


# Weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [None, 0.05])
def test_balancing_weights_solve_their_dual(penalty):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3)) * [1, 4, 0]
    goal = np.array([0.4, -1.0, 0.0])
    given = {} if penalty is None else {"penalty": penalty}
    found = balancing_weights(x, goal, **given)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z, at = (x - x.mean(axis=0)) / scale, (goal - x.mean(axis=0)) / scale

    def weight(dual):
        raw = np.exp(z @ dual)
        return raw / raw.sum()

    def slope(dual):
        return weight(dual) @ z - at + 2 * (penalty or 1e-3) * dual

    assert found == pytest.approx(weight(root(slope, np.zeros(3)).x), abs=1e-5)
    target = rng.normal(size=(5, 3)) * [1, 1, 0]
    on_target = balanced_on_target(target, x)
    assert on_target == pytest.approx(30 * balancing_weights(x, target.mean(axis=0)))
    assert on_target.mean() == pytest.approx(1)


def test_odds_are_held_within_a_hundred_to_one():
    near, far = np.full((30, 1), 50.0), np.full((30, 1), -50.0)
    odds = odds_of_target(near, np.vstack([far, near[:1]]))
    assert odds[0] == pytest.approx(1 / 99)
    assert odds[-1] > 10


def trial_of(x, treated):
    return Trial(np.asarray(x, dtype=float), np.asarray(treated), np.zeros(len(treated)))


def test_overlap_is_counted_and_said():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2))
    treated = np.r_[np.zeros(120, int), np.ones(180, int)]
    weight = rng.uniform(0.2, 2, 300)
    target = rng.normal([0.0, 0.5], 1.0, (50, 2))
    effective, missed, notes = overlap(trial_of(x, treated), weight, target)
    by_arm = [weight[treated == a].sum() ** 2 / (weight[treated == a] ** 2).sum() for a in (0, 1)]
    assert effective == pytest.approx(tuple(by_arm))
    gap = np.abs(np.average(x, axis=0, weights=weight) - target.mean(axis=0)) / x.std(axis=0)
    assert missed == pytest.approx(gap.max())
    assert gap.argmax() == 1
    assert by_arm[0] < 100 < by_arm[1]
    assert notes == (
        f"120 untreated rows tell as much of the target as {by_arm[0]:.0f}.",
        f"Weighted, covariate 2 is off the target by {gap.max():.1f} deviations.",
    )
    assert overlap(trial_of(x, treated), np.ones(300), x)[2] == ()
    far = x.mean(axis=0) + 2.05 * x.std(axis=0) * [1, 0]
    with pytest.raises(EvidenceError, match=r"covariate 1 is still off by 2\.[01]"):
        overlap(trial_of(x, treated), np.ones(300), far[None])
    near = x.mean(axis=0) + 1.95 * x.std(axis=0) * [1, 0]
    assert overlap(trial_of(x, treated), np.ones(300), near[None])[1] == pytest.approx(1.95)


def test_of_many_rows_a_fifth_is_to_tell():
    x = np.random.default_rng(2).normal(size=(2000, 1))
    treated = np.arange(2000) % 2
    for share, said in ((0.19, 2), (0.21, 0)):
        weight = (np.arange(2000) // 2 < share * 1000).astype(float)
        notes = overlap(trial_of(x, treated), weight, np.average(x, axis=0, weights=weight)[None])[
            2
        ]
        assert len(notes) == said
    hundred = trial_of(x[:200], treated[:200])
    assert overlap(hundred, np.ones(200), x[:200])[2] == ()


def test_two_effective_rows_an_arm_are_needed():
    x, treated = np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1])
    target = np.array([[2.5]])
    two = np.array([1, 1, 0, 0, 1, 1.0])
    assert overlap(trial_of(x, treated), two, target)[0] == (2, 2)
    for weight, message in (
        ([1, 0.9, 0, 1, 1, 1], "of 3 untreated rows 2.0 tell"),
        ([1, 1, 1, 1, 0, 0], "of 3 treated rows 1.0 tell"),
        ([1, 1, 1, 0, 0, 0], "of 3 treated rows 0.0 tell"),
    ):
        with pytest.raises(EvidenceError, match=message):
            overlap(trial_of(x, treated), np.array(weight, dtype=float), target)
    assert effective_rows(np.array([2.0, 1.0])) == pytest.approx(9 / 5)


def ridge(trial, arm, weight=None):
    own = trial.treated == arm
    counts = None if weight is None else weight[own]
    return Ridge(1.0).fit(trial.x[own], trial.outcome[own], sample_weight=counts).predict


@pytest.mark.parametrize("by", ["odds", "balanced"])
def test_weighted_transports_are_ridges_of_weighted_rows(by):
    whole = all_rows_of(SOURCES)
    function, weigh = {
        "odds": (weighted_transport, odds_of_target),
        "balanced": (balanced_transport, balanced_on_target),
    }[by]
    weight = weigh(TARGET.x, whole.x)
    found = function(TARGET, SOURCES)
    slow = ridge(whole, 1, weight)(AT) - ridge(whole, 0, weight)(AT)
    assert found(AT) == pytest.approx(slow)
    assert found.predict(AT) == pytest.approx(slow)
    effective, missed, notes = overlap(whole, weight, TARGET.x)
    assert (found.effective, found.missed, found.notes) == (effective, missed, notes)


@pytest.mark.parametrize("by", ["odds", "balanced"])
def test_average_effects_as_a_slow_twin_has_them(by):
    whole = all_rows_of(SOURCES)
    weight = {"odds": odds_of_target, "balanced": balanced_on_target}[by](TARGET.x, whole.x)
    models = [ridge(whole, a) for a in (0, 1)]
    here = models[1](TARGET.x) - models[0](TARGET.x)
    shares, level = (1.0, 0.7), 0.9
    rows = average_effects(TARGET, SOURCES, by=by, truncate=shares, level=level)
    assert rows[0] == {
        "estimator": "direct",
        "truncated": None,
        "effect": pytest.approx(here.mean()),
    }
    assert [(row["estimator"], row["truncated"]) for row in rows[1:]] == [
        (name, share) for share in shares for name in ("weighted", "doubly robust")
    ]
    for row in rows[1:]:
        cut = np.minimum(weight, np.quantile(weight, row["truncated"]))
        effect = variance = 0.0
        effective = []
        robust = row["estimator"] == "doubly robust"
        for a, sign in ((0, -1), (1, 1)):
            own = whole.treated == a
            values = whole.outcome[own] - (models[a](whole.x[own]) if robust else 0)
            seen = clustered_mean(values[:, None], None, cut[own])
            effect += sign * seen.mean[0]
            variance += seen.covariance[0, 0]
            effective.append(effective_rows(cut[own]))
        if robust:
            effect += here.mean()
            variance += here.var(ddof=1) / len(here)
        half = t.ppf(0.95, min(effective) - 1) * np.sqrt(variance)
        assert row["effect"] == pytest.approx(effect)
        assert row["error"] == pytest.approx(np.sqrt(variance))
        assert (row["lower"], row["upper"]) == pytest.approx((effect - half, effect + half))
        assert row["effective rows"] == pytest.approx(tuple(effective))
    default = average_effects(TARGET, SOURCES)
    assert [row["truncated"] for row in default[1::2]] == [1.0, 0.99, 0.95, 0.9]
    same = average_effects(TARGET, SOURCES, by="odds", level=0.95)
    assert default == same
    with pytest.raises(OptionError, match="odds, balanced"):
        average_effects(TARGET, SOURCES, by="nearest")
