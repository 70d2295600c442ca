"""Losses of rankings: ``loss(scores, labels, *, where=None, reduce="mean")``.

The last axis is the list, higher labels are better. Masked entries may hold anything. NaN scores
give a NaN loss. What labels may be, their domain, each loss says (``learn.label_domain``); the
order of the items never matters, equal labels or not.

**Reduction.** ``"none"``: one loss a list; ``"sum"``: their sum; ``"mean"``: their sum over the
number of lists that say something. Lists that say nothing have loss 0. Whether a list speaks, its
labels and its mask decide alone, never scores, weights, or what was drawn, or gradients would be
biased. It speaks when it has

- two different labels, to all losses of orders, pairs and metrics, here and in
  ``PREFERENCE_LOSSES`` and ``REWARD_LOSSES``, but:
- a positive label, to softmax;
- two items, to listnet (and to listmle where a generator breaks ties);
- an item, to losses of single items: mse, sigmoid, ordinal, point-mse, point-sigmoid.
"""

from __future__ import annotations

from functools import partial

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce
from policyrank.learn.losses.action_values import conservative_penalty, expectile_loss
from policyrank.learn.losses.critics import ValueLoss, ValueObjective, pretraining_loss
from policyrank.learn.losses.features import (
    FeaturePenalty,
    bellman_cosine_bound,
    bellman_cosine_penalty,
    feature_coadaptation,
)
from policyrank.learn.losses.implicit import RankingLoss
from policyrank.learn.losses.listwise import (
    listmle,
    listnet,
    p_listmle,
    ranklist,
    skip_schedule,
    softmax_cross_entropy,
)
from policyrank.learn.losses.pairwise import (
    LAMBDA_WEIGHTS,
    hinge,
    margin_mse,
    pair_softmax,
    ranknet,
)
from policyrank.learn.losses.pointwise import mse, ordinal, sigmoid_cross_entropy
from policyrank.learn.losses.policy import POLICY_OBJECTIVES, PolicyLoss, PolicyObjective
from policyrank.learn.losses.policy_gradient import pg_rank
from policyrank.learn.losses.preference import (
    PREFERENCE_LOSSES,
    REFERENCE_FREE,
    PreferenceLoss,
    implicit_scores,
    of_ranking,
)
from policyrank.learn.losses.sampled_lists import GroupObjective, ListObjective
from policyrank.learn.losses.soft_ndcg import approx_ndcg, neural_ndcg

LOSSES: dict[str, RankingLoss] = {
    "mse": mse,
    "sigmoid": sigmoid_cross_entropy,
    "ordinal": ordinal,
    "ranknet": ranknet,
    "hinge": hinge,
    "pair-softmax": pair_softmax,
    "margin-mse": margin_mse,
    "lambdarank": partial(ranknet, lambda_weight="lambdarank", pairs="sum"),
    "lambda-ndcg-1": partial(ranknet, lambda_weight="ndcg-1", pairs="sum"),
    "lambda-ndcg-2": partial(ranknet, lambda_weight="ndcg-2", pairs="sum"),
    "lambda-ndcg-2pp": partial(ranknet, lambda_weight="ndcg-2pp", pairs="sum"),
    "softmax": softmax_cross_entropy,
    "listnet": listnet,
    "listmle": listmle,
    "p-listmle": p_listmle,
    "approx-ndcg": approx_ndcg,
    "neural-ndcg": neural_ndcg,
    "ranklist": ranklist,
    "ranklist-lse": partial(ranklist, form="lse"),
    "pg-rank": pg_rank,
}


def ranking_loss(loss: str | RankingLoss) -> RankingLoss:
    """One of ``LOSSES`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise OptionError(f"loss={loss!r}: use one of {', '.join(LOSSES)}, or a function.")
    return LOSSES[loss]


def preference_loss(name: str) -> PreferenceLoss:
    """An objective of preferences by name.

    One of ``PREFERENCE_LOSSES``, or any of ``LOSSES`` on implicit scores.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if name in PREFERENCE_LOSSES:
        return PREFERENCE_LOSSES[name]
    if name in LOSSES:
        return partial(of_ranking, LOSSES[name])
    raise OptionError(
        f"no objective is called {name!r}. There are: {', '.join(PREFERENCE_LOSSES)}; and the"
        f" losses of rankings: {', '.join(LOSSES)}."
    )


__all__ = [
    "LAMBDA_WEIGHTS",
    "LOSSES",
    "POLICY_OBJECTIVES",
    "PREFERENCE_LOSSES",
    "REFERENCE_FREE",
    "FeaturePenalty",
    "GroupObjective",
    "ListObjective",
    "PolicyLoss",
    "PolicyObjective",
    "PreferenceLoss",
    "RankingLoss",
    "Reduce",
    "ValueLoss",
    "ValueObjective",
    "approx_ndcg",
    "bellman_cosine_bound",
    "bellman_cosine_penalty",
    "conservative_penalty",
    "expectile_loss",
    "feature_coadaptation",
    "hinge",
    "implicit_scores",
    "listmle",
    "listnet",
    "margin_mse",
    "mse",
    "neural_ndcg",
    "of_ranking",
    "ordinal",
    "p_listmle",
    "pair_softmax",
    "pg_rank",
    "preference_loss",
    "pretraining_loss",
    "ranking_loss",
    "ranklist",
    "ranknet",
    "sigmoid_cross_entropy",
    "skip_schedule",
    "softmax_cross_entropy",
]
