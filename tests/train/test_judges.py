"""Judges by what they ask of a model and what they make of its chances."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from policyrank.errors import EvidenceError
from policyrank.train import judges
from policyrank.train.judges import (
    as_lists,
    best_of_n,
    each_answer,
    likelihood_scorer,
    majority,
    pairwise_judge,
    rating_judge,
    similarity_scorer,
    vote_judge,
)

PROMPTS = ["first?", "second?"]
ANSWERS = [["a", "bb"], ["ccc", "d", "ee"]]
ANCHORS = {"first?": "good one", "second?": "good two"}


@pytest.fixture
def asked(monkeypatch):
    """What is asked of a model; its chances are drawn, and handed out in order."""
    calls = []

    def choice_probs(model, tokenizer, texts, options, **given):
        chances = np.random.default_rng(len(calls)).dirichlet(np.ones(len(options)), len(texts))
        calls.append(SimpleNamespace(of=(model, tokenizer), texts=texts, options=options))
        calls[-1].given, calls[-1].chances = given, chances
        return chances

    monkeypatch.setattr(judges, "choice_probs", choice_probs)
    return calls


@pytest.mark.parametrize("anchored", [True, False])
def test_ratings_are_expected_digits(asked, anchored):
    seen = object()
    anchors = ANCHORS if anchored else None
    template = "{prompt}|{anchor}|{answer}"
    judge = rating_judge(
        "lm", "tok", anchors, template=template, max_length=99, chat=True, seen=seen
    )
    found = judge(PROMPTS, ANSWERS)
    (call,) = asked
    good = {prompt: f"A good answer: {ANCHORS[prompt]}\n" if anchored else "" for prompt in PROMPTS}
    assert call.texts == [
        f"{prompt}|{good[prompt]}|{answer}"
        for prompt, answers in zip(PROMPTS, ANSWERS, strict=True)
        for answer in answers
    ]
    assert (call.of, call.options) == (("lm", "tok"), list("123456789"))
    assert call.given == {"max_length": 99, "chat": True, "seen": seen}
    rating = [sum(digit * p for digit, p in enumerate(row, 1)) for row in call.chances]
    assert found[0] == pytest.approx(rating[:2])
    assert found[1] == pytest.approx(rating[2:])
    rating_judge("lm", "tok")(PROMPTS, ANSWERS)
    plain = asked[1]
    assert plain.given == {"max_length": 2048, "chat": None, "seen": None}
    assert plain.texts[0] == judges.RATING.format(prompt="first?", anchor="", answer="a")
    with pytest.raises(EvidenceError, match="no anchor for the prompt 'other"):
        rating_judge("lm", "tok", ANCHORS)(["other?"], [["x"]])


def test_votes_are_asked_in_both_orders(asked):
    seen = object()
    judge = vote_judge(
        "lm",
        "tok",
        ANCHORS,
        template="{prompt}|{anchor}|{first}|{second}",
        max_length=77,
        seen=seen,
    )
    found = judge([*PROMPTS, "alone?"], [*ANSWERS, ["x"]])
    (call,) = asked
    assert (call.of, call.options) == (("lm", "tok"), ["A", "B"])
    assert call.given == {"max_length": 77, "seen": seen}
    shares = {}
    for text, (share, _) in zip(call.texts, call.chances, strict=True):
        prompt, anchor, first, second = text.split("|")
        assert anchor == f"A good answer: {ANCHORS[prompt]}\n"
        shares[prompt, first, second] = share
    assert len(shares) == 2 + 6
    for prompt, answers, own in zip(PROMPTS, ANSWERS, found[:2], strict=True):
        for answer, value in zip(answers, own, strict=True):
            votes = []
            for other in answers:
                if other != answer:
                    votes += [shares[prompt, answer, other], 1 - shares[prompt, other, answer]]
            assert value == pytest.approx(np.mean(votes))
    assert found[2] == [0]
    vote_judge("lm", "tok")(PROMPTS, ANSWERS)
    assert asked[1].given == {"max_length": 2048, "seen": None}
    shown = {"prompt": "first?", "anchor": ""}
    assert asked[1].texts[0] == judges.VOTE.format(first="a", second="bb", **shown)
    assert vote_judge("lm", "tok")(["first?"], [["a"]]) == [[0.0]]
    assert len(asked) == 2


def test_likelihoods_are_of_a_token_or_of_all(monkeypatch):
    calls = []

    def answer_logprobs(model, tokenizer, texts, **given):
        calls.append((model, tokenizer, texts, given))
        done = [
            (k, SimpleNamespace(logprob=-2.0 * (k + 1), tokens=len(answer)))
            for k, (_, answer) in enumerate(texts)
        ]
        yield done[3:]
        yield done[:3]

    monkeypatch.setattr(judges, "answer_logprobs", answer_logprobs)
    seen = object()
    whole = likelihood_scorer(
        "lm", "tok", per_token=False, max_length=9, chat=True, long_prompts="cut", seen=seen
    )
    assert whole(PROMPTS, ANSWERS) == [[-2, -4], [-6, -8, -10]]
    pairs = [(p, a) for p, answers in zip(PROMPTS, ANSWERS, strict=True) for a in answers]
    assert calls[0][:3] == ("lm", "tok", pairs)
    given = {"max_length": 9, "chat": True, "long_prompts": "cut", "seen": seen}
    assert calls[0][3] == given
    by_token = likelihood_scorer("lm", "tok")
    assert by_token(PROMPTS, ANSWERS) == [[-2, -2], [-2, -8, -5]]
    given = {"max_length": 1024, "chat": None, "long_prompts": "leave out", "seen": None}
    assert calls[1][3] == given
    assert by_token(["p"], [[""]]) == [[-2]]


def test_lists_of_answers_are_taken_apart_and_put_together():
    pairs = each_answer(PROMPTS, ANSWERS)
    assert pairs[1:3] == [("first?", "bb"), ("second?", "ccc")]
    assert as_lists([1, 2, 3, 4, 5], ANSWERS) == [[1, 2], [3, 4, 5]]


def by_length(prompts, completions):
    return [[float(len(answer)) for answer in answers] for answers in completions]


def test_pairs_are_judged_by_scores():
    judge = pairwise_judge(by_length)
    assert judge(["p"] * 3, ["aa", "a", "b"], ["a", "aaa", "c"]) == [1, 0, 0.5]


def test_the_best_of_several_is_the_first_of_equals():
    asked = []

    def policy(prompts, n):
        asked.append(n)
        return [["a", "bb", "cc"], ["d", "e", "f"]]

    best, made, scores = best_of_n(PROMPTS, policy, by_length, 5)
    assert best == ["bb", "d"]
    assert made == [["a", "bb", "cc"], ["d", "e", "f"]]
    assert scores == [[1, 2, 2], [1, 1, 1]]
    best_of_n(PROMPTS, policy, by_length)
    assert asked == [5, 8]


def test_the_commonest_answer_is_found_by_its_key():
    assert majority([" 4", "3", "4"]) == 0
    assert majority(["1", "2", "02"], key=int) == 1
    assert majority(["x"]) == 0


def test_similarity_is_the_cosine_with_the_anchor(monkeypatch):
    from policyrank.models import encoders

    vectors = {"good one": [1.0, 0], "good two": [0, 1.0], "a": [0.6, 0.8], "bb": [1, 0]}

    def encode_texts(encoder, texts):
        assert encoder == "enc"
        return np.array([vectors.get(text, [0.8, 0.6]) for text in texts])

    monkeypatch.setattr(encoders, "encode_texts", encode_texts)
    found = similarity_scorer("enc", ANCHORS)(PROMPTS, ANSWERS)
    assert found[0] == pytest.approx([0.6, 1])
    assert found[1] == pytest.approx([0.6] * 3)
