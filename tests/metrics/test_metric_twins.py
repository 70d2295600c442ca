"""Metrics as their formulas say, a row, a pair and a label at a time, with every option."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics import agreement, calibration, effects, multilabel, preference, programs


def some_rows(seed, n=12):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, n).astype(float), rng.normal(size=n), rng.uniform(0.1, 2, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_effects_with_weights(seed, weighted):
    t, y, weight = some_rows(seed)
    t = t - 1.5
    w = weight if weighted else np.ones(12)
    given = {"weight": weight} if weighted else {}
    total = w.sum()
    assert effects.pehe(t, y, **given) == pytest.approx(np.sqrt(w @ (t - y) ** 2 / total))
    assert effects.ate_error(t, y, **given) == pytest.approx(abs(w @ (t - y)) / total)
    lost = 0.0
    for at, gain, own in zip(t, y, w, strict=True):
        lost += own * (max(gain, 0) - (gain if at > 0 else 0))
    assert effects.treatment_regret(t, y, **given) == pytest.approx(lost / total)
    for share, asked in ((0.2, {}), (0.45, {"share": 0.45}), (1.0, {"share": 1})):
        regret = mean_of_top(y, y, w, share) - mean_of_top(t, y, w, share)
        assert effects.top_share_regret(t, y, **asked, **given) == pytest.approx(regret, abs=1e-12)
    curve, area = slow_targeting(t, y, w)
    assert effects.autoc(t, y, **given) == pytest.approx(curve)
    assert effects.qini(t, y, **given) == pytest.approx(area / slow_targeting(y, y, w)[1])


def mean_of_top(by, y, w, share):
    """Fill so much weight, the highest first; equal rows share what is left."""
    room, total = share * w.sum(), 0.0
    places = room
    for value in sorted(set(by), reverse=True):
        own = by == value
        part = min(1.0, room / w[own].sum())
        total += part * (w[own] @ y[own])
        room -= part * w[own].sum()
        if room <= 1e-12:
            break
    return total / places


def slow_targeting(t, y, w):
    """AUTOC and the area of gains: tied rows averaged, a place at a time."""
    order = sorted(range(len(t)), key=lambda k: -t[k])
    weight, score = [], []
    for k in order:
        own = t == t[k]
        weight.append(w[own].mean())
        score.append(w[own] @ y[own] / w[own].sum())
    mean, total = w @ y / w.sum(), w.sum()
    curve = area = reached = gained = 0.0
    for own, value in zip(weight, score, strict=True):
        reached += own
        gained += own * value
        curve += own * gained / reached / total
        area += own * (gained - reached * mean) / total**2
    return curve - mean, area


def test_calibration_of_effects_by_bins():
    t, y, w = some_rows(4, 30)
    for bins, asked in ((10, {}), (3, {"bins": 3}), (1, {"bins": 1})):
        found = effects.effect_calibration(t, y, w, **asked)
        share, gaps, before = w / w.sum(), np.zeros(bins), 0.0
        for value in sorted(set(t)):
            own = t == value
            middle = before + share[own].sum() / 2
            gaps[min(int(middle * bins), bins - 1)] += share[own] @ (y - t)[own]
            before += share[own].sum()
        assert found.error == pytest.approx(np.abs(gaps).sum())
    line = np.polyfit(t, y, 1, w=np.sqrt(w))
    assert (found.slope, found.intercept) == pytest.approx(tuple(line))
    off = w @ (y - np.polyval(line, t)) ** 2 / (w @ (y - np.average(y, weights=w)) ** 2)
    assert found.r2 == pytest.approx(1 - off)
    assert effects.effect_calibration([1, 2], [3, 3]).r2 == 0
    for wrong in ([1.0], [[1.0, 2.0], [1.0, 2.0]]):
        with pytest.raises(EvidenceError, match="weights"):
            effects.pehe([1, 2], [1, 2], weight=wrong)
    with pytest.raises(EvidenceError, match="row 2: its weight is nan"):
        effects.pehe([1, 2], [1, 2], weight=[1, np.nan])
    with pytest.raises(EvidenceError, match="0 or more"):
        effects.pehe([1, 2], [1, 2], weight=[2, -1])
    for share in (0, 1.01):
        with pytest.raises(OptionError, match="share"):
            effects.top_share_regret([1, 2], [1, 2], share)


def test_preferences_pair_by_pair():
    rng = np.random.default_rng(5)
    chosen, rejected = (rng.integers(-6, 0, 40).astype(float) for _ in range(2))
    lengths = {
        "chosen_length": rng.integers(1, 4, 40),
        "rejected_length": rng.integers(1, 4, 40),
    }
    win = chosen / lengths["chosen_length"]
    lose = rejected / lengths["rejected_length"]
    alpha = rng.choice([0.5, 0.8, 1.0], 40)
    for margin, given in ((0.01, {}), (0.6, {"tie_margin": 0.6})):
        right = []
        for a, b, share in zip(win, lose, alpha, strict=True):
            right.append(a == b or abs(a - b) < margin if share == 0.5 else a > b)
        found = preference.ranking_accuracy(chosen, rejected, alpha=alpha, **lengths, **given)
        assert found == np.mean(right)
    assert preference.ranking_accuracy(chosen, rejected, **lengths) == np.mean(win > lose)
    assert preference.tied_share(chosen, rejected, **lengths) == np.mean(win == lose)
    references = rng.integers(-6, 0, (2, 40)).astype(float)
    gained = chosen - references[0] > rejected - references[1]
    assert preference.reward_accuracy(chosen, rejected, *references) == gained.mean()
    for eps, given in ((1e-3, {}), (0.1, {"eps": 0.1})):
        held = np.clip(alpha, eps, 1 - eps)
        slow = chosen + np.log(held / (1 - held)) / 0.7
        found = preference.idealized_log_ratio(chosen, alpha, 0.7, **given)
        assert found == pytest.approx(slow)
        found = preference.idealized_ranking_accuracy(chosen, alpha, 0.7, **given)
        assert found == np.mean(slow > 0)
    threshold = preference.dpo_flip_threshold(chosen, 0.3)
    assert threshold == pytest.approx(-np.log(1 / (1 + np.exp(-0.3 * chosen))))
    before, now = chosen + 3, rejected + 3
    table = preference.flip_table(before, now)
    slow = {}
    for first, positive in (("right", True), ("wrong", False)):
        for second, later in (("right", True), ("wrong", False)):
            both = ((before > 0) == positive) & ((now > 0) == later)
            slow[f"{first} -> {second}"] = both.mean()
    assert table == pytest.approx(slow)


def test_shares_of_raters_have_bounds():
    for alpha in (0.0, 1.0, 0.5):
        assert np.isfinite(preference.idealized_log_ratio(0.0, alpha, 1.0))
    for alpha in (-0.01, 1.01):
        with pytest.raises(EvidenceError, match=r"pair 1: .*shares of raters lie in \[0, 1\]"):
            preference.idealized_log_ratio([0.0], [alpha], 1.0)
    with pytest.raises(EvidenceError, match=r"pair 2: 1\.1 of the raters .*swap the two"):
        preference.ranking_accuracy([-1, -1], [-2, -2], alpha=[1, 1.1])
    with pytest.raises(EvidenceError, match="no tokens"):
        preference.tied_share([-1.0], [-1.0], rejected_length=[0])
    with pytest.raises(EvidenceError, match="chosen less its reference 2 is NaN"):
        preference.reward_accuracy([0, -np.inf], [0, 0], [0, -np.inf], [0, 0])
    for place, what in ((0, "chosen"), (1, "rejected")):
        pair = [[-1.0, -2.0], [-1.0, -2.0]]
        pair[place][1] = np.nan
        with pytest.raises(EvidenceError, match=f"{what} 2 is NaN"):
            preference.ranking_accuracy(*pair)
    with pytest.raises(EvidenceError, match="rank 1, 2 is NaN"):
        preference.listwise_ranking_accuracy([[-1.0, -2.0]], [[1, np.nan]])
    with pytest.raises(EvidenceError, match="alpha 1 is NaN"):
        preference.ranking_accuracy([-1.0], [-2.0], alpha=[np.nan])
    for name, given in (("score", ([[np.nan]], [[1]])), ("label", ([[1]], [[np.nan]]))):
        with pytest.raises(EvidenceError, match=f"{name} 1, 1 is NaN"):
            preference.best_share(*given)


def test_lists_of_answers_one_by_one():
    rng = np.random.default_rng(6)
    scores, labels = rng.integers(0, 4, (400, 3)), rng.integers(1, 4, (400, 3))
    where = rng.random((400, 3)) > 0.3
    where[:, 0] = True
    for mask in (None, where):
        shares, exact = [], []
        for k in range(400):
            shown = where[k] if mask is not None else np.ones(3, dtype=bool)
            s, y = scores[k][shown], labels[k][shown]
            shares.append((y[s == s.max()] == y.max()).mean())
            pairs = combinations(zip(scores[k], labels[k], strict=True), 2)
            exact.append(all((a - b) * (c - d) < 0 for (a, c), (b, d) in pairs))
        assert preference.best_share(scores, labels, mask) == pytest.approx(np.mean(shares))
    assert preference.listwise_ranking_accuracy(scores, labels) == np.mean(exact[:400])
    assert np.mean(exact) > 0


def test_expected_calibration_error_bin_by_bin():
    rng = np.random.default_rng(7)
    scores = np.r_[rng.random(50), 0, 1, 1, 1 / 3]
    right = rng.random(54) < scores
    for bins, given in ((15, {}), (4, {"bins": 4})):
        total = 0.0
        for b in range(bins):
            own = [k for k in range(54) if min(int(scores[k] * bins), bins - 1) == b]
            if own:
                total += abs(right[own].mean() - scores[own].mean()) * len(own) / 54
        found = calibration.expected_calibration_error(scores, right, **given)
        assert found == pytest.approx(total)
    assert calibration.expected_calibration_error([], []) == 0
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(EvidenceError, match="score 2"):
            calibration.expected_calibration_error([0.5, wrong], [1, 1])


def test_histograms_and_maps_by_group():
    scores = np.array([0.05, 0.12, 0.13, 0.5, 0.93, 1.0, 0.0])
    right = np.array([1, 0, 1, 1, 1, 0, 0.0])
    of_ten = calibration.histogram(scores, right, bins=10)
    at = np.array([0.0, 0.15, 0.25, 0.55, 0.97, 1.0])
    assert of_ten(at) == pytest.approx([0.5, 0.5, 0.25, 1, 0.5, 0.5])
    of_twenty = calibration.histogram(scores, right)
    assert of_twenty(at) == pytest.approx([0, 0.175, 0.275, 0.575, 0, 0])
    group = np.array([3, 3, 3, 3, 3, 3, 5])
    zero = calibration.calibrate(scores, right, group, "histogram")
    kept = calibration.calibrate(scores, right, group, "histogram", "keep")
    own = calibration.histogram(scores[:6], right[:6])
    given, groups = np.array([0.5, 0.5, 0.7]), [3, 5, 9]
    assert zero(given, groups) == pytest.approx([own(given[:1])[0], 0, 0])
    assert kept(given, groups) == pytest.approx([own(given[:1])[0], 0.5, 0.7])
    platt = calibration.calibrate(scores, right, np.zeros(7, int))
    assert platt(given, [0, 0, 0]) == pytest.approx(calibration.platt(scores, right)(given))
    with pytest.raises(OptionError, match="histogram, isotonic, platt, beta, temperature"):
        calibration.calibrate(scores, right, group, "x")
    with pytest.raises(EvidenceError, match="score 1 is 2"):
        calibration.calibrate([2.0], [1], [0])


@pytest.mark.parametrize("name", ["platt", "beta", "temperature"])
def test_maps_are_penalised_maxima(name):
    """No other slope or intercept is better; a ridge of 1e-3 on the logs of slopes."""
    rng = np.random.default_rng(8)
    s = np.r_[rng.random(60), 0.0, 1.0]
    right = (rng.random(62) < s**2).astype(float)
    made = calibration.CALIBRATORS[name](s, right)
    x = np.clip(s, 1e-7, 1 - 1e-7)
    columns = [np.log(x), -np.log1p(-x)] if name == "beta" else [np.log(x) - np.log1p(-x)]
    p = np.clip(made(s), 1e-12, 1 - 1e-12)
    z = np.log(p) - np.log1p(-p)
    design = np.column_stack([*columns, np.ones(len(s))])
    *slopes, intercept = np.linalg.lstsq(design[:-2], z[:-2], rcond=None)[0]
    assert (np.array(slopes) > 0).all()
    if name == "temperature":
        assert intercept == pytest.approx(0, abs=1e-6)
    start = np.r_[np.log(slopes), intercept]

    def loss(w):
        at = design @ np.r_[np.exp(w[:-1]), w[-1]]
        value = right * np.log1p(np.exp(-at)) + (1 - right) * np.log1p(np.exp(at))
        return value.sum() + 5e-4 * (w @ w)

    for k in range(len(start) - (name == "temperature")):
        step = np.eye(len(start))[k]
        best = minimize_scalar(lambda a, step=step: loss(start + a * step), bracket=(-0.1, 0.1)).x
        assert best == pytest.approx(0, abs=1e-3)


def test_isotonic_between_and_beyond_what_was_seen():
    made = calibration.isotonic(np.array([0.2, 0.4, 0.4, 0.6]), np.array([0, 1, 0, 0.0]))
    # The mean of .4 is a half, .6 has 0: pooled, by their counts, a third.
    assert made(np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])) == pytest.approx(
        [0, 0, 1 / 6, 1 / 3, 1 / 3, 1 / 3]
    )


# Agreement -------------------------------------------------------------------------------------


def test_errors_of_orders_pair_by_pair():
    truth = list("abcde")
    for ranking in list(permutations(truth))[::7]:
        place = {item: k for k, item in enumerate(ranking)}
        wrong = {(a, b) for a, b in combinations(truth, 2) if place[a] > place[b]}
        assert agreement.kendall_distance(ranking, truth) == len(wrong)
        assert agreement.kendall_distance(ranking, truth, normalised=True) == len(wrong) / 10
        total = 0.0
        for k in range(1, 6):
            top = truth[:k]
            missed = sum(place[item] >= k for item in top) / k
            assert agreement.identification_error(ranking, truth, k) == pytest.approx(missed)
            inside = sum(a in top and b in top for a, b in wrong) / max(k * (k - 1) / 2, 1)
            share = (5 - k) / 4
            error = share * missed + (1 - share) * inside
            found = agreement.generalised_ranking_error(ranking, truth, k)
            assert found == pytest.approx(error)
            total += error / 5
        assert agreement.agre(ranking, truth) == pytest.approx(total)
    assert agreement.agre(["a"], ["a"]) == 0
    assert agreement.kendall_distance(["a"], ["a"], normalised=True) == 0
    for k in (0, 6):
        with pytest.raises(EvidenceError, match="between 1 and 5"):
            agreement.identification_error(truth, truth, k)
    for one, other in (("aab", "abc"), ("abd", "abc"), ("abc", "abb"), ("ab", "abb")):
        with pytest.raises(EvidenceError, match="the same items"):
            agreement.kendall_distance(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_regret_over_every_set_that_may_be_meant(seed):
    rng = np.random.default_rng(seed)
    real, guess = rng.normal(size=6), rng.integers(0, 3, 6).astype(float)
    for k in range(1, 7):
        last = np.sort(guess)[-k]
        lost = []
        for chosen in combinations(range(6), k):
            left = [p for p in range(6) if p not in chosen]
            if all(guess[p] >= last for p in chosen) and all(guess[p] <= last for p in left):
                lost.append(real.max() - max(real[p] for p in chosen))
        assert agreement.regret_at_k(real, guess, k) == pytest.approx(np.mean(lost))
    for k in (0, 7):
        with pytest.raises(EvidenceError, match="between 1 and 6"):
            agreement.regret_at_k(real, guess, k)
    violation = [
        max(abs(a - b) * ((g < h) != (a < b)) for b, h in zip(real, guess, strict=True))
        for a, g in zip(real, guess, strict=True)
    ]
    assert agreement.mmrv(real, guess) == pytest.approx(np.mean(violation))
    assert np.isnan(agreement.kendall_tau(real, np.ones(6)))
    assert np.isnan(agreement.spearman(np.ones(6), real))
    for x, y in (([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(EvidenceError, match="two vectors of one length"):
            agreement.kendall_tau(x, y)


# Labels, programs ------------------------------------------------------------------------------


def test_labels_one_by_one():
    rng = np.random.default_rng(9)
    y, chosen = rng.random((2, 12, 4)) < 0.4
    y[:, 3] = chosen[:, 3] = False
    own = []
    for k in range(4):
        hits, size = (y[:, k] & chosen[:, k]).sum(), y[:, k].sum() + chosen[:, k].sum()
        own.append(2 * hits / size if size else 0.0)
    found = multilabel.f1_scores(y, chosen)
    assert found.by_label == pytest.approx(own)
    assert found.macro == pytest.approx(np.mean(own))
    assert found.micro == pytest.approx(2 * (y & chosen).sum() / (y.sum() + chosen.sum()))
    nothing = multilabel.f1_scores([[0, 0]], [[0, 0]])
    assert (nothing.micro, nothing.macro) == (0, 0)
    single = multilabel.f1_scores([[1, 0]], [[0, 0]])
    assert (single.micro, single.macro) == (0, 0)


def slow_threshold(scores, labels):
    """The cut with the highest F1, half way to the next lower score; of equals the highest."""
    levels = sorted(set(scores), reverse=True)
    best, found = -1.0, None
    for k, level in enumerate(levels):
        chosen = scores >= level
        f1 = 2 * (chosen & labels).sum() / (chosen.sum() + labels.sum())
        if f1 > best + 1e-12:
            best = f1
            found = (level + levels[min(k + 1, len(levels) - 1)]) / 2
    return found


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_with_the_highest_f1(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (20, 3)) / 6
    labels = rng.random((20, 3)) < scores * 0.8 + 0.1
    labels[:, 2] = np.arange(20) < 4
    common = slow_threshold(scores.ravel(), labels.ravel())
    assert multilabel.best_thresholds(scores, labels) == pytest.approx([common] * 3)
    for rare, given in ((10, {}), (5, {"rare": 5}), (4, {"rare": 4})):
        found = multilabel.best_thresholds(scores, labels, by_label=True, **given)
        for k in range(3):
            often = labels[:, k].sum() >= rare
            own = slow_threshold(scores[:, k], labels[:, k]) if often else common
            assert found[k] == pytest.approx(own)
    top = multilabel.choose_labels(scores, top=2)
    for row, chosen in zip(scores, top, strict=True):
        assert chosen.tolist() == (row >= sorted(row)[-2]).tolist()
    cut = multilabel.choose_labels(scores, threshold=0.5)
    assert (cut == (scores >= 0.5)).all()
    assert multilabel.choose_labels(scores, top=3).all()
    for wrong in (0, 4):
        with pytest.raises(OptionError, match=f"top={wrong}: there are 3"):
            multilabel.choose_labels(scores, top=wrong)
    for given in ({}, {"threshold": 0.5, "top": 1}):
        with pytest.raises(OptionError, match="either a threshold or top"):
            multilabel.choose_labels(scores, **given)
    for shape in ((20, 2), (0, 3)):
        with pytest.raises(EvidenceError, match="both are"):
            multilabel.f1_scores(labels[: shape[0]], np.zeros(shape))


def test_programs_by_every_draw():
    for n, c in ((6, 2), (5, 0), (4, 4), (7, 6)):
        passed = np.arange(n) < c
        for k in range(1, n + 1):
            slow = np.mean([passed[list(draw)].any() for draw in combinations(range(n), k)])
            assert programs.pass_at_k(n, c, k) == pytest.approx(slow)
    for wrong in ((3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)):
        with pytest.raises(EvidenceError, match="0 <= c <= n and 1 <= k <= n"):
            programs.pass_at_k(*wrong)
    scores, passed = [[0.1, 0.9], [0.5, 0.5, 0.1], [0.2]], [[1, 0], [1, 0, 1], [1]]
    assert programs.best_of_n(scores, passed) == pytest.approx((0 + 0.5 + 1) / 3)
    assert programs.oracle_at_n([[0, 0], [0, 1], [0.5, 2]]) == pytest.approx(1 / 3)
    with pytest.raises(EvidenceError, match="problem 2, sample 1"):
        programs.best_of_n([[1.0], [np.nan, 1]], [[1], [1, 1]])
