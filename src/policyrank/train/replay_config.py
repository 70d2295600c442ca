"""Options of learning again from what earlier rounds sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from policyrank.errors import OptionError
from policyrank.train.group_config import GroupConfig
from policyrank.train.replay_buffer import CHOICES

REFLECTION = (
    "{prompt}\n\nAn earlier answer was wrong:\n{answer}\n\nFind the mistake, and answer again.\n"
)
"""What a prompt becomes with a failed answer in it, unless told."""


@dataclass(frozen=True)
class Replay:
    """How groups that say nothing are given outputs of earlier rounds, and failures asked again.

    Attributes
    ----------
    most
        outputs that a group gets at most: successes where all its own failed, failures where all
        succeeded; 0: none
    sides
        ``"solved"``: successes alone are replayed
    solved
        reward from which an output is a success
    capacity, oldest
        of each prompt's successes, and failures, that are kept; rounds for which they are (None:
        any)
    choice
        which are replayed: ``"any"``, ``"newest"``, ``"reward"`` (the highest), ``"surest"`` (the
        likeliest tokens when sampled)
    ratio
        ``"fresh"``: the ratio of a replayed token is to the policy as the round began, at first 1;
        ``"stored"``: to the one that sampled it, in the prompt of then, so that much of what lies
        outside the clip has no gradient
    damping
        what the deviation of a group with replayed outputs is multiplied by (alpha); 1 leaves the
        advantage as it is, more holds back all outputs of the group. Of the advantage ``"grpo"``
    hard
        prompts whose outputs earned less on average are asked again, with one of their failed
        answers; None: none are. These are prompts and groups of their own beside the original ones;
        their successes are kept as ones of the original, which is how they train it
    reflection
        what is asked then, of ``{prompt}``, ``{answer}`` and, where wanted, ``{reward}``; of
        messages the last one is replaced. An answer is cut where there is no room for all
    entropy_reward, entropy_share
        where all failed, the highest reward of answers that were cut, by the pattern of their
        entropy (0: none), and the share of tokens that are peaks; see ``entropy_rank_reward``

    References
    ----------
    "R^3: Replay, Reflection, and Ranking Rewards for LLM Reinforcement Learning" (2026), arXiv
    2601.19620. Numbers are ours: the paper gives none.
    """

    most: int = 2
    sides: Literal["both", "solved"] = "both"
    solved: float = 1.0
    capacity: int = 16
    oldest: int | None = None
    choice: str = "any"
    ratio: Literal["fresh", "stored"] = "fresh"
    damping: float = 1.0
    hard: float | None = None
    reflection: str = REFLECTION
    entropy_reward: float = 0.0
    entropy_share: float = 0.2

    def check(self, args: GroupConfig) -> None:
        """Refuse what means nothing, or does not go together.

        Raises
        ------
        OptionError
            Naming the option.
        """
        self._check_numbers()
        for name, known in (
            ("choice", tuple(CHOICES)),
            ("sides", ("both", "solved")),
            ("ratio", ("fresh", "stored")),
        ):
            if getattr(self, name) not in known:
                raise OptionError(f"{name}={getattr(self, name)!r}: use one of {', '.join(known)}.")
        for name in ("{prompt}", "{answer}"):
            if name not in self.reflection:
                raise OptionError(f"reflection={self.reflection[:40]!r}: it lacks {name}.")
        if self.changes:
            self._check_groups(args)

    @property
    def changes(self) -> bool:
        """Whether groups are compared anew, with replayed outputs or rewards of entropy."""
        return bool(self.most or self.entropy_reward)

    def _check_numbers(self) -> None:
        for name, least in (("most", 0), ("capacity", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}={getattr(self, name)}: at least {least}.")
        if self.oldest is not None and self.oldest < 1:
            raise OptionError(f"oldest={self.oldest}: at least 1 round, or None.")
        if not 0 < self.damping < math.inf:
            raise OptionError(f"damping={self.damping}: a finite number above 0.")
        for name in ("solved", "hard"):
            own = getattr(self, name)
            if own is not None and not math.isfinite(own):
                raise OptionError(f"{name}={own}: a finite number.")
        if not 0 <= self.entropy_reward < max(self.solved, 1e-12):
            raise OptionError(
                f"entropy_reward={self.entropy_reward}: from 0, and below solved={self.solved}, or"
                " a failure is worth as much as a success."
            )
        if not 0 < self.entropy_share <= 1:
            raise OptionError(f"entropy_share={self.entropy_share}: above 0, at most 1.")

    def _check_groups(self, args: GroupConfig) -> None:
        """Refuse options under which a group cannot be compared with other outputs in it."""
        if args.of_lists is not None:
            raise OptionError(
                f"objective={args.objective!r} ranks whole groups: replay (most, entropy_reward) is"
                " of policy gradients."
            )
        if args.advantage == "batch":
            raise OptionError(
                "advantage='batch' looks at the whole round, and replay compares groups anew: take"
                " 'grpo', or leave replay out."
            )
        if args.reward_kl:
            raise OptionError(
                "reward_kl: replayed outputs were paid without it. Take the objective's beta."
            )
        if args.mask_cut and self.entropy_reward:
            raise OptionError(
                "entropy_reward is of outputs that were cut, and mask_cut does not learn from them."
            )
        strange = args.advantage_options.keys() - {"epsilon"}
        if self.damping != 1 and (args.advantage != "grpo" or strange):
            raise OptionError(
                f"damping={self.damping} is of the advantage 'grpo', with no option but epsilon."
            )
