"""Which documents of a long list a step learns from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sampler = Callable[
    [NDArray[np.float64], NDArray[np.float64], int, np.random.Generator], NDArray[np.int64]
]
"""(labels (n,), first-stage scores (n,), size, generator) -> places (size,) of the documents that
are kept.
"""


def _kept(
    labels: NDArray[np.float64], size: int, keys: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """One of the best documents, and the others of the largest keys."""
    best = int(rng.choice(np.flatnonzero(labels == labels.max())))
    order = np.argsort(-keys, kind="stable")
    return np.sort(np.append(order[order != best][: size - 1], best))


def uniform(
    labels: NDArray[np.float64],
    first_stage: NDArray[np.float64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A best document, and others at random."""
    best = rng.choice(np.flatnonzero(labels == labels.max()))
    places = np.arange(len(labels))
    return np.sort(np.append(rng.choice(places[places != best], size - 1, replace=False), best))


def hard(
    labels: NDArray[np.float64],
    first_stage: NDArray[np.float64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A best document, and those that the first stage ranks highest among the rest."""
    return _kept(labels, size, np.where(np.isneginf(first_stage), -np.inf, first_stage), rng)


def weighted(
    labels: NDArray[np.float64],
    first_stage: NDArray[np.float64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A best document, and others without replacement with probability in proportion to 1 / (rank
    in the first stage).
    """
    rank = np.empty(len(labels))
    rank[np.argsort(-first_stage, kind="stable")] = np.arange(1, len(labels) + 1)
    return _kept(labels, size, rng.gumbel(size=len(labels)) - np.log(rank), rng)


SAMPLERS: dict[str, Sampler] = {"uniform": uniform, "hard": hard, "weighted": weighted}
