"""Options of learning from groups of sampled outputs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn import (
    POLICY_OBJECTIVES,
    GroupAdvantage,
    GroupObjective,
    ListObjective,
    PolicyObjective,
    check_labels,
    label_domain,
    preference_loss,
    win_shares,
)
from policyrank.learn._options import check_options
from policyrank.learn.advantages import named_group_advantage
from policyrank.learn.label_domains import largest_label
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.models.group_sampling import Decoding
from policyrank.train.answer_trainer import Labels
from policyrank.train.answers import Layout
from policyrank.train.preference_config import GIVEN, try_options
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
        it. ``"dr-grpo"`` divides by ``tokens`` unless told. Or any other name that
        ``learn.preference_loss`` takes, such as ``"dpo"`` or ``"lipo-lambda"``, and its options:
        each group is a list that its rewards rank, held to the policy that sampled it, or to the
        reference model where one is given
    labels
        of an objective of preferences: rewards ``"as-given"``, refused where its loss cannot take
        them; ``"win-shares"``: of each output the share of its group that it is above, which every
        loss takes
    reward_kl
        weight of log pi - log pi_reference of whole outputs, taken from their rewards, so that the
        policy stays where the reward can be trusted; at the temperature of sampling
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
    labels: Labels = "as-given"
    reward_kl: float = 0.0
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
        if self.labels != "as-given" and self.of_lists is None:
            raise OptionError(
                f"labels={self.labels!r} are of objectives of preferences, and"
                f" objective={self.objective!r} is none. Leave them out."
            )
        if not 0 <= self.reward_kl < math.inf:
            raise OptionError(f"reward_kl={self.reward_kl}: a finite number from 0.")
        for name in ("correction", "reward_seconds"):
            own = getattr(self, name)
            if own is not None and not own > 0:
                raise OptionError(f"{name}={own}: above 0, or None.")

    def decoding(self) -> Decoding:
        """How outputs are sampled."""
        return Decoding(self.tokens, self.temperature, self.top_k, self.top_p)

    @property
    def of_lists(self) -> str | None:
        """The loss of preferences that ranked groups are learned by, if that is the objective."""
        named = isinstance(self.objective, str) and self.objective not in POLICY_OBJECTIVES
        return str(self.objective) if named else None

    def group_advantage(self) -> GroupAdvantage:
        """The advantage, once its name and options are known to exist.

        Raises
        ------
        OptionError
            Naming what there is, or what a loss of preferences does not look at.
        """
        if self.of_lists is not None:
            given = self.advantage != "grpo" or self.advantage_options or self.keep_agreeing
            if given:
                raise OptionError(
                    f"objective={self.of_lists!r} ranks each group by its rewards: leave advantage,"
                    " advantage_options and keep_agreeing out."
                )
            return named_group_advantage("none")
        return named_group_advantage(self.advantage, **self.advantage_options)

    def group_objective(self) -> GroupObjective:
        """The objective, once its name and options are known to exist.

        Raises
        ------
        OptionError
            Naming what there is.
        """
        found, options = self.objective, dict(self.objective_options)
        if self.of_lists is not None:
            return _of_lists(self.of_lists, options, self.samples)
        if isinstance(found, str):
            found = POLICY_OBJECTIVES[found]
            if found.average == "length":
                options.setdefault("length", self.tokens)
        names = [own.name for own in fields(found)]
        refuse_unknown_options(options, names, of=f"objective {self.objective!r}")
        if isinstance(options.get("clip"), list):  # as JSON and TOML have it
            options["clip"] = tuple(options["clip"])
        return replace(found, **options)


def objective_facts(objective: GroupObjective, args: GroupConfig) -> dict[str, Any]:
    """What is told of an objective, so that a run that goes on has the same one."""
    if isinstance(objective, PolicyObjective):
        return asdict(objective)
    return {"loss": args.of_lists, **args.objective_options}


def _of_lists(name: str, options: dict[str, Any], samples: int) -> ListObjective:
    try:
        loss = preference_loss(name)
    except OptionError as error:
        known = ", ".join(POLICY_OBJECTIVES)
        raise OptionError(f"objective={name!r}: use one of {known}; or of lists: {error}") from None
    check_options(loss, options, name=f"objective {name!r}", given=GIVEN)
    try_options(loss, options, name=f"objective {name!r}")
    return ListObjective(loss, samples, options, referred=name not in REFERENCE_FREE)


def labels_of(rewards: Tensor, args: GroupConfig, objective: ListObjective) -> Tensor:
    """What ranked groups are learned by, made of what their outputs earned: (outputs,).

    Raises
    ------
    OptionError
        For rewards that the loss cannot take, naming the remedy.
    """
    lists = rewards.reshape(-1, args.samples)
    there = ~lists.isnan()
    if args.labels == "win-shares":
        return win_shares(lists, there).masked_fill(~there, torch.nan).reshape(rewards.shape)
    loss = partial(objective.loss, **objective.options)
    name = f"objective={args.of_lists!r}"
    try:
        check_labels(lists, label_domain(loss), where=there, most=largest_label(loss), name=name)
    except OptionError as error:
        raise OptionError(
            f"{error} Here: labels='win-shares' (--labels win-shares); labels are the rewards, less"
            " reward_kl's share."
        ) from None
    return rewards
