"""Experiment trackers: LangSmith, Weights & Biases, MLflow, Langfuse."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.formats.entries import table_rows
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    choose_metric,
    read_as,
    scores_of,
    with_replicates,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_WORDS = {"true": 1.0, "false": 0.0}
_POLICY = ("policy", "model", "model_name", "agent", "algorithm", "algo", "method", "system")


def _cell(text: Any) -> float | None:
    """A cell as a number; true and false are 1 and 0; None: no number."""
    word = str(text if text is not None else "").strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return float(word)
    except ValueError:
        return None


def read_langsmith(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """One file an experiment: the file's name is the policy, examples are tasks."""
    tables = {source: [record.value for record in table_rows(source)] for source in sources}
    there = [*dict.fromkeys(name for rows in tables.values() for name in _feedback(rows))]
    if not there:
        raise EvidenceError(
            f"{wanted.account.name}: no feedback in LangSmith's table. Evaluate it."
        )
    asked = wanted.metric and wanted.metric.removeprefix("feedback.")
    metric = choose_metric(there, asked, there, wanted.account.name)
    if asked is None and len(there) > 1:
        wanted.account.guess(
            f"feedback {metric!r} is used; there is also {listed(there[1:])}",
            "Name the feedback (metric=..., --metric).",
        )
    names = _experiments(sources)
    rows: list[Score] = []
    missing: list[str] = []
    for source, table in tables.items():
        for place, row in enumerate(table, 1):
            task = row.get("example_id") or row.get("id") or f"row {place}"
            value = _cell(row.get(f"feedback.{metric}"))
            if value is None:
                missing.append(f"{names[source]} on {task}")
            else:
                lower = usually_lower(str(metric))
                rows.append(Score(names[source], str(task), value, lower=lower))
    if missing:
        wanted.account.note(
            f"{plural(len(missing), 'row')} without feedback left out (errors have none):"
            f" {listed(missing, most=3)}"
        )
    wanted.account.guess(
        "policies named by the files, one an experiment", "Give a table with a policy column."
    )
    read_as(wanted.account, "LangSmith experiments", sources, f"feedback {metric!r}")
    rows = with_replicates(rows, wanted.account, "several runs of an example")
    return scores_of(rows, wanted.account)


def _feedback(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    header = rows[0] if rows else {}
    return [name.removeprefix("feedback.") for name in header if str(name).startswith("feedback.")]


def _experiments(sources: Sequence[Source]) -> dict[Source, str]:
    """Names of files; without the random ending where the rest tells them apart."""
    short = {source: re.sub(r"-[0-9a-f]{6,8}$", "", source.stem) for source in sources}
    if len(set(short.values())) == len(short):
        return short
    names = {source: source.stem for source in sources}
    if len(set(names.values())) == len(names):
        return names
    return {source: source.name for source in sources}


class _Curve(NamedTuple):
    """A run's values of a metric by step."""

    run: str
    metric: str
    points: list[tuple[float, float]]


def read_wandb(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """A chart's export: runs are columns; the last value of each counts."""
    curves = [curve for source in sources for curve in _curves(source)]
    there = sorted({curve.metric for curve in curves})
    if wanted.metric is not None:
        choose_metric(there, wanted.metric, (), wanted.account.name)
    kept = [curve for curve in curves if wanted.metric in (None, curve.metric) and curve.points]
    rows, last = [], set()
    for run, metric, points in kept:
        step, value = max(points, key=lambda point: point[0])
        last.add(step)
        rows.append(Score(run, metric, value, lower=usually_lower(metric)))
    ends = f"at step {max(last):g}" if len(last) == 1 else "(the runs end at different steps)"
    if last:
        wanted.account.note(f"the last value of each run {ends}, not the best; bands not used")
    read_as(wanted.account, "a chart of Weights & Biases", sources, plural(len(kept), "curve"))
    rows = with_replicates(rows, wanted.account, "runs in several charts")
    return scores_of(rows, wanted.account)


def _curves(source: Source) -> list[_Curve]:
    curves: dict[str, _Curve] = {}
    for place, record in enumerate(table_rows(source)):
        axis, *columns = record.value
        step = _cell(record.value[axis])
        for name in columns:
            if name is None or str(name).endswith(("__MIN", "__MAX")):
                continue
            run, _, metric = str(name).rpartition(" - ")
            curve = curves.setdefault(name, _Curve(run or metric, metric if run else "value", []))
            value = _cell(record.value[name])
            if value is not None:
                curve.points.append((float(place) if step is None else step, value))
    return [*curves.values()]


_MLFLOW = frozenset(
    {"Start Time", "Duration", "Run ID", "Name", "Source Type", "Source Name", "User", "Status"}
)


def read_mlflow(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """The table of runs: params, metrics and tags look alike, so the metric must be named."""
    rows = [record.value for source in sources for record in table_rows(source)]
    header = [str(name) for name in rows[0] if name not in _MLFLOW] if rows else []
    policy = next((name for name in header if name.lower() in _POLICY), None)
    numeric = [name for name in header if any(_cell(row.get(name)) is not None for row in rows)]
    if policy is None or wanted.metric is None:
        raise EvidenceError(
            f"{wanted.account.name}: a table of runs of MLflow does not tell params from metrics."
            " Name the metric (metric=..., --metric; columns with numbers:"
            f" {listed(numeric)}), and call the column of the policies 'model'"
            f" (it has: {listed(header)})."
        )
    choose_metric(numeric, wanted.metric, (), wanted.account.name)
    wanted.account.guess(
        f"policies from the column {policy!r}", "Give a table with a policy column."
    )
    found, left_out = [], defaultdict(list)
    for row in rows:
        value = _cell(row.get(wanted.metric))
        name, run = row.get(policy), str(row.get("Run ID"))
        if row.get("Status") != "FINISHED":
            left_out[f"status {row.get('Status')}"].append(run)
        elif value is None or not name:
            left_out["no value"].append(run)
        else:
            lower = usually_lower(wanted.metric)
            found.append(Score(str(name), wanted.metric, value, None, run, lower=lower))
    for why, names in left_out.items():
        wanted.account.note(f"{plural(len(names), 'run')} left out, {why}: {listed(names, most=3)}")
    read_as(wanted.account, "runs of MLflow", sources, f"metric {wanted.metric!r}, runs replicate")
    return scores_of(found, wanted.account)


def refuse_langfuse(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Langfuse's exports name no model in any column."""
    raise EvidenceError(
        f"{wanted.account.name}: an export of Langfuse, and no column names the model. Add a column"
        " 'policy' (the model stands in the traces' tags or metadata), and read the table with"
        " task 'traceId', metric 'name' and score 'value'."
    )
