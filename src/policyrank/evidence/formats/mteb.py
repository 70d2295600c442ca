"""MTEB: results of embedding models, of today's and of the first layout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import Wanted, document, number, read_as, scores_of
from policyrank.evidence.formats.runs import Result, Run, Value, scores_of_runs
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_SPLITS = ("test", "validation", "dev", "default")
_OWN_SPLIT = {"MSMARCO": "dev", "MSMARCO-PL": "dev"}
_MAIN = (
    "main_score",
    "ndcg_at_10",
    "cos_sim.spearman",
    "cos_sim.ap",
    "v_measure",
    "map",
    "accuracy",
)
"""The main score of the first layout: the first of these that is there."""

_UNREVISED = ("no_revision_available", "external")
"""Folders that count only where a model has no revision, the better one first."""


class _Subset(NamedTuple):
    name: str
    metrics: Mapping[str, Any]


class _File(NamedTuple):
    """A file of results: whose, on which task, and the subsets of each split."""

    model: str
    revision: str
    task: str
    splits: dict[str, list[_Subset]]
    place: str

    @property
    def rank(self) -> int:
        """0 for a revision, then the better of the folders without one."""
        return 1 + _UNREVISED.index(self.revision) if self.revision in _UNREVISED else 0


def read_results(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """A file a task: main score, the mean over subsets (languages), the task's own split."""
    metas = {source.parts[:-1]: source for source in sources if is_meta(source)}
    files = [_file(source, metas) for source in sources if not is_meta(source)]
    if not files:
        raise EvidenceError(
            f"{wanted.account.name}: descriptions of models without results. Give the folder with"
            " the files of the tasks."
        )
    files = _best_kept(files, wanted)
    splits = _splits(files, wanted)
    apart = _models_apart(files)
    runs = []
    for file in files:
        details = (file.revision,) if file.model in apart else ()
        run = Run(file.model, file.place, details=details)
        subsets = file.splits.get(splits[file.task])
        if subsets is None:
            wanted.account.note(f"{file.place} left out: no split {splits[file.task]!r}")
            continue
        run.results[file.task] = _result(subsets, file, wanted)
        runs.append(run)
    rows = scores_of_runs(runs, wanted._replace(metric=None), [wanted.metric or "main_score"])
    read_as(wanted.account, "MTEB results", sources, "policies from the folders of models")
    return scores_of(rows, wanted.account)


def is_meta(source: Source) -> bool:
    """Whether a file describes a model."""
    return source.parts[-1] == "model_meta.json"


class _New(msgspec.Struct):
    task_name: str
    scores: dict[str, list[dict[str, Any]]]


class _Meta(msgspec.Struct):
    name: str | None = None


def _file(source: Source, metas: Mapping[tuple[str, ...], Source]) -> _File:
    model, revision = _model(source, metas)
    data = document(source, dict[str, Any])
    if "mteb_dataset_name" in data:
        task, splits = str(data["mteb_dataset_name"]), dict(_old_splits(data))
    else:
        new = document(source, _New)
        task, splits = new.task_name, {}
        for split, subsets in new.scores.items():
            splits[split] = [_Subset(str(s.get("hf_subset", "default")), s) for s in subsets]
    if not any(splits.values()):
        raise EvidenceError(f"{source.name}: no split holds a score. Remove the file.")
    return _File(model, revision, task, splits, source.name)


def _old_splits(data: Mapping[str, Any]) -> Iterator[tuple[str, list[_Subset]]]:
    """Splits at top level, their languages perhaps a level deeper."""
    for split, values in data.items():
        if not isinstance(values, Mapping):
            continue
        if _main_of_old(values) is not None:
            yield split, [_Subset("default", values)]
            continue
        subsets = [
            _Subset(name, inner)
            for name, inner in values.items()
            if isinstance(inner, Mapping) and _main_of_old(inner) is not None
        ]
        if subsets:
            yield split, subsets


def _main_of_old(metrics: Mapping[str, Any]) -> float | None:
    names: Sequence[str] = _MAIN
    if {"precision", "recall", "f1"} <= set(metrics):  # bitext mining
        names = ("main_score", "f1")
    return next((value for name in names if (value := _at(metrics, name)) is not None), None)


def _at(metrics: Mapping[str, Any], name: str) -> float | None:
    value: Any = metrics.get(name)
    if value is None and "." in name:
        first, _, second = name.partition(".")
        inner = metrics.get(first)
        value = inner.get(second) if isinstance(inner, Mapping) else None
    return number(value)


def _model(source: Source, metas: Mapping[tuple[str, ...], Source]) -> tuple[str, str]:
    """Model and revision, from model_meta.json beside the file or from MODEL/REVISION/TASK.json."""
    folders = source.parts[:-1]
    if len(folders) < 2 and source.path is not None:
        folders = source.path.absolute().parts[:-1]
    parent = folders[-1] if folders else ""
    above = folders[-2] if len(folders) > 1 else ""
    meta = metas.get(source.parts[:-1])
    if meta is not None and (name := document(meta, _Meta).name):
        return name, parent
    if "__" in parent and "__" not in above:
        return parent.replace("__", "/"), "external"
    if not above:
        raise EvidenceError(
            f"{source.name}: results of MTEB name no model. Give the folder MODEL/REVISION."
        )
    return above.replace("__", "/"), parent


def _best_kept(files: list[_File], wanted: Wanted) -> list[_File]:
    """Of a model and task the results of a revision, before those without one."""
    best: dict[tuple[str, str], int] = {}
    for file in files:
        key = file.model, file.task
        best[key] = min(file.rank, best.get(key, file.rank))
    left_out = [file for file in files if file.rank > best[file.model, file.task]]
    if left_out:
        names = [f"{file.model} on {file.task} ({file.revision})" for file in left_out]
        wanted.account.note(
            f"{plural(len(left_out), 'result')} without a revision not used, a revision has"
            f" them: {listed(names, most=3)}"
        )
    kept = [file for file in files if file.rank == best[file.model, file.task]]
    reported = sorted({file.model for file in kept if file.revision == "external"})
    if reported:
        wanted.account.note(f"some results are self-reported (external): {listed(reported)}")
    return kept


def _models_apart(files: Sequence[_File]) -> set[str]:
    """Models with one task in several revisions: each revision is a policy."""
    seen = Counter((file.model, file.task) for file in files)
    return {model for (model, _), times in seen.items() if times > 1}


def _splits(files: Sequence[_File], wanted: Wanted) -> dict[str, str]:
    """Task -> split: the one that most files have, test before validation before dev."""
    there: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        there[file.task].update(split for split, subsets in file.splits.items() if subsets)
    chosen = {}
    for task, counts in there.items():
        own = _OWN_SPLIT.get(task)
        order = (*((own,) if own else ()), *_SPLITS, *sorted(counts))
        most = max(counts.values())
        likely = [split for split in order if counts[split] == most]
        chosen[task] = likely[0]
        if len(counts) > 1 and own is None:
            others = sorted(set(counts) - {likely[0]})
            wanted.account.guess(
                f"{task}: split {likely[0]!r} is used; there is also {listed(others)}",
                "Remove the other splits from the files.",
            )
    return chosen


def _result(subsets: Sequence[_Subset], file: _File, wanted: Wanted) -> Result:
    """The mean over the subsets, which must be the same for all policies."""
    metric = wanted.metric
    values = []
    for subset in subsets:
        value = _main_of_old(subset.metrics) if metric is None else _at(subset.metrics, metric)
        if value is None:
            raise EvidenceError(
                f"{file.place}: no {metric or 'main_score'} in subset {subset.name!r}."
                f" It has: {listed(subset.metrics)}."
            )
        values.append(value)
    if not values:
        raise EvidenceError(f"{file.place}: {file.task} has no subset with scores. Remove it.")
    names = sorted(subset.name for subset in subsets)
    if len(names) > 1:
        wanted.account.note(f"{file.task}: the mean over {plural(len(names), 'subset')}")
    settings = (f"subsets {listed(names, most=4)}",) if names != ["default"] else ()
    return Result({metric or "main_score": Value(fmean(values))}, settings)
