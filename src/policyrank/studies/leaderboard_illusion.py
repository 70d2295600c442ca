"""The leaderboard illusion: private best-of-N testing, unequal sampling and silent removal.

Singh et al. (2025), "The Leaderboard Illusion", arXiv 2504.20879.

**The claim**: testing many variants in private and publishing the best raises a provider's rating;
removing policies silently while the mix of prompts changes makes a Bradley-Terry board unreliable;
sparse sampling leaves parts of a board incomparable; and tuning on arena data wins on the arena
without a gain elsewhere.

**What is done here**: (1) N identical variants are tested against the pool of 59 real models rated
from 8,931 crowd votes; the score is how far the published estimate lies above the truth, in Elo
points. (2) Ten policies with independent skills on two kinds of prompt meet 20,000 times while the
mix turns from 90/10 to 10/90, and r of them are removed half-way; the score is the distance (1 -
tau) / 2 of the board's order from the truth. (3) Ten policies meet 900 times: all pairs, or two
halves that meet in three pairs, one pair, or never. (4) Twenty policies meet 3,000 times, four of
them drawn three or ten times as often. (5) The first 2,000 real votes of each of many resamples are
drawn uniformly over pairs or as the crowd's log has them; the score is the distance from the order
of all votes. (6) Policies over short sequences are tuned by DPO on 300 lists of four of their
samples, of which none, 30% or 70% are ordered by the arena's taste, the others by the reward that
counts, drawn apart from it; the score is the win rate over the policy before, by each. Differences
from the paper: its two million votes are not public, so sizes differ; the operator's reply (about
11 points for ten variants) and the paper's (about 100) are both met by the formula, at about 3,000
and 30 votes a variant.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from policyrank._rooms import require
from policyrank.auditing import (
    simulate_drift_with_removal,
    simulate_private_testing,
    simulate_sampling_asymmetry,
)
from policyrank.auditing.illusion import simulate_battles
from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons, Scores, datasets
from policyrank.metrics import kendall_tau
from policyrank.ranking import bradley_terry
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Report, Row, Scale, by_method, quiet, scores_of

TITLE = "Leaderboard illusion"
PAPER = "arXiv 2504.20879"
ABOUT = "private testing, silent removal, unequal and sparse sampling, real and simulated"
EXCESS, DISTANCE = "published above true rating (Elo points)", "distance from the true order"
BATTLES = (30, 100, 300, 1000, 3000)
TESTED = tuple(f"{n:,} votes a variant" for n in BATTLES)
DRIFT, GRAPH, REAL = "drift and removal", "ten policies, 900 battles", "2,000 real votes"
ASYMMETRY = "20 policies, 3,000 battles, 4 favoured"
VARIANTS = {1: "one variant", 3: "best of 3", 10: "best of 10", 27: "best of 27"}
REMOVED = {0: "none removed", 2: "two removed", 4: "four removed", 6: "six removed"}
SHARES = {0.0: "no arena data", 0.3: "30% arena data", 0.7: "70% arena data"}
TUNED, ON_ARENA, ELSEWHERE = "tuned on 300 lists", "win rate on the arena", "win rate elsewhere"
RATIOS = {1.0: "equal rates", 3.0: "3 times", 10.0: "10 times"}

UNIT, WORLD = Unit("simulation"), Unit("world")
CLAIMS = (
    Claim(
        "Publishing the best of 10 identical variants is overrated against publishing the only one",
        "one variant",
        "best of 10",
        EXCESS,
        tasks=TESTED,
    ),
    Claim(
        "The best of 27 is overrated more than the best of 10",
        "best of 10",
        "best of 27",
        EXCESS,
        tasks=TESTED,
    ),
    Claim(
        "Ten variants gain about the 100 points of the paper (more than 85) with 30 votes each",
        "one variant",
        "best of 10",
        EXCESS,
        85.0,
        TESTED[:1],
    ),
    Claim(
        "Ten variants gain about the 100 points of the paper (more than 85) with 3,000 votes each",
        "one variant",
        "best of 10",
        EXCESS,
        85.0,
        TESTED[-1:],
    ),
    Claim(
        "Keeping all policies gives a better order than removing two under drift",
        "none removed",
        "two removed",
        DISTANCE,
        tasks=(DRIFT,),
    ),
    Claim(
        "Removing six is worse than removing two",
        "two removed",
        "six removed",
        DISTANCE,
        tasks=(DRIFT,),
    ),
    Claim(
        "A complete graph of pairs gives a better order than halves that never meet",
        "all pairs",
        "never meet",
        DISTANCE,
        tasks=(GRAPH,),
    ),
    Claim("One bridge mends most of it", "one bridge", "never meet", DISTANCE, 0.1, (GRAPH,)),
    Claim(
        "Drawing every policy equally often gives a better order than drawing four of 20 ten times"
        " as often",
        "equal rates",
        "10 times",
        DISTANCE,
        tasks=(ASYMMETRY,),
    ),
    Claim(
        "Votes spread evenly over pairs order better than the crowd's own sampling",
        "even over pairs",
        "as logged",
        DISTANCE,
        tasks=(REAL,),
        unit=Unit("resample of votes", "resample"),
    ),
    Claim(
        "Tuning on 70% arena data wins more on the arena than on none, by .05",
        SHARES[0.7],
        SHARES[0.0],
        ON_ARENA,
        0.05,
        unit=WORLD,
    ),
    Claim("It wins less elsewhere", SHARES[0.0], SHARES[0.7], ELSEWHERE, unit=WORLD),
)


def distance(evidence: Comparisons, truth: dict[str, float]) -> float:
    """(1 - tau) / 2 between the board's order and the truth.

    Policies that were not drawn get the mean rating, 0.
    """
    board = bradley_terry(evidence, scale="natural", interval="none")
    rating = dict(zip(board.policies, board.rating, strict=True))
    found = [rating.get(policy, 0.0) for policy in truth]
    return (1 - kendall_tau(list(truth.values()), found)) / 2


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one simulated submission, history, graph or resample."""
    require("torch", "this study")
    trials, repeats, worlds = {
        "smoke": (5, 2, 2),
        "small": (300, 50, 20),
        "full": (2000, 500, 100),
    }[scale]
    votes = datasets.load("llmfao")
    whole = bradley_terry(votes, scale="natural", interval="none")
    rows: list[Row] = []
    for n, setting in zip(BATTLES, TESTED, strict=True):
        report(f"private testing: {setting}")
        for variants, method in VARIANTS.items():
            rng = np.random.default_rng([seed, n, variants])
            found = simulate_private_testing(
                whole.rating, 0.0, n, variants, trials=trials, seed=rng
            )
            for r, excess in enumerate(found.excess):
                rows.append((method, setting, EXCESS, r, float(excess)))
    for r in range(repeats):
        report(f"histories, graphs and resamples: {r + 1} of {repeats}")
        for removed, method in REMOVED.items():
            tau = simulate_drift_with_removal(removed, seed=np.random.default_rng([seed, r]))
            rows.append((method, DRIFT, DISTANCE, r, (1 - tau) / 2))
        for ratio, method in RATIOS.items():
            tau = simulate_sampling_asymmetry(ratio, seed=np.random.default_rng([seed, r, 3])).tau
            rows.append((method, ASYMMETRY, DISTANCE, r, (1 - tau) / 2))
        rows += by_method(GRAPH, DISTANCE, r, _graphs(np.random.default_rng([seed, r, 1])))
        resampled = _resampled(votes, whole, np.random.default_rng([seed, r, 2]))
        rows += by_method(REAL, DISTANCE, r, resampled)
    for r in range(worlds):
        report(f"tuning on the arena: world {r + 1} of {worlds}")
        rows += _overfitted(seed, r, 600 if scale != "smoke" else 30)
    return scores_of(rows, lower_is_better=[EXCESS, DISTANCE])


def _overfitted(seed: int, r: int, steps: int, lists: int = 300) -> Iterator[Row]:
    """DPO on lists of which a share is labelled by the arena's taste, the rest by what counts."""
    import torch

    from policyrank.studies.sequences import Arena, Place, RankedSequences, align
    from policyrank.worlds.sequences import SequenceWorld

    torch.set_num_threads(1)
    place = Place.of(seed, r, steps)
    taste = SequenceWorld(place.number + 500)
    arena = Arena.of(taste, place.base, place.number)
    x = place.world.prompts(lists, seed=place.number * 7919 + 1)
    y = place.base.sample(x, 4, seed=place.number * 7919 + 2)
    liked, wanted = taste.reward(x, y), place.world.reward(x, y)
    for share, method in SHARES.items():
        of_arena = torch.arange(lists) < round(share * lists)
        labels = torch.where(of_arena[:, None], liked, wanted)
        data = RankedSequences(x, y, labels)
        tuned = align(place.base, data, "dpo", epochs=8, seed=place.number)
        yield method, TUNED, ON_ARENA, r, arena(tuned, place.number)["win rate"]
        yield method, TUNED, ELSEWHERE, r, place.arena(tuned, place.number)["win rate"]


def _graphs(rng: np.random.Generator) -> dict[str, float]:
    """Distance of the order from the truth, by which pairs of ten policies meet."""
    theta = rng.uniform(-1, 1, size=10)
    theta = np.sort(theta)[::-1]
    everyone = np.column_stack(np.tril_indices(10, -1))
    halves = everyone < 5
    inside = everyone[halves[:, 0] == halves[:, 1]]
    truth = {f"policy {k + 1:02d}": float(t) for k, t in enumerate(theta)}
    out = {}
    for method, pool, bridges in (
        ("all pairs", everyone, []),
        ("three bridges", inside, [(9, 0), (4, 5), (2, 7)]),
        ("one bridge", inside, [(9, 0)]),
        ("never meet", inside, []),
    ):
        crossing = 60 if bridges else 0
        chosen = pool[rng.integers(len(pool), size=900 - crossing)]
        if bridges:
            chosen = np.vstack([chosen, np.resize(bridges, (crossing, 2))])
        out[method] = distance(simulate_battles(theta, *chosen.T, seed=rng), truth)
    return out


def _resampled(
    votes: Comparisons, whole: Leaderboard, rng: np.random.Generator
) -> dict[str, float]:
    """Distance from the order of all votes, by how 2,000 of them are drawn."""
    truth = dict(zip(whole.policies, whole.rating, strict=True))
    first, second = np.minimum(votes.a, votes.b), np.maximum(votes.a, votes.b)
    pair = first.astype(np.int64) * len(votes.policies) + second
    _, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
    even = 1 / count[inverse]
    logged = votes.take(rng.integers(len(votes), size=2000))
    spread = votes.take(rng.choice(len(votes), size=2000, p=even / even.sum()))
    return {"as logged": distance(logged, truth), "even over pairs": distance(spread, truth)}
