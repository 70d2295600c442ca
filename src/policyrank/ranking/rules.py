"""From a rule on preference matrices to a leaderboard: resampling of ballots and comparisons,
shared by all voting rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.intervals import Seed, few_units, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.rankings import placed_above
from policyrank.ranking.conventions import RESAMPLED, check_interval, need
from policyrank.ranking.diagnostics import input_notes

Float = NDArray[np.float64]
Preferences = Comparisons | Rankings
Rule = Callable[[Float], Float]


def voters(evidence: Preferences) -> float:
    """How many independent votes there are: comparisons, or the voters of ballots.

    Examples
    --------
    >>> voters(Rankings.of([["x", "y"], ["y", "x"]], weight=[3, 1]))
    4.0
    """
    if isinstance(evidence, Comparisons):
        return float(evidence.total)
    return evidence.voters


def resampled_weights(counts: Float, resamples: int, rng: np.random.Generator) -> Float:
    """Bootstrap weights (resamples, rows). Whole numbers count voters, who are drawn; other weights
    stay with their row.
    """
    if (counts == np.round(counts)).all() and counts.sum() >= 2:
        return rng.multinomial(int(counts.sum()), counts / counts.sum(), size=resamples).astype(
            float
        )
    rows = len(counts)
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples) * counts


def resampled_preferences(evidence: Preferences, resamples: int, seed: Seed) -> Iterator[Float]:
    """Preference matrices of bootstrap resamples, in batches (batch, n, n)."""
    rng, k = generator(seed), len(evidence.policies)
    if isinstance(evidence, Comparisons):
        c = evidence.counted()
        y, rows = np.asarray(c.outcome, dtype=float), np.arange(len(c.a))
        counts = np.ones(len(c.a)) if c.count is None else c.count.astype(float)
        weight = np.ones(len(c.a)) if c.weight is None else c.weight
        cell = np.r_[c.a.astype(np.int64) * k + c.b, c.b.astype(np.int64) * k + c.a]
        table = sparse.csr_matrix(
            (np.r_[weight * y, weight * (1 - y)], (np.tile(rows, 2), cell)),
            shape=(len(rows), k * k),
        )
    else:
        counts = evidence.weight
        if float((evidence.lengths.astype(float) ** 2).sum()) > 2e7:
            for _ in range(resamples):
                yield evidence.preferences(resampled_weights(counts, 1, rng)[0])[None]
            return
        parts = []
        for part, policy, position in evidence.blocks():
            above = placed_above(position)
            above[:, np.arange(policy.shape[1]), np.arange(policy.shape[1])] = 0
            cells = policy[:, :, None].astype(np.int64) * k + policy[:, None, :]
            parts.append((above.ravel(), np.repeat(part, policy.shape[1] ** 2), cells.ravel()))
        value, row, cell = (np.concatenate(p) for p in zip(*parts, strict=True))
        table = sparse.csr_matrix((value, (row, cell)), shape=(len(counts), k * k))
    table = table.T.tocsr()
    size = max(1, min(resamples, 4_000_000 // max(k * k, table.shape[1])))
    for start in range(0, resamples, size):
        w = resampled_weights(counts, min(size, resamples - start), rng)
        yield (table @ w.T).T.reshape(-1, k, k)


class IntervalOptions(BoardOptions, total=False):
    """Options of a rule's board.

    Attributes
    ----------
    interval
        ``"bootstrap"`` or ``"none"``
    """

    interval: str


class RuleOptions(IntervalOptions, total=False):
    """Options of a rule's board that is resampled.

    Attributes
    ----------
    resamples
        of the bootstrap
    """

    resamples: int


def rule_board(
    evidence: Preferences,
    rule: Rule,
    *,
    method: str,
    unit: str,
    interval: str = "bootstrap",
    resamples: int = 500,
    seed: Seed = 0,
    settings: dict[str, Any] | None = None,
    notes: tuple[Note, ...] = (),
    batched: bool = True,
    resample_rule: Rule | None = None,
    extras: dict[str, Any] | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
) -> Leaderboard:
    """The board of a rule that maps preference matrices (..., n, n) to ratings (..., n).

    Intervals are a bootstrap's. ``resample_rule`` is what the resamples are ranked by where the
    rule itself would take too long.
    """
    need(evidence, (Comparisons, Rankings), method)
    check_interval(interval, RESAMPLED, method)
    wins = evidence.preferences()
    rating = rule(wins)
    draws = None
    units = voters(evidence)
    if interval == "bootstrap" and units < 2:
        interval = "none"
        text = "A single ballot or comparison shows no variation: there are no intervals."
        notes = (*notes, Note("no intervals", text, "warning"))
    if interval == "bootstrap":
        again = resample_rule or rule
        rows = []
        for batch in resampled_preferences(evidence, resamples, seed):
            rows.append(again(batch) if batched else np.array([again(one) for one in batch]))
        draws = (np.concatenate(rows) - rating) * few_units(units)
    unmet = int(((wins + wins.T == 0).sum() - len(wins)) / 2)
    extra = [*input_notes(evidence.notes), *notes]
    if unmet:
        pairs = len(wins) * (len(wins) - 1) // 2
        text = f"{unmet:,} of {pairs:,} pairs were never compared; the rule takes them as ties."
        extra.append(Note("unmet pairs", text, "warning"))
    used = {**(settings or {}), "interval": interval}
    if draws is not None:
        used |= {"resamples": resamples, "seed": seed}
    return make_leaderboard(
        evidence.policies,
        rating,
        method=method,
        n=evidence.seen(),
        draws=draws,
        units=units,
        notes=extra,
        unit=unit,
        source=evidence.summary,
        settings=used,
        extras=extras,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
    )
