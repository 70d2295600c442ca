"""Models made ready for training: weights in float32, dropout off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from policyrank.models.sampling import context_of
from policyrank.train.adapters import Layers, adapted, is_adapted
from policyrank.train.resumable import may_go_on, model_facts
from policyrank.train.text_config import TextConfig

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Prepared:
    """A model as a trainer takes it.

    Attributes
    ----------
    below
        adapters below those that are trained
    start
        what it was, where a run goes on from checkpoints
    notes
        what was done to it
    """

    model: Any
    below: Layers | None
    start: Mapping[str, Any] | None
    notes: tuple[str, ...]


def prepared(model: Any, args: TextConfig, peft_config: Any = None) -> Prepared:
    """A model as it is trained; ``args.max_length`` is at most its context.

    Raises
    ------
    OptionError
        For adapters that cannot be stacked.
    """
    notes = []
    if not args.dropout:
        without_dropout(model)
    context = context_of(model)
    if args.max_length > context:
        notes.append(
            f"max_length is {context:,} tokens, the model's context, instead of {args.max_length:,}"
        )
        args.max_length = context
    start = model_facts(model, peft_config) if may_go_on(args) else None
    model, below = adapted(model, peft_config, args.seed)
    if args.weights == "float32" and (note := in_float32(model)):
        notes.append(note)
    return Prepared(model, below, start, tuple(notes))


def in_float32(model: Any) -> str | None:
    """Train in float32: small steps are lost in the rounding of half precision.

    The base below adapters stays as it is; a note says what was done.
    """
    half = 0
    for weights in model.parameters():
        if weights.requires_grad and weights.dtype in HALF:
            half += weights.numel()
    if not half:
        return None
    if is_adapted(model):
        for weights in model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    else:
        model.float()
    return (
        f"{half:,} weights were saved in half precision and are trained in float32 (bf16=True"
        " computes in bfloat16 all the same)"
    )


def switch_checkpointing(model: Any, what: Literal["enable", "disable"], *options: Any) -> None:
    """Checkpointing of gradients, by the name that this version of transformers has for it."""
    newer = getattr(model, f"activation_checkpointing_{what}", None)
    older = getattr(model, f"gradient_checkpointing_{what}", None)
    (newer or older)(*options)  # type: ignore[misc]


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off, of layers and of attention: policy and reference then read alike."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
            module.p = 0.0
            continue
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
