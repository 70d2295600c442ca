"""Attacks on one passage for one query: triggers found on an imitation, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from policyrank.auditing.attacks.imitation import Imitation
from policyrank.auditing.attacks.language import words
from policyrank.auditing.attacks.victims import best_first

Tokens = NDArray[np.int64]
Trigger = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Attack:
    """What an attacker sees.

    Attributes
    ----------
    query, passage
        the passage as words, as they stand
    anchor
        places in the vocabulary of the words of the query's top passages
    budget
        words that may be added or replaced
    """

    query: str
    passage: tuple[str, ...]
    anchor: Tokens
    budget: int
    model: Imitation
    rng: np.random.Generator


Rewrite = Callable[[Attack], list[str]]
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
    """Words to put in front of the passage, by beam search on the imitation.

    The pairwise anchor-based trigger.

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
    search = _Search.of(attack, similar, boost)
    beams: list[Trigger] = [()]
    best: tuple[float, Trigger] = (-np.inf, ())
    for _ in range(attack.budget):
        tried: dict[Trigger, None] = {}
        for start in beams:
            for word in search.proposed(start, proposals, fluency):
                tried[(*start, word)] = None
        if not tried:
            break
        triggers = list(tried)
        scores, near = search.judged(triggers)
        exact = torch.nn.functional.logsigmoid(scores - search.goal) + coherence * near
        fluent = [search.fluency(trigger) for trigger in triggers]
        total = exact.numpy() + fluency * np.array(fluent)
        beams = best_first(triggers, total)[:beam]
        top = int(scores.argmax())
        if float(scores[top]) > best[0]:
            best = (float(scores[top]), triggers[top])
    return [attack.model.corpus.vocabulary[word] for word in best[1]]


@dataclass(frozen=True, eq=False)
class _Search:
    """What stays the same in a search for a trigger.

    Attributes
    ----------
    query, passage
        places in the vocabulary
    goal
        (1,): score of the anchor
    about
        unit vector of what the passage is about
    unit
        (vocabulary, d): unit vectors of words
    favoured
        (vocabulary,): what is added to the gradient of words like the query or in the anchor
    """

    model: Imitation
    query: Tensor
    passage: Tokens
    goal: Tensor
    about: Tensor
    unit: Tensor
    favoured: NDArray[np.float64]

    @classmethod
    @torch.no_grad()
    def of(cls, attack: Attack, similar: int, boost: float) -> _Search:
        model, corpus = attack.model, attack.model.corpus
        query, passage = (
            torch.from_numpy(corpus.encode(attack.query)),
            corpus.encode(attack.passage),
        )
        vocabulary = len(corpus.vocabulary)
        alone = model(query, torch.arange(vocabulary)[:, None])
        favoured = np.zeros(vocabulary)
        favoured[alone.topk(min(similar, vocabulary)).indices.numpy()] = boost
        favoured[attack.anchor] = boost
        unit = normalize(model.vectors, dim=-1)
        about = unit[0]
        if len(passage):
            about = normalize((unit[passage] * model.idf[passage][:, None]).sum(dim=0), dim=0)
        goal = model(query, model.pad([attack.anchor]))
        return cls(model, query, passage, goal, about, unit, favoured)

    def proposed(self, trigger: Trigger, count: int, fluency: float) -> list[int]:
        """The words that the gradient favours most behind a trigger."""
        model, place = self.model, len(trigger)
        documents = model.pad([np.concatenate([trigger, [0], self.passage]).astype(np.int64)])
        embedded = model.vectors[documents.clamp(min=0)].detach().requires_grad_()
        documents[0, place] = 1  # any word: an unknown one would not count
        score = model(self.query, documents, embedded).sum()
        (gradient,) = torch.autograd.grad(score, embedded)
        first = (model.vectors.detach() @ gradient[0, place]).numpy()
        value = first / max(float(first.std()), 1e-9) + self.favoured
        if trigger:
            value = value + fluency * model.corpus.next_log_prob(trigger[-1])
        value[0] = -np.inf
        value[list(trigger)] = -np.inf  # no word twice
        chosen = np.argpartition(-value, min(count, len(value) - 1))[:count]
        return chosen[np.isfinite(value[chosen])].tolist()

    @torch.no_grad()
    def judged(self, triggers: list[Trigger]) -> tuple[Tensor, Tensor]:
        """Scores of the passage behind each trigger, cosines of trigger and passage."""
        documents = []
        for trigger in triggers:
            documents.append(np.concatenate([trigger, self.passage]).astype(np.int64))
        scores = self.model(self.query, self.model.pad(documents))
        own = torch.from_numpy(np.array(triggers))
        weighted = self.unit[own] * self.model.idf[own][..., None]
        return scores, normalize(weighted.sum(dim=1), dim=-1) @ self.about

    def fluency(self, trigger: Trigger) -> float:
        """Mean log-probability of its words under bigrams; 0 for one word."""
        if len(trigger) < 2:
            return 0.0
        return float(self.model.corpus.log_prob(np.array(trigger)).mean())


def trigger(attack: Attack) -> list[str]:
    """The passage with the trigger of ``search_trigger`` in front."""
    return [*search_trigger(attack), *attack.passage]


def unguarded_trigger(attack: Attack) -> list[str]:
    """As ``trigger``, without fluency and coherence."""
    return [*search_trigger(attack, fluency=0.0, coherence=0.0), *attack.passage]


def random_words(attack: Attack) -> list[str]:
    """Words of the corpus at random, in front."""
    known = np.arange(1, len(attack.model.corpus.vocabulary))
    return _in_front(attack, attack.rng.choice(known, attack.budget, replace=False))


def anchor_words(attack: Attack) -> list[str]:
    """Words of the top passages at random, in front."""
    known = np.unique(attack.anchor[attack.anchor > 0])
    count = min(attack.budget, len(known))
    return _in_front(attack, attack.rng.choice(known, count, replace=False))


def _in_front(attack: Attack, drawn: Tokens) -> list[str]:
    vocabulary = attack.model.corpus.vocabulary
    return [*(vocabulary[word] for word in drawn), *attack.passage]


def insert_query(attack: Attack) -> list[str]:
    """The whole query in front, whatever the budget: blatant."""
    return [*words(attack.query), *attack.passage]


def substitute(attack: Attack, near: int = 10) -> list[str]:
    """Words of the passage replaced by near ones, one at a time.

    Each time by what raises the imitation's score most (greedy, as PRADA's setting).
    """
    model, corpus = attack.model, attack.model.corpus
    text = list(attack.passage)
    unit = normalize(model.vectors.detach(), dim=-1)
    changed: list[int] = []
    for _ in range(attack.budget):
        tokens = corpus.encode(text)
        rarest = np.argsort(-corpus.idf[tokens], kind="stable")
        open_to = (tokens[rarest] > 0) & ~np.isin(rarest, changed)
        places = rarest[open_to][:40]
        if not len(places):
            break
        similar = unit[tokens[places]] @ unit.T
        options = similar.topk(min(near + 1, len(unit)), dim=1).indices[:, 1:].numpy()
        row, column = np.nonzero(options > 0)
        tried, new = places[row], options[row, column]
        documents = np.tile(tokens, (len(tried), 1))
        documents[np.arange(len(tried)), tried] = new
        scores = model.scores(attack.query, [tokens, *documents])
        pick = int(scores[1:].argmax())
        if scores[pick + 1] <= scores[0]:
            break
        place = int(tried[pick])
        text[place] = corpus.vocabulary[new[pick]]
        changed.append(place)
    return text


ATTACKS: dict[str, Rewrite] = {
    "trigger": trigger,
    "trigger, unguarded": unguarded_trigger,
    "substitution": substitute,
    "anchor words": anchor_words,
    "random words": random_words,
    "query inserted": insert_query,
}
