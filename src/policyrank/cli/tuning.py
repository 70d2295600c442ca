"""Options of how a language model is trained, the same for every verb that trains one.

Verbs with defaults of their own have their classes here too: the options' types are looked up
where a class is defined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import TUNE, AtLeastOne, Count, Flag, Names
from policyrank.errors import OptionError

if TYPE_CHECKING:
    from transformers import TrainingArguments

ADAPTERS = Group("Adapters", sort_key=4)


def finite(_: Any, value: Any) -> None:
    """Refuse what is no finite number, as validators do."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Must be finite.")


def _some_steps(_: Any, value: Any) -> None:
    """Refuse numbers of steps that would mean something else."""
    if value is not None and value != -1 and value < 1:
        raise ValueError("Must be at least 1, or -1: as many as the passes have.")


Epochs = Annotated[
    float, Parameter(help="Passes over the lists.", validator=(Number(gt=0), finite))
]
Rate = Annotated[float, Parameter(help="Peak learning rate.", validator=(Number(gt=0), finite))]
Steps = Annotated[int, Parameter(validator=_some_steps)]
TuningSeed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**32))]
Weight = Annotated[float, Parameter(validator=(Number(gte=0), finite))]
Positive = Annotated[float, Parameter(validator=(Number(gt=0), finite))]
"""A finite number that is not negative."""
Portion = Annotated[float, Parameter(validator=(Number(gte=0, lte=1), finite))]
Alpha = Annotated[float | None, Parameter(validator=(Number(gt=0), finite))]


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class Tuning:
    """How a model is trained.

    Parameters
    ----------
    steps
        Optimizer steps instead of passes (-1: passes).
    batch
        Lists of a step, on each device.
    accumulate
        Batches whose gradients are added up: a step is the same as of one batch of them all.
    schedule
        How the learning rate goes after warming up: linear, cosine, constant, or another of
        transformers.
    warmup
        Steps, or a share of all below 1, over which the learning rate rises.
    optimizer
        adamw_torch, sgd, adafactor, or another of transformers.
    weight_decay
        Of AdamW.
    clip
        Largest norm of the gradient.
    layers
        Train only so many last layers (and a head).
    bf16
        Compute in bfloat16; weights stay in float32.
    dtype
        Of the weights: float32, or auto: as they were saved, bfloat16, float16.
    dropout
        Keep the model's dropout.
    gradient_checkpointing
        Less memory, more time.
    seed
        Of order, dropout, new heads, samples.
    report_to
        Where transformers sends what it logs: tensorboard, wandb, mlflow, ...; repeatable.
    push
        Name on the Hugging Face hub to which the result is uploaded, privately.
    """

    epochs: Epochs = 1.0
    steps: Steps = -1
    batch: AtLeastOne = 4
    accumulate: AtLeastOne = 1
    learning_rate: Rate = 1e-5
    schedule: str = "linear"
    warmup: Weight = 0.0
    optimizer: str = "adamw_torch"
    weight_decay: Weight = 0.0
    clip: Weight = 1.0
    layers: AtLeastOne | None = None
    bf16: Flag = False
    dtype: Literal["float32", "auto", "bfloat16", "float16"] = "float32"
    dropout: Flag = False
    gradient_checkpointing: Flag = False
    seed: TuningSeed = 0
    report_to: Names = None
    push: str | None = None

    @property
    def weights(self) -> Literal["float32", "as given"]:
        """What trainers do with weights in half precision."""
        return "float32" if self.dtype == "float32" else "as given"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Options of transformers' TrainingArguments."""
        import torch

        self.check()
        found = {
            "num_train_epochs": self.epochs,
            "max_steps": self.steps,
            "per_device_train_batch_size": self.batch,
            "per_device_eval_batch_size": self.batch,
            "gradient_accumulation_steps": self.accumulate,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": self.schedule,
            "warmup_steps": self.warmup if 0 < self.warmup < 1 else int(self.warmup),
            "optim": self.optimizer,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.clip,
            "bf16": self.bf16,
            "seed": self.seed,
            "eval_strategy": "no",
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": self.report_to or [],
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            "dataloader_pin_memory": torch.cuda.is_available(),
        }
        if self.gradient_checkpointing:
            found[_checkpointing()] = True
        return found | more

    def check(self) -> None:
        """Refuse names that are found out only once training has begun, or is over.

        Raises
        ------
        OptionError
            For ``--report-to`` and ``--push``.
        """
        for name in self.report_to or []:
            _refuse_reporter(name)
        if self.push:
            from huggingface_hub.errors import HFValidationError
            from huggingface_hub.utils import validate_repo_id

            try:
                validate_repo_id(self.push)
            except HFValidationError as error:
                raise OptionError(f"--push: {error}") from None

    def stage(self, folder: Any, *, prepared: bool) -> TrainingArguments:
        """TrainingArguments of one stage of many, which is neither saved nor logged on its way.

        ``prepared``: of a model whose dropout and weights are as they are to be.
        """
        from policyrank.train.answer_trainer import AnswerConfig

        return made(
            AnswerConfig,
            str(folder),
            **self.settings(),
            dropout=prepared or self.dropout,
            weights="as given" if prepared else self.weights,
        )

    def kept(self) -> dict[str, Any]:
        """What is written beside the model of how it was trained."""
        names = (
            "epochs steps batch accumulate learning_rate schedule warmup optimizer weight_decay"
            " clip layers bf16 dropout seed"
        )
        return {name: getattr(self, name) for name in names.split()}


def _refuse_reporter(name: str) -> None:
    """Refuse what transformers does not report to, or whose package is missing."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if name in ("all", "none"):
        return
    if name not in INTEGRATION_TO_CALLBACK:
        known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
        raise OptionError(f"--report-to {name}: transformers reports to {known}.")
    # flyte is not among those that say whether they are there.
    if name != "flyte" and name not in get_available_reporting_integrations():
        raise OptionError(f"--report-to {name}: its package is not installed.")


def _checkpointing() -> str:
    """What transformers calls computing activations twice."""
    from dataclasses import fields

    from transformers import TrainingArguments

    names = {own.name for own in fields(TrainingArguments)}
    new = "activation_checkpointing"
    return new if new in names else "gradient_checkpointing"


def made(kind: Any, folder: str, **settings: Any) -> Any:
    """Arguments of a trainer, what transformers refuses told in a line."""
    try:
        return kind(folder, **settings)
    except (ValueError, RuntimeError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        raise OptionError(f"transformers refuses the options: {why}") from None


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class SavedTuning(Tuning):
    """How a model is trained in one go, which goes on where it was interrupted.

    Parameters
    ----------
    log_every
        Steps between two lines of OUT/log.jsonl.
    save
        Checkpoint every so many steps; an interrupted run goes on from the last whole one.
    """

    log_every: AtLeastOne = 10
    save: AtLeastOne = 100

    def settings(self, **more: Any) -> dict[str, Any]:
        """Options of transformers' TrainingArguments."""
        from policyrank.checkpoints import KEPT

        told = {"logging_strategy": "steps", "logging_steps": self.log_every}
        told |= {"save_strategy": "steps", "save_steps": self.save, "save_total_limit": KEPT}
        return super().settings(**told | more)


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class GroupTuning(SavedTuning):
    """How a model learns from its own outputs, in small steps.

    Parameters
    ----------
    collapse
        What is done when signals of collapse are seen (policyrank collapse): ignore, warn, or stop
        training once two are. Some need 35 logged lines: --log-every 1 in a short run.
    """

    learning_rate: Rate = 1e-6
    schedule: str = "constant"
    collapse: Literal["ignore", "warn", "stop"] = "warn"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Options of transformers' TrainingArguments, and of ``TextConfig``."""
        own = {"dropout": self.dropout, "weights": self.weights}
        return super().settings(**own | more)

    def watching(self, report: Any) -> list[Any]:
        """Callbacks of a trainer that watch for collapse."""
        if self.collapse == "ignore":
            return []
        from policyrank.train import CollapseCallback

        return [CollapseCallback(report, action=self.collapse, least=2)]


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class LongerTuning(Tuning):
    """How a model is trained, in a few passes."""

    epochs: Epochs = 3.0


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class PersonaTuning(SavedTuning):
    """How a persona is trained, as published."""

    batch: AtLeastOne = 24


@Parameter(name="*", group=ADAPTERS)
@dataclass(frozen=True)
class Lora:
    """Adapters in place of the model's own weights.

    Parameters
    ----------
    lora
        Train LoRA adapters of this rank (0: the model itself; adapters that MODEL is are trained
        further). Where MODEL is adapters already, the new ones are stacked on them.
    lora_alpha
        Scale (None: twice the rank).
    lora_dropout
        Of their inputs.
    lora_target
        Layers by name, repeatable (None: all linear ones but the head).
    rslora
        Scale by the square root of the rank.
    """

    lora: Count = 0
    lora_alpha: Alpha = None
    lora_dropout: Portion = 0.0
    lora_target: Names = None
    rslora: Flag = False

    def __post_init__(self) -> None:
        if self.lora:
            return
        for own in fields(self):
            if own.name != "lora" and getattr(self, own.name) != own.default:
                option = own.name.replace("_", "-")
                raise OptionError(f"--{option} is of adapters: give their rank too (--lora 16).")

    def targets(self, model: Any, layers: int | None) -> list[str] | str:
        """The layers that get adapters: those that were named, or all linear ones but the head."""
        if self.lora_target:
            return self.lora_target
        return "all-linear" if layers is None else linear_names(model)

    def config(self, model: Any, *, layers: int | None = None, task: str = "CAUSAL_LM") -> Any:
        """A LoraConfig of peft for a model; None where none are asked for.

        ``task``: as peft calls it; of SEQ_CLS the head is trained as well.

        Raises
        ------
        OptionError
            For options that peft refuses.
        """
        if not self.lora:
            return None
        from policyrank._rooms import require

        require("peft", "--lora")
        from peft import LoraConfig

        targets = self.targets(model, layers)
        chosen = _last(model, layers)
        try:
            return LoraConfig(
                r=self.lora,
                lora_alpha=self.lora_alpha or 2 * self.lora,  # type: ignore[arg-type]
                lora_dropout=self.lora_dropout,
                target_modules=targets,
                use_rslora=self.rslora,
                layers_to_transform=chosen,
                modules_to_save=_heads(model) if task == "SEQ_CLS" else None,
                task_type=task,
            )
        except (ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:300]
            raise OptionError(f"peft refuses the options: {why}") from None


@Parameter(name="*", group=ADAPTERS)
@dataclass(frozen=True)
class PersonaLora(Lora):
    """Adapters on the layers of attention, as published."""

    lora: Count = 16
    lora_dropout: Portion = 0.05

    def targets(self, model: Any, layers: int | None) -> list[str] | str:
        """As of other verbs; where none are named, the layers q, k, v, o."""
        return self.lora_target or ["q_proj", "k_proj", "v_proj", "o_proj"]


def linear_names(model: Any) -> list[str]:
    """The last part of the names of all linear layers, without the head's."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = set()
    for name, layer in model.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(layer, (nn.Linear, Conv1D)) and layer is not head and last != "score":
            found.add(last)
    return sorted(found)


def _heads(model: Any) -> list[str]:
    """Names of what a classifier has beside its body, and of a pooler that is as new as they."""
    found = []
    for name, part in model.named_children():
        if name != model.base_model_prefix and any(True for _ in part.parameters()):
            found.append(name)
    named = model.config.architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in named):
        found += [name for name, _ in model.base_model.named_children() if name == "pooler"]
    return found


def _last(model: Any, layers: int | None) -> list[int] | None:
    """Numbers of the last layers; None: all."""
    if layers is None:
        return None
    config = model.config
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    number = int(config.num_hidden_layers)
    if layers > number:
        raise OptionError(f"--layers {layers}: the model has {number} layers.")
    return list(range(number - layers, number))
