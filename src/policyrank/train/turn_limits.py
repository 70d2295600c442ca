"""How far a trajectory of turns may go, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from policyrank.errors import OptionError
from policyrank.evidence.conversations import Message
from policyrank.models.sampling import Sampled, Trajectory
from policyrank.models.turns import Kept
from policyrank.train.group_data import PromptRow
from policyrank.worlds.agents import TurnRecord

STOPS = {
    "done": "the environment ended it",
    "turn limit": "as many turns as it may have, and not done",
    "token limit": "no room for another turn",
    "turn cut": "a turn as long as it may be, and not ended",
    "time limit": "the time of all trajectories was over",
    "environment raised": "the environment failed; what was written till then stays",
    "environment hung": "the environment did not answer in its time",
    "start differs": "the environment began with something that the prompt does not hold",
}
"""Why a trajectory stopped."""
FAILED = ("environment raised", "environment hung", "start differs")
"""Of these what the environment's fault is, not the policy's."""
TURN_COLUMNS = (
    "turns",
    "stopped",
    "troubles",
    "final_answer",
    "turn_rewards",
    "tokens_cut",
    "trajectory",
)
"""Columns that rollouts of turns have beside the data's own."""


@dataclass(frozen=True)
class TurnLimits:
    """How far a trajectory may go.

    Parameters
    ----------
    turns
        of the policy
    turn_tokens
        of a turn
    tokens
        in all, with what the policy reads after its prompt
    read_tokens
        that it reads after a turn; what is longer is cut, and counted
    keep
        what stays then: ``"head"``, ``"tail"``, or both ``"ends"``
    stop
        texts that end a turn, such as ``</search>``, beside the end of a turn
    stop_cut
        whether a turn that reaches ``turn_tokens`` before its end stops the trajectory; else the
        environment answers what there is
    environment_seconds
        that one answer of an environment may take; None: as long as it takes
    seconds
        of all trajectories that are sampled together, looked at after each turn; None: no limit.
        With a limit the same seed may give shorter trajectories
    workers
        environments that are asked at once

    Raises
    ------
    OptionError
        For numbers out of their range.
    """

    turns: int = 8
    turn_tokens: int = 256
    tokens: int = 1024
    read_tokens: int = 512
    keep: Kept = "head"
    stop: tuple[str, ...] = ()
    stop_cut: bool = True
    environment_seconds: float | None = 30.0
    seconds: float | None = None
    workers: int = 8

    def __post_init__(self) -> None:
        for name in ("turns", "turn_tokens", "tokens", "read_tokens", "workers"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: at least 1.")
        for name in ("environment_seconds", "seconds"):
            own = getattr(self, name)
            if own is not None and not own > 0:
                raise OptionError(f"{name}={own}: above 0, or None.")
        if self.keep not in get_args(Kept):
            raise OptionError(f"keep={self.keep!r}: use one of {', '.join(get_args(Kept))}.")


@dataclass
class Going:
    """A trajectory under way.

    Attributes
    ----------
    ids, log_probs, segments
        behind the prompt; of what was read the log-probability is 0 and the segment too
    known
        whether all log-probabilities are
    stopped
        a name in ``STOPS``; empty while it goes on
    why
        what the environment failed by
    """

    row: PromptRow
    environment: Any = None
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    turns: list[TurnRecord] = field(default_factory=list)
    known: bool = True
    stopped: str = ""
    why: str = ""
    answer: str | None = None

    @property
    def context(self) -> list[int]:
        """All that the policy sees."""
        return [*self.row.ids, *self.ids]

    def write(self, sampled: Sampled, room: int, tokenizer: Any) -> bool:
        """Put what the policy wrote behind, as far as there is room: whether it ended its turn."""
        turn, ids = len(self.turns) + 1, sampled.ids[:room]
        text = sampled.text
        if len(ids) < len(sampled.ids):
            text = tokenizer.decode(ids, skip_special_tokens=True)
        known = sampled.log_probs
        self.known &= known is not None
        self.ids += ids
        self.log_probs += known[:room] if known is not None else [0.0] * len(ids)
        self.segments += [turn] * len(ids)
        self.messages.append({"role": "assistant", "content": text})
        return sampled.ended and len(ids) == len(sampled.ids)

    def read(self, ids: Sequence[int], observation: str | Sequence[Message]) -> None:
        """Put what the policy reads behind."""
        self.ids += ids
        self.log_probs += [0.0] * len(ids)
        self.segments += [0] * len(ids)
        if isinstance(observation, str):
            self.messages.append({"role": "user", "content": observation})
        else:
            self.messages += observation

    def finished(self, tokenizer: Any) -> Trajectory:
        """As samplers give it."""
        return Trajectory(
            tokenizer.decode(self.ids, skip_special_tokens=True),
            tuple(self.ids),
            self.stopped == "done",
            tuple(self.log_probs) if self.known else None,
            where=tuple(turn > 0 for turn in self.segments),
            segments=tuple(self.segments),
            messages=tuple(self.messages),
            columns=self._columns(),
        )

    def _columns(self) -> Mapping[str, Any]:
        troubles = [trouble for turn in self.turns for trouble in turn.troubles]
        if self.answer is None and self.stopped != "done":
            troubles.append("no answer")
        values = (
            len(self.turns),
            self.stopped,
            tuple(troubles),
            self.answer,
            tuple(turn.reward for turn in self.turns),
            sum(turn.cut for turn in self.turns),
            {"turns": [asdict(turn) for turn in self.turns], "why": self.why},
        )
        return dict(zip(TURN_COLUMNS, values, strict=True))
