"""verl's synchronous trainer with rewards that see whole groups, any groups, and segments.

``VERL_USE_EXTERNAL_MODULES=policyrank.train.verl_trainer``, in the environment of Ray's workers
too, and ``trainer.v1.trainer_mode=policyrank``. verl asks for the score of one sample, and hands
its estimators no columns: this takes what it keeps, and puts rewards there before its own
advantages are computed, and advantages after. Options stand under ``policyrank`` in
verl's configuration (``TrainerOptions``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import transfer_queue as queue
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn.advantages import Scale, group_keys, token_gains
from policyrank.learn.histories import hierarchical_advantage, history_keys
from policyrank.learn.rewards import weighted_sum
from policyrank.learn.rollouts import Rollouts, rewarded
from policyrank.learn.temporal import discounted_step_returns
from policyrank.train.places import imported
from policyrank.train.verl import ESTIMATOR
from policyrank.train.verl_seams import GroupOptions, told

MODE = "policyrank"
_KEPT = ("raw_prompt", "data_source", "reward_model", "extra_info")


@dataclass(frozen=True)
class HistoryOptions:
    """Rows are steps of an agent, each compared with those that share its history.

    Returns of steps from their rewards (``discounted_step_returns``), in groups within groups
    (``hierarchical_advantage``), in place of ``algorithm.policyrank``.

    Parameters
    ----------
    observation, trajectory
        columns with what each step saw, and whose step it is
    step
        column with when; None: rows of a trajectory stand in the order of time
    depth
        earlier observations that are looked at; 0: the present one alone
    discount
        of later rewards
    scale, alpha, offset, drop_zero
        of ``hierarchical_advantage``
    """

    observation: str = "anchor_obs"
    trajectory: str = "traj_uid"
    step: str | None = None
    depth: int = 2
    discount: float = 0.95
    scale: Scale = "std"
    alpha: float = 1.0
    offset: float = 1.0
    drop_zero: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that are read."""
        return tuple(name for name in (self.observation, self.trajectory, self.step) if name)

    def gains(self, values: Tensor, rollouts: Rollouts) -> Tensor:
        """How much better each step did than those that share its history: (rows,).

        Raises
        ------
        OptionError
            For a column that there is not, or rewards of segments.
        """
        for name in self.columns:
            if name not in rollouts.columns:
                there = ", ".join(rollouts.columns)
                raise OptionError(f"policyrank.history reads {name!r}: the data have {there}.")
        if values.ndim > 1:
            raise OptionError("policyrank.history: rewards of segments are no rewards of steps.")
        own = rollouts.columns
        steps = None if self.step is None else torch.tensor(own[self.step])
        trajectories = group_keys(own[self.trajectory])
        returns = discounted_step_returns(values, trajectories, steps, discount=self.discount)
        levels = history_keys(
            own[self.observation],
            trajectories,
            depth=self.depth,
            tasks=rollouts.groups,
            steps=steps,
        )
        return hierarchical_advantage(
            returns,
            levels,
            scale=self.scale,
            alpha=self.alpha,
            offset=self.offset,
            drop_zero=self.drop_zero,
            otherwise=torch.nan,
        )


@dataclass(frozen=True)
class TrainerOptions:
    """What verl's configuration has under ``policyrank``.

    Parameters
    ----------
    rewards
        ``"module:function"`` of each reward, called with a group (or ``learn.of_batch``)
    weights
        of the rewards; empty: 1 each
    groups
        column, or ``"module:function"`` of a row, whom a row is compared with; None: verl's uid
    segments
        ``"module:factory"``: called with the tokenizer it gives a function of rollouts
    history
        rows are steps of an agent: how they are compared
    """

    rewards: tuple[str, ...]
    weights: tuple[float, ...] = ()
    groups: str | None = None
    segments: str | None = None
    history: HistoryOptions | None = None

    @classmethod
    def of(cls, config: Any) -> TrainerOptions:
        """As verl's configuration says.

        Raises
        ------
        OptionError
            For an option that there is not, no reward, or other weights than rewards.
        """
        given = OmegaConf.to_container(config.get("policyrank") or OmegaConf.create({}))
        assert isinstance(given, dict)
        names = [str(name) for name in given]
        refuse_unknown_options(names, [field.name for field in fields(cls)], of="policyrank")
        lists = {name: tuple(given.pop(name, ())) for name in ("rewards", "weights")}
        if (told := given.pop("history", None)) is not None:
            names = [field.name for field in fields(HistoryOptions)]
            refuse_unknown_options(told, names, of="policyrank.history")
            given["history"] = HistoryOptions(**told)
        found = cls(**lists, **given)  # type: ignore[arg-type]
        if not found.rewards:
            raise OptionError('policyrank.rewards is empty: name them, ["module:function"].')
        if found.weights and len(found.weights) != len(found.rewards):
            counts = f"{len(found.weights)} weights, {len(found.rewards)} rewards"
            raise OptionError(f"policyrank: {counts}.")
        return found


def rollouts_of(data: Mapping[str, Any], options: TrainerOptions, tokenizer: Any) -> Rollouts:
    """What verl sampled, as rollouts: only rows in which the policy wrote something.

    Parameters
    ----------
    data
        lists, a value a row: ``uid``, ``responses``, ``response_mask``, and of the prompt
        ``raw_prompt``, ``data_source``, ``reward_model`` and ``extra_info``, whose entries are
        columns

    Raises
    ------
    OptionError
        For groups by a column that there is not.
    """
    rows = [k for k, mask in enumerate(data["response_mask"]) if bool(torch.as_tensor(mask).any())]
    ids = [torch.as_tensor(data["responses"][k]).long() for k in rows]
    columns: dict[str, list[Any]] = {}
    for place, k in enumerate(rows):
        own = {"uid": data["uid"][k]}
        if "data_source" in data:
            own["data_source"] = data["data_source"][k]
        for name in ("reward_model", "extra_info"):
            own |= data[name][k] or {} if name in data else {}
        if options.history is not None:
            own |= {name: data[name][k] for name in options.history.columns if name in data}
        for name, value in own.items():
            columns.setdefault(name, [None] * len(rows))[place] = value
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    found = Rollouts(
        ids=pad_sequence(ids, batch_first=True),
        where=pad_sequence(
            [torch.as_tensor(data["response_mask"][k]).bool() for k in rows], batch_first=True
        ),
        groups=group_keys(_keys(columns, options.groups)),
        ended=torch.tensor([bool(row[-1].item() in ends) for row in ids]),
        prompts=[data["raw_prompt"][k] for k in rows] if data.get("raw_prompt") else (),
        completions=tokenizer.batch_decode(ids, skip_special_tokens=True),
        columns=columns,
    )
    if options.segments is None:
        return found
    segmenter: Any = imported(options.segments)
    return replace(found, segments=segmenter(tokenizer)(found))


def _keys(columns: Mapping[str, list[Any]], groups: str | None) -> list[Any]:
    name = groups or "uid"
    if ":" in name:
        key: Any = imported(name)
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [key(row) for row in rows]
    if name not in columns:
        raise OptionError(f"policyrank.groups={name!r}: the data have {', '.join(columns)}.")
    return columns[name]


def values_of(rollouts: Rollouts, options: TrainerOptions) -> tuple[Tensor, dict[str, float]]:
    """Rewards, weighed and summed, of rows or of segments; and their means for the log."""
    found = {place: rewarded(rollouts, imported(place)) for place in options.rewards}
    said = {}
    for place, own in found.items():
        name = place.rpartition(":")[2]
        said[f"policyrank/{name}"] = own.values.nanmean().item()
        for part, numbers in own.parts.items():
            said[f"policyrank/{name}/{part}"] = numbers.nanmean().item()
    widths = {own.values.shape[1] for own in found.values() if own.values.ndim > 1}
    if len(widths) > 1:
        raise OptionError(f"rewards of {sorted(widths)} segments: pad them with NaN.")
    weights = torch.tensor(options.weights or [1.0] * len(found))
    if not widths:
        return weighted_sum(torch.stack([own.values for own in found.values()], -1), weights), said
    if rollouts.segments is None:
        raise OptionError("rewards of segments: give policyrank.segments.")
    width = widths.pop()
    parts, there = [], torch.zeros(len(rollouts), width, dtype=torch.bool)
    for own in found.values():
        if own.values.ndim > 1:
            there |= ~own.values.isnan()
        parts.append(own.values if own.values.ndim > 1 else own.values[:, None].expand(-1, width))
    return weighted_sum(torch.stack(parts, -1), weights).masked_fill(~there, torch.nan), said


@register_trainer(MODE)
class RolloutPPOTrainer(PPOTrainerSync):
    """verl's ``sync`` trainer, with rewards and advantages of Rollouts.

    Options of advantages stand under ``algorithm.policyrank`` (``GroupOptions``). Tokens that say
    nothing are masked, so that verl counts them in no denominator.

    Raises
    ------
    OptionError
        For options that there are not, and for KL in the reward, which these rewards do not pass.
    """

    def __init__(self, config: Any) -> None:
        self.options = TrainerOptions.of(config)
        self.gained = GroupOptions.of(config.algorithm)
        if config.algorithm.adv_estimator != ESTIMATOR:
            raise OptionError(f"algorithm.adv_estimator: give {ESTIMATOR}, whose options count.")
        if config.algorithm.use_kl_in_reward:
            raise OptionError(
                "algorithm.use_kl_in_reward: policyrank's rewards are not of tokens; use"
                " actor_rollout_ref.actor.use_kl_loss=true."
            )
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        steps = self.options.history
        names = ["uid", "responses", "response_mask", *_KEPT, *(steps.columns if steps else ())]
        kept = queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=names
        )
        data = {name: _rows(kept[name]) for name in set(kept.keys()) & set(names)}
        rollouts = rollouts_of(data, self.options, self.tokenizer)
        step = self.global_steps / max(self.total_training_steps, 1)
        rollouts = replace(rollouts, progress=min(step, 1.0))
        values, said = values_of(rollouts, self.options)
        if steps is None:
            gains = self.gained.gains(values, rollouts.groups)
        else:
            gains = steps.gains(values, rollouts)
        gains = token_gains(gains, rollouts.where, rollouts.segments)
        segments = rollouts.where.long() if rollouts.segments is None else rollouts.segments
        found = told(gains, segments)
        metrics.update(said | {"policyrank/silent": (found == 0).all(dim=1).float().mean().item()})
        total = values.nan_to_num(nan=0.0)
        total = total.sum(dim=1) if total.ndim > 1 else total

        masks = [torch.as_tensor(mask) for mask in data["response_mask"]]
        rows = [k for k, mask in enumerate(masks) if bool(mask.any())]
        scores = [torch.zeros(len(mask)) for mask in masks]
        advantages = [torch.zeros(len(mask)) for mask in masks]
        for place, k in enumerate(rows):
            scores[k][-1] = total[place]
            advantages[k] = found[place, : len(masks[k])]
        self._put(batch, {"rm_scores": scores})
        batch = super()._compute_advantage(batch, metrics)
        speaks = [(own != 0).to(mask.dtype) for own, mask in zip(advantages, masks, strict=True)]
        self._put(
            batch,
            {
                "advantages": advantages,
                "returns": advantages,
                "response_mask": speaks,
                "loss_mask": speaks,
            },
        )
        return batch

    def _put(self, batch: Any, rows: dict[str, list[Tensor]]) -> None:
        nested = {
            name: torch.nested.as_nested_tensor(own, layout=torch.jagged)
            for name, own in rows.items()
        }
        queue.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict(nested, batch_size=len(batch.keys)),
        )


def _rows(column: Any) -> list[Any]:
    if isinstance(column, Tensor):
        return list(column.unbind())
    return list(column.tolist() if hasattr(column, "tolist") else column)
