"""Read whatever a source holds: comparisons, scores or rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.ballots import PREFLIB, read_rankings
from policyrank.evidence.comparison_tables import ComparisonOptions
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.lm_eval import read_lm_eval
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.score_tables import ScoreOptions, directed
from policyrank.evidence.scores import Scores

Evidence = Comparisons | Scores | Rankings


def read_comparisons(source: Any, **options: Unpack[ComparisonOptions]) -> Comparisons:
    """Read pairwise comparisons.

    Parameters
    ----------
    source
        path (.csv, .tsv, .parquet, .jsonl, .json, .arrow, .gz), ``"-"`` for standard input, a
        polars, pandas or Arrow table, or a dict of columns. Also already-counted tables: a, b, wins
        and perhaps losses and ties.
    a, b, outcome, task, rater, time, weight, count
        names of the columns; found by their usual names when not given
        (model_a/model_b/winner, left/right, player1/player2/result, chosen/rejected, ...). The
        outcome may hold numbers in [0, 1], labels (model_a, left, tie, "tie (bothbad)", 1-0, win,
        ...) or the winner's own name.
    covariates
        columns of differences (a minus b) to keep for style control
    first_wins
        what a number 1 (or 0) in the outcome column means: ``first_wins=1`` when 1 is a win of a,
        ``first_wins=0`` when 0 is. Needed only where a numeric column's name leaves it open
        (winner, preference, ...).
    keep
        which optional columns to look for by name; those named above are kept anyway
    counted
        count equal rows while reading: 10 million battles then need little memory (drops time)
    bad
        ``"raise"``: rows with a missing name, a missing or impossible outcome, or a policy against
        itself are an error; ``"skip"``: they are left out, and the notes say how many

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.

    Examples
    --------
    >>> table = {"model_a": ["x", "y"], "model_b": ["y", "x"], "winner": ["model_a", "tie"]}
    >>> read_comparisons(table).outcome
    array([1. , 0.5], dtype=float32)
    """
    return Comparisons.from_frame(source, **options)


def read_scores(source: Any, **options: Unpack[ScoreOptions]) -> Scores:
    """Read scores of policies on tasks.

    Parameters
    ----------
    source
        as for ``read_comparisons``, or a folder of lm-evaluation-harness results
    policy, task, score, metric, replicate, weight
        columns of a long table, found by their usual names when not given
    tasks
        columns of a wide table to use as tasks (or, with tasks as rows, the policies); all numeric
        ones when not given. Columns such as "Average" or "Score" that sum up the others are left
        out, and the notes say so.
    rows
        what the rows of a wide table are; policies, unless its first column is called task, game,
        dataset, ...
    lower_is_better
        names of metrics or tasks whose smaller values are better, or True for all; when not given,
        those called loss, error, perplexity, wer, ... are taken so, and the notes say so
    bad
        ``"skip"`` leaves out rows without a usable score and counts them. Empty cells of a wide
        table are simply not measured.

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.

    Examples
    --------
    >>> read_scores({"model": ["x", "y"], "go": [1.0, 2.0], "chess": [3.0, 1.0]}).table()
    array([[3., 1.],
           [1., 2.]])
    """
    if not _is_folder(source):
        return Scores.from_frame(source, **options)
    scores = read_lm_eval(source, metric=options.get("metric"))
    lower = options.get("lower_is_better")
    if lower is None:
        return scores
    return replace(scores, lower_is_better=directed({}, lower)["lower_is_better"])


READERS: dict[str, Callable[..., Evidence]] = {
    "comparisons": read_comparisons,
    "scores": read_scores,
    "rankings": read_rankings,
}
"""Form of evidence -> what reads it."""


def read(source: Any, *, kind: str | None = None, **options: Any) -> Evidence:
    """Read comparisons, scores or rankings, told by the source's columns (or by ``kind``).

    Examples
    --------
    >>> read({"a": ["x"], "b": ["y"], "winner": ["x"]})
    Comparisons(1 comparisons, 2 policies)
    """
    if kind is None:
        kind = detect(source)
    if kind not in READERS:
        raise EvidenceError(f"kind={kind!r}: use one of {', '.join(READERS)}.")
    return READERS[kind](source, **options)


def detect(source: Any) -> str:
    """Which form of evidence a source holds: ``"comparisons"``, ``"scores"`` or ``"rankings"``.

    Examples
    --------
    >>> detect({"policy": ["x"], "task": ["go"], "score": [1]})
    'scores'
    """
    if _is_folder(source):
        return "scores"
    if isinstance(source, (str, Path)) and _holds_ballots(Path(source)):
        return "rankings"
    columns = t.open_table(source)[0].collect_schema().names()
    pairs = [pair for pair in t.PAIRS if all(t.find(columns, (side,)) for side in pair)]
    outcome = t.find(columns, t.OUTCOME) or t.find(columns, ("wins", "wins_a", "a_wins", "win_a"))
    winner_first = any(tuple(map(t.key, pair)) in t.WINNER_FIRST for pair in pairs)
    if winner_first or (pairs and outcome):
        return "comparisons"
    if t.find(columns, t.POLICY) and t.find(columns, t.RANK) and t.find(columns, t.BALLOT):
        return "rankings"
    if t.find(columns, ("ranking", "order")):
        return "rankings"
    return "scores"


def _is_folder(source: Any) -> bool:
    return isinstance(source, (str, Path)) and str(source) != "-" and Path(source).is_dir()


def _holds_ballots(path: Path) -> bool:
    """Whether a file's ending or its first lines (``A > B``) say that it holds ballots."""
    kind = path.suffix.lower()
    return kind in PREFLIB or (kind == ".txt" and " > " in path.read_text(errors="replace")[:4000])
