"""Values of policies from what another one logged."""

import numpy as np
import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation.off_policy import Ridge, off_policy_value, pseudo_outcomes


def logged(seed, n=2000):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    e = 1 / (1 + np.exp(-0.8 * x[:, 0]))
    a = (rng.random(n) < e).astype(int)
    effect = x[:, 1]
    y = 1 + x[:, 0] + a * effect + rng.normal(size=n) * 0.5
    return x, np.column_stack([1 - e, e]), a, y


def policies(x):
    return {
        "all": np.ones(len(x), dtype=int),
        "none": np.zeros(len(x), dtype=int),
        "best": (x[:, 1] > 0).astype(int),
        "half": np.full((len(x), 2), 0.5),
    }


TRUTH = {"all": 1.0, "none": 1.0, "best": 1 + np.sqrt(1 / (2 * np.pi)), "half": 1.0}


def test_by_hand():
    assert pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 0.5]).tolist() == [4, 4]
    with pytest.raises(EvidenceError, match="row 2: the chance of treatment is 1"):
        pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 1])

    class Zero:
        def fit(self, x, y):
            return self

        def predict(self, x):
            return np.zeros(len(x))

    x, e, a, y = logged(0, 200)
    board = off_policy_value(
        {"all": np.ones(200, dtype=int), "none": np.zeros(200, dtype=int)}, a, y, x, e, model=Zero()
    )
    found = dict(zip(board.policies, board.rating, strict=True))
    assert found["all"] == pytest.approx(
        np.mean(a * y / e[:, 1])
    )  # without a model: inverse propensity
    same = dict(zip(board.policies, np.sqrt(board.covariance.diagonal()), strict=True))
    assert same["all"] == pytest.approx(np.std(a * y / e[:, 1], ddof=1) / np.sqrt(200))


@pytest.mark.parametrize("model", [None, Ridge(1e3)])
def test_intervals_cover_the_truth_with_a_good_and_with_a_useless_model(model):
    inside, first = [], []
    for seed in range(60):
        x, e, a, y = logged(seed)
        board = off_policy_value(policies(x), a, y, x, e, model=model, seed=seed)
        inside += [
            low <= TRUTH[n] <= high
            for n, low, high in zip(board.policies, board.lower, board.upper, strict=True)
        ]
        first.append(board.policies[0])
    assert np.mean(inside) > 0.9
    assert first == ["best"] * 60


def test_trials_clusters_and_seeds():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    a = rng.integers(2, size=600)
    y = x[:, 0] + a * x[:, 1] + rng.normal(size=600)
    targets = {"treat": np.ones(600, dtype=int), "not": np.zeros(600, dtype=int)}
    board = off_policy_value(targets, a, y, x)
    again = off_policy_value(targets, a, y, x)
    assert np.array_equal(board.lower, again.lower)
    doubled = {k: np.tile(v, 2) for k, v in targets.items()}
    # the same rows twice: naive intervals shrink, clustered ones do not
    naive = off_policy_value(doubled, np.tile(a, 2), np.tile(y, 2), np.tile(x, (2, 1)))
    honest = off_policy_value(
        doubled,
        np.tile(a, 2),
        np.tile(y, 2),
        np.tile(x, (2, 1)),
        cluster=np.tile(np.arange(600), 2),
    )
    width = lambda b: (b.upper - b.lower).mean()  # noqa: E731
    assert width(naive) < 0.8 * width(board)
    assert width(honest) == pytest.approx(width(board), rel=0.05)


def test_agrees_with_sklearn_and_takes_its_models():
    linear = pytest.importorskip("sklearn.linear_model")
    x, e, a, y = logged(3)
    z = (x - x.mean(0)) / x.std(0)
    ours = Ridge(0.05).fit(x, y)
    theirs = linear.Ridge(alpha=0.05 * len(x)).fit(z, y)
    assert ours.predict(x) == pytest.approx(theirs.predict(z))
    board = off_policy_value(policies(x), a, y, x, e, model=linear.LinearRegression())
    assert board.policies[0] == "best"
    assert board.rank_upper[0] == 1


def test_input_that_cannot_be_used():
    x, e, a, y = logged(0, 100)
    two = {"p": np.ones(100, dtype=int), "q": np.zeros(100, dtype=int)}
    for change, message in (
        ({"actions": a[:50]}, "one integer"),
        ({"outcome": np.where(np.arange(100) == 4, np.nan, y)}, "outcome: row 5"),
        ({"propensity": np.ones((100, 2))}, "sums to 1"),
        ({"propensity": np.column_stack([a, 1 - a]).astype(float)}, "was taken with a chance of 0"),
        ({"policies": {"p": two["p"]}}, "two policies"),
        ({"policies": {**two, "r": np.full(100, 2)}}, "r: its actions"),
        ({"policies": {**two, "r": np.full((100, 2), 0.7)}}, "r: its chances"),
    ):
        given = {
            "policies": two,
            "actions": a,
            "outcome": y,
            "features": x,
            "propensity": e,
        } | change
        with pytest.raises(EvidenceError, match=message):
            off_policy_value(**given)
    rare = np.zeros(100, dtype=int)
    rare[0] = 1
    with pytest.raises(EvidenceError, match="too few for 5 folds"):
        off_policy_value(two, rare, y, x)
    e[0], a[0] = (0.999, 0.001), 1
    assert any("below 0.01" in str(n) for n in off_policy_value(two, a, y, x, e).notes)
