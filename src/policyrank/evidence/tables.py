"""Open any table as a polars LazyFrame, and find its columns by their usual names."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.account import Account, plural
from policyrank.evidence.addresses import shown_address, without_secrets
from policyrank.evidence.sources import CLOUD, Source, open_source
from policyrank.evidence.text_tables import (
    frame_of_text,
    refuse_by_name,
    separator_of,
)
from policyrank.evidence.usual_names import POLICY, TASK


def key(name: str) -> str:
    """A column name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def find(columns: Sequence[str], usual: Iterable[str]) -> str | None:
    """The first of the ``usual`` names that is among ``columns``."""
    index = _by_key(tuple(columns))
    for name in usual:
        if key(name) in index:
            return index[key(name)]
    return None


@lru_cache(maxsize=4)
def _by_key(columns: tuple[str, ...]) -> dict[str, str]:
    """Columns by their keys, the first of each: tables of many columns are asked often."""
    index: dict[str, str] = {}
    for column in columns:
        index.setdefault(key(column), column)
    return index


def given(
    columns: Sequence[str], name: str | None, usual: Iterable[str], what: str, source: str
) -> str | None:
    """The column that the caller named, else one with a usual name.

    A named column that is not there is an error.
    """
    if name is None:
        return find(columns, usual)
    if name not in columns:
        raise EvidenceError(f"{source}: no column {name!r} for {what}. It has: {listing(columns)}.")
    return name


def listing(columns: Sequence[str], most: int = 12) -> str:
    """Column names for a message."""
    shown = ", ".join(map(repr, columns[:most]))
    if len(columns) > most:
        shown += f" and {len(columns) - most} more"
    return shown


def collect(frame: pl.LazyFrame, source: str) -> pl.DataFrame:
    """Run a query; whatever the reader chokes on becomes one clear line."""
    try:
        return frame.collect(engine="streaming")
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # polars panics on some broken files with a BaseException
        raise broken(source, error) from None


def broken(source: str, error: BaseException) -> EvidenceError:
    """One line on what the reader choked on."""
    first = type(error).__name__
    if str(error).strip():
        first = str(error).strip().splitlines()[0]
    return EvidenceError(
        f"{source}: cannot be read as a table ({first[:200]}). Check that the file is whole and its"
        " ending true."
    )


class Named(NamedTuple):
    """A table that was put together, and what messages call it."""

    frame: pl.LazyFrame
    name: str


def open_table(source: Any) -> tuple[pl.LazyFrame, str]:
    """A lazy table and its name.

    From a path, ``"-"`` (standard input), an address, the bytes of a file, a frame, or a mapping of
    columns. CSV and TSV are read as text, so that no column's type is guessed from its first rows.
    """
    if isinstance(source, Named):
        return source
    if isinstance(source, pl.LazyFrame):
        return source, "the frame"
    if isinstance(source, pl.DataFrame):
        return _in_memory(lambda: source, "the frame"), "the frame"
    if isinstance(source, Mapping):
        return _in_memory(lambda: pl.DataFrame(source, strict=False), "the table"), "the table"
    if type(source).__module__.split(".")[0] == "pandas":
        return _in_memory(lambda: _of_pandas(source), "the frame"), "the frame"
    if type(source).__module__.split(".")[0] == "pyarrow":
        return _in_memory(lambda: pl.DataFrame(source), "the table"), "the table"
    if isinstance(source, str) and source.startswith(CLOUD):
        return _in_cloud(source), source.partition("?")[0].rpartition("/")[2]
    if isinstance(source, (bytes, str, Path)):
        source = open_source(source)
    if isinstance(source, Source):
        return _scan(source), source.name
    raise EvidenceError(
        f"cannot read evidence from a {type(source).__name__}. Give a path, a frame or a dict of"
        " columns."
    )


def _in_memory(make: Callable[[], pl.DataFrame], name: str) -> pl.LazyFrame:
    """A table that a program holds; objects become lists of their text, which are no scores."""
    try:
        frame = make()
    except EvidenceError:
        raise
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        first = str(error).strip().partition("\n")[0]
        raise EvidenceError(
            f"{name}: cannot be read as a table ({first[:200]}). Give every column values of one"
            " kind, as many as the others have."
        ) from None
    for column, kind in frame.schema.items():
        if kind == pl.Object:
            texts = [[ascii(value)] for value in frame[column].to_list()]
            frame = frame.with_columns(pl.Series(column, texts, dtype=pl.List(pl.String)))
    return frame.lazy()


def _of_pandas(source: Any) -> pl.DataFrame:
    """A pandas frame, with the index where it has a name."""
    try:
        return pl.from_pandas(source, include_index=source.index.name is not None)
    except ImportError:
        raise EvidenceError(
            "reading pandas frames needs: pip install 'policyrank[pandas]'"
        ) from None


def _in_cloud(address: str) -> pl.LazyFrame:
    ending = Path(address.partition("?")[0]).suffix.lower()
    shown = shown_address(address)
    scan = {
        ".parquet": pl.scan_parquet,
        ".csv": lambda place: pl.scan_csv(place, infer_schema=False),
        ".jsonl": pl.scan_ndjson,
        ".arrow": pl.scan_ipc,
    }.get(ending)
    if scan is None:
        raise EvidenceError(f"{shown}: only .parquet, .csv, .jsonl and .arrow are read from there.")
    try:
        frame = scan(address)
        frame.collect_schema()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # polars panics on some broken files with a BaseException
        why = without_secrets(str(broken(shown, error)), address)
        raise EvidenceError(why) from None
    return frame


WHOLE = 1 << 26
"""Text files of up to this many bytes are decoded whole; larger ones are read in parts."""


def _kind(source: Source) -> str:
    """What a file holds, by its first bytes, then by its ending."""
    start = source.first_bytes
    if start[:4] == b"PAR1":
        return ".parquet"
    if start[:6] == b"ARROW1":
        return ".arrow"
    if source.ending in (".parquet", ".arrow", ".feather", ".ipc"):
        return source.ending
    text = source.head.lstrip("\ufeff \t\r\n")
    if text[:1] == "[":
        return ".json"
    if text[:1] == "{":
        return ".jsonl" if _are_lines(text) else ".json"
    if _is_markdown(text):
        return ".md"
    return source.ending


def _are_lines(text: str) -> bool:
    """Whether JSON stands a document a line, on several lines."""
    first, _, rest = text.partition("\n")
    return first.rstrip().endswith("}") and rest.lstrip()[:1] == "{"


def _is_markdown(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.lstrip().startswith("|")]
    return len(lines) > 2 and any(not line.strip("|:- ") for line in lines[1:3])


def _scan(source: Source) -> pl.LazyFrame:
    kind = _kind(source)
    try:
        frame = _frame(source, kind)
        frame.collect_schema()
    except (EvidenceError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # polars panics on some broken files with a BaseException
        raise broken(source.name, error) from None
    return frame


def _frame(source: Source, kind: str) -> pl.LazyFrame:
    if kind == ".parquet":
        return pl.scan_parquet(_binary(source))
    if kind in (".arrow", ".feather", ".ipc"):
        return pl.scan_ipc(_binary(source))
    if kind == ".json":
        from policyrank.evidence.json_tables import parsed_table

        return parsed_table(source.text, source.name).lazy()
    if kind == ".md":
        from policyrank.evidence.markdown import frame_of_markdown

        return frame_of_markdown(source.text, source.name).lazy()
    if kind in (".jsonl", ".ndjson"):
        return pl.scan_ndjson(_text(source), infer_schema_length=None)
    refuse_by_name(source)
    return _named_apart(frame_of_text(source, lambda: _text(source)), source.name)


def has_semicolons(source: Any) -> bool:
    """Whether a text table's columns stand between semicolons, and commas may be decimal ones."""
    if isinstance(source, (bytes, str, Path)) and not str(source).startswith(CLOUD):
        source = open_source(source)
    if not isinstance(source, Source) or _kind(source) in (".json", ".jsonl", ".md", ".parquet"):
        return False
    return separator_of(source.head, source.ending) == ";"


def _named_apart(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Refuse a header that names a column twice, which polars would rename."""
    columns = frozenset(frame.collect_schema().names())
    for column in columns:
        original, mark, number = column.rpartition("_duplicated_")
        if mark and number.isdigit() and original in columns and original.strip():
            raise EvidenceError(
                f"{name}: column {original!r} stands in the header twice. Rename or remove one."
            )
    return frame


def _binary(source: Source) -> Any:
    if source.path is not None and source.first_bytes[:4] in (b"PAR1", b"ARRO"):
        return source.path
    return io.BytesIO(source.content)


def _text(source: Source) -> Any:
    """The file itself when it is plain UTF-8, else its text as UTF-8."""
    path = source.path
    if path is None or source.ending not in (*PLAIN, "") or _is_packed(source):
        return io.BytesIO(source.text.encode())
    start = source.first_bytes
    plain = b"\x00" not in start and start[:2] not in (b"\xff\xfe", b"\xfe\xff")
    if plain and (path.stat().st_size > WHOLE or _is_utf8(path)):
        return path
    return io.BytesIO(source.text.encode())


PLAIN = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")


def _is_packed(source: Source) -> bool:
    return source.path is not None and source.path.suffix.lower() not in PLAIN


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def as_text(series: pl.Series) -> pl.Series:
    """A column as text.

    Raises
    ------
    EvidenceError
        When it holds lists or objects, which no text stands for.
    """
    if series.dtype.is_nested():
        raise nested(series.name)
    return series.cast(pl.String)


def nested(column: str) -> EvidenceError:
    """That a column holds lists or objects where one value a cell is needed."""
    return EvidenceError(
        f"column {column!r} holds lists or objects, and one value a cell is needed. Write them as"
        " text, or name another column."
    )


def clean_names(series: pl.Series) -> pl.Series:
    """Names as text, blanks cut, without HTML around them."""
    names = as_text(series).fill_null("").str.strip_chars()
    if names.str.contains("<", literal=True).any():
        names = names.str.replace_all(r"<[^>]+>", "").str.strip_chars()
    return names


def without_blank_rows(
    table: pl.DataFrame, account: Account, *, counts: str | None = None
) -> pl.DataFrame:
    """Rows of which no cell holds anything are left out, and counted.

    ``counts``: a column that says how many rows a row stands for.
    """
    if not table.width:
        raise EvidenceError(f"{account.name}: it holds no values with names.")
    if not table.height:
        raise EvidenceError(f"{account.name}: it has columns but no rows.")
    filled = _filled(table.drop(counts) if counts else table)
    blank = table.filter(~filled)
    if blank.height == table.height:
        raise EvidenceError(f"{account.name}: it has columns but no rows.")
    if blank.height:
        rows = blank.height if counts is None else int(blank[counts].sum())
        account.note(f"{plural(rows, 'blank row')} left out")
        return table.filter(filled)
    return table


def with_one_header(table: pl.DataFrame) -> pl.DataFrame:
    """A pandas frame written with names of its columns and of its index has two headers: the first
    row then names the first column, and holds nothing else.
    """
    if table.height < 2 or table.width < 2:
        return table
    first = [("" if cell is None else str(cell)).strip() for cell in table.row(0)]
    if not first[0] or any(first[1:]) or find([first[0]], (*POLICY, *TASK)) is None:
        return table
    return table[1:].rename({table.columns[0]: first[0]})


def _filled(table: pl.DataFrame) -> pl.Series:
    """Whether any cell of a row holds something; mostly the first columns tell."""
    first = _any_filled(table[:, :4])
    return first if first.all() else _any_filled(table)


def _any_filled(table: pl.DataFrame) -> pl.Series:
    cells = []
    for name, kind in table.schema.items():
        cell = pl.col(name).is_not_null()
        if kind == pl.String:
            cell = pl.col(name).str.strip_chars().fill_null("") != ""
        cells.append(cell)
    return table.select(pl.any_horizontal(cells)).to_series()
