"""Trainers of transformers that go on where they were stopped, to the same weights.

What a checkpoint was made with is compared with what is trained now, and damaged ones are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments

from policyrank.checkpoints import STEM, Found, fingerprint_of, newest_whole, prune, seal
from policyrank.errors import EvidenceError
from policyrank.fingerprints import REMEDY, Fingerprint, hashed, known_versions
from policyrank.models.provenance import About, Kind
from policyrank.train.adapters import adapter_facts, is_adapted
from policyrank.train.saving import write_about
from policyrank.train.weights import weights_hash

logger = logging.getLogger(__name__)

SETTINGS = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "world_size"),
    *("gradient_accumulation_steps", "dataloader_drop_last", "train_sampling_strategy"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
    *("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("max_grad_norm", "label_smoothing_factor", "neftune_noise_alpha"),
    *("bf16", "fp16", "seed", "data_seed"),
)
"""Options of transformers that decide the weights."""

NOT_SETTINGS = ("judged",)
"""Options of policyrank's trainers that do not."""


def training_settings(args: TrainingArguments) -> dict[str, Any]:
    """Options that decide the weights: those of transformers, and those of a trainer here."""
    found = {name: getattr(args, name) for name in SETTINGS if hasattr(args, name)}
    theirs = {own.name for own in fields(TrainingArguments)}
    for own in fields(args):
        if own.name not in theirs and own.name not in NOT_SETTINGS:
            found[own.name] = getattr(args, own.name)
    return found


def _named(objective: Any) -> str | None:
    """The name of an objective that may be a function."""
    if objective is None or isinstance(objective, str):
        return objective
    return str(getattr(objective, "__name__", type(objective).__name__))


def may_go_on(args: TrainingArguments) -> bool:
    """Whether checkpoints are to be written, or lie there."""
    return args.save_strategy != "no" or any(Path(str(args.output_dir)).glob(f"{STEM}*"))


def model_facts(model: Any, peft_config: Any = None) -> dict[str, Any]:
    """What a model is before it is trained: shapes, weights of its body, options of new adapters.

    Weights of heads and adapters count by their shapes: new ones are drawn, and a checkpoint brings
    its own.
    """
    named = list(model.named_parameters())
    prefix = getattr(model, "base_model_prefix", "")
    body = [(name, own) for name, own in named if _of_body(name, prefix)]
    shapes = [(name, tuple(own.shape)) for name, own in named]
    found: dict[str, Any] = {
        "class": type(model).__name__,
        "shapes": hashed(shapes),
        "weights": weights_hash(body),
    }
    if peft_config is not None:
        found["adapters"] = adapter_facts(peft_config)
    return found


def _of_body(name: str, prefix: str) -> bool:
    if "lora_" in name or "modules_to_save" in name:
        return False
    return prefix in name.split(".") or not prefix


class ResumableTrainer(Trainer):
    """A ``Trainer`` whose checkpoints are sealed, and know of what run they are.

    ``train(resume_from_checkpoint=True)`` goes on from the newest whole checkpoint in
    ``args.output_dir``; damaged ones are named in a warning and left out, and another run is
    refused. ``train(resume_from_checkpoint=PATH)`` takes that one.

    Attributes
    ----------
    depends
        what the run depends on beside arguments, data and model: part -> name -> value
    start
        what the model was before it was trained; None: nothing is to be saved
    kind
        what a model is that it trains, for the card beside it; None: there is no card
    """

    model: Any
    args: Any
    train_dataset: Any
    start: Mapping[str, Any] | None = None
    kind: Kind | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.depends: dict[str, dict[str, Any]] = {}
        self._fingerprint: Fingerprint | None = None
        self._resumed: Path | None = None

    def fingerprint(self) -> Fingerprint:
        """What the run depends on."""
        if self._fingerprint is None:
            data = self.train_dataset
            own = data.fingerprint() if hasattr(data, "fingerprint") else hashed(list(data))
            parts = {
                "settings": training_settings(self.args),
                "training data": {"lists": len(data), "texts and labels": own},
                "model": dict(self.start or {}),
            }
            self._fingerprint = Fingerprint(parts | self.depends)
        return self._fingerprint

    def last_checkpoint(self) -> Found:
        """The newest whole checkpoint of this run.

        Raises
        ------
        EvidenceError
            When it is of another run, naming what differs.
        """
        return newest_whole(self.args.output_dir, self.fingerprint())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of any ``Trainer``; what was trained, and how, is written beside the weights."""
        super().save_model(output_dir, _internal_call)
        if self.kind is not None and not _internal_call and self.args.should_save:
            place = Path(str(output_dir or self.args.output_dir))
            write_about(place, place, self.about(self.kind), {})

    def about(self, kind: Kind) -> About:
        """What a model is that is trained here, and what its training assumed."""
        model, args, data = self.accelerator.unwrap_model(self.model), self.args, self.train_dataset
        told = training_settings(args).items()
        plain = (bool, int, float, str)
        seen: dict[str, Any] = {} if data is None else {"rows": len(data)}
        if hasattr(data, "fingerprint"):
            seen["fingerprint"] = data.fingerprint()
        return About(
            kind=kind,
            base=getattr(model.config, "_name_or_path", None) or None,
            adapter=is_adapted(model),
            chat=getattr(args, "chat", None),
            max_length=getattr(args, "max_length", None),
            objective=_named(getattr(args, "loss", None) or getattr(args, "objective", None)),
            dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
            data=seen,
            settings={name: value for name, value in told if isinstance(value, plain)},
            versions=known_versions(),
        )

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **options: Any) -> Any:
        """As of any ``Trainer``; what it goes on from is checked.

        Raises
        ------
        EvidenceError
            For a checkpoint of another run, and when there is none to go on from.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = self._found()
        elif resume_from_checkpoint:
            self._refuse_other(Path(resume_from_checkpoint))
        self._resumed = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(resume_from_checkpoint or None, *args, **options)

    def _run_epoch(self, *args: Any, **options: Any) -> None:
        """As of any ``Trainer``, which after its last step inside an epoch would make one more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **options)

    def _found(self) -> str:
        found = self.last_checkpoint()
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            for remark in found.remarks:
                logger.warning("! %s", remark)
            found.set_aside()
        if found.last is None:
            raise EvidenceError(
                f"{self.args.output_dir}: no whole checkpoint to go on from. Train without"
                " resume_from_checkpoint."
            )
        return str(found.last)

    def _refuse_other(self, checkpoint: Path) -> None:
        """Refuse a checkpoint of another run; one that does not say of which is said."""
        known = fingerprint_of(checkpoint)
        if known is None:
            logger.warning("! %s does not say what it was made with", checkpoint)
            return
        known.check(self.fingerprint(), checkpoint, REMEDY)

    def _save_checkpoint(self, *args: Any, **options: Any) -> None:
        """Write a checkpoint and then its seal; only then older ones may go."""
        most, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(*args, **options)
        finally:
            self.args.save_total_limit = most
        self._save_more(Path(self.args.output_dir, f"{STEM}{self.state.global_step}"))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            place = Path(self.args.output_dir)
            seal(place / f"{STEM}{self.state.global_step}", self.fingerprint())
            if most:
                prune(place, most, self.state.best_model_checkpoint)

    def _save_more(self, checkpoint: Path) -> None:
        """Write what a trainer keeps beside weights, each process its own."""
