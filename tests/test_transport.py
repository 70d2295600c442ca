"""Effects carried from source trials to a target, and the numbers by which they are judged."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from policyrank.evaluate.transport import TRANSPORTS, Trial, transfer_lasso
from policyrank.evidence import EvidenceError
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


def test_transport_beats_the_target_alone_and_the_sources_alone():
    losses = {name: [] for name in TRANSPORTS}
    for r in range(3):
        target, sources, x, effect = synthetic(np.random.default_rng(r), 300)
        for name, rule in TRANSPORTS.items():
            losses[name].append(pehe(rule(target, sources, r)(x), effect))
    mean = {name: np.mean(v) for name, v in losses.items()}
    assert mean["proposed"] < min(mean["target only"], mean["proxy only"], mean["outcome transport"], mean["weighted transport"])  # fmt: skip
    target, sources, x, _ = synthetic(np.random.default_rng(0), 300)
    assert np.array_equal(TRANSPORTS["proposed"](target, sources, 0)(x), TRANSPORTS["proposed"](target, sources, 0)(x))
    placebo = Trial(*(v[target.treated == 0] for v in (target.x, target.treated, target.outcome)))
    assert np.isfinite(TRANSPORTS["proposed-b"](placebo, sources, 0)(x)).all()


def test_trials_that_cannot_be_used():
    x = np.zeros((3, 2))
    for treated, outcome, message in (([0, 1], [0, 1, 2], "3 rows of covariates, 2 treatments"), ([0, 1, 2], [0, 1, 2], "treated is 0 or 1"), ([0, 1, 1], [0, np.nan, 2], "finite")):  # fmt: skip
        with pytest.raises(EvidenceError, match=message):
            Trial(x, np.array(treated), np.array(outcome, dtype=float))
