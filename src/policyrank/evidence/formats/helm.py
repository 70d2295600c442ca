"""HELM: folders of runs, and the tables of groups that helm-summarize writes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import Score, Wanted, document, number, read_as, scores_of
from policyrank.evidence.formats.runs import Result, Run, Value, scores_of_runs
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

PREFERRED = (
    "exact_match",
    "quasi_exact_match",
    "final_number_exact_match",
    "math_equiv_chain_of_thought",
    "f1_score",
    "rouge_2",
    "bleu_4",
    "NDCG@10",
    "RR@10",
)
"""The metric of a task, unless told: the first of these that its runs have."""

_NO_SCORE = (
    "num_",
    "inference_",
    "training_",
    "max_prob",
    "logprob",
    "finish_reason",
    "perplexity",
)
_NO_ARGUMENT = ("model", "model_deployment")


class _Adapter(msgspec.Struct):
    model: str | None = None
    model_deployment: str | None = None
    max_train_instances: int | None = None


class _Spec(msgspec.Struct):
    name: str
    adapter_spec: _Adapter


class _StatName(msgspec.Struct):
    name: str
    split: str | None = None
    perturbation: Any = None


class _Stat(msgspec.Struct):
    name: _StatName
    mean: float | None = None


class _RunFolder(NamedTuple):
    """A run and its plain metrics."""

    spec: _Spec
    place: str
    metrics: dict[str, float]


def read_runs(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Folders of run_spec.json and stats.json: a run's mean over its train trials."""
    folders = _run_folders(sources, wanted)
    tasks = _task_names([folder.spec for folder in folders])
    metrics = _metrics_of_tasks(folders, tasks, wanted)
    runs = []
    for spec, place, there in folders:
        task = tasks[spec.name]
        metric = metrics.get(task)
        model = spec.adapter_spec.model or spec.adapter_spec.model_deployment
        if not model:
            raise EvidenceError(f"{place}: adapter_spec names no model. Add it to run_spec.json.")
        if metric is not None and metric in there:
            result = Result({metric: Value(there[metric])}, _shots(spec))
            runs.append(Run(model, place, results={task: result}))
    rows = scores_of_runs(runs, wanted, PREFERRED)
    wanted.account.note("means over train trials; results on perturbed inputs not used")
    read_as(wanted.account, "HELM runs", sources, f"{plural(len(folders), 'run')}")
    return scores_of(rows, wanted.account)


def _run_folders(sources: Sequence[Source], wanted: Wanted) -> list[_RunFolder]:
    by_folder: dict[tuple[str, ...], dict[str, Source]] = defaultdict(dict)
    for source in sources:
        by_folder[source.parts[:-1]][_kind(source)] = source
    folders, halves = [], []
    for files in by_folder.values():
        if len(files) < 2:
            halves += [source.name for source in files.values()]
            continue
        spec = document(files["spec"], _Spec)
        folders.append(_RunFolder(spec, files["stats"].name, _plain_metrics(files["stats"])))
    if not folders:
        raise EvidenceError(
            f"{wanted.account.name}: a HELM run is a folder of run_spec.json and stats.json, and"
            " one of the two is missing. Give the folder."
        )
    if halves:
        wanted.account.note(
            f"{plural(len(halves), 'run')} left out, run_spec.json or stats.json is missing:"
            f" {listed(halves, most=3)}"
        )
    return folders


def _kind(source: Source) -> str:
    return "spec" if source.head.lstrip().startswith("{") else "stats"


def _plain_metrics(source: Source) -> dict[str, float]:
    """Means on unperturbed inputs, of the test split, or of valid where there is no test."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for stat in document(source, list[_Stat]):
        name = stat.name
        if name.perturbation is None and stat.mean is not None:
            found[name.split or "test"].setdefault(name.name, stat.mean)
    for split in ("test", "valid"):
        if split in found:
            return found[split]
    return {}


def _task_names(specs: Sequence[_Spec]) -> dict[str, str]:
    """Names of runs -> tasks: without the model, and without the method where it tells nothing."""
    full = {spec.name: _without(spec.name, _NO_ARGUMENT) for spec in specs}
    short = {name: _without(name, (*_NO_ARGUMENT, "method")) for name in full}
    if len(set(full.values())) == len(set(short.values())):
        return short
    return full


def _without(name: str, arguments: Iterable[str]) -> str:
    scenario, _, text = name.partition(":")
    kept = [part for part in text.split(",") if part and part.partition("=")[0] not in arguments]
    return f"{scenario}:{','.join(kept)}" if kept else scenario


def _metrics_of_tasks(
    folders: Sequence[_RunFolder], tasks: dict[str, str], wanted: Wanted
) -> dict[str, str]:
    """Task -> its metric; tasks that have none of those wanted are named."""
    there: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        there[tasks[folder.spec.name]].update(folder.metrics)
    chosen: dict[str, str] = {}
    others: set[str] = set()
    without: dict[str, str] = {}
    for task, names in there.items():
        scores = {name for name in names if not name.startswith(_NO_SCORE)}
        wished = [wanted.metric] if wanted.metric else _wished(scores)
        metric = next((name for name in wished if name in names), None)
        if metric is None:
            without[task] = listed(sorted(scores))
            continue
        chosen[task] = metric
        others |= scores - {metric}
    what = f"no metric {wanted.metric}" if wanted.metric else "no metric that is known as the main"
    if without:
        parts = [f"{task} (it has {names})" for task, names in without.items()]
        text = f"{plural(len(without), 'task')} with {what}: {listed(parts, most=3)}"
        if not chosen:
            raise EvidenceError(f"{wanted.account.name}: {text}. Name one (metric=..., --metric).")
        wanted.account.note(f"left out, {text}")
    if others:
        wanted.account.note(f"other metrics there (metric=..., --metric): {listed(sorted(others))}")
    return chosen


def _wished(scores: set[str]) -> Sequence[str]:
    return PREFERRED if len(scores) > 1 else (*PREFERRED, *scores)


def _shots(spec: _Spec) -> tuple[str, ...]:
    shots = spec.adapter_spec.max_train_instances
    return () if shots is None else (f"{shots}-shot",)


def refuse_instances(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """per_instance_stats.json names no model."""
    raise EvidenceError(
        f"{wanted.account.name}: HELM's results by instance name no model. Give the folder of the"
        " runs, with run_spec.json and stats.json."
    )


class _Header(msgspec.Struct):
    value: str
    lower_is_better: bool | None = None


class _Cell(msgspec.Struct):
    value: Any = None


class _Table(msgspec.Struct):
    header: list[_Header]
    rows: list[list[_Cell]]
    title: str = ""


_AGGREGATES = ("Mean win rate", "Mean score", "Average score", "Average")


def read_tables(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Tables of a group: its columns that have a direction; aggregates are left out."""
    tables: list[_Table] = []
    for source in sources:  # helm-summarize writes each table alone, too
        tables += [table for table in _tables(source) if table not in tables]
    names = [head.value for table in tables for head in table.header[1:]]
    left_out: dict[str, list[str]] = {"aggregates": [], "columns without a direction": []}
    rows: dict[tuple[str, str], Score] = {}
    for table in tables:
        for place, head in enumerate(table.header[1:], 1):
            if head.value in _AGGREGATES:
                left_out["aggregates"].append(head.value)
            elif head.lower_is_better is None:
                left_out["columns without a direction"].append(head.value)
            else:
                task = head.value
                if names.count(task) > 1 and table.title:
                    task = f"{table.title}: {task}"
                _put_column(rows, table, place, task, wanted)
    for why, columns in left_out.items():
        if columns:
            wanted.account.note(f"{why} left out: {listed(sorted(set(columns)))}")
    read_as(wanted.account, "HELM tables", sources, plural(len(tables), "table"))
    return scores_of([*rows.values()], wanted.account)


def _tables(source: Source) -> list[_Table]:
    if source.head.lstrip().startswith("{"):
        return [document(source, _Table)]
    return document(source, list[_Table])


def _put_column(
    rows: dict[tuple[str, str], Score], table: _Table, place: int, task: str, wanted: Wanted
) -> None:
    lower = bool(table.header[place].lower_is_better)
    for cells in table.rows:
        score = number(cells[place].value) if place < len(cells) else None
        if score is None:
            continue
        policy = str(cells[0].value)
        before = rows.setdefault((policy, task), Score(policy, task, score, lower=lower))
        if before.score != score and not (math.isnan(score) and math.isnan(before.score)):
            raise EvidenceError(
                f"{wanted.account.name}: {policy!r} stands twice under {task!r}, with"
                f" {before.score} and {score}. Give one file."
            )
