"""Models made ready for training: weights in float32, dropout off."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from policyrank.train.adapters import is_adapted

HALF = (torch.float16, torch.bfloat16)


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


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off, of layers and of attention: policy and reference then read alike."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
            module.p = 0.0
            continue
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
