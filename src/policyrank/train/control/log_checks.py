"""What is wrong with a log of control before anyone trains on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.train.control.logged_steps import Array, LoggedSteps

MOST = 200_000
"""Rows that alignment is looked at in."""

Finding = dict[str, str]
Check = Callable[[LoggedSteps], Iterator[Finding]]

CLEARER, KNOWN = 0.02, 0.05
"""By so much more of the change another row's action must explain than its own; and of the next
row's action what was seen before must explain beside what was seen then.
"""


def check_log(log: LoggedSteps, name: str = "log") -> dict[str, Any]:
    """Findings as an audit has them: alignment, ends, scales, duplicates, rewards, coverage."""
    findings = [own for check in CHECKS.values() for own in check(log)]
    read = ", ".join(f"{what} from {column}" for what, column in log.read_as.items())
    findings.append(_row("read as", "fine", f"{read}."))
    findings += [_row("reading", "note", f"{note}.") for note in log.notes]
    order = {"concern": 0, "note": 1, "unchecked": 2, "fine": 3}
    findings.sort(key=lambda own: order[own["verdict"]])
    episodes = int(log.last.sum())
    source = (
        f"{name} ({len(log.actions):,} steps, {episodes:,} episodes,"
        f" {log.observations.shape[1]} numbers seen, {log.actions.shape[1]} acted)"
    )
    return {"source": source, "findings": findings}


def _row(check: str, verdict: str, what: str, remedy: str = "", sure: str = "") -> Finding:
    return {"check": check, "verdict": verdict, "what": what, "remedy": remedy, "how_sure": sure}


def finite(log: LoggedSteps) -> Iterator[Finding]:
    """Numbers that are none."""
    for what in ("observations", "actions", "rewards", "following"):
        own = getattr(log, what)
        if own is None:
            continue
        bad = ~np.isfinite(own.reshape(len(own), -1)).all(axis=1)
        if bad.any():
            text = f"{int(bad.sum()):,} rows of {what} are not finite, first row {bad.argmax():,}."
            yield _row("numbers", "concern", text, "leave those episodes out")
            return
    yield _row("numbers", "fine", "all are finite.")


def alignment(log: LoggedSteps) -> Iterator[Finding]:
    """Whether what follows is the next row, and whether actions belong to their row."""
    inner = ~log.last
    if log.following is not None and inner.any():
        after = np.roll(log.observations, -1, axis=0)[inner]
        apart = ~np.isclose(log.following[inner], after, rtol=1e-4, atol=1e-6).all(axis=1)
        share = float(apart.mean())
        if share > 0.01:
            text = f"in {share:.1%} of rows within episodes what follows is not the next row."
            remedy = "rows are shuffled, or following is of another row: look at how it was logged"
            yield _row("alignment", "concern", text, remedy)
        else:
            yield _row("alignment", "fine", "what follows is the next row.")
    explained = {shift: _explained(log, shift) for shift in (-1, 0, 1)}
    if any(np.isnan(own) for own in explained.values()):
        yield _row("action", "unchecked", "too few rows to see which action a change is of.")
        return
    best = max(explained, key=lambda shift: explained[shift])
    if best == 1 and _from_before(log) < KNOWN:
        # The next action answers to what was seen next, and so tells of the change.
        best = 0
    shares = ", ".join(f"{explained[k]:.2f} by row t{k:+d}" for k in (-1, 1))
    sure = f"of the change from t to t+1, {explained[0]:.2f} is explained by row t's, {shares}"
    if best and explained[best] > explained[0] + CLEARER:
        text = f"actions look shifted: a change is explained best by the action of row t{best:+d}."
        yield _row("action", "concern", text, "shift actions by one row within episodes", sure)
    elif explained[0] < 0.02:
        text = "no row's action explains the next change linearly: alignment cannot be told."
        yield _row("action", "unchecked", text, "", sure)
    else:
        yield _row(
            "action", "fine", "a change is explained best by its own row's action.", "", sure
        )


def _explained(log: LoggedSteps, shift: int) -> float:
    """Share of the change of observations that another row's action explains, out of sample.

    Beside what was seen, which the policy's action depends on.
    """
    following, known = log.next_observations()
    rows = np.flatnonzero(known)
    rows = rows[(rows + shift >= 0) & (rows + shift < len(known))]
    rows = rows[log.episode[rows + shift] == log.episode[rows]][:MOST]
    change = following[rows] - log.observations[rows]
    return _gain(change, log.observations[rows], log.actions[rows + shift])


def _from_before(log: LoggedSteps) -> float:
    """Share of an action that what was seen a row before explains, beside what was seen then."""
    rows = np.flatnonzero(~log.last)[:MOST]
    seen = log.observations
    return _gain(log.actions[rows + 1], seen[rows + 1], seen[rows])


def _gain(target: Array, base: Array, more: Array) -> float:
    """Share of a target's variance that ``more`` explains linearly beside ``base``."""
    varies = target.std(axis=0) > 1e-9
    if len(target) < 20 * (more.shape[1] + 1) or not varies.any():
        return float("nan")
    target = _standardised(target[:, varies])
    known = np.column_stack([np.ones(len(target)), _standardised(base)[:, :50]])
    whole = np.column_stack([known, _standardised(more)[:, :50]])
    half = np.arange(len(target)) % 2 == 0
    gain = 0.0
    for train, test in ((half, ~half), (~half, half)):
        left = [_left(inputs, target, train, test) for inputs in (known, whole)]
        gain += (left[0] - left[1]) / (target[test] ** 2).sum() / 2
    return float(gain)


def _standardised(values: Array) -> Array:
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)


def _left(inputs: Array, target: Array, train: Array, test: Array) -> float:
    fitted, *_ = np.linalg.lstsq(inputs[train], target[train], rcond=None)
    return float(((target[test] - inputs[test] @ fitted) ** 2).sum())


def ends(log: LoggedSteps) -> Iterator[Finding]:
    """Whether ends are marked, and where episodes are over."""
    last, ended = log.last, log.terminated
    if ended is None:
        text = "nothing says where episodes end by themselves: an end cannot be told from a limit."
        yield _row("ends", "concern", text, "log terminated and truncated apart (gymnasium does)")
        return
    middle = ended & ~last
    if middle.any():
        text = f"{int(middle.sum()):,} rows are marked as ends, and their episode goes on."
        yield _row("ends", "concern", text, "number episodes anew, or mend the marks")
    elif ended.any():
        share = ended.sum() / last.sum()
        yield _row("ends", "fine", f"{share:.0%} of episodes end by themselves, at their last row.")
    else:
        text = "no episode ends by itself: right for tasks without an end; else mark where they do."
        yield _row("ends", "note", text)
    cut = log.truncated
    if cut is not None and (last & ~ended & ~cut)[:-1].any():
        count = int((last & ~ended & ~cut).sum())
        yield _row("ends", "note", f"{count:,} episodes neither end nor are cut, by their marks.")


def time_limits(log: LoggedSteps) -> Iterator[Finding]:
    """Time limits that are marked as ends; starts that are not marked."""
    place = np.unique(log.episode, return_inverse=True)[1].reshape(-1)
    length = np.bincount(place)
    longest = int(length.max())
    at_limit = length == longest
    if log.terminated is not None and longest > 1 and at_limit.sum() >= 3:
        by_end = np.bincount(place, log.terminated) > 0
        both, same = int((at_limit & by_end).sum()), int(at_limit.sum())
        never_cut = log.truncated is None or not log.truncated[log.last].any()
        if both >= 0.9 * same and never_cut:
            text = (
                f"{both:,} of {same:,} episodes of the longest length ({longest:,} steps) are"
                " marked as ended by themselves, and none as cut: time limits read as ends."
            )
            remedy = "mark them truncated: a critic learns that nothing follows where much does"
            yield _row("time limits", "concern", text, remedy)
    jumps = _jumps(log)
    if jumps:
        text = (
            f"{jumps:,} rows within episodes jump further than 20 times the usual change: starts of"
            " episodes that are not marked?"
        )
        yield _row("starts", "concern", text, "number episodes by where they start")


def _jumps(log: LoggedSteps) -> int:
    """Changes within episodes far beyond the others; known next observations tell none."""
    inner = np.flatnonzero(~log.last)
    if log.following is not None or len(inner) < 100:
        return 0
    change = np.abs(log.observations[inner + 1] - log.observations[inner])
    usual = np.quantile(change, 0.9, axis=0)
    far = (change > 20 * np.where(usual > 1e-9, usual, np.inf)).any(axis=1)
    count = int(far.sum())
    return count if count < 0.05 * len(inner) else 0


def scales(log: LoggedSteps) -> Iterator[Finding]:
    """Ranges of actions, dimensions that never move, and those at their edge."""
    low, high = np.nanmin(log.actions, axis=0), np.nanmax(log.actions, axis=0)
    still = np.flatnonzero(high - low < 1e-9)
    if len(still):
        text = f"dimensions {_some(still)} of actions never change."
        yield _row("actions", "note", text, "leave them out, or a critic extrapolates along them")
    reach = np.maximum(np.abs(low), np.abs(high))
    if reach.max() > 1 + 1e-6:
        text = (
            f"actions reach from {low.min():.3g} to {high.max():.3g}; critics here read them within"
            " [-1, 1]."
        )
        remedy = "learn.ActionScale(low, high): the same in training and when steering"
        yield _row("scales", "note", text, remedy)
    moving = reach[high - low >= 1e-9]
    if len(moving) > 1 and moving.max() > 20 * moving.min():
        text = (
            f"dimensions of actions differ in scale by {moving.max() / moving.min():.0f} times: one"
            " norm would see the largest alone."
        )
        yield _row("scales", "note", text, "scale each dimension by its own bounds")
    edge = (np.isclose(log.actions, high) | np.isclose(log.actions, low))[:, high - low >= 1e-9]
    share = edge.mean(axis=0) if edge.size else np.zeros(1)
    if share.max() > 0.5:
        text = f"{share.max():.0%} of the actions of a dimension are at its edge: cut, or binary."
        yield _row("scales", "note", text)
    if reach.max() <= 1 + 1e-6 and not len(still):
        yield _row("scales", "fine", f"actions lie within [{low.min():.3g}, {high.max():.3g}].")


def duplicates(log: LoggedSteps) -> Iterator[Finding]:
    """Episodes that are there twice, and rows that repeat."""
    rows = np.ascontiguousarray(np.column_stack([log.observations, log.actions]))
    rounded = np.round(rows, 6) + 0.0
    starts = np.flatnonzero(np.insert(log.last[:-1], 0, True))
    parts = np.split(rounded, starts[1:])
    seen: dict[bytes, int] = {}
    twice = 0
    for part in parts:
        key = part.tobytes()
        twice += key in seen
        seen[key] = 1
    if twice:
        text = f"{twice:,} episodes are there more than once."
        yield _row("duplicates", "concern", text, "leave copies out: they count as evidence twice")
        return
    distinct = len(np.unique(rounded, axis=0))
    share = 1 - distinct / len(rows)
    if share > 0.05:
        text = f"{share:.0%} of steps (what was seen and done) are copies of others."
        yield _row("duplicates", "note", text)
    else:
        yield _row("duplicates", "fine", "no episode is there twice.")


def rewards(log: LoggedSteps) -> Iterator[Finding]:
    """Rewards that say nothing, or arrive where nobody looks."""
    if log.rewards is None:
        text = "there are no rewards: policies can be cloned, critics learn nothing."
        yield _row("rewards", "concern", text, "add them, or learn.demonstrated for demonstrations")
        return
    if np.ptp(log.rewards) == 0:
        text = f"every reward is {log.rewards[0]:.4g}: no action is better than another."
        yield _row("rewards", "concern", text)
        return
    total = np.bincount(np.unique(log.episode, return_inverse=True)[1], log.rewards)
    low, middle, high = np.quantile(total, [0.05, 0.5, 0.95])
    text = f"an episode's sum is {low:.4g} to {high:.4g} (5% to 95%), {middle:.4g} in the middle."
    if len(total) > 1 and np.ptp(total) < 1e-9:
        yield _row("rewards", "note", f"all episodes have the same sum, {total[0]:.4g}.")
    else:
        yield _row("rewards", "fine", text)


def coverage(log: LoggedSteps) -> Iterator[Finding]:
    """Whether there is anything to choose between."""
    episodes = int(log.last.sum())
    if episodes < 20:
        text = f"{episodes} episodes: what is learned rests on so few."
        yield _row("coverage", "note", text)
    known = _predictable(log)
    if known > 0.99:
        text = (
            f"what was seen predicts {known:.1%} of what was done: one action a state, so that no"
            " critic can tell a better one."
        )
        yield _row("coverage", "concern", text, "log with exploration, or several policies")
    else:
        share = f"{max(known, 0):.0%}"
        text = f"what was seen predicts {share} of what was done: states have several actions."
        yield _row("coverage", "fine", text)


def _predictable(log: LoggedSteps, most: int = 4000) -> float:
    """Share of the actions' variance that the nearest other episode's state foretells."""
    from scipy.spatial import cKDTree

    rows = np.arange(len(log.actions))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    spread = log.observations[rows].std(axis=0)
    seen = log.observations[rows] / np.where(spread > 1e-9, spread, 1.0)
    acted, episode = log.actions[rows], log.episode[rows]
    near = cKDTree(seen).query(seen, k=min(16, len(rows)))[1]
    other = episode[near] != episode[:, None]
    has = other.any(axis=1)
    if has.sum() < 10 or acted.var(axis=0).sum() < 1e-12:
        return 0.0
    at = np.flatnonzero(has)
    match = near[at, other[at].argmax(axis=1)]
    error = ((acted[at] - acted[match]) ** 2).mean(axis=0).sum() / 2
    return float(1 - error / acted[at].var(axis=0).sum())


def _some(numbers: NDArray[Any], most: int = 8) -> str:
    told = ", ".join(str(own) for own in numbers[:most])
    return told + (" ..." if len(numbers) > most else "")


CHECKS: dict[str, Check] = {
    "numbers": finite,
    "alignment": alignment,
    "ends": ends,
    "time limits": time_limits,
    "scales": scales,
    "duplicates": duplicates,
    "rewards": rewards,
    "coverage": coverage,
}
"""Name -> a check of a log."""
