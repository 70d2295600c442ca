"""Open any table as a polars LazyFrame, and find its columns by their usual names."""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError

PAIRS = (
    ("model_a", "model_b"),
    ("policy_a", "policy_b"),
    ("a", "b"),
    ("left", "right"),
    ("player_a", "player_b"),
    ("player1", "player2"),
    ("agent_a", "agent_b"),
    ("agent1", "agent2"),
    ("system_a", "system_b"),
    ("system1", "system2"),
    ("item_a", "item_b"),
    ("item1", "item2"),
    ("white", "black"),
    ("home", "away"),
    ("home_team", "away_team"),
    ("team_a", "team_b"),
    ("team1", "team2"),
    ("model1", "model2"),
    ("model_x", "model_y"),
    ("first", "second"),
    ("chosen_model", "rejected_model"),
    ("chosen", "rejected"),
    ("winner", "loser"),
    ("x", "y"),
    ("i", "j"),
)
WINNER_FIRST = {("chosenmodel", "rejectedmodel"), ("chosen", "rejected"), ("winner", "loser")}
OUTCOME = (
    "outcome",
    "winner",
    "result",
    "preference",
    "vote",
    "verdict",
    "choice",
    "label",
    "score",
    "win",
)
POLICY = (
    "policy",
    "model",
    "agent",
    "system",
    "method",
    "algorithm",
    "player",
    "submission",
    "name",
    "candidate",
)
TASK = (
    "task",
    "dataset",
    "game",
    "benchmark",
    "environment",
    "env",
    "category",
    "prompt_id",
    "question_id",
    "prompt",
)
RATER = (
    "rater",
    "judge",
    "worker",
    "annotator",
    "voter",
    "evaluator",
    "user",
    "user_id",
    "judge_hash",
)
TIME = ("time", "timestamp", "tstamp", "date", "datetime", "created_at")
WEIGHT = ("weight",)
COUNT = ("count", "num_battles", "battles")
SCORE = ("score", "value", "result", "return", "reward", "accuracy")
REPLICATE = ("replicate", "seed", "run", "trial", "instance", "doc_id")
METRIC = ("metric", "measure")
BALLOT = ("ballot", "voter", "judge", "rater", "annotator", "query", "task")
RANK = ("rank", "position", "place")
ORDER = ("ranking", "order", "ballot")
SUMMARY = (
    "score",
    "average",
    "avg",
    "mean",
    "overall",
    "total",
    "rank",
    "macro average",
    "macro avg",
    "mean score",
)


def key(name: str) -> str:
    """A column name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def find(columns: Sequence[str], usual: Iterable[str]) -> str | None:
    """The first of the ``usual`` names that is among ``columns``."""
    index: dict[str, str] = {}
    for column in columns:
        index.setdefault(key(column), column)
    for name in usual:
        if key(name) in index:
            return index[key(name)]
    return None


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


def open_table(source: Any) -> tuple[pl.LazyFrame, str]:
    """A lazy table and its name.

    From a path, ``"-"`` (standard input), the bytes of a file, a frame, or a mapping of columns.
    CSV and TSV are read as text, so that no column's type is guessed from its first rows.
    """
    if isinstance(source, pl.LazyFrame):
        return source, "the frame"
    if isinstance(source, pl.DataFrame):
        return source.lazy(), "the frame"
    if isinstance(source, Mapping):
        return pl.DataFrame(source, strict=False).lazy(), "the table"
    if type(source).__module__.split(".")[0] == "pandas":
        try:
            return pl.from_pandas(source).lazy(), "the frame"
        except ImportError:
            raise EvidenceError(
                "reading pandas frames needs: pip install 'policyrank[pandas]'"
            ) from None
    if type(source).__module__.split(".")[0] == "pyarrow":
        return pl.DataFrame(source).lazy(), "the table"
    if isinstance(source, bytes):
        name = "standard input"
        return _scan(source, _sniff(_filled(source, name)), name), name
    if isinstance(source, (str, Path)):
        return _open_path(source)
    raise EvidenceError(
        f"cannot read evidence from a {type(source).__name__}. Give a path, a frame or a dict of"
        " columns."
    )


SCANNED = frozenset(
    {".parquet", ".arrow", ".feather", ".ipc", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson"}
)
"""Endings of files that are read in parts, never whole."""

INSIDE = frozenset({".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"})
"""Endings that are believed of what is inside of a compressed file, or read whole."""


def _open_path(source: str | Path) -> tuple[pl.LazyFrame, str]:
    if str(source) == "-":
        return open_table(sys.stdin.buffer.read())
    path = Path(source)
    if not path.exists():
        raise EvidenceError(f"{source}: no such file. Check the path.")
    if path.is_dir():
        raise EvidenceError(
            f"{source}: a folder. Give a file, or a folder of lm-evaluation-harness results."
        )
    kind, name = path.suffix.lower(), path.name
    if path.stat().st_size == 0:
        raise EvidenceError(f"{name}: the file is empty.")
    if kind in SCANNED:
        return _scan(path, kind, name), name
    data = path.read_bytes()
    if kind == ".gz":
        try:
            data, kind = gzip.decompress(data), Path(path.stem).suffix.lower()
        except (OSError, EOFError, zlib.error) as error:
            raise broken(name, error) from None
    if kind not in INSIDE:
        kind = _sniff(data)
    return _scan(_filled(data, name), kind, name), name


def _filled(data: bytes, name: str) -> bytes:
    if not data.strip():
        raise EvidenceError(f"{name}: it is empty.")
    return data


def _sniff(data: bytes) -> str:
    if data[:4] == b"PAR1":
        return ".parquet"
    if data[:6] == b"ARROW1":
        return ".arrow"
    start = data.lstrip()[:1]
    return {b"{": ".jsonl", b"[": ".json"}.get(start, ".csv")


def _separator(head: bytes, kind: str) -> str:
    """What stands between columns: a tab in TSV, else what the first line has most of."""
    if kind == ".tsv":
        return "\t"
    line = next(iter(head.splitlines()), b"")
    return max((",", "\t", ";", "|"), key=lambda s: line.count(s.encode()))


def _head(source: Path | bytes, name: str) -> bytes:
    """The first 64 KiB of a text."""
    if isinstance(source, bytes):
        head = source[:65536]
    else:
        with source.open("rb") as file:
            head = file.read(65536)
    if b"\x00" in head:
        raise EvidenceError(
            f"{name}: not a text table (it holds NUL bytes). Give CSV, TSV, JSONL, parquet"
            " or Arrow."
        )
    return head


def _scan(source: Path | bytes, kind: str, name: str) -> pl.LazyFrame:
    buffer: Any = source
    if isinstance(source, bytes):
        buffer = io.BytesIO(source)
    try:
        if kind == ".parquet":
            frame = pl.scan_parquet(buffer)
        elif kind in (".arrow", ".feather", ".ipc"):
            frame = pl.scan_ipc(buffer)
        elif kind in (".jsonl", ".ndjson"):
            frame = pl.scan_ndjson(buffer, infer_schema_length=None)
        elif kind == ".json":
            frame = pl.read_json(buffer, infer_schema_length=None).lazy()
        else:
            separator = _separator(_head(source, name), kind)
            frame = pl.scan_csv(buffer, separator=separator, infer_schema=False)
        frame.collect_schema()
    except (EvidenceError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # polars panics on some broken files with a BaseException
        raise broken(name, error) from None
    return frame
