"""Result folders of lm-evaluation-harness."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels
from policyrank.evidence.score_tables import LOWER
from policyrank.evidence.scores import Scores

_PREFERRED = ("acc_norm", "acc", "exact_match", "f1", "em", "pass@1", "mc2", "word_perplexity")


class _Result(NamedTuple):
    """A task's result in one run."""

    date: float
    metric: str
    value: float
    lower: bool


def read_lm_eval(folder: str | Path, *, metric: str | None = None) -> Scores:
    """Read a folder of lm-evaluation-harness results (``results_*.json``, at any depth).

    One score a model and task: the named ``metric``, else acc_norm, acc, exact_match, f1, ... in
    this order. Of several runs of a model on a task the newest counts; groups whose subtasks are
    there are left out; the notes say so.
    """
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*.json") if path.name.startswith("results"))
    if not files:
        raise EvidenceError(
            f"{folder}: no results*.json of lm-evaluation-harness in this folder. Give the folder"
            " that --output_path named."
        )
    latest: dict[tuple[str, str], _Result] = {}
    groups: set[str] = set()
    replaced = 0
    for path in files:
        data = _load(path)
        model = _model(data, path)
        groups |= _groups(data)
        for task, result in _results(data, metric, path.name).items():
            before = latest.get((model, task))
            replaced += before is not None
            if before is None or result.date >= before.date:
                latest[model, task] = result
    if not latest:
        raise EvidenceError(f"{folder}: the results hold no numeric metric.")
    policies, tasks = zip(*latest, strict=True)
    _, metrics, values, lower = zip(*latest.values(), strict=True)
    names = ", ".join(sorted(set(metrics)))
    notes = [f"read from {len(files)} result files in {folder.name}, metrics {names}"]
    if groups:
        left_out = ", ".join(sorted(groups))
        notes.append(f"groups left out because their subtasks count: {left_out}")
    if replaced:
        notes.append(f"{replaced:,} results replaced by a newer run of the same model and task")
    return Scores(
        Labels.of(policies),
        Labels.of(tasks),
        np.array(values),
        metric=Labels.of(metrics),
        lower_is_better=frozenset(np.array(metrics)[np.array(lower)].tolist()),
        notes=tuple(notes),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(
            f"{path}: not a results file of lm-evaluation-harness ({type(error).__name__}:"
            f" {error}). Remove it."
        ) from None
    return data


def _groups(data: dict[str, Any]) -> set[str]:
    """Tasks that only sum up other tasks of the same file."""
    results, subtasks = data["results"], data.get("group_subtasks") or {}
    return {task for task in results if set(subtasks.get(task) or ()) & set(results)}


def _results(data: dict[str, Any], metric: str | None, name: str) -> dict[str, _Result]:
    found = {}
    groups = _groups(data)
    for task, values in data["results"].items():
        if task in groups:
            continue
        chosen = _metric(values, metric)
        if chosen is None and metric is not None:
            there = [key for key in values if "stderr" not in key]
            raise EvidenceError(
                f"{name}: task {task!r} has no metric {metric!r}. It has: {t.listing(there)}."
            )
        if chosen is not None:
            short, value = chosen
            higher = (data.get("higher_is_better") or {}).get(task, {}).get(short)
            lower = t.key(short) in LOWER if higher is None else not higher
            found[task] = _Result(float(data.get("date") or 0), short, value, lower)
    return found


def _model(data: dict[str, Any], path: Path) -> str:
    name = data.get("model_name") or (data.get("config") or {}).get("model_args")
    if isinstance(name, dict):
        name = name.get("pretrained") or name.get("model")
    found = re.search(r"(?:pretrained|model)=([^,]+)", str(name or ""))
    return found.group(1) if found else str(name or path.parent.name)


def _metric(values: dict[str, Any], wanted: str | None) -> tuple[str, float] | None:
    """The wanted or the first preferred metric of a task, and its value."""
    short: dict[str, float] = {}
    for key, value in reversed(values.items()):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        name = key.split(",")[0]
        if number and "stderr" not in key and name != "sample_len":
            short[name] = float(value)
    if wanted is not None:
        return (wanted, short[wanted]) if wanted in short else None
    preferred = [name for name in _PREFERRED if name in short]
    for name in (*preferred, *short):
        return name, short[name]
    return None
