"""Options of learning from groups of denoising trajectories."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from policyrank.errors import OptionError
from policyrank.learn import POLICY_OBJECTIVES, PolicyObjective, UnmaskingChoice
from policyrank.learn._subsets import LARGEST
from policyrank.models.masked_diffusion import Denoising, Order
from policyrank.train.group_config import GroupConfig

NOT_READ = ("top_k", "top_p", "correction", "layout")
"""Options of groups that mean nothing here."""


@dataclass
class MaskedDiffusionConfig(GroupConfig):
    """Options of ``MaskedDiffusionTrainer``, beside those of ``GroupTrainer``.

    What is a token there is a denoising step here: ratios, clips, averages and KL are of steps. Not
    read, and refused, are ``top_k``, ``top_p``, ``correction``, ``layout`` and objectives of
    preferences.

    Attributes
    ----------
    tokens
        of an answer: all are written
    denoising_steps, block, order
        see ``models.Denoising``, as ``steps``, ``block``, ``order``; by ``"learned"`` the order is
        trained too, by the others tokens alone
    choice
        whose probability a step's positions have: of their ``"set"`` (at most 10 a step), or of the
        ``"order"`` in which they were drawn, as published
    """

    denoising_steps: int | None = None
    block: int | None = None
    order: Order = "learned"
    choice: UnmaskingChoice = "set"

    def check(self) -> None:
        """Refuse numbers that mean nothing, and options that nothing would read.

        Raises
        ------
        OptionError
            Naming the option.
        """
        super().check()
        how = self.denoising()
        for own in fields(GroupConfig):
            if own.name in NOT_READ and getattr(self, own.name) != own.default:
                raise OptionError(
                    f"{own.name}={getattr(self, own.name)!r}: not of masked diffusion. Leave it"
                    " out."
                )
        if self.choice not in ("set", "order"):
            raise OptionError(f"choice={self.choice!r}: use 'set' or 'order'.")
        if self.order == "learned" and self.choice == "set" and how.most > LARGEST:
            raise OptionError(
                f"choice='set': a step unmasks {how.most} tokens, and sets have at most {LARGEST}."
                " Take more denoising_steps, or choice='order'."
            )
        if getattr(self, "deepspeed", None):
            raise OptionError("deepspeed: it takes one backward a step. Use FSDP.")
        self.group_objective()

    def denoising(self) -> Denoising:
        """How answers are sampled."""
        return Denoising(
            self.tokens, self.denoising_steps, self.block, self.temperature, self.order
        )

    def group_objective(self) -> PolicyObjective:
        """The objective; what ``"dr-grpo"`` divides by is the number of steps unless told.

        Raises
        ------
        OptionError
            Naming what there is, or what is not of denoising steps.
        """
        if self.of_lists is not None:
            names = ", ".join(POLICY_OBJECTIVES)
            raise OptionError(
                f"objective={self.of_lists!r}: not of masked diffusion. Use one of {names}."
            )
        found = super().group_objective()
        assert isinstance(found, PolicyObjective)
        for name in ("ratio", "average"):
            if getattr(found, name) == "segment":
                raise OptionError(
                    f"objective: {name}='segment' has no segments here; a step is a token."
                )
        if found.entropy_weight:
            raise OptionError("objective: entropy_weight is not of denoising steps.")
        told = not isinstance(self.objective, str) or "length" in self.objective_options
        if found.average == "length" and not told:
            found = replace(found, length=self.denoising().count)
        return found
