"""``policyrank train preference`` and ``train reward``: models from ranked lists of answers."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import Judging, Model, Objective, Texts, objective_options
from policyrank.cli.options import DATA, METHOD, OUT, Flag, NotNegative, check_folder
from policyrank.cli.output import say, working, wrote
from policyrank.cli.tuning import Lora, Tuning, made
from policyrank.errors import EvidenceError, OptionError

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
CHECKPOINTS, RUN = "checkpoints", "run.json"


def train_preference(
    *,
    data: Answers,
    model: Model,
    out: Out = Path("policy"),
    loss: Annotated[str, Parameter(group=METHOD)] = "lipo-lambda",
    evaluation: Evaluation = None,
    labels: Labels = "as-given",
    reference: Annotated[str, Parameter(group=METHOD)] = "precompute",
    beta: Annotated[float | None, Parameter(group=METHOD)] = None,
    option: Objective = None,
    sft_weight: Annotated[NotNegative, Parameter(group=METHOD)] = 0.0,
    step_weights: Annotated[
        Literal["ones", "similar", "different", "exp"], Parameter(group=METHOD)
    ] = "similar",
    reward: Annotated[str | None, Parameter(group=DATA)] = None,
    lora: Lora = Lora(),
    tuning: Tuning = Tuning(),
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
    from policyrank.models.language import load_causal_lm
    from policyrank.models.provenance import about
    from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer

    read = texts.of(model, about(model))
    found, tokenizer = load_model(model, tuning, lora)
    options = objective_options(option)
    if beta is not None:
        options["beta"] = beta
    known: Any = "precompute"
    other = None
    if reference in ("precompute", "adapter"):
        known = reference
    else:
        other, _ = load_causal_lm(reference, device="cpu", dtype=tuning.dtype)
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
    _run(trainer, out, _about(trainer, "policy", model, data, read, tuning), tuning, evaluation)


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
    imitation: Annotated[NotNegative, Parameter(group=METHOD)] = 0.0,
    with_reference: Annotated[Flag, Parameter(group=METHOD)] = False,
    lora: Lora = Lora(),
    tuning: Tuning = Tuning(),
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
    from policyrank.train.texts import train_last

    found, tokenizer = reward_model(model, seed=tuning.seed, device="cpu", dtype=tuning.dtype)
    if tuning.layers is not None and not lora.lora:
        train_last(found.base_model, tuning.layers)
    sets: list[Any] = [data, evaluation]
    read = texts.of(model, about(model))
    more: dict[str, Any] = {}
    if with_reference:
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
    config = lora.config(found, layers=tuning.layers, head=True)
    trainer = RewardModelTrainer(found, args, *sets, processing_class=tokenizer, peft_config=config)
    kind: Kind = "discriminator" if with_reference else "reward"
    _run(trainer, out, _about(trainer, kind, model, data, read, tuning, **more), tuning, evaluation)


def load_model(name: str, tuning: Tuning, lora: Lora | None = None) -> tuple[Any, Any]:
    """A causal language model to be trained and its tokenizer, perhaps only its last layers."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train.texts import train_last

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


def named_base(name: str, *, adapter: bool) -> str:
    """What a trained model is made from, so that it is found again."""
    from policyrank.models.loading import adapter_config, base_of

    if adapter and adapter_config(name) is not None:
        name = base_of(name)
    return str(Path(name).resolve()) if Path(name).exists() else name


def _about(
    trainer: Any, kind: Kind, model: str, data: Path, read: Read, tuning: Tuning, **more: Any
) -> About:
    """What the trained model is, and what training assumes."""
    from policyrank.models.provenance import About, known_versions
    from policyrank.train.adapters import is_adapted

    adapter = is_adapted(trainer.model)
    args, lists = trainer.args, trainer.train_dataset
    settings = tuning.kept() | {"labels": args.labels, "long_prompts": read.long_prompts}
    for name in ("reference", "sft_weight", "imitation"):
        if getattr(args, name, None):
            settings[name] = getattr(args, name)
    return About(
        kind,
        base=named_base(model, adapter=adapter),
        adapter=adapter,
        chat=read.chat,
        max_length=read.max_length,
        objective=args.loss,
        options=args.loss_options,
        dtype=str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        data={"name": data.name, "lists": len(lists), "sha256": lists.fingerprint()},
        settings=settings,
        versions=known_versions(),
        **more,
    )


def _with_reference(path: Path | None) -> Any:
    from policyrank.evidence import read_answers
    from policyrank.train import reward

    return None if path is None else reward.with_reference(list(read_answers(path)))


def _run(trainer: Any, out: Path, about: About, tuning: Tuning, evaluation: Path | None) -> None:
    """Train from the last checkpoint if there is one, save, and print what evaluation says."""
    from transformers.trainer_utils import get_last_checkpoint

    from policyrank.models.quiet import quietly
    from policyrank.train.answer_progress import Progress
    from policyrank.train.samples import keep, read_kept
    from policyrank.train.saving import write_model

    folder = Path(trainer.args.output_dir)
    depends = {
        name: getattr(about, name)
        for name in ("kind", "base", "adapter", "objective", "options", "data", "settings")
    }
    known = read_kept(folder / RUN, depends)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    first = trainer.is_world_process_zero()
    if first:
        for note in trainer.notes:
            say(f"! {note}")
        if last:
            say(f"going on from {last}")
        if known is None:
            keep(folder / RUN, depends, {})
            (out / "log.jsonl").unlink(missing_ok=True)
    evaluated = evaluation is not None
    with working("Training ...") as update:
        trainer.add_callback(Progress(update, out))
        before = trainer.evaluate() if evaluated and last is None else {}
        trainer.train(resume_from_checkpoint=last)
        after = trainer.evaluate() if evaluated else {}
    with quietly():
        trainer.save_model(str(out))
    if first:
        shown = _metrics(after)
        write_model(None, trainer.processing_class, out, about, shown)
        rmtree(folder, ignore_errors=True)
        _print_loss(trainer)
        for name, value in shown.items():
            was = before.get(f"eval_{name}")
            print(f"{name}: {value:.4g}" if was is None else f"{name}: {was:.4g} -> {value:.4g}")
        wrote(out)
        upload(out, tuning)


def upload(out: Path, tuning: Tuning) -> None:
    """Push the folder where that was asked for."""
    if tuning.push:
        from policyrank.train.saving import push

        say(f"pushed to {push(out, tuning.push)}")


def _print_loss(trainer: Any) -> None:
    """The first and the last loss that were logged."""
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    if len(losses) > 1:
        print(f"training loss: {losses[0]:.4g} -> {losses[-1]:.4g}")
    elif losses:
        print(f"training loss: {losses[0]:.4g}")


def _metrics(found: dict[str, float]) -> dict[str, float]:
    """What evaluation says of the model, not of the machine."""
    kept = {}
    for name, value in found.items():
        if name.startswith("eval_") and not name.endswith(("runtime", "second", "time")):
            kept[name.removeprefix("eval_")] = value
    return kept
