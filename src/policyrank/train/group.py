"""Train a language model on groups of its own outputs, by how each compares with its group."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PrinterCallback

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import GroupObjective, Rollouts, rewarded, truncated_weights
from policyrank.learn.losses.averages import token_mean
from policyrank.models.group_sampling import GroupSampler
from policyrank.models.language import load_causal_lm
from policyrank.models.provenance import Kind
from policyrank.models.tokens import padding, refuse_fewer_tokens, refuse_other_tokens
from policyrank.train.adapters import save_stacked
from policyrank.train.group_config import GroupConfig, objective_facts
from policyrank.train.group_data import PromptData, PromptRow, encode_prompts
from policyrank.train.group_likelihood import GroupLikelihood
from policyrank.train.group_making import (
    Companion,
    ComparedGroups,
    GroupMaker,
    Segments,
    one_reward,
    sampler_of,
)
from policyrank.train.group_report import means, reward_report, round_report, shown
from policyrank.train.preparing import prepared
from policyrank.train.reflecting import ReflectedRow
from policyrank.train.replay_config import Replay
from policyrank.train.replaying import Replaying
from policyrank.train.resumable import ResumableTrainer, model_facts
from policyrank.train.rounds import Batch, Round, RoundOrder, round_seed
from policyrank.train.turn_sampling import TurnSampler

logger = logging.getLogger(__name__)


class GroupTrainer(ResumableTrainer):
    """A transformers ``Trainer`` by group-relative policy gradient, sampling included.

    Each prompt is read once for its group, in sampling and in learning. The ids that were sampled
    are learned from, their end token among them; text is never tokenised again.

    Parameters
    ----------
    model
        causal language model of transformers or peft, or a name that ``load_causal_lm`` takes (the
        tokenizer then comes with it)
    args
        all options
    rewards
        a ``Reward``, or a function of TRL's kind, ``f(prompts, completions, **columns)``; several,
        by name or not, are summed with ``args.reward_weights``; ``learn.rewards`` composes them
        otherwise
    train_dataset, eval_dataset
        rows with ``prompt`` and any columns (``encode_prompts``), or ``PromptData``
    processing_class
        tokenizer
    sampler
        samples instead of the model itself, such as a server (``ServerSampler``); or the model and
        environments in turn (``TurnSampler``). If it has a method ``update``, that is given the
        model before each round
    reference_model
        that KL is to (or its name) instead of the model, or its adapters, as training began; with
        it KL is logged even where ``objective.beta`` is 0
    segments
        of the rollouts, for rewards and ratios a segment
    show
        called after each round with texts of a few outputs and what they earned; its method
        ``compared``, where it has one, with all (``RolloutLog``)
    peft_config
        of adapters to train instead of the model's own weights
    companion
        learns beside from the same rollouts, such as a ``RankerLearner``; in one process
    replay
        keeps outputs of earlier rounds for groups that say nothing, and asks failures again
    options
        of ``Trainer``

    Raises
    ------
    OptionError
        For options that do not exist or do not fit; before training starts.
    EvidenceError
        For data that cannot be used; while it trains, when a reward fails, or none applies.

    Examples
    --------
    >>> def short(completions, **columns): return [-len(text) for text in completions]
    >>> args = GroupConfig("run", samples=8)  # doctest: +SKIP
    >>> GroupTrainer("smollm2", args, short, "prompts.jsonl").train()  # doctest: +SKIP
    """

    args: GroupConfig
    eval_dataset: Any
    objective: GroupObjective
    kind: Kind | None = "policy"

    def __init__(
        self,
        model: Any,
        args: GroupConfig | None = None,
        rewards: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        sampler: GroupSampler | None = None,
        reference_model: Any = None,
        segments: Segments | None = None,
        show: Callable[[list[dict[str, Any]]], Any] | None = None,
        peft_config: Any = None,
        companion: Companion | None = None,
        replay: Replay | None = None,
        **options: Any,
    ) -> None:
        args = args or GroupConfig("group")
        if not isinstance(args, GroupConfig):
            raise OptionError(f"args is of {type(args).__name__}: give GroupConfig.")
        args.check()
        self.objective = args.group_objective()
        advantage, reward = args.group_advantage(), one_reward(rewards, args)
        if isinstance(model, str):
            model, tokenizer = load_causal_lm(model, device="cpu", trainable=True)
            processing_class = processing_class or tokenizer
        if processing_class is None:
            raise OptionError("no tokenizer: give processing_class.")
        if isinstance(reference_model, str):
            name = f"the reference model {reference_model}"
            reference_model, theirs = load_causal_lm(reference_model, device="cpu")
            refuse_other_tokens(processing_class, theirs, name)
        if reference_model is not None:
            refuse_fewer_tokens(processing_class, model, reference_model, "the reference model")
        made = prepared(model, args, peft_config)
        self.start, self._below, self._model_notes = made.start, made.below, list(made.notes)
        args.remove_unused_columns = False
        data = [_encoded(own, processing_class, args) for own in (train_dataset, eval_dataset)]
        super().__init__(
            made.model, args, _numbers, *data, processing_class=processing_class, **options
        )
        self.model_accepts_loss_kwargs = True  # the loss is divided by the items of the whole step
        if args.disable_tqdm:  # it prints raw records where there is no progress bar
            self.remove_callback(PrinterCallback)
        pad = padding(processing_class)
        self._served, self.show = sampler is not None, show
        sampler = sampler_of(sampler, self.model, processing_class, args)
        self.groups = GroupMaker(args, sampler, reward, advantage, self.objective, segments, pad)
        self.likely = GroupLikelihood(
            self.model,
            self.accelerator,
            args,
            pad,
            learned_entropy=self.objective.entropy_weight != 0,
        )
        self.likely.refer(reference_model, self.objective.beta or args.reward_kl)
        self.depends["objective"] = objective_facts(self.objective, args)
        if isinstance(sampler, TurnSampler):
            self.depends["turns"] = asdict(sampler.limits)
        if reference_model is not None and self.start is not None:
            self.depends["reference model"] = model_facts(reference_model)
        # Preferences are held to who sampled, unless a reference is given; reward_kl is not theirs.
        self._of_round = args.of_lists is not None and reference_model is None
        self.companion = companion
        self._companion_of: Path | None = None
        if companion is not None:
            if args.world_size > 1:
                raise OptionError("companion: what learns beside does so in one process.")
            self.depends["companion"] = companion.facts()
        self.replaying: Replaying | None = None
        if replay is not None:
            self.replaying = self._replaying(replay)
        self._round: Round | None = None
        self._items = self._tokens = torch.ones(())
        self._seen: dict[str, list[float]] = defaultdict(list)

    def _replaying(self, how: Replay) -> Replaying:
        how.check(self.args)
        if how.hard is not None and isinstance(self.groups.sampler, TurnSampler):
            raise OptionError(f"hard={how.hard}: trajectories of turns are not asked again.")
        self.depends["replay"] = asdict(how)
        return Replaying(how, self.groups, self.processing_class, self._gathered_objects)

    def _gathered_objects(self, own: Any) -> list[Any]:
        """What all processes have, in their order."""
        every: list[Any] = [own]
        if self.args.world_size > 1:
            every = [None] * self.args.world_size
            torch.distributed.all_gather_object(every, own)
        return every

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the model, and left out or cut of training and evaluation data."""
        told = list(self._model_notes)
        for name, data in (("train", self.train_dataset), ("evaluation", self.eval_dataset)):
            if data is not None:
                told += [f"{name}: {note}" for note in data.notes]
        if self.train_dataset is not None and (filled := self._order().filled):
            told.append(f"train: {filled:,} prompts come twice in an epoch, to fill its last round")
        return tuple(told)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of any ``Trainer``; adapters that were stacked are written as one."""
        super().save_model(output_dir, _internal_call)
        if self._below is not None and not _internal_call and self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            save_stacked(model, self._below, str(output_dir or self.args.output_dir))

    # Rounds

    def _order(self) -> RoundOrder:
        args = self.args
        block = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return RoundOrder(
            len(self.train_dataset),
            block * args.steps_per_round,
            args.passes,
            steps=args.steps_per_round * args.passes,
            seed=args.seed if args.data_seed is None else args.data_seed,
            step=lambda: self.state.global_step,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Any]:
        """The batches of an optimizer step; where a round begins they are sampled."""
        args, parts = self.args, self.args.gradient_accumulation_steps
        if self.companion is not None and self._resumed not in (None, self._companion_of):
            self.companion.load(self._resumed)
            self._companion_of = self._resumed
        at = self.state.global_step % (args.steps_per_round * args.passes)
        if at and self._round is None and self._resumed is not None:
            self._round = Round.load(self._kept_in(self._resumed), at * parts)
        ahead = max(args.steps_per_round, at + 1) * parts
        taken = 0 if at == 0 or self._round is None else self._round.pulled
        numbers = [next(epoch_iterator)["numbers"].tolist() for _ in range(ahead - taken)]
        if at == 0:
            self._round = self._sampled(numbers)
        assert self._round is not None
        self._round.pulled = ahead
        first = at % args.steps_per_round * parts
        batches = self._round.batches[first : first + parts]
        self._count(batches, device)
        return batches, self._items

    def _count(self, batches: Sequence[Batch], device: torch.device) -> None:
        """What the loss of a step is a mean over, of all processes."""
        counts = torch.zeros(2, device=device)
        for batch in batches:
            told = batch["advantages"], batch["learns"], batch.get("segments")
            counts[0] += self.objective.counted(*told)
            counts[1] += self.objective.counting(*told).sum()
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, "sum")
        self._items, self._tokens = counts.clamp(min=1).unbind()

    def _kept_in(self, checkpoint: Path) -> Path:
        return checkpoint / f"round-{self.accelerator.process_index}.safetensors"

    def _save_more(self, checkpoint: Path) -> None:
        """Write the round that is under way, each process its own."""
        steps = self.args.steps_per_round * self.args.passes
        if self._round is not None and self.state.global_step % steps:
            self._round.save(self._kept_in(checkpoint))
        if self.companion is not None:
            self.companion.save(checkpoint)
        if self.replaying is not None and self.args.should_save:
            self.replaying.save(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.replaying is not None:
            self.replaying.load(Path(resume_from_checkpoint))

    def _sampled(self, numbers: Sequence[Sequence[int]]) -> Round:
        """A round: outputs of prompts by batch, their rewards, and what is learned from them."""
        args, data = self.args, self.train_dataset
        self._settle()
        number = self.state.global_step // (args.steps_per_round * args.passes)
        batches = [[data[k] for k in own] for own in numbers]
        if self.replaying is not None:
            batches = self.replaying.with_reflections(batches, number)
        rows = [row for batch in batches for row in batch]
        seed = round_seed(args.seed, number, self.accelerator.process_index)
        found, known = self._compared(batches, self._outputs(rows, seed))
        if number == 0 and not any(found.telling):
            logger.warning(
                "the first round says nothing: the outputs of each prompt are rewarded alike. Raise"
                " samples or temperature, or look at the reward"
            )
        everything, found = found, _of_prompts(rows, found)
        self._note(round_report(found, self.groups.reward.failed))
        if self.show is not None and self.is_world_process_zero():
            at = {"step": self.state.global_step}
            self.show([at | own for own in shown(found, args.shown)])
        if self.companion is not None:
            self._note(self.companion.compared(found, self.state.global_step))
        keep = getattr(self.show, "compared", None)
        if keep is not None:
            keep(found, self.state.global_step, self.accelerator.process_index)
        found = everything
        if self.replaying is not None:
            found, more, told = self.replaying.learned(rows, found, number, self.likely.entropies)
            self._note(told)
            known = known | more
        found, known = self._learned(found, known, seed)
        first = args.gradient_accumulation_steps  # these are read as they are learned
        return Round(
            self.likely.laid_out(batches, found, first=first, served=self._served, known=known)
        )

    def _settle(self) -> None:
        """Find the layout in which outputs are read."""
        self.likely.settle(self.train_dataset.rows)

    def _compared(
        self, batches: Sequence[Sequence[PromptRow]], rollouts: Rollouts
    ) -> tuple[ComparedGroups, dict[str, Tensor]]:
        """What outputs earned and how they compare, and what is known of their tokens then."""
        if not self.args.reward_kl:
            return self.groups.compared(rollouts), {}
        known = self.likely.fixed(batches, rollouts)
        distance = (known["old"] - known["kept_to"]).sum(dim=-1)
        return self.groups.compared(rollouts, distance), known

    def _learned(
        self, found: ComparedGroups, known: dict[str, Tensor], seed: int
    ) -> tuple[ComparedGroups, dict[str, Tensor]]:
        """The outputs that are learned from: all."""
        return found, known

    def _outputs(self, rows: Sequence[PromptRow], seed: int) -> Any:
        progress = self.state.global_step / max(self.state.max_steps, 1)
        sampler = self.groups.sampler
        if hasattr(sampler, "update"):
            if self.is_world_process_zero():
                sampler.update(self.accelerator.unwrap_model(self.model))
            self.accelerator.wait_for_everyone()
        with self.accelerator.autocast():
            return self.groups.sampled(rows, seed=seed, progress=progress)

    # Learning

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The objective of one batch of groups."""
        args, objective = self.args, self.objective
        log_probs, entropy = self.likely.read(model, inputs)
        old = inputs.get("old")
        if old is None:
            old = log_probs.detach()
            if args.passes > 1 and self._round is not None:
                self._round.batches[int(inputs["number"])]["old"] = old.cpu()
        gains, learns, segments = inputs["advantages"], inputs["learns"], inputs.get("segments")
        mask = objective.counting(gains, learns, segments)
        if "behaviour" in inputs:  # of replayed outputs, by who sampled them then
            old = torch.where(inputs["behaviour"].isnan(), old, inputs["behaviour"])
        if "sampled" in inputs:
            sampled = torch.where(inputs["sampled"].isnan(), old, inputs["sampled"])
            known = truncated_weights(old, sampled, mask, most=args.correction)
            if args.of_lists is None:
                gains = gains * known.weights
            told = {
                "sampler_gap": known.gap,
                "sampler_weight": known.mean,
                "weights_cut": known.cut,
            }
            if bool(mask.any()):
                self._note({name: float(own) for name, own in told.items()})
        found = objective(
            log_probs,
            gains,
            learns,
            old=old,
            segments=segments,
            reference=None if self._of_round else inputs.get("kept_to"),
            entropy=entropy,
            total=self._items,
            tokens=self._tokens,
        )
        # Gradients are averaged over processes, while the items are those of all.
        loss = found.loss * self.accelerator.num_processes
        if not torch.isfinite(loss):
            raise EvidenceError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}. Lower"
                " learning_rate, or look at the rewards."
            )
        if bool(mask.any()):
            told = {
                "clip_share": found.clip_share,
                "ratio": found.ratio,
                "entropy": entropy.detach()[mask].mean(),
            }
            if "kept_to" in inputs:
                far = (log_probs.detach() - inputs["kept_to"]).masked_fill(~mask, 0.0)
                told["kl"] = token_mean(far, mask) if self._of_round else found.divergence
            self._note({name: float(own) for name, own in told.items()})
        return (loss, {}) if return_outputs else loss

    # Logs

    def _note(self, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            self._seen[name].append(value)

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """What rounds and steps were like joins the logs."""
        if "loss" in logs:
            for name, values in self._seen.items():
                if not np.isnan(values).all():
                    logs[name] = round(float(np.nanmean(values)), 6)
            self._seen.clear()
        super().log(logs, *args, **options)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Sample groups for the evaluation prompts, the same draw each time, and reward them.

        The mean reward with its standard error over prompts, that of the best of each group, the
        rewards' parts, lengths, and the share that was cut.
        """
        data = self.eval_dataset
        if eval_dataset is not None:
            data = _encoded(eval_dataset, self.processing_class, self.args)
        if data is None:
            raise OptionError("no evaluation data: give eval_dataset.")
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        rows = data.rows[rank::processes]
        if self.accelerator.device.type != "cpu":
            self.model.to(self.accelerator.device)
        parts = []
        if rows:
            rollouts = self._outputs(rows, round_seed(self.args.seed, 2**31, rank))
            parts.append(reward_report(rollouts, rewarded(rollouts, self.groups.reward)))
        if processes > 1:
            every: list[Any] = [None] * processes
            torch.distributed.all_gather_object(every, parts)
            parts = [own for found in every for own in found]
        found = {f"{metric_key_prefix}_{name}": own for name, own in means(parts).items()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def _encoded(data: Any, tokenizer: Any, args: GroupConfig) -> PromptData | None:
    if data is None or isinstance(data, PromptData):
        return data
    room = args.max_length - args.tokens
    if room < 1:
        raise OptionError(
            f"max_length={args.max_length}, tokens={args.tokens}: nothing is left of prompts."
        )
    return encode_prompts(
        data, tokenizer, room=room, long_prompts=args.long_prompts, chat=args.chat
    )


def _of_prompts(rows: Sequence[PromptRow], found: ComparedGroups) -> ComparedGroups:
    """Groups of the prompts themselves, without those that were asked again."""
    own = torch.tensor([not isinstance(row, ReflectedRow) for row in rows])
    return found if bool(own.all()) else found.of_groups(own)


def _numbers(rows: Sequence[PromptRow]) -> Batch:
    return {"numbers": torch.tensor([row.number for row in rows])}
