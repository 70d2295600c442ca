"""Effects carried from source trials to a target, and the numbers by which they are judged."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from policyrank.errors import EvidenceError
from policyrank.evaluation.transport import TRANSPORTS, Trial, balancing_weights, transfer_lasso
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
