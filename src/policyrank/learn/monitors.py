"""Signals of a policy that collapses, watched step by step; any trainer can carry one object.

A reward that rises is no sign of health: in a collapse it rises longest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn.watched import SIGNALS, Signal

REWARD = "reward"
PATTERN = "pattern"
SMOOTH = 5
EARLIER = 3
"""Baselines that must have passed before a value is compared with what it was a window ago."""
NOISE = 8
"""Deviations of the first values that a value must be above before it can have grown from there."""


@dataclass(frozen=True)
class Alarm:
    """A signal that was said.

    Attributes
    ----------
    signal, step
        which, and when first
    value, baseline
        smoothed, and what it was compared with; NaN where with nothing
    why, remedy
        in words
    """

    signal: str
    step: float
    value: float
    baseline: float
    why: str
    remedy: str = ""


@dataclass
class _Track:
    """One signal's past."""

    first: list[float] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTH))
    smoothed: list[float] = field(default_factory=list)
    highest: float = -math.inf
    lowest: float = math.inf
    over: int = 0


class CollapseMonitor:
    """Watches what a trainer logs; each signal is said once, when it first stays beyond its limit.

    Values are smoothed by the median of the last five, compared after ``baseline`` of them (with
    what was a window ago, after three times as many), and said when ``patience`` in a row are
    beyond the limit, and further from what they are compared with than four deviations of the first
    values; of what is below eight of these there are no multiples. A value that is not finite is
    said at once.

    The pattern of a policy that games its reward is a signal of its own: KL and length rise by half
    while perplexity (or else entropy) falls by a fifth.

    **How far to trust it.** An alarm says that training changes suddenly, seldom that it will fail.
    The limits of ``kl``, ``entropy``, ``perplexity`` and the pattern were chosen on small runs with
    a known true reward, to be quiet where that does not fall. In bandits with a learned reward, 400
    steps, 7% of 162 healthy runs had an alarm (91% with KL's limit of 2 and the others against the
    start, which slow learning passes as well); of 126 others 10% had one before the true reward
    fell (65%): no more than healthy runs by the same step. Of recurrent policies that write, 60
    rounds, 13 gamed their reward until the true one fell: all had an alarm, 2 to 18 rounds after
    that had begun; so had 4 of 8 healthy ones, whose best outputs are longer. Critic, gradient and
    clipped ratios were tried on simulated numbers alone: in healthy runs of 500 steps, with noise
    of 10, 30 and 60% of each value, 0, 13 and 28% of 60 had an alarm of any signal.

    Parameters
    ----------
    limits
        signal -> fields of its ``Signal`` that are other than ``SIGNALS`` has them, or None: not
        watched; other names are new signals
    baseline
        values that say what a signal was at the start, and how far back "earlier" is
    patience
        how many in a row must be beyond

    Raises
    ------
    OptionError
        For fields that a signal has not, or numbers below 1.

    References
    ----------
    Zheng et al. (2023), "Secrets of RLHF in Large Language Models Part I: PPO", arXiv 2307.04964,
    section 5.2, for the signals; the limits are this library's.

    Examples
    --------
    >>> monitor = CollapseMonitor()
    >>> for step in range(60):
    ...     found = monitor.update(step, {"entropy": 2.0 if step < 40 else 0.1, "reward": step / 9})
    ...     if found:
    ...         print(found[0].step, found[0].why)
    46 entropy of the policy fell to 0.1, below 0.5 times 2, the least that it was 10 values earlier
    """

    def __init__(
        self,
        limits: Mapping[str, Mapping[str, Any] | None] | None = None,
        *,
        baseline: int = 10,
        patience: int = 5,
    ) -> None:
        if baseline < 1 or patience < 1:
            raise OptionError("baseline and patience are 1 or more.")
        if patience > baseline:
            raise OptionError(
                f"patience={patience} is more than baseline={baseline}: what changes suddenly would"
                " be the usual before it is said. Lower patience."
            )
        self.baseline, self.patience = baseline, patience
        self.signals = dict(SIGNALS)
        for name, own in (limits or {}).items():
            if own is None:
                self.signals.pop(name, None)
                continue
            refuse_unknown_options(own, list(Signal.__dataclass_fields__), of=f"signal {name!r}")
            known = asdict(self.signals[name]) if name in self.signals else {"about": name}
            self.signals[name] = Signal(**{**known, **own})
        self.alarms: list[Alarm] = []
        self._tracks: dict[str, _Track] = {}

    def update(self, step: float, values: Mapping[str, float]) -> list[Alarm]:
        """Take in what was logged at a step; what is said for the first time now.

        Names that are no signals are left alone, and so are NaN of signals that were never finite.
        """
        found = []
        for name, value in values.items():
            if name in self.signals or name == REWARD:
                found += self._watch(name, step, float(value))
        found += self._pattern(step)
        self.alarms += found
        return found

    @property
    def seen(self) -> tuple[str, ...]:
        """Signals of which there were values, in their order."""
        return tuple(name for name in self.signals if name in self._tracks)

    @property
    def missing(self) -> tuple[str, ...]:
        """Signals of which there was nothing."""
        return tuple(name for name in self.signals if name not in self._tracks)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Signals with too few values for each of their limits to be said."""
        return tuple(name for name in self.seen if self.count(name) < self.needed(name))

    def count(self, name: str) -> int:
        """Finite values of a signal that were seen."""
        return len(self._tracks[name].smoothed) if name in self._tracks else 0

    def needed(self, name: str) -> int:
        """Values of a signal before each of its limits can be said."""
        signal = self.signals[name]
        windows = EARLIER if signal.against == "earlier" or signal.drops is not None else 1
        return windows * self.baseline + self.patience

    def start_of(self, name: str) -> float:
        """The median of a signal's first values; NaN where there are none."""
        track = self._tracks.get(name)
        return median(track.first) if track is not None and track.first else math.nan

    def _watch(self, name: str, step: float, value: float) -> list[Alarm]:
        if not math.isfinite(value):
            return self._not_finite(name, step, value)
        track = self._tracks.setdefault(name, _Track())
        track.recent.append(value)
        track.smoothed.append(median(track.recent))
        if len(track.first) < self.baseline:
            track.first.append(value)
            return []
        if len(track.smoothed) > self.baseline:
            earlier = track.smoothed[-1 - self.baseline]
            track.highest = max(track.highest, earlier)
            track.lowest = min(track.lowest, earlier)
        signal = self.signals.get(name)
        if signal is None:
            return []
        why, baseline = self._beyond(signal, track)
        track.over = track.over + 1 if why else 0
        if track.over < self.patience or self._said(name):
            return []
        return [Alarm(name, step, track.smoothed[-1], baseline, why, signal.remedy)]

    def _beyond(self, signal: Signal, track: _Track) -> tuple[str, float]:
        """Why a value is beyond a limit, and what it was compared with; empty: it is not."""
        value, was = track.smoothed[-1], median(track.first)
        told = f"{was:.3g} of the start"
        if signal.against == "earlier":
            was = track.highest
            told = f"{was:.3g} that it had reached {self.baseline} values earlier"
            noise = NOISE * _spread(track.first)
            if len(track.smoothed) < EARLIER * self.baseline or was <= noise:
                was = math.nan  # of what is within the noise there are no multiples
        about = signal.about
        if signal.over is not None and value > signal.over:
            return f"{about} is {value:.3g}, above {signal.over:g}", math.nan
        if signal.under is not None and value < signal.under:
            return f"{about} is {value:.3g}, below {signal.under:g}", math.nan
        if signal.drops is not None and self._dropped(signal.drops, track):
            lowest = track.lowest
            told = f"{lowest:.3g}, the least that it was {self.baseline} values earlier"
            return f"{about} fell to {value:.3g}, below {signal.drops:g} times {told}", lowest
        if not was > 0 or abs(value - was) <= 4 * _spread(track.first):
            return "", math.nan
        if signal.rises is not None and value > signal.rises * was:
            return f"{about} rose to {value:.3g}, above {signal.rises:g} times the {told}", was
        if signal.falls is not None and value < signal.falls * was:
            return f"{about} fell to {value:.3g}, below {signal.falls:g} times the {told}", was
        return "", math.nan

    def _dropped(self, share: float, track: _Track) -> bool:
        """Whether a value is suddenly below what it was."""
        if len(track.smoothed) < EARLIER * self.baseline:
            return False
        value, was = track.smoothed[-1], track.lowest
        return was > 0 and value < share * was and was - value > 4 * _spread(track.first)

    def _not_finite(self, name: str, step: float, value: float) -> list[Alarm]:
        """Once finite, never again otherwise; what always was NaN is not logged."""
        if name not in self._tracks or self._said(name):
            return []
        about = self.signals[name].about if name in self.signals else name
        remedy = "look at the step before; a lower learning rate, finite rewards"
        return [Alarm(name, step, value, math.nan, f"{about} is {value}", remedy)]

    def _pattern(self, step: float) -> list[Alarm]:
        tracks = self._tracks
        narrow = "perplexity" if "perplexity" in tracks else "entropy"
        needed = ("kl", "length", narrow)
        if self._said(PATTERN) or any(name not in tracks for name in needed):
            return []
        if any(len(tracks[name].smoothed) < 2 * self.baseline for name in needed):
            return []
        now = {name: tracks[name].smoothed[-1] for name in needed}
        was = {name: self.start_of(name) for name in needed}
        was["kl"] = tracks["kl"].highest
        shows = (
            now["kl"] > 1.5 * max(was["kl"], 0.0)
            and now["length"] > 1.5 * was["length"]
            and now[narrow] < 0.8 * was[narrow]
        )
        track = tracks.setdefault(PATTERN, _Track())
        track.over = track.over + 1 if shows else 0
        if track.over < self.patience:
            return []
        why = (
            f"KL ({was['kl']:.3g} to {now['kl']:.3g}) and length ({was['length']:.3g} to"
            f" {now['length']:.3g}) rise while {narrow} falls ({was[narrow]:.3g} to"
            f" {now[narrow]:.3g})"
        )
        remedy = "the reward may be gamed: look at samples, and score some by another judge"
        return [Alarm(PATTERN, step, math.nan, math.nan, why, remedy)]

    def _said(self, name: str) -> bool:
        return any(alarm.signal == name for alarm in self.alarms)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, plain."""
        tracks = {}
        for name, track in self._tracks.items():
            tracks[name] = {**vars(track), "recent": list(track.recent)}
        return {"alarms": [asdict(alarm) for alarm in self.alarms], "tracks": tracks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.alarms = [Alarm(**alarm) for alarm in state["alarms"]]
        self._tracks = {}
        for name, kept in state["tracks"].items():
            recent = deque(kept["recent"], maxlen=SMOOTH)
            own = {**kept, "recent": recent, "first": list(kept["first"])}
            self._tracks[name] = _Track(**{**own, "smoothed": list(kept["smoothed"])})


def _spread(values: list[float]) -> float:
    """A standard deviation that outliers do not move: from the median distance to the median."""
    middle = median(values)
    return 1.4826 * median(abs(value - middle) for value in values)


def reward_signals(rewards: Iterable[float]) -> dict[str, float]:
    """Mean, deviation and tail of a round's rewards, for ``CollapseMonitor.update``; NaN left out.

    Examples
    --------
    >>> reward_signals([0.0, 0.0, 0.0, 4.0])
    {'reward': 1.0, 'reward_spread': 1.732..., 'reward_tail': 1.732...}
    """
    known = [float(value) for value in rewards if not math.isnan(value)]
    if not known:
        return {}
    mean = sum(known) / len(known)
    spread = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
    found = {"reward": mean, "reward_spread": spread}
    if spread > 0:
        found["reward_tail"] = (max(known) - mean) / spread
    return found
