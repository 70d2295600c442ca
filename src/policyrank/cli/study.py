"""``policyrank study``: measure a paper's claims."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c

study = typer.Typer(
    help="Measure papers' claims against their baselines.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@study.command("list")
def list_studies() -> None:
    """List the studies."""
    from policyrank.studies import STUDIES

    width = max(map(len, STUDIES))
    for slug, about in STUDIES.items():
        print(f"{slug:{width}s}  {about}")


@study.command("run")
def run(
    slug: Annotated[
        str, typer.Argument(help="Name of the study, as `policyrank study list` shows it.")
    ],
    scale: Annotated[str, typer.Option(help="smoke (seconds), small (minutes) or full.")] = "small",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the page (Markdown) here.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Write the measured scores here (.csv, .parquet, ...).")
    ] = None,
) -> None:
    """Run a study: the measured table, its methods ranked, and a verdict on each claim."""
    from policyrank.board import terminal
    from policyrank.errors import EvidenceError
    from policyrank.studies import STUDIES, page, run_study

    if slug not in STUDIES:
        raise EvidenceError(f"no study is called {slug!r}. There are: {', '.join(STUDIES)}.")
    if scale not in ("smoke", "small", "full"):
        raise typer.BadParameter("scale is smoke, small or full")
    c.check_writable(out, scores)
    with c.working(f"{slug} …") as update:
        done = run_study(slug, scale, seed, update)  # type: ignore[arg-type]
    for metric, board in done.boards.items():
        print(f"{metric}\n\n{terminal.text(board, colour=sys.stdout.isatty())}\n")
    for v in done.verdicts:
        print(
            f"{v.verdict.upper():12s} {v.claim.text}: {v.effect:+.4g} [{v.lower:.4g},"
            f" {v.upper:.4g}] over {v.units} {v.unit}"
        )
    print(f"\n{done.seconds:.0f} s, scale {scale}, seed {seed}")
    if scores is not None:
        done.scores.write(scores)
        c.written(scores)
    if out is not None:
        command = f"policyrank study run {slug} --scale {scale} --seed {seed} --out {out}"
        out.write_text(page(done, command), encoding="utf-8")
        c.written(out)
