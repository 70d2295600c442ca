"""``policyrank train distil`` and ``train reinforce``: models that learn from their own answers."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    Judging,
    Model,
    Objective,
    Prompts,
    Samples,
    Temperature,
    Texts,
    Tokens,
    objective_options,
    read_prompts,
    read_references,
    tell,
)
from policyrank.cli.options import METHOD, AtLeastOne, Count, NotNegative, check_folder
from policyrank.cli.output import say, working, wrote
from policyrank.cli.train_answers import CHECKPOINTS, Out, load_model, named_base, upload
from policyrank.cli.tuning import Lora, SlowTuning, Tuning
from policyrank.errors import OptionError

if TYPE_CHECKING:
    from policyrank.cli.answer_options import Read
    from policyrank.models.provenance import About


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
    lora: Lora = Lora(),
    tuning: Tuning = Tuning(),
    texts: Texts = Texts(),
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
    asked, _ = read_prompts(prompts)
    if "://" in teacher and not teacher_model:
        raise OptionError("--teacher-model: which model is it at the endpoint?")
    out.mkdir(exist_ok=True)
    from policyrank.models.provenance import about
    from policyrank.train.distillation import OBJECTIVES, distil

    source = _teacher(teacher, teacher_model, key, tokens=tokens, cache=out / "teacher.jsonl")
    read = texts.of(model, about(model))
    student, tokenizer = _student(model, tuning, lora)
    with working("Distilling ...") as update:
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
            arguments=lambda stage: tuning.stage(out / stage),
            sample={"max_new_tokens": tokens, "temperature": temperature},
            max_length=read.max_length,
            chat=read.chat,
            seed=tuning.seed,
            folder=out,
            settings={"teacher": teacher, "teacher_model": teacher_model, "model": model},
            report=_both(update),
        )
    known = _about(model, student, read, tuning, objective=OBJECTIVES[learn], prompts=prompts)
    save(student, tokenizer, out, known)
    print_history(done.history)
    wrote(out)
    upload(out, tuning)


def _student(name: str, tuning: Tuning, lora: Lora) -> tuple[Any, Any]:
    """A model as it is trained in many stages: adapters are there from the first on."""
    from policyrank.train.adapters import adapted, is_adapted
    from policyrank.train.preparing import in_float32, without_dropout

    model, tokenizer = load_model(name, tuning, lora)
    if lora.lora and is_adapted(model):
        raise OptionError(
            f"{name} is adapters: they are trained further without --lora, or merged first"
            " (policyrank merge)."
        )
    if not tuning.dropout:
        without_dropout(model)
    model, _ = adapted(model, lora.config(model, layers=tuning.layers))
    if tuning.weights == "float32" and (note := in_float32(model)):
        say(f"! {note}")
    return model, tokenizer


def _about(
    name: str,
    model: Any,
    read: Read,
    tuning: Tuning,
    *,
    objective: str,
    prompts: Path,
    **settings: Any,
) -> About:
    """What the trained model is, and what training assumed."""
    from policyrank.models.provenance import About, known_versions
    from policyrank.train.adapters import is_adapted

    adapter = is_adapted(model)
    return About(
        "policy",
        base=named_base(name, adapter=adapter),
        adapter=adapter,
        chat=read.chat,
        max_length=read.max_length,
        objective=objective,
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        data={"prompts": prompts.name},
        settings=tuning.kept() | settings,
        versions=known_versions(),
    )


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
    lora: Lora = Lora(),
    tuning: SlowTuning = SlowTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a language model on its own scored answers.

    As a reward model, a judge or a program scores them. An interrupted run goes on from the last
    rounds that were saved.

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
    given, _ = read_prompts(prompts)
    from policyrank.models.fitting import Seen
    from policyrank.models.provenance import about
    from policyrank.train.reinforcement import KeptRounds, reinforce

    seen = Seen()
    scorer = judging.scorer(texts, seen)
    read = texts.of(model, about(model))
    start, tokenizer = _student(model, tuning, lora)
    depends = {
        "model": model,
        "scorer": judging.name,
        "prompts": prompts.name,
        "samples": samples,
        "tokens": tokens,
        "temperature": temperature,
        "kl": kl,
        "loss": loss,
        **tuning.kept(),
    }
    with working("Sampling ...") as update:
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
            arguments=lambda stage: tuning.stage(out / CHECKPOINTS),
            sample={"max_new_tokens": tokens, "temperature": temperature},
            max_length=read.max_length,
            chat=read.chat,
            kept=KeptRounds(out, tuning.save, depends),
            report=_both(update),
        )
    tell(seen, read)
    known = _about(
        model, found, read, tuning, objective=loss, prompts=prompts, kl=kl, rounds=rounds
    )
    save(found, tokenizer, out, known)
    (out / "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    wrote(out)
    upload(out, tuning)


def _both(update: Any) -> Any:
    """A line of a round, on the terminal for good."""

    def report(text: str) -> None:
        update(text)
        say(text)

    return report


def save(model: Any, tokenizer: Any, folder: Path, about: About) -> None:
    """A model and its tokenizer as transformers loads them, and what they are."""
    from policyrank.train.saving import write_model

    write_model(model, tokenizer, folder, about)
    for stage in (CHECKPOINTS, "imitation", *(path.name for path in folder.glob("round-[0-9]*"))):
        if (folder / stage).is_dir():  # left by transformers, though nothing is saved on the way
            rmtree(folder / stage)


def print_history(history: list[dict[str, float]]) -> None:
    """A line a stage."""
    for record in history:
        print(", ".join(f"{name} {value:.4g}" for name, value in record.items()))
