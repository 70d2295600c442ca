"""RewardBench: accuracies by subset, and scores by item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import plural
from policyrank.evidence.formats.results import (
    Score,
    Wanted,
    document,
    number,
    read_as,
    scores_of,
    truth_or_number,
    with_replicates,
)
from policyrank.evidence.formats.runs import Result, Run, Value, scores_of_runs
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
"""Section -> subset -> its weight, as the board weighs (math-prm as much as all code)."""

_SECTION_OF = {subset: section for section, counts in SECTIONS.items() for subset in counts}


def read_subsets(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Version 1: the four sections of the board; other versions: each subset is a task."""
    runs = []
    for source in sources:
        data = document(source, dict[str, Any])
        run = Run(model_name(data.get("model"), source.name), source.name)
        run.results = _results(data)
        runs.append(run)
    rows = scores_of_runs(runs, wanted, ["accuracy"])
    if any(task in SECTIONS for run in runs for task in run.results):
        wanted.account.note("subsets are weighted into the board's sections")
    read_as(wanted.account, "RewardBench results", sources, "policies from model")
    return scores_of(rows, wanted.account)


def _results(data: Mapping[str, Any]) -> dict[str, Result]:
    sections: dict[str, dict[str, float]] = defaultdict(dict)
    results = {}
    for name, entry in data.items():
        value = number(entry)
        if value is None:
            continue
        if name in _SECTION_OF:
            sections[_SECTION_OF[name]][name] = value
        else:
            results[name] = Result({"accuracy": Value(value)})
    for section, values in sections.items():
        results[section] = _section(section, values)
    return results


def _section(section: str, values: Mapping[str, float]) -> Result:
    counts = SECTIONS[section]
    total = sum(counts[name] for name in values)
    mean = sum(counts[name] * value for name, value in values.items()) / total
    settings = (f"{len(values)} of {len(counts)} subsets",)
    return Result({"accuracy": Value(mean)}, settings)


def model_name(model: Any, place: str) -> str:
    """The name of a model; of a list of judges all names."""
    names = model if isinstance(model, list) else [model]
    text = "+".join(str(name).strip() for name in names if name)
    if not text:
        raise EvidenceError(f"{place}: it names no model. Add a model.")
    return text


class _Items(msgspec.Struct):
    id: list[Any]
    results: list[Any]
    model: Any = None
    subset: list[Any] | None = None


def read_items(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Results by item: whether the better answer got the higher score."""
    rows: list[Score] = []
    missing = 0
    for source in sources:
        data = document(source, _Items)
        policy = model_name(data.model, source.name)
        if len(data.id) != len(data.results):
            raise EvidenceError(
                f"{source.name}: {len(data.id):,} ids and {len(data.results):,} results. Write it"
                " again."
            )
        for item, result in zip(_item_names(data), data.results, strict=True):
            value = truth_or_number(result)
            if value is None:
                missing += 1
            else:
                rows.append(Score(policy, item, value))
    if missing:
        wanted.account.note(f"{plural(missing, 'item')} without a result left out")
    read_as(wanted.account, "RewardBench results by item", sources, "items as tasks")
    rows = with_replicates(rows, wanted.account, "several results of an item")
    return scores_of(rows, wanted.account)


def _item_names(data: _Items) -> list[str]:
    """Ids; with their subsets where an id stands twice."""
    names = [str(name) for name in data.id]
    if len(set(names)) == len(names) or data.subset is None or len(data.subset) != len(names):
        return names
    return [f"{subset}:{name}" for subset, name in zip(data.subset, names, strict=True)]
