"""``policyrank eval-run``: retrieval runs against judgements, ranked."""

from __future__ import annotations

import json as js
import sys
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c


def eval_run(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="RUN... QRELS", help="TREC runs, then the TREC judgements."),
    ],
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--measure",
            help=(
                "nDCG@10, nDCG(gain=exp2)@10, AP, RR, P@5, R@100, ERR@20, RBP(p=0.8), WSS@95,"
                " R%@10, LastRelevant, nnDCG@10 (chance-corrected); repeatable. The first one"
                " ranks."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    least: Annotated[
        float,
        typer.Option(
            help="Smallest grade that is relevant, for choosing queries.", rich_help_panel=c.METHOD
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the per-query scores (.csv, .parquet).", rich_help_panel=c.OUT),
    ] = None,
    html: c.Html = None,
    json: c.Json = False,
    top: c.Top = None,
) -> None:
    """Score retrieval runs, query by query, and rank them with intervals and paired tests."""
    from policyrank.board import terminal
    from policyrank.errors import EvidenceError
    from policyrank.evidence.trec import read_qrels, read_run
    from policyrank.ranking import aggregate
    from policyrank.ranking.runs import paired_tests, run_means, score_runs

    if len(files) < 2:
        raise typer.BadParameter("give at least one run, and the judgements last")
    c.check_writable(out, html)
    *runs, qrels = files
    if len({p.stem for p in runs}) < len(runs):
        raise EvidenceError(
            "two runs have one file name: their names would be the same. Rename one."
        )
    names = measure or ["nDCG@10", "AP", "RR", "R@100"]
    loaded, grades = {p.stem: read_run(p) for p in runs}, read_qrels(qrels)
    if len(runs) == 1:
        if out is not None or html is not None:
            raise EvidenceError("one run makes no ranking: --out and --html need two.")
        table = run_means(loaded[runs[0].stem], grades, names, least=least)
        print(
            js.dumps(table, indent=2)
            if json
            else "\n".join(f"{m:20s} {v:.4f}" for m, v in table.items())
        )
        return
    scores = score_runs(loaded, grades, names, least=least)
    if out is not None:
        scores.write(out)
        c.written(out)
    board = aggregate(scores.filter(metrics=names[0]), resample="tasks")
    tests = paired_tests(scores.filter(metrics=names[0]))
    if html is not None:
        board.to_html(html, title=f"{names[0]} of {len(runs)} runs")
        c.written(html)
    if json:
        print(
            js.dumps(
                {"board": board.to_dict(), "tests": [vars(t) for t in tests]}, indent=2, default=str
            )
        )
        return
    print(terminal.text(board, colour=sys.stdout.isatty(), top=top))
    means = {m: scores.filter(metrics=m).table() for m in names}
    width = max(len(p) for p in scores.policies)
    print("\n" + " " * width + "".join(f"{m:>14s}" for m in names))
    for p in board.policies[:top]:
        print(
            f"{p:{width}s}"
            + "".join(f"{means[m][:, scores.policies.index(p)].mean():14.4f}" for m in names)
        )
    print(f"\npaired over queries, {names[0]} (permutation test; p after Holm's correction):")
    for t in tests:
        print(
            f"{t.better} - {t.than}: {t.difference:+.4f} [{t.lower:+.4f}, {t.upper:+.4f}], p"
            f" {t.p:.4f}, {t.p_holm:.4f}"
        )
