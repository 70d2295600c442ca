"""TREC's files: runs (query Q0 document rank score tag) and judgements (query 0 document grade)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import open_source
from policyrank.evidence.units import is_number
from policyrank.files import written


def _fields(path: str | Path, count: int, what: str) -> pl.DataFrame:
    file = Path(path)
    if not file.exists():
        raise EvidenceError(f"{file}: no such file. Give a {what}.")
    text = open_source(file).text.splitlines()
    lines = pl.Series("line", text, dtype=pl.String).str.strip_chars()
    if lines.head(1000).str.contains(r"\s\s|\t").any() or lines.str.contains(r"\s\s|\t").any():
        lines = lines.str.replace_all(r"\s+", " ")
    number = pl.Series("number", range(1, len(lines) + 1), dtype=pl.Int64)
    frame = pl.DataFrame([number, lines]).filter(pl.col("line") != "")
    # One field more than there should be, to see that there is none.
    split = frame.with_columns(pl.col("line").str.split_exact(" ", count).alias("f")).unnest("f")
    bad = split.filter(
        pl.col(f"field_{count - 1}").is_null() | pl.col(f"field_{count}").is_not_null()
    )
    if bad.height:
        raise EvidenceError(
            f"{file}, line {bad['number'][0]}: {count} fields make a line of a {what}, not"
            f" {bad['line'][0][:80]!r}."
        )
    return split


def _number(frame: pl.DataFrame, column: str, path: str | Path, what: str) -> pl.DataFrame:
    parsed = frame.with_columns(pl.col(column).cast(pl.Float64, strict=False).alias("value"))
    bad = parsed.filter(pl.col("value").is_null() | ~pl.col("value").is_finite())
    if bad.height:
        raise EvidenceError(
            f"{path}, line {bad['number'][0]}: the {what} {bad[column][0]!r} is no finite number."
        )
    return parsed


def _twice(frame: pl.DataFrame, path: Any) -> None:
    again = frame.filter(pl.struct("query", "document").is_duplicated())
    if again.height:
        raise EvidenceError(
            f"{path}: document {again['document'][0]!r} stands twice for query"
            f" {again['query'][0]!r}. Keep one of them."
        )


def read_run(path: str | Path) -> pl.DataFrame:
    """A TREC run: columns query, document, score.

    The order is by score; the file's ranks are not read.

    Raises
    ------
    EvidenceError
        Naming the line that is malformed, or the document that stands twice for a query.
    """
    fields = _fields(path, 6, "TREC run (query Q0 document rank score tag)")
    frame = _number(fields, "field_4", path, "score")
    out = frame.select(query="field_0", document="field_2", score="value")
    _twice(out, path)
    return out


def read_qrels(path: str | Path) -> pl.DataFrame:
    """TREC judgements (query 0 document grade), or a table of three columns.

    The table: query-id, corpus-id, score, as BEIR has it, with that header or without.

    Columns query, document, grade. Negative grades count as 0.

    Raises
    ------
    EvidenceError
        Naming the line that is malformed, or the document that is judged twice for a query.
    """
    file = Path(path)
    first: list[str] = []
    if file.is_file():
        first = open_source(file).head.partition("\n")[0].split()
    if len(first) == 3:
        fields = _fields(path, 3, "table of judgements (query, document, grade)")
        if not is_number(first[2]):
            fields = fields[1:]
        frame = _number(fields, "field_2", path, "grade").with_columns(field_2="field_1")
    else:
        fields = _fields(path, 4, "TREC qrels file (query 0 document grade)")
        frame = _number(fields, "field_3", path, "grade")
    grade = pl.col("value").clip(lower_bound=0)
    out = frame.select(query="field_0", document="field_2", grade=grade)
    _twice(out, path)
    return out


def write_run(run: pl.DataFrame, path: str | Path | BytesIO, tag: str = "policyrank") -> None:
    """Write columns query, document, score as a TREC run, each query's documents by score."""
    tag = "-".join(tag.split()) or "run"
    ordered = run.sort(
        "query", "score", "document", descending=[False, True, True], maintain_order=True
    )
    rows = ordered.select(
        "query",
        q0=pl.lit("Q0"),
        document="document",
        rank=pl.int_range(1, pl.len() + 1).over("query"),
        score="score",
        tag=pl.lit(tag),
    )
    _write_fields(rows, path)


def write_qrels(qrels: pl.DataFrame, path: str | Path) -> None:
    """Write columns query, document, grade as TREC judgements; whole grades without a point."""
    grade = pl.col("grade")
    if (qrels["grade"] == qrels["grade"].round(0)).all():
        grade = grade.cast(pl.Int64)
    rows = qrels.select("query", zero=pl.lit("0"), document="document", grade=grade)
    _write_fields(rows, path)


def _write_fields(rows: pl.DataFrame, path: str | Path | BytesIO) -> None:
    """Fields between blanks, without a header."""
    if isinstance(path, BytesIO):
        rows.write_csv(path, include_header=False, separator=" ")
        return
    with written(path) as part:
        rows.write_csv(part, include_header=False, separator=" ")
