"""The one result of ranking: a leaderboard, with its uncertainty and what a reader should know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from policyrank.board.comparison import MethodComparison
    from policyrank.evidence import Evidence

Severity = Literal["info", "warning"]


@dataclass(frozen=True)
class Note:
    """Something that a careful statistician would add.

    Its kind, what it says in one or two sentences, and whom it concerns.

    Examples
    --------
    >>> note = Note("separable", "x is the best at the 95% level.", policies=("x",))
    >>> str(note), note.severity
    ('x is the best at the 95% level.', 'info')
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
    best
        bool (n,) or None: policies that may be the best, together with probability ``level``
    rank_probability
        (n, n) or None: how often each policy (row) takes each rank in ``draws`` draws of the
        ratings' errors, with one more draw that says nothing: never quite 0 or 1
    draws
        how many they are, or None
    notes
        what a careful reader should know
    extras
        further results of the method (tie parameter, coefficients, ratings by task, ...)

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> board = make_leaderboard(
    ...     policies=["old", "new"],
    ...     rating=np.array([1.0, 3.0]),
    ...     method="mean",
    ...     n=np.array([9, 9]),
    ...     covariance=np.diag([0.1, 0.1]),
    ...     source="18 scores",
    ... )
    >>> board.policies, board.position("old"), board.may_be_best, board.tiers.tolist()
    (('new', 'old'), 1, ('new',), [1, 2])
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
    best: NDArray[np.bool_] | None = None
    rank_probability: NDArray[np.float64] | None = None
    draws: int | None = None
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
        """Best first; null where there is no interval.

        policy, rating, lower, upper, rank, rank_lower, rank_upper, n.
        """
        columns = {
            "policy": list(self.policies),
            "rating": self.rating,
            "lower": self.lower,
            "upper": self.upper,
            "rank": self.rank,
            "rank_lower": self.rank_lower,
            "rank_upper": self.rank_upper,
            "n": self.n,
        }
        whole = {"rank_lower": pl.Int64, "rank_upper": pl.Int64}
        frame = pl.DataFrame(columns, schema_overrides=whole)
        return frame.with_columns(pl.col("lower", "upper").fill_nan(None))

    @property
    def may_be_best(self) -> tuple[str, ...]:
        """The policies that may be the best one; without intervals those of rank 1.

        They hold the best with probability ``level``. Each was compared with all others on its own,
        which is sharper than the rank sets: those hold for all policies at once.
        """
        first = self.rank == 1
        if self.best is not None:
            first = self.best
        return tuple(self.policies[i] for i in np.flatnonzero(first))

    def may_be_among(self, k: int) -> tuple[str, ...]:
        """The policies whose rank set holds a place among the first ``k``, for every k at once."""
        if k < 1:
            raise ValueError(f"k={k}: ask for at least the first place.")
        first = self.rank
        if self.rank_lower is not None:
            first = self.rank_lower
        return tuple(self.policies[i] for i in np.flatnonzero(first <= k))

    @property
    def separable(self) -> NDArray[np.bool_] | None:
        """Whether each policy is significantly better than the next one down: (n - 1,)."""
        if self.better is None:
            return None
        return self.better.diagonal(1)

    @property
    def tiers(self) -> NDArray[np.int64] | None:
        """Groups from the top.

        A tier ends before the first policy that is significantly worse than the tier's first.
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
        if self.rank_probability is None:
            return None
        return self.rank_probability[:, 0]

    def position(self, policy: str) -> int:
        """Where a policy stands in the arrays."""
        if policy not in self.policies:
            raise KeyError(f"no policy is called {policy!r} on this board")
        return self.policies.index(policy)

    def to_dict(self) -> dict[str, Any]:
        """Everything that a program may want, as plain lists and numbers."""
        return {
            "method": self.method,
            "settings": {name: _plain(value) for name, value in self.settings.items()},
            "level": self.level,
            "unit": self.unit,
            "source": self.source,
            "policies": self.frame.to_dicts(),
            "may_be_best": list(self.may_be_best),
            "tiers": _listed(self.tiers),
            "separable_from_next": _listed(self.separable),
            "probability_best": _listed(self.probability_best),
            "draws": self.draws,
            "notes": [{**asdict(note), "policies": list(note.policies)} for note in self.notes],
            "extras": _plain_extras(self.extras),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The board as JSON text; written to ``path`` when given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=float)
        if path is not None:
            write_text(path, text + "\n")
        return text

    def to_markdown(self) -> str:
        """The table in Markdown."""
        from policyrank.board import terminal

        return terminal.markdown(self)

    def to_html(
        self,
        path: str | Path | None = None,
        *,
        title: str = "Leaderboard",
        evidence: Evidence | None = None,
        compared: MethodComparison | None = None,
        command: str | None = None,
    ) -> str:
        """One self-contained page; written to ``path`` when given.

        Parameters
        ----------
        title
            headline
        evidence
            for the win matrix
        compared
            for the agreement of methods
        command
            the command line that made it
        """
        from policyrank.board import page

        return page.html(
            self, path, title=title, evidence=evidence, compared=compared, command=command
        )

    def plot(
        self, path: str | Path | None = None, *, top: int | None = 40, title: str | None = None
    ) -> Figure:
        """Ratings with intervals as a matplotlib figure.

        Parameters
        ----------
        path
            .png, .svg or .pdf to write
        top
            how many policies to show; None: all
        title
            above the plot; None: the method and the source
        """
        from policyrank.board import plots

        return plots.ratings(self, path, top=top, title=title)


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    return str(value)


def _listed(array: NDArray[Any] | None) -> list[Any] | None:
    if array is None:
        return None
    return array.tolist()


def _plain_extras(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Those that JSON can hold, without large arrays."""
    plain: dict[str, Any] = {}
    for name, value in extras.items():
        if isinstance(value, np.ndarray):
            if value.size <= 10_000:
                plain[name] = value.tolist()
        elif isinstance(value, (int, float, str, list, dict)):
            plain[name] = value
    return plain
