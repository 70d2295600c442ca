"""Values of policies from what another one logged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from policyrank.board.intervals import quantile
from policyrank.errors import EvidenceError
from policyrank.evaluation.cross_fitting import (
    Ridge,
    folds_of,
    outcome_models,
    pseudo_outcomes,
)
from policyrank.evaluation.importance import contrasts, weights_of
from policyrank.evaluation.logged import chances_of, read_log
from policyrank.evaluation.off_policy import off_policy_value
from policyrank.evaluation.support import mass_below, support_of


def logged(seed, n=2000, slope=0.8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    e = 1 / (1 + np.exp(-slope * x[:, 0]))
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


def two(n):
    return {"all": np.ones(n, dtype=int), "none": np.zeros(n, dtype=int)}


def by_name(board, values):
    return dict(zip(board.policies, values, strict=True))


TRUTH = {"all": 1.0, "none": 1.0, "best": 1 + np.sqrt(1 / (2 * np.pi)), "half": 1.0}


class Zero:
    """A model that knows nothing."""

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.zeros(len(x))


def test_pseudo_outcomes_by_hand():
    assert pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 0.5]).tolist() == [4, 4]
    with pytest.raises(EvidenceError, match="row 2: the chance of treatment is 1"):
        pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 1])
    with pytest.raises(EvidenceError, match="row 1: treated is 2"):
        pseudo_outcomes([4, 0], [2, 0], [3, 3], [1, 1], [0.5, 0.5])


def test_without_a_model_it_is_inverse_propensity_weighting():
    x, e, a, y = logged(0, 200)
    board = off_policy_value(two(200), a, y, x, e, model=Zero(), clip=0)
    weighted = a * y / e[:, 1]
    assert by_name(board, board.rating)["all"] == pytest.approx(weighted.mean())
    table = {row["policy"]: row for row in board.extras["estimators"]}
    assert table["all"]["IPW"] == pytest.approx(weighted.mean())
    assert table["all"]["SNIPW"] == pytest.approx(weighted.sum() / (a / e[:, 1]).sum())
    assert table["all"]["direct"] == 0
    assert table["all"]["largest weight"] == pytest.approx((1 / e[:, 1]).max())
    # Of the error seen and the one foretold, the larger.
    seen = weighted.var(ddof=1) / 200
    weight = a / e[:, 1]
    spread = max(weight @ y**2 / weight.sum(), weight**2 @ y**2 / (weight**2).sum())
    foretold = (1 / e[:, 1]).mean() * spread / 200
    deviation = np.sqrt(by_name(board, board.covariance.diagonal())["all"])
    assert deviation == pytest.approx(np.sqrt(max(seen, foretold)))


def test_contrasts_by_hand():
    """One policy against another, every piece from its formula."""
    rng = np.random.default_rng(4)
    n, clip = 300, 0.05
    x = rng.normal(size=(n, 2))
    e = 1 / (1 + np.exp(-2 * x[:, 0]))
    chances = np.column_stack([1 - e, e])
    a = (rng.random(n) < e).astype(int)
    y = x[:, 0] + rng.normal(size=n)
    log = read_log(a, y, x, chances)
    pi = np.stack([chances_of(k, v, (0, 1), n) for k, v in policies(x).items()])
    mu = np.column_stack([x[:, 0], x[:, 0] + 0.1])
    found = contrasts(log, weights_of(log, pi, clip=clip), mu)
    rows = np.arange(n)
    r = y - mu[rows, a]
    for j, k in ((0, 1), (0, 3), (2, 2)):
        gap = pi[j] - pi[k] if j != k else pi[j]
        q = (gap * mu).sum(axis=1)
        w = gap[rows, a] / np.maximum(chances[rows, a], clip)
        size = np.abs(w)
        s2 = max(size @ r**2 / size.sum(), w**2 @ r**2 / (w @ w))
        foretold = (gap**2 / np.maximum(chances, clip) ** 2 * chances).sum(axis=1).mean() * s2
        foretold = (q.var(ddof=1) + foretold) / n
        seen = (q + w * r).var(ddof=1) / n
        left = (np.abs(gap) * np.maximum(1 - chances / clip, 0)).sum(axis=1).mean()
        assert found.variance[j, k] == pytest.approx(max(foretold, seen))
        assert found.band[j, k] == pytest.approx(3 * np.sqrt(s2) * left)
        assert found.effective[j, k] == pytest.approx(size.sum() ** 2 / (w @ w))
    assert (found.band[0, 0], found.band[1, 1]) > (0, 0)
    # Twice the same policy: nothing between them.
    alike = contrasts(log, weights_of(log, pi[[0, 0]], clip=clip), mu)
    assert alike.z.tolist() == [[0, 0], [0, 0]]


def test_other_levels_take_their_own_t():
    x, e, a, y = logged(0, 150, slope=0.3)
    widths = []
    for level in (0.8, 0.95, 0.99):
        board = off_policy_value(two(150), a, y, x, e, level=level)
        widths.append(board.upper[0] - board.lower[0])
    effective = board.extras["estimators"][0]["effective rows"]
    t = [quantile((1 + level) / 2, effective - 1) for level in (0.8, 0.95, 0.99)]
    assert np.divide(widths, t) == pytest.approx(widths[0] / t[0])


def test_switching_leaves_what_is_too_heavy_to_the_model():
    log = read_log(
        [1, 1, 0, 0], [1, 2, 3, 4], np.zeros((4, 1)), [0.5, 0.04, 0.5, 0.1], propensity_of="taken"
    )
    always = chances_of("all", np.ones(4, int), log.names, 4)[None]
    found = weights_of(log, always, clip=0, switch=10)
    assert found.taken.tolist() == [[2, 0, 0, 0]]
    assert found.left[0].reshape(4, 2)[:, 1].tolist() == pytest.approx([0, 1, 0, 0])
    values = support_of("all", log, always[0], np.zeros((4, 2)), switch=10).values
    assert values["switch-DR, 10"] == pytest.approx(2 * 1 / 4)
    assert values["DR"] == pytest.approx((2 * 1 + 25 * 2) / 4)


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


def test_intervals_cover_where_overlap_is_poor_and_the_model_wrong():
    """Chances with logits of slope 2, treated outcomes that bend where treatment is rare."""
    usual, default = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(500, 3))
        e = 1 / (1 + np.exp(-2 * x[:, 0]))
        a = (rng.random(500) < e).astype(int)
        y = 0.5 * x[:, 0] + a * 0.4 * (x[:, 0] ** 2 - 1) + rng.normal(size=500)
        board = off_policy_value(two(500), a, y, x, np.column_stack([1 - e, e]))
        k = board.policies.index("all")
        default += board.lower[k] <= 0 <= board.upper[k]
        row = board.extras["estimators"][k]
        log = read_log(a, y, x, np.column_stack([1 - e, e]))
        mu = outcome_models(x, a, y, np.ones(2, bool))
        score = mu[:, 1] + a / np.maximum(e, 0.01) * (y - mu[:, 1])
        assert score.mean() == pytest.approx(row["DR, clip 0.01"])
        usual += abs(score.mean()) <= 1.96 * score.std(ddof=1) / np.sqrt(len(log))
    assert default >= 93
    assert usual < 90


def test_what_the_log_never_did_is_refused_or_bounded():
    """Never treated where x < 0: treating all is worth -2, and nothing in the log says so."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    e = np.where(x[:, 0] < 0, 0.0, 0.5)
    a = (rng.random(1000) < e).astype(int)
    y = 1 + a * np.where(x[:, 0] < 0, -6.1, 0.1) + rng.normal(size=1000) * 0.3
    chances = np.column_stack([1 - e, e])
    with pytest.raises(EvidenceError, match=r"all: 52% .* below 0.001 \(never: 52%\)"):
        off_policy_value(two(1000), a, y, x, chances)
    with pytest.raises(EvidenceError, match="all: the stated chances do not reproduce feature 1"):
        off_policy_value(two(1000), a, y, x)
    board = off_policy_value(two(1000), a, y, x, chances, outcome_range=(-8, 4))
    k = board.policies.index("all")
    assert board.lower[k] < -2 < board.upper[k]
    supported = (e > 0).mean() * 1.1
    assert board.lower[k] == pytest.approx(supported - 8 * (e == 0).mean(), abs=0.2)
    assert board.upper[k] == pytest.approx(supported + 4 * (e == 0).mean(), abs=0.2)
    assert not board.better.any()
    assert any("its value is bounded" in str(note) for note in board.notes)
    assert not [note for note in board.notes if note.kind == "overlap" and "all" in note.policies]
    assert 0.05 < board.probability_best[k] < 0.5
    # A range so narrow that even the bounds lie apart.
    low = np.where(a == 1, y - 20, y)
    narrow = (float(low.min()), float(low.max()))
    apart = off_policy_value(two(1000), a, low, x, chances, outcome_range=narrow)
    assert apart.policies[0] == "none"
    assert apart.better[0, 1]
    with pytest.raises(EvidenceError, match="lies outside outcome_range"):
        off_policy_value(two(1000), a, y, x, chances, outcome_range=(0, 1))


def test_thin_support_is_said():
    x, e, a, y = logged(1, 1500, slope=2.5)
    board = off_policy_value(two(1500), a, y, x, e)
    text = " ".join(str(note) for note in board.notes)
    assert "all: " in text
    assert "of what it would do had a chance below .05" in text
    assert "1,500 rows tell as much as" in text
    row = board.extras["estimators"][board.policies.index("all")]
    log = read_log(a, y, x, e)
    always = chances_of("all", np.ones(1500, int), log.names, 1500)
    assert row["mass below 0.05"] == pytest.approx((e[:, 1] < 0.05).mean())
    assert mass_below(log, always, 0.05) == pytest.approx((e[:, 1] < 0.05).mean())
    assert 0 < row["band in half-width"] < 1
    x, e, a, y = logged(1, 1500, slope=0.3)
    good = off_policy_value(two(1500), a, y, x, e)
    assert not [note for note in good.notes if note.kind == "overlap"]
    assert good.extras["estimators"][0]["band in half-width"] == 0


def test_small_chances_alone_make_support_thin():
    rng = np.random.default_rng(0)
    e = np.where(np.arange(2000) % 10 == 0, 0.04, 0.5)
    a = (rng.random(2000) < e).astype(int)
    board = off_policy_value(two(2000), a, rng.normal(size=2000), rng.normal(size=(2000, 1)), e)
    text = " ".join(str(note) for note in board.notes if note.kind == "overlap")
    assert "all: 10.0% of what it would do had a chance below .05, 0.0% one below .01" in text
    assert "none: " not in text
    assert {"folds", "clip"} <= board.settings.keys()
    assert None not in board.settings.values()


def test_chances_that_cannot_be_true_are_said():
    x, e, a, y = logged(2, 3000)
    right = off_policy_value(two(3000), a, y, x, e)
    assert not [note for note in right.notes if note.kind == "chances"]
    wrong = off_policy_value(two(3000), a, y, x, e[:, ::-1])
    said = [note for note in wrong.notes if note.kind == "chances"]
    assert {(note.severity, len(note.policies)) for note in said} == {("warning", 1)}
    with pytest.raises(EvidenceError, match="no trial with constant shares"):
        off_policy_value(two(3000), a, y, x)
    false = 0
    for seed in range(60):
        x, e, a, y = logged(seed, 300, slope=1.5)
        board = off_policy_value(two(300), a, y, x, e)
        false += any(note.kind == "chances" for note in board.notes)
    assert false <= 6


def test_one_column_of_chances_is_read_as_the_log_bears_out():
    x, e, a, y = logged(3, 1000, slope=1.5)
    whole = off_policy_value(two(1000), a, y, x, e)
    treated = off_policy_value(two(1000), a, y, x, e[:, 1])
    taken = off_policy_value(two(1000), a, y, x, e[np.arange(1000), a])
    for board, words in ((treated, "chance of treatment"), (taken, "chance of the action taken")):
        assert np.allclose(board.rating, whole.rating)
        assert np.allclose(board.lower, whole.lower)
        assert any(words in str(note) for note in board.notes)
    rare = np.full(1000, 0.2) + 0.1 * (x[:, 0] > 0)
    done = (np.random.default_rng(0).random(1000) < rare).astype(int)
    own = np.where(done == 1, rare, 1 - rare)
    assert np.allclose(read_log(done, y, x, own).chances[:, 1], rare)
    assert np.allclose(read_log(done, y, x, rare).chances[:, 1], rare)
    few = slice(0, 8)
    with pytest.raises(ValueError, match="both readings fit: say propensity_of"):
        read_log(a[few], y[few], x[few], e[few, 1])
    assert read_log(a[few], y[few], x[few], e[few, 1], propensity_of="treated").names == (0, 1)
    with pytest.raises(ValueError, match="neither reading fits"):
        read_log(a, y, x, np.where(a == 1, 0.3, 0.9))


def test_of_three_actions_one_column_is_the_chance_of_the_one_taken():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2))
    logits = np.column_stack([x[:, 0], np.zeros(3000), -x[:, 0]])
    e = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    a = (rng.random((3000, 1)) > e.cumsum(axis=1)).sum(axis=1)
    y = x[:, 0] * (a == 0) + rng.normal(size=3000)
    rules = {"first": np.zeros(3000, int), "last": np.full(3000, 2)}
    whole = off_policy_value(rules, a, y, x, e)
    alone = off_policy_value(rules, a, y, x, e[np.arange(3000), a])
    assert np.allclose(by_name(alone, alone.rating)["first"], by_name(whole, whole.rating)["first"])
    assert (alone.upper - alone.lower) == pytest.approx(whole.upper - whole.lower, rel=0.2)
    assert any("Only chances of the actions taken are known" in str(n) for n in alone.notes)


def test_weight_that_is_missing_tells_of_what_was_never_done():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    e = np.where(x < 0, [[0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5]])
    a = (rng.random((2000, 1)) > e.cumsum(axis=1)).sum(axis=1)
    rules = {"last": np.full(2000, 2), "first": np.zeros(2000, int)}
    with pytest.raises(EvidenceError, match=r"last: its weights add up to (4|5)\d% of the rows"):
        off_policy_value(rules, a, x[:, 0], x, e[np.arange(2000), a])
    fair = {"first": rules["first"], "second": np.ones(2000, int)}
    assert len(off_policy_value(fair, a, x[:, 0], x, e[np.arange(2000), a])) == 2


def test_the_table_is_in_the_json():
    x, e, a, y = logged(0, 200)
    board = off_policy_value(two(200), a, y, x, e)
    table = json.loads(board.to_json())["extras"]["estimators"]
    assert [row["policy"] for row in table] == list(board.policies)
    assert table[0]["mass without chance"] == 0
    assert "Leaderboard" in board.to_html()


def test_actions_may_be_names():
    x, e, a, y = logged(5, 600)
    names = np.array(["post", "mail"])
    numbered = off_policy_value(policies(x), a, y, x, e)
    named = {
        k: names[v] if v.ndim == 1 else {"mail": v[:, 1], "post": v[:, 0]}
        for k, v in policies(x).items()
    }
    table = {"mail": e[:, 1], "post": e[:, 0]}
    board = off_policy_value(named, names[a], y, x, table)
    assert board.policies == numbered.policies
    assert np.allclose(board.rating, numbered.rating)
    listed = off_policy_value(named, names[a].tolist(), y, x, e, action_names=["post", "mail"])
    assert np.allclose(listed.lower, numbered.lower)
    with pytest.raises(ValueError, match="action_names: say which action"):
        off_policy_value(named, names[a], y, x, e)
    with pytest.raises(EvidenceError, match="all: its actions: row 1 is fax; the actions are"):
        off_policy_value({**named, "all": np.full(600, "fax")}, names[a], y, x, table)
    with pytest.raises(EvidenceError, match="half: its chances: there is no action fax"):
        off_policy_value({**named, "half": {"fax": np.ones(600)}}, names[a], y, x, table)


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


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_order_of_rows_does_not_matter(seed, clustered):
    rng = np.random.default_rng(seed)
    n = 120
    x = np.round(rng.normal(size=(n, 2)), 1)
    a, y = rng.integers(2, size=n), np.round(rng.normal(size=n))
    cluster = rng.integers(12, size=n) if clustered else None
    order = rng.permutation(n)
    rules = {"all": np.ones(n, int), "some": (x[:, 0] > 0).astype(int)}
    e = np.full((n, 2), 0.5)
    board = off_policy_value(rules, a, y, x, e, cluster=cluster)
    moved = off_policy_value(
        {k: v[order] for k, v in rules.items()},
        a[order],
        y[order],
        x[order],
        e,
        cluster=cluster[order] if clustered else None,
    )
    assert board.policies == moved.policies
    assert np.allclose(board.rating, moved.rating)
    assert np.allclose(board.lower, moved.lower)
    assert np.array_equal(board.rank_upper, moved.rank_upper)


def test_folds_take_clusters_whole_and_share_out_actions():
    rng = np.random.default_rng(0)
    cluster = rng.integers(20, size=300)
    a = cluster % 2
    fold = folds_of(a, cluster, 5, np.random.default_rng(1))
    for name in range(20):
        assert len(set(fold[cluster == name])) == 1
    for part in range(5):
        assert set(a[fold == part]) == {0, 1}
    with pytest.raises(EvidenceError, match="4 clusters cannot be parted into 5 folds"):
        folds_of(a % 2, cluster % 4, 5, rng)


def test_a_model_that_remembers_cannot_look_into_its_own_clusters():
    """A nearest neighbour knows the cluster's level; no effect, so no policy is better."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    found, cut = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cluster = np.repeat(np.arange(60), 8)
        x = np.column_stack([cluster + rng.normal(0, 0.01, 480), rng.normal(size=480)])
        a = np.repeat(rng.integers(2, size=60), 8)
        y = rng.normal(size=60)[cluster] + 0.1 * rng.normal(size=480)
        model = neighbors.KNeighborsRegressor(1)
        chances = np.full((480, 2), 0.5)
        board = off_policy_value(two(480), a, y, x, chances, model=model, cluster=cluster)
        found += bool(board.better.any())
        loose = off_policy_value(two(480), a, y, x, chances, model=model)
        cut += bool(loose.better.any())
    assert found <= 3
    assert cut >= 8


def test_one_cluster_gives_no_interval():
    x, e, a, y = logged(0, 100)
    log = read_log(a, y, x, e)
    pi = np.stack([chances_of(k, v, (0, 1), 100) for k, v in two(100).items()])
    found = contrasts(log, weights_of(log, pi, clip=0.05), np.zeros((100, 2)), np.zeros(100))
    assert np.isnan(found.ends(0.95)).all()
    assert not found.z.any()
    with pytest.raises(EvidenceError, match="1 clusters cannot be parted"):
        off_policy_value(two(100), a, y, x, e, cluster=np.zeros(100))


def test_few_clusters_are_said_and_widen():
    x, e, a, y = logged(6, 400)
    rng = np.random.default_rng(0)
    cluster = rng.choice(6, 400, p=[0.7, 0.1, 0.05, 0.05, 0.05, 0.05])
    board = off_policy_value(two(400), a, y, x, e, cluster=cluster)
    free = off_policy_value(two(400), a, y, x, e)
    assert ((board.upper - board.lower) > (free.upper - free.lower)).all()
    note = next(note for note in board.notes if note.kind == "clusters")
    assert note.severity == "warning"
    assert "6 clusters" in note.text


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


def test_models_that_have_a_length_or_no_seed():
    """A forest that was not fitted has no length, and one without a seed takes ours."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, e, a, y = logged(3, 200)
    model = ensemble.RandomForestRegressor(5)
    board = off_policy_value(two(200), a, y, x, e, model=model)
    again = off_policy_value(two(200), a, y, x, e, model=model)
    assert np.array_equal(board.rating, again.rating)
    assert model.random_state is None
    for strange, message in (
        (ensemble.RandomForestRegressor, "give an object"),
        (object(), "it has no fit"),
    ):
        with pytest.raises(ValueError, match=message):
            off_policy_value(two(200), a, y, x, e, model=strange)


def test_input_that_cannot_be_used():
    x, e, a, y = logged(0, 100)
    negative, over = e.copy(), e.copy()
    negative[3] = (-0.1, 1.1)
    over[5] = (0.6, 0.6)
    for change, message in (
        ({"actions": a[:50]}, "one for each of 100 outcomes"),
        ({"actions": a - 0.5}, "whole numbers, 0 or more, or names"),
        ({"outcome": np.where(np.arange(100) == 4, np.nan, y)}, "row 5: outcome is not finite"),
        ({"features": x.T}, r"features are \(rows, columns\) for 100 rows; these are \(3, 100\)"),
        ({"features": x.reshape(50, -1)}, "features are"),
        ({"features": x[:, :0]}, "features are"),
        ({"features": np.where(x == x[7, 1], np.inf, x)}, "row 8: features"),
        ({"propensity": negative}, "propensity: row 4 has -0.1; they lie between 0 and 1"),
        ({"propensity": over}, "propensity: row 6 sums to 1.2"),
        ({"propensity": e[:50]}, r"are \(50, 2\); one column an action, \(100, 2\)"),
        ({"propensity": np.where(np.arange(100) == 2, -0.1, 0.5)}, "row 3: its propensity"),
        ({"propensity": np.column_stack([a, 1 - a]).astype(float)}, "was taken with a chance of 0"),
        ({"policies": {"all": np.ones(100, int)}}, "two policies"),
        ({"policies": {**two(100), "r": np.full(100, 2)}}, "r: its actions: row 1 is 2"),
        ({"policies": {**two(100), "r": np.ones(99, int)}}, "r: its actions are 100 of 0, 1"),
        ({"policies": {**two(100), "r": np.full((100, 2), 0.7)}}, "r: its chances: row 1 sums"),
        ({"policies": {**two(100), "r": 1 - 2 * a}}, "r: its actions"),
        ({"policies": {**two(100), "r": 1 - a}}, "r: it would have done nothing"),
        ({"cluster": a[:50]}, "cluster names one cluster for each of 100 rows"),
        ({"clip": 1.5}, "clip=1.5"),
        ({"switch": -1}, "switch=-1"),
        ({"folds": 1}, "folds=1"),
        ({"outcome_range": (3, 1)}, "outcome_range"),
    ):
        given = {
            "policies": two(100),
            "actions": a,
            "outcome": y,
            "features": x,
            "propensity": e,
        } | change
        with pytest.raises(ValueError, match=message):
            off_policy_value(**given)
    rare = np.zeros(100, dtype=int)
    rare[0] = 1
    with pytest.raises(EvidenceError, match="too few for 5 folds"):
        off_policy_value(two(100), rare, y, x)


def test_self_normalised_values_do_not_move_with_the_outcomes_origin():
    x, e, a, y = logged(7, 300, slope=1.5)
    found = []
    for shift in (0.0, 100.0):
        log = read_log(a, y + shift, x, e)
        always = chances_of("all", np.ones(300, int), log.names, 300)
        found.append(support_of("all", log, always, np.zeros((300, 2))).values)
    assert found[1]["SNIPW"] - found[0]["SNIPW"] == pytest.approx(100)
    assert found[1]["SN-DR"] - found[0]["SN-DR"] == pytest.approx(100)
    assert abs(found[1]["IPW"] - found[0]["IPW"] - 100) > 1
