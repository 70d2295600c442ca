"""What critics of actions lose: expectiles, and a penalty on actions that the data do not hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, reduce_lists, widen


def expectile_loss(gap: Tensor, expectile: float = 0.7, *, reduce: Reduce = "mean") -> Tensor:
    """Squares of a gap, weighted by its sign: ``expectile`` above 0, 1 - ``expectile`` below.

    Of values of data actions less a state's value, its least is the state's value under the better
    of the actions that the data hold (implicit Q-learning).

    Parameters
    ----------
    gap
        (...), what is aimed at less what is said
    expectile
        in (0, 1); 0.5 is half the square error
    reduce
        ``"mean"``, ``"sum"`` or ``"none"``

    Raises
    ------
    OptionError
        For an expectile outside (0, 1).

    References
    ----------
    Kostrikov, Nair and Levine (2021), arXiv 2110.06169, equation 5.

    Examples
    --------
    >>> expectile_loss(torch.tensor([2.0, -2.0]), 0.7, reduce="none")
    tensor([2.8000, 1.2000])
    """
    if not 0 < expectile < 1:
        raise OptionError(f"expectile={expectile}: it lies between 0 and 1.")
    gap = widen(gap)
    weight = torch.where(gap > 0, expectile, 1 - expectile)
    return reduce_lists(weight * gap**2, torch.ones_like(gap, dtype=torch.bool), reduce)


def conservative_penalty(
    others: Tensor,
    data: Tensor,
    *,
    log_density: Tensor | None = None,
    returns: Tensor | None = None,
    floored: Tensor | None = None,
    with_data: bool = False,
    per_action: bool = False,
    reduce: Reduce = "mean",
) -> Tensor:
    """By how much a critic values other actions above those of the data: its soft maximum less q.

    logsumexp over others of [max(Q, return) - log density] - Q(data). With returns it is calibrated
    (Cal-QL): a value that is no larger than what followed in the data is not pushed down.

    Parameters
    ----------
    others
        (..., batch, actions), values of sampled actions: uniform ones, the policy's
    data
        (..., batch), values of the data's actions
    log_density
        (batch, actions), of how each was drawn, taken off after the floor; None: not corrected
    returns
        (batch,), discounted, of the data from there on; None: no floor (CQL)
    floored
        bool (actions,), those that the floor holds for, such as the policy's but no uniform ones;
        None: all
    with_data
        whether the data's action is among those that the maximum is over
    per_action
        less the logarithm of their number: the mean's exponential in place of the sum's
    reduce
        over members of the ensemble and batch

    Raises
    ------
    OptionError
        For shapes that do not fit.

    References
    ----------
    Kumar et al. (2020), arXiv 2006.04779; Nakamoto et al. (2023), arXiv 2303.05479, equation 5.1.

    Examples
    --------
    >>> q, data = torch.tensor([[1.0, 2.0]]), torch.tensor([2.5])
    >>> drawn = torch.tensor([[0.5, 1.0]]).log()  # uniform in [-1, 1], and by the policy
    >>> conservative_penalty(q, data, log_density=drawn)
    tensor(0.0514)
    >>> conservative_penalty(
    ...     q,
    ...     data,
    ...     log_density=drawn,
    ...     returns=torch.tensor([3.0]),
    ...     floored=torch.tensor([False, True]),
    ... )
    tensor(0.7395)
    """
    if others.shape[:-1] != data.shape:
        raise OptionError(f"data {tuple(data.shape)} must be {tuple(others.shape[:-1])}.")
    value, own = widen(others), widen(data)
    if returns is not None:
        floor = widen(returns)[..., None].expand(value.shape)
        if floored is not None:
            floor = floor.masked_fill(~floored, -torch.inf)
        value = torch.maximum(value, floor)
    if log_density is not None:
        value = value - widen(log_density)
    if with_data:
        value = torch.cat([value, own[..., None]], dim=-1)
    highest = value.logsumexp(dim=-1)
    if per_action:
        highest = highest - math.log(value.shape[-1])
    return reduce_lists(highest - own, torch.ones_like(own, dtype=torch.bool), reduce)
