"""Sampling rules: what to evaluate next, given what is known.

Each rule is a function of the state, how many proposals are wanted, and a generator; it returns
rows (task, i, j) of codes. What is under way counts: parallel workers get proposals that were
planned together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit

from policyrank.evaluation.state import Float, State, pairs

Rows = NDArray[np.int64]


class SamplingRule(Protocol):
    """State, number of proposals, generator -> (proposals, 3): task, first and second policy."""

    def __call__(self, state: State, size: int, rng: np.random.Generator) -> Rows: ...


def _rows(
    task: NDArray[np.int64], i: NDArray[np.int64], j: NDArray[np.int64], rng: np.random.Generator
) -> Rows:
    """Proposals with the two sides shuffled."""
    flip = rng.random(len(i)) < 0.5
    return np.column_stack([task, np.where(flip, j, i), np.where(flip, i, j)]).astype(np.int64)


def _tasks(state: State, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(len(state.tasks), size=size)


def _balanced(
    state: State, i: NDArray[np.int64], j: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each pair a task on which its policies were evaluated least.

    Tasks are then covered evenly, which averages out how much they differ.
    """
    load, tasks = state.proposed.copy(), []
    for first, second in zip(i, j, strict=True):
        both = load[:, first] + load[:, second]
        task = int(rng.choice(np.flatnonzero(both == both.min())))
        load[task, [first, second]] += 1
        tasks.append(task)
    return np.array(tasks, dtype=np.int64)


def uniform(state: State, size: int, rng: np.random.Generator) -> Rows:
    """A random task and a random pair."""
    i, j = pairs(len(state.policies))
    picked = rng.integers(len(i), size=size)
    return _rows(_tasks(state, size, rng), i[picked], j[picked], rng)


def round_robin(state: State, size: int, rng: np.random.Generator) -> Rows:
    """The pairs handed out least so far, on the tasks evaluated least.

    Examples
    --------
    >>> state, rng = State(("x", "y", "z"), ("fold",)), np.random.default_rng(0)
    >>> [set(row[1:].tolist()) for row in round_robin(state, 3, rng)]
    [{0, 1}, {0, 2}, {1, 2}]
    """
    i, j = pairs(len(state.policies))
    games, load = np.maximum(state.games, state.asked)[i, j], state.proposed.sum(axis=1)
    picked, tasks = [], []
    for _ in range(size):
        pair, task = int(np.argmin(games)), int(np.argmin(load))
        games[pair] += 1
        load[task] += 2
        picked.append(pair)
        tasks.append(task)
    return _rows(np.array(tasks), i[picked], j[picked], rng)


def ucb(state: State, size: int, rng: np.random.Generator, *, c: float = 1.0) -> Rows:
    """The two policies with the highest upper confidence bound of their mean, on a random task.

    The bound is mean + c sd sqrt(log t / n), with the spread of all means as sd; unseen policies
    come first.

    Examples
    --------
    >>> state, rng = State(("x", "y", "z"), ("fold",)), np.random.default_rng(0)
    >>> for policy, score in [(0, 1.0), (1, 0.9), (2, 0.1)] * 30:
    ...     state.observe_score(0, policy, score)
    >>> set(ucb(state, 1, rng)[0, 1:].tolist())
    {0, 1}
    """
    if state.count.any():
        seen, mean = state.count.sum(axis=0), state.means()
    else:
        seen = state.games.sum(axis=1)
        mean = np.divide(state.wins.sum(axis=1), np.maximum(seen, 1))
    known = mean[np.isfinite(mean)]
    scale = 1.0
    if len(known) > 1 and known.std() > 0:
        scale = float(known.std())
    seen = seen + state.under_way.sum(axis=1)
    centre = np.where(np.isfinite(mean), mean, 0)
    proposals = []
    for task in _tasks(state, size, rng):
        radius = c * scale * np.sqrt(np.log(max(seen.sum(), 2.0)) / np.maximum(seen, 1))
        bound = np.where(seen > 0, centre + radius, np.inf)
        i, j = np.lexsort((rng.random(len(bound)), -bound))[:2]
        seen[[i, j]] += 1
        proposals.append((task, i, j))
    tasks, first, second = np.array(proposals, dtype=np.int64).T
    return _rows(tasks, first, second, rng)


def proportional(state: State, size: int, rng: np.random.Generator) -> Rows:
    """Tasks so that every opinion is represented in proportion to how many tasks hold it.

    An opinion: this policy stands above that one.
    Tasks are the candidates of sequential proportional approval voting, opinions its voters,
    weighed by how common they are and by how often tasks that hold them were drawn; pairs are
    random. Our reading of proportional task selection in Lanctot et al. (2026), whose exact rule is
    not public.
    """
    mean = np.divide(
        state.total, state.count, out=np.full_like(state.total, np.nan), where=state.count > 0
    )
    i, j = pairs(len(state.policies))
    with np.errstate(invalid="ignore"):
        opinion = np.sign(mean[:, i] - mean[:, j])
    up, down = (opinion > 0).astype(float), (opinion < 0).astype(float)
    load = state.proposed.sum(axis=1)
    tasks = []
    for _ in range(size):
        drawn_up, drawn_down = load @ up, load @ down
        gain = up @ (up.sum(axis=0) / (1 + drawn_up)) + down @ (down.sum(axis=0) / (1 + drawn_down))
        gain += (np.isnan(mean).mean(axis=1)) * (gain.max() + 1)
        task = int(np.lexsort((rng.random(len(gain)), -np.round(gain, 12)))[0])
        load[task] += 2
        tasks.append(task)
    picked = rng.integers(len(i), size=size)
    return _rows(np.array(tasks), i[picked], j[picked], rng)


def criterion(theta: Float, covariance: Float, goal: str) -> Float:
    """The matrix B that says what one comparison of i and j is worth: (e_i - e_j)' B (e_i - e_j).

    A comparison with information h = p (1 - p) shrinks the covariance by h / (1 + h q) times the
    outer product of covariance (e_i - e_j), q the variance of the difference. D-optimality: B =
    covariance; A-optimality: its square; rank uncertainty: the first-order drop in the sum of the
    chances that neighbours in the order are misordered.
    """
    if goal == "d-optimal":
        return covariance
    if goal == "a-optimal":
        centred = covariance - covariance.mean(axis=0)
        return centred.T @ centred
    order = np.argsort(-theta)
    ahead, behind = order[:-1], order[1:]
    apart = covariance[ahead] - covariance[behind]
    row = np.arange(len(apart))
    variance = np.maximum(apart[row, ahead] - apart[row, behind], 1e-12)
    gap = theta[ahead] - theta[behind]
    # d/dv of Phi(-gap / sqrt(v)), kept away from 0 where neighbours are exactly level.
    kept_away = np.maximum(gap, 0.05 * np.sqrt(variance))
    weight = np.exp(-0.5 * gap**2 / variance) * kept_away / variance**1.5
    return apart.T @ (apart * weight[:, None])


def pair_worth(theta: Float, covariance: Float, goal: str) -> tuple[Float, Float]:
    """Worth of a comparison of each pair, and its information: (n, n)."""

    def quadratic(matrix: Float) -> Float:
        return matrix.diagonal()[:, None] + matrix.diagonal() - matrix - matrix.T

    gap = theta[:, None] - theta
    information = expit(gap) * expit(-gap)
    gain = quadratic(criterion(theta, covariance, goal))
    return information * gain / (1 + information * quadratic(covariance)), information


def shrink(covariance: Float, i: int, j: int, information: float) -> Float:
    """The covariance after one more comparison of i and j.

    Examples
    --------
    >>> shrink(np.eye(2), 0, 1, information=0.25).round(3).tolist()
    [[0.833, 0.167], [0.167, 0.833]]
    """
    apart = covariance[:, i] - covariance[:, j]
    variance = apart[i] - apart[j]
    return covariance - np.outer(apart, apart) * information / (1 + information * variance)


def information_gain(
    state: State,
    size: int,
    rng: np.random.Generator,
    *,
    goal: Literal["d-optimal", "a-optimal", "rank-uncertainty"] = "rank-uncertainty",
) -> Rows:
    """The pairs whose comparison is worth most under the Bradley-Terry posterior.

    One after the other, on the tasks that they were evaluated on least.

    Examples
    --------
    >>> state, rng = State(("x", "y", "z"), ("fold",)), np.random.default_rng(0)
    >>> for better, worse in [(0, 2), (1, 2)] * 20:
    ...     state.observe_outcome(better, worse, 1.0)
    >>> set(information_gain(state, 1, rng)[0, 1:].tolist())
    {0, 1}
    """
    theta, covariance = state.posterior()
    for first, second in zip(*np.nonzero(np.triu(state.under_way)), strict=True):
        gap = theta[first] - theta[second]
        information = state.under_way[first, second] * expit(gap) * expit(-gap)
        covariance = shrink(covariance, first, second, information)
    i, j = pairs(len(state.policies))
    picked = []
    for _ in range(size):
        worth, information = pair_worth(theta, covariance, goal)
        value = worth[i, j]
        pair = int(rng.choice(np.flatnonzero(value >= value.max() * (1 - 1e-9))))
        picked.append(pair)
        first, second = i[pair], j[pair]
        covariance = shrink(covariance, first, second, information[first, second])
    i, j = i[picked], j[picked]
    return _rows(_balanced(state, i, j, rng), i, j, rng)


def top_two(state: State, size: int, rng: np.random.Generator) -> Rows:
    """Top-two Thompson sampling (Russo 2016).

    A draw's best policy against the best of a draw in which another one leads.

    Examples
    --------
    >>> state, rng = State(("x", "y", "z"), ("fold",)), np.random.default_rng(0)
    >>> for better, worse in [(0, 2), (1, 2)] * 20:
    ...     state.observe_outcome(better, worse, 1.0)
    >>> set(top_two(state, 1, rng)[0, 1:].tolist())
    {0, 1}
    """
    theta, covariance = state.posterior()
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.clip(value, 0, None))
    out = []
    for _ in range(size):
        draws = theta + rng.standard_normal((200, len(theta))) @ root.T
        best = np.argmax(draws, axis=1)
        rivals = best[best != best[0]]
        rival = np.argsort(-draws[0])[1]
        if len(rivals):
            rival = rivals[0]
        out.append((best[0], rival))
    i, j = np.array(out, dtype=np.int64).T
    return _rows(_balanced(state, i, j, rng), i, j, rng)


def matchmaking_weights(
    evaluations: Float, *, threshold: float = 10.0, power: float = 0.8
) -> Float:
    """RoboArena's weight of a policy with c evaluations: (C / (c + 1))^0.8 while c < C, else 1.

    Examples
    --------
    >>> matchmaking_weights(np.array([0, 9, 50]), threshold=10).round(2)
    array([6.31, 1.  , 1.  ])
    """
    seen = np.asarray(evaluations, dtype=float)
    return np.where(seen < threshold, (threshold / (seen + 1)) ** power, 1.0)


def matchmaking(
    state: State, size: int, rng: np.random.Generator, *, threshold: float = 10.0
) -> Rows:
    """Arena matchmaking: the first policy by weight (new ones first), the second at random."""
    seen = (state.games + state.under_way).sum(axis=1)
    n, out = len(seen), []
    for task in _tasks(state, size, rng):
        weight = matchmaking_weights(seen, threshold=threshold)
        i = int(rng.choice(n, p=weight / weight.sum()))
        j = int((i + rng.integers(1, n)) % n)
        seen[[i, j]] += 1
        out.append((task, i, j))
    tasks, first, second = np.array(out, dtype=np.int64).T
    return _rows(tasks, first, second, rng)


def hoeffding_interval(wins: Float, games: Float, delta: Float | float) -> tuple[Float, Float]:
    """Hoeffding's interval of a rate; radius sqrt(log(2 / delta) / (2 n)).

    Examples
    --------
    >>> low, high = hoeffding_interval(np.array([50.0]), np.array([100.0]), 0.05)
    >>> round(float(high[0] - low[0]) / 2, 5)
    0.13581
    """
    n = np.maximum(games, 1)
    radius = np.where(games > 0, np.sqrt(np.log(2 / np.asarray(delta)) / (2 * n)), 1.0)
    return wins / n - radius, np.where(games > 0, wins / n, 1.0) + radius


def clopper_pearson_interval(
    wins: Float, games: Float, delta: Float | float
) -> tuple[Float, Float]:
    """Clopper and Pearson's interval of a rate.

    Examples
    --------
    >>> low, high = clopper_pearson_interval(np.array([7.0]), np.array([10.0]), 0.05)
    >>> low.round(6), high.round(6)
    (array([0.347547]), array([0.93326]))
    """
    d = np.asarray(delta)
    low = np.where(wins > 0, betaincinv(np.maximum(wins, 1e-300), games - wins + 1, d / 2), 0.0)
    high = np.where(
        wins < games, betaincinv(wins + 1, np.maximum(games - wins, 1e-300), 1 - d / 2), 1.0
    )
    return np.where(games > 0, low, 0.0), np.where(games > 0, high, 1.0)


INTERVALS: dict[str, Callable[[Float, Float, Float | float], tuple[Float, Float]]] = {
    "hoeffding": hoeffding_interval,
    "clopper-pearson": clopper_pearson_interval,
}


def unresolved(
    state: State,
    *,
    delta: float = 0.05,
    interval: str = "clopper-pearson",
    relaxed: float = 0.0,
    anytime: bool = True,
) -> NDArray[np.bool_]:
    """Pairs whose win rate may still be on either side of 1/2: (policies, policies).

    ``relaxed`` gives up on rates within that distance of 1/2; ``anytime``: delta 6 / (pi^2 n^2) at
    n games, so that looking after every game is allowed.

    Examples
    --------
    >>> state = State(("x", "y", "z"), ("fold",))
    >>> for better, worse in [(0, 2), (1, 2)] * 20:
    ...     state.observe_outcome(better, worse, 1.0)
    >>> unresolved(state).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    """
    games = state.games
    at: Float | float = delta
    if anytime:
        at = delta * (6 / (np.pi**2 * np.maximum(games, 1) ** 2))
    low, high = INTERVALS[interval](state.wins, games, at)
    undecided = (low <= 0.5) & (high >= 0.5)
    if relaxed:
        undecided = (low - 0.5 < -relaxed) & (high - 0.5 > relaxed)
    out = undecided | (games == 0)
    np.fill_diagonal(out, False)
    return out & out.T


def response_graph_ucb(
    state: State,
    size: int,
    rng: np.random.Generator,
    *,
    selection: Literal[
        "uniform", "uniform-exhaustive", "valence-weighted", "count-weighted"
    ] = "count-weighted",
    delta: float = 0.05,
    interval: str = "clopper-pearson",
    relaxed: float = 0.0,
    anytime: bool = True,
) -> Rows:
    """ResponseGraphUCB on pairs: compare only pairs whose direction is not settled.

    Rowland et al. (2019), arXiv 1909.09849.
    ``selection``: a random open pair; always the first one; a policy by its number of open pairs
    squared; the least compared policy with an open pair. When every pair is settled, pairs are
    random.
    """
    open_ = unresolved(state, delta=delta, interval=interval, relaxed=relaxed, anytime=anytime)
    i, j = np.nonzero(np.triu(open_))
    if not len(i):
        return uniform(state, size, rng)
    seen = (state.games + state.under_way).sum(axis=1)
    valence = open_.sum(axis=1).astype(float)
    picked = []
    for _ in range(size):
        if selection == "uniform":
            pair = int(rng.integers(len(i)))
        elif selection == "uniform-exhaustive":
            pair = 0
        else:
            if selection == "valence-weighted":
                policy = int(rng.choice(len(valence), p=valence**2 / (valence**2).sum()))
            else:
                policy = int(np.argmin(np.where(valence > 0, seen, np.inf)))
            pair = int(rng.choice(np.flatnonzero((i == policy) | (j == policy))))
        seen[[i[pair], j[pair]]] += 1
        picked.append(pair)
    return _rows(_tasks(state, size, rng), i[picked], j[picked], rng)


RULES: dict[str, SamplingRule] = {
    "uniform": uniform,
    "round-robin": round_robin,
    "ucb": ucb,
    "proportional": proportional,
    "rank-uncertainty": partial(information_gain, goal="rank-uncertainty"),
    "a-optimal": partial(information_gain, goal="a-optimal"),
    "d-optimal": partial(information_gain, goal="d-optimal"),
    "top-two": top_two,
    "matchmaking": matchmaking,
    "response-graph-ucb": response_graph_ucb,
}
