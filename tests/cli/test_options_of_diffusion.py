"""Each option of ``policyrank train masked-diffusion`` reaches the trainer."""

import json
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.learn import Rollouts, rewarded

ASKED = [{"prompt": "say a", "right": "b"}, {"prompt": "say b", "right": "c"}]
BY = """
def lengths(completions, **columns):
    return [len(text) for text in completions]

def raises(completions, **columns):
    raise KeyError("no")
"""
TOLD = {"--data": "asked.jsonl", "--reward": "by.py:lengths", "--samples": 3, "--tokens": 4}


@pytest.fixture
def train(command, masked_lm, tmp_path, monkeypatch):
    """Run the verb up to its trainer, which does not train; it, and what was said."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(masked_lm, tmp_path / "lm")
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ASKED))
    (tmp_path / "one.jsonl").write_text(json.dumps(ASKED[0]) + "\n")
    (tmp_path / "by.py").write_text(BY)
    seen = []

    def begins(self, *_, **__):
        model = self.model
        drops = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
        trained = [name for name, own in model.named_parameters() if own.requires_grad]
        dtypes = {own.dtype for own in model.parameters()}
        seen.append(SimpleNamespace(of=self, drops=drops, trained=trained, dtypes=dtypes))
        return SimpleNamespace(training_loss=0.0)

    monkeypatch.setattr(transformers.Trainer, "train", begins)

    def call(*words, code=0, **told):
        seen.clear()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        given = {"--model": "lm", "--out": "out", **TOLD}
        given = {name: value for name, value in given.items() if name not in words}
        given |= told
        flat = [word for pair in given.items() for word in pair]
        found, said = command("train", "masked-diffusion", *flat, *words)
        assert found == code, said.err
        return (seen[0] if seen else None), said

    return call


ARGS = {
    "--epochs": ("num_train_epochs", 2),
    "--steps": ("max_steps", 3),
    "--batch": ("per_device_train_batch_size", 5),
    "--accumulate": ("gradient_accumulation_steps", 2),
    "--learning-rate": ("learning_rate", 0.02),
    "--schedule": ("lr_scheduler_type", "cosine"),
    "--warmup": ("warmup_steps", 2),
    "--optimizer": ("optim", "sgd"),
    "--weight-decay": ("weight_decay", 0.1),
    "--clip": ("max_grad_norm", 0.5),
    "--seed": ("seed", 5),
    "--log-every": ("logging_steps", 3),
    "--save": ("save_steps", 7),
    "--samples": ("samples", 5),
    "--tokens": ("tokens", 6),
    "--denoising-steps": ("denoising_steps", 2),
    "--block": ("block", 2),
    "--order": ("order", "entropy"),
    "--choice": ("choice", "order"),
    "--temperature": ("temperature", 0.5),
    "--sampled-rows": ("sampled_rows", 9),
    "--advantage": ("advantage", "rloo"),
    "--objective": ("objective", "grpo"),
    "--passes": ("passes", 3),
    "--steps-per-round": ("steps_per_round", 2),
    "--max-length": ("max_length", 60),
    "--reward-seconds": ("reward_seconds", 5),
    "--reward-kl": ("reward_kl", 0.2),
}
"""Option -> the name that the trainer's options have for it, and a value that is no default."""
FLAGS = {
    "--bf16": ("bf16", True),
    "--gradient-checkpointing": ("gradient_checkpointing", True),
    "--keep-agreeing": ("keep_agreeing", True),
    "--mask-cut": ("mask_cut", True),
    "--count-failures": ("failures", "count"),
    "--plain": ("chat", False),
    "--cut-prompts": ("long_prompts", "cut"),
}


@pytest.mark.parametrize("option", [*ARGS, *FLAGS])
def test_the_trainer_is_told(train, option):
    name, value = (ARGS | FLAGS)[option]
    words = [option] if option in FLAGS else [option, value]
    if option == "--block":
        words += ["--denoising-steps", 4]
    old, _ = train(*(["--denoising-steps", 4] if option == "--block" else []))
    new, _ = train(*words)
    assert getattr(old.of.args, name) != value
    assert getattr(new.of.args, name) == value
    how, sampler = new.of.args.denoising(), new.of.groups.sampler
    assert (sampler.how, sampler.rows) == (how, new.of.args.sampled_rows)


def test_named_options(train):
    told = ["--advantage-option", "epsilon=0.5", "--option", "beta=0.5", "--chat"]
    own, said = train(*told, "--report-to", "zzz", code=2)
    assert "--report-to zzz" in said.err
    own, _ = train(*told[:4])
    assert own.of.args.advantage_options == {"epsilon": 0.5}
    assert own.of.args.objective_options == {"beta": 0.5}
    assert own.of.likely.reference is not None
    assert train()[0].of.likely.reference is None
    own, _ = train("--reference", "lm")
    assert type(own.of.likely.reference).__name__ == "BertForMaskedLM"
    assert "no chat template" in train("--chat", code=1)[1].err


def test_weights_and_layers(train, monkeypatch):
    pushed = []
    monkeypatch.setattr("policyrank.train.saving.push", lambda *told: pushed.append(told[1]))
    old, _ = train()
    new, _ = train("--layers", 1, "--dropout", "--dtype", "bfloat16", "--push", "me/mine")
    assert pushed == ["me/mine"]
    assert (old.drops, new.drops >= {0.1}) == ({0.0}, True)
    assert (old.dtypes, new.dtypes) == ({torch.float32}, {torch.bfloat16})
    for own, all_of_it in ((old, True), (new, False)):
        assert any(".layer.0." in name for name in own.trained) == all_of_it
        assert any(".layer.1." in name for name in own.trained)
        assert any("unmasking_policy" in name for name in own.trained)
    known = json.loads(Path("out", "policyrank.json").read_text())
    assert known["kind"] == "masked-diffusion"
    assert known["settings"]["order"] == "learned"
    assert Path("out", "unmasking_policy.json").is_file()
    shutil.copytree("out", "trained")
    again, _ = train("--model", "trained", "--layers", 1)
    assert not [note for note in again.of.notes if "unmasking policy" in note]
    assert sum("unmasking_policy.layers" in name for name in again.trained) > 3


def test_rewards_and_data(train):
    """All of ``train group``'s rewards; here those that show that each option arrives."""
    own, _ = train("--reward", "exact", "--label", "right", "--lenient")
    group = Rollouts(
        torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2, dtype=torch.long),
        prompts=["say a"] * 2, completions=[" b ", "c"], columns={"right": ["b"] * 2},
    )  # fmt: skip
    assert rewarded(group, own.of.groups.reward).values.tolist() == [1, 0]
    words = ["--reward", "exact", "--reward", "by.py:lengths", "--label", "right", "--lenient"]
    own, _ = train(*words, "--weight", 10, "--weight", 1)
    assert rewarded(group, own.of.groups.reward).values.tolist() == [13, 1]
    own, _ = train(*words, "--compose", "hard")
    assert rewarded(group, own.of.groups.reward).values.tolist() == [3, 0]
    own, _ = train("--reward", "by.py:raises", "--count-failures", "--reward-seconds", 5)
    assert rewarded(group, own.of.groups.reward).values.isnan().all()
    for word, value in (("--places", 1), ("--test-seconds", 1.5), ("--package", "numpy")):
        own, _ = train("--reward", "by.py:lengths", word, value)
        name = word.removeprefix("--").replace("-", "_")
        assert str(value) in own.of.depends["rewards"][name]
    for words in (["--references", "one.jsonl"], ["--polar", "sft"], ["--trust-remote-code"]):
        said = train(*words, code=2)[1].err
        assert words[0] in said
        assert "reward" in said
    own, said = train("--eval", "one.jsonl", "--data", "one.jsonl")
    assert (len(own.of.train_dataset), len(own.of.eval_dataset)) == (1, 1)
    assert "greedy_reward: " in said.out
    assert len(train()[0].of.train_dataset) == 2


def test_code_of_a_model_runs_only_where_that_is_told(train, monkeypatch):
    from policyrank.models import masked_language

    made, told = masked_language.load_masked_lm, []

    def record(*arguments, **options):
        told.append(options["trust_remote_code"])
        return made(*arguments, **options | {"trust_remote_code": False})

    monkeypatch.setattr(masked_language, "load_masked_lm", record)
    train()
    train("--trust-model-code")
    assert told == [False, True]


def test_what_does_not_fit_is_one_line(train):
    for words, said in (
        (["--block", 3], "blocks of equal size"),
        (["--denoising-steps", 9], "at most one a token"),
        (["--objective", "segment-grpo"], "segment"),
        (["--tokens", 24, "--denoising-steps", 2], "choice='order'"),
        (["--out", "lm"], "would be overwritten"),
    ):
        assert said in train(*words, code=2)[1].err


def test_what_is_done_at_a_collapse(train, monkeypatch):
    calls = []

    def made(report, **told):
        calls.append(told["action"])
        return transformers.TrainerCallback()

    monkeypatch.setattr("policyrank.train.CollapseCallback", made)
    for words in ([], ["--collapse", "stop"], ["--collapse", "ignore"]):
        train(*words)
    assert calls == ["warn", "stop"]


def test_the_papers_setting(train, tmp_path):
    """configs/llada-gsm8k.toml, with a tiny model in place of LLaDA."""
    path = Path(__file__).parents[2] / "configs" / "llada-gsm8k.toml"
    told = tomllib.loads(path.read_text())["train"]["masked-diffusion"]
    (tmp_path / "gsm8k").mkdir()
    for name in ("train", "test"):
        (tmp_path / "gsm8k" / f"{name}.jsonl").write_text('{"prompt": "a", "label": "1"}\n')
    text = path.read_text().replace("GSAI-ML/LLaDA-8B-Instruct", "lm")
    text = text.replace("tokens = 256", "tokens = 60").replace("steps = 64", "steps = 15")
    (tmp_path / "own.toml").write_text(text.replace("eval =", "# eval ="))
    from policyrank.cli import main

    words = ["policyrank", "--config", "own.toml", "train", "masked-diffusion"]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words)
        patch.setattr(transformers.Trainer, "train", lambda own, *_, **__: seen.append(own))
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 0
    args = seen[0].args
    for option, name in (
        ("samples", "samples"), ("order", "order"), ("choice", "choice"), ("steps", "max_steps"),
        ("batch", "per_device_train_batch_size"), ("accumulate", "gradient_accumulation_steps"),
        ("learning_rate", "learning_rate"), ("seed", "seed"), ("objective", "objective"),
    ):  # fmt: skip
        assert getattr(args, name) == told[option], option
    assert args.denoising().most == 4 == told["tokens"] // told["denoising_steps"]
