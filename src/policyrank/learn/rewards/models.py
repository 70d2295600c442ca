"""Losses of reward models on ranked lists, and what a policy discriminator converges to.

``loss(rewards, labels, *, where=None, reduce="mean")``.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, prepare, reduce_lists, span
from policyrank.learn.losses.listwise import listmle
from policyrank.learn.losses.pairwise import LabelGap, Pairs, pair_loss
from policyrank.learn.losses.preference import best_nll


class RewardLoss(Protocol):
    """Rewards and labels (..., list) -> a scalar, or one loss a list with ``reduce="none"``.

    ``imitation`` weighs the best answer's negative log-likelihood, from ``log_probs``.
    """

    def __call__(
        self,
        rewards: Tensor,
        labels: Tensor,
        /,
        *,
        where: Tensor | None = None,
        log_probs: Tensor | None = None,
        imitation: float = 0.0,
        reduce: Reduce = "mean",
    ) -> Tensor: ...


def bradley_terry_reward(
    rewards: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    margin: float = 0.0,
    margin_per_label: float = 0.0,
    centre: float = 0.0,
    log_probs: Tensor | None = None,
    imitation: float = 0.0,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """log(1 + exp(-(r_i - r_j - margin_ij))) over pairs with y_i > y_j.

    Plus what keeps the rewards in place. Labels: ``order``; ``scores`` with ``margin_per_label``.

    Parameters
    ----------
    rewards, labels
        (..., list)
    margin, margin_per_label
        margin_ij = margin + margin_per_label (y_i - y_j)
    centre
        weight of the mean over pairs of (r_i + r_j)^2: rewards about zero; on a pair as in TRL
    log_probs, imitation
        log-probability of each answer under the reward model's language head (..., list), and the
        weight of the best one's negative log-likelihood: the body does not forget language

    References
    ----------
    Ouyang et al. (2022), arXiv 2203.02155; margins of Touvron et al. (2023), arXiv 2307.09288; the
    imitation term of Zheng et al. (2023), "Secrets of RLHF", arXiv 2307.04964.

    Examples
    --------
    >>> bradley_terry_reward(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    tensor(0.3133)
    """
    s, y, mask = prepare(rewards, labels, where)

    def phi(behind: Tensor, wanted: LabelGap) -> tuple[Tensor, Tensor]:
        short = behind + margin
        if margin_per_label:
            short = short + (margin_per_label * wanted()).nan_to_num()
        return softplus(short), torch.sigmoid(short)

    loss = pair_loss(phi, s, y, mask, pairs=pairs, reduce="none")
    return _kept(loss, s, y, mask, centre, log_probs, imitation, reduce)


def plackett_luce_reward(
    rewards: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    centre: float = 0.0,
    log_probs: Tensor | None = None,
    imitation: float = 0.0,
    places: Literal["mean", "sum"] = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """Negative log-likelihood of the list's order under Plackett-Luce (its first ``k`` places).

    ``places``: the mean over its choices, so that a long list is as loud as a pair, or their sum.
    The other terms as in ``bradley_terry_reward``. Labels: ``order``, ties as in ``listmle``.
    """
    s, y, mask = prepare(rewards, labels, where)
    loss = listmle(s, y, where=mask, k=k, places=places, reduce="none")
    return _kept(loss, s, y, mask, centre, log_probs, imitation, reduce)


def _kept(
    loss: Tensor,
    s: Tensor,
    y: Tensor,
    mask: Tensor,
    centre: float,
    log_probs: Tensor | None,
    imitation: float,
    reduce: Reduce,
) -> Tensor:
    if centre:
        n = mask.sum(dim=-1)
        # The sum over i < j of (r_i + r_j)^2.
        squares = (n - 2) * (s * s).sum(dim=-1) + s.sum(dim=-1) ** 2
        loss = loss + centre * squares / (n * (n - 1) / 2).clamp(min=1)
    if imitation:
        if log_probs is None:
            raise OptionError(
                "imitation needs log_probs: the answers' log-probabilities under the language head."
            )
        loss = loss + imitation * best_nll(log_probs, y, mask)
    return reduce_lists(loss, span(y, mask) > 0, reduce)


REWARD_LOSSES: dict[str, RewardLoss] = {
    "bradley-terry": bradley_terry_reward,
    "plackett-luce": plackett_luce_reward,
}


def reward_loss(loss: str | RewardLoss) -> RewardLoss:
    """One of ``REWARD_LOSSES`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in REWARD_LOSSES:
        raise OptionError(
            f"no loss of reward models is called {loss!r}. There are: {', '.join(REWARD_LOSSES)}."
        )
    return REWARD_LOSSES[loss]


def discriminator_oracle(policies: Tensor, seen: int) -> Tensor:
    """What POLAR's pre-training converges to on tabular policies.

    The log-odds that row is the answer of the policy that wrote ``seen``, and column the other's.

    Parameters
    ----------
    policies
        (policies, answers), probabilities; policies are drawn uniformly, the other one among the
        rest
    seen
        the answer shown as reference

    Returns
    -------
    (answers, answers)

    Examples
    --------
    >>> discriminator_oracle(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), 0)[0, 1]
    tensor(1.3924)
    """
    posterior = policies[:, seen] / policies[:, seen].sum()
    own = posterior @ policies
    total = policies.sum(dim=0)
    same = torch.einsum("k,ka,kb->ab", posterior, policies, policies)
    joint = own[:, None] * total[None, :] - same
    return joint.log() - joint.T.log()
