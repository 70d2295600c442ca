"""Train a language model on its own outputs with a critic: proximal policy optimisation."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from policyrank.errors import EvidenceError, OptionError
from policyrank.files import write_json, written_folder
from policyrank.learn import (
    Rewards,
    Rollouts,
    RunningMoments,
)
from policyrank.learn.losses import ValueLoss
from policyrank.models.provenance import CRITIC
from policyrank.train.crediting import Crediting
from policyrank.train.critics import CriticReader, critic_of
from policyrank.train.group import GroupTrainer
from policyrank.train.group_data import PromptRow
from policyrank.train.group_making import ComparedGroups
from policyrank.train.ppo_config import PPOConfig
from policyrank.train.pretraining import PretrainingTexts
from policyrank.train.replay_config import Replay
from policyrank.train.replaying import Replaying
from policyrank.train.resumable import model_facts
from policyrank.train.rounds import Batch

logger = logging.getLogger(__name__)

MOMENTS = "moments.json"
"""What rewards were like, in a checkpoint."""


class PPOTrainer(GroupTrainer):
    """A transformers ``Trainer`` by policy gradient with a critic, sampling included.

    ``GroupTrainer`` with a critic in place of the group: outputs are rewarded at their end, KL is
    taken off token by token, and what is better than the critic expected is learned from.

    Parameters
    ----------
    model, rewards, train_dataset, eval_dataset, processing_class, sampler, segments, show, options
        as ``GroupTrainer``; rewards of whole outputs, or of ``segments`` at their ends; of
        ``replay`` (in options) hard prompts alone that are asked again
    args
        all options
    critic
        a sequence classifier with one output (a reward model: the critic begins as it), or its
        name; None: the policy's own body with a new head. It is trained whole
    reference_model
        that KL is to (or its name) instead of the model, or its adapters, as training began
    pretraining
        texts that keep the policy fluent (``args.pretraining_weight``): a list, or a file with a
        column ``text``
    peft_config
        of adapters of the policy; name the critic then

    Raises
    ------
    OptionError
        For options that do not exist or do not fit; before training starts.
    EvidenceError
        For data that cannot be used; while it trains, when a reward fails, or none applies.

    References
    ----------
    Schulman et al. (2017), arXiv 1707.06347; Ziegler et al. (2019), arXiv 1909.08593; Zheng et al.
    (2023), "Secrets of RLHF in Large Language Models Part I: PPO", arXiv 2307.04964; Shen and Zhang
    (2024), arXiv 2409.06957 (filters).

    Examples
    --------
    >>> args = PPOConfig("run", learning_rate=5e-7)  # doctest: +SKIP
    >>> PPOTrainer("policy", args, score, "prompts.jsonl", critic="rm").train()  # doctest: +SKIP
    """

    args: PPOConfig

    def __init__(
        self,
        model: Any,
        args: PPOConfig | None = None,
        rewards: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        critic: Any = None,
        reference_model: Any = None,
        pretraining: Any = None,
        **options: Any,
    ) -> None:
        args = args or PPOConfig("ppo")
        if not isinstance(args, PPOConfig):
            raise OptionError(f"args is of {type(args).__name__}: give PPOConfig.")
        args.check()
        _refuse_shards(args)
        if (pretraining is None) != (not args.pretraining_weight):
            raise OptionError("pretraining texts and pretraining_weight go together: give both.")
        if critic is None and isinstance(model, str):
            critic = model
        super().__init__(
            model, args, rewards, train_dataset, eval_dataset, reference_model=reference_model,
            **options,
        )  # fmt: skip
        if self.likely.reference is None and args.kl:
            self.likely.refer(None, args.kl)
        given = critic_of(critic, self.model, args.seed, self.processing_class)
        self.depends["critic"] = {"given": critic is not None}
        if self.start is not None:
            self.depends["critic"] |= model_facts(given)
        less = getattr(args, "activation_checkpointing", False) or args.gradient_checkpointing
        self.critic = CriticReader(
            given, self.accelerator, dropout=args.dropout, checkpointing=bool(less)
        )
        self._valued = torch.ones(())
        self.values = args.value_objective()
        self.depends["values"] = asdict(self.values)
        self.credit = Crediting(args, self._gathered)
        self.texts = None
        if pretraining is not None:
            self.texts = PretrainingTexts(pretraining, self.processing_class, args)
            self.depends["pretraining"] = {"texts": self.texts.fingerprint()}
        self.add_callback(_CriticSteps(self))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the model, and left out or cut of data and pretraining texts."""
        told = super().notes
        return told if self.texts is None else (*told, *self.texts.notes)

    @property
    def moments(self) -> RunningMoments:
        """Of all rewards that were seen."""
        return self.credit.moments

    def _gathered(self, own: RunningMoments) -> RunningMoments:
        """Moments of all processes."""
        if self.args.world_size == 1:
            return own
        packed = self.accelerator.gather(own.packed().to(self.accelerator.device))
        return RunningMoments.unpacked(packed.cpu())

    @property
    def warming(self) -> bool:
        """Whether only the critic learns."""
        args = self.args
        return self.state.global_step < args.critic_rounds * args.steps_per_round * args.passes

    def _replaying(self, how: Replay) -> Replaying:
        if how.changes:
            raise OptionError(
                "most, entropy_reward: a critic says something of every output, so that no group is"
                " silent. Replay here only asks hard prompts again: Replay(most=0, hard=0.2)."
            )
        return super()._replaying(how)

    # The critic beside the policy

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """One optimizer, the critic's weights at their own rate."""
        made = super().create_optimizer(*args, **options)
        known = {id(own) for group in made.param_groups for own in group["params"]}
        if any(id(own) in known for own in self.critic.weights):
            return made  # of a training before this one
        decayed = set(self.get_decay_parameter_names(self.critic.model))
        parts: dict[bool, list[Tensor]] = {True: [], False: []}  # not of norms and biases
        for name, own in self.critic.model.named_parameters():
            if own.requires_grad:
                parts[name in decayed].append(own)
        for decays, params in parts.items():
            decay = self.args.weight_decay if decays else 0.0
            group = {"params": params, "lr": self.args.critic_rate, "weight_decay": decay}
            if params:
                made.add_param_group(group)
        return made

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of any ``Trainer``; the critic is written to the folder ``critic`` in it."""
        super().save_model(output_dir, _internal_call)
        tokenizer: Any = self.processing_class
        if self.args.should_save:
            place = Path(str(output_dir or self.args.output_dir), CRITIC)
            with written_folder(place, ()) as part:
                self.critic.model.save_pretrained(part)
                tokenizer.save_pretrained(part)

    def _save_more(self, checkpoint: Path) -> None:
        super()._save_more(checkpoint)
        if self.args.should_save:
            write_json(checkpoint / MOMENTS, self.moments.state_dict())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        place = Path(resume_from_checkpoint)
        kept = type(self.critic.model).from_pretrained(place / CRITIC)
        self.critic.model.load_state_dict(kept.state_dict())
        state = json.loads((place / MOMENTS).read_text(encoding="utf-8"))
        self.moments.load_state_dict(state)

    # Rounds

    def _settle(self) -> None:
        self.likely.settle(self.train_dataset.rows, self.critic)

    def _compared(
        self, batches: Sequence[Sequence[PromptRow]], rollouts: Rollouts
    ) -> tuple[ComparedGroups, dict[str, Tensor]]:
        """What outputs earned, and what policy and critic learn from each token."""
        said = self.groups.rewarded(rollouts)
        known, layout = self.likely.fixed(batches, rollouts), self.likely.collate.layout
        known["values"] = self.likely.of_all(
            batches, rollouts, lambda batch: self.critic.fixed(batch, layout)
        )
        self._scores = self.credit.scores(said, rollouts)
        gains, known["returns"] = self.credit.of_tokens(self._scores, known, rollouts)
        self._note(self._far(known, rollouts))
        telling = self.groups.telling(gains, rollouts)
        return ComparedGroups(rollouts, said, gains, telling), known

    def _far(self, known: Mapping[str, Tensor], rollouts: Rollouts) -> dict[str, float]:
        """How far outputs are from the reference, and what the critic made of them."""
        where = rollouts.where.bool()
        found = {
            "reward_mean": self.moments.mean,
            "reward_deviation": self.moments.scale,
            "value": float(known["values"][where].mean()) if bool(where.any()) else 0.0,
        }
        if "kept_to" in known:
            apart = (known["old"] - known["kept_to"]).masked_fill(~where, 0.0)
            found["kl_of_outputs"] = float(apart.sum(dim=-1).mean())
        return found

    def _learned(
        self, found: ComparedGroups, known: dict[str, Tensor], seed: int
    ) -> tuple[ComparedGroups, dict[str, Tensor]]:
        """The outputs that are learned from, drawn by what their rank weighs."""
        if self.args.filter == "all" and self.args.kept is None:
            return found, known
        prompts = len(found.telling)
        at, unsaid = self.credit.drawn(self._scores, found.rollouts, prompts, seed)
        known = {name: own[at] for name, own in known.items()}
        known["returns"] = known["returns"].masked_fill(unsaid[:, None], torch.nan)
        gains = found.gains[at].masked_fill(unsaid[:, None], torch.nan)
        rollouts, said = found.rollouts.take(at), Rewards(found.said.values[at])
        telling = self.groups.telling(gains, rollouts)
        return ComparedGroups(rollouts, said, gains, telling), known

    # Learning

    def _count(self, batches: Sequence[Batch], device: torch.device) -> None:
        super()._count(batches, device)
        count = torch.zeros((), device=device)
        for batch in batches:
            count += self.values.counted(batch["returns"], batch["learns"], batch.get("segments"))
        if self.args.world_size > 1:
            count = self.accelerator.reduce(count, "sum")
        self._valued = count.clamp(min=1)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The policy's objective, the critic's loss, and that of pretraining text."""
        args = self.args
        values = self.critic.read(inputs, self.likely.collate.layout)
        found = self.values(
            values,
            inputs["returns"],
            inputs["learns"],
            old=inputs["values"],
            segments=inputs.get("segments"),
            total=self._valued,
        )
        self._note_values(found, inputs)
        loss = args.value_weight * found.loss * self.accelerator.num_processes
        if not self.warming:
            loss = loss + super().compute_loss(model, inputs)
            if self.texts is not None:
                loss = loss + self._fluency(model, int(inputs["number"]))
        if not torch.isfinite(loss):
            raise EvidenceError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}. Lower"
                " critic_learning_rate, or look at the rewards."
            )
        return (loss, {}) if return_outputs else loss

    def _note_values(self, found: ValueLoss, inputs: Batch) -> None:
        told = inputs["returns"], inputs["learns"], inputs.get("segments")
        if bool(self.values.counting(*told).any()):
            self._note(
                {
                    "value_error": float(found.error),
                    "value_clip_share": float(found.clip_share),
                    "value_explained": float(found.explained),
                }
            )

    def _fluency(self, model: Any, number: int) -> Tensor:
        """Negative log-likelihood of some pretraining text, weighted: a share of the step's."""
        args = self.args
        assert self.texts is not None
        with self.accelerator.autocast():
            loss = self.texts.loss(model, self.state.global_step, number)
        self._note({"pretraining_loss": float(loss.detach())})
        return args.pretraining_weight * loss / args.gradient_accumulation_steps


def _refuse_shards(args: PPOConfig) -> None:
    """Refuse what splits a model over processes, and would not know the critic."""
    for name, told in (("DeepSpeed", "deepspeed"), ("FSDP", "fsdp")):
        launched = os.environ.get(f"ACCELERATE_USE_{told.upper()}", "false").lower()
        if getattr(args, told, None) or launched in ("1", "true"):
            raise OptionError(
                f"{name} splits the policy, and does not know its critic: PPO runs on several"
                " processes that have both whole (accelerate launch --multi_gpu). Or train by"
                " groups (GroupTrainer, policyrank train group), without a critic."
            )


class _CriticSteps(TrainerCallback):
    """The critic's gradients: clipped before a step, gone after it; a policy that never learns."""

    def __init__(self, trainer: PPOTrainer) -> None:
        self._trainer: Callable[[], PPOTrainer] = lambda: trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        alone = args.critic_rounds * args.steps_per_round * args.passes
        if state.max_steps <= alone:
            logger.warning(
                "the policy stays as it is: only the critic learns in the first %s steps"
                " (critic_rounds=%s), and there are %s. Lower critic_rounds, or train longer",
                *(alone, args.critic_rounds, state.max_steps),
            )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self._trainer()
        norm = trainer.critic.settle(args.max_grad_norm)
        trainer._note({"critic_grad_norm": norm})

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer().critic.forget()
