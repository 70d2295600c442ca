"""Whether methods were compared fairly: equal tuning, equal cost, and baselines that are well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Tuned:
    """How a method was tuned.

    Attributes
    ----------
    method, metric
        its name, and the metric (higher is better) that chose among settings
    tried
        settings with the mean that each reached on worlds apart from those judged
    chosen
        the best of them
    worlds
        how many worlds each was tried in
    """

    method: str
    metric: str
    tried: tuple[tuple[Settings, float], ...]
    chosen: Settings
    worlds: int


@dataclass(frozen=True)
class Health:
    """A sign of whether a method ran as it should.

    Attributes
    ----------
    method, sign
        who, and what was measured: effective rows, KL, a gradient's norm
    value, least, most
        what was found, and the bounds within which it is well
    """

    method: str
    sign: str
    value: float
    least: float = -np.inf
    most: float = np.inf

    @property
    def healthy(self) -> bool:
        """Whether the value is within its bounds."""
        return bool(self.least <= self.value <= self.most)


def tune(
    grids: Mapping[str, Sequence[Settings]],
    measure: Callable[[str, Settings, int], float],
    worlds: Iterable[int],
    *,
    metric: str,
) -> dict[str, Tuned]:
    """Choose the settings of each method, by the same budget for all.

    Parameters
    ----------
    grids
        method -> settings to try, as many for each
    measure
        (method, settings, world) -> what it reaches there, higher is better; NaN: it failed
    worlds
        apart from those in which methods are judged
    metric
        what is measured, for the page

    Raises
    ------
    OptionError
        When one method would have more settings to choose from than another.

    Examples
    --------
    >>> found = tune(
    ...     {"a": [{"rate": 1.0}, {"rate": 2.0}], "b": [{"rate": 1.0}, {"rate": 3.0}]},
    ...     lambda method, settings, world: -abs(settings["rate"] - 2) + world,
    ...     worlds=(0, 1), metric="score",
    ... )
    >>> found["a"].chosen, found["b"].tried[1][1]
    ({'rate': 2.0}, -0.5)
    """
    budgets = {method: len(grid) for method, grid in grids.items()}
    if len(set(budgets.values())) > 1:
        told = ", ".join(f"{method} {number}" for method, number in budgets.items())
        raise OptionError(f"tuning is unequal: {told} settings. Try as many of each method.")
    places = list(worlds)
    found = {}
    for method, grid in grids.items():
        tried = []
        for settings in grid:
            values = [measure(method, settings, world) for world in places]
            tried.append((dict(settings), float(np.mean(values))))
        best = max(tried, key=lambda own: -np.inf if np.isnan(own[1]) else own[1])
        found[method] = Tuned(method, metric, tuple(tried), best[0], len(places))
    return found


@dataclass(frozen=True)
class Curve:
    """What a method reaches along its training, and what it has cost by then: KL, updates, calls.

    Methods that move at different speed are compared where their cost is the same.
    """

    cost: NDArray[np.float64]
    value: NDArray[np.float64]

    def at(self, cost: float) -> float | None:
        """The value where the cost first comes to this, linear between points; None: it never does.

        Examples
        --------
        >>> curve = Curve(np.array([0.0, 1.0, 0.5, 3.0]), np.array([0.5, 0.7, 0.6, 0.8]))
        >>> curve.at(0.5), round(curve.at(2.0), 2), curve.at(4.0)
        (0.6, 0.72, None)
        """
        there = np.flatnonzero(self.cost >= cost)
        if not len(there):
            return None
        last = int(there[0])
        around = slice(max(last - 1, 0), last + 1)
        return float(np.interp(cost, self.cost[around], self.value[around]))


def typical(signs: Iterable[Health]) -> tuple[Health, ...]:
    """Each method's signs, of many runs, as that of its median run; not a number if one is none.

    Examples
    --------
    >>> runs = [Health("dpo", "KL", value, most=10.0) for value in (1.0, 2.0, 30.0)]
    >>> [(own.value, own.healthy) for own in typical(runs)]
    [(2.0, True)]
    """
    groups: dict[tuple[str, str], list[Health]] = {}
    for own in signs:
        groups.setdefault((own.method, own.sign), []).append(own)
    found = []
    for runs in groups.values():
        middle = float(np.median([own.value for own in runs]))
        found.append(replace(runs[0], value=middle))
    return tuple(found)
