"""Sampled answers and their scores, made into lists to learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt
from policyrank.models.sampling import Sampled
from policyrank.models.tokens import encode_prompt
from policyrank.train.answers import AnswerData, EncodedAnswers


def usable_answers(made: Sequence[Sequence[str]]) -> list[list[str]]:
    """Answers that are not empty, each once.

    Examples
    --------
    >>> usable_answers([["a", " ", "b", "a"]])
    [['a', 'b']]
    """
    out = []
    for answers in made:
        out.append([answer for answer in dict.fromkeys(answers) if answer.strip()])
    return out


def usable_samples(made: Sequence[Sequence[Sampled]]) -> list[list[Sampled]]:
    """Sampled answers that are not empty, each text once."""
    out = []
    for answers in made:
        first: dict[str, Sampled] = {}
        for answer in answers:
            if answer.text.strip():
                first.setdefault(answer.text, answer)
        out.append(list(first.values()))
    return out


def ranked_lists(
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
) -> list[RankedAnswers]:
    """Lists with two different scores, which have something to tell."""
    lists = []
    for prompt, own, labels in zip(prompts, answers, scores, strict=True):
        if len(set(labels)) > 1:
            lists.append(RankedAnswers(prompt, tuple(own), tuple(labels)))
    return lists


def sampled_data(
    heads: Sequence[list[int]],
    samples: Sequence[Sequence[Sampled]],
    scores: Sequence[Sequence[float]],
) -> AnswerData:
    """Groups of sampled answers as they were sampled: ids, never text that is tokenised again.

    Answers without a score (NaN) are left out, and groups that then have no two different ones.

    Parameters
    ----------
    heads
        ids of each prompt
    samples, scores
        of each prompt its answers, and what they are worth
    """
    lists = []
    for head, own, values in zip(heads, samples, scores, strict=True):
        completions, labels = [], []
        for answer, value in zip(own, values, strict=True):
            if answer.ids and not math.isnan(value):
                completions.append(list(answer.ids))
                labels.append(float(value))
        if len(set(labels)) > 1:
            steps = [[1] * len(ids) for ids in completions]
            lists.append(EncodedAnswers(head, completions, steps, labels))
    return AnswerData(lists)


def refuse_nothing(scores: Sequence[Sequence[float]], remedy: str) -> None:
    """Refuse groups of which none says anything, saying why.

    Raises
    ------
    EvidenceError
        Always.
    """
    flat = [value for own in scores for value in own]
    if flat and all(map(math.isnan, flat)):
        raise EvidenceError("no answer could be scored: nothing to learn. Look at the scorer.")
    raise EvidenceError(f"every answer of a prompt is scored the same: nothing to learn. {remedy}")


def prompts_within(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    room: int,
    chat: bool | None,
    say: Callable[[str], None],
) -> list[tuple[Prompt, list[int]]]:
    """Prompts of at most so many tokens, with their ids; what is left out is said.

    Raises
    ------
    EvidenceError
        When none is left.
    """
    known = []
    for prompt in prompts:
        ids = encode_prompt(tokenizer, prompt, chat=chat)
        if len(ids) <= room:
            known.append((prompt, ids))
    lost = len(prompts) - len(known)
    if not known:
        raise EvidenceError(f"no prompt has at most {room} tokens. Raise max_length.")
    if lost:
        say(f"left out: {lost:,} of {len(prompts):,} prompts of more than {room} tokens")
    return known
