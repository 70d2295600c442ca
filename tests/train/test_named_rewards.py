"""Rewards that have names: values by hand, what cannot be read, and what has no label."""

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import Rollouts, rewarded
from policyrank.models.language import load_causal_lm
from policyrank.train import named_rewards
from policyrank.train.named_rewards import (
    choice_reward,
    exact_reward,
    list_reward,
    of_scorer,
    program_reward,
    read_rubric,
    rubric_by,
)
from policyrank.worlds import sandbox


def group(*texts, prompt="q", **columns):
    n = len(texts)
    return Rollouts(
        torch.zeros(n, 1),
        torch.ones(n, 1),
        torch.zeros(n, dtype=torch.long),
        prompts=[prompt] * n,
        completions=list(texts),
        columns={name: [value] * n for name, value in columns.items()},
    )


def answered(text):
    return f"<think>so</think><answer>{text}</answer>"


def test_ndcg_of_an_order():
    said = rewarded(
        group(answered("[2] > [1] > [3]"), answered("[3] > [1] > [2]"), "[2]", label=[1, 2, 0]),
        list_reward(),
    )
    ideal = 2 + 1 / math.log2(3)
    worst = 0 + 1 / math.log2(3) + 2 / math.log2(4)
    assert said.values.tolist() == pytest.approx([1, worst / ideal, 0])
    assert said.parts["unparsed"].tolist() == [0, 0, 1]
    first = rewarded(group(answered("[1] > [2] > [3]"), label=[1, 2, 0]), list_reward(places=1))
    assert first.values.tolist() == [0.5]


def test_recall_of_the_first_places_and_mended_orders():
    reward = list_reward("recall", places=2, strict=False)
    said = rewarded(group("[3] [1]", "[2]", "none", label=[1, 0, 1, 0]), reward)
    assert said.values.tolist() == pytest.approx([1, 0.5, 0])
    nothing = rewarded(group("[1]", "[2]", label=[0, 0]), reward)
    assert nothing.values.isnan().all()
    assert rewarded(group("[1]", label=None), reward).values.isnan().all()
    with pytest.raises(OptionError, match="ndcg or recall"):
        list_reward("map")
    with pytest.raises(OptionError, match="there are: other"):
        rewarded(group("[1]", other=1), reward)
    for wrong in ("abc", [], [1, None], 3, [math.inf]):
        with pytest.raises(EvidenceError, match="relevance of each item"):
            rewarded(group("[1]", label=wrong), reward)


def test_choices_and_exact_answers():
    said = rewarded(
        group(answered("[2]"), answered("[3]"), "[2]", label=[0, 4, 1]), choice_reward()
    )
    assert said.values.tolist() == [1, 0.25, 0]
    assert said.parts["unparsed"].tolist() == [0, 0, 1]
    assert rewarded(group(answered("[1]"), label=[0, 0]), choice_reward()).values.isnan().all()
    exact = rewarded(
        group(answered(" 42 "), answered("4"), "42", right=42), exact_reward(label="right")
    )
    assert exact.values.tolist() == [1, 0, 0]
    assert exact.parts["unparsed"].tolist() == [0, 0, 1]


def test_programs_are_run_against_their_tests():
    if why := sandbox.unavailable():
        pytest.skip(f"programs cannot be run apart here: {why}")
    tests = ["assert f(1) == 2", "assert f(2) == 3"]
    answers = ["def f(x): return x + 1", "def f(x): return 2", "no program"]
    said = rewarded(group(*answers, tests=tests), program_reward(seconds=5.0))
    assert said.values.tolist() == [1, 0.5, 0]
    assert said.parts["passed"].tolist() == [1, 0, 0]
    with pytest.raises(EvidenceError, match="a problem has a prompt and tests"):
        rewarded(group("x", tests=None), program_reward(seconds=5.0))


def test_a_rubric_is_the_weighted_share_of_what_is_met(monkeypatch, lm):
    import numpy as np

    asked = []

    def choice_probs(model, tokenizer, prompts, options, **_):
        asked.extend(prompts)
        yes = np.array([float("good" in text) for text in prompts])
        return np.stack([yes, 1 - yes], axis=1)

    monkeypatch.setattr(named_rewards, "choice_probs", choice_probs)
    rubric = [
        {"criterion": "says good", "weight": 3, "category": "a"},
        {"criterion": "is kind", "weight": 1, "category": "a"},
    ]
    reward = rubric_by(*load_causal_lm(str(lm)))
    said = rewarded(group("x", "y", prompt="why?", rubric=rubric), reward)
    assert said.values.tolist() == pytest.approx([0.75, 0.75])
    assert said.parts["met"].tolist() == [0.5, 0.5]
    assert "Question: why?\n\nAnswer: y\n\nCriterion: is kind" in asked[3]
    assert rewarded(group("x", rubric=None), reward).values.isnan().all()
    for wrong in ("abc", [{"weight": 1}], [{"criterion": 3}], 3, []):
        with pytest.raises(EvidenceError, match="rubric"):
            read_rubric(wrong)


def test_scorers_are_rewards():
    def scorer(prompts, completions):
        return [
            [len(text) / len(prompt) for text in own]
            for prompt, own in zip(prompts, completions, strict=True)
        ]

    assert rewarded(group("ab", "c", prompt="wxyz"), of_scorer(scorer, "s")).values.tolist() == [
        0.5,
        0.25,
    ]
