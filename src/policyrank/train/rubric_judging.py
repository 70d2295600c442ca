"""Rewards by rubrics that a served model judges, criterion by criterion."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.evidence.kept_lines import read_kept_lines
from policyrank.files import append_lines
from policyrank.learn.rewards import Rubric, contrast_factors, diagnose_rubric, rubric_reward
from policyrank.learn.rewards.rubrics import Aggregate
from policyrank.learn.rollouts import Rewards, Rollouts
from policyrank.train.compositions import text_of
from policyrank.train.endpoints import Endpoint

MEETS = """Does the answer meet the criterion? Say yes or no, and nothing else.

Question: {prompt}

Answer: {answer}

Criterion: {criterion}"""
Verdicts = Callable[[Sequence[str]], Sequence[str]]


class RubricReward:
    """What a group's answers earn by their prompt's rubric, whose weights may follow the policy.

    With ``strength`` the weights of a prompt's criteria go, after each visit, to those on which its
    answers disagree (``contrast_factors``), and are used from the next visit on. Columns: ``id``
    of the prompt, ``criteria`` (texts), ``weights``, and ``categories`` (missing: one).

    Parameters
    ----------
    ask
        questions of yes or no -> what a judge says; anything else is no verdict
    factors
        JSONL file in which factors are kept, so that other processes, and a run that goes on, have
        them; None: only in memory
    aggregate
        see ``rubric_reward``
    strength, step
        see ``contrast_factors``; 0: weights stay

    Raises
    ------
    OptionError
        For a group whose rows have other rubrics, or another number of weights than criteria.
    """

    def __init__(
        self,
        ask: Verdicts,
        *,
        factors: str | Path | None = None,
        aggregate: Aggregate = "category",
        strength: float = 0.5,
        step: float = 0.2,
    ) -> None:
        self.ask, self.path, self.aggregate = ask, factors, aggregate
        self.strength, self.step = strength, step
        self.__name__ = "rubric"
        self._size = 0

    def __call__(self, group: Rollouts) -> Rewards:
        columns = group.columns
        criteria, key = list(columns["criteria"][0]), str(columns["id"][0])
        if any(str(other) != key for other in columns["id"]):
            raise OptionError(f"rubric of {key!r}: the group has rows of other ids.")
        weights = torch.tensor(list(columns["weights"][0])).float()
        if len(weights) != len(criteria):
            counts = f"{len(weights)} weights, {len(criteria)} criteria"
            raise OptionError(f"rubric of {key!r}: {counts}.")
        told = columns.get("categories", [None])[0]
        names = [""] * len(criteria) if told is None else list(told)
        places = {name: k for k, name in enumerate(dict.fromkeys(names))}
        rubric = Rubric(weights, torch.tensor([places[name] for name in names]))
        verdicts = self._verdicts(group, criteria)
        factors = self._factors.get(key) if self.strength else None
        values = rubric_reward(verdicts, rubric, aggregate=self.aggregate, factors=factors)
        seen = diagnose_rubric(verdicts, rubric, factors)
        if self.strength:
            after = contrast_factors(
                verdicts, rubric, factors, strength=self.strength, step=self.step
            )
            self._keep(key, after)
        shares = {name: getattr(seen, name) for name in ("dead", "saturated", "idle", "spread")}
        parts = {name: torch.full_like(values, value) for name, value in shares.items()}
        parts["passed"] = rubric.good(verdicts).nanmean(dim=1)
        parts["unread"] = verdicts.isnan().float().mean(dim=1)
        return Rewards(values, parts)

    def _verdicts(self, group: Rollouts, criteria: Sequence[str]) -> Tensor:
        asked = []
        prompts = group.prompts or [""] * len(group)
        for prompt, completion in zip(prompts, group.completions, strict=True):
            question = prompt if isinstance(prompt, str) else _last(prompt)
            for criterion in criteria:
                told = {"prompt": question, "answer": text_of(completion), "criterion": criterion}
                asked.append(MEETS.format(**told))
        said = [_verdict(text) for text in self.ask(asked)]
        return torch.tensor(said).reshape(len(group), len(criteria))

    @cached_property
    def _known(self) -> dict[str, Tensor]:
        return {}

    @property
    def _factors(self) -> dict[str, Tensor]:
        """Factors of each prompt, with what other processes wrote since."""
        if self.path is not None and Path(self.path).exists():
            size = Path(self.path).stat().st_size
            if size != self._size:
                self._size = size
                for row in read_kept_lines(self.path, _Kept):
                    self._known[row.id] = torch.tensor(row.factors)
        return self._known

    def _keep(self, key: str, factors: Tensor) -> None:
        self._known[key] = factors
        if self.path is not None:
            line = json.dumps({"id": key, "factors": factors.tolist()})
            append_lines(self.path, [line])


def judged(
    *,
    url: str,
    model: str,
    key: str | None = None,
    cache: str | None = None,
    workers: int = 32,
    **options: Any,
) -> RubricReward:
    """``RubricReward`` by a model behind an OpenAI-compatible endpoint, at temperature 0.

    Parameters
    ----------
    url, model, key, cache, workers
        see ``Endpoint``
    options
        of ``RubricReward``

    References
    ----------
    POW3R, arXiv 2605.20164.
    """
    endpoint = Endpoint(
        url, model, key, temperature=0.0, max_tokens=8, cache=cache, workers=workers
    )

    def ask(questions: Sequence[str]) -> list[str]:
        return [answers[0] for answers in endpoint(questions)]

    return RubricReward(ask, **options)


class _Kept(msgspec.Struct):
    id: str
    factors: list[float]


def _verdict(text: str) -> float:
    word = text.strip().strip("*\"'.").lower()
    if word.startswith("yes"):
        return 1.0
    return 0.0 if word.startswith("no") else torch.nan


def _last(prompt: Sequence[Any]) -> str:
    content = prompt[-1]["content"]
    return content if isinstance(content, str) else str(content)
