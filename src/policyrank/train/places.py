"""Functions that files name: rewards, keys of groups, segments, advantages."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from typing import Any

from policyrank.errors import OptionError


@cache
def imported(place: str) -> Any:
    """What ``"module:name"`` names, or ``"module:name(option=value)"`` gives; the same each time.

    Values are plain: numbers, texts, lists.

    Raises
    ------
    OptionError
        When it cannot be imported, or does not take these options.

    Examples
    --------
    >>> imported("fractions:Fraction(numerator=1, denominator=4)")
    Fraction(1, 4)
    """
    module, found, expression = place.partition(":")
    if not found:
        raise OptionError(f'{place!r}: write "module:name", or "module:name(option=value)".')
    name, options = _called(place, expression)
    try:
        own = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{place!r}: cannot be imported ({error}).") from None
    if options is None:
        return own
    try:
        return own(**options)
    except TypeError as error:
        raise OptionError(f"{place!r}: {error}.") from None


def _called(place: str, expression: str) -> tuple[str, dict[str, Any] | None]:
    """A name, and the options that it is called with; None: it is not called."""
    try:
        told = ast.parse(expression, mode="eval").body
        if isinstance(told, ast.Name):
            return told.id, None
        if isinstance(told, ast.Call) and isinstance(told.func, ast.Name) and not told.args:
            given = {str(one.arg): ast.literal_eval(one.value) for one in told.keywords}
            return told.func.id, given
    except (SyntaxError, ValueError):
        pass
    raise OptionError(f'{place!r}: write "module:name", or "module:name(option=value)".')
