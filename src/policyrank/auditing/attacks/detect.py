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
    """How odd a text looks.

    ``perplexity`` of the oddest window, ``density`` of query words in the densest one,
    ``spamicity`` (share of query words in the whole text). Stop words of the query (those in more
    than a tenth of the documents) do not count, unless there are no others.
    """
    tokens, asked = corpus.encode(text), corpus.encode(query)
    asked = asked[asked > 0]
    rare = np.unique(asked[corpus.idf[asked] > np.log(11)])
    hit = np.isin(tokens, rare if len(rare) else asked).astype(float)
    spamicity = float(hit.mean()) if len(hit) else 0.0
    if len(tokens) < 2:
        return {"perplexity": 1.0, "density": spamicity, "spamicity": spamicity}
    width = min(window, len(tokens))
    costs = -corpus.log_prob(tokens)
    frame = np.ones(max(width - 1, 1)) / max(width - 1, 1)
    dense = np.convolve(hit, np.ones(width) / width, mode="valid")
    return {
        "perplexity": float(np.exp(np.convolve(costs, frame, mode="valid").max())),
        "density": float(dense.max()),
        "spamicity": spamicity,
    }


def thresholds(clean: Sequence[dict[str, float]], alarm: float = 0.05) -> dict[str, float]:
    """Of each sign, the value that a share ``alarm`` of clean texts passes."""
    found = {}
    for sign in clean[0]:
        values = [one[sign] for one in clean]
        found[sign] = float(np.quantile(values, 1 - alarm, method="higher"))
    return found


def deletion_defence(victim: Victim, parts: int = 5) -> Victim:
    """A defended ranker, for which no one stretch of words can lift a document.

    Its score is the least of those with each of ``parts`` stretches of words left out. Costs
    ``parts`` times as much. (A median would not help: all versions but one hold the stretch.)
    """

    def defended(query: str, documents: Sequence[str]) -> Float:
        versions: list[str] = []
        for text in documents:
            split = text.split()
            ends = np.linspace(0, len(split), parts + 1).astype(int)
            for start, end in pairwise(ends):
                versions.append(" ".join(split[:start] + split[end:]))
        return np.asarray(victim(query, versions)).reshape(len(documents), parts).min(axis=1)

    return defended


def query_share(query: str, added: Sequence[str]) -> float:
    """Share of added words that are words of the query.

    An attack made only of these is query insertion under another name.
    """
    if not added:
        return 0.0
    return float(np.isin(added, words(query)).mean())
