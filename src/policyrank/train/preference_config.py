"""Options of training on preferences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from policyrank.errors import OptionError
from policyrank.learn import PREFERENCE_LOSSES, PreferenceLoss, StepWeight, preference_loss
from policyrank.learn._options import check_options
from policyrank.learn.losses.unpaired import UNPAIRED_LOSSES
from policyrank.learn.segments import named_step_weight
from policyrank.train.answer_trainer import AnswerConfig
from policyrank.train.answers import Layout

GIVEN = ("reference", "where", "lengths", "reduce", "zero")
"""What the trainer gives to a loss itself."""


@dataclass
class ListwisePreferenceConfig(AnswerConfig):
    """Options of ``ListwisePreferenceTrainer``, beside those of transformers.

    Attributes
    ----------
    loss
        a name in ``learn.PREFERENCE_LOSSES`` or ``learn.LOSSES``, ``"tpo"`` (``"lipo-lambda"`` with
        weights of steps), ``"kto-unpaired"`` (of unpaired rows), or a function with the signature
        of ``PreferenceLoss``
    loss_options
        passed to it: ``beta`` and others
    mean_over
        the loss of an optimizer step is the mean over its ``"lists"``, or over their ``"tokens"``
        (imitation)
    reference
        ``"precompute"``: log-probabilities of the model as it is when training starts, computed
        once; ``"adapter"``: those of the peft model with its adapters as they were then, at each
        step; or None for objectives without one
    sft_weight
        weight of the best answer's negative log-likelihood per token
    step_weights
        for ``"tpo"``: a name in ``learn.STEP_WEIGHTS`` or a function; answers must be given as
        steps
    layout
        ``"shared"`` reads each prompt once for all its answers; ``"rows"`` gives each answer its
        own row. "shared" is checked on the first list, and given up with a note where the model
        does not keep answers apart (recurrent layers, sliding windows, flash attention)
    judged
        evaluation prompts to which a judge looks at sampled answers
    max_length, long_prompts, chat
        see ``encode_answers``
    """

    loss: str | PreferenceLoss = "dpo"
    reference: Literal["precompute", "adapter"] | None = "precompute"
    sft_weight: float = 0.0
    step_weights: str | StepWeight = "similar"
    mean_over: Literal["lists", "tokens"] = "lists"
    layout: Layout = "shared"
    judged: int = 32

    @property
    def by_step(self) -> bool:
        """Whether steps are weighted."""
        return self.loss == "tpo"

    def objective(self) -> PreferenceLoss:
        """The loss, once its name and options are known to exist.

        Raises
        ------
        OptionError
            Naming what there is.
        """
        if self.reference not in ("precompute", "adapter", None):
            raise OptionError(
                f"reference={self.reference!r}: use 'precompute', 'adapter' or None; a model is the"
                " trainer's reference_model."
            )
        if self.layout not in ("shared", "rows"):
            raise OptionError(f"layout={self.layout!r}: use 'shared' or 'rows'.")
        named_step_weight(self.step_weights)
        found = _objective(self.loss)
        check_options(found, self.loss_options, name=f"loss {self.loss!r}", given=GIVEN)
        return found


def try_options(objective: PreferenceLoss, options: Mapping[str, Any], *, name: str) -> None:
    """Refuse options whose values an objective does not take, on a list of two.

    Raises
    ------
    OptionError
        With what it says of them.
    """
    level, labels = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    where, lengths = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2)
    try:
        objective(level, labels, reference=level, where=where, lengths=lengths, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise OptionError(f"{name} with these options: {why}") from None


def _objective(loss: str | PreferenceLoss) -> PreferenceLoss:
    if not isinstance(loss, str):
        return loss
    if loss == "tpo":
        return PREFERENCE_LOSSES["lipo-lambda"]
    if loss in UNPAIRED_LOSSES:
        return UNPAIRED_LOSSES[loss]
    try:
        return preference_loss(loss)
    except OptionError as error:
        also = ", ".join(("tpo", *UNPAIRED_LOSSES))
        raise OptionError(f"{error} Also {also}.") from None
