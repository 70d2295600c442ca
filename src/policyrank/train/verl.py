"""Estimators and losses of this library in verl's registries, and rewards where it asks for one.

Loaded by ``VERL_USE_EXTERNAL_MODULES=policyrank.train.verl``, and by verl itself, which finds this
package as a plug-in. Written for verl 0.9. ``algorithm.adv_estimator=policyrank`` takes options
under ``algorithm.policyrank`` (``GroupOptions``), ``actor_rollout_ref.actor.policy_loss.loss_mode``
a name in ``LOSSES`` beside verl's clips and ``loss_agg_mode``.

A row alone in its group says nothing, and has an advantage of 0: verl's own estimators give it its
raw reward. Its tokens, and those of groups of equal rewards, keep their share of the denominators
that verl counts itself, unless ``policyrank.train.verl_trainer`` takes them out.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est, register_policy_loss

from policyrank.errors import MissingExtraError, OptionError
from policyrank.learn.losses import PolicyObjective
from policyrank.learn.rollouts import Rewards, Rollouts, rewarded
from policyrank.train.places import imported
from policyrank.train.verl_seams import NOTHING, GroupOptions, policy_loss, token_advantages

PINNED = "0.9"
ESTIMATOR = "policyrank"
LOSSES: dict[str, PolicyObjective] = {
    "policyrank_token": PolicyObjective(),
    "policyrank_segment": PolicyObjective(ratio="segment"),
    "policyrank_segment_mean": PolicyObjective(ratio="segment", average="segment"),
    "policyrank_sequence": PolicyObjective(ratio="sequence"),
    "policyrank_geometric": PolicyObjective(surrogate="geometric"),
    "policyrank_weighted": PolicyObjective(surrogate="weighted"),
}
"""``loss_mode`` -> what of an objective verl's own options do not say: over which tokens a ratio is
taken, and what becomes of it. Clips are the actor's, averages ``loss_agg_mode`` (``segment_mean``:
within segments, then rows, then all)."""

if not version("verl").startswith(f"{PINNED}."):
    raise MissingExtraError(
        f"policyrank.train.verl is written for verl {PINNED}, not {version('verl')}:"
        f" pip install 'verl=={PINNED}.*'"
    )


@register_adv_est(ESTIMATOR)
def group_estimator(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: Any = None,
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Advantages of ragged groups, of rows or of the segments that marks tell.

    Parameters
    ----------
    token_level_rewards
        (rows, tokens): a reward at the last token, or ``verl_seams.marked`` ones
    response_mask
        (rows, tokens), what the policy wrote itself
    index
        (rows,), ids of groups
    config
        verl's ``algorithm``, whose ``policyrank`` is ``GroupOptions``

    Returns
    -------
    (rows, tokens), twice: verl takes returns, too
    """
    with torch.no_grad():
        options = GroupOptions.of(config)
        found = token_advantages(token_level_rewards, response_mask, index, options)
    return found, found


def _register(name: str, base: PolicyObjective) -> None:
    @register_policy_loss(name)
    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        if config is None:
            raise OptionError(f"{name}: give verl's configuration of the actor.")
        found = policy_loss(
            base,
            old_log_prob,
            log_prob,
            advantages,
            response_mask,
            loss_agg_mode,
            config,
            rollout_is_weights,
        )
        with torch.no_grad():
            where = response_mask.bool()
            behind = (old_log_prob - log_prob).masked_fill(~where, 0.0)
            moved = behind.sum() / where.sum().clamp(min=1)
        return found.loss, {
            "actor/pg_clipfrac": found.clip_share.item(),
            "actor/ppo_kl": moved.item(),
            "actor/pg_clipfrac_lower": 0.0,
        }


for _name, _base in LOSSES.items():
    _register(_name, _base)


def sample_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    *,
    reward: str,
    segments: str = "",
    **_: Any,
) -> dict[str, float]:
    """A reward of this library where verl asks for the score of one sample.

    verl's ``reward.custom_reward_function`` with ``path: pkg://policyrank.train.verl`` and ``name:
    sample_score``. The reward sees a group of one: those that compare answers need
    ``policyrank.train.verl_trainer``.

    Parameters
    ----------
    ground_truth
        the column ``ground_truth``; those in ``extra_info`` have their names
    reward
        ``"module:function"``, see ``places.imported``; under verl's ``reward_kwargs``
    segments
        ``"mean"``: the mean of a reward of segments, which is refused without: what
        ``policyrank.train.verl_trainer`` shows of validation, and does not learn from

    Returns
    -------
    ``score``, which verl learns from, whether it applies, and parts. Where it does not apply the
    score is a number that our estimator reads so, and that no sum notices
    """
    columns = {"ground_truth": ground_truth, "data_source": data_source, **(extra_info or {})}
    alone = Rollouts(
        ids=torch.zeros(1, 1, dtype=torch.long),
        where=torch.ones(1, 1, dtype=torch.bool),
        groups=torch.zeros(1, dtype=torch.long),
        completions=[solution_str],
        columns={name: [value] for name, value in columns.items()},
    )
    found: Rewards = rewarded(alone, imported(reward))
    if found.values.ndim > 1 and segments != "mean":
        raise OptionError(f"reward {reward}: one of segments needs policyrank.train.verl_trainer.")
    value = found.values.nanmean().item()
    applies = value == value
    parts = {name: said.nan_to_num(nan=0.0).item() for name, said in found.parts.items()}
    return {"score": value if applies else NOTHING, "applies": float(applies), **parts}
