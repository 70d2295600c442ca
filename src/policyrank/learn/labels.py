"""What labels of a list may be, and what they become: distributions, shares of wins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import low, masked_mean, places_by_value, prepare, span, widen

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LabelDomain = Literal["order", "scores", "gains", "shares", "grades"]
"""What a loss reads in labels.

``order``: which is higher, and which are equal; ``scores``: their size or their differences, any
numbers; ``gains``: how much an item is worth, at least 0; ``shares``: probabilities, in [0, 1];
``grades``: whole numbers 0, 1, ..., K.
"""

WANTED: dict[LabelDomain, str] = {
    "order": "finite labels, whose order counts",
    "scores": "finite labels, whose size counts",
    "gains": "gains, which are at least 0",
    "shares": "shares, which are in [0, 1]",
    "grades": "grades, which are whole numbers from 0",
}
_SHARES_OR_ORDER = (
    "give shares of wins (policyrank.learn.win_shares), or take a loss that reads the order alone,"
    " such as 'ranknet' or 'dpo'"
)
_LEAVE_OUT = "mask that item, or leave it out"
_REMEDIES: dict[LabelDomain, str] = {
    "order": _LEAVE_OUT,
    "scores": _LEAVE_OUT,
    "gains": _SHARES_OR_ORDER,
    "shares": _SHARES_OR_ORDER,
    "grades": "give the grades, or take a loss that reads the order alone, such as 'ranknet'",
}


def check_labels(
    labels: ArrayLike | Tensor,
    domain: LabelDomain,
    *,
    where: ArrayLike | Tensor | None = None,
    most: float = math.inf,
    name: str = "the loss",
) -> None:
    """Refuse labels that a loss cannot read, before it is trained with.

    Parameters
    ----------
    labels
        (..., list), or flat: of all lists
    domain
        of the loss: ``label_domain(loss)``
    where
        the shape of ``labels``, False for what may hold anything
    most
        the largest label: ``largest_label(loss)``
    name
        of the loss, for the message

    Raises
    ------
    OptionError
        Naming the first list that holds such a label, the label and the remedy.

    Examples
    --------
    >>> check_labels([[2.0, 0.0], [1.0, -1.0]], "gains", name="lambdarank")
    Traceback (most recent call last):
    policyrank.errors.OptionError: lambdarank takes gains, which are at least 0: list 1 has a label
    -1; give shares of wins (policyrank.learn.win_shares), or take a loss that reads the order
    alone, such as 'ranknet' or 'dpo'.
    """
    table = torch.as_tensor(labels).double()
    strange = ~_fitting(table, domain) | (table > most)
    if where is not None:
        strange &= torch.as_tensor(where).bool()
    if not strange.any():
        return
    first = int(strange.flatten().nonzero()[0])
    wanted = WANTED[domain]
    if most < math.inf:
        wanted = f"{wanted} and at most {most:g}"
    holder = f"label {first} is"
    if table.ndim > 1:
        holder = f"list {first // table.shape[-1]} has a label"
    value = f"{float(table.flatten()[first]):g}"
    raise OptionError(f"{name} takes {wanted}: {holder} {value}; {_REMEDIES[domain]}.")


def _fitting(labels: Tensor, domain: LabelDomain) -> Tensor:
    """Which labels a domain holds."""
    finite = torch.isfinite(labels)
    if domain == "gains":
        return finite & (labels >= 0)
    if domain == "shares":
        return (labels >= 0) & (labels <= 1)
    if domain == "grades":
        return finite & (labels >= 0) & (labels == labels.round())
    return finite


def win_shares(labels: Tensor, where: Tensor | None = None) -> Tensor:
    """Share of the other items of its list that an item beats, ties half: (..., list).

    (Number of the others with a lower label + half of those with an equal one) / (n - 1), n the
    items of the list: in [0, 1], 1/2 for a list of one, 0 where masked. Any increasing map of the
    labels leaves it as it is. It makes labels of every domain but ``grades`` out of any scores, and
    out of ranks (1 the best) by their negatives.

    Examples
    --------
    >>> win_shares(torch.tensor([-1.0, -2.0, -2.0, -4.0]))  # ranks 1, 2, 2, 4
    tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    values, _, mask = prepare(labels, labels, where)
    lower, not_higher = places_by_value(values, mask)
    others = mask.sum(dim=-1, keepdim=True) - 1
    beaten = (lower + not_higher - 1).to(values.dtype) / 2  # an item ties with itself
    shares = torch.where(others > 0, beaten / others.clamp(min=1), 0.5)
    return shares.masked_fill(~mask, 0.0)


def label_distribution(
    labels: Tensor,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    standardise: bool = True,
    least_gap: float = 0.0,
) -> Tensor:
    """softmax(z / temperature), z the labels standardised in each list (population deviation).

    Shape (..., list), 0 where masked. Lists whose labels span at most ``least_gap`` get the uniform
    distribution: standardising would blow noise up to full size.

    Examples
    --------
    >>> label_distribution(torch.tensor([1.0, 0.0, -1.0]), standardise=False)
    tensor([0.6652, 0.2447, 0.0900])
    """
    values, _, mask = prepare(labels, labels, where)
    if standardise:
        values = (values - masked_mean(values, mask)[..., None]).masked_fill(~mask, 0.0)
        values = values / masked_mean(values**2, mask)[..., None].sqrt().clamp(min=1e-8)
    apart = (span(labels, mask) > least_gap)[..., None]
    logits = torch.where(apart, values / temperature, 0.0).masked_fill(~mask, low(values))
    return torch.softmax(logits, dim=-1).masked_fill(~mask, 0.0)


def winrate_labels(wins: Tensor, where: Tensor | None = None) -> Tensor:
    """LiPO's labels: the mean over the list of P(row beats column); the diagonal counts as 1/2.

    (..., list, list) -> (..., list)

    Examples
    --------
    >>> winrate_labels(torch.tensor([[0.0, 0.9], [0.1, 0.0]]))
    tensor([0.7000, 0.3000])
    """
    itself = torch.eye(wins.shape[-1], dtype=torch.bool, device=wins.device)
    shares = torch.where(itself, 0.5, widen(wins))
    if where is None:
        return shares.sum(dim=-1) / shares.shape[-1]
    mask = where[..., None, :].to(shares.dtype).expand_as(shares)
    mean = (shares * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return mean.masked_fill(~where, 0.0)
