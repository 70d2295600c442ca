"""Checkpoints of a ranker in training: kept after each epoch, refused where anything differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from policyrank.errors import EvidenceError
from policyrank.files import written
from policyrank.train.fingerprints import MARK
from policyrank.train.ranker_progress import Epoch

REMEDY = "Name another file, or remove it."


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
    path: str | Path,
    about: Mapping[str, Mapping[str, Any]],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    about
        what must be the same for training to go on: of settings, of each set of data
    """
    kept = {
        "about": {what: dict(told) for what, told in about.items()},
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": list(map(astuple, state.history)),
        "best": state.best,
    }
    with written(path) as part:
        torch.save(kept, part)


def resume(
    path: str | Path | None,
    about: Mapping[str, Mapping[str, Any]],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> State:
    """What a checkpoint holds, weights put into model and optimizer; without one, a fresh start.

    Raises
    ------
    EvidenceError
        For a file that is no checkpoint, and one of other settings, another model or other data,
        with what differs.
    """
    if path is None or not Path(path).exists():
        return State([])
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        before = kept["about"]
    except Exception:
        raise EvidenceError(
            f"{path}: not a checkpoint of this version of policyrank. {REMEDY}"
        ) from None
    for what, told in about.items():
        _check_same(path, what, before.get(what), told)
    for what in before:
        _check_same(path, what, before[what], about.get(what))
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return State([Epoch(*told) for told in kept["history"]], kept["best"])


def _check_same(path: str | Path, what: str, before: Any, now: Any) -> None:
    if before is None or now is None:
        there = "without" if before is None else "with"
        raise EvidenceError(f"{path}: a checkpoint {there} {what}. {REMEDY}")
    told = differences(before, now)
    if told:
        raise EvidenceError(f"{path}: a checkpoint of other {what}: {told}. {REMEDY}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, the first three: hashes by name, all else with its values.

    Examples
    --------
    >>> differences({"rows": 3, "labels": "#9a"}, {"rows": 4, "labels": "#9b"})
    'rows 3, here 4; labels differ'
    """
    found = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if str(old).startswith(MARK):
            found.append(f"{name} differ")
        else:
            found.append(f"{name} {_short(old)}, here {_short(new)}")
    if len(found) > 3:
        found[3:] = [f"and {len(found) - 3} more"]
    return "; ".join(found)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
