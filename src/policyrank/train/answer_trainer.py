"""What trainers on ranked answers share: options, data, metrics, logs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answers import win_shares
from policyrank.learn import check_labels, label_domain
from policyrank.learn._lists import span
from policyrank.learn.label_domains import largest_label
from policyrank.learn.losses.unpaired import UNPAIRED_LOSSES
from policyrank.metrics import best_share
from policyrank.models.tokens import padding
from policyrank.train.adapters import save_stacked
from policyrank.train.answers import (
    AnswerCollator,
    AnswerData,
    EncodedAnswers,
    Layout,
    encode_answers,
)
from policyrank.train.preparing import prepared
from policyrank.train.resumable import ResumableTrainer
from policyrank.train.text_config import TextConfig

Float = NDArray[np.float64]
Labels = Literal["as-given", "win-shares"]


@dataclass
class AnswerConfig(TextConfig):
    """Options of any trainer on ranked answers, beside transformers' own; a batch is so many lists.

    Attributes
    ----------
    loss_options
        passed to the loss
    labels
        ``"as-given"``: refused before training where the loss cannot take them; ``"win-shares"``:
        of each answer the share of the others of its list that it is above
        (``evidence.answers.win_shares``), which every loss takes
    """

    loss_options: dict[str, Any] = field(default_factory=dict)
    labels: Labels = "as-given"


class AnswerTrainer(ResumableTrainer):
    """What trainers on ranked answers share: data, metrics, logs.

    Losses are means over the lists of an optimizer step, however it is cut into batches.

    Parameters as in ``ListwisePreferenceTrainer``.
    """

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
        pad: int | None = None,
        keep_end: bool = False,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        if processing_class is None:
            raise OptionError("no tokenizer: give processing_class.")
        if isinstance(train_dataset, Mapping):
            told = ", ".join(map(str, train_dataset))
            raise OptionError(f"training data are several sets ({told}): name one of them.")
        args.check_choices()
        made = prepared(model, args, peft_config)
        self._model_notes, self._below, self.start = list(made.notes), made.below, made.start
        self._encode = partial(
            encode_answers,
            tokenizer=processing_class,
            max_length=args.max_length,
            long_prompts=args.long_prompts,
            chat=args.chat,
            keep_end=keep_end,
        )
        args.remove_unused_columns = False
        args.label_names = ["labels"]
        if pad is None:
            pad = padding(processing_class)
        self.collate = AnswerCollator(pad, layout)
        self._unpaired = args.loss in UNPAIRED_LOSSES  # type: ignore[attr-defined]
        metrics = partial(preference_metrics, unpaired=self._unpaired)
        options.setdefault("compute_metrics", metrics)
        super().__init__(
            made.model,
            args,
            self._collate,
            self._encoded(train_dataset, args),
            self._encoded(eval_dataset, args),
            processing_class=processing_class,
            **options,
        )
        self.model_accepts_loss_kwargs = True  # the loss is divided by the items of the whole step
        if args.disable_tqdm:  # it prints raw records where there is no progress bar
            self.remove_callback(PrinterCallback)
        self._seen: dict[str, list[float]] = defaultdict(list)

    def _encoded(self, data: Any, args: AnswerConfig) -> Any:
        """Data as tokens, of each set where there are several, its labels fit for the loss."""
        if data is None:
            return None
        if isinstance(data, Mapping):
            return {name: self._encoded(own, args) for name, own in data.items()}
        if not isinstance(data, AnswerData):
            data = self._encode(data)
        if args.labels == "win-shares" and not data.unpaired:
            data = data.with_labels([list(win_shares(own)) for own in data.labels])
        _check_labels(data, args)
        return data

    def _collate(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        return self.collate(lists)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the model, and left out or cut of training and evaluation data."""
        told = list(self._model_notes)
        sets = {"train": self.train_dataset}
        if isinstance(self.eval_dataset, Mapping):
            sets |= self.eval_dataset
        else:
            sets["evaluation"] = self.eval_dataset
        for name, data in sets.items():
            if data is not None:
                told += [f"{name}: {note}" for note in data.notes]
        return tuple(told)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of any ``Trainer``; adapters that were stacked are written as one."""
        super().save_model(output_dir, _internal_call)
        if self._below is not None and not _internal_call and self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            save_stacked(model, self._below, output_dir or self.args.output_dir)

    def _items(self, inputs: dict[str, Tensor]) -> Tensor:
        """What the loss is a mean over: the lists that say something."""
        told = span(inputs["labels"], inputs["where"]) > 0
        return told.sum()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        if not batch_samples:
            return None
        items = torch.stack([self._items(batch) for batch in batch_samples]).sum().to(device)
        if self.args.world_size > 1:
            items = self.accelerator.gather(items[None]).sum()
        return items

    def _share(self, total: Tensor, inputs: dict[str, Tensor], items: Any) -> Tensor:
        """A sum over items as this batch's part of the mean over a whole step's."""
        if items is None:
            return total / self._items(inputs).clamp(min=1)
        # Gradients are averaged over processes, while the items are those of all.
        return total * self.accelerator.num_processes / torch.clamp(items, min=1)

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss) and self.model.training:
            raise EvidenceError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}. Lower learning_rate"
                " or beta, or look at the scores."
            )

    def _note(self, score: Tensor, inputs: dict[str, Tensor], **more: float) -> None:
        """Keep accuracy, margin and more of a batch for the log."""
        in_order = _of_kinds if self._unpaired else _pairs
        accuracy, margin = in_order(
            _array(score), _array(inputs["labels"]), _array(inputs["where"]) > 0
        )
        for name, value in {"accuracy": accuracy, "margin": margin, **more}.items():
            self._seen[name].append(value)

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Training's accuracy of pairs, margin and more join the logs."""
        if "loss" in logs:
            for name, values in self._seen.items():
                if not np.isnan(values).all():
                    logs[name] = round(float(np.nanmean(values)), 4)
            self._seen.clear()
        super().log(logs, *args, **options)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if getattr(self.args, "train_sampling_strategy", "") != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        data = self.train_dataset if train_dataset is None else train_dataset
        several = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(several, lengths=[own.tokens for own in data.lists])

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if getattr(self.args, "train_sampling_strategy", "") != "group_by_length":
            return super()._get_eval_sampler(eval_dataset)
        return SequentialSampler(eval_dataset)

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


def _check_labels(data: AnswerData, args: Any) -> None:
    """Refuse labels that the loss cannot take, and answers that it has no use for."""
    loss = args.loss
    if data.unpaired and loss not in UNPAIRED_LOSSES:
        raise OptionError(
            f"loss {loss!r} compares answers to one prompt, but the rows are unpaired (completion,"
            f" label): take {' or '.join(UNPAIRED_LOSSES)}."
        )
    if loss in UNPAIRED_LOSSES:
        if not data.unpaired:
            raise OptionError(
                f"loss {loss!r} is of unpaired rows (completion, label), but these are lists: take"
                " another, such as 'kto'."
            )
        return
    loss = args.objective()
    if args.loss_options:
        loss = partial(loss, **args.loss_options)
    wide = max(map(len, data.labels))
    where = [[True] * len(own) + [False] * (wide - len(own)) for own in data.labels]
    table = [own + [0.0] * (wide - len(own)) for own in data.labels]
    try:
        check_labels(
            table,
            label_domain(loss),
            where=where,
            most=largest_label(loss),
            name=f"loss {args.loss!r}",
        )
    except OptionError as error:
        raise OptionError(f"{error} Here: labels='win-shares' (--labels win-shares).") from None


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


def _of_kinds(score: Float, labels: Float, where: NDArray[np.bool_]) -> tuple[float, float]:
    """The same of unpaired answers: each desirable one with each other, of any prompt."""
    own = where & (labels >= 0)
    good, bad = np.sort(score[own & (labels > 0)]), np.sort(score[own & (labels == 0)])
    if not len(good) or not len(bad):
        return math.nan, math.nan
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / (2 * len(bad))), float(good.mean() - bad.mean())


def preference_metrics(found: EvalPrediction, *, unpaired: bool = False) -> dict[str, float]:
    """What evaluation reports of pairs and lists.

    The share of pairs ranked as labelled by implicit reward (``accuracy``), by log-probability
    (``accuracy_log_prob``), also per token; the mean margin; and the share of lists whose best
    answer is scored highest (``top1``). ``unpaired``: of single answers, the desirable with the
    others, and no ``top1``.
    """
    score, log_probs, lengths, where = (np.asarray(x, dtype=float) for x in found.predictions)
    labels, shown = np.asarray(found.label_ids, dtype=float), where > 0
    in_order = _of_kinds if unpaired else _pairs
    accuracy, margin = in_order(score, labels, shown)
    per_token = log_probs / np.maximum(lengths, 1)
    told = {
        "accuracy": accuracy,
        "accuracy_log_prob": in_order(log_probs, labels, shown)[0],
        "accuracy_log_prob_per_token": in_order(per_token, labels, shown)[0],
        "margin": margin,
    }
    if not unpaired:
        told["top1"] = best_share(score, labels, shown)
    return told
