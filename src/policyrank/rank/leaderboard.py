"""The one result of ranking: a leaderboard, with its uncertainty and what a reader should know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.evidence import EvidenceError
from policyrank.rank.intervals import (
    Seed,
    error_draws,
    generator,
    quantile,
    rank_confidence_sets,
    rank_probabilities,
)

Severity = Literal["info", "warning"]


@dataclass(frozen=True)
class Note:
    """Something that a careful statistician would add: its kind, in one or two sentences, and whom
    it concerns.
    """

    kind: str
    text: str
    severity: Severity = "info"
    policies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False, repr=False)
class Leaderboard:
    """Policies in order, best first; all arrays follow that order.

    Attributes
    ----------
    policies
        tuple of str
    rating, lower, upper
        float (n,), the rating and its marginal interval in the board's own centring (NaN: none)
    rank
        int (n,), 1 is best, ties share the better rank
    rank_lower, rank_upper
        int (n,) or None, best and worst rank in the confidence set
    n
        int (n,), evaluations seen of each policy
    method
        str, and ``settings``, the options it ran with
    level
        coverage of the intervals
    unit
        what the rating counts
    source
        what it was computed from
    covariance
        (n, n) or None, of the ratings
    better
        bool (n, n) or None: row is better than column, all such statements together at ``level``
    rank_probability
        (n, n) or None: how often each policy (row) takes each rank in draws of the ratings' errors
    notes
        what a careful reader should know
    extras
        further results of the method (tie parameter, coefficients, ratings by task, ...)
    """

    policies: tuple[str, ...]
    rating: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    rank: NDArray[np.int64]
    n: NDArray[np.int64]
    method: str
    rank_lower: NDArray[np.int64] | None = None
    rank_upper: NDArray[np.int64] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.95
    unit: str = "rating"
    source: str = ""
    covariance: NDArray[np.float64] | None = None
    better: NDArray[np.bool_] | None = None
    rank_probability: NDArray[np.float64] | None = None
    notes: tuple[Note, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.policies)

    def __repr__(self) -> str:
        return f"Leaderboard({self.method}: {len(self)} policies, best {self.policies[0]!r})"

    def __str__(self) -> str:
        from policyrank.report import terminal

        return terminal.text(self)

    @property
    def frame(self) -> pl.DataFrame:
        """policy, rating, lower, upper, rank, rank_lower, rank_upper, n: best first; null where
        there is no interval.
        """
        none = [None] * len(self)
        return pl.DataFrame(
            {
                "policy": list(self.policies),
                "rating": self.rating,
                "lower": self.lower,
                "upper": self.upper,
                "rank": self.rank,
                "rank_lower": none if self.rank_lower is None else self.rank_lower,
                "rank_upper": none if self.rank_upper is None else self.rank_upper,
                "n": self.n,
            },
            schema_overrides={"rank_lower": pl.Int64, "rank_upper": pl.Int64},
        ).with_columns(pl.col("lower", "upper").fill_nan(None))

    @property
    def may_be_best(self) -> tuple[str, ...]:
        """The policies that may be the best one: those whose rank set holds rank 1 (the top rank
        without intervals).
        """
        first = self.rank if self.rank_lower is None else self.rank_lower
        return tuple(p for p, r in zip(self.policies, first, strict=True) if r == 1)

    @property
    def separable(self) -> NDArray[np.bool_] | None:
        """Whether each policy is significantly better than the next one down: (n - 1,)."""
        return None if self.better is None else self.better.diagonal(1)

    @property
    def tiers(self) -> NDArray[np.int64] | None:
        """Groups from the top: a tier ends before the first policy that is significantly worse than
        the tier's first.
        """
        if self.better is None:
            return None
        tier, head = np.ones(len(self), dtype=np.int64), 0
        for i in range(1, len(self)):
            if self.better[head, i]:
                head = i
            tier[i] = tier[i - 1] + (head == i)
        return tier

    @property
    def probability_best(self) -> NDArray[np.float64] | None:
        """How often each policy comes first in draws of the ratings' errors: (n,)."""
        return None if self.rank_probability is None else self.rank_probability[:, 0]

    def position(self, policy: str) -> int:
        """Where a policy stands in the arrays."""
        if policy not in self.policies:
            raise KeyError(f"no policy is called {policy!r} on this board")
        return self.policies.index(policy)

    def with_notes(self, *notes: Note, first: bool = False) -> Leaderboard:
        """The same board with more notes."""
        return replace(self, notes=(*notes, *self.notes) if first else (*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """Everything that a program may want, as plain lists and numbers."""
        return {
            "method": self.method,
            "settings": {
                k: v if isinstance(v, (int, float, str, bool, type(None))) else str(v)
                for k, v in self.settings.items()
            },
            "level": self.level,
            "unit": self.unit,
            "source": self.source,
            "policies": self.frame.to_dicts(),
            "may_be_best": list(self.may_be_best),
            "tiers": None if self.tiers is None else self.tiers.tolist(),
            "separable_from_next": None if self.separable is None else self.separable.tolist(),
            "probability_best": (
                None if self.probability_best is None else self.probability_best.tolist()
            ),
            "notes": [
                {
                    "kind": n.kind,
                    "text": n.text,
                    "severity": n.severity,
                    "policies": list(n.policies),
                }
                for n in self.notes
            ],
            "extras": {
                k: v.tolist() if isinstance(v, np.ndarray) else v
                for k, v in self.extras.items()
                if isinstance(v, (int, float, str, list, dict))
                or (isinstance(v, np.ndarray) and v.size <= 10_000)
            },
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The board as JSON text; written to ``path`` when given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=float)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_markdown(self) -> str:
        """The table in Markdown."""
        from policyrank.report import terminal

        return terminal.markdown(self)

    def to_html(self, path: str | Path | None = None, **options: Any) -> str:
        """One self-contained page; written to ``path`` when given."""
        from policyrank.report import page

        return page.html(self, path, **options)

    def plot(self, path: str | Path | None = None, **options: Any) -> Any:
        """Ratings with intervals as a matplotlib figure; written to ``path`` (.png, .svg, .pdf)
        when given.
        """
        from policyrank.report import plots

        return plots.ratings(self, path, **options)


def competition_rank(rating: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of each entry, 1 is highest, ties share the better rank (ties: equal up to rounding)."""
    scale = max(float(np.max(np.abs(rating), initial=0.0)), 1e-300)
    rounded = np.round(rating / scale, 11)
    return 1 + np.searchsorted(np.sort(-rounded), -rounded, side="left")


def leaderboard(
    policies: Sequence[str],
    rating: NDArray[np.float64],
    *,
    method: str,
    n: NDArray[np.int64],
    covariance: NDArray[np.float64] | None = None,
    draws: NDArray[np.float64] | None = None,
    df: float | None = None,
    units: float | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    seed: Seed = 0,
    notes: Sequence[Note] = (),
    **rest: Any,
) -> Leaderboard:
    """Order the policies and derive every interval from a covariance or from draws of the ratings'
    errors.

    Parameters
    ----------
    policies, rating, n
        in any one order
    covariance
        (policies, policies) of the ratings; ``df``: its degrees of freedom
    draws
        (size, policies), bootstrap replicates minus the rating; without a covariance the marginal
        intervals are their percentiles, with one they are normal and the draws serve the rank sets
    units
        how many independent units the estimates rest on, see ``rank_confidence_sets``
    level, simultaneous, seed
        of the intervals and rank sets
    """
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if draws is not None and len(draws) < 20:
        raise EvidenceError(
            f"{len(draws)} resamples say nothing about intervals: take at least 20, better several"
            " hundred."
        )
    rating = np.asarray(rating, dtype=float)
    rank = competition_rank(rating)
    order = np.lexsort((np.asarray(policies), rank))
    x = rating[order]
    lower = upper = np.full(len(x), np.nan)
    sets = probability = None
    notes = list(notes)
    z = None if draws is None else np.asarray(draws, dtype=float)[:, order]
    cov = None if covariance is None else covariance[np.ix_(order, order)]
    if z is not None and cov is None:
        cov = np.cov(z, rowvar=False).reshape(len(x), len(x))
        lower, upper = x + np.quantile(z, [(1 - level) / 2, (1 + level) / 2], axis=0)
    elif cov is not None:
        half = quantile((1 + level) / 2, df) * np.sqrt(np.clip(cov.diagonal(), 0, None))
        lower, upper = x - half, x + half
    if cov is not None:
        few = len(x) <= 1000
        if z is None:
            z = error_draws(cov, 1000 if few else 500, df=df, seed=generator(seed))
        # Beyond a thousand policies step-down would cost minutes and sharpen next to nothing.
        sets = rank_confidence_sets(
            x,
            cov,
            draws=z,
            level=level,
            simultaneous=simultaneous,
            stepdown=few,
            units=units if df is None else df + 1,
        )
        probability = rank_probabilities(x, z)
        notes += separability(
            tuple(np.asarray(policies, dtype=object)[order]), sets.lower, sets.better, level
        )
    return Leaderboard(
        policies=tuple(policies[i] for i in order),
        rating=x,
        lower=lower,
        upper=upper,
        rank=rank[order],
        rank_lower=None if sets is None else sets.lower,
        rank_upper=None if sets is None else sets.upper,
        n=np.asarray(n, dtype=np.int64)[order],
        method=method,
        level=level,
        covariance=cov,
        better=None if sets is None else sets.better,
        rank_probability=probability,
        notes=tuple(notes),
        **rest,
    )


def separability(
    policies: tuple[str, ...],
    rank_lower: NDArray[np.int64],
    better: NDArray[np.bool_],
    level: float,
) -> list[Note]:
    """What the data say about the top and about neighbours."""
    n = len(policies)
    top = tuple(p for p, r in zip(policies, rank_lower, strict=True) if r == 1)
    separate = int(better.diagonal(1).sum())
    share = f"{separate} of {n - 1} neighbours on the board can be told apart"
    if len(top) == 1:
        return [
            Note(
                "separable",
                f"{top[0]} is the best at the {level:.0%} level; {share}.",
                policies=top,
            )
        ]
    shown = ", ".join(top[:6]) + (f" and {len(top) - 6} more" if len(top) > 6 else "")
    return [
        Note(
            "not separable",
            f"{len(top)} policies may be the best ({shown}); {share}.",
            "warning",
            top,
        )
    ]
