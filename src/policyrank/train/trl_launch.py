"""Run ``RolloutGRPOTrainer`` from a file: ``accelerate launch -m policyrank.train.trl_launch``.

``--config FILE.yaml`` takes what TRL's own ``trl grpo`` takes (GRPOConfig, ModelConfig, the data
set), and ``RolloutArguments``; flags win over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trl import (
    GRPOConfig,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_peft_config,
    get_quantization_config,
)

from policyrank.errors import OptionError
from policyrank.learn.losses import PolicyObjective
from policyrank.train.places import imported
from policyrank.train.trl import RolloutGRPOTrainer
from policyrank.train.trl_batches import named_objective


@dataclass
class RolloutArguments(ScriptArguments):
    """What ``RolloutGRPOTrainer`` is made of, as texts; functions are ``"module:name"``.

    Parameters
    ----------
    reward_funcs
        of TRL's kind
    group_rewards
        of this library
    groups
        column, or function of a row
    segments
        what gives, called with the tokenizer, a function of rollouts
    advantage
        function of rewards and rollouts
    objective
        a name, or a function's place; empty: TRL's loss
    keep_agreeing
        see ``RolloutGRPOTrainer``
    """

    dataset_name: str = field(default="", metadata={"help": "data set, or folder of its files"})
    reward_funcs: list[str] = field(default_factory=list, metadata={"help": "TRL's kind"})
    group_rewards: list[str] = field(default_factory=list, metadata={"help": "rewards of groups"})
    groups: str = field(default="", metadata={"help": "column, or module:function of a row"})
    segments: str = field(default="", metadata={"help": "module:function of a tokenizer"})
    advantage: str = field(default="", metadata={"help": "module:function of rewards, rollouts"})
    objective: str = field(default="", metadata={"help": "name, or module:function"})
    keep_agreeing: bool = field(default=False, metadata={"help": "groups of equal rewards count"})


def parsed(
    arguments: Sequence[str] | None = None,
) -> tuple[RolloutArguments, GRPOConfig, ModelConfig]:
    """Options of flags and of a file; unknown ones are refused."""
    kinds: Any = (RolloutArguments, GRPOConfig, ModelConfig)
    parser = TrlParser(kinds)
    rollout, training, model = parser.parse_args_and_config(args=arguments)
    return rollout, training, model


def trainer_options(given: RolloutArguments, tokenizer: Any) -> dict[str, Any]:
    """What the trainer is called with.

    Raises
    ------
    OptionError
        For what cannot be imported, or no reward.
    """
    if not given.reward_funcs and not given.group_rewards:
        raise OptionError("no reward: name reward_funcs or group_rewards.")
    groups: Any = given.groups or None
    if ":" in given.groups:
        groups = imported(given.groups)
    objective: Any = given.objective or None
    if ":" in given.objective:
        objective = imported(given.objective)
        if not isinstance(objective, PolicyObjective):
            raise OptionError(f"objective {given.objective!r}: it gives no PolicyObjective.")
    return {
        "reward_funcs": [imported(place) for place in given.reward_funcs],
        "group_rewards": [imported(place) for place in given.group_rewards],
        "groups": groups,
        "segments": imported(given.segments)(tokenizer) if given.segments else None,
        "advantage": imported(given.advantage) if given.advantage else None,
        "objective": named_objective(objective),
        "keep_agreeing": given.keep_agreeing,
    }


def main(arguments: Sequence[str] | None = None) -> RolloutGRPOTrainer:
    """Train, and write the model."""
    from datasets import load_dataset
    from transformers import AutoProcessor

    given, training, model = parsed(arguments)
    name = model.model_name_or_path
    if not name or not given.dataset_name:
        raise OptionError("name the model (model_name_or_path) and the data (dataset_name).")
    processing = AutoProcessor.from_pretrained(
        name, revision=model.model_revision, trust_remote_code=training.trust_remote_code
    )
    tokenizer = getattr(processing, "tokenizer", processing)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    loading = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    own: Any = training.model_init_kwargs
    training.model_init_kwargs = loading | dict(own or {})
    data = load_dataset(given.dataset_name, name=given.dataset_config)
    evaluated = training.eval_strategy != "no"
    trainer = RolloutGRPOTrainer(
        model=name,
        args=training,
        train_dataset=data[given.dataset_train_split],
        eval_dataset=data[given.dataset_test_split] if evaluated else None,
        processing_class=processing,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        **trainer_options(given, tokenizer),
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model(training.output_dir)
    return trainer


if __name__ == "__main__":
    main()
