"""``policyrank train preference | reward | distil | reinforce | programs``: policies and reward
models from ranked answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.cli.answers import (
    DATA,
    TUNE,
    JudgeModel,
    Likelihood,
    MaxLength,
    Model,
    Plain,
    Program,
    References,
    Reward,
    Samples,
    Seed,
    Temperature,
    Tokens,
    read_prompts,
    read_references,
    scorer,
)
from policyrank.cli.train import train
from policyrank.errors import EvidenceError

Out = Annotated[
    Path,
    typer.Option(
        help="Folder for the trained model; checkpoints lie in it until it is done.",
        rich_help_panel=c.OUT,
    ),
]
Epochs = Annotated[float, typer.Option(help="Passes over the lists.", rich_help_panel=TUNE)]
Steps = Annotated[
    int, typer.Option(help="Optimizer steps instead of passes.", rich_help_panel=TUNE)
]
Batch = Annotated[
    int, typer.Option(help="Lists of a step, on each device.", min=1, rich_help_panel=TUNE)
]
Accumulate = Annotated[
    int, typer.Option(help="Steps whose gradients are added up.", min=1, rich_help_panel=TUNE)
]
Rate = Annotated[
    float,
    typer.Option("--learning-rate", help="Peak, falling linearly to 0.", rich_help_panel=TUNE),
]
Lora = Annotated[
    int,
    typer.Option(
        help="Train adapters of this rank on all linear layers (0: the model itself).",
        min=0,
        rich_help_panel=TUNE,
    ),
]
Layers = Annotated[
    int | None, typer.Option(help="Train only so many last layers.", min=1, rich_help_panel=TUNE)
]
Checkpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Less memory, more time.", rich_help_panel=TUNE),
]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Train in bfloat16.", rich_help_panel=TUNE)]
Save = Annotated[
    int,
    typer.Option(
        help="Checkpoint every so many steps; an interrupted run goes on from the last.",
        min=1,
        rich_help_panel=TUNE,
    ),
]
Cut = Annotated[
    bool,
    typer.Option(
        "--cut-prompts",
        help=(
            "Cut prompts of more than half of that at their beginning, instead of leaving them out."
        ),
        rich_help_panel=DATA,
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="NAME=VALUE for the objective, such as beta=0.05; repeatable.",
        rich_help_panel=c.METHOD,
    ),
]


def _arguments(out: Path, stage: str = "checkpoints", **options: Any) -> Any:
    import torch
    from transformers import TrainingArguments

    given: dict[str, Any] = {
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": [],
        "lr_scheduler_type": "linear",
        "save_total_limit": 1,
        "logging_steps": 10,
        "eval_strategy": "no",
    }
    return TrainingArguments(
        str(out / stage), **(given | {k: v for k, v in options.items() if v is not None})
    )


def _tuning(
    epochs: float,
    steps: int,
    batch: int,
    accumulate: int,
    rate: float,
    checkpointing: bool,
    bf16: bool,
    seed: int,
    save: int,
) -> dict[str, Any]:
    return {
        "num_train_epochs": epochs,
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": rate,
        "bf16": bf16,
        **({"gradient_checkpointing": True} if checkpointing else {}),
        "seed": seed,
        "save_strategy": "steps",
        "save_steps": save,
    }


def _peft(rank: int) -> Any:
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _options(given: list[str] | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not sign:
            raise typer.BadParameter(f"--option {text}: write NAME=VALUE.")
        try:
            out[name] = json.loads(value)
        except json.JSONDecodeError:
            out[name] = value
    return out


def _new_folder(out: Path) -> None:
    if not out.parent.exists():
        raise EvidenceError(f"{out}: its folder does not exist. Make it first.")
    if out.exists() and not out.is_dir():
        raise EvidenceError(f"{out}: a file. Name a folder.")


def _run(trainer: Any, out: Path, evaluated: bool) -> None:
    """Train from the last checkpoint if there is one, save, and print what evaluation says before
    and after.
    """
    from shutil import rmtree

    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(trainer.args.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    first = trainer.is_world_process_zero()
    if first:
        for note in trainer.notes:
            c.say(f"! {note}")
        if last:
            c.say(f"going on from {last}")
    before = trainer.evaluate() if evaluated and last is None else {}
    trainer.train(resume_from_checkpoint=last)
    after = trainer.evaluate() if evaluated else {}
    trainer.save_model(str(out))
    if first:
        trainer.processing_class.save_pretrained(str(out))
        rmtree(folder, ignore_errors=True)
        for key in (
            k
            for k in after
            if k.startswith("eval_") and not k.endswith(("runtime", "second", "time"))
        ):
            was = f"{before[key]:.4g} -> " if key in before else ""
            print(f"{key.removeprefix('eval_')}: {was}{after[key]:.4g}")
        c.written(out)


@train.command("preference")
def preference(
    data: Annotated[
        Path,
        typer.Option(
            help=(
                "JSONL, parquet or CSV of ranked answers: prompt, completions, scores or ranks; or"
                " chosen, rejected; or tree."
            ),
            rich_help_panel=DATA,
        ),
    ],
    model: Model,
    out: Out = Path("policy"),
    loss: Annotated[
        str,
        typer.Option(
            help=(
                "Objective: `policyrank methods --train` lists them; tpo weighs the steps of trees."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "lipo-lambda",
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval", help="Ranked answers to evaluate on, before and after.", rich_help_panel=DATA
        ),
    ] = None,
    reference: Annotated[
        str,
        typer.Option(
            help="precompute, adapter (with --lora), or a model's name.", rich_help_panel=c.METHOD
        ),
    ] = "precompute",
    beta: Annotated[
        float | None, typer.Option(help="Scale of implicit rewards.", rich_help_panel=c.METHOD)
    ] = None,
    option: Option = None,
    sft_weight: Annotated[
        float,
        typer.Option(help="Weight of imitating the best answer.", min=0, rich_help_panel=c.METHOD),
    ] = 0.0,
    step_weights: Annotated[
        str, typer.Option(help="Of tpo: ones, similar, different, exp.", rich_help_panel=c.METHOD)
    ] = "similar",
    reward: Annotated[
        str | None,
        typer.Option(
            help=(
                "Reward model: evaluation then also gives the win rate of sampled answers over the"
                " best of each list."
            ),
            rich_help_panel=DATA,
        ),
    ] = None,
    epochs: Epochs = 1.0,
    steps: Steps = -1,
    batch: Batch = 4,
    accumulate: Accumulate = 1,
    learning_rate: Rate = 1e-5,
    lora: Lora = 0,
    layers: Layers = None,
    gradient_checkpointing: Checkpointing = False,
    bf16: Bf16 = False,
    max_length: MaxLength = 1024,
    cut_prompts: Cut = False,
    plain: Plain = False,
    seed: Seed = 0,
    save: Save = 100,
) -> None:
    """Train a language model on ranked lists of answers, with any objective.

    Lists may have any length; each prompt is read once for all its answers. Several devices:
    accelerate launch -m policyrank train preference ...
    """
    _new_folder(out)
    from policyrank.models.language import load_causal_lm
    from policyrank.train import ListwisePreferenceTrainer
    from policyrank.train.judges import pairwise_judge
    from policyrank.train.texts import train_last

    found, tokenizer = load_causal_lm(model, device="cpu")
    if layers is not None:
        train_last(found, layers)
    other: Any = (
        reference
        if reference in ("precompute", "adapter")
        else load_causal_lm(reference, device="cpu")[0]
    )
    judge = (
        None
        if reward is None
        else pairwise_judge(scorer(reward, None, None, None, None, max_length, plain))
    )
    trainer = ListwisePreferenceTrainer(
        found,
        _arguments(
            out,
            **_tuning(
                epochs,
                steps,
                batch,
                accumulate,
                learning_rate,
                gradient_checkpointing,
                bf16,
                seed,
                save,
            ),
        ),
        data,
        evaluation,
        processing_class=tokenizer,
        loss=loss,
        loss_options=_options(option) | ({} if beta is None else {"beta": beta}),
        reference=other,
        sft_weight=sft_weight,
        step_weights=step_weights,
        max_length=max_length,
        long_prompts="cut" if cut_prompts else "leave out",
        chat=False if plain else None,
        judge=judge,
        peft_config=_peft(lora),
    )
    _run(trainer, out, evaluation is not None)


@train.command("reward")
def reward(
    data: Annotated[
        Path, typer.Option(help="Ranked answers, as of `train preference`.", rich_help_panel=DATA)
    ],
    model: Model,
    out: Out = Path("reward"),
    loss: Annotated[
        str, typer.Option(help="bradley-terry or plackett-luce.", rich_help_panel=c.METHOD)
    ] = "bradley-terry",
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval", help="Ranked answers to evaluate on, before and after.", rich_help_panel=DATA
        ),
    ] = None,
    option: Option = None,
    imitation: Annotated[
        float,
        typer.Option(
            help="Weight of the best answer's likelihood under the tied language head.",
            min=0,
            rich_help_panel=c.METHOD,
        ),
    ] = 0.0,
    with_reference: Annotated[
        bool,
        typer.Option(
            "--with-reference",
            help="The best answer becomes the reference that is read first (POLAR).",
            rich_help_panel=c.METHOD,
        ),
    ] = False,
    epochs: Epochs = 1.0,
    steps: Steps = -1,
    batch: Batch = 4,
    accumulate: Accumulate = 1,
    learning_rate: Rate = 1e-5,
    layers: Layers = None,
    gradient_checkpointing: Checkpointing = False,
    bf16: Bf16 = False,
    max_length: MaxLength = 1024,
    cut_prompts: Cut = False,
    plain: Plain = False,
    seed: Seed = 0,
    save: Save = 100,
) -> None:
    """Train a reward model on ranked lists of answers."""
    _new_folder(out)
    from policyrank.evidence import read_answers
    from policyrank.train import RewardModelTrainer, reward as rewards, reward_model

    found, tokenizer = reward_model(model, layers=layers, seed=seed, device="cpu")
    sets: list[Any] = [data, evaluation]
    if with_reference:
        sets = [None if s is None else rewards.with_reference(list(read_answers(s))) for s in sets]
        if not sets[0]:
            raise EvidenceError(
                f"{data}: no list of three or more; without its best answer a list of two has"
                " nothing to rank."
            )
    trainer = RewardModelTrainer(
        found,
        _arguments(
            out,
            **_tuning(
                epochs,
                steps,
                batch,
                accumulate,
                learning_rate,
                gradient_checkpointing,
                bf16,
                seed,
                save,
            ),
        ),
        *sets,
        processing_class=tokenizer,
        loss=loss,
        loss_options=_options(option),
        imitation=imitation,
        max_length=max_length,
        long_prompts="cut" if cut_prompts else "leave out",
        chat=False if plain or with_reference else None,
    )
    _run(trainer, out, evaluation is not None)


@train.command("distil")
def distil(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="JSONL, parquet or CSV with prompt.")
    ],
    model: Model,
    teacher: Annotated[
        str,
        typer.Option(
            help=(
                "URL of an OpenAI-compatible endpoint, a local model's name, or a JSONL file of"
                " prompt, answer."
            ),
            rich_help_panel=c.METHOD,
        ),
    ],
    teacher_model: Annotated[
        str, typer.Option(help="The model's name at the endpoint.", rich_help_panel=c.METHOD)
    ] = "",
    key: Annotated[
        str | None,
        typer.Option(
            help="Environment variable that holds the endpoint's key.", rich_help_panel=c.METHOD
        ),
    ] = None,
    out: Out = Path("student"),
    learn: Annotated[
        str, typer.Option(help="list, pair or group.", rich_help_panel=c.METHOD)
    ] = "list",
    judge: Annotated[
        str,
        typer.Option(
            help="How the student ranks its answers beside the teacher's: rating or vote.",
            rich_help_panel=c.METHOD,
        ),
    ] = "rating",
    rounds: Annotated[
        int, typer.Option(help="Of sampling and learning.", min=0, rich_help_panel=c.METHOD)
    ] = 1,
    samples: Samples = 4,
    tokens: Tokens = 128,
    temperature: Temperature = 0.9,
    option: Option = None,
    epochs: Epochs = 1.0,
    steps: Steps = -1,
    batch: Batch = 4,
    accumulate: Accumulate = 1,
    learning_rate: Rate = 1e-5,
    layers: Layers = None,
    bf16: Bf16 = False,
    max_length: MaxLength = 1024,
    plain: Plain = False,
    seed: Seed = 0,
) -> None:
    """Distil a black-box teacher: imitate one answer of it a prompt, then learn from the student's
    own answers, ranked beside that one.

    The teacher is asked once a prompt; its answers and the ranked candidates are kept in OUT, and
    an interrupted run does not ask again.
    """
    _new_folder(out)
    from policyrank.models.language import load_causal_lm
    from policyrank.train.distillation import distil as run
    from policyrank.train.judges import Endpoint, sampler
    from policyrank.train.texts import train_last

    out.mkdir(exist_ok=True)
    asked = read_prompts(prompts)
    if "://" in teacher:
        if not teacher_model:
            raise typer.BadParameter("--teacher-model: which model is it at the endpoint?")
        source: Any = Endpoint(teacher, teacher_model, key, cache=out / "teacher.jsonl")
    elif teacher.endswith(".jsonl"):
        source = read_references(Path(teacher))
    else:
        source = sampler(*load_causal_lm(teacher), temperature=0, max_new_tokens=tokens)
    found, tokenizer = load_causal_lm(model)
    if layers is not None:
        train_last(found, layers)
    with c.working("Distilling …") as update:
        done = run(
            found,
            tokenizer,
            asked,
            source,
            judge=judge,
            learn=learn,  # type: ignore[arg-type]
            candidates=samples,
            rounds=rounds,
            loss_options=_options(option),
            arguments=lambda stage: _arguments(
                out,
                stage,
                **_tuning(
                    epochs, steps, batch, accumulate, learning_rate, False, bf16, seed, 10**9
                ),
                disable_tqdm=True,
            ),
            sample={"max_new_tokens": tokens, "temperature": temperature},
            max_length=max_length,
            chat=False if plain else None,
            seed=seed,
            folder=out,
            report=update,
        )
    found.save_pretrained(out)
    tokenizer.save_pretrained(out)
    for record in done.history:
        print(", ".join(f"{k} {v:.4g}" for k, v in record.items()))
    c.written(out)


@train.command("reinforce")
def reinforce(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="JSONL, parquet or CSV with prompt.")
    ],
    model: Model,
    reward: Reward = None,
    judge: JudgeModel = None,
    likelihood: Likelihood = None,
    program: Program = None,
    references: References = None,
    out: Out = Path("policy"),
    rounds: Annotated[
        int, typer.Option(help="Of sampling and learning.", min=1, rich_help_panel=c.METHOD)
    ] = 30,
    asked: Annotated[
        int, typer.Option(help="Prompts of a round.", min=1, rich_help_panel=c.METHOD)
    ] = 16,
    samples: Samples = 8,
    tokens: Tokens = 128,
    temperature: Temperature = 1.0,
    kl: Annotated[
        float,
        typer.Option(
            help="Weight of the log-ratio to the start, taken from the scores.",
            min=0,
            rich_help_panel=c.METHOD,
        ),
    ] = 0.05,
    loss: Annotated[
        str,
        typer.Option(
            help="grpo, label-distribution-grpo, or any objective of `train preference`.",
            rich_help_panel=c.METHOD,
        ),
    ] = "grpo",
    option: Option = None,
    epochs: Epochs = 1.0,
    batch: Batch = 4,
    learning_rate: Rate = 1e-6,
    layers: Layers = None,
    bf16: Bf16 = False,
    max_length: MaxLength = 1024,
    plain: Plain = False,
    seed: Seed = 0,
) -> None:
    """Train a language model on its own answers, as a reward model, a judge or a program scores
    them.
    """
    _new_folder(out)
    judged_by = scorer(reward, judge, likelihood, program, references, max_length, plain)
    from policyrank.models.language import load_causal_lm
    from policyrank.train.reinforcement import reinforce as run
    from policyrank.train.texts import train_last

    found, tokenizer = load_causal_lm(model)
    if layers is not None:
        train_last(found, layers)
    found, history = run(
        found,
        tokenizer,
        read_prompts(prompts),
        judged_by,
        rounds=rounds,
        batch=asked,
        samples=samples,
        loss=loss,
        loss_options=_options(option),
        kl=kl,
        seed=seed,
        arguments=lambda stage: _arguments(
            out,
            "checkpoints",
            **_tuning(epochs, -1, batch, 1, learning_rate, False, bf16, seed, 10**9),
            disable_tqdm=True,
            logging_strategy="no",
        ),
        sample={"max_new_tokens": tokens, "temperature": temperature},
        max_length=max_length,
        chat=False if plain else None,
        report=c.say,
    )
    found.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    c.written(out)


@train.command("programs")
def programs(
    problems: Annotated[
        Path,
        typer.Argument(
            metavar="PROBLEMS",
            help="JSONL with prompt and tests (statements; HumanEval's and MBPP's forms too).",
        ),
    ],
    model: Model,
    reranker: Annotated[
        str, typer.Option(help="Model that becomes the reranker.", rich_help_panel=c.METHOD)
    ],
    out: Out = Path("reranker"),
    iterations: Annotated[
        int,
        typer.Option(
            help="1 trains the reranker once; more improve the generator against it and feed back.",
            min=1,
            rich_help_panel=c.METHOD,
        ),
    ] = 2,
    keep: Annotated[
        str,
        typer.Option(
            help="What is fed back: hard, 'passed and hard', or all.", rich_help_panel=c.METHOD
        ),
    ] = "passed and hard",
    rounds: Annotated[
        int,
        typer.Option(
            help="Of improving the generator; 0 samples the first one again.",
            min=0,
            rich_help_panel=c.METHOD,
        ),
    ] = 10,
    samples: Samples = 8,
    tokens: Tokens = 256,
    temperature: Temperature = 0.8,
    loss: Annotated[
        str, typer.Option(help="bradley-terry or plackett-luce.", rich_help_panel=c.METHOD)
    ] = "bradley-terry",
    seconds: Annotated[
        float, typer.Option(help="Time of each test.", min=0.1, rich_help_panel=c.METHOD)
    ] = 2.0,
    epochs: Epochs = 3.0,
    batch: Batch = 4,
    learning_rate: Rate = 1e-5,
    layers: Layers = None,
    bf16: Bf16 = False,
    max_length: MaxLength = 1024,
    plain: Plain = False,
    seed: Seed = 0,
) -> None:
    """Train a reranker of programs: sample solutions, test them in a sandbox, learn to rank them,
    improve the generator, and feed back what fooled it.

    Programs run without network, apart from your files, with limits on time, memory, disk and
    processes (Linux). Tested samples are kept in OUT.
    """
    _new_folder(out)
    from policyrank.models.language import load_causal_lm
    from policyrank.train import RewardModelTrainer, reward_model, reward_scorer
    from policyrank.train.judges import sampler
    from policyrank.train.programs import read_problems, self_train
    from policyrank.train.reinforcement import reinforce as improve_model
    from policyrank.train.texts import train_last
    from policyrank.worlds import sandbox

    found = read_problems(problems, sandbox.check_statements)
    if why := sandbox.unavailable():
        raise EvidenceError(f"programs cannot be run apart here: {why}.")
    out.mkdir(exist_ok=True)
    chat = False if plain else None
    first, tokenizer = load_causal_lm(model)
    drawn = {"max_new_tokens": tokens, "temperature": temperature}
    last: list[Any] = []

    def test(asked: Any, answers: Any) -> list[list[float]]:
        runs = [
            (sandbox.imports_of(p.prompt) + sandbox.code_of(a, p.entry_point), p.tests)
            for p, x in zip(asked, answers, strict=True)
            for a in x
        ]
        results = iter(sandbox.run_all(runs, seconds=seconds))
        return [[next(results).share for _ in x] for x in answers]

    def arguments(stage: str, rate: float = learning_rate) -> Any:
        return _arguments(
            out,
            "checkpoints",
            **_tuning(epochs, -1, batch, 1, rate, False, bf16, seed, 10**9),
            disable_tqdm=True,
            logging_strategy="no",
        )

    def fit(lists: Any) -> Any:
        scorer, own = reward_model(reranker, layers=layers, seed=seed)
        RewardModelTrainer(
            scorer,
            arguments("reranker"),
            lists,
            processing_class=own,
            loss=loss,
            max_length=max_length,
            chat=chat,
        ).train()
        last[:] = [scorer, own]
        return reward_scorer(scorer, own, max_length=max_length, chat=chat)

    def improve(scorer: Any, number: int) -> Any:
        better, own = load_causal_lm(model)
        if layers is not None:
            train_last(better, layers)
        better, _ = improve_model(
            better,
            own,
            [p.prompt for p in found],
            scorer,
            arguments=arguments,
            rounds=rounds,
            samples=samples,
            sample=drawn,
            max_length=max_length,
            chat=chat,
            seed=seed + number,
        )
        better.save_pretrained(out / "generator")
        own.save_pretrained(out / "generator")
        return sampler(better, own, seed=seed + number, chat=chat, **drawn)

    with c.working("Self-training …") as update:
        done = self_train(
            found,
            sampler(first, tokenizer, seed=seed, chat=chat, **drawn),
            fit,
            test,
            improve=improve if rounds else None,
            iterations=iterations,
            samples=samples,
            rule=keep,  # type: ignore[arg-type]
            folder=out,
            report=update,
        )
    last[0].save_pretrained(out)
    last[1].save_pretrained(out)
    for record in done.history:
        print(", ".join(f"{k} {v:.4g}" for k, v in record.items()))
    c.written(out)
