"""Solutions of HumanEval's problems by models, and what ranks them.

A part of the study of reinforced reranking, not one itself.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from policyrank.evidence import datasets
from policyrank.learn.rewards import plackett_luce_reward
from policyrank.studies.frame import Report
from policyrank.worlds.problem_texts import check_statements, docstring_examples, imports_of
from policyrank.worlds.sandbox import outputs, run_all


@dataclass(frozen=True)
class Problem:
    """A HumanEval problem, and solutions of models."""

    name: str
    prompt: str
    function: str
    test: str
    codes: tuple[str, ...]

    @property
    def programs(self) -> list[str]:
        """Solutions with what the problem's text imports."""
        return [imports_of(self.prompt) + code for code in self.codes]


def read_problems(number: int) -> list[Problem]:
    """The first problems with their solutions."""
    tests = {p["task_id"]: p["test"] for p in datasets.load("humaneval")}
    problems = []
    for p in datasets.load("humaneval-solutions")[:number]:
        codes = tuple(candidate["code"] for candidate in p["candidates"])
        name, function = p["task_id"], p["entry_point"]
        problems.append(Problem(name, p["prompt"], function, tests[name], codes))
    return problems


def tested_shares(problems: list[Problem], report: Report) -> list[list[float]]:
    """Share of its tests that each solution passes."""
    programs = []
    for problem in problems:
        tests = check_statements(problem.test, problem.function)
        programs += [(program, tests) for program in problem.programs]

    def say(done: int, of: int) -> None:
        if done % 50 == 0:
            report(f"tested {done} of {of} solutions")

    tested = iter(run_all(programs, report=say))
    return [[next(tested).share for _ in problem.codes] for problem in problems]


def rules(problem: Problem, share: list[float]) -> dict[str, list[float]]:
    """Scores of a problem's solutions that nothing was trained for."""
    length = [float(len(code)) for code in problem.codes]
    examples = docstring_examples(problem.prompt, problem.function)
    calls = [call for call, _ in examples] or ["None"]
    wanted = [f"value {eval_repr(result)}" for _, result in examples]
    came = [outputs(program, calls) for program in problem.programs]
    right = [_agreement(own, wanted) for own in came]
    consensus = [_consensus(own, came) for own in came]
    return {
        "by chance": [0.0] * len(share),
        "oracle": share,
        "shortest": [-n for n in length],
        "longest": length,
        "examples": right,
        "consensus": consensus,
        "examples, then consensus": (np.array(right) + 0.5 * np.array(consensus)).tolist(),
    }


def _agreement(own: list[str], wanted: list[str]) -> float:
    """How many outputs are as wanted."""
    return float(sum(got == result for got, result in zip(own, wanted, strict=False)))


def _consensus(own: list[str], came: list[list[str]]) -> float:
    """Share of the solutions with the same outputs."""
    return came.count(own) / len(came)


def likelihoods(problems: list[Problem]) -> list[list[float]]:
    """Likelihood of a token of each solution."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import likelihood_scorer

    score = likelihood_scorer(*load_causal_lm("smollm2", device="cpu"), max_length=1024)
    prompts = [problem.prompt[-1500:] for problem in problems]
    codes = [[code[:1500] for code in problem.codes] for problem in problems]
    return score(prompts, codes)


def learned_scores(
    problems: list[Problem], shares: list[list[float]], seed: int
) -> list[list[float]]:
    """Scores of linear rerankers that learned from the other folds' problems."""
    features = _features(problems)
    fold = np.random.default_rng(seed).permutation(len(problems)) % 5
    learned: list[list[float]] = [[] for _ in problems]
    for f in range(5):
        others = np.flatnonzero(fold != f)
        model = linear([features[k] for k in others], [shares[k] for k in others], 1000 * seed + f)
        for k in np.flatnonzero(fold == f):
            with torch.no_grad():
                learned[k] = model(features[k]).squeeze(-1).tolist()
    return learned


def _features(problems: list[Problem]) -> list[Tensor]:
    """Of each problem's solutions: embeddings, and their products with that of its text."""
    from policyrank.models.encoders import encode_texts, load_encoder

    encoder = load_encoder("minilm")
    codes = [code for problem in problems for code in problem.codes]
    vectors = torch.from_numpy(encode_texts(encoder, codes, cache="minilm"))
    prompts = [problem.prompt for problem in problems]
    asked = torch.from_numpy(encode_texts(encoder, prompts, cache="minilm"))
    sizes = [len(problem.codes) for problem in problems]
    features = []
    for own, text in zip(vectors.split(sizes), asked, strict=True):
        features.append(torch.cat([own, own * text], dim=1))
    return features


def eval_repr(text: str) -> str:
    """A literal as Python writes it."""
    return repr(ast.literal_eval(text))


def linear(features: list[Tensor], shares: list[list[float]], seed: int) -> nn.Module:
    """A linear scorer by Plackett-Luce on shares of tests passed."""
    torch.manual_seed(seed)
    x = pad_sequence(features, batch_first=True)
    y = pad_sequence([torch.tensor(s, dtype=torch.float32) for s in shares], batch_first=True)
    sizes = torch.tensor([len(s) for s in shares])
    where = torch.arange(y.shape[1]) < sizes[:, None]
    model = nn.Linear(x.shape[-1], 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(200):
        loss = plackett_luce_reward(model(x).squeeze(-1), y, where=where, places="sum")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model
