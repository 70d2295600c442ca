"""Lists to learn from: rows of (query, label, features), padded into batches."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.learn.curricula import Curriculum
from policyrank.train.negatives import Sampler, uniform

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Padded lists.

    Features (lists, n, d) or texts; labels and where (lists, n); rows (lists, n) into the data.
    """

    features: Any
    labels: Tensor
    where: Tensor
    rows: Tensor


def padded(rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Lists of rows as one table (lists, n), and which of its cells are there."""
    width = max(map(len, rows))
    index = np.zeros((len(rows), width), dtype=np.int64)
    where = np.zeros((len(rows), width), dtype=bool)
    for k, own in enumerate(rows):
        index[k, : len(own)] = own
        where[k, : len(own)] = True
    return index, where


@dataclass(frozen=True, eq=False)
class Lists:
    """Queries with their candidates.

    Attributes
    ----------
    queries
        names
    offsets
        (queries + 1,), where each query's rows begin
    labels
        (rows,), grades, higher is better
    first_stage
        (rows,), scores of the ranker that made the candidates, -inf for those it lacks; zeros
        without one
    """

    queries: tuple[str, ...]
    offsets: NDArray[np.int64]
    labels: Float
    first_stage: Float

    def __len__(self) -> int:
        return len(self.queries)

    def features_of(self, which: NDArray[np.int64], index: NDArray[np.int64]) -> Any:
        """What a ranker sees of these queries' rows ``index`` (lists, n)."""
        raise NotImplementedError

    def batch(
        self,
        which: ArrayLike,
        size: int | None = None,
        rng: np.random.Generator | None = None,
        sampler: Sampler = uniform,
    ) -> Batch:
        """Lists of these queries, padded.

        ``sampler`` cuts lists longer than ``size``, one best document always kept.
        """
        rows, asked = [], np.asarray(which, dtype=np.int64)
        for query in asked:
            own = np.arange(self.offsets[query], self.offsets[query + 1])
            if size is not None and len(own) > size:
                if rng is None:
                    raise EvidenceError("lists are cut at random: give a generator.")
                own = own[sampler(self.labels[own], self.first_stage[own], size, rng)]
            rows.append(own)
        index, where = padded(rows)
        return Batch(
            self.features_of(asked, index),
            torch.from_numpy(self.labels[index]).float(),
            torch.from_numpy(where),
            torch.from_numpy(index),
        )

    def easiness(self, curriculum: Curriculum, lists: int = 16) -> Tensor:
        """How easy a curriculum finds each row, by the whole first run of its query: (rows + 1,).

        The last is of a document that the run lacks: row -1 of a batch.
        """
        out = torch.zeros(len(self.labels) + 1)
        lacking = torch.tensor([[0.0, -torch.inf]])
        out[-1] = curriculum.easy(lacking, torch.ones(1, 2, dtype=torch.bool))[0, 1]
        for start in range(0, len(self), lists):
            several = range(start, min(start + lists, len(self)))
            rows = [np.arange(self.offsets[q], self.offsets[q + 1]) for q in several]
            index, where = padded(rows)
            run = torch.from_numpy(self.first_stage[index]).float()
            shown = torch.from_numpy(where)
            out[index[where]] = curriculum.easy(run, shown)[shown].float()
        return out

    def batches(self, which: ArrayLike, lists: int) -> Iterator[Batch]:
        """These queries in order, for evaluation."""
        asked = np.asarray(which, dtype=np.int64)
        for start in range(0, len(asked), lists):
            yield self.batch(asked[start : start + lists])


@dataclass(frozen=True, eq=False)
class RankingData(Lists):
    """Queries with candidates that are features.

    Attributes
    ----------
    features
        float32 (rows, d)
    """

    features: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        query: Iterable[str],
        labels: ArrayLike,
        features: ArrayLike,
        first_stage: ArrayLike | None = None,
    ) -> RankingData:
        """From rows in any order; queries keep the order in which they come.

        Raises
        ------
        EvidenceError
            For lengths that differ, or numbers that are not finite, naming the row.
        """
        names, grades = list(map(str, query)), np.asarray(labels, dtype=float)
        x = np.asarray(features, dtype=np.float32)
        before = np.zeros(len(grades))
        if first_stage is not None:
            before = np.asarray(first_stage, dtype=float)
        if not len(names) == len(grades) == len(x) == len(before) or x.ndim != 2:
            raise EvidenceError(
                f"{len(names)} queries, {len(grades)} labels, features {x.shape} and"
                f" {len(before)} first-stage scores do not fit. One of each a row."
            )
        if not len(grades):
            raise EvidenceError("no rows: there is nothing to learn from.")
        for what, bad in (
            ("label", ~np.isfinite(grades)),
            ("feature", ~np.isfinite(x).all(axis=1)),
            ("first-stage score", np.isnan(before) | np.isposinf(before)),
        ):
            if bad.any():
                raise EvidenceError(
                    f"row {int(np.flatnonzero(bad)[0]) + 1}: a {what} is not finite."
                )
        first: dict[str, int] = {}
        code = np.array([first.setdefault(name, len(first)) for name in names])
        order = np.argsort(code, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(code))]).astype(np.int64)
        return cls(tuple(first), offsets, grades[order], before[order], x[order])

    def features_of(self, which: NDArray[np.int64], index: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.features[index])

    def standardised(self) -> RankingData:
        """Features sign(x) log(1 + |x|), then standardised within each query.

        Comparable across queries.
        """
        x = np.sign(self.features) * np.log1p(np.abs(self.features.astype(float)))
        for start, stop in pairwise(self.offsets):
            part = x[start:stop] - x[start:stop].mean(axis=0)
            x[start:stop] = part / np.maximum(part.std(axis=0), 1e-6)
        return replace(self, features=x.astype(np.float32))


def read_letor(path: str | Path) -> RankingData:
    """LETOR / SVMlight ranking files (``label qid:1 1:0.5 2:0 ... # comment``), gzipped or not.

    Raises
    ------
    EvidenceError
        Naming the line that is malformed.
    """
    file = Path(path)
    if not file.is_file():
        raise EvidenceError(f"{file}: no such file. Give a LETOR file.")
    opened = gzip.open if file.suffix == ".gz" else open
    labels: list[float] = []
    queries: list[str] = []
    rows: list[dict[int, float]] = []
    with opened(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            fields = str(line).partition("#")[0].split()
            if not fields:
                continue
            try:
                label, query, pairs = _letor(fields)
            except (ValueError, IndexError):
                raise EvidenceError(
                    f"{file}, line {number}: not 'label qid:Q 1:value 2:value ...'."
                ) from None
            labels.append(label)
            queries.append(query)
            rows.append(pairs)
    if not rows:
        raise EvidenceError(f"{file}: empty. Give a LETOR file.")
    widest = max(max(pairs, default=1) for pairs in rows)
    features = np.zeros((len(rows), widest), dtype=np.float32)
    for k, pairs in enumerate(rows):
        place = np.fromiter(pairs, dtype=np.int64, count=len(pairs)) - 1
        features[k, place] = np.fromiter(pairs.values(), dtype=np.float32, count=len(pairs))
    return RankingData.of(queries, labels, features)


def _letor(fields: list[str]) -> tuple[float, str, dict[int, float]]:
    """Label, query and features of a line; ValueError or IndexError where it is none."""
    key, _, query = fields[1].partition(":")
    if key != "qid" or not query:
        raise ValueError
    pairs = {}
    for field in fields[2:]:
        number, _, value = field.partition(":")
        pairs[int(number)] = float(value)
    if min(pairs, default=1) < 1:
        raise ValueError
    return float(fields[0]), query, pairs


def gap_lists(
    labels: ArrayLike,
    lists: int,
    n: int,
    gap: float,
    rng: np.random.Generator,
    *,
    pool: int | None = None,
) -> NDArray[np.int64]:
    """Random lists of rows whose neighbouring labels differ by at least ``gap``: (lists, n).

    Each list is sorted by label, highest first.

    Parameters
    ----------
    labels
        (rows,)
    gap
        > 0 leaves out pairs whose order is noise; lists then hold more extreme labels than the data
    pool
        rows drawn for each list, among which its n are chosen (None: 8 n)

    Raises
    ------
    EvidenceError
        When lists with such gaps are hardly to be had.
    """
    y = np.asarray(labels, dtype=float)
    out = np.empty((lists, n), dtype=np.int64)
    filled = tries = 0
    while filled < lists:
        if (tries := tries + 1) > 20 * lists + 1000:
            raise EvidenceError(
                f"lists of {n} labels {gap:g} apart are hardly to be had. Take a smaller gap,"
                " shorter lists, or a larger pool."
            )
        drawn = rng.choice(len(y), size=min(pool or 8 * n, len(y)), replace=False)
        drawn = drawn[np.argsort(-y[drawn], kind="stable")]
        kept = [int(drawn[0])]
        for row in drawn[1:]:
            if y[row] <= y[kept[-1]] - gap + 1e-12:
                kept.append(int(row))
        if len(kept) >= n:
            out[filled] = np.array(kept)[np.sort(rng.choice(len(kept), size=n, replace=False))]
            filled += 1
    return out
