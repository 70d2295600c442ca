"""What a log holds about a policy, weights and contrasts: a row at a time."""

import numpy as np
import pytest
from scipy.stats import norm, t

from policyrank.board.clusters import clustered_mean
from policyrank.board.intervals import as_normal
from policyrank.errors import EvidenceError
from policyrank.evaluation.importance import contrasts, distances, weights_of
from policyrank.evaluation.logged import read_log
from policyrank.evaluation.support import (
    Support,
    check_chances,
    mass_below,
    refuse_unsupported,
    support_of,
    thin_support,
)

ROWS, ACTIONS = 40, 3


def some_log(seed, low=0.02):
    """A log with chances, some of them low, and two policies' chances."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([1.0] * ACTIONS, ROWS) + low
    chances[:6, 2] = [0.0, 0.0005, 0.005, 0.02, 0.03, 0.08]
    chances /= chances.sum(axis=1, keepdims=True)
    chances[0, 2] = 0.0
    actions = np.array([rng.choice(ACTIONS, p=row) for row in chances])
    actions[:3] = 0, 1, 1
    actions[-3:] = 0, 1, 2
    outcome = actions + rng.normal(size=ROWS)
    features = rng.normal(size=(ROWS, 2))
    log = read_log(actions, outcome, features, chances)
    pi = rng.dirichlet([0.5] * ACTIONS, (2, ROWS))
    return log, pi, rng.normal(size=(ROWS, ACTIONS))


@pytest.mark.parametrize("switch", [None, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_every_estimator_of_one_policy(seed, switch):
    log, both, mu = some_log(seed)
    pi = both[0]
    weight, clipped, residual = [], {0.01: [], 0.05: [], 0.1: []}, []
    for row, action in enumerate(log.actions):
        e = log.chances[row, action]
        weight.append(pi[row, action] / e)
        residual.append(log.outcome[row] - mu[row, action])
        for clip, kept in clipped.items():
            kept.append(pi[row, action] / max(e, clip))
    w, r = np.array(weight), np.array(residual)
    direct = np.mean([pi[row] @ mu[row] for row in range(ROWS)])
    cut = 10.0 if switch is None else switch
    wanted = {
        "IPW": np.mean(w * log.outcome),
        "SNIPW": w @ log.outcome / w.sum(),
        "direct": direct,
        "DR": direct + np.mean(w * r),
        "SN-DR": direct + w @ r / w.sum(),
        **{
            f"DR, clip {clip:g}": direct + np.mean(np.array(kept) * r)
            for clip, kept in clipped.items()
        },
        f"switch-DR, {cut:g}": direct + np.mean(np.where(w <= cut, w, 0) * r),
    }
    found = support_of("p", log, pi, mu, switch)
    assert found.policy == "p"
    assert list(found.values) == list(wanted)
    assert found.values == pytest.approx(wanted)
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.mean_weight == pytest.approx(w.mean())
    assert found.residual == pytest.approx(w @ r / w.sum())
    cells = [
        pi[row, a] / log.chances[row, a]
        for row in range(ROWS)
        for a in range(ACTIONS)
        if log.chances[row, a] > 0
    ]
    assert found.largest == pytest.approx(max(cells))
    assert list(found.mass) == [0, 0.001, 0.01, 0.05]
    for least, share in found.mass.items():
        below = log.chances < least if least else log.chances == 0
        assert share == pytest.approx(pi[below].sum() / ROWS)
        assert mass_below(log, pi, least) == pytest.approx(share)


def test_a_policy_as_a_row_of_a_table():
    one = Support("p", {"IPW": 1.0, "DR": 2.0}, 30.0, {0.0: 0.1, 0.05: 0.2}, 9.0, 1.1, -0.3)
    assert one.row(0.4) == {
        "policy": "p",
        "IPW": 1.0,
        "DR": 2.0,
        "effective rows": 30.0,
        "mass without chance": 0.1,
        "mass below 0.05": 0.2,
        "largest weight": 9.0,
        "mean weight": 1.1,
        "weighted residual": -0.3,
        "band in half-width": 0.4,
    }


LOW = "what it would do had a chance below .05"


def one_of(name="p", effective=1000.0, low=0.0, lowest=0.0, apart=0.0):
    values = {"DR, clip 0.01": 1.0, "DR, clip 0.1": 1.0 - apart}
    mass = {0.0: 0.0, 0.001: 0.0, 0.01: lowest, 0.05: low}
    return Support(name, values, effective, mass, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("one", "rows", "text"),
    [
        (one_of(low=0.021), 500, f"2.1% of {LOW}, 0.0% one below .01"),
        (one_of(lowest=0.0021), 500, f"0.0% of {LOW}, 0.2% one below .01"),
        (one_of(effective=99.0), 200, "200 rows tell as much as 99 of its own"),
        (one_of(effective=1199.0), 6000, "6,000 rows tell as much as 1,199 of its own"),
        (one_of(apart=0.51), 500, "chances raised to .01 or to .1 make a difference of 0.51"),
        (one_of(apart=-0.51), 500, "chances raised to .01 or to .1 make a difference of 0.51"),
        (one_of(low=0.02, lowest=0.002, apart=0.5), 500, None),
        (one_of(effective=100.0), 500, None),
        (one_of(effective=1200.0), 6000, None),
    ],
)
def test_why_support_is_thin(one, rows, text):
    notes = thin_support([one], rows, np.array([0.5]))
    if text is None:
        assert notes == []
        return
    (note,) = notes
    assert note.text == f"p: {text}. Its value leans on the outcome model."
    assert (note.kind, note.severity, note.policies) == ("overlap", "warning", ("p",))
    assert thin_support([one], rows, np.array([0.5]), {"p"}) == []


def test_reasons_are_told_together_and_of_many_policies_at_once():
    both = thin_support([one_of(low=0.1, effective=9.0)], 500, np.array([1.0]))
    assert both[0].text == (
        "p: 10.0% of what it would do had a chance below .05, 0.0% one below .01; 500 rows tell as"
        " much as 9 of its own. Its value leans on the outcome model."
    )
    many = [one_of(f"p{k}", effective=9.0) for k in range(7)]
    assert len(thin_support(many[:6], 500, np.ones(6))) == 6
    (note,) = thin_support(many, 500, np.ones(7))
    assert note.text == (
        "The log holds little about 7 policies (p0, p1, p2, p3, p4, ...): see the table of"
        " estimators, extras['estimators']."
    )
    assert (note.kind, note.severity) == ("overlap", "warning")
    assert note.policies == tuple(f"p{k}" for k in range(7))


def test_what_was_hardly_ever_done_is_refused_or_bounded():
    chances = np.full((200, 2), 0.5)
    chances[:2] = [[1.0, 0.0], [0.9995, 0.0005]]
    log = read_log(np.r_[0, 0, np.arange(198) % 2], np.zeros(200), np.zeros((200, 1)), chances)
    always = np.zeros((200, 2))
    always[:, 1] = 1
    # 2 of 200 rows are just the share that is let pass.
    assert refuse_unsupported(["always"], log, always[None]) == []
    (note,) = refuse_unsupported(["always"], log, always[None], (-1, 2.5))
    assert note.text == (
        "always: 1.0% of what it would do the log did with a chance below 0.001: its value is"
        " bounded, with outcomes there from -1 to 2.5; the rating is the middle."
    )
    assert (note.kind, note.severity, note.policies) == ("support", "warning", ("always",))
    assert refuse_unsupported(["never"], log, 1 - always[None], (-1, 2.5)) == []
    nothing = np.zeros((1, 200, 2))
    with pytest.raises(EvidenceError, match="x: it would have done nothing"):
        refuse_unsupported(["x"], log, nothing)
    shorter = read_log(log.actions[:100], np.zeros(100), np.zeros((100, 1)), chances[:100])
    with pytest.raises(EvidenceError, match=r"always: 2% of what .* below 0\.001 \(never: 1%\)"):
        refuse_unsupported(["always"], shorter, always[None, :100])
    chances[0] = 0.9995, 0.0005
    seldom = read_log(log.actions[:100], np.zeros(100), np.zeros((100, 1)), chances[:100])
    with pytest.raises(EvidenceError, match=r"below 0\.001: what would follow"):
        refuse_unsupported(["always"], seldom, always[None, :100])


def slow_imbalance(log, pi, cluster=None):
    """Weighted less plain means of 1 and of the standardised features, over their errors."""
    scale = log.features.std(axis=0)
    standard = (log.features - log.features.mean(axis=0)) / scale
    columns = np.column_stack([np.ones(len(log)), standard])
    off, variance, rows = np.zeros(3), np.zeros(3), []
    for row, action in enumerate(log.actions):
        weight = pi[row, action] / log.chances[row, action]
        seen = log.chances[row] > 0
        expected = pi[row, seen].sum()
        planned = (pi[row, seen] ** 2 / log.chances[row, seen]).sum() - expected**2
        off += (weight - expected) * columns[row] / len(log)
        variance += planned * columns[row] ** 2 / len(log) ** 2
        rows.append((weight - expected) * columns[row])
    if cluster is not None:
        variance = np.maximum(variance, clustered_mean(rows, cluster).covariance.diagonal())
    return off, off / np.sqrt(variance)


def lying_log(seed, rows=400, declared=True, strength=2.0):
    """Actions taken by the first feature, as if they had been given at random."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    actions = (rng.random(rows) < 1 / (1 + np.exp(-strength * x[:, 0]))).astype(int)
    chances = np.full((rows, 2), 0.5) if declared else None
    always = np.zeros((1, rows, 2))
    always[:, :, 1] = 1
    return read_log(actions, rng.normal(size=rows), x, chances), always


def test_a_feature_that_chances_do_not_give_back_is_named():
    log, always = lying_log(0)
    off, z = slow_imbalance(log, always[0])
    (note,) = check_chances(["always"], log, always)
    assert note.text == (
        "always: the stated chances do not reproduce feature 1: its weighted mean is off by"
        f" {abs(off[1]):.2g} deviations (z = {abs(z[1]):.1f})."
    )
    assert (note.kind, note.severity, note.policies) == ("chances", "warning", ("always",))
    undeclared, always = lying_log(0, declared=False)
    with pytest.raises(EvidenceError, match=r"feature 1.*The log is no trial"):
        check_chances(["always"], undeclared, always)


def test_clusters_make_chances_harder_to_doubt():
    log, always = lying_log(1, strength=1.2)
    cluster = np.argsort(np.argsort(log.features[:, 0])) // 60
    _, z = slow_imbalance(log, always[0])
    _, clustered = slow_imbalance(log, always[0], cluster)
    assert abs(z[1]) > 4 > abs(clustered[1])
    assert f"(z = {abs(z[1]):.1f})" in check_chances(["always"], log, always)[0].text
    assert check_chances(["always"], log, always, cluster) == []


def test_four_deviations_are_doubted_and_of_very_many_policies_it_takes_more():
    told = {1: [], 400: []}
    for strength in np.linspace(0.3, 0.9, 16):
        log, always = lying_log(2, strength=strength)
        z = np.abs(slow_imbalance(log, always[0])[1]).max()
        for policies, found in told.items():
            least = max(4.0, norm.ppf(1 - 0.005 / (3 * policies)))
            notes = check_chances(["p"] * policies, log, np.repeat(always, policies, axis=0))
            assert len(notes) == policies * (z > least)
            found.append(z > least)
    assert 0 < sum(told[400]) < sum(told[1]) < 16


def test_weights_are_what_they_are_said_to_be():
    log, pi, _ = some_log(3)
    for clip, switch, bounded in ((0.05, None, False), (0.0, None, True), (0.02, 3.0, True)):
        found = weights_of(log, pi, clip=clip, switch=switch, bounded=bounded)
        lean, unseen = [], []
        kept = np.zeros(pi.shape)
        for row in range(ROWS):
            for a in range(ACTIONS):
                e, cell = log.chances[row, a], row * ACTIONS + a
                if bounded and e < 1e-3:
                    unseen.append(cell)
                    continue
                if switch is not None or e < clip:
                    lean.append(cell)
                for p in range(2):
                    heavy = switch is not None and pi[p, row, a] > switch * e
                    if e > 0 and not heavy:
                        kept[p, row, a] = pi[p, row, a] / max(e, clip)
        flat = pi.reshape(2, -1)
        assert found.kept == pytest.approx(kept.reshape(2, -1))
        assert found.lean.tolist() == lean
        assert found.unseen.tolist() == unseen
        left = flat[:, lean] - log.chances.ravel()[lean] * kept.reshape(2, -1)[:, lean]
        assert found.left == pytest.approx(left)
        assert found.unknown == pytest.approx(flat[:, unseen])
        assert found.pi == pytest.approx(flat)
        by_row = [[kept[p, row, log.actions[row]] for row in range(ROWS)] for p in range(2)]
        assert found.taken == pytest.approx(np.array(by_row))


def both_ways(tables):
    """Of two policies: each one's table, and their difference's, as (i, j) -> table."""
    first, second = tables
    return {(0, 0): first, (1, 1): second, (0, 1): first - second, (1, 0): second - first}


@pytest.mark.parametrize("outcome_range", [None, (-3.0, 5.0)])
@pytest.mark.parametrize("clustered", [False, True])
def test_contrasts_as_a_slow_twin_has_them(clustered, outcome_range):
    log, pi, mu = some_log(4)
    cluster = np.arange(ROWS) // 4 if clustered else None
    made = weights_of(log, pi, clip=0.05, bounded=outcome_range is not None)
    found = contrasts(log, made, mu, cluster, outcome_range)
    kept = both_ways(made.kept.reshape(2, ROWS, ACTIONS))
    taken = both_ways(made.taken)
    q = both_ways([np.array([pi[p, row] @ mu[row] for row in range(ROWS)]) for p in range(2)])
    left, unknown = both_ways(made.left), both_ways(made.unknown)
    residual = log.outcome - mu[np.arange(ROWS), log.actions]
    for (i, j), w in taken.items():
        score = q[i, j] + w * residual
        seen = clustered_mean(score[:, None], cluster)
        size = np.abs(w).sum()
        spread = max(np.abs(w) @ residual**2 / size, (w * residual) @ (w * residual) / (w @ w))
        planned = (kept[i, j] ** 2 * log.chances).sum() / ROWS
        foretold = (q[i, j].var(ddof=1) + planned * spread) / ROWS
        assert found.variance[i, j] == pytest.approx(max(foretold, seen.covariance[0, 0]))
        band = 3 * np.sqrt(spread) * np.abs(left[i, j]).sum() / ROWS
        if outcome_range is not None:
            band += 4 * np.abs(unknown[i, j]).sum() / ROWS
        assert found.band[i, j] == pytest.approx(band)
        effective = size**2 / (w @ w)
        assert found.effective[i, j] == pytest.approx(effective)
        df = max(min(effective - 1, seen.df), 1.0)
        assert found.df[i, j] == pytest.approx(df)
        half = t.ppf(0.95, df) * np.sqrt(found.variance[i, j]) + band
        assert found.half_width(0.9)[i, j] == pytest.approx(half)
        gap = found.value[i] - found.value[j]
        beyond = np.sign(gap) * max(abs(gap) - band, 0) / np.sqrt(found.variance[i, j])
        assert found.z[i, j] == pytest.approx(0.0 if i == j else as_normal(beyond, df))
        if i == j:
            assert found.value[i] == pytest.approx(score.mean())
            assert found.ends(0.9)[i] == pytest.approx([score.mean() - half, score.mean() + half])
            sd = half / t.ppf(0.95, df)
            assert found.covariance(0.9)[i, i] == pytest.approx(sd**2)
    scores = [q[k, k] + made.taken[k] * residual for k in range(2)]
    errors = clustered_mean(np.array(scores).T, cluster).covariance
    correlation = errors[0, 1] / np.sqrt(errors[0, 0] * errors[1, 1])
    assert found.correlation == pytest.approx(np.array([[1, correlation], [correlation, 1]]))
    sd = np.sqrt(found.covariance(0.9).diagonal())
    assert found.covariance(0.9)[0, 1] == pytest.approx(correlation * sd[0] * sd[1])


def test_what_does_not_vary_has_no_interval():
    log = read_log([0, 1, 0, 1], [1, 1, 1, 1], np.zeros((4, 1)))
    pi = np.array([[[0.0, 1.0]] * 4, [[1.0, 0.0]] * 4])
    found = contrasts(log, weights_of(log, pi, clip=0.0), np.ones((4, 2)))
    assert np.isnan(found.ends(0.95)).all()
    assert (found.z == 0).all()


@pytest.mark.parametrize("by_name", [True, False])
def test_distances_one_by_one(by_name):
    """Of policies that name one action, and of any others."""
    rng = np.random.default_rng(5)
    table = (rng.random((4, 9)) < 0.5) * rng.random(9) if by_name else rng.random((4, 9)) - 0.5
    weight = rng.random(9)
    found = distances(table, weight)
    for i in range(4):
        for j in range(4):
            gap = table[i] if i == j else table[i] - table[j]
            assert found[i, j] == pytest.approx(np.abs(gap) @ weight)
    assert distances(np.zeros((2, 0)), np.zeros(0)).tolist() == [[0, 0], [0, 0]]
