"""What trainers on ranked answers share: options, data, metrics, logs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainingArguments

from policyrank.errors import EvidenceError, OptionError, refuse_unknown_options
from policyrank.metrics import best_share
from policyrank.train.answers import (
    AnswerCollator,
    AnswerData,
    EncodedAnswers,
    Layout,
    LongPrompts,
    encode_answers,
)

Float = NDArray[np.float64]


@dataclass
class AnswerConfig(TrainingArguments):
    """Options of any trainer on ranked answers, beside transformers' own; a batch is so many lists.

    Attributes
    ----------
    loss_options
        passed to the loss
    max_length, long_prompts, chat
        see ``encode_answers``
    """

    loss_options: dict[str, Any] = field(default_factory=dict)
    max_length: int = 1024
    long_prompts: LongPrompts = "leave out"
    chat: bool | None = None

    @classmethod
    def of(cls, args: TrainingArguments, **options: Any) -> Self:
        """The arguments as they are, with a trainer's options.

        Raises
        ------
        OptionError
            For an option that there is not.
        """
        refuse_unknown_options(options, (own.name for own in fields(cls)), of=cls.__name__)
        # Not made anew: __post_init__ has been run on these arguments.
        made = cls.__new__(cls)
        for own in fields(cls):
            if own.default_factory is dict:
                setattr(made, own.name, {})
        vars(made).update(vars(args) | options)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; functions stand by their names."""
        return _named(super().to_dict())

    def __getstate__(self) -> dict[str, Any]:
        """What is saved beside a model; functions stand by their names."""
        return _named(vars(self))


def _named(values: dict[str, Any]) -> dict[str, Any]:
    named = dict(values)
    for name in ("loss", "step_weights"):
        value = values.get(name)
        if callable(value):
            named[name] = getattr(value, "__name__", type(value).__name__)
    return named


class AnswerTrainer(Trainer):
    """What trainers on ranked answers share: data, metrics, logs.

    Parameters as in ``ListwisePreferenceTrainer``.
    """

    model: Any
    args: Any
    train_dataset: Any
    eval_dataset: Any

    def __init__(
        self,
        model: Any,
        args: AnswerConfig,
        train_dataset: Any,
        eval_dataset: Any,
        *,
        processing_class: Any,
        layout: Layout,
        **options: Any,
    ) -> None:
        if processing_class is None:
            raise OptionError("no tokenizer: give processing_class.")
        encode = partial(
            encode_answers,
            tokenizer=processing_class,
            max_length=args.max_length,
            long_prompts=args.long_prompts,
            chat=args.chat,
        )
        if not isinstance(train_dataset, AnswerData | None):
            train_dataset = encode(train_dataset)
        if not isinstance(eval_dataset, AnswerData | None):
            eval_dataset = encode(eval_dataset)
        args.remove_unused_columns = False
        args.label_names = ["labels"]
        pad = processing_class.pad_token_id
        if pad is None:
            pad = processing_class.eos_token_id
        self.collate = AnswerCollator(pad, layout)
        options.setdefault("compute_metrics", preference_metrics)
        super().__init__(
            model,
            args,
            self._collate,
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            **options,
        )
        self.model_accepts_loss_kwargs = False
        if args.disable_tqdm:  # it prints raw records where there is no progress bar
            self.remove_callback(PrinterCallback)
        self._seen: dict[str, list[float]] = defaultdict(list)

    def _collate(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        return self.collate(lists)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or cut, of training and evaluation data."""
        told = []
        for name, data in (("train", self.train_dataset), ("evaluation", self.eval_dataset)):
            if data is not None:
                told += [f"{name}: {note}" for note in data.notes]
        return tuple(told)

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss) and self.model.training:
            raise EvidenceError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}. Lower learning_rate"
                " or beta, or look at the scores."
            )

    def _note(self, score: Tensor, inputs: dict[str, Tensor], **more: float) -> None:
        """Keep accuracy, margin and more of a batch for the log."""
        accuracy, margin = _pairs(
            _array(score), _array(inputs["labels"]), _array(inputs["where"]) > 0
        )
        for name, value in {"accuracy": accuracy, "margin": margin, **more}.items():
            self._seen[name].append(value)

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Training's accuracy of pairs, margin and more join the logs."""
        if "loss" in logs:
            for name, values in self._seen.items():
                logs[name] = round(float(np.nanmean(values)), 4)
            self._seen.clear()
        super().log(logs, *args, **options)

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: Any = None,
    ) -> Any:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, found = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss, None, None
        return loss, tuple(values.float() for values in found.values()), inputs["labels"]


def outputs(score: Tensor, log_probs: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ``preference_metrics`` reads, in its order."""
    return {
        "scores": score,
        "log_probs": log_probs,
        "lengths": inputs["lengths"].float(),
        "where": inputs["where"].float(),
    }


def _array(values: Tensor) -> Float:
    return values.detach().cpu().double().numpy()


def _pairs(score: Float, labels: Float, where: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of pairs in order (equal scores half), and the mean difference of their scores."""
    both = where[..., :, None] & where[..., None, :]
    better = (labels[..., :, None] > labels[..., None, :]) & both
    gap = (score[..., :, None] - score[..., None, :])[better]
    if not len(gap):
        return math.nan, math.nan
    return float((0.5 + 0.5 * np.sign(gap)).mean()), float(gap.mean())


def preference_metrics(found: EvalPrediction) -> dict[str, float]:
    """What evaluation reports of pairs and lists.

    The share of pairs ranked as labelled by implicit reward (``accuracy``), by log-probability
    (``accuracy_log_prob``), also per token; the mean margin; and the share of lists whose best
    answer is scored highest (``top1``).
    """
    score, log_probs, lengths, where = (np.asarray(x, dtype=float) for x in found.predictions)
    labels, shown = np.asarray(found.label_ids, dtype=float), where > 0
    accuracy, margin = _pairs(score, labels, shown)
    per_token = log_probs / np.maximum(lengths, 1)
    return {
        "accuracy": accuracy,
        "accuracy_log_prob": _pairs(log_probs, labels, shown)[0],
        "accuracy_log_prob_per_token": _pairs(per_token, labels, shown)[0],
        "margin": margin,
        "top1": best_share(score, labels, shown),
    }
