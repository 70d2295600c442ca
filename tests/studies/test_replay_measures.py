"""The study of replay measures what it says."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.studies import adding, r3


def test_success_of_tables_is_exact():
    """Two prompts by hand: e^d / (e^d + 7) for each symbol of the word."""
    words = torch.tensor([[0, 1, 2, 3], [7, 7, 7, 7]])
    logits = torch.zeros(2, r3.LENGTH, r3.SYMBOLS)
    logits[0].scatter_(1, words[0][:, None], math.log(7.0))
    assert r3.success_of(logits, words) == pytest.approx((0.5**4 + 0.125**4) / 2)


def test_tables_learn_as_the_card_says():
    """At rate .5 and epoch 50 GRPO reaches .47 and replay .63 to .69 (scratch runs elsewhere)."""
    found = {}
    for way in (r3.GRPO, r3.REPLAY, r3.DAMPED):
        runs = [r3.learned_tables(r3.WAYS[way], 0.5, 50, np.random.default_rng(k)) for k in (1, 2)]
        found[way] = np.mean(runs, axis=0)
    assert 0.35 < found[r3.GRPO][0] < 0.6
    assert found[r3.REPLAY][0] > found[r3.GRPO][0] + 0.1
    assert found[r3.REPLAY][1] < found[r3.GRPO][1]
    assert found[r3.DAMPED][0] < found[r3.REPLAY][0]


def test_what_does_not_learn_stays():
    """With rate 0 success is that of the start, whatever is replayed."""
    words, logits = r3.table_world(np.random.default_rng(3))
    for way in r3.WAYS.values():
        success, silent = r3.learned_tables(way, 0.0, 2, np.random.default_rng(3))
        assert success == pytest.approx(r3.success_of(logits, words))
        assert 0.4 < silent < 1


def test_opposite_answers_that_are_kept():
    """Kept first: two groups fail, one of them with a success kept; three succeed, one has none."""
    rights = np.array(
        [[0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 0]]
    ).astype(bool)
    assert r3.mended(rights) == {r3.FAILING: 0.5, r3.SUCCEEDING: pytest.approx(2 / 3)}


def test_the_real_answers_are_as_right_as_published(data):
    rows = data("gsm8k-solutions")
    shares = [np.mean([row[name]["is_correct"] for row in rows]) for name in r3.SYSTEMS]
    assert len(rows) == 1319
    assert np.round(100 * np.array(shares), 2) == pytest.approx([21.68, 39.04, 34.72, 56.25])


@pytest.mark.parametrize(
    ("text", "right"),
    [("55$", True), ("055$_", True), ("00055", False), ("55", False), ("54$", False), ("$", False)],
)
def test_answers_are_the_sum_within_the_cap(text, right):
    assert adding._right(text, "55") == right


def test_sums_are_all_there_once():
    found = adding.sums(np.random.default_rng(0), adding.SUMS)
    assert len(set(found)) == adding.SUMS == 810
    for prompt, total in found:
        a, b = prompt.removesuffix("=").split("+")
        assert len(prompt) == adding.HEAD
        assert int(a) + int(b) == int(total)


def test_all_ways_stop_at_the_same_number_of_answers():
    """Asking again takes its share: fewer rounds, no fewer answers."""
    start = adding.adder(3, 2)
    steps = []
    for recipe in (None, r3.RECIPES[r3.REFLECT]):
        rounds = []
        adding.trained_on_sums(start, recipe, 768, 3, watch=rounds.append)
        assert rounds[-1] >= 768 > rounds[-2]
        steps.append(len(rounds))
    assert steps[0] == 6
    assert steps[1] < steps[0]
