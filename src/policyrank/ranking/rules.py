"""From a rule on preference matrices to a leaderboard: resampling of ballots and comparisons,
shared by all voting rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.base import ones_if_none
from policyrank.evidence.rankings import placed_above
from policyrank.ranking.conventions import check_interval, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, evidence_notes
from policyrank.ranking.majorities import Project, certain, sign_tests

Float = NDArray[np.float64]
Preferences = Comparisons | Rankings
Rule = Callable[[Float], Float]


def voters(evidence: Preferences) -> float:
    """How many independent votes there are: voters or groups of ballots, raters, comparisons.

    Examples
    --------
    >>> voters(Rankings.of([["x", "y"], ["y", "x"]], weight=[3, 1]))
    4.0
    """
    if isinstance(evidence, Rankings):
        if evidence.unit == "group":
            assert evidence.group is not None
            return float(len(np.unique(evidence.group.codes[evidence.weight > 0])))
        return evidence.voters
    if evidence.unit is None:
        return float(evidence.total)
    if evidence.unit == "rater":
        assert evidence.rater is not None
        return float(len(np.unique(evidence.rater.codes)))
    return float(_votes_of_ballots(evidence).sum())


def _votes_of_ballots(evidence: Comparisons) -> Float:
    """By how many voters each ballot of comparisons was cast: (ballots,)."""
    assert evidence.ballot is not None
    votes = np.zeros(len(evidence.ballot.names))
    votes[evidence.ballot.codes] = ones_if_none(evidence.count, len(evidence.a))
    return votes


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
    """Preference matrices of bootstrap resamples, in batches (batch, n, n); units drawn whole."""
    rng, k = generator(seed), len(evidence.policies)
    if isinstance(evidence, Comparisons):
        table, counts = _of_comparisons(evidence)
    elif evidence.unit == "group":
        assert evidence.group is not None
        table = _group_sums(evidence) @ _of_ballots(evidence)
        counts = np.ones(table.shape[0])
    else:
        counts = evidence.weight
        if float((evidence.lengths.astype(float) ** 2).sum()) > 2e7:
            for _ in range(resamples):
                yield evidence.preferences(resampled_weights(counts, 1, rng)[0])[None]
            return
        table = _of_ballots(evidence)
    table = table.T.tocsr()
    size = max(1, min(resamples, 4_000_000 // max(k * k, table.shape[1])))
    for start in range(0, resamples, size):
        w = resampled_weights(counts, min(size, resamples - start), rng)
        yield (table @ w.T).T.reshape(-1, k, k)


def _of_comparisons(evidence: Comparisons) -> tuple[sparse.csr_matrix, Float]:
    """What one of each unit adds to the preferences, (units, n * n), and how many there are."""
    unit, k = evidence.unit, len(evidence.policies)
    c = evidence.counted() if unit is None else evidence
    games = c.games()
    weight = np.ones(len(games.a)) if c.weight is None else c.weight[games.row]
    row, counts = np.arange(len(games.a)), games.times
    if unit is not None:
        row = getattr(c, unit).codes[games.row].astype(np.int64)
        counts = np.bincount(np.unique(row), minlength=int(row.max()) + 1).astype(float)
        if unit == "ballot":
            counts = _votes_of_ballots(c)
        else:
            weight = weight * games.times
    cell = np.r_[games.a * k + games.b, games.b * k + games.a]
    value = np.r_[weight * games.outcome, weight * (1 - games.outcome)]
    shape = (len(counts), k * k)
    return sparse.csr_matrix((value, (np.tile(row, 2), cell)), shape=shape), counts


def _group_sums(evidence: Rankings) -> sparse.csr_matrix:
    """(groups, ballots): the weights of each group's ballots."""
    assert evidence.group is not None
    used = np.flatnonzero(evidence.weight > 0)
    group = np.unique(evidence.group.codes[used], return_inverse=True)[1]
    shape = (int(group.max()) + 1, len(evidence))
    return sparse.csr_matrix((evidence.weight[used], (group, used)), shape=shape)


def _of_ballots(evidence: Rankings) -> sparse.csr_matrix:
    """What one of each ballot adds to the preference matrix: (ballots, n * n)."""
    parts, k = [], len(evidence.policies)
    for part, policy, position in evidence.blocks():
        above = placed_above(position)
        above[:, np.arange(policy.shape[1]), np.arange(policy.shape[1])] = 0
        cells = policy[:, :, None].astype(np.int64) * k + policy[:, None, :]
        parts.append((above.ravel(), np.repeat(part, policy.shape[1] ** 2), cells.ravel()))
    value, row, cell = (np.concatenate(p) for p in zip(*parts, strict=True))
    return sparse.csr_matrix((value, (row, cell)), shape=(len(evidence), k * k))


class IntervalOptions(BoardOptions, total=False):
    """Options of a rule's board.

    Attributes
    ----------
    interval
        ``"auto"``: ``"majorities"`` (what follows from the majorities that are certain) for rules
        that are step functions of them, ``"bootstrap"`` for the others; or ``"none"``
    """

    interval: str


class RuleOptions(IntervalOptions, total=False):
    """Options of a rule's board that is resampled.

    Attributes
    ----------
    resamples
        of the bootstrap that intervals, or shares of ranks, are counted over
    """

    resamples: int


SHARES = Note(
    "resamples",
    "This rule is a step function of the majorities: near ties neither a normal law nor the"
    " bootstrap holds. Intervals and rank sets are what follows from the majorities that are"
    " certain (sign tests, Holm); shares of ranks are shares of resamples, not chances.",
)

FEW_TO_DRAW = 50
"""Units below which drawing them with replacement covers too rarely."""


def rule_board(
    evidence: Preferences,
    rule: Rule,
    *,
    method: str,
    unit: str,
    project: Project | None = None,
    interval: str = "auto",
    resamples: int = 500,
    settings: dict[str, Any] | None = None,
    notes: tuple[Note, ...] = (),
    batched: bool = True,
    resample_rule: Rule | None = None,
    extras: dict[str, Any] | None = None,
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """The board of a rule that maps preference matrices (..., n, n) to ratings (..., n).

    ``project``: what follows from certain majorities, of a rule that is a step function of them;
    None: intervals are a bootstrap's. ``resample_rule`` is what resamples are ranked by where the
    rule itself would take too long.
    """
    need(evidence, (Comparisons, Rankings), method)
    own = "bootstrap" if project is None else "majorities"
    check_interval(interval, ("auto", own, "none"), method)
    wins, units = evidence.preferences(), voters(evidence)
    rating = rule(wins)
    extra = [*evidence_notes(evidence), *notes]
    known: dict[str, Any] = {}
    used = {**(settings or {}), "interval": "none" if interval == "none" else own}
    if interval != "none" and project is not None and units >= 2:
        found = project(certain(sign_tests(evidence), options.get("level", 0.95)))
        known = {"sets": found.sets, "ends": found.ends}
        extra.append(SHARES)
    if interval != "none" and units >= 2:
        again, rows = resample_rule or rule, []
        for batch in resampled_preferences(evidence, resamples, options.get("seed", 0)):
            rows.append(again(batch) if batched else np.array([again(one) for one in batch]))
        known["draws"] = np.concatenate(rows) - rating
        used |= {"resamples": resamples, "seed": options.get("seed", 0)}
    elif interval != "none":
        extra.append(SINGLE_BALLOT)
    if "draws" in known and project is None:
        known["draws"] *= np.sqrt(units / (units - 1))
        known["df"] = units - 1
        if units < FEW_TO_DRAW:
            text = f"Resamples of {units:.0f} units cover too rarely: take the intervals as rough."
            extra.append(Note("few units", text, "warning"))
    extra += _unmet(wins)
    return make_leaderboard(
        evidence.policies,
        rating,
        method=method,
        n=evidence.seen(),
        notes=extra,
        unit=unit,
        source=evidence.summary,
        settings=used,
        extras=extras,
        **known,
        **options,
    )


def _unmet(wins: Float) -> list[Note]:
    """How many pairs the rule takes as ties without having seen them."""
    unmet, pairs = int(((wins + wins.T == 0).sum() - len(wins)) / 2), len(wins) * (len(wins) - 1)
    if not unmet:
        return []
    text = f"{unmet:,} of {pairs // 2:,} pairs were never compared; the rule takes them as ties."
    return [Note("unmet pairs", text, "warning")]
