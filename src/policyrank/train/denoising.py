"""Train a masked diffusion language model on groups of its own answers, step by denoising step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import rewarded
from policyrank.models.masked_diffusion import MaskedDiffusionSampler
from policyrank.models.masked_language import load_masked_lm
from policyrank.models.tokens import refuse_other_tokens
from policyrank.models.unmasking_policy import add_policy, policy_of, write_sizes
from policyrank.train.denoising_config import MaskedDiffusionConfig
from policyrank.train.denoising_paths import DenoisedGroups, StepLikelihood, greedy
from policyrank.train.group import GroupTrainer
from policyrank.train.group_data import PromptData, encode_prompts
from policyrank.train.group_report import reward_report
from policyrank.train.rounds import Batch, round_seed


class MaskedDiffusionTrainer(GroupTrainer):
    """A ``GroupTrainer`` of masked diffusion: each denoising step is an action.

    A step's action is the set of positions that it unmasks, drawn by the model's unmasking policy,
    and their tokens; all steps of an answer have the advantage of the answer, or each its own where
    the reward is of steps. The gradient is taken step by step: only one step's activations are kept
    at a time, however many steps there are. The policy is a part of the model, and is trained,
    saved and loaded with it; a model without one gets a new one.

    Parameters
    ----------
    model
        masked language model of transformers, or a name that ``load_masked_lm`` takes
    args
        all options
    rewards, train_dataset, eval_dataset, show, options
        see ``GroupTrainer``
    processing_class
        tokenizer
    reference_model
        that KL of steps is to, instead of the model as training began

    Raises
    ------
    OptionError
        For options that do not exist or do not fit; before training starts.
    EvidenceError
        For data that cannot be used; while it trains, when a reward fails, or none applies.

    References
    ----------
    Huang et al. (2025), "Reinforcing the Diffusion Chain of Lateral Thought with Diffusion Language
    Models", arXiv 2505.10446. Published is ``choice="order"``.

    Examples
    --------
    >>> def right(completions, label, **columns):
    ...     return [float(text == own) for text, own in zip(completions, label, strict=True)]
    >>> args = MaskedDiffusionConfig("run", tokens=64, denoising_steps=16)  # doctest: +SKIP
    >>> MaskedDiffusionTrainer("mine", args, right, "asked.jsonl").train()  # doctest: +SKIP
    """

    args: MaskedDiffusionConfig
    groups: DenoisedGroups
    likely: StepLikelihood
    kind = "masked-diffusion"

    def __init__(
        self,
        model: Any,
        args: MaskedDiffusionConfig | None = None,
        rewards: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        reference_model: Any = None,
        show: Callable[[list[dict[str, Any]]], Any] | None = None,
        **options: Any,
    ) -> None:
        args = args or MaskedDiffusionConfig("masked-diffusion")
        if not isinstance(args, MaskedDiffusionConfig):
            raise OptionError(f"args is of {type(args).__name__}: give MaskedDiffusionConfig.")
        for name in ("peft_config", "sampler", "segments", "companion", "replay"):
            if options.get(name) is not None:
                raise OptionError(f"{name}: not of masked diffusion.")
        args.check()
        if isinstance(model, str):
            model, tokenizer = load_masked_lm(model, device="cpu")
            processing_class = processing_class or tokenizer
        if processing_class is None:
            raise OptionError("no tokenizer: give processing_class.")
        if isinstance(reference_model, str):
            name = f"the reference model {reference_model}"
            reference_model, theirs = load_masked_lm(reference_model, device="cpu")
            refuse_other_tokens(processing_class, theirs, name)
        new = args.order == "learned" and policy_of(model) is None
        if new:
            add_policy(model, seed=args.seed)
        if args.ddp_find_unused_parameters is None:  # the policy is read beside the model
            args.ddp_find_unused_parameters = args.order != "learned"
        sampler = MaskedDiffusionSampler(
            model, processing_class, args.denoising(), args.chat, args.sampled_rows
        )
        super().__init__(
            model,
            args,
            rewards,
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            sampler=sampler,
            reference_model=reference_model,
            show=show,
            **options,
        )
        if new:
            self._model_notes.append("the model has no unmasking policy: a new one was drawn")
        self._served = False
        self.groups = DenoisedGroups(**vars(self.groups))
        steps = StepLikelihood(
            self.model, self.accelerator, args, self.groups.pad, processing_class
        )
        steps.reference = self.likely.reference
        self.likely = steps

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of any ``Trainer``, with what is needed to load the unmasking policy."""
        super().save_model(output_dir, _internal_call)
        policy = policy_of(self.accelerator.unwrap_model(self.model))
        if policy is not None and self.args.should_save:
            write_sizes(str(output_dir or self.args.output_dir), policy)

    # Learning

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """The gradient of one batch of groups, a denoising step at a time."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, weights = self._weighed(model, inputs)
        parts = self._parts(inputs, weights)
        for number, (step, rows) in enumerate(parts, 1):
            sync: AbstractContextManager[Any] = nullcontext()
            if number < len(parts):
                sync = self.accelerator.no_sync(model)
            with sync:
                log_prob = self.likely.of_step(model, inputs, rows, step)
                self.accelerator.backward((log_prob * weights[rows, step - 1]).sum())
        return loss

    def _parts(self, inputs: Batch, weights: Tensor) -> list[tuple[int, Tensor]]:
        """Steps with the rows that are read together; what has no weight is not read."""
        parts = []
        for step in range(1, weights.shape[1] + 1):
            rows = weights[:, step - 1].nonzero().squeeze(-1)
            if len(rows):
                parts += [(step, own) for own in self.likely.together(inputs, rows)]
        # Each process takes part in the exchange of gradients, though it has none.
        return parts or [(1, torch.zeros(1, dtype=torch.long, device=weights.device))]

    def _weighed(self, model: Any, inputs: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and its derivative by each step's log-probability: (answers, steps).

        The objective's derivative needs numbers, not graphs: so each step is read again for its
        own graph. Where answers are of the model as it is, and KL is to nothing, all ratios are 1
        and nothing has to be read first.
        """
        objective, old, kept_to = self.objective, inputs.get("old"), inputs.get("kept_to")
        gains, learns = inputs["advantages"], inputs["learns"]
        log_probs = torch.zeros(gains.shape, device=gains.device)
        if old is not None or kept_to is not None or self.args.passes > 1:
            with torch.no_grad():
                log_probs, _ = self.likely.read(model, inputs)
        if old is None:
            old = log_probs
            if self.args.passes > 1 and self._round is not None:
                self._round.batches[int(inputs["number"])]["old"] = old.cpu()
        log_probs = log_probs.clone().requires_grad_()
        found = objective(
            log_probs,
            gains,
            learns,
            old=old,
            reference=kept_to,
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
        if bool(objective.counting(gains, learns).any()):
            told = {"clip_share": found.clip_share, "ratio": found.ratio}
            if kept_to is not None:
                told["kl"] = found.divergence
            self._note({name: float(own) for name, own in told.items()})
        (weights,) = torch.autograd.grad(loss, log_probs)
        return loss.detach(), weights

    # Evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As of ``GroupTrainer``, and ``greedy_reward``: of one answer at temperature 0."""
        data, args = self.eval_dataset, self.args
        if eval_dataset is not None:
            data = eval_dataset
        if data is not None and not isinstance(data, PromptData):
            data = encode_prompts(
                data,
                self.processing_class,
                room=args.max_length - args.tokens,
                long_prompts=args.long_prompts,
                chat=args.chat,
            )
        found = super().evaluate(data, ignore_keys, metric_key_prefix)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        rows, parts = data.rows[rank::processes], []
        if rows:
            seed = round_seed(args.seed, 2**31, rank)
            with self.accelerator.autocast():
                rollouts = self.groups.written(
                    rows, greedy(self.groups.sampler), 1, seed=seed, progress=1.0
                )
            parts.append(reward_report(rollouts, rewarded(rollouts, self.groups.reward))["reward"])
        if processes > 1:
            every: list[Any] = [None] * processes
            torch.distributed.all_gather_object(every, parts)
            parts = [own for one in every for own in one]
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        if len(values):
            told = {f"{metric_key_prefix}_greedy_reward": float(values.mean())}
            self.log(told)
            found |= told
        return found
