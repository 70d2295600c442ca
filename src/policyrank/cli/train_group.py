"""``policyrank train group``: a language model that learns from groups of its own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from policyrank.cli.answer_options import Model, Texts, tell
from policyrank.cli.group_options import Comparing, Rewarding, Sampling
from policyrank.cli.options import DATA, check_folder
from policyrank.cli.output import say
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.training_run import named_base, run_dependencies, run_training
from policyrank.cli.tuning import GroupTuning, Lora, made
from policyrank.models.provenance import CHECKPOINTS

if TYPE_CHECKING:
    from policyrank.cli.answer_options import Read
    from policyrank.models.provenance import About


def train_on_groups(
    *,
    data: Annotated[
        Path,
        Parameter(
            group=DATA,
            help="JSONL, parquet or CSV with prompt (text or messages), and any columns that"
            " rewards read.",
        ),
    ],
    model: Model,
    out: Out = Path("policy"),
    evaluation: Annotated[
        Path | None,
        Parameter(name="--eval", group=DATA, help="Prompts to evaluate on, before and after."),
    ] = None,
    rewarding: Rewarding = Rewarding(),
    comparing: Comparing = Comparing(),
    sampling: Sampling = Sampling(),
    lora: Lora = Lora(),
    tuning: GroupTuning = GroupTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a language model on groups of its own outputs.

    Each prompt gets a group of outputs; each is rewarded, and learned from by how it compares with
    its group. A few outputs of each round are kept in OUT/samples.jsonl. Several devices:
    accelerate launch -m policyrank train group ...
    """
    check_folder(out)
    from policyrank.models.fitting import Seen
    from policyrank.models.language import load_causal_lm
    from policyrank.models.provenance import about
    from policyrank.train import GroupConfig, GroupTrainer
    from policyrank.train.group_report import SampleLog
    from policyrank.train.saving import refuse_overwriting

    names = {"--model": model, "--reference": comparing.reference}
    refuse_overwriting(out, names | rewarding.models())
    tuning.check()
    sampling.check(lora)
    read = texts.of(model, about(model))
    seen = Seen()
    reward = rewarding.composed(texts, seen)
    args = made(
        GroupConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        **comparing.settings(),
        **sampling.settings(),
        reward_kl=rewarding.reward_kl,
        reward_seconds=rewarding.reward_seconds,
        failures="count" if rewarding.count_failures else "stop",
        dropout=tuning.dropout,
        weights=tuning.weights,
    )
    found, tokenizer = load_model(model, tuning, lora)
    other = None
    if comparing.reference is not None:
        other, _ = load_causal_lm(comparing.reference, device="cpu", dtype=tuning.dtype)
    log = SampleLog(out)
    trainer = GroupTrainer(
        found,
        args,
        reward,
        data,
        evaluation,
        processing_class=tokenizer,
        sampler=sampling.sampler(args, tokenizer, say),
        reference_model=other,
        segments=comparing.parts(tokenizer),
        show=log,
        peft_config=lora.config(found, layers=tuning.layers),
        callbacks=[log.callback(), *tuning.watching(say)],
    )
    told = _about(trainer, model, data, read, rewarding, comparing, sampling, tuning)
    depends = run_dependencies(told, model, lora, tuning, reference=comparing.reference)
    depends["rewards"] = rewarding.depends()
    run_training(trainer, out, told, depends, tuning, evaluation)
    if trainer.is_world_process_zero():
        tell(seen, read)
        tell_failures(trainer)


def tell_failures(trainer: Any) -> None:
    """Say how many rewards failed."""
    reward = trainer.groups.reward
    if reward.failed:
        say(f"! the reward of {reward.failed:,} groups failed, the first by {reward.error}")


def _about(
    trainer: Any,
    model: str,
    data: Path,
    read: Read,
    rewarding: Rewarding,
    comparing: Comparing,
    sampling: Sampling,
    tuning: GroupTuning,
) -> About:
    """What the trained model is, and what training assumes."""
    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
    from policyrank.train.adapters import is_adapted

    adapter = is_adapted(trainer.model)
    args, prompts = trainer.args, trainer.train_dataset
    settings: dict[str, Any] = {"rewards": rewarding.reward, "advantage": args.advantage}
    if args.advantage_options:
        settings["advantage_options"] = args.advantage_options
    if comparing.segments is not None:
        settings["segments"] = comparing.segments
    if rewarding.weight:
        settings["weights"] = rewarding.weight
    settings |= {
        "compose": rewarding.compose,
        "reward_kl": rewarding.reward_kl,
        **sampling.settings(),
        "server": sampling.server,
    }
    for name in ("passes", "steps_per_round", "keep_agreeing", "mask_cut", "labels"):
        settings[name] = getattr(args, name)
    return About(
        "policy",
        base=named_base(model, adapter=adapter),
        adapter=adapter,
        chat=read.chat,
        max_length=read.max_length,
        objective=args.objective,
        options=args.objective_options,
        dtype=str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        data={"name": data.name, "prompts": len(prompts), "fingerprint": prompts.fingerprint()},
        settings=tuning.kept() | settings,
        versions=known_versions(),
    )
