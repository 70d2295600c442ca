"""Verbs that train and use language models: what they write is a model everywhere."""

import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

ROWS = [
    {"id": 7, "prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"id": 8, "prompt": "say c now", "completions": ["cccc", "dd"], "scores": [1, 0]},
    {"id": 9, "prompt": "h", "chosen": "hh", "rejected": "kkk"},
]
TRAIN = ["--steps", "20", "--learning-rate", "0.01", "--batch", "2"]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path):
    return written(tmp_path / "rows.jsonl", ROWS)


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb in an empty folder; its output, where it must have worked."""
    monkeypatch.chdir(tmp_path)

    return ran


def test_a_reward_model_remembers_how_texts_are_read(run, lm, rows, tmp_path):
    said = run(
        "train",
        "reward",
        "--data",
        rows,
        "--eval",
        rows,
        "--model",
        lm,
        "--out",
        "reward",
        "--plain",
        "--max-length",
        40,
        *TRAIN,
    )
    assert "training loss: " in said.out
    known = json.loads((tmp_path / "reward" / "policyrank.json").read_text())
    assert (known["kind"], known["chat"], known["max_length"]) == ("reward", False, 40)
    assert known["base"] == str(lm)
    assert known["data"]["lists"] == 3
    said = run("score", rows, "--reward", "reward", "--out", "scored.jsonl")
    assert "trained on" not in said.err
    assert "pairs in the order of the file: 100.0%" in said.err
    scored = lines(tmp_path / "scored.jsonl")
    assert [row["id"] for row in scored] == [7, 8, 9]
    assert scored[0]["given_scores"] == [1, 0, 0.5]
    assert scored[0]["ranks"] == [1, 3, 2]
    assert scored[2]["completions"] == ["hh", "kkk"]
    said = run("score", rows, "--reward", "reward", "--max-length", 20)
    assert "! reward was trained on at most 40 tokens; as told, 20 are read" in said.err
    said = run("score", rows, "--reward", "reward", "--chat", code=1)
    assert "! reward was trained on texts read without a chat template; as told" in said.err
    log = lines(tmp_path / "reward" / "log.jsonl")
    assert {"step", "loss", "accuracy"} <= set(log[1])
    assert log[-1]["step"] == 20


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--reward", "is no reward model: it has no head that gives a score"),
        ("--program", "there is no file"),
    ],
)
def test_what_cannot_score_is_refused(run, lm, rows, option, message):
    assert message in run("score", rows, option, lm, code=1).err


def test_models_are_not_taken_for_others(run, lm, rows, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(lm)
    for name, labels in (("two", 2), ("untrained", 1)):
        config = LlamaConfig.from_pretrained(lm, num_labels=labels, pad_token_id=2)
        model = AutoModelForSequenceClassification.from_config(config)
        state = {key: value for key, value in model.state_dict().items() if "score" not in key}
        model.save_pretrained(name, state_dict=state if labels == 1 else None)
        tokenizer.save_pretrained(name)
    said = run("score", rows, "--reward", "two", code=1)
    assert "a classifier of 2 labels; a reward model gives one score" in said.err
    said = run("score", rows, "--reward", "untrained", code=1)
    assert "was never trained, and would score at random" in said.err
    said = run("score", rows, "--likelihood", "two", code=1)
    assert "is a sequence classifier (a reward model?), not a language model" in said.err


def test_adapters_are_found_trained_further_stacked_and_merged(run, lm, rows, tmp_path):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    train = ["train", "preference", "--data", rows, *TRAIN]
    run(*train, "--model", lm, "--out", "first", "--lora", 3, "--loss", "dpo")
    run(*train, "--model", "first", "--out", "further", "--loss", "dpo-pl", "--max-length", 50)
    run(*train, "--model", "first", "--out", "stack", "--lora", 2, "--reference", "adapter")
    run("merge", "stack", "--out", "merged")

    def scored(name):
        text = run("score", rows, "--likelihood", name).out
        return [json.loads(line)["scores"] for line in text.splitlines()]

    assert scored("first")[0] != pytest.approx(scored("further")[0], abs=1e-3)
    for own, other in zip(scored("stack"), scored("merged"), strict=True):
        assert own == pytest.approx(other, abs=1e-4)
    known = json.loads((tmp_path / "stack" / "policyrank.json").read_text())
    assert (known["base"], known["adapter"]) == (str(lm), True)
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        stacked = AutoPeftModelForCausalLM.from_pretrained("stack")(ids).logits
        merged = AutoModelForCausalLM.from_pretrained("merged")(ids).logits
    assert torch.allclose(stacked, merged, atol=1e-4)
    card = (tmp_path / "stack" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft")
    assert "AutoPeftModelForCausalLM" in card

    said = run("train", "reward", "--data", rows, "--model", "stack", "--out", "reward", *TRAIN)
    assert run("score", rows, "--reward", "reward").err.count("100.0%") >= 1
    said = run(
        "train", "reward", "--data", rows, "--model", lm, "--out", "small", "--lora", 4, *TRAIN
    )
    assert "pairs in the order of the file" in run("score", rows, "--reward", "small").err
    said = run("score", rows, "--likelihood", "small", code=1)
    assert "small is a reward model; here a language model is read" in said.err
    said = run(*train, "--model", "first", "--out", "x", "--layers", 1, code=2)
    assert "--layers: the model is adapters" in said.err


def test_a_base_that_moved_is_named(run, lm, rows, tmp_path):
    import shutil

    shutil.copytree(lm, tmp_path / "base")
    train = ["train", "preference", "--data", rows, "--loss", "dpo", *TRAIN]
    run(*train, "--model", "base", "--out", "adapter", "--lora", 2)
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    said = run("score", rows, "--likelihood", "adapter", code=1)
    assert "its base" in said.err
    assert "is not there any more" in said.err
    path = tmp_path / "adapter" / "policyrank.json"
    path.write_text(path.read_text().replace(str(tmp_path / "base"), str(tmp_path / "elsewhere")))
    run("score", rows, "--likelihood", "adapter")


def test_what_was_trained_loads_in_trl_and_transformers(run, lm, rows, tmp_path):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    run("train", "preference", "--data", rows, "--model", lm, "--out", "policy", *TRAIN)
    run("train", "reward", "--data", rows, "--model", "policy", "--out", "reward", *TRAIN)
    made = pipeline("text-generation", model="policy", device="cpu")("say a", max_new_tokens=3)
    assert made[0]["generated_text"].startswith("say a")
    tokenizer = AutoTokenizer.from_pretrained("reward")
    model = AutoModelForSequenceClassification.from_pretrained("reward").eval()
    assert model.config.num_labels == 1
    texts = [[*tokenizer(text).input_ids, 1] for text in ("hhh", "hkkk")]
    with torch.no_grad():
        scores = [float(model(torch.tensor([ids])).logits) for ids in texts]
    ours = json.loads(run("score", rows, "--reward", "reward").out.splitlines()[2])["scores"]
    assert scores == pytest.approx(ours, abs=1e-4)
    pair = [{"prompt": "h", "chosen": "hh", "rejected": "kkk"}]
    args = trl.DPOConfig(
        str(tmp_path / "trl"),
        max_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
    )
    trl.DPOTrainer("policy", args=args, train_dataset=datasets.Dataset.from_list(pair)).train()


def test_an_interrupted_run_goes_on_with_its_own_data_only(run, lm, rows, tmp_path, monkeypatch):
    from policyrank.train import ListwisePreferenceTrainer

    train = ["train", "preference", "--model", lm, "--loss", "dpo", "--save", 5, *TRAIN]
    saved = ListwisePreferenceTrainer.save_model

    def killed(self, folder=None, _internal_call=False):
        if not _internal_call:
            raise KeyboardInterrupt
        return saved(self, folder, _internal_call)

    monkeypatch.setattr(ListwisePreferenceTrainer, "save_model", killed)
    run(*train, "--data", rows, "--out", "policy", code=130)
    monkeypatch.setattr(ListwisePreferenceTrainer, "save_model", saved)
    others = written(tmp_path / "others.jsonl", ROWS[:2])
    said = run(*train, "--data", others, "--out", "policy", code=1)
    assert "was made with other training data: lists 3, here 2; texts and labels differ" in said.err
    said = run(*train, "--data", rows, "--out", "policy", "--beta", 0.5, code=1)
    assert "was made with other settings: beta None, here 0.5." in said.err
    said = run(*train, "--data", rows, "--out", "policy")
    assert "going on from" in said.err
    assert not (tmp_path / "policy" / "checkpoints").exists()


def test_one_long_prompt_ends_nothing(run, lm, tmp_path):
    prompts = written(
        tmp_path / "prompts.jsonl",
        [{"id": 1, "prompt": "say a"}, {"id": 2, "prompt": "d" * 300}, {"id": 3, "prompt": "e f"}],
    )
    said = run(
        "generate", prompts, "--model", lm, "--samples", 3, "--tokens", 8, "--out", "g.jsonl"
    )
    assert "! left out: 1 prompts that leave an answer neither" in said.err
    made = lines(tmp_path / "g.jsonl")
    assert [row["id"] for row in made] == [1, 2, 3]
    assert [len(row["completions"]) for row in made] == [3, 0, 3]
    (tmp_path / "judge.py").write_text("def score(prompt, answer): return answer.count('a')\n")
    run("score", "g.jsonl", "--program", "judge.py:score", "--out", "s.jsonl")
    assert lines(tmp_path / "s.jsonl")[1]["scores"] == []

    asked = written(
        tmp_path / "asked.jsonl",
        [{"prompt": "x" * 30, "completions": ["a", "b"]}, {"prompt": "x", "completions": ["a"]}],
    )
    said = run("score", asked, "--likelihood", lm, "--max-length", 20, "--out", "t.jsonl")
    assert "! left out: 2 prompts that leave an answer neither" in said.err
    assert lines(tmp_path / "t.jsonl")[0]["scores"] == [None, None]
    said = run("score", asked, "--likelihood", lm, "--max-length", 20, "--cut-prompts")
    assert "! cut at their beginning: 2 prompts" in said.err
    assert None not in json.loads(said.out.splitlines()[0])["scores"]


def test_generated_lists_are_trained_on(run, lm, tmp_path):
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "say a"}, {"prompt": "b c"}])
    (tmp_path / "judge.py").write_text("def score(prompt, answer): return len(answer)\n")
    run(
        "generate",
        prompts,
        "--model",
        lm,
        "--samples",
        6,
        "--tokens",
        6,
        "--temperature",
        1,
        "--program",
        "judge.py:score",
        "--out",
        "lists.jsonl",
    )
    made = lines(tmp_path / "lists.jsonl")
    for row in made:
        best = max(range(6), key=lambda k: row["scores"][k])
        assert row["answer"] == row["completions"][best]
    run("train", "preference", "--data", "lists.jsonl", "--model", lm, "--loss", "dpo", *TRAIN)
    run(
        "train",
        "distil",
        prompts,
        "--model",
        lm,
        "--teacher",
        "lists.jsonl",
        "--samples",
        3,
        "--tokens",
        5,
        "--temperature",
        1,
        *TRAIN,
    )


def test_another_teacher_is_not_taken_for_the_one_that_was_asked(run, lm, tmp_path):
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "say a"}, {"prompt": "b c"}])
    teachers = [
        written(tmp_path / f"{name}.jsonl", [{"prompt": p, "answer": "aaa"} for p in asked])
        for name, asked in (("one", ["say a", "b c", "d"]), ("two", ["say a", "b c"]))
    ]
    train = [
        "train",
        "distil",
        prompts,
        "--model",
        lm,
        "--samples",
        3,
        "--tokens",
        5,
        "--temperature",
        1,
        *TRAIN,
    ]
    run(*train, "--teacher", teachers[0])
    said = run(*train, "--teacher", teachers[1], code=1)
    assert "was made with other teacher: name" in said.err
    written(prompts, [{"prompt": "say a"}, {"prompt": "d"}])
    said = run(*train, "--teacher", teachers[0], code=1)
    assert "was made with other prompts: texts differ" in said.err
    (tmp_path / "student" / "round-1.json").unlink()
    run(*train, "--teacher", teachers[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--option", "beta=abc"], "beta='abc' is no number"),
        (["--loss", "ordinal"], "ordinal"),
        (["--optimizer", "nonsense"], "transformers refuses the options"),
        (["--loss", "softmax", "--data", "negative.jsonl"], "--labels"),
        (["--reference", "adapter"], "needs a peft model"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(run, lm, rows, tmp_path, options, message):
    negative = [{"prompt": "p", "completions": ["a", "b"], "scores": [-1, -2]}]
    written(tmp_path / "negative.jsonl", negative)
    data = [] if "--data" in options else ["--data", rows]
    said = run("train", "preference", *data, "--model", lm, *options, *TRAIN, code=2)
    assert message in said.err
    assert "Traceback" not in said.err


def test_a_configuration_file_and_chats(run, lm, tmp_path):
    from transformers import AutoTokenizer

    from policyrank.models.language import load_causal_lm

    model, _ = load_causal_lm(str(lm), device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(lm)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<e>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + '<e>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
    )
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained("chat")
    tokenizer.save_pretrained("chat")
    written(
        tmp_path / "unpaired.jsonl",
        [
            {"prompt": [{"role": "user", "content": f"say {c}"}], "completion": t, "label": c in t}
            for c in "abcd"
            for t in (c * 3, "zz")
        ],
    )
    (tmp_path / "train.toml").write_text(
        '[train.preference]\ndata = "unpaired.jsonl"\nmodel = "chat"\nloss = "kto-unpaired"\n'
        "steps = 12\nlearning_rate = 0.01\nwarmup = 0.25\nschedule = 'cosine'\naccumulate = 2\n"
        "weight_decay = 0.01\nbf16 = true\n"
    )
    said = run("train", "preference", "--config", "train.toml", "--out", "policy")
    assert "training loss: 0." in said.out
    known = json.loads((tmp_path / "policy" / "policyrank.json").read_text())
    assert known["objective"] == "kto-unpaired"
    assert (known["settings"]["warmup"], known["settings"]["bf16"]) == (0.25, True)
    assert known["dtype"] == "float32"
    log = [row for row in lines(tmp_path / "policy" / "log.jsonl") if "loss" in row]
    assert math.isfinite(log[-1]["loss"])


def test_loading_leaves_verbosity_as_it_was(lm):
    from transformers.utils import logging

    from policyrank.models.language import load_causal_lm

    logging.set_verbosity_info()
    try:
        load_causal_lm(str(lm), device="cpu")
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()


def test_what_lay_in_the_folder_is_not_loaded_in_place_of_what_was_trained(run, lm, rows, tmp_path):
    train = ["train", "preference", "--data", rows, "--model", lm, "--loss", "dpo", "--out", "st"]
    train += ["--steps", 2]
    out = tmp_path / "st"
    said = run(*train, "--lora", 2)
    assert "Writing model shards" not in said.err
    (out / "notes.txt").write_text("mine")
    said = run(*train)
    assert "Writing model shards" not in said.err
    assert not list(out.glob("adapter*"))
    assert (out / "model.safetensors").is_file()
    run(*train, "--lora", 2)
    assert not list(out.glob("model*"))
    assert not (out / "config.json").exists()
    assert (out / "notes.txt").read_text() == "mine"
    run("merge", "st", "--out", "merged")
    run("merge", "st", "--out", "merged")
    said = run("merge", "st", "--out", "st", code=2)
    assert "would be overwritten" in said.err
    assert (out / "adapter_config.json").is_file()


def test_models_that_are_read_are_not_overwritten(run, lm, rows, tmp_path):
    import shutil

    for name in ("base", "other"):
        shutil.copytree(lm, tmp_path / name)
    run(
        "train", "preference", "--data", rows, "--model", "base", "--out", "ad", "--lora", 2, *TRAIN
    )
    preference = ["train", "preference", "--data", rows, "--steps", 1]
    asked = written(tmp_path / "prompts.jsonl", [{"prompt": "say a"}])
    distil = ["train", "distil", asked, "--model", "base", "--teacher", "other"]
    group = ["train", "group", "--data", asked, "--model", "base"]
    group += ["--reward", "reward-model:other"]
    (tmp_path / "claims.csv").write_text("claim,label\na,1\nb,0\n")
    problems = written(tmp_path / "p.jsonl", [{"prompt": "def f():", "tests": ["assert f()"]}])
    programs = ["train", "programs", problems, "--model", "base", "--reranker", "other"]
    for verb, out in [
        ([*preference, "--model", "base"], "base"),
        ([*preference, "--model", "ad"], "ad"),
        ([*preference, "--model", "ad"], "base"),
        ([*preference, "--model", "base", "--reference", "other"], "other"),
        ([*preference, "--model", "base", "--reward", "other"], "other"),
        (["train", "reward", "--data", rows, "--model", "ad"], "base"),
        (distil, "other"),
        (group, "other"),
        (group, "base"),
        (programs, "other"),
        (["train", "persona", "claims.csv", "--model", "base"], "base"),
        (["merge", "ad"], "base"),
    ]:
        was = sorted((tmp_path / out).iterdir())
        said = run(*verb, "--out", out, code=2)
        assert "would be overwritten" in said.err
        assert sorted((tmp_path / out).iterdir()) == was


@pytest.fixture
def stopped(run, lm, rows, tmp_path, monkeypatch):
    """A run that was stopped after its last checkpoint, and the command that goes on."""
    import shutil

    from policyrank.train import ListwisePreferenceTrainer

    for name in ("base", "other"):
        shutil.copytree(lm, tmp_path / name)
    train = ["train", "preference", "--data", rows, "--model", "base", "--loss", "dpo"]
    train += ["--reference", "other", "--save", 5, "--log-every", 1, "--out", "policy", *TRAIN]
    saved = ListwisePreferenceTrainer.save_model

    def killed(self, folder=None, _internal_call=False):
        if not _internal_call:
            raise KeyboardInterrupt
        return saved(self, folder, _internal_call)

    with monkeypatch.context() as patch:
        patch.setattr(ListwisePreferenceTrainer, "save_model", killed)
        run(*train, code=130)
    return train


def test_a_run_does_not_go_on_from_what_others_made(run, stopped, tmp_path):
    import os

    for options, message in [
        (["--reference", "base"], "other reference: name"),
        (["--lora", 2], "other model: adapters None, here"),
        (["--max-length", 50], "other settings: max_length 256, here 50"),
        (["--learning-rate", 0.02], "other settings: learning_rate 0.01, here 0.02"),
        (["--dtype", "auto"], "other settings: weights float32, here as given; other options"),
    ]:
        command = stopped
        if options[0] in stopped:
            place = stopped.index(options[0])
            command = stopped[:place] + stopped[place + 2 :]
        said = run(*command, *options, code=1)
        assert f"was made with {message}" in said.err
    weights = tmp_path / "other" / "model.safetensors"
    os.utime(weights, (1, 1))
    assert "other reference: files differ" in run(*stopped, code=1).err


def test_half_a_checkpoint_is_left_out(run, stopped, tmp_path):
    folder = tmp_path / "policy" / "checkpoints"
    (folder / "checkpoint-25").mkdir()
    said = run(*stopped)
    assert "! checkpoint-25: written only in part or damaged, and left out" in said.err
    assert "going on from policy/checkpoints/checkpoint-20" in said.err
    known = json.loads((tmp_path / "policy" / "policyrank.json").read_text())
    assert known["settings"]["reference"] == str(tmp_path / "other")


def test_a_run_without_a_whole_checkpoint_starts_anew(run, stopped, tmp_path):
    for number in (15, 20):
        (tmp_path / "policy" / "checkpoints" / f"checkpoint-{number}" / "optimizer.pt").unlink()
    said = run(*stopped)
    assert "no checkpoint is whole: training starts anew" in said.err
    steps = [row["step"] for row in lines(tmp_path / "policy" / "log.jsonl") if "loss" in row]
    assert steps == list(range(1, 21))


def test_a_log_does_not_repeat_steps(run, stopped, tmp_path):
    (tmp_path / "policy" / "checkpoints" / "checkpoint-20" / "optimizer.pt").write_bytes(b"")
    run(*stopped)
    steps = [row["step"] for row in lines(tmp_path / "policy" / "log.jsonl") if "loss" in row]
    assert steps == list(range(1, 21))


def test_distillation_does_not_go_on_from_what_others_made(run, lm, tmp_path):
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "say a"}, {"prompt": "b c"}])
    answers = [{"prompt": p, "answer": "aaa"} for p in ("say a", "b c")]
    teacher = written(tmp_path / "teacher.jsonl", answers)
    train = ["train", "distil", prompts, "--model", lm, "--teacher", teacher, "--samples", 3]
    train += ["--tokens", 5, "--steps", 2, "--learning-rate", "0.01"]
    run(*train, "--temperature", 1)
    for more, message in [
        (["--temperature", 0.8], "settings: temperature 1.0, here 0.8"),
        (["--temperature", 1, "--lora", 2], "options: lora 0, here 2; other student: class"),
        (["--temperature", 1, "--learn", "pair"], "settings: learn list, here pair"),
        (["--temperature", 1, "--max-length", 60], "options: max_length 1024, here 60"),
    ]:
        assert f"was made with other {message}" in run(*train, *more, code=1).err
    written(teacher, [{"prompt": p, "answer": "bbb"} for p in ("say a", "b c")])
    said = run(*train, "--temperature", 1, code=1)
    assert "was made with other teacher: content differ" in said.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 0], "at least 1, or -1"),
        (["--epochs", 0], "Must be > 0"),
        (["--learning-rate", "nan"], "Must be"),
        (["--learning-rate", "inf"], "Must be finite"),
        (["--warmup", "inf"], "Must be finite"),
        (["--clip", "inf"], "Must be finite"),
        (["--beta", "nan"], "Must be finite"),
        (["--sft-weight", "inf"], "Must be finite"),
        (["--seed", -1], "Must be >= 0"),
        (["--lora-alpha", 4], "--lora-alpha is of adapters"),
        (["--lora-dropout", 0.1], "--lora-dropout is of adapters"),
        (["--lora-target", "q_proj"], "--lora-target is of adapters"),
        (["--rslora"], "--rslora is of adapters"),
        (["--lora", 2, "--lora-target", "nonsense"], "nonsense"),
        (["--beta", 0.5, "--option", "beta=0.2"], "say the same"),
        (["--report-to", "nonsense"], "transformers reports to"),
        (["--report-to", "neptune"], "its package is not installed"),
        (["--push", "a/b/c"], "--push: "),
    ],
)
def test_values_that_cannot_be_are_told_before_training(run, lm, rows, options, message):
    said = run(
        "train", "preference", "--data", rows, "--model", lm, "--loss", "dpo", *options, code=2
    )
    assert message in said.err
    assert "Traceback" not in said.err


def test_adapters_of_the_last_layers_only(run, lm, rows, tmp_path):
    from safetensors import safe_open

    for verb in ("preference", "reward"):
        train = ["train", verb, "--data", rows, "--model", lm, "--steps", 1, "--lora", 2]
        run(*train, "--layers", 1, "--out", verb)
        with safe_open(tmp_path / verb / "adapter_model.safetensors", framework="pt") as file:
            names = [name for name in file.keys() if "lora" in name]  # noqa: SIM118
        assert names
        assert all(".layers.1." in name for name in names)
        kinds = {name.split(".")[-3] for name in names}
        assert {"q_proj", "k_proj", "v_proj", "o_proj", "down_proj"} <= kinds


def test_what_was_trained_is_kept_where_it_cannot_be_uploaded(run, lm, rows, tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    def fails(*args, **options):
        raise OSError("Cannot reach the hub\nmore")

    monkeypatch.setattr(HfApi, "create_repo", fails)
    train = ["train", "preference", "--data", rows, "--model", lm, "--loss", "dpo", "--steps", 1]
    said = run(*train, "--push", "me/mine", code=1)
    last = said.err.splitlines()[-1]
    assert last.endswith("is in policy, but was not uploaded to me/mine: Cannot reach the hub")
    assert (tmp_path / "policy" / "model.safetensors").is_file()


def test_objectives_of_single_answers_are_listed(run):
    assert "kto-unpaired" in run("methods", "--train").out


def test_a_persona_takes_the_place_of_what_lay_there(run, lm, tmp_path):
    rows = "".join(f"{text},{k % 2}\n" for k, text in enumerate(["aa", "bb", "cc", "dd"] * 5))
    (tmp_path / "claims.csv").write_text(f"claim,label\n{rows}")
    train = ["train", "persona", "claims.csv", "--model", lm, "--steps", 1, "--held-out", 0.4]
    said = run(*train, "--layers", 1)
    assert "Writing model shards" not in said.err
    assert (tmp_path / "persona" / "adapter_config.json").is_file()
    run(*train, "--lora", 0)
    assert not (tmp_path / "persona" / "adapter_config.json").exists()
    assert (tmp_path / "persona" / "model.safetensors").is_file()
    assert "--rslora is of adapters" in run(*train, "--lora", 0, "--rslora", code=2).err


def test_prompts_are_not_cut_where_answers_are_sampled(run, lm, tmp_path):
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "say a"}])
    written(tmp_path / "t.jsonl", [{"prompt": "say a", "answer": "aaa"}])
    train = ["train", "distil", prompts, "--model", lm, "--teacher", "t.jsonl"]
    assert "are left out here, not cut" in run(*train, "--cut-prompts", code=2).err
    assert "zzz" in run(*train, "--option", "zzz=1", code=2).err
    assert not (tmp_path / "student").exists()
