"""Effects carried from source trials to a target, and the numbers by which they are judged."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from policyrank.errors import EvidenceError
from policyrank.evaluation.cross_fitting import pseudo_outcomes
from policyrank.evaluation.targeting import rank_effects
from policyrank.evaluation.transport import TRANSPORTS, Trial, balancing_weights, transfer_lasso
from policyrank.metrics.effects import autoc, pehe, qini, top_share_regret, treatment_regret
from policyrank.studies.trial_transport import synthetic

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_numbers_by_hand():
    assert pehe([1, 2], [1, 4]) == pytest.approx(np.sqrt(2))
    assert treatment_regret([-1, -1], [2, -1]) == 1
    assert top_share_regret([1, 2, 3, 4], [4, 3, 2, 1], 0.25) == 3
    effect = np.random.default_rng(0).normal(size=500)
    assert qini(effect, effect) == 1
    assert qini(-effect, effect) < -0.9
    assert abs(qini(np.random.default_rng(1).normal(size=500), effect)) < 0.2
    assert np.isnan(qini([1, 2], [1, 1]))
    assert autoc([2, 1], [3, 0]) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="equally long"):
        pehe([1], [1, 2])


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


def test_effects_are_ranked_by_what_treating_by_them_brings():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3000, 2))
    effect = x[:, 0]
    treated = rng.integers(2, size=3000)
    outcome = x[:, 1] + treated * effect + rng.normal(size=3000)
    scores = pseudo_outcomes(outcome, treated, x[:, 1] + effect, x[:, 1], np.full(3000, 0.5))
    estimates = {
        "true": effect,
        "noisy": effect + rng.normal(size=3000),
        "random": rng.normal(size=3000),
        "reversed": -effect,
    }
    for statistic, number in (("autoc", autoc), ("value", None), ("qini", None)):
        board = rank_effects(estimates, scores, statistic, resamples=300)
        assert board.policies == ("true", "noisy", "random", "reversed")
        assert board.rank_upper.tolist() == [1, 2, 3, 4]
        if number is not None:
            assert board.rating[1] == pytest.approx(number(estimates["noisy"], scores))
    value = rank_effects(estimates, effect, "value", resamples=50)
    regret = value.rating[0] - value.rating[1]
    assert regret == pytest.approx(treatment_regret(estimates["noisy"], effect))
    # Of a normal effect: E[max(effect, 0)] = 1 / sqrt(2 pi)
    assert value.rating[0] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=0.03)
    for wrong, message in (
        ({"true": effect}, "two estimates"),
        ({"true": effect, "short": effect[1:]}, "short"),
    ):
        with pytest.raises(EvidenceError, match=message):
            rank_effects(wrong, scores)


def test_autoc_intervals_cover():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(60):
        x = rng.normal(size=400)
        board = rank_effects(
            {"a": x, "b": rng.normal(size=400)}, x + rng.normal(size=400), resamples=200
        )
        k = board.policies.index("a")
        hits += board.lower[k] <= 0.9032 <= board.upper[k]  # E[phi(Z) / (1 - Phi(Z))]
    assert hits >= 52


def test_doubly_robust_effect_is_econmls():
    econml = pytest.importorskip("econml.dr")
    from sklearn.linear_model import LinearRegression, LogisticRegression

    from policyrank.evaluation.off_policy import off_policy_value

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
