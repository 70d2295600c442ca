"""A game of searching: MuSiQue's questions over its and HotpotQA's paragraphs, by BM25.

An agent chooses at each turn what to ask, or to stop; a ranker orders what BM25 finds; a reader
that is a rule knows a hop's answer once its passage was shown and what the hop needs is known. All
that can be asked is looked up beforehand, so that many searches go side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn import PlackettLuce
from policyrank.metrics.short_answers import answer_f1, holds_answer, query_words
from policyrank.studies.hops import Hop, hops_of
from policyrank.train.first_stage import Bm25Index
from policyrank.train.likeness import token_likeness

ACTIONS = ("sub-question", "without its first word", "without its last word", "last hop", "whole")
STOP = len(ACTIONS)
HOPS, TURNS, DEPTH, SHOWN = 4, 5, 20, 3
FEATURES = 7


@dataclass(frozen=True, eq=False)
class Game:
    """All that can be asked of questions, and what is found.

    Attributes
    ----------
    number
        (questions,), hops of each
    needs
        (questions, HOPS, HOPS), whether a hop needs another's answer
    asks
        (questions, 2^HOPS, actions), the query that an action asks when these hops are known
    gold
        (questions, HOPS), the query of each hop with all that it needs known; -1: no such hop
    texts
        of queries
    features, where
        (queries, DEPTH, FEATURES), (queries, DEPTH), of what BM25 finds, best first
    supports
        (queries, DEPTH, HOPS), which hop of its question a passage supports
    holds
        (queries, DEPTH), whether a passage holds the answer
    guess
        (queries, DEPTH), F1 of its title as an answer
    """

    number: Tensor
    needs: Tensor
    asks: Tensor
    gold: Tensor
    texts: tuple[str, ...]
    features: Tensor
    where: Tensor
    supports: Tensor
    holds: Tensor
    guess: Tensor

    def knows(self, question: Tensor, seen: Tensor) -> Tensor:
        """Which hops' answers are known of those whose passages were shown: (rows, HOPS)."""
        known = torch.zeros_like(seen)
        for hop in range(HOPS):
            lacking = (self.needs[question, hop] & ~known).any(dim=-1)
            known[:, hop] = seen[:, hop] & ~lacking
        return known

    def asked(self, question: Tensor, known: Tensor, action: Tensor) -> Tensor:
        """The query of each row: (rows,)."""
        return self.asks[question, bits(known), action]


def bits(known: Tensor) -> Tensor:
    """Which hops are known, as a number: (rows,)."""
    return (known.long() * 2 ** torch.arange(HOPS)).sum(dim=-1)


def queries_of(question: str, hops: Sequence[Hop], known: Iterable[int]) -> tuple[str, ...]:
    """What each action asks when the answers of some hops are known.

    The next hop is the first that is not known, or the last; what is not known is left out.

    Examples
    --------
    >>> hops = (Hop("Who made Heat?", "Mann", (), 0), Hop("Where was #1 born?", "Chicago", (0,), 1))
    >>> queries_of("Where was Heat's maker born?", hops, ())[:4]
    ('Who made Heat?', 'made Heat?', 'Who made', 'Where was born?')
    >>> queries_of("Where was Heat's maker born?", hops, (0,))[0]
    'Where was Mann born?'
    """
    answers = {number: hops[number].answer for number in known}
    left = [number for number in range(len(hops)) if number not in answers]
    told = hops[left[0] if left else -1].asked(answers)
    words = told.split()
    shorter = " ".join(words[1:]) or told, " ".join(words[:-1]) or told
    return told, *shorter, hops[-1].asked(answers), question


def game_of(
    questions: Sequence[Mapping[str, Any]] | None = None,
    others: Sequence[Mapping[str, Any]] | None = None,
) -> Game:
    """MuSiQue's hundred questions, over their paragraphs and those of HotpotQA's."""
    questions = datasets.load("musique100") if questions is None else questions
    others = datasets.load("hotpotqa100") if others is None else others
    titles, texts, place = _corpus(questions, others)
    known: dict[tuple[int, str], int] = {}
    asks = torch.zeros(len(questions), 2**HOPS, len(ACTIONS), dtype=torch.long)
    gold = torch.full((len(questions), HOPS), -1)
    needs = torch.zeros(len(questions), HOPS, HOPS, dtype=torch.bool)
    hops = [hops_of(question) for question in questions]
    for row, (question, own) in enumerate(zip(questions, hops, strict=True)):
        for mask in range(2 ** len(own)):
            some = [number for number in range(len(own)) if mask >> number & 1]
            for action, text in enumerate(queries_of(question["question"], own, some)):
                asks[row, mask, action] = known.setdefault((row, text), len(known))
        for number, hop in enumerate(own):
            needs[row, number, list(hop.needs)] = True
            told = hop.asked({other: own[other].answer for other in range(number)})
            gold[row, number] = known.setdefault((row, told), len(known))
    found = _found(list(known), questions, (titles, texts))
    supports = torch.zeros(len(known), DEPTH, HOPS, dtype=torch.bool)
    holds = torch.zeros(len(known), DEPTH, dtype=torch.bool)
    guess = torch.zeros(len(known), DEPTH)
    for query, (row, _) in enumerate(known):
        question = questions[row]
        right = [question["answer"], *question["answer_aliases"]]
        support = [place[_key(question["paragraphs"][hop.passage])] for hop in hops[row]]
        for rank, document in enumerate(found.documents[query]):
            supports[query, rank, : len(support)] = torch.tensor(support) == document
            holds[query, rank] = holds_answer(f"{titles[document]} {texts[document]}", right)
            guess[query, rank] = answer_f1(titles[document], right)
    many = torch.tensor([len(own) for own in hops])
    asked = tuple(text for _, text in known)
    return Game(many, needs, asks, gold, asked, found.features, found.where, supports, holds, guess)


def _key(paragraph: Mapping[str, Any]) -> tuple[str, str]:
    return paragraph["title"], paragraph["paragraph_text"]


def _corpus(
    questions: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str], dict[tuple[str, str], int]]:
    """Titles and texts of paragraphs, each once, and the place of each."""
    place: dict[tuple[str, str], int] = {}
    for question in questions:
        for paragraph in question["paragraphs"]:
            place.setdefault(_key(paragraph), len(place))
    for question in others:
        for title, sentences in question["context"]:
            place.setdefault((title, "".join(sentences)), len(place))
    return [title for title, _ in place], [text for _, text in place], place


@dataclass(frozen=True, eq=False)
class _Found:
    documents: list[list[int]]
    features: Tensor
    where: Tensor


def _found(
    queries: Sequence[tuple[int, str]],
    questions: Sequence[Mapping[str, Any]],
    corpus: tuple[list[str], list[str]],
) -> _Found:
    """What BM25 finds of each query, and how each passage looks beside it and its question."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    titles, texts = corpus
    whole = [f"{title} {text}" for title, text in zip(titles, texts, strict=True)]
    index = Bm25Index({str(number): text for number, text in enumerate(whole)})
    run = index.run({str(k): text for k, (_, text) in enumerate(queries)}, depth=DEPTH)
    documents: list[list[int]] = [[] for _ in queries]
    scores: list[list[float]] = [[] for _ in queries]
    for query, document, score in run.iter_rows():
        documents[int(query)].append(int(document))
        scores[int(query)].append(score)
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    bodies = words.fit_transform(whole)
    heads = words.transform(titles)
    asked = words.transform([text for _, text in queries])
    first = words.transform([question["question"] for question in questions])
    named = [set(query_words(title)) for title in titles]
    features = np.zeros((len(queries), DEPTH, FEATURES))
    where = torch.zeros(len(queries), DEPTH, dtype=torch.bool)
    for k, (row, text) in enumerate(queries):
        own = documents[k]
        said = set(query_words(text))
        likely = np.array(scores[k]) / max(scores[k], default=1.0)
        columns = (
            -np.log1p(np.arange(len(own))),
            likely,
            (bodies[own] @ asked[k].T).toarray()[:, 0],
            (bodies[own] @ first[row].T).toarray()[:, 0],
            (heads[own] @ asked[k].T).toarray()[:, 0],
            [len(named[d] & said) / max(len(named[d]), 1) for d in own],
            np.log1p([len(texts[d].split()) for d in own]),
        )
        features[k, : len(own)] = np.column_stack(columns)
        where[k, : len(own)] = True
    real = features[where.numpy()]
    features = (features - real.mean(axis=0)) / real.std(axis=0)
    return _Found(documents, torch.from_numpy(features).float(), where)


def likenesses(game: Game) -> tuple[dict[str, int], Tensor]:
    """The place of each text, and how alike each two are: (texts, texts)."""
    place = {text: k for k, text in enumerate(dict.fromkeys(game.texts))}
    return place, torch.from_numpy(token_likeness(list(place)))


@dataclass(frozen=True, eq=False)
class Searches:
    """What agents did, a trajectory a row.

    Attributes
    ----------
    outcome
        (rows,), F1 of the answer
    known
        (rows, HOPS), what was known in the end
    log_probs, acted
        (rows, TURNS), of each choice of the agent, and whether there was one
    query, searched
        (rows, TURNS), what was asked, and whether it was
    order, order_log_probs
        (rows, TURNS, SHOWN), of the passages that were shown, by their place at BM25
    """

    outcome: Tensor
    known: Tensor
    log_probs: Tensor
    acted: Tensor
    query: Tensor
    searched: Tensor
    order: Tensor
    order_log_probs: Tensor


class Agent(torch.nn.Module):
    """Chooses by the turn, how many hops are not known, and what it did before."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = torch.nn.Parameter(torch.zeros(TURNS, STOP + 1))
        self.left = torch.nn.Parameter(torch.zeros(HOPS + 1, STOP + 1))
        self.before = torch.nn.Parameter(torch.zeros(STOP + 1, STOP + 1))

    def forward(self, turn: int, left: Tensor, before: Tensor) -> Tensor:
        """Log-probabilities of actions: (rows, actions + 1)."""
        scores = self.turn[turn] + self.left[left] + self.before[before]
        return torch.log_softmax(scores, dim=-1)


class Ranker(torch.nn.Module):
    """Scores passages; at the start as BM25 has them, each place ln(1 + place) below the first."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(FEATURES, 32), torch.nn.Tanh())
        self.head = torch.nn.Linear(32, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Scores: (..., passages)."""
        places = torch.arange(1, features.shape[-2] + 1)
        return self.head(self.body(features))[..., 0] - places.log()


def by_oracle(first: Tensor) -> Tensor:
    """The passages that count first, then the others, each as they were: (queries, DEPTH).

    Examples
    --------
    >>> by_oracle(torch.tensor([[False, True, False, True, False]]))
    tensor([[1, 3, 0, 2, 4]])
    """
    return (~first).to(torch.int8).argsort(dim=-1, stable=True)


@dataclass(frozen=True, eq=False)
class Orders:
    """How passages are ordered: by fixed orders of all queries, or by a ranker.

    Attributes
    ----------
    fixed
        (queries, DEPTH), or None
    ranker
        asked where there are no fixed orders
    drawn
        whether its rankings are drawn, or the likeliest
    """

    fixed: Tensor | None = None
    ranker: Ranker | None = None
    drawn: bool = False

    def of(self, game: Game, query: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The first places of each query, and their log-probabilities: (rows, SHOWN) each."""
        if self.ranker is None:
            assert self.fixed is not None
            order = self.fixed[query, :SHOWN]
            return order, torch.zeros(order.shape)
        policy = PlackettLuce(self.ranker(game.features[query]), game.where[query])
        if not self.drawn:
            return policy.mode(SHOWN), torch.zeros(len(query), SHOWN)
        order = policy.sample(1, k=SHOWN, generator=generator)[0]
        return order, policy.step_log_prob(order)


def searched(
    game: Game, question: Tensor, agent: Agent, orders: Orders, generator: torch.Generator
) -> Searches:
    """Trajectories of an agent, one a row: (rows,) questions."""
    rows = len(question)
    seen = torch.zeros(rows, HOPS, dtype=torch.bool)
    alive = torch.ones(rows, dtype=torch.bool)
    before = torch.full((rows,), STOP)
    guess = torch.zeros(rows)
    columns: dict[str, list[Tensor]] = {name: [] for name in Searches.__dataclass_fields__}
    for turn in range(TURNS):
        known = game.knows(question, seen)
        left = game.number[question] - known.sum(dim=-1)
        logits = agent(turn, left, before)
        chosen = torch.multinomial(logits.detach().exp(), 1, generator=generator)
        columns["log_probs"].append(logits.gather(1, chosen)[:, 0])
        columns["acted"].append(alive)
        action = chosen[:, 0]
        alive = alive & (action != STOP)
        query = game.asked(question, known, action.clamp(max=STOP - 1))
        order, log_probs = orders.of(game, query, generator)
        real = game.where[query].gather(1, order) & alive[:, None]
        shown = game.supports[query].gather(1, order[..., None].expand(-1, -1, HOPS))
        seen = seen | (shown & real[..., None]).any(dim=1)
        first = game.guess[query].gather(1, order[:, :1])[:, 0]
        guess = torch.where(real[:, 0], first, guess)
        columns["query"].append(query)
        columns["searched"].append(alive)
        columns["order"].append(order)
        columns["order_log_probs"].append(log_probs)
        before = action
    known = game.knows(question, seen)
    told = known.gather(1, game.number[question, None] - 1)[:, 0]
    stacked = {name: torch.stack(own, dim=1) for name, own in columns.items() if own}
    return Searches(torch.where(told, 1.0, guess), known, **stacked)


def hits(game: Game, orders: Orders, questions: NDArray[np.int64]) -> Tensor:
    """Share of a question's hops whose passage is shown when rightly asked for: (questions,)."""
    gold = game.gold[torch.from_numpy(questions)]
    there = gold >= 0
    query = gold[there]
    order, _ = orders.of(game, query, torch.Generator())
    hop = there.nonzero()[:, 1]
    shown = game.supports[query].gather(1, order[..., None].expand(-1, -1, HOPS)).any(dim=1)
    found = torch.zeros(gold.shape)
    found[there] = shown.gather(1, hop[:, None])[:, 0].float()
    return found.sum(dim=1) / there.sum(dim=1)
