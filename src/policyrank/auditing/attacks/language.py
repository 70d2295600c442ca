"""The words of a corpus: vocabulary, idf, vectors, and a bigram language model, for fluency and for
detectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import svds

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def words(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, eq=False)
class Corpus:
    """Words of documents, counted.

    Attributes
    ----------
    vocabulary
        words that stand in at least ``least`` documents; place 0 is every other word
    tokens
        of each document, places in the vocabulary
    """

    vocabulary: tuple[str, ...]
    tokens: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, documents: Sequence[str], least: int = 2) -> Corpus:
        """Count the words of documents.

        Raises
        ------
        EvidenceError
            When there are no words.
        """
        split = [words(d) for d in documents]
        seen: dict[str, int] = {}
        for text in split:
            for w in dict.fromkeys(text):
                seen[w] = seen.get(w, 0) + 1
        kept = sorted(w for w, n in seen.items() if n >= least)
        if not kept:
            raise EvidenceError(
                f"no word stands in {least} documents: an attack needs a corpus to draw words from."
            )
        place = {w: k for k, w in enumerate(kept, 1)}
        return cls(
            ("", *kept),
            tuple(np.array([place.get(w, 0) for w in text], dtype=np.int64) for text in split),
        )

    @cached_property
    def place(self) -> dict[str, int]:
        return {w: k for k, w in enumerate(self.vocabulary)}

    def encode(self, text: str | Sequence[str]) -> NDArray[np.int64]:
        """Places of words; 0 for unknown ones."""
        split = words(text) if isinstance(text, str) else text
        return np.array([self.place.get(w, 0) for w in split], dtype=np.int64)

    @cached_property
    def counts(self) -> csr_matrix:
        """(documents, vocabulary)"""
        rows = np.repeat(np.arange(len(self.tokens)), [len(t) for t in self.tokens])
        flat = np.concatenate(self.tokens)
        return coo_matrix(
            (np.ones(len(flat)), (rows, flat)), shape=(len(self.tokens), len(self.vocabulary))
        ).tocsr()

    @cached_property
    def idf(self) -> Float:
        """log(1 + documents / documents with the word); 0 for unknown words."""
        df = np.asarray((self.counts > 0).sum(axis=0)).ravel()
        out = np.log1p(len(self.tokens) / np.maximum(df, 1))
        out[0] = 0.0
        return out

    def vectors(self, size: int = 64) -> NDArray[np.float32]:
        """Unit vectors of words from the singular vectors of log-tf-idf: (vocabulary, size); zeros
        for unknown words.
        """
        table = self.counts.copy()
        table.data = np.log1p(table.data)
        table = table.multiply(self.idf).tocsc()
        k = min(size, min(table.shape) - 1)
        _, s, vt = svds(table, k=k, v0=np.ones(min(table.shape)))
        out = np.zeros((len(self.vocabulary), size), dtype=np.float32)
        out[:, :k] = vt.T * np.sqrt(s)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    @cached_property
    def _bigrams(self) -> tuple[csr_matrix, Float, Float]:
        n = len(self.vocabulary)
        first = np.concatenate([t[:-1] for t in self.tokens])
        second = np.concatenate([t[1:] for t in self.tokens])
        table = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n)).tocsr()
        after = np.asarray(table.sum(axis=1)).ravel()
        # Lower order as Kneser and Ney: in how many contexts a word stands; plus one, so that every
        # word can follow.
        contexts = np.asarray((table > 0).sum(axis=0)).ravel() + 1.0
        return table, after, contexts / contexts.sum()

    def next_log_prob(self, previous: int, discount: float = 0.75) -> Float:
        """Log-probability of each word after a word: (vocabulary,), bigrams by absolute discounting
        (Kneser and Ney).
        """
        table, after, lower = self._bigrams
        row = table.indptr[previous], table.indptr[previous + 1]
        if after[previous] == 0:
            return np.log(lower)
        out = discount * (row[1] - row[0]) / after[previous] * lower
        out[table.indices[row[0] : row[1]]] += (
            np.maximum(table.data[row[0] : row[1]] - discount, 0) / after[previous]
        )
        return np.log(out)

    def log_prob(self, tokens: NDArray[np.int64]) -> Float:
        """Log-probability of each word of a text but the first given the one before: (words - 1,)."""
        return np.array([self.next_log_prob(a)[b] for a, b in pairwise(tokens)])

    def perplexity(self, tokens: NDArray[np.int64]) -> float:
        """exp of the mean negative log-probability; NaN for fewer than two words."""
        return float(np.exp(-self.log_prob(tokens).mean())) if len(tokens) > 1 else np.nan
