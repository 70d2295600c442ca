"""promptfoo: results of prompts and providers on tests."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    choose_metric,
    document,
    read_as,
    scores_of,
    with_replicates,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_ERROR = 2
"""failureReason of a test that could not be run."""


class _Provider(msgspec.Struct):
    id: str | None = None
    label: str | None = None


class _Prompt(msgspec.Struct):
    label: str | None = None
    raw: str | None = None


class _Result(msgspec.Struct, rename="camel"):
    provider: _Provider | str
    score: float | None = None
    success: bool | None = None
    prompt_id: str | None = None
    prompt: _Prompt | None = None
    test_idx: int | None = None
    vars: Any = None
    failure_reason: int | None = None
    error: Any = None
    grading_result: Any = None

    @property
    def failed(self) -> bool:
        """Whether the test could not be run, so has no score."""
        if self.failure_reason is not None:
            return self.failure_reason == _ERROR
        return bool(self.error) and self.grading_result is None

    @property
    def model(self) -> str:
        if isinstance(self.provider, str):
            return self.provider
        return self.provider.label or self.provider.id or ""


class _Inner(msgspec.Struct):
    results: list[_Result]


class _File(msgspec.Struct):
    results: _Inner


def read_results(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Policy: a provider, with its prompt where there are several; tests that failed to run are
    missing, not 0.
    """
    metric = choose_metric(["score", "success"], wanted.metric, ["score"], wanted.account.name)
    found = [one for source in sources for one in document(source, _File).results.results]
    policies, tasks = _policies(found), _tasks(found)
    rows: list[Score] = []
    failed: list[str] = []
    unscored: list[str] = []
    for one, policy, task in zip(found, policies, tasks, strict=True):
        value = one.score if metric == "score" else one.success
        if one.failed:
            failed.append(f"{policy} on {task}")
        elif value is None:
            unscored.append(f"{policy} on {task}")
        else:
            rows.append(Score(policy, task, float(value)))
    wanted.account.unusable(f"no {metric}", unscored, "result")
    if failed:
        wanted.account.note(
            f"{plural(len(failed), 'result')} left out, the call failed: {listed(failed, most=3)}"
        )
    wanted.account.note(
        f"metric {metric} (score: the share of weighted assertions; success: the verdict)"
    )
    read_as(wanted.account, "promptfoo results", sources, "providers as policies")
    rows = with_replicates(rows, wanted.account, "several runs of a test")
    return scores_of(rows, wanted.account)


def _policies(found: Sequence[_Result]) -> list[str]:
    """The providers, with their prompts where one provider answers several."""
    prompts: dict[str, dict[str, str]] = defaultdict(dict)
    for one in found:
        prompts[one.model].setdefault(_prompt_key(one), _prompt_label(one))
    names = []
    for one in found:
        several = prompts[one.model]
        if len(several) == 1:
            names.append(one.model)
            continue
        key = _prompt_key(one)
        label = several[key]
        if [*several.values()].count(label) > 1:
            label = f"{label} #{[*several].index(key) + 1}"
        names.append(f"{one.model} ({label})")
    return names


def _prompt_key(one: _Result) -> str:
    return one.prompt_id or _prompt_label(one)


def _prompt_label(one: _Result) -> str:
    prompt = one.prompt or _Prompt()
    text = " ".join((prompt.label or prompt.raw or "prompt").split())
    return text if len(text) <= 50 else f"{text[:50]}..."


def _tasks(found: Sequence[_Result]) -> list[str]:
    """The index of a test; with its variables where files use it for several tests."""
    variables: dict[str, set[str]] = defaultdict(set)
    keys = []
    for one in found:
        text = json.dumps(one.vars, sort_keys=True, default=str)
        index = text if one.test_idx is None else str(one.test_idx)
        variables[index].add(text)
        keys.append((index, text))
    return [index if len(variables[index]) == 1 else f"{index}: {text}" for index, text in keys]
