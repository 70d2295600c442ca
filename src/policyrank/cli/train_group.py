"""``policyrank train group``: a language model that learns from groups of its own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from policyrank.cli.answer_options import Model, Texts, tell
from policyrank.cli.group_options import Comparing, Sampling
from policyrank.cli.options import DATA, check_folder
from policyrank.cli.output import say
from policyrank.cli.replay_options import Replaying, tell_replays
from policyrank.cli.reward_options import Rewarding
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.training_run import (
    about_trained,
    compared,
    reference_model,
    run_dependencies,
    run_training,
    tell_failures,
)
from policyrank.cli.tuning import GroupTuning, Lora, made
from policyrank.models.provenance import CHECKPOINTS


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
    replaying: Replaying = Replaying(),
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
        **rewarding.settings(),
    )
    found, tokenizer = load_model(model, tuning, lora)
    log = SampleLog(out)
    trainer = GroupTrainer(
        found,
        args,
        reward,
        data,
        evaluation,
        processing_class=tokenizer,
        sampler=sampling.sampler(args, tokenizer, say),
        reference_model=reference_model(comparing.reference, tuning, tokenizer),
        segments=comparing.parts(tokenizer),
        show=log,
        replay=replaying.made(),
        peft_config=lora.config(found, layers=tuning.layers),
        callbacks=[log.callback(), *tuning.watching(say)],
    )
    settings = _settings(trainer.args, rewarding, comparing, sampling) | replaying.told()
    told = about_trained(trainer, model, data, tuning, settings)
    depends = run_dependencies(told, model, lora, tuning, reference=comparing.reference)
    depends["rewards"] = rewarding.depends()
    run_training(trainer, out, told, depends, tuning, evaluation)
    if trainer.is_world_process_zero():
        tell(seen, read)
        tell_failures(trainer)
        tell_replays(trainer)


def _settings(
    args: Any, rewarding: Rewarding, comparing: Comparing, sampling: Sampling
) -> dict[str, Any]:
    """What is written beside the model of how its outputs were sampled and compared."""
    found = rewarding.told() | compared(args) | {"labels": args.labels}
    if comparing.segments is not None:
        found["segments"] = comparing.segments
    return found | sampling.settings() | {"server": sampling.server}
