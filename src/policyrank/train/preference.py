"""Train a language model on ranked lists of answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answers import text_of
from policyrank.learn import PreferenceLoss, segments
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.learn.losses.preference import best_answer, of_best
from policyrank.learn.losses.unpaired import UNPAIRED_LOSSES
from policyrank.models.language import generate, load_causal_lm
from policyrank.train.adapters import AdapterStart, is_adapted
from policyrank.train.answer_trainer import Float, outputs
from policyrank.train.answers import AnswerData
from policyrank.train.judges import Judge
from policyrank.train.likelihood_trainer import LikelihoodTrainer
from policyrank.train.preference_config import ListwisePreferenceConfig
from policyrank.train.resumable import model_facts
from policyrank.train.token_likelihood import by_step, hidden_by_step, token_log_probs


class ListwisePreferenceTrainer(LikelihoodTrainer):
    """A transformers ``Trainer`` on lists of ranked answers, with any objective of preferences.

    Parameters
    ----------
    model
        causal language model of transformers or peft, or a name that ``load_causal_lm`` takes (the
        tokenizer then comes with it)
    args
        objective and all other options
    train_dataset, eval_dataset
        what ``read_answers`` takes (a file, a ``datasets.Dataset``, rows), or ``AnswerData``
    processing_class
        tokenizer
    reference_model
        the reference, or its name, instead of what ``args.reference`` says
    judge
        evaluation then samples answers to ``args.judged`` evaluation prompts, and reports how often
        they beat the best answer of the list
    peft_config
        of adapters to train instead of the model's own weights
    options
        of ``Trainer``

    Raises
    ------
    OptionError
        For an unknown objective or option of it, a reference that cannot be; before training
        starts.
    EvidenceError
        For data that cannot be used.

    Examples
    --------
    >>> args = ListwisePreferenceConfig("run", loss="lipo-lambda")  # doctest: +SKIP
    >>> ListwisePreferenceTrainer("smollm2", args, "answers.jsonl").train()  # doctest: +SKIP
    """

    args: ListwisePreferenceConfig
    objective: PreferenceLoss

    def __init__(
        self,
        model: Any,
        args: ListwisePreferenceConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        reference_model: Any = None,
        judge: Judge | None = None,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        args = args or ListwisePreferenceConfig("preference")
        if not isinstance(args, ListwisePreferenceConfig):
            raise OptionError(f"args is of {type(args).__name__}: give ListwisePreferenceConfig.")
        self.objective = args.objective()
        if isinstance(model, str):
            model, tokenizer = load_causal_lm(model, device="cpu", trainable=True)
            processing_class = processing_class or tokenizer
        if isinstance(reference_model, str):
            reference_model, _ = load_causal_lm(reference_model, device="cpu")
        self.judge = judge
        super().__init__(
            model,
            args,
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            layout=args.layout,
            peft_config=peft_config,
            **options,
        )
        self.reference = _reference_of(args, reference_model, self.model)
        if self.start is not None and isinstance(self.reference, torch.nn.Module):
            self.depends["reference model"] = model_facts(self.reference)
        if args.by_step:
            for data in self._sets():
                _check_steps(data)
        self._prepared = False
        self._of_step: dict[str, Tensor] = {}
        if isinstance(self.reference, torch.nn.Module):
            self.reference = self.accelerator.prepare_model(
                self.reference.eval(), evaluation_mode=True
            )
        elif self.reference == "adapter":
            self.reference = AdapterStart(self.model)

    def train(self, *args: Any, **options: Any) -> Any:
        """Check the layout, compute the reference's log-probabilities, and train.

        ``resume_from_checkpoint=True`` goes on from the newest whole checkpoint, to the same
        weights; another run is refused (``ResumableTrainer``).
        """
        self._prepare()
        return super().train(*args, **options)

    def _prepare(self) -> None:
        if self._prepared:
            return
        self._prepared = True
        self._settle_layout()
        if self.reference == "precompute":
            self.train_dataset = self._referred(self.train_dataset)
            held = partial(self._referred, in_order=True)
            if isinstance(self.eval_dataset, Mapping):
                items = self.eval_dataset.items()
                self.eval_dataset = {name: held(data) for name, data in items}
            else:
                self.eval_dataset = held(self.eval_dataset)

    def _referred(self, data: AnswerData | None, *, in_order: bool = False) -> AnswerData | None:
        """The data with log-probabilities of the reference, which is the model as it is."""
        if data is None or all(own.reference is not None for own in data.lists):
            return data
        return data.with_reference(self.step_log_probs(data, in_order=in_order))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The objective of one batch of lists."""
        labels, where, lengths = inputs["labels"], inputs["where"], inputs["lengths"]
        policy, reference, weight = self._policy_and_reference(model, inputs)
        per_token = policy.sum(dim=-1) / lengths.clamp(min=1)
        imitated = of_best(per_token, labels, where)
        total = self.objective(
            (policy * weight).sum(dim=-1),
            labels,
            reference=None if reference is None else (reference * weight).sum(dim=-1),
            where=where,
            lengths=lengths,
            reduce="sum",
            **self._of_step,
            **self.args.loss_options,
        )
        if self.args.sft_weight:
            total = total - self.args.sft_weight * imitated.sum()
        loss = self._share(total, inputs, num_items_in_batch)
        self._check(loss)
        score = whole = policy.detach().sum(dim=-1)
        if reference is not None:
            score = whole - reference.sum(dim=-1)
        if model.training:
            self._note(score, inputs, log_prob_best=float(imitated.detach().mean()))
        if return_outputs:
            return loss, outputs(score, whole, inputs)
        return loss

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """The batches of an optimizer step; of unpaired answers also what all of them share."""
        batches, items = super().get_batch_samples(*args, **options)
        self._of_step = {}
        if self._unpaired and (len(batches) > 1 or self.args.world_size > 1):
            self._of_step["zero"] = self._distance(batches)
        return batches, items

    def _distance(self, batches: Sequence[dict[str, Tensor]]) -> Tensor:
        """Mean log-ratio of answers to other prompts, over all batches of a step."""
        total = torch.zeros(2, device=self.accelerator.device)
        for batch in map(self._prepare_inputs, batches):
            with torch.no_grad():
                policy, reference, _ = self._policy_and_reference(self.model, batch)
            ratio = policy.sum(dim=-1)
            if reference is not None:
                ratio = ratio - reference.sum(dim=-1)
            elsewhere = (batch["labels"] < 0) & batch["where"]
            total += torch.stack([ratio[elsewhere].sum(), elsewhere.sum()])
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, "sum")
        return total[0] / total[1].clamp(min=1)

    def _items(self, inputs: dict[str, Tensor]) -> Tensor:
        """What the loss is a mean over: tokens, answers, or lists that say something."""
        if self.args.mean_over == "tokens":
            return inputs["lengths"].sum()
        if self.args.loss in UNPAIRED_LOSSES:
            return torch.tensor(len(inputs["labels"]), device=inputs["labels"].device)
        return super()._items(inputs)

    def _policy_and_reference(
        self, model: Any, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None, Tensor | float]:
        """Log-probabilities of steps (lists, longest list, steps), and the steps' weights."""
        with self.accelerator.autocast():
            flat, hidden = token_log_probs(
                model, inputs, layout=self.layout, keep=self._keep, hidden=self.args.by_step
            )
        steps = int(inputs["step"].max())
        if "reference" in inputs:
            steps = max(steps, inputs["reference"].shape[-1])
        policy = by_step(flat, inputs, steps)
        reference = self._reference(model, inputs, steps)
        if hidden is None:
            return policy, reference, 1.0
        means, present = hidden_by_step(hidden, inputs, steps)
        best = best_answer(inputs["labels"], inputs["where"]).squeeze(-1)
        weight = segments.step_weights(means, present, best, self.args.step_weights)
        return policy, reference, weight

    def _reference(self, model: Any, inputs: dict[str, Tensor], steps: int) -> Tensor | None:
        if self.reference is None:
            return None
        if "reference" in inputs:
            known = inputs["reference"]
            return torch.nn.functional.pad(known, (0, steps - known.shape[-1]))
        if self.reference == "precompute":
            raise EvidenceError(
                "the reference's log-probabilities are missing: evaluate() a data set that was"
                " given to the trainer."
            )
        before: AbstractContextManager[Any] = nullcontext()
        other = self.reference
        if isinstance(other, AdapterStart):
            other, before = model, self.reference.put_back()
        with torch.no_grad(), before, self.accelerator.autocast():
            flat, _ = token_log_probs(other, inputs, layout=self.layout, keep=self._keep)
        return by_step(flat, inputs, steps)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **options: Any) -> dict[str, float]:
        """As of any ``Trainer``; with a judge also how often sampled answers beat the best ones.

        ``eval_dataset`` may be the name of one of several sets, or anything that the trainer takes.
        """
        self._prepare()
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, str) and isinstance(self.eval_dataset, Mapping):
            data = self.eval_dataset[data]
        elif data is not None and eval_dataset is not None:
            data = eval_dataset = self._encoded(eval_dataset, self.args)
            if self.reference == "precompute" and isinstance(data, AnswerData):
                data = eval_dataset = self._referred(data, in_order=True)
        self._of_step = {}
        found = super().evaluate(eval_dataset, *args, **options)
        if self.judge is not None and isinstance(data, AnswerData):
            judged = self._judged(data, options.get("metric_key_prefix", "eval"))
            found |= judged
            self.log(judged)
        return found

    def _judged(self, data: AnswerData, prefix: str) -> dict[str, float]:
        answers = data.answers[: self.args.judged]
        best = [text_of(own.completions[own.best]) for own in answers]
        won = self.win_rate([own.prompt for own in answers], best)
        won = won[np.isfinite(won)]
        if not len(won):
            raise EvidenceError("no evaluation prompt leaves room for an answer to be judged.")
        error = math.nan
        if len(won) > 1:
            error = float(won.std(ddof=1) / math.sqrt(len(won)))
        return {f"{prefix}_win_rate": float(won.mean()), f"{prefix}_win_rate_error": error}

    def win_rate(self, prompts: Sequence[Any], others: Sequence[str], **options: Any) -> Float:
        """How far sampled answers beat the others, by the judge: (prompts,) in [0, 1].

        NaN where a prompt leaves no room for an answer, or the judge could not read it. ``options``
        are those of ``models.language.sample``.
        """
        if self.judge is None:
            raise OptionError("no judge: give one to the trainer.")
        model = self.accelerator.unwrap_model(self.model)
        options = {"seed": self.args.seed, "chat": self.args.chat} | options
        with torch.random.fork_rng():
            made = generate(model, self.processing_class, prompts, **options)
        there = [k for k, answers in enumerate(made) if answers]
        first = [made[k][0] for k in there]
        rivals, asked = [others[k] for k in there], [prompts[k] for k in there]
        found = np.asarray(self.judge(asked, first, rivals), dtype=float)
        if found.shape != (len(there),) or ((found < 0) | (found > 1)).any():
            raise EvidenceError(
                f"the judge gave {found.shape} values, not one in [0, 1] for each of {len(there)}"
                " prompts."
            )
        won = np.full(len(prompts), np.nan)
        won[there] = found
        return won


def _reference_of(args: ListwisePreferenceConfig, reference_model: Any, model: Any) -> Any:
    """A model, ``"precompute"`` or ``"adapter"``; None for objectives without a reference."""
    if isinstance(args.loss, str) and args.loss in REFERENCE_FREE:
        return None
    if reference_model is not None:
        return reference_model
    if args.reference == "adapter" and not is_adapted(model):
        raise OptionError(
            "reference='adapter' needs a peft model: give peft_config, or take 'precompute'."
        )
    return args.reference


def _check_steps(data: AnswerData | None) -> None:
    if data is not None and data.answers and data.answers[0].steps is None:
        raise EvidenceError(
            "loss='tpo' weighs steps, but the answers are not cut into steps. Give each as a"
            " list of steps, or trees."
        )
