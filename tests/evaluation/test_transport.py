"""Effects carried from source trials to a target."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from policyrank.errors import EvidenceError
from policyrank.evaluation import transport as transports
from policyrank.evaluation.off_policy import off_policy_value
from policyrank.evaluation.transport import TRANSPORTS, Trial, transfer_lasso
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
from policyrank.metrics.effects import pehe
from policyrank.studies.trial_transport import synthetic

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_sources_alike_are_kept_and_a_flipped_one_is_not():
    rng = np.random.default_rng(0)
    beta = np.array([2.0, -1, 0, 0, 0])

    def arm(n, sign=1.0):
        x = rng.normal(size=(n, 5))
        return x, sign * x @ beta + 0.1 * rng.normal(size=n)

    found = transfer_lasso(arm(30), [arm(200), arm(200, -1), arm(200)])
    assert found.kept == (0, 2)
    x, y = arm(300)
    assert np.sqrt(((found.predict(x) - y) ** 2).mean()) < 0.2
    everything = transfer_lasso(arm(30), [arm(200), arm(200, -1)], detect=False)
    assert everything.kept == (0, 1)


@pytest.mark.slow
def test_transport_beats_the_target_alone_and_the_sources_alone():
    losses = {name: [] for name in TRANSPORTS}
    for r in range(3):
        target, sources, x, effect = synthetic(np.random.default_rng(r), 300)
        for name, rule in TRANSPORTS.items():
            losses[name].append(pehe(rule(target, sources, r)(x), effect))
    mean = {name: np.mean(v) for name, v in losses.items()}
    assert mean["proposed"] < min(
        mean["target only"],
        mean["proxy only"],
        mean["outcome transport"],
        mean["weighted transport"],
    )
    target, sources, x, _ = synthetic(np.random.default_rng(0), 300)
    assert np.array_equal(
        TRANSPORTS["proposed"](target, sources, 0)(x), TRANSPORTS["proposed"](target, sources, 0)(x)
    )
    placebo = Trial(*(v[target.treated == 0] for v in (target.x, target.treated, target.outcome)))
    assert np.isfinite(TRANSPORTS["proposed-b"](placebo, sources, 0)(x)).all()


def test_trials_that_cannot_be_used():
    x = np.zeros((3, 2))
    for treated, outcome, message in (
        ([0, 1], [0, 1, 2], "3 rows of covariates, 2 treatments"),
        ([0, 1, 2], [0, 1, 2], "treated is 0 or 1"),
        ([0, 1, 1], [0, np.nan, 2], "finite"),
    ):
        with pytest.raises(EvidenceError, match=message):
            Trial(x, np.array(treated), np.array(outcome, dtype=float))


def test_balancing_weights_meet_the_means():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    w = balancing_weights(x, np.array([0.3, -0.2, 0.1]), penalty=1e-9)
    np.testing.assert_allclose(w @ x, [0.3, -0.2, 0.1], atol=1e-4)
    assert w.sum() == pytest.approx(1)
    assert w.min() > 0
    # Exponential tilting: log weights are linear in x.
    design = np.c_[np.ones(400), x]
    assert (
        np.abs(np.log(w) - design @ np.linalg.lstsq(design, np.log(w), rcond=None)[0]).max() < 1e-8
    )


def site(rng, rows, centre=0.0):
    x = rng.normal(centre, 1, size=(rows, 3))
    treated = rng.integers(2, size=rows)
    return Trial(x, treated, x[:, 0] + treated * (1 + x[:, 1]) + rng.normal(size=rows))


@pytest.mark.parametrize("transport", [weighted_transport, balanced_transport])
def test_overlap_is_seen_before_rows_are_weighted(transport):
    rng = np.random.default_rng(0)
    sources = [site(rng, 255), site(rng, 255)]
    near = transport(site(rng, 200, 0.2), sources)
    assert min(near.effective) > 100
    assert near.notes == ()
    assert near(np.zeros((1, 3)))[0] == pytest.approx(1, abs=0.3)
    thin = transport(site(rng, 60, 1.0), sources)
    assert 2 < min(thin.effective) < 100
    assert any("rows tell as much of the target as" in note for note in thin.notes)
    for centre in (3.0, 8.0):
        with pytest.raises(EvidenceError, match=r"hardly overlap|lies outside of the sources"):
            transport(site(rng, 60, centre), sources)
    placebo = [Trial(s.x, np.zeros(255, int), s.outcome) for s in sources]
    with pytest.raises(EvidenceError, match=r"of 0 treated rows 0\.0 tell of it"):
        transport(site(rng, 60), placebo)
    with pytest.raises(EvidenceError, match="no source trials"):
        transport(site(rng, 60), [])
    with pytest.raises(EvidenceError, match="trials of 2 and 3 covariates"):
        transport(site(rng, 60), [sources[0], Trial(np.zeros((2, 2)), np.r_[0, 1], np.zeros(2))])


def test_average_effects_side_by_side():
    """The target's mean effect is 1.5: at the sources it is 1."""
    rng = np.random.default_rng(1)
    sources = [site(rng, 1000), site(rng, 1000)]
    target = site(rng, 500, 0.5)
    for by in ("odds", "balanced"):
        table = average_effects(target, sources, by=by)
        assert [row["estimator"] for row in table[:3]] == ["direct", "weighted", "doubly robust"]
        assert table[0]["effect"] == pytest.approx(1.5, abs=0.15)
        for row in table[1:]:
            if row["truncated"] == 1:
                assert row["lower"] < 1.5 < row["upper"]
            assert row["error"] > 0
        cut = [min(row["effective rows"]) for row in table if row["estimator"] == "weighted"]
        assert cut == sorted(cut)
    with pytest.raises(ValueError, match="by='x': use one of odds, balanced"):
        average_effects(target, sources, by="x")
    with pytest.raises(EvidenceError, match=r"the sources|the target"):
        average_effects(site(rng, 60, 6.0), sources)


def test_weighted_residuals_mend_a_model_that_is_wrong():
    """Effects of x^2 look flat to a ridge at the sources, where their mean is 1; here it is 2."""
    rng = np.random.default_rng(2)

    def bent(rows, centre):
        x = rng.normal(centre, 1, size=(rows, 1))
        treated = rng.integers(2, size=rows)
        return Trial(x, treated, treated * x[:, 0] ** 2 + 0.1 * rng.normal(size=rows))

    table = average_effects(bent(2000, 1.0), [bent(4000, 0.0)], truncate=(1.0,))
    found = {row["estimator"]: row["effect"] for row in table}
    assert found["direct"] < 1.3
    assert found["doubly robust"] == pytest.approx(2, abs=0.4)


def test_effective_rows_by_hand():
    assert effective_rows(np.array([3.0, 1.0])) == pytest.approx(1.6)
    assert effective_rows(np.zeros(3)) == 0


def test_doubly_robust_effect_is_econmls():
    econml = pytest.importorskip("econml.dr")
    from sklearn.linear_model import LinearRegression, LogisticRegression

    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 4))
    e = 1 / (1 + np.exp(-x[:, 0]))
    treated = (rng.random(4000) < e).astype(int)
    outcome = x.sum(axis=1) + treated * (1 + x[:, 1]) + rng.normal(size=4000)
    theirs = econml.LinearDRLearner(
        model_propensity=LogisticRegression(),
        model_regression=LinearRegression(),
        cv=5,
        random_state=0,
        fit_cate_intercept=True,
    )
    theirs.fit(outcome, treated, X=None, W=x)
    board = off_policy_value(
        {"all": np.ones(4000, int), "none": np.zeros(4000, int)},
        treated,
        outcome,
        x,
        np.c_[1 - e, e],
        model=LinearRegression(),
    )
    ours = board.rating[board.policies.index("all")] - board.rating[board.policies.index("none")]
    low, high = theirs.ate_interval(X=None)
    assert ours == pytest.approx(
        float(np.ravel(theirs.ate(X=None))[0]), abs=0.3 * float(np.ravel(high - low)[0]) / 2
    )
    assert ours == pytest.approx(1, abs=0.15)


def test_odds_are_those_of_being_the_targets():
    x = np.array([[0.0], [1.0], [2.0]])
    assert odds_of_target(np.repeat(x, 3, axis=0), x) == pytest.approx(np.full(3, 3.0), rel=1e-3)
    near = odds_of_target(x + 1, x)
    assert near[0] < near[1] < near[2]


def test_what_the_target_says_corrects_the_sources(monkeypatch):
    x = np.zeros((10, 1))
    found = transfer_lasso((x, np.full(10, 4.0)), [(np.zeros((30, 1)), np.zeros(30))], detect=False)
    assert found.predict(x) == pytest.approx(4.0)

    def foretold(target, control, treated, chance, seed):
        return lambda z: np.column_stack([control, treated])

    monkeypatch.setattr(transports, "_learned", foretold)
    treated = np.arange(20) % 2
    target = Trial(np.zeros((20, 1)), treated, np.where(treated, 10.0, 3.0))
    source = Trial(np.zeros((20, 1)), treated, np.ones(20))
    both = TRANSPORTS["anchored proxy"](target, [source])(target.x)
    assert both == pytest.approx(np.tile([3.0, 10.0], (20, 1)))
    z, t = np.random.default_rng(0).normal(size=(160, 3)), np.arange(160) % 2
    target = Trial(z, t, z[:, 0] + t * (1 + z[:, 1]))
    both = TRANSPORTS["target only"](target, [])(z)
    assert both == pytest.approx(np.column_stack([z[:, 0], z[:, 0] + 1 + z[:, 1]]), abs=0.2)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_estimator_finds_the_effect(name):
    """It is 1 + the second covariate."""
    rng = np.random.default_rng(3)
    found = TRANSPORTS[name](site(rng, 200), [site(rng, 150), site(rng, 150)], 0)
    x = rng.normal(size=(500, 3))
    effect = found(x)
    assert np.corrcoef(effect, 1 + x[:, 1])[0, 1] > 0.75
    assert effect.mean() == pytest.approx(1, abs=0.35)
    assert effect[x[:, 1] > 1].mean() - effect[x[:, 1] < -1].mean() > 1.5


def test_balanced_on_every_covariate_and_few_rows_of_an_arm_are_said():
    sources = np.array([[a, b] for a in range(4) for b in range(4)], dtype=float)
    weight = balanced_on_target(np.array([[1.0, 2.5], [1.0, 1.5]]), sources)
    assert weight.mean() == pytest.approx(1)
    assert weight @ sources / weight.sum() == pytest.approx([1, 2], abs=0.01)
    x = np.random.default_rng(0).normal(size=(250, 2))
    trial = Trial(x, (np.arange(250) >= 30).astype(int), np.zeros(250))
    effective, missed, notes = overlap(trial, np.ones(250), x)
    assert effective == pytest.approx((30, 220))
    assert missed == pytest.approx(0, abs=1e-9)
    assert notes == ("30 untreated rows tell as much of the target as 30.",)
