"""DeepEval: test runs that are stored on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    document,
    read_as,
    scores_of,
    with_replicates,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_LOWER = ("hallucination", "bias", "toxicity")
"""Metrics of DeepEval whose smaller scores pass, where no verdict tells."""


class _Metric(msgspec.Struct):
    name: str
    score: float | None = None
    threshold: float | None = None
    success: bool | None = None


class _Case(msgspec.Struct, rename="camel"):
    name: str | None = None
    order: int | None = None
    metrics_data: list[_Metric] | None = None


class _Run(msgspec.Struct, rename="camel"):
    test_cases: list[_Case] | None = None
    conversational_test_cases: list[_Case] | None = None
    hyperparameters: dict[str, Any] | None = None


def read_runs(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Test cases as tasks, each by its metrics; a metric that failed has no score."""
    runs = [(source, document(source, _Run)) for source in sources]
    lower = _directions([one for _, run in runs for one in _measured(run)])
    if wanted.metric is not None and wanted.metric not in lower:
        raise EvidenceError(
            f"{wanted.account.name}: no metric {wanted.metric!r}. It has: {listed(lower)}."
        )
    rows: list[Score] = []
    failed: list[str] = []
    for source, run in runs:
        policy = _policy(run, source, wanted)
        for task, one in _by_case(run):
            if wanted.metric not in (None, one.name):
                continue
            if one.score is None:
                failed.append(f"{policy} on {task}, {one.name}")
            else:
                rows.append(Score(policy, task, one.score, one.name, lower=lower[one.name]))
    if failed:
        wanted.account.note(
            f"{plural(len(failed), 'score')} missing, the metric failed: {listed(failed, most=3)}"
        )
    smaller = sorted(name for name, is_lower in lower.items() if is_lower)
    if smaller:
        wanted.account.note(f"smaller is better: {listed(smaller)}")
    read_as(wanted.account, "DeepEval test runs", sources, "policies from hyperparameters")
    rows = with_replicates(rows, wanted.account, "several runs of a test case")
    return scores_of(rows, wanted.account)


def _by_case(run: _Run) -> Iterator[tuple[str, _Metric]]:
    cases = [*(run.test_cases or ()), *(run.conversational_test_cases or ())]
    for place, case in enumerate(cases):
        number = place if case.order is None else case.order
        for metric in case.metrics_data or ():
            yield case.name or f"test_case_{number}", metric


def _measured(run: _Run) -> list[_Metric]:
    return [metric for _, metric in _by_case(run)]


def _directions(metrics: Sequence[_Metric]) -> dict[str, bool]:
    """Metric -> whether smaller is better, told by score, threshold and verdict."""
    told: dict[str, set[bool]] = {}
    for one in metrics:
        told.setdefault(one.name, set())
        if one.score is None or one.threshold is None or one.success is None:
            continue
        if one.score != one.threshold:
            told[one.name].add((one.score < one.threshold) == one.success)
    return {
        name: found == {True} if len(found) == 1 else _usual(name) for name, found in told.items()
    }


def _usual(name: str) -> bool:
    return name.lower().startswith(_LOWER) or usually_lower(name)


def _policy(run: _Run, source: Source, wanted: Wanted) -> str:
    given = {str(key).lower(): value for key, value in (run.hyperparameters or {}).items()}
    for key in ("model", "model_name", "model name", "llm"):
        if isinstance(given.get(key), str) and given[key]:
            return given[key]
    wanted.account.guess(
        f"{source.name} names no model: taken as {source.stem!r}, by its name",
        "Log the model among the hyperparameters.",
    )
    return source.stem
