"""The audit for topics: lift one document for a whole group of queries of a ranker one owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.auditing.attacks.imitation import Victim, imitate
from policyrank.auditing.attacks.language import Corpus, words
from policyrank.auditing.attacks.measures import (
    group_metrics,
    mean_interval,
    rank_of,
    word_cosine,
)
from policyrank.auditing.attacks.topic import TopicAttack, TopicTask, candidate_words
from policyrank.auditing.attacks.victims import Asked, best_first, silent
from policyrank.errors import EvidenceError

TOPIC_METHODS = ("learned, group", "greedy, group", "paired", "random edits", "topic words")


def edited_text(
    original: str, old: NDArray[np.int64], new: NDArray[np.int64], corpus: Corpus
) -> str:
    """The edited document as text: words that the vocabulary lacks stay as they stand."""
    plain = words(original)
    matcher = SequenceMatcher(None, old.tolist(), new.tolist(), autojunk=False)
    out: list[str] = []
    for tag, first, last, start, end in matcher.get_opcodes():
        if tag == "equal":
            out += plain[first:last]
        else:
            out += [corpus.vocabulary[word] for word in new[start:end]]
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
        """By method, the largest boost first.

        Share of queries for which a document rose, mean boost with its 95% interval (groups as
        units), mean of the least boost within a group, share of documents that rose for three
        quarters of their group, similarity.
        """
        rows = []
        for (method,), part in self.frame.group_by("method", maintain_order=True):
            groups = part.group_by("group", maintain_order=True)
            found = pl.DataFrame([_of_group(own) for _, own in groups])
            low, high = mean_interval(found["boost"].to_numpy())
            rows.append(
                {
                    "method": method,
                    **{name: float(np.mean(found[name].to_numpy())) for name in found.columns},
                    "lower": low,
                    "upper": high,
                    "similarity": part["similarity"].mean(),
                }
            )
        return pl.DataFrame(rows).sort("boost", descending=True)


def _of_group(frame: pl.DataFrame) -> dict[str, float]:
    """Measures of the documents of one group."""
    ranks = frame.group_by("document", maintain_order=True).agg("old", "new")
    return group_metrics(ranks["old"].to_list(), ranks["new"].to_list(), (0.75,))


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
    usable = _usable(groups, queries)
    rng, say = np.random.default_rng(seed), report or silent
    names = [list(usable)[place] for place in rng.permutation(len(usable))]
    attacked = min(attacked, len(names) // 2)
    hit, learn = names[:attacked], names[attacked:]
    corpus = Corpus.of(list(documents.values()))
    place = {name: row for row, name in enumerate(documents)}
    asked = Asked(victim, queries, documents)
    out_of_reach = set(chain.from_iterable(usable[group] for group in hit))
    free = []
    for query in queries:
        if query not in out_of_reach and len(candidates.get(query, ())) > 3:
            free.append(query)
    if not free:
        raise EvidenceError(
            "no query outside the attacked groups has candidates: nothing to imitate the ranker"
            " from."
        )
    pages: dict[str, list[int]] = {}
    for number, query in enumerate(free, start=1):
        say(f"asking the ranker: query {number} of {len(free)}")
        ordered = best_first(candidates[query], asked.scores(query, candidates[query]))
        pages[queries[query]] = list(map(place.__getitem__, ordered))
    model = imitate(pages, corpus, seed=seed, report=report)
    material = _Material(asked, usable, candidates, corpus, place, targets, rng)
    attacker = TopicAttack(model, budget)
    tasks: list[TopicTask] = []
    for group in learn[:20]:
        tasks += material.prepared(group).tasks
    attacker.fit(tasks, updates=updates, episodes=4, seed=seed, report=report)
    rows, texts = [], {}
    for number, group in enumerate(hit, start=1):
        say(f"attacking: group {number} of {len(hit)}")
        given = material.prepared(group)
        topic = [corpus.encode(queries[query]) for query in usable[group]]
        common = candidate_words(corpus, topic, budget)
        for chosen, task in zip(given.chosen, given.tasks, strict=True):
            name = given.pool[chosen]
            for method, tokens in _edits(attacker, task, common, rng).items():
                text = edited_text(documents[name], task.document, tokens, corpus)
                texts[method, group, name] = text
                about = {"method": method, "group": group, "document": name}
                for row in material.moves(given, chosen, text):
                    rows.append(about | row)
    return TopicReport(pl.DataFrame(rows), texts, len(pages), asked.calls)


def _usable(
    groups: Mapping[str, Sequence[str]], queries: Mapping[str, str]
) -> dict[str, list[str]]:
    """Groups of two queries or more, each query once."""
    for query in chain.from_iterable(groups.values()):
        if query not in queries:
            raise EvidenceError(
                f"the groups name the query {query!r}, which is not among the queries."
            )
    usable = {}
    for group, given in groups.items():
        own = list(dict.fromkeys(given))
        if len(own) > 1:
            usable[group] = own
    if len(usable) < 2:
        raise EvidenceError(
            f"{len(usable)} groups have two queries or more: an attack needs two, one to learn on"
            " and one to attack."
        )
    return usable


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A group ready to be attacked.

    Attributes
    ----------
    queries, pool
        names of its queries, and of the documents that they rank
    scores
        (queries, pool) by the victim
    chosen, tasks
        places in the pool of the documents to lift, and what to do with them
    """

    queries: list[str]
    pool: list[str]
    scores: NDArray[np.float64]
    chosen: list[int]
    tasks: list[TopicTask]


@dataclass(frozen=True, eq=False)
class _Material:
    """What groups are prepared from."""

    asked: Asked
    groups: Mapping[str, list[str]]
    candidates: Mapping[str, Sequence[str]]
    corpus: Corpus
    place: Mapping[str, int]
    targets: int
    rng: np.random.Generator

    def prepared(self, group: str) -> _Prepared:
        """Ask the victim about a group, and draw documents from the middle of its lists."""
        own = self.groups[group]
        lists = [self.candidates.get(query, ()) for query in own]
        pool = list(dict.fromkeys(chain.from_iterable(lists)))
        if len(pool) < 4:
            raise EvidenceError(
                f"group {group}: its queries have {len(pool)} candidates; at least four are needed."
            )
        table = np.stack([self.asked.scores(query, pool) for query in own])
        rank = np.argsort(np.argsort(-table, axis=1, kind="stable"), axis=1)
        first = len(pool) // 4
        last = max(3 * len(pool) // 4, first + 1)
        middle = np.argsort(np.median(rank, axis=0))[first:last]
        count = min(self.targets, len(middle))
        chosen = self.rng.choice(middle, size=count, replace=False).tolist()
        pages = [self._tokens(pool[top]) for top in np.flatnonzero((rank < 10).any(axis=0))]
        read = candidate_words(self.corpus, pages, 12)
        texts = tuple(self.asked.queries[query] for query in own)
        tasks = []
        for place in chosen:
            document = self.corpus.encode(self.asked.documents[pool[place]])
            tasks.append(TopicTask(texts, document, read))
        return _Prepared(own, pool, table, chosen, tasks)

    @cached_property
    def _weight(self) -> dict[str, float]:
        return dict(zip(self.corpus.vocabulary, self.corpus.idf.tolist(), strict=True))

    def _tokens(self, name: str) -> NDArray[np.int64]:
        return self.corpus.tokens[self.place[name]]

    def moves(self, given: _Prepared, chosen: int, text: str) -> list[dict[str, object]]:
        """Ranks of a document for each query, as it was and as the changed text."""
        original = self.asked.documents[given.pool[chosen]]
        similar = word_cosine(words(original), words(text), self._weight)
        rows: list[dict[str, object]] = []
        for query, scores in zip(given.queries, given.scores, strict=True):
            others = np.delete(scores, chosen)
            new = float(self.asked.texts(query, [text])[0])
            rows.append(
                {
                    "query": query,
                    "old": rank_of(scores[chosen], others),
                    "new": rank_of(new, others),
                    "listed": len(given.pool),
                    "similarity": similar,
                }
            )
        return rows


def _edits(
    attacker: TopicAttack, task: TopicTask, common: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """The changed document by each of ``TOPIC_METHODS``."""
    first = TopicTask(task.queries[:1], task.document, task.words)
    edits = (
        attacker.episode(task)[0],
        attacker.greedy(task),
        attacker.greedy(first),
        attacker.random(task, rng),
        np.concatenate([common, task.document]),
    )
    return dict(zip(TOPIC_METHODS, edits, strict=True))
