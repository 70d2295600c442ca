"""Each option of the verbs that score, sample and merge is seen to do something."""

import json
import shutil
from types import SimpleNamespace

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ROWS = [
    {"prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"prompt": "c", "completions": ["cccc", "dd", "c"], "scores": [1, 0, 0.5]},
]
PAIRS = [{"prompt": "say a", "chosen": "aaa", "rejected": "b"}, {"prompt": "c", "chosen": "cc"}]
PAIRS[1]["rejected"] = "ddd"
PROGRAM = "def length(prompt, answer):\n    return len(answer)\n"


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def run(ran, lm, tmp_path, monkeypatch):
    """Run a verb beside small files; what it printed, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lm").symlink_to(lm)
    written(tmp_path / "rows.jsonl", ROWS)
    written(tmp_path / "pairs.jsonl", PAIRS)
    written(tmp_path / "known.jsonl", [{"prompt": row["prompt"], "answer": "x"} for row in ROWS])
    (tmp_path / "by.py").write_text(PROGRAM)

    return ran


@pytest.fixture
def scorers(monkeypatch):
    """Who scores, by what model, and how texts are read; they score by length."""
    from policyrank.models import language, reward_models
    from policyrank.train import judges, reward

    told = SimpleNamespace(models=[], scorers=[])
    loaded = language.load_causal_lm

    def scorer(kind):
        def make(model, tokenizer, *known, seen=None, **read):
            told.scorers.append((kind, *known, read))
            return lambda prompts, answers: [[len(a) for a in own] for own in answers]

        return make

    def load(name, **options):
        told.models.append((str(name), options.get("trust_remote_code", False)))
        return loaded("lm", device="cpu")

    for kind in ("likelihood_scorer", "rating_judge"):
        monkeypatch.setattr(judges, kind, scorer(kind))
    for kind in ("reward_scorer", "polar_scorer", "reference_scorer"):
        monkeypatch.setattr(reward, kind, scorer(kind))
    monkeypatch.setattr(language, "load_causal_lm", load)
    monkeypatch.setattr(reward_models, "load_reward_model", load)
    return told


SCORES = {
    "score": "score rows.jsonl",
    "generate": "generate rows.jsonl --model lm --samples 2 --tokens 3",
}
KNOWN = {row["prompt"]: "x" for row in ROWS}
BY = {
    "--judge lm": ("rating_judge", None, {"max_length": 2048}),
    "--judge lm --references known.jsonl": ("rating_judge", KNOWN, {"max_length": 2048}),
    "--likelihood lm": ("likelihood_scorer", {}),
    "--reward lm": ("reward_scorer", {}),
    "--reward lm --references known.jsonl": ("reference_scorer", KNOWN, "<|reward|>", {}),
    "--reward lm --references known.jsonl --polar sft": ("polar_scorer", KNOWN, {"wrapper": "sft"}),
}


@pytest.mark.parametrize("verb", SCORES)
def test_who_scores(run, scorers, verb):
    """--reward, --judge and --likelihood name a model, --references what is read beside answers."""
    words = SCORES[verb].split()
    for by, (*who, read) in BY.items():
        run(*words, *by.split())
        *found, options = scorers.scorers[-1]
        assert found == who, by
        assert read.items() <= options.items()
    before = len(scorers.models)
    run(*words, "--reward", "lm", "--trust-remote-code")
    trusted = [name for name, trusts in scorers.models[before:] if trusts]
    assert (trusted, [name for name, trusts in scorers.models[:before] if trusts]) == (["lm"], [])
    for wrong in ("--polar sft", "--trust-remote-code", "--references known.jsonl"):
        said = run(*words, "--program", "by.py:length", *wrong.split(), code=2)
        assert "--reward" in said.err


@pytest.mark.parametrize("verb", SCORES)
def test_how_texts_are_read_by_who_scores(run, scorers, verb):
    words = [*SCORES[verb].split(), "--likelihood", "lm"]
    run(*words)
    old = scorers.scorers[-1][1]
    assert (old["max_length"], old["chat"], old["long_prompts"]) == (1024, None, "leave out")
    for given, name, value in (
        ("--max-length 60", "max_length", 60),
        ("--plain", "chat", False),
        ("--cut-prompts", "long_prompts", "cut"),
    ):
        run(*words, *given.split())
        assert scorers.scorers[-1][1][name] == value
    if verb == "score":
        run(*words, "--chat")
        assert scorers.scorers[-1][1]["chat"] is True
        run("score", "rows.jsonl", "--judge", "lm", "--plain", "--max-length", 50)
        judged = scorers.scorers[-1][-1]
        assert (judged["chat"], judged["max_length"]) == (False, 100)


VAIN = {
    "--program by.py:length": "--max-length 60|--plain|--chat|--cut-prompts",
    "--reward lm --references known.jsonl --polar sft": (
        "--max-length 60|--plain|--chat|--cut-prompts"
    ),
    "--reward lm --references known.jsonl": "--plain|--chat",
    "--judge lm --references known.jsonl": "--cut-prompts",
}


@pytest.mark.parametrize("who", VAIN)
def test_how_texts_are_read_where_nobody_reads_them_so(run, who):
    for option in VAIN[who].split("|"):
        said = run("score", "rows.jsonl", *who.split(), *option.split(), code=2)
        assert f"{option.split()[0]}: " in said.err


@pytest.mark.parametrize("verb", ["score", "generate"])
def test_a_program_scores_and_where_rows_go(run, tmp_path, verb):
    words = [*SCORES[verb].split(), "--program", "by.py:length"]
    for row in lines(run(*words).out):
        assert row["scores"] == [len(text) for text in row["completions"]]
    assert run(*words, "--out", "o.jsonl").out == ""
    assert len(lines((tmp_path / "o.jsonl").read_text())) == 2


def test_samples(run, tmp_path):
    """--samples, --tokens, --temperature, --seed and --model are what is sampled with."""

    def made(*words):
        rows = lines(run("generate", "rows.jsonl", *words).out)
        return [row["completions"] for row in rows]

    words = ("--model", "lm", "--samples", 3, "--tokens")
    old = made(*words, 6)
    assert [len(own) for own in old] == [3, 3]
    longest = [
        max(len(text.split()) for own in rows for text in own) for rows in (old, made(*words, 2))
    ]
    assert longest[1] <= 2 < longest[0]
    assert made(*words, 6) == old != made(*words, 6, "--seed", 1)
    words = ("--model", "lm", "--samples", 1, "--tokens", 6, "--temperature")
    sure, wild = ([made(*words, heat, "--seed", seed) for seed in (0, 1)] for heat in (0, 5))
    assert sure[0] == sure[1]
    assert wild[0] != wild[1]
    said = run("generate", "rows.jsonl", "--model", tmp_path / "nowhere", code=1)
    assert "nowhere" in said.err


def test_prompts_are_read_as_told(run, lm, tmp_path):
    from transformers import AutoTokenizer

    written(tmp_path / "long.jsonl", [{"prompt": "d" * 80}])
    words = ("generate", "long.jsonl", "--model", "lm", "--samples", 2, "--tokens", 4)
    assert "left out" not in run(*words).err
    assert "left out: 1 prompts" in run(*words, "--max-length", 60).err
    assert "cut at their beginning: 1" in run(*words, "--max-length", 60, "--cut-prompts").err
    shutil.copytree(lm, tmp_path / "chat")
    tokenizer = AutoTokenizer.from_pretrained("chat")
    tokenizer.chat_template = "{% for m in messages %}{{ 'z' * 300 + eos_token }}{% endfor %}"
    tokenizer.save_pretrained("chat")
    words = ("generate", "rows.jsonl", "--model", "chat", "--samples", 2, "--tokens", 4)
    assert "left out: 2 prompts" in run(*words).err
    assert "left out: 2 prompts" in run(*words, "--chat").err
    assert "left out" not in run(*words, "--plain").err


def test_preferences(run, tmp_path, monkeypatch):
    """--device, --batch-tokens, --no-end and how texts are read are what pairs are scored with."""
    from policyrank.auditing import preferences
    from policyrank.models import language

    load, score, told = language.load_causal_lm, preferences.score_pairs, []

    def loaded(name, *, device):
        told.append({"device": device, "name": name})
        return load("lm", device="cpu")

    def scored(*arguments, report, cache, **options):
        told[-1] |= options
        return score(*arguments, report=report, cache=cache, **options)

    monkeypatch.setattr(language, "load_causal_lm", loaded)
    monkeypatch.setattr(preferences, "score_pairs", scored)
    words = ("preferences", "pairs.jsonl", "--model")
    run(*words, "mine")
    more = "--device meta --batch-tokens 99 --no-end --max-length 60 --plain --cut-prompts"
    run(*words, "mine", *more.split())
    assert told[0] == told[0] | {"name": "mine", "device": None, "batch_tokens": 4096, "end": True}
    assert told[0] == told[0] | {"max_length": 1024, "chat": None, "long_prompts": "leave out"}
    assert told[1] == told[1] | {"device": "meta", "batch_tokens": 99, "end": False}
    assert told[1] == told[1] | {"max_length": 60, "chat": False, "long_prompts": "cut"}
    assert "no chat template" in run(*words, "mine", "--chat", code=1).err
    said = run(*words, "lm", "--store", "s.jsonl", "--out", "o.csv", "--json")
    assert isinstance(json.loads(said.out), list)
    assert pl.read_csv(tmp_path / "o.csv").height == 2
    stored = (tmp_path / "s.jsonl").read_text()
    assert len(stored.splitlines()) >= 4
    monkeypatch.setattr(preferences, "token_logprobs", None, raising=False)
    run(*words, "lm", "--store", "s.jsonl")
    assert (tmp_path / "s.jsonl").read_text() == stored


def test_merging(run, lm, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(lm)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained("adapters")
    shutil.copy(lm / "tokenizer.json", "adapters")
    shutil.copy(lm / "tokenizer_config.json", "adapters")
    for words, dtype in ((), torch.float32), (("--dtype", "bfloat16"), torch.bfloat16):
        run("merge", "adapters", "--out", "merged", *words)
        found = AutoModelForCausalLM.from_pretrained("merged", dtype="auto")
        assert found.dtype == dtype
