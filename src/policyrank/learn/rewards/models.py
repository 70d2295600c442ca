"""Losses of reward models on ranked lists: ``loss(rewards, labels, *, where=None, reduce="mean")``,
and what a policy discriminator converges to.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import Reduce, prepare, reduce_lists
from policyrank.learn.losses.listwise import listmle
from policyrank.learn.losses.pairwise import LabelGap, Pairs, pair_loss
from policyrank.learn.losses.preference import best_nll

RewardLoss = Callable[..., Tensor]
"""(rewards, labels, *, where, reduce) -> a scalar, or one loss a list with ``reduce="none"``."""


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
    """log(1 + exp(-(r_i - r_j - margin_ij))) over pairs with y_i > y_j, and what keeps the rewards
    in place.

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
    reduce: Reduce = "mean",
) -> Tensor:
    """Negative log-likelihood of the list's order under Plackett-Luce (its first ``k`` places); the
    other terms as in ``bradley_terry_reward``.
    """
    s, y, mask = prepare(rewards, labels, where)
    loss = listmle(s, y, where=mask, k=k, reduce="none")
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
        squares = (n - 2) * (s * s).sum(dim=-1) + s.sum(
            dim=-1
        ) ** 2  # sum over i < j of (r_i + r_j)^2
        loss = loss + centre * squares / (n * (n - 1) / 2).clamp(min=1)
    if imitation:
        if log_probs is None:
            raise ValueError(
                "imitation needs log_probs: the answers' log-probabilities under the language head."
            )
        loss = loss + imitation * best_nll(log_probs, y, mask)
    ordered = y.masked_fill(~mask, -torch.inf).amax(dim=-1) > y.masked_fill(~mask, torch.inf).amin(
        dim=-1
    )
    return reduce_lists(loss, ordered, reduce)


REWARD_LOSSES: dict[str, RewardLoss] = {
    "bradley-terry": bradley_terry_reward,
    "plackett-luce": plackett_luce_reward,
}


def discriminator_oracle(policies: Tensor, seen: int) -> Tensor:
    """What POLAR's pre-training converges to on tabular policies: the log-odds that row is the one
    of the policy that wrote ``seen``, and column the other's.

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
