"""``policyrank train search-agent``: a language model that searches until it can answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from policyrank.cli.answer_options import Model, Texts
from policyrank.cli.group_options import Comparing, TurnSampling
from policyrank.cli.options import DATA, check_folder
from policyrank.cli.output import say, working, wrote
from policyrank.cli.search_options import Searching, Turns
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.training_run import (
    about_trained,
    compared,
    reference_model,
    run_dependencies,
    run_training,
)
from policyrank.cli.tuning import GroupTuning, Lora, made
from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written_whole_folder
from policyrank.models.provenance import CHECKPOINTS


def train_search_agent(
    *,
    questions: Annotated[Path, Parameter(group=DATA, help="JSONL, parquet or CSV of questions.")],
    searching: Searching,
    model: Model,
    out: Out = Path("agent"),
    evaluation: Annotated[
        Path | None,
        Parameter(name="--eval", group=DATA, help="Questions to evaluate on, before and after."),
    ] = None,
    question: Annotated[str, Parameter(group=DATA, help="Column with the question.")] = "question",
    turns: Turns = Turns(),
    comparing: Comparing = Comparing(),
    sampling: TurnSampling = TurnSampling(),
    lora: Lora = Lora(),
    tuning: GroupTuning = GroupTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a language model to search a corpus until it can answer.

    Each question gets a group of trajectories: the model searches and reads in turn, its final
    answer is judged by the data's, and it learns from how each trajectory compares with its group.
    All trajectories are kept in OUT/rollouts.jsonl (policyrank rollouts show).
    """
    check_folder(out)
    if comparing.segments is not None:
        raise OptionError("--segments: turns are the segments here. Leave it out.")
    from policyrank.models.provenance import about
    from policyrank.train import GroupConfig, GroupTrainer, RolloutLog, SearchTask
    from policyrank.train.saving import refuse_overwriting

    names = {"--model": model, "--reference": comparing.reference, "--ranker": searching.ranker}
    refuse_overwriting(out, names)
    tuning.check()
    read = texts.of(model, about(model))
    if texts.max_length is None:
        read = replace(read, max_length=max(read.max_length, sampling.tokens + 1024))
    args = made(
        GroupConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        **comparing.settings(),
        **sampling.settings(),
    )
    learner = searching.learner(tuning.seed) if searching.train_ranker else None
    if searching.freeze_agent:
        args.learning_rate = 0.0
    found, tokenizer = load_model(model, tuning, lora)
    task = SearchTask(
        searching.engine() if learner is None else learner.policy,
        tokenizer,
        searching.style,
        turns.limits(sampling.tokens),
        passages=searching.passages,
        label=searching.label,
        metric=searching.metric,
        question=question,
        words=searching.shown_words,
        failed=turns.failed,
        instruction=_text(searching.instruction),
        chat=read.chat,
    )
    say(f"calls are written as {task.style}")
    with working("Reading questions ..."):
        data = task.rows(questions)
        held = None if evaluation is None else task.rows(evaluation)
    sampler = task.sampler()
    served = sampling.sampler(args, tokenizer, say, sampler.decoding(args.decoding()))
    if served is not None:
        sampler.sampler = served
    log = RolloutLog(out)
    trainer = GroupTrainer(
        found,
        args,
        turns.reward(),
        data,
        held,
        processing_class=tokenizer,
        sampler=sampler,
        reference_model=reference_model(comparing.reference, tuning, tokenizer),
        show=log,
        peft_config=lora.config(found, layers=tuning.layers),
        companion=learner,
        callbacks=[log.callback(), *tuning.watching(say)],
    )
    settings = compared(trainer.args) | {"style": task.style} | vars(turns)
    settings |= {name: str(value) for name, value in searching.settings().items()}
    settings |= sampling.settings() | {"server": sampling.server}
    told = about_trained(trainer, model, questions, tuning, settings, chat=bool(task.chat))
    depends = run_dependencies(told, model, lora, tuning, reference=comparing.reference)
    depends["search"] = _depends(searching, turns, task)
    run_training(trainer, out, told, depends, tuning, evaluation)
    if trainer.is_world_process_zero():
        _tell_failures(trainer)
        if learner is not None:
            _save_ranker(learner, out / "ranker")


def _save_ranker(learner: Any, folder: Path) -> None:
    with written_whole_folder(folder) as part:
        learner.policy.ranker.save(part)
    wrote(folder)


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path}: cannot be read ({error}).") from None


def _depends(searching: Searching, turns: Turns, task: Any) -> dict[str, Any]:
    """What is searched and how: names, and what files and models of these hold."""
    from policyrank.fingerprints import content_hash
    from policyrank.train.saving import weights_fingerprint

    found: dict[str, Any] = {key: str(value) for key, value in vars(searching).items()}
    found |= {key: str(value) for key, value in vars(turns).items()}
    found["style"] = task.style
    if Path(searching.corpus).is_file():
        found["corpus content"] = content_hash(searching.corpus)
    if searching.instruction is not None:
        found["instruction"] = task.instruction
    if searching.ranker not in (None, "oracle"):
        found["ranker weights"] = str(weights_fingerprint(str(searching.ranker)))
    return found


def _tell_failures(trainer: Any) -> None:
    sampler = trainer.groups.sampler
    if sampler.failed:
        say(f"! {sampler.failed:,} environments failed, the first by {sampler.error}")
