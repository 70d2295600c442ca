"""The audit: attack a ranker one owns, and say how far it can be moved.

Also at what cost, and whether it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl

from policyrank.auditing.attacks.detect import query_share, suspicion, thresholds
from policyrank.auditing.attacks.imitation import Imitation, Victim, imitate
from policyrank.auditing.attacks.language import Corpus, words
from policyrank.auditing.attacks.measures import (
    attack_metrics,
    mean_interval,
    perturbation_rate,
    rank_of,
)
from policyrank.auditing.attacks.triggers import ATTACKS, Attack
from policyrank.auditing.attacks.victims import Asked, best_first, silent
from policyrank.errors import EvidenceError
from policyrank.metrics.overlap import rank_biased_overlap


@dataclass(frozen=True, eq=False)
class AttackReport:
    """What the attacks did.

    Attributes
    ----------
    frame
        one row an attacked document and method: method, query, document, old, new (ranks), listed
        (documents in the list), changed (share of words), query_share (of the words added),
        perplexity, density, spamicity, flagged
    overlaps
        of imitation and victim: overlap of the first ten, of each attacked query
    rbo
        their mean rank-biased overlap (p = .9)
    chance
        the overlap that a random order would have
    lists
        of the victim that the imitation learned from: fewer than asked for where there are too few
        queries
    calls
        documents that the victim scored
    limits
        signs that flag 5% of the clean documents each
    texts
        (method, query, document) -> the changed text
    """

    frame: pl.DataFrame
    overlaps: Mapping[str, float]
    rbo: float
    chance: float
    lists: int
    calls: int
    limits: dict[str, float]
    texts: Mapping[tuple[str, str, str], str]

    @property
    def overlap(self) -> float:
        """Mean over the attacked queries."""
        return float(np.mean(list(self.overlaps.values())))

    def summary(self, cuts: Sequence[int] = (10, 20, 50, 100)) -> pl.DataFrame:
        """By method, the largest boost first.

        Success, mean boost with its 95% interval (queries as units), share brought to the first K,
        what it changed, and how often it was flagged.
        """
        boost = (pl.col("old") - pl.col("new")).mean().alias("boost")
        rows = []
        for (method,), part in self.frame.group_by("method", maintain_order=True):
            boosts = part.group_by("query", maintain_order=True).agg(boost)["boost"].to_numpy()
            low, high = mean_interval(boosts)
            moved = attack_metrics(part["old"], part["new"], cuts)
            rows.append(
                {
                    "method": method,
                    "success": moved.pop("success"),
                    "boost": moved.pop("boost"),
                    "lower": low,
                    "upper": high,
                    **moved,
                    "changed": part["changed"].mean(),
                    "query words": part["query_share"].mean(),
                    "perplexity": part["perplexity"].median(),
                    "density": part["density"].mean(),
                    "flagged": part["flagged"].mean(),
                }
            )
        return pl.DataFrame(rows).sort("boost", descending=True, maintain_order=True)


def attack(
    victim: Victim,
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    candidates: Mapping[str, Sequence[str]],
    *,
    methods: Sequence[str] | None = None,
    attacked: int = 50,
    targets: int = 5,
    budget: int = 6,
    lists: int = 150,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> AttackReport:
    """Attack a ranker one owns.

    Imitate it from the order of its lists, then lift the lowest documents of other queries.

    Parameters
    ----------
    victim
        (query, documents) -> scores; only their order is used, and the score of a changed document
        to find its rank
    queries, documents
        texts by name
    candidates
        of each query, the names of the documents that the victim ranks
    methods
        names in ``ATTACKS`` (None: all)
    attacked, lists
        queries to attack, and other queries whose lists the imitation learns from (at most as many
        as there are)
    targets
        lowest documents of each attacked query
    budget
        words that may be added or replaced (query insertion takes what the query has)

    Raises
    ------
    EvidenceError
        For an unknown method, or too few queries.
    """
    chosen = _known(ATTACKS if methods is None else methods)
    rng, say = np.random.default_rng(seed), report or silent
    usable = [query for query in queries if len(candidates.get(query, ())) > targets + 3]
    attacked = min(attacked, len(usable) // 2)
    _check_enough(attacked, len(usable), targets + 3)
    order = [usable[place] for place in rng.permutation(len(usable))]
    corpus = Corpus.of(list(documents.values()))
    place = {name: row for row, name in enumerate(documents)}
    asked = Asked(victim, queries, documents)
    hit, shown = order[:attacked], order[attacked : attacked + lists]
    scored, ranked, pages = {}, {}, {}
    for number, query in enumerate([*hit, *shown], start=1):
        say(f"asking the ranker: query {number} of {len(hit) + len(shown)}")
        scored[query] = asked.scores(query, candidates[query])
        ranked[query] = best_first(candidates[query], scored[query])
        pages[query] = list(map(place.__getitem__, ranked[query]))
    seen_lists = {queries[query]: pages[query] for query in shown}
    model = imitate(seen_lists, corpus, seed=seed, report=report)
    both, rbo, chance = agreement(model, [(queries[query], pages[query]) for query in hit])
    watch = _watching(documents, (ranked[query][-targets:] for query in hit))
    rows: list[dict[str, object]] = []
    clean: list[dict[str, float]] = []
    texts: dict[tuple[str, str, str], str] = {}
    for number, query in enumerate(hit, start=1):
        say(f"attacking: query {number} of {attacked}")
        anchor = np.concatenate([corpus.tokens[row] for row in pages[query][:3]])
        for name in ranked[query][-targets:]:
            original = words(documents[name])
            clean.append(suspicion(watch, queries[query], original))
            seen = Attack(queries[query], tuple(original), anchor, budget, model, rng)
            own = candidates[query].index(name)
            others = np.delete(scored[query], own)
            changed = {method: ATTACKS[method](seen) for method in chosen}
            new = asked.texts(query, list(map(" ".join, changed.values())))
            for (method, text), score in zip(changed.items(), new, strict=True):
                texts[method, query, name] = " ".join(text)
                about = {
                    "method": method,
                    "query": query,
                    "document": name,
                    "old": rank_of(scored[query][own], others),
                    "new": rank_of(score, others),
                    "listed": len(ranked[query]),
                }
                rows.append(about | _signs(watch, queries[query], original, text))
    limits = thresholds(clean)
    return AttackReport(
        frame=_flagged(rows, limits),
        overlaps=dict(zip(hit, both, strict=True)),
        rbo=rbo,
        chance=chance,
        lists=len(shown),
        calls=asked.calls,
        limits=limits,
        texts=texts,
    )


def _flagged(rows: list[dict[str, object]], limits: Mapping[str, float]) -> pl.DataFrame:
    odd = pl.col("perplexity") > limits["perplexity"]
    dense = pl.col("density") > limits["density"]
    return pl.DataFrame(rows).with_columns(flagged=odd | dense)


def _known(methods: Iterable[str]) -> list[str]:
    chosen = list(methods)
    for method in chosen:
        if method not in ATTACKS:
            raise EvidenceError(f"no attack is called {method!r}. There are: {', '.join(ATTACKS)}.")
    return chosen


def _check_enough(attacked: int, usable: int, candidates: int) -> None:
    if attacked < 1:
        raise EvidenceError(
            f"{usable} queries have more than {candidates} candidates: an attack needs at"
            " least two, one to imitate and one to attack."
        )


def _watching(documents: Mapping[str, str], attacked: Iterable[Sequence[str]]) -> Corpus:
    """What watches for attacks may not have learned from the very documents that are attacked."""
    hit = set(chain.from_iterable(attacked))
    clean = [text for name, text in documents.items() if name not in hit]
    return Corpus.of(clean or list(documents.values()))


def _signs(
    watch: Corpus, query: str, original: Sequence[str], text: Sequence[str]
) -> dict[str, float]:
    """How much was changed, and what gives it away."""
    known = set(original)
    added = [word for word in text if word not in known]
    return {
        "changed": perturbation_rate(original, text),
        "query_share": query_share(query, added),
        **suspicion(watch, query, text),
    }


def agreement(
    model: Imitation, lists: Sequence[tuple[str, Sequence[int]]], k: int = 10
) -> tuple[list[float], float, float]:
    """Of imitation and victim, on lists of (query, documents best first).

    Overlap of the first k of each, mean rank-biased overlap (p = .9), and the overlap of a random
    order.
    """
    both, overlaps, chance = [], [], []
    for query, found in lists:
        scores = model.scores(query, [model.corpus.tokens[document] for document in found])
        ours = best_first(found, scores)
        shared = set(ours[:k]) & set(found[:k])
        both.append(len(shared) / min(k, len(found)))
        overlaps.append(rank_biased_overlap(ours, list(found)))
        chance.append(min(k, len(found)) / len(found))
    return both, float(np.mean(overlaps)), float(np.mean(chance))
