"""Which documents of a long list a step learns from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError


class Sampler(Protocol):
    """Labels and first-stage scores (n,) -> places (size,) of the documents that are kept."""

    def __call__(
        self,
        labels: NDArray[np.float64],
        first_stage: NDArray[np.float64],
        size: int,
        rng: np.random.Generator,
        /,
    ) -> NDArray[np.int64]: ...


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
    """A best document, and others in proportion to 1 / (rank in the first stage).

    Drawn without replacement.
    """
    rank = np.empty(len(labels))
    rank[np.argsort(-first_stage, kind="stable")] = np.arange(1, len(labels) + 1)
    return _kept(labels, size, rng.gumbel(size=len(labels)) - np.log(rank), rng)


SAMPLERS: dict[str, Sampler] = {"uniform": uniform, "hard": hard, "weighted": weighted}


def named_sampler(sampler: str | Sampler) -> Sampler:
    """One of ``SAMPLERS`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(sampler, str):
        return sampler
    if sampler not in SAMPLERS:
        names = ", ".join(SAMPLERS)
        raise OptionError(f"sampler={sampler!r}: use one of {names}, or a function.")
    return SAMPLERS[sampler]
