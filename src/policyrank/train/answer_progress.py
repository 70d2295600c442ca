"""How training goes, told while it goes, and kept beside the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from policyrank.models.provenance import LOG
from policyrank.train.logs import append_line, cut_after


class Progress(TrainerCallback):
    """Tells step, loss, accuracy, speed and time left; logs go to log.jsonl in a folder.

    Parameters
    ----------
    report
        called with a line after each step
    folder
        where log.jsonl is kept; None: nowhere
    """

    def __init__(self, report: Callable[[str], None], folder: str | Path | None = None) -> None:
        self.report, self.folder = report, folder
        self._began, self._first, self._last = time.monotonic(), 0, ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began, self._first = time.monotonic(), state.global_step
        if self.folder is not None and state.is_world_process_zero:
            cut_after(Path(self.folder, LOG), "step", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        done = state.global_step - self._first
        took = time.monotonic() - self._began
        left = took / max(done, 1) * (state.max_steps - state.global_step)
        lists = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        speed = done * lists / max(took, 1e-9)
        self.report(
            f"step {state.global_step:,} of {state.max_steps:,}{self._last}, {speed:.2g} lists/s,"
            f" {clock(left)} left"
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        told = [
            f"{name} {logs[name]:.3g}"
            for name in ("loss", "accuracy", "reward")
            if isinstance(logs.get(name), (int, float))
        ]
        if told:
            self._last = f": {', '.join(told)}"
        if self.folder is not None:
            took = round(time.monotonic() - self._began, 2)
            told_now = {"step": state.global_step, "seconds": took, **logs}
            append_line(Path(self.folder, LOG), told_now)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    Examples
    --------
    >>> clock(75), clock(7500)
    ('1:15', '2 h 05')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"
