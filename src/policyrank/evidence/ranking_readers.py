"""Read ballots: long tables, lines such as ``3: A > B = C``, JSON lists and PrefLib files; and tell
what a file holds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.readers import Bad, read_comparisons
from policyrank.evidence.score_readers import read_scores
from policyrank.evidence.scores import Scores

Evidence = Comparisons | Scores | Rankings
_PREFLIB = {".soc", ".soi", ".toc", ".toi"}


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
) -> Rankings:
    """Read ballots.

    Parameters
    ----------
    source
        as for ``read_comparisons``; also text with a ballot a line (``A > B = C``, perhaps ``12: A
        > B``) and PrefLib files (.soc, .soi, .toc, .toi)
    ballot, policy, rank
        columns of a long table, one row a policy on a ballot; rank 1 is best, equal ranks tie
    order
        the column of a table with a ballot a row: text ``A > B = C`` or a list, best first
    weight, group
        columns with the number of voters of a ballot, and with what it belongs to
    bad
        ``"skip"`` leaves out rows without a usable entry and counts them

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.
    """
    if isinstance(source, (str, Path)) and str(source) != "-":
        path = Path(source)
        if path.suffix.lower() in _PREFLIB or (
            path.suffix.lower() in (".txt", "") and path.is_file()
        ):
            return _lines(path)
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    table = t.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    order_column = t.given(columns, order, t.ORDER, "the order", name)
    weight_column = t.given(columns, weight, (*t.WEIGHT, *t.COUNT), "the weight", name)
    group_column = t.given(columns, group, ("group",), "the group", name)
    rank_column = t.given(columns, rank, t.RANK, "the rank", name)
    policy_column = t.given(columns, policy, t.POLICY, "the policy", name)
    if policy_column is not None and rank_column is not None and order is None:
        ballot_column = t.given(columns, ballot, t.BALLOT, "the ballot", name)
        if ballot_column is None:
            raise EvidenceError(
                f"{name}: no column says which ballot a row belongs to. Name it with ballot=..."
                " (--ballot)."
            )
        return _long(
            table, name, ballot_column, policy_column, rank_column, weight_column, group_column, bad
        )
    if order_column is None:
        raise EvidenceError(
            f"{name}: no ballots found. It has: {t.listing(columns)}. Give columns ballot, policy"
            " and rank, or one column 'ranking' with orders such as 'A > B = C'."
        )
    ballots = [
        _items(v, f"{name}, row {i + 1}") for i, v in enumerate(table[order_column].to_list())
    ]
    labels = None if group_column is None else Labels.of(table[group_column])
    w = None if weight_column is None else _weights(table[weight_column], name)
    return Rankings.of(
        ballots, weight=w, group=labels, notes=(f"read from {name}, column {order_column}",)
    )


def _weights(series: pl.Series, name: str) -> np.ndarray[Any, Any]:
    values = (
        series.cast(pl.String)
        .str.strip_chars()
        .cast(pl.Float64, strict=False)
        .fill_null(np.nan)
        .to_numpy()
    )
    if not (np.isfinite(values) & (values >= 0)).all():
        row = int(np.argmin(np.isfinite(values) & (values >= 0)))
        raise EvidenceError(
            f"{name}, row {row + 1}: the weight {series[row]!r} is no number >= 0. Mend it."
        )
    return values


def _items(value: Any, place: str) -> list[Any]:
    """One ballot from a list, or from ``A > B = C``."""
    if isinstance(value, (list, tuple)):
        items = [
            [str(x).strip() for x in v] if isinstance(v, (list, tuple)) else str(v).strip()
            for v in value
        ]
    else:
        items = [[p.strip() for p in part.split("=")] for part in str(value or "").split(">")]
    if not items or any(not n for g in items for n in ([g] if isinstance(g, str) else g or [""])):
        raise EvidenceError(
            f"{place}: {value!r} is no ballot. Write it as 'A > B = C', best first."
        )
    return items


def _long(
    table: pl.DataFrame,
    name: str,
    ballot: str,
    policy: str,
    rank: str,
    weight: str | None,
    group: str | None,
    bad: Bad,
) -> Rankings:
    rank_value = (
        table[rank]
        .cast(pl.String)
        .str.strip_chars()
        .cast(pl.Float64, strict=False)
        .fill_null(np.nan)
        .to_numpy()
    )
    names = table[policy].cast(pl.String).fill_null("").str.strip_chars()
    good = (
        np.isfinite(rank_value) & (names != "").to_numpy() & table[ballot].is_not_null().to_numpy()
    )
    notes = [f"read from {name}, columns {ballot}, {policy}, {rank}"]
    if not good.all():
        row, rows = int(np.argmin(good)), int((~good).sum())
        if bad == "raise":
            raise EvidenceError(
                f"{name}, row {row + 1}: no usable entry ({policy} = {names[row]!r}, {rank} ="
                f" {table[rank][row]!r}); {rows:,} such row{'s' * (rows != 1)}. Mend the file, or"
                " leave them out with bad='skip' (--skip-bad)."
            )
        if not good.any():
            raise EvidenceError(f"{name}: no usable row is left.")
        notes.append(f"{rows:,} row{'s' * (rows != 1)} left out: no usable entry")
        table, rank_value, names = table.filter(good), rank_value[good], names.filter(good)
    voters, labels = Labels.of(table[ballot]), Labels.of(names)
    first = np.unique(voters.codes, return_index=True)[1]
    w = None if weight is None else _weights(table[weight], name)[first]
    return Rankings.of_positions(
        voters.codes,
        labels.codes,
        rank_value,
        labels.names,
        weight=w,
        group=None if group is None else Labels.of(table[group].gather(first)),
        notes=tuple(notes),
    )


def _lines(path: Path) -> Rankings:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise EvidenceError(f"{path.name}: not a UTF-8 text file.") from None
    names: dict[str, str] = {}
    ballots, weights = [], []
    for number, line in enumerate(lines, 1):
        if found := re.match(r"#\s*ALTERNATIVE NAME (\d+):\s*(.+)", line):
            names[found.group(1)] = found.group(2).strip()
            continue
        if not line.strip() or line.startswith("#"):
            continue
        counted = re.match(r"\s*(\d+(?:\.\d+)?)\s*:\s*(.+)", line)
        weight, body = (float(counted.group(1)), counted.group(2)) if counted else (1.0, line)
        if path.suffix.lower() in _PREFLIB:
            parts = re.findall(r"\{([^}]*)\}|([^,{}\s]+)", body)
            items = [
                [names.get(x.strip(), x.strip()) for x in (many or one).split(",")]
                for many, one in parts
                if many or one
            ]
        else:
            items = _items(body, f"{path.name}, line {number}")
        ballots.append(items)
        weights.append(weight)
    if not ballots:
        raise EvidenceError(
            f"{path.name}: no ballots found. Write one a line: 'A > B = C', best first."
        )
    return Rankings.of(ballots, weight=weights, notes=(f"read from {path.name}, a ballot a line",))


def read(source: Any, *, kind: str | None = None, **options: Any) -> Evidence:
    """Read whatever ``source`` holds: comparisons, scores or rankings, told by its columns (or by
    ``kind``).
    """
    readers = {"comparisons": read_comparisons, "scores": read_scores, "rankings": read_rankings}
    if kind is not None:
        if kind not in readers:
            raise EvidenceError(f"kind={kind!r}: use one of {', '.join(readers)}.")
        return readers[kind](source, **options)  # type: ignore[operator]
    return readers[detect(source)](source, **options)  # type: ignore[operator]


def detect(source: Any) -> str:
    """Which form of evidence a source holds: ``"comparisons"``, ``"scores"`` or ``"rankings"``."""
    if isinstance(source, (str, Path)) and str(source) != "-":
        path = Path(source)
        if path.is_dir():
            return "scores"
        if path.suffix.lower() in _PREFLIB or (
            path.suffix.lower() == ".txt" and " > " in path.read_text(errors="replace")[:4000]
        ):
            return "rankings"
    columns = t.open_table(source)[0].collect_schema().names()
    pairs = [p for p in t.PAIRS if all(t.find(columns, (x,)) for x in p)]
    outcome = t.find(columns, t.OUTCOME) or t.find(columns, ("wins", "wins_a", "a_wins", "win_a"))
    if any((t.key(x), t.key(y)) in t.WINNER_FIRST for x, y in pairs) or (pairs and outcome):
        return "comparisons"
    if t.find(columns, t.POLICY) and t.find(columns, t.RANK) and t.find(columns, t.BALLOT):
        return "rankings"
    if t.find(columns, ("ranking", "order")):
        return "rankings"
    return "scores"
