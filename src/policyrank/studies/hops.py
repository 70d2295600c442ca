"""MuSiQue's questions of several hops: passages as features, hops as a chain of statements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float = NDArray[np.float64]
_REFERENCE = re.compile(r"#(\d+)")


@dataclass(frozen=True)
class Hop:
    """One step to an answer.

    Attributes
    ----------
    question, answer
        what is asked, in which ``#k`` stands for the answer of hop k (from 1), and what it is
    needs
        the hops whose answers it needs, from 0
    passage
        the place of the passage that supports it
    """

    question: str
    answer: str
    needs: tuple[int, ...]
    passage: int

    def asked(self, answers: Mapping[int, str]) -> str:
        """The question with the answers that are known in it; of the others nothing is said.

        Examples
        --------
        >>> hop = Hop("Which state borders #2 to the east of #1?", "Ohio", (1, 0), 3)
        >>> hop.asked({1: "Indiana"})
        'Which state borders Indiana to the east of ?'
        """
        told = _REFERENCE.sub(lambda found: answers.get(int(found[1]) - 1, ""), self.question)
        return " ".join(told.split())


def hops_of(question: Mapping[str, Any]) -> tuple[Hop, ...]:
    """The hops of a question, the one that answers it last."""
    places = {row["idx"]: place for place, row in enumerate(question["paragraphs"])}
    found = []
    for row in question["question_decomposition"]:
        needs = tuple(int(number) - 1 for number in _REFERENCE.findall(row["question"]))
        place = places[row["paragraph_support_idx"]]
        found.append(Hop(row["question"], row["answer"], needs, place))
    return tuple(found)


def statements(hops: Iterable[Hop]) -> tuple[str, ...]:
    """Each hop as a statement with placeholders; the last one's answer is ``<E0>``.

    Examples
    --------
    >>> hops = (Hop("Who made Heat?", "Mann", (), 0), Hop("Where was #1 born?", "Chicago", (0,), 1))
    >>> statements(hops)
    ('Who made Heat? <E1>', 'Where was <E1> born? <E0>')
    """
    own = tuple(hops)
    last = len(own) - 1
    names = {number: f"<E{last - number}>" for number in range(len(own))}
    return tuple(f"{hop.asked(names)} {names[number]}" for number, hop in enumerate(own))


def passage_features(questions: Iterable[Mapping[str, Any]]) -> Tensor:
    """Passages by words, standardised: (questions, passages, 8).

    Likeness to the question of text and title; to other passages, weighed by theirs to the
    question, the largest, and of text to titles both ways; length; rank by the first.
    """
    features = np.array([_features(own) for own in questions])
    flat = features.reshape(-1, features.shape[-1])
    return torch.from_numpy((features - flat.mean(axis=0)) / flat.std(axis=0)).float()


def _features(question: Mapping[str, Any]) -> Float:
    from sklearn.feature_extraction.text import TfidfVectorizer

    titles = [row["title"] for row in question["paragraphs"]]
    texts = [row["paragraph_text"] for row in question["paragraphs"]]
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    bodies = words.fit_transform([f"{a} {b}" for a, b in zip(titles, texts, strict=True)])
    asked, heads = words.transform([question["question"]]), words.transform(titles)
    near = (bodies @ asked.T).toarray()[:, 0]
    named = (heads @ asked.T).toarray()[:, 0]
    alike = (bodies @ bodies.T).toarray()
    calls = (bodies @ heads.T).toarray()  # whose words another's title has
    for own in (alike, calls):
        np.fill_diagonal(own, 0)
    rank = np.argsort(np.argsort(-near))
    bridge = alike @ near, alike.max(axis=1), calls.max(axis=1), calls.max(axis=0)
    length = np.log1p([len(text.split()) for text in texts])
    return np.column_stack([near, named, *bridge, length, rank])
