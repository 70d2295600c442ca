"""Language models that rank passages: what they are asked, and what is made of their answers.

``Asking`` turns what a model writes, or what it thinks of the labels, into choices and orders that
``train.sorts`` sorts by. Nothing that it cannot read is taken for an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError
from policyrank.evidence.conversations import Prompt
from policyrank.learn.rewards import parsing
from policyrank.train import sorts

Method = Literal["setwise-heapsort", "setwise-bubble", "pairwise", "listwise-window", "pointwise"]
METHODS: tuple[Method, ...] = get_args(Method)
Write = Callable[[Sequence[Prompt]], Sequence[str]]
"""Prompts -> what a model writes on each."""

Weigh = Callable[[Sequence[Prompt], Sequence[str]], NDArray[np.float64]]
"""Prompts and options -> chances of the options as the answer: (prompts, options); NaN: none."""

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_THINKS = (
    "Think first about what the query asks and about each passage, between <think> and </think>,"
    " then answer between <answer> and </answer>."
)
_PLAIN = "Answer with the label alone."


@dataclass(frozen=True)
class Asking:
    """How a model is asked, and how passages are shown.

    Parameters
    ----------
    thinks
        it thinks between tags before it answers between tags
    query_words, passage_words
        words of a query and of a passage that are shown; what is longer is cut at its end
    system
        message before the question, for models with a chat template; None: none
    """

    thinks: bool = False
    query_words: int = 64
    passage_words: int = 150
    system: str | None = None

    def choice(self, query: str, passages: Sequence[str]) -> Prompt:
        """Which passage is the most relevant?"""
        how = _THINKS if self.thinks else _PLAIN
        labels = [f"[{k + 1}]" for k in range(len(passages))]
        asked = (
            "Which of these passages is the most relevant to the query?\n\n"
            f"{self._query(query)}\n\n{self._listed(passages, labels)}\n\n{how}"
            " The answer is the label of one passage, such as [2], and nothing else."
        )
        return self._prompt(asked)

    def letter(self, query: str, passages: Sequence[str]) -> Prompt:
        """The same with letters as labels, which are one token each: to be weighed."""
        labels = [f"{letter}:" for letter in LETTERS[: len(passages)]]
        asked = (
            "Which of these passages is the most relevant to the query?\n\n"
            f"{self._query(query)}\n\n{self._listed(passages, labels)}\n\n"
            "Answer with the letter of one passage alone."
        )
        return self._prompt(asked)

    def order(self, query: str, passages: Sequence[str]) -> Prompt:
        """In what order are the passages relevant?"""
        labels = [f"[{k + 1}]" for k in range(len(passages))]
        asked = (
            f"Order these {len(passages)} passages by their relevance to the query, the most"
            f" relevant first.\n\n{self._query(query)}\n\n{self._listed(passages, labels)}\n\n"
            f"{_THINKS + ' ' if self.thinks else ''}"
            "The answer names each label once, such as [2] > [1] > [3], and nothing else."
        )
        return self._prompt(asked)

    def relevance(self, query: str, passage: str) -> Prompt:
        """Is the passage relevant?"""
        asked = (
            f"Does this passage answer the query?\n\n{self._query(query)}\n\n"
            f"Passage: {_cut(passage, self.passage_words)}\n\nAnswer Yes or No."
        )
        return self._prompt(asked)

    def _query(self, query: str) -> str:
        return f"Query: {_cut(query, self.query_words)}"

    def _listed(self, passages: Sequence[str], labels: Sequence[str]) -> str:
        shown = (_cut(text, self.passage_words) for text in passages)
        return "\n".join(f"{label} {text}" for label, text in zip(labels, shown, strict=True))

    def _prompt(self, text: str) -> Prompt:
        if self.system is None:
            return text
        return [{"role": "system", "content": self.system}, {"role": "user", "content": text}]


def _cut(text: str, words: int) -> str:
    """The first words of a text, on one line."""
    found = text.split()
    return " ".join(found[:words]) + (" ..." if len(found) > words else "")


@dataclass(frozen=True)
class LanguageRanker:
    """Rerank with a language model.

    Parameters
    ----------
    write
        what the model writes; for a server, or a model that thinks
    weigh
        what it thinks of the labels, without writing: each answer can be read, at one pass a
        question
    method
        setwise by heap or bubble, pairwise (setwise by pairs in both orders), windows of whole
        orders, or each passage alone
    children
        passages beside the one that is compared with them, in one question
    k
        places that are sorted (setwise, pairwise)
    window, step, passes
        of windows
    votes
        questions with the passages shuffled, for each choice; 1: as they stand, shuffled once
    strict
        answers count only in the form that was asked for
    seed
        of the shuffles

    Raises
    ------
    OptionError
        For an unknown method, or one that the model cannot be asked in.
    """

    write: Write | None = None
    weigh: Weigh | None = None
    asking: Asking = field(default_factory=Asking)
    method: Method = "setwise-heapsort"
    children: int = 19
    k: int = 10
    window: int = 20
    step: int = 10
    passes: int = 1
    votes: int = 1
    strict: bool = False
    give_up: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise OptionError(f"method={self.method!r}: use one of {', '.join(METHODS)}.")
        if (self.write is None) == (self.weigh is None):
            raise OptionError("a language ranker either writes or weighs: give one of the two.")
        if self.method == "listwise-window" and self.write is None:
            raise OptionError("method='listwise-window' needs a model that writes.")
        if self.method == "pointwise" and self.weigh is None:
            raise OptionError("method='pointwise' needs a model that weighs Yes and No.")
        if self.weigh is not None and self.children >= len(LETTERS):
            raise OptionError(
                f"children={self.children}: at most {len(LETTERS) - 1} where letters are weighed."
            )

    def __call__(self, query: str, passages: Sequence[str]) -> sorts.Sorted:
        """The order of a query's passages, which come as the first stage has them."""
        if self.method == "pointwise":
            return self._alone(query, passages)
        if self.method == "listwise-window":
            arrange = partial(self._arranged, query, passages)
            return sorts.listwise_windows(
                len(passages),
                arrange,
                window=self.window,
                step=self.step,
                passes=self.passes,
                give_up=self.give_up,
            )
        asked = _Counted(partial(self._chosen, query, passages))
        choose = sorts.by_vote(asked, self.votes, self.seed)
        if self.method == "pairwise":
            choose = sorts.by_pairs(asked)
        sort = sorts.setwise_bubble if self.method == "setwise-bubble" else sorts.setwise_heapsort
        found = sort(len(passages), choose, children=self.children, k=self.k, give_up=self.give_up)
        return replace(found, calls=asked.calls, invalid=asked.invalid)

    def _chosen(self, query: str, passages: Sequence[str], items: Sequence[int]) -> int | None:
        shown = [passages[own] for own in items]
        if self.weigh is not None:
            chances = self.weigh([self.asking.letter(query, shown)], LETTERS[: len(items)])[0]
            return None if np.isnan(chances).any() else int(np.argmax(chances))
        assert self.write is not None
        (text,) = self.write([self.asking.choice(query, shown)])
        return parsing.choice(text, len(items), strict=self.strict).value

    def _arranged(
        self, query: str, passages: Sequence[str], items: Sequence[int]
    ) -> Sequence[int] | None:
        assert self.write is not None
        prompt = self.asking.order(query, [passages[own] for own in items])
        (text,) = self.write([prompt])
        return parsing.permutation(text, len(items), strict=self.strict).value

    def _alone(self, query: str, passages: Sequence[str]) -> sorts.Sorted:
        assert self.weigh is not None
        prompts = [self.asking.relevance(query, text) for text in passages]
        chances = self.weigh(prompts, ["Yes", "No"])[:, 0] if prompts else np.zeros(0)
        unread = np.isnan(chances)
        order = np.argsort(-np.where(unread, -1.0, chances), kind="stable")
        invalid = int(unread.sum())
        gave_up = invalid > self.give_up * len(passages)
        places = range(len(passages)) if gave_up else order.tolist()
        scores = tuple(chances.tolist())
        return sorts.Sorted(tuple(places), len(passages), invalid, gave_up, scores)


class _Counted:
    """A chooser that counts how often it was asked, and not answered."""

    def __init__(self, choose: sorts.Choose) -> None:
        self.choose, self.calls, self.invalid = choose, 0, 0

    def __call__(self, items: Sequence[int]) -> int | None:
        self.calls += 1
        place = self.choose(items)
        self.invalid += place is None
        return place


class Budget:
    """Who writes or weighs, for so many questions; then no more answers come.

    Attributes
    ----------
    calls
        questions that may be asked; None: any number
    asked, refused
        how many were, and were not
    """

    def __init__(self, answer: Callable[..., Any], calls: int | None = None) -> None:
        self.answer, self.calls = answer, calls
        self.asked, self.refused = 0, 0
        self._lock = threading.Lock()

    def __call__(self, prompts: Sequence[Prompt], *options: Sequence[str]) -> Any:
        with self._lock:
            free = len(prompts) if self.calls is None else max(self.calls - self.asked, 0)
            taken = min(len(prompts), free)
            self.asked += taken
            self.refused += len(prompts) - taken
        found = self.answer(prompts[:taken], *options) if taken else []
        if options:
            silent = np.full((len(prompts) - taken, len(options[0])), np.nan)
            return (
                np.concatenate([np.asarray(found).reshape(taken, -1), silent]) if taken else silent
            )
        return [*found, *[""] * (len(prompts) - taken)]


def rerank_all(
    ranker: LanguageRanker,
    lists: Sequence[tuple[str, Sequence[str]]],
    *,
    concurrency: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[sorts.Sorted]:
    """Rank many queries' passages, several at a time; in the order of the queries.

    Parameters
    ----------
    lists
        (query, passages) of each
    concurrency
        queries at once: more than 1 for servers
    """
    done, lock = 0, threading.Lock()

    def one(place: int) -> sorts.Sorted:
        nonlocal done
        query, passages = lists[place]
        found = replace(ranker, seed=ranker.seed + place)(query, passages)
        with lock:
            done += 1
            if report is not None:
                report(done, len(lists))
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        yield from pool.map(one, range(len(lists)))


def weigher(model: Any, tokenizer: Any, **options: Any) -> Weigh:
    """Weigh by a causal language model; ``options``: of ``models.language.choice_probs``."""
    from policyrank.models.language import choice_probs

    return lambda prompts, labels: choice_probs(model, tokenizer, prompts, labels, **options)


def writer(model: Any, tokenizer: Any, *, tokens: int = 64, **options: Any) -> Write:
    """Write greedily with a causal language model; ``options`` are those of ``models.sampling``."""
    from policyrank.models.sampling import sample

    def write(prompts: Sequence[Prompt]) -> list[str]:
        made = sample(model, tokenizer, prompts, max_new_tokens=tokens, temperature=0, **options)
        return [own[0].text if own else "" for own in made]

    return write
