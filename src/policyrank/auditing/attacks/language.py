"""The words of a corpus: vocabulary, idf, vectors, and a bigram language model.

For fluency of attacks, and for detectors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
        split = [words(document) for document in documents]
        seen: Counter[str] = Counter()
        for text in split:
            seen.update(set(text))
        kept = sorted(word for word, count in seen.items() if count >= least)
        if not kept:
            raise EvidenceError(
                f"no word stands in {least} documents: an attack needs a corpus to draw words from."
            )
        vocabulary = ("", *kept)
        place = _places(vocabulary)
        return cls(vocabulary, tuple(_encoded(text, place) for text in split))

    @cached_property
    def place(self) -> dict[str, int]:
        return _places(self.vocabulary)

    def encode(self, text: str | Sequence[str]) -> NDArray[np.int64]:
        """Places of words; 0 for unknown ones."""
        split = words(text) if isinstance(text, str) else text
        return _encoded(split, self.place)

    @cached_property
    def counts(self) -> csr_matrix:
        """(documents, vocabulary)"""
        rows = np.repeat(np.arange(len(self.tokens)), list(map(len, self.tokens)))
        shape = (len(self.tokens), len(self.vocabulary))
        return _counted(rows, np.concatenate(self.tokens), shape)

    @cached_property
    def idf(self) -> Float:
        """log(1 + documents / documents with the word); 0 for unknown words."""
        df = np.asarray((self.counts > 0).sum(axis=0)).ravel()
        out = np.log1p(len(self.tokens) / np.maximum(df, 1))
        out[0] = 0.0
        return out

    def vectors(self, size: int = 64) -> NDArray[np.float32]:
        """Unit vectors of words from the singular vectors of log-tf-idf: (vocabulary, size).

        Zeros for unknown words.
        """
        table = self.counts.copy()
        table.data = np.log1p(table.data)
        table = table.multiply(self.idf).tocsc()
        rank = min(size, min(table.shape) - 1)
        _, strength, right = svds(table, k=rank, v0=np.ones(min(table.shape)))
        out = np.zeros((len(self.vocabulary), size), dtype=np.float32)
        out[:, :rank] = right.T * np.sqrt(strength)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    @cached_property
    def _bigrams(self) -> tuple[csr_matrix, Float, Float]:
        size = len(self.vocabulary)
        first = np.concatenate([text[:-1] for text in self.tokens])
        second = np.concatenate([text[1:] for text in self.tokens])
        table = _counted(first, second, (size, size))
        after = np.asarray(table.sum(axis=1)).ravel()
        # Lower order as Kneser and Ney: in how many contexts a word stands; plus one, so that every
        # word can follow.
        contexts = np.asarray((table > 0).sum(axis=0)).ravel() + 1.0
        return table, after, contexts / contexts.sum()

    def next_log_prob(self, previous: int, discount: float = 0.75) -> Float:
        """Log-probability of each word after a word: (vocabulary,).

        Bigrams by absolute discounting (Kneser and Ney).
        """
        table, after, lower = self._bigrams
        if after[previous] == 0:
            return np.log(lower)
        start, end = table.indptr[previous], table.indptr[previous + 1]
        out = discount * (end - start) / after[previous] * lower
        own = np.maximum(table.data[start:end] - discount, 0) / after[previous]
        out[table.indices[start:end]] += own
        return np.log(out)

    def log_prob(self, tokens: NDArray[np.int64]) -> Float:
        """Log-probability of each word but the first given the one before: (words - 1,)."""
        found = [self.next_log_prob(before)[after] for before, after in pairwise(tokens)]
        return np.array(found)

    def perplexity(self, tokens: NDArray[np.int64]) -> float:
        """exp of the mean negative log-probability; NaN for fewer than two words."""
        if len(tokens) < 2:
            return np.nan
        return float(np.exp(-self.log_prob(tokens).mean()))


def _places(vocabulary: Sequence[str]) -> dict[str, int]:
    return {word: place for place, word in enumerate(vocabulary)}


def _encoded(text: Sequence[str], place: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([place.get(word, 0) for word in text], dtype=np.int64)


def _counted(
    rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> csr_matrix:
    """How often each pair occurs."""
    return coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
