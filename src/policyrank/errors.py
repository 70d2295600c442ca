"""The errors that this library raises on purpose; each message names the place and the remedy.

PolicyrankError
├── EvidenceError      results, data or files that cannot be used (also a ValueError)
├── OptionError        an option that does not exist, or a value that it does not take
│                      (also a ValueError)
└── MissingExtraError  a part whose packages are not installed (also an ImportError)
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PolicyrankError(Exception):
    """Everything below, to catch at once."""


class EvidenceError(PolicyrankError, ValueError):
    """Results, data or files that cannot be used."""


class OptionError(PolicyrankError, ValueError):
    """An option that does not exist, or a value that it does not take."""


class MissingExtraError(PolicyrankError, ImportError):
    """A part whose packages are not installed."""


def refuse_unknown_options(given: Iterable[str], known: Iterable[str], *, of: str) -> None:
    """Refuse options that there are not, and name the nearest and all.

    Parameters
    ----------
    given, known
        names of options
    of
        what takes them, as the message calls it

    Raises
    ------
    OptionError

    Examples
    --------
    >>> refuse_unknown_options(["levle"], ["level"], of="borda")
    Traceback (most recent call last):
    policyrank.errors.OptionError: borda has no option 'levle'. Did you mean 'level'? It has: level.
    """
    there = list(known)
    for option in given:
        if option not in there:
            near = get_close_matches(option, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(there) or "none"
            raise OptionError(f"{of} has no option {option!r}.{hint} It has: {listed}.")
