"""Values of policies and estimates of effects, and when to stop: step by step."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import t as student

from policyrank.board.clusters import clustered_mean
from policyrank.errors import EvidenceError, OptionError
from policyrank.evaluation.cross_fitting import (
    Ridge,
    folds_of,
    outcome_models,
    pseudo_outcomes,
)
from policyrank.evaluation.importance import contrasts, weights_of
from policyrank.evaluation.logged import read_log
from policyrank.evaluation.off_policy import off_policy_value
from policyrank.evaluation.state import State
from policyrank.evaluation.stopping import best_known, log_evidence, order_known, top_k_known
from policyrank.evaluation.support import support_of
from policyrank.evaluation.targeting import rank_effects
from policyrank.metrics import effects


@pytest.mark.parametrize("alpha", [1e-2, 0.5])
def test_ridge_by_hand(alpha):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)) * [1, 9, 0] + [0, 5, 2], rng.normal(size=30)
    model = (Ridge() if alpha == 1e-2 else Ridge(alpha)).fit(x, y)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z = (x - x.mean(axis=0)) / scale
    rows = np.vstack([z, np.sqrt(alpha * 30) * np.eye(3)])
    coef = np.linalg.lstsq(rows, np.r_[y - y.mean(), np.zeros(3)], rcond=None)[0]
    at = rng.normal(size=(5, 3))
    slow = y.mean() + (at - x.mean(axis=0)) / scale @ coef
    assert model.predict(at) == pytest.approx(slow)


def test_doubly_robust_scores_row_by_row():
    rng = np.random.default_rng(1)
    y, m1, m0 = rng.normal(size=(3, 9))
    a, e = rng.integers(0, 2, 9), rng.uniform(0.1, 0.9, 9)
    slow = []
    for k in range(9):
        own = (y[k] - m1[k]) / e[k] if a[k] else -(y[k] - m0[k]) / (1 - e[k])
        slow.append(m1[k] - m0[k] + own)
    assert pseudo_outcomes(y, a, m1, m0, e) == pytest.approx(slow)
    for chance in (0.0, 1.0):
        with pytest.raises(EvidenceError, match=f"row 2: the chance of treatment is {chance:g}"):
            pseudo_outcomes([1, 1], [0, 1], [0, 0], [0, 0], [0.5, chance])
    with pytest.raises(EvidenceError, match="row 2: treated is 2"):
        pseudo_outcomes([1, 1], [0, 2], [0, 0], [0, 0], [0.5, 0.5])


class Remembers:
    """A model that keeps which rows it saw, and foretells their mean outcome."""

    def __init__(self):
        self.seen = None

    def fit(self, x, y):
        self.seen = {float(row[0]) for row in x}
        self.mean = float(y.mean())
        return self

    def predict(self, x):
        assert not self.seen & {float(row[0]) for row in x}
        return np.full((len(x), 1), self.mean)


@pytest.mark.parametrize("clustered", [False, True])
def test_what_is_foretold_of_a_row_comes_from_other_folds(clustered):
    rng = np.random.default_rng(2)
    x = np.arange(40.0)[:, None]
    actions, outcome = np.arange(40) % 2, rng.normal(size=40)
    cluster = np.arange(40) // 4 if clustered else None
    wanted = np.array([False, True])
    given = {"model": Remembers(), "cluster": cluster}
    found = outcome_models(x, actions, outcome, wanted, folds=4, seed=3, **given)
    assert np.isnan(found[:, 0]).all()
    parts = {}
    for value in np.unique(found[:, 1]):
        held = found[:, 1] == value
        assert value == pytest.approx(outcome[~held & (actions == 1)].mean())
        parts[value] = held.sum()
        if clustered:
            whole = np.unique(cluster[held])
            assert set(np.flatnonzero(held)) == {k for k in range(40) if k // 4 in whole}
    assert len(parts) == 4
    default = outcome_models(x, actions, outcome, wanted, model=Remembers(), cluster=cluster)
    assert len(np.unique(default[:, 1])) == 5
    same = outcome_models(x, actions, outcome, wanted, folds=5, seed=0, **given)
    assert (default[:, 1] == same[:, 1]).all()
    plain = outcome_models(x, actions, outcome, wanted)
    ridge = outcome_models(x, actions, outcome, wanted, model=Ridge())
    assert (plain[:, 1] == ridge[:, 1]).all()


def test_models_that_cannot_be_used():
    x, actions, y = np.zeros((10, 1)), np.r_[np.zeros(9, int), 1], np.arange(10.0)
    wanted = np.array([True, True])
    with pytest.raises(EvidenceError, match="action 1 is logged 1 times: too few for 5 folds"):
        outcome_models(x, actions, y, wanted)

    class Infinite(Ridge):
        def predict(self, x):
            return np.full(len(x), np.inf)

    class Deaf:
        def fit(self, x, y):
            return self

    only = np.array([True, False])
    with pytest.raises(EvidenceError, match="not finite"):
        outcome_models(x, actions, y, only, model=Infinite())
    with pytest.raises(OptionError, match="has no predict"):
        outcome_models(x, actions, y, only, model=Deaf())
    with pytest.raises(OptionError, match=r"give an object, Ridge\(\)"):
        outcome_models(x, actions, y, only, model=Ridge)


def test_folds_are_alike_and_clusters_whole():
    rng = np.random.default_rng(4)
    actions = np.repeat([0, 1, 2], [20, 10, 5])
    found = folds_of(actions, None, 5, rng)
    for fold in range(5):
        assert np.bincount(actions[found == fold]).tolist() == [4, 2, 1]
    cluster = np.repeat(np.arange(12), 3)
    mostly = np.where(np.arange(36) % 3 == 2, 1 - cluster % 2, cluster % 2)
    found = folds_of(mostly, cluster, 3, rng)
    for fold in range(3):
        own = np.unique(cluster[found == fold])
        assert (own % 2).sum() == 2
        assert len(own) == 4
    with pytest.raises(OptionError, match="folds=1: take at least 2"):
        folds_of(actions, None, 1, rng)
    with pytest.raises(EvidenceError, match="3 clusters cannot be parted into 4"):
        folds_of(np.zeros(6, int), list("aabbcc"), 4, rng)
    with pytest.raises(EvidenceError, match="3 rows cannot be parted into 4"):
        folds_of(np.zeros(3, int), None, 4, rng)
    assert sorted(folds_of(np.zeros(4, int), None, 4, rng).tolist()) == [0, 1, 2, 3]


def logged(seed=5, rows=60):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([2.0, 2.0, 2.0], rows) * 0.9 + 0.1 / 3
    chances[:8, 2] = [0.0] * 4 + [0.01] * 4
    chances /= chances.sum(axis=1, keepdims=True)
    actions = np.array([rng.choice(3, p=row) for row in chances])
    features = rng.normal(size=(rows, 2))
    outcome = np.clip(actions + features[:, 0] + rng.normal(size=rows), -2.9, 4.9)
    always = np.full(rows, 2)
    policies = {"two": always, "even": np.full((rows, 3), 1 / 3), "zero": np.zeros(rows, int)}
    return policies, actions, outcome, features, chances


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"clip": 0.1, "folds": 3, "level": 0.8, "seed": 4}, {"switch": 3.0, "clip": 0.0}],
)
def test_a_board_of_values_is_its_parts(options, clustered):
    """With outcomes in a range, what was never seen lies in its middle."""
    policies, actions, outcome, features, chances = logged()
    cluster = [f"c{k // 3}" for k in range(60)] if clustered else None
    rounded = (-3.0, 5.0)
    board = off_policy_value(
        policies, actions, outcome, features, chances, outcome_range=rounded, cluster=cluster,
        **options,
    )  # fmt: skip
    log = read_log(actions, outcome, features, chances)
    pi = np.stack([np.eye(3)[policies["two"]], policies["even"], np.eye(3)[policies["zero"]]])
    codes = None if cluster is None else np.unique(cluster, return_inverse=True)[1]
    mu = outcome_models(
        log.features, log.actions, log.outcome, np.ones(3, dtype=bool),
        folds=options.get("folds", 5), cluster=codes, seed=options.get("seed", 0),
    )  # fmt: skip
    mu[log.chances < 1e-3] = 1.0
    clip, switch = options.get("clip", 0.05), options.get("switch")
    weights = weights_of(log, pi, clip=clip, switch=switch, bounded=True)
    known = contrasts(log, weights, mu, codes, rounded)
    level = options.get("level", 0.95)
    ends, table = known.ends(level), {row["policy"]: row for row in board.extras["estimators"]}
    for k, name in enumerate(policies):
        at = board.position(name)
        assert board.rating[at] == pytest.approx(known.value[k])
        assert (board.lower[at], board.upper[at]) == pytest.approx(tuple(ends[k]))
        half = known.half_width(level)[k, k]
        slow = support_of(name, log, pi[k], mu, switch).row(known.band[k, k] / half)
        assert table[name] == pytest.approx(slow)
    best_first = [row["policy"] for row in board.extras["estimators"]]
    assert best_first == [list(policies)[k] for k in np.argsort(-known.value)]
    settings = {"folds": 5, "clip": 0.05, "outcome_range": rounded} | {
        name: value for name, value in options.items() if name in ("folds", "clip", "switch")
    }
    assert {name: board.settings[name] for name in settings} == settings
    assert ("switch" in board.settings) == ("switch" in options)
    assert (board.method, board.unit, board.level) == ("off-policy value", "mean outcome", level)
    assert board.source == "60 logged rows"
    assert board.n.tolist() == [60] * 3
    kinds = {note.kind for note in board.notes}
    assert "support" in kinds
    assert ("clusters" in kinds) == clustered


def test_actions_that_no_policy_takes_need_no_rows_to_foretell_them_by():
    rng = np.random.default_rng(8)
    actions, features = np.r_[rng.integers(0, 2, 39), 2], rng.normal(size=(40, 1))
    chances = np.tile([0.45, 0.45, 0.1], (40, 1))
    policies = {"zero": np.zeros(40, int), "one": np.ones(40, int)}
    board = off_policy_value(policies, actions, rng.normal(size=40), features, chances)
    assert np.isfinite(board.rating).all()
    policies["two"] = np.full(40, 2)
    with pytest.raises(EvidenceError, match="action 2 is logged 1 times"):
        off_policy_value(policies, actions, rng.normal(size=40), features, chances)


def test_options_of_values_that_cannot_be():
    policies, actions, outcome, features, chances = logged()
    given = (policies, actions, outcome, features, chances)
    for options, message in (
        ({"clip": 1.0}, "clip=1.0: it is a chance"),
        ({"clip": -0.1}, "clip=-0.1"),
        ({"switch": 0}, "switch=0: it is a weight"),
        ({"outcome_range": (1.0, 1.0)}, "give the least, then the largest"),
        ({"outcome_range": (-3, 0.5)}, r"its outcome .* lies outside outcome_range, -3 to 0\.5"),
        ({"cluster": [0] * 59}, "one cluster for each of 60 rows"),
    ):
        with pytest.raises((EvidenceError, OptionError), match=message):
            off_policy_value(*given, **options)
    with pytest.raises(EvidenceError, match="at least two policies"):
        off_policy_value({"two": policies["two"]}, *given[1:])
    ends = (float(outcome.min()), float(outcome.max()))
    assert np.isfinite(off_policy_value(*given, outcome_range=ends).rating).all()
    first = int(np.argmax(outcome > 0.5)) + 1
    with pytest.raises(EvidenceError, match=f"row {first}: "):
        off_policy_value(*given, outcome_range=(-3, 0.5))


# Estimates of effects ---------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("statistic", ["autoc", "qini", "value"])
def test_boards_of_estimates_have_errors_of_influence(statistic, weighted):
    """The influence of a row: what a little more weight of it does, by differences."""
    rng = np.random.default_rng(6)
    y, first, second = rng.normal(size=(3, 40)).round(1)
    first, second = first + y, second.round(0)
    w = rng.uniform(0.5, 2, 40) if weighted else np.ones(40)
    cluster = np.arange(40) // 2

    def value(t, weight):
        if statistic == "autoc":
            return effects.autoc(t, y, weight)
        if statistic == "qini":
            return effects.Targeting.of(t, y, weight).gain_area()
        return float(np.average(y * (t > 0), weights=weight))

    moved = np.empty((40, 2))
    for row in range(40):
        step = 1e-5 * (np.arange(40) == row)
        for k, t in enumerate((first, second)):
            moved[row, k] = (value(t, w + step) - value(t, w - step)) / 2e-5 * w.sum()
    errors = clustered_mean(moved, cluster, w)
    given = {"weight": w} if weighted else {}
    board = rank_effects(
        {"a": first, "b": second}, y, statistic=statistic, cluster=cluster, level=0.9, **given
    )
    for k, (name, t) in enumerate((("a", first), ("b", second))):
        at = board.position(name)
        assert board.rating[at] == pytest.approx(value(t, w))
        half = student.ppf(0.95, errors.df) * np.sqrt(errors.covariance[k, k])
        assert board.upper[at] - board.lower[at] == pytest.approx(2 * half, rel=1e-4)
    assert (board.method, board.source, board.level) == (statistic, "40 rows", 0.9)
    kinds = {note.kind for note in board.notes}
    assert ("few" in kinds) == (statistic == "autoc")
    assert board.n.tolist() == [40, 40]


def test_what_boards_of_estimates_say():
    rng = np.random.default_rng(7)
    y, t = rng.normal(size=(2, 100))
    board = rank_effects({"flat": np.ones(100), "t": t, "zero": np.zeros(100)}, y)
    note = next(note for note in board.notes if note.kind == "constant")
    assert note.text.startswith("flat, zero: the same estimate for all rows")
    assert note.policies == ("flat", "zero")
    assert board.method == "autoc"
    assert "few" not in {note.kind for note in board.notes}
    few = rank_effects({"a": t[:99], "b": y[:99]}, y[:99])
    note = next(note for note in few.notes if note.kind == "few")
    assert "where 99 rows or clusters tell of it" in note.text
    assert note.severity == "warning"
    with pytest.raises(EvidenceError, match="use one of autoc, qini, value"):
        rank_effects({"a": t, "b": y}, y, statistic="x")
    for weight in ([1.0], np.full(100, -1.0), np.full(100, np.nan)):
        with pytest.raises(EvidenceError, match="weight is one number a row, 0 or more: 100"):
            rank_effects({"a": t, "b": y}, y, weight=weight)
    with pytest.raises(EvidenceError, match=r"b: 100 finite estimates are needed, .* there are 99"):
        rank_effects({"a": t, "b": np.r_[t[:99], np.nan]}, y)
    with pytest.raises(EvidenceError, match="one finite number a row"):
        rank_effects({"a": t, "b": y}, y[:, None])
    with pytest.raises(EvidenceError, match="at least two estimates"):
        rank_effects({"a": t}, y)


# Stopping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 0), (0, 3), (12.5, 4), (5, 5), (40, 60)])
def test_evidence_is_a_mixture_over_win_rates(wins, losses):
    mixed, _ = quad(lambda q: q**wins * (1 - q) ** losses, 0.5, 1)
    slow = np.log(mixed) + (wins + losses + 1) * np.log(2)
    assert float(log_evidence(wins, losses)) == pytest.approx(slow, abs=1e-6)


def played(policies, *results):
    state = State(tuple(policies), ("task",))
    for better, worse, times in results:
        for _ in range(times):
            state.observe_outcome(policies.index(better), policies.index(worse), 1.0)
    return state


def times_needed(hypotheses, delta):
    return next(n for n in range(200) if log_evidence(n, 0) >= np.log(hypotheses / delta))


@pytest.mark.parametrize("delta", [0.05, 0.01])
def test_rules_stop_when_every_hypothesis_is_rejected(delta):
    given = {} if delta == 0.05 else {"delta": delta}
    share = f"with probability at least {1 - delta:g}"
    names = "abcd"
    for wins, told in ((0, True), (-1, False)):
        n = times_needed(3, delta) + wins
        state = played(names, *[("c", other, n) for other in "abd"])
        assert best_known(**given)(state) == (f"c is the best, {share}" if told else None)
        n = times_needed(4, delta) + wins
        state = played(names, *[(a, b, n) for a in "db" for b in "ac"])
        text = f"the top 2 are b, d, {share}"
        assert top_k_known(2, **given)(state) == (text if told else None)
        n = times_needed(6, delta) + wins
        pairs = [("a", "b"), ("c", "a"), ("a", "d"), ("c", "b"), ("b", "d"), ("d", "c")]
        state = played(names, *[(a, b, n) for a, b in pairs])
        text = f"every pair is settled, {share}"
        assert order_known(**given)(state) == (text if told else None)
        state = played(names, *[(a, b, n) for a, b in pairs[:-1]])
        assert order_known(**given)(state) is None


def test_rules_that_cannot_be():
    for delta in (0, 1, -0.1):
        for rule in (best_known, order_known, lambda delta: top_k_known(1, delta)):
            with pytest.raises(EvidenceError, match="delta="):
                rule(delta)
    for k in (0, 3):
        with pytest.raises(EvidenceError, match=f"k={k}: it lies between 1 and 2"):
            top_k_known(k)(played("abc"))
