"""Measurements that are kept, so that a day of studies can be stopped and goes on."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.evidence import Scores
from policyrank.files import write_json
from policyrank.fingerprints import content_hash
from policyrank.studies.fairness import Health, Tuned
from policyrank.studies.frame import Measured, Report, Scale, Study, judged, measure, module_of
from policyrank.studies.sources import commit, versions_of

ROOM = "policyrank.studies."
JUDGING = frozenset(f"{ROOM}{name}" for name in ("claims", "estimates", "frame", "sources"))
"""Files that every study imports, and that do not measure."""


def kept_study(
    slug: str,
    folder: Path,
    scale: Scale = "small",
    seed: int = 0,
    report: Report | None = None,
) -> Study:
    """A study whose measurements are in a folder, measured and put there if they are not.

    Those of other code of the study, scale or seed are not taken; where the rest of policyrank has
    changed since, their ``commit`` tells. Damaged ones are named, and measured again.
    """
    place = folder / f"{slug}-{scale}-{seed}"
    told = _told(place, slug)
    found = None if told is None else _measured(place, told)
    if found is None and _is_there(place) and report is not None:
        report(f"{place.name}: what is kept is of other code or damaged, and measured again")
    if told is None or found is None:
        found, seconds = measure(slug, scale, seed, report)
        told = {
            "source": _source(slug),
            "seconds": seconds,
            "versions": versions_of(),
            "commit": commit(),
        }
        _keep(place, found, told)
    return judged(slug, found, scale, seed, told["seconds"], told["versions"], told["commit"])


def _source(slug: str) -> str:
    """A study's code and that of the studies' files that it imports, less claims and comments.

    What claims say does not change what is measured.
    """
    found: dict[str, str] = {}
    waiting = [str(module_of(slug).__name__)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        tree = ast.parse(Path(str(import_module(name).__file__)).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(ROOM):
                waiting.append(str(node.module))
        tree.body = [node for node in tree.body if not _is_claims(node)]
        found[name] = ast.unparse(tree)
    text = "\n".join(found[name] for name in sorted(found) if name not in JUDGING)
    return sha256(text.encode()).hexdigest()


def _is_claims(node: ast.stmt) -> bool:
    """Whether a statement only says what is claimed, or is a file's docstring."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("CLAIMS", "MAIN")
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_there(place: Path) -> bool:
    return place.with_suffix(".json").is_file() and place.with_suffix(".parquet").is_file()


def _told(place: Path, slug: str) -> dict[str, Any] | None:
    """What is known of kept measurements; None if there are none of today's study."""
    if not _is_there(place):
        return None
    try:
        told = dict(json.loads(place.with_suffix(".json").read_text(encoding="utf-8")))
        source = str(told["source"])
    except (ValueError, KeyError, TypeError):
        return None
    return told if source == _source(slug) else None


def _keep(place: Path, found: Measured, told: dict[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    table = place.with_suffix(".parquet")
    found.scores.write(table)
    content = told | {
        "scores": content_hash(table),
        "lower_is_better": sorted(found.scores.lower_is_better),
        "tuned": [asdict(own) for own in found.tuned],
        "health": [asdict(own) for own in found.health],
    }
    write_json(place.with_suffix(".json"), content)


def _measured(place: Path, told: dict[str, Any]) -> Measured | None:
    """What is kept; None where it is damaged."""
    table = place.with_suffix(".parquet")
    try:
        if told.get("scores", content_hash(table)) != content_hash(table):
            return None
        return _read(table, told)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None


def _read(table: Path, told: dict[str, Any]) -> Measured:
    frame = pl.read_parquet(table)
    names = {name: frame[name].to_list() for name in ("metric", "replicate") if name in frame}
    scores = Scores.of(
        frame["policy"].to_list(),
        frame["task"].to_list(),
        frame["score"].to_numpy(),
        lower_is_better=frozenset(told["lower_is_better"]),
        **names,
    )
    tuned = []
    for own in told["tuned"]:
        tried = tuple((dict(settings), float(mean)) for settings, mean in own["tried"])
        tuned.append(Tuned(**{**own, "tried": tried}))
    return Measured(scores, tuple(tuned), tuple(Health(**own) for own in told["health"]))
