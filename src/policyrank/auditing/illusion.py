"""How leaderboards mislead: best-of-N submissions, unequal sampling, silent removal.

Formulas and simulators. Singh et al. (2025), "The Leaderboard Illusion", arXiv 2504.20879; formulas
re-derived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_ndtr

from policyrank.auditing.case import ratings_of
from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.metrics import kendall_tau
from policyrank.ranking import bradley_terry
from policyrank.ranking.conventions import ELO

Float = NDArray[np.float64]


def expected_max_normal(n: float) -> float:
    """c_n = E[max of n standard normals], by quadrature; n >= 1, not necessarily whole.

    Examples
    --------
    >>> [round(expected_max_normal(n), 3) for n in (1, 2, 3, 5, 10, 20)]
    [0.0, 0.564, 0.846, 1.163, 1.539, 1.867]
    """
    if n < 1:
        raise EvidenceError(f"n={n}: a maximum needs at least one draw.")
    x = np.linspace(0, 12, 12_001)
    # E[max] = integral over x > 0 of 1 - F^n, minus that over x < 0 of F^n.
    return float(np.trapezoid(-np.expm1(n * log_ndtr(x)) - np.exp(n * log_ndtr(-x)), x))


def rating_sd(battles: ArrayLike) -> Float:
    """Sampling error (Elo points) of a rating from n battles at about even strength.

    (400 / ln 10) 2 / sqrt(n).

    Examples
    --------
    >>> rating_sd([100, 10_000]).round(2).tolist()
    [34.74, 3.47]
    """
    return ELO * 2 / np.sqrt(np.asarray(battles, dtype=float))


def best_of_n_bias(battles: float, variants: float, variety: float = 0.0) -> float:
    """By how many Elo points the best of N privately tested variants is expected to be overrated.

    Parameters
    ----------
    battles
        of each variant
    variants
        N
    variety
        true sd between the variants, Elo points; 0: identical. Of the expected gain c_N sqrt(s^2 +
        v^2) only the share v^2 / (v^2 + s^2) is real

    Examples
    --------
    >>> round(best_of_n_bias(3000, 10), 1)
    9.8
    """
    s2, v2 = float(rating_sd(battles)) ** 2, variety**2
    return expected_max_normal(variants) * float(np.sqrt(s2 + v2)) * s2 / (s2 + v2)


def deflate(rating: float, variants: float, sd: float) -> float:
    """A rating less what choosing the best of N variants adds on average: rating - sd c_N.

    Examples
    --------
    >>> round(deflate(1500.0, 2, 10.0), 2)    # the better of two is up by 0.56 sd
    1494.36
    """
    return rating - sd * expected_max_normal(variants)


def variants_to_explain(gain: float, sd: float, most: int = 1_000_000) -> float:
    """The smallest N whose best-of-N expectation sd c_N reaches ``gain``; infinite beyond ``most``.

    Examples
    --------
    >>> variants_to_explain(15.39, 10.0)
    11.0
    """
    if gain <= 0:
        return 1.0
    if sd <= 0 or expected_max_normal(most) * sd < gain:
        return float("inf")
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if expected_max_normal(middle) * sd >= gain:
            high = middle
        else:
            low = middle + 1
    return float(low)


def gini(shares: ArrayLike) -> float:
    """Gini coefficient of non-negative amounts: 0 when equal, (n - 1) / n when one has all.

    Examples
    --------
    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    x = np.sort(np.asarray(shares, dtype=float))
    n, total = len(x), x.sum()
    if total <= 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * total))


def hhi(shares: ArrayLike) -> float:
    """Herfindahl-Hirschman index: the sum of squared shares.

    Examples
    --------
    >>> hhi([1, 1])
    0.5
    """
    x = np.asarray(shares, dtype=float)
    return float(((x / x.sum()) ** 2).sum())


@dataclass(frozen=True, eq=False)
class PrivateTesting:
    """Simulated best-of-N submissions.

    ``excess``: published rating minus true rating, Elo points, one a trial.
    """

    excess: Float
    sd: float

    @property
    def mean(self) -> float:
        return float(self.excess.mean())


def simulate_private_testing(
    pool: ArrayLike,
    theta: float,
    battles: int,
    variants: int,
    *,
    trials: int = 2000,
    variety: float = 0.0,
    seed: Seed = 0,
) -> PrivateTesting:
    """A provider tests N variants against a rated pool and publishes the best.

    Parameters
    ----------
    pool
        (policies,) log-odds ratings of the pool, taken as known
    theta
        true log-odds rating of the variants (their mean)
    battles
        of each variant, against opponents drawn from the pool
    variants, trials
        how many are tested, how often it is simulated
    variety
        true sd between the variants, Elo points

    Returns
    -------
    PrivateTesting
        ``excess``: the published estimate minus the true rating of the published variant
    """
    rng, strength = generator(seed), np.asarray(pool, dtype=float)
    true = theta + rng.normal(0, variety / ELO, size=(trials, variants))
    even = np.full(len(strength), 1 / len(strength))
    opponents = rng.multinomial(battles, even, size=(trials, variants))
    wins = rng.binomial(opponents, expit(true[..., None] - strength)).sum(axis=-1)
    # The estimate solves sum of n_j sigma(t - pool_j) = wins (half a win kept from both ends, so
    # that it is finite).
    wins = np.clip(wins, 0.5, battles - 0.5)
    estimate = true.copy()
    for _ in range(50):
        p = expit(estimate[..., None] - strength)
        step = (wins - (opponents * p).sum(axis=-1)) / (opponents * p * (1 - p)).sum(axis=-1)
        estimate += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    trial, best = np.arange(trials), np.argmax(estimate, axis=1)
    excess = (estimate[trial, best] - true[trial, best]) * ELO
    return PrivateTesting(excess, float((estimate - true).std() * ELO))


def simulate_battles(
    theta: ArrayLike, i: ArrayLike, j: ArrayLike, *, seed: Seed = 0
) -> Comparisons:
    """Battles i against j with winners drawn by Bradley-Terry.

    ``theta`` is (policies,) or (battles, policies), in log-odds.
    """
    rng, strength = generator(seed), np.asarray(theta, dtype=float)
    first, second = np.asarray(i, dtype=np.int32), np.asarray(j, dtype=np.int32)
    if strength.ndim == 1:
        gap = strength[first] - strength[second]
    else:
        battle = np.arange(len(first))
        gap = strength[battle, first] - strength[battle, second]
    won = (rng.random(len(first)) < expit(gap)).astype(float)
    return Comparisons(_names(strength.shape[-1]), first, second, won)


def _names(policies: int) -> tuple[str, ...]:
    return tuple(f"policy {number:02d}" for number in range(1, policies + 1))


@dataclass(frozen=True)
class SamplingAsymmetry:
    """What unequal sampling did to a board.

    Attributes
    ----------
    tau
        Kendall's tau of the board with the truth
    share
        of all appearances that the favoured policies had
    error_favoured, error_others
        root mean squared error of the ratings, Elo points
    """

    tau: float
    share: float
    error_favoured: float
    error_others: float


def simulate_sampling_asymmetry(
    ratio: float,
    *,
    policies: int = 20,
    favoured: int = 4,
    battles: int = 3000,
    spread: float = 100.0,
    seed: Seed = 0,
) -> SamplingAsymmetry:
    """A board on which some policies are drawn more often than the others.

    Parameters
    ----------
    ratio
        how many times as often each favoured policy is drawn
    policies, favoured
        how many there are, and how many (random ones) are favoured
    battles
        in all
    spread
        sd of the true ratings, Elo points

    Examples
    --------
    >>> simulate_sampling_asymmetry(1.0).share > 0.1, simulate_sampling_asymmetry(16.0).share > 0.6
    (True, True)
    """
    rng = generator(seed)
    theta = rng.normal(0, spread / ELO, size=policies)
    liked = np.zeros(policies, bool)
    liked[rng.choice(policies, size=favoured, replace=False)] = True
    weight = np.where(liked, ratio, 1.0)
    i, j = np.triu_indices(policies, 1)
    pull = weight[i] * weight[j]
    drawn = rng.choice(len(i), size=battles, p=pull / pull.sum())
    first, second = i[drawn], j[drawn]
    data = simulate_battles(theta, first, second, seed=rng)
    board = bradley_terry(data, scale="natural", interval="none")
    rating = ratings_of(board, _names(policies))
    squared = (((rating - rating.mean()) - (theta - theta.mean())) * ELO) ** 2
    return SamplingAsymmetry(
        tau=kendall_tau(theta, rating),
        share=float((liked[first].mean() + liked[second].mean()) / 2),
        error_favoured=float(np.sqrt(squared[liked].mean())),
        error_others=float(np.sqrt(squared[~liked].mean())),
    )


def simulate_drift_with_removal(
    removed: int,
    *,
    policies: int = 10,
    battles: int = 20_000,
    mix: tuple[float, float] = (0.9, 0.1),
    seed: Seed = 0,
) -> float:
    """Kendall's tau with the mix-averaged truth when some policies are removed.

    The prompt mix turns over in between. Policies have independent skills on two kinds of task; the
    share of the first kind is ``mix[0]`` in the first half and ``mix[1]`` in the second;
    ``removed`` random policies play in the first half only.
    """
    rng = generator(seed)
    skill = rng.normal(size=(2, policies))
    stays = np.ones(policies, bool)
    stays[rng.choice(policies, size=removed, replace=False)] = False
    half = battles // 2
    first, second, strength = [], [], []
    for share, who in zip(mix, (np.arange(policies), np.flatnonzero(stays)), strict=True):
        i = rng.integers(len(who), size=half)
        j = (i + rng.integers(1, len(who), size=half)) % len(who)
        kind = (rng.random(half) >= share).astype(int)
        first.append(who[i])
        second.append(who[j])
        strength.append(skill[kind])
    data = simulate_battles(
        np.concatenate(strength), np.concatenate(first), np.concatenate(second), seed=rng
    )
    board = bradley_terry(data, scale="natural", interval="none")
    return kendall_tau(skill.mean(axis=0), ratings_of(board, _names(policies)))
