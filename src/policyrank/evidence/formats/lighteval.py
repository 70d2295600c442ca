"""lighteval's results, and those of the Open LLM Leaderboard of 2023 and 2024."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    document,
    number,
    read_as,
    scores_of,
    truth_or_number,
)
from policyrank.evidence.formats.runs import (
    Metrics,
    Result,
    Run,
    Value,
    scores_of_runs,
    seconds,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

PREFERRED = ("acc_norm", "acc", "em", "exact_match", "qem", "maj@8", "pass@1", "f1", "mc2")
_BOARD = {"truthfulqa:mc": "mc2", "arc:challenge": "acc_norm", "hellaswag": "acc_norm"}
"""Task of the Open LLM Leaderboard -> its metric, where that is not acc."""
_MMLU = "hendrycksTest-"


class _General(msgspec.Struct):
    model_name: str | None = None
    model_config: dict[str, Any] | None = None
    max_samples: int | None = None
    model_dtype: str | None = None


class _Results(msgspec.Struct):
    results: dict[str, dict[str, Any]]
    config_general: _General
    config_tasks: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None


def read_results(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Results of lighteval: ``task:subset|shots``; averages are left out."""
    runs, averages = [], set()
    for source in sources:
        data = document(source, _Results)
        run = _run(data, source)
        for key, values in data.results.items():
            task = _task(key)
            if key == "all" or task.partition("|")[0].endswith("_average"):
                averages.add(key)
                continue
            metrics = _metrics(values, _directions(data, key))
            limited = data.config_general.max_samples is not None
            run.results[task] = Result(metrics, _version(data, key), limited)
        runs.append(run)
    if averages:
        wanted.account.note(f"averages left out: {listed(sorted(averages))}")
    rows = scores_of_runs(runs, wanted, PREFERRED)
    read_as(wanted.account, "lighteval results", sources, "policies from model_name")
    return scores_of(rows, wanted.account)


def _task(key: str) -> str:
    """Older keys name the suite first and end in a flag: ``leaderboard|arc:challenge|25|0``."""
    parts = key.split("|")
    if len(parts) >= 3:
        parts = parts[1:3]
    return "|".join(parts)


def _run(data: _Results, source: Source) -> Run:
    general = data.config_general
    name = general.model_name or (general.model_config or {}).get("model_name")
    if not isinstance(name, str) or not name:
        raise EvidenceError(f"{source.name}: config_general names no model. Add model_name.")
    details = () if general.model_dtype is None else (general.model_dtype,)
    return Run(name, source.name, seconds(source.name), details)


def _version(data: _Results, key: str) -> tuple[str, ...]:
    version = (data.versions or {}).get(key)
    return () if version is None else (f"version {version}",)


def _directions(data: _Results, key: str) -> dict[str, bool]:
    config = (data.config_tasks or {}).get(key)
    metrics = config.get("metrics", config.get("metric")) if isinstance(config, Mapping) else None
    found = {}
    for metric in metrics if isinstance(metrics, list) else []:
        if isinstance(metric, Mapping) and isinstance(metric.get("higher_is_better"), bool):
            found[str(metric.get("metric_name"))] = metric["higher_is_better"]
    return found


def _metrics(values: Mapping[str, Any], directions: Mapping[str, bool]) -> Metrics:
    found: Metrics = {}
    for name, value in values.items():
        measured = truth_or_number(value)
        if name.endswith("_stderr") or measured is None:
            continue
        stderr = number(values.get(f"{name}_stderr"))
        error = math.nan if stderr is None else stderr
        lower = None
        if name in directions:
            lower = not directions[name]
        found[name] = Value(measured, error, lower)
    return found


def read_open_llm(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Open LLM Leaderboard v1: the board's own metric of each task, MMLU as the mean of its
    subjects; of several submissions of a model the newest counts.
    """
    runs = []
    without: list[str] = []
    for source in sources:
        data = document(source, _Results)
        run = _run(data, source)
        subjects: list[float] = []
        for key, values in data.results.items():
            if key == "all":
                continue
            task = key.split("|")[1] if key.count("|") >= 2 else key
            metric = wanted.metric or _BOARD.get(task, "acc")
            value = _metrics(values, {}).get(metric)
            if value is None:
                without.append(f"{run.name} on {task}, {metric}")
            elif task.startswith(_MMLU):
                subjects.append(value.value)
            else:
                run.results[task] = Result({metric: value})
        if subjects:
            run.results["mmlu"] = Result({"acc": Value(fmean(subjects))})
        runs.append(run)
    if not any(run.results for run in runs):
        raise EvidenceError(f"{wanted.account.name}: no task has the metric {wanted.metric!r}.")
    if without:
        wanted.account.note(
            f"{plural(len(without), 'result')} left out, without the board's metric:"
            f" {listed(without, most=3)}"
        )
    rows: list[Score] = scores_of_runs(runs, wanted._replace(metric=None), PREFERRED)
    wanted.account.note("mmlu is the mean over its subjects, 'all' is left out")
    read_as(wanted.account, "Open LLM Leaderboard v1 results", sources, "policies from model_name")
    return scores_of(rows, wanted.account)
