"""Topic-oriented attacks: one document, a whole group of queries.

Liu, Zhang, Guo, de Rijke, Chen, Fan and Cheng (2023), "Topic-oriented Adversarial Attacks against
Black-box Neural Ranking Models", arXiv 2304.14867.

**The claim**: edits chosen by reinforcement learning against an imitation, rewarded over a group of
queries on one topic, lift a document for more of the group than attacks made for one query or
stuffing with topic words, also when the environment changes.

**What is done here**: Cranfield and MiniLM (cosine, 160 tokens) over all documents. Groups are
clusters of at least five queries; two thirds of them are there to learn from, the others are
attacked. The imitation learns from the first 200 of every query outside the attacked groups.
Targets: three documents a group whose median rank is 200 to 600. Ten edits (a word inserted or
substituted at the front, middle or end) out of the twelve words of largest tf-idf in the first ten
documents of the group's queries; tf-idf cosine with the original at least .8. "random edits" draw
from the same words; "paired" is the greedy attack for the group's first query, judged on the whole
group. The changed environment, twice: "seen half" and "unseen half" are the greedy attack on every
other query of the group, judged on these and on the rest; and a third of all documents (never a
target) then loses its second half, after which the old edits are judged anew ("changed, old
edits"), beside edits by the same policy on an imitation and words refreshed from the new lists
("changed, refreshed") and random edits. A replicate is an attacked group, over three seeds.
Differences from the paper: its released code does not run, so actions, features and reward are our
own reading; no BERT imitation, no MS MARCO documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from policyrank.auditing.attacks import (
    Corpus,
    TopicAttack,
    TopicTask,
    candidate_words,
    edited_text,
    group_metrics,
    group_queries,
    imitate,
    rank_of,
    word_cosine,
    words,
)
from policyrank.evidence import Scores, datasets
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Scale, prefixed, quiet, scores_of
from policyrank.train.scorers import cosine_scorer

TITLE = "Topic attacks"
PAPER = "arXiv 2304.14867"
ABOUT = "attacks that lift one document for a whole group of queries"
Scorer = Callable[[str, Sequence[str]], NDArray[np.float64]]
WHERE = "Cranfield, MiniLM"
UNIT = Unit("group", of=lambda name: str(int(name) % 100))
CLAIMS = (
    *for_each(
        ("paired", "topic words", "random edits"),
        Claim(
            "The learned group attack beats {} in query success",
            "learned, group",
            "{}",
            "query success",
        ),
    ),
    Claim(
        "It beats the paired attack in the least boost of the group",
        "learned, group",
        "paired",
        "least boost",
    ),
    Claim("It lifts more than the greedy group attack", "learned, group", "greedy, group", "boost"),
    Claim(
        "The greedy group attack beats the paired one in query success",
        "greedy, group",
        "paired",
        "query success",
    ),
    Claim(
        "The paired attack lifts more for its own query",
        "paired",
        "greedy, group",
        "boost for the first query",
    ),
    Claim(
        "What was not seen is lifted less than what was",
        "greedy, seen half",
        "greedy, unseen half",
        "boost",
    ),
    Claim(
        "What was not seen is lifted more than by random edits",
        "greedy, unseen half",
        "random edits",
        "boost",
    ),
    Claim(
        "After documents changed, the old edits lose at most 50 ranks of boost",
        "changed, old edits",
        "learned, group",
        "boost",
        -50,
    ),
    Claim("A refreshed imitation then helps", "changed, refreshed", "changed, old edits", "boost"),
    Claim("And beats random edits", "changed, refreshed", "changed, random edits", "boost"),
)


@dataclass(frozen=True)
class Size:
    """``most``: queries and documents in use; targets' median ranks lie in ``low`` to ``high``."""

    seeds: int
    targets: int
    budget: int
    updates: int
    episodes: int
    epochs: int
    low: int = 200
    high: int = 600
    most: int | None = None
    groups: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 1, 2, 2, 2, 1, low=20, high=60, most=60, groups=2),
    "small": Size(3, 3, 10, updates=30, episodes=4, epochs=3),
    "full": Size(10, 5, 10, updates=200, episodes=8, epochs=4),
}


@dataclass(frozen=True)
class Lists:
    """A collection as the victim ranks it: cosines, orders and places, (queries, documents)."""

    corpus: Corpus
    cosine: NDArray[np.float64]
    order: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Corpus, cosine: NDArray[np.float64]) -> Lists:
        """Ranked by cosine."""
        order = np.argsort(-cosine, axis=1, kind="stable")
        return cls(corpus, cosine, order, np.argsort(order, axis=1) + 1)

    def topic_words(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Twelve words of the first ten documents of a group's queries."""
        pages = [self.corpus.tokens[d] for d in np.unique(self.order[group, :10])]
        return candidate_words(self.corpus, pages, 12)


@dataclass(frozen=True)
class Collection:
    """Queries, documents, who ranks them, and their lists before and after documents changed."""

    queries: list[str]
    texts: list[str]
    victim: Scorer
    now: Lists
    later: Lists
    changed: NDArray[np.int64]
    groups: list[NDArray[np.int64]]

    def scores(self, group: NDArray[np.int64], text: str) -> NDArray[np.float64]:
        """The victim's scores of a text for the group's queries."""
        return np.array([self.victim(self.queries[q], [text])[0] for q in group])


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an attacked group."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    report("encoding Cranfield")
    collection = _collection(size.most, seed)
    rows = []
    for s in range(size.seeds):
        say = prefixed(report, f"seed {s + 1} of {size.seeds}, ")
        for group, method, metric, value in _attacks(collection, size, seed, s, say):
            rows.append((method, WHERE, metric, s * 100 + group, value))
    return scores_of(rows)


def _collection(most: int | None, seed: int) -> Collection:
    """Cranfield; a third of the documents later loses its second half."""
    queries, documents, _ = datasets.load("cranfield")
    asked = list(queries.values())[:most]
    texts = [text for text in documents.values() if text][:most]
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    vectors = encode_texts(encoder, texts, cache="minilm")
    own = encode_texts(encoder, asked, cache="minilm")
    known = dict(zip([*asked, *texts], [*own, *vectors], strict=True))
    victim = cosine_scorer(encoder, known=known)
    corpus = Corpus.of(texts)
    now = Lists.of(corpus, (own @ vectors.T).astype(float))
    changed = np.random.default_rng([seed, 10**6]).permutation(len(texts))[: len(texts) // 3]
    halves = [_first_half(texts[d]) for d in changed]
    cosine = now.cosine.copy()
    cosine[:, changed] = own @ encode_texts(encoder, halves).T
    tokens = list(corpus.tokens)
    for d, half in zip(changed.tolist(), halves, strict=True):
        tokens[d] = corpus.encode(half)
    later = Lists.of(replace(corpus, tokens=tuple(tokens)), cosine)
    return Collection(asked, texts, victim, now, later, changed, group_queries(own))


def _first_half(text: str) -> str:
    parts = text.split()
    return " ".join(parts[: -(-len(parts) // 2)])


def _attacks(
    collection: Collection, size: Size, seed: int, s: int, report: Report
) -> Iterator[tuple[int, str, str, float]]:
    """Number of the group, method, metric, value."""
    rng = np.random.default_rng([seed, s])
    groups = [collection.groups[k] for k in rng.permutation(len(collection.groups))]
    cut = max(1, len(groups) // 3)
    hit, learn = groups[:cut][: size.groups], groups[cut:][: size.groups]
    free = np.setdiff1d(np.arange(len(collection.queries)), np.concatenate(hit))
    models = []
    for lists in (collection.now, collection.later):
        shown = {collection.queries[q]: lists.order[q, :200].tolist() for q in free}
        models.append(
            imitate(shown, lists.corpus, epochs=size.epochs, seed=seed * 1000 + s, report=report)
        )
    model, refreshed = models
    tasks = partial(_tasks, collection, size, rng)
    attacker = TopicAttack(model, size.budget)
    attacker.fit(
        [task for group in learn for _, task in tasks(group)],
        updates=size.updates,
        episodes=size.episodes,
        seed=seed * 1000 + s,
        report=report,
    )
    again = TopicAttack(refreshed, size.budget)
    again.policy = attacker.policy
    for k, group in enumerate(hit):
        report(f"attacking group {k + 1} of {len(hit)}")
        chosen, generator = tasks(group), np.random.default_rng([seed, s, k])
        for row in _attack(attacker, chosen, group, collection, generator):
            yield k, *row
        for row in _attack_later(attacker, again, chosen, group, collection, generator):
            yield k, *row


def _tasks(
    collection: Collection, size: Size, rng: np.random.Generator, group: NDArray[np.int64]
) -> list[tuple[int, TopicTask]]:
    """Documents to lift for a group: in the middle of its lists, and not to be changed."""
    now = collection.now
    median = np.median(now.place[group], axis=0)
    middle = np.flatnonzero((median >= size.low) & (median <= size.high))
    fit = np.setdiff1d(middle, collection.changed)
    read = now.topic_words(group)
    queries = tuple(collection.queries[q] for q in group)
    tasks = []
    for d in rng.choice(fit, size.targets, replace=False):
        document = now.corpus.encode(collection.texts[d])
        tasks.append((int(d), TopicTask(queries, document, read)))
    return tasks


def _attack(
    attacker: TopicAttack,
    chosen: list[tuple[int, TopicTask]],
    group: NDArray[np.int64],
    collection: Collection,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, float]]:
    """Method, metric, value."""
    corpus = attacker.model.corpus
    weight = dict(zip(corpus.vocabulary, corpus.idf.tolist(), strict=True))
    asked = [corpus.encode(collection.queries[q]) for q in group]
    common = candidate_words(corpus, asked, attacker.budget)
    seen, unseen = np.arange(0, len(group), 2), np.arange(1, len(group), 2)
    ranks: dict[str, list[list[int]]] = {}
    similar: dict[str, list[float]] = {}
    old = []
    for d, task in chosen:
        others = np.delete(collection.now.cosine[group], d, axis=1)
        old.append(_places(collection.now.cosine[group, d], others))
        first = replace(task, queries=task.queries[:1])
        half = replace(task, queries=task.queries[::2])
        edited = {
            "learned, group": attacker.episode(task)[0],
            "greedy, group": attacker.greedy(task),
            "paired": attacker.greedy(first),
            "random edits": attacker.random(task, rng),
            "topic words": np.concatenate([common, task.document]),
            "half": attacker.greedy(half),
        }
        for method, tokens in edited.items():
            original = collection.texts[d]
            text = edited_text(original, task.document, tokens, corpus)
            new = _places(collection.scores(group, text), others)
            ranks.setdefault(method, []).append(new)
            likeness = word_cosine(words(original), words(text), weight)
            similar.setdefault(method, []).append(likeness)
    before = np.array(old)
    for method, found in ranks.items():
        after = np.array(found)
        parts = {method: np.arange(len(group))}
        if method == "half":
            parts = {"greedy, seen half": seen, "greedy, unseen half": unseen}
        for name, part in parts.items():
            for metric, value in group_metrics(before[:, part], after[:, part], (0.75,)).items():
                yield name, metric, value
            yield name, "similarity", float(np.mean(similar[method]))
        if method != "half":
            gain = before[:, 0] - after[:, 0]
            yield method, "boost for the first query", float(gain.mean())


def _places(scores: NDArray[np.float64], others: NDArray[np.float64]) -> list[int]:
    """Where each query ranks a document of these scores among the others'."""
    return [rank_of(score, own) for score, own in zip(scores, others, strict=True)]


def _attack_later(
    attacker: TopicAttack,
    refreshed: TopicAttack,
    chosen: list[tuple[int, TopicTask]],
    group: NDArray[np.int64],
    collection: Collection,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, float]]:
    """The same documents after others changed: method, metric, value."""
    read = collection.later.topic_words(group)
    before: list[list[int]] = []
    after: dict[str, list[list[int]]] = {}
    for d, task in chosen:
        others = np.delete(collection.later.cosine[group], d, axis=1)
        before.append(_places(collection.later.cosine[group, d], others))
        now = replace(task, words=read)
        edited = {
            "old edits": attacker.episode(task)[0],
            "refreshed": refreshed.episode(now)[0],
            "random edits": refreshed.random(now, rng),
        }
        for method, tokens in edited.items():
            original = collection.texts[d]
            text = edited_text(original, task.document, tokens, attacker.model.corpus)
            new = _places(collection.scores(group, text), others)
            after.setdefault(f"changed, {method}", []).append(new)
    for method, found in after.items():
        metrics = group_metrics(np.array(before), np.array(found), (0.75,))
        for metric, value in metrics.items():
            yield method, metric, value
