"""Train a language model on ranked lists of answers."""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainingArguments

from policyrank.errors import EvidenceError
from policyrank.learn import PREFERENCE_LOSSES, PreferenceLoss, preference_loss, segments
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.learn.losses.preference import best_nll
from policyrank.models.language import generate, load_causal_lm
from policyrank.train.answers import (
    AnswerCollator,
    AnswerData,
    EncodedAnswers,
    Layout,
    LongPrompts,
    encode_answers,
    token_log_probs,
)

Float = NDArray[np.float64]
Judge = Callable[[Sequence[Any], Sequence[str], Sequence[str]], Sequence[float]]
"""(prompts, answers, other answers) -> share in [0, 1] by which each answer beats the other."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the mean log-probability of a token


class AnswerTrainer(Trainer):
    """What trainers on ranked answers share: data, metrics, logs. Parameters as in
    ``ListwisePreferenceTrainer``.
    """

    model: Any
    train_dataset: Any
    eval_dataset: Any

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        train_dataset: Any,
        eval_dataset: Any,
        *,
        processing_class: Any,
        layout: Layout,
        max_length: int,
        long_prompts: LongPrompts,
        chat: bool | None,
        **options: Any,
    ) -> None:
        if processing_class is None:
            raise EvidenceError("no tokenizer: give processing_class.")
        encode = partial(
            encode_answers,
            tokenizer=processing_class,
            max_length=max_length,
            long_prompts=long_prompts,
            chat=chat,
        )
        train_data, eval_data = (
            d if d is None or isinstance(d, AnswerData) else encode(d)
            for d in (train_dataset, eval_dataset)
        )
        args.remove_unused_columns = False
        args.label_names = ["labels"]
        pad = processing_class.pad_token_id
        self.collate = AnswerCollator(processing_class.eos_token_id if pad is None else pad, layout)
        options.setdefault("compute_metrics", preference_metrics)
        super().__init__(
            model,
            args,
            self._collate,
            train_data,
            eval_data,
            processing_class=processing_class,
            **options,
        )
        self.model_accepts_loss_kwargs = False
        if args.disable_tqdm:
            self.remove_callback(
                PrinterCallback
            )  # it prints raw records where there is no progress bar
        self._seen: dict[str, list[float]] = defaultdict(list)

    def _collate(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        return self.collate(lists)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or cut, of training and evaluation data."""
        return tuple(
            f"{name}: {note}"
            for name, data in (("train", self.train_dataset), ("evaluation", self.eval_dataset))
            if data is not None
            for note in data.notes
        )

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss) and self.model.training:
            raise EvidenceError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}. Lower learning_rate"
                " or beta, or look at the scores."
            )

    def _note(self, score: Tensor, inputs: dict[str, Tensor], **more: float) -> None:
        s, y, m = (
            x.detach().cpu().double().numpy() for x in (score, inputs["labels"], inputs["where"])
        )
        right, margin = _pairs(s, y, m > 0)
        for name, value in {"accuracy": right, "margin": margin, **more}.items():
            self._seen[name].append(value)

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Training's accuracy of pairs, margin and more join the logs."""
        if "loss" in logs:
            logs |= {k: round(float(np.nanmean(v)), 4) for k, v in self._seen.items() if v}
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
        return loss, tuple(v.float() for v in found.values()), inputs["labels"]


class ListwisePreferenceTrainer(AnswerTrainer):
    """A transformers ``Trainer`` on lists of ranked answers, with any objective of
    ``learn.PREFERENCE_LOSSES`` or ``learn.LOSSES``.

    Parameters
    ----------
    model
        causal language model of transformers or peft, or a name that ``load_causal_lm`` takes (the
        tokenizer then comes with it)
    args
        ``TrainingArguments``; a batch is so many lists
    train_dataset, eval_dataset
        what ``read_answers`` takes (a file, a ``datasets.Dataset``, rows), or ``AnswerData``
    processing_class
        tokenizer
    loss
        a name, ``"tpo"`` (``"lipo-lambda"`` with weights of steps), or a function with the
        signature of ``PreferenceLoss``
    loss_options
        passed to it: ``beta`` and others
    reference
        ``"precompute"``: log-probabilities of the model as it is when training starts, computed
        once; ``"adapter"``: those of the peft model with its adapters switched off, at each step; a
        model; or None for objectives without one
    sft_weight
        weight of the best answer's negative log-likelihood per token
    step_weights
        for ``"tpo"``: a name in ``learn.STEP_WEIGHTS`` or a function; answers must be given as
        steps
    max_length, long_prompts, chat
        see ``encode_answers``
    layout
        ``"shared"`` reads each prompt once for all its answers; ``"rows"`` gives each answer its
        own row. "shared" is checked on the first list, and given up with a note where the model
        does not keep answers apart (recurrent layers, sliding windows, flash attention)
    judge
        evaluation then samples answers to ``judged`` evaluation prompts, and reports how often they
        beat the best answer of the list

    Raises
    ------
    EvidenceError
        For data that cannot be used, an unknown objective, or a missing reference; before training
        starts.

    Examples
    --------
    >>> ListwisePreferenceTrainer("smollm2", args, "answers.jsonl", loss="lipo-lambda").train()  # doctest: +SKIP
    """

    objective: PreferenceLoss

    def __init__(
        self,
        model: Any,
        args: TrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        loss: str | PreferenceLoss = "dpo",
        loss_options: Mapping[str, Any] | None = None,
        reference: Any = "precompute",
        sft_weight: float = 0.0,
        step_weights: str | Callable[[Tensor], Tensor] = "similar",
        max_length: int = 1024,
        long_prompts: LongPrompts = "leave out",
        chat: bool | None = None,
        layout: Layout = "shared",
        judge: Judge | None = None,
        judged: int = 32,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        if isinstance(model, str):
            model, found = load_causal_lm(model, device="cpu")
            processing_class = processing_class or found
        if peft_config is not None:
            from peft import get_peft_model

            model = get_peft_model(model, peft_config)
        self.objective, self.loss_options, self.steps = (
            _objective(loss),
            dict(loss_options or {}),
            loss == "tpo",
        )
        free = isinstance(loss, str) and loss in REFERENCE_FREE
        if reference == "adapter" and not hasattr(model, "disable_adapter"):
            raise EvidenceError(
                "reference='adapter' needs a peft model: give peft_config, or take 'precompute'."
            )
        if isinstance(reference, str) and reference not in ("precompute", "adapter"):
            raise EvidenceError(
                f"reference={reference!r}: use 'precompute', 'adapter', a model, or None."
            )
        self.reference: Any = None if free else reference
        self.sft_weight, self.step_weights = sft_weight, step_weights
        self.judge, self.judged, self.chat = judge, judged, chat
        self.layout: Layout = layout
        super().__init__(
            model,
            args or TrainingArguments("preference"),
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            layout=layout,
            max_length=max_length,
            long_prompts=long_prompts,
            chat=chat,
            **options,
        )
        if self.steps and any(
            x.answers and x.answers[0].steps is None
            for x in (self.train_dataset, self.eval_dataset)
            if x is not None
        ):
            raise EvidenceError(
                "loss='tpo' weighs steps, but the answers are not cut into steps. Give each as a"
                " list of steps, or trees."
            )
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._keep = "logits_to_keep" in inspect.signature(base.forward).parameters
        self._prepared = False
        if isinstance(self.reference, torch.nn.Module):
            self.reference = self.accelerator.prepare_model(
                self.reference.eval(), evaluation_mode=True
            )

    def train(self, *args: Any, **options: Any) -> Any:
        """Check the layout, compute the reference's log-probabilities where they are wanted, and
        train.
        """
        self._prepare()
        return super().train(*args, **options)

    def _prepare(self) -> None:
        if self._prepared:
            return
        self._prepared = True
        data = self.train_dataset if self.train_dataset is not None else self.eval_dataset
        if self.layout == "shared" and not self._answers_kept_apart(data[0]):
            self.layout = "rows"
            self.collate = AnswerCollator(self.collate.pad, "rows")
            if self.is_world_process_zero():
                print(
                    "note: this model does not keep answers in one row apart; each gets a row of"
                    " its own (layout='rows')"
                )
        if self.reference == "precompute":
            for name in ("train_dataset", "eval_dataset"):
                own = getattr(self, name)
                if own is not None and any(x.reference is None for x in own.lists):
                    setattr(self, name, own.with_reference(self.step_log_probs(own)))

    def _answers_kept_apart(self, first: EncodedAnswers) -> bool:
        """Whether the shared layout gives what rows give, on one list."""
        short = EncodedAnswers(
            first.prompt[-64:],
            [c[:64] for c in first.completions[:3]],
            [s[:64] for s in first.steps[:3]],
            first.labels[:3],
        )
        found = []
        both: tuple[Layout, ...] = ("shared", "rows")
        for layout in both:
            batch = self._on_device(AnswerCollator(self.collate.pad, layout)([short]))
            try:
                flat = self._flat(batch, layout)
            except (RuntimeError, ValueError, TypeError):
                if layout == "rows":
                    raise
                return False
            found.append(
                _by_step(flat, batch, int(batch["step"].max())) / batch["lengths"][..., None]
            )
        return bool((found[0] - found[1]).abs().max() < TOLERANCE.get(self.model.dtype, 0.1))

    def _flat(self, batch: dict[str, Tensor], layout: Layout) -> Tensor:
        was = self.model.training
        self.model.eval()
        with torch.no_grad():
            found, _ = token_log_probs(self.model, batch, layout=layout, keep=self._keep)
        self.model.train(was)
        return found

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        return {k: v.to(device) for k, v in batch.items()}

    def step_log_probs(self, data: AnswerData) -> list[list[list[float]]]:
        """Log-probabilities of each answer's steps under the model as it is: of each list,
        (completions, steps).
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.accelerator.device.type != "cpu":
            self.model.to(self.accelerator.device)
        order = sorted(range(len(data)), key=lambda k: -data[k].tokens)[rank::processes]
        size = self.args.per_device_eval_batch_size
        found: dict[int, list[list[float]]] = {}
        from transformers.utils import logging

        bar = logging.tqdm(
            total=len(order), desc="Reference", disable=self.args.disable_tqdm or rank > 0
        )
        for start in range(0, len(order), size):
            group = order[start : start + size]
            lists = [data[k] for k in group]
            batch = self._on_device(self.collate(lists))
            flat = self._flat(batch, self.layout)
            sums = _by_step(
                flat, batch, max(max(s, default=1) for x in lists for s in x.steps)
            ).cpu()
            for j, k in enumerate(group):
                found[k] = [
                    sums[j, c, : max(own, default=1)].tolist()
                    for c, own in enumerate(data[k].steps)
                ]
            bar.update(len(group))
        bar.close()
        if processes > 1:
            parts: list[Any] = [None] * processes
            torch.distributed.all_gather_object(parts, found)
            found = {k: v for part in parts for k, v in part.items()}
        return [found[k] for k in range(len(data))]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The objective of one batch of lists."""
        labels, where, lengths = inputs["labels"], inputs["where"], inputs["lengths"]
        flat, hidden = token_log_probs(
            model, inputs, layout=self.layout, keep=self._keep, hidden=self.steps
        )
        steps = max(
            int(inputs["step"].max()), inputs["reference"].shape[-1] if "reference" in inputs else 0
        )
        by_step = _by_step(flat, inputs, steps)
        reference = self._reference(model, inputs, steps)
        whole = by_step.detach().sum(dim=-1)
        if self.steps:
            weight = self._weights(hidden, inputs, steps)
            log_probs, ref = (
                (by_step * weight).sum(dim=-1),
                None if reference is None else (reference * weight).sum(dim=-1),
            )
        else:
            log_probs, ref = (
                by_step.sum(dim=-1),
                None if reference is None else reference.sum(dim=-1),
            )
        loss = self.objective(
            log_probs, labels, reference=ref, where=where, lengths=lengths, **self.loss_options
        )
        if self.sft_weight:
            best = labels.masked_fill(~where, -torch.inf).argmax(dim=-1, keepdim=True)
            loss = (
                loss
                + self.sft_weight
                * (
                    best_nll(by_step.sum(dim=-1), labels, where)
                    / lengths.gather(-1, best).squeeze(-1)
                ).mean()
            )
        self._check(loss)
        score = whole if reference is None else whole - reference.sum(dim=-1)
        if model.training:
            best = labels.masked_fill(~where, -torch.inf).argmax(dim=-1, keepdim=True)
            self._note(
                score,
                inputs,
                log_prob_best=float((whole / lengths.clamp(min=1)).gather(-1, best).mean()),
            )
        if return_outputs:
            return loss, {
                "scores": score,
                "log_probs": whole,
                "lengths": lengths.float(),
                "where": where.float(),
            }
        return loss

    def _reference(self, model: Any, inputs: dict[str, Tensor], steps: int) -> Tensor | None:
        if self.reference is None:
            return None
        if "reference" in inputs:
            return torch.nn.functional.pad(
                inputs["reference"], (0, steps - inputs["reference"].shape[-1])
            )
        if self.reference == "precompute":
            raise EvidenceError(
                "the reference's log-probabilities are missing: evaluate() a data set that was"
                " given to the trainer."
            )
        off: AbstractContextManager[Any] = nullcontext()
        other = self.reference
        if other == "adapter":
            other, off = model, self.accelerator.unwrap_model(model).disable_adapter()
        with torch.no_grad(), off:
            flat, _ = token_log_probs(other, inputs, layout=self.layout, keep=self._keep)
        return _by_step(flat, inputs, steps)

    def _weights(self, hidden: Tensor | None, inputs: dict[str, Tensor], steps: int) -> Tensor:
        assert hidden is not None
        shape = (*inputs["labels"].shape, steps)
        key = inputs["answer"] * steps + inputs["step"] - 1
        size = math.prod(shape)
        count = torch.zeros(size, device=key.device).index_add_(
            0, key, torch.ones_like(key, dtype=torch.float32)
        )
        total = torch.zeros(size, hidden.shape[-1], device=key.device).index_add_(
            0, key, hidden.detach().float()
        )
        means = (total / count.clamp(min=1)[:, None]).reshape(*shape, -1)
        best = inputs["labels"].masked_fill(~inputs["where"], -torch.inf).argmax(dim=-1)
        return segments.step_weights(means, count.reshape(shape) > 0, best, self.step_weights)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **options: Any) -> dict[str, float]:
        """As of any ``Trainer``; with a judge also the share of sampled answers that beat the best
        of their list.
        """
        self._prepare()
        found = super().evaluate(eval_dataset, *args, **options)
        data = eval_dataset if eval_dataset is not None else self.eval_dataset
        if self.judge is not None and data is not None:
            prefix = options.get("metric_key_prefix", "eval")
            answers = data.answers[: self.judged]
            won = self.win_rate(
                [a.prompt for a in answers], [a.completions[a.best] for a in answers]
            )
            found |= {
                f"{prefix}_win_rate": float(won.mean()),
                f"{prefix}_win_rate_error": (
                    float(won.std(ddof=1) / math.sqrt(len(won))) if len(won) > 1 else math.nan
                ),
            }
            self.log({k: v for k, v in found.items() if "win_rate" in k})
        return found

    def win_rate(self, prompts: Sequence[Any], others: Sequence[str], **options: Any) -> Float:
        """How far an answer sampled from the model beats the other, by the judge: (prompts,) in [0,
        1]. ``options`` are those of ``generate``.
        """
        if self.judge is None:
            raise EvidenceError("no judge: give one to the trainer.")
        model = self.accelerator.unwrap_model(self.model)
        options = {"seed": self.args.seed, "chat": self.chat} | options
        with torch.random.fork_rng():
            made = generate(model, self.processing_class, prompts, **options)
        won = np.asarray(self.judge(prompts, [m[0] for m in made], others), dtype=float)
        if won.shape != (len(prompts),) or not ((won >= 0) & (won <= 1)).all():
            raise EvidenceError(
                f"the judge gave {won.shape} values, not one in [0, 1] for each of {len(prompts)}"
                " prompts."
            )
        return won


def _objective(loss: str | PreferenceLoss) -> PreferenceLoss:
    if not isinstance(loss, str):
        return loss
    try:
        return PREFERENCE_LOSSES["lipo-lambda"] if loss == "tpo" else preference_loss(loss)
    except ValueError as error:
        raise EvidenceError(f"{error} Also tpo.") from None


def _by_step(flat: Tensor, batch: dict[str, Tensor], steps: int) -> Tensor:
    """Sums over the tokens of each answer's steps: (lists, longest list, steps)."""
    shape = (*batch["labels"].shape, steps)
    key = batch["answer"] * steps + batch["step"] - 1
    return flat.new_zeros(math.prod(shape)).index_add(0, key, flat).reshape(shape)


def _pairs(score: Float, labels: Float, where: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of pairs in order (equal scores half), and the mean difference of their scores."""
    better = (
        (labels[..., :, None] > labels[..., None, :]) & where[..., :, None] & where[..., None, :]
    )
    gap = (score[..., :, None] - score[..., None, :])[better]
    return (
        (float((0.5 + 0.5 * np.sign(gap)).mean()), float(gap.mean()))
        if len(gap)
        else (math.nan, math.nan)
    )


def preference_metrics(found: EvalPrediction) -> dict[str, float]:
    """What evaluation reports: of pairs, the share ranked as labelled by implicit reward
    (``accuracy``), by log-probability (``accuracy_log_prob``),
    also per token; the mean margin; and the share of lists whose best answer is scored highest
    (``top1``).
    """
    score, log_probs, lengths, where = (np.asarray(x, dtype=float) for x in found.predictions)
    labels, shown = np.asarray(found.label_ids, dtype=float), where > 0
    accuracy, margin = _pairs(score, labels, shown)
    best = np.where(shown, labels, -np.inf).max(axis=-1)
    first = np.where(shown, score, -np.inf).argmax(axis=-1)
    return {
        "accuracy": accuracy,
        "accuracy_log_prob": _pairs(log_probs, labels, shown)[0],
        "accuracy_log_prob_per_token": _pairs(log_probs / np.maximum(lengths, 1), labels, shown)[0],
        "margin": margin,
        "top1": float((np.take_along_axis(labels, first[:, None], axis=-1)[:, 0] == best).mean()),
    }
