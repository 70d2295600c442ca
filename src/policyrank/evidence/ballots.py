"""Read ballots: long tables, lines such as ``3: A > B = C``, JSON lists and PrefLib files."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t, usual_names
from policyrank.evidence.account import Bad
from policyrank.evidence.base import Labels
from policyrank.evidence.comparison_rows import numbers
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.sources import Source

_VOTER = (*usual_names.BALLOT, *usual_names.TASK)
_VOTERS = (*usual_names.WEIGHT, *usual_names.COUNT)


def ballot_table(
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
    """Ballots of a table; ``read_rankings`` says what each option means."""
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    table = t.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    found = {
        "order": t.given(columns, order, usual_names.ORDER, "the order", name),
        "weight": t.given(columns, weight, _VOTERS, "the weight", name),
        "group": t.given(columns, group, ("group",), "the group", name),
        "rank": t.given(columns, rank, usual_names.RANK, "the rank", name),
        "policy": t.given(columns, policy, usual_names.POLICY, "the policy", name),
    }
    used = {role: column for role, column in found.items() if column is not None}
    if "policy" in used and "rank" in used and order is None:
        voter = t.given(columns, ballot, _VOTER, "the ballot", name)
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
        group = Labels.of(t.as_text(table[used["group"]]))
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
    names = t.as_text(table[policy]).fill_null("").str.strip_chars()
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
    voters, labels = Labels.of(t.as_text(table[ballot])), Labels.of(names)
    first = np.unique(voters.codes, return_index=True)[1]
    weight = group = None
    if "weight" in used:
        weight = _weights(table[used["weight"]], name)[first]
    if "group" in used:
        group = Labels.of(t.as_text(table[used["group"]]).gather(first))
    return Rankings.of_positions(
        voters.codes,
        labels.codes,
        place,
        labels.names,
        weight=weight,
        group=group,
        notes=tuple(notes),
    )


_COUNTED = re.compile(r"\s*(\d+(?:\.\d+)?)\s*:\s*(.+)")


def read_lines(source: Source) -> Rankings:
    """A ballot a line, ``A > B = C`` or ``12: A > B``."""
    ballots, weights = [], []
    for number, line in enumerate(source.text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        weight, body = 1.0, line
        if counted := _COUNTED.match(line):
            weight, body = float(counted.group(1)), counted.group(2)
        ballots.append(_items(body, f"{source.name}, line {number}"))
        weights.append(weight)
    if not ballots:
        raise EvidenceError(
            f"{source.name}: no ballots found. Write one a line: 'A > B = C', best first."
        )
    notes = [f"read from {source.name}: a ballot a line"]
    if source.encoding_note:
        notes.append(source.encoding_note)
    return Rankings.of(ballots, weight=weights, notes=tuple(notes))
