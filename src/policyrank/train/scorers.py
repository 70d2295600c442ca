"""Rankers of texts as functions (query, documents) -> scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.models.encoders import encode_texts


def cosine_scorer(
    encoder: Any, batch: int = 64, known: Mapping[str, NDArray[np.float32]] | None = None
) -> Callable[[str, Sequence[str]], NDArray[np.float64]]:
    """Cosine of query and documents under a bi-encoder; texts are read once and remembered;
    ``known`` vectors need not be read.
    """
    kept = dict(known or {})

    def score(query: str, documents: Sequence[str]) -> NDArray[np.float64]:
        new = [t for t in dict.fromkeys([query, *documents]) if t not in kept]
        if new:
            kept.update(zip(new, encode_texts(encoder, new, batch=batch), strict=True))
        return np.stack([kept[d] for d in documents]).astype(float) @ kept[query]

    return score


def cross_scorer(
    encoder: Any, batch: int = 32
) -> Callable[[str, Sequence[str]], NDArray[np.float64]]:
    """Scores of a cross-encoder of sentence-transformers."""
    return lambda query, documents: np.asarray(
        encoder.predict([(query, d) for d in documents], batch_size=batch, show_progress_bar=False),
        dtype=float,
    )
