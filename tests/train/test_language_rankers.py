"""Language models that rank: an oracle in words brings the truth up, what it garbles is counted."""

import re

import numpy as np
import pytest

from policyrank.errors import OptionError
from policyrank.train.language_rankers import (
    METHODS,
    Asking,
    LanguageRanker,
    rerank_all,
    weigher,
    writer,
)

VALUES = np.random.default_rng(0).permutation(40).tolist()
PASSAGES = [f"worth {value} points" for value in VALUES]
BEST = sorted(range(40), key=lambda own: -VALUES[own])


def words(prompt):
    """What a prompt asks."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def shown(prompt):
    """Label -> worth, as a prompt shows them."""
    text = words(prompt)
    return {
        label: int(worth) for label, worth in re.findall(r"^\[?(\w+)[\]:] worth (\d+)", text, re.M)
    }


def oracle(form):
    """Writes the right answer in a form."""

    def write(prompts):
        found = []
        for prompt in prompts:
            worth = shown(prompt)
            if words(prompt).startswith("Which"):
                answer = f"[{max(worth, key=worth.get)}]"
            else:
                answer = " > ".join(f"[{own}]" for own in sorted(worth, key=lambda o: -worth[o]))
            found.append(form.format(answer))
        return found

    return write


def weighs(prompts, options):
    rows = []
    for prompt in prompts:
        if options == ["Yes", "No"]:
            worth = int(re.search(r"worth (\d+)", words(prompt))[1])
            rows.append([worth / 40, 1 - worth / 40])
        else:
            rows.append([shown(prompt)[own] for own in options])
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("method", METHODS)
def test_an_oracle_brings_the_best_up(method):
    forms = () if method == "pointwise" else ("{}", "Sure: {}.")
    rankers = [LanguageRanker(write=oracle(form), method=method) for form in forms]
    if method != "listwise-window":
        rankers.append(LanguageRanker(weigh=weighs, method=method))
    for ranker in rankers:
        found = ranker("which is worth most", PASSAGES)
        assert list(found.order[:10]) == BEST[:10]
        assert sorted(found.order) == list(range(40))
        assert (found.invalid, found.gave_up) == (0, False)
        assert found.calls > 0


def test_thinking_in_the_form_that_is_asked_for():
    asking = Asking(thinks=True, system="You rank.")
    form = "<think>[1]? no</think><answer>{}</answer>"
    for method in ("setwise-bubble", "listwise-window"):
        good = LanguageRanker(write=oracle(form), asking=asking, method=method, strict=True)
        assert list(good("q", PASSAGES).order[:10]) == BEST[:10]
        bad = LanguageRanker(write=oracle("{}"), asking=asking, method=method, strict=True)
        found = bad("q", PASSAGES)
        assert (found.order, found.gave_up) == (tuple(range(40)), True)
        assert found.invalid == found.calls
    prompt = asking.choice("q", ["a"])
    assert [turn["role"] for turn in prompt] == ["system", "user"]
    assert "<think>" in prompt[1]["content"]


@pytest.mark.parametrize("method", ["setwise-heapsort", "setwise-bubble", "listwise-window"])
def test_garbled_answers_are_counted(method):
    """Half of the answers cannot be read: the rest still order, and both are told."""
    right, asked = oracle("{}"), []

    def write(prompts):
        asked.append(1)
        return ["I cannot say."] if len(asked) % 2 else right(prompts)

    found = LanguageRanker(write=write, method=method, give_up=0.8)("q", PASSAGES)
    assert found.calls == len(asked)
    assert found.invalid == (len(asked) + 1) // 2
    assert not found.gave_up
    left = LanguageRanker(write=lambda prompts: [""] * len(prompts), method=method)("q", PASSAGES)
    assert (left.order, left.gave_up) == (tuple(range(40)), True)


def test_what_cannot_be_weighed():
    def weigh(prompts, options):
        chances = weighs(prompts, options)
        chances[[k for k, prompt in enumerate(prompts) if "worth 39" in words(prompt)]] = np.nan
        return chances

    found = LanguageRanker(weigh=weigh, method="pointwise")("q", PASSAGES)
    assert (found.invalid, found.order[:3], found.order[-1]) == (1, tuple(BEST[1:4]), BEST[0])
    assert np.isnan(found.scores[BEST[0]])
    assert found.scores[BEST[1]] == pytest.approx(38 / 40)


def test_long_texts_are_cut_and_lines_stay_one():
    asking = Asking(passage_words=3, query_words=2)
    text = asking.choice("one two three", ["a b\nc d e", "[9] x"])
    assert "Query: one two ...\n" in text
    assert "[1] a b c ...\n[2] [9] x" in text


def test_many_queries_at_once_are_in_order():
    told = []
    lists = [("q", PASSAGES[start:]) for start in range(8)]
    ranker = LanguageRanker(write=oracle("{}"), votes=3)
    alone = list(rerank_all(ranker, lists))
    many = list(rerank_all(ranker, lists, concurrency=4, report=lambda *own: told.append(own)))
    assert alone == many
    assert sorted(told)[-1] == (8, 8)
    assert [len(own.order) for own in many] == list(range(40, 32, -1))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "bogus", "weigh": weighs}, "use one of"),
        ({}, "either writes or weighs"),
        ({"write": oracle("{}"), "weigh": weighs}, "either writes or weighs"),
        ({"weigh": weighs, "method": "listwise-window"}, "that writes"),
        ({"write": oracle("{}"), "method": "pointwise"}, "that weighs"),
        ({"weigh": weighs, "children": 26}, "at most 25"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(OptionError, match=says):
        LanguageRanker(**options)


def test_a_model_weighs_and_writes(lm):
    """A tiny model: every answer that is weighed can be read."""
    from policyrank.models.language import load_causal_lm

    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    weighing = weigher(model, tokenizer, max_length=4096)
    for method in ("setwise-heapsort", "pointwise", "pairwise"):
        ranker = LanguageRanker(weigh=weighing, method=method, children=3, k=2)
        found = ranker("q", PASSAGES[:6])
        assert sorted(found.order) == list(range(6))
        assert (found.invalid, found.calls > 0) == (0, True)
    short = LanguageRanker(weigh=weigher(model, tokenizer, max_length=5))("q", PASSAGES[:6])
    assert (short.order, short.gave_up) == (tuple(range(6)), True)
    written = LanguageRanker(write=writer(model, tokenizer, tokens=4), children=3, k=1)
    found = written("q", PASSAGES[:6])
    assert sorted(found.order) == list(range(6))
