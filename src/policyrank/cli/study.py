"""``policyrank study``: measure papers' claims."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    OUT,
    AtLeastOne,
    Flag,
    Names,
    check_folder,
    check_table,
    check_writable,
    whole,
)
from policyrank.cli.output import say, show, working, write_table, wrote
from policyrank.errors import EvidenceError
from policyrank.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policyrank.studies import Study

Scale = Literal["smoke", "small", "full"]
Seeds = Annotated[
    list[int] | None,
    Parameter(show_default="101 and 202", validator=Number(gte=0), negative=(), converter=whole),
]


def list_studies(*, names: Flag = False) -> None:
    """List the studies.

    Parameters
    ----------
    names
        Names alone, one a line.
    """
    from policyrank.studies import STUDIES

    if names:
        show("\n".join(STUDIES))
        return
    width = max(map(len, STUDIES))
    for slug, about in STUDIES.items():
        show(f"{slug:{width}s}  {about}")


def run_one(
    slug: str,
    /,
    *,
    scale: Scale = "small",
    seed: Seeds = None,
    kept: Path | None = None,
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
    seed
        Master seed; repeatable: verdicts of all stand side by side.
    kept
        Folder of measurements: those that are there are taken, new ones put there.
    out
        Write the page (Markdown) here, and its picture (SVG) beside it.
    scores
        Write the scores of the first seed here (.csv, .parquet, ...).
    """
    check_writable(out)
    check_table(scores)
    from policyrank.studies import MASTER_SEEDS, kept_study, run_study
    from policyrank.studies.sources import commit

    _check(slug)
    done = []
    for number in seed or MASTER_SEEDS:
        with working(f"{slug}, seed {number} …") as update:
            if kept is None:
                study = run_study(slug, scale, number, update)
            else:
                study = kept_study(slug, kept, scale, number, update)
        done.append(study)
        if study.commit != commit():
            say(f"{slug}, seed {number}: kept measurements of commit {study.commit} are taken")
        _print(study)
    if scores is not None:
        write_table(done[0].scores.to_frame(), scores)
    if out is not None:
        _write(done, out)


def run_all(
    *,
    kept: Path,
    scale: Scale = "small",
    seed: Seeds = None,
    only: Names = None,
    jobs: AtLeastOne = 1,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
) -> None:
    """Run all studies, each seed in a process of its own; what was measured before is kept.

    Parameters
    ----------
    kept
        Folder of measurements and logs. Stopped, the command goes on from there.
    scale
        smoke (seconds), small (minutes) or full.
    seed
        Master seed; repeatable: verdicts of all stand side by side.
    only
        Name of a study; repeatable (all if none is named).
    jobs
        Processes at once.
    out
        Folder for the pages and their pictures.
    """
    if out is not None:
        check_folder(out)
        out.mkdir(exist_ok=True)
    kept.mkdir(parents=True, exist_ok=True)
    from policyrank.studies import MASTER_SEEDS, STUDIES, kept_study

    slugs = only or list(STUDIES)
    for slug in slugs:
        _check(slug)
    seeds = seed or list(MASTER_SEEDS)
    failed = _measure_all([(slug, number) for slug in slugs for number in seeds], scale, kept, jobs)
    for slug in slugs:
        if failed & {(slug, number) for number in seeds}:
            continue
        if out is not None:
            _write([kept_study(slug, kept, scale, number) for number in seeds], out / f"{slug}.md")
    if failed:
        told = ", ".join(f"{slug} (seed {number})" for slug, number in sorted(failed))
        raise EvidenceError(f"failed, as their logs in {kept} say: {told}.")


def _measure_all(
    wanted: list[tuple[str, int]], scale: Scale, kept: Path, jobs: int
) -> set[tuple[str, int]]:
    """Measure what is not kept; what failed."""
    import os
    import subprocess
    from concurrent.futures import ThreadPoolExecutor

    one_thread = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}

    def measured(job: tuple[str, int]) -> int:
        slug, number = job
        options = ("--scale", scale, "--seed", str(number), "--kept", str(kept))
        with (kept / f"{slug}-{scale}-{number}.log").open("w", encoding="utf-8") as log:
            return subprocess.run(
                [sys.executable, "-m", "policyrank", "study", "run", slug, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **one_thread},
                check=False,
            ).returncode

    failed = set()
    with ThreadPoolExecutor(jobs) as pool:
        for job, code in zip(wanted, pool.map(measured, wanted), strict=True):
            state = "done" if code == 0 else f"failed ({code})"
            say(f"{job[0]}, seed {job[1]}: {state}")
            if code:
                failed.add(job)
    return failed


def _check(slug: str) -> None:
    from policyrank.studies import STUDIES

    if slug not in STUDIES:
        raise EvidenceError(f"no study is called {slug!r}. There are: {', '.join(STUDIES)}.")


def _write(studies: Sequence[Study], out: Path) -> None:
    """The page and its picture."""
    from matplotlib import rc_context

    from policyrank.board.plots import save
    from policyrank.studies import main_comparison, page

    first = studies[0]
    seeds = " ".join(f"--seed {study.seed}" for study in studies)
    command = f"policyrank study run {first.slug} --scale {first.scale} {seeds} --out {out.name}"
    figure, picture = main_comparison(studies), out.with_suffix(".svg")
    if figure is not None:
        # The same numbers give the same file.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "policyrank"}):
            save(figure, picture, metadata={"Date": None})
        wrote(picture)
    name = None if figure is None else picture.name
    write_text(out, page(studies, command, name))
    wrote(out)


def _print(done: Study) -> None:
    from policyrank.board import text
    from policyrank.studies import boards

    for metric, board in boards(done).items():
        show(f"{metric}\n\n{text(board, colour=sys.stdout.isatty())}\n")
    for own in done.verdicts:
        interval = f"{own.effect:+.4g} [{own.lower:.4g}, {own.upper:.4g}]"
        over = f"over {own.units:,} ({own.unit})"
        p = "" if own.p_holm != own.p_holm else f", p {own.p_holm:.2g}"
        show(f"{own.verdict.upper():12s} {own.claim.text}: {interval} {over}{p}")
    for sign in done.measured.health:
        if not sign.healthy:
            show(f"UNHEALTHY    {sign.method}: {sign.sign} {sign.value:.4g}")
    show(f"\n{done.seconds:.0f} s, scale {done.scale}, seed {done.seed}")
