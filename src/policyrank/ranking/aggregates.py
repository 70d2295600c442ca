"""Scores to one number a policy: means, medians, ranks, with the stratified bootstrap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, CoverageOptions, make_leaderboard
from policyrank.board.intervals import Seed, generator, percentile_interval
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import input_notes
from policyrank.ranking.published import PublishedErrors, published_errors
from policyrank.ranking.score_errors import exact_ends, mean_errors
from policyrank.ranking.score_statistics import STATISTICS, TAIL, resampled, short_tail

Float = NDArray[np.float64]
INTERVALS = ("auto", "published", "closed", "exact", "bootstrap", "none")
Bounds = tuple[float, float] | str | None


class AggregateOptions(BoardOptions, total=False):
    """Options of ``aggregate`` beside the statistic; it says what each means."""

    resample: Literal["auto", "replicates", "tasks", "both"]
    paired: bool | Literal["auto"]
    bounds: Bounds
    interval: str
    resamples: int


@checks_options
def aggregate(
    evidence: Scores,
    *,
    statistic: str = "mean",
    resample: Literal["auto", "replicates", "tasks", "both"] = "auto",
    paired: bool | Literal["auto"] = "auto",
    bounds: Bounds = "auto",
    interval: str = "auto",
    resamples: int = 1000,
    seed: Seed = 0,
    **options: Unpack[CoverageOptions],
) -> Leaderboard:
    """Rank by an aggregate of scores over tasks (scores of lower-is-better metrics are negated
    first).

    Parameters
    ----------
    evidence
        Scores
    statistic
        ``"mean"``, ``"median"`` (over tasks, of the mean over replicates), ``"interquartile-mean"``
        (middle half of all runs), ``"cvar"`` (lowest 5% of all runs), ``"mean-rank"``,
        ``"win-rate"`` (probability of improvement, mean over opponents), ``"z-score"``
    resample
        what is taken as a sample: ``"replicates"`` inside each task and policy (stratified; the
        tasks are all there is), ``"tasks"`` (the tasks are a sample of what counts), ``"both"``;
        ``"auto"``: replicates where there are any, else tasks
    paired
        whether replicate k of a task was the same fortune for every policy (a question, an
        instance, common random numbers), so that policies are told apart by their differences;
        ``"auto"``: where replicates are named and every policy has them all. Tasks always pair.
    bounds
        (lowest, highest) value that a score can have: intervals of the mean keep within;
        (or ``"0,100"``); ``"auto"``: (0, 1) where all scores lie there; None: not known
    interval
        of the mean: ``"closed"`` (Student's t over units, or within bounds; pass or fail: Wilson's,
        and exact sign tests), ``"exact"`` (over tasks within bounds, whatever the scores' law:
        Gaffke's, of pass or fail Clopper and Pearson's) or ``"published"`` (by the standard errors
        and intervals that came with the scores, taken as independent); of all: ``"bootstrap"``,
        ``"none"``; ``"auto"``: published where every score has one, else closed, else bootstrap
    resamples, seed, options
        of the intervals and rank sets

    References
    ----------
    Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
    arXiv 2108.13264; Miller (2024), "Adding Error Bars to Evals", arXiv 2411.00640, on questions
    that share a document.

    Examples
    --------
    >>> scores = Scores.from_table([[1.0, 2.0], [3.0, 5.0]], ["go", "chess"], ["x", "y"])
    >>> aggregate(scores, interval="none").rating.tolist()
    [3.5, 2.0]
    """
    need(evidence, Scores, statistic)
    if statistic not in STATISTICS:
        raise EvidenceError(f"statistic={statistic!r}: use one of {', '.join(STATISTICS)}.")
    check_interval(interval, INTERVALS, statistic)
    if evidence.weight is not None and not (evidence.weight == 1).all():
        raise EvidenceError(
            "aggregates of scores take no weights. Drop them, or use borda on scores.to_rankings()."
        )
    function, unit = STATISTICS[statistic]
    cube = evidence.cube()
    notes = [*input_notes(evidence.notes), *table_notes(evidence, cube, statistic)]
    draw = _what_is_drawn(cube, resample)
    interval, errors = _kind_of_interval(evidence, statistic, interval, draw)
    if errors is not None:
        return _published_board(evidence, errors, notes, options)
    pairs = _is_paired(evidence, cube, paired)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Mean of empty slice|All-NaN|Degrees of freedom", RuntimeWarning
        )
        rating = function(cube)
        known: dict[str, Any] = {}
        level = options.get("level", 0.95)
        if interval != "none" and draw == "tasks" and len(cube) < 2:
            text = "One score a policy shows no variation: there are no intervals."
            notes.append(Note("no intervals", text, "warning"))
        elif interval == "bootstrap" and statistic == "cvar" and short_tail(cube):
            interval = "none"
            text = (
                f"The lowest 5% are fewer than {TAIL} runs of a policy, whose resamples do not show"
                f" what worse runs there may be: no intervals below {20 * TAIL:,} runs."
            )
            notes.append(Note("short tail", text, "warning"))
        elif interval in ("closed", "exact"):
            limits = _limits(cube, bounds)
            known = mean_errors(evidence, cube, draw, pairs, limits, level, notes)
            if interval == "exact":
                known["ends"] = exact_ends(evidence, cube, draw, limits, level)
        elif interval == "bootstrap":
            if evidence.unit is not None:
                raise EvidenceError(
                    f"the bootstrap of {statistic} does not know of units. Use the mean"
                    " (interval='closed'), or leave unit=... (--unit) out."
                )
            drawn = resampled(cube, function, rating, draw, pairs, resamples, generator(seed))
            known = _of_draws(rating, drawn, statistic, level)
            if known["df"] < FEW_DF:
                text = "Resamples of so few tasks or replicates cover about 92% where 95% is said."
                notes.append(Note("few units", text, "warning"))
    settings: dict[str, Any] = {"resample": draw, "interval": interval}
    if pairs and draw != "tasks":
        settings["paired"] = True
    if interval == "bootstrap":
        settings |= {"resamples": resamples, "seed": seed}
    return make_leaderboard(
        evidence.policies,
        rating,
        method=statistic,
        n=evidence.seen(),
        notes=notes,
        unit=unit,
        source=evidence.summary,
        settings=settings,
        seed=seed,
        **known,
        **options,
    )


def _is_paired(evidence: Scores, cube: Float, paired: bool | str) -> bool:
    """Whether a replicate is the same for all policies, as told or as the names say."""
    whole = not np.isnan(cube).any()
    if paired == "auto":
        return evidence.replicate is not None and whole
    if paired and not whole:
        t, p, k = np.argwhere(np.isnan(cube))[0]
        raise EvidenceError(
            f"paired=True needs every policy in every replicate: {evidence.policies[p]!r} has no"
            f" replicate number {k + 1} of {evidence.columns[t]!r}."
        )
    return bool(paired)


def _limits(cube: Float, bounds: Bounds) -> tuple[float, float] | None:
    """The lowest and highest value of an oriented score, if known."""
    low, high = float(np.nanmin(cube)), float(np.nanmax(cube))
    if bounds == "auto":
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        # Scores of metrics whose smaller values are better are negated.
        return (-1.0, 0.0) if low >= -1 and high <= 0 else None
    if bounds is None:
        return None
    if isinstance(bounds, str):
        bounds = _two_numbers(bounds)
    given = (float(bounds[0]), float(bounds[1]))
    if given[0] >= given[1]:
        raise EvidenceError(f"bounds={bounds}: give the lowest and the highest value.")
    if high <= 0 and low < 0 <= given[0]:
        given = (-given[1], -given[0])
    if low < given[0] or high > given[1]:
        raise EvidenceError(f"bounds={bounds}: there are scores from {low:g} to {high:g}.")
    return given


def _two_numbers(text: str) -> tuple[float, float]:
    """Bounds as the command line writes them: ``0,100``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise EvidenceError(f"bounds={text!r}: give two numbers, such as 0,100.") from None
    return low, high


def _of_draws(
    rating: Float, drawn: tuple[Float, float], statistic: str, level: float
) -> dict[str, Any]:
    """What ``make_leaderboard`` takes, from resamples: percentiles within the statistic's range."""
    draws, df = drawn
    ends = np.stack(percentile_interval(rating, draws, df, level), axis=1)
    ends[ends[:, 1] - ends[:, 0] <= 1e-9 * max(float(np.abs(rating).max()), 1e-300)] = np.nan
    lowest, highest = RANGES.get(statistic, (-np.inf, np.inf))
    if statistic == "mean-rank":
        lowest = -float(len(rating))
    return {"draws": draws, "df": df, "ends": ends.clip(lowest, highest)}


OF_ONE_SCALE = ("mean", "median", "interquartile-mean", "cvar", "profile")
"""What a task of a wide scale decides."""

FEW_DF = 10
"""Degrees of freedom below which a bootstrap covers too rarely."""

RANGES = {"win-rate": (0.0, 1.0), "mean-rank": (-np.inf, -1.0)}
"""What a statistic can be, whatever the scores."""


def _kind_of_interval(
    evidence: Scores, statistic: str, interval: str, draw: str
) -> tuple[str, PublishedErrors | None]:
    """The kind of interval, and the published errors where it rests on them."""
    if interval in ("bootstrap", "none"):
        return interval, None
    if interval in ("closed", "exact") or statistic != "mean":
        if statistic != "mean" or draw == "both":
            if interval != "auto":
                raise EvidenceError(
                    f"{statistic}: interval={interval!r} is of the mean, over tasks or replicates."
                    " Use interval='bootstrap'."
                )
            return "bootstrap", None
        return interval, None
    found = published_errors(evidence)
    if found is not None:
        return "published", found
    if interval == "published":
        raise EvidenceError(
            "interval='published' needs a standard error or interval of every score. Use"
            " interval='closed'."
        )
    return "bootstrap" if draw == "both" else "closed", None


def _published_board(
    evidence: Scores, errors: PublishedErrors, notes: list[Note], options: CoverageOptions
) -> Leaderboard:
    """The board of means with the errors that came with the scores."""
    notes.append(Note("published errors", errors.text))
    board = make_leaderboard(
        evidence.policies,
        errors.mean,
        method="mean",
        n=evidence.seen(),
        covariance=np.diag(errors.variance),
        notes=notes,
        unit=STATISTICS["mean"][1],
        source=evidence.summary,
        settings={"interval": "published"},
        **options,
    )
    return errors.with_own_ends(board)


def table_notes(evidence: Scores, cube: Float, statistic: str) -> list[Note]:
    """Policies without scores on some tasks, and tasks whose scale decides."""
    notes = []
    holes = np.asarray(np.isnan(cube).all(axis=2))
    if holes.any():
        few = [evidence.policies[k] for k in np.flatnonzero(holes.any(axis=0))]
        names = ", ".join(few[:5]) + (" ..." if len(few) > 5 else "")
        text = (
            f"{len(few)} policies lack scores on some tasks ({names}): their {statistic} is over"
            " other tasks than that of the rest. Rank by plackett-luce or bradley-terry instead, or"
            " complete the table."
        )
        notes.append(Note("incomplete", text, "warning", tuple(few)))
    if statistic not in OF_ONE_SCALE or len(cube) == 1:
        return notes
    table = evidence.table()
    spread = np.nanmax(table, axis=1) - np.nanmin(table, axis=1)
    positive = spread[spread > 0]
    if len(positive) and positive.max() > 20 * np.median(positive):
        widest = evidence.columns[int(np.argmax(spread))]
        text = (
            f"The scores of {widest!r} spread {positive.max() / np.median(positive):.0f} times as"
            f" wide as those of the median task and decide the {statistic}. Normalise the scores,"
            " or rank by borda, which knows no scale."
        )
        notes.append(Note("scale", text, "warning"))
    return notes


def _what_is_drawn(cube: Float, resample: str) -> str:
    """Replicates, tasks or both, as told or as there are."""
    runs = cube.shape[2]
    if resample not in ("auto", "replicates", "tasks", "both"):
        raise EvidenceError(f"resample={resample!r}: use 'auto', 'replicates', 'tasks' or 'both'.")
    if resample == "auto":
        return "replicates" if runs > 1 else "tasks"
    if resample in ("replicates", "both") and runs < 2:
        raise EvidenceError(
            f"resample={resample!r} needs several scores a task and policy; there is one. Use"
            " resample='tasks'."
        )
    return resample


def _statistic(name: str) -> Callable[..., Leaderboard]:
    """``aggregate`` with one statistic, as a method of its own."""

    def method(evidence: Scores, **options: Unpack[AggregateOptions]) -> Leaderboard:
        return aggregate(evidence, statistic=name, **options)

    method.__name__ = name.replace("-", "_")
    method.__doc__ = f"Rank scores by their {name}; see ``aggregate`` for the options."
    return checks_options(method)


mean = _statistic("mean")
median = _statistic("median")
interquartile_mean = _statistic("interquartile-mean")
cvar = _statistic("cvar")
mean_rank = _statistic("mean-rank")
win_rate = _statistic("win-rate")
z_score = _statistic("z-score")
