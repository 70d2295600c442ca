"""Checkpoints of a ranker in training: kept after each epoch, refused where anything differs."""

from __future__ import annotations

import logging
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from policyrank.checkpoints import newest_whole, written_checkpoint
from policyrank.fingerprints import Fingerprint
from policyrank.train.ranker_processes import Processes
from policyrank.train.ranker_progress import Epoch

logger = logging.getLogger(__name__)
FILE = "training.pt"


@dataclass
class State:
    """What training goes on from.

    Attributes
    ----------
    history
        epochs so far
    best
        epoch (from 0) of the best validation, and the weights that it had; None before the first
    """

    history: list[Epoch]
    best: tuple[int, dict[str, Tensor]] | None = None


def keep(
    place: str | Path,
    fingerprint: Fingerprint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write a checkpoint into a folder of them, whole or not at all."""
    kept = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": list(map(astuple, state.history)),
        "best": state.best,
    }
    with written_checkpoint(place, len(state.history), fingerprint) as part:
        torch.save(kept, part / FILE)


def resume(
    place: str | Path | None,
    fingerprint: Fingerprint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    processes: Processes,
) -> State:
    """What the newest whole checkpoint holds, weights put into model and optimizer.

    Without one, a fresh start. Damaged ones are named in a warning and left out.

    Raises
    ------
    EvidenceError
        For checkpoints of other settings, another model or other data, with what differs.
    """
    found = newest_whole(place, fingerprint)
    processes.wait()
    if processes.first:
        for remark in found.remarks:
            logger.warning("! %s", remark)
        found.set_aside()
    if found.last is None:
        return State([])
    kept = torch.load(found.last / FILE, weights_only=True, map_location="cpu")
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return State([Epoch(*told) for told in kept["history"]], kept["best"])
