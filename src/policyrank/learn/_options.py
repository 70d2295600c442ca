"""Which options a loss takes, asked before it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from policyrank.errors import OptionError, refuse_unknown_options


def options_of(function: Callable[..., Any]) -> set[str] | None:
    """Names of a loss's options, beside its two tensors; None when it takes any.

    Those of a function that is bound as the first argument of a partial (``of_ranking`` with a
    loss) count as well, since that is what the rest is passed to.

    Examples
    --------
    >>> def loss(scores, labels, *, where=None, beta=0.1): ...
    >>> sorted(options_of(partial(loss, beta=1.0)))
    ['beta', 'where']
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # of a builtin
        return None
    kinds = {own.name: own.kind for own in parameters}
    names = {name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY}
    for own in parameters[2:]:
        if own.kind is own.POSITIONAL_OR_KEYWORD:
            names.add(own.name)
    if inspect.Parameter.VAR_KEYWORD not in kinds.values():
        return names
    if not isinstance(function, partial) or not function.args:
        return None
    inner = options_of(function.args[0])
    if inner is None:
        return None
    return names | inner


def check_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    name: str,
    given: Collection[str] = ("where",),
) -> None:
    """Refuse options that a loss does not take.

    Parameters
    ----------
    name
        what the loss is called in the message
    given
        options that the caller gives itself

    Raises
    ------
    OptionError
        Naming the options there are; or one that is no number where its default is.
    """
    known = options_of(function)
    if known is None:
        return
    refuse_unknown_options(options, sorted(known.difference(given)), of=name)
    defaults = _defaults(function)
    for option, value in options.items():
        default = defaults.get(option)
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if number and not isinstance(value, (int, float)):
            raise OptionError(f"{name}: {option}={value!r} is no number.")


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of a loss's options, those bound to a partial's inner function included."""
    found: dict[str, Any] = {}
    if isinstance(function, partial) and function.args:
        found = _defaults(function.args[0])
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a builtin
        return found
    return found | {own.name: own.default for own in parameters}
