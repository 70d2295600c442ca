"""What columns of a table are beside each other: ends of intervals, copies, sums of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from policyrank.evidence.copies import is_copy, likely_copies
from policyrank.evidence.directions import words
from policyrank.evidence.roles import (
    LEAGUE,
    SUMMARY,
    Column,
    base_words,
    is_measure,
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
    """Numbers that count the rows, in any order: of the first column, or of five rows and more."""
    for place, column in enumerate(columns):
        values = column.parsed.values
        if column.role != "score" or rows < 2 or not np.isfinite(values).all():
            continue
        counted = np.sort(values)
        runs = counted[0] in (0, 1) and np.array_equal(counted, counted[0] + np.arange(rows))
        first = place == 0 and rows >= 3 and not is_measure(column.name)
        if runs and len(_scores(columns)) > 1 and (rows >= 5 or first):
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
    owner = owner_among(_scores(columns))
    for column in columns:
        if column.role in ("stderr", "interval") and owner(column) is None:
            column.leave("an error of no one score")
    ends = [column for column in columns if column.role in ("lower", "upper")]
    of_score: dict[str, list[Column]] = {}
    for column in ends:
        score = owner(column)
        if score is not None:
            of_score.setdefault(score.name, []).append(column)
    used: set[int] = set()
    for mine in of_score.values():
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


def owner_among(scores: Sequence[Column]) -> Callable[[Column], Column | None]:
    """What finds the score that an error or an end of an interval belongs to."""
    by_words: dict[frozenset[str], Column] = {}
    for score in scores:
        by_words.setdefault(base_words(score.name), score)

    def owner(column: Column) -> Column | None:
        mine = base_words(column.name)
        if mine and mine in by_words:
            return by_words[mine]
        if len(scores) == 1 and _is_of_the_only(column, mine, scores[0]):
            return scores[0]
        return None

    return owner


def _is_of_the_only(column: Column, mine: frozenset[str], score: Column) -> bool:
    rest = mine - set(words(score.name))
    if not rest or column.role in ("stderr", "interval"):
        return True
    return _share(column) is not None or "rating" in mine


def errors_of_scores(columns: Sequence[Column]) -> dict[str, list[Column]]:
    """Name of a score -> the columns that say how sure it is."""
    owner = owner_among(_scores(columns))
    found: dict[str, list[Column]] = {}
    for column in columns:
        if column.role in ("score", "out"):
            continue
        score = owner(column)
        if score is not None:
            found.setdefault(score.name, []).append(column)
    return found


def _settle_copies(columns: list[Column]) -> None:
    """The same thing twice in other units: the second is out."""
    scores = _scores(columns)
    names = [column.name for column in scores]
    likely = likely_copies(names, [column.parsed.values for column in scores])
    for column, earlier in zip(scores, likely, strict=True):
        kept = (scores[place] for place in earlier if scores[place].role == "score")
        twin = next((other for other in kept if _is_copy(other, column)), None)
        if twin is None:
            continue
        if "raw" in words(twin.name):
            twin.leave(f"{column.name} in other units")
        else:
            column.leave(f"{twin.name} in other units")


def _is_copy(first: Column, second: Column) -> bool:
    return is_copy((first.name, second.name), first.parsed.values, second.parsed.values)


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
    by_words = {frozenset(words(column.name)): column for column in scores}
    for column in scores:
        found = frozenset(words(column.name))
        other = by_words.get(found - SUMMARY)
        if other is not None and other is not column and found - SUMMARY:
            column.leave(f"another summary of {other.name}")


def _is_their_mean(column: Column, others: Sequence[Column]) -> bool:
    if len(others) < 2:
        return False
    table = np.column_stack([other.parsed.values for other in others])
    values = column.parsed.values
    if np.isnan(table).any() or np.isnan(values).any() or len(values) < 2:
        return False
    mean = table.mean(axis=1)
    return bool(np.allclose(values, mean, rtol=2e-3, atol=0) and np.ptp(values) > 0)
