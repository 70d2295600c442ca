"""The errors that this library raises on purpose; each message names the place and the remedy.

PolicyrankError
├── EvidenceError      results, data or files that cannot be used (also a ValueError)
├── OptionError        an option that does not exist, or a value that it does not take
│                      (also a ValueError)
└── MissingExtraError  a part whose packages are not installed (also an ImportError)
"""

from __future__ import annotations


class PolicyrankError(Exception):
    """Everything below, to catch at once."""


class EvidenceError(PolicyrankError, ValueError):
    """Results, data or files that cannot be used."""


class OptionError(PolicyrankError, ValueError):
    """An option that does not exist, or a value that it does not take."""


class MissingExtraError(PolicyrankError, ImportError):
    """A part whose packages are not installed."""
