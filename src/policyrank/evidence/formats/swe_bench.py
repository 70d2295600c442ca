"""SWE-bench: submissions of the leaderboard, reports and logs of the harness."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import Score, Wanted, document, read_as, scores_of
from policyrank.evidence.formats.runs import Run, name_apart
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

SPLITS = {
    "verified": 500,
    "bash-only": 500,
    "lite": 300,
    "test": 2294,
    "multimodal": 517,
    "multilingual": 300,
}
"""Folder of a split in the repository of submissions -> how many instances it has."""


class _Detail(msgspec.Struct):
    resolved: bool


class _Submission(NamedTuple):
    """What a submission says: instances it resolved, all that it names, and its split."""

    policy: str
    resolved: frozenset[str]
    named: frozenset[str]
    split: str | None
    place: str
    complete: bool


def read_submissions(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Submissions list what they resolved: the rest of the split counts as not resolved."""
    submissions = _one_each([_submission(source) for source in sources])
    universe, unnamed = _universe(submissions, wanted)
    rows: list[Score] = []
    for one in submissions:
        strange = one.resolved - universe
        if strange:
            raise EvidenceError(
                f"{one.place}: it resolves {plural(len(strange), 'instance')} outside the split"
                f" ({listed(sorted(strange), most=2)}). Give the submissions of one split."
            )
        for task in sorted(universe):
            rows.append(Score(one.policy, task, float(task in one.resolved)))
        for number in range(unnamed):
            rows.append(Score(one.policy, f"resolved by none {number + 1}", 0.0))
    read_as(
        wanted.account,
        "SWE-bench submissions",
        sources,
        f"{plural(len(universe) + unnamed, 'instance')}; no generation and no logs count as failed",
    )
    return scores_of(rows, wanted.account)


def _submission(source: Source) -> _Submission:
    folders = source.parts[:-1]
    if folders[-1:] == ("results",):
        folders = folders[:-1]
    if not folders:
        raise EvidenceError(
            f"{source.name}: the submission is known by its folder. Give the folder."
        )
    split = next((name for name in reversed(folders) if name in SPLITS), None)
    data = document(source, dict[str, Any])
    if isinstance(data.get("resolved"), list):
        lists = document(source, dict[str, list[str]])
        named = frozenset(name for names in lists.values() for name in names)
        resolved = frozenset(lists["resolved"])
        return _Submission(folders[-1], resolved, named, split, source.name, False)
    details = document(source, dict[str, _Detail])
    resolved = frozenset(name for name, detail in details.items() if detail.resolved)
    return _Submission(folders[-1], resolved, frozenset(details), split, source.name, True)


def _one_each(submissions: Sequence[_Submission]) -> list[_Submission]:
    """One file a submission: the one with details of every instance, where there is one."""
    kept: dict[tuple[str, str | None], _Submission] = {}
    for one in sorted(submissions, key=lambda one: one.complete):
        kept[one.policy, one.split] = one
    return sorted(kept.values(), key=lambda one: one.place)


def _universe(submissions: Sequence[_Submission], wanted: Wanted) -> tuple[frozenset[str], int]:
    """The instances that are known by name, and how many more the split has."""
    complete = [one for one in submissions if one.complete]
    if complete:
        return frozenset().union(*(one.named for one in complete)), 0
    sizes = {SPLITS.get(one.split or "") for one in submissions}
    if len(sizes) > 1 or None in sizes:
        raise EvidenceError(
            f"{wanted.account.name}: SWE-bench submissions list only what was resolved, and the"
            " split, so the number of instances, is not known. Give the folder of one split, such"
            " as evaluation/verified, or a per_instance_details.json with all instances."
        )
    known = frozenset().union(*(one.named for one in submissions))
    split = next(one.split for one in submissions)
    size = SPLITS[str(split)]
    if len(known) > size:
        raise EvidenceError(
            f"{wanted.account.name}: {len(known):,} instances are named, and SWE-bench {split} has"
            f" {size:,}. Give the submissions of one split."
        )
    if len(known) < size:
        wanted.account.note(
            f"{plural(size - len(known), 'instance')} of the {size:,} of SWE-bench {split} that no"
            " list names count as resolved by none"
        )
    return known, size - len(known)


def read_logs(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Logs of the harness, MODEL/INSTANCE/report.json: an instance without a report failed."""
    resolved: dict[str, dict[str, bool]] = defaultdict(dict)
    for source in sources:
        folders = [name for name in source.parts[:-2] if name != "logs"]
        if not folders:
            raise EvidenceError(
                f"{source.name}: the log of an instance, and its folder names the submission. Give"
                " the folder above."
            )
        for instance, detail in document(source, dict[str, _Detail]).items():
            resolved[folders[-1].replace("__", "/")][instance] = detail.resolved
    universe = sorted(set().union(*resolved.values()))
    rows: list[Score] = []
    for policy, known in resolved.items():
        rows += [Score(policy, task, float(known.get(task, False))) for task in universe]
    missing = sum(len(universe) - len(known) for known in resolved.values())
    if missing:
        wanted.account.note(f"{plural(missing, 'instance')} without a report count as failed")
    wanted.account.guess(
        f"the logs hold {plural(len(universe), 'instance')}: taken as all that were tried",
        "Give the reports of the whole runs.",
    )
    read_as(wanted.account, "SWE-bench logs", sources, "policies by the folders")
    return scores_of(rows, wanted.account)


class _Report(msgspec.Struct):
    resolved_ids: list[str]
    unresolved_ids: list[str] | None = None
    error_ids: list[str] | None = None
    empty_patch_ids: list[str] | None = None
    incomplete_ids: list[str] | None = None
    total_instances: int | None = None

    def named(self) -> set[str]:
        """All instances that the report names."""
        parts = (self.unresolved_ids, self.error_ids, self.empty_patch_ids, self.incomplete_ids)
        return set(self.resolved_ids).union(*(part or () for part in parts))


def read_reports(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Reports of the harness: errors, empty patches and what was not run count as failed."""
    reports = [document(source, _Report) for source in sources]
    runs = [_run_of_name(source) for source in sources]
    name_apart(runs)
    universe = sorted(set().union(*(report.named() for report in reports)))
    rows: list[Score] = []
    unnamed = 0
    for run, report in zip(runs, reports, strict=True):
        named = report.named()
        whole = (report.total_instances or len(named)) >= len(universe)
        tasks = universe if whole else sorted(named)
        unnamed += len(set(tasks) - named)
        resolved = set(report.resolved_ids)
        rows += [Score(run.name, task, float(task in resolved)) for task in tasks]
    if unnamed:
        wanted.account.note(f"{plural(unnamed, 'instance')} that a report does not name failed")
    read_as(
        wanted.account,
        "SWE-bench reports",
        sources,
        "policies from the file names; errors, empty patches and what was not run count as failed",
    )
    return scores_of(rows, wanted.account)


def _run_of_name(source: Source) -> Run:
    """MODEL.RUN.json, where MODEL has ``__`` for a slash."""
    stem = source.parts[-1].removesuffix(".json")
    model, _, run = stem.rpartition(".")
    return Run((model or stem).replace("__", "/"), source.name, details=(run,))
