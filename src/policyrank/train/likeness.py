"""Queries that are alike, so that what they earned can be compared."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError
from policyrank.metrics.short_answers import query_words


class Likeness(Protocol):
    """Texts -> how alike each two are: (texts, texts), 1 the same."""

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float64]: ...


def token_likeness(texts: Sequence[str]) -> NDArray[np.float64]:
    """F1 of the bags of words of each two; a text without words is like none.

    Examples
    --------
    >>> token_likeness(["Jay-Z current record label", "Jay-Z record label"])[0, 1].round(3)
    np.float64(0.889)
    """
    bags = [query_words(text) for text in texts]
    places = {word: k for k, word in enumerate(dict.fromkeys(w for bag in bags for w in bag))}
    counts = np.zeros((len(texts), len(places)))
    for row, bag in enumerate(bags):
        np.add.at(counts[row], [places[word] for word in bag], 1)
    shared = np.minimum(counts[:, None], counts[None]).sum(axis=-1)
    sizes = counts.sum(axis=-1)
    return 2 * shared / np.maximum(sizes[:, None] + sizes[None], 1)


def exact_likeness(texts: Sequence[str]) -> NDArray[np.float64]:
    """1 where two have the same words in the same order."""
    words = [" ".join(query_words(text)) for text in texts]
    return np.array([[float(bool(one) and one == other) for other in words] for one in words])


def embedding_likeness(encoder: Any) -> Likeness:
    """Cosines by an encoder of sentence-transformers."""
    from policyrank.models.encoders import encode_texts

    def likeness(texts: Sequence[str]) -> NDArray[np.float64]:
        vectors = encode_texts(encoder, list(texts)).astype(np.float64)
        return vectors @ vectors.T

    return likeness


LIKENESSES: dict[str, Likeness] = {"tokens": token_likeness, "exact": exact_likeness}


def semantic_groups(
    texts: Sequence[str],
    main: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    threshold: float = 0.8,
    least: int = 3,
    likeness: str | Likeness = "tokens",
) -> NDArray[np.int64]:
    """Groups of texts that are alike, within each main key and stratum: (texts,), -1 in none.

    In their order each text joins the first group whose first member it is like, or else begins
    one; groups of fewer than ``least`` are dropped.

    Parameters
    ----------
    main
        of each, such as the question that sub-queries came from
    strata
        of each, such as whether its candidates hold an answer; None: all alike
    threshold
        least likeness; 0: all of a main key and stratum
    likeness
        a name in ``LIKENESSES``, or a function such as ``embedding_likeness(encoder)``

    Raises
    ------
    OptionError
        For an unknown likeness, or as many keys as there are not texts.

    References
    ----------
    Zeng et al. (2026), "CoSearch", arXiv 2604.17555, Algorithm 2.

    Examples
    --------
    >>> texts = ["Jay-Z label", "Ulm", "the Jay-Z label", "Jay-Z's label"]
    >>> semantic_groups(texts, [0] * 4)
    array([ 0, -1,  0,  0])
    """
    if isinstance(likeness, str):
        if likeness not in LIKENESSES:
            known = ", ".join(LIKENESSES)
            raise OptionError(f"likeness={likeness!r}: use one of {known}, or a function.")
        likeness = LIKENESSES[likeness]
    strata = [0] * len(texts) if strata is None else strata
    if not len(texts) == len(main) == len(strata):
        raise OptionError(f"{len(texts)} texts, {len(main)} keys, {len(strata)} strata: one each.")
    together: dict[Hashable, list[int]] = {}
    for place, key in enumerate(zip(main, strata, strict=True)):
        together.setdefault(key, []).append(place)
    out = np.full(len(texts), -1, dtype=np.int64)
    made = 0
    for places in together.values():
        alike = likeness([texts[place] for place in places]) >= threshold
        left = np.arange(len(places))
        while len(left):  # who is not yet in a group: the first leads the next one
            joined = alike[left, left[0]]
            joined[0] = True
            members = np.asarray(places)[left[joined]]
            left = left[~joined]
            if len(members) >= least:
                out[members] = made
                made += 1
    return out
