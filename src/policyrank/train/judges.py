"""Who says which answer is better: judges by a language model, likelihood, similarity.

And decoding policies that take the best of several answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice, permutations
from typing import Any, Protocol

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import Prompt, text_of
from policyrank.models.fitting import LongPrompts, Seen
from policyrank.models.language import answer_logprobs, choice_probs, generate

Scorer = Callable[[Sequence[Prompt], Sequence[Sequence[Any]]], list[list[float]]]
"""(prompts, completions of each) -> scores of each, higher is better; NaN: not scored."""
Generator = Callable[[Sequence[Prompt], int], list[list[str]]]
"""(prompts, n) -> n answers of each."""


class Judge(Protocol):
    """Prompts, answers, other answers -> share in [0, 1] by which each answer beats the other."""

    def __call__(
        self, prompts: Sequence[Any], answers: Sequence[str], others: Sequence[str], /
    ) -> Sequence[float]: ...


RATING = """Rate the answer to the question from 1 (useless) to 9 (as good as can be).

Question: {prompt}
{anchor}Answer: {answer}

Rating:"""
VOTE = """Which answer to the question is better, A or B?

Question: {prompt}
{anchor}Answer A: {first}

Answer B: {second}

Better answer:"""


def likelihood_scorer(
    model: Any,
    tokenizer: Any,
    *,
    per_token: bool = True,
    max_length: int = 1024,
    chat: bool | None = None,
    long_prompts: LongPrompts = "leave out",
    seen: Seen | None = None,
) -> Scorer:
    """Log-probability of each answer under a language model, per token or in all.

    NaN where the prompt is too long; ``seen`` counts (``models.fitting``).
    """

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        texts = each_answer(prompts, completions)
        flat = [0.0] * len(texts)
        for done in answer_logprobs(
            model,
            tokenizer,
            texts,
            max_length=max_length,
            chat=chat,
            long_prompts=long_prompts,
            seen=seen,
        ):
            for k, found in done:
                flat[k] = found.logprob
                if per_token:
                    flat[k] /= max(found.tokens, 1)
        return as_lists(flat, completions)

    return score


def each_answer(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[Any]]
) -> list[tuple[Prompt, Any]]:
    """Every prompt with each of its answers."""
    pairs = []
    for prompt, answers in zip(prompts, completions, strict=True):
        pairs += [(prompt, answer) for answer in answers]
    return pairs


def as_lists(values: Sequence[float], completions: Sequence[Sequence[str]]) -> list[list[float]]:
    """Values of all answers, by prompt."""
    rest = iter(values)
    return [list(islice(rest, len(answers))) for answers in completions]


def rating_judge(
    model: Any,
    tokenizer: Any,
    anchors: Mapping[str, str] | None = None,
    *,
    template: str = RATING,
    max_length: int = 2048,
    chat: bool | None = None,
    seen: Seen | None = None,
) -> Scorer:
    """The expected rating, 1 to 9, that a language model gives an answer.

    The sum of each digit times its probability among the digits.

    Parameters
    ----------
    anchors
        of each prompt's text a good answer, shown as the reference (positive-unlabeled
        distillation's self-ranking); None: without
    template
        with {prompt}, {anchor}, {answer}
    chat
        through the tokenizer's chat template; None: where there is one
    seen
        counts what is longer than ``max_length``, which is not rated (NaN)

    References
    ----------
    arXiv 2601.20687 (reconstructed).
    """
    digits = list("123456789")

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        asked = []
        for prompt, answer in each_answer(prompts, completions):
            shown = {"prompt": text_of(prompt), "anchor": _anchor(anchors, prompt)}
            asked.append(template.format(answer=text_of(answer), **shown))
        chances = choice_probs(
            model, tokenizer, asked, digits, max_length=max_length, chat=chat, seen=seen
        )
        return as_lists((chances @ np.arange(1.0, 10.0)).tolist(), completions)

    return score


def vote_judge(
    model: Any,
    tokenizer: Any,
    anchors: Mapping[str, str] | None = None,
    *,
    template: str = VOTE,
    max_length: int = 2048,
    seen: Seen | None = None,
) -> Scorer:
    """The mean share by which a language model prefers an answer to the others of its list.

    Every pair is asked in both orders, so that being named first does not count.
    """

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        out = [[0.0] * len(answers) for answers in completions]
        asked, place = [], []
        for own, prompt, answers in zip(out, prompts, completions, strict=True):
            if len(answers) < 2:
                continue
            shown = {"prompt": text_of(prompt), "anchor": _anchor(anchors, prompt)}
            texts = list(map(text_of, answers))
            for a, b in permutations(range(len(answers)), 2):
                asked.append(template.format(first=texts[a], second=texts[b], **shown))
                place.append((own, a, b))
        if not asked:
            return out
        options = ["A", "B"]
        chances = choice_probs(model, tokenizer, asked, options, max_length=max_length, seen=seen)
        for (own, a, b), share in zip(place, chances[:, 0].tolist(), strict=True):
            others = 2 * (len(own) - 1)
            own[a] += share / others
            own[b] += (1 - share) / others
        return out

    return score


def pairwise_judge(scorer: Scorer) -> Judge:
    """A trainer's judge out of a scorer.

    1 where the first answer scores higher, 1/2 where they are equal.
    """

    def judge(
        prompts: Sequence[Prompt], answers: Sequence[str], others: Sequence[str]
    ) -> list[float]:
        found = scorer(prompts, list(map(list, zip(answers, others, strict=True))))
        return [0.5 + 0.5 * float(np.sign(a - b)) for a, b in found]

    return judge


def similarity_scorer(encoder: Any, anchors: Mapping[str, str]) -> Scorer:
    """Cosine of each answer with its prompt's anchor, under a sentence encoder."""
    from policyrank.models.encoders import encode_texts

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        good = [anchors[text_of(prompt)] for prompt in prompts]
        vectors = encode_texts(encoder, [*good, *chain.from_iterable(completions)])
        near, rest = [], iter(vectors[len(prompts) :])
        for own, answers in zip(vectors, completions, strict=False):
            near.append([float(next(rest) @ own) for _ in answers])
        return near

    return score


def _anchor(anchors: Mapping[str, str] | None, prompt: Prompt) -> str:
    if anchors is None:
        return ""
    if text_of(prompt) not in anchors:
        raise EvidenceError(f"no anchor for the prompt {text_of(prompt)[:60]!r}.")
    return f"A good answer: {anchors[text_of(prompt)]}\n"


def sampler(model: Any, tokenizer: Any, **options: Any) -> Generator:
    """Answers sampled from a language model; ``options`` are those of ``generate``."""
    return lambda prompts, n: generate(model, tokenizer, prompts, n=n, **options)


def best_of_n(
    prompts: Sequence[Prompt], policy: Generator, scorer: Scorer, n: int = 8
) -> tuple[list[str], list[list[str]], list[list[float]]]:
    """A decoding policy: sample ``n`` answers of each prompt, keep the best (the first of ties).

    Returns best, all answers, their scores.
    """
    made = policy(prompts, n)
    scores = scorer(prompts, made)
    best = []
    for answers, own in zip(made, scores, strict=True):
        best.append(answers[int(np.argmax(own))])
    return best, made, scores


def majority(answers: Sequence[str], key: Callable[[str], Any] = str.strip) -> int:
    """Place of the first answer whose ``key`` (what it comes to) is the commonest.

    Self-consistency.

    Examples
    --------
    >>> majority(["4", "3 ", "3"])
    1
    """
    keys = list(map(key, answers))
    return keys.index(Counter(keys).most_common(1)[0][0])
