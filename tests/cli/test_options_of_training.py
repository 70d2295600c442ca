"""Each option of training a language model reaches the trainer, in every verb that has it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

ROWS = [
    {"prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"prompt": "say c now", "completions": ["cccc", "dd", "c"], "scores": [1, 0, 0.5]},
]
STEPS = [{"prompt": "say a", "tree": {"text": "a", "children": [{"text": "b", "score": 1}] * 2}}]
PROBLEMS = [{"prompt": "def f():", "tests": ["assert f()"], "entry_point": "f"}]
TEACHER = [{"prompt": row["prompt"], "answer": "aaa"} for row in ROWS]
CLAIMS = "claim,label\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate("abcdefgh"))
PROGRAM = """
def length(prompt, answer):
    return len(answer)

def lengths(completions, **columns):
    return [len(text) for text in completions]

def raises(completions, **columns):
    if columns["n"][0] == 1:
        raise KeyError("no")
    return lengths(completions)

def hangs(completions, **columns):
    import time
    time.sleep(20)
"""
ASKED = [
    {"prompt": "say a", "label": [0, 2, 1], "right": "b", "n": 1},
    {"prompt": "say b", "label": [1, 0, 0], "right": "c", "n": 2},
]

QUESTIONS = [{"question": "say a", "answer": ["ab", "b"]}, {"question": "b", "answer": "c"}]
DOCUMENTS = [
    {"_id": "one", "text": "ab is a letter after another letter"},
    {"_id": "two", "text": "cd are letters that nobody wants"},
    {"_id": "three", "text": "letter c"},
]

VERBS = {
    "preference": "--data rows.jsonl",
    "reward": "--data rows.jsonl",
    "distil": "rows.jsonl --teacher teacher.jsonl --samples 3 --tokens 4",
    "group": "--data asked.jsonl --reward by.py:lengths --samples 3 --tokens 4",
    "ppo": "--data asked.jsonl --reward by.py:lengths --samples 3 --tokens 4",
    "search-agent": (
        "--questions questions.jsonl --corpus documents.jsonl --samples 3 --tokens 30"
        " --instruction told.txt"
    ),
    "programs": "problems.jsonl --reranker lm --rounds 1 --tokens 4 --samples 3",
    "persona": "claims.csv --held-out 0.5",
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def shaky(lm, tmp_path_factory):
    """The random Llama with dropout and a chat template."""
    folder = tmp_path_factory.mktemp("shaky") / "lm"
    shutil.copytree(lm, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.3}))
    template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer | {"chat_template": template})
    )
    return folder


def as_it_stands(trainer):
    """A trainer when training was to begin: its model changes later."""
    model = trainer.model
    attention, adapters = [], []
    for module in model.modules():
        attention += [own for name, own in vars(module).items() if name == "attention_dropout"]
        if len(getattr(module, "lora_dropout", ())):
            adapters.append(getattr(module.lora_dropout["default"], "p", 0))
    return SimpleNamespace(
        args=trainer.args,
        lists=len(trainer.train_dataset),
        held=trainer.eval_dataset and len(trainer.eval_dataset),
        judge=getattr(trainer, "judge", None),
        reference=getattr(trainer, "reference", None),
        groups=getattr(trainer, "groups", None),
        likely=getattr(trainer, "likely", None),
        companion=getattr(trainer, "companion", None),
        replaying=getattr(trainer, "replaying", None),
        trained=[name for name, own in model.named_parameters() if own.requires_grad],
        dtype={own.dtype for name, own in model.named_parameters() if "lora" not in name},
        peft=getattr(model, "peft_config", {}).get("default"),
        dropout=set(attention),
        of_adapters=set(adapters),
    )


@pytest.fixture
def train(command, shaky, tmp_path, monkeypatch):
    """Run a verb up to its trainers, which do not train; them, and what was said."""
    from policyrank.evidence import read_answers
    from policyrank.train import programs
    from policyrank.worlds import sandbox

    monkeypatch.chdir(tmp_path)
    shutil.copytree(shaky, tmp_path / "lm")
    for name, rows in (("rows", ROWS), ("problems", PROBLEMS), ("teacher", TEACHER)):
        written(tmp_path / f"{name}.jsonl", rows)
    written(tmp_path / "steps.jsonl", STEPS)
    written(tmp_path / "asked.jsonl", ASKED)
    written(tmp_path / "questions.jsonl", QUESTIONS)
    written(tmp_path / "documents.jsonl", DOCUMENTS)
    (tmp_path / "told.txt").write_text("search it ")
    (tmp_path / "claims.csv").write_text(CLAIMS)
    (tmp_path / "by.py").write_text(PROGRAM)
    seen, programmed = [], []

    def begins(self, *_, **__):
        seen.append(as_it_stands(self))
        return SimpleNamespace(training_loss=0.0)

    def self_train(problems, generator, fit, test, *, improve, **options):
        fit(list(read_answers(tmp_path / "rows.jsonl")))
        programmed.append(options | {"problems": problems, "fit": fit, "test": test})
        programmed[-1]["improve"] = improve
        if improve is not None:
            improve(lambda asked, answers: [list(range(len(own))) for own in answers], 1)
        return SimpleNamespace(history=[])

    monkeypatch.setattr(transformers.Trainer, "train", begins)
    monkeypatch.setattr(programs, "self_train", self_train)
    monkeypatch.setattr(sandbox, "unavailable", lambda: "")

    def call(verb, *words, code=0):
        seen.clear()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        own = [] if "--model" in words else ["--model", "lm"]
        if "--out" not in words:
            own += ["--out", "out"]
        found, said = command("train", verb, *VERBS[verb].split(), *own, *words)
        assert found == code, said.err
        return list(seen), said

    call.programmed = programmed
    return call


ARGS = {
    "--epochs": ("num_train_epochs", 2),
    "--steps": ("max_steps", 7),
    "--batch": ("per_device_train_batch_size", 5),
    "--accumulate": ("gradient_accumulation_steps", 2),
    "--learning-rate": ("learning_rate", 0.02),
    "--schedule": ("lr_scheduler_type", "cosine"),
    "--warmup": ("warmup_steps", 2),
    "--optimizer": ("optim", "sgd"),
    "--weight-decay": ("weight_decay", 0.1),
    "--clip": ("max_grad_norm", 0.5),
    "--bf16": ("bf16", True),
    "--seed": ("seed", 5),
    "--report-to": ("report_to", ["mine"]),
}
"""Option -> transformers' name of it, and a value that is not the default."""
OF_STEPS = {"--log-every": ("logging_steps", 3), "--save": ("save_steps", 7)}
HAVE = {
    "group": OF_STEPS,
    "ppo": OF_STEPS,
    "search-agent": OF_STEPS,
    "preference": OF_STEPS,
    "reward": OF_STEPS,
    "persona": OF_STEPS,
}


@pytest.mark.parametrize("verb", VERBS)
def test_how_a_model_is_trained(train, monkeypatch, verb):
    """The trainers of --schedule, --log-every and the like have what was told, and not before."""
    from transformers import integrations

    kinds = integrations.integration_utils.INTEGRATION_TO_CALLBACK
    monkeypatch.setitem(kinds, "mine", transformers.TrainerCallback)
    monkeypatch.setattr(integrations, "get_available_reporting_integrations", lambda: ["mine"])
    pushed = []
    monkeypatch.setattr("policyrank.train.saving.push", lambda *told: pushed.append(told[1]))
    options = ARGS | HAVE.get(verb, {})
    words = ["--gradient-checkpointing", "--dropout", "--layers", 1, "--dtype", "bfloat16"]
    words += ["--push", "me/mine"]
    for option, (_, value) in options.items():
        words += (
            [option]
            if value is True
            else [option, *(value if option == "--report-to" else [value])]
        )
    before, _ = train(verb)
    assert not pushed
    after, _ = train(verb, *words)
    assert pushed == ["me/mine"]
    assert len(before) == len(after) == {"distil": 2, "programs": 2}.get(verb, 1)
    for old, new in zip(before, after, strict=True):
        for option, (name, value) in options.items():
            assert getattr(new.args, name) == value, option
            assert getattr(old.args, name) != value, option
        for own, told in ((old, False), (new, True)):
            assert own.args.gradient_checkpointing == told
            assert own.dropout == {0.3 if told else 0}
            assert own.dtype == {torch.bfloat16 if told else torch.float32}
            assert any(".layers.0." in name for name in own.trained) != told
            assert any(".layers.1." in name for name in own.trained)
        steps = {"--log-every": new.args.logging_strategy, "--save": new.args.save_strategy}
        for option, strategy in steps.items():
            assert strategy == ("steps" if option in options else "no")


@pytest.mark.parametrize("verb", VERBS)
def test_adapters_are_as_told(train, verb):
    words = "--lora 3 --lora-alpha 5 --lora-dropout 0.25 --lora-target q_proj --rslora".split()
    for own in train(verb, *words)[0][: None if verb != "programs" else 1]:
        found = (own.peft.r, own.peft.lora_alpha, own.peft.target_modules, own.peft.use_rslora)
        assert found == (3, 5, {"q_proj"}, True)
        assert own.of_adapters == {0.25}
    (old, *_), _ = train(verb)
    assert (old.peft is None) == (verb != "persona")
    if verb == "persona":
        assert (old.peft.r, old.peft.use_rslora) == (16, False)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "persona"])
def test_how_texts_are_read(train, verb):
    (old, *_), _ = train(verb)
    for words, name, value in (
        ("--max-length 60", "max_length", 60),
        ("--plain", "chat", False),
        ("--chat", "chat", True),
        ("--cut-prompts", "long_prompts", "cut"),
    ):
        if words == "--cut-prompts" and verb == "distil":
            assert "--cut-prompts: prompts" in train(verb, words, code=2)[1].err
            continue
        (new, *rest), _ = train(verb, *words.split())
        assert getattr(old.args, name) != value
        assert getattr(new.args, name) == value
        if name != "long_prompts":
            assert all(getattr(own.args, name) == value for own in rest)


@pytest.mark.parametrize("verb", VERBS)
def test_where_a_model_comes_from_and_goes(train, tmp_path, verb):
    shutil.copytree(tmp_path / "lm", tmp_path / "base")
    train(verb, "--model", "base", "--out", "elsewhere")
    known = json.loads((tmp_path / "elsewhere" / "policyrank.json").read_text())
    base = "lm" if verb == "programs" else "base"
    assert known["base"] == str(tmp_path / base)
    weights = "adapter_model" if verb == "persona" else "model"
    assert (tmp_path / "elsewhere" / f"{weights}.safetensors").is_file()


@pytest.mark.parametrize(
    ("verb", "words", "name", "value"),
    [
        ("preference", "--loss dpo", "loss", "dpo"),
        ("preference", "--labels win-shares", "labels", "win-shares"),
        ("preference", "--beta 0.5", "loss_options", {"beta": 0.5}),
        ("preference", "--option beta=0.4", "loss_options", {"beta": 0.4}),
        ("preference", "--sft-weight 0.3", "sft_weight", 0.3),
        ("preference", "--step-weights exp", "step_weights", "exp"),
        ("preference", "--lora 2 --reference adapter", "reference", "adapter"),
        ("reward", "--loss plackett-luce", "loss", "plackett-luce"),
        ("reward", "--labels win-shares", "labels", "win-shares"),
        ("reward", "--imitation 0.2", "imitation", 0.2),
        ("programs", "--loss plackett-luce", "loss", "plackett-luce"),
    ],
)
def test_an_objective_is_as_told(train, verb, words, name, value):
    (old, *_), _ = train(verb)
    (new, *_), _ = train(verb, *words.split())
    assert getattr(old.args, name) != value
    assert getattr(new.args, name) == value


def test_options_of_a_reward_loss(train):
    assert "zzz" in train("reward", "--option", "zzz=1", code=2)[1].err


def test_data_to_evaluate_on(train, tmp_path):
    written(tmp_path / "one.jsonl", ROWS[:1])
    for verb in ("preference", "reward"):
        (old,), said = train(verb)
        assert (old.lists, old.held) == (2, None)
        assert "accuracy" not in said.out
        (new,), said = train(verb, "--eval", "one.jsonl")
        assert new.held == 1
        assert "accuracy: " in said.out


def test_a_reference_and_a_judge(train, tmp_path, lm, monkeypatch):
    """What --reference, --reward and --with-reference name is loaded."""
    shutil.copytree(tmp_path / "lm", tmp_path / "other")
    (old,), _ = train("preference", "--eval", "rows.jsonl")
    (new,), _ = train("preference", "--reference", "other")
    assert (old.reference, type(new.reference).__name__) == ("precompute", "LlamaForCausalLM")
    train("reward", "--out", "rm")
    (judged,), said = train("preference", "--eval", "rows.jsonl", "--reward", "rm")
    assert old.judge is None is not judged.judge
    assert "win_rate" in said.out
    assert "--eval" in train("preference", "--reward", "rm", code=2)[1].err
    train("reward", "--with-reference", "--out", "discriminator")
    kinds = [
        json.loads((tmp_path / n / "policyrank.json").read_text())["kind"]
        for n in ("rm", "discriminator")
    ]
    assert kinds == ["reward", "discriminator"]


def told_of(monkeypatch, place, made=None):
    """What a function is called with, which then does nothing."""
    calls = []

    def record(*arguments, **options):
        calls.append((arguments, options))
        return made

    monkeypatch.setattr(place, record)
    return calls


def test_distillation_is_as_told(train, monkeypatch, tmp_path):
    done = SimpleNamespace(history=[{"stage": 0}])
    calls = told_of(monkeypatch, "policyrank.train.distillation.distil", done)
    train("distil")
    words = "--learn pair --judge vote --rounds 3 --temperature 0.6 --option beta=0.3"
    train("distil", *words.split())
    names = ("learn", "judge", "rounds", "candidates", "loss_options", "sample")
    found = [[options[name] for name in names] for _, options in calls]
    sampled = {"max_new_tokens": 4, "temperature": 0.9}
    assert found[0] == ["list", "rating", 1, 3, {}, sampled]
    assert found[1] == ["pair", "vote", 3, 3, {"beta": 0.3}, sampled | {"temperature": 0.6}]
    assert [len(arguments[2]) for arguments, _ in calls] == [2, 2]
    assert calls[0][0][3] == {row["prompt"]: "aaa" for row in TEACHER}


def test_a_teacher_at_an_endpoint(train, monkeypatch):
    for words in (("--key", "SECRET"), ("--teacher-model", "big")):
        assert "are of an endpoint" in train("distil", *words, code=2)[1].err
    monkeypatch.setitem(VERBS, "distil", "rows.jsonl --teacher http://x --samples 5 --tokens 6")
    done = SimpleNamespace(history=[])
    calls = told_of(monkeypatch, "policyrank.train.distillation.distil", done)
    asked = told_of(monkeypatch, "policyrank.train.endpoints.Endpoint")
    assert "--teacher-model: which" in train("distil", code=2)[1].err
    train("distil", "--teacher-model", "big", "--key", "SECRET")
    assert asked[0][0] == ("http://x", "big", "SECRET")
    assert (calls[0][1]["candidates"], calls[0][1]["sample"]["max_new_tokens"]) == (5, 6)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--advantage rloo", "advantage", "rloo"),
        ("--advantage-option epsilon=0.5", "advantage_options", {"epsilon": 0.5}),
        ("--objective grpo", "objective", "grpo"),
        ("--option beta=0.5", "objective_options", {"beta": 0.5}),
        ("--passes 3", "passes", 3),
        ("--steps-per-round 2", "steps_per_round", 2),
        ("--keep-agreeing", "keep_agreeing", True),
        ("--mask-cut", "mask_cut", True),
        ("--reward-kl 0.3", "reward_kl", 0.3),
        ("--objective dpo --labels win-shares", "labels", "win-shares"),
    ],
)
def test_groups_are_compared_as_told(train, monkeypatch, words, name, value):
    ((old,), _), ((new,), _) = train("group"), train("group", *words.split())
    assert getattr(old.args, name) != value
    assert getattr(new.args, name) == value
    monkeypatch.setitem(VERBS, "group", "--data problems.jsonl --reward by.py:lengths --tokens 4")
    (other,), _ = train("group")
    assert (old.lists, other.lists) == (2, 1)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--replay 3", "most", 3),
        ("--replay-sides solved", "sides", "solved"),
        ("--replay-choice newest", "choice", "newest"),
        ("--replay-ratio stored", "ratio", "stored"),
        ("--damping 2", "damping", 2),
        ("--entropy-reward 0.3", "entropy_reward", 0.3),
        ("--entropy-share 0.4", "entropy_share", 0.4),
        ("--replay-capacity 5", "capacity", 5),
        ("--replay-rounds 9", "oldest", 9),
        ("--solved 0.8", "solved", 0.8),
    ],
)
def test_outputs_of_earlier_rounds_are_replayed(train, words, name, value):
    base = () if name == "most" else ("--replay", "1")
    (old,), _ = train("group", "--replay", "1")
    (new,), said = train("group", *base, *words.split())
    assert getattr(old.replaying.how, name) != value
    assert getattr(new.replaying.how, name) == value
    assert "of 0 groups 0 failed" in said.err
    (plain,), said = train("group")
    assert plain.replaying is None
    assert "groups" not in said.err


@pytest.mark.parametrize("verb", ["group", "ppo"])
def test_hard_prompts_are_asked_again(train, tmp_path, verb):
    (tmp_path / "again.txt").write_text("{answer}? {prompt}")
    words = "--hard 0.3 --reflection again.txt --solved 2 --replay-capacity 5 --replay-rounds 9"
    (new,), said = train(verb, *words.split())
    how = new.replaying.how
    assert (how.most, how.hard, how.reflection) == (0, 0.3, "{answer}? {prompt}")
    assert (how.solved, how.capacity, how.oldest) == (2, 5, 9)
    assert "0 prompts were asked again" in said.err
    known = json.loads((tmp_path / "out" / "policyrank.json").read_text())
    assert known["settings"]["replay"]["hard"] == 0.3
    assert train(verb)[0][0].replaying is None
    assert "none.txt" in train(verb, "--hard", "1", "--reflection", "none.txt", code=1)[1].err


@pytest.mark.parametrize("verb", ["group", "ppo"])
def test_a_reference_of_other_tokens_is_refused(train, tmp_path, verb):
    shutil.copytree(tmp_path / "lm", tmp_path / "other")
    told = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(told))
    said = train(verb, "--reference", "other", code=2)[1].err
    assert "--reference other has another tokenizer" in said


def test_outputs_have_segments(train):
    """Built-in ones and a file's, with the objective that asks for them."""
    lines = "policyrank.train.phases:by_lines(most=20)"
    (own,), _ = train("group", "--segments", lines, "--objective", "segment-grpo")
    assert own.groups.segments.__qualname__.startswith("by_lines")
    assert own.args.objective == "segment-grpo"
    assert train("group")[0][0].groups.segments is None
    assert "lengths" in train("group", "--segments", "by.py:lengths", code=2)[1].err
    wrong = "policyrank.train.phases:nothing"
    assert "--segments" in train("group", "--segments", wrong, code=2)[1].err


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--samples 5", "samples", 5),
        ("--tokens 6", "tokens", 6),
        ("--temperature 0.5", "temperature", 0.5),
        ("--top-k 7", "top_k", 7),
        ("--top-p 0.9", "top_p", 0.9),
        ("--sampled-rows 9", "sampled_rows", 9),
    ],
)
def test_groups_are_sampled_as_told(train, monkeypatch, words, name, value):
    base = "--data asked.jsonl --reward by.py:lengths"
    monkeypatch.setitem(VERBS, "group", base)
    ((old,), _), ((new,), _) = train("group"), train("group", *words.split())
    assert getattr(old.args, name) != value
    assert getattr(new.args, name) == value
    sampler = new.groups.sampler
    known = {"tokens": sampler.decoding.max_new_tokens, "sampled_rows": sampler.rows}
    if name != "samples":
        assert known.get(name, getattr(sampler.decoding, name, None)) == value


@pytest.mark.parametrize("verb", ["group", "ppo"])
def test_a_server_samples(train, verb):
    words = "--server http://x --served-model big --key SECRET --retokenise --correction 3"
    (own,), _ = train(verb, *words.split(), "--server-adapters", "shared", "--lora", 2)
    sampler = own.groups.sampler
    found = (sampler.url, sampler.model, sampler.key, str(sampler.adapters), sampler.retokenise)
    assert found == ("http://x", "big", "SECRET", "shared", True)
    assert sampler.decoding.max_new_tokens == 4
    assert own.args.correction == 3
    for wrong in ("--key A", "--served-model a", "--retokenise", "--server-adapters a"):
        assert "give its URL (--server)" in train(verb, *wrong.split(), code=2)[1].err
    assert "--served-model" in train(verb, "--server", "http://x", code=2)[1].err
    words = "--server http://x --served-model big --server-adapters shared"
    assert "--lora 16" in train(verb, *words.split(), code=2)[1].err


def said_of(own, *texts, row=0, **more):
    """What the reward of a trainer says of these outputs to a prompt of the data."""
    from policyrank.learn import Rollouts, rewarded

    columns = {**ASKED[row], **more}
    prompts = [columns.pop("prompt")] * len(texts)
    group = Rollouts(
        torch.zeros(len(texts), 1),
        torch.ones(len(texts), 1),
        torch.zeros(len(texts), dtype=torch.long),
        prompts=prompts,
        completions=list(texts),
        columns={name: [value] * len(texts) for name, value in columns.items()},
    )
    return rewarded(group, own.groups.reward)


@pytest.fixture(params=["group", "ppo"])
def rewards_of(train, monkeypatch, request):
    """A verb's trainer with these rewards, and what was said."""
    monkeypatch.setitem(VERBS, request.param, "--data asked.jsonl --samples 3 --tokens 4")

    def call(*words, code=0):
        own, said = train(request.param, *words, code=code)
        return own[0] if own else None, said

    return call


def test_rewards_by_name(rewards_of, monkeypatch):
    order, chosen = "<think></think><answer>[2] > [3] > [1]</answer>", "[2]"
    own, _ = rewards_of("--reward", "ndcg")
    found = said_of(own, order, "[2] > [3] > [1]", "no")
    assert found.values.tolist() == [1, 0, 0]
    assert found.parts["ndcg/unparsed"].tolist() == [0, 1, 1]
    own, _ = rewards_of("--reward", "recall", "--places", 1, "--lenient")
    assert said_of(own, "[2] > [3] > [1]", "[1] > [2] > [3]").values.tolist() == [0.5, 0]
    own, _ = rewards_of("--reward", "choice", "--lenient")
    assert said_of(own, chosen, "[3]", "x").values.tolist() == [1, 0.5, 0]
    own, _ = rewards_of("--reward", "exact", "--label", "right", "--lenient")
    assert said_of(own, " b ", "c").values.tolist() == [1, 0]
    words = ["--reward", "choice", "--reward", "by.py:lengths", "--lenient"]
    own, _ = rewards_of(*words, "--weight", 10, "--weight", 1)
    assert said_of(own, "[2]", "[3]").values.tolist() == [13, 8]
    own, _ = rewards_of(*words, "--compose", "normalised")
    assert said_of(own, "[2]", "x").values.sum().abs() < 1e-3
    own, _ = rewards_of(
        "--reward", "choice", "--reward", "recall", "--compose", "least", "--lenient"
    )
    assert said_of(own, "[2] [1] [3]").values.tolist() == [0]
    made = [SimpleNamespace(share=0.5), SimpleNamespace(share=1.0)]
    tested = told_of(monkeypatch, "policyrank.worlds.sandbox.run_all", made)
    own, _ = rewards_of("--reward", "tests", "--test-seconds", 0.5, "--package", "numpy")
    found = said_of(own, "a", "b", tests=["assert f()"])
    assert found.values.tolist() == [0.5, 1]
    assert found.parts["tests/passed"].tolist() == [0, 1]
    assert tested[0][1] == {"seconds": 0.5, "packages": ["numpy"]}
    module = rewards_of("--reward", "by:lengths")[0]
    assert said_of(module, "abc").values.tolist() == [3]
    for code, words, told in (
        (2, [], "--reward: name at least one"),
        (2, ["--reward", "no"], "use ndcg, recall"),
        (2, ["--reward", "ndcg", "--reward", "ndcg"], "named twice"),
        (1, ["--reward", "by.py:no"], "has no function no"),
        (2, ["--reward", "by:no"], "cannot be imported"),
        (2, ["--reward", "nosuch:no"], "cannot be imported"),
        (2, ["--reward", "by:__name__"], "no function"),
        (2, ["--reward", "ndcg", "--weight", 1, "--weight", 2], "2 weights for 1 rewards"),
        (2, ["--reward", "ndcg", "--weight", 1, "--compose", "hard"], "--weight is of sums"),
    ):
        assert told in rewards_of(*words, code=code)[1].err


def test_rewards_that_models_give(rewards_of):
    own, _ = rewards_of("--reward", "judge:lm", "--plain")
    assert (said_of(own, "a", "b").values > 1).all()
    own, _ = rewards_of("--reward", "likelihood:lm", "--plain")
    assert (said_of(own, "a", "b").values < 0).all()
    own, _ = rewards_of("--reward", "rubric:lm", "--plain")
    assert said_of(own, "a", rubric=None).values.isnan().all()
    rubric = [{"criterion": "short", "weight": 2}, {"criterion": "kind"}]
    met = said_of(own, "a", "b", rubric=rubric).values
    assert ((met > 0) & (met < 1)).all()
    words = ["--reward", "by.py:lengths", "--option", "beta=0.1"]
    first, second = rewards_of(*words)[0], rewards_of(*words, "--reference", "lm")[0]
    assert first.args.objective_options == {"beta": 0.1}
    assert second.likely.reference is not None
    assert (
        "would be overwritten" in rewards_of("--reward", "judge:lm", "--out", "lm", code=2)[1].err
    )


def test_reward_models_read_references(rewards_of, monkeypatch):
    """--references and how a reward model is read reach who scores, and are of no other reward."""
    from policyrank.cli.answer_options import Judging

    told, scorer = [], lambda prompts, answers: [[float(len(a)) for a in own] for own in answers]
    monkeypatch.setattr(Judging, "scorer", lambda self, *_: told.append(self) or scorer)
    known = ["--references", "teacher.jsonl"]
    more = [*known, "--polar", "sft", "--trust-remote-code"]
    own, _ = rewards_of("--reward", "reward-model:lm", *more)
    rewards_of("--reward", "judge:lm", *known)
    rewards_of("--reward", "reward-model:lm")
    assert told == [
        Judging(reward="lm", references=Path("teacher.jsonl"), polar="sft", trust_remote_code=True),
        Judging(judge="lm", references=Path("teacher.jsonl")),
        Judging(reward="lm"),
    ]
    assert said_of(own, "abc", "a").values.tolist() == [3, 1]
    for wrong in (known, ["--polar", "sft"], ["--trust-remote-code"]):
        assert "reward-model:" in rewards_of("--reward", "by.py:lengths", *wrong, code=2)[1].err


def test_rewards_that_fail(rewards_of):
    own, _ = rewards_of("--reward", "by.py:raises", "--count-failures", "--reward-seconds", 0.2)
    assert said_of(own, "abc").values.isnan().all()
    assert said_of(own, "abc", row=1).values.tolist() == [3]
    own, _ = rewards_of("--reward", "by.py:hangs", "--count-failures", "--reward-seconds", 0.2)
    assert said_of(own, "abc").values.isnan().all()
    assert own.args.reward_seconds == 0.2
    own, _ = rewards_of("--reward", "by.py:raises")
    with pytest.raises(ValueError, match="KeyError"):
        said_of(own, "abc")


@pytest.mark.parametrize("verb", ["group", "ppo", "search-agent"])
def test_what_is_done_at_a_collapse(train, monkeypatch, verb):
    callback = transformers.TrainerCallback()
    calls = told_of(monkeypatch, "policyrank.train.CollapseCallback", callback)
    train(verb)
    train(verb, "--collapse", "stop")
    train(verb, "--collapse", "ignore")
    assert [(own["action"], own["least"]) for _, own in calls] == [("warn", 2), ("stop", 2)]


def test_groups_to_evaluate_on(train, tmp_path):
    assert train("group")[0][0].held is None
    (own,), said = train("group", "--eval", "asked.jsonl")
    assert own.held == 2
    assert "reward: " in said.out


OF_CRITICS = {
    "--critic-learning-rate 0.5": ("critic_learning_rate", 0.5),
    "--critic-rounds 7": ("critic_rounds", 7),
    "--value-clip 0": ("value_clip", None),
    "--value-weight 0.3": ("value_weight", 0.3),
    "--kl 0.2": ("kl", 0.2),
    "--discount 0.9": ("discount", 0.9),
    "--decay 0.5": ("decay", 0.5),
    "--raw-rewards": ("reward_scale", False),
    "--reward-clip 0": ("reward_clip", None),
    "--cut-reward -1.5": ("cut_reward", -1.5),
    "--whiten": ("whiten", True),
    "--advantage-clip 0.4": ("advantage_clip", 0.4),
    "--objective gspo": ("objective", "gspo"),
    "--option entropy_weight=0.1": ("objective_options", {"entropy_weight": 0.1}),
    "--passes 2": ("passes", 2),
    "--steps-per-round 3": ("steps_per_round", 3),
    "--mask-cut": ("mask_cut", True),
    "--filter best-worst": ("filter", "best-worst"),
    "--filter power --filter-option exponent=3": ("filter_options", {"exponent": 3}),
    "--kept 2": ("kept", 2),
    "--samples 5": ("samples", 5),
    "--tokens 6": ("tokens", 6),
    "--temperature 0.5": ("temperature", 0.5),
    "--top-k 7": ("top_k", 7),
    "--top-p 0.9": ("top_p", 0.9),
    "--sampled-rows 9": ("sampled_rows", 9),
    "--correction 3": ("correction", 3.0),
    "--reward-seconds 5": ("reward_seconds", 5.0),
    "--count-failures": ("failures", "count"),
}


def test_a_critic_learns_as_told(train, monkeypatch):
    (old,), _ = train("ppo")
    monkeypatch.setitem(VERBS, "ppo", "--data asked.jsonl --reward by.py:lengths")
    assert train("ppo")[0][0].args.samples == 1
    several = {"--filter", "--kept"}
    for words, (name, value) in OF_CRITICS.items():
        more = ["--samples", 2] if several & set(words.split()) else []
        (new,), _ = train("ppo", *words.split(), *more)
        assert getattr(old.args, name) != value, words
        assert getattr(new.args, name) == value, words
    raw = train("ppo", "--raw-rewards")[0][0].args
    assert (raw.reward_centre, raw.reward_scale) == (False, False)
    assert train("ppo", "--eval", "asked.jsonl")[0][0].held == 2
    assert old.held is None
    assert "--kl" in train("ppo", "--reward-kl", 0.1, code=2)[1].err


def test_what_a_critic_begins_as(train, tmp_path, monkeypatch):
    from policyrank.train.reward import reward_model

    made, tokenizer = reward_model(str(tmp_path / "lm"), seed=9, device="cpu")
    made.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    written(tmp_path / "texts.jsonl", [{"text": "some text"}, {"text": "more of it"}])
    kept = told_of(monkeypatch, "policyrank.train.ppo.critic_of", made)
    (own,), _ = train("ppo", "--critic", "rm", "--reference", "lm")
    assert kept[-1][0][0] == "rm"
    assert own.likely.reference is not None
    train("ppo")
    assert kept[-1][0][0] is None
    words = ["--pretraining", "texts.jsonl", "--pretraining-weight", 0.5, "--pretraining-rows", 1]
    (own,), _ = train("ppo", *words)
    assert (own.args.pretraining_weight, own.args.pretraining_rows) == (0.5, 1)
    words[1] = "nowhere.jsonl"
    assert "nowhere.jsonl" in train("ppo", *words, code=1)[1].err
    assert "would be overwritten" in train("ppo", "--critic", "rm", "--out", "rm", code=2)[1].err


def test_programs_are_trained_as_told(train, monkeypatch, tmp_path):

    shutil.copytree(tmp_path / "lm", tmp_path / "other")
    train("programs")
    own = "problems.jsonl --reranker other --rounds 0 --tokens 6 --samples 5 --temperature 0.3"
    monkeypatch.setitem(VERBS, "programs", own)
    drawn = told_of(monkeypatch, "policyrank.train.judges.sampler")
    train("programs", "--iterations", 4, "--keep", "hard", "--seconds", 0.5, "--package", "numpy")
    old, new = train.programmed
    for name, values in (
        ("iterations", (2, 4)),
        ("rule", ("passed and hard", "hard")),
        ("samples", (3, 5)),
    ):
        assert (old[name], new[name]) == values
    assert (old["improve"].rounds, new["improve"]) == (1, None)
    assert (old["fit"].reranker, new["fit"].reranker) == ("lm", "other")
    sampled = {"max_new_tokens": 4, "temperature": 0.8, "chat": None}
    assert old["improve"].drawn == sampled
    assert drawn[0][1] == {"max_new_tokens": 6, "temperature": 0.3, "chat": None, "seed": 0}
    tested = told_of(monkeypatch, "policyrank.worlds.sandbox.run_all", [])
    for made in (old, new):
        made["test"]([], [])
    assert [options["seconds"] for _, options in tested] == [2.0, 0.5]
    assert [tuple(options["packages"]) for _, options in tested] == [(), ("numpy",)]


def test_a_persona_is_as_told(train, monkeypatch):
    from policyrank.train import personas

    made, told = personas.language_persona, []

    def record(model, tokenizer, claims, framing, alpha, **options):
        told.append((len(claims), framing, alpha))
        return made(model, tokenizer, claims, framing, alpha, **options)

    monkeypatch.setattr(personas, "language_persona", record)
    train("persona")
    monkeypatch.setitem(VERBS, "persona", "claims.csv --framing all --alpha 0.7 --held-out 0.75")
    train("persona")
    assert told == [(4, "authoritative", 0.3), (2, None, 0.7)]


# An agent that searches


@pytest.fixture
def agent(train):
    """What ``train search-agent`` with these words would train."""

    def call(*words, code=0):
        own, said = train("search-agent", *words, code=code)
        return (own[0] if own else None), said

    return call


def found_by(own, query="letter", row=None):
    """What a search of the agent's shows."""
    world = own.groups.sampler.environment()
    world.reset({"question": "say a", "answer": ["ab"], **(row or {})})
    return world.step(f"<search>{query}</search>").info["calls"][0]


def test_what_an_agent_searches(agent, tmp_path, monkeypatch):
    from policyrank.train import search_engines, served
    from policyrank.train.served import Answered

    own, said = agent()
    assert "calls are written as tags" in said.err
    assert found_by(own)["detail"]["found"] == ["three", "one"]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("letter of ten words that go on for much longer")
    base = "--questions questions.jsonl --instruction told.txt --samples 3 --tokens 30"
    monkeypatch.setitem(VERBS, "search-agent", base)
    own, _ = agent("--corpus", "folder", "--passage-words", 4, "--shown-words", 2)
    assert found_by(own)["detail"]["found"] == ["a.txt#1"]
    assert found_by(own)["result"] == "[1] (a.txt#1) letter of"
    own, _ = agent("--corpus", "http://x/retrieve")
    assert own.groups.sampler.environment()
    told = agent("--corpus", "http://x", "--passage-words", 3, code=2)[1].err
    assert "--passage-words" in told
    monkeypatch.setitem(VERBS, "search-agent", f"{base} --corpus documents.jsonl")
    own, _ = agent("--passages", 1)
    assert found_by(own)["detail"]["found"] == ["three"]
    own, _ = agent("--ranker", "oracle", "--passages", 1)
    assert found_by(own)["detail"]["found"] == ["one"]
    own, _ = agent("--ranker", "oracle", "--passages", 1, "--depth", 1)
    assert found_by(own)["detail"]["found"] == ["three"]
    assert "--ranker" in agent("--kind", "bi-encoder", code=2)[1].err
    asked = []

    class Longest:
        def __init__(self, module, kind):
            asked.append((module, kind))

        def __call__(self, own):
            return [Answered(tuple(float(len(text)) for text in own[0].documents))]

    def load(name, *, kind, report):
        return name

    monkeypatch.setattr(served, "ServedTexts", Longest)
    monkeypatch.setattr("policyrank.train.saved_rankers.load_text_ranker", load)
    monkeypatch.setattr("policyrank.train.saving.weights_fingerprint", lambda name: name)
    own, _ = agent("--ranker", "mine", "--kind", "bi-encoder", "--passages", 1)
    assert asked == [("mine", "bi-encoder")]
    assert found_by(own)["detail"]["found"] == ["one"]
    encoders = []

    class Dense:
        def __init__(self, documents, encoder):
            encoders.append((len(documents), encoder))

    monkeypatch.setattr(search_engines, "DenseEngine", Dense)
    monkeypatch.setattr("policyrank.train.DenseEngine", Dense, raising=False)
    monkeypatch.setattr("policyrank.models.load_encoder", lambda name: name, raising=False)
    agent("--first-stage", "dense", "--encoder", "theirs")
    assert encoders == [(3, "theirs")]


def test_questions_and_answers_are_as_told(agent, tmp_path, monkeypatch):
    rows = [{"q": "say a", "right": "a b", "question": "x", "answer": "y"}] * 3
    written(tmp_path / "others.jsonl", rows)
    base = "--corpus documents.jsonl --samples 3 --tokens 30 --questions others.jsonl"
    monkeypatch.setitem(VERBS, "search-agent", base)
    words = "--question q --label right --instruction told.txt"
    agent(*words.split()[:4], code=1)  # the built-in instruction is too long for this model
    agent(*words.split(), "--eval", "questions.jsonl", code=1)
    own, _ = agent(*words.split())
    assert own.lists == 3
    world = own.groups.sampler.environment()
    assert world.reset(rows[0]) == "say a"
    assert world.step("<answer>b</answer>").reward == 1
    base = "--corpus documents.jsonl --instruction told.txt --samples 3 --tokens 30"
    monkeypatch.setitem(VERBS, "search-agent", f"{base} --questions questions.jsonl")
    own, _ = agent("--metric", "exact", "--eval", "questions.jsonl")
    assert own.held == 2
    world = own.groups.sampler.environment()
    world.reset(QUESTIONS[0])
    assert world.step("<answer>ab c</answer>").reward == 0
    world = agent()[0].groups.sampler.environment()
    world.reset(QUESTIONS[0])
    assert world.step("<answer>ab c</answer>").reward == pytest.approx(2 / 3)
    assert "style='no'" in agent("--style", "no", code=2)[1].err
    own, said = agent("--style", "json")
    assert "calls are written as json" in said.err
    assert "--segments" in agent("--segments", "by.py:lengths", code=2)[1].err


def test_how_far_an_agent_may_go(agent, monkeypatch):
    base = "--questions questions.jsonl --corpus documents.jsonl --instruction told.txt"
    monkeypatch.setitem(VERBS, "search-agent", base)
    words = (
        "--turns 3 --turn-tokens 9 --read-tokens 11 --keep ends --go-on-cut"
        " --environment-seconds 7 --round-seconds 90 --failed -0.25 --unfinished -0.5 --by-turn"
        " --discount 0.5 --tokens 40 --samples 3"
    )
    old = agent("--tokens", 50)[0].groups
    new = agent(*words.split())[0].groups
    limits = new.sampler.limits
    assert (limits.turns, limits.turn_tokens, limits.read_tokens) == (3, 9, 11)
    assert (limits.keep, limits.stop_cut, limits.tokens) == ("ends", False, 40)
    assert (limits.environment_seconds, limits.seconds) == (7, 90)
    assert old.sampler.limits.stop_cut
    assert limits.stop == ("</search>", "</answer>")
    assert new.sampler.sampler.decoding.max_new_tokens == 9
    world = new.sampler.environment()
    world.reset(QUESTIONS[0])
    assert world.step("hm").reward == -0.25
    said = [said_of_turns(groups) for groups in (old, new)]
    assert said[0].tolist() == [1.0]
    assert said[1][0].nan_to_num(nan=9).tolist() == [0.25, 0.5, 9.0]


def said_of_turns(groups):
    from policyrank.learn import Rollouts, rewarded

    columns = {"turn_rewards": [(0.0, 1.0)], "stopped": ["turn limit"], "troubles": [()]}
    columns |= {"turns": [2], "tokens_cut": [0]}
    own = Rollouts(torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1).long(), columns=columns)
    return rewarded(own, groups.reward).values


def test_an_agent_is_compared_and_sampled_as_told(agent, monkeypatch):
    base = "--questions questions.jsonl --corpus documents.jsonl --instruction told.txt"
    monkeypatch.setitem(VERBS, "search-agent", f"{base} --tokens 30")
    words = (
        "--samples 5 --temperature 0.5 --top-k 7 --top-p 0.9 --sampled-rows 9 --advantage rloo"
        " --advantage-option scale=none --objective grpo --option beta=0.1 --passes 2"
        " --steps-per-round 3 --keep-agreeing --mask-cut --reference lm"
    )
    own, _ = agent(*words.split())
    args, how = own.args, own.groups.sampler.sampler.decoding
    assert (args.samples, how.temperature, how.top_k, how.top_p) == (5, 0.5, 7, 0.9)
    assert own.groups.sampler.sampler.rows == 9
    assert (args.advantage, args.advantage_options) == ("rloo", {"scale": "none"})
    assert (args.objective, args.objective_options) == ("grpo", {"beta": 0.1})
    assert (args.passes, args.steps_per_round) == (2, 3)
    assert args.keep_agreeing
    assert args.mask_cut
    own, _ = agent("--objective", "dpo", "--labels", "win-shares")
    assert own.args.labels == "win-shares"
    words = "--server http://x --served-model big --key SECRET --retokenise --correction 3"
    own, _ = agent(*words.split(), "--server-adapters", "shared", "--lora", 2)
    served = own.groups.sampler.sampler
    assert (served.url, served.model, served.key, served.retokenise) == (
        "http://x",
        "big",
        "SECRET",
        True,
    )
    assert str(served.adapters) == "shared"
    assert served.decoding.stop == ("</search>", "</answer>")
    assert own.args.correction == 3


def test_a_ranker_learns_beside_an_agent(agent, monkeypatch, tmp_path):
    from policyrank.train import text_rankers

    class Saved(torch.nn.Linear):
        def save(self, path):
            path.mkdir(exist_ok=True)
            (path / "weights").write_text(str(self.name))

    def load(name):
        found = Saved(1, 1)
        found.name = name
        return found

    monkeypatch.setitem(text_rankers.TEXT_RANKERS, "bi-encoder", load)
    monkeypatch.setattr("policyrank.train.saving.weights_fingerprint", lambda name: name)
    words = "--ranker mine --kind bi-encoder --train-ranker --freeze-agent --depth 7 --seed 4"
    words += " --ranker-learning-rate 0.5 --gate 0.8 --like 0.6"
    own, _ = agent(*words.split())
    learner = own.groups.sampler.environment.__self__.find
    assert (learner.depth, learner.seed, learner.ranker.name) == (7, 4, "mine")
    assert own.args.learning_rate == 0
    assert (tmp_path / "out" / "ranker" / "weights").read_text() == "mine"
    facts = own.companion.facts()
    assert (facts["learning_rate"], facts["gate"], facts["threshold"]) == (0.5, 0.8, 0.6)
    assert "name the --ranker" in agent("--train-ranker", code=2)[1].err
    assert "nothing would learn" in agent("--freeze-agent", code=2)[1].err
