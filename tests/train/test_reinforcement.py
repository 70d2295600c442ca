"""Rounds of reinforcement: what is asked, scored and learned from, with a model that is none."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import EvidenceError
from policyrank.models.language import Sampled
from policyrank.train import reinforcement
from policyrank.train.reinforcement import reinforce

KNOWN = [(f"prompt {k}", [k]) for k in range(5)]


def answers_of(seed, prompts, n):
    """Answers that depend on the seed: some are cut."""
    rng = np.random.default_rng(seed)
    return [
        [Sampled(f"{p} {k}", tuple(rng.integers(9, size=k + 1)), k % 2 == 0) for k in range(n)]
        for p in prompts
    ]


def scores_of(prompts, answers):
    return [[float(len(text) + k * k) for k, text in enumerate(own)] for own in answers]


@pytest.fixture
def stage(monkeypatch):
    """What a run asks of the rest: draws, likelihoods, groups, trainers."""
    seen = SimpleNamespace(draws=[], data=[], trained=[], within=[])

    class Trainer:
        def __init__(self, model, config, data, processing_class):
            self.model = model
            seen.trained.append((config, data, processing_class))

        def train(self):
            with torch.no_grad():
                self.model.weight += 1.0

    def draw(model, tokenizer, prompts, *, n, chat, seed, **options):
        made = answers_of(seed, prompts, n)
        seen.draws.append((tokenizer, prompts, n, chat, options, made))
        return made

    def prompts_within(tokenizer, prompts, room, chat, report):
        seen.within.append((tokenizer, prompts, room, chat))
        return KNOWN

    def token_logprobs(model, coded, pad):
        assert not model.training
        assert pad == 7
        weight = float(model.weight.detach())
        done = [(k, -len(ids) * weight - 0.1 * head[0]) for k, (head, ids) in enumerate(coded)]
        yield done[2:]
        yield done[:2]

    def sampled_data(heads, made, rewards):
        seen.data.append((heads, made, rewards))
        return ["group"] * len(heads)

    for name, own in {
        "draw": draw,
        "prompts_within": prompts_within,
        "token_logprobs": token_logprobs,
        "sampled_data": sampled_data,
        "padding": lambda tokenizer: 7,
        "ListwisePreferenceTrainer": Trainer,
        "ListwisePreferenceConfig": SimpleNamespace(of=lambda *a, **k: (a, k)),
    }.items():
        monkeypatch.setattr(reinforcement, name, own)
    return seen


def model_of(weight=1.0):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, weight)
    return model


def run(model=None, scorer=scores_of, **options):
    return reinforce(
        model_of() if model is None else model, "tok", ["raw"], scorer,
        arguments=lambda stage: f"arguments of {stage}", **options,
    )  # fmt: skip


def test_rounds_ask_score_and_learn(stage):
    said = []
    model, history = run(rounds=3, batch=2, samples=3, kl=0.5, seed=4, report=said.append)
    assert [record["round"] for record in history] == [1, 2, 3]
    assert model.weight.item() == 4
    for number in range(3):
        rng = np.random.default_rng([4, number + 1])
        chosen = rng.choice(5, size=2, replace=False)
        tokenizer, prompts, n, chat, options, made = stage.draws[number]
        assert prompts == [KNOWN[k][0] for k in chosen]
        assert made == answers_of(int(rng.integers(2**31)), prompts, 3)
        assert (tokenizer, n, chat) == ("tok", 3, None)
        assert options == {"max_new_tokens": 128, "temperature": 1.0}
        heads, same, rewards = stage.data[number]
        assert heads == [KNOWN[k][1] for k in chosen]
        assert same is made
        # After so many rounds a token costs so much more than at the start.
        far = [[-float(len(answer.ids) * number) for answer in own] for own in made]
        scores = scores_of(prompts, [[answer.text for answer in own] for own in made])
        for own, less, kept in zip(scores, far, rewards, strict=True):
            assert kept == pytest.approx([s - 0.5 * f for s, f in zip(own, less, strict=True)])
        record = history[number]
        assert record["score"] == pytest.approx(np.mean(scores))
        assert record["log_ratio"] == pytest.approx(np.mean(far))
        assert (record["groups"], record["tokens"], record["unscored"]) == (2, 2, 0)
        assert record["cut"] == pytest.approx(1 / 3)
        text = (
            f"round {number + 1} of 3: mean score {np.mean(scores):.4g}, log-ratio to the start"
            f" {np.mean(far):.3g}, 2 tokens an answer (33% cut)"
        )
        assert said[number] == text
        (positional, given), data, processing = stage.trained[number]
        assert positional == (f"arguments of round-{number + 1}",)
        assert given == {"loss": "grpo", "loss_options": {}, "max_length": 1024, "chat": None}
        assert (data, processing) == (["group"] * 2, "tok")
    assert stage.within == [("tok", ["raw"], 1024 - 128, None)]


def test_options_reach_what_they_are_for(stage):
    options = {"loss": "l", "loss_options": {"clip": 1}, "max_length": 50, "chat": True}
    sample = {"max_new_tokens": 7, "top_p": 0.9}
    _, history = run(rounds=1, kl=0, sample=sample, **options)
    _, prompts, n, chat, drawn, made = stage.draws[0]
    assert (len(prompts), n, chat) == (5, 8, True)
    assert drawn == {"max_new_tokens": 7, "temperature": 1.0, "top_p": 0.9}
    assert stage.within == [("tok", ["raw"], 43, True)]
    assert stage.trained[0][0][1] == options
    scores = scores_of(prompts, [[answer.text for answer in own] for own in made])
    assert stage.data[0][2] == scores
    assert history[0]["log_ratio"] == 0
    _, history = run()
    assert len(history) == 30
    assert stage.data[-1][2] != scores_of(
        None, [[a.text for a in own] for own in stage.data[-1][1]]
    )


def test_answers_without_a_score_are_counted_and_said(stage):
    def some(prompts, answers):
        return [[math.nan, *own[1:]] for own in scores_of(prompts, answers)]

    said = []
    _, history = run(scorer=some, rounds=1, batch=3, samples=1, kl=0, report=said.append)
    assert history[0]["unscored"] == 3
    assert math.isnan(history[0]["score"])
    assert said[0].endswith(", 3 answers without a score")
    assert "cut" not in said[0]


def test_a_first_round_without_a_group_is_refused_and_a_later_one_passed_over(stage, monkeypatch):
    groups = iter([1, 0, 1])
    monkeypatch.setattr(reinforcement, "sampled_data", lambda *_: ["group"] * next(groups))
    model, history = run(rounds=3, kl=0)
    assert [record["groups"] for record in history] == [1, 0, 1]
    assert model.weight.item() == 3
    monkeypatch.setattr(reinforcement, "sampled_data", lambda *_: [])
    with pytest.raises(EvidenceError, match="Raise the temperature, or look at the scorer"):
        run(rounds=1)


def test_a_run_goes_on_from_what_was_kept(stage):
    kept = []

    class Kept:
        folder = None

        def resume(self, model, fingerprint, say):
            return [{"round": 1}]

        def keep(self, model, history, fingerprint, *, last):
            kept.append((model.weight.item(), len(history), last))

    said = []
    _, history = run(rounds=3, kept=Kept(), report=said.append)
    assert [record["round"] for record in history] == [1, 2, 3]
    assert kept == [(2, 2, False), (3, 3, True)]
    assert said[0] == "going on after round 1"
