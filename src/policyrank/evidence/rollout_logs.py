"""Logs of trajectories: a line of JSON each, with its turns; read, chosen from, and summed up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.kept_lines import read_kept_lines


class LoggedCall(msgspec.Struct, frozen=True):
    """A call of a tool, what it gave, and what the log has beside."""

    name: str = ""
    arguments: dict[str, Any] = {}
    result: Any = ""
    detail: dict[str, Any] = {}


class LoggedTurn(msgspec.Struct, frozen=True):
    """A turn: what was written, and what was then read.

    Attributes
    ----------
    reward
        by the environment
    tokens, read, cut
        that were written, read, and left out of what was read
    seconds
        of the environment
    troubles
        what went wrong
    """

    action: str
    observation: str = ""
    reward: float | None = 0.0
    tokens: int = 0
    read: int = 0
    cut: int = 0
    seconds: float = 0.0
    troubles: tuple[str, ...] = ()
    calls: tuple[LoggedCall, ...] = ()


class LoggedRollout(msgspec.Struct, frozen=True):
    """A trajectory.

    Attributes
    ----------
    step
        optimizer steps that were done when it was sampled
    group
        its group in the round: trajectories of one prompt
    sample
        its number there
    reward
        by which it was compared; None: not rewarded
    parts
        what the reward was made of
    stopped, why
        why it ended, and what its environment failed by
    answer
        the final one; None: there was none
    """

    turns: tuple[LoggedTurn, ...]
    step: int = 0
    group: int = 0
    sample: int = 0
    prompt: str = ""
    reward: float | None = None
    parts: dict[str, float | None] = {}
    stopped: str = ""
    why: str = ""
    answer: str | None = None

    @property
    def key(self) -> str:
        """Step, group and sample, by which it is named."""
        return f"{self.step}.{self.group}.{self.sample}"

    @property
    def troubles(self) -> tuple[str, ...]:
        """Of all turns."""
        return tuple(trouble for turn in self.turns for trouble in turn.troubles)


def read_rollouts(
    path: str | Path, report: Callable[[str], Any] | None = None
) -> list[LoggedRollout]:
    """The trajectories of a log; half a line at its end is left out, and ``report`` told.

    Raises
    ------
    EvidenceError
        When there is no such file, it is empty, or a line is no trajectory.
    """
    if not Path(path).is_file():
        raise EvidenceError(f"{path}: no such file. A trainer writes OUT/rollouts.jsonl.")
    found = read_kept_lines(path, LoggedRollout, report)
    if not found:
        raise EvidenceError(f"{path}: no trajectory.")
    return found


def chosen_rollouts(
    rollouts: Sequence[LoggedRollout],
    *,
    step: int | None = None,
    group: str | None = None,
    stopped: str | None = None,
    trouble: str | None = None,
    tool: str | None = None,
    worst: int | None = None,
    best: int | None = None,
) -> list[LoggedRollout]:
    """Those that meet all that is asked; in their order, or by their reward.

    Parameters
    ----------
    group
        ``STEP.GROUP``, or ``STEP.GROUP.SAMPLE`` for one
    stopped, trouble, tool
        why it ended; what went wrong in it; a tool that was called in it
    worst, best
        so many of the lowest or highest reward, of what is left; those without reward do not count

    Raises
    ------
    EvidenceError
        When nothing is left, saying what there is.
    """
    found = list(rollouts)
    if step is not None:
        found = [own for own in found if own.step == step]
    if group is not None:
        found = [own for own in found if f"{own.key}.".startswith(f"{group}.")]
    if stopped is not None:
        found = [own for own in found if own.stopped == stopped]
    if trouble is not None:
        found = [own for own in found if trouble in own.troubles]
    if tool is not None:
        found = [own for own in found if any(tool == call.name for call in _calls(own))]
    if worst is not None or best is not None:
        known = [own for own in found if own.reward is not None]
        known.sort(key=lambda own: float(own.reward or 0.0), reverse=best is not None)
        found = known[: best if best is not None else worst]
    if not found:
        raise EvidenceError(f"no trajectory is so. There are: {_there(rollouts)}.")
    return found


def _calls(rollout: LoggedRollout) -> list[LoggedCall]:
    return [call for turn in rollout.turns for call in turn.calls]


def _there(rollouts: Sequence[LoggedRollout]) -> str:
    steps = sorted({own.step for own in rollouts})
    told = [f"steps {steps[0]} to {steps[-1]}"]
    for name, counts in (
        ("stopped", Counter(own.stopped for own in rollouts)),
        ("troubles", Counter(trouble for own in rollouts for trouble in own.troubles)),
        ("tools", Counter(call.name for own in rollouts for call in _calls(own))),
    ):
        if counts:
            told.append(f"{name} " + ", ".join(f"{key!r} ({n})" for key, n in counts.most_common()))
    return "; ".join(told)


def rollout_summary(rollouts: Sequence[LoggedRollout]) -> dict[str, Any]:
    """Counts and means.

    Examples
    --------
    >>> one = LoggedRollout((LoggedTurn("a"),), reward=1.0, stopped="done")
    >>> summary = rollout_summary([one])
    >>> summary["rollouts"], summary["reward"], summary["stopped"]
    (1, 1.0, {'done': 1})
    """
    rewards = [float(own.reward) for own in rollouts if own.reward is not None]
    turns = [turn for own in rollouts for turn in own.turns]
    return {
        "rollouts": len(rollouts),
        "groups": len({(own.step, own.group) for own in rollouts}),
        "reward": sum(rewards) / len(rewards) if rewards else math.nan,
        "not rewarded": len(rollouts) - len(rewards),
        "turns": len(turns) / max(len(rollouts), 1),
        "tokens": sum(turn.tokens for turn in turns) / max(len(rollouts), 1),
        "tokens cut": sum(turn.cut for turn in turns),
        "stopped": dict(Counter(own.stopped for own in rollouts).most_common()),
        "troubles": dict(Counter(t for own in rollouts for t in own.troubles).most_common()),
        "calls": dict(Counter(c.name for own in rollouts for c in _calls(own)).most_common()),
    }
