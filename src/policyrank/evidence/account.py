"""What was done to an input: what was read as what, guessed, left out; what may be guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from policyrank.errors import EvidenceError, one_line

Bad = Literal["raise", "skip"]


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``3 entries``."""
    if count == 1:
        return f"{count:,} {noun}"
    if noun.endswith("y"):
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}s"


def listed(names: object, most: int = 8) -> str:
    """Names for a message, the first few of them."""
    several = [str(name) for name in names]  # type: ignore[attr-defined]
    text = ", ".join(several[:most])
    if len(several) > most:
        text += f" and {len(several) - most:,} more"
    return text


@dataclass
class Account:
    """The account of one reading: its notes; and whether guesses and bad entries are allowed.

    Attributes
    ----------
    name
        of the input, as messages call it
    bad
        ``"raise"``: entries without a usable value are an error; ``"skip"``: left out and counted
    strict
        refuse every guess
    """

    name: str
    bad: Bad = "raise"
    strict: bool = False
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say something about the input, once."""
        text = one_line(text)
        if text not in self.notes:
            self.notes.append(text)

    def guess(self, text: str, remedy: str) -> None:
        """Say what was guessed; with ``strict``, refuse it, with what would settle it."""
        if self.strict:
            raise EvidenceError(f"{self.name}: {text}: a guess, and strict allows none. {remedy}")
        self.note(text)

    def unusable(self, what: str, places: list[str], noun: str = "entry") -> None:
        """Refuse entries that cannot be used, naming the first, or count them."""
        if not places:
            return
        if self.bad == "raise":
            raise EvidenceError(
                f"{self.name}, {places[0]}: {what}; {plural(len(places), 'such ' + noun)}. Mend"
                " the file, or leave these out with bad='skip' (--skip-bad): they are then"
                " counted."
            )
        shown = listed(places, most=3)
        self.note(f"{plural(len(places), noun)} left out: {what} ({shown})")
