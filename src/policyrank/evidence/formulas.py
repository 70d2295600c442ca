"""Texts that a spreadsheet would run: in CSV an apostrophe stands in front of them.

One apostrophe less gives back every text as it was.
"""

from __future__ import annotations

import re

import polars as pl

from policyrank.evidence.account import plural
from policyrank.evidence.sources import LARGE, Source

_SIGNS = r"=+\-@\t\r\n＝＋－＠"
_FORMULA = rf"^('*[{_SIGNS}])"
_BARE = rf"^[{_SIGNS}]"
_KEPT = rf"^'('*[{_SIGNS}])"
_IN_TEXT = re.compile(rf"""(?:^|[,;|\t\n"])'+[{_SIGNS}]""", re.MULTILINE)


def without_formulas(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """A frame for CSV in which no text is a formula, and how many texts and names were changed.

    Examples
    --------
    >>> without_formulas(pl.DataFrame({"policy": ["=1+1", "ant", "'-x"]}))[0]["policy"].to_list()
    ["'=1+1", 'ant', "''-x"]
    """
    texts = pl.col(pl.String)
    counts = frame.select(texts.str.contains(_FORMULA).sum())
    changed = sum(int(count or 0) for count in counts.row(0)) if counts.width else 0
    named = {name: f"'{name}" for name in frame.columns if re.match(_FORMULA, name)}
    frame = frame.with_columns(texts.str.replace(_FORMULA, "'$1")).rename(named)
    return frame, changed + len(named)


def with_formulas(frame: pl.LazyFrame, source: Source) -> pl.LazyFrame:
    """The texts of a CSV file as they were before ``without_formulas``.

    A column in which a text begins with such a sign itself was not written so, and stays as it is.
    """
    if not _IN_TEXT.search(_looked_at(source)):
        return frame
    schema = frame.collect_schema()
    texts = [name for name, kind in schema.items() if kind == pl.String]
    bare = frame.select(pl.col(texts).str.contains(_BARE).any()).collect().row(0)
    written = [name for name, there in zip(texts, bare, strict=True) if not there]
    kept = frame.select(pl.col(written).str.contains(_KEPT).sum()).collect().row(0)
    found = [name for name, count in zip(written, kept, strict=True) if count]
    named = {}
    if not any(re.match(_BARE, name) for name in schema):
        named = {name: name[1:] for name in schema if re.match(_KEPT, name)}
    if found or named:
        count = sum(int(one or 0) for one in kept) + len(named)
        source.remark(
            f"{plural(count, 'text')} read without the apostrophe that CSV files have before"
            " = + - @"
        )
    return frame.with_columns(pl.col(found).str.replace(_KEPT, "$1")).rename(named)


def _looked_at(source: Source) -> str:
    """All of a text; of a large file its beginning."""
    if source.path is not None and source.path.stat().st_size > LARGE:
        return source.head
    return source.text
