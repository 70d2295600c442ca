"""Runs of evaluation harnesses: whose they are, and which of several counts."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.formats.results import Score, Wanted


class Value(NamedTuple):
    """What a run measured by one metric; ``lower``: None where the file does not say."""

    value: float
    stderr: float = math.nan
    lower: bool | None = None


Metrics = dict[str, Value]
"""Metric (``acc``, or ``exact_match,strict-match`` with its filter) -> what was measured."""


@dataclass
class Result:
    """A task's results in one run.

    Attributes
    ----------
    metrics
        by name; of metrics with filters ``metric,filter``
    settings
        what must be equal for results to be comparable: number of shots, version of the task
    limited
        whether only a part of the documents was run
    filters
        the task's own order of filters, where it is known
    """

    metrics: Metrics
    settings: tuple[str, ...] = ()
    limited: bool = False
    filters: tuple[str, ...] = ()


@dataclass
class Run:
    """One run of one policy.

    Attributes
    ----------
    name
        of the policy
    details
        what tells policies of one name apart (base model, revision, precision)
    date
        seconds since 1970; 0 where it is unknown
    place
        the file, as notes call it
    """

    name: str
    place: str
    date: float = 0.0
    details: tuple[str, ...] = ()
    results: dict[str, Result] = field(default_factory=dict)


def seconds(date: object) -> float:
    """A date as harnesses write it (seconds, ISO, 20250101_101010), in seconds; 0: unknown.

    Examples
    --------
    >>> seconds("1970-01-01T00:01:00"), seconds(60), seconds("19700101_000100"), seconds("?")
    (60.0, 60.0, 60.0, 0.0)
    """
    if isinstance(date, (int, float)) and not isinstance(date, bool):
        return float(date)
    text = str(date or "").strip()
    found = re.search(r"(\d{4}-\d\d-\d\d)T(\d\d)[-:](\d\d)[-:](\d\d(?:\.\d+)?)", text)
    try:
        if found:
            day, hour, minute, second = found.groups()
            moment = datetime.fromisoformat(f"{day}T{hour}:{minute}:00")
            return moment.replace(tzinfo=UTC).timestamp() + float(second)
        if found := re.search(r"(\d{8})_(\d{6})", text):
            moment = datetime.strptime("".join(found.groups()), "%Y%m%d%H%M%S")
            return moment.replace(tzinfo=UTC).timestamp()
        return float(text)
    except ValueError:
        return 0.0


def model_of_args(arguments: object) -> tuple[str | None, tuple[str, ...]]:
    """Name and details of a model in ``pretrained=org/x,peft=org/y,revision=...``.

    An adapter or a delta is the policy; the model below it is a detail.

    Examples
    --------
    >>> model_of_args("pretrained=org/base,peft=org/lora,dtype=float16")
    ('org/lora', ('on org/base', 'float16'))
    """
    if isinstance(arguments, dict):
        known = {str(key): str(value) for key, value in arguments.items()}
    else:
        known = dict(re.findall(r"(?:^|,)\s*([\w.]+)=([^,]*)", str(arguments or "")))
    base = next(
        (known[k] for k in ("pretrained", "model", "path", "engine", "model_name") if known.get(k)),
        None,
    )
    above = known.get("peft") or known.get("delta")
    details = []
    if above and base:
        details.append(f"on {base}")
    if known.get("revision", "main") != "main":
        details.append(known["revision"])
    if known.get("dtype", "auto") != "auto":
        details.append(known["dtype"])
    return above or base, tuple(details)


def name_apart(runs: Sequence[Run]) -> None:
    """Give policies of one name and different details names that tell them apart."""
    details: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for run in runs:
        if run.details not in details[run.name]:
            details[run.name].append(run.details)
    names = {}
    for name, several in details.items():
        common = set.intersection(*map(set, several))
        for one in several:
            own = [part for part in one if part not in common]
            names[name, one] = f"{name} ({', '.join(own)})" if own else name
    for run in runs:
        run.name = names[run.name, run.details]


class _Cell(NamedTuple):
    """A task's result in a run."""

    run: Run
    task: str
    result: Result


def scores_of_runs(runs: Sequence[Run], wanted: Wanted, preferred: Sequence[str]) -> list[Score]:
    """One score a policy, task and metric; what was not used is noted.

    Of several runs of a policy on a task the full one counts before a limited one, then the newest.
    Results under other settings (shots, version) than most policies have are left out.
    """
    name_apart(runs)
    cells = [_Cell(run, task, result) for run in runs for task, result in run.results.items()]
    cells = _newest(_comparable(cells, wanted), wanted)
    if not cells:
        raise EvidenceError(f"{wanted.account.name}: the results hold no numeric metric.")
    metrics = _metrics_of_tasks(cells, wanted, preferred)
    rows, broken = [], []
    for run, task, result in cells:
        for metric, column in metrics[task].items():
            value = result.metrics.get(metric)
            if value is None:
                continue
            if not math.isfinite(value.value):
                broken.append(f"{run.place}: {run.name} on {task}, {metric} = {value.value}")
                continue
            lower = usually_lower(metric) if value.lower is None else value.lower
            rows.append(Score(run.name, column, value.value, None, None, value.stderr, lower))
    wanted.account.unusable("a score that is not finite", broken, "score")
    return rows


def _comparable(cells: list[_Cell], wanted: Wanted) -> list[_Cell]:
    """The results of each task under the settings that most policies have."""
    policies: dict[str, dict[tuple[str, ...], set[str]]] = defaultdict(lambda: defaultdict(set))
    for cell in cells:
        policies[cell.task][cell.result.settings].add(cell.run.name)
    kept, other = [], defaultdict(list)
    for cell in cells:
        settings = policies[cell.task]
        usual = max(settings, key=lambda one: (len(settings[one]), one))
        if cell.result.settings == usual:
            kept.append(cell)
            continue
        own = ", ".join(cell.result.settings)
        other[f"{own}, and most policies have {', '.join(usual)}"].append(
            f"{cell.run.name} on {cell.task}"
        )
    for why, left_out in other.items():
        wanted.account.note(
            f"{plural(len(left_out), 'result')} left out, under other settings ({why}):"
            f" {listed(left_out)}"
        )
    return kept


def _newest(cells: list[_Cell], wanted: Wanted) -> list[_Cell]:
    """One result a policy and task: full before limited, then the newest."""
    best: dict[tuple[str, str], _Cell] = {}
    limited: list[str] = []
    older: list[str] = []
    for cell in sorted(cells, key=lambda c: (not c.result.limited, c.run.date, c.run.place)):
        before = best.get((cell.run.name, cell.task))
        if before is not None:
            unlike = before.result.limited and not cell.result.limited
            (limited if unlike else older).append(
                f"{before.run.name} on {before.task} in {before.run.place}"
            )
        best[cell.run.name, cell.task] = cell
    if limited:
        wanted.account.note(
            f"{plural(len(limited), 'result')} of limited runs not used, the full run is there:"
            f" {listed(limited, most=3)}"
        )
    if older:
        wanted.account.note(
            f"{plural(len(older), 'result')} replaced by a newer run of the same policy and task:"
            f" {listed(older, most=3)}"
        )
    part = [cell for cell in best.values() if cell.result.limited]
    if part:
        names = listed([f"{cell.run.name} on {cell.task}" for cell in part], most=3)
        wanted.account.note(
            f"{plural(len(part), 'result')} of a limited run (a part of the documents): {names}"
        )
    order = {id(cell): i for i, cell in enumerate(cells)}
    return sorted(best.values(), key=lambda cell: order[id(cell)])


def _metrics_of_tasks(
    cells: Sequence[_Cell], wanted: Wanted, preferred: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Task -> metric -> name of the column: mostly one metric a task, the same for all policies."""
    there: dict[str, Counter[str]] = defaultdict(Counter)
    filters: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        there[cell.task].update(list(cell.result.metrics))
        filters.setdefault(cell.task, cell.result.filters)
    chosen: dict[str, dict[str, str]] = {}
    used: dict[str, list[str]] = defaultdict(list)
    for task, counts in there.items():
        metrics = chosen_metrics(task, counts, filters[task], wanted, preferred)
        chosen[task] = dict.fromkeys(metrics, task)
        if len(metrics) > 1:
            chosen[task] = {m: m if m.startswith(task) else f"{task} {m}" for m in metrics}
        for metric in metrics:
            used[metric].append(task)
    parts = [f"{metric} of {listed(tasks, most=4)}" for metric, tasks in used.items()]
    if len(parts) == 1:
        parts = list(used)
    wanted.account.note(f"metric: {'; '.join(parts)}")
    return chosen


def chosen_metrics(
    task: str,
    counts: Iterable[str],
    filters: Sequence[str],
    wanted: Wanted,
    preferred: Sequence[str],
) -> list[str]:
    """The metric that was asked for, else the first preferred one, else all that there are."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for metric in counts:
        by_name[metric.partition(",")[0]].append(metric)
    asked = wanted.metric
    if asked is not None:
        if asked in counts:
            return [asked]
        if asked not in by_name:
            raise EvidenceError(
                f"{wanted.account.name}: task {task!r} has no metric {asked!r}. It has:"
                f" {listed(sorted(counts))}."
            )
        return [_own_filter(task, by_name[asked], filters, wanted)]
    for name in preferred:
        if name in by_name:
            others = sorted(set(by_name) - {name} - {*_BESIDE})
            if others:
                wanted.account.note(f"{task} also has {listed(others)} (metric=..., --metric)")
            return [_own_filter(task, by_name[name], filters, wanted)]
    if all(name.startswith(task) for name in by_name):
        return [_own_filter(task, several, filters, wanted) for several in by_name.values()]
    first, *others = sorted(by_name)
    if others:
        wanted.account.guess(
            f"{task}: metric {first!r}, the first of several; it also has {listed(others)}",
            "Name it: metric=... (--metric).",
        )
    return [_own_filter(task, by_name[first], filters, wanted)]


_BESIDE = ("byte_perplexity", "bits_per_byte", "acc_bytes")
_FILTERS = ("none", "strict-match", "get-answer", "custom-extract", "flexible-extract")


def _own_filter(task: str, metrics: Sequence[str], filters: Sequence[str], wanted: Wanted) -> str:
    """The metric under the task's own first filter; the others are named."""
    if len(metrics) == 1:
        return metrics[0]
    place = {name: i for i, name in enumerate((*filters, *_FILTERS))}
    ordered = sorted(metrics, key=lambda m: (place.get(m.partition(",")[2], len(place)), m))
    others = ", ".join(ordered[1:])
    wanted.account.guess(
        f"{task}: taken under the filter {ordered[0].partition(',')[2]!r}; it also has {others}",
        f"Name the metric with its filter, such as metric={ordered[0]!r} (--metric).",
    )
    return ordered[0]
