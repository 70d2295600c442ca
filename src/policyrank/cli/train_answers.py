"""``policyrank train preference`` and ``train reward``: models from ranked lists of answers."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import (
    LongTuning,
    MaxLength,
    Model,
    Objective,
    Plain,
    objective_options,
    reward_scorer,
)
from policyrank.cli.options import DATA, METHOD, OUT, TUNE, Count, Flag, NotNegative, check_folder
from policyrank.cli.output import say, wrote
from policyrank.errors import EvidenceError

Answers = Annotated[
    Path,
    Parameter(
        group=DATA,
        help="JSONL, parquet or CSV of ranked answers: prompt, completions, scores or ranks; or"
        " chosen, rejected; or tree.",
    ),
]
Evaluation = Annotated[
    Path | None,
    Parameter(name="--eval", group=DATA, help="Ranked answers to evaluate on, before and after."),
]
Out = Annotated[
    Path,
    Parameter(
        group=OUT, help="Folder for the trained model; checkpoints lie in it until it is done."
    ),
]
CutPrompts = Annotated[
    Flag,
    Parameter(
        group=DATA,
        help="Cut prompts of more than half of --max-length at their beginning, instead of leaving"
        " them out.",
    ),
]


def train_preference(
    *,
    data: Answers,
    model: Model,
    out: Out = Path("policy"),
    loss: Annotated[str, Parameter(group=METHOD)] = "lipo-lambda",
    evaluation: Evaluation = None,
    reference: Annotated[str, Parameter(group=METHOD)] = "precompute",
    beta: Annotated[float | None, Parameter(group=METHOD)] = None,
    option: Objective = None,
    sft_weight: Annotated[NotNegative, Parameter(group=METHOD)] = 0.0,
    step_weights: Annotated[
        Literal["ones", "similar", "different", "exp"], Parameter(group=METHOD)
    ] = "similar",
    reward: Annotated[str | None, Parameter(group=DATA)] = None,
    lora: Annotated[Count, Parameter(group=TUNE)] = 0,
    tuning: LongTuning = LongTuning(),
    max_length: MaxLength = 1024,
    cut_prompts: CutPrompts = False,
    plain: Plain = False,
) -> None:
    """Train a language model on ranked answers.

    With any objective, on lists of any length; each prompt is read once for all its answers.
    Several devices: accelerate launch -m policyrank train preference ...

    Parameters
    ----------
    loss
        Objective: `policyrank methods --train` lists them; tpo weighs the steps of trees.
    reference
        precompute, adapter (with --lora), or a model's name.
    beta
        Scale of implicit rewards.
    sft_weight
        Weight of imitating the best answer.
    step_weights
        Of tpo.
    reward
        Reward model: evaluation then also gives the win rate of sampled answers over the best of
        each list.
    lora
        Train adapters of this rank on all linear layers (0: the model itself).
    """
    check_folder(out)
    from policyrank.models.language import load_causal_lm
    from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer
    from policyrank.train.judges import pairwise_judge

    chat = False if plain else None
    found, tokenizer = load_model(model, tuning.layers, device="cpu")
    options = objective_options(option)
    if beta is not None:
        options["beta"] = beta
    known: Any = "precompute"
    other = judge = None
    if reference in ("precompute", "adapter"):
        known = reference
    else:
        other, _ = load_causal_lm(reference, device="cpu")
    if reward is not None:
        judge = pairwise_judge(reward_scorer(reward, None, max_length, chat))
    args = ListwisePreferenceConfig(
        str(out / "checkpoints"),
        **tuning.settings(),
        loss=loss,
        loss_options=options,
        reference=known,
        sft_weight=sft_weight,
        step_weights=step_weights,
        max_length=max_length,
        long_prompts="cut" if cut_prompts else "leave out",
        chat=chat,
    )
    trainer = ListwisePreferenceTrainer(
        found,
        args,
        data,
        evaluation,
        processing_class=tokenizer,
        reference_model=other,
        judge=judge,
        peft_config=_adapters(lora),
    )
    _run(trainer, out, evaluated=evaluation is not None)


def train_reward(
    *,
    data: Answers,
    model: Model,
    out: Out = Path("reward"),
    loss: Annotated[
        Literal["bradley-terry", "plackett-luce"], Parameter(group=METHOD)
    ] = "bradley-terry",
    evaluation: Evaluation = None,
    option: Objective = None,
    imitation: Annotated[NotNegative, Parameter(group=METHOD)] = 0.0,
    with_reference: Annotated[Flag, Parameter(group=METHOD)] = False,
    tuning: LongTuning = LongTuning(),
    max_length: MaxLength = 1024,
    cut_prompts: CutPrompts = False,
    plain: Plain = False,
) -> None:
    """Train a reward model on ranked answers.

    Parameters
    ----------
    loss
        Of a list's scores.
    imitation
        Weight of the best answer's likelihood under the tied language head.
    with_reference
        The best answer becomes the reference that is read first (POLAR).
    """
    check_folder(out)
    from policyrank.train import RewardModelConfig, RewardModelTrainer, reward_model

    found, tokenizer = reward_model(model, layers=tuning.layers, seed=tuning.seed, device="cpu")
    sets: list[Any] = [data, evaluation]
    if with_reference:
        sets = [_with_reference(path) for path in (data, evaluation)]
        if not sets[0]:
            raise EvidenceError(
                f"{data}: no list of three or more; without its best answer a list of two has"
                " nothing to rank."
            )
    args = RewardModelConfig(
        str(out / "checkpoints"),
        **tuning.settings(),
        loss=loss,
        loss_options=objective_options(option),
        imitation=imitation,
        max_length=max_length,
        long_prompts="cut" if cut_prompts else "leave out",
        chat=False if plain or with_reference else None,
    )
    trainer = RewardModelTrainer(found, args, *sets, processing_class=tokenizer)
    _run(trainer, out, evaluated=evaluation is not None)


def load_model(name: str, layers: int | None, **options: Any) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, perhaps only its last layers to be trained."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train.texts import train_last

    model, tokenizer = load_causal_lm(name, **options)
    if layers is not None:
        train_last(model, layers)
    return model, tokenizer


def _with_reference(path: Path | None) -> Any:
    from policyrank.evidence import read_answers
    from policyrank.train import reward

    return None if path is None else reward.with_reference(list(read_answers(path)))


def _adapters(rank: int) -> Any:
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _run(trainer: Any, out: Path, *, evaluated: bool) -> None:
    """Train from the last checkpoint if there is one, save, and print what evaluation says."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(trainer.args.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    first = trainer.is_world_process_zero()
    if first:
        for note in trainer.notes:
            say(f"! {note}")
        if last:
            say(f"going on from {last}")
    before = trainer.evaluate() if evaluated and last is None else {}
    trainer.train(resume_from_checkpoint=last)
    after = trainer.evaluate() if evaluated else {}
    trainer.save_model(str(out))
    if first:
        trainer.processing_class.save_pretrained(str(out))
        rmtree(folder, ignore_errors=True)
        _print_metrics(before, after)
        wrote(out)


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
    from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer
    from policyrank.train.judges import pairwise_judge
    from policyrank.train.texts import train_last

    found, tokenizer = load_causal_lm(model, device="cpu")
    if layers is not None:
        train_last(found, layers)
    other: Any = None
    if reference not in ("precompute", "adapter"):
        other, _ = load_causal_lm(reference, device="cpu")
        reference = "precompute"
    judge = (
        None
        if reward is None
        else pairwise_judge(scorer(reward, None, None, None, None, max_length, plain))
    )
    arguments = _arguments(
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
    )
    trainer = ListwisePreferenceTrainer(
        found,
        ListwisePreferenceConfig.of(
            arguments,
            loss=loss,
            loss_options=_options(option) | ({} if beta is None else {"beta": beta}),
            reference=reference,
            sft_weight=sft_weight,
            step_weights=step_weights,
            max_length=max_length,
            long_prompts="cut" if cut_prompts else "leave out",
            chat=False if plain else None,
        ),
        data,
        evaluation,
        processing_class=tokenizer,
        reference_model=other,
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
    from policyrank.train import RewardModelConfig, RewardModelTrainer, reward_model
    from policyrank.train import reward as rewards

    found, tokenizer = reward_model(model, layers=layers, seed=seed, device="cpu")
    sets: list[Any] = [data, evaluation]
    if with_reference:
        sets = [None if s is None else rewards.with_reference(list(read_answers(s))) for s in sets]
        if not sets[0]:
            raise EvidenceError(
                f"{data}: no list of three or more; without its best answer a list of two has"
                " nothing to rank."
            )
    arguments = _arguments(
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
    )
    trainer = RewardModelTrainer(
        found,
        RewardModelConfig.of(
            arguments,
            loss=loss,
            loss_options=_options(option),
            imitation=imitation,
            max_length=max_length,
            long_prompts="cut" if cut_prompts else "leave out",
            chat=False if plain or with_reference else None,
        ),
        *sets,
        processing_class=tokenizer,
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
    from policyrank.train import (
        RewardModelConfig,
        RewardModelTrainer,
        reward_model,
        reward_scorer,
    )
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
            RewardModelConfig.of(
                arguments("reranker"), loss=loss, max_length=max_length, chat=chat
            ),
            lists,
            processing_class=own,
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
