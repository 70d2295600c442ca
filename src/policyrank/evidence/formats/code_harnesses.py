"""Code generation: EvalPlus and the BigCode harness."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import plural
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    choose_metric,
    document,
    number,
    read_as,
    scores_of,
)
from policyrank.evidence.formats.runs import Result, Run, Value, name_apart, scores_of_runs
from policyrank.evidence.json_schema import in_shape
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_PASSED = frozenset({"pass", "success"})
_FAILED = frozenset({"fail", "failed", "timeout", "timed out"})


class _EvalPlus(msgspec.Struct):
    eval: dict[str, Any]


class _Sample(NamedTuple):
    """A solution's verdicts: of the base tests, and of the further ones (None: not run)."""

    task: str
    place: int
    base: str
    plus: str | None


def read_evalplus(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """EvalPlus: a solution passes plus only where it passes base too; samples are replicates."""
    runs = [_run_of_name(source) for source in sources]
    name_apart(runs)
    samples = [list(_samples(source)) for source in sources]
    there = ["plus", "base"]
    if any(sample.plus is None for several in samples for sample in several):
        there = ["base"]
        wanted.account.note("plus tests were not run everywhere: the base tests are used")
    metric = choose_metric(there, wanted.metric, there, wanted.account.name)
    rows: list[Score] = []
    broken: list[str] = []
    repeated = any(sample.place for several in samples for sample in several)
    for run, several in zip(runs, samples, strict=True):
        for task, place, base, plus in several:
            verdicts = (base,) if metric == "base" else (base, plus or "")
            if set(verdicts) - _PASSED - _FAILED:
                broken.append(f"{run.place}, {task}: {'/'.join(verdicts)}")
                continue
            passed = float(_PASSED.issuperset(verdicts))
            rows.append(Score(run.name, task, passed, replicate=str(place) if repeated else None))
    wanted.account.unusable("a verdict that is neither pass nor fail", broken, "sample")
    wanted.account.note(f"metric {metric} (of {' and '.join(there)}; metric=..., --metric)")
    read_as(wanted.account, "EvalPlus results", sources, "policies from the file names")
    return scores_of(rows, wanted.account)


def _run_of_name(source: Source) -> Run:
    """MODEL_BACKEND_temp_T.eval_results.json, or eval_results.json in the folder of that name."""
    name = re.sub(r"[._-]?eval_results\.json(\.\w+)?$", "", source.parts[-1])
    if not name and len(source.parts) > 1:
        name = source.parts[-2]
    found = re.fullmatch(r"(.+?)(?:_([a-z]+))?_temp_(\d[\d.]*)(.*)", name)
    if found is None:
        return Run(name or source.stem, source.name)
    model, backend, temperature, rest = found.groups()
    details = (backend or "", f"temperature {temperature}", rest.strip("-_"))
    return Run(model, source.name, details=tuple(part for part in details if part))


def _samples(source: Source) -> list[_Sample]:
    found = []
    for task, entry in document(source, _EvalPlus).eval.items():
        try:
            verdicts = _verdicts(entry)
        except (KeyError, TypeError, IndexError):
            raise EvidenceError(
                f"{source.name}: {task} holds no verdicts of EvalPlus. Mend or remove it."
            ) from None
        found += [_Sample(task, i, base, plus) for i, (base, plus) in enumerate(verdicts)]
    return found


def _verdicts(entry: Any) -> list[tuple[str, str | None]]:
    """base_status and plus_status; or the columns base and plus of the first versions."""
    if isinstance(entry, Mapping):
        base = [str(verdict[0]) for verdict in entry["base"]]
        further = entry.get("plus") or [[None]] * len(base)
        plus = [None if verdict[0] is None else str(verdict[0]) for verdict in further]
        if len(plus) != len(base):
            raise IndexError
        return [*zip(base, plus, strict=True)]
    found = []
    for sample in entry:
        further = sample.get("plus_status") if isinstance(sample, Mapping) else None
        plus_status = None if further is None else str(further)
        found.append((str(sample["base_status"]), plus_status))
    return found


class _BigCodeConfig(msgspec.Struct):
    model: str | None = None
    peft_model: str | None = None
    n_samples: int | None = None
    temperature: float | None = None
    limit: float | None = None


class _Meta(msgspec.Struct):
    model: str


class _Grouped(msgspec.Struct):
    results: list[dict[str, Any]]
    meta: _Meta


def read_bigcode(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """The BigCode harness: metrics of each task, or the leaderboard's file of a model."""
    runs, grouped = [], []
    unscored: list[str] = []
    for source in sources:
        data = document(source, dict[str, Any])
        if "meta" in data:
            grouped.append(_grouped_run(source, unscored))
        else:
            runs.append(_harness_run(data, source, unscored))
    _leave_out_twins(grouped, runs, wanted)
    if unscored:
        wanted.account.note(
            f"{plural(len(unscored), 'result')} without a value left out: {', '.join(unscored[:3])}"
        )
    rows = scores_of_runs([*runs, *grouped], wanted, ["pass@1"])
    read_as(wanted.account, "BigCode harness results", sources, "policies from the model")
    return scores_of(rows, wanted.account)


def _harness_run(data: Mapping[str, Any], source: Source, unscored: list[str]) -> Run:
    config = in_shape(data.get("config"), _BigCodeConfig, f"{source.name}, config")
    model = config.peft_model or config.model
    if not model:
        raise EvidenceError(f"{source.name}: config names no model. Add it.")
    settings = []
    if config.n_samples is not None:
        settings.append(plural(config.n_samples, "sample"))
    if config.temperature is not None:
        settings.append(f"temperature {config.temperature}")
    run = Run(model, source.name)
    for task, metrics in data.items():
        if task == "config" or not isinstance(metrics, Mapping):
            continue
        limited = config.limit is not None
        _put(run, task, metrics, Result({}, tuple(settings), limited), unscored)
    return run


def _grouped_run(source: Source, unscored: list[str]) -> Run:
    data = document(source, _Grouped)
    run = Run(data.meta.model, source.name)
    for entry in data.results:
        if isinstance(entry.get("task"), str):
            _put(run, entry["task"], entry, Result({}, ("settings unknown",)), unscored)
    return run


def _put(
    run: Run, task: str, metrics: Mapping[str, Any], result: Result, unscored: list[str]
) -> None:
    for name, entry in metrics.items():
        value = number(entry)
        if value is not None:
            result.metrics[name] = Value(value)
    if result.metrics:
        run.results[task] = result
    else:
        unscored.append(f"{run.name} on {task}")


def _leave_out_twins(grouped: Sequence[Run], runs: Sequence[Run], wanted: Wanted) -> None:
    """Of results that stand in both kinds of files, those of the harness count."""
    there = {(run.name, task) for run in runs for task in run.results}
    twins = 0
    for run in grouped:
        for task in [*run.results]:
            if (run.name, task) in there:
                del run.results[task]
                twins += 1
    if twins:
        wanted.account.note(
            f"{plural(twins, 'result')} that stand in both kinds of files read once"
        )
