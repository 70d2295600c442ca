"""Multi-agent evaluation under incomplete information: alpha-Rank when payoffs are only sampled.

Rowland, Omidshafiei, Tuyls, Perolat, Valko, Piliouras and Munos (2019), "Multiagent Evaluation
under Incomplete Information", arXiv 1909.09849.

**The claim**: ResponseGraphUCB, which plays on only where the direction of a deviation is open,
needs far fewer plays than a fixed number of every profile; sampling by open deviations or by counts
beats uniform sampling, Clopper-Pearson beats Hoeffding, relaxed intervals (gaps below about .2
given up) save most plays at the price of some wrong directions.

**What is done here**: all four selection rules, both intervals, plain and relaxed (.1), until
everything is settled or 100,000 plays are spent, on (1) soccer: the paper's table of ten MuJoCo
agents as a game of two players (100 profiles, 900 deviations); (2) Bernoulli games: 2 x 2,
zero-sum, payoffs U(-1, 1) with |M01| >= .1; (3) Kuhn poker with two and three players between the
best responses of fictitious play (open_spiel), payoffs drawn from the games' own outcomes. Scores:
plays, and wrong directions among all deviations. "fixed" plays every profile equally often with the
plays that the count-weighted rule needed. "allowed" is delta itself, against the chance that any
direction of a Bernoulli game is wrong. (4) The meta-game of 43 repeated rock-paper-scissors bots:
how many bots hold 1% of alpha-Rank's mass, where a rating names one. Differences from the paper:
its error counts a direction as right when either the direction at the time of settling or that of
the final means is right (so does open_spiel's code); here the settled one counts. Clopper-Pearson
on payoffs between 0 and 1 (Kuhn) is not exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank._rooms import require
from policyrank.evaluation.response_graph import SELECTIONS, ResponseGraph
from policyrank.evidence import Scores, datasets
from policyrank.ranking import alpharank
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Report, Row, Scale, prefixed, quiet, scores_of

TITLE = "Evaluation under incomplete information"
PAPER = "arXiv 1909.09849"
ABOUT = "ResponseGraphUCB: alpha-Rank from sampled payoffs"
Float = NDArray[np.float64]
PLAYS, WRONG, ANY, MASS = (
    "plays",
    "share of wrong directions",
    "chance of any wrong direction",
    "bots with 1% or more",
)
SOCCER, KUHN = "soccer", ("Kuhn poker, 2 players", "Kuhn poker, 3 players")
GAMES = (SOCCER, *KUHN)
DELTAS = (0.01, 0.05, 0.1, 0.25, 0.5)
BERNOULLI = tuple(f"Bernoulli, delta {d:g}" for d in DELTAS)
METHODS: dict[str, dict[str, Any]] = {
    **{s: {"selection": s, "interval": "clopper-pearson", "relaxed": 0.1} for s in SELECTIONS},
    "count-weighted, Hoeffding": {
        "selection": "count-weighted",
        "interval": "hoeffding",
        "relaxed": 0.1,
    },
    "count-weighted, not relaxed": {"selection": "count-weighted", "interval": "clopper-pearson"},
    "uniform-exhaustive, not relaxed": {
        "selection": "uniform-exhaustive",
        "interval": "clopper-pearson",
    },
}
ONE, FIXED, ALLOWED = "count-weighted", "fixed", "allowed"
CAP = 100_000

UNIT, GAME = Unit("run"), Unit("Bernoulli game")
CONSTANTS = (ALLOWED, "a rating")
CLAIMS = (
    Claim(
        "Count-weighted needs fewer plays than uniform",
        "count-weighted",
        "uniform",
        PLAYS,
        tasks=GAMES,
    ),
    Claim(
        "Valence-weighted needs fewer plays than uniform",
        "valence-weighted",
        "uniform",
        PLAYS,
        tasks=GAMES,
    ),
    Claim(
        "Uniform-exhaustive needs fewer plays than uniform",
        "uniform-exhaustive",
        "uniform",
        PLAYS,
        tasks=GAMES,
    ),
    Claim(
        "Clopper-Pearson needs fewer plays than Hoeffding",
        ONE,
        "count-weighted, Hoeffding",
        PLAYS,
        tasks=GAMES,
    ),
    Claim(
        "Relaxed intervals need fewer plays",
        ONE,
        "count-weighted, not relaxed",
        PLAYS,
        tasks=(SOCCER,),
    ),
    Claim(
        "... at the price of more wrong directions",
        "count-weighted, not relaxed",
        ONE,
        WRONG,
        tasks=(SOCCER,),
    ),
    Claim(
        "Without relaxing, uniform-exhaustive is stuck at one small gap: more wrong directions than"
        " count-weighted for the same plays",
        "count-weighted, not relaxed",
        "uniform-exhaustive, not relaxed",
        WRONG,
        tasks=(SOCCER,),
    ),
    Claim(
        "For the same plays fewer wrong directions than with a fixed number of every profile"
        " (soccer, relaxed)",
        ONE,
        FIXED,
        WRONG,
        tasks=(SOCCER,),
    ),
    Claim("... and in Bernoulli games (not relaxed)", ONE, FIXED, ANY, tasks=BERNOULLI, unit=GAME),
    Claim(
        "The chance of any wrong direction stays below delta",
        ONE,
        ALLOWED,
        ANY,
        tasks=BERNOULLI,
        kind="rate",
        unit=GAME,
    ),
    Claim(
        "... also when the bounds hold at any time and together",
        "anytime, together",
        ALLOWED,
        ANY,
        tasks=BERNOULLI,
        kind="rate",
        unit=GAME,
    ),
    Claim(
        "A smaller delta needs more plays",
        "delta 0.5",
        "delta 0.01",
        PLAYS,
        tasks=("Bernoulli games",),
    ),
)

Play = Callable[[tuple[int, ...], np.random.Generator], Float]
Game = tuple[Float, Play]
"""Mean payoffs (players, profiles ...), and how a profile is played."""


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one run of all methods on a game (Bernoulli games are drawn anew)."""
    seeds, draws, cap = {"smoke": (1, 4, 2000), "small": (10, 300, CAP), "full": (50, 2000, CAP)}[
        scale
    ]
    rows: list[Row] = []
    for name in GAMES:
        game = soccer() if name == SOCCER else kuhn(int(name.split()[2]))
        for r in range(seeds):
            say = prefixed(report, f"run {r + 1} of {seeds}, {name}: ")
            rows += _on_game(name, game, cap, seed, r, say)
    for setting, delta in zip(BERNOULLI, DELTAS, strict=True):
        report(setting)
        for r in range(draws):
            rows += _on_bernoulli(setting, delta, cap // 2, seed, r)
    mass = alpharank(datasets.load("rrps-bots"), epsilon=1e-4).mass
    bots = "rock-paper-scissors bots"
    rows.append(("alpha-Rank", bots, MASS, 0, float((mass >= 0.01).sum())))
    rows.append(("a rating", bots, MASS, 0, 1.0))
    return scores_of(rows, lower_is_better=[PLAYS, WRONG, ANY])


def _on_game(name: str, game: Game, cap: int, seed: int, r: int, report: Report) -> Iterator[Row]:
    """Plays and wrong directions of every method, and of a fixed number of every profile."""
    truth, play = game
    spent = 0
    for method, options in METHODS.items():
        if name != SOCCER and "not relaxed" in method:
            continue
        report(method)
        rng = np.random.default_rng([seed, r, 1])
        graph, plays = settle(truth, play, cap, rng, seed=r, **options)
        yield method, name, PLAYS, r, plays
        yield method, name, WRONG, r, wrong(graph, truth)
        if method == ONE:
            spent = plays
    graph = fixed(truth, play, spent, np.random.default_rng([seed, r, 2]))
    yield FIXED, name, PLAYS, r, graph.count.sum()
    yield FIXED, name, WRONG, r, wrong(graph, truth)


def _on_bernoulli(setting: str, delta: float, cap: int, seed: int, r: int) -> Iterator[Row]:
    """Plays, and whether any direction is wrong, on one game that is drawn."""
    truth = bernoulli(np.random.default_rng([seed, r, 3]))
    play = player(truth)
    for method, strict in ((ONE, False), ("anytime, together", True)):
        graph, plays = settle(
            truth,
            play,
            cap,
            np.random.default_rng([seed, r, 4]),
            seed=r,
            selection=ONE,
            delta=delta,
            anytime=strict,
            together=strict,
        )
        yield method, setting, PLAYS, r, plays
        yield method, setting, ANY, r, float(graph.errors(truth) > 0)
        if not strict:
            yield f"delta {delta:g}", "Bernoulli games", PLAYS, r, plays
            even = fixed(truth, play, plays, np.random.default_rng([seed, r, 5]))
            yield FIXED, setting, ANY, r, float(even.errors(truth) > 0)
    yield ALLOWED, setting, ANY, r, delta


def settle(
    truth: Float, play: Play, cap: int, rng: np.random.Generator, **options: Any
) -> tuple[ResponseGraph, int]:
    """Play until all is settled or the cap is reached: the graph, and the plays."""
    graph = ResponseGraph(truth.shape[1:], **options)
    plays = 0
    while not graph.settled and plays < cap:
        profile = graph.propose(rng)
        graph.observe(profile, play(profile, rng))
        plays += 1
    return graph, plays


def fixed(truth: Float, play: Play, plays: int, rng: np.random.Generator) -> ResponseGraph:
    """Every profile equally often, ``plays`` in all (those left over go to random profiles)."""
    graph = ResponseGraph(truth.shape[1:])
    size = len(graph.count)
    for s in [*np.tile(np.arange(size), plays // size), *rng.permutation(size)[: plays % size]]:
        profile = tuple(int(x) for x in np.unravel_index(s, graph.shape))
        graph.total[:, s] += play(profile, rng)
        graph.count[s] += 1
    return graph


def wrong(graph: ResponseGraph, truth: Float) -> float:
    """Share of the deviations whose direction is wrong."""
    return graph.errors(truth) / len(graph.player)


def player(truth: Float) -> Play:
    """Plays of a zero-sum game of two players that one of them wins."""

    def play(profile: tuple[int, ...], rng: np.random.Generator) -> Float:
        won = float(rng.random() < truth[(0, *profile)])
        return np.array([won, 1 - won])

    return play


def soccer() -> Game:
    """The paper's table of MuJoCo agents, as a game of two players."""
    rate = datasets.load("soccer")
    truth = np.stack([rate, 1 - rate])
    return truth, player(truth)


def bernoulli(rng: np.random.Generator) -> Float:
    """Win rates of a symmetric zero-sum 2 x 2 game whose gap is at least .1, payoffs -1 to 1."""
    while True:
        m = rng.uniform(-1, 1, size=(2, 2))
        m = 0.5 * (m - m.T)
        if abs(m[0, 1]) >= 0.1:
            return np.stack([(m + 1) / 2, (1 - m) / 2])


@cache
def kuhn(players: int, iterations: int = 3) -> Game:
    """The game between the best responses of fictitious play, payoffs scaled to [0, 1]."""
    require("pyspiel", "Kuhn poker")
    import pyspiel

    game = pyspiel.load_game("kuhn_poker", {"players": players})
    tables = _best_responses(game, iterations)
    low, high = game.min_utility(), game.max_utility()
    shape = tuple(len(own) for own in tables)
    outcomes: dict[tuple[int, ...], tuple[Float, Float]] = {}
    truth = np.zeros((players, *shape))
    for profile in np.ndindex(shape):
        returns: dict[tuple[float, ...], float] = {}
        policies = [own[s] for own, s in zip(tables, profile, strict=True)]
        _walk(game.new_initial_state(), policies, 1.0, returns)
        values = (np.array(list(returns)) - low) / (high - low)
        chance = np.array(list(returns.values()))
        outcomes[profile] = values, np.cumsum(chance)
        truth[(slice(None), *profile)] = chance @ values

    def play(profile: tuple[int, ...], rng: np.random.Generator) -> Float:
        values, cumulative = outcomes[profile]
        drawn = int(np.searchsorted(cumulative, rng.random(), side="right"))
        return values[min(drawn, len(values) - 1)]

    return truth, play


def _best_responses(game: Any, iterations: int) -> list[list[Any]]:
    """Each player's best responses along fictitious play, as tables."""
    from open_spiel.python.algorithms import fictitious_play
    from open_spiel.python.policy import tabular_policy_from_callable

    solver = fictitious_play.XFPSolver(game, save_oracles=True)
    for _ in range(iterations):
        solver.iteration()
    tables = []
    for k in range(game.num_players()):
        found = solver._oracles[k]
        tables.append([tabular_policy_from_callable(game, one, [k]).to_dict() for one in found])
    return tables


def _walk(
    state: Any, policies: list[Any], chance: float, returns: dict[tuple[float, ...], float]
) -> None:
    """Probability of each vector of returns."""
    if state.is_terminal():
        key = tuple(state.returns())
        returns[key] = returns.get(key, 0.0) + chance
        return
    if state.is_chance_node():
        moves = state.chance_outcomes()
    else:
        moves = policies[state.current_player()][state.information_state_string()]
    for action, p in moves:
        if p > 0:
            _walk(state.child(action), policies, chance * p, returns)
