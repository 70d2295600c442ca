"""Environments called so that one that raises or hangs harms nothing but its own trajectory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Answered(Generic[T]):
    """What became of a call.

    Attributes
    ----------
    value
        what it gave; None where it failed
    failure
        ``"raised"``, ``"hung"``, or empty
    why
        the error, in a line
    seconds
        it took
    """

    value: T | None
    failure: str = ""
    why: str = ""
    seconds: float = 0.0


class _Call(Generic[T]):
    """A call in a thread of its own, which is left alone once its time is over."""

    def __init__(self, call: Callable[[], T], seconds: float | None) -> None:
        self._call, self._seconds = call, seconds
        self._found: Answered[T] | None = None
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            value = self._call()
        except BaseException as error:  # whatever an environment raises; told in a line
            lines = f"{type(error).__name__}: {error}".splitlines()
            self._found = Answered(None, "raised", lines[0][:300], self._passed())
        else:
            self._found = Answered(value, seconds=self._passed())

    def _passed(self) -> float:
        return time.monotonic() - self._begun

    def answered(self) -> Answered[T]:
        left = None if self._seconds is None else max(self._seconds - self._passed(), 0.0)
        self._thread.join(left)
        if self._found is None:
            return Answered(None, "hung", f"no answer within {self._seconds:g} s", self._passed())
        return self._found


def answered_calls(
    calls: Sequence[Callable[[], T]], *, seconds: float | None, workers: int = 8
) -> list[Answered[T]]:
    """What each call gave, or how it failed; in their order.

    Parameters
    ----------
    seconds
        that each may take; a call that takes longer is left alone, in a thread that ends with the
        process. None: as long as it takes
    workers
        calls at once; 1: one after the other

    Examples
    --------
    >>> found = answered_calls([lambda: 3, lambda: 1 // 0], seconds=5)
    >>> [(own.value, own.failure) for own in found]
    [(3, ''), (None, 'raised')]
    """
    found: list[Any] = [None] * len(calls)
    waiting = iter(enumerate(calls))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, call = next(waiting, (-1, None))
            if call is None:
                return
            found[number] = _Call(call, seconds).answered()

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(calls)))]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    return found
