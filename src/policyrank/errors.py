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

LONGEST_WORD = 300
LONGEST_LINE = 1500
"""Characters of a word and of a line of messages; files of others hold longer ones."""


def printable(text: str) -> str:
    """A text in which nothing steers a terminal or turns its direction: lines, tabs, and signs.

    Examples
    --------
    >>> printable("\x1b[31mred\x1b[0m and \u202eturned")
    '�[31mred�[0m and �turned'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)


def one_line(text: str) -> str:
    """A text on one line that a terminal can show; over-long words, and an over-long line, are cut
    in their middle.

    Examples
    --------
    >>> one_line("no column 'a\\nb'"), len(one_line("x" * 100_000))
    ("no column 'a b'", 300)
    """
    if len(text) <= LONGEST_WORD and text.isprintable():
        return text
    text = printable(" ".join(text.splitlines()))
    words = [_cut(word, LONGEST_WORD) for word in text.split()]
    return _cut(" ".join(words), LONGEST_LINE)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]}...{text[-tail:]}"


class PolicyrankError(Exception):
    """Everything below, to catch at once."""


class EvidenceError(PolicyrankError, ValueError):
    """Results, data or files that cannot be used; the message is one line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class OptionError(PolicyrankError, ValueError):
    """An option that does not exist, or a value that it does not take; the message is one line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


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
