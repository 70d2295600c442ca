"""LETOR and SVMlight files: ``label qid:Q number:value ... # comment``, read together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import open_source
from policyrank.train.data import RankingData
from policyrank.train.letor_rows import Rows, read_rows, sizes_beside

LARGE = 2**30
"""Bytes of a dense table above which features may be kept sparse."""

WIDE, THIN = 1_000, 0.1
"""Features of more than so many columns are kept sparse when fewer than this share are not 0."""


@dataclass(frozen=True)
class LetorFiles:
    """Files that were read together, of one width.

    Attributes
    ----------
    sets
        name -> data
    features
        columns of each: of the widest file, or as told
    features_from
        number of the first feature in the files
    notes
        what was assumed, joined, cut or gathered
    """

    sets: dict[str, RankingData]
    features: int
    features_from: int
    notes: tuple[str, ...]


def read_letor(
    path: str | Path | bytes,
    *,
    features_from: Literal[0, 1] | None = None,
    features: int | None = None,
) -> RankingData:
    """One LETOR or SVMlight file; see ``read_letor_files``.

    Raises
    ------
    EvidenceError
        Naming the line that is malformed.

    Examples
    --------
    >>> found = read_letor(b"1 qid:7 1:0.5 3:2 # best\\n0 qid:7 2:1\\n")
    >>> found.labels.tolist(), found.features.tolist()
    ([1.0, 0.0], [[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]])
    """
    files = read_letor_files({"": path}, features_from=features_from, features=features)
    return files.sets[""]


def read_letor_files(
    paths: Mapping[str, str | Path | bytes],
    *,
    features_from: Literal[0, 1] | None = None,
    features: int | None = None,
) -> LetorFiles:
    """LETOR or SVMlight files that belong together: training, validation, test.

    Plain, or compressed by gzip, zstandard, bzip2 or xz. Features that a line does not name are 0;
    all sets get the columns of the widest. Values beyond the range of float32 are cut to it.

    Parameters
    ----------
    paths
        name -> file; a file without ``qid`` is read with its sizes of queries, which LightGBM
        (``.query``) and XGBoost (``.group``) keep in a file beside it
    features_from
        number of the first feature (None: 0 if any of the files has a feature 0 or a comment of
        scikit-learn says so, else 1)
    features
        columns that there must be (None: as many as the widest file has)

    Returns
    -------
    LetorFiles
        with sparse features (scipy's CSR) where a dense table would take over 1 GB and twice the
        memory, or has over 1,000 columns of which under 10% are not 0

    Raises
    ------
    EvidenceError
        Naming the line that is malformed; for numbers of features that do not fit what is told; and
        when there is too little memory.
    """
    read = {}
    for name, path in paths.items():
        read[name] = read_rows(open_source(path), sizes_beside(path))
    first = _first_number(read.values(), features_from)
    widths = {name: max(rows.highest + 1 - first, 1) for name, rows in read.items()}
    widest = max(widths.values()) if features is None else features
    notes: list[str] = []
    for name, rows in read.items():
        said = f"{name}: " if name else ""
        notes += [said + note for note in rows.notes]
        if widths[name] > widest:
            raise EvidenceError(
                f"{rows.file}: feature {rows.highest} is the {widths[name]:,}th, and there are to"
                f" be {widest:,}. Train with this file named too, or with a wider one."
            )
    notes += _joined(widths, widest)
    sparse = _better_sparse(read.values(), widest)
    sets = {name: _data(rows, widest, first, sparse) for name, rows in read.items()}
    return LetorFiles(sets, widest, first, tuple(notes))


def _first_number(read: Iterable[Rows], told: int | None) -> int:
    """Number of the first feature: as told, or as the files show."""
    for rows in read:
        if told == 1 and rows.lowest == 0:
            raise EvidenceError(
                f"{rows.file}, line {rows.lowest_line}: feature 0, and features are numbered from"
                " 1. Say features_from=0 (--zero-based) if that is the first."
            )
    if told is not None:
        return told
    if any(rows.lowest == 0 or rows.told_from == 0 for rows in read):
        return 0
    return 1


def _joined(widths: Mapping[str, int], widest: int) -> list[str]:
    """What is said of files of different widths."""
    if set(widths.values()) <= {widest}:
        return []
    listed = ", ".join(f"{name or 'the file'} {width:,}" for name, width in widths.items())
    notes = [f"features named in the files: {listed}; all get {widest:,}, the others are 0"]
    train = widths.get("train", widest)
    if train < widest:
        notes.append(
            f"{widest - train:,} features are 0 in all training rows: nothing is learned of them"
        )
    return notes


def _better_sparse(read: Iterable[Rows], width: int) -> bool:
    """Whether some file's features take far less memory without their zeros."""
    for rows in read:
        cells = len(rows.labels) * width
        kept = sum(int(np.count_nonzero(part)) for part in rows.values)
        dense, sparse = 4 * cells, 8 * (kept + len(rows.labels))
        if dense > LARGE and 2 * sparse < dense:
            return True
        if width > WIDE and kept < THIN * cells:
            return True
    return False


def _data(rows: Rows, width: int, first: int, sparse: bool) -> RankingData:
    counts = np.concatenate(rows.counts)
    place = np.concatenate(rows.numbers) - first
    values = np.concatenate(rows.values)
    features: Any
    if sparse:
        starts = np.concatenate([[0], np.cumsum(counts)])
        shape = (len(counts), width)
        features = scipy.sparse.csr_array((values, place, starts), shape=shape)
        features.eliminate_zeros()
        features.sort_indices()
    else:
        features = _table(rows.file, len(counts), width)
        features[np.repeat(np.arange(len(counts)), counts), place] = values
    return RankingData.of(rows.queries, rows.labels, features)


def _table(file: str, rows: int, width: int) -> NDArray[np.float32]:
    """Zeros, where there is the memory for them."""
    need, free = 4 * rows * width, _free_memory()
    if need > free:
        raise EvidenceError(
            f"{file}: {rows:,} rows of {width:,} features take {need / 1e9:,.1f} GB, and"
            f" {free / 1e9:,.1f} GB are free. Read fewer rows or features, or on a larger machine."
        )
    return np.zeros((rows, width), dtype=np.float32)


def _free_memory() -> float:
    """Bytes that can be had; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return np.inf
