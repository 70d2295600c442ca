"""Judges, distillation, programs, and their command line, with a model of two
layers.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import preference_loss
from policyrank.metrics.programs import best_of_n, oracle_at_n, pass_at_k
from policyrank.models.language import answer_logprobs, choice_probs, load_causal_lm
from policyrank.train import judges
from policyrank.train.distillation import distil
from policyrank.train.programs import Problem, mine, read_problems, self_train
from policyrank.worlds import sandbox
from policyrank.worlds.problem_texts import check_statements, docstring_examples
from policyrank.worlds.sandbox import outputs

needs_sandbox = pytest.mark.skipif(
    bool(sandbox.unavailable()), reason=f"no sandbox here: {sandbox.unavailable()}"
)


@pytest.fixture
def pair(lm):
    return load_causal_lm(str(lm), device="cpu")


def arguments(folder, **options):
    from transformers import TrainingArguments

    return lambda stage: TrainingArguments(
        str(folder / stage),
        **(
            {
                "max_steps": 4,
                "learning_rate": 5e-3,
                "per_device_train_batch_size": 4,
                "report_to": [],
                "use_cpu": True,
                "disable_tqdm": True,
                "save_strategy": "no",
            }
            | options
        ),
    )


def letters(prompts, completions):
    """More of the letter a is better."""
    return [[c.count("a") / max(len(c), 1) for c in x] for x in completions]


def test_choices_are_likelihoods(pair):
    model, tokenizer = pair
    prompts = ["ab", "abcd e", "x"]
    for options in (["a", "b", "c"], ["ab", "cd"]):
        log = dict(
            x
            for g in answer_logprobs(
                model, tokenizer, [(p, o) for p in prompts for o in options], end=False
            )
            for x in g
        )
        p = np.exp(
            [[log[i * len(options) + j].logprob for j in range(len(options))] for i in range(3)]
        )
        found = choice_probs(model, tokenizer, prompts, options)
        assert found == pytest.approx(p / p.sum(axis=1, keepdims=True), abs=1e-5)


def test_judges(pair):
    model, tokenizer = pair
    likelihood = judges.likelihood_scorer(model, tokenizer, per_token=False)(["ab"], [["c", "dd"]])
    log = dict(x for g in answer_logprobs(model, tokenizer, [("ab", "c"), ("ab", "dd")]) for x in g)
    assert likelihood[0] == pytest.approx([log[0].logprob, log[1].logprob])
    anchors = {"ab": "good"}
    rating = judges.rating_judge(model, tokenizer, anchors)(["ab"], [["c", "dd"]])
    assert all(1 <= r <= 9 for r in rating[0])
    votes = judges.vote_judge(model, tokenizer, anchors)(["ab", "cd"][:1], [["c", "dd", "e"]])
    assert sum(votes[0]) == pytest.approx(3 / 2)
    with pytest.raises(EvidenceError, match="no anchor for the prompt 'zz'"):
        judges.rating_judge(model, tokenizer, anchors)(["zz"], [["c"]])
    assert judges.pairwise_judge(letters)(["p", "p", "p"], ["a", "b", "b"], ["b", "a", "b"]) == [
        1,
        0,
        0.5,
    ]
    assert judges.majority(["3 ", "4", "3"]) == 0
    best, made, scores = judges.best_of_n(
        ["p"], lambda prompts, n: [["b", "ab", "a"][:n]], letters, 3
    )
    assert (best, made, scores) == (["a"], [["b", "ab", "a"]], [[0, 0.5, 1]])


def test_judges_prefer_what_the_model_prefers(monkeypatch):
    def choice_probs(model, tokenizer, asked, options, **limits):
        if len(options) == 9:
            good = ["Answer: good" in text for text in asked]
            return np.array([[0, 0, 0, 0, 0, 0, 0, 0.5, 0.5] if g else np.eye(9)[1] for g in good])
        first = np.array([0.9 if "Answer A: good" in text else 0.3 for text in asked])
        return np.column_stack([first, 1 - first])

    monkeypatch.setattr(judges, "choice_probs", choice_probs)
    asked = ["p", "q"], [["good", "poor"], ["poor", "good", "bad"]]
    rated = judges.rating_judge(None, None)(*asked)
    assert [len(own) for own in rated] == [2, 3]
    assert [*rated[0], *rated[1]] == pytest.approx([8.5, 2, 2, 8.5, 2])
    votes = judges.vote_judge(None, None)(*asked)
    # Named first: good .9, others .3; named last: against good .1, against others .7.
    assert votes[0] == pytest.approx([(0.9 + 0.7) / 2, (0.3 + 0.1) / 2])
    plain = (0.3 + 0.1 + 0.3 + 0.7) / 4
    assert votes[1] == pytest.approx([plain, (0.9 + 0.7) / 2, plain])


def test_clipped_groups_by_hand():
    log_probs = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0, -1.0]])
    loss = preference_loss("label-distribution-grpo")(
        log_probs, labels, reference=torch.zeros(1, 3), standardise=False
    )
    loss.backward()
    assert log_probs.grad[0].tolist() == pytest.approx(
        [-1.365633 / 3, 0.364565 / 3, 1.001069 / 3], abs=1e-5
    )
    far = torch.tensor(
        [[1.0, 0.0, -1.0]], requires_grad=True
    )  # ratios of the best and the worst are past the clip
    preference_loss("grpo")(far, labels, reference=torch.zeros(1, 3)).backward()
    assert far.grad[0, [0, 2]].tolist() == [0, 0]
    same = preference_loss("grpo")(log_probs, torch.ones(1, 3), reference=torch.zeros(1, 3))
    assert same == 0
    masked = torch.tensor([[True, True, False]])
    a = preference_loss("grpo")(
        torch.tensor([[0.1, 0.2, 9.0]]),
        torch.tensor([[1.0, 0.0, 7.0]]),
        reference=torch.zeros(1, 3),
        where=masked,
    )
    b = preference_loss("grpo")(
        torch.tensor([[0.1, 0.2]]), torch.tensor([[1.0, 0.0]]), reference=torch.zeros(1, 2)
    )
    assert a == b


@pytest.mark.parametrize("learn", ["list", "pair", "group"])
def test_distillation(pair, tmp_path, learn):
    model, tokenizer = pair
    prompts = ["say a", "say b", "c"]
    asked = []

    def teacher(prompts, n):
        asked.append(list(prompts))
        return [["aaa"]] * len(prompts)

    options = {
        "candidates": 4,
        "rounds": 2,
        "sample": {"max_new_tokens": 6, "temperature": 1.0},
        "max_length": 64,
    }
    done = distil(
        model,
        tokenizer,
        prompts,
        teacher,
        judge=letters,
        learn=learn,
        arguments=arguments(tmp_path),
        folder=tmp_path / "kept",
        **options,
    )
    assert asked == [prompts]
    assert done.anchors == dict.fromkeys(prompts, "aaa")
    assert [r["stage"] for r in done.history] == [0, 1, 2]
    assert any(len(x.completions) > 2 for x in done.rounds[0])
    again = distil(
        *load_causal_lm(str(pair[0].name_or_path), device="cpu"),
        prompts,
        lambda *_: 1 / 0,
        judge=letters,
        learn=learn,
        arguments=arguments(tmp_path),
        folder=tmp_path / "kept",
        **options,
    )
    assert again.rounds == done.rounds
    assert again.history == done.history


def test_distillation_that_cannot_work(pair, tmp_path):
    for options, kind, message in (
        ({"judge": "x"}, OptionError, "use rating"),
        ({"learn": "x"}, OptionError, "use list"),
        ({"teacher": {}}, EvidenceError, "no answer to 'p'"),
        ({"teacher": {"p": " "}}, EvidenceError, "to 'p' is empty"),
    ):
        with pytest.raises(kind, match=message):
            distil(
                *pair,
                ["p"],
                options.pop("teacher", {"p": "a"}),
                arguments=arguments(tmp_path),
                **options,
            )


def test_measures_of_programs():
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(10, 3, 5) == pytest.approx(0.916667, abs=1e-6)
    assert pass_at_k(3, 3, 2) == 1
    with pytest.raises(ValueError, match="k <= n"):
        pass_at_k(2, 1, 3)
    assert best_of_n([[0.1, 0.9, 0.3]], [[1, 0, 1]]) == 0
    assert oracle_at_n([[0, 1], [0.5, 0]]) == 0.5
    scores, passed = np.array([3.0, 1, 2, 0]), np.array([True, False, False, False])
    assert mine(scores, passed, "hard").tolist() == [False, False, True, False]
    assert mine(scores, passed).tolist() == [True, False, True, False]
    assert mine(scores, passed, "all").all()
    with pytest.raises(ValueError, match="use hard"):
        mine(scores, passed, "x")


def test_problems_of_every_kind():
    check = (
        "def check(candidate):\n    x = 1\n    assert candidate(x) == 2\n    for i in range(2):\n  "
        "      assert candidate(i) == i + 1\n"
    )
    rows = [
        {"prompt": "p", "tests": ["assert f() == 1"]},
        {"text": "q", "test_list": ["assert g()"], "task_id": 7, "test_setup_code": "x = 1"},
        {"prompt": "r", "test": check, "entry_point": "h"},
    ]
    found = read_problems(rows, check_statements)
    assert [p.name for p in found] == ["1", "7", "3"]
    assert [found[0].tests, found[1].tests] == [("assert f() == 1",), ("x = 1\nassert g()",)]
    assert len(found[2].tests) == 2
    assert found[2].tests[0].splitlines() == ["candidate = h", "x = 1", "assert candidate(x) == 2"]
    with pytest.raises(EvidenceError, match="row 1: a problem has"):
        read_problems([{"prompt": "p"}], check_statements)


def test_self_training_learns_from_what_fooled_it(tmp_path):
    problems = [Problem(p, ("t",)) for p in ("one", "two")]
    fitted = []

    def fit(lists):
        fitted.append(lists)
        return lambda prompts, answers: [[float(len(a)) for a in x] for x in answers]

    def test(asked, answers):
        return [[1.0 if a.startswith("ok") else 0.0 for a in x] for x in answers]

    first = lambda prompts, n: [["ok", "no"][:n]] * len(prompts)  # noqa: E731
    better = lambda prompts, n: (  # noqa: E731
        [["ok1", "wrong but long", "x", "ok2 and very very long", "y"]] * len(prompts)
    )
    done = self_train(
        problems,
        first,
        fit,
        test,
        improve=lambda scorer, number: better,
        samples=5,
        folder=tmp_path,
    )
    assert fitted[0][0].completions == ("ok", "no")
    assert set(fitted[1][0].completions) == {
        "ok",
        "no",
        "ok1",
        "wrong but long",
        "ok2 and very very long",
    }
    assert done.history[1]["reranked pass@1"] == 1
    assert done.history[1]["pass@1"] == pytest.approx(0.4)
    again = self_train(
        problems,
        lambda *_: 1 / 0,
        fit,
        test,
        improve=lambda *_: lambda *_: 1 / 0,
        samples=5,
        folder=tmp_path,
    )
    assert again.history == done.history
    with pytest.raises(EvidenceError, match="other settings: samples 5, here 4"):
        self_train(problems, first, fit, test, samples=4, folder=tmp_path)
    depends = {"generator": {"name": "b"}}
    with pytest.raises(EvidenceError, match="other generator: none, here some"):
        self_train(problems, first, fit, test, samples=5, folder=tmp_path, depends=depends)
    path, said = tmp_path / "tested-1.json", []
    path.write_bytes(path.read_bytes()[:-9])
    kept = {"samples": 5, "folder": tmp_path, "report": said.append}
    self_train(problems, first, fit, test, improve=lambda *_: lambda *_: 1 / 0, **kept)
    assert any("tested-1.json: damaged" in text for text in said)
    with pytest.raises(EvidenceError, match="no problem has both"):
        self_train(problems, lambda prompts, n: [["no", "nope"]] * 2, fit, test)


def test_examples_of_a_text():
    text = (
        'def f(x):\n    """Adds. f(1) ➞ 2\n    For f([1, 2]) == [2, 3].\n    >>> f(3)\n    4\n   '
        ' >>> g(1)\n    1\n    f(x) = y\n    """'
    )
    assert docstring_examples(text, "f") == [("f(1)", "2"), ("f([1, 2])", "[2, 3]"), ("f(3)", "4")]


@needs_sandbox
def test_outputs():
    assert outputs("def f(x): return x + 1", ["f(1)", "f('a')", "g()"])[:1] == ["value 2"]
    assert "TypeError" in outputs("def f(x): return x + 1", ["f('a')"])[0]


def rows_file(path):
    rows = [
        {"prompt": f"say {p}", "completions": [p * 4, "zz", p + "z"], "scores": [1, 0, 0.5]}
        for p in "abcdef"
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


TUNE = ("--steps", "6", "--batch", "2", "--learning-rate", "0.01", "--max-length", "40")


def test_command_line_trains_scores_and_generates(lm, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = rows_file(tmp_path / "rows.jsonl")
    for extra in (["--loss", "dpo-pl", "--beta", "0.5"], ["--lora", "4", "--reference", "adapter"]):
        code, said = command(
            "train",
            "preference",
            "--data",
            data,
            "--eval",
            data,
            "--model",
            lm,
            "--out",
            tmp_path / f"policy{len(extra)}{extra[0]}",
            *extra,
            *TUNE,
        )
        assert code == 0, said.err
        assert "accuracy: 0.5 -> " in said.out
    policy = tmp_path / "policy4--loss"
    assert not (policy / "checkpoints").exists()
    code, said = command(
        "train",
        "reward",
        "--data",
        data,
        "--eval",
        data,
        "--model",
        lm,
        "--out",
        tmp_path / "rm",
        "--loss",
        "plackett-luce",
        *TUNE,
    )
    assert code == 0, said.err
    code, said = command(
        "score", data, "--reward", tmp_path / "rm", "--out", tmp_path / "scored.jsonl"
    )
    assert code == 0
    assert "pairs in the order of the file" in said.err
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert len(scored) == 6
    assert sorted(scored[0]["ranks"]) == [1, 2, 3]
    (tmp_path / "count.py").write_text(
        "def letters(prompt, answer):\n    return answer.count('a')\n"
    )
    code, said = command("score", data, "--program", f"{tmp_path}/count.py:letters")
    assert json.loads(said.out.splitlines()[0])["scores"] == [4, 0, 1]
    code, said = command(
        "generate",
        data,
        "--model",
        policy,
        "--program",
        "count.py:letters",
        "--samples",
        "3",
        "--tokens",
        "4",
        "--out",
        tmp_path / "best.jsonl",
    )
    assert code == 0, said.err
    best = json.loads((tmp_path / "best.jsonl").read_text().splitlines()[0])
    assert best["scores"][best["completions"].index(best["answer"])] == max(best["scores"])
    code, said = command("score", data, "--program", "count.py:none")
    assert (code, "has no function none" in said.err) == (1, True)
    assert command("score", data)[0] == 2


@pytest.mark.slow
def test_command_line_distils(lm, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = rows_file(tmp_path / "rows.jsonl")
    (tmp_path / "teacher.jsonl").write_text(
        "".join(json.dumps({"prompt": f"say {p}", "answer": p * 3}) + "\n" for p in "abcdef")
    )
    common = (
        "--model",
        lm,
        "--tokens",
        "5",
        "--batch",
        "2",
        "--learning-rate",
        "0.01",
        "--max-length",
        "300",
    )
    code, said = command(
        "train",
        "distil",
        data,
        *common,
        "--teacher",
        "teacher.jsonl",
        "--judge",
        "rating",
        "--samples",
        "3",
        "--out",
        tmp_path / "student",
        "--steps",
        "2",
    )
    assert code == 0, said.err
    assert "stage 1" in said.out
    assert (tmp_path / "student" / "anchors.json").exists()
    code, said = command(
        "train", "distil", data, *common, "--teacher", "http://x", "--out", tmp_path / "student"
    )
    assert code == 2


@needs_sandbox
@pytest.mark.slow
def test_command_line_trains_rerankers_of_programs(lm, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Answers are one character; digits run, and the letter that the problem imports; other letters
    # are not defined.
    rows = [
        {"prompt": f"from math import e as {x}", "tests": [f"assert {x} > 2"], "entry_point": "f"}
        for x in "abcdef"
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    options = (
        "--model",
        lm,
        "--reranker",
        lm,
        "--samples",
        "24",
        "--tokens",
        "1",
        "--iterations",
        "2",
        "--rounds",
        "1",
        "--epochs",
        "1",
        "--temperature",
        "2",
        "--max-length",
        "60",
    )
    code, said = command(
        "train", "programs", tmp_path / "problems.jsonl", *options, "--out", tmp_path / "reranker"
    )
    assert code == 0, said.err
    kept = json.loads((tmp_path / "reranker" / "tested-1.json").read_text())["found"]
    for x, answers, shares in zip("abcdef", kept["answers"], kept["shares"], strict=True):
        assert shares == [float(a.strip() == x or a.strip().isdigit()) for a in answers]
    assert "reranked pass@1" in said.out
    assert (tmp_path / "reranker" / "generator" / "model.safetensors").exists()
    assert (tmp_path / "reranker" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(lm, tmp_path):
    from safetensors.torch import load_file

    data, found = rows_file(tmp_path / "rows.jsonl"), []
    for processes in (1, 2):
        out = tmp_path / f"of-{processes}"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc_per_node",
                str(processes),
                "-m",
                "policyrank",
                "train",
                "preference",
                "--data",
                str(data),
                "--model",
                str(lm),
                "--out",
                str(out),
                "--steps",
                "1",
                "--batch",
                str(4 // processes),
                "--learning-rate",
                "0.01",
                "--max-length",
                "40",
            ],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(load_file(out / "model.safetensors"))
    assert all(torch.allclose(found[0][k], found[1][k], atol=1e-5) for k in found[0])
