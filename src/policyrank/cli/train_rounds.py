"""``policyrank train distil`` and ``train reinforce``: models that learn from their own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    Judging,
    MaxLength,
    Model,
    Objective,
    Plain,
    Prompts,
    Samples,
    SlowTuning,
    StepTuning,
    Temperature,
    Tokens,
    Tuning,
    objective_options,
    read_prompts,
    read_references,
)
from policyrank.cli.options import METHOD, AtLeastOne, Count, NotNegative, check_folder
from policyrank.cli.output import say, working, wrote
from policyrank.cli.train_answers import Out, load_model
from policyrank.errors import OptionError


def train_distil(
    prompts: Prompts,
    /,
    *,
    model: Model,
    teacher: Annotated[str, Parameter(group=METHOD)],
    teacher_model: Annotated[str, Parameter(group=METHOD)] = "",
    key: Annotated[str | None, Parameter(group=METHOD)] = None,
    out: Out = Path("student"),
    learn: Annotated[Literal["list", "pair", "group"], Parameter(group=METHOD)] = "list",
    judge: Annotated[Literal["rating", "vote"], Parameter(group=METHOD)] = "rating",
    rounds: Annotated[Count, Parameter(group=METHOD)] = 1,
    samples: Samples = 4,
    tokens: Tokens = 128,
    temperature: Temperature = 0.9,
    option: Objective = None,
    tuning: StepTuning = StepTuning(),
    max_length: MaxLength = 1024,
    plain: Plain = False,
) -> None:
    """Distil a teacher from one answer a prompt.

    The student imitates it, then learns from its own answers, ranked beside that one. A black-box
    teacher is asked once a prompt; its answers and the ranked candidates are kept in OUT, and an
    interrupted run does not ask again.

    Parameters
    ----------
    teacher
        URL of an OpenAI-compatible endpoint, a local model's name, or a JSONL file of prompt,
        answer.
    teacher_model
        The model's name at the endpoint.
    key
        Environment variable that holds the endpoint's key.
    learn
        From the whole list, from pairs, or from a group by policy gradient.
    judge
        How the student ranks its answers beside the teacher's.
    rounds
        Of sampling and learning.
    """
    check_folder(out)
    asked = read_prompts(prompts)
    if "://" in teacher and not teacher_model:
        raise OptionError("--teacher-model: which model is it at the endpoint?")
    out.mkdir(exist_ok=True)
    from policyrank.train.distillation import distil

    source = _teacher(teacher, teacher_model, key, tokens=tokens, cache=out / "teacher.jsonl")
    student, tokenizer = load_model(model, tuning.layers)
    with working("Distilling …") as update:
        done = distil(
            student,
            tokenizer,
            asked,
            source,
            judge=judge,
            learn=learn,
            candidates=samples,
            rounds=rounds,
            loss_options=objective_options(option),
            arguments=lambda stage: quiet_arguments(out, stage, tuning),
            sample={"max_new_tokens": tokens, "temperature": temperature},
            max_length=max_length,
            chat=False if plain else None,
            seed=tuning.seed,
            folder=out,
            report=update,
        )
    save(student, tokenizer, out)
    print_history(done.history)
    wrote(out)


def _teacher(name: str, model: str, key: str | None, *, tokens: int, cache: Path) -> Any:
    """An endpoint, a file of answers, or a model on this machine."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import Endpoint, sampler

    if "://" in name:
        return Endpoint(name, model, key, cache=cache)
    if name.endswith(".jsonl"):
        return read_references(Path(name))
    return sampler(*load_causal_lm(name), temperature=0, max_new_tokens=tokens)


def train_reinforce(
    prompts: Prompts,
    /,
    *,
    model: Model,
    judging: Judging = Judging(),
    out: Out = Path("policy"),
    rounds: Annotated[AtLeastOne, Parameter(group=METHOD)] = 30,
    asked: Annotated[AtLeastOne, Parameter(group=METHOD)] = 16,
    samples: Samples = 8,
    tokens: Tokens = 128,
    temperature: Temperature = 1.0,
    kl: Annotated[NotNegative, Parameter(group=METHOD)] = 0.05,
    loss: Annotated[str, Parameter(group=METHOD)] = "grpo",
    option: Objective = None,
    tuning: SlowTuning = SlowTuning(),
    max_length: MaxLength = 1024,
    plain: Plain = False,
) -> None:
    """Train a language model on its own scored answers.

    As a reward model, a judge or a program scores them.

    Parameters
    ----------
    rounds
        Of sampling and learning.
    asked
        Prompts of a round.
    kl
        Weight of the log-ratio to the start, taken from the scores.
    loss
        grpo, label-distribution-grpo, or any objective of `train preference`.
    """
    check_folder(out)
    given = read_prompts(prompts)
    scorer = judging.scorer(max_length, plain)
    from policyrank.train.reinforcement import reinforce

    start, tokenizer = load_model(model, tuning.layers)
    found, history = reinforce(
        start,
        tokenizer,
        given,
        scorer,
        rounds=rounds,
        batch=asked,
        samples=samples,
        loss=loss,
        loss_options=objective_options(option),
        kl=kl,
        seed=tuning.seed,
        arguments=lambda stage: quiet_arguments(out, "checkpoints", tuning, logging_strategy="no"),
        sample={"max_new_tokens": tokens, "temperature": temperature},
        max_length=max_length,
        chat=False if plain else None,
        report=say,
    )
    save(found, tokenizer, out)
    (out / "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    wrote(out)


def quiet_arguments(out: Path, stage: str, tuning: Tuning, **options: Any) -> Any:
    """transformers' TrainingArguments of one stage of many, without bars."""
    from transformers import TrainingArguments

    return TrainingArguments(
        str(out / stage), **{**tuning.settings(), **options}, disable_tqdm=True
    )


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A model and its tokenizer as transformers loads them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def print_history(history: list[dict[str, float]]) -> None:
    """A line a stage."""
    for record in history:
        print(", ".join(f"{name} {value:.4g}" for name, value in record.items()))
