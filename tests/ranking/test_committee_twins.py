"""Committees by slow twins: fractions, every committee, a voter at a time."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.ranking import (
    COMMITTEE_RULES,
    committee_score,
    committees,
    required_rankings,
    select,
)
from policyrank.ranking.committee_procedures import (
    equal_shares,
    monroe,
    phragmen,
    single_transferable_vote,
)
from policyrank.ranking.committee_search import (
    Election,
    GroupBounds,
    another_as_good,
    exact,
    greedy,
)

N = 5
NAMES = [f"p{k}" for k in range(N)]


class Votes:
    """Ballots with ties and missing policies, by whole voters or by importance."""

    def __init__(self, seed, ballots=6, whole=True, ties=True):
        rng = np.random.default_rng(seed)
        self.places = np.array([rng.permutation(N) + 1 for _ in range(ballots)])
        if ties:
            self.places = (self.places + 1) // 2
        self.places[rng.random((ballots, N)) < 0.2] = 0
        self.places[:, 0] = np.maximum(self.places[:, 0], 1)
        self.weight = rng.integers(1, 4, ballots)
        if not whole:
            self.weight = self.weight + rng.integers(1, 4, ballots) / 4
        rows = []
        for own in self.places:
            levels = sorted(set(own[own > 0]))
            rows.append([[NAMES[p] for p in np.flatnonzero(own == level)] for level in levels])
        self.rankings = Rankings.of(rows, weight=self.weight, policies=NAMES)
        self.weights = [Fraction(float(w)) for w in self.weight]

    def above(self, ballot, policy):
        """How many stand strictly above, None where it is missing."""
        own = self.places[ballot]
        if not own[policy]:
            return None
        return int(((own > 0) & (own < own[policy])).sum())

    def approves(self, ballot, policy, k):
        above = self.above(ballot, policy)
        return above is not None and above < k

    def supporters(self, policy, k):
        return [v for v in range(len(self.places)) if self.approves(v, policy, k)]


def first_of_least(values):
    """The first of the smallest, and whether there are several; None: infinite."""
    least = min(value for value in values if value is not None)
    ties = [c for c, value in enumerate(values) if value == least]
    return ties[0], len(ties) > 1


def slow_phragmen(votes, k, load=None, members=()):
    load = [Fraction(0)] * len(votes.places) if load is None else list(load)
    members, tied = list(members), False
    while len(members) < k:
        reached = []
        for policy in range(N):
            own = votes.supporters(policy, k)
            support = sum((votes.weights[v] for v in own), Fraction(0))
            if policy in members or not support:
                reached.append(None)
                continue
            reached.append((1 + sum(votes.weights[v] * load[v] for v in own)) / support)
        if all(value is None for value in reached):
            left = [policy for policy in range(N) if policy not in members]
            seats = k - len(members)
            return members + left[:seats], tied or len(left) > seats
        chosen, several = first_of_least(reached)
        tied |= several
        for v in votes.supporters(chosen, k):
            load[v] = reached[chosen]
        members.append(chosen)
    return members, tied


def slow_equal_shares(votes, k):
    total = sum(votes.weights)
    budget = [w * k / total for w in votes.weights]
    members, tied = [], False
    while len(members) < k:
        prices = []
        for policy in range(N):
            own = votes.supporters(policy, k)
            if policy in members or sum((budget[v] for v in own), Fraction(0)) < 1:
                prices.append(None)
                continue
            poor = []
            while True:  # those who cannot pay an equal share pay all that they have
                rich = [v for v in own if v not in poor]
                spent = sum((budget[v] for v in poor), Fraction(0))
                price = (1 - spent) / sum(votes.weights[v] for v in rich)
                short = [v for v in rich if budget[v] < price * votes.weights[v]]
                if not short:
                    break
                poor += short
            prices.append(price)
        if all(price is None for price in prices):
            break
        chosen, several = first_of_least(prices)
        tied |= several
        for v in votes.supporters(chosen, k):
            budget[v] -= min(budget[v], prices[chosen] * votes.weights[v])
        members.append(chosen)
    ahead = [-b / w for b, w in zip(budget, votes.weights, strict=True)]
    rest, again = slow_phragmen(votes, k, ahead, members)
    return rest, tied or again


def slow_stv(votes, k):
    value = list(votes.weights)
    total, whole = sum(value), all(w.denominator == 1 for w in value)
    quota = total // (k + 1) + 1 if whole else total / (k + 1)
    alive, members, tied, first = list(range(N)), [], False, None
    while len(members) < k:
        if len(alive) <= k - len(members):
            return members + alive, tied
        share = np.full((len(value), N), Fraction(0))
        for v, own in enumerate(votes.places):
            left = [p for p in alive if own[p]]
            top = [p for p in left if own[p] == min(own[q] for q in left)]
            for p in top:
                share[v, p] = Fraction(1, len(top))
        count = [sum(value[v] * share[v, p] for v in range(len(value))) for p in range(N)]
        first = count if first is None else first
        elected = [p for p in alive if count[p] >= quota]
        if elected:
            most = max(count[p] for p in elected)
            best = [p for p in elected if count[p] == most]
            tied |= len(best) > 1
            chosen = best[0]
            kept = max(count[chosen] - quota, Fraction(0)) / count[chosen]
            value = [w * (1 - share[v, chosen] * (1 - kept)) for v, w in enumerate(value)]
            members.append(chosen)
            alive.remove(chosen)
            continue
        least = min(count[p] for p in alive)
        out = [p for p in alive if count[p] == least]
        fewest = min(first[p] for p in out)
        out = [p for p in out if first[p] == fewest]
        tied |= len(out) > 1
        alive.remove(out[-1])
    return members, tied


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("rule", "twin"),
    [
        (phragmen, slow_phragmen),
        (equal_shares, slow_equal_shares),
        (single_transferable_vote, slow_stv),
    ],
)
def test_rules_that_go_step_by_step(rule, twin, whole, ties):
    seen = set()
    for seed in range(25):
        votes = Votes(seed, ballots=3 + seed % 7, whole=whole, ties=ties)
        for k in (1, 2, 3, 5):
            members, tied = twin(votes, k)
            found = rule(votes.rankings, k)
            assert (found.members, bool(found.tied)) == (members, tied), (seed, k)
            seen.add(tied)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("seed", "ballots", "k"), [(9, 20, 3), (14, 20, 4), (47, 8, 3), (64, 8, 4)]
)
def test_voters_who_cannot_pay_an_equal_share_pay_what_they_have(seed, ballots, k):
    votes = Votes(seed, ballots=ballots, ties=seed % 2 == 0)
    members, tied = slow_equal_shares(votes, k)
    found = equal_shares(votes.rankings, k)
    assert (found.members, bool(found.tied)) == (members, tied)


def served_by(votes, members, k):
    """Most voters that can be with a member they approve of, seats as even as can be."""
    voters = [v for v, w in enumerate(votes.weight) for _ in range(int(w))]
    seats, extra = divmod(len(voters), k)
    best = 0
    for larger in combinations(members, extra):
        places = [m for m in members for _ in range(seats + (m in larger))]
        approved = np.array([[votes.approves(v, m, k) for m in places] for v in voters])
        row, column = linear_sum_assignment(-approved.astype(float))
        best = max(best, int(approved[row, column].sum()))
    return best


@pytest.mark.parametrize("seed", range(10))
def test_monroe_by_every_committee(seed):
    votes = Votes(seed, ballots=4)
    for k in (1, 2, 3):
        values = {c: served_by(votes, c, k) for c in combinations(range(N), k)}
        best = max(values.values())
        found = monroe(votes.rankings, k)
        assert values[tuple(sorted(found.members))] == best
        assert bool(found.tied) == (sum(value == best for value in values.values()) > 1)


def test_monroe_of_voters_by_importance_shares_them_out():
    """Weights 1.5 and .5: half of the first voter's weight is with the second member."""
    votes = Rankings.of([["a", "b", "c"], ["c", "b", "a"]], weight=[1.5, 0.5])
    assert [votes.policies[m] for m in monroe(votes, 1).members] == ["a"]
    two = monroe(votes, 2)
    assert {votes.policies[m] for m in two.members} in ({"a", "b"}, {"b", "c"}, {"a", "c"})


# Rules that have a score -----------------------------------------------------------------------


def points(votes, rule, ballot, policy, k):
    """What a ballot gives to a policy."""
    above = votes.above(ballot, policy)
    if above is None:
        return 0.0
    own = votes.places[ballot]
    equal = int((own == own[policy]).sum())
    if rule == "sntv":
        return 1 / equal if above == 0 else 0.0
    if rule in ("borda", "chamberlin-courant", "harmonic-borda"):
        return N - 1 - above - (equal - 1) / 2
    approved = float(above < k)
    if rule == "sav":
        number = sum(votes.approves(ballot, other, k) for other in range(N))
        return approved / number if number else 0.0
    return approved


def slow_score(votes, members, rule, k):
    total = 0.0
    for ballot, weight in enumerate(votes.weight):
        own = sorted((points(votes, rule, ballot, m, k) for m in members), reverse=True)
        if rule in ("chamberlin-courant", "approval-chamberlin-courant"):
            own = own[:1]
        if rule in ("pav", "harmonic-borda"):
            own = [value / place for place, value in enumerate(own, 1)]
        total += weight * sum(own)
    return total


GROUPS = {"p0": "x", "p1": "x", "p2": "y", "p3": "y"}


def kept(members, low, high):
    number = {"x": 0, "y": 0}
    for member in members:
        group = GROUPS.get(NAMES[member])
        if group:
            number[group] += 1
    return all(low.get(g, 0) <= number[g] <= high.get(g, N) for g in number)


@pytest.mark.parametrize("rule", COMMITTEE_RULES)
def test_best_committees_and_ties_by_every_committee(rule):
    seen = set()
    for seed in range(6):
        votes = Votes(seed, whole=seed % 2 == 0)
        for k in (2, 4):
            everything = list(combinations(range(N), k))
            score = {c: slow_score(votes, c, rule, k) for c in everything}
            for c in everything[:3]:
                names = [NAMES[m] for m in c]
                assert committee_score(votes.rankings, names, rule) == pytest.approx(score[c])
                slow = slow_score(votes, c, rule, 1)
                assert committee_score(votes.rankings, names, rule, k=1) == pytest.approx(slow)
            for low, high in (({}, {}), ({"y": 1}, {"x": 1}), ({"x": 1}, {})):
                allowed = {c: value for c, value in score.items() if kept(c, low, high)}
                if not allowed:
                    continue
                best = max(allowed.values())
                groups = {} if not low and not high else {"groups": GROUPS}
                found = select(votes.rankings, k, rule=rule, at_least=low, at_most=high, **groups)
                assert found.score == pytest.approx(best)
                chosen = tuple(NAMES.index(name) for name in found.members)
                assert allowed[chosen] == pytest.approx(best)
                several = sum(value > best - 1e-9 for value in allowed.values()) > 1
                assert found.tied == several
                assert (found.guarantee, found.method, found.rule) == (1, "exact", rule)
                assert found.bound == pytest.approx(best)
                if groups:
                    number = {g: sum(GROUPS.get(n) == g for n in found.members) for g in "xy"}
                    assert found.groups == number
                else:
                    assert found.groups == {}
                seen.add(several)
    assert False in seen
    assert True in seen or rule == "harmonic-borda"


BOUNDS = [(3, {}, {}), (3, {"y": 2}, {}), (3, {"y": 1}, {"x": 1}), (2, {"x": 2}, {})]


def slow_greedy(votes, rule, k, low, high):
    """Policy by policy, the first of those that gain most and leave the bounds in reach."""
    members = []
    while len(members) < k:
        best, chosen = -1.0, None
        for policy in range(N):
            if policy in members:
                continue
            ahead = [
                c
                for c in combinations(range(N), k)
                if set(members) | {policy} <= set(c) and kept(c, low, high)
            ]
            value = round(slow_score(votes, [*members, policy], rule, k), 8)
            if ahead and value > best:
                best, chosen = value, policy
        members.append(chosen)
    return members


@pytest.mark.parametrize("rule", COMMITTEE_RULES)
def test_greedy_choice_policy_by_policy(rule):
    for seed in range(8):
        votes = Votes(seed)
        for k, low, high in BOUNDS:
            groups = {} if not low and not high else {"groups": GROUPS}
            found = select(
                votes.rankings, k, rule=rule, at_least=low, at_most=high, method="greedy", **groups
            )
            members = slow_greedy(votes, rule, k, low, high)
            assert found.members == tuple(sorted(NAMES[m] for m in members))
            share = 1 - 1 / np.e
            if COMMITTEE_RULES[rule].modular:
                share = 1.0
            if groups:
                share = 0.5
            assert found.guarantee == share
            assert found.bound == pytest.approx(found.score / share)
            assert (found.tied, found.method) == (None, "greedy")


def test_without_time_there_is_the_greedy_committee_and_a_bound():
    """Whether another committee is as good is then not known."""
    scores = (np.random.default_rng(0).random((400, 80)) < 0.15).astype(float)
    weights = 1 / np.arange(1, 13)
    election = Election(scores, np.ones(400), weights, 12, GroupBounds.none(80))
    members, bound = exact(election, 0.0)
    assert members == greedy(election)
    assert bound == pytest.approx((-np.sort(-scores, axis=1)[:, :12] @ weights).sum())
    assert another_as_good(election, members, 0.0) is None


def test_the_only_committee_there_is_has_no_equal():
    votes = Votes(2).rankings
    assert select(votes, N, rule="pav").tied is False
    assert select(votes, N, rule="borda").tied is False


def test_a_bound_above_the_score_is_no_full_guarantee(monkeypatch):
    votes = Votes(0).rankings
    best = select(votes, 2, rule="pav")
    members = [NAMES.index(name) for name in best.members]
    monkeypatch.setattr(committees, "exact", lambda *_: (members, 2 * best.score))
    found = select(votes, 2, rule="pav")
    assert found.guarantee == pytest.approx(0.5)
    assert found.bound == pytest.approx(2 * best.score)
    assert not found.optimal
    assert best.optimal


def test_shares_of_groups_are_rounded_down():
    votes = Votes(1).rankings
    for k in (1, 3, 5):
        found = select(votes, k, rule="bloc", groups=GROUPS, at_least="proportional")
        least = int(2 * k / N)
        assert all(number >= least for number in found.groups.values())
    with pytest.raises(EvidenceError, match=r"no committee of 2 .*'x': 2, 'y': 2.*'x': 2, 'y': 1"):
        select(votes, 2, groups=GROUPS, at_least={"x": 2, "y": 1})
    with pytest.raises(EvidenceError, match=r"at most .'x': 1, 'y': 0."):
        select(votes, 4, groups=GROUPS, at_most={"x": 1, "y": 0})
    free = select(votes, 2, groups=GROUPS, at_most={"x": 1, "y": 0})
    assert "p4" in free.members


def test_rankings_that_a_cut_needs_by_hoeffding():
    votes = Votes(5, ballots=9)
    mean = [slow_score(votes, [policy], "borda", 2) / votes.weight.sum() for policy in range(N)]
    x = sorted(mean[:2], reverse=True)
    y = sorted(mean[2:4], reverse=True)
    options = {"groups": GROUPS, "quota": {"x": 1, "y": 1}}
    for delta, given in ((0.05, {}), (0.2, {"delta": 0.2})):
        needed = required_rankings(votes.rankings, 2, **options, **given)
        odds = np.log(2 * N / delta)
        for group, two in (("x", x), ("y", y)):
            gap = two[0] - two[1]
            assert needed[group] == np.ceil(2 * 16 / gap**2 * odds)
    first = [slow_score(votes, [p], "sntv", 2) / votes.weight.sum() for p in range(N)]
    gap = abs(first[0] - first[1])
    needed = required_rankings(votes.rankings, 2, rule="sntv", groups=GROUPS, quota={"x": 1})
    assert needed == {"x": np.ceil(2 / gap**2 * np.log(200))}
    full = {"x": 2, "y": 0}
    assert required_rankings(votes.rankings, 2, groups=GROUPS, quota=full) == {"x": 0, "y": 0}
    level = Rankings.of([["a", "b"], ["b", "a"]])
    cut = {"groups": {"a": "g", "b": "g"}, "quota": {"g": 1}}
    assert required_rankings(level, 1, **cut) == {"g": np.inf}
