"""Rewards that raise, or never come back: told in a line, or counted."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from policyrank.errors import EvidenceError, PolicyrankError
from policyrank.learn import Reward, Rollouts

T = TypeVar("T")


def within(seconds: float | None, call: Callable[[], T]) -> T:
    """What a call gives, in a thread that is left alone once the time is over.

    Raises
    ------
    TimeoutError
        When it takes longer; and whatever the call raises.
    """
    if seconds is None:
        return call()
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # told to who waits
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not found:
        raise TimeoutError(f"no reward within {seconds:g} seconds")
    return found[0]


class GuardedReward:
    """A reward that says of what it failed, or counts it.

    Parameters
    ----------
    reward
        that is called
    seconds
        that it may take for a group
    failures
        ``"stop"``: raise; ``"count"``: NaN for the group

    Attributes
    ----------
    failed
        groups so far
    error
        of the first
    """

    def __init__(
        self, reward: Reward, seconds: float | None, failures: Literal["stop", "count"]
    ) -> None:
        self.__name__ = getattr(reward, "__name__", type(reward).__name__)
        self.of_batch = getattr(reward, "of_batch", False)
        self._reward, self._seconds, self._failures = reward, seconds, failures
        self.failed, self.error = 0, ""

    def __call__(self, group: Rollouts, /) -> Any:
        """Values of the group.

        Raises
        ------
        EvidenceError
            When the reward raises or takes too long, unless that is counted.
        """
        try:
            return within(self._seconds, lambda: self._reward(group))
        except PolicyrankError:
            raise
        except Exception as error:  # whatever a user's function raises
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            if self._failures == "stop":
                asked = f" ({str(group.prompts[0])[:60]!r})" if group.prompts else ""
                raise EvidenceError(
                    f"reward {self.__name__} failed on a group{asked}: {why[:300]}. Mend it, or"
                    " count such groups (failures='count')."
                ) from error
            self.failed += 1
            self.error = self.error or why
            return [math.nan] * len(group)
