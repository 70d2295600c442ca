"""inspect_ai: logs in JSON, and .eval files, which are zips."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
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
)
from policyrank.evidence.formats.runs import (
    Metrics,
    Result,
    Run,
    Value,
    name_apart,
    scores_of_runs,
    seconds,
)
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

PREFERRED = ("accuracy", "mean", "pass_at_1")
_LETTERS = {
    "C": 1.0,
    "I": 0.0,
    "P": 0.5,
    "N": 0.0,
    "yes": 1.0,
    "no": 0.0,
    "true": 1.0,
    "false": 0.0,
}
_NO_DIFFERENCE = frozenset({"max_connections", "max_retries", "timeout", "attempt_timeout", "seed"})
"""Settings of a model that make no other policy of it."""


class _Config(msgspec.Struct):
    limit: Any = None
    epochs: int | None = None
    epochs_reducer: list[str] | None = None


class _Eval(msgspec.Struct):
    model: str
    task: str
    created: str = ""
    config: _Config = msgspec.field(default_factory=_Config)
    task_args: dict[str, Any] | None = None
    model_args: dict[str, Any] | None = None
    model_generate_config: dict[str, Any] | None = None


class _Metric(msgspec.Struct):
    value: Any = None


class _ScorerResult(msgspec.Struct):
    name: str
    metrics: dict[str, _Metric] = msgspec.field(default_factory=dict)


class _Reduced(msgspec.Struct):
    sample_id: int | str | None = None
    value: Any = None


class _Reduction(msgspec.Struct):
    scorer: str
    samples: list[_Reduced]
    reducer: str | None = None


class _Results(msgspec.Struct):
    scores: list[_ScorerResult] | None = None
    sample_reductions: list[_Reduction] | None = None


class _SampleScore(msgspec.Struct):
    value: Any = None


class _Sample(msgspec.Struct):
    id: int | str
    epoch: int = 1
    scores: dict[str, _SampleScore] | None = None


class _Log(msgspec.Struct):
    eval: _Eval
    status: str = "started"
    results: _Results | None = None
    samples: list[_Sample] | None = None
    reductions: list[_Reduction] | None = None

    @property
    def all_reductions(self) -> list[_Reduction]:
        """Values of the samples over epochs; older logs have them among the results."""
        older = self.results.sample_reductions if self.results else None
        return self.reductions or older or []


@dataclass
class _Read:
    """A log, the policy and the task that it is about."""

    log: _Log
    place: str
    run: Run
    task: str = ""


def read_logs(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Samples as tasks and epochs as replicates; the metrics of logs where one has no samples."""
    logs = _newest(_finished([_opened(source) for source in sources], wanted), wanted)
    read_as(wanted.account, "inspect_ai logs", sources, "policies from eval.model")
    if all(one.log.samples or one.log.all_reductions for one in logs):
        return scores_of(_of_samples(logs, wanted), wanted.account)
    wanted.account.note("a log holds no samples: the metrics of the logs are used")
    for one in logs:
        limited = one.log.eval.config.limit is not None
        one.run.results[one.task] = Result(_metrics(one.log), limited=limited)
    rows = scores_of_runs([one.run for one in logs], wanted, PREFERRED)
    return scores_of(rows, wanted.account)


def _opened(source: Source) -> _Read:
    log = _unzipped(source) if source.first_bytes[:2] == b"PK" else document(source, _Log)
    about = log.eval
    settings = {**(about.model_args or {}), **(about.model_generate_config or {})}
    details = tuple(
        f"{key}={value}" for key, value in settings.items() if key not in _NO_DIFFERENCE
    )
    return _Read(log, source.name, Run(about.model, source.name, seconds(about.created), details))


def _unzipped(source: Source) -> _Log:
    try:
        with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
            return _of_archive(archive, source.name)
    except NotImplementedError:
        raise EvidenceError(
            f"{source.name}: packed in a way that this Python cannot unpack. Convert it with"
            " inspect log convert --to json."
        ) from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:
        raise EvidenceError(
            f"{source.name}: a damaged .eval file ({error}). Copy it again, or remove it."
        ) from None


def _of_archive(archive: zipfile.ZipFile, name: str) -> _Log:
    """A log without header.json is still running, or crashed."""
    names = archive.namelist()
    if "header.json" not in names:
        return parse_json(archive.read("_journal/start.json"), _Log, f"{name}, _journal/start.json")
    log = parse_json(archive.read("header.json"), _Log, f"{name}, header.json")
    log.samples = []
    for part in sorted(names):
        if part.startswith("samples/") and part.endswith(".json"):
            log.samples.append(parse_json(archive.read(part), _Sample, f"{name}, {part}"))
    if "reductions.json" in names:
        text = archive.read("reductions.json")
        log.reductions = parse_json(text, list[_Reduction], f"{name}, reductions.json")
    return log


def _finished(logs: Sequence[_Read], wanted: Wanted) -> list[_Read]:
    """The logs that ended well; the others are named."""
    others = [one for one in logs if one.log.status != "success"]
    if others:
        names = [f"{one.run.name} on {one.log.eval.task} ({one.log.status})" for one in others]
        wanted.account.note(
            f"{plural(len(others), 'log')} left out, not finished: {listed(names, most=4)}"
        )
    good = [one for one in logs if one.log.status == "success"]
    if not good:
        raise EvidenceError(
            f"{wanted.account.name}: no log of inspect_ai ended with success."
            f" {wanted.account.notes[-1]}."
        )
    return good


def _newest(logs: list[_Read], wanted: Wanted) -> list[_Read]:
    """One log a policy and task: the newest; both get their names here."""
    name_apart([one.run for one in logs])
    arguments: dict[str, set[str]] = defaultdict(set)
    for one in logs:
        arguments[one.log.eval.task].add(_arguments(one.log.eval))
    for one in logs:
        task = one.log.eval.task
        apart = len(arguments[task]) > 1
        one.task = f"{task}({_arguments(one.log.eval)})" if apart else task
    kept: dict[tuple[str, str], _Read] = {}
    older = []
    for one in sorted(logs, key=lambda one: one.run.date):
        before = kept.pop((one.run.name, one.task), None)
        if before is not None:
            older.append(f"{before.run.name} on {before.task} in {before.place}")
        kept[one.run.name, one.task] = one
    if older:
        wanted.account.note(
            f"{plural(len(older), 'log')} replaced by a newer one of the same policy and task:"
            f" {listed(older, most=3)}"
        )
    return [*kept.values()]


def _arguments(about: _Eval) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((about.task_args or {}).items()))


def _of_samples(logs: Sequence[_Read], wanted: Wanted) -> list[Score]:
    tasks = {one.task for one in logs}
    rows: list[Score] = []
    unscored: list[str] = []
    for one in logs:
        scorer, key = _scorer(one, wanted)
        prefix = f"{one.task}:" if len(tasks) > 1 else ""
        for sample, epoch, value in _values(one, scorer, wanted):
            score = _number(value, key)
            if score is None or math.isnan(score):
                unscored.append(f"{one.run.name} on {prefix}{sample}")
                continue
            rows.append(Score(one.run.name, f"{prefix}{sample}", score, replicate=epoch))
    if unscored:
        wanted.account.note(
            f"{plural(len(unscored), 'sample')} without a score left out:"
            f" {listed(unscored, most=3)}"
        )
    return rows


def _scorer(one: _Read, wanted: Wanted) -> tuple[str, str | None]:
    """Name of the scorer, and the key in its value where that is a dict."""
    there: dict[str, None] = {}
    for result in (one.log.results.scores if one.log.results else None) or ():
        there[result.name] = None
    for sample in one.log.samples or ():
        there.update(dict.fromkeys(sample.scores or ()))
    scored = {name for sample in one.log.samples or () for name in sample.scores or ()}
    if not one.log.samples:
        scored = {reduction.scorer for reduction in one.log.all_reductions}
    names = [name for name in there if name in scored]
    if not names:
        raise EvidenceError(f"{one.place}: no sample has a score. Remove the log.")
    asked, _, key = (wanted.metric or names[0]).partition(":")
    if asked not in names:
        raise EvidenceError(f"{one.place}: no scorer {asked!r}. It has: {listed(names)}.")
    if wanted.metric is None and len(names) > 1:
        wanted.account.guess(
            f"{one.task}: scorer {asked!r} is used; it also has {listed(names[1:])}",
            "Name the scorer (metric=..., --metric).",
        )
    return asked, key or _first_key(one, asked, wanted)


def _first_key(one: _Read, scorer: str, wanted: Wanted) -> str | None:
    """The first number of a score that is a dict."""
    for sample in one.log.samples or ():
        value = (sample.scores or {}).get(scorer)
        if value is None or not isinstance(value.value, dict):
            continue
        keys = [key for key in value.value if _number(value.value[key], None) is not None]
        if len(keys) > 1:
            wanted.account.guess(
                f"{one.task}: {scorer} gives {listed(keys)}; {keys[0]!r} is used",
                f"Name one, such as metric={f'{scorer}:{keys[0]}'!r} (--metric).",
            )
        return keys[0] if keys else None
    return None


def _values(one: _Read, scorer: str, wanted: Wanted) -> list[tuple[str, str | None, Any]]:
    """Sample, epoch and value; where epochs are not averaged, what the log reduced them to."""
    log = one.log
    reducer = (log.eval.config.epochs_reducer or ["mean"])[0]
    epochs = {sample.epoch for sample in log.samples or ()}
    if not log.samples or (len(epochs) > 1 and reducer != "mean"):
        for reduction in log.all_reductions:
            if reduction.scorer == scorer and reduction.reducer in (None, reducer):
                wanted.account.note(f"{one.task}: epochs reduced by {reducer}, as in the log")
                return [(str(part.sample_id), None, part.value) for part in reduction.samples]
        wanted.account.guess(
            f"{one.task}: the log reduces epochs by {reducer}; here they are averaged",
            "Write the log with its reductions.",
        )
    values = []
    for sample in log.samples or ():
        score = (sample.scores or {}).get(scorer)
        epoch = str(sample.epoch) if len(epochs) > 1 else None
        values.append((str(sample.id), epoch, None if score is None else score.value))
    return values


def _number(value: Any, key: str | None) -> float | None:
    """C, I, P and N as 1, 0, 0.5 and 0; numbers; the named entry of a dict."""
    if isinstance(value, dict) and key is not None:
        return _number(value.get(key), None)
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return number(value)
    text = value.strip()
    if text in _LETTERS or text.lower() in _LETTERS:
        return _LETTERS.get(text, _LETTERS.get(text.lower()))
    try:
        return float(text)
    except ValueError:
        return None


def _metrics(log: _Log) -> Metrics:
    """The metrics of the first scorer, with their standard error."""
    scores = (log.results.scores if log.results else None) or []
    found: Metrics = {}
    for result in scores[:1]:
        error = number(result.metrics.get("stderr", _Metric()).value)
        stderr = math.nan if error is None else error
        for name, metric in result.metrics.items():
            value = number(metric.value)
            if value is not None and name not in ("stderr", "std", "var"):
                found[name] = Value(value, stderr if name in ("accuracy", "mean") else math.nan)
    return found
