"""Preference trees: answers that share their first steps with a right one, and are scored."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answers import RankedAnswers
from policyrank.evidence.conversations import Prompt
from policyrank.train.judges import Generator, Scorer

STEP = re.compile(r"(?=^\s*(?:step\s+\d+|\d+[.)])[:.\s])", re.IGNORECASE | re.MULTILINE)
"""Where a numbered step begins."""


def split_steps(text: str) -> tuple[str, ...]:
    """A text as its steps, which together are the text: numbered ones, else its lines.

    Examples
    --------
    >>> split_steps("Step 1: 2 + 3 = 5. Step one done.\\nStep 2: 5 x 2 = 10.")
    ('Step 1: 2 + 3 = 5. Step one done.\\n', 'Step 2: 5 x 2 = 10.')
    >>> split_steps("So it is 5.\\nTwice that is 10.")
    ('So it is 5.\\n', 'Twice that is 10.')
    """
    parts = [part for part in STEP.split(text) if part]
    if len(parts) < 2:
        parts = text.splitlines(keepends=True)
    return tuple(parts)


def preference_trees(
    prompts: Sequence[Prompt],
    answers: Sequence[str | Sequence[str]],
    generator: Generator,
    scorer: Scorer,
    *,
    branches: int = 3,
    others: Sequence[Sequence[str]] | None = None,
    split: Callable[[str], Sequence[str]] = split_steps,
    seed: int = 0,
) -> list[RankedAnswers]:
    """Lists of answers for ``tpo``: each right answer, branches off it, and others, scored.

    A branch keeps the first steps of the right answer, up to a random cut before its last, and a
    generator writes on.

    Parameters
    ----------
    prompts
        texts or messages
    answers
        the right answer of each, as a text or as its steps
    generator
        (prompts, n) -> n answers of each, such as ``judges.sampler``; it is given a prompt with the
        steps that are kept: of a text at its end, of messages as an assistant's turn to continue
    scorer
        (prompts, completions) -> scores, higher is better; NaN leaves an answer out
    branches
        of each answer
    others
        whole answers beside them, such as wrong ones
    split
        how what is written is cut into steps, which together are the text
    seed
        of the cuts

    Raises
    ------
    EvidenceError
        For other numbers of prompts and answers, and an answer without a step.

    References
    ----------
    Liao et al. (2024), "TPO: Aligning Large Language Models with Multi-branch & Multi-step
    Preference Trees", arXiv 2410.12854, whose judge is a language model.
    """
    if branches < 1:
        raise OptionError(f"branches={branches}: 1 or more.")
    if len(prompts) != len(answers) or (others is not None and len(others) != len(prompts)):
        raise EvidenceError("give one answer (and one list of others) to each prompt.")
    roots = [_steps(answer, split, k) for k, answer in enumerate(answers)]
    rng = np.random.default_rng(seed)
    asked: list[Prompt] = []
    kept: list[tuple[str, ...]] = []
    for prompt, root in zip(prompts, roots, strict=True):
        for cut in rng.integers(len(root), size=branches):
            kept.append(root[:cut])
            asked.append(_continued(prompt, "".join(kept[-1])))
    written = generator(asked, 1)
    trees: list[list[tuple[str, ...]]] = [[root] for root in roots]
    for place, (steps, texts) in enumerate(zip(kept, written, strict=True)):
        trees[place // branches].append((*steps, *split(texts[0])))
    for tree, more in zip(trees, others or [()] * len(trees), strict=True):
        tree += [tuple(split(text)) for text in more]
    return _scored(prompts, trees, scorer)


def _steps(
    answer: str | Sequence[str], split: Callable[[str], Sequence[str]], place: int
) -> tuple[str, ...]:
    steps = tuple(split(answer)) if isinstance(answer, str) else tuple(answer)
    if not steps:
        raise EvidenceError(f"answer {place + 1} has no step.")
    return steps


def _continued(prompt: Prompt, begun: str) -> Prompt:
    """A prompt whose answer has begun."""
    if not begun:
        return prompt
    if isinstance(prompt, str):
        return prompt + begun
    return [*prompt, {"role": "assistant", "content": begun}]


def _scored(
    prompts: Sequence[Prompt], trees: Sequence[list[tuple[str, ...]]], scorer: Scorer
) -> list[RankedAnswers]:
    """Trees with their scores; equal answers stand once, and one alone says nothing."""
    trees = [list(dict.fromkeys(tree)) for tree in trees]
    texts = [["".join(steps) for steps in tree] for tree in trees]
    lists = []
    for prompt, tree, own, scores in zip(
        prompts, trees, texts, scorer(prompts, texts), strict=True
    ):
        there = [k for k, score in enumerate(scores) if not np.isnan(score)]
        if len(there) < 2:
            continue
        lists.append(
            RankedAnswers(
                prompt,
                tuple(own[k] for k in there),
                tuple(float(scores[k]) for k in there),
                tuple(tree[k] for k in there),
            )
        )
    return lists
