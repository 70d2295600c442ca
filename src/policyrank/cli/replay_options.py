"""Options of verbs that learn from own outputs: what is kept of earlier rounds, and asked again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import AtLeastOne, Count
from policyrank.cli.output import say
from policyrank.cli.tuning import Positive, Weight, finite
from policyrank.errors import EvidenceError

REPLAY = Group("Replay", sort_key=3)
Finite = Annotated[float, Parameter(validator=finite)]
PartOfOne = Annotated[float, Parameter(validator=Number(gt=0, lte=1))]


@Parameter(name="*", group=REPLAY)
@dataclass(frozen=True)
class Reflecting:
    """Which prompts are asked again.

    Parameters
    ----------
    hard
        Ask prompts again whose outputs earned less on average, with one of their failed answers in
        the prompt (None: none).
    reflection
        File with what is asked then, of {prompt}, {answer} and, where wanted, {reward}.
    solved
        Reward from which an output is a success.
    replay_capacity
        Successes, and failures, of each prompt that are kept.
    replay_rounds
        Rounds for which they are (None: any).
    """

    hard: Finite | None = None
    reflection: Path | None = None
    solved: Finite = 1.0
    replay_capacity: AtLeastOne = 16
    replay_rounds: AtLeastOne | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is asked again or replayed."""
        return self.hard is not None

    def settings(self) -> dict[str, Any]:
        """As ``Replay`` has them."""
        found: dict[str, Any] = {
            "most": 0,
            "hard": self.hard,
            "solved": self.solved,
            "capacity": self.replay_capacity,
            "oldest": self.replay_rounds,
        }
        if self.reflection is not None:
            found["reflection"] = _text_of(self.reflection)
        return found

    def made(self) -> Any:
        """A ``Replay``; None where nothing is replayed."""
        from policyrank.train import Replay

        return Replay(**self.settings()) if self.wanted else None

    def told(self) -> dict[str, Any]:
        """What is written beside the model."""
        return {"replay": self.settings() if self.wanted else None}


@Parameter(name="*", group=REPLAY)
@dataclass(frozen=True)
class Replaying(Reflecting):
    """What groups that say nothing get of earlier rounds, and which prompts are asked again.

    Parameters
    ----------
    replay
        Outputs of earlier rounds that a group gets: successes where all its own failed, failures
        where all succeeded (0: none).
    replay_sides
        Both, or successes alone.
    replay_choice
        Which: any, the newest, those of the highest reward, or those whose tokens were likeliest.
    replay_ratio
        Ratio of replayed tokens: fresh, to the policy as the round began; stored, to the one that
        sampled them.
    damping
        Of the deviation of groups with replayed outputs; more than 1 holds them back.
    entropy_reward
        Highest reward of answers that were cut, where all failed, by the pattern of their entropy
        (0: none).
    entropy_share
        Of their tokens that are peaks of entropy.
    """

    replay: Count = 0
    replay_sides: Literal["both", "solved"] = "both"
    replay_choice: Literal["any", "newest", "reward", "surest"] = "any"
    replay_ratio: Literal["fresh", "stored"] = "fresh"
    damping: Positive = 1.0
    entropy_reward: Weight = 0.0
    entropy_share: PartOfOne = 0.2

    @property
    def wanted(self) -> bool:
        """Whether anything is asked again or replayed."""
        return self.hard is not None or bool(self.replay or self.entropy_reward)

    def settings(self) -> dict[str, Any]:
        """As ``Replay`` has them."""
        return super().settings() | {
            "most": self.replay,
            "sides": self.replay_sides,
            "choice": self.replay_choice,
            "ratio": self.replay_ratio,
            "damping": self.damping,
            "entropy_reward": self.entropy_reward,
            "entropy_share": self.entropy_share,
        }


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8 text"
        raise EvidenceError(f"--reflection {path}: {why}.") from None


def tell_replays(trainer: Any) -> None:
    """Say what was replayed and asked again."""
    if trainer.replaying is not None:
        for line in trainer.replaying.counts.told(trainer.replaying.how):
            say(line)
