"""``policyrank profile``: which share of runs scores above each threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    METHOD,
    UNSURE,
    Csv,
    FileName,
    Json,
    Level,
    Plot,
    Reading,
    Seed,
    Title,
    Whole,
    check_writable,
    one_of,
    title_of,
)
from policyrank.cli.output import print_csv, print_json, show, working, wrote
from policyrank.errors import EvidenceError

SHOWN = 9
"""Thresholds of the table that is printed where none are named."""


def profile_file(
    *files: FileName,
    threshold: Annotated[list[float] | None, Parameter(group=METHOD)] = None,
    interval: Annotated[Literal["closed", "bootstrap", "none"], Parameter(group=UNSURE)] = "closed",
    level: Level = 0.95,
    resamples: Annotated[Whole, Parameter(group=UNSURE, validator=Number(gte=20))] = 2000,
    seed: Seed = 0,
    plot: Plot = None,
    title: Title = None,
    json: Json = False,
    csv: Csv = False,
    reading: Reading = Reading(),
) -> None:
    """Performance profiles: which share of runs scores above each threshold?

    Of scores on one scale, with intervals. `rank -m optimality-gap` sums up how far runs fall short
    of a target.

    Example:

      policyrank profile runs.csv --plot profiles.png

    Parameters
    ----------
    threshold
        Score to compare with; repeatable. Default: from the lowest to the highest score.
    interval
        closed: Wilson's with the dispersion that was seen; bootstrap: of runs inside tasks, as
        rliable has it; none.
    resamples
        Bootstrap resamples.
    """
    one_of(json=json, csv=csv)
    check_writable(plot)
    with working(f"Reading {title_of(files)} …") as update:
        evidence = reading.evidence(files)
        from policyrank.evidence import Scores
        from policyrank.ranking import performance_profiles

        if not isinstance(evidence, Scores):
            raise EvidenceError(f"{title_of(files)}: profiles are of scores, not of orders.")
        update("Comparing with thresholds …")
        found = performance_profiles(
            evidence, threshold, interval=interval, level=level, resamples=resamples, seed=seed
        )
        if plot is not None:
            found.plot(plot, title=title or f"Performance profiles: {title_of(files)}")
            wrote(plot)
    if json:
        notes = [note.text for note in found.notes]
        print_json({"better": found.better, "notes": notes, "profiles": found.frame.to_dicts()})
    elif csv:
        print_csv(found.frame)
    else:
        places = range(len(found.thresholds))
        if threshold is None:
            places = range(0, len(places), max(len(places) // SHOWN, 1))
        show(found.text(places))
        from policyrank.board.terminal import NOTE_MARKS

        for note in found.notes:
            show(f"{NOTE_MARKS[note.severity][0]} {note}")
