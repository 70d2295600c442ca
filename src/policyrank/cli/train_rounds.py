"""``policyrank train distil``: a model that learns from a teacher's answers and its own."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import (
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
)
from policyrank.cli.options import METHOD, Count, check_folder
from policyrank.cli.output import say, show, working, wrote
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.training_run import named_base, upload
from policyrank.cli.tuning import Lora, Tuning
from policyrank.errors import OptionError
from policyrank.models.provenance import CHECKPOINTS

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
    _refuse_cutting(texts)
    asked, _ = read_prompts(prompts)
    if "://" in teacher and not teacher_model:
        raise OptionError("--teacher-model: which model is it at the endpoint?")
    if "://" not in teacher and (teacher_model or key):
        raise OptionError("--teacher-model and --key are of an endpoint: give its URL (--teacher).")
    options = objective_options(option)
    from policyrank.models.provenance import about
    from policyrank.train.distillation import OBJECTIVES, distil
    from policyrank.train.saving import refuse_overwriting

    names = {"--model": model, "--teacher": None if "://" in teacher else teacher}
    refuse_overwriting(out, names)
    _check_objective(OBJECTIVES[learn], options, tuning, out)
    out.mkdir(exist_ok=True)
    read = texts.of(model, about(model))
    depends = made_from(model, read, lora, tuning)
    depends["teacher"] = _taught_by(teacher, teacher_model, tokens)
    source = _teacher(teacher, teacher_model, key, tokens=tokens, cache=out / "teacher.jsonl")
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
            loss_options=options,
            arguments=lambda stage: tuning.stage(out / stage, prepared=True),
            sample={"max_new_tokens": tokens, "temperature": temperature},
            max_length=read.max_length,
            chat=read.chat,
            seed=tuning.seed,
            folder=out,
            depends=depends,
            report=_both(update),
        )
    known = _about(model, student, read, tuning, objective=OBJECTIVES[learn], prompts=prompts)
    save(student, tokenizer, out, known)
    print_history(done.history)
    wrote(out)
    upload(out, tuning)


def _check_objective(loss: str, options: dict[str, Any], tuning: Tuning, out: Path) -> None:
    """Refuse an objective of sampled answers, or options of it, before anything is sampled."""
    from policyrank.learn.losses.unpaired import UNPAIRED_LOSSES
    from policyrank.train.preference_config import ListwisePreferenceConfig, try_options

    if loss in UNPAIRED_LOSSES:
        raise OptionError(f"--loss {loss} is of single answers; samples are lists: take another.")
    args = tuning.stage(out / CHECKPOINTS, prepared=True)
    config = ListwisePreferenceConfig.of(args, loss=loss, loss_options=options)
    if config.by_step:
        raise OptionError(f"--loss {loss} weights steps, which samples do not have: take another.")
    try_options(config.objective(), options, name=f"loss {loss!r}")


def made_from(model: str, read: Read, lora: Lora, tuning: Tuning) -> dict[str, dict[str, Any]]:
    """What a model that learns in rounds is made from: kept ones were made with the same."""
    from policyrank.train.saving import weights_fingerprint

    options = {**read.options, "lora": vars(lora), "dtype": tuning.dtype, **tuning.kept()}
    base = {"name": named_base(model, adapter=False), "files": weights_fingerprint(model)}
    return {"options": options, "base": base}


def _taught_by(name: str, model: str, tokens: int) -> dict[str, Any]:
    """What a teacher's answers depend on."""
    from policyrank.fingerprints import content_hash
    from policyrank.train.saving import weights_fingerprint

    found: dict[str, Any] = {"name": name, "model": model}
    if "://" in name:
        return found
    if name.endswith(".jsonl"):
        return found | {"content": content_hash(name)}
    return found | {"weights": weights_fingerprint(name), "tokens": tokens, "temperature": 0}


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
    model, _ = adapted(model, lora.config(model, layers=tuning.layers), tuning.seed)
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
    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
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
    from policyrank.train.endpoints import Endpoint
    from policyrank.train.judges import sampler

    if "://" in name:
        return Endpoint(name, model, key, cache=cache, report=say)
    if name.endswith(".jsonl"):
        return read_references(Path(name))
    return sampler(*load_causal_lm(name), temperature=0, max_new_tokens=tokens)


def _refuse_cutting(texts: Texts) -> None:
    """Prompts that are too long are left out here: what was sampled must be what is learned."""
    if texts.cut_prompts:
        raise OptionError("--cut-prompts: prompts that are too long are left out here, not cut.")


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
        show(", ".join(f"{name} {value:.4g}" for name, value in record.items()))
