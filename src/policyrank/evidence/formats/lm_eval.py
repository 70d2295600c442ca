"""lm-evaluation-harness: results of today and of 0.3, lmms-eval, and what --log_samples writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    document,
    json_lines,
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
    chosen_metrics,
    model_of_args,
    scores_of_runs,
    seconds,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

PREFERRED = (
    *("acc_norm", "acc", "exact_match", "f1", "em", "pass@1", "mc2", "mcc", "bleu", "chrf"),
    *("rougeL", "rouge1", "bleu_acc", "rouge1_acc", "word_perplexity", "perplexity"),
)
"""The metric of a task, unless told: the first of these that it has."""

_NO_METRIC = frozenset({"sample_len", "sample_count", "samples", "n"})


class _Config(msgspec.Struct):
    model_args: str | dict[str, Any] | None = None
    num_fewshot: int | None = None
    limit: float | None = None
    model_revision: str | None = None


class _Results(msgspec.Struct, rename={"n_shot": "n-shot", "n_samples": "n-samples"}):
    """What is used of a results file."""

    results: dict[str, dict[str, Any]]
    groups: dict[str, Any] | None = None
    group_subtasks: dict[str, list[str]] | None = None
    configs: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    n_shot: dict[str, Any] | None = None
    higher_is_better: dict[str, Any] | None = None
    n_samples: dict[str, Any] | None = None
    config: _Config | None = None
    model_name: str | None = None
    date: float | str | None = None


def read_results(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Results files, one or more a model; a task's main metric, unless one is named."""
    runs, groups = [], set()
    for source in sources:
        data = document(source, _Results)
        runs.append(_run(data, source, wanted))
        groups |= _groups(data)
    if groups:
        wanted.account.note(
            f"groups left out because their subtasks count: {listed(sorted(groups))}"
        )
    rows = scores_of_runs(runs, wanted, PREFERRED)
    read_as(wanted.account, "lm-evaluation-harness results", sources, "policies from model_name")
    return scores_of(rows, wanted.account)


def _run(data: _Results, source: Source, wanted: Wanted) -> Run:
    config = data.config or _Config()
    name, details = model_of_args(config.model_args)
    name = data.model_name or name
    if name is None:
        name = _name_of_place(source)
        wanted.account.guess(
            f"{source.name} names no model: taken as {name!r}, by its place",
            "Add model_name to the file.",
        )
    run = Run(name, source.name, seconds(data.date) or seconds(source.name), details)
    groups = _groups(data)
    for task, values in data.results.items():
        metrics = _metrics(values, _directions(data, task))
        if metrics and task not in groups:
            run.results[task] = Result(
                metrics, _settings(data, task), _limited(data, task), _filters(data, task)
            )
    return run


def _name_of_place(source: Source) -> str:
    """The folder that holds the file; ``org__model`` is ``org/model``."""
    folder = source.parts[-2] if len(source.parts) > 1 else source.stem
    return folder.replace("__", "/")


def _groups(data: _Results) -> set[str]:
    """Tasks that only sum up other tasks of the same file."""
    subtasks = data.group_subtasks or {}
    return {task for task in data.results if set(subtasks.get(task, ())) & set(data.results)}


def _metrics(values: Mapping[str, Any], directions: Mapping[str, bool]) -> Metrics:
    """The numeric metrics of a task, with their standard errors."""
    found: Metrics = {}
    for key, value in values.items():
        name, comma, filtered = key.partition(",")
        measured = number(value)
        if measured is None or name.endswith("_stderr") or name in _NO_METRIC:
            continue
        stderr = number(values.get(f"{name}_stderr{comma}{filtered}"))
        lower = None
        if name in directions:
            lower = not directions[name]
        plain = name if filtered in ("", "none") else key
        found[plain] = Value(measured, math.nan if stderr is None else stderr, lower)
    return found


def _directions(data: _Results, task: str) -> dict[str, bool]:
    told = (data.higher_is_better or {}).get(task)
    if not isinstance(told, Mapping):
        return {}
    return {metric: higher for metric, higher in told.items() if isinstance(higher, bool)}


def _settings(data: _Results, task: str) -> tuple[str, ...]:
    """Number of shots and version of a task, where they are known."""
    shots = (data.n_shot or {}).get(task)
    if shots is None and data.config is not None:
        shots = data.config.num_fewshot
    version = (data.versions or {}).get(task)
    settings = [] if shots is None else [f"{shots}-shot"]
    if version is not None:
        settings.append(f"version {version}")
    return tuple(settings)


def _limited(data: _Results, task: str) -> bool:
    counts = (data.n_samples or {}).get(task)
    if isinstance(counts, Mapping):
        effective, original = number(counts.get("effective")), number(counts.get("original"))
        if effective and original:
            return effective < original
    return data.config is not None and data.config.limit is not None


def _filters(data: _Results, task: str) -> tuple[str, ...]:
    config = (data.configs or {}).get(task)
    if not isinstance(config, Mapping) or not isinstance(config.get("filter_list"), list):
        return ()
    names = [one.get("name") for one in config["filter_list"] if isinstance(one, Mapping)]
    return tuple(name for name in names if isinstance(name, str))


class _Sample(msgspec.Struct):
    doc_id: int | str
    filter: str = "none"
    doc_hash: str | None = None
    metrics: list[str] | None = None


_NO_SCORE = frozenset({"doc_id", "token_counts"})


def read_samples(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Samples files: a document is a task; the policy is the folder of the file."""
    rows: list[Score] = []
    left_out: set[str] = set()
    unscored: list[str] = []
    tasks = {_task_of_samples(source) for source in sources}
    for source in sources:
        policy, task = _name_of_place(source), _task_of_samples(source)
        prefix = f"{task}:" if len(tasks) > 1 else ""
        found = list(_samples(source))
        metric, others = _sample_metric([scores for _, scores in found], wanted, source)
        left_out |= others
        for sample, scores in found:
            if metric in scores:
                column = f"{prefix}{sample.doc_id}"
                rows.append(Score(policy, column, scores[metric]))
            elif sample.filter == (metric.partition(",")[2] or "none"):
                unscored.append(f"{policy} on {prefix}{sample.doc_id}")
    wanted.account.unusable("the metric is no number", unscored, "sample")
    if left_out:
        wanted.account.note(f"other metrics and filters not used: {listed(sorted(left_out))}")
    wanted.account.guess(
        "policies named by the folders of the files (samples name no model)",
        "Read the results files, or rename the folders.",
    )
    read_as(
        wanted.account,
        "lm-evaluation-harness samples",
        sources,
        f"documents as tasks, {plural(len(rows), 'score')}",
    )
    return scores_of(rows, wanted.account)


def _task_of_samples(source: Source) -> str:
    """``samples_gsm8k_2025-01-01T10-00-00`` or ``20250101_101010_samples_gsm8k`` -> ``gsm8k``."""
    name = source.stem.partition("samples_")[2] or source.stem
    head, _, date = name.rpartition("_")
    return head if head and seconds(date) else name


def _samples(source: Source) -> list[tuple[_Sample, dict[str, float]]]:
    """Each sample with its numeric scores, ``metric`` or ``metric,filter``."""
    found = []
    for place, line in json_lines(source, dict[str, Any]):
        try:
            sample = msgspec.convert(line, _Sample, strict=True)
        except msgspec.ValidationError as error:
            raise EvidenceError(
                f"{source.name}, line {place}: no sample of lm-evaluation-harness ({error})."
                " Mend or remove it."
            ) from None
        suffix = "" if sample.filter == "none" else f",{sample.filter}"
        scores = {}
        for key in sample.metrics or [key for key in line if key not in _NO_SCORE]:
            value = truth_or_number(line.get(key))
            if value is not None:
                scores[f"{key}{suffix}"] = value
        found.append((sample, scores))
    return found


def _sample_metric(
    samples: Sequence[Mapping[str, float]], wanted: Wanted, source: Source
) -> tuple[str, set[str]]:
    there = sorted({metric for scores in samples for metric in scores})
    if not there:
        raise EvidenceError(
            f"{source.name}: no sample holds one number as its score (metrics of a whole corpus,"
            " such as perplexity, have none). Read the results file instead."
        )
    task = _task_of_samples(source)
    metric = chosen_metrics(task, there, (), wanted, PREFERRED)[0]
    return metric, set(there) - {metric}
