"""Objectives that train a policy on ranked lists of its answers.

``loss(log_probs, labels, *, reference=None, where=None, lengths=None, reduce="mean")``:
log-probabilities of whole answers under the policy and under a reference (..., list), nats summed
over tokens; labels (..., list), higher is better; tokens of each answer. With a reference an
answer's score is beta times its log-ratio, without one beta times its log-probability. A list of
two is a pair; longer lists ask for all pairs, or for the whole order.

A list is as loud as a pair, so that a learning rate means the same for all objectives and lengths:
on two answers an objective is what it is in its paper and in TRL, on more the mean over what it
compares. That is pairs (a pair's loss may be the sum of those of its two answers: apo-zero, kto,
sppo, point-mse, point-sigmoid), the choices of the best of those left (dpo-pl, pro), or the one
choice of the whole list (softmax, label-distribution). Objectives of groups (grpo) are the mean
over answers, as GRPO has it. The mean over lists leaves out those that say nothing, as in
``learn.losses``: those without two different labels, but softmax learns from any positive label and
objectives of points from any answer.
"""

from __future__ import annotations

from functools import partial

from policyrank.learn.labels import label_distribution, winrate_labels
from policyrank.learn.losses.groups import (
    distribution_matching,
    group_clipped,
    share_clipped,
)
from policyrank.learn.losses.implicit import (
    PreferenceLoss,
    best_answer,
    best_nll,
    both_of_a_pair,
    implicit_scores,
    of_best,
    of_ranking,
)
from policyrank.learn.losses.likely import pro, rrhf, simpo
from policyrank.learn.losses.listwise import listmle, softmax_cross_entropy
from policyrank.learn.losses.odds import cpo, orpo
from policyrank.learn.losses.pairwise import hinge, ranknet
from policyrank.learn.losses.pointwise import mse, sigmoid_cross_entropy
from policyrank.learn.losses.ratios import apo_zero, ipo, kto, smoothed_dpo, sppo

lipo_lambda = partial(ranknet, lambda_weight="dcg")

PREFERENCE_LOSSES: dict[str, PreferenceLoss] = {
    "dpo": partial(of_ranking, ranknet),
    "cdpo": partial(of_ranking, smoothed_dpo),
    "robust-dpo": partial(of_ranking, partial(smoothed_dpo, robust=True)),
    "slic": partial(of_ranking, hinge),
    "ipo": ipo,
    "apo-zero": partial(of_ranking, apo_zero),
    "kto": kto,
    "sppo": sppo,
    "simpo": simpo,
    "rrhf": rrhf,
    "pro": pro,
    "orpo": orpo,
    "cpo": cpo,
    "dpo-pl": partial(of_ranking, partial(listmle, places="mean")),
    "lipo-lambda": partial(of_ranking, lipo_lambda),
    "softmax": partial(of_ranking, partial(softmax_cross_entropy, normalise=True)),
    "label-distribution": partial(of_ranking, distribution_matching, beta=1.0),
    "grpo": group_clipped,
    "label-distribution-grpo": share_clipped,
    "point-mse": partial(of_ranking, partial(both_of_a_pair, mse)),
    "point-sigmoid": partial(of_ranking, partial(both_of_a_pair, sigmoid_cross_entropy)),
}
REFERENCE_FREE = frozenset({"simpo", "rrhf", "pro", "orpo", "cpo"})

__all__ = [
    "PREFERENCE_LOSSES",
    "REFERENCE_FREE",
    "PreferenceLoss",
    "apo_zero",
    "best_answer",
    "best_nll",
    "both_of_a_pair",
    "cpo",
    "distribution_matching",
    "group_clipped",
    "implicit_scores",
    "ipo",
    "kto",
    "label_distribution",
    "lipo_lambda",
    "of_best",
    "of_ranking",
    "orpo",
    "pro",
    "rrhf",
    "share_clipped",
    "simpo",
    "smoothed_dpo",
    "sppo",
    "winrate_labels",
]
