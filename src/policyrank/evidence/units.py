"""Numbers in a column of text: one unit a column, or a refusal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError

MISSING = (
    *("", "-", "--", "---", "–", "—", "na", "n/a", "n.a.", "nan", "<na>", "null", "none", "nil"),
    *("?", "tbd", "#n/a", ".", "not run", "missing"),
)
"""What stands for a cell that was not measured."""

_SPREAD = r"\s*(?:±|\+/-|\+-|\\pm)\s*"
_IN_BRACKETS = r"^([+-]?[\d.,]+%?)\s*[(\[][^)\]]*[)\]]$"
_SPACED = r"^[+-]?\d{1,3}(?:[\s\u00a0\u202f']\d{3})+(?:\.\d+)?$"
_POINT_GROUPS = r"^[+-]?\d{1,3}(?:\.\d{3})+,\d+$"
_COMMA_GROUPS = r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$"
_DECIMAL_COMMA = r"^[+-]?\d*,\d+(?:[eE][+-]?\d+)?$"
_SURELY_DECIMAL = r"^[+-]?(?:0?,\d+|\d+,\d{1,2}|\d+,\d{4,}|\d{4,},\d+)$"


def is_number(text: str) -> bool:
    """Whether a text is a plain number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class Parsed(NamedTuple):
    """A column of numbers.

    Attributes
    ----------
    values
        (rows,), NaN where there is none
    strange
        (rows,), whether a cell holds neither a number nor nothing
    spread
        (rows,), what stood after ±; NaN: nothing
    notes
        how the numbers were read, where that is not plain
    """

    values: NDArray[np.float64]
    strange: NDArray[np.bool_]
    spread: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def _plain(values: NDArray[np.float64]) -> Parsed:
    rows = len(values)
    return Parsed(values, np.zeros(rows, dtype=bool), np.full(rows, np.nan))


def parse(
    series: pl.Series, where: str, *, comma: bool = False, plain: pl.Series | None = None
) -> Parsed:
    """The numbers of a column; percent signs, decimal commas and thousands are told by the column.

    Parameters
    ----------
    series
        numbers or text
    where
        the file, for messages
    comma
        whether the table has decimal commas elsewhere, which settles ``1,234``
    plain
        the column cast to floats, where that was done for the whole table at once

    Raises
    ------
    EvidenceError
        When some cells are percents and others are not, or some have decimal commas and others
        decimal points.

    Examples
    --------
    >>> parse(pl.Series("acc", ["81,5", "79,25", "-"]), "x.csv").values
    array([81.5 , 79.25,   nan])
    >>> parse(pl.Series("elo", ["1,234", "987"]), "x.csv").values
    array([1234.,  987.])
    """
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return _plain(series.cast(pl.Float64).fill_null(np.nan).to_numpy().copy())
    if series.dtype.is_nested() or series.dtype.is_temporal():
        nothing = np.full(len(series), np.nan)
        return Parsed(nothing, series.is_not_null().to_numpy(), nothing)
    if plain is None:
        plain = series.cast(pl.String).cast(pl.Float64, strict=False)
    if plain.null_count() == series.null_count():
        return _plain(plain.to_numpy().astype(float))
    text = series.cast(pl.String).fill_null("").str.strip_chars()
    text = text.str.strip_chars("*_` †‡§¶ᵃᵇ🥇🥈🥉").str.replace_all("\u2212", "-")
    if set(text.unique().str.to_lowercase()) <= {*_TRUE, *_FALSE, *MISSING}:
        return _truths(text)
    shares = _shares(text)
    if shares is not None:
        return shares
    missing = text.str.to_lowercase().is_in(list(MISSING))
    spread_text = text.str.extract(_SPREAD + r"(.*)$")
    text = text.str.replace(_SPREAD + r".*$", "").str.strip_suffix(" ")
    bracketed = text.str.contains(_IN_BRACKETS)
    text = text.str.replace(_IN_BRACKETS, "${1}")
    text, notes = _without_percent(text, missing, series.name, where)
    text, more = _with_points(text, missing, series.name, where, comma=comma)
    values = text.cast(pl.Float64, strict=False)
    strange = values.is_null() & ~missing
    spread = spread_text.str.strip_chars("% )").cast(pl.Float64, strict=False)
    return Parsed(
        values.fill_null(np.nan).to_numpy().copy(),
        strange.to_numpy(),
        spread.fill_null(np.nan).to_numpy(),
        (*notes, *more, *_cut(series.name, int(bracketed.sum()))),
    )


def _cut(column: str, cells: int) -> list[str]:
    if not cells:
        return []
    return [f"what stood in brackets was cut from {cells:,} cells of {column}"]


_TRUE = ("true", "✓", "✔", "✅", "pass", "passed", "yes")
_FALSE = ("false", "✗", "✘", "❌", "fail", "failed", "no")


def _shares(text: pl.Series) -> Parsed | None:
    """Shares such as 18/20, where every cell is one."""
    filled = text.filter(~text.str.to_lowercase().is_in(list(MISSING)))
    if not len(filled) or not filled.str.contains(r"^\d+\s*/\s*[1-9]\d*$").all():
        return None
    hits = text.str.extract(r"^(\d+)").cast(pl.Float64)
    totals = text.str.extract(r"/\s*(\d+)$").cast(pl.Float64)
    shares = (hits / totals).fill_null(np.nan).to_numpy().copy()
    if (shares > 1).any():
        return None
    return _plain(shares)._replace(notes=("shares such as 18/20 read as numbers in [0, 1]",))


def _truths(text: pl.Series) -> Parsed:
    lower = text.str.to_lowercase()
    values = np.where(lower.is_in(list(_TRUE)).to_numpy(), 1.0, 0.0)
    values[lower.is_in(list(MISSING)).to_numpy()] = np.nan
    return _plain(values)


def _without_percent(
    text: pl.Series, missing: pl.Series, column: str, where: str
) -> tuple[pl.Series, list[str]]:
    """The numbers of percents, where all cells are."""
    percent = text.str.ends_with("%")
    if not percent.any():
        return text, []
    plain = ~percent & ~missing & text.str.contains(r"\d")
    if plain.any():
        row, other = int(plain.arg_true()[0]), int(percent.arg_true()[0])
        raise EvidenceError(
            f"{where}, column {column!r}: {text[other]!r} in row {other + 1:,} is a percentage and"
            f" {text[row]!r} in row {row + 1:,} is not. Write the whole column in one unit."
        )
    return text.str.strip_suffix("%").str.strip_chars(), [f"{column} in percent"]


def _with_points(
    text: pl.Series, missing: pl.Series, column: str, where: str, *, comma: bool
) -> tuple[pl.Series, list[str]]:
    """Decimal points, and no signs between thousands."""
    spaced = text.str.contains(_SPACED)
    if spaced.any():
        closed = text.str.replace_all(r"[\s\u00a0\u202f']", "")
        text = closed.zip_with(spaced, text)
    has_comma = text.str.contains(",", literal=True) & ~missing
    if not has_comma.any():
        return text, []
    point_groups = text.str.contains(_POINT_GROUPS)
    sure = text.str.contains(_SURELY_DECIMAL) | point_groups
    if sure.any() or (comma and text.filter(has_comma).str.contains(_DECIMAL_COMMA).all()):
        with_point = text.str.contains(r"^[+-]?\d+\.\d+$") & ~point_groups
        if with_point.any():
            row, other = int(with_point.arg_true()[0]), int(has_comma.arg_true()[0])
            raise EvidenceError(
                f"{where}, column {column!r}: {text[other]!r} in row {other + 1:,} has a decimal"
                f" comma and {text[row]!r} in row {row + 1:,} a decimal point. Write the whole"
                " column in one way."
            )
        pointed = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        return pointed.zip_with(has_comma, text), [f"{column} with decimal commas"]
    grouped = text.str.contains(_COMMA_GROUPS)
    plain = text.str.replace_all(",", "", literal=True)
    return plain.zip_with(grouped, text), [f"{column} with commas between thousands"]


def has_decimal_commas(table: pl.DataFrame, *, semicolons: bool = False) -> bool:
    """Whether a column surely has decimal commas, as ``0,85`` has.

    ``semicolons``: between semicolons any comma is one.
    """
    sign = r"^[+-]?\d+,\d+$" if semicolons else _SURELY_DECIMAL
    text = pl.col(pl.String).str.strip_chars()
    found = table.select(text.str.contains(f"{sign}|{_SURELY_DECIMAL}").any())
    return any(found.row(0)) if found.width else False


def refuse_grouped_points(series: pl.Series, where: str) -> None:
    """Refuse 1.234 beside 987 in a table with semicolons: it may be a thousand, or one and a bit.

    Raises
    ------
    EvidenceError
    """
    if series.dtype != pl.String:
        return
    text = series.drop_nulls().str.strip_chars()
    grouped = text.str.contains(r"^[1-9]\d{0,2}(\.\d{3})+$")
    plain = text.str.contains(r"^\d{2,}$")
    if grouped.any() and plain.any() and (grouped | plain).all():
        row = int(grouped.arg_true()[0])
        raise EvidenceError(
            f"{where}, column {series.name!r}: {text[row]!r} beside whole numbers could be a"
            " thousand or a decimal. Write thousands without points."
        )


def mixed_unit(values: NDArray[np.float64], *, lower: bool = False) -> tuple[int, int] | None:
    """The row of a fraction and the row of a percentage, where a column seems to mix the two.

    Told where all lie in [0, 100], some are fractions of 1, the others at least 20 times as large,
    and the fractions times 100 lie near these. ``lower``: of errors, which may well be below 1%,
    they must lie among them.

    Examples
    --------
    >>> mixed_unit(np.array([0.85, 90.0, 70.0])), mixed_unit(np.array([0.5, 2.0, 9.0]))
    ((0, 1), None)
    """
    known = np.isfinite(values)
    least = 0.0 if lower else 0.25
    low = known & (values >= least) & (values <= 1) & (values != np.round(values))
    high = known & (values > 1)
    if not low.any() or not high.any() or values[known].min() < 0 or values[known].max() > 100:
        return None
    small, large = values[low], values[high]
    if large.min() < 20 * small.max():
        return None
    near = 0.95 if lower else 0.5
    if 100 * small.max() < near * large.min() or 100 * small.min() > 1.3 * large.max():
        return None
    return int(np.argmax(low)), int(np.argmax(high))
