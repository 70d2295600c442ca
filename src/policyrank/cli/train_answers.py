"""``policyrank train preference`` and ``train reward``: models from ranked lists of answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import Judging, Model, Objective, Texts, objective_options
from policyrank.cli.options import DATA, METHOD, OUT, Flag, check_folder
from policyrank.cli.training_run import named_base, run_dependencies, run_training
from policyrank.cli.tuning import Lora, SavedTuning, Tuning, Weight, finite, made
from policyrank.errors import EvidenceError, OptionError
from policyrank.models.provenance import CHECKPOINTS

if TYPE_CHECKING:
    from policyrank.cli.answer_options import Read
    from policyrank.models.provenance import About, Kind

Answers = Annotated[
    Path,
    Parameter(
        group=DATA,
        help="JSONL, parquet or CSV of ranked answers: prompt, completions, scores or ranks; or"
        " chosen, rejected; or completion, label; or tree.",
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
Labels = Annotated[
    Literal["as-given", "win-shares"],
    Parameter(
        group=DATA,
        help="Scores as they are, refused where the loss cannot take them; or of each answer the"
        " share of the others of its list that it is above.",
    ),
]


def train_preference(
    *,
    data: Answers,
    model: Model,
    out: Out = Path("policy"),
    loss: Annotated[str, Parameter(group=METHOD)] = "lipo-lambda",
    evaluation: Evaluation = None,
    labels: Labels = "as-given",
    reference: Annotated[str, Parameter(group=METHOD)] = "precompute",
    beta: Annotated[float | None, Parameter(group=METHOD, validator=finite)] = None,
    option: Objective = None,
    sft_weight: Annotated[Weight, Parameter(group=METHOD)] = 0.0,
    step_weights: Annotated[
        Literal["ones", "similar", "different", "exp"], Parameter(group=METHOD)
    ] = "similar",
    reward: Annotated[str | None, Parameter(group=DATA)] = None,
    lora: Lora = Lora(),
    tuning: SavedTuning = SavedTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a language model on ranked answers.

    With any objective, on lists of any length; each prompt is read once for all its answers.
    Several devices: accelerate launch -m policyrank train preference ...

    Parameters
    ----------
    loss
        Objective: `policyrank methods --train` lists them; tpo weighs the steps of trees,
        kto-unpaired takes single answers with labels.
    reference
        precompute, adapter (with adapters), or a model's name.
    beta
        Scale of implicit rewards.
    sft_weight
        Weight of imitating the best answer.
    step_weights
        Of tpo.
    reward
        Reward model: evaluation then also gives the win rate of sampled answers over the best of
        each list.
    """
    check_folder(out)
    options = objective_options(option)
    if beta is not None:
        if "beta" in options:
            raise OptionError("--beta and --option beta=... say the same: give one of them.")
        options["beta"] = beta
    known: Any = "precompute"
    other_name = None
    if reference in ("precompute", "adapter"):
        known = reference
    else:
        other_name = reference
    from policyrank.models.language import load_causal_lm
    from policyrank.models.provenance import about
    from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer
    from policyrank.train.saving import refuse_overwriting

    refuse_overwriting(out, {"--model": model, "--reference": other_name, "--reward": reward})
    if reward is not None and evaluation is None:
        raise OptionError("--reward judges in evaluation: name what to evaluate on (--eval).")
    tuning.check()
    read = texts.of(model, about(model))
    found, tokenizer = load_model(model, tuning, lora)
    other = None
    if other_name is not None:
        other, _ = load_causal_lm(other_name, device="cpu", dtype=tuning.dtype)
    args = made(
        ListwisePreferenceConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        loss=loss,
        loss_options=options,
        labels=labels,
        reference=known,
        sft_weight=sft_weight,
        step_weights=step_weights,
        dropout=tuning.dropout,
        weights=tuning.weights,
    )
    trainer = ListwisePreferenceTrainer(
        found,
        args,
        data,
        evaluation,
        processing_class=tokenizer,
        reference_model=other,
        judge=_judge(reward, texts),
        peft_config=lora.config(found, layers=tuning.layers),
    )
    told = _about(trainer, "policy", model, data, read, tuning)
    if other_name is not None:
        told = replace(
            told, settings={**told.settings, "reference": named_base(other_name, adapter=False)}
        )
    depends = run_dependencies(told, model, lora, tuning, reference=other_name)
    run_training(trainer, out, told, depends, tuning, evaluation)


def _judge(reward: str | None, texts: Texts) -> Any:
    if reward is None:
        return None
    from policyrank.models.fitting import Seen
    from policyrank.train.judges import pairwise_judge

    return pairwise_judge(Judging(reward=reward).scorer(texts, Seen()))


def train_reward(
    *,
    data: Answers,
    model: Model,
    out: Out = Path("reward"),
    loss: Annotated[
        Literal["bradley-terry", "plackett-luce"], Parameter(group=METHOD)
    ] = "bradley-terry",
    evaluation: Evaluation = None,
    labels: Labels = "as-given",
    option: Objective = None,
    imitation: Annotated[Weight, Parameter(group=METHOD)] = 0.0,
    with_reference: Annotated[Flag, Parameter(group=METHOD)] = False,
    lora: Lora = Lora(),
    tuning: SavedTuning = SavedTuning(),
    texts: Texts = Texts(),
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
    from policyrank.models.provenance import about
    from policyrank.train import RewardModelConfig, RewardModelTrainer, reward, reward_model
    from policyrank.train.freezing import train_last
    from policyrank.train.saving import refuse_overwriting

    refuse_overwriting(out, {"--model": model})
    tuning.check()

    found, tokenizer = reward_model(model, seed=tuning.seed, device="cpu", dtype=tuning.dtype)
    if tuning.layers is not None and not lora.lora:
        train_last(found.base_model, tuning.layers)
    sets: list[Any] = [data, evaluation]
    read = texts.of(model, about(model))
    more: dict[str, Any] = {}
    if with_reference:
        if texts.plain is False:
            raise OptionError("--chat: with a reference, texts are read without a chat template.")
        read = read.plain()
        more["separator"] = reward.SEPARATOR
        sets = [_with_reference(path) for path in (data, evaluation)]
        if not sets[0]:
            raise EvidenceError(
                f"{data}: no list of three or more; without its best answer a list of two has"
                " nothing to rank."
            )
    args = made(
        RewardModelConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        loss=loss,
        loss_options=objective_options(option),
        labels=labels,
        imitation=imitation,
        dropout=tuning.dropout,
        weights=tuning.weights,
    )
    refuse_layers(found, tuning)
    config = lora.config(found, layers=tuning.layers, task="SEQ_CLS")
    trainer = RewardModelTrainer(found, args, *sets, processing_class=tokenizer, peft_config=config)
    kind: Kind = "discriminator" if with_reference else "reward"
    told = _about(trainer, kind, model, data, read, tuning, **more)
    run_training(
        trainer, out, told, run_dependencies(told, model, lora, tuning), tuning, evaluation
    )


def load_model(name: str, tuning: Tuning, lora: Lora | None = None) -> tuple[Any, Any]:
    """A causal language model to be trained and its tokenizer, perhaps only its last layers."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train.freezing import train_last

    model, tokenizer = load_causal_lm(name, device="cpu", dtype=tuning.dtype, trainable=True)
    refuse_layers(model, tuning)
    if tuning.layers is not None and not (lora is not None and lora.lora):
        train_last(model, tuning.layers)
    return model, tokenizer


def refuse_layers(model: Any, tuning: Tuning) -> None:
    """Refuse ``--layers`` of adapters, which say themselves what they train."""
    from policyrank.train.adapters import is_adapted

    if tuning.layers is not None and is_adapted(model):
        raise OptionError("--layers: the model is adapters, which are trained as they are.")


def _about(
    trainer: Any, kind: Kind, model: str, data: Path, read: Read, tuning: Tuning, **more: Any
) -> About:
    """What the trained model is, and what training assumes."""
    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
    from policyrank.train.adapters import is_adapted

    adapter = is_adapted(trainer.model)
    args, lists = trainer.args, trainer.train_dataset
    settings = tuning.kept() | {"labels": args.labels, "long_prompts": read.long_prompts}
    for name in ("reference", "sft_weight", "imitation"):
        if getattr(args, name, None):
            settings[name] = getattr(args, name)
    if args.loss == "tpo":
        settings["step_weights"] = args.step_weights
    return About(
        kind,
        base=named_base(model, adapter=adapter),
        adapter=adapter,
        chat=read.chat,
        max_length=read.max_length,
        objective=args.loss,
        options=args.loss_options,
        dtype=str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        data={"name": data.name, "lists": len(lists), "fingerprint": lists.fingerprint()},
        settings=settings,
        versions=known_versions(),
        **more,
    )


def _with_reference(path: Path | None) -> Any:
    from policyrank.evidence import read_answers
    from policyrank.train import reward

    return None if path is None else reward.with_reference(list(read_answers(path)))
