"""The audit: attack a ranker one owns, and say how far it can be moved, at what cost, and whether
it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import t as student

from policyrank.auditing.attacks.detect import query_share, suspicion, thresholds
from policyrank.auditing.attacks.imitation import Imitation, Victim, imitate
from policyrank.auditing.attacks.language import Corpus, words
from policyrank.auditing.attacks.measures import attack_metrics, perturbation_rate, rank_of
from policyrank.auditing.attacks.triggers import METHODS, Attack
from policyrank.errors import EvidenceError
from policyrank.metrics.retrieval import rank_biased_overlap


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
        """By method: success, mean boost with its 95% interval (queries as units), share brought to
        the first K, what it changed, and how often it was flagged.
        """
        rows = []
        for (method,), part in self.frame.group_by("method", maintain_order=True):
            found = attack_metrics(part["old"], part["new"], cuts)
            boosts = (
                part.group_by("query").agg(b=(pl.col("old") - pl.col("new")).mean())["b"].to_numpy()
            )
            half = (
                student.ppf(0.975, len(boosts) - 1) * boosts.std(ddof=1) / np.sqrt(len(boosts))
                if len(boosts) > 1
                else np.nan
            )
            rows.append(
                {
                    "method": method,
                    "success": found["success"],
                    "boost": found["boost"],
                    "lower": boosts.mean() - half,
                    "upper": boosts.mean() + half,
                    **{k: v for k, v in found.items() if k.startswith("top")},
                    "changed": part["changed"].mean(),
                    "query words": part["query_share"].mean(),
                    "perplexity": part["perplexity"].median(),
                    "density": part["density"].mean(),
                    "flagged": part["flagged"].mean(),
                }
            )
        return pl.DataFrame(rows).sort("boost", descending=True)


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
    """Attack a ranker one owns: imitate it from the order of its lists, then lift the lowest
    documents of other queries.

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
        names in ``METHODS`` (None: all)
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
    chosen = list(METHODS) if methods is None else list(methods)
    if unknown := [m for m in chosen if m not in METHODS]:
        raise EvidenceError(f"no attack is called {unknown[0]!r}. There are: {', '.join(METHODS)}.")
    known = [q for q in queries if len(candidates.get(q, ())) > targets + 3]
    attacked = min(attacked, len(known) // 2)
    if attacked < 1:
        raise EvidenceError(
            f"{len(known)} queries have more than {targets + 3} candidates: an attack needs at"
            " least two, one to imitate and one to attack."
        )
    rng = np.random.default_rng(seed)
    say = report or (lambda text: None)
    order = [known[k] for k in rng.permutation(len(known))]
    names = list(documents)
    place = {n: k for k, n in enumerate(names)}
    corpus = Corpus.of(list(documents.values()))
    calls, scored, ranked = 0, {}, {}
    for k, q in enumerate(order[: attacked + lists]):
        say(f"asking the ranker: query {k + 1} of {min(len(order), attacked + lists)}")
        scored[q] = np.asarray(
            victim(queries[q], [documents[d] for d in candidates[q]]), dtype=float
        )
        if not np.isfinite(scored[q]).all():
            raise EvidenceError(f"query {q}: the ranker gave a score that is not finite.")
        calls += len(scored[q])
        ranked[q] = [candidates[q][i] for i in np.argsort(-scored[q], kind="stable")]
    model = imitate(
        {queries[q]: [place[d] for d in ranked[q]] for q in order[attacked : attacked + lists]},
        corpus,
        seed=seed,
        report=report,
    )
    both, rbo, chance = agreement(
        model, [(queries[q], [place[d] for d in ranked[q]]) for q in order[:attacked]]
    )
    hit = {d for q in order[:attacked] for d in ranked[q][-targets:]}
    # What watches for attacks may not have learned from the very documents that are attacked.
    watch = Corpus.of(
        [text for name, text in documents.items() if name not in hit] or list(documents.values())
    )
    rows, texts, clean = [], {}, []
    for k, q in enumerate(order[:attacked]):
        say(f"attacking: query {k + 1} of {attacked}")
        anchor = np.concatenate([corpus.tokens[place[d]] for d in ranked[q][:3]])
        lowest = ranked[q][-targets:]
        for d in lowest:
            original, listed = words(documents[d]), len(ranked[q])
            own = candidates[q].index(d)
            others = np.delete(scored[q], own)
            old = rank_of(scored[q][own], others)
            clean.append(suspicion(watch, queries[q], original))
            seen = Attack(queries[q], tuple(original), anchor, budget, model, rng)
            changed = {m: METHODS[m](seen) for m in chosen}
            found = np.asarray(
                victim(queries[q], [" ".join(t) for t in changed.values()]), dtype=float
            )
            calls += len(changed)
            for (method, text), score in zip(changed.items(), found, strict=True):
                texts[method, q, d] = " ".join(text)
                added = [w for w in text if w not in set(original)]
                rows.append(
                    {
                        "method": method,
                        "query": q,
                        "document": d,
                        "old": old,
                        "new": rank_of(score, others),
                        "listed": listed,
                        "changed": perturbation_rate(original, text),
                        "query_share": query_share(queries[q], added),
                        **suspicion(watch, queries[q], text),
                    }
                )
    limits = thresholds(clean)
    frame = pl.DataFrame(rows).with_columns(
        flagged=pl.any_horizontal(
            pl.col("perplexity") > limits["perplexity"], pl.col("density") > limits["density"]
        )
    )
    return AttackReport(
        frame,
        dict(zip(order, both, strict=False)),
        rbo,
        chance,
        len(order[attacked : attacked + lists]),
        calls,
        limits,
        texts,
    )


def agreement(
    model: Imitation, lists: Sequence[tuple[str, Sequence[int]]], k: int = 10
) -> tuple[list[float], float, float]:
    """Of imitation and victim, on lists of (query, documents best first): overlap of the first k of
    each, mean rank-biased overlap (p = .9), and the overlap of a random order.
    """
    both, rbos, chance = [], [], []
    for query, found in lists:
        scores = model.scores(query, [model.corpus.tokens[d] for d in found])
        ours = [found[i] for i in np.argsort(-scores, kind="stable")]
        both.append(len(set(ours[:k]) & set(found[:k])) / min(k, len(found)))
        rbos.append(rank_biased_overlap(ours, list(found)))
        chance.append(min(k, len(found)) / len(found))
    return both, float(np.mean(rbos)), float(np.mean(chance))
