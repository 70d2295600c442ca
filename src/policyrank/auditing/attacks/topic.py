"""Attacks on one document for a whole group of queries, as a decision process.

After Liu et al. (2023), arXiv 2304.14867. State: the document as it stands and the group. Action:
insert or substitute one word at a place. Reward: what the edit does to the imitation's scores over
the group. The paper's released code is a sketch, so actions, features and reward are our own
reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from policyrank.auditing.attacks.imitation import Imitation
from policyrank.auditing.attacks.language import Corpus
from policyrank.errors import EvidenceError
from policyrank.learn.advantages import group_advantage

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Reward = Literal["count", "log-boost", "topk", "score"]


def promote_reward(old: ArrayLike, new: ArrayLike, kind: Reward = "count", *, k: int = 10) -> Float:
    """Reward of a change over a group (..., queries) -> (...).

    A group of one query gives the paired attack.

    Parameters
    ----------
    old, new
        ranks (for ``"score"``: scores, higher is better)
    kind
        ``"count"``: share of queries whose rank got better; ``"log-boost"``: mean log(old / new);
        ``"topk"``: share of queries within the first k after minus before; ``"score"``: mean gain

    Examples
    --------
    >>> old, new = [50, 10, 30], [20, 12, 30]
    >>> print(promote_reward(old, new).round(3), promote_reward(old, new, "topk", k=20).round(3))
    0.333 0.333
    """
    before, after = np.asarray(old, dtype=float), np.asarray(new, dtype=float)
    if kind == "count":
        gain = (after < before).astype(float)
    elif kind == "log-boost":
        gain = np.log(before / after)
    elif kind == "topk":
        gain = (after <= k).astype(float) - (before <= k)
    elif kind == "score":
        gain = after - before
    else:
        raise EvidenceError(f"reward {kind!r}: use count, log-boost, topk or score.")
    return np.asarray(gain.mean(axis=-1))


def discounted_returns(rewards: ArrayLike, gamma: float = 0.99) -> Float:
    """Sum of later rewards, discounted, at each step: (..., steps).

    Examples
    --------
    >>> discounted_returns([1, 0, 2]).round(4)
    array([2.9602, 1.98  , 2.    ])
    """
    found = np.array(rewards, dtype=float)
    for step in range(found.shape[-1] - 2, -1, -1):
        found[..., step] += gamma * found[..., step + 1]
    return found


@dataclass(frozen=True, eq=False)
class TopicTask:
    """A document to lift for a group.

    Attributes
    ----------
    queries
        of the group
    document
        places in the vocabulary of the imitation's corpus
    words
        candidate words, places in the vocabulary: what an attacker reads in the group's result
        pages
    """

    queries: tuple[str, ...]
    document: Int
    words: Int


def candidate_words(corpus: Corpus, pages: Sequence[Int], count: int = 30) -> Int:
    """The words of the largest tf-idf in the pages that an attacker can read."""
    tf = np.bincount(np.concatenate(list(pages)), minlength=len(corpus.vocabulary)).astype(float)
    value = np.log1p(tf) * corpus.idf
    return np.argsort(-value, kind="stable")[:count]


@dataclass(frozen=True, eq=False)
class _Edit:
    """A document with one word more, or another one; ``where``: 0 front, 1 middle, 2 end."""

    document: Int
    word: int
    where: int
    swapped: bool


def _edits(task: TopicTask, now: Int) -> list[_Edit]:
    """Each unused candidate word at each place, inserted, or swapped where no candidate stands."""
    made = []
    for word in task.words[~np.isin(task.words, now)]:
        for where, place in enumerate((0, len(now) // 2, len(now))):
            made.append(_Edit(np.insert(now, place, word), word, where, swapped=False))
            target = min(place, len(now) - 1)
            if now[target] not in task.words:
                swapped = now.copy()
                swapped[target] = word
                made.append(_Edit(swapped, word, where, swapped=True))
    return made


class TopicAttack:
    """Edits a document word by word.

    An edit is a word at the front, middle or end, inserted there or in the place of the word that
    stands there.

    Parameters
    ----------
    model
        imitation of the ranker
    budget
        edits
    least_similarity
        edits that would bring the tf-idf cosine with the original below this are not made
    """

    FEATURES = 8

    def __init__(self, model: Imitation, budget: int = 10, least_similarity: float = 0.8) -> None:
        self.model, self.budget, self.least_similarity = model, budget, least_similarity
        self.policy = nn.Linear(self.FEATURES, 1, bias=False)
        nn.init.zeros_(self.policy.weight)

    def options(self, task: TopicTask, now: Int) -> tuple[list[Int], Float, Float]:
        """All edits: documents, features (edits, FEATURES), and scores of the group.

        Scores are (edits + 1, queries), the first of the document as it stands.
        """
        original = self._weighted(task.document)
        edits = []
        for edit in _edits(task, now):
            if _cosine(original, self._weighted(edit.document)) >= self.least_similarity:
                edits.append(edit)
        made = [edit.document for edit in edits]
        scores = [self.model.scores(query, [now, *made]) for query in task.queries]
        table = np.stack(scores, axis=1)
        return made, self._features(task, edits, table[1:] - table[0]), table

    def _weighted(self, document: Int) -> Float:
        """(vocabulary,): its words by tf-idf."""
        idf = self.model.corpus.idf
        return np.bincount(document, minlength=len(idf)) * idf

    def _features(self, task: TopicTask, edits: list[_Edit], gain: Float) -> Float:
        """(edits, FEATURES): what it gains, its word, where it stands."""
        corpus = self.model.corpus
        about = [(edit.word, edit.where, edit.swapped) for edit in edits]
        word, where, swapped = np.array(about, dtype=int).reshape(-1, 3).T
        asked = np.concatenate([corpus.encode(query) for query in task.queries])
        least = gain.min(axis=1) if len(gain) else np.zeros(0)
        columns = [
            10 * gain.mean(axis=1),
            10 * least,
            (gain > 0).mean(axis=1),
            corpus.idf[word] / 5,
            where == 0,
            where == 1,
            swapped,
            np.isin(word, asked),
        ]
        return np.column_stack(columns)

    def greedy(self, task: TopicTask) -> Int:
        """At each step the edit that the imitation likes best on average over the group.

        Stops when none gains.
        """
        now = task.document
        for _ in range(self.budget):
            made, _, scores = self.options(task, now)
            liked = scores[1:].mean(axis=1)
            if not made or (liked <= scores[0].mean()).all():
                break
            now = made[int(liked.argmax())]
        return now

    def random(self, task: TopicTask, rng: np.random.Generator) -> Int:
        """Edits drawn with equal probability."""
        now = task.document
        for _ in range(self.budget):
            made, _, _ = self.options(task, now)
            if not made:
                break
            now = made[int(rng.integers(len(made)))]
        return now

    def episode(
        self, task: TopicTask, generator: torch.Generator | None = None, reward: Reward = "score"
    ) -> tuple[Int, list[Tensor], Float]:
        """One run of the policy: the document, log-probabilities of its edits, rewards.

        Without a generator the likeliest edit is taken.
        """
        now, chosen, rewards = task.document, [], []
        for _ in range(self.budget):
            made, features, scores = self.options(task, now)
            if not made:
                break
            logits = self.policy(torch.from_numpy(features).float()).squeeze(-1)
            log_prob = torch.log_softmax(logits, dim=0)
            if generator is None:
                pick = int(log_prob.argmax())
            else:
                pick = int(torch.multinomial(log_prob.exp(), 1, generator=generator))
            chosen.append(log_prob[pick])
            rewards.append(float(promote_reward(scores[0], scores[pick + 1], reward)))
            now = made[pick]
        return now, chosen, np.array(rewards)

    def fit(
        self,
        tasks: Sequence[TopicTask],
        *,
        updates: int = 100,
        episodes: int = 8,
        learning_rate: float = 0.05,
        gamma: float = 0.99,
        seed: int = 0,
        report: Callable[[str], None] | None = None,
    ) -> list[float]:
        """Policy gradient; returns the mean reward of each update.

        Each update takes one task, runs several episodes, and compares them with each other (their
        standardised returns).

        Raises
        ------
        EvidenceError
            Without tasks.
        """
        if not tasks:
            raise EvidenceError("no tasks: give at least one document and group to learn from.")
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        optimizer = torch.optim.Adam(self.policy.parameters(), lr=learning_rate)
        history = []
        for update in range(updates):
            if report is not None:
                report(f"learning to attack: update {update + 1} of {updates}")
            task = tasks[int(rng.integers(len(tasks)))]
            runs = [self.episode(task, generator) for _ in range(episodes)]
            totals = torch.zeros(episodes, dtype=torch.float64)
            taken = [torch.zeros(())] * episodes
            for run, (_, log_probs, rewards) in enumerate(runs):
                if log_probs:
                    totals[run] = float(discounted_returns(rewards)[0])
                    taken[run] = torch.stack(log_probs).sum()
            gains = group_advantage(totals, scale="sample", epsilon=0.0)
            loss = -(gains * torch.stack(taken)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(float(totals.mean()))
        return history


def _cosine(a: Float, b: Float) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def group_queries(vectors: ArrayLike, least: int = 5) -> list[Int]:
    """Groups of queries on one topic: average-linkage clusters of unit vectors (queries, d).

    Cut where most queries are in groups of at least ``least`` and at most four times as many.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(np.asarray(vectors, dtype=float), "average", metric="cosine")
    best: list[Int] = []
    most = 0
    for height in np.linspace(0.1, 0.9, 33):
        labels = fcluster(tree, height, "distance")
        names, sizes = np.unique(labels, return_counts=True)
        usable = (sizes >= least) & (sizes <= 4 * least)
        if sizes[usable].sum() > most:
            most = int(sizes[usable].sum())
            best = [np.flatnonzero(labels == name) for name in names[usable]]
    return best
