"""The papers' own settings: TRL and verl read their files, which name what is there."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("verl")

import yaml
from hydra import compose, initialize_config_dir
from transformers import TrainingArguments
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from policyrank.errors import OptionError
from policyrank.learn import POLICY_OBJECTIVES, PolicyObjective
from policyrank.train import trl_launch
from policyrank.train.trl import RolloutGRPOTrainer
from policyrank.train.trl_batches import check_loss
from policyrank.train.verl import LOSSES
from policyrank.train.verl_seams import NOTHING, GroupOptions
from verl_here import importable

CONFIGS = Path(__file__).parents[2] / "configs"
OF_TRL = sorted(path.stem for path in (CONFIGS / "trl").glob("*.yaml"))
OF_VERL = sorted(path.stem for path in (CONFIGS / "verl").glob("*.yaml"))
HERE = ["--use_cpu", "true", "--bf16", "false", "--report_to", "none"]


class Tokenizer:
    eos_token_id = 1


def test_all_papers_are_there():
    assert set(OF_TRL) | set(OF_VERL) == {
        "rank-r1",
        "reasonrank",
        "rank-grpo",
        "f-grpo",
        "rapo",
        "vqathinker",
        "pow3r",
    }


@pytest.mark.parametrize("name", OF_TRL)
def test_trl_reads_it(name, monkeypatch):
    """With as many processes as it says, so that groups fill its batches."""
    path = CONFIGS / "trl" / f"{name}.yaml"
    processes = int(re.search(r"--num_processes (\d+)", path.read_text())[1])
    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda _: processes))
    given, training, model = trl_launch.parsed(["--config", str(path), *HERE])
    told = yaml.safe_load(path.read_text())
    for key, value in told.items():
        if key != "bf16":
            own = next(part for part in (given, training, model) if hasattr(part, key))
            assert getattr(own, key) == value, key
    options = trl_launch.trainer_options(given, Tokenizer())
    assert options["group_rewards"]
    check_loss(options["objective"], training, options["segments"] is not None)
    assert training.generation_batch_size % training.num_generations == 0


PROMPTS = [{"prompt": text, "relevant": ["a", "b"]} for text in ("ab", "cd", "ef", "gh")]


def test_a_file_is_trained_from(lm, tmp_path):
    """Rank-GRPO's, on a model of characters: the launcher from its file to the saved model."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    flags = {
        "model_name_or_path": lm,
        "dataset_name": data,
        "output_dir": tmp_path / "out",
        "use_vllm": "false",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 8,
        "max_steps": 1,
        "optim": "sgd",
        "num_generations": 4,
        "gradient_checkpointing": "false",
        "disable_tqdm": "true",
    }
    path = CONFIGS / "trl" / "rank-grpo.yaml"
    more = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    trainer = trl_launch.main(["--config", str(path), *HERE, *more])
    assert isinstance(trainer, RolloutGRPOTrainer)
    assert trainer.objective == PolicyObjective(ratio="segment", clip=(0.06, 0.08), beta=0.001)
    assert trainer.sampled.segments is not None
    assert (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(ValueError, match="nonsense"):
        trl_launch.parsed(["--config", str(path), *HERE, "--nonsense", "1"])


def test_what_a_launch_lacks():
    with pytest.raises(OptionError, match="name the model"):
        trl_launch.main(["--output_dir", "x", *HERE])
    given = trl_launch.RolloutArguments()
    with pytest.raises(OptionError, match="no reward"):
        trl_launch.trainer_options(given, None)
    given.group_rewards = ["policyrank.train.compositions:chosen"]
    given.objective = "gspo"
    assert trl_launch.trainer_options(given, None)["objective"] == POLICY_OBJECTIVES["gspo"]
    given.objective = "math:sqrt"
    with pytest.raises(OptionError, match="no PolicyObjective"):
        trl_launch.trainer_options(given, None)
    given.objective, given.groups = "", "builtins:len"
    assert trl_launch.trainer_options(given, None)["groups"] is len


@pytest.fixture(params=OF_VERL)
def composed(request):
    """A configuration as verl's launcher composes it."""
    with initialize_config_dir(str(CONFIGS / "verl"), version_base=None):
        yield (
            request.param,
            compose(request.param, overrides=["hydra.searchpath=[pkg://verl.trainer.config]"]),
        )


def test_verl_composes_it(composed, monkeypatch):
    name, config = composed
    told = yaml.safe_load((CONFIGS / "verl" / f"{name}.yaml").read_text())

    def same(given, found, place):
        for key, value in given.items():
            if key == "defaults":
                continue
            assert key in found, f"{place}.{key}"
            if isinstance(value, dict):
                same(value, found[key], f"{place}.{key}")
            else:
                assert found[key] == value, f"{place}.{key}"

    same(told, config, name)
    with_reference = need_reference_policy(config)
    assert not need_critic(config)
    assert with_reference is (name == "reasonrank")
    validate_config(config=config, use_reference_policy=with_reference, use_critic=False)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.policy_loss.loss_mode in LOSSES
    assert actor.policy_loss.loss_mode in core_algos.POLICY_LOSS_REGISTRY
    assert config.algorithm.adv_estimator in core_algos.ADV_ESTIMATOR_REGISTRY
    options = GroupOptions.of(config.algorithm)
    assert options.scale == ("none" if name == "f-grpo" else "sample")
    importable(monkeypatch)
    from verl.trainer.ppo.v1 import get_trainer_cls

    from policyrank.train.verl_trainer import TrainerOptions

    assert get_trainer_cls(config.trainer.v1.trainer_mode)
    if name == "f-grpo":
        assert TrainerOptions.of(config).segments


def test_verl_loads_the_plug_in():
    """While it is itself being imported; and finds it where the package is installed."""
    told = "from verl.trainer.ppo import core_algos as c; print(list(c.ADV_ESTIMATOR_REGISTRY))"
    env = os.environ | {"VERL_USE_EXTERNAL_MODULES": "policyrank.train.verl"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=env, capture_output=True, text=True, timeout=300
    )
    assert "'policyrank'" in done.stdout, done.stderr
    project = tomllib.loads((CONFIGS.parent / "pyproject.toml").read_text())
    plugins = project["project"]["entry-points"]["verl.plugins"]
    assert plugins == {"policyrank": "policyrank.train.verl"}


def test_verl_asks_for_scores(composed):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    name, config = composed
    score = get_custom_reward_fn(config)
    texts = {
        "reasonrank": ("<think>t</think><answer>[2] > [1]</answer>", 1.3),
        "f-grpo": ("<SLATE>[1]</SLATE><RANK>[1]</RANK>", 1.0),
    }
    text, wanted = texts[name]
    more = {"order": [2, 1], "relevant": [2] if name == "reasonrank" else [1]}
    found = score(data_source="d", solution_str=text, ground_truth="", extra_info=more)
    assert found["score"] == pytest.approx(wanted)
    assert found["score"] != NOTHING
