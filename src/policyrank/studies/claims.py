"""What a study claims, and how measurements judge it.

A claim has a kind, a unit that is independent, and the master seeds that were seen before it was
written. The claims of one study are adjusted together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence import Scores
from policyrank.ranking.majorities import holm
from policyrank.studies.estimates import Estimate, of_resamples, of_share, student

Float = NDArray[np.float64]
Kind = Literal["mean", "everywhere", "worst", "rate", "identity", "computed", "sanity", "published"]
Answer = Literal[
    "holds",
    "not shown",
    "contradicted",
    "none found",
    "exact",
    "broken",
    "as expected",
    "not as expected",
    "agrees",
    "differs",
    "failed run",
]
COUNTED = ("mean", "everywhere", "rate", "published")
"""Kinds with a p value: a study's claims of these kinds are adjusted together."""


@dataclass(frozen=True)
class Unit:
    """What is independent among measurements.

    Attributes
    ----------
    name
        of one: world, query, data set
    within
        whether replicates or tasks are units; resamples of the same data are none, and their spread
        is the error itself
    of
        the unit of a replicate or task, by its name; those of one unit are averaged (None: each is
        one)
    overlap
        of random splits or folds of the same data: the test part over the training part, by which
        their mean is less sure than of independent draws (Nadeau and Bengio 2003)
    """

    name: str
    within: Literal["replicate", "task", "resample"] = "replicate"
    of: Callable[[str], str] | None = None
    overlap: float = 0.0


@dataclass(frozen=True)
class Claim:
    """Method ``better`` beats ``than`` on ``metric`` by more than ``smallest``, in ``tasks``.

    Attributes
    ----------
    text
        the sentence
    better, than
        methods; ``than`` may be a number
    metric
        its name
    smallest
        in the metric's unit; a negative one makes it a claim of being no worse than by that much.
        Of ``identity`` and ``published`` the largest difference that is none
    tasks, than_tasks
        settings (all if none is named); where the other was measured, if not in the same
    kind
        ``mean``: the mean over units. ``everywhere``: the mean in each setting. ``worst``: every
        single unit. ``rate``: a share of units, against a bound. ``identity``: equal by theorem.
        ``computed``: numbers without a draw. ``sanity``: expected, and not counted. ``published``:
        near a published number
    unit
        what is independent (None: the study's own)
    seen
        master seeds whose numbers were seen before the claim was written: with these it is
        exploratory
    """

    text: str
    better: str
    than: str | float
    metric: str
    smallest: float = 0.0
    tasks: tuple[str, ...] = ()
    than_tasks: tuple[str, ...] = ()
    kind: Kind = "mean"
    unit: Unit | None = None
    seen: tuple[int, ...] = ()


def for_each(values: Iterable[object], pattern: Claim) -> Iterator[Claim]:
    """The claim for each value, which takes the place of ``{}`` in its text and its names.

    The parts of a tuple take those of ``{0}``, ``{1}``, ...

    Examples
    --------
    >>> pattern = Claim("{} beats chance", "{}", "chance", "AP")
    >>> [claim.text for claim in for_each(["BM25", "MiniLM"], pattern)]
    ['BM25 beats chance', 'MiniLM beats chance']
    """
    for value in values:
        parts = value if isinstance(value, tuple) else (value,)
        than = pattern.than
        yield replace(
            pattern,
            text=pattern.text.format(*parts),
            better=pattern.better.format(*parts),
            than=than.format(*parts) if isinstance(than, str) else than,
            metric=pattern.metric.format(*parts),
            tasks=tuple(task.format(*parts) for task in pattern.tasks),
        )


@dataclass(frozen=True)
class Verdict:
    """What a measurement says of a claim.

    Attributes
    ----------
    effect, lower, upper
        how much ``better`` is ahead, positive where it is better, with its 95% interval
    p, p_holm
        two-sided, against the smallest effect that counts; adjusted over the study's claims. NaN of
        kinds without one
    units, unit
        how many of what is independent
    exploratory
        whether the claim was written after this seed's numbers were seen
    """

    claim: Claim
    effect: float
    lower: float
    upper: float
    p: float
    p_holm: float
    units: int
    unit: str
    verdict: Answer
    exploratory: bool = False


class Gap(NamedTuple):
    """How much one method is ahead of another: (tasks, replicates), with their names."""

    values: Float
    tasks: Sequence[str]
    replicates: Sequence[str]


class _Judged(NamedTuple):
    estimate: Estimate
    above: float
    """One-sided p that the effect is no more than ``smallest``."""
    below: float
    """One-sided p that it is no less than what contradicts the claim."""
    unit: str


def judge(
    claims: Iterable[Claim],
    scores: Scores,
    unit: Unit,
    *,
    seed: int = 0,
    unhealthy: Iterable[str] = (),
    level: float = 0.95,
) -> list[Verdict]:
    """Judge the claims of one study together.

    *holds*: the effect is above the smallest that counts; *contradicted*: it is below it and below
    zero, so that the opposite is true; both by Holm's adjusted p. Otherwise *not shown*, as where a
    small scale has not measured it.

    Parameters
    ----------
    unit
        what is independent, where a claim names nothing else
    seed
        master seed of the measurements
    unhealthy
        methods whose runs failed: claims on them are *failed run*
    """
    claims, sick = list(claims), set(unhealthy)
    found = [_judged(claim, scores, claim.unit or unit, level) for claim in claims]
    sides = np.array([np.nan if own is None else min(own.above, own.below) for own in found])
    family = np.array([claim.kind in COUNTED for claim in claims], dtype=bool)
    family &= ~np.isnan(sides)
    p = np.minimum(2 * sides, 1.0)
    adjusted = np.full(len(claims), np.nan)
    adjusted[family] = holm(p[family])
    verdicts = []
    for claim, own, raw, corrected in zip(claims, found, p, adjusted, strict=True):
        verdict = _verdict(claim, own, raw, corrected, level)
        if sick & {claim.better, claim.than}:
            verdict = replace(verdict, verdict="failed run")
        verdicts.append(replace(verdict, exploratory=seed in claim.seen))
    return verdicts


def estimates(claim: Claim, scores: Scores, unit: Unit, level: float = 0.95) -> dict[str, Estimate]:
    """Mean of each method in a claim's metric and settings, with its interval over units."""
    sign = -1.0 if claim.metric in scores.lower_is_better else 1.0
    found = {}
    for method in scores.policies:
        own = _measured(scores, method, claim.metric, claim.tasks)
        if own is None:
            continue
        values = _values(own._replace(values=sign * own.values), claim.unit or unit)
        if len(values):
            found[method] = _estimate(values, claim.unit or unit, level)
    return found


def _judged(claim: Claim, scores: Scores, unit: Unit, level: float) -> _Judged | None:
    """What was measured of a claim; None if one of its methods was not."""
    gap = paired(claim, scores)
    if gap is None:
        return None
    if claim.kind == "rate":
        return _rate(claim, scores, gap, unit.name, level)
    if claim.kind in ("identity", "computed", "worst"):
        return _extreme(claim, gap, unit)
    if claim.kind == "everywhere":
        return _everywhere(claim, gap, unit, level)
    estimate = _estimate(_values(gap, unit), unit, level)
    if claim.kind == "published":
        return _near(claim, estimate, unit)
    worse = min(claim.smallest, 0.0)
    return _Judged(estimate, estimate.above(claim.smallest), estimate.below(worse), unit.name)


def _estimate(values: Float, unit: Unit, level: float) -> Estimate:
    if unit.within == "resample":
        return of_resamples(values, level)
    return student(values, level, overlap=unit.overlap)


def _values(gap: Gap, unit: Unit) -> Float:
    """The effect in each unit."""
    if unit.within == "task":
        names = gap.tasks
        values = _means(gap.values)
    else:
        names = gap.replicates
        values = gap.values.mean(axis=0)  # NaN where a task was not measured
    there = ~np.isnan(values)
    values = values[there]
    if unit.of is None:
        return values
    groups = np.array([unit.of(name) for name in np.asarray(names)[there]])
    return np.array([values[groups == name].mean() for name in dict.fromkeys(groups)])


def _means(values: Float) -> Float:
    """Mean of each row over what was measured; NaN where nothing was."""
    there = ~np.isnan(values)
    number = there.sum(axis=1)
    sums = np.where(there, values, 0.0).sum(axis=1)
    return np.where(number > 0, sums / np.maximum(number, 1), np.nan)


def _everywhere(claim: Claim, gap: Gap, unit: Unit, level: float) -> _Judged:
    """The setting with the least effect: all must be above, one below contradicts."""
    estimates = []
    for row, task in zip(gap.values, gap.tasks, strict=True):
        values = _values(Gap(row[None], [task], gap.replicates), unit)
        if len(values):
            estimates.append(_estimate(values, unit, level))
    worst = min(estimates, key=lambda own: own.effect)
    above = max(own.above(claim.smallest) for own in estimates)
    below = min(own.below(min(claim.smallest, 0.0)) for own in estimates) * len(estimates)
    return _Judged(worst, above, min(below, 1.0), f"{unit.name}, least of {len(estimates)}")


def _rate(claim: Claim, scores: Scores, gap: Gap, unit: str, level: float) -> _Judged:
    """Shares of units against their bounds: the setting that keeps its bound least."""
    lower = claim.metric in scores.lower_is_better
    judged = []
    for row, task in zip(gap.values, gap.tasks, strict=True):
        ahead = row[~np.isnan(row)]
        if not len(ahead):
            continue
        bound = _bound(claim, scores, task)
        kept = 1 - bound if lower else bound  # the share of units where all is well
        judged.append(of_share(np.clip(ahead + kept, 0.0, 1.0).round(12), kept, level))
    worst = min(judged, key=lambda own: own.effect)
    above = max(own.above(claim.smallest) for own in judged)
    below = min(own.below(min(claim.smallest, 0.0)) for own in judged) * len(judged)
    name = unit if len(judged) == 1 else f"{unit}, least of {len(judged)}"
    return _Judged(worst, above, min(below, 1.0), name)


def _bound(claim: Claim, scores: Scores, task: str) -> float:
    """What a rate is held against in a setting."""
    if not isinstance(claim.than, str):
        return claim.than
    found = _measured(scores, claim.than, claim.metric, (task,))
    assert found is not None
    return abs(float(np.nanmean(found.values)))


def _extreme(claim: Claim, gap: Gap, unit: Unit) -> _Judged:
    """Every number alone: of an identity the largest difference, else the least and largest."""
    values = gap.values[~np.isnan(gap.values)]
    low, high, effect = float(values.min()), float(values.max()), float(values.mean())
    if claim.kind == "identity":
        effect = float(values[np.abs(values).argmax()])
    elif claim.kind == "worst":
        effect = low
    name = "number" if claim.kind == "computed" else unit.name
    return _Judged(Estimate(effect, low, high, len(values), _never, _never), np.nan, np.nan, name)


def _never(_: float) -> float:
    return 1.0


def _near(claim: Claim, found: Estimate, unit: Unit) -> _Judged:
    """Within ``smallest`` of a published number: both one-sided tests."""
    near = max(found.above(-claim.smallest), found.below(claim.smallest))
    far = min(found.above(claim.smallest), found.below(-claim.smallest))
    return _Judged(found, near, far, unit.name)


def _verdict(
    claim: Claim, own: _Judged | None, p: float, corrected: float, level: float
) -> Verdict:
    if own is None:
        nothing = (np.nan, np.nan, np.nan, np.nan, np.nan)
        return Verdict(claim, *nothing, 0, "", "not shown")
    found = own.estimate
    numbers = (found.effect, found.lower, found.upper)
    if claim.kind in COUNTED:
        answer = _answer(claim, own, corrected <= 1 - level)
        return Verdict(claim, *numbers, p, corrected, found.units, own.unit, answer)
    if claim.kind == "sanity":
        shown = 2 * own.above <= 1 - level
        answer = "as expected" if shown else "not as expected"
        return Verdict(claim, *numbers, p, np.nan, found.units, own.unit, answer)
    return Verdict(
        claim, *numbers, np.nan, np.nan, found.units, own.unit, _of_extreme(claim, found)
    )


def _answer(claim: Claim, own: _Judged, shown: bool) -> Answer:
    above = own.above < own.below
    if claim.kind == "published":
        return ("agrees" if above else "differs") if shown else "not shown"
    if not shown:
        return "not shown"
    return "holds" if above else "contradicted"


def _of_extreme(claim: Claim, found: Estimate) -> Answer:
    if claim.kind == "identity":
        return "exact" if abs(found.effect) <= claim.smallest else "broken"
    if claim.kind == "worst":  # no number of cases shows that there is no worse one
        return "contradicted" if found.lower < claim.smallest else "none found"
    if found.lower > claim.smallest:
        return "holds"
    return "contradicted" if found.upper < min(claim.smallest, 0.0) else "not shown"


def paired(claim: Claim, scores: Scores) -> Gap | None:
    """How much ``better`` is ahead in each setting and replicate; None if one was not measured."""
    better = _measured(scores, claim.better, claim.metric, claim.tasks)
    if better is None:
        return None
    if not isinstance(claim.than, str):
        sign = -1.0 if claim.metric in scores.lower_is_better else 1.0
        return better._replace(values=better.values - sign * claim.than)
    than = _measured(scores, claim.than, claim.metric, claim.than_tasks or claim.tasks)
    if than is None:
        return None
    if claim.than_tasks:
        better, than = _averaged(better), _averaged(than)
    shared = [name for name in better.replicates if name in set(than.replicates)]
    tasks = [name for name in better.tasks if name in set(than.tasks)]
    if not shared or not tasks:
        return None
    gap = _part(better, tasks, shared) - _part(than, tasks, shared)
    if np.isnan(gap).all():
        return None
    return Gap(gap, tasks, shared)


def _averaged(own: Gap) -> Gap:
    """Over settings, where they are others than those of the method it is compared with."""
    return Gap(_means(own.values.T)[None], ["all"], own.replicates)


def _part(own: Gap, tasks: Sequence[str], replicates: Sequence[str]) -> Float:
    rows = [list(own.tasks).index(name) for name in tasks]
    places = {name: k for k, name in enumerate(own.replicates)}
    return own.values[np.ix_(rows, [places[name] for name in replicates])]


def _measured(scores: Scores, method: str, metric: str, tasks: tuple[str, ...]) -> Gap | None:
    """Scores of a method in these settings (all if none is named), larger is better."""
    if method not in scores.policies:
        return None
    names = list(scores.task.names)
    own = scores.policy.codes == scores.policies.index(method)
    if scores.metric is not None:
        if metric not in scores.metric.names:
            return None
        own = own & (scores.metric.codes == scores.metric.names.index(metric))
    settings = [name for name in (tasks or names) if name in names]
    if not settings:
        return None
    replicates = ("",) if scores.replicate is None else scores.replicate.names
    values = np.full((len(names), len(replicates)), np.nan)
    codes = 0 if scores.replicate is None else scores.replicate.codes[own]
    values[scores.task.codes[own], codes] = scores.oriented[own]
    values = values[[names.index(name) for name in settings]]
    there = ~np.isnan(values).all(axis=1)
    if not there.any():
        return None
    kept = [name for name, seen in zip(settings, there, strict=True) if seen]
    used = ~np.isnan(values).all(axis=0)
    return Gap(values[there][:, used], kept, np.asarray(replicates)[used].tolist())
