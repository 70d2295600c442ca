"""Measurements that are kept, so that a day of studies can be stopped and goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.studies.fairness import Health, Tuned
from policyrank.studies.frame import Measured, Report, Scale, Study, judged, measure, module_of
from policyrank.studies.sources import commit, versions_of


def kept_study(
    slug: str,
    folder: Path,
    scale: Scale = "small",
    seed: int = 0,
    report: Report | None = None,
) -> Study:
    """A study whose measurements are in a folder, measured and put there if they are not.

    Those of another text of the study's file, scale or seed are not taken.

    Raises
    ------
    EvidenceError
        When what is kept cannot be read.
    """
    place = folder / f"{slug}-{scale}-{seed}"
    told = _told(place, slug)
    if told is None:
        found, seconds = measure(slug, scale, seed, report)
        told = {
            "source": _source(slug),
            "seconds": seconds,
            "versions": versions_of(),
            "commit": commit(),
        }
        _keep(place, found, told)
    else:
        found = _measured(place, told)
    return judged(slug, found, scale, seed, told["seconds"], told["versions"], told["commit"])


def _source(slug: str) -> str:
    return Path(str(module_of(slug).__file__)).read_text(encoding="utf-8")


def _without_claims(source: str) -> str:
    """The text of a study's file before and after its claims: they do not change measurements."""
    head, _, rest = source.partition("\nCLAIMS")
    return head + rest.partition("\n)\n")[2]


def _told(place: Path, slug: str) -> dict[str, Any] | None:
    """What is known of kept measurements; None if there are none of today's study."""
    path = place.with_suffix(".json")
    if not path.is_file() or not place.with_suffix(".parquet").is_file():
        return None
    try:
        told = dict(json.loads(path.read_text(encoding="utf-8")))
        source = str(told["source"])
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{path}: not what a study keeps ({error}). Remove it.") from None
    return told if _without_claims(source) == _without_claims(_source(slug)) else None


def _keep(place: Path, found: Measured, told: dict[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    found.scores.to_frame().write_parquet(part)
    part.replace(place.with_suffix(".parquet"))
    content = told | {
        "lower_is_better": sorted(found.scores.lower_is_better),
        "tuned": [asdict(own) for own in found.tuned],
        "health": [asdict(own) for own in found.health],
    }
    part.write_text(json.dumps(content, default=str), encoding="utf-8")
    part.replace(place.with_suffix(".json"))


def _measured(place: Path, told: dict[str, Any]) -> Measured:
    frame = pl.read_parquet(place.with_suffix(".parquet"))
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
