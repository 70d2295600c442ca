"""The one door: whatever a source holds becomes comparisons, scores or rankings.

A file's format is told by its content; a plain table's form by its columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Unpack, cast

import polars as pl

from policyrank.errors import EvidenceError, refuse_unknown_options
from policyrank.evidence import pairs, tables as t, usual_names
from policyrank.evidence.account import Account, Bad, listed, plural
from policyrank.evidence.ballots import ballot_table, read_lines
from policyrank.evidence.comparison_tables import ComparisonOptions
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.databases import Query
from policyrank.evidence.formats.door import Told, read_told, tell
from policyrank.evidence.matrices import comparisons_of_matrix, is_matrix
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.remarks import naming, remarked
from policyrank.evidence.score_tables import ScoreOptions, directed
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import CLOUD, Source, is_several, open_source, open_sources
from policyrank.evidence.text_tables import ragged_line

Evidence = Comparisons | Scores | Rankings
Kind = Literal["comparisons", "scores", "rankings"]


def read_comparisons(source: Any, **options: Unpack[ComparisonOptions]) -> Comparisons:
    """Read pairwise comparisons.

    Parameters
    ----------
    source
        path (.csv, .tsv, .parquet, .jsonl, .json, .arrow, Markdown; also compressed), a folder, a
        pattern or a list of files, an http(s) address, ``"-"`` for standard input, a ``Query`` of a
        database, a polars, pandas or Arrow table, or a dict of columns; or what another tool writes
        (AlpacaEval, MT-bench, Arena-Hard, PGN, ...)
    a, b, outcome, task, rater, time, weight, count
        names of the columns; found by their usual names when not given (model_a/model_b/winner,
        left/right, player1/player2/result, home/away, chosen/rejected, ...). The outcome may hold
        numbers in [0, 1], labels (model_a, left, tie, "tie (bothbad)", 1-0, A>>B, ...) or the
        winner's own name; or be counts (wins, losses, ties), one column a result, or two scores.
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
    strict
        refuse every guess

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
    return cast(Comparisons, _read(source, "comparisons", dict(options)))


def read_scores(source: Any, **options: Unpack[ScoreOptions]) -> Scores:
    """Read scores of policies on tasks.

    Parameters
    ----------
    source
        as for ``read_comparisons``; of other tools: results of lm-evaluation-harness, lighteval,
        HELM, MTEB, inspect_ai, SWE-bench, ...
    policy, task, score, metric, replicate, unit, weight
        columns of a long table, found by their usual names when not given (``unit``, what scores
        share that are not independent, as questions share a document, only when given). For
        results of a harness ``metric`` is the metric's name, with its filter if need be
        (``"exact_match,flexible-extract"``).
    tasks
        columns of a wide table to use as tasks (or, with tasks as rows, the policies). When not
        given: the columns of scores; counts, sizes, errors, ranks, dates, ids and what sums up the
        others are told by name and content, and the notes say what was left out and why.
    rows
        what the rows of a wide table are; policies, unless only tasks have a column of names
    on
        read these tasks only
    lower_is_better
        names or patterns (``"*wer*"``) of metrics or tasks whose smaller values are better, or True
        for all, or False for none. Those called loss, error, perplexity, wer, ... are taken so
        anyway, and the notes say so.
    higher_is_better
        names or patterns that are better when larger, whatever they are called
    bad
        ``"skip"`` leaves out rows and cells without a usable score and counts them. Empty cells of
        a wide table are simply not measured.
    strict
        refuse every guess

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
    return cast(Scores, _read(source, "scores", dict(options)))


def read_rankings(
    source: Any,
    *,
    ballot: str | None = None,
    policy: str | None = None,
    rank: str | None = None,
    order: str | None = None,
    weight: str | None = None,
    group: str | None = None,
    bad: Bad = "raise",
    strict: bool = False,
) -> Rankings:
    """Read ballots.

    Parameters
    ----------
    source
        as for ``read_comparisons``; also text with a ballot a line (``A > B = C``, perhaps ``12: A
        > B``) and PrefLib files, old and new (.soc, .soi, .toc, .toi, .cat)
    ballot, policy, rank
        columns of a long table, one row a policy on a ballot; rank 1 is best, equal ranks tie
    order
        the column of a table with a ballot a row: text ``A > B = C`` or a list, best first
    weight, group
        columns with the number of voters of a ballot, and with what it belongs to
    bad
        ``"skip"`` leaves out rows without a usable entry and counts them
    strict
        refuse every guess

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.

    Examples
    --------
    >>> read_rankings({"ranking": ["x > y = z", "z > x"]})
    Rankings(2 ballots, 3 policies)
    """
    given = {"ballot": ballot, "policy": policy, "rank": rank, "order": order}
    given |= {"weight": weight, "group": group}
    options: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    options |= {"bad": bad, "strict": strict}
    return cast(Rankings, _read(source, "rankings", options))


def read(source: Any, *, kind: Kind | None = None, **options: Any) -> Evidence:
    """Read comparisons, scores or rankings, told by the source's content (or by ``kind``).

    Examples
    --------
    >>> read({"a": ["x"], "b": ["y"], "winner": ["x"]})
    Comparisons(1 comparisons, 2 policies)
    """
    if kind is not None and kind not in TABLES:
        raise EvidenceError(f"kind={kind!r}: use one of {', '.join(TABLES)}.")
    return _read(source, kind, options)


TABLES: dict[str, Callable[..., Evidence]] = {
    "comparisons": Comparisons.from_frame,
    "scores": Scores.from_frame,
    "rankings": ballot_table,
}
"""Form of evidence -> what reads it from a table."""

_OPTIONS: dict[str, frozenset[str]] = {
    "comparisons": ComparisonOptions.__optional_keys__,
    "scores": ScoreOptions.__optional_keys__,
    "rankings": frozenset(signature(ballot_table).parameters) - {"source"},
}

_OF_FORMATS = frozenset({"metric", "lower_is_better", "higher_is_better", "bad", "strict"})
_IDLE = frozenset({"keep", "counted", "on"})


def _read(source: Any, kind: str | None, options: dict[str, Any]) -> Evidence:
    found = opened(source)
    with naming(*_names_of(found)):
        return remarked(_evidence(found, kind, options))


def _names_of(found: Any) -> list[str]:
    """What messages call an input: first all of it, then its files."""
    if isinstance(found, list):
        return [_name_of(found), *(source.name for source in found)]
    if isinstance(found, str):
        return [found.partition("?")[0].rpartition("/")[2] if "://" in found else Path(found).name]
    return ["the table", "the frame"]


def _name_of(sources: Sequence[Source]) -> str:
    return sources[0].name if len(sources) == 1 else plural(len(sources), "file")


def _evidence(found: Any, kind: str | None, options: dict[str, Any]) -> Evidence:
    if isinstance(found, list):
        told = None if _names_columns(options) else tell(found)
        if told is not None:
            return _of_format(told, found, kind, options)
        if len(found) == 1 and _holds_ballots(found[0]) and kind in (None, "rankings"):
            return read_lines(found[0])
        found = found[0] if len(found) == 1 else _one_table(found)
    if kind is None:
        kind = _form_of_table(found)
    if kind == "comparisons" and is_matrix(found) and not _names_columns(options):
        return comparisons_of_matrix(found)
    refuse_unknown_options(options, _OPTIONS[kind], of=f"reading {kind}")
    evidence = _of_table(found, kind, options)
    if isinstance(found, Source) and found.remarks:
        return replace(evidence, notes=(*evidence.notes, *found.remarks))
    return evidence


def _of_table(found: Any, kind: str, options: dict[str, Any]) -> Evidence:
    try:
        return TABLES[kind](found, **options)
    except EvidenceError as error:
        ragged = None
        if isinstance(found, Source) and "more fields" in str(error):
            ragged = ragged_line(found)
        if ragged is None:
            raise
        raise EvidenceError(
            f"{found.name}: {ragged}. Mend the line, or quote what holds a separator."
        ) from None


def opened(source: Any) -> Any:
    """Files as a list of ``Source``, so that they are opened once; anything else as it is."""
    if isinstance(source, Query):
        return source.frame()
    if isinstance(source, list) and source and all(isinstance(one, Source) for one in source):
        return source
    if is_several(source):
        return open_sources(source)
    if isinstance(source, bytes) or (
        isinstance(source, (str, Path)) and not str(source).startswith(CLOUD)
    ):
        return [open_source(source)]
    if isinstance(source, Source):
        return [source]
    return source


def _names_columns(options: Iterable[str]) -> bool:
    """Whether the caller says something about the columns of a table."""
    return bool(set(options) - _OF_FORMATS - _IDLE)


def _of_format(
    told: Told, sources: Sequence[Source], kind: str | None, options: dict[str, Any]
) -> Evidence:
    from policyrank.evidence.formats.results import Wanted

    form = told[0]
    name = _name_of(sources)
    if kind is not None and form.holds not in (kind, "nothing"):
        raise EvidenceError(
            f"{name}: {form.name}: these hold {form.holds}, not {kind}. Read them with"
            f" read_{form.holds} (--kind {form.holds})."
        )
    account = Account(name, options.get("bad", "raise"), options.get("strict", False))
    for source in told[1]:
        if "_text" in source.__dict__ and source.encoding_note:
            account.note(f"{source.name}: {source.encoding_note}")
    evidence = read_told(told, sources, Wanted(account, options.get("metric")))
    if isinstance(evidence, Scores):
        return _with_direction(evidence, options)
    return evidence


def _with_direction(scores: Scores, options: dict[str, Any]) -> Scores:
    """The directions that the caller told, beside those that the files say."""
    lower, higher = options.get("lower_is_better"), options.get("higher_is_better")
    if lower is None and not higher:
        return scores
    told = directed({"task": scores.task, "metric": scores.metric}, lower, higher)
    if lower is not True and lower is not False:
        back = directed({"task": scores.task, "metric": scores.metric}, list(higher or ()))
        told |= scores.lower_is_better - back
    return replace(scores, lower_is_better=told)


def _one_table(sources: Sequence[Source]) -> t.Named:
    """Several tables as one, of a policy each where no column names it: the file's name."""
    frames, without = [], []
    for source in sources:
        frame = t.open_table(source)[0]
        columns = frame.collect_schema().names()
        if t.find(columns, usual_names.POLICY) is None and not pairs.pairs_in(columns):
            frame = frame.with_columns(pl.lit(source.stem).alias("policy"))
            without.append(source.stem)
        frames.append(frame)
    if 0 < len(without) < len(sources):
        raise EvidenceError(
            f"{plural(len(sources), 'file')}: {listed(without)} name no policy, and others do."
            " Add the column, or read them apart."
        )
    try:
        together = pl.concat(frames, how="diagonal_relaxed")
        together.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise EvidenceError(
            f"{plural(len(sources), 'file')}: their columns do not fit together ({error})."
        ) from None
    return t.Named(together, plural(len(sources), "file"))


def detect(source: Any) -> str:
    """Which form of evidence a source holds: ``"comparisons"``, ``"scores"`` or ``"rankings"``.

    Examples
    --------
    >>> detect({"policy": ["x"], "task": ["go"], "score": [1]})
    'scores'
    """
    found = opened(source)
    with naming(*_names_of(found)):
        return _form_of(found)


def _form_of(found: Any) -> str:
    if isinstance(found, list):
        told = tell(found)
        if told is not None:
            return told[0].holds
        if len(found) == 1 and _holds_ballots(found[0]):
            return "rankings"
        found = found[0] if len(found) == 1 else _one_table(found)
    return _form_of_table(found)


def _form_of_table(source: Any) -> str:
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    found = pairs.pairs_in(columns)
    for first, second in found:
        if pairs.has_outcome(columns, first, second):
            return "comparisons"
    policy = t.find(columns, usual_names.POLICY)
    if found and (policy is None or policy in found[0]):
        first, second = found[0]
        raise EvidenceError(
            f"{name}: {first!r} and {second!r} look like the two policies of comparisons, and no"
            " column says who won. Name it with outcome=... (--outcome); if these are columns of"
            " scores, say kind='scores' (--kind scores)."
        )
    if t.find(columns, usual_names.POLICY) and _has_ranks(columns):
        return "rankings"
    if t.find(columns, ("ranking", "order")) or _has_orders(frame, columns, name):
        return "rankings"
    return "comparisons" if is_matrix(source) else "scores"


def _has_ranks(columns: Sequence[str]) -> bool:
    """Whether a table has ranks on ballots, or ranks on tasks and no scores."""
    if not t.find(columns, usual_names.RANK):
        return False
    if t.find(columns, usual_names.BALLOT):
        return True
    task = t.find(columns, usual_names.TASK)
    return task is not None and len(columns) <= 3


def _has_orders(frame: pl.LazyFrame, columns: Sequence[str], name: str) -> bool:
    """Whether a column of ballots holds texts such as ``A > B``."""
    column = t.find(columns, ("ballot", "vote", "preference", "preferences"))
    if column is None or frame.collect_schema()[column] != pl.String:
        return False
    first = t.collect(frame.select(column).head(20), name)[column].drop_nulls()
    return bool(len(first) and first.str.contains(r"\w\s*>\s*\w").all())


def _holds_ballots(source: Source) -> bool:
    """Whether the first lines of a text are ballots (``A > B``)."""
    if source.ending not in (".txt", ""):
        return False
    lines = [line for line in source.head.splitlines() if line.strip() and line[0] != "#"]
    return bool(lines) and re.match(r"^\s*(\d+(\.\d+)?\s*:)?[^,|{}\t]+ > ", lines[0]) is not None
