"""What asking a model took: tokens, answers that were cut, questions that had to be shortened."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Spent:
    """Counted from several threads.

    Attributes
    ----------
    read, written
        tokens of prompts and of answers
    answers, told
        answers that were given, and how many of them say how many tokens they took
    kept
        answers that a cache had
    cut
        answers that ended at the most tokens that they may have
    mended
        orders that leave passages out, name them twice, or others: what they do not say is as it
        stood
    shortened, long
        questions that showed less of each passage than was asked for, so that the model can read
        them; those that it could not read with a word of each
    """

    read: int = 0
    written: int = 0
    answers: int = 0
    told: int = 0
    kept: int = 0
    cut: int = 0
    mended: int = 0
    shortened: int = 0
    long: int = 0
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        """Add to what was counted."""
        with self._lock:
            for name, more in counts.items():
                setattr(self, name, getattr(self, name) + more)

    def notes(self) -> list[str]:
        """What is told of it."""
        tokens = f"{self.read:,} tokens read, {self.written:,} written"
        if self.told < self.answers:
            tokens += f" (as {self.told:,} of {self.answers:,} answers tell)"
        kept = f"{self.kept:,} answers kept from before"
        found = [*[tokens] * (self.told > 0), *[kept] * (self.kept > 0)]
        if self.cut:
            found.append(f"! {self.cut:,} answers were cut at the most tokens (tokens)")
        if self.mended:
            found.append(
                f"! {self.mended:,} orders left passages out, or named them twice or others: what"
                " they did not say is as it stood"
            )
        if self.shortened:
            found.append(
                f"! {self.shortened:,} questions were longer than the model reads, its answer"
                " included: less of each passage was shown"
            )
        if self.long:
            found.append(
                f"! {self.long:,} questions are longer than the model reads with a word of each"
                " passage, and were not answered: ask about fewer (children, window)"
            )
        return found
