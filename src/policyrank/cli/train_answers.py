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


def _print_metrics(before: dict[str, float], after: dict[str, float]) -> None:
    """Each metric of evaluation, after training and perhaps before."""
    for name, value in after.items():
        if not name.startswith("eval_") or name.endswith(("runtime", "second", "time")):
            continue
        was = f"{before[name]:.4g} -> " if name in before else ""
        print(f"{name.removeprefix('eval_')}: {was}{value:.4g}")
