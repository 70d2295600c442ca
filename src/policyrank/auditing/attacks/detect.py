"""What gives an attack away, and what takes its force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from policyrank.auditing.attacks.imitation import Victim
from policyrank.auditing.attacks.language import Corpus, words

Float = NDArray[np.float64]


def suspicion(
    corpus: Corpus, query: str, text: Sequence[str], *, window: int = 8
) -> dict[str, float]:
    """How odd a text looks: ``perplexity`` of the oddest window, ``density`` of query words in the
    densest one, ``spamicity`` (share of query words in the whole text).

    Stop words of the query (those in more than a tenth of the documents) do not count, unless there
    are no others.
    """
    tokens = corpus.encode(text)
    asked = corpus.encode(query)
    rare = np.unique(asked[(asked > 0) & (corpus.idf[asked] > np.log(11))])
    rare = rare if len(rare) else asked[asked > 0]
    hit = np.isin(tokens, rare).astype(float)
    if len(tokens) < 2:
        return {
            "perplexity": 1.0,
            "density": float(hit.mean()) if len(hit) else 0.0,
            "spamicity": float(hit.mean()) if len(hit) else 0.0,
        }
    width = min(window, len(tokens))
    costs = -corpus.log_prob(tokens)
    frame = np.ones(max(width - 1, 1)) / max(width - 1, 1)
    dense = np.convolve(hit, np.ones(width) / width, mode="valid")
    return {
        "perplexity": float(np.exp(np.convolve(costs, frame, mode="valid").max())),
        "density": float(dense.max()),
        "spamicity": float(hit.mean()),
    }


def thresholds(clean: Sequence[dict[str, float]], alarm: float = 0.05) -> dict[str, float]:
    """Of each sign, the value that a share ``alarm`` of clean texts passes."""
    return {
        k: float(np.quantile([c[k] for c in clean], 1 - alarm, method="higher")) for k in clean[0]
    }


def deletion_defence(victim: Victim, parts: int = 5) -> Victim:
    """A defended ranker: the least of the scores of a document with each of ``parts`` stretches of
    words left out, so that no one stretch can lift it.

    Costs ``parts`` times as much. (A median would not help: all versions but one hold the stretch.)
    """

    def defended(query: str, documents: Sequence[str]) -> Float:
        versions: list[str] = []
        for text in documents:
            split = text.split()
            ends = np.linspace(0, len(split), parts + 1).astype(int)
            versions += [" ".join(split[:a] + split[b:]) for a, b in pairwise(ends)]
        return np.asarray(victim(query, versions)).reshape(len(documents), parts).min(axis=1)

    return defended


def query_share(query: str, added: Sequence[str]) -> float:
    """Share of added words that are words of the query: an attack made only of these is query
    insertion under another name.
    """
    asked = set(words(query))
    return float(np.mean([w in asked for w in added])) if added else 0.0
