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
    """Cosine of query and documents under a bi-encoder.

    Texts are read once and remembered; ``known`` vectors need not be read.
    """
    kept = dict(known or {})

    def score(query: str, documents: Sequence[str]) -> NDArray[np.float64]:
        new = [text for text in dict.fromkeys([query, *documents]) if text not in kept]
        if new:
            kept.update(zip(new, encode_texts(encoder, new, batch=batch), strict=True))
        return np.stack([kept[document] for document in documents]).astype(float) @ kept[query]

    return score


def cross_scorer(
    encoder: Any, batch: int = 32
) -> Callable[[str, Sequence[str]], NDArray[np.float64]]:
    """Scores of a cross-encoder of sentence-transformers."""

    def score(query: str, documents: Sequence[str]) -> NDArray[np.float64]:
        pairs = [(query, document) for document in documents]
        found = encoder.predict(pairs, batch_size=batch, show_progress_bar=False)
        return np.asarray(found, dtype=float)

    return score
