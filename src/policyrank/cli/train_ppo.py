"""``policyrank train ppo``: a language model that learns from rewards with a critic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.answer_options import Model, Texts, objective_options, tell
from policyrank.cli.group_options import OneSampled
from policyrank.cli.options import DATA, METHOD, AtLeastOne, Count, Flag, Names, check_folder
from policyrank.cli.output import say
from policyrank.cli.replay_options import Reflecting, tell_replays
from policyrank.cli.reward_options import Rewarding
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.training_run import (
    about_trained,
    reference_model,
    run_dependencies,
    run_training,
    tell_failures,
)
from policyrank.cli.tuning import GroupTuning, Lora, Positive, Weight, finite, made
from policyrank.errors import OptionError
from policyrank.models.provenance import CHECKPOINTS

CRITICISM = Group("Critic", sort_key=3)
FILTERS = Literal[
    "all", "best", "best-random", "best-worst", "power", "above", "above-random", "outside"
]
Unit = Annotated[float, Parameter(validator=(Number(gte=0, lte=1), finite))]


@Parameter(name="*", group=CRITICISM)
@dataclass(frozen=True)
class Criticism:
    """The critic, and what policy and critic learn from a reward.

    Parameters
    ----------
    critic
        Reward model that the critic begins as, or a language model that gets a new head (None: the
        policy's).
    critic_learning_rate
        Of the critic (None: 3.3 times the policy's).
    critic_rounds
        Rounds at first in which only the critic learns.
    value_clip
        How far a value counts from what it was when sampled (0: any distance).
    value_weight
        Of the critic's loss.
    kl
        Weight of the log-ratio of each token to the reference, taken from its reward.
    discount
        Of what comes later (gamma).
    decay
        Of the estimate of advantages (lambda).
    raw_rewards
        Rewards as they are, not less their running mean and over their deviation.
    reward_clip
        How far from 0 a reward may be, once it is normalised (0: any distance).
    cut_reward
        What an output earns that was cut (None: what the reward says).
    whiten
        Bring the advantages of a round to mean 0 and deviation 1.
    advantage_clip
        How far from 0 an advantage may be (None: any distance).
    """

    critic: str | None = None
    critic_learning_rate: Positive | None = None
    critic_rounds: Count = 5
    value_clip: Weight = 0.2
    value_weight: Weight = 1.0
    kl: Weight = 0.05
    discount: Unit = 1.0
    decay: Unit = 0.95
    raw_rewards: Flag = False
    reward_clip: Weight = 0.8
    cut_reward: float | None = None
    whiten: Flag = False
    advantage_clip: Positive | None = None

    def settings(self) -> dict[str, Any]:
        """As ``PPOConfig`` has them."""
        found = {name: value for name, value in vars(self).items() if name != "critic"}
        normal = not found.pop("raw_rewards")
        clips = {name: found[name] or None for name in ("value_clip", "reward_clip")}
        return found | clips | {"reward_centre": normal, "reward_scale": normal}


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Learning:
    """How outputs are learned from.

    Parameters
    ----------
    objective
        ppo, grpo, dr-grpo, dapo, gspo, gmpo or cispo: how ratios are clipped and averaged.
    option
        NAME=VALUE of the objective, such as entropy_weight=0.01; repeatable.
    reference
        Model that KL is to (None: the one that training starts from).
    passes
        Over the outputs of a round.
    steps_per_round
        Optimizer steps of one pass.
    mask_cut
        Do not learn from outputs that were cut.
    filter
        Which outputs of a prompt are learned from, by the rank of their rewards.
    filter_option
        NAME=VALUE of the filter, such as exponent=3; repeatable.
    kept
        Outputs of each prompt that are drawn by the filter (None: as many as are sampled).
    pretraining
        File with a column text: what keeps the model fluent.
    pretraining_weight
        Of its negative log-likelihood.
    pretraining_rows
        Texts of each batch.
    """

    objective: str = "ppo"
    option: Names = None
    reference: str | None = None
    passes: AtLeastOne = 1
    steps_per_round: AtLeastOne = 1
    mask_cut: Flag = False
    filter: FILTERS = "all"
    filter_option: Names = None
    kept: AtLeastOne | None = None
    pretraining: Path | None = None
    pretraining_weight: Weight = 0.0
    pretraining_rows: AtLeastOne = 4

    def settings(self) -> dict[str, Any]:
        """As ``PPOConfig`` has them."""
        names = ("objective", "passes", "steps_per_round", "mask_cut", "filter", "kept")
        found = {name: getattr(self, name) for name in names}
        return found | {
            "objective_options": objective_options(self.option),
            "filter_options": objective_options(self.filter_option),
            "pretraining_weight": self.pretraining_weight,
            "pretraining_rows": self.pretraining_rows,
        }


def train_with_critic(
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
    criticism: Criticism = Criticism(),
    learning: Learning = Learning(),
    sampling: OneSampled = OneSampled(),
    reflecting: Reflecting = Reflecting(),
    lora: Lora = Lora(),
    tuning: GroupTuning = GroupTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a language model by rewards and a critic (PPO).

    What each output earned is compared with what the critic expected, token by token. Defaults are
    a recipe that keeps training alive; policyrank collapse OUT/log.jsonl watches it. The critic is
    kept in OUT/critic.
    """
    check_folder(out)
    if rewarding.reward_kl:
        raise OptionError("--reward-kl is of groups: here KL is taken token by token (--kl).")
    from policyrank.models.fitting import Seen
    from policyrank.models.provenance import about
    from policyrank.train import PPOConfig, PPOTrainer
    from policyrank.train.group_report import SampleLog
    from policyrank.train.saving import refuse_overwriting

    names = {"--model": model, "--reference": learning.reference, "--critic": criticism.critic}
    refuse_overwriting(out, names | rewarding.models())
    tuning.check()
    sampling.check(lora)
    read = texts.of(model, about(model))
    seen = Seen()
    reward = rewarding.composed(texts, seen)
    args = made(
        PPOConfig,
        str(out / CHECKPOINTS),
        **tuning.settings(),
        **read.options,
        **criticism.settings(),
        **learning.settings(),
        **sampling.settings(),
        **rewarding.settings(),
    )
    found, tokenizer = load_model(model, tuning, lora)
    log = SampleLog(out)
    trainer = PPOTrainer(
        found,
        args,
        reward,
        data,
        evaluation,
        processing_class=tokenizer,
        sampler=sampling.sampler(args, tokenizer, say),
        critic=criticism.critic or (model if lora.lora else None),
        reference_model=reference_model(learning.reference, tuning, tokenizer),
        pretraining=learning.pretraining,
        show=log,
        replay=reflecting.made(),
        peft_config=lora.config(found, layers=tuning.layers),
        callbacks=[log.callback(), *tuning.watching(say)],
    )
    settings = rewarding.told() | criticism.settings() | learning.settings() | sampling.settings()
    settings |= {"critic": criticism.critic, "reference": learning.reference}
    settings |= {"server": sampling.server} | reflecting.told()
    if learning.pretraining is not None:
        settings["pretraining"] = learning.pretraining.name
    told = about_trained(trainer, model, data, tuning, settings)
    depends = run_dependencies(told, model, lora, tuning, reference=learning.reference)
    depends["rewards"] = rewarding.depends()
    run_training(trainer, out, told, depends, tuning, evaluation)
    if trainer.is_world_process_zero():
        tell(seen, read)
        tell_failures(trainer)
        tell_replays(trainer)
