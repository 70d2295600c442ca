"""The settings of papers that train with a critic: their files, with tiny models in place."""

import tomllib
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = {
    "tokens": "tokens",
    "samples": "samples",
    "kept": "kept",
    "filter": "filter",
    "kl": "kl",
    "decay": "decay",
    "reward_clip": "reward_clip",
    "whiten": "whiten",
    "critic_rounds": "critic_rounds",
    "critic_learning_rate": "critic_learning_rate",
    "pretraining_weight": "pretraining_weight",
    "learning_rate": "learning_rate",
    "schedule": "lr_scheduler_type",
    "batch": "per_device_train_batch_size",
    "accumulate": "gradient_accumulation_steps",
    "steps_per_round": "steps_per_round",
    "log_every": "logging_steps",
    "temperature": "temperature",
    "top_p": "top_p",
    "objective": "objective",
}


@pytest.mark.parametrize("name", ["ppo-max", "pf-ppo"])
def test_the_papers_setting(name, lm, tmp_path, monkeypatch):
    """Each number of the file arrives; only models, data and lengths are others here."""
    from policyrank.cli import main

    monkeypatch.chdir(tmp_path)
    told = tomllib.loads((CONFIGS / f"{name}.toml").read_text())["train"]["ppo"]
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "text": "b"}\n' * 32)
    (tmp_path / "by.py").write_text(
        "def size(completions, **_):\n    return [1.0, *map(len, completions)][1:]\n"
    )
    small = {"model": lm, "critic": lm, "reward": ["by.py:size"], "tokens": 8, "max_length": 64}
    small |= {key: "rows.jsonl" for key in ("data", "eval", "pretraining") if key in told}
    given = told | {key: value for key, value in small.items() if key in told}
    given |= {"bf16": False, "gradient_checkpointing": False}
    lines = [f"{key} = {toml(value)}" for key, value in given.items()]
    (tmp_path / "own.toml").write_text("\n".join(["[train.ppo]", *lines]))
    seen = []
    words = ["policyrank", "--config", "own.toml", "train", "ppo"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(transformers.Trainer, "train", lambda own, *_, **__: seen.append(own))
    monkeypatch.setattr(transformers.Trainer, "evaluate", lambda *_, **__: {})
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    args = seen[0].args
    for option, field in NAMES.items():
        if option in given:
            assert getattr(args, field) == given[option], option
    assert args.filter == told.get("filter", "all")
    policy = args.group_objective()
    assert policy.beta == 0
    assert policy.average == ("token" if name == "ppo-max" else "sequence")
    assert args.reward_centre
    assert args.reward_scale


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(toml(own) for own in value) + "]"
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'
