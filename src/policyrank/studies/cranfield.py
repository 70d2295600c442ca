"""Cranfield as candidates with features, and small scorers of them: what several studies rerank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.evidence import datasets
from policyrank.learn.rewards import ndcg
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.fairness import Settings, Tuned, tune
from policyrank.studies.frame import Report, Row
from policyrank.train.first_stage import bm25_run

NDCG, FIRST_STAGE = "nDCG@10", "BM25"
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that each method may choose from."""


@dataclass(frozen=True)
class Candidates:
    """Of one query: grades (n,), features (n, 769) and BM25 scores (n,) of its candidates."""

    grades: NDArray[np.float64]
    features: NDArray[np.float32]
    scores: NDArray[np.float64]


@cache
def reranking(depth: int, most: int | None = None) -> dict[str, Candidates]:
    """Of each query (the first ``most``) its candidates by BM25."""
    queries, documents, qrels = datasets.load("cranfield")
    queries = dict(list(queries.items())[:most])
    found = bm25_run(queries, documents, depth=depth)
    found = found.join(qrels, on=["query", "document"], how="left")
    encoder = load_encoder("minilm", device="cpu")
    used = sorted(set(found["document"]))
    texts = [documents[name] for name in used]
    their_vectors = encode_texts(encoder, texts, cache="minilm")
    vectors = dict(zip(used, their_vectors, strict=True))
    own_vectors = encode_texts(encoder, list(queries.values()), cache="minilm")
    asked = dict(zip(queries, own_vectors, strict=True))
    out = {}
    for (name,), part in found.group_by("query", maintain_order=True):
        own = asked[str(name)]
        theirs = np.stack([vectors[document] for document in part["document"]])
        cosine = (theirs @ own)[:, None]
        features = np.hstack([20 * own * theirs, 20 * np.abs(own - theirs), 3 * cosine])
        grades = part["grade"].fill_null(0.0).to_numpy()
        out[str(name)] = Candidates(grades, features.astype(np.float32), part["score"].to_numpy())
    return out


def usable(lists: Mapping[str, Candidates], least: int = 1) -> list[str]:
    """Queries with a relevant candidate, and ``least`` others beside."""
    found = []
    for name, own in lists.items():
        relevant = int((own.grades > 0).sum())
        if relevant and len(own.grades) - relevant >= least:
            found.append(name)
    return sorted(found)


class PassageScorer(nn.Module):
    """Scores candidates by their features and their place in the first stage."""

    def __init__(self, features: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Scores: (..., candidates)."""
        return self.layers(features).squeeze(-1)


def inputs(own: Candidates) -> Tensor:
    """Features of candidates, with their first-stage score, standardised: (n, 770)."""
    spread = own.scores.std() or 1.0
    first = ((own.scores - own.scores.mean()) / spread)[:, None]
    return torch.from_numpy(np.hstack([own.features, first]).astype(np.float32))


def reranked(
    lists: Mapping[str, Candidates], names: Sequence[str], scorer: nn.Module | None
) -> dict[str, float]:
    """nDCG@10 by grades, of all candidates in the scorer's order (None: the first stage's)."""
    found = {}
    for name in names:
        own = lists[name]
        order = np.argsort(-own.scores, kind="stable")
        if scorer is not None:
            with torch.no_grad():
                order = scorer(inputs(own)).argsort(descending=True, stable=True).numpy()
        grades = torch.tensor(own.grades)
        found[name] = float(ndcg(grades[order.copy()][None], grades, k=10))
    return found


@dataclass(frozen=True)
class Fold:
    """Queries to learn from and to judge by, and the draws of a training."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    seed: int


def folds(names: Sequence[str], seed: int, replicate: int, count: int = 5) -> Iterator[Fold]:
    """Each query is judged once."""
    order = np.random.default_rng([seed, replicate]).permutation(sorted(names))
    for number, test in enumerate(np.array_split(order, count)):
        held = set(test.tolist())
        rest = tuple(name for name in order.tolist() if name not in held)
        yield Fold(rest, tuple(test.tolist()), seed * 1000 + replicate * 10 + number)


def apart(names: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """A third of the queries for tuning, and the rest."""
    order = np.random.default_rng([seed, 999]).permutation(sorted(names)).tolist()
    cut = len(order) // 3
    return order[:cut], order[cut:]


def descend(
    scorer: nn.Module, loss: Callable[[], Tensor], *, rate: float, updates: int
) -> nn.Module:
    """Adam on a loss that draws its own batch."""
    optimizer = torch.optim.Adam(scorer.parameters(), lr=rate)
    for _ in range(updates):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return scorer


@dataclass(frozen=True)
class Rerankers:
    """Methods that learn to rerank, compared on queries that they have not seen.

    Attributes
    ----------
    names
        queries: a third is for tuning, and judges nothing
    methods
        that learn; BM25 stands beside
    train
        (method, fold, learning rate) -> a scorer
    count, draws
        folds, and how often queries are dealt out to them anew
    """

    lists: Mapping[str, Candidates]
    names: Sequence[str]
    methods: Sequence[str]
    train: Callable[[str, Fold, float], nn.Module]
    count: int
    draws: int
    seed: int

    def tuned(self, report: Report) -> dict[str, Tuned]:
        """Each method's learning rate, by the queries that are apart."""
        aside, _ = apart(self.names, self.seed)

        def reached(method: str, settings: Settings, draw: int) -> float:
            report(f"tuning {method}: {settings}")
            values: dict[str, float] = {}
            for fold in folds(aside, self.seed, 100 + draw, self.count):
                scorer = self.train(method, fold, settings["lr"])
                values |= reranked(self.lists, fold.test, scorer)
            return float(np.mean(list(values.values())))

        grids = {method: [{"lr": rate} for rate in RATES] for method in self.methods}
        return tune(grids, reached, range(1), metric=NDCG)

    def judged(self, tuned: Mapping[str, Tuned], report: Report) -> Iterator[Row]:
        """nDCG@10 of each query that is not apart, once a draw."""
        _, rest = apart(self.names, self.seed)
        for draw in range(self.draws):
            for number, fold in enumerate(folds(rest, self.seed, draw, self.count), 1):
                report(f"draw {draw + 1} of {self.draws}, fold {number} of {self.count}")
                found: dict[str, nn.Module | None] = {FIRST_STAGE: None}
                for method in self.methods:
                    found[method] = self.train(method, fold, tuned[method].chosen["lr"])
                for method, scorer in found.items():
                    for query, value in reranked(self.lists, fold.test, scorer).items():
                        yield method, f"query {query}", NDCG, draw, value
