"""TRL's GRPOTrainer with advantages of groups and segments, and rewards that see whole groups.

Sampling, vLLM, tools, images, distribution and logging stay TRL's. ``accelerate launch -m
policyrank.train.trl_launch --config FILE`` runs it from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from policyrank.errors import MissingExtraError, OptionError
from policyrank.learn.advantages import group_advantage, token_gains, without_ties
from policyrank.learn.losses import PolicyObjective
from policyrank.learn.rewards import normalised_sum, weighted_sum
from policyrank.learn.rollouts import Reward, Rollouts, rewarded
from policyrank.train.trl_batches import (
    GroupKey,
    OfGroups,
    Sampled,
    Segmenter,
    check_loss,
    named_objective,
    of_all,
    wide,
)

PINNED = "1.16"

_SCALES = {"group": "sample", "batch": "batch", "none": "none"}
_BY_ROW = ("grpo", "sapo", "dr_grpo", "luspo")
"""Losses of TRL whose denominator counts rows, those that say nothing too."""
_OF_MODEL = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


class Gain(Protocol):
    """Rewards, (rows,) or (rows, segments), and their rollouts -> how much better each did.

    (rows,), (rows, segments) or (rows, tokens); NaN says nothing.
    """

    def __call__(self, values: Tensor, rollouts: Rollouts, /) -> Tensor: ...


class RolloutGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer on Rollouts.

    Where nothing is given, its steps are TRL's, but for what says nothing: rows that no reward
    applies to, rows cut off (with ``mask_truncated_completions``) and groups of equal rewards count
    in no numerator and no denominator.

    Parameters
    ----------
    group_rewards
        rewards of this library, called with a group (``learn.of_batch``: with the batch), beside
        TRL's own ``reward_funcs``; ``reward_weights`` are of those, then of these. Values may be
        (rows, segments); what others say of a row then counts in each of its segments
    groups
        whom a row is compared with: a function of the row of the data, or the name of a column;
        None: the other completions of its prompt
    segments
        a function of rollouts, (rows, tokens) from 1, 0 to none: whom values of segments belong to,
        and over which tokens the objective's ratio is taken
    advantage
        None: TRL's, by ``scale_rewards`` and ``multi_objective_aggregation``, over these groups, a
        segment at a time
    objective
        the loss instead of TRL's, or its name in ``POLICY_OBJECTIVES``
    keep_agreeing
        let groups of equal rewards have their share of the denominator, and of KL, as TRL does
    options
        what GRPOTrainer takes

    Raises
    ------
    MissingExtraError
        With another TRL than the one that this was written for.
    OptionError
        For options of ``args`` that the objective would not heed, or segments that are missing.
    """

    model: Any
    args: Any
    num_generations: Any
    num_generations_eval: Any
    _logs: Any
    objective: PolicyObjective | None
    sampled: Rollouts
    rewards: Tensor

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *,
        group_rewards: Reward | Sequence[Reward] = (),
        groups: str | GroupKey | None = None,
        segments: Segmenter | None = None,
        advantage: Gain | None = None,
        objective: str | PolicyObjective | None = None,
        keep_agreeing: bool = False,
        **options: Any,
    ) -> None:
        found = version("trl")
        if not found.startswith(f"{PINNED}."):
            raise MissingExtraError(
                f"policyrank.train.trl is written for TRL {PINNED}, not {found}:"
                f" pip install 'trl=={PINNED}.*'"
            )
        self.objective = named_objective(objective)
        check_loss(self.objective, args, segments is not None)
        ours = group_rewards if isinstance(group_rewards, Sequence) else [group_rewards]
        theirs = [] if reward_funcs is None else reward_funcs
        theirs = list(theirs) if isinstance(theirs, list | tuple) else [theirs]
        self.groups, self.segments, self.keep_agreeing = groups, segments, keep_agreeing
        self.advantage = advantage or self._usual_advantage
        self.written: Any = None
        rewards: list[Any] = [*theirs, *map(OfGroups, ours)]
        super().__init__(model, rewards, args, **options)
        extra = self._entropy_bonus_enabled or self.aux_loss_enabled
        if self.objective is None and self.loss_type in _BY_ROW and extra:
            raise OptionError(
                f"loss_type={self.loss_type!r} with a bonus of entropy or of experts: rows that say"
                " nothing cannot be taken from its denominator; use 'dapo', or an objective."
            )

    def _generate(self, prompts: list[Any]) -> Any:
        self.written = super()._generate(prompts)
        return self.written

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        train, many = self.model.training, self.accelerator.num_processes
        first = self.accelerator.process_index * len(prompts)
        sampled = Sampled(
            rows=inputs,
            prompts=prompts,
            completions=completions,
            ids=completion_ids_list,
            masks=self.written[2],
            log_probs=self.written[4],
            stops=frozenset([*self.eos_token_ids, self._tokenizer.pad_token_id]),
            size=self.num_generations if train else self.num_generations_eval,
            first=first,
        )
        progress = self.state.global_step / max(self.state.max_steps, 1)
        here = sampled.rollouts(self.groups, self.segments, progress)
        self.sampled = of_all(here, many)
        for reward in self.reward_funcs:
            if isinstance(reward, OfGroups):
                reward.values = self._found(reward)
                reward.rows = slice(first, first + len(here))
        self.rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self.rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        rollouts = self.sampled
        values = self._values()
        gains = self.advantage(values, rollouts)
        if len(gains) != len(rollouts):
            raise OptionError(f"advantage: {len(gains)} rows for {len(rollouts)} rollouts.")
        of_tokens = gains.ndim > 1 and gains.shape != values.shape
        if of_tokens and gains.shape != rollouts.ids.shape:
            raise OptionError(
                f"advantage {tuple(gains.shape)}: it is of rows, of segments as the rewards"
                f" {tuple(values.shape)}, or of tokens {tuple(rollouts.ids.shape)}."
            )
        if not self.keep_agreeing:
            gains = without_ties(gains, rollouts.groups)
        if not of_tokens and (gains.ndim > 1 or rollouts.segments is not None):
            gains = token_gains(gains, rollouts.where, rollouts.segments)
        return self._counted(output, gains.to(output["prompt_ids"].device))

    def _counted(self, output: dict[str, Any], gains: Tensor) -> dict[str, Any]:
        """TRL's batch with these advantages, and without what says nothing."""
        size, tokens = output["completion_ids"].shape
        first = self.accelerator.process_index * size
        self._log_gains(gains)
        gains = gains[first : first + size]
        if self.sampled.segments is not None:
            here = self.sampled.segments[first : first + size].to(gains.device)
            output["segments"] = wide(here, tokens, 0)
        if gains.ndim > 1:
            gains = wide(gains, tokens, torch.nan)
        mask = output["completion_mask"] * output.get("tool_mask", 1)
        speaks = mask.bool() & ~(gains if gains.ndim > 1 else gains[:, None]).isnan()
        if not bool(self.accelerator.gather((speaks == mask.bool()).all()[None]).all()):
            output["tool_mask"] = speaks.to(mask.dtype)
        output["advantages"] = gains.nan_to_num(nan=0.0)
        rows = self.accelerator.gather(speaks.any(dim=1)).float()
        output["num_items_in_batch"] = self.accelerator.gather(speaks.sum()[None]).sum()
        output["rows_in_batch"] = rows.sum()
        output["row_share"] = rows.numel() / rows.sum().clamp(min=1)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["silent_share"].append(1 - rows.mean().item())
        return output

    def _log_gains(self, gains: Tensor) -> None:
        """TRL's table shows the advantages that were used."""
        row = gains.nanmean(dim=1) if gains.ndim > 1 else gains
        shown = self._logs["advantages"]
        for _ in range(min(len(row), len(shown))):
            shown.pop()
        shown.extend(row.tolist())

    def _found(self, reward: OfGroups) -> Tensor:
        """What a reward says of all rows; each process asks it of some of the groups."""
        rollouts, many = self.sampled, self.accelerator.num_processes
        owner = rollouts.groups % many
        if getattr(reward.reward, "of_batch", False):
            owner = torch.zeros_like(owner)
        rows = (owner == self.accelerator.process_index).nonzero().squeeze(-1)
        own = rewarded(rollouts.take(rows), reward.reward)
        for part, said in own.parts.items():
            if not bool(said.isnan().all()):
                self._log_metric(f"rewards/{reward.__name__}/{part}", said.nanmean().item())
        if many == 1:
            return own.values
        pieces = [piece for piece in gather_object([(rows, own.values)]) if len(piece[0])]
        shapes = {values.shape[1:] for _, values in pieces}
        if len(shapes) > 1:
            raise OptionError(f"reward {reward.__name__}: other segments from group to group.")
        out = torch.full((len(rollouts), *shapes.pop()), torch.nan)
        for at, values in pieces:
            out[at] = values
        return out

    def _values(self) -> Tensor:
        """Rewards of rows, or of segments where a reward says something of them."""
        parts, weights = self.rewards.cpu(), self.reward_weights.cpu()
        of_segments = {
            place: reward.values
            for place, reward in enumerate(self.reward_funcs)
            if isinstance(reward, OfGroups) and reward.values.ndim > 1
        }
        if of_segments and self.segments is None:
            raise OptionError("rewards of segments: give the segments, a function of rollouts.")
        there = torch.ones(len(parts), 1, dtype=torch.bool)
        if of_segments:
            widths = {values.shape[1] for values in of_segments.values()}
            if len(widths) > 1:
                raise OptionError(f"rewards of {sorted(widths)} segments: pad them with NaN.")
            parts = parts[:, None, :].repeat(1, widths.pop(), 1)
            for place, values in of_segments.items():
                parts[..., place] = values
            there = ~torch.stack(list(of_segments.values())).isnan().all(dim=0)
        if self.multi_objective_aggregation == "normalize_then_sum":
            values = normalised_sum(parts, self.sampled.groups, weights)
        else:
            values = weighted_sum(parts, weights)
        return values.masked_fill(~there, torch.nan) if of_segments else values

    def _usual_advantage(self, values: Tensor, rollouts: Rollouts) -> Tensor:
        if self.multi_objective_aggregation == "normalize_then_sum":
            return group_advantage(values, scale="sample")
        scale: Any = _SCALES[self.scale_rewards]
        return group_advantage(values, rollouts.groups, scale=scale)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.objective is None:
            loss = super()._compute_loss(model, inputs)
            return loss * inputs["row_share"] if self.loss_type in _BY_ROW else loss
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attended = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        where = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        log_probs, entropy, aux = self._get_per_token_logps_and_entropies(
            model,
            ids,
            attended,
            inputs["completion_ids"].shape[1],
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs.get(name) for name in _OF_MODEL},
        )
        gains = inputs["advantages"]
        if self.use_vllm and self.vllm_importance_sampling_correction:
            gains = gains[:, None] if gains.ndim == 1 else gains
            gains = gains * inputs["importance_sampling_ratio"]
        steps = self.current_gradient_accumulation_steps if self.model.training else 1.0
        by_token = self.objective.average == "token"
        total = inputs["num_items_in_batch" if by_token else "rows_in_batch"].clamp(min=1)
        total = total / self.accelerator.num_processes
        if self.model.training:
            total = total * steps / self.args.steps_per_generation
        found = self.objective(
            log_probs,
            gains,
            where,
            old=inputs.get("old_per_token_logps"),
            segments=inputs.get("segments"),
            reference=inputs.get("ref_per_token_logps"),
            entropy=entropy / steps,
            total=total,
        )
        said = self._metrics["train" if self.model.training else "eval"]
        mean = (entropy * where).sum() / where.sum().clamp(min=1)
        for name, value in (
            ("clip_ratio/region_mean", found.clip_share),
            ("kl", found.divergence),
            ("ratio", found.ratio),
            ("entropy", mean),
        ):
            said[name].append(self.accelerator.gather(value.detach()).mean().item())
        if self.aux_loss_enabled:
            return found.loss + self.router_aux_loss_coef * aux / steps
        return found.loss
