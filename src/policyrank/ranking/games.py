"""alpha-Rank: policies by how much time evolution spends at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import logsumexp

from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError
from policyrank.ranking.conventions import checks_options
from policyrank.ranking.rules import IntervalOptions, Preferences, rule_board

Float = NDArray[np.float64]
GTH_LIMIT = 600


@dataclass(frozen=True, eq=False)
class AlphaRank:
    """Stationary distribution of alpha-Rank's evolutionary chain.

    Attributes
    ----------
    mass
        probability of each profile; shape (strategies,) for one population, else (strategies of 1,
        ..., of K)
    alpha, epsilon, population
        the settings; alpha is infinite when the response graph was used
    """

    mass: Float
    alpha: float
    epsilon: float
    population: int

    def strategies(self, player: int = 0) -> Float:
        """Mass of each strategy of one player."""
        return self.mass.sum(axis=tuple(a for a in range(self.mass.ndim) if a != player))


def alpharank(
    payoffs: ArrayLike | Sequence[ArrayLike],
    *,
    alpha: float = np.inf,
    population: int = 50,
    epsilon: float = 0.01,
    selection: Literal["local", "constant-sum", "general-sum"] = "local",
    total: float = 0.0,
) -> AlphaRank:
    """alpha-Rank of a meta-game.

    Parameters
    ----------
    payoffs
        (n, n), row's payoff against column: one population of a symmetric game; or K arrays of
        shape (S_1, ..., S_K), one a player: K populations. Games with 100,000 profiles are solved
        sparsely.
    alpha
        selection intensity > 0; infinite: the response graph, in which a gain is taken with
        probability 1 - epsilon
    population
        m >= 2, individuals (finite alpha)
    epsilon
        in (0, 1/2), chance of a losing deviation (infinite alpha)
    selection
        for one population and finite alpha: compare M[r, s] with M[s, r] (``"local"``), with
        ``total`` / 2 (``"constant-sum"``), or play in the whole population (``"general-sum"``)

    Raises
    ------
    EvidenceError
        For shapes that do not fit, values that are not finite, or an alpha so large that the chain
        falls apart.

    References
    ----------
    Omidshafiei et al. (2019), "alpha-Rank: Multi-Agent Evaluation by Evolution", arXiv 1903.01373.

    Examples
    --------
    >>> alpharank([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]).mass.round(4)
    array([0.3333, 0.3333, 0.3333])
    """
    if not (alpha > 0 and 0 < epsilon < 0.5 and population >= 2):
        raise EvidenceError("alpha must be > 0, epsilon between 0 and 1/2, population at least 2")
    tables = [np.asarray(p, dtype=float) for p in payoffs]  # type: ignore[union-attr]
    single = np.ndim(tables[0]) == 1
    if single:
        matrix = np.array(tables)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise EvidenceError(
                f"one population needs a square matrix, not {matrix.shape}; give a list of arrays"
                " for several players"
            )
        tables = [matrix]
    elif any(t.shape != tables[0].shape for t in tables) or tables[0].ndim != len(tables):
        raise EvidenceError(
            f"{len(tables)} players need {len(tables)} arrays of one shape with {len(tables)} axes"
        )
    if not all(np.isfinite(t).all() for t in tables):
        raise EvidenceError("a payoff is not finite")
    if single:
        chain = _single_population(matrix, alpha, population, epsilon, selection, total)
    else:
        chain = _several_populations(tables, alpha, population, epsilon)
    mass = stationary(chain)
    return AlphaRank(mass if single else mass.reshape(tables[0].shape), alpha, epsilon, population)


def _fixation(u: Float, alpha: float, m: int, epsilon: float, equal: float) -> Float:
    """Probability that a deviation with (scaled) gain u takes over."""
    if np.isinf(alpha):
        return np.where(u > 0, 1 - epsilon, np.where(u < 0, epsilon, 0.5))
    v = np.abs(u)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = -np.expm1(-v) / -np.expm1(-m * v)
        return np.where(v < 1e-14, equal, np.where(u > 0, gain, gain * np.exp(-(m - 1) * v)))


def _single_population(
    matrix: Float, alpha: float, m: int, epsilon: float, selection: str, total: float
) -> sparse.csr_matrix:
    n = len(matrix)
    gain = matrix.T - matrix  # [s, r]: what r earns against s, minus what s earns against r
    if np.isinf(alpha) or selection == "local":
        rho = _fixation(gain if np.isinf(alpha) else alpha * gain, alpha, m, epsilon, 1 / m)
    elif selection == "constant-sum":
        rho = _fixation(alpha * m / (m - 1) * (matrix.T - total / 2), alpha, m, epsilon, 1 / m)
    elif selection == "general-sum":
        p = np.arange(1, m)[:, None, None]
        own, other = np.diag(matrix), matrix.T
        mutant = (p - 1) / (m - 1) * own[None, None, :] + (m - p) / (m - 1) * other
        resident = p / (m - 1) * matrix[None] + (m - p - 1) / (m - 1) * own[None, :, None]
        log_odds = np.cumsum(-alpha * (mutant - resident), axis=0)
        rho = np.exp(-logsumexp(np.concatenate([np.zeros((1, n, n)), log_odds]), axis=0))
    else:
        raise EvidenceError(
            f"selection={selection!r}: use 'local', 'constant-sum' or 'general-sum'"
        )
    np.fill_diagonal(rho, 0)
    return sparse.csr_matrix(rho / max(n - 1, 1))


def _several_populations(
    tables: list[Float], alpha: float, m: int, epsilon: float
) -> sparse.csr_matrix:
    shape = tables[0].shape
    size, eta = tables[0].size, 1 / max(sum(s - 1 for s in shape), 1)
    player, first, second = deviations(shape)
    payoff = np.stack([t.ravel() for t in tables])
    u = payoff[player, second] - payoff[player, first]
    there, back = (
        eta * _fixation(v if np.isinf(alpha) else alpha * v, alpha, m, epsilon, 1 / m)
        for v in (u, -u)
    )
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    return sparse.csr_matrix((np.concatenate([there, back]), (rows, columns)), shape=(size, size))


def stationary(chain: sparse.csr_matrix, *, tolerance: float = 1e-10, most: int = 20_000) -> Float:
    """Stationary distribution of a chain from its transition probabilities between different
    states.

    Small chains by Grassmann, Taksar and Heyman's elimination, which never subtracts. Large ones by
    iterating the jump chain, with the masses of its closed classes (and of the rest) solved exactly
    every few steps (Koury, McAllister and Stewart 1984), so that rarely left classes cost nothing.

    Raises
    ------
    EvidenceError
        When several states are never left, or it does not settle.
    """
    n = chain.shape[0]
    if n == 1:
        return np.ones(1)
    leave = np.asarray(chain.sum(axis=1)).ravel()
    if (leave <= 0).sum() > 1:
        raise EvidenceError(
            "several profiles are never left at this alpha: take alpha=inf with an epsilon, or a"
            " smaller alpha"
        )
    if n <= GTH_LIMIT:
        return gth(chain.toarray())
    jump = sparse.diags(1 / np.maximum(leave, 1e-300)) @ chain
    # Moves much rarer than a state's likeliest one do not make a class.
    top = np.repeat(np.asarray(jump.max(axis=1).todense()).ravel(), np.diff(jump.indptr))
    strong = sparse.csr_matrix(
        (jump.data * (jump.data > 0.05 * top), jump.indices, jump.indptr),
        shape=jump.shape,
        copy=True,
    )
    strong.eliminate_zeros()
    count, part = sparse.csgraph.connected_components(strong, directed=True, connection="strong")
    links = strong.tocoo()
    open_class = np.zeros(count, bool)
    open_class[part[links.row[part[links.row] != part[links.col]]]] = True
    closed = np.flatnonzero(~open_class)
    closed = closed[np.argsort(-np.bincount(part)[closed], kind="stable")][:GTH_LIMIT]
    block = np.full(count, len(closed))
    block[closed] = np.arange(len(closed))
    group = block[part]
    sums = sparse.csr_matrix((np.ones(n), (group, np.arange(n))), shape=(len(closed) + 1, n))
    back, x = jump.T.tocsr(), np.full(n, 1 / n)
    for step in range(1, most + 1):
        new = 0.5 * (x + back @ x)
        change = float(np.abs(new - x).sum())
        x = new / new.sum()
        if change < tolerance:
            mass = x / np.maximum(leave, 1e-300)
            return mass / mass.sum()
        if step % 10 == 0 and len(closed) > 1:
            weight = np.asarray(sums @ x).ravel()
            flow = (sums @ sparse.diags(x) @ jump @ sums.T).toarray() / np.maximum(weight, 1e-300)[
                :, None
            ]
            np.fill_diagonal(flow, 0)
            live = (weight > 1e-250) & (flow.sum(axis=1) > 0)
            target = weight.copy()
            target[live] = gth(flow[np.ix_(live, live)]) * weight[live].sum()
            x = x * (target / np.maximum(weight, 1e-300))[group]
            x /= x.sum()
    raise EvidenceError(
        f"the stationary distribution has not settled after {most} steps (last change"
        f" {change:.1e}): take a larger epsilon"
    )


def gth(chain: Float) -> Float:
    """Stationary distribution by Grassmann-Taksar-Heyman elimination; the diagonal is not read.

    Examples
    --------
    >>> gth(np.array([[0, 0.1], [0.3, 0]]))
    array([0.75, 0.25])
    """
    a = np.array(chain, dtype=float)
    n = len(a)
    out = np.zeros(n)
    for k in range(n - 1, 0, -1):
        out[k] = a[k, :k].sum()
        if out[k] > 0:
            a[:k, k] /= out[k]
            a[:k, :k] += np.outer(a[:k, k], a[k, :k])
    x = np.zeros(n)
    x[0] = 1.0
    for k in range(1, n):
        x[k] = x[:k] @ a[:k, k] if out[k] > 0 else 0.0
        if out[k] <= 0 and a[:k, k].any():
            x[:k], x[k] = 0.0, 1.0
    return x / x.sum()


@dataclass(frozen=True, eq=False)
class AlphaRankBounds:
    """What is known of alpha-Rank's masses when payoffs are known only within intervals.

    Attributes
    ----------
    lower, upper
        (n,) or (S_1, ..., S_K), smallest and largest mass of each strategy or profile over the
        directions that open pairs may have
    open_pairs
        pairs of strategies, or of profiles (flat indices), whose direction the intervals leave open
    exact
        whether all directions were tried; otherwise the true bounds may be wider (inner bounds)
    """

    lower: Float
    upper: Float
    open_pairs: tuple[tuple[int, int], ...]
    exact: bool


def deviations(
    shape: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of profiles that differ in one player's strategy: that player, first and second
    profile (flat indices).

    Examples
    --------
    >>> deviations((2, 2))
    (array([0, 0, 1, 1]), array([0, 1, 0, 2]), array([2, 3, 1, 3]))
    """
    profile = np.arange(int(np.prod(shape))).reshape(shape)
    player, first, second = [], [], []
    for k, strategies in enumerate(shape):
        line = np.moveaxis(profile, k, -1).reshape(-1, strategies)
        i, j = np.triu_indices(strategies, 1)
        first.append(line[:, i].ravel())
        second.append(line[:, j].ravel())
        player.append(np.full(len(first[-1]), k))
    return np.concatenate(player), np.concatenate(first), np.concatenate(second)


def alpha_rank_bounds(
    lower: ArrayLike | Sequence[ArrayLike],
    upper: ArrayLike | Sequence[ArrayLike],
    *,
    epsilon: float = 1e-4,
    enumerate_up_to: int = 12,
    samples: int = 2000,
    seed: Seed = 0,
) -> AlphaRankBounds:
    """Bounds on alpha-Rank (infinite alpha) from intervals of win rates or payoffs.

    Deviations whose intervals are disjoint have a fixed direction, each other one may point either
    way. Up to ``enumerate_up_to`` open ones all directions are tried; beyond, random ones, each
    improved by flipping single deviations while that widens a bound.

    Parameters
    ----------
    lower, upper
        one population: (n, n) bounds of the win rate of row against column, lower_ij = 1 -
        upper_ji; K players: K arrays each of shape (S_1, ..., S_K), bounds of their payoffs
    epsilon
        chance of a losing deviation

    References
    ----------
    Rowland et al. (2019), "Multiagent Evaluation under Incomplete Information", arXiv 1909.09849.

    Examples
    --------
    >>> low = np.array([[0.5, 0.6, 0.3], [0.2, 0.5, 0.6], [0.3, 0.2, 0.5]])
    >>> found = alpha_rank_bounds(low, 1 - low.T)
    >>> found.lower.round(2), found.upper.round(2), found.open_pairs
    (array([0.33, 0.  , 0.  ]), array([1.  , 0.33, 0.33]), ((0, 2),))
    """
    low, high = np.array(lower, dtype=float), np.array(upper, dtype=float)
    if low.shape != high.shape or (low > high + 1e-12).any():
        raise EvidenceError("lower and upper must have one shape, and lower <= upper.")
    if low.ndim == 2:
        n = len(low)
        if low.shape != (n, n):
            raise EvidenceError(f"one population needs square matrices, not {low.shape}.")
        i, j = np.triu_indices(n, 1)
        open_ = (low[i, j] <= 0.5) & (high[i, j] >= 0.5)
        first_better = low[i, j] + high[i, j] > 1
        moves, shape = max(n - 1, 1), (n,)
    else:
        shape = low.shape[1:]
        if low.ndim != len(low) + 1:
            raise EvidenceError(
                f"{len(low)} players need {len(low)} arrays with {len(low)} axes, not {low.shape}."
            )
        low, high = low.reshape(len(low), -1), high.reshape(len(high), -1)
        k, i, j = deviations(shape)
        open_ = (low[k, i] <= high[k, j]) & (low[k, j] <= high[k, i])
        first_better = low[k, i] > high[k, j]
        n, moves = int(np.prod(shape)), sum(s - 1 for s in shape)
    base = first_better.astype(np.int64)
    which = np.flatnonzero(open_)
    pairs = tuple((int(a), int(b)) for a, b in zip(i[which], j[which], strict=True))

    def masses(directions: NDArray[np.int64]) -> Float:
        out = []
        for part in np.array_split(directions, max(1, len(directions) * n * n // 4_000_000)):
            chains = np.zeros((len(part), n, n))
            chains[:, i, j] = np.where(part > 0, epsilon, 1 - epsilon) / moves
            chains[:, j, i] = np.where(part > 0, 1 - epsilon, epsilon) / moves
            out.append(_gth_batch(chains))
        return np.concatenate(out)

    def bounds(small: Float, large: Float, exact: bool) -> AlphaRankBounds:
        return AlphaRankBounds(small.reshape(shape), large.reshape(shape), pairs, exact)

    if len(which) <= enumerate_up_to:
        tries = np.tile(base, (2 ** len(which), 1))
        tries[:, which] = np.arange(2 ** len(which))[:, None] >> np.arange(len(which)) & 1
        found = masses(tries)
        return bounds(found.min(axis=0), found.max(axis=0), True)
    rng = generator(seed)
    tries = np.tile(base, (samples, 1))
    tries[:, which] = rng.integers(2, size=(samples, len(which)))
    found = masses(tries)
    ends = found.min(axis=0), found.max(axis=0)
    for strategy in range(n):
        for sign, start in (
            (-1, int(np.argmin(found[:, strategy]))),
            (1, int(np.argmax(found[:, strategy]))),
        ):
            at, value = tries[start].copy(), sign * found[start, strategy]
            while True:
                flips = np.tile(at, (len(which), 1))
                flips[np.arange(len(which)), which] ^= 1
                near = sign * masses(flips)[:, strategy]
                if near.max() <= value + 1e-12:
                    break
                at, value = flips[int(np.argmax(near))], float(near.max())
            (ends[0] if sign < 0 else ends[1])[strategy] = sign * value
    return bounds(*ends, False)


def _gth_batch(chains: Float) -> Float:
    """``gth`` of many chains at once: (batch, n, n) -> (batch, n); every state must reach every
    other.
    """
    a = np.array(chains)
    n = a.shape[1]
    for k in range(n - 1, 0, -1):
        a[:, :k, k] /= a[:, k, :k].sum(axis=1)[:, None]
        a[:, :k, :k] += a[:, :k, k, None] * a[:, k, None, :k]
    x = np.zeros((len(a), n))
    x[:, 0] = 1.0
    for k in range(1, n):
        x[:, k] = np.einsum("bi,bi->b", x[:, :k], a[:, :k, k])
    return x / x.sum(axis=1, keepdims=True)


@checks_options
def alpha_rank(
    evidence: Preferences,
    *,
    alpha: float = np.inf,
    population: int = 50,
    epsilon: float = 0.01,
    resamples: int = 200,
    **options: Unpack[IntervalOptions],
) -> Leaderboard:
    """alpha-Rank of policies by their win rates against each other, as one population.

    Parameters are those of ``alpharank``; the payoff of i against j is its win rate (ties half; 1/2
    for pairs that never met). The rating is the share of time that evolution spends at a policy.
    Intervals: bootstrap.
    """

    def rule(wins: Float) -> Float:
        return alpharank(win_rates(wins), alpha=alpha, population=population, epsilon=epsilon).mass

    settings = {"alpha": alpha, "population": population, "epsilon": epsilon}
    return rule_board(
        evidence,
        rule,
        method="alpha-rank",
        unit="share of time",
        batched=False,
        resamples=resamples,
        settings=settings,
        **options,
    )


def win_rates(wins: Float) -> Float:
    """Win rate of row against column, ties half, 1/2 where they never met."""
    total = wins + wins.T
    rate = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
    np.fill_diagonal(rate, 0.5)
    return rate
