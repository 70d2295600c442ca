"""Every trainer, killed again and again, ends with the weights of a run that nobody killed.

Twice each here; ``make kill`` kills ten times (POLICYRANK_KILLS=10).
"""

import json
import os
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from killing import finished_after, run
from policyrank.worlds import sandbox

KILLS = int(os.environ.get("POLICYRANK_KILLS", "2"))
SEED = int(os.environ.get("POLICYRANK_KILLS_SEED", "0"))

ROWS = [
    {"prompt": f"say {c}", "completions": [c * 4, "b", f"{c}b"], "scores": [1, 0, 0.5]}
    for c in "acdefghi"
]
STEPS = ["--steps", 16, "--batch", 2, "--learning-rate", 0.01]
SAVED = [*STEPS, "--save", 2, "--out", "out"]
ROUNDS = ["--samples", 4, "--tokens", 5, "--temperature", 1, "--batch", 2, "--out", "out"]

CASES = {
    "preference": ["preference", "--data", "rows.jsonl", "--eval", "rows.jsonl", *SAVED],
    "preference, adapters with dropout": [
        *("preference", "--data", "rows.jsonl", "--loss", "dpo", "--reference", "adapter"),
        *("--dropout", "--lora", 2, "--lora-dropout", 0.2, *SAVED),
    ],
    "reward": ["reward", "--data", "rows.jsonl", "--imitation", 0.1, *SAVED],
    "persona": [
        *("persona", "claims.csv", "--held-out", 0.4, "--steps", 12, "--batch", 2),
        *("--learning-rate", 0.01, "--lora", 0, "--save", 2, "--out", "out"),
    ],
    "group": [
        *("group", "--data", "prompts.jsonl", "--reward", "judge.py:letters", "--samples", 4),
        *("--tokens", 5, "--passes", 2, "--steps-per-round", 2, "--objective", "grpo", *SAVED),
    ],
    "group, adapters, parts": [
        *("group", "--data", "prompts.jsonl", "--reward", "judge.py:letters", "--samples", 4),
        *("--tokens", 5, "--passes", 3, "--accumulate", 2, "--objective", "grpo", "--lora", 2),
        *("--option", "entropy_weight=0.01", *SAVED),
    ],
    "group, replayed": [
        *("group", "--data", "prompts.jsonl", "--reward", "judge.py:letters", "--samples", 2),
        *("--tokens", 5, "--passes", 2, "--objective", "grpo", "--solved", 6, "--replay", 2),
        *("--hard", 6, "--replay-ratio", "stored", "--entropy-reward", 0.5, *SAVED),
    ],
    "ppo": [
        *("ppo", "--data", "prompts.jsonl", "--reward", "judge.py:letters", "--samples", 4),
        *("--tokens", 5, "--passes", 2, "--critic-rounds", 1, *SAVED),
    ],
    "search-agent": [
        *("search-agent", "--questions", "questions.jsonl", "--corpus", "documents.tsv"),
        *("--instruction", "told.txt", "--go-on-cut", "--failed", -0.5, "--turns", 4),
        *("--samples", 4, "--tokens", 24, "--turn-tokens", 8, "--read-tokens", 6),
        *("--passes", 2, "--objective", "grpo", *SAVED),
    ],
    "masked-diffusion": [
        *("masked-diffusion", "--data", "prompts.jsonl", "--model", "masked", "--tokens", 6),
        *("--reward", "judge.py:letters", "--samples", 4, "--denoising-steps", 3, "--passes", 2),
        *("--steps-per-round", 2, "--option", "beta=0.05", *SAVED),
    ],
    "distil": [
        *("distil", "prompts.jsonl", "--teacher", "teacher.jsonl", "--rounds", 2),
        *("--steps", 4, "--learning-rate", 0.01, *ROUNDS),
    ],
    "programs": [
        *("programs", "problems.jsonl", "--samples", 8, "--tokens", 1, "--rounds", 2),
        *("--epochs", 1, "--temperature", 2, "--max-length", 60, "--seconds", 5, "--out", "out"),
    ],
    "ranker": [
        *("ranker", "--train", "train.txt", "--validation", "train.txt", "--kind", "mlp"),
        *("--epochs", 12, "--lists", 2, "--out", "out.pt"),
    ],
    "ranker of texts, adapters": [
        *("ranker", "--kind", "cross-encoder", "--name", "tiny", "--max-length", 16),
        *("--queries", "queries.tsv", "--documents", "documents.tsv", "--run", "all.run"),
        *("--train", "qrels", "--validation", "qrels", "--lora", 2, "--epochs", 8),
        *("--learning-rate", 0.01, "--out", "out"),
    ],
    "controller": [
        *("controller", "--steps", 1, "--episodes", 2, "--architecture", "mlp"),
        *("--out", "out.pt"),
    ],
}
"""Trainer -> its words, as they are typed after ``train``."""

if KILLS > 2:
    CASES["controller, imitating"] = [
        *("controller", "--imitate", "echelon-I", "--rounds", 2, "--episodes", 2),
        *("--architecture", "mlp", "--out", "out.pt"),
    ]

MODEL = {"preference", "reward", "persona", "group", "ppo", "search-agent", "distil", "programs"}
ANEW = {"distil", "programs", "controller", "controller, imitating"}
"""What begins anew, though what was asked, sampled and tested is kept."""
GOES_ON = [name for name in CASES if name not in ANEW]
"""What goes on from checkpoints."""


@pytest.fixture
def place(tmp_path, masked_lm):
    """Data of all trainers, small."""
    shutil.copytree(masked_lm, tmp_path / "masked")
    for name, rows in (
        ("rows", ROWS),
        ("prompts", [{"prompt": row["prompt"]} for row in ROWS[:4]]),
        ("teacher", [{"prompt": row["prompt"], "answer": "aaa"} for row in ROWS[:4]]),
    ):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    questions = [{"question": row["prompt"], "answer": "red"} for row in ROWS[:4]]
    text = "".join(json.dumps(row) + "\n" for row in questions)
    (tmp_path / "questions.jsonl").write_text(text)
    (tmp_path / "told.txt").write_text("go ")
    claims = "".join(f"claim {c},{k % 2}\n" for k, c in enumerate("abcdefghij"))
    (tmp_path / "claims.csv").write_text(f"claim,label\n{claims}")
    (tmp_path / "judge.py").write_text(
        "def score(prompt, answer): return len(set(answer)) + answer.count('a')\n"
        "def letters(completions, **columns): return [score(None, text) for text in completions]\n"
    )
    problems = [
        {"prompt": f"from math import e as {x}", "tests": [f"assert {x} > 2"], "entry_point": "f"}
        for x in "abcd"
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    write_letor(tmp_path)
    write_texts(tmp_path)
    return tmp_path


def write_letor(folder):
    rng = np.random.default_rng(0)
    lines = []
    for query in range(12):
        for x in rng.normal(size=(6, 4)):
            features = " ".join(f"{k}:{value:.4f}" for k, value in enumerate(x))
            lines.append(f"{int(x[0] > 0)} qid:{query} {features}\n")
    (folder / "train.txt").write_text("".join(lines))


def write_texts(folder):
    """Queries, documents and a random encoder of two layers that knows their words."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["red", "blue", "green", "gold"]
    queries = {f"q{k}": word for k, word in enumerate(words)}
    documents = {f"d{k}": f"{word} thing" for k, word in enumerate(words)}
    for name, own in (("queries", queries), ("documents", documents)):
        (folder / f"{name}.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in own.items()))
    pairs = [(q, d) for q in queries for d in documents]
    judged = [f"{q} 0 {d} {int(q[1] == d[1])}\n" for q, d in pairs]
    (folder / "qrels").write_text("".join(judged))
    shown = [f"{q} Q0 {d} {k + 1} {9 - k} r\n" for k, (q, d) in enumerate(pairs)]
    (folder / "all.run").write_text("".join(shown))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "thing"]
    (folder / "tiny").mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=32)
    tokenizer.save_pretrained(folder / "tiny")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder / "tiny")


def weights(folder):
    """All weights that a run left, by file and name."""
    found = {}
    for path in sorted(folder.glob("out/*.safetensors")):
        from safetensors.torch import load_file

        found |= {f"{path.name} {name}": own for name, own in load_file(path).items()}
    if (folder / "out.pt").is_file():
        kept = torch.load(folder / "out.pt", weights_only=True)
        found |= kept.get("weights") or kept["policy"]
    return found


def remove(folder):
    for path in folder.glob("out*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def words_of(name, lm):
    words = ["train", *CASES[name]]
    if words[1] in MODEL:
        words += ["--model", lm]
    if words[1] == "programs":
        words += ["--reranker", lm]
    return words


WHOLE = {}
"""Trainer -> weights and seconds of a run that nobody kills."""


@pytest.fixture
def whole(lm, place):
    """What a run leaves that nobody kills, and the seconds that it takes; it is removed."""

    def run_of(name):
        if name == "programs" and (why := sandbox.unavailable()):
            pytest.skip(f"programs cannot be run apart here: {why}")
        if not WHOLE:
            run(["--help"], place)  # the packages are loaded
        if name not in WHOLE:
            ended = run(words_of(name, lm), place)
            assert ended.code == 0, ended.said
            WHOLE[name] = weights(place), ended.seconds
            remove(place)
        assert WHOLE[name][0]
        return WHOLE[name]

    return run_of


def compared(place, expected):
    """Weights are those that are expected, to the last bit; nothing half-written is left."""
    found = weights(place)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
    assert not [str(path) for path in place.glob("out*/**/*") if ".part" in path.name]
    remove(place)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_runs_end_with_the_same_weights(name, lm, place, whole):
    expected, seconds = whole(name)
    rng = np.random.default_rng([SEED, *name.encode()])
    went_on = finished_after(
        words_of(name, lm),
        place,
        KILLS,
        seconds,
        140 if name in GOES_ON else 16,
        rng,
        lambda: compared(place, expected),
    )
    print(f"{name}: {KILLS} kills, went on {went_on} times, {seconds:.1f} s a run")
    assert (went_on > 0) == (name in GOES_ON)


DAMAGES = ["cut", "zeros", "gone"]


def damaged(path, damage):
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        kept = content[:-7] if damage == "cut" else content[:60].ljust(len(content), b"\0")
        path.write_bytes(kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage", "writes"),
    [("preference", "cut", 240), ("group", "zeros", 150), ("ranker", "gone", 60)],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(name, damage, writes, lm, place, whole):
    expected, _ = whole(name)
    words = words_of(name, lm)
    assert run(words, place, at_write=writes).code == -9
    folder = next(path for path in place.glob("out*/**/") if any(path.glob("checkpoint-*")))
    sealed = sorted((path.parent for path in folder.glob("checkpoint-*/whole.json")), key=number_of)
    assert len(sealed) >= 2
    damaged(max(files_of(sealed[-1]), key=lambda path: path.stat().st_size), damage)
    ended = run(words, place)
    assert ended.code == 0, ended.said
    assert f"! {sealed[-1].name}: written only in part or damaged, and left out" in ended.said
    assert "going on" in ended.said
    compared(place, expected)


def number_of(checkpoint):
    return int(checkpoint.name.rpartition("-")[2])


def files_of(checkpoint):
    return [path for path in checkpoint.iterdir() if path.is_file() and path.name != "whole.json"]
