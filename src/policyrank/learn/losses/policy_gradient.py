"""Losses whose gradient is that of an expected utility of sampled rankings."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, prepare, reduce_lists, span
from policyrank.learn.advantages import group_advantage, reward_to_go as to_go
from policyrank.learn.distributions import PlackettLuce
from policyrank.learn.utilities import Utility, named_utility

RankingBaseline = Literal["none", "loo", "mean", "std", "rank"]
BASELINES: dict[RankingBaseline, dict[str, Any]] = {
    "none": {"baseline": "none"},
    "loo": {"baseline": "loo"},
    "mean": {"baseline": "mean"},
    "std": {"baseline": "mean", "scale": "sample"},
    "rank": {"baseline": "rank"},
}
"""Of ``pg_rank``, as ``group_advantage`` takes them."""


def pg_rank(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    utility: str | Utility = "ndcg",
    k: int | None = 10,
    samples: int = 16,
    baseline: RankingBaseline = "loo",
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
        For an unknown utility or baseline, or one sample with a baseline.

    References
    ----------
    Gao et al. (2023), "Policy-Gradient Training of Language Models for Ranking", arXiv 2310.04407.
    """
    gained = named_utility(utility)
    scores, labels, mask = prepare(scores, labels, where)
    policy = PlackettLuce(scores, where=mask, temperature=temperature)
    if baseline not in BASELINES:
        raise OptionError(f"baseline={baseline!r}: use {', '.join(BASELINES)}.")
    if samples < 2 and baseline != "none":
        raise OptionError(f"baseline={baseline!r} needs at least two samples, not {samples}.")
    with torch.no_grad():
        rankings = policy.sample(samples, k=k, generator=generator)
        gains = gained(labels, rankings, mask)
        reward = to_go(gains) if reward_to_go else gains.sum(dim=-1, keepdim=True)
        weight = group_advantage(reward, epsilon=0.0, least=1, **BASELINES[baseline])
    step = policy.step_log_prob(rankings)
    # Not whether these samples gained something: that would bias the mean over lists.
    says = span(labels, mask) > 0
    return reduce_lists(-(weight * step).sum(dim=-1).mean(dim=0), says, reduce)
