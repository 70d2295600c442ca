"""Lists to learn from: rows of (query, label, features), padded into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.fingerprints import hashed
from policyrank.learn.curricula import Curriculum
from policyrank.train.negatives import Sampler, uniform

Float = NDArray[np.float64]

MOST_CELLS = 2**26
"""Numbers of sparse features that are made dense at once in evaluation."""


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

    def fingerprint(self) -> dict[str, int | str]:
        """What the data are, in counts and hashes, to tell whether others are the same."""
        return {
            "queries": len(self),
            "rows": len(self.labels),
            "names of queries": hashed(self.queries),
            "rows of queries": hashed(self.offsets),
            "labels": hashed(self.labels),
            "first stage": hashed(self.first_stage),
        }

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
        float32 (rows, d), a table or scipy's sparse rows (CSR)
    by_query
        sparse features are standardised within their query when batches are made of them
    """

    features: Any
    by_query: bool = False

    @classmethod
    def of(
        cls,
        query: Iterable[str],
        labels: ArrayLike,
        features: Any,
        first_stage: ArrayLike | None = None,
    ) -> RankingData:
        """From rows in any order; queries keep the order in which they come.

        Features (rows, d) are a table, or a sparse matrix of scipy, which stays sparse: batches
        are made dense.

        Raises
        ------
        EvidenceError
            For lengths that differ, or numbers that are not finite, naming the row.
        """
        names, grades = list(map(str, query)), np.asarray(labels, dtype=float)
        x = _rows_of(features)
        before = np.zeros(len(grades))
        if first_stage is not None:
            before = np.asarray(first_stage, dtype=float)
        if x.ndim != 2 or not len(names) == len(grades) == x.shape[0] == len(before):
            raise EvidenceError(
                f"{len(names)} queries, {len(grades)} labels, features {x.shape} and"
                f" {len(before)} first-stage scores do not fit. One of each a row."
            )
        if not len(grades):
            raise EvidenceError("no rows: there is nothing to learn from.")
        for what, bad in (
            ("label", ~np.isfinite(grades)),
            ("feature", _not_finite(x)),
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
        if not scipy.sparse.issparse(self.features):
            return torch.from_numpy(self.features[index])
        found = np.zeros((*index.shape, self.features.shape[1]), dtype=np.float32)
        for place, query in enumerate(which):
            start, stop = self.offsets[query], self.offsets[query + 1]
            own = (index[place] >= start) & (index[place] < stop)
            rows = index[place, own]
            if self.by_query:
                found[place, own] = _standardised(self.features[start:stop].toarray())[rows - start]
            else:
                found[place, own] = self.features[rows].toarray()
        return torch.from_numpy(found)

    def batches(self, which: ArrayLike, lists: int) -> Iterator[Batch]:
        """These queries in order, for evaluation; fewer at once where sparse features are wide."""
        if scipy.sparse.issparse(self.features):
            cells = int(np.diff(self.offsets).max()) * self.features.shape[1]
            lists = max(1, min(lists, MOST_CELLS // cells))
        return super().batches(which, lists)

    def fingerprint(self) -> dict[str, int | str]:
        """Of any lists, and of the features."""
        found = {**super().fingerprint(), "number of features": self.features.shape[1]}
        parts = [self.features]
        if scipy.sparse.issparse(self.features):
            parts = [self.features.data, self.features.indices, self.features.indptr]
        return {**found, "features": hashed(*parts, self.by_query)}

    def standardised(self) -> RankingData:
        """Features sign(x) log(1 + |x|), then standardised within each query.

        Comparable across queries. Sparse features would be dense then: they stay as they are, and
        each query's are standardised when a batch is made of them, to the same numbers.
        """
        if scipy.sparse.issparse(self.features):
            return replace(self, by_query=True)
        found = np.empty_like(self.features)
        for start, stop in pairwise(self.offsets):
            found[start:stop] = _standardised(self.features[start:stop])
        return replace(self, features=found)


def _rows_of(features: Any) -> Any:
    """Features as float32: a table, or sparse rows."""
    if scipy.sparse.issparse(features):
        return scipy.sparse.csr_array(features, dtype=np.float32)
    return np.asarray(features, dtype=np.float32)


def _not_finite(features: Any) -> NDArray[np.bool_]:
    """Rows with a feature that is not finite: (rows,)."""
    if not scipy.sparse.issparse(features):
        return ~np.isfinite(features).all(axis=1)
    bad = np.zeros(features.shape[0], dtype=bool)
    where = np.flatnonzero(~np.isfinite(features.data))
    bad[np.searchsorted(features.indptr, where, side="right") - 1] = True
    return bad


def _standardised(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """sign(x) log(1 + |x|) of one query's features, standardised: (rows, d)."""
    x = np.sign(features) * np.log1p(np.abs(features.astype(float)))
    apart = x - x.mean(axis=0)
    return (apart / np.maximum(apart.std(axis=0), 1e-6)).astype(np.float32)


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
