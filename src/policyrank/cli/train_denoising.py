"""``policyrank train masked-diffusion``: masks that become answers, learned step by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.answer_options import Samples, Texts, tell
from policyrank.cli.group_options import SAMPLING, Compared
from policyrank.cli.options import DATA, METHOD, AtLeastOne, Flag, check_folder
from policyrank.cli.output import say
from policyrank.cli.reward_options import Rewarding
from policyrank.cli.train_answers import Out
from policyrank.cli.training_run import (
    about_trained,
    compared,
    run_dependencies,
    run_training,
    tell_failures,
)
from policyrank.cli.tuning import GroupTuning, Lora, Positive, made
from policyrank.models.provenance import CHECKPOINTS


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class Denoised:
    """How masks become answers.

    Parameters
    ----------
    tokens
        Tokens of an answer: all are written.
    denoising_steps
        Steps in which they are (None: one token a step).
    block
        Tokens of a block; blocks are unmasked one after the other (None: all are one).
    order
        Which positions come first: as the model's unmasking policy says, which is trained too
        (learned); or at random, or by what is predicted (confidence, margin, entropy), where only
        tokens are trained.
    choice
        Whose probability a step's positions have: of their set, or of the order they were drawn in
        (as published; needed where a step unmasks more than 10).
    temperature
        Of sampling, at which log-probabilities are learned too.
    sampled_rows
        Answers that are sampled at once.
    """

    samples: Samples = 8
    tokens: AtLeastOne = 128
    denoising_steps: AtLeastOne | None = None
    block: AtLeastOne | None = None
    order: Literal["learned", "random", "confidence", "margin", "entropy"] = "learned"
    choice: Literal["set", "order"] = "set"
    temperature: Positive = 1.0
    sampled_rows: AtLeastOne = 64


def train_masked_diffusion(
    *,
    data: Annotated[
        Path,
        Parameter(
            group=DATA,
            help="JSONL, parquet or CSV with prompt (text or messages), and any columns that"
            " rewards read.",
        ),
    ],
    model: Annotated[
        str,
        Parameter(
            group=METHOD,
            help="Folder or hub name of a masked language model, or of one with code of its own,"
            " such as LLaDA, which is run with --trust-model-code.",
        ),
    ],
    out: Out = Path("policy"),
    evaluation: Annotated[
        Path | None,
        Parameter(name="--eval", group=DATA, help="Prompts to evaluate on, before and after."),
    ] = None,
    trust_model_code: Annotated[
        Flag, Parameter(group=METHOD, help="Run the code that comes with the model.")
    ] = False,
    rewarding: Rewarding = Rewarding(),
    comparing: Compared = Compared(),
    denoised: Denoised = Denoised(),
    tuning: GroupTuning = GroupTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a masked diffusion language model on groups of its own answers.

    Which positions are unmasked when is learned with the tokens. The gradient is taken a denoising
    step at a time, so that memory does not grow with their number. A few answers of each round are
    kept in OUT/samples.jsonl. Several devices: accelerate launch -m policyrank train
    masked-diffusion ...
    """
    check_folder(out)
    from policyrank.models.fitting import Seen
    from policyrank.models.masked_language import load_masked_lm
    from policyrank.models.provenance import about
    from policyrank.models.tokens import refuse_other_tokens
    from policyrank.train import MaskedDiffusionConfig, MaskedDiffusionTrainer
    from policyrank.train.group_report import SampleLog
    from policyrank.train.saving import refuse_overwriting

    names = {"--model": model, "--reference": comparing.reference}
    refuse_overwriting(out, names | rewarding.models())
    tuning.check()
    read, seen = texts.of(model, about(model)), Seen()
    args = made(
        MaskedDiffusionConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        **comparing.settings(),
        **vars(denoised),
        **rewarding.settings(),
    )
    args.check()
    reward = rewarding.composed(texts, seen)
    loading: dict[str, Any] = {"dtype": tuning.dtype, "trust_remote_code": trust_model_code}
    found, tokenizer = load_masked_lm(model, "cpu", **loading)
    _last_layers(found, tuning.layers)
    other = None
    if comparing.reference is not None:
        other, theirs = load_masked_lm(comparing.reference, "cpu", **loading)
        refuse_other_tokens(tokenizer, theirs, f"--reference {comparing.reference}")
    log = SampleLog(out)
    trainer = MaskedDiffusionTrainer(
        found,
        args,
        reward,
        data,
        evaluation,
        processing_class=tokenizer,
        reference_model=other,
        show=log,
        callbacks=[log.callback(), *tuning.watching(say)],
    )
    settings = rewarding.told() | compared(trainer.args) | vars(denoised)
    told = about_trained(trainer, model, data, tuning, settings, kind="masked-diffusion")
    depends = run_dependencies(told, model, Lora(), tuning, reference=comparing.reference)
    depends["rewards"] = rewarding.depends()
    run_training(trainer, out, told, depends, tuning, evaluation)
    if trainer.is_world_process_zero():
        tell(seen, read)
        tell_failures(trainer)


def _last_layers(model: Any, layers: int | None) -> None:
    """Train only so many last layers, and the unmasking policy."""
    from policyrank.models.unmasking_policy import policy_of
    from policyrank.train.freezing import train_last

    train_last(model, layers)
    policy = policy_of(model)
    if policy is not None:
        policy.requires_grad_(True)
