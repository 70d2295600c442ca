"""The processes that train together, through accelerate; one alone without it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Float = NDArray[np.float64]


class Processes:
    """This process among those that train one model.

    Parameters
    ----------
    accelerator
        ``accelerate.Accelerator()``; None: one process

    Attributes
    ----------
    index, number
        this process, and how many there are
    """

    def __init__(self, accelerator: Any = None) -> None:
        self.accelerator = accelerator
        self.index, self.number = 0, 1
        if accelerator is not None:
            self.index, self.number = accelerator.process_index, accelerator.num_processes

    @property
    def first(self) -> bool:
        """Whether this process writes and tells."""
        return self.index == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def prepare(self, model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
        """Model and optimizer as every process is to use them."""
        if self.accelerator is None:
            return model, optimizer
        return self.accelerator.prepare(model, optimizer)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def clip(self, model: Any, norm: float) -> None:
        """Shorten the gradient to a norm."""
        if self.accelerator is None:
            nn.utils.clip_grad_norm_(model.parameters(), norm)
        else:
            self.accelerator.clip_grad_norm_(model.parameters(), norm)

    def adding(self, model: Any, last: bool) -> AbstractContextManager[Any]:
        """In which gradients are added up, and exchanged with the ``last``."""
        if last or self.accelerator is None:
            return nullcontext()
        return self.accelerator.no_sync(model)

    def sum(self, values: Float) -> Float:
        """Over processes."""
        if self.number == 1:
            return values
        found = torch.from_numpy(values).to(self.accelerator.device, torch.float32)
        return self.accelerator.reduce(found, "sum").cpu().numpy().astype(float)
