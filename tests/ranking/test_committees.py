"""Committees: exact values, brute force, abcvoting, bounds, the bias experiment; preference-ranking
accuracy.
"""

from itertools import combinations

import numpy as np
import pytest

abcrules = pytest.importorskip("abcvoting.abcrules")
from abcvoting.preferences import Profile
from hypothesis import given, settings, strategies as st

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings, Scores
from policyrank.metrics import (
    best_share,
    dpo_flip_threshold,
    flip_table,
    idealized_log_ratio,
    idealized_ranking_accuracy,
    listwise_ranking_accuracy,
    ranking_accuracy,
    reward_accuracy,
    tied_share,
)
from policyrank.ranking import COMMITTEE_RULES, committee_score, required_rankings, select
from policyrank.ranking.committee_procedures import PROCEDURES

VOTES = Rankings.of([list("abcd"), list("abcd"), list("dcba")])


def test_card_values():
    assert committee_score(VOTES, ["a", "d"], "sntv") == 3
    assert committee_score(VOTES, ["a", "b"], "sntv") == 2
    assert [committee_score(VOTES, [x], "borda") for x in "abcd"] == [6, 5, 4, 3]
    assert committee_score(VOTES, ["a", "d"], "chamberlin-courant") == 9
    assert committee_score(VOTES, ["a", "b"], "chamberlin-courant") == 7
    assert committee_score(VOTES, ["a", "b"], "bloc") == 4
    assert committee_score(VOTES, ["a", "b"], "pav") == 3
    assert committee_score(VOTES, ["a", "c"], "pav") == 3
    assert select(
        VOTES, 2, rule="borda", groups={"c": "late", "d": "late"}, at_least={"late": 1}
    ).members == ("a", "c")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(COMMITTEE_RULES)), st.booleans())
def test_exact_and_greedy_against_brute_force(seed, rule, grouped):
    rng = np.random.default_rng(seed)
    n, m, k = int(rng.integers(1, 8)), 6, int(rng.integers(1, 5))
    votes = Rankings.of(
        [[f"p{i}" for i in rng.permutation(m)[: rng.integers(1, m + 1)]] for _ in range(n)]
        + [[f"p{i}" for i in range(m)]]
    )
    groups = {f"p{i}": "low" if i < 3 else "high" for i in range(m)} if grouped else None
    low = {"low": min(1, k)} if grouped else None
    high = {"high": max(k - 1, 0)} if grouped else None
    allowed = [
        c
        for c in combinations(votes.policies, k)
        if not grouped or sum(groups[p] == "low" for p in c) >= 1
    ]
    scores = {c: committee_score(votes, list(c), rule, k) for c in allowed}
    best = max(scores.values())
    exact = select(votes, k, rule=rule, groups=groups, at_least=low, at_most=high)
    assert exact.score == pytest.approx(best)
    assert exact.optimal
    assert scores[exact.members] == pytest.approx(exact.score)
    greedy = select(votes, k, rule=rule, groups=groups, at_least=low, at_most=high, method="greedy")
    assert greedy.members in scores
    assert greedy.guarantee * best - 1e-9 <= greedy.score <= best + 1e-9
    if COMMITTEE_RULES[rule].modular and not grouped:
        assert greedy.score == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("ours", "theirs"), [("pav", "pav"), ("approval-chamberlin-courant", "cc"), ("bloc", "av")]
)
def test_agrees_with_abcvoting(ours, theirs, seed):
    rng = np.random.default_rng(seed)
    orders, k = [rng.permutation(6) for _ in range(9)], 3
    profile = Profile(6)
    profile.add_voters([set(o[:k].tolist()) for o in orders])
    winners = [
        tuple(f"p{i}" for i in sorted(c))
        for c in abcrules.compute(theirs, profile, k, algorithm="fastest")
    ]
    assert (
        select(Rankings.of([[f"p{i}" for i in o] for o in orders]), k, rule=ours).members in winners
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("phragmen", "seqphragmen"),
        ("equal-shares", "equal-shares"),
        ("sav", "sav"),
        ("monroe", "monroe"),
    ],
)
def test_proportional_rules_agree_with_abcvoting(ours, theirs, seed):
    rng = np.random.default_rng(seed)
    size, k = int(rng.integers(5, 14)), int(rng.integers(2, 5))
    orders = [rng.permutation(6) for _ in range(size)]
    profile = Profile(6)
    profile.add_voters([set(o[:k].tolist()) for o in orders])
    winners = {
        tuple(f"p{i}" for i in sorted(c))
        for c in abcrules.compute(theirs, profile, k, resolute=False)
    }
    found = select(Rankings.of([[f"p{i}" for i in o] for o in orders]), k, rule=ours)
    assert found.members in winners
    if ours in ("sav", "monroe"):
        assert found.tied == (len(winners) > 1)
    elif len(winners) > 1:
        assert found.tied


def test_stv_agrees_with_the_scottish_count():
    from pref_voting.profiles import Profile as Ballots
    from pref_voting.proportional_methods import stv_scottish

    untied = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(6).tolist() for _ in range(int(rng.integers(12, 40)))]
        found = select(Rankings.of([[f"p{i}" for i in o] for o in orders]), 3, rule="stv")
        if not found.tied:
            untied += 1
            theirs = sorted(map(int, stv_scottish(Ballots(orders), num_seats=3)))
            assert [int(name[1:]) for name in found.members] == theirs
    assert untied >= 8


def test_tied_places_are_no_order():
    """What fails everywhere is among nobody's first two, and Borda points are of mean places."""
    scores = Scores.from_table(
        [[0, 1, 1], [0, 1, 1], [0, 1, 0]], list("xyz"), ["fails-all", "model", "zed"]
    )
    for rule in ("bloc", "pav", "sav", "phragmen", "equal-shares", "borda"):
        assert select(scores.to_rankings(), 2, rule=rule).members == ("model", "zed")
    votes = Rankings.of([[["a", "b", "c"], "d"], list("dabc")], weight=[2, 3])
    assert committee_score(votes, ["a"], "borda") == 10
    assert committee_score(votes, ["d"], "borda") == 9
    assert select(votes, 1, rule="borda").members == ("a",)
    first = Rankings.of([[["a", "b"], "c"], ["c", "a", "b"]])
    assert committee_score(first, ["a"], "sntv") == 0.5
    tied = Rankings.of([[[1, 2], 4, 3]])
    assert committee_score(tied, ["1", "2"], "bloc", k=2) == 2
    assert committee_score(tied, ["4"], "bloc", k=2) == 0


@pytest.mark.parametrize("rule", [*COMMITTEE_RULES, *PROCEDURES])
def test_names_rows_and_twins_change_only_labels(rule):
    """Where one committee is best, it is found in any order of rows and under any names."""
    rng = np.random.default_rng(3)
    unique = 0
    for _ in range(6):
        rows = []
        for _ in range(11):
            o = [f"p{i}" for i in rng.permutation(5)]
            rows.append([o[0], [o[1], o[2]], *o[3:]] if rng.random() < 0.5 else o)
        found = select(Rankings.of(rows), 2, rule=rule)
        turned = Rankings.of([rows[i] for i in rng.permutation(len(rows))])
        new = dict(zip([f"p{i}" for i in range(5)], list("zyxwv"), strict=True))
        renamed = Rankings.of(
            [[[new[n] for n in x] if isinstance(x, list) else new[x] for x in row] for row in rows]
        )
        for other in (turned, renamed):
            again = select(other, 2, rule=rule)
            if found.tied is False:
                unique += 1
                back = {name: old for old, name in new.items()} if other is renamed else {}
                assert sorted(back.get(n, n) for n in again.members) == list(found.members)
            if rule in COMMITTEE_RULES:
                assert again.score == pytest.approx(found.score)
                assert again.tied == found.tied
    assert unique or rule == "monroe"
    twins = Rankings.of([[["a", "b"], "c"]] * 3)
    assert select(twins, 1, rule=rule).tied


def random_ballots(rng, names, count=9):
    """Ballots of all names, some with a tie after the first place."""
    rows = []
    for _ in range(count):
        order = [names[place] for place in rng.permutation(len(names))]
        tied = [order[0], [order[1], order[2]], *order[3:]]
        rows.append(tied if rng.random() < 0.5 else order)
    return rows


def with_twin(row, policy, twin):
    """The ballot with a second policy tied with one that is there."""
    groups = [list(item) if isinstance(item, list) else [item] for item in row]
    return [[*group, twin] if policy in group else group for group in groups]


@pytest.mark.parametrize("twin", ["p2a", "a", "z"])
@pytest.mark.parametrize("rule", [*COMMITTEE_RULES, *PROCEDURES])
def test_one_of_twins_is_chosen_by_a_tie_only(rule, twin):
    """A copy of a policy stands for it in every committee, whatever it is called."""
    rng = np.random.default_rng(7)
    names = [f"p{k}" for k in range(5)]
    for _ in range(4):
        votes = Rankings.of([with_twin(row, "p2", twin) for row in random_ballots(rng, names)])
        found = select(votes, 3, rule=rule)
        if ("p2" in found.members) != (twin in found.members):
            assert found.tied
        if rule in COMMITTEE_RULES:
            others = ["p0", "p1"]
            scores = [committee_score(votes, [*others, who], rule) for who in ("p2", twin)]
            assert scores[0] == pytest.approx(scores[1])


@pytest.mark.parametrize("rule", COMMITTEE_RULES)
def test_ballots_that_tie_all_change_no_committee(rule):
    """Of rules that add up ballots; the others count how many voters there are."""
    rng = np.random.default_rng(11)
    names = [f"p{k}" for k in range(5)]
    for _ in range(4):
        rows = random_ballots(rng, names)
        found = select(Rankings.of(rows), 2, rule=rule)
        again = select(Rankings.of([*rows, [names], [names[::-1]]]), 2, rule=rule)
        assert again.tied == found.tied
        if not found.tied:
            assert again.members == found.members


def test_policies_that_nobody_approves_fill_up_without_a_tie_where_all_are_needed():
    votes = Rankings.of([["a", "b", "c"]], policies=["a", "b", "c", "d"])
    assert select(votes, 4, rule="phragmen").tied is True  # a, b and c at the same load
    alone = Rankings.of([["a"]], policies=["a", "b", "c"])
    assert select(alone, 3, rule="phragmen").tied is False
    assert select(alone, 2, rule="phragmen").tied is True


def test_step_by_step_rules_say_what_they_do_not_know():
    with pytest.raises(EvidenceError, match="no bounds on groups"):
        select(VOTES, 2, rule="stv", groups={"a": "x"}, at_least={"x": 1})
    with pytest.raises(EvidenceError, match="its own way"):
        select(VOTES, 2, rule="phragmen", method="greedy")


def test_bounds_are_kept_or_refused():
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    assert select(VOTES, 2, rule="borda", groups=groups, at_least="proportional").groups == {
        "x": 1,
        "y": 1,
    }
    assert select(VOTES, 3, rule="pav", groups=groups, at_most={"x": 1}).groups == {"x": 1, "y": 2}
    for options, message in [
        ({"at_least": {"x": 3}}, "no committee"),
        ({"at_most": {"x": 0, "y": 1}}, "no committee"),
        ({"at_least": {"z": 1}}, "no group"),
    ]:
        with pytest.raises(EvidenceError, match=message):
            select(VOTES, 2, groups=groups, **options)
    for bad, message in [
        ({"k": 5}, "between 1 and 4"),
        ({"k": 2, "rule": "best"}, "use one of"),
        ({"k": 2, "method": "magic"}, "method"),
        ({"k": 2, "at_least": {"x": 1}}, "need groups"),
    ]:
        with pytest.raises(EvidenceError, match=message):
            select(VOTES, **bad)


def test_forty_policies_and_a_thousand_ballots():
    rng = np.random.default_rng(0)
    votes = Rankings.of_scores(
        rng.normal(size=(300, 40)) + np.linspace(1, 0, 40), [f"p{i:02d}" for i in range(40)]
    )
    for rule in ("bloc", "borda", "pav"):
        greedy, exact = (
            select(votes, 8, rule=rule, method="greedy"),
            select(votes, 8, rule=rule, time_limit=20),
        )
        assert exact.score >= greedy.score - 1e-6
        assert greedy.score >= 0.9 * exact.bound


def test_quota_undoes_bias_and_sntv_needs_far_more_rankings():
    """The card's simulation, smaller: quality on unbiased rankings with and without the quota."""
    m, k, rng = 40, 10, np.random.default_rng(0)
    names = [f"p{i:02d}" for i in range(m)]
    groups = {p: "two" if i >= 20 else "one" for i, p in enumerate(names)}
    quality = {}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        w = rng.random(m)
        fresh = Rankings.of_scores(w + 0.3 * rng.normal(size=(800, m)), names)
        seen = w + 0.3 * rng.normal(size=(200, m))
        factor = np.where(np.arange(m) >= 20, 0.5, 1.0)
        biased = Rankings.of_scores(np.where(seen > 0, seen * factor, seen / factor), names)
        for rule in ("sntv", "bloc", "borda"):
            best = select(fresh, k, rule=rule).score
            for quota in (False, True):
                chosen = select(
                    biased,
                    k,
                    rule=rule,
                    **({"groups": groups, "at_least": {"two": 5}} if quota else {}),
                )
                quality.setdefault((rule, quota), []).append(
                    committee_score(fresh, list(chosen.members), rule, k) / best
                )
    mean = {key: np.mean(v) for key, v in quality.items()}
    for rule in ("bloc", "borda"):
        assert mean[rule, False] < 0.96
        assert mean[rule, True] > 0.95
        assert mean[rule, True] > mean[rule, False]
    assert mean["sntv", True] < 0.8
    need = {
        rule: max(
            required_rankings(
                biased, k, rule=rule, groups=groups, quota={"one": 5, "two": 5}
            ).values()
        )
        for rule in ("sntv", "borda")
    }
    assert need["borda"] < need["sntv"]
    none = required_rankings(biased, k, groups=groups, quota={"one": 0, "two": 5})
    assert none["one"] == 0 < none["two"]
    with pytest.raises(EvidenceError, match="no policy is called 'nobody'"):
        committee_score(biased, ["nobody"])
    with pytest.raises(EvidenceError, match="modular"):
        required_rankings(biased, k, rule="pav", groups=groups, quota={"one": 5})


def test_preference_accuracy_card_values():
    assert dpo_flip_threshold([0, 10, -10], 0.1) == pytest.approx(
        [0.6931, 0.3133, 1.3133], abs=5e-5
    )
    assert dpo_flip_threshold(100.0, 0.1) == pytest.approx(4.54e-5, abs=1e-7)
    assert idealized_log_ratio(-5, 0.75, 0.1) == pytest.approx(5.986, abs=5e-4)
    assert idealized_log_ratio(0, 1.0, 1.0) == pytest.approx(6.9068, abs=5e-5)
    assert idealized_log_ratio(0, 1.0, 10.0) == pytest.approx(0.6907, abs=5e-5)
    assert ranking_accuracy([-10, -30], [-12, -20]) == 0.5
    assert (
        ranking_accuracy([-10, -30], [-12, -20], chosen_length=[5, 30], rejected_length=[12, 10])
        == 0.5
    )
    assert ranking_accuracy([np.log(0.5)], [np.log(0.505)], alpha=[0.5]) == 1
    assert ranking_accuracy([np.log(0.5)], [np.log(0.6)], alpha=[0.5]) == 0
    assert reward_accuracy([-10], [-5], [-12], [-6]) == 1
    assert listwise_ranking_accuracy([[-1, -2, -3], [-1, -3, -2]], [[1, 2, 3], [1, 2, 3]]) == 0.5
    with pytest.raises(ValueError, match="no tokens"):
        ranking_accuracy([-1.0], [-2.0], chosen_length=[0])


def test_equal_answers_are_no_order():
    for scores, ranks in (
        ([[-1, -2, -3]], [[1, 1, 2]]),
        ([[-2, -1, -3]], [[1, 1, 2]]),
        ([[-1, -1, -3]], [[1, 2, 3]]),
        ([[-1, -1, -3]], [[2, 1, 3]]),
    ):
        assert listwise_ranking_accuracy(scores, ranks) == 0
    assert ranking_accuracy([-1.0, -1.0], [-1.0, -2.0]) == 0.5
    assert tied_share([-1.0, -1.0], [-1.0, -2.0]) == 0.5
    # On summed log-probabilities the probabilities themselves are all but 0.
    assert ranking_accuracy([-80.0, -80.0], [-60.0, -80.0], alpha=[0.5, 0.5]) == 0.5
    with pytest.raises(ValueError, match="pair 2"):
        ranking_accuracy([-1.0, -1.0], [-2.0, -2.0], alpha=[0.7, 0.4])
    with pytest.raises(ValueError, match="log-probability 1, 2 is NaN"):
        listwise_ranking_accuracy([[-1.0, np.nan]], [[1, 2]])
    assert best_share([[1.0, 1.0, 0.0]], [[1, 0, 0]]) == 0.5
    assert best_share([[0.0, 9.0]], [[1, 0]], where=[[1, 0]]) == 1
    swapped = best_share([[1.0, 1.0, 0.0]], [[0, 1, 0]])
    assert swapped == 0.5


def test_every_pair_flips_at_its_threshold():
    """Tabular DPO: reward accuracy is full at once, a pair ranks rightly exactly when its loss
    falls to its threshold.
    """
    rng, beta = np.random.default_rng(0), 0.1
    reference = rng.normal(0, 30, size=2000)
    h = np.zeros(2000)
    for step in range(4000):
        h += 5.0 * beta / (1 + np.exp(beta * h))
        if step % 500 == 0:
            loss, ratio = np.logaddexp(0, -beta * h), reference + h
            assert ((ratio >= 0) == (loss <= dpo_flip_threshold(-reference, beta) + 1e-12)).all()
            assert reward_accuracy(h, np.zeros(2000), np.zeros(2000), np.zeros(2000)) == 1
    table = flip_table(reference, reference + h)
    assert sum(table.values()) == pytest.approx(1)
    assert table["right -> wrong"] == 0
    accuracies = [
        idealized_ranking_accuracy(reference, np.where(np.arange(2000) < 1000, 0.75, 1.0), b)
        for b in (0.01, 0.1, 1, 5, 10)
    ]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] == pytest.approx(1.0, abs=0.01)
    assert accuracies[-1] == pytest.approx((reference > 0).mean(), abs=0.02)


def test_what_greedy_choice_promises():
    votes = Rankings.of([list("abcd"), list("abcd"), list("dcba")])

    def promised(rule, **bounds):
        return select(votes, 2, rule=rule, method="greedy", **bounds).guarantee

    late = {"groups": {"c": "late", "d": "late"}, "at_least": {"late": 1}}
    assert (promised("pav"), promised("borda")) == pytest.approx((1 - np.exp(-1), 1))
    for bounds in ({"at_least": {"late": 1}}, {"at_most": {"late": 1}}, late):
        with pytest.raises(EvidenceError, match="knows no bounds on groups"):
            select(votes, 2, rule=next(iter(PROCEDURES)), **bounds)
    assert (promised("pav", **late), promised("borda", **late)) == (0.5, 0.5)
