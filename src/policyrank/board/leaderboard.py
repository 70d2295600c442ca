"""The one result of ranking: a leaderboard, with its uncertainty and what a reader should know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
        from policyrank.board import terminal

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
        from policyrank.board import terminal

        return terminal.markdown(self)

    def to_html(self, path: str | Path | None = None, **options: Any) -> str:
        """One self-contained page; written to ``path`` when given."""
        from policyrank.board import page

        return page.html(self, path, **options)

    def plot(self, path: str | Path | None = None, **options: Any) -> Any:
        """Ratings with intervals as a matplotlib figure; written to ``path`` (.png, .svg, .pdf)
        when given.
        """
        from policyrank.board import plots

        return plots.ratings(self, path, **options)
