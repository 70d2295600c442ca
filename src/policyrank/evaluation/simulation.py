"""Rank policies for the real system before they run there.

By what they score in simulation, and how far real observations lie from what they were trained on.
Leibovich et al. (2021), "Validate on Sim, Detect on Real", arXiv 2111.00765. The paper's body could
not be read: how the two are combined is a reconstruction, with its reason below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


class OodScore(Protocol):
    """How far out observations are: (n,), larger is further.

    From what a policy computed for those it was trained on (reference, d) and for these (n, d).
    """

    def __call__(self, reference: Float, observed: Float, /) -> Float: ...


def knn(reference: Float, observed: Float, k: int = 5) -> Float:
    """Distance to the k-th nearest reference.

    Examples
    --------
    >>> knn(np.array([[0.0], [1.0], [2.0]]), np.array([[1.5], [9.0]]), k=2).tolist()
    [0.5, 8.0]
    """
    if len(reference) < k:
        raise EvidenceError(f"{len(reference)} references: the {k}-th nearest does not exist.")
    out = []
    for squares in _squares(reference, observed):
        kth = np.partition(squares, k - 1, axis=1)[:, k - 1]
        out.append(np.sqrt(np.maximum(kth, 0)))
    return np.concatenate(out)


def mahalanobis(reference: Float, observed: Float, shrink: float = 1e-2) -> Float:
    """Squared distance from the references' mean in units of their covariance.

    That is shrunk towards its mean variance: dead features make it singular.

    Examples
    --------
    >>> reference = np.random.default_rng(0).normal(0, [1, 10], (1000, 2))
    >>> mahalanobis(reference, np.array([[3.0, 0.0], [0.0, 3.0]]), shrink=0).round(1).tolist()
    [8.8, 0.1]
    """
    centre = reference.mean(axis=0)
    cov = np.cov(reference, rowvar=False).reshape(reference.shape[1], -1)
    variance = max(float(np.trace(cov)) / len(cov), 1e-12)
    cov = (1 - shrink) * cov + shrink * variance * np.eye(len(cov))
    off = observed - centre
    return np.asarray((off * cho_solve(cho_factor(cov), off.T).T).sum(axis=1))


def likelihood(reference: Float, observed: Float, bandwidth: float | None = None) -> Float:
    """Minus the log-density of a Gaussian kernel estimate on the references.

    Its width is by Scott's rule on standardised features.
    """
    sd = reference.std(axis=0)
    scale = np.where(sd > 1e-12, sd, 1.0)
    known = reference / scale
    width = bandwidth or len(known) ** (-1 / (known.shape[1] + 4))
    out = []
    for squares in _squares(known, observed / scale):
        out.append(-logsumexp(-squares / (2 * width**2), axis=1))
    return np.concatenate(out)


def _squares(reference: Float, observed: Float) -> Iterator[Float]:
    """Squared distances (part, references) of a part of the observations at a time."""
    norm = (reference**2).sum(axis=1)
    parts = max(1, len(observed) * len(reference) // 4_000_000)
    for part in np.array_split(observed, parts):
        yield (part**2).sum(axis=1)[:, None] + norm - 2 * part @ reference.T


def max_softmax(reference: Float, observed: Float) -> Float:
    """Minus the largest probability; ``observed`` are logits.

    Examples
    --------
    >>> logits = np.array([[9.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> max_softmax(logits, logits).round(3).tolist()
    [-1.0, -0.333]
    """
    return -np.exp(observed.max(axis=1) - logsumexp(observed, axis=1))


def entropy(reference: Float, observed: Float) -> Float:
    """Entropy of the softmax of logits, nats.

    Examples
    --------
    >>> logits = np.array([[9.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> entropy(logits, logits).round(3).tolist()
    [0.002, 1.099]
    """
    log_p = observed - logsumexp(observed, axis=1, keepdims=True)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=1))


def energy(reference: Float, observed: Float) -> Float:
    """-log sum exp of logits.

    Examples
    --------
    >>> logits = np.array([[9.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> energy(logits, logits).round(3).tolist()
    [-9.0, -2.099]
    """
    return -np.asarray(logsumexp(observed, axis=1))


def disagreement(reference: Float, observed: Float) -> Float:
    """Variance over the members of an ensemble (or dropout samples).

    ``observed`` has one column a member.

    Examples
    --------
    >>> members = np.array([[0.2, 0.2, 0.2], [0.0, 0.5, 1.0]])
    >>> disagreement(members, members).round(3).tolist()
    [0.0, 0.167]
    """
    return np.asarray(observed.var(axis=1))


OOD_SCORES: dict[str, OodScore] = {
    "knn": knn,
    "mahalanobis": mahalanobis,
    "likelihood": likelihood,
    "max-softmax": max_softmax,
    "entropy": entropy,
    "energy": energy,
    "ensemble": disagreement,
}


def p_values(reference: ArrayLike, scores: ArrayLike) -> Float:
    """Share of the reference scores at least as extreme, in [0, 1].

    It makes scores of different networks comparable.

    Examples
    --------
    >>> p_values([1, 2, 3, 4], [2.5, 5, 0]).tolist()
    [0.5, 0.0, 1.0]
    """
    known = np.sort(np.asarray(reference, dtype=float))
    if not len(known):
        raise EvidenceError(
            "no reference scores: keep some of the policy's simulated observations apart."
        )
    below = np.searchsorted(known, np.asarray(scores, dtype=float), side="left")
    return 1 - below / len(known)


def in_distribution(
    trained: ArrayLike, held_out: ArrayLike, real: ArrayLike, score: str | OodScore = "knn"
) -> Float:
    """p-value of each real observation, (real,).

    How ordinary it is among simulated ones of the same policy.

    Parameters
    ----------
    trained, held_out, real
        what the policy's network computes (features, or logits for the scores that read those),
        rows are observations: simulated ones that the score is fitted on, other simulated ones that
        calibrate it, real ones

    Raises
    ------
    EvidenceError
        For shapes that do not fit, values that are not finite, or an unknown score.

    Examples
    --------
    >>> trained, held_out = [[0.0], [1.0], [2.0]], [[0.5], [1.5], [2.4], [3.0]]
    >>> in_distribution(trained, held_out, [[1.2], [50.0]], lambda *rows: knn(*rows, k=1)).tolist()
    [1.0, 0.0]
    """
    fitted = np.atleast_2d(np.asarray(trained, dtype=float))
    apart = np.atleast_2d(np.asarray(held_out, dtype=float))
    seen = np.atleast_2d(np.asarray(real, dtype=float))
    if not fitted.shape[1] == apart.shape[1] == seen.shape[1]:
        raise EvidenceError(
            f"observations of {fitted.shape[1]}, {apart.shape[1]} and {seen.shape[1]} columns: they"
            " must be alike."
        )
    for name, rows in (("trained", fitted), ("held_out", apart), ("real", seen)):
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise EvidenceError(
                f"{name}: row {int(np.argmin(finite)) + 1} has a value that is not finite."
            )
    if isinstance(score, str):
        if score not in OOD_SCORES:
            raise EvidenceError(f"score={score!r}: use {', '.join(OOD_SCORES)}, or a function.")
        score = OOD_SCORES[score]
    return p_values(score(fitted, apart), score(fitted, seen))


def _z(x: Float) -> Float:
    sd = x.std(axis=-1, keepdims=True)
    return np.where(sd > 1e-12, (x - x.mean(axis=-1, keepdims=True)) / np.maximum(sd, 1e-12), 0.0)


def _ranks(x: Float) -> Float:
    above = x[..., :, None] > x[..., None, :]
    level = x[..., :, None] == x[..., None, :]
    return above.sum(axis=-1) + 0.5 * level.sum(axis=-1) - 0.5


COMBINERS: dict[str, Callable[[Float, Float], Float]] = {
    "product": lambda s, q: s * q,
    "z-sum": lambda s, q: _z(s) + _z(q),
    "rank-sum": lambda s, q: _ranks(s) + _ranks(q),
    "logs": lambda s, q: np.log(np.maximum(s, 1e-6)) + 0.5 * np.log(np.maximum(q, 1e-6)),
}
"""(simulated scores, in-distribution rates), (..., policies) each -> (..., policies). The product
is the expected score of a policy that fails wherever it has never been.
"""


def sim_to_real(
    simulated: Mapping[str, ArrayLike],
    real: Mapping[str, ArrayLike],
    *,
    combine: str = "product",
    resamples: int = 1000,
    level: float = 0.95,
    seed: Seed = 0,
) -> Leaderboard:
    """Rank policies by simulated scores and how ordinary real observations look to them.

    Parameters
    ----------
    simulated
        policy -> score of each simulated episode, in [0, 1] for the product
    real
        policy -> ``in_distribution`` of the same real observations in the same order; all empty:
        simulation alone decides
    combine
        a name in ``COMBINERS``
    resamples, level, seed
        episodes are resampled within policies, real observations for all policies at once

    Raises
    ------
    EvidenceError
        When policies or numbers of observations differ, there are fewer than two policies, or a
        rate is not in [0, 1].

    Examples
    --------
    >>> simulated = {"bold": [0.9, 0.8, 0.9, 1.0], "careful": [0.7, 0.6, 0.8, 0.7]}
    >>> ordinary = {"bold": [0.0, 0.1, 0.0, 0.2], "careful": [0.5, 0.9, 0.6, 0.4]}
    >>> board = sim_to_real(simulated, ordinary)
    >>> board.policies, board.rating.round(3).tolist()
    (('careful', 'bold'), [0.42, 0.068])
    """
    names = list(simulated)
    if len(names) < 2:
        raise EvidenceError("ranking takes at least two policies.")
    if set(real) != set(names):
        raise EvidenceError(
            f"{sorted(set(names) ^ set(real))[0]} has only one of simulated scores and real"
            " observations."
        )
    if combine not in COMBINERS:
        raise EvidenceError(f"combine={combine!r}: use {', '.join(COMBINERS)}.")
    scores = [_episodes(name, simulated[name], combine) for name in names]
    ordinary = [_rates(name, real[name]) for name in names]
    if len(set(map(len, ordinary))) > 1:
        raise EvidenceError(
            "the policies saw different numbers of real observations; they are to see the same"
            " ones."
        )
    p = np.ones((len(names), 1))
    if len(ordinary[0]):
        p = np.stack(ordinary)
    rule, rng = COMBINERS[combine], generator(seed)
    number = np.array(list(map(len, scores)))
    means, resampled = [], []
    for episodes in scores:
        means.append(episodes.mean())
        rows = rng.integers(len(episodes), size=(resamples, len(episodes)))
        resampled.append(episodes[rows].mean(axis=1))
    rating = rule(np.array(means), p.mean(axis=1))
    drawn = rng.integers(p.shape[1], size=(resamples, p.shape[1]))
    rates = p[:, drawn].mean(axis=2).T
    draws = rule(np.stack(resampled, axis=1), rates) - rating
    fewest = float(min(p.shape[1], number.min())) if p.shape[1] > 1 else float(number.min())
    return make_leaderboard(
        names,
        rating,
        method="sim-to-real",
        n=number,
        draws=draws * np.sqrt(fewest / max(fewest - 1, 1)),
        df=max(fewest - 1, 1.0),
        level=level,
        seed=seed,
        unit=f"{combine} of simulated score and in-distribution rate",
        settings={"combine": combine},
        source=f"{p.shape[1]} real observations",
    )


def _episodes(name: str, given: ArrayLike, combine: str) -> Float:
    """Simulated scores of a policy, checked."""
    episodes = np.asarray(given, dtype=float).ravel()
    below = combine in ("product", "logs") and (episodes < 0).any()
    if not len(episodes) or not np.isfinite(episodes).all() or below:
        raise EvidenceError(
            f"{name}: simulated scores are empty, not finite, or below 0, where the {combine}"
            " means nothing."
        )
    return episodes


def _rates(name: str, given: ArrayLike) -> Float:
    """In-distribution rates of a policy, checked."""
    rates = np.asarray(given, dtype=float).ravel()
    inside = (rates >= 0) & (rates <= 1)
    if not inside.all():
        row = int(np.argmin(inside))
        raise EvidenceError(
            f"{name}: real observation {row + 1} has a rate of {rates[row]:g}; rates of"
            " in_distribution lie between 0 and 1."
        )
    return rates


def agreement(
    truth: Mapping[str, float], board: Leaderboard | Mapping[str, float]
) -> dict[str, float]:
    """How well an order foretold the real one.

    Spearman, Kendall, MMRV (mean maximum rank violation) and regret@1.

    Examples
    --------
    >>> found = agreement({"x": 0.9, "y": 0.5, "z": 0.1}, {"x": 2.0, "y": 3.0, "z": 1.0})
    >>> {name: round(value, 2) for name, value in found.items()}
    {'spearman': 0.5, 'kendall': 0.33, 'MMRV': 0.27, 'regret@1': 0.4}
    """
    from policyrank.metrics import kendall_tau, mmrv, regret_at_1, spearman

    if isinstance(board, Leaderboard):
        board = dict(zip(board.policies, board.rating.tolist(), strict=True))
    real = np.array(list(truth.values()))
    guess = np.array([board[name] for name in truth])
    return {
        "spearman": spearman(real, guess),
        "kendall": kendall_tau(real, guess),
        "MMRV": mmrv(real, guess),
        "regret@1": regret_at_1(real, guess),
    }
