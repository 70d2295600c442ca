"""``policyrank eval-run``: retrieval runs against judgements, ranked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    Flag,
    Html,
    Json,
    Names,
    Scores,
    Top,
    Written,
    check_table,
    check_writable,
)
from policyrank.cli.output import print_json, say, show, write_board, write_table
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policyrank import evidence
    from policyrank.ranking.runs import PairedTest

MEASURES = ("nDCG@10", "AP", "RR", "R@100")


def rank_runs(
    *files: Path,
    measure: Annotated[Names, Parameter(group=METHOD, alias="-m")] = None,
    least: Annotated[float, Parameter(group=METHOD)] = 1,
    answered: Annotated[Flag, Parameter(group=METHOD)] = False,
    out: Scores = None,
    html: Html = None,
    json: Json = False,
    top: Top = None,
) -> None:
    """Score retrieval runs by query, and rank them.

    With intervals, and tests that pair the runs over queries.

    Parameters
    ----------
    files
        TREC runs, then the TREC judgements.
    measure
        nDCG@10, nDCG(gain=exp2)@10, AP, RR, P@5, R@100, Success@5, Rprec, Bpref, SetP, SetR, SetF,
        SetP(relative=true), Judged@10, ERR@20, RBP(p=0.8), WSS@95, R%@10, LastRelevant, nnDCG@10
        (chance-corrected); AP(judged_only=true) and the like leave out what nobody judged;
        repeatable. The first one ranks.
    least
        Smallest grade that is relevant, for choosing queries.
    answered
        Only queries that some run answers, where a sample of those that are judged was ranked
        (otherwise a query that a run lacks scores 0).
    """
    if len(files) < 2:
        raise OptionError("give at least one run, and the judgements last")
    check_table(out)
    check_writable(html)
    *runs, judgements = files
    if len({path.stem for path in runs}) < len(runs):
        raise EvidenceError(
            "two runs have one file name: their names would be the same. Rename one."
        )
    if len(runs) == 1 and (out is not None or html is not None):
        raise EvidenceError("one run makes no ranking: --out and --html need two.")
    names = measure or MEASURES
    from policyrank.evidence.trec import read_qrels, read_run
    from policyrank.ranking import aggregate
    from policyrank.ranking.runs import paired_tests, run_means, score_runs, unanswered

    loaded = {path.stem: read_run(path) for path in runs}
    grades = read_qrels(judgements)
    if len(runs) == 1:
        run = loaded[runs[0].stem]
        means = run_means(run, grades, names, least=least, answered=answered)
        lacking, of = unanswered(run, grades, least=least)
        if lacking:
            then = "they are left out" if answered else "they score 0 (--answered leaves them out)"
            say(f"{runs[0].stem} lacks {lacking:,} of {of:,} judged queries: {then}")
        _print_one(means, json=json)
        return
    scores = score_runs(loaded, grades, names, least=least, answered=answered)
    if out is not None:
        write_table(scores.to_frame(), out)
    first = scores.filter(metrics=names[0])
    board = aggregate(first, resample="tasks")
    tests = paired_tests(first)
    write_board(board, Written(html=html), title=f"{names[0]} of {len(runs)} runs")
    if json:
        print_json({"board": board.to_dict(), "tests": [vars(test) for test in tests]})
        return
    from policyrank.board import text

    show(text(board, colour=sys.stdout.isatty(), top=top))
    _print_means(scores, board.policies[:top], names)
    show(f"\npaired over queries, {names[0]} (permutation test; p after Holm's correction):")
    _print_tests(tests)


def _print_one(means: dict[str, float], *, json: bool) -> None:
    if json:
        print_json(means)
        return
    for name, value in means.items():
        show(f"{name:20s} {value:.4f}")


def _print_means(scores: evidence.Scores, runs: Sequence[str], names: Sequence[str]) -> None:
    """A table of the mean of each measure over queries."""
    import numpy as np

    means = []
    for name in names:
        means.append(scores.filter(metrics=name).table().mean(axis=0))
    width = max(map(len, scores.policies))
    show("\n" + " " * width + "".join(f"{name:>14s}" for name in names))
    for run in runs:
        cells = np.stack(means)[:, scores.policies.index(run)]
        show(f"{run:{width}s}" + "".join(f"{mean:14.4f}" for mean in cells))


def _print_tests(tests: Sequence[PairedTest]) -> None:
    for t in tests:
        interval = f"[{t.lower:+.4f}, {t.upper:+.4f}]"
        p = f"p {t.p:.4f}, {t.p_holm:.4f}"
        show(f"{t.better} - {t.than}: {t.difference:+.4f} {interval}, {p}")
