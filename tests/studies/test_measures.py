"""Studies' measures have the direction that their claims read: tiny inputs, known answers."""

import re

import numpy as np
import pytest

from policyrank.evidence import Comparisons
from policyrank.studies import best_systems, fair_subset_selection, leaderboard_illusion, roboarena
from policyrank.studies.claims import Claim, Unit, judge
from policyrank.studies.frame import measure, scores_of

LOWER = re.compile(r"distance|disagree|published above|MMRV|width|error|log10")


@pytest.fixture
def smoke(data):
    data("roboarena")
    return lambda slug: measure(slug, "smoke", 0)[0].scores


def means(scores, metric, task):
    """Method -> its mean over replicates, as measured."""
    found = scores.filter(metrics=metric, tasks=task)
    sign = -1 if metric in scores.lower_is_better else 1
    values = sign * np.nanmean(found.cube()[0], axis=1)
    return dict(zip(found.policies, values.tolist(), strict=True))


@pytest.mark.parametrize(
    "slug", ["leaderboard-illusion", "roboarena", "best-systems", "off-policy-coverage"]
)
def test_what_is_better_when_it_is_less(slug, smoke):
    scores = smoke(slug)
    assert scores.lower_is_better == {m for m in scores.metric.names if LOWER.search(m)}


def test_what_was_not_measured_is_not_shown():
    scores = scores_of([(method, "t", "m", 0, 1.0) for method in ("ours", "others")])
    for claim in (Claim("", "ours", "theirs", "m"), Claim("", "ours", "others", "n")):
        (found,) = judge([claim], scores, Unit("world"))
        assert (found.verdict, found.units) == ("not shown", 0)


def test_a_claim_is_judged_in_its_own_tasks():
    rows = [
        (method, task, "m", r, float((method == "ours") == (task == "won")) + r)
        for method in ("ours", "theirs")
        for task in ("won", "lost")
        for r in range(3)
    ]
    for tasks, effect in ((("won",), 1), (("lost",), -1), (("won", "lost"), 0), ((), 0)):
        claim = Claim("", "ours", "theirs", "m", tasks=tasks)
        (found,) = judge([claim], scores_of(rows), Unit("world"))
        assert (found.effect, found.units) == (effect, 3)
    across = Claim("", "ours", "theirs", "m", tasks=("won",), than_tasks=("lost",))
    assert judge([across], scores_of(rows), Unit("world"))[0].effect == 0


def test_distance_grows_as_the_order_turns(smoke, monkeypatch):
    battles = Comparisons.of([*"aab"] * 9, [*"bcc"] * 9, ([1, 1, 1] * 8) + [0, 0, 0])
    distance = leaderboard_illusion.distance
    assert distance(battles, {"a": 2.0, "b": 1.0, "c": 0.0}) == 0
    assert distance(battles, {"a": 0.0, "b": 1.0, "c": 2.0}) == 1
    assert distance(battles, {"a": 2.0, "b": 0.0, "c": 1.0}) == pytest.approx(1 / 3)
    # Who was not drawn has the mean rating: above c, below a.
    assert distance(battles, {"a": 2.0, "not drawn": 1.0, "c": 0.0}) == 0

    class Found:
        tau = 0.6

    monkeypatch.setattr(leaderboard_illusion, "simulate_drift_with_removal", lambda *_, seed: 0.2)
    monkeypatch.setattr(leaderboard_illusion, "simulate_sampling_asymmetry", lambda *_, seed: Found)
    scores = smoke("leaderboard-illusion")
    for task, expected in (
        (leaderboard_illusion.DRIFT, 0.4),
        (leaderboard_illusion.ASYMMETRY, 0.2),
    ):
        found = means(scores, leaderboard_illusion.DISTANCE, task)
        assert [*found.values()] == pytest.approx([expected] * len(found))
    graphs = means(scores, leaderboard_illusion.DISTANCE, leaderboard_illusion.GRAPH)
    assert graphs["all pairs"] < 0.15 < graphs["never meet"]
    votes = means(scores, leaderboard_illusion.DISTANCE, leaderboard_illusion.REAL)
    assert max(votes.values()) < 0.3


def test_agreement_with_the_oracle(smoke):
    oracle = np.array([0.1, 0.4, 0.9])
    names = (roboarena.PEARSON, roboarena.TAU, roboarena.VIOLATION)
    for estimate, expected in (
        (oracle, (1, 1, 0)),
        (-oracle, (-1, -1, (0.8 + 0.5 + 0.8) / 3)),
        (np.ones(3), (0, 0, None)),
    ):
        found = roboarena._agreement(oracle, estimate)
        for name, value in zip(names, expected, strict=True):
            assert value is None or found[name] == pytest.approx(value)
    scores = smoke("roboarena")
    for setting in roboarena.AT[1:]:
        tau = means(scores, roboarena.TAU, setting)
        assert min(tau["diverse trials"], tau["davidson"]) > 0.4
        violated = means(scores, roboarena.VIOLATION, setting)
        assert 0 <= violated["diverse trials"] < 0.1
    assert min(means(scores, roboarena.TAU, roboarena.ALL[0]).values()) > 0


def test_better_systems_come_first_by_every_method():
    """Two tasks of two instances, systems from bad to good; a high score on one task alone."""
    cube = np.array([[[1, 2], [2, 3], [3, 4]], [[10, 20], [20, 90], [30, 25]]], dtype=float)
    assert best_systems.ranks(np.array([3.0, 1.0, 3.0])).tolist() == [1.5, 0, 1.5]
    assert best_systems.ranks(np.array([3.0, np.nan, 1.0])).tolist() == [1, 0, 0]
    assert best_systems.mean(cube).tolist() == [8.25, 28.75, 15.5]
    assert best_systems.borda(cube).tolist() == [0, 2 + 3, 4 + 3]
    assert best_systems.two_level(cube).tolist() == [0, 1 + 1.5, 2 + 1.5]


def test_distance_of_reversed_metrics_from_the_truth(smoke):
    clean = best_systems._corrupted(9.0, 0, np.random.default_rng(0))
    turned = best_systems._corrupted(9.0, 11, np.random.default_rng(0))
    assert clean == {"borda": 0, "two-level": 0}
    assert turned == {"borda": 1, "two-level": 1}
    scores = smoke("best-systems")
    for task in scores.filter(metrics=best_systems.TAU).task.names:
        assert means(scores, best_systems.TAU, task)["borda"] > 0
    for task in scores.filter(metrics=best_systems.COST).task.names:
        cost = means(scores, best_systems.COST, task)
        assert 0 <= cost["borda"] < cost["mean"]


def test_a_quota_helps_those_that_rankings_are_biased_against():
    half = fair_subset_selection.ITEMS // 2
    quality = np.r_[np.linspace(0.6, 0.3, half), np.linspace(0.7, 0.4, half)]
    world = fair_subset_selection.World(quality, np.random.default_rng(0))
    assert [*world.groups.values()][half - 1 : half + 1] == ["favoured", "disadvantaged"]
    truth, biased = world.draw(300, 1.0), world.draw(300, 0.1)
    late = [name for name, group in world.groups.items() if group == "disadvantaged"]
    assert not {*late} & {*fair_subset_selection.select(biased, 10, rule="borda").members}
    best = {
        rule: fair_subset_selection.select(truth, 10, rule=code, method="greedy").score
        for rule, code in fair_subset_selection.RULES.items()
    }
    found = fair_subset_selection._qualities(biased, truth, best, world.groups)
    for rule in fair_subset_selection.RULES:
        assert found[rule] + 0.02 < found[f"{rule}, quota"] < 1
    honest = fair_subset_selection._qualities(truth, truth, best, world.groups)
    assert [honest[rule] for rule in best] == pytest.approx([1] * len(best))
