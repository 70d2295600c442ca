"""Attacks on one document for a whole group of queries, as a decision process (after Liu et al.
2023, arXiv 2304.14867).

State: the document as it stands and the group. Action: insert or substitute one word at a place.
Reward: what the edit does to the imitation's scores over the group. The paper's released code is a
sketch, so actions, features and reward are our own reading.
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
from policyrank.learn.advantages import advantage

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Reward = Literal["count", "log-boost", "topk", "score"]


def promote_reward(old: ArrayLike, new: ArrayLike, kind: Reward = "count", *, k: int = 10) -> Float:
    """Reward of a change over a group (..., queries) -> (...); a group of one query gives the
    paired attack.

    Parameters
    ----------
    old, new
        ranks (for ``"score"``: scores, higher is better)
    kind
        ``"count"``: share of queries whose rank got better; ``"log-boost"``: mean log(old / new);
        ``"topk"``: share of queries within the first k after minus before; ``"score"``: mean gain

    Examples
    --------
    >>> print(promote_reward([50, 10, 30], [20, 12, 30]).round(3), promote_reward([50, 10, 30], [20, 12, 30], "topk", k=20).round(3))
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
    r = np.array(rewards, dtype=float)
    for t in range(r.shape[-1] - 2, -1, -1):
        r[..., t] += gamma * r[..., t + 1]
    return r


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


class TopicAttack:
    """Edits a document word by word; an edit is a word at the front, middle or end, inserted there
    or in the place of the word that stands there.

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
        """All edits: documents, features (edits, FEATURES), and scores of the group (edits + 1,
        queries), the first of the document as it stands.
        """
        unused = task.words[~np.isin(task.words, now)]
        places = (0, len(now) // 2, len(now))
        made, about = [], []
        for word in unused:
            for where, place in enumerate(places):
                made.append(np.insert(now, place, word))
                about.append((word, where, 0))
                target = min(place, len(now) - 1)
                if now[target] not in task.words:
                    swapped = now.copy()
                    swapped[target] = word
                    made.append(swapped)
                    about.append((word, where, 1))
        idf = self.model.corpus.idf
        original = np.bincount(task.document, minlength=len(idf)) * idf
        kept = [
            k
            for k, d in enumerate(made)
            if _cosine(original, np.bincount(d, minlength=len(idf)) * idf) >= self.least_similarity
        ]
        made, about = [made[k] for k in kept], [about[k] for k in kept]
        scores = np.stack([self.model.scores(q, [now, *made]) for q in task.queries], axis=1)
        gain = scores[1:] - scores[0]
        shape = np.array(about, dtype=float).reshape(-1, 3)
        features = np.column_stack(
            [
                10 * gain.mean(axis=1),
                10 * gain.min(axis=1) if len(gain) else [],
                (gain > 0).mean(axis=1),
                idf[shape[:, 0].astype(int)] / 5,
                shape[:, 1] == 0,
                shape[:, 1] == 1,
                shape[:, 2],
                np.isin(
                    shape[:, 0].astype(int),
                    np.concatenate([self.model.corpus.encode(q) for q in task.queries]),
                ),
            ]
        )
        return made, features, scores

    def greedy(self, task: TopicTask) -> Int:
        """At each step the edit that the imitation likes best on average over the group; stops when
        none gains.
        """
        now = task.document
        for _ in range(self.budget):
            made, _, scores = self.options(task, now)
            if not made or (scores[1:].mean(axis=1) <= scores[0].mean()).all():
                break
            now = made[int(scores[1:].mean(axis=1).argmax())]
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
        """One run of the policy: the document, log-probabilities of its edits, rewards. Without a
        generator the likeliest edit is taken.
        """
        now, chosen, rewards = task.document, [], []
        for _ in range(self.budget):
            made, features, scores = self.options(task, now)
            if not made:
                break
            log_prob = torch.log_softmax(
                self.policy(torch.from_numpy(features).float()).squeeze(-1), dim=0
            )
            pick = (
                int(log_prob.argmax())
                if generator is None
                else int(torch.multinomial(log_prob.exp(), 1, generator=generator))
            )
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
        """Policy gradient: each update takes one task, runs several episodes, and compares them
        with each other (their standardised returns). Returns the mean reward of each update.

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
            totals = torch.tensor([discounted_returns(r)[0] if len(r) else 0.0 for _, _, r in runs])
            gains = advantage(totals, "std")
            taken = torch.stack(
                [torch.stack(p).sum() if p else torch.zeros(()) for _, p, _ in runs]
            )
            loss = -(gains * taken).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(float(totals.mean()))
        return history


def _cosine(a: Float, b: Float) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def group_queries(vectors: ArrayLike, least: int = 5) -> list[Int]:
    """Groups of queries on one topic: average-linkage clusters of unit vectors (queries, d), cut
    where most queries are in groups of at least ``least``.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    v = np.asarray(vectors, dtype=float)
    tree = linkage(v, "average", metric="cosine")
    best: list[Int] = []
    for height in np.linspace(0.1, 0.9, 33):
        labels = fcluster(tree, height, "distance")
        groups = [np.flatnonzero(labels == g) for g in np.unique(labels)]
        groups = [g for g in groups if least <= len(g) <= 4 * least]
        if sum(map(len, groups)) > sum(map(len, best)):
            best = groups
    return best
