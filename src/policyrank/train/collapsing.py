"""Does training collapse? Monitors on a log, and on a trainer while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import TrainerCallback

from policyrank.learn import Alarm, CollapseMonitor
from policyrank.train.training_logs import TrainingLog, signals_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """What monitors said of a log.

    Attributes
    ----------
    log
        what was read
    alarms
        in the order of their steps
    quiet
        signals that were watched and never said
    waiting
        signals with too few values to tell -> how many they have, and how many it takes
    missing
        signals that the log does not hold
    starts
        signal -> median of its first values
    """

    log: TrainingLog
    alarms: tuple[Alarm, ...]
    quiet: tuple[str, ...]
    waiting: Mapping[str, tuple[int, int]]
    missing: tuple[str, ...]
    starts: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As an audit: findings with a verdict; and what was read as what."""
        findings = [_finding(alarm) for alarm in self.alarms]
        for name in self.quiet:
            column = self.log.columns.get(name, "reward, its deviation and its largest")
            what = f"{column} stays within its limits from a start of {self.starts[name]:.3g}."
            findings.append(_row(name, "fine", what))
        for name, (there, needed) in self.waiting.items():
            what = f"too few to tell: {there} values, and it takes {needed}."
            remedy = "log more often (logging_steps, --log-every), or lower --baseline, --patience"
            findings.append(_row(name, "unchecked", what, remedy))
        for name in self.missing:
            remedy = f"name its column (--column {name}=COLUMN), or log it"
            findings.append(_row(name, "unchecked", "no column holds it.", remedy))
        read = ", ".join(f"{name} from {column}" for name, column in self.log.columns.items())
        findings.append(_row("read as", "fine", f"{read}."))
        findings += [_row("reading", "note", f"{note}.") for note in self.log.notes]
        steps = self.log.steps
        span = f"{len(steps):,} steps, {steps[0]:g} to {steps[-1]:g}" if steps else "no steps"
        return {
            "source": f"{self.log.name} ({span})",
            "findings": findings,
            "alarms": [_plain(alarm) for alarm in self.alarms],
            "columns": dict(self.log.columns),
            "unread": list(self.log.others),
            "missing": list(self.missing),
        }

    def plot(self, path: str | Path | None = None, *, title: str | None = None) -> Figure:
        """A panel a signal, with its start and the step at which it was said."""
        from policyrank.train.collapse_plot import draw_signals

        return draw_signals(self, path, title=title)


def _row(check: str, verdict: str, what: str, remedy: str = "") -> dict[str, Any]:
    return {"check": check, "verdict": verdict, "what": what, "how_sure": "", "remedy": remedy}


def _finding(alarm: Alarm) -> dict[str, Any]:
    return _row(alarm.signal, "concern", f"step {alarm.step:g}: {alarm.why}.", alarm.remedy)


def _plain(alarm: Alarm) -> dict[str, Any]:
    found = asdict(alarm)
    for name in ("value", "baseline"):
        if not math.isfinite(found[name]):
            found[name] = None
    return found


def watch_log(log: TrainingLog, monitor: CollapseMonitor | None = None) -> CollapseReport:
    """Run monitors over a log, as they would have run in the training.

    Parameters
    ----------
    monitor
        with limits of one's own; None: the usual ones
    """
    watching = CollapseMonitor() if monitor is None else monitor
    for step, values in log.rows():
        watching.update(step, values)
    said = {alarm.signal for alarm in watching.alarms}
    waiting = {
        name: (watching.count(name), watching.needed(name))
        for name in watching.waiting
        if name not in said
    }
    seen = watching.seen
    return CollapseReport(
        log,
        tuple(watching.alarms),
        tuple(name for name in seen if name not in said and name not in waiting),
        waiting,
        watching.missing,
        {name: watching.start_of(name) for name in seen},
    )


class CollapseCallback(TrainerCallback):
    """Carries a ``CollapseMonitor`` in any trainer of transformers: it warns, or stops training.

    Signals are found by name in what the trainer logs, as ``read_training_log`` finds them.

    Parameters
    ----------
    report
        called with a line for each alarm
    monitor
        None: with the usual limits
    action
        ``"warn"``, or ``"stop"`` training after the step in which enough signals have been said
    least
        signals that must have been said to stop

    Attributes
    ----------
    monitor
        for its alarms, and for a trainer that knows more than it logs (``reward_signals``)
    """

    def __init__(
        self,
        report: Callable[[str], None],
        monitor: CollapseMonitor | None = None,
        *,
        action: Literal["warn", "stop"] = "warn",
        least: int = 1,
    ) -> None:
        self.report, self.action, self.least = report, action, least
        self.monitor = CollapseMonitor() if monitor is None else monitor

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What was logged before training was stopped is seen again, and not said again."""
        for record in state.log_history:
            self.monitor.update(record.get("step", 0), self._signals(record))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """What is logged is watched."""
        if not logs:
            return
        for alarm in self.monitor.update(state.global_step, self._signals(logs)):
            if state.is_world_process_zero:
                self.report(f"! step {alarm.step:g}: {alarm.why}; {alarm.remedy}")
        if self.action == "stop" and len(self.monitor.alarms) >= self.least:
            control.should_training_stop = True

    @staticmethod
    def _signals(logs: Mapping[str, Any]) -> dict[str, float]:
        values = {}
        for signal, name in signals_of([*logs]).items():
            if isinstance(logs[name], (int, float)):
                values[signal] = float(logs[name])
        return values
