"""What columns of a table are beside each other: ends of intervals, copies, sums of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from policyrank.evidence.directions import words
from policyrank.evidence.roles import (
    LEAGUE,
    SUMMARY,
    UNIT,
    Column,
    base_words,
    is_summary,
    quantile_of,
)


def settle(columns: list[Column], rows: int) -> None:
    """Decide what cannot be told of a column alone."""
    _settle_index(columns, rows)
    _settle_league(columns)
    _settle_flags(columns)
    _settle_ends(columns)
    _settle_copies(columns)
    _settle_summaries(columns)


def _scores(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.role == "score"]


def _settle_index(columns: list[Column], rows: int) -> None:
    """Numbers that run with the rows: of the first column, or of five rows and more."""
    for place, column in enumerate(columns):
        values = column.parsed.values
        if column.role != "score" or rows < 2 or np.isnan(values).any():
            continue
        runs = np.array_equal(np.diff(values), np.ones(rows - 1)) and values[0] in (0, 1)
        if runs and len(_scores(columns)) > 1 and (rows >= 5 or (place == 0 and rows >= 3)):
            column.leave("a running number")


def _settle_league(columns: list[Column]) -> None:
    """Games played, won, drawn and lost, goals: of a league table the points are the score."""
    league = [column for column in _scores(columns) if column.name.strip().lower() in LEAGUE]
    if len(league) >= 3 and len(league) < len(_scores(columns)):
        for column in league:
            column.leave("a count of games or goals")


def _settle_flags(columns: list[Column]) -> None:
    """Columns of true and false beside numbers describe."""
    scores = _scores(columns)
    if all(column.is_flag for column in scores):
        return
    for column in scores:
        if column.is_flag:
            column.leave("a flag")


def _settle_ends(columns: list[Column]) -> None:
    """Errors and pairs of ends belong to the score of the same words, or to the only one.

    What only looked like an end is a score; an error of no score is out.
    """
    scores = _scores(columns)
    for column in columns:
        if column.role in ("stderr", "interval") and owner(column, scores) is None:
            column.leave("an error of no one score")
    ends = [column for column in columns if column.role in ("lower", "upper")]
    used: set[int] = set()
    for score in scores:
        mine = [column for column in ends if owner(column, scores) is score]
        used |= {id(column) for column in _widest_pair(mine)}
        for column in mine:
            if id(column) not in used:
                column.leave("an end of no interval")
    for column in ends:
        if column.role == "out" or id(column) in used:
            continue
        if quantile_of(column.name, words(column.name)) is None and base_words(column.name):
            column.role = "score"
        else:
            column.leave("an end of no interval")


def _widest_pair(ends: Sequence[Column]) -> tuple[Column, ...]:
    """A lower and an upper end that belong together: by name, or quantiles that mirror each other,
    the widest.
    """
    named = [column for column in ends if _share(column) is None]
    for lower in named:
        for upper in named:
            if (lower.role, upper.role) == ("lower", "upper"):
                return lower, upper
    quantiles = sorted((c for c in ends if _share(c) is not None), key=lambda c: _share(c) or 0)
    for lower in quantiles:
        for upper in quantiles:
            if abs((_share(lower) or 0) + (_share(upper) or 0) - 1) < 1e-9 and lower is not upper:
                return lower, upper
    return ()


def _share(column: Column) -> float | None:
    return quantile_of(column.name, words(column.name))


def owner(column: Column, scores: Sequence[Column]) -> Column | None:
    """The score that an error or an end of an interval belongs to."""
    mine = base_words(column.name)
    for score in scores:
        if mine and mine == base_words(score.name):
            return score
    if len(scores) == 1:
        rest = mine - set(words(scores[0].name))
        if not rest or column.role in ("stderr", "interval"):
            return scores[0]
        if _share(column) is not None or "rating" in mine:
            return scores[0]
    return None


def _settle_copies(columns: list[Column]) -> None:
    """The same thing twice in other units: the second is out."""
    kept: list[Column] = []
    for column in _scores(columns):
        twin = next((other for other in kept if _is_copy(other, column)), None)
        if twin is None:
            kept.append(column)
        elif "raw" in words(twin.name):
            twin.leave(f"{column.name} in other units")
            kept[kept.index(twin)] = column
        else:
            column.leave(f"{twin.name} in other units")


def _is_copy(first: Column, second: Column) -> bool:
    """Whether two columns of the same words, units aside, order the rows alike; or whether one is
    the other times 100 or 1,000.
    """
    x, y = first.parsed.values, second.parsed.values
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2 or not np.array_equal(np.isfinite(x), np.isfinite(y)):
        return False
    x, y = x[both], y[both]
    names = [frozenset(words(column.name)) - UNIT for column in (first, second)]
    units = set(words(first.name)) ^ set(words(second.name))
    if names[0] == names[1] and units and units <= UNIT:
        order = np.argsort(x, kind="stable")
        return bool((np.diff(y[order]) >= -1e-9).all())
    if len(np.unique(x)) < 3:
        return False
    with np.errstate(over="ignore"):
        for factor in (100.0, 1000.0):
            for small, large in ((x, y), (y, x)):
                if np.allclose(small * factor, large, rtol=1e-9, atol=1e-9):
                    return True
    return False


def _settle_summaries(columns: list[Column]) -> None:
    """Averages beside their parts; the last columns standing are never summaries."""
    scores = _scores(columns)
    summaries = [column for column in scores if is_summary(column.name)]
    parts = len(scores) - len(summaries)
    if parts >= 2:
        for column in summaries:
            column.leave("sums up the others")
        return
    for column in summaries:
        others = [other for other in scores if other is not column]
        if _is_their_mean(column, others):
            column.leave("the mean of the others")
            return
    for column in scores:
        plain = set(words(column.name)) - SUMMARY
        for other in scores:
            if other is not column and plain and plain == set(words(other.name)):
                column.leave(f"another summary of {other.name}")
                break


def _is_their_mean(column: Column, others: Sequence[Column]) -> bool:
    if len(others) < 2:
        return False
    table = np.column_stack([other.parsed.values for other in others])
    values = column.parsed.values
    if np.isnan(table).any() or np.isnan(values).any() or len(values) < 2:
        return False
    mean = table.mean(axis=1)
    return bool(np.allclose(values, mean, rtol=2e-3, atol=0) and np.ptp(values) > 0)
