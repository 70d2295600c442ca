"""OpenCompass: the CSV summary of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.formats.entries import table_rows
from policyrank.evidence.formats.results import Wanted, read_as, scores_of
from policyrank.evidence.formats.runs import Result, Run, Value, scores_of_runs, seconds
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_GROUPS = frozenset(
    "naive_average weighted_average standard_deviation sum harmonic_mean average".split()
)
_ABOUT = ("dataset", "version", "metric", "mode")


class _Line(NamedTuple):
    """A dataset by a metric, and the cells of the models."""

    dataset: str
    version: str
    metric: str
    cells: Mapping[str, float]


def read_summary(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Datasets are rows, models are columns; a dataset's first metric is its main one."""
    runs: list[Run] = []
    groups: set[str] = set()
    others: set[str] = set()
    for source in sources:
        lines = list(_lines(source))
        summed = [line for line in lines if _is_group(line)]
        single = [line for line in lines if not _is_group(line)]
        if single:
            groups |= {line.dataset for line in summed}
        chosen, left = _chosen(single or summed, wanted)
        others |= left
        runs += _runs(chosen, source)
    if groups:
        wanted.account.note(
            f"groups left out because their datasets count: {listed(sorted(groups))}"
        )
    if others:
        wanted.account.note(f"other metrics not used (metric=..., --metric): {listed(others)}")
    if not runs:
        raise EvidenceError(f"{wanted.account.name}: no dataset has a value. Give another summary.")
    rows = scores_of_runs(runs, wanted._replace(metric=None), [])
    read_as(wanted.account, "OpenCompass summaries", sources, "columns as policies, in percent")
    return scores_of(rows, wanted.account)


def _lines(source: Source) -> Iterator[_Line]:
    for record in table_rows(source):
        row = {str(name): str(cell or "-").strip() for name, cell in record.value.items()}
        dataset, version, metric, _ = (row.get(name, "-") for name in _ABOUT)
        cells = {}
        for model, text in row.items():
            if model in _ABOUT or text == "-":
                continue
            try:
                cells[model] = float(text)
            except ValueError:
                raise EvidenceError(
                    f"{record.place}: {text!r} is no number, for {model!r}. Mend the cell, or write"
                    " - for none."
                ) from None
        if cells:
            yield _Line(dataset, version, metric, cells)


def _is_group(line: _Line) -> bool:
    return line.version == "-" or line.metric in _GROUPS


def _chosen(lines: Sequence[_Line], wanted: Wanted) -> tuple[dict[str, _Line], set[str]]:
    """Task -> its line, and the metrics that were not used."""
    versions: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        versions[line.dataset].add(line.version)
    chosen: dict[str, _Line] = {}
    others = set()
    for line in lines:
        several = len(versions[line.dataset]) > 1
        task = f"{line.dataset} ({line.version})" if several else line.dataset
        if task in chosen or wanted.metric not in (None, line.metric):
            others.add(f"{line.metric} of {task}")
        else:
            chosen[task] = line
    if not chosen:
        there = Counter(line.metric for line in lines)
        raise EvidenceError(
            f"{wanted.account.name}: no metric {wanted.metric!r}. It has: {listed(there)}."
        )
    return chosen, others


def _runs(chosen: Mapping[str, _Line], source: Source) -> list[Run]:
    runs: dict[str, Run] = {}
    for task, line in chosen.items():
        settings = () if line.version == "-" else (f"version {line.version}",)
        for model, score in line.cells.items():
            run = runs.setdefault(model, Run(model, source.name, seconds(source.stem)))
            value = Value(score, lower=usually_lower(line.metric))
            run.results[task] = Result({line.metric: value}, settings)
    return [*runs.values()]
