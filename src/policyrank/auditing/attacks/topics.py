"""The audit for topics: lift one document for a whole group of queries of a ranker one owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.auditing.attacks.imitation import Victim, imitate
from policyrank.auditing.attacks.language import Corpus, words
from policyrank.auditing.attacks.measures import group_metrics, rank_of, word_cosine
from policyrank.auditing.attacks.topic import TopicAttack, TopicTask, candidate_words
from policyrank.board.intervals import quantile
from policyrank.errors import EvidenceError

TOPIC_METHODS = ("learned, group", "greedy, group", "paired", "random edits", "topic words")


def edited_text(
    original: str, old: NDArray[np.int64], new: NDArray[np.int64], corpus: Corpus
) -> str:
    """The edited document as text: words that the vocabulary lacks stay as they stand."""
    plain = words(original)
    out: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(
        None, old.tolist(), new.tolist(), autojunk=False
    ).get_opcodes():
        out += plain[a:b] if tag == "equal" else [corpus.vocabulary[w] for w in new[c:d]]
    return " ".join(out)


@dataclass(frozen=True, eq=False)
class TopicReport:
    """What the attacks did.

    Attributes
    ----------
    frame
        one row a method, group, document and query: old, new (ranks), listed (documents ranked),
        similarity (tf-idf cosine of the document with what it was)
    texts
        (method, group, document) -> the changed text
    lists, calls
        lists that the imitation learned from; documents that the victim scored
    """

    frame: pl.DataFrame
    texts: Mapping[tuple[str, str, str], str]
    lists: int
    calls: int

    def summary(self) -> pl.DataFrame:
        """By method: share of queries for which a document rose, mean boost with its 95% interval
        (groups as units), mean of the least boost within a group, share of documents that rose for
        three quarters of their group, similarity.
        """
        rows = []
        for (method,), part in self.frame.group_by("method", maintain_order=True):
            found = []
            for _, own in part.group_by("group", maintain_order=True):
                pairs = [
                    (d["old"].to_list(), d["new"].to_list())
                    for _, d in own.group_by("document", maintain_order=True)
                ]
                found.append(group_metrics([a for a, _ in pairs], [b for _, b in pairs], (0.75,)))
            boosts = np.array([f["boost"] for f in found])
            n = len(boosts)
            half = quantile(0.975, n - 1) * boosts.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            rows.append(
                {
                    "method": method,
                    **{k: float(np.mean([f[k] for f in found])) for k in found[0]},
                    "lower": boosts.mean() - half,
                    "upper": boosts.mean() + half,
                    "similarity": part["similarity"].mean(),
                }
            )
        return pl.DataFrame(rows).sort("boost", descending=True)


def attack_topics(
    victim: Victim,
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    candidates: Mapping[str, Sequence[str]],
    groups: Mapping[str, Sequence[str]],
    *,
    attacked: int = 10,
    targets: int = 3,
    budget: int = 10,
    updates: int = 30,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> TopicReport:
    """Attack a ranker one owns for groups of queries on one topic.

    An imitation learns from the order of the lists of all queries outside the attacked groups; a
    policy of edits learns on the other groups by policy gradient, and is then tried on documents of
    middling rank in the attacked ones.

    Parameters
    ----------
    victim, queries, documents, candidates
        as of ``attack``
    groups
        name -> names of its queries, two or more; at least two groups
    attacked
        groups to attack, at most half of them
    targets
        documents a group, drawn from the middle half of its candidates
    budget
        edits, words inserted or substituted
    updates
        of the policy of edits

    Raises
    ------
    EvidenceError
        For groups that cannot be used.

    References
    ----------
    Liu et al. (2023), arXiv 2304.14867.
    """
    if unknown := [q for g in groups.values() for q in g if q not in queries]:
        raise EvidenceError(
            f"the groups name the query {unknown[0]!r}, which is not among the queries."
        )
    usable = {g: list(dict.fromkeys(q)) for g, q in groups.items() if len(set(q)) > 1}
    if len(usable) < 2:
        raise EvidenceError(
            f"{len(usable)} groups have two queries or more: an attack needs two, one to learn on"
            " and one to attack."
        )
    rng, say = np.random.default_rng(seed), report or (lambda text: None)
    names = [list(usable)[k] for k in rng.permutation(len(usable))]
    hit, learn = names[: min(attacked, len(names) // 2)], names[min(attacked, len(names) // 2) :]
    out_of_reach = {q for g in hit for q in usable[g]}
    corpus = Corpus.of(list(documents.values()))
    place = {n: k for k, n in enumerate(documents)}
    calls = 0

    def scores(query: str, pool: Sequence[str]) -> NDArray[np.float64]:
        nonlocal calls
        calls += len(pool)
        found = np.asarray(victim(queries[query], [documents[d] for d in pool]), dtype=float)
        if not np.isfinite(found).all():
            raise EvidenceError(f"query {query}: the ranker gave a score that is not finite.")
        return found

    pages: dict[str, list[int]] = {}
    free = [q for q in queries if q not in out_of_reach and len(candidates.get(q, ())) > 3]
    for k, q in enumerate(free):
        say(f"asking the ranker: query {k + 1} of {len(free)}")
        order = np.argsort(-scores(q, candidates[q]), kind="stable")
        pages[queries[q]] = [place[candidates[q][i]] for i in order]
    if not pages:
        raise EvidenceError(
            "no query outside the attacked groups has candidates: nothing to imitate the ranker"
            " from."
        )
    model = imitate(pages, corpus, seed=seed, report=report)
    weight = dict(zip(corpus.vocabulary, corpus.idf.tolist(), strict=True))

    def prepared(group: str) -> tuple[list[str], NDArray[np.float64], list[int], list[TopicTask]]:
        own = usable[group]
        pool = list(dict.fromkeys(d for q in own for d in candidates.get(q, ())))
        if len(pool) < 4:
            raise EvidenceError(
                f"group {group}: its queries have {len(pool)} candidates; at least four are needed."
            )
        table = np.stack([scores(q, pool) for q in own])
        rank = np.argsort(np.argsort(-table, axis=1, kind="stable"), axis=1)
        middle = np.argsort(np.median(rank, axis=0))[
            len(pool) // 4 : max(3 * len(pool) // 4, len(pool) // 4 + 1)
        ]
        chosen = rng.choice(middle, size=min(targets, len(middle)), replace=False).tolist()
        top = {d for row in rank for d in np.flatnonzero(row < 10)}
        read = candidate_words(corpus, [corpus.tokens[place[pool[d]]] for d in sorted(top)], 12)
        tasks = [
            TopicTask(tuple(queries[q] for q in own), corpus.encode(documents[pool[d]]), read)
            for d in chosen
        ]
        return pool, table, chosen, tasks

    attacker = TopicAttack(model, budget)
    attacker.fit(
        [t for g in learn[:20] for t in prepared(g)[3]],
        updates=updates,
        episodes=4,
        seed=seed,
        report=report,
    )
    rows, texts = [], {}
    for k, group in enumerate(hit):
        say(f"attacking: group {k + 1} of {len(hit)}")
        pool, table, chosen, tasks = prepared(group)
        common = candidate_words(corpus, [corpus.encode(queries[q]) for q in usable[group]], budget)
        for d, task in zip(chosen, tasks, strict=True):
            original = documents[pool[d]]
            first = TopicTask(task.queries[:1], task.document, task.words)
            edits = (
                attacker.episode(task)[0],
                attacker.greedy(task),
                attacker.greedy(first),
                attacker.random(task, rng),
                np.concatenate([common, task.document]),
            )
            for method, tokens in zip(TOPIC_METHODS, edits, strict=True):
                text = edited_text(original, task.document, tokens, corpus)
                texts[method, group, pool[d]] = text
                similar = word_cosine(words(original), words(text), weight)
                for q, own in zip(usable[group], table, strict=True):
                    others = np.delete(own, d)
                    new = rank_of(float(victim(queries[q], [text])[0]), others)
                    calls += 1
                    rows.append(
                        {
                            "method": method,
                            "group": group,
                            "document": pool[d],
                            "query": q,
                            "old": rank_of(own[d], others),
                            "new": new,
                            "listed": len(pool),
                            "similarity": similar,
                        }
                    )
    return TopicReport(pl.DataFrame(rows), texts, len(pages), calls)
