"""What rating methods share: scales, the weak prior, and which evidence a method takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

import numpy as np

from policyrank.errors import EvidenceError, OptionError, refuse_unknown_options
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking.links import Link

P = ParamSpec("P")
R = TypeVar("R")

ELO = 400 / np.log(10)
"""Points a unit of log-odds."""

ELO_CENTRE = 1500.0

UNIT_NAMES = {"elo": "Elo points", "natural": "log-odds"}
"""Scale -> what the board calls its unit."""

RESAMPLED = ("bootstrap", "none")
"""Kinds of interval of a method that has only the bootstrap's."""

WEAK_PRIOR = 2.0
"""Standard deviation in log-odds of the prior where the maximum does not exist."""

CONVERSIONS: dict[tuple[type, type], str] = {
    (Scores, Rankings): "Convert it with .to_rankings().",
    (Scores, Comparisons): "Convert it with .to_comparisons().",
    (Rankings, Comparisons): "Convert it with Comparisons.of_rankings(...).",
    (Comparisons, Rankings): "Convert it with .to_rankings().",
}
"""(what is there, what is wanted) -> how to get it."""


def scale_of(scale: str, link: Link | None = None) -> tuple[float, float]:
    """Board units a unit of theta, and the centre of the board.

    Examples
    --------
    >>> unit, centre = scale_of("elo")
    >>> round(float(unit), 2), centre
    (173.72, 1500.0)
    """
    if scale == "elo":
        return ELO * (1.0 if link is None else link.slope), ELO_CENTRE
    if scale == "natural":
        return 1.0, 0.0
    raise EvidenceError(f"scale={scale!r}: use 'elo' or 'natural'.")


def need(evidence: Any, kinds: type | tuple[type, ...], method: str) -> None:
    """Refuse another form of evidence than the method takes, and name the conversion.

    Examples
    --------
    >>> ballots = Rankings.of([["x", "y"]])
    >>> need(ballots, Comparisons, "elo")
    Traceback (most recent call last):
        ...
    policyrank.errors.EvidenceError: elo takes Comparisons, not Rankings. Convert it with ...
    """
    if isinstance(evidence, kinds):
        return
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    ways = [CONVERSIONS.get((type(evidence), kind)) for kind in wanted]
    remedies = [way for way in ways if way is not None]
    if not remedies:
        remedies = [f"Read it with read_{wanted[0].__name__.lower()}()."]
    names = " or ".join(kind.__name__ for kind in wanted)
    raise EvidenceError(f"{method} takes {names}, not {type(evidence).__name__}. {remedies[0]}")


@cache
def option_names(method: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the options that a ranking method takes, those of its ``Unpack`` included."""
    hints = get_type_hints(method)
    names: list[str] = []
    for name, parameter in list(signature(method).parameters.items())[1:]:
        if parameter.kind == parameter.VAR_KEYWORD:
            names += get_type_hints(get_args(hints[name])[0])
        else:
            names.append(name)
    return tuple(names)


def checks_options(method: Callable[P, R]) -> Callable[P, R]:
    """Let a ranking method refuse a misspelt option before it looks at its evidence."""

    @wraps(method)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        given = sorted(options.keys() - {"evidence"})
        name = method.__name__.replace("_", "-")
        refuse_unknown_options(given, option_names(method), of=name)
        return method(*args, **options)

    return checked


def check_interval(interval: str, there_are: tuple[str, ...], method: str) -> None:
    """Refuse a kind of interval that a method does not have."""
    if interval not in there_are:
        raise OptionError(
            f"interval={interval!r}: use {' or '.join(map(repr, there_are))} for {method}."
        )
