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

from dataclasses import replace
from typing import Any

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
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.train.scorers import cosine_scorer

TITLE = "Topic attacks"
PAPER = "arXiv 2304.14867"
ABOUT = "attacks that lift one document for a whole group of queries"
WHERE = "Cranfield, MiniLM"
CLAIMS = (
    *(
        Claim(
            f"The learned group attack beats {m} in query success",
            "learned, group",
            m,
            "query success",
        )
        for m in ("paired", "topic words", "random edits")
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


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an attacked group."""
    seeds, targets, budget, updates, episodes, epochs = {
        "smoke": (1, 1, 2, 2, 2, 1),
        "small": (3, 3, 10, 30, 4, 3),
        "full": (10, 5, 10, 200, 8, 4),
    }[scale]
    torch.set_num_threads(1)
    queries, documents, _ = datasets.load("cranfield")
    documents = {k: v for k, v in documents.items() if v}
    if scale == "smoke":
        queries, documents = dict(list(queries.items())[:60]), dict(list(documents.items())[:60])
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    report("encoding Cranfield")
    asked, texts = list(queries.values()), list(documents.values())
    vectors, own = (
        encode_texts(encoder, texts, cache="minilm"),
        encode_texts(encoder, asked, cache="minilm"),
    )
    victim = cosine_scorer(
        encoder, known=dict(zip([*asked, *texts], [*own, *vectors], strict=True))
    )
    cosine = (own @ vectors.T).astype(float)
    changed = np.random.default_rng([seed, 10**6]).permutation(len(texts))[: len(texts) // 3]
    halves = [" ".join(texts[d].split()[: -(-len(texts[d].split()) // 2)]) for d in changed]
    later = cosine.copy()
    later[:, changed] = own @ encode_texts(encoder, halves).T
    ranked, reranked = (np.argsort(-c, axis=1, kind="stable") for c in (cosine, later))
    place = np.empty_like(ranked)
    np.put_along_axis(
        place, ranked, np.arange(1, ranked.shape[1] + 1)[None].repeat(len(asked), axis=0), axis=1
    )
    corpus, groups = Corpus.of(texts), group_queries(own)
    shortened = dict(zip(changed.tolist(), halves, strict=True))
    corpus_later = replace(
        corpus,
        tokens=tuple(
            corpus.encode(shortened[k]) if k in shortened else d
            for k, d in enumerate(corpus.tokens)
        ),
    )
    low, high = (200, 600) if scale != "smoke" else (20, 60)
    rows: list[tuple[str, str, int, float]] = []
    for s in range(seeds):
        rng = np.random.default_rng([seed, s])
        shuffled = [groups[k] for k in rng.permutation(len(groups))]
        cut = max(1, len(shuffled) // 3)
        hit, learn = shuffled[:cut], shuffled[cut:]
        if scale == "smoke":
            hit, learn = hit[:2], learn[:2]
        free = np.setdiff1d(np.arange(len(asked)), np.concatenate(hit))
        model, refreshed = (
            imitate(
                {asked[q]: order[q, :200].tolist() for q in free},
                seen,
                epochs=epochs,
                seed=seed * 1000 + s,
                report=lambda text, s=s: report(f"seed {s + 1} of {seeds}, {text}"),  # type: ignore[misc]
            )
            for order, seen in ((ranked, corpus), (reranked, corpus_later))
        )

        def tasks(
            group: NDArray[np.int64], judged: NDArray[np.int64], rng: np.random.Generator = rng
        ) -> list[tuple[int, TopicTask]]:
            median = np.median(place[group], axis=0)
            fit = np.setdiff1d(np.flatnonzero((median >= low) & (median <= high)), changed)
            chosen = rng.choice(fit, targets, replace=False)
            read = candidate_words(
                corpus, [corpus.tokens[d] for d in np.unique(ranked[group, :10])], 12
            )
            return [
                (int(d), TopicTask(tuple(asked[q] for q in judged), corpus.encode(texts[d]), read))
                for d in chosen
            ]

        attacker = TopicAttack(model, budget)
        attacker.fit(
            [t for g in learn for _, t in tasks(g, g)],
            updates=updates,
            episodes=episodes,
            seed=seed * 1000 + s,
            report=lambda text, s=s: report(f"seed {s + 1} of {seeds}, {text}"),  # type: ignore[misc]
        )
        again = TopicAttack(refreshed, budget)
        again.policy = attacker.policy
        for k, group in enumerate(hit):
            report(f"seed {s + 1} of {seeds}, attacking group {k + 1} of {len(hit)}")
            chosen, generator = tasks(group, group), np.random.default_rng([seed, s, k])
            ours = _attack(attacker, chosen, group, asked, texts, cosine, victim, generator)
            pages = [corpus_later.tokens[d] for d in np.unique(reranked[group, :10])]
            ours += _attack_later(
                attacker,
                again,
                chosen,
                candidate_words(corpus_later, pages, 12),
                group,
                asked,
                texts,
                later,
                victim,
                generator,
            )
            rows += [(method, metric, s * 100 + k, value) for method, metric, value in ours]
    methods, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, [WHERE] * len(rows), values, metric=metrics, replicate=replicates)


def _attack(
    attacker: TopicAttack,
    chosen: list[tuple[int, TopicTask]],
    group: NDArray[np.int64],
    asked: list[str],
    texts: list[str],
    cosine: NDArray[np.float64],
    victim: Any,
    rng: np.random.Generator,
) -> list[tuple[str, str, float]]:
    corpus = attacker.model.corpus
    weight = dict(zip(corpus.vocabulary, corpus.idf.tolist(), strict=True))
    common = candidate_words(corpus, [corpus.encode(asked[q]) for q in group], attacker.budget)
    seen, unseen = np.arange(0, len(group), 2), np.arange(1, len(group), 2)
    ranks: dict[str, list[NDArray[np.int64]]] = {}
    similar: dict[str, list[float]] = {}
    old = []
    for d, task in chosen:
        others = np.delete(cosine[group], d, axis=1)
        old.append([rank_of(cosine[q, d], o) for q, o in zip(group, others, strict=True)])
        first = TopicTask(task.queries[:1], task.document, task.words)
        half = TopicTask(tuple(task.queries[k] for k in seen), task.document, task.words)
        edited = {
            "learned, group": attacker.episode(task)[0],
            "greedy, group": attacker.greedy(task),
            "paired": attacker.greedy(first),
            "random edits": attacker.random(task, rng),
            "topic words": np.concatenate([common, task.document]),
            "half": attacker.greedy(half),
        }
        for method, tokens in edited.items():
            text = edited_text(texts[d], task.document, tokens, corpus)
            new = [
                rank_of(victim(asked[q], [text])[0], o) for q, o in zip(group, others, strict=True)
            ]
            ranks.setdefault(method, []).append(np.array(new))
            similar.setdefault(method, []).append(word_cosine(words(texts[d]), words(text), weight))
    before, out = np.array(old), []
    for method, found in ranks.items():
        after = np.array(found)
        parts = (
            {method: np.arange(len(group))}
            if method != "half"
            else {"greedy, seen half": seen, "greedy, unseen half": unseen}
        )
        for name, part in parts.items():
            values = group_metrics(before[:, part], after[:, part], (0.75,)) | {
                "similarity": float(np.mean(similar[method]))
            }
            out += [(name, metric, value) for metric, value in values.items()]
        if method != "half":
            out.append(
                (method, "boost for the first query", float((before[:, 0] - after[:, 0]).mean()))
            )
    return out


def _attack_later(
    attacker: TopicAttack,
    refreshed: TopicAttack,
    chosen: list[tuple[int, TopicTask]],
    read: NDArray[np.int64],
    group: NDArray[np.int64],
    asked: list[str],
    texts: list[str],
    cosine: NDArray[np.float64],
    victim: Any,
    rng: np.random.Generator,
) -> list[tuple[str, str, float]]:
    """The same documents after others changed."""
    before: list[list[int]] = []
    after: dict[str, list[list[int]]] = {}
    for d, task in chosen:
        others = np.delete(cosine[group], d, axis=1)
        before.append([rank_of(cosine[q, d], o) for q, o in zip(group, others, strict=True)])
        now = replace(task, words=read)
        edited = {
            "old edits": attacker.episode(task)[0],
            "refreshed": refreshed.episode(now)[0],
            "random edits": refreshed.random(now, rng),
        }
        for method, tokens in edited.items():
            text = edited_text(texts[d], task.document, tokens, attacker.model.corpus)
            new = [
                rank_of(victim(asked[q], [text])[0], o) for q, o in zip(group, others, strict=True)
            ]
            after.setdefault(f"changed, {method}", []).append(new)
    return [
        (method, metric, value)
        for method, found in after.items()
        for metric, value in group_metrics(np.array(before), np.array(found), (0.75,)).items()
    ]
