"""openai/evals: logs of runs; openai/simple-evals: files of metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.formats.entries import records, shaped
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    choose_metric,
    document,
    read_as,
    scores_of,
    truth_or_number,
    with_replicates,
)
from policyrank.evidence.formats.runs import Metrics, Result, Run, Value, scores_of_runs, seconds
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

PREFERRED = ("accuracy", "score", "f1_score", "f1")


class _Spec(msgspec.Struct):
    completion_fns: list[str]
    eval_name: str
    created_at: str = ""


class _Line(msgspec.Struct):
    spec: _Spec | None = None
    final_report: dict[str, Any] | None = None
    type: str | None = None
    sample_id: str | int | None = None
    data: Any = None


@dataclass
class _Log:
    """A run of an eval: its events by kind, and the report if it ended."""

    spec: _Spec
    place: str
    report: dict[str, Any] | None = None
    matches: list[tuple[str, float]] = field(default_factory=list)
    metrics: list[tuple[str, dict[str, float]]] = field(default_factory=list)

    @property
    def policy(self) -> str:
        return ", ".join(self.spec.completion_fns)


def read_logs(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """A log of a run each: samples as tasks; runs without a final report are left out."""
    logs = _newest(_ended([_log(source, wanted) for source in sources], wanted), wanted)
    read_as(wanted.account, "openai/evals logs", sources, "policies from completion_fns")
    sampled = [log for log in logs if log.matches or log.metrics]
    if len(sampled) == len(logs):
        names = {log.spec.eval_name for log in logs}
        rows: list[Score] = []
        for log in logs:
            prefix = f"{log.spec.eval_name}:" if len(names) > 1 else ""
            rows += _of_samples(log, prefix, wanted)
        rows = with_replicates(rows, wanted.account, "several results of a sample")
        return scores_of(rows, wanted.account)
    wanted.account.note("a log holds no results by sample: the final reports are used")
    runs = []
    for log in logs:
        run = Run(log.policy, log.place, seconds(log.spec.created_at.replace(" ", "T")))
        run.results[log.spec.eval_name] = Result(_reported(log))
        runs.append(run)
    return scores_of(scores_of_runs(runs, wanted, PREFERRED), wanted.account)


def _log(source: Source, wanted: Wanted) -> _Log:
    """The events of a log; of a run that stopped the last line may be cut off."""
    log: _Log | None = None
    broken: list[EvidenceError] = []
    unscored: list[str] = []
    for record in records(source):
        try:
            line = shaped(record, _Line)
        except EvidenceError as error:
            broken.append(error)
            continue
        if line.spec is not None:
            log = _Log(line.spec, source.name)
        if log is None:
            raise EvidenceError(
                f"{record.place}: a log of openai/evals starts with its spec. Give the whole log."
            )
        if not _put_event(log, line):
            unscored.append(record.place)
    if log is None:
        raise broken[0]
    wanted.account.unusable("a match that says neither correct nor wrong", unscored, "line")
    if broken and log.report is not None:
        if wanted.account.bad == "raise":
            raise broken[0]
        wanted.account.note(f"{source.name}: {plural(len(broken), 'broken line')} left out")
    return log


def _put_event(log: _Log, line: _Line) -> bool:
    """Keep what a line reports; False: it is a result without one."""
    if line.final_report is not None:
        log.report = line.final_report
    if line.type not in ("match", "metrics"):
        return True
    if line.sample_id is None or not isinstance(line.data, Mapping):
        return False
    sample = str(line.sample_id)
    if line.type == "metrics":
        log.metrics.append((sample, _numbers(line.data)))
        return True
    correct = line.data.get("correct")
    if isinstance(correct, bool):
        log.matches.append((sample, float(correct)))
    return isinstance(correct, bool)


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, entry in data.items():
        value = truth_or_number(entry)
        if value is not None:
            found[name] = value
    return found


def _ended(logs: Sequence[_Log], wanted: Wanted) -> list[_Log]:
    open_ = [f"{log.policy} on {log.spec.eval_name}" for log in logs if log.report is None]
    ended = [log for log in logs if log.report is not None]
    if not ended:
        raise EvidenceError(
            f"{wanted.account.name}: no log has a final report, so no run ended"
            f" ({listed(open_, most=3)}). Run them again."
        )
    if open_:
        wanted.account.note(
            f"{plural(len(open_), 'log')} left out, unfinished (no final report):"
            f" {listed(open_, most=3)}"
        )
    return ended


def _newest(logs: Sequence[_Log], wanted: Wanted) -> list[_Log]:
    kept: dict[tuple[str, str], _Log] = {}
    older = []
    for log in sorted(logs, key=lambda log: log.spec.created_at):
        before = kept.pop((log.policy, log.spec.eval_name), None)
        if before is not None:
            older.append(before.place)
        kept[log.policy, log.spec.eval_name] = log
    if older:
        wanted.account.note(
            f"{plural(len(older), 'log')} replaced by a newer one of the same policy and eval:"
            f" {listed(older, most=3)}"
        )
    return [*kept.values()]


def _of_samples(log: _Log, prefix: str, wanted: Wanted) -> list[Score]:
    """The matches; of evals that write metrics a sample, one of them."""
    found, metric = log.matches, ""
    if not found:
        there = sorted({name for _, metrics in log.metrics for name in metrics})
        chosen = choose_metric(there, wanted.metric, PREFERRED, log.place)
        if chosen is None and len(there) == 1:
            chosen = there[0]
        if chosen is None:
            raise EvidenceError(
                f"{log.place}: which metric counts? Name one (metric=..., --metric):"
                f" {listed(there)}."
            )
        metric = chosen
        found = [(sample, metrics[metric]) for sample, metrics in log.metrics if metric in metrics]
    lower = bool(metric) and usually_lower(metric)
    return [Score(log.policy, f"{prefix}{name}", value, lower=lower) for name, value in found]


def _reported(log: _Log) -> Metrics:
    """Metrics of the final report; the tool spells the standard error of accuracy so."""
    numbers = _numbers(log.report or {})
    error = numbers.pop("boostrap_std", numbers.pop("bootstrap_std", math.nan))
    return {
        name: Value(value, error if name == "accuracy" else math.nan)
        for name, value in numbers.items()
    }


_EVALS = (
    "healthbench_professional",
    "healthbench_consensus",
    "healthbench_hard",
    "healthbench_meta",
    "healthbench",
    "browsecomp",
    "humaneval",
    "math_500",
    "simpleqa",
    "mmlu",
    "mgsm",
    "math",
    "gpqa",
    "drop",
)
"""Evals of simple-evals, longer names before their beginnings."""

_NAME = re.compile(r"(.+?)(?:_(\d{8}_\d{6}))?(_DEBUG)?(_allresults)?")


def read_simple(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """simple-evals: eval and model stand in the file name EVAL_MODEL_DATE.json."""
    runs: list[Run] = []
    debug, twins = [], 0
    places = {source.parts for source in sources}
    for source in sources:
        name = source.parts[-1].removesuffix(".json")
        found = _NAME.fullmatch(name)
        assert found is not None
        head, date, is_debug, is_all = found.groups()
        if is_debug:
            debug.append(source.name)
            continue
        if is_all and (*source.parts[:-1], f"{name.removesuffix('_allresults')}.json") in places:
            twins += 1
            continue
        eval_name, model = _eval_and_model(head, source, wanted)
        run = Run(model, source.name, seconds(date))
        run.results[eval_name] = Result(_simple_metrics(document(source, dict[str, Any])))
        runs.append(run)
    if debug:
        wanted.account.note(
            f"{plural(len(debug), 'file')} of a few items (DEBUG) left out: {listed(debug, most=3)}"
        )
    if twins:
        wanted.account.note(f"{plural(twins, 'file')} _allresults not read, they repeat others")
    rows = scores_of_runs(runs, wanted, ["score"])
    read_as(wanted.account, "simple-evals results", sources, "evals and policies by file names")
    return scores_of(rows, wanted.account)


def _eval_and_model(head: str, source: Source, wanted: Wanted) -> tuple[str, str]:
    for known in _EVALS:
        if head.startswith(f"{known}_"):
            return known, head[len(known) + 1 :]
    eval_name, _, model = head.partition("_")
    if not model:
        raise EvidenceError(
            f"{source.name}: simple-evals names eval and model in the file name. Call it"
            " EVAL_MODEL_DATE.json."
        )
    wanted.account.guess(
        f"{source.name}: taken as eval {eval_name!r} of {model!r}",
        "Begin the file name with the name of a known eval.",
    )
    return eval_name, model


def _simple_metrics(data: Mapping[str, Any]) -> Metrics:
    """Metrics without lengths; only a bootstrap gives a standard error of the mean."""
    numbers = _numbers(data)
    return {
        name: Value(value, numbers.get(f"{name}:bootstrap_std", math.nan))
        for name, value in numbers.items()
        if ":" not in name and name != "chars"
    }
