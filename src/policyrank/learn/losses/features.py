"""Penalties on the features of a critic: that those of consecutive pairs become alike."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from policyrank.errors import OptionError
from policyrank.learn._lists import widen

TINY = 1e-6
"""Norms are at least that: features that are all zero have no direction."""

Form = Literal["cosine", "distance"]


class FeaturePenalty(NamedTuple):
    """A penalty, and where it acts.

    Attributes
    ----------
    loss
        (), a mean over the batch
    active
        (), share of pairs that are beyond their bound by more than 1e-6
    """

    loss: Tensor
    active: Tensor


def bellman_cosine_bound(
    features: Tensor,
    following: Tensor,
    rewards: Tensor,
    weights: Tensor,
    *,
    discount: float = 0.99,
    bias: Tensor | float = 0.0,
) -> Tensor:
    """The largest cosine of consecutive features that the Bellman equation allows: (batch,).

    With q = phi'w + b and q = r + discount q', Cauchy-Schwarz gives
    ||phi - discount phi'|| >= |r - (1 - discount) b| / ||w||.

    Parameters
    ----------
    features, following
        (batch, d), of state and action, and of the next ones, by one network
    rewards
        (batch,)
    weights
        (d,), of the last layer
    discount
        in (0, 1]
    bias
        of the last layer

    Raises
    ------
    OptionError
        For shapes that do not fit.

    References
    ----------
    He et al. (2024), "Adaptive Regularization of Representation Rank as an Implicit Constraint of
    Bellman Equation", arXiv 2404.12754; with the bias that its derivation leaves out.

    Examples
    --------
    >>> phi, after, w = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]), torch.ones(2)
    >>> bellman_cosine_bound(phi, after, torch.tensor([4.0]), w, discount=0.5)
    tensor([0.9300])
    """
    own, after, least = _parts(features, following, rewards, weights, discount, bias)
    length, next_length = own.norm(dim=-1), after.norm(dim=-1)
    top = length**2 + discount**2 * next_length**2 - least
    return top / (2 * discount * length.clamp(min=TINY) * next_length.clamp(min=TINY))


def bellman_cosine_penalty(
    features: Tensor,
    following: Tensor,
    rewards: Tensor,
    weights: Tensor,
    *,
    discount: float = 0.99,
    bias: Tensor | float = 0.0,
    ends: Tensor | None = None,
    form: Form = "cosine",
) -> FeaturePenalty:
    """A hinge on consecutive features that are more alike than the Bellman equation allows.

    Only ``features`` get a gradient. It acts where ||phi - discount phi'|| is below
    |r - (1 - discount) b| / ||w||: never without a reward, never where the Bellman equation holds.
    Both forms act on the same pairs, but for features that are all zero, which have no cosine.

    Parameters
    ----------
    features, following, rewards, weights, discount, bias
        as ``bellman_cosine_bound``; ``following`` of one network, the target's or the critic's own
    ends
        bool (batch,), where nothing follows: they have no bound
    form
        ``"cosine"``: of the cosine above its bound; ``"distance"``: of (r / ||w||)^2 above
        ||phi - discount phi'||^2, which divides by no norm of features

    Raises
    ------
    OptionError
        For an unknown form, or shapes that do not fit.

    References
    ----------
    arXiv 2404.12754, equation 9.

    Examples
    --------
    >>> phi, after, w = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]), torch.ones(2)
    >>> bellman_cosine_penalty(phi, after, torch.tensor([4.0]), w, discount=0.5)
    FeaturePenalty(loss=tensor(0.0300), active=tensor(1.))
    """
    after = following.detach()
    if form == "cosine":
        bound = bellman_cosine_bound(
            features.detach(), after, rewards, weights, discount=discount, bias=bias
        )
        beyond = cosine_similarity(widen(features), widen(after), dim=-1, eps=TINY) - bound
        dead = torch.minimum(features.detach().norm(dim=-1), after.norm(dim=-1)) < TINY
        beyond = beyond.masked_fill(dead, 0.0)
    elif form == "distance":
        own, after, least = _parts(features, after, rewards, weights, discount, bias)
        beyond = least - ((own - discount * after) ** 2).sum(dim=-1)
    else:
        raise OptionError(f"form={form!r}: use 'cosine' or 'distance'.")
    if ends is not None:
        beyond = beyond.masked_fill(ends.bool(), 0.0)
    return FeaturePenalty(beyond.clamp(min=0).mean(), (beyond > TINY).to(beyond.dtype).mean())


def feature_coadaptation(features: Tensor, following: Tensor) -> Tensor:
    """The mean product of consecutive features: (), to be kept small (DR3).

    Parameters
    ----------
    features, following
        (batch, d), of state and action, and of the next ones; both get a gradient

    References
    ----------
    Kumar et al. (2021), "DR3: Value-Based Deep Reinforcement Learning Requires Explicit
    Regularization", arXiv 2112.04716, equation 4.

    Examples
    --------
    >>> feature_coadaptation(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
    tensor(24.)
    """
    _same_shape(features, following)
    return (widen(features) * widen(following)).sum(dim=-1).mean()


def _parts(
    features: Tensor,
    following: Tensor,
    rewards: Tensor,
    weights: Tensor,
    discount: float,
    bias: Tensor | float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, those that follow, and the least square distance of the one from the other."""
    _same_shape(features, following)
    if rewards.shape != features.shape[:-1] or weights.shape != features.shape[-1:]:
        raise OptionError(
            f"rewards {tuple(rewards.shape)} and weights {tuple(weights.shape)} must be"
            f" {tuple(features.shape[:-1])} and {tuple(features.shape[-1:])}."
        )
    offset = torch.as_tensor(bias).detach()
    step = widen(rewards) - (1 - discount) * offset
    least = step**2 / (widen(weights.detach()) ** 2).sum().clamp(min=TINY**2)
    return widen(features), widen(following), least


def _same_shape(features: Tensor, following: Tensor) -> None:
    if features.shape != following.shape or features.ndim < 2:
        raise OptionError(
            f"features {tuple(features.shape)} and those that follow {tuple(following.shape)} must"
            " be (batch, d), both."
        )
