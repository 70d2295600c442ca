"""Options of learning from groups of sampled outputs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn import POLICY_OBJECTIVES, GroupAdvantage, PolicyObjective
from policyrank.learn.advantages import named_group_advantage
from policyrank.models.group_sampling import Decoding
from policyrank.train.answers import Layout
from policyrank.train.text_config import TextConfig


@dataclass
class GroupConfig(TextConfig):
    """Options of ``GroupTrainer``, beside those of transformers; a batch is so many groups.

    A round samples a group for each prompt of ``steps_per_round`` optimizer steps, rewards it, and
    learns from all of them ``passes`` times.

    Attributes
    ----------
    samples
        outputs of each prompt: its group
    tokens
        of an output, at most; prompts have ``max_length`` less these
    temperature, top_k, top_p
        see ``models.Decoding``; log-probabilities are learned at the temperature of sampling
    advantage, advantage_options
        a name in ``learn.GROUP_ADVANTAGES``, or a function (rewards, groups) -> advantages; options
        of either. ``"batch"`` looks at the round of one process
    objective, objective_options
        a name in ``learn.POLICY_OBJECTIVES``, or a ``PolicyObjective``; fields that are changed in
        it. ``"dr-grpo"`` divides by ``tokens`` unless told
    reward_weights
        of several rewards (None: 1 each)
    passes
        over the groups of a round; the ratio is to the policy that the round began with
    steps_per_round
        optimizer steps of one pass
    keep_agreeing
        let groups count that say nothing (all rewards equal): they hold to the reference, and have
        a share of the denominator
    mask_cut
        outputs that were cut are compared, but not learned from: neither in numerator nor
        denominator
    correction
        the largest weight of a token by how likely it is to the trainer over how likely it was to a
        server that sampled it (truncated importance sampling); None: no weights
    reward_seconds
        that the reward of one group may take; None: as long as it takes
    failures
        rewards that raise, or take too long: ``"stop"``, or ``"count"`` (NaN: not rewarded)
    layout
        ``"shared"`` reads each prompt once for its group; ``"rows"`` gives each output its own row.
        "shared" is tried first, and given up with a note where the model mixes them
    sampled_rows
        outputs that are sampled at once
    shown
        outputs of a round that are kept as texts
    """

    samples: int = 8
    tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    advantage: str | GroupAdvantage = "grpo"
    advantage_options: dict[str, Any] = field(default_factory=dict)
    objective: str | PolicyObjective = "dapo"
    objective_options: dict[str, Any] = field(default_factory=dict)
    reward_weights: list[float] | None = None
    passes: int = 1
    steps_per_round: int = 1
    keep_agreeing: bool = False
    mask_cut: bool = False
    correction: float | None = 2.0
    reward_seconds: float | None = 600.0
    failures: Literal["stop", "count"] = "stop"
    layout: Layout = "shared"
    sampled_rows: int = 64
    shown: int = 2

    def check(self) -> None:
        """Refuse numbers that mean nothing.

        Raises
        ------
        OptionError
            Naming the option.
        """
        self.check_choices()
        if self.samples < 2:
            raise OptionError(f"samples={self.samples}: a group needs two to be compared.")
        if not self.temperature > 0:
            raise OptionError(f"temperature={self.temperature}: samples differ above 0 only.")
        for name in ("tokens", "passes", "steps_per_round", "sampled_rows"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: at least 1.")
        for name in ("correction", "reward_seconds"):
            own = getattr(self, name)
            if own is not None and not own > 0:
                raise OptionError(f"{name}={own}: above 0, or None.")

    def decoding(self) -> Decoding:
        """How outputs are sampled."""
        return Decoding(self.tokens, self.temperature, self.top_k, self.top_p)

    def group_advantage(self) -> GroupAdvantage:
        """The advantage, once its name and options are known to exist."""
        return named_group_advantage(self.advantage, **self.advantage_options)

    def policy_objective(self) -> PolicyObjective:
        """The objective, once its name and options are known to exist.

        Raises
        ------
        OptionError
            Naming what there is.
        """
        found, options = self.objective, dict(self.objective_options)
        if isinstance(found, str):
            if found not in POLICY_OBJECTIVES:
                known = ", ".join(POLICY_OBJECTIVES)
                raise OptionError(f"objective={found!r}: use one of {known}.")
            found = POLICY_OBJECTIVES[found]
            if found.average == "length":
                options.setdefault("length", self.tokens)
        names = [own.name for own in fields(found)]
        refuse_unknown_options(options, names, of=f"objective {self.objective!r}")
        if isinstance(options.get("clip"), list):  # as JSON and TOML have it
            options["clip"] = tuple(options["clip"])
        return replace(found, **options)
