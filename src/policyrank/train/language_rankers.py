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
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError
from policyrank.evidence.conversations import Prompt
from policyrank.learn.rewards import parsing
from policyrank.models.tokens import encode_prompt, option_ids
from policyrank.train import sorts
from policyrank.train.asking import LETTERS, Asking, count_words
from policyrank.train.posting import RefusedError
from policyrank.train.spent import Spent

Method = Literal["setwise-heapsort", "setwise-bubble", "pairwise", "listwise-window", "pointwise"]
METHODS: tuple[Method, ...] = get_args(Method)
Write = Callable[[Sequence[Prompt]], Sequence[str]]
"""Prompts -> what a model writes on each."""

Weigh = Callable[[Sequence[Prompt], Sequence[str]], NDArray[np.float64]]
"""Prompts and options -> chances of the options as the answer: (prompts, options); NaN: none."""


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
    fits
        whether the model can read a prompt, its answer included; of what it cannot, less of each
        passage is shown. None: it is told by the server that refuses it
    spent
        counts what had to be shortened, or left out
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
    fits: Callable[[Prompt], bool] | None = None
    spent: Spent = field(default_factory=Spent)

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
            for prompt in self._questions(lambda asking: asking.letter(query, shown), shown):
                chances = self.weigh([prompt], LETTERS[: len(items)])[0]
                return None if np.isnan(chances).any() else int(np.argmax(chances))
            return None
        text = self._written(lambda asking: asking.choice(query, shown), shown)
        return parsing.choice(text, len(items), strict=self.strict).value

    def _arranged(
        self, query: str, passages: Sequence[str], items: Sequence[int]
    ) -> Sequence[int] | None:
        shown = [passages[own] for own in items]
        text = self._written(lambda asking: asking.order(query, shown), shown)
        said = parsing.permutation(text, len(items), strict=self.strict)
        self.spent.add(mended=said.value is not None and bool(said.trouble))
        return said.value

    def _alone(self, query: str, passages: Sequence[str]) -> sorts.Sorted:
        options = [self.asking.questions.yes, self.asking.questions.no]
        chances = np.full(len(passages), np.nan)
        places, prompts = [], []
        for place, text in enumerate(passages):
            for prompt in islice(self._questions(partial(_relevance, query, text), [text]), 1):
                places.append(place)
                prompts.append(prompt)
        if prompts:
            assert self.weigh is not None
            chances[places] = self.weigh(prompts, options)[:, 0]
        unread = np.isnan(chances)
        order = np.argsort(-np.where(unread, -1.0, chances), kind="stable")
        invalid = int(unread.sum())
        gave_up = invalid > self.give_up * len(passages)
        ranked = range(len(passages)) if gave_up else order.tolist()
        scores = tuple(chances.tolist())
        return sorts.Sorted(tuple(ranked), len(passages), invalid, gave_up, scores)

    def _written(self, make: Callable[[Asking], Prompt], shown: Sequence[str]) -> str:
        """What the model writes on the first question that fits; nothing where none does."""
        assert self.write is not None
        for prompt in self._questions(make, shown):
            try:
                return self.write([prompt])[0]
            except RefusedError as error:
                if not error.too_long:
                    raise
        return ""

    def _questions(
        self, make: Callable[[Asking], Prompt], shown: Sequence[str]
    ) -> Iterator[Prompt]:
        """A question, then with ever less of each passage, as far as they fit."""
        words = min(self.asking.passage_words, max(map(count_words, shown), default=1))
        asking = self.asking
        while True:
            prompt = make(asking)
            if self.fits is None or self.fits(prompt):
                yield prompt
            if words <= 1:
                break
            self.spent.add(shortened=asking is self.asking)
            words = words * 2 // 3
            asking = replace(asking, passage_words=words)
        self.spent.add(shortened=-(asking is not self.asking), long=1)


def _relevance(query: str, passage: str, asking: Asking) -> Prompt:
    return asking.relevance(query, passage)


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


def weigher(model: Any, tokenizer: Any, *, spent: Spent | None = None, **options: Any) -> Weigh:
    """Weigh by a causal language model; ``options``: of ``models.language.choice_probs``.

    ``spent`` counts tokens.
    """
    from policyrank.models.language import choice_probs

    def weigh(prompts: Sequence[Prompt], labels: Sequence[str]) -> NDArray[np.float64]:
        if spent is not None:
            read = sum(len(encode_prompt(tokenizer, own)) for own in prompts)
            spent.add(read=read, answers=len(prompts), told=len(prompts))
        return choice_probs(model, tokenizer, prompts, labels, **options)

    return weigh


def writer(
    model: Any, tokenizer: Any, *, tokens: int = 64, spent: Spent | None = None, **options: Any
) -> Write:
    """Write greedily with a causal language model; ``options`` are those of ``models.sampling``.

    ``spent`` counts tokens, and answers that were cut.
    """
    from policyrank.models.sampling import sample

    def write(prompts: Sequence[Prompt]) -> list[str]:
        made = sample(model, tokenizer, prompts, max_new_tokens=tokens, temperature=0, **options)
        answers = [own[0] for own in made if own]
        if spent is not None:
            spent.add(
                read=sum(len(encode_prompt(tokenizer, own)) for own in prompts),
                written=sum(len(own.ids) for own in answers),
                cut=sum(not own.ended for own in answers),
                answers=len(answers),
                told=len(answers),
            )
        return [own[0].text if own else "" for own in made]

    return write


def label_tokens(tokenizer: Any, labels: Sequence[str]) -> int:
    """Tokens of the longest label."""
    return max(len(option_ids(tokenizer, label)) for label in labels)


def fits_in(model: Any, tokenizer: Any, tokens: int) -> Callable[[Prompt], bool]:
    """Whether a model reads a prompt and may then write so many tokens, what it thinks included.

    Raises
    ------
    OptionError
        When its context has no room for that many.
    """
    from policyrank.models.sampling import context_of

    context = context_of(model)
    if tokens >= context:
        raise OptionError(
            f"tokens={tokens:,}: the model reads {context:,} in all, the question included."
        )
    return lambda prompt: len(encode_prompt(tokenizer, prompt)) + tokens <= context
