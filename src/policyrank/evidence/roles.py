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
    parsed
        its numbers
    """

    name: str
    role: Role
    parsed: Parsed
    reason: str = ""

    def leave(self, reason: str) -> None:
        """Take it out of the scores."""
        self.role, self.reason = "out", reason


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INDEX = _set("index idx row rows no nr rownumber sno srno serial rowid rownum line lineno")
_ID = _set("id ids uuid guid hash sha sha256 md5 uid pk oid")
_DATE = _set(
    """
    date dates datetime timestamp tstamp created updated modified published released uploaded
    submitted release cutoff year month day lastsubmissiondate time
    """
)
_COUNT = _set(
    """
    n num number count counts votes battles games matches played samples instances examples
    questions submissions entries total trials episodes runs wins losses draws ties support
    views downloads likes stars followers participants
    """
)
_SIZE = _set(
    """
    tokens length len chars characters params parameters param size sizes cost costs price usd
    flops gflops tflops macs memory vram gpu gpus likes rtfx megabytes mb gb
    """
)
_SETTING = _set(
    """
    seed seeds fold version epoch epochs step steps shots nshot fewshot temperature lr
    layers precision dtype iteration iterations checkpoint
    """
)
_SPREAD = _set(
    """
    std sd stdev stddev variance var spread iqr mad moe margin uncertainty bootstrap boostrap
    """
)
_STDERR = _set("stderr se sem")
_RANK = _set("rank ranks ranking place position pos standing standings")
_SUMMARY = _set("average avg mean overall aggregate")
_SUMMARY_ALONE = _set("score total all")
_LOW = _set("lower low lo lb")
_HIGH = _set("upper high hi ub")
_EXTREME = _set("min max minimum maximum")
_UNIT = _set("raw pct percent percentage perc ms s sec seconds normalized normalised rescaled")
_QUANTILE = re.compile(r"[qp](\d{1,3})")


def judge(series: pl.Series, where: str, *, comma: bool = False) -> Column:
    """What a column is, looked at alone."""
    name = series.name
    if series.dtype.is_nested():
        return _out(series, "nested")
    if series.dtype.is_temporal():
        return _out(series, "a date")
    parsed = parse(series, where, comma=comma)
    column = Column(name, "score", parsed)
    known = np.isfinite(parsed.values)
    if not known.any() and not parsed.strange.any():
        column.leave("empty")
        return column
    if parsed.strange.any() and parsed.strange.mean() >= 0.5:
        _judge_text(column, series)
        return column
    _judge_numbers(column)
    return column


def _out(series: pl.Series, reason: str) -> Column:
    nothing = np.full(len(series), np.nan)
    column = Column(series.name, "score", Parsed(nothing, np.zeros(len(series), bool), nothing))
    column.leave(reason)
    return column


_INTERVAL = re.compile(
    r"""^\s*[\[(]?\s*([+-]?\d+(?:\.\d+)?)\s*%?\s*(?:,|;|\.\.\.?|…|\sto\s|/|–|\s-\s)\s*
    ([+-]?\d+(?:\.\d+)?)\s*%?\s*[\])]?\s*$""",
    re.VERBOSE,
)
_DATE_TEXT = r"^\s*(\d{4}-\d\d?-\d\d?|\d\d?[/.]\d\d?[/.]\d{2,4}|\d{4}/\d\d?/\d\d?)"


def bounds(text: str) -> tuple[float, float] | None:
    """The two numbers of an interval in text, such as ``+4/-4``, ``[80.7, 84.6]``.

    Examples
    --------
    >>> bounds("+4/-3"), bounds("(80.75, 84.6)"), bounds("about 3")
    ((-3.0, 4.0), (80.75, 84.6), None)
    """
    found = _INTERVAL.match(text)
    if found is None:
        return None
    first, second = map(float, found.groups())
    return min(first, second), max(first, second)


def _judge_text(column: Column, series: pl.Series) -> None:
    text = series.cast(pl.String).drop_nulls()
    filled = [value for value in text.to_list() if value.strip()]
    if all(bounds(value) for value in filled):
        column.role = "interval"
    elif int(text.str.contains(_DATE_TEXT).sum()) > 0.5 * len(text):
        column.leave("a date")
    elif {"ci", "interval", "confidence"} & set(words(column.name)):
        column.leave("an interval in a form that is not known")
    else:
        column.leave("text")


def _judge_numbers(column: Column) -> None:
    """By the words of its name, and by whether it holds whole numbers."""
    found = words(column.name)
    has = set(found)
    values = column.parsed.values[np.isfinite(column.parsed.values)]
    whole = bool((values == np.round(values)).all())
    if not found or column.name.lower().startswith("unnamed") or _is_index(column.name):
        column.leave("an index" if whole else "without a name")
    elif "lower" in has and "better" in has:
        column.leave("a direction")
    elif _STDERR & has or {"standard", "error"} <= has:
        column.role = "stderr"
    elif (
        _SPREAD & has
        or {"standard", "deviation"} <= has
        or ({"ci", "confidence", "interval"} & has and not (_LOW | _HIGH) & has)
    ):
        column.leave("a spread")
    elif has & _ID and whole:
        column.leave("an id")
    elif (_RANK & has) and _looks_ranked(values):
        column.leave("a rank")
    elif _is_date(has, values, whole=whole):
        column.leave("a date")
    elif has & _SETTING and len(found) <= 3 and whole:
        column.leave("a setting")
    elif _is_size(found, whole=whole):
        column.leave("a count or a size")
    elif bound := _bound(found):
        column.role = bound


def _is_spread(has: set[str]) -> bool:
    if _SPREAD & has or {"standard", "deviation"} <= has:
        return True
    return bool({"ci", "confidence", "interval"} & has) and not (_LOW | _HIGH) & has


def _is_index(name: str) -> bool:
    return re.sub(r"[^a-z0-9#]", "", name.lower()) in _INDEX | {"#", "level0", "unnamed0"}


def _looks_ranked(values: NDArray[np.float64]) -> bool:
    """Places start at 1 (or 0) and leave few gaps; mean places lie between them."""
    return bool(len(values) and values.min() >= 0 and values.max() <= max(3 * len(values), 50))


def _is_date(has: set[str], values: NDArray[np.float64], *, whole: bool) -> bool:
    if not has & _DATE:
        return False
    if has & {"date", "dates", "datetime", "timestamp", "tstamp"}:
        return True
    years = whole and values.min() >= 1900 and values.max() <= 2100
    stamps = values.min() >= 1e8
    return bool(years or stamps)


def _is_size(found: Sequence[str], *, whole: bool) -> bool:
    has = set(found)
    if {"length", "controlled"} <= has or {"win", "rate"} <= has or "winrate" in has:
        return False
    if has & _SIZE and len(found) <= 4:
        return True
    if not whole or len(found) > 3:
        return False
    ends = {found[0], found[-1]}
    return bool(ends & (_COUNT - {"total"}) or ("total" in has and has & _COUNT - {"total"}))


def _bound(found: Sequence[str]) -> Literal["lower", "upper"] | None:
    """Whether a name says that this is an end of an interval."""
    has = set(found)
    for word in found:
        quantile = _QUANTILE.fullmatch(word)
        if quantile and len(found) > 1:
            share = float("0." + quantile.group(1))
            if share != 0.5:
                return "lower" if share < 0.5 else "upper"
    if (_LOW | {"min", "minimum", "minus"}) & has:
        return "lower"
    if (_HIGH | {"max", "maximum", "plus"}) & has:
        return "upper"
    return None


def base_words(name: str) -> frozenset[str]:
    """The words of a name without those that say what of it a column holds."""
    rest = set(words(name)) - _STDERR - _SPREAD - _LOW - _HIGH - _EXTREME - {"ci", "bound", "95"}
    rest -= {"standard", "error", "confidence", "interval", "limit"}
    return frozenset(word for word in rest if not _QUANTILE.fullmatch(word))


def coverage(names: Iterable[str]) -> float:
    """What an interval of these columns covers: as its quantiles say, else 95%."""
    shares = []
    for name in names:
        for word in words(name):
            if quantile := _QUANTILE.fullmatch(word):
                shares.append(float("0." + quantile.group(1)))
            elif word in ("90", "99", "68", "80"):
                return int(word) / 100
    if len(shares) == 2:
        return round(abs(shares[1] - shares[0]), 4)
    return 0.95


def settle(columns: list[Column], rows: int) -> None:
    """What columns are beside each other: ends without a score, copies, summaries, an index."""
    _settle_index(columns, rows)
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


def _settle_ends(columns: list[Column]) -> None:
    """Ends and errors belong to the score of the same words, or to the only one; otherwise what
    looked like an end is a score, and an error belongs to nothing.
    """
    scores = _scores(columns)
    plain = [column for column in scores if not _SUMMARY & set(words(column.name))]
    for column in columns:
        if column.role not in ("stderr", "lower", "upper", "interval"):
            continue
        if owner(column, scores) is not None:
            continue
        is_end = column.role in ("lower", "upper")
        if is_end and (base_words(column.name) or not plain):
            column.role = "score"
        else:
            column.leave("a spread of no one score")


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
        if _QUANTILE.search(column.name) or "rating" in mine:
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
    names = [frozenset(words(column.name)) - _UNIT for column in (first, second)]
    units = set(words(first.name)) ^ set(words(second.name))
    if names[0] == names[1] and units and units <= _UNIT:
        order = np.argsort(x, kind="stable")
        return bool((np.diff(y[order]) >= -1e-9).all())
    if len(np.unique(x)) < 3:
        return False
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
    if parts < 2:
        return
    for column in summaries:
        column.leave("sums up the others")


def is_summary(name: str) -> bool:
    """Whether a name says that this sums up others: Average, Avg. WER, Overall, Total.

    Examples
    --------
    >>> is_summary("Avg. WER"), is_summary("Mean win rate"), is_summary("score"), is_summary("mt")
    (True, True, True, False)
    """
    found = words(name)
    alone = len(found) == 1 and found[0] in _SUMMARY_ALONE
    return bool(alone or (found and (_SUMMARY & {found[0], found[-1]})))


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
