"""Attacks on one passage for one query: triggers found on an imitation, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from policyrank.auditing.attacks.imitation import Imitation
from policyrank.auditing.attacks.language import words

Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Attack:
    """What an attacker sees: the query, the passage (words as they stand), and the text of the top
    passages of the query.

    Attributes
    ----------
    budget
        words that may be added or replaced
    """

    query: str
    passage: tuple[str, ...]
    anchor: Tokens
    budget: int
    model: Imitation
    rng: np.random.Generator


Method = Callable[[Attack], list[str]]
"""Attack -> the words of the changed passage."""


def search_trigger(
    attack: Attack,
    *,
    beam: int = 10,
    proposals: int = 64,
    fluency: float = 0.1,
    coherence: float = 0.8,
    similar: int = 300,
    boost: float = 0.68,
) -> list[str]:
    """Words to put in front of the passage, by beam search on the imitation (pairwise anchor-based
    trigger).

    Each step proposes, for each beam, the words whose vectors the gradient favours most in the new
    place (first order), helped by ``boost`` standard deviations where they are like the query or in
    the anchor, and by their log-probability; then scores them exactly: log sigmoid(f(query, trigger
    + passage) - f(query, anchor)) + ``fluency`` x mean log-probability of the trigger under bigrams
    + ``coherence`` x cosine of the trigger's and the passage's vectors. The best trigger of any
    length up to the budget is returned. Source: arXiv 2209.06506; there a BERT supplies fluency and
    whether passage follows trigger.

    Parameters
    ----------
    attack
        its budget is the longest trigger
    beam, proposals
        triggers kept, and words tried for each of them
    similar
        words of the vocabulary that the imitation finds most like the query
    """
    model, corpus = attack.model, attack.model.corpus
    query, passage = torch.from_numpy(corpus.encode(attack.query)), corpus.encode(attack.passage)
    vocabulary = len(corpus.vocabulary)
    with torch.no_grad():
        goal = model(query, model.pad([attack.anchor]))
        alone = model(query, torch.arange(vocabulary)[:, None])
        unit = torch.nn.functional.normalize(model.vectors, dim=-1)
        about = (
            torch.nn.functional.normalize(
                (unit[passage] * model.idf[passage][:, None]).sum(dim=0), dim=0
            )
            if len(passage)
            else unit[0]
        )
    favoured = np.zeros(vocabulary)
    favoured[alone.topk(min(similar, vocabulary)).indices.numpy()] = boost
    favoured[attack.anchor] = boost
    beams: list[tuple[int, ...]] = [()]
    best: tuple[float, tuple[int, ...]] = (-np.inf, ())
    for _ in range(attack.budget):
        tried: list[tuple[int, ...]] = []
        for trigger in beams:
            documents = model.pad([np.concatenate([trigger, [0], passage]).astype(np.int64)])
            embedded = model.vectors[documents.clamp(min=0)].detach().requires_grad_()
            documents[0, len(trigger)] = 1  # any word: an unknown one would not count
            (gradient,) = torch.autograd.grad(model(query, documents, embedded).sum(), embedded)
            first = (model.vectors.detach() @ gradient[0, len(trigger)]).numpy()
            value = first / max(float(first.std()), 1e-9) + favoured
            if trigger:
                value = value + fluency * corpus.next_log_prob(trigger[-1])
            value[0] = -np.inf
            value[list(trigger)] = -np.inf  # no word twice
            chosen = np.argpartition(-value, min(proposals, vocabulary - 1))[:proposals]
            tried += [(*trigger, int(w)) for w in chosen if np.isfinite(value[w])]
        if not tried:
            break
        tried = list(dict.fromkeys(tried))
        with torch.no_grad():
            scores = model(
                query, model.pad([np.concatenate([t, passage]).astype(np.int64) for t in tried])
            )
            own = torch.from_numpy(np.array(tried))
            near = (
                torch.nn.functional.normalize(
                    (unit[own] * model.idf[own][..., None]).sum(dim=1), dim=-1
                )
                @ about
            )
            exact = torch.nn.functional.logsigmoid(scores - goal) + coherence * near
        fluent = np.array(
            [corpus.log_prob(np.array(t)).mean() if len(t) > 1 else 0.0 for t in tried]
        )
        total = exact.numpy() + fluency * fluent
        order = np.argsort(-total, kind="stable")[:beam]
        beams = [tried[k] for k in order]
        top = int(scores.argmax())
        if float(scores[top]) > best[0]:
            best = (float(scores[top]), tried[top])
    return [corpus.vocabulary[w] for w in best[1]]


def trigger(attack: Attack) -> list[str]:
    """The passage with the trigger of ``search_trigger`` in front."""
    return [*search_trigger(attack), *attack.passage]


def unguarded_trigger(attack: Attack) -> list[str]:
    """As ``trigger``, without fluency and coherence."""
    return [*search_trigger(attack, fluency=0.0, coherence=0.0), *attack.passage]


def random_words(attack: Attack) -> list[str]:
    """Words of the corpus at random, in front."""
    drawn = attack.rng.choice(
        np.arange(1, len(attack.model.corpus.vocabulary)), attack.budget, replace=False
    )
    return [*(attack.model.corpus.vocabulary[w] for w in drawn), *attack.passage]


def anchor_words(attack: Attack) -> list[str]:
    """Words of the top passages at random, in front."""
    known = np.unique(attack.anchor[attack.anchor > 0])
    drawn = attack.rng.choice(known, min(attack.budget, len(known)), replace=False)
    return [*(attack.model.corpus.vocabulary[w] for w in drawn), *attack.passage]


def insert_query(attack: Attack) -> list[str]:
    """The whole query in front, whatever the budget: blatant."""
    return [*words(attack.query), *attack.passage]


def substitute(attack: Attack, near: int = 10) -> list[str]:
    """Words of the passage replaced by near ones, one at a time, by what raises the imitation's
    score most (greedy, as PRADA's setting).
    """
    model, corpus = attack.model, attack.model.corpus
    text = list(attack.passage)
    unit = torch.nn.functional.normalize(model.vectors.detach(), dim=-1)
    changed: set[int] = set()
    for _ in range(attack.budget):
        tokens = corpus.encode(text)
        places = [
            k
            for k in np.argsort(-corpus.idf[tokens], kind="stable")
            if tokens[k] > 0 and k not in changed
        ][:40]
        if not places:
            break
        options = (
            (unit[tokens[places]] @ unit.T)
            .topk(min(near + 1, len(unit)), dim=1)
            .indices[:, 1:]
            .numpy()
        )
        tried = [(k, int(w)) for k, row in zip(places, options, strict=True) for w in row if w > 0]
        documents = np.tile(tokens, (len(tried), 1))
        documents[np.arange(len(tried)), [k for k, _ in tried]] = [w for _, w in tried]
        scores = model.scores(attack.query, [tokens, *documents])
        pick = int(scores[1:].argmax())
        if scores[pick + 1] <= scores[0]:
            break
        place, word = tried[pick]
        text[place] = corpus.vocabulary[word]
        changed.add(place)
    return text


METHODS: dict[str, Method] = {
    "trigger": trigger,
    "trigger, unguarded": unguarded_trigger,
    "substitution": substitute,
    "anchor words": anchor_words,
    "random words": random_words,
    "query inserted": insert_query,
}
