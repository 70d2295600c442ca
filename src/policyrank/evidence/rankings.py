"""Ballots: orders of policies, with ties, missing policies and weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.base import (
    FEW_UNITS,
    Labels,
    among,
    check_finite,
    check_policies,
    check_weights,
    compact,
    first_repeated,
    merge_labels,
    merged_notes,
    positions,
    put_arrays,
    taken,
    write_frame,
)

DTYPES = {"ballot": np.int64, "policy": np.int32, "position": np.int32, "weight": float}


def placed_above(position: NDArray[np.int32]) -> NDArray[np.float64]:
    """Whether each entry of a ballot stands above each other, ties half.

    (ballots, length) -> (ballots, length, length).
    """
    return 0.5 + 0.5 * np.sign(position[:, None, :] - position[:, :, None])


def top_shares(
    position: NDArray[np.int32], among: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Each ballot's vote for the first of some policies, ties at its top sharing it.

    Parameters
    ----------
    position
        (ballots, policies), 0 where a policy is missing
    among
        (policies,), who is still there; None: all

    Returns
    -------
    ndarray
        (ballots, policies), rows of sum 1; of 0 where a ballot holds none of them

    Examples
    --------
    >>> top_shares(np.array([[1, 1, 2], [0, 2, 1]], dtype=np.int32)).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    last = position.shape[1] + 1
    there = position > 0
    if among is not None:
        there &= among
    place = np.where(there, position, last)
    best = place.min(axis=1, keepdims=True)
    top = (place == best) & (best < last)
    return np.asarray(top / np.maximum(top.sum(axis=1, keepdims=True), 1))


@dataclass(frozen=True, eq=False, repr=False)
class Rankings:
    """Ballots as one row an entry: ``policy`` stands at ``position`` on ``ballot``; immutable.

    A policy that a ballot does not hold is missing from it: it was not ranked, which says nothing
    about it. ``complete`` places the missing policies last instead.

    Attributes
    ----------
    policies
        tuple of str
    ballot, policy
        int (entries,), sorted by ballot, then position
    position
        int (entries,), 1 is best; policies that tie share a position
    weight
        float (ballots,) >= 0: how many voters cast the ballot
    group
        Labels (ballots,) or None: for example the task that a ballot belongs to
    notes
        what a reader should know about how the data were read

    Examples
    --------
    >>> r = Rankings.of([["x", "y", "z"], [["y", "x"], "z"]])   # the second ballot ties y and x
    >>> r
    Rankings(2 ballots, 3 policies)
    >>> r.preferences()
    array([[0. , 1.5, 2. ],
           [0.5, 0. , 2. ],
           [0. , 0. , 0. ]])
    """

    policies: tuple[str, ...]
    ballot: NDArray[np.int64]
    policy: NDArray[np.int32]
    position: NDArray[np.int32]
    weight: NDArray[np.float64]
    group: Labels | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put_arrays(self, DTYPES)
        check_policies(self.policies)
        if not len(self.ballot):
            raise EvidenceError("no ballots: the input is empty. Give at least one ranking.")
        check_weights(self.weight, "ballot")
        row = first_repeated(self.ballot * len(self.policies) + self.policy)
        if row is not None:
            raise EvidenceError(
                f"ballot {int(self.ballot[row]) + 1} names {self.policies[self.policy[row]]!r}"
                " twice. A policy stands on a ballot once."
            )

    @classmethod
    def of_positions(
        cls,
        ballot: ArrayLike,
        policy: ArrayLike,
        position: ArrayLike,
        policies: Sequence[str],
        *,
        weight: ArrayLike | None = None,
        group: Labels | None = None,
        notes: tuple[str, ...] = (),
    ) -> Rankings:
        """Build from codes; positions may be any numbers, smaller is better, equal is a tie."""
        value = np.asarray(position, dtype=float)
        check_finite(value, "the rank")
        ballots, codes = np.asarray(ballot, dtype=np.int64), np.asarray(policy, dtype=np.int32)
        order = np.lexsort((codes, value, ballots))
        ballots, codes, value = ballots[order], codes[order], value[order]
        if not len(ballots):
            raise EvidenceError("no ballots: the input is empty. Give at least one ranking.")
        new_ballot = np.r_[True, ballots[1:] != ballots[:-1]]
        count = np.cumsum(new_ballot | np.r_[True, value[1:] != value[:-1]])
        first = np.flatnonzero(new_ballot)
        dense = count - np.repeat(count[first], np.diff(np.r_[first, len(ballots)])) + 1
        if weight is None:
            weight = np.ones(int(ballots.max()) + 1)
        weight = np.asarray(weight, dtype=float)
        return cls(tuple(policies), ballots, codes, dense.astype(np.int32), weight, group, notes)

    @classmethod
    def of_scores(cls, table: ArrayLike, policies: Sequence[str], **options: Any) -> Rankings:
        """Build from (ballots, policies) scores, higher is better; NaN: missing from the ballot."""
        values = np.asarray(table, dtype=float)
        ballot, policy = np.nonzero(~np.isnan(values))
        options.setdefault("weight", np.ones(len(values)))
        return cls.of_positions(ballot, policy, -values[ballot, policy], policies, **options)

    @classmethod
    def of(
        cls,
        ballots: Iterable[Sequence[Any]],
        *,
        weight: ArrayLike | None = None,
        policies: Sequence[str] | None = None,
        **options: Any,
    ) -> Rankings:
        """Build from lists, best first; a list (or tuple, set) inside a list is a group of ties."""
        rows: list[int] = []
        names: list[str] = []
        places: list[int] = []
        for row, ballot in enumerate(ballots):
            for place, item in enumerate(ballot):
                tied = _tied(item)
                names += map(str, tied)
                rows += [row] * len(tied)
                places += [place] * len(tied)
        policy = among(Labels.of(names), policies, "policy")
        return cls.of_positions(rows, policy.codes, places, policy.names, weight=weight, **options)

    @classmethod
    def of_choices(cls, choices: Iterable[tuple[Any, Iterable[Any]]], **options: Any) -> Rankings:
        """Build from choices (chosen, the others that were there): the others are tied for second.

        ``luce_choice`` takes nothing from that tie.

        Parameters
        ----------
        options
            of ``of``: weight, policies, group, notes

        Examples
        --------
        >>> Rankings.of_choices([("x", ["y", "z"]), ("z", ["x"])]).matrix()
        array([[1, 2, 2],
               [2, 0, 1]], dtype=int32)
        """
        return cls.of([[chosen, list(others)] for chosen, others in choices], **options)

    def __len__(self) -> int:
        return len(self.weight)

    def __repr__(self) -> str:
        return f"Rankings({self.summary})"

    @property
    def summary(self) -> str:
        """What it holds, in a few words."""
        return f"{len(self):,} ballots, {len(self.policies)} policies"

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many policies each ballot ranks: (ballots,)."""
        return np.bincount(self.ballot, minlength=len(self))

    @property
    def is_approval(self) -> bool:
        """Whether no ballot has more than two positions, and some ties: approved, and not."""
        if not len(self.position) or self.position.max() > 2:
            return False
        return bool((self.lengths > 2).any())

    @property
    def counts_voters(self) -> bool:
        """Whether weights are whole numbers, which count voters; others are importance."""
        return bool((self.weight == np.round(self.weight)).all())

    @property
    def voters(self) -> float:
        """How many voters there are: by whole weights their sum, else Kish's effective number,
        (sum of weights)^2 / sum of squared weights.
        """
        total = float(self.weight.sum())
        if self.counts_voters:
            return total
        return total**2 / float((self.weight**2).sum())

    @property
    def unit(self) -> Literal["ballot", "group"]:
        """What is independent of each other: ballots; or groups, where several hold many ballots.

        Replicates of one task say less of other tasks than as many tasks would.
        """
        if self.group is None:
            return "ballot"
        cast = np.bincount(self.group.codes, self.weight > 0)
        groups = int((cast > 0).sum())
        return "group" if FEW_UNITS <= groups < cast.sum() else "ballot"

    @property
    def is_complete(self) -> bool:
        """Whether every ballot ranks every policy."""
        return bool((self.lengths == len(self.policies)).all())

    def seen(self) -> NDArray[np.int64]:
        """How many ballots rank each policy (by weight): (policies,)."""
        voters = np.bincount(self.policy, self.weight[self.ballot], len(self.policies))
        return np.round(voters).astype(np.int64)

    def matrix(self) -> NDArray[np.int32]:
        """Positions as (ballots, policies); 0 where a policy is missing."""
        out = np.zeros((len(self), len(self.policies)), dtype=np.int32)
        out[self.ballot, self.policy] = self.position
        return out

    def strictly_above(self) -> NDArray[np.int32]:
        """How many policies a ballot places strictly above each: (ballots, policies).

        -1 where a policy is missing.

        Examples
        --------
        >>> Rankings.of([["x", ["y", "z"], "w"]], policies=["x", "y", "z", "w"]).strictly_above()
        array([[0, 1, 1, 3]], dtype=int32)
        """
        first = np.r_[0, np.cumsum(self.lengths)[:-1]]
        place = np.arange(len(self.ballot)) - first[self.ballot]
        same = (np.diff(self.position) == 0) & (np.diff(self.ballot) == 0)
        start = np.where(np.r_[False, same], 0, np.arange(len(place)))
        above = place[np.maximum.accumulate(start)]
        out = np.full((len(self), len(self.policies)), -1, dtype=np.int32)
        out[self.ballot, self.policy] = above
        return out

    def among_first(self, k: int) -> NDArray[np.bool_]:
        """Whether fewer than ``k`` policies stand strictly above: (ballots, policies)."""
        above = self.strictly_above()
        return (above >= 0) & (above < k)

    def blocks(
        self, cells: int = 20_000_000
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]]:
        """Ballots of one length at a time: (ballot (g,), policy (g, length), position (g, length)).

        A block has at most ``cells`` / length**2 ballots, so that pairwise tables of it stay small.
        """
        lengths = self.lengths
        start = np.r_[0, np.cumsum(lengths)[:-1]]
        for length in np.unique(lengths[lengths > 0]):
            which = np.flatnonzero(lengths == length)
            parts = max(1, int(np.ceil(len(which) * length**2 / cells)))
            for part in np.array_split(which, parts):
                index = start[part][:, None] + np.arange(length)
                yield part, self.policy[index], self.position[index]

    def preferences(
        self, weight: NDArray[np.float64] | None = None, *, ties: float = 0.5
    ) -> NDArray[np.float64]:
        """Weighted number of ballots that place i above j: (policies, policies).

        A tie counts as ``ties`` of a ballot; ``weight``: of ballots, in place of their own.
        """
        size = len(self.policies)
        if weight is None:
            weight = self.weight
        total = np.zeros(size**2)
        for part, policy, position in self.blocks():
            above = placed_above(position)
            above[above == 0.5] = ties
            cell = policy[:, :, None].astype(np.int64) * size + policy[:, None, :]
            voters = above * weight[part, None, None]
            total += np.bincount(cell.ravel(), voters.ravel(), size**2)
        wins = total.reshape(size, size)
        np.fill_diagonal(wins, 0)
        return wins

    def take(self, ballots: NDArray[Any]) -> Rankings:
        """The ballots at ``ballots`` (mask or indices), among the policies left on them."""
        chosen = np.asarray(ballots)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        new = np.full(len(self), -1)
        new[chosen] = np.arange(len(chosen))
        entry = new[self.ballot] >= 0
        left = compact(Labels(self.policy[entry], self.policies))
        return Rankings.of_positions(
            new[self.ballot[entry]],
            left.codes,
            self.position[entry],
            left.names,
            weight=self.weight[chosen],
            group=taken(self.group, chosen),
            notes=self.notes,
        )

    def filter(
        self, *, policies: Iterable[str] | None = None, groups: Iterable[str] | str | None = None
    ) -> Rankings:
        """Ballots of ``groups``, cut down to ``policies``; those left empty are dropped."""
        out = self
        if groups is not None:
            if self.group is None:
                raise EvidenceError(
                    "these ballots have no groups. Name a group column when reading them."
                )
            out = out.take(self.group.mask(groups, "group"))
        if policies is not None:
            out = out._cut_down(policies)
        return out

    def _cut_down(self, policies: Iterable[str]) -> Rankings:
        """Each ballot without other policies; no ballot without any."""
        entry = np.isin(self.policy, positions(self.policies, policies, "policy"))
        left = compact(Labels(self.policy[entry], self.policies))
        out = Rankings.of_positions(
            self.ballot[entry],
            left.codes,
            self.position[entry],
            left.names,
            weight=self.weight,
            group=self.group,
            notes=self.notes,
        )
        kept = out.lengths > 0
        if kept.all():
            return out
        return out.take(kept)

    def complete(self) -> Rankings:
        """The ballots with every missing policy tied for last: unranked means worse than ranked."""
        table = self.matrix().astype(float)
        table[table == 0] = len(self.policies) + 1
        return Rankings.of_scores(
            -table, self.policies, weight=self.weight, group=self.group, notes=self.notes
        )

    def merge(self, other: Rankings) -> Rankings:
        """Both sets of ballots, one after the other."""
        names = merge_labels(
            Labels(self.policy, self.policies), Labels(other.policy, other.policies), "policy"
        )
        assert names is not None
        return Rankings.of_positions(
            np.concatenate([self.ballot, other.ballot + len(self)]),
            names.codes,
            np.concatenate([self.position, other.position]),
            names.names,
            weight=np.concatenate([self.weight, other.weight]),
            group=merge_labels(self.group, other.group, "group"),
            notes=merged_notes(self.notes, other.notes),
        )

    def to_frame(self) -> pl.DataFrame:
        """One row an entry: ballot, policy, rank, weight and perhaps group."""
        frame = pl.DataFrame(
            {
                "ballot": self.ballot,
                "policy": pl.Series(self.policies, dtype=pl.String).gather(self.policy),
                "rank": self.position,
                "weight": self.weight[self.ballot],
            }
        )
        if self.group is not None:
            frame = frame.with_columns(self.group.values().gather(self.ballot).alias("group"))
        return frame

    def write(self, path: str | Path) -> None:
        """Write to .parquet, .csv, .tsv, .jsonl or .arrow; ``read_rankings`` reads it back."""
        write_frame(self.to_frame(), path)


def _tied(item: Any) -> tuple[Any, ...]:
    """The policies at one place of a list: one, or a group of them."""
    if isinstance(item, (list, tuple, set, frozenset)):
        return tuple(item)
    return (item,)
