"""Relevance feedback: learn from each screened batch what to screen next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank._rooms import require
from policyrank.errors import EvidenceError


def feedback_order(
    first: ArrayLike, features: ArrayLike, labels: ArrayLike, *, batch: int = 25, c: float = 1.0
) -> NDArray[np.int64]:
    """The order in which documents are screened.

    Batches by ``first`` until both kinds have been seen, then by a logistic regression on all that
    was screened. Continuous active learning (Cormack and Grossman 2014), with balanced class
    weights.

    Parameters
    ----------
    first
        (documents,), scores to begin with
    features
        (documents, d)
    labels
        (documents,), 1 for relevant; each is looked at only once its document was screened
    batch
        documents between two fits
    c
        inverse strength of the l2 penalty

    Returns
    -------
    NDArray
        (documents,), places, first screened first

    Raises
    ------
    MissingExtraError
        When scikit-learn is missing.
    EvidenceError
        When lengths differ.
    """
    require("sklearn", "relevance feedback")
    from sklearn.linear_model import LogisticRegression

    start, x, y = np.asarray(first, dtype=float), np.asarray(features), np.asarray(labels)
    if not len(start) == len(x) == len(y):
        raise EvidenceError(
            f"{len(start)} scores, {len(x)} feature rows and {len(y)} labels: one of each a"
            " document."
        )
    seen: list[int] = []
    left = np.ones(len(y), dtype=bool)
    while left.any():
        scores: NDArray[Any] = start
        if len(np.unique(y[seen])) > 1:
            model = LogisticRegression(C=c, class_weight="balanced", max_iter=500)
            scores = model.fit(x[seen], y[seen]).decision_function(x)
        rest = np.flatnonzero(left)
        taken = rest[np.argsort(-scores[rest], kind="stable")[:batch]]
        seen += taken.tolist()
        left[taken] = False
    return np.array(seen)
