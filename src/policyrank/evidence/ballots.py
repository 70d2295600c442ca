"""Read ballots: long tables, lines such as ``3: A > B = C``, JSON lists and PrefLib files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels
from policyrank.evidence.comparison_tables import Bad, numbers
from policyrank.evidence.rankings import Rankings

PREFLIB = frozenset({".soc", ".soi", ".toc", ".toi"})
"""Endings of PrefLib's files of ballots."""


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

    Examples
    --------
    >>> read_rankings({"ranking": ["x > y = z", "z > x"]})
    Rankings(2 ballots, 3 policies)
    """
    if isinstance(source, (str, Path)) and str(source) != "-":
        path = Path(source)
        plain = path.suffix.lower() in (".txt", "") and path.is_file()
        if path.suffix.lower() in PREFLIB or plain:
            return _lines(path)
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    table = t.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    found = {
        "order": t.given(columns, order, t.ORDER, "the order", name),
        "weight": t.given(columns, weight, (*t.WEIGHT, *t.COUNT), "the weight", name),
        "group": t.given(columns, group, ("group",), "the group", name),
        "rank": t.given(columns, rank, t.RANK, "the rank", name),
        "policy": t.given(columns, policy, t.POLICY, "the policy", name),
    }
    used = {role: column for role, column in found.items() if column is not None}
    if "policy" in used and "rank" in used and order is None:
        voter = t.given(columns, ballot, t.BALLOT, "the ballot", name)
        if voter is None:
            raise EvidenceError(
                f"{name}: no column says which ballot a row belongs to. Name it with ballot=..."
                " (--ballot)."
            )
        return _long(table, name, {**used, "ballot": voter}, bad)
    if "order" not in used:
        raise EvidenceError(
            f"{name}: no ballots found. It has: {t.listing(columns)}. Give columns ballot, policy"
            " and rank, or one column 'ranking' with orders such as 'A > B = C'."
        )
    return _ballot_a_row(table, name, used)


def _ballot_a_row(table: pl.DataFrame, name: str, used: dict[str, str]) -> Rankings:
    orders = table[used["order"]].to_list()
    ballots = [_items(v, f"{name}, row {i}") for i, v in enumerate(orders, 1)]
    weight = group = None
    if "weight" in used:
        weight = _weights(table[used["weight"]], name)
    if "group" in used:
        group = Labels.of(table[used["group"]])
    notes = (f"read from {name}, column {used['order']}",)
    return Rankings.of(ballots, weight=weight, group=group, notes=notes)


def _weights(series: pl.Series, name: str) -> NDArray[np.float64]:
    values = numbers(series)
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise EvidenceError(
            f"{name}, row {row + 1}: the weight {series[row]!r} is no number >= 0. Mend it."
        )
    return values


def _items(value: Any, place: str) -> list[list[str]]:
    """One ballot, its groups of ties best first, from a list or from ``A > B = C``."""
    if isinstance(value, (list, tuple)):
        groups = [item if isinstance(item, (list, tuple)) else [item] for item in value]
    else:
        groups = [part.split("=") for part in str(value or "").split(">")]
    items = [[str(name).strip() for name in group] for group in groups]
    if not items or not all(items) or not all(map(all, items)):
        raise EvidenceError(
            f"{place}: {value!r} is no ballot. Write it as 'A > B = C', best first."
        )
    return items


def _long(table: pl.DataFrame, name: str, used: dict[str, str], bad: Bad) -> Rankings:
    ballot, policy, rank = used["ballot"], used["policy"], used["rank"]
    place = numbers(table[rank])
    names = table[policy].cast(pl.String).fill_null("").str.strip_chars()
    named = (names != "").to_numpy() & table[ballot].is_not_null().to_numpy()
    good = np.isfinite(place) & named
    notes = [f"read from {name}, columns {ballot}, {policy}, {rank}"]
    if not good.all():
        row, count = int(np.argmin(good)), int((~good).sum())
        noun = "row" if count == 1 else "rows"
        if bad == "raise":
            raise EvidenceError(
                f"{name}, row {row + 1}: no usable entry ({policy} = {names[row]!r}, {rank} ="
                f" {table[rank][row]!r}); {count:,} such {noun}. Mend the file, or leave them out"
                " with bad='skip' (--skip-bad)."
            )
        if not good.any():
            raise EvidenceError(f"{name}: no usable row is left.")
        notes.append(f"{count:,} {noun} left out: no usable entry")
        table, place, names = table.filter(good), place[good], names.filter(good)
    voters, labels = Labels.of(table[ballot]), Labels.of(names)
    first = np.unique(voters.codes, return_index=True)[1]
    weight = group = None
    if "weight" in used:
        weight = _weights(table[used["weight"]], name)[first]
    if "group" in used:
        group = Labels.of(table[used["group"]].gather(first))
    return Rankings.of_positions(
        voters.codes,
        labels.codes,
        place,
        labels.names,
        weight=weight,
        group=group,
        notes=tuple(notes),
    )


_NAME = re.compile(r"#\s*ALTERNATIVE NAME (\d+):\s*(.+)")
_COUNTED = re.compile(r"\s*(\d+(?:\.\d+)?)\s*:\s*(.+)")
_PREFLIB_ITEM = re.compile(r"\{([^}]*)\}|([^,{}\s]+)")


def _lines(path: Path) -> Rankings:
    """A ballot a line, plain or as PrefLib writes them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise EvidenceError(f"{path.name}: not a UTF-8 text file.") from None
    names: dict[str, str] = {}
    ballots, weights = [], []
    for number, line in enumerate(lines, 1):
        if found := _NAME.match(line):
            names[found.group(1)] = found.group(2).strip()
        if not line.strip() or line.startswith("#"):
            continue
        weight, body = 1.0, line
        if counted := _COUNTED.match(line):
            weight, body = float(counted.group(1)), counted.group(2)
        if path.suffix.lower() in PREFLIB:
            ballots.append(_preflib_items(body, names))
        else:
            ballots.append(_items(body, f"{path.name}, line {number}"))
        weights.append(weight)
    if not ballots:
        raise EvidenceError(
            f"{path.name}: no ballots found. Write one a line: 'A > B = C', best first."
        )
    return Rankings.of(ballots, weight=weights, notes=(f"read from {path.name}, a ballot a line",))


def _preflib_items(body: str, names: dict[str, str]) -> list[list[str]]:
    items = []
    for tied, alone in _PREFLIB_ITEM.findall(body):
        if tied or alone:
            numbered = [x.strip() for x in (tied or alone).split(",")]
            items.append([names.get(x, x) for x in numbered])
    return items
