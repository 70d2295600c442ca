"""Rows that are replayed into a group of fresh ones: which groups need them, and what they do."""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn.advantages import Scale, group_advantage, group_mean
from policyrank.learn.temporal import Keys


def one_sided(outcomes: Tensor, groups: Keys) -> Tensor:
    """Of each row's group, whether all fail (-1), all succeed (1), or neither (0): (rows,).

    Of outcomes, not of rewards: bonuses for length, or ranks among failures, make rewards of equal
    outcomes differ. A group that fails needs replayed successes, one that succeeds failures.

    Parameters
    ----------
    outcomes
        (rows,), whether each succeeded; NaN: of nobody
    groups
        (rows,), integers or any keys

    References
    ----------
    "R^3: Replay, Reflection, and Ranking Rewards for LLM Reinforcement Learning" (2026), arXiv
    2601.19620.

    Examples
    --------
    >>> one_sided(torch.tensor([0, 0, 1, 1, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2]))
    tensor([-1, -1,  1,  1,  0,  0])
    """
    share = group_mean(torch.where(outcomes.isnan(), torch.nan, (outcomes > 0).double()), groups)
    return (share == 1).long() - (share == 0).long()


def mixed_advantage(
    rewards: Tensor,
    groups: Keys,
    *,
    scale: Scale = "sample",
    damping: float = 1.0,
    epsilon: float = 1e-6,
) -> Tensor:
    """Advantages of groups that hold replayed rows beside fresh ones: (rows,).

    (R - mean) / (damping std + epsilon), mean and deviation of all rows of the group. Replayed rows
    are rows: they are compared, and learned from. With damping 1, ``group_advantage``.

    Parameters
    ----------
    rewards
        (rows,), of fresh and replayed ones, as each was paid
    groups
        (rows,), a replayed row has the key of the fresh ones that it joins
    scale
        ``"sample"``, ``"std"`` (of the population), ``"batch"``, or ``"none"``
    damping
        of the deviation (alpha), above 0. More than 1 holds back all rows of the group alike, not
        the replayed ones alone

    Raises
    ------
    OptionError
        As ``group_advantage``, or for a damping that is not above 0.

    References
    ----------
    arXiv 2601.19620, equation 3; which deviation it takes is not said.

    Examples
    --------
    >>> rewards = torch.tensor([0.0] * 8 + [1.0])
    >>> mixed_advantage(rewards, torch.zeros(9, dtype=torch.long), epsilon=0.0)[7:]
    tensor([-0.3333,  2.6667])
    """
    if not damping > 0:
        raise OptionError(f"damping={damping}: it is above 0.")
    gain = group_advantage(rewards, groups, scale=scale, epsilon=epsilon / damping)
    return gain if scale == "none" else gain / damping
