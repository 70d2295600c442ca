"""Turns compared with those that share what led to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn import Rollouts, hierarchical_advantage, history_keys
from policyrank.learn.advantages import Scale


def history_advantage(
    *,
    depth: int = 2,
    scale: Scale = "std",
    alpha: float = 1.0,
    offset: float = 1.0,
    drop_zero: bool = True,
) -> Any:
    """An advantage of turns, each compared with those of its group that share its history.

    For ``GroupConfig(advantage=history_advantage())`` with ``TurnSampler`` and
    ``turn_reward(by_turn=...)``, whose values are what is gained from each turn on. Before its
    first turn a trajectory has seen the task alone, then what the environment answered. A turn that
    nobody shares its observation with says nothing.

    Parameters
    ----------
    depth
        earlier observations that are looked at; 0: the present one alone (GiGPO)
    scale, alpha, offset, drop_zero
        of ``learn.hierarchical_advantage``

    Raises
    ------
    OptionError
        When called: for rewards of whole trajectories, or rollouts without turns.

    References
    ----------
    He et al. (2026), "Hierarchy-of-Groups Policy Optimization for Long-Horizon Agentic Tasks",
    arXiv 2602.22817.
    """

    def advantage(values: Tensor, rollouts: Rollouts) -> Tensor:
        if "trajectory" not in rollouts.columns:
            raise OptionError("the rollouts have no turns: sample them by TurnSampler.")
        if values.ndim != 2:
            raise OptionError("a value a trajectory: reward turns by turn_reward(by_turn=...).")
        row, turn = (~values.isnan()).nonzero(as_tuple=True)
        seen = [_before(own) for own in rollouts.columns["trajectory"]]
        places = zip(row.tolist(), turn.tolist(), strict=True)
        levels = history_keys(
            [seen[k][t] for k, t in places],
            row,
            depth=depth,
            tasks=rollouts.groups[row],
            steps=turn,
        )
        gains = torch.full_like(values, torch.nan)
        gains[row, turn] = hierarchical_advantage(
            values[row, turn],
            levels,
            scale=scale,
            alpha=alpha,
            offset=offset,
            drop_zero=drop_zero,
            otherwise=torch.nan,
        )
        return gains

    advantage.of_rollouts = True  # type: ignore[attr-defined]
    return advantage


def _before(trajectory: Any) -> list[str]:
    """What was seen before each turn; nothing but the task before the first."""
    return ["", *(turn["observation"] for turn in trajectory["turns"])]
