"""Losses whose gradient is that of an expected utility of sampled rankings."""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.learn._lists import Reduce, prepare, reduce_lists, span
from policyrank.learn.advantages import Baseline, advantage
from policyrank.learn.distributions import PlackettLuce
from policyrank.learn.utilities import Utility, named_utility


def pg_rank(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    utility: str | Utility = "ndcg",
    k: int | None = 10,
    samples: int = 16,
    baseline: Baseline = "loo",
    reward_to_go: bool = True,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Neural PG-RANK: minus the expected utility of rankings drawn from Plackett-Luce.

    A REINFORCE surrogate: its value means nothing; its gradient is an unbiased estimate of minus
    that of the expected utility (``baseline`` "none" or "loo"; the others change its length or
    direction). Labels: ``gains``.

    Parameters
    ----------
    scores, labels
        (..., list)
    utility
        a name in ``learn.UTILITIES``, or a function of labels (..., list), rankings (samples, ...,
        k) and mask that returns the utility gained at each place, (samples, ..., k)
    k
        places that count
    samples
        rankings drawn, >= 2 for "loo"
    baseline
        ``"loo"``: leave one out; ``"none"``, ``"mean"``, ``"std"`` (as GRPO), ``"rank"``
    reward_to_go
        weigh each place by what is gained there and below: what was gained above cannot depend on
        it
    temperature
        of the policy

    Raises
    ------
    OptionError
        For an unknown utility.

    References
    ----------
    Gao et al. (2023), "Policy-Gradient Training of Language Models for Ranking", arXiv 2310.04407.
    """
    gained = named_utility(utility)
    scores, labels, mask = prepare(scores, labels, where)
    policy = PlackettLuce(scores, where=mask, temperature=temperature)
    with torch.no_grad():
        rankings = policy.sample(samples, k=k, generator=generator)
        gains = gained(labels, rankings, mask)
        if reward_to_go:
            reward = gains.flip(-1).cumsum(-1).flip(-1)
        else:
            reward = gains.sum(dim=-1, keepdim=True)
        weight = advantage(reward, baseline)
    step = policy.step_log_prob(rankings)
    # Not whether these samples gained something: that would bias the mean over lists.
    says = span(labels, mask) > 0
    return reduce_lists(-(weight * step).sum(dim=-1).mean(dim=0), says, reduce)
