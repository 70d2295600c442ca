"""What each column of a table is, by its name and by what it holds, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.evidence.directions import words
from policyrank.evidence.units import Parsed, parse

Role = Literal["score", "stderr", "lower", "upper", "interval", "out"]


@dataclass
class Column:
    """A column that may hold scores.

    Attributes
    ----------
    name
        of the column
    role
        a score; what says how sure a score is; or out: none of these
    reason
        why it is out
    is_flag
        whether its cells are true and false
    parsed
        its numbers
    """

    name: str
    role: Role
    parsed: Parsed
    reason: str = ""
    is_flag: bool = False

    def leave(self, reason: str) -> None:
        """Take it out of the scores."""
        self.role, self.reason = "out", reason


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INDEX = _set("index idx row rows no nr rownumber sno srno serial rowid rownum line lineno")
_ID = _set("id ids uuid guid hash sha sha256 md5 uid pk oid ticket commit revision")
_DATE = _set(
    """
    date dates datetime timestamp tstamp created updated modified published released uploaded
    submitted release cutoff year month day lastsubmissiondate time unix datum
    """
)
_COUNT = _set(
    """
    n num number count counts votes battles games matches played samples instances examples
    questions submissions entries total trials episodes runs wins losses draws ties support
    views downloads likes stars followers participants attempts citations gp anzahl nombre stimmen
    """
)
_SIZE = _set(
    """
    tokens length len chars characters params parameters param size sizes cost costs price usd
    flops gflops tflops macs memory vram gpu gpus likes rtfx megabytes mb gb context vocab dim dims
    dimension dimensions hidden depth heads hub gewicht width
    """
)
_SETTING = _set(
    """
    seed seeds fold version epoch epochs step steps shots nshot fewshot temperature
    layers precision dtype iteration iterations checkpoint level order k
    """
)
_SETTING_ANY = _set("lr")
LEAGUE = _set("p w d l gp mp pld gf ga gd")
"""Columns of a league table beside the points."""
_SPREAD = _set(
    """
    std sd stdev stddev variance var spread iqr mad moe margin uncertainty bootstrap boostrap
    """
)
_STDERR = _set("stderr se sem")
_RANK = _set("rank ranks ranking place position pos standing standings")
SUMMARY = _set(
    "average avg mean overall aggregate geomean median mittelwert durchschnitt moyenne media"
)
_SUMMARY_ALONE = _set("score total all gesamt summe")
SPREAD_ROW = _set("std sd stdev stderr wins sem var variance")
_LOW = _set("lower low lo lb")
_HIGH = _set("upper high hi ub")
_EXTREME = _set("min max minimum maximum")
_QUANTILE = re.compile(r"[qp](\d{1,3})")


def judge(
    series: pl.Series, where: str, *, comma: bool = False, plain: pl.Series | None = None
) -> Column:
    """What a column is, looked at alone."""
    name = series.name
    if series.dtype.is_nested():
        return _out(series, "nested")
    if series.dtype.is_temporal():
        return _out(series, "a date")
    parsed = parse(series, where, comma=comma, plain=plain)
    column = Column(name, "score", parsed)
    known = parsed.values[np.isfinite(parsed.values)]
    if not parsed.strange.any() and ((known == 0) | (known == 1)).all():
        column.is_flag = _holds_flags(series)
    if name.startswith("_"):
        column.leave("internal, by its name")
        return column
    known = np.isfinite(parsed.values)
    if not known.any() and not parsed.strange.any():
        column.leave("empty")
        return column
    mostly = parsed.strange.any() and parsed.strange.mean() >= 0.5
    if mostly or (parsed.strange.any() and set(words(name)) & (_ID | {"version", "comment"})):
        _judge_text(column, series)
        return column
    _judge_numbers(column)
    return column


def _holds_flags(series: pl.Series) -> bool:
    if series.dtype == pl.Boolean:
        return True
    if series.dtype != pl.String:
        return False
    return set(series.drop_nulls().str.to_lowercase().unique()) <= {"true", "false", ""}


def _out(series: pl.Series, reason: str) -> Column:
    nothing = np.full(len(series), np.nan)
    column = Column(series.name, "score", Parsed(nothing, np.zeros(len(series), bool), nothing))
    column.leave(reason)
    return column


_INTERVAL = re.compile(
    r"""^\s*[\[(]?\s*([+-]?\d+(?:\.\d+)?)\s*%?\s*(?:,|;|\.\.\.?|…|\sto\s|/|–|\s-\s|(?<=\d)-)\s*
    ([+-]?\d+(?:\.\d+)?)\s*%?\s*[\])]?\s*$""",
    re.VERBOSE,
)
_AROUND = re.compile(r"^\s*(?:±|\+/-|\+-)\s*(\d+(?:\.\d+)?)\s*%?\s*$")
_DATE_TEXT = (
    r"^\s*(\d{4}-\d\d?(-\d\d?)?\b|\d\d?[/.]\d\d?[/.]\d{2,4}|\d{4}/\d\d?(/\d\d?)?$"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d)"
)


def bounds(text: str) -> tuple[float, float] | None:
    """The two numbers of an interval in text, such as ``+4/-4``, ``±3``, ``[80.7, 84.6]``.

    Examples
    --------
    >>> bounds("+4/-3"), bounds("(80.75, 84.6)"), bounds("±5"), bounds("about 3")
    ((-3.0, 4.0), (80.75, 84.6), (-5.0, 5.0), None)
    """
    if around := _AROUND.match(text):
        return -float(around[1]), float(around[1])
    found = _INTERVAL.match(text)
    if found is None:
        return None
    first, second = map(float, found.groups())
    return min(first, second), max(first, second)


_OF_INTERVAL = _set("ci ci95 interval intervals confidence range bounds error margin moe")


def _judge_text(column: Column, series: pl.Series) -> None:
    text = series.cast(pl.String).drop_nulls()
    filled = [value for value in text.to_list() if value.strip()]
    found = set(words(column.name))
    dates = text.str.to_lowercase().str.contains(_DATE_TEXT).sum()
    signed = all(value.strip()[:1] in "[(+±" for value in filled)
    if all(bounds(value) for value in filled) and (signed or found & _OF_INTERVAL):
        column.role = "interval"
    elif int(dates) > 0.5 * len(text):
        column.leave("a date")
    elif {"ci", "interval", "confidence"} & found:
        column.leave("an interval in a form that is not known")
    else:
        column.leave("text")


def _judge_numbers(column: Column) -> None:
    """By the words of its name, and by whether it holds whole numbers."""
    found = words(column.name)
    has = set(found)
    values = column.parsed.values[np.isfinite(column.parsed.values)]
    whole = bool((values == np.round(values)).all())
    if not column.name.strip() or column.name.lower().startswith("unnamed"):
        column.leave("an index" if whole else "without a name")
    elif _is_index(column.name):
        column.leave("an index")
    elif "lower" in has and "better" in has:
        column.leave("a direction")
    elif _STDERR & has or {"standard", "error"} <= has:
        column.role = "stderr"
    elif _is_spread(has):
        column.leave("a spread")
    elif has & _ID and whole:
        column.leave("an id")
    elif _is_rank(has, values):
        column.leave("a rank")
    elif _is_date(has, values, whole=whole):
        column.leave("a date")
    elif _is_setting(column.name, found, whole=whole):
        column.leave("a setting")
    elif _is_size(column.name, found, whole=whole):
        column.leave("a count or a size")
    else:
        _judge_ends(column, found)


def _judge_ends(column: Column, found: Sequence[str]) -> None:
    """Ends of intervals, quantiles that end none, extremes."""
    bound = _bound(column.name, found)
    if bound in ("lower", "upper"):
        column.role = bound  # type: ignore[assignment]
    elif bound is not None:
        column.leave(bound)


def _is_spread(has: set[str]) -> bool:
    if "explained" in has:
        return False
    if _SPREAD & has or {"standard", "deviation"} <= has:
        return True
    return bool({"ci", "ci95", "confidence", "interval"} & has) and not (_LOW | _HIGH) & has


def _is_index(name: str) -> bool:
    return re.sub(r"[^a-z0-9#]", "", name.lower()) in _INDEX | {"#", "level0", "unnamed0"}


_BESIDE_RANK = _set(
    "final overall avg average mean public private global ub llm lb style the current new old final"
)


def _is_rank(has: set[str], values: NDArray[np.float64]) -> bool:
    """A place, and no more than that: rank correlations, ranking losses are scores."""
    if not has & _RANK or has - _RANK - _BESIDE_RANK:
        return False
    return bool(values.min() >= 0 and values.max() <= max(3 * len(values), 50))


def _is_date(has: set[str], values: NDArray[np.float64], *, whole: bool) -> bool:
    stamps = (whole and ((values >= 9e8) & (values < 3e9)).all()) or (values >= 9e11).all()
    if stamps:
        return True
    if not has & _DATE:
        return False
    if has & {"date", "dates", "datetime", "timestamp", "tstamp"}:
        return True
    return whole and values.min() >= 1900 and values.max() <= 2100


def _is_setting(name: str, found: Sequence[str], *, whole: bool) -> bool:
    has = set(found)
    if has & _SETTING_ANY or {"learning", "rate"} <= has:
        return True
    return bool(has & _SETTING) and len(found) <= 3 and whole


def _is_size(name: str, found: Sequence[str], *, whole: bool) -> bool:
    has = set(found)
    if {"length", "controlled"} <= has or {"win", "rate"} <= has or "winrate" in has:
        return False
    if "$" in name or "❤" in name or (has & _SIZE and len(found) <= 4):
        return True
    if not whole or len(found) > 3:
        return False
    if not found:
        return False
    ends = {found[0], found[-1]}
    return bool(ends & (_COUNT - {"total"}) or ("total" in has and has & _COUNT - {"total"}))


_PERCENT = re.compile(r"^\s*(\d{1,2}(?:\.\d+)?)\s*%(?!\s*\w)")


def _bound(name: str, found: Sequence[str]) -> str | None:
    """lower or upper, where a name says that this is an end of an interval; or why it is none."""
    share = quantile_of(name, found)
    if share is not None:
        if 0.2 < share < 0.8:
            return "a quantile"
        return "lower" if share < 0.5 else "upper"
    has = set(found)
    if (_LOW | {"minus", "lcl"}) & has:
        return "lower"
    if (_HIGH | {"plus", "ucl"}) & has:
        return "upper"
    if _EXTREME & has:
        return "an extreme"
    return None


def quantile_of(name: str, found: Iterable[str]) -> float | None:
    """The share of a quantile that a name says: q025, p95, 97.5%."""
    if percent := _PERCENT.match(name):
        return float(percent[1]) / 100
    for word in found:
        if quantile := _QUANTILE.fullmatch(word):
            digits = quantile[1]
            if len(digits) == 3 and digits != "100":
                return float("0." + digits)
            return int(digits) / 100
    return None


def base_words(name: str) -> frozenset[str]:
    """The words of a name without those that say what of it a column holds."""
    rest = set(words(name)) - _STDERR - _SPREAD - _LOW - _HIGH - _EXTREME
    rest -= {"ci", "bound", "95", "99", "90", "lcl", "ucl", "mean", "avg", "97", "2", "5"}
    rest -= {"standard", "error", "confidence", "interval", "limit"}
    return frozenset(word for word in rest if not _QUANTILE.fullmatch(word))


def coverage(names: Iterable[str]) -> float:
    """What an interval of these columns covers: as its quantiles say, else 95%."""
    shares = []
    for name in names:
        found = words(name)
        share = quantile_of(name, found)
        if share is not None:
            shares.append(share)
        for word in found:
            if word in ("90", "99", "68", "80"):
                return int(word) / 100
    if len(shares) == 2:
        return round(abs(shares[1] - shares[0]), 4)
    return 0.95


def is_summary(name: str) -> bool:
    """Whether a name says that this sums up others: Average, Avg. WER, Overall, Total.

    Examples
    --------
    >>> is_summary("Avg. WER"), is_summary("Mean win rate"), is_summary("score"), is_summary("mt")
    (True, True, True, False)
    """
    found = words(name)
    alone = len(found) == 1 and found[0] in _SUMMARY_ALONE
    return bool(alone or (found and (SUMMARY & {found[0], found[-1]})))


def is_summary_row(name: str, rows: str) -> bool:
    """Whether a row named so sums up the others, or spreads: Average, Std, #wins, Avg. rank."""
    found = set(words(name))
    if rows == "tasks":
        return is_summary(name) or bool(found & SPREAD_ROW)
    return len(found) == 1 and (is_summary(name) or bool(found & SPREAD_ROW))


_MEASURES = _set(
    """
    acc accuracy f1 bleu rouge wer cer elo score auc auroc map ndcg mrr recall precision reward
    return winrate rate loss error perplexity ppl latency mmlu gsm8k hellaswag arc truthfulqa
    winogrande humaneval mbpp math gpqa bbh ifeval drop squad glue mnli sst2 cola qqp qnli rte stsb
    mrpc wnli boolq piqa copa imagenet coco cifar10 mt bench swe em exact match pass average avg
    mean success toxicity
    """
)


def is_measure(name: str) -> bool:
    """Whether a header is that of a metric or of a well-known benchmark."""
    return bool(_MEASURES & set(words(name)))
