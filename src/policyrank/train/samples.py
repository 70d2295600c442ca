"""Sampled answers and their scores, made into ranked lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt


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


def write_whole(path: Path, content: Any) -> None:
    """JSON, written in one step: an interrupted run leaves no half of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    part.replace(path)
