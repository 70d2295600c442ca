"""``policyrank study``: measure papers' claims."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import OUT, Flag, Seed, check_writable
from policyrank.cli.output import working, wrote
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    from policyrank.studies import Study


def list_studies(*, names: Flag = False) -> None:
    """List the studies.

    Parameters
    ----------
    names
        Names alone, one a line.
    """
    from policyrank.studies import STUDIES

    if names:
        print("\n".join(STUDIES))
        return
    width = max(map(len, STUDIES))
    for slug, about in STUDIES.items():
        print(f"{slug:{width}s}  {about}")


def run_one(
    slug: str,
    /,
    *,
    scale: Literal["smoke", "small", "full"] = "small",
    seed: Seed = 0,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    scores: Annotated[Path | None, Parameter(group=OUT)] = None,
) -> None:
    """Run a study, rank its methods, judge its claims.

    Parameters
    ----------
    slug
        Name of the study, as `policyrank study list` shows it.
    scale
        smoke (seconds), small (minutes) or full.
    out
        Write the page (Markdown) here.
    scores
        Write the measured scores here (.csv, .parquet, ...).
    """
    check_writable(out, scores)
    from policyrank.studies import STUDIES, page, run_study

    if slug not in STUDIES:
        raise EvidenceError(f"no study is called {slug!r}. There are: {', '.join(STUDIES)}.")
    with working(f"{slug} …") as update:
        done = run_study(slug, scale, seed, update)
    _print(done)
    if scores is not None:
        done.scores.write(scores)
        wrote(scores)
    if out is not None:
        command = f"policyrank study run {slug} --scale {scale} --seed {seed} --out {out}"
        out.write_text(page(done, command), encoding="utf-8")
        wrote(out)


def _print(done: Study) -> None:
    from policyrank.board import text

    for metric, board in done.boards.items():
        print(f"{metric}\n\n{text(board, colour=sys.stdout.isatty())}\n")
    for verdict in done.verdicts:
        interval = f"{verdict.effect:+.4g} [{verdict.lower:.4g}, {verdict.upper:.4g}]"
        over = f"over {verdict.units} {verdict.unit}"
        print(f"{verdict.verdict.upper():12s} {verdict.claim.text}: {interval} {over}")
    print(f"\n{done.seconds:.0f} s, scale {done.scale}, seed {done.seed}")
