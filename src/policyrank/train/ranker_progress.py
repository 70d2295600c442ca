"""What is told while a ranker is trained: epochs, pace, a log, trackers of others."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyrank._rooms import require
from policyrank.errors import MissingExtraError, OptionError
from policyrank.train.logs import append_line, cut_after

PACKAGES = {"comet_ml": "comet-ml"}
"""Tracker -> the package to install, where it is called otherwise."""

PROJECT = "policyrank"


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss, and the mean of the measure over the validation queries."""

    epoch: int
    loss: float
    validation: float


@dataclass(frozen=True)
class Progress:
    """Where training is.

    Attributes
    ----------
    epoch
        from 0
    step, steps
        steps that this epoch has taken, and will take
    loss
        mean of this epoch so far
    validation
        the measure after the last epoch; NaN before
    lists_per_second
        of this epoch, over all processes
    seconds_left
        to the last epoch, if none stops it sooner
    """

    epoch: int
    step: int
    steps: int
    loss: float
    validation: float
    lists_per_second: float
    seconds_left: float


class Pace:
    """How fast steps are taken, from when it is made.

    Parameters
    ----------
    steps
        that are to be taken
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.taken = steps, 0
        self.begun = time.perf_counter()
        self.start_epoch()

    def start_epoch(self) -> None:
        """Count the lists of an epoch anew."""
        self.lists, self.epoch_begun = 0, time.perf_counter()

    def step(self, lists: int) -> None:
        """One more step, of so many lists."""
        self.taken += 1
        self.lists += lists

    @property
    def lists_per_second(self) -> float:
        """Of this epoch."""
        return self.lists / max(time.perf_counter() - self.epoch_begun, 1e-9)

    @property
    def seconds_left(self) -> float:
        """As long a step as the steps so far, what was measured between them included."""
        if not self.taken:
            return math.nan
        return (time.perf_counter() - self.begun) / self.taken * (self.steps - self.taken)


class RunLog:
    """Lines of JSON in a file, and the same numbers to trackers.

    Parameters
    ----------
    path
        file (None: none); lines of epochs that were trained before stay when training goes on
    trackers
        of accelerate, started; they are finished at the end
    others
        trackers that go on
    epochs
        that were trained before
    """

    def __init__(
        self,
        path: str | Path | None = None,
        trackers: Sequence[Any] = (),
        others: Sequence[Any] = (),
        epochs: int = 0,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.trackers, self.others = trackers, others
        if self.path is None:
            return
        if epochs:
            cut_after(self.path, "epoch", epochs)
        else:
            self.path.unlink(missing_ok=True)

    def write(self, told: dict[str, Any]) -> None:
        """One line; what is NaN is null."""
        if self.path is not None:
            append_line(self.path, told)
        numbers = {}
        for name, value in told.items():
            known = isinstance(value, (int, float)) and not math.isnan(value)
            if known and name != "step":
                numbers[name] = value
        for tracker in (*self.trackers, *self.others):
            tracker.log(numbers, step=told["step"])

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        """Let the trackers finish."""
        for tracker in self.trackers:
            tracker.finish()


def check_trackers(names: Sequence[str]) -> list[str]:
    """Names of trackers, refused where they cannot be had.

    ``"all"`` stands for all that are installed, ``"none"`` for none, as in transformers.

    Raises
    ------
    OptionError
        For a name that accelerate does not know.
    MissingExtraError
        Where a package is missing.
    """
    wanted = [name for name in dict.fromkeys(names) if name != "none"]
    if not wanted:
        return []
    require("accelerate", "report_to")
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    there = list(map(str, get_available_trackers()))
    if "all" in wanted:
        return there
    for name in wanted:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(LOGGER_TYPE_TO_CLASS)
            raise OptionError(f"report_to={name!r}: use {known}, all or none.")
        if name not in there:
            package = PACKAGES.get(name, name)
            raise MissingExtraError(f"report_to={name!r} needs {name}: pip install {package}")
    return wanted


def started_trackers(names: Sequence[str], folder: Path, settings: dict[str, Any]) -> list[Any]:
    """Trackers of accelerate, with the settings of the run.

    Parameters
    ----------
    names
        as ``check_trackers`` gives them
    folder
        where those that write files write them
    """
    if not names:
        return []
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # trackers ask it whether this is the first process
    plain = {}
    for name, value in settings.items():
        simple = isinstance(value, (bool, int, float, str))
        plain[name] = value if simple else json.dumps(value, default=str)
    found = []
    for name in names:
        make = LOGGER_TYPE_TO_CLASS[name]
        more = [folder] if make.requires_logging_directory else []
        tracker = make(PROJECT, *more)
        if hasattr(tracker, "start"):  # older ones start when they are made
            tracker.start()
        tracker.store_init_configuration(plain)
        found.append(tracker)
    return found
