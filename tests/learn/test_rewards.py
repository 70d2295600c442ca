"""Rewards of groups: the cards' exact values, what may not matter, and what cannot be read."""

import math
import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import rewards as r
from policyrank.learn.rewards import parsing

NAN = torch.nan


def listed(values):
    return [pytest.approx(row, abs=1e-6) for row in values]


@pytest.mark.parametrize(
    ("scores", "targets", "tie", "wanted"),
    [
        ([[4, 3], [2, 2.5]], [4, 2], 0.5, [[0.994264, 0.911280], [0.986450, 0.948127]]),
        (
            [[4, 3], [2, 2.5], [3, 3.5]],
            [4, 2, 3],
            0.5,
            [[0.952772, 0.762700], [0.992170, 0.957573], [0.913095, 0.852999]],
        ),
        ([[3, 3], [3, 3]], [4, 2], 0.5, [[0.708107] * 2] * 2),
        ([[4, 3], [2, 2.5]], [2, 2], 0.5, [[0.784290, 0.936405], [0.817010, 0.896605]]),
        ([[4, 3], [2, 2.5]], [2, 2], 1.0, [[0.994264, 0.911280], [0.170973, 0.321863]]),
    ],
)
def test_fidelity_of_ranks(scores, targets, tie, wanted):
    given = torch.tensor(scores, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64)
    assert r.rank_fidelity(*given, tie=tie).tolist() == listed(wanted)


def test_an_answer_without_a_number_moves_nobody():
    scores = torch.tensor([[4.0, 3.0, NAN], [2.0, NAN, 2.5], [NAN, NAN, NAN]], dtype=torch.float64)
    found = r.rank_fidelity(scores, torch.tensor([4.0, 2.0, 9.0], dtype=torch.float64))
    assert found[0, :2].tolist() == pytest.approx([0.994264, 0.911280], abs=1e-6)
    assert [found[1, 0].item(), found[1, 2].item()] == pytest.approx([0.986450, 0.948127], abs=1e-6)
    assert found[0, 2].isnan()
    assert found[1, 1].isnan()
    assert found[2].isnan().all()
    alone = r.rank_fidelity(torch.tensor([[1.0, 2.0]]), torch.tensor([1.0]))
    assert alone.isnan().all()
    with pytest.raises(OptionError, match="items, answers"):
        r.rank_fidelity(torch.zeros(3), torch.zeros(3))


def test_near_and_far():
    off = torch.tensor([0, 0.025, 0.0625, 0.125, 0.25, 0.5], dtype=torch.float64)
    wanted = [1, 0.969233, 0.822578, 0.457833, 0.043937, 0.000004]
    assert r.bell(off, torch.tensor(0.0), sigma=0.1).tolist() == pytest.approx(wanted, abs=1e-6)
    off = torch.tensor([0, 0.1, 0.25, 0.5, 1, 2], dtype=torch.float64)
    wanted = [1, 0.980199, 0.882497, 0.606531, 0.135335, 0.000335]
    assert r.bell(3 + off, torch.tensor(3.0), sigma=0.5).tolist() == pytest.approx(wanted, abs=1e-6)
    steps = {0.1: 0.5, 0.07: 1.0}
    found = r.within(torch.tensor([0.06, 0.08, 0.11, NAN]), torch.tensor(0.0), steps=steps)
    assert found[:3].tolist() == [1, 0.5, 0]
    assert found[3].isnan()
    assert r.near(torch.tensor([3.0, 9.0]), torch.tensor(2.0), span=4).tolist() == [0.75, 0]
    with pytest.raises(OptionError, match="sigma"):
        r.bell(off, off, sigma=0)


def test_a_bonus_for_beating_the_corrupted_twin():
    found = torch.tensor([0.95, 0.5])
    more = {"gate": 0.9}
    assert r.consistency_bonus(found, torch.tensor([0.6, 0.6]), **more).tolist() == [
        pytest.approx(0.3),
        0,
    ]
    assert r.consistency_bonus(found, torch.tensor([0.9, 0.9]), **more).tolist() == [0, 0]
    own = torch.tensor([4, 9])
    apart = r.consistency_bonus(
        torch.tensor([0.95, 0.95]), torch.tensor([0.6, 0.99]), own, gate=0.9
    )
    assert apart.tolist() == [pytest.approx(0.3), 0]
    together = r.consistency_bonus(torch.tensor([0.95, 0.95]), torch.tensor([0.6, 0.99]), gate=0.9)
    assert together.tolist() == [pytest.approx(0.3)] * 2


def test_lists_by_hand():
    """F-GRPO's card: gold {a, b}, slate [a, c, d], rank [c, a]."""
    one = torch.tensor([1])
    slate = one, torch.tensor([3]), torch.tensor(2)
    assert r.coverage(*slate).item() == 0.5
    assert r.coverage(*slate, "precision").item() == pytest.approx(1 / 3)
    assert r.coverage(*slate, "f1").item() == pytest.approx(0.4)
    ranked = torch.tensor([[0.0, 1.0]])
    assert r.ndcg(ranked, torch.ones(2), k=2).item() == pytest.approx(0.3869, abs=1e-4)
    assert r.ndcg(ranked, torch.tensor([1.0, 0.0]), k=2).item() == pytest.approx(0.6309, abs=1e-4)
    assert r.ndcg(ranked, torch.zeros(2), k=2).isnan().all()
    assert r.coverage(0 * one, one, torch.tensor(0)).isnan().all()
    with pytest.raises(OptionError, match="kind"):
        r.coverage(*slate, "jaccard")


def test_credit_of_ranks():
    """Rank-GRPO's card."""
    hits = torch.tensor([[0.0, 1, 0, 1]])
    assert r.rank_credit(hits).tolist() == [
        pytest.approx([1.0616, 1.0616, 0.4307, 0.4307], abs=1e-4)
    ]
    assert r.rank_credit(hits, future=0).tolist() == hits.tolist()
    assert r.rank_credit(hits, future=0.5).tolist() == [[0.625, 1.25, 0.5, 1.0]]
    assert r.dcg(hits).item() == pytest.approx(1.0616, abs=1e-4)
    with pytest.raises(OptionError, match="future"):
        r.rank_credit(hits, future=1)


@pytest.mark.parametrize(
    ("said", "teacher", "relevant", "wanted"),
    [
        (range(1, 21), range(1, 21), {1, 2, 3}, 1.3),
        (range(20, 0, -1), range(1, 21), {1, 2, 3}, 0.033123),
        ([2, 1, *range(3, 21)], range(1, 21), {1}, 0.925930),
        ([2, 1, 3, 4], range(1, 5), {1}, 0.905930),
        ([4, 3, 2, 1], range(1, 5), {1, 2}, 0.812308),
    ],
)
def test_views_of_a_permutation(said, teacher, relevant, wanted):
    """ReasonRank's reward: nDCG@10 + .2 recall@10 + .1 average overlap."""
    order = torch.tensor([list(said)])
    hits = torch.tensor([[float(k in relevant) for k in said]])
    found = hits[:, :10].sum(dim=1)
    parts = torch.stack(
        [
            r.ndcg(hits, torch.ones(len(relevant)), k=10),
            r.coverage(found, torch.tensor([10]), torch.tensor(len(relevant))),
            r.rank_biased_overlap(order, torch.tensor(list(teacher))),
        ],
        dim=1,
    )
    value = r.weighted_sum(parts, torch.tensor([1.0, 0.2, 0.1]))
    assert value.item() == pytest.approx(wanted, abs=1e-5)


def slow_overlap(first, second, p):
    depth = max(len(first), len(second))
    if not depth:
        return 1.0
    weights = [p ** (d - 1) for d in range(1, depth + 1)]
    each = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, depth + 1)]
    return sum(w * a for w, a in zip(weights, each, strict=True)) / sum(weights)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(7)), st.permutations(range(9)), st.floats(0.1, 1.0))
def test_overlap_against_a_slow_twin(first, second, p):
    first, second = first[:5], second[:8]
    found = r.rank_biased_overlap(torch.tensor([first]), torch.tensor([second]), p=p)
    assert found.item() == pytest.approx(slow_overlap(first, second, p), abs=1e-6)
    same = torch.tensor([second])
    assert r.rank_biased_overlap(same, same, p=p).item() == pytest.approx(1)


def test_overlap_of_nothing():
    none = torch.tensor([[-1, -1, 2]])
    assert r.rank_biased_overlap(none, torch.tensor([[-1, 2, 3]])).item() == pytest.approx(1 / 9)
    with pytest.raises(OptionError, match="p=0"):
        r.rank_biased_overlap(none, none, p=0)


def test_tiers():
    tiers = torch.tensor([0, 1, 2])
    assert r.tiered(torch.tensor([1.3, NAN, 5.0]), tiers, {1: -1.0, 2: 0.0}).tolist() == [
        pytest.approx(1.3),
        -1,
        0,
    ]
    with pytest.raises(OptionError, match="tier 2"):
        r.tiered(torch.zeros(3), tiers, {1: 0.0})


VERDICTS = torch.tensor(
    [[1.0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.float64
)
RUBRIC = r.Rubric(torch.tensor([5.0, 3, 5, 2], dtype=torch.float64), torch.tensor([0, 0, 0, 1]))


def test_rubrics_by_hand():
    """POW3R's card."""
    found = r.rubric_reward(VERDICTS, RUBRIC)
    assert found.tolist() == pytest.approx([0.8077, 0.6923, 0.3077, 0.1923], abs=1e-4)
    assert found.std().item() == pytest.approx(0.29626, abs=1e-5)
    assert r.rubric_reward(VERDICTS, RUBRIC, aggregate="sum").tolist() == [10, 7, 8, 5]
    assert r.rubric_reward(VERDICTS, RUBRIC, aggregate="all").tolist() == [0, 0, 0, 0]
    easy = r.Rubric(RUBRIC.weights, required=torch.tensor([1, 1, 0, 0]))
    assert r.rubric_reward(VERDICTS, easy, aggregate="all").tolist() == [1, 0, 1, 0]
    factors, steps = None, []
    for _ in range(10):
        factors = r.contrast_factors(VERDICTS, RUBRIC, factors)
        steps.append(factors.tolist())
    assert steps[0] == pytest.approx([0.934, 1.1, 0.934, 1.0], abs=1e-6)
    down, up = [step[0] for step in steps], [step[1] for step in steps]
    assert [down[k] for k in (1, 2, 4, 9)] == pytest.approx(
        [0.8812, 0.8390, 0.7781, 0.7054], abs=1e-4
    )
    assert [up[k] for k in (1, 2, 4, 9)] == pytest.approx([1.18, 1.244, 1.3362, 1.4463], abs=1e-4)
    once = torch.tensor(steps[0], dtype=torch.float64)
    found = r.rubric_reward(VERDICTS, RUBRIC, factors=once)
    assert found.tolist() == pytest.approx([0.8153, 0.6847, 0.3153, 0.1847], abs=1e-4)
    at_once = r.contrast_factors(VERDICTS, RUBRIC, step=1.0)
    assert at_once.tolist() == pytest.approx([0.67, 1.5, 0.67, 1.0])
    plain = r.contrast_factors(VERDICTS, RUBRIC, strength=0.0)
    assert plain.tolist() == [1, 1, 1, 1]
    even = r.rubric_reward(VERDICTS, RUBRIC, factors=torch.full((4,), 1.3))
    assert torch.allclose(even, r.rubric_reward(VERDICTS, RUBRIC))


def test_verdicts_that_are_missing():
    some = VERDICTS.clone()
    some[:2, 1] = NAN
    factors = r.contrast_factors(some, RUBRIC, torch.tensor([1.0, 1.2, 1, 1]))
    assert factors[1].item() == pytest.approx(1.2)
    assert factors[0].item() == pytest.approx(1.0)  # the other valid ones of its category agree too
    assert r.rubric_reward(some, RUBRIC)[0].item() == pytest.approx(0.5 * (5 / 13) + 0.5)
    three = VERDICTS.clone()
    three[0, 1] = NAN
    assert r.contrast_factors(three, RUBRIC)[1].item() == pytest.approx(1.1)


def test_bad_things_count_as_their_absence():
    signed = r.Rubric(torch.tensor([2.0, -3.0]))
    found = r.rubric_reward(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), signed)
    assert found.tolist() == pytest.approx([0.4, 1.0, 0.6])
    with pytest.raises(OptionError, match="none of them 0"):
        r.Rubric(torch.tensor([1.0, 0.0]))
    with pytest.raises(OptionError, match="categories of"):
        r.Rubric(torch.tensor([1.0, 2.0]), torch.tensor([1]))
    with pytest.raises(OptionError, match="aggregate"):
        r.rubric_reward(VERDICTS, RUBRIC, aggregate="mean")


def test_what_a_rubric_can_teach():
    found = r.diagnose_rubric(VERDICTS, RUBRIC)
    assert (found.dead, found.saturated, found.mixed) == (0.25, 0.25, 0.5)
    assert found.idle == pytest.approx(10 / 13 / 2)
    assert found.spread == pytest.approx(0.29626 * math.sqrt(3 / 4), abs=1e-5)
    after = r.diagnose_rubric(VERDICTS, RUBRIC, r.contrast_factors(VERDICTS, RUBRIC))
    assert after.idle < found.idle
    assert after.spread > found.spread


def test_sums_and_gates():
    parts = torch.tensor([[0.25, 1.0, NAN], [0.0, 1.0, 0.5], [NAN, NAN, NAN]])
    found = r.weighted_sum(parts, torch.tensor([2.0, 1.0, 4.0]))
    assert found[:2].tolist() == [1.5, 3.0]
    assert found[2].isnan()
    wanted = {"geometric": [0.5, 0.0], "product": [0.25, 0.0], "least": [0.25, 0.0]}
    for gate, values in wanted.items():
        found = r.gated(parts, gate)
        assert found[:2].tolist() == values
        assert found[2].isnan()
    hard = r.gated(torch.tensor([[1.0, 0.7], [0.4, 0.7], [NAN, 0.7], [1.0, NAN]]), "hard")
    assert hard[:3].tolist() == pytest.approx([0.7, 0, 0.7])
    assert hard[3].isnan()
    with pytest.raises(OptionError, match=r"in \[0, 1\]"):
        r.gated(torch.tensor([[2.0, 1.0]]))
    with pytest.raises(OptionError, match="gate="):
        r.gated(parts, "soft")


def test_normalised_parts_weigh_the_same():
    rng = np.random.default_rng(0)
    parts = torch.tensor(rng.normal(size=(40, 2))) * torch.tensor([1.0, 1000.0])
    groups = torch.tensor(np.repeat(range(5), 8))
    found = r.normalised_sum(parts, groups, epsilon=0.0)
    scaled = r.normalised_sum(parts * torch.tensor([50.0, 0.1]), groups, epsilon=0.0)
    assert torch.allclose(found, scaled)
    own = parts[groups == 2]
    wanted = ((own - own.mean(dim=0)) / own.std(dim=0)).sum(dim=1)
    assert torch.allclose(found[groups == 2], wanted)


THOUGHT = "<think>a</think>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{THOUGHT} <answer>[3]</answer>", 2),
        (f"{THOUGHT}<answer> [3] </answer>", 2),
        (f"{THOUGHT}<answer>[03]</answer>", None),
        (f"{THOUGHT}<answer>3</answer>", None),
        ("<answer>[3]</answer>", None),
        (f"{THOUGHT}<answer>[3] [4]</answer>", None),
        (f"junk {THOUGHT}<answer>[3]</answer>", 2),
        (f"{THOUGHT} x <answer>[3]</answer>", None),
        (f"{THOUGHT} x <think>b</think><answer>[3]</answer>", 2),
        ("<THINK>a</THINK><ANSWER>[3]</ANSWER>", None),
        (f"{THOUGHT}<answer>[4]</answer>{THOUGHT}<answer>[3]</answer>", 3),
        (f"{THOUGHT}<answer>[21]</answer>", None),
    ],
)
def test_choices_as_rank_r1_rewards_them(text, value):
    assert parsing.choice(text, 20).value == value


@pytest.mark.parametrize(
    ("text", "value", "trouble"),
    [
        ("[3]", 2, ""),
        ("The answer is 3", 2, ""),
        ("<answer>[4]</answer> no: <ANSWER>[3]", 2, ""),
        ("[3] or [4]", None, "several"),
        ("[3] and again [3]", 2, ""),
        ("of 1999, [3]", 2, ""),
        ("none", None, "not one of them"),
        ("[99]", None, "not one of them"),
        ("<think>[1] or [2]", None, "no answer"),
        ("【2】", 1, ""),
        ("［２］", 1, ""),
        ("الجواب [٢]", 1, ""),
        ("٢", 1, ""),
        ("<think>[1]</think> so [2]", 1, ""),
    ],
)
def test_choices_where_one_is_needed(text, value, trouble):
    found = parsing.choice(text, 20, strict=False)
    assert (found.value, found.trouble) == (value, trouble)


@pytest.mark.parametrize(
    ("answer", "strict", "lenient"),
    [
        ("[2] > [1] > [3]", (1, 0, 2), (1, 0, 2)),
        ("2, 1, 3", (1, 0, 2), (1, 0, 2)),
        ("[2] > [1]", None, (1, 0, 2)),
        ("0,1,2", None, (0, 1, 2)),
        ("1,2,4", None, (0, 1, 2)),
        ("01,2,3", None, (0, 1, 2)),
        ("1,1,2", None, (0, 1, 2)),
        ("Top 2: [1] > [2] > [3]", None, (0, 1, 2)),
        ("¹²³", None, None),
        ("【2】＞【1】＞【3】", (1, 0, 2), (1, 0, 2)),
        ("[٢] > [١]", None, (1, 0, 2)),
        ("", None, None),
    ],
)
def test_orders(answer, strict, lenient):
    text = f"{THOUGHT}<answer>{answer}</answer>"
    assert parsing.permutation(text, 3).value == strict
    assert parsing.permutation(text, 3, strict=False).value == lenient
    assert parsing.permutation(answer, 3).trouble == "no answer"


@pytest.mark.parametrize(
    ("answer", "strict", "lenient"),
    [
        ("3.51", 3.51, 3.51),
        (" 3 ", 3.0, 3.0),
        (".75", None, None),
        ("4/5", None, 4.0),
        ("3,51", None, 3.51),
        ("about 2.5 of 5", None, 2.5),
        ("75", None, None),
        ("nan", None, None),
        ("1e400", None, None),
        ("٣", None, None),
    ],
)
def test_numbers(answer, strict, lenient):
    text = f"{THOUGHT}<answer>{answer}</answer>"
    assert parsing.number(text, 1, 5).value == strict
    assert parsing.number(text, 1, 5, strict=False).value == lenient


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.printable + "<>[]/é²٣", max_size=60), st.integers(1, 5))
def test_any_text_is_parsed_or_said_not_to_be(text, items):
    for strict in (True, False):
        for wrapped in (text, f"{THOUGHT}<answer>{text}</answer>"):
            one = parsing.choice(wrapped, items, strict=strict)
            assert one.value is None or 0 <= one.value < items
            order = parsing.permutation(wrapped, items, strict=strict).value
            assert order is None or sorted(order) == list(range(items))
            number = parsing.number(wrapped, 0, items, strict=strict).value
            assert number is None or 0 <= number <= items
    found = parsing.lines(text, 7)
    assert [item.span[0] for item in found] == [7, *(item.span[1] for item in found)][: len(found)]
    assert sum(end - start for start, end in (item.span for item in found)) == len(text)


def test_lines_keep_their_places():
    text = "1. Up (2009)\n\n- **Heat** (1995)\n  \n(12) 12 Monkeys (1995)\n"
    text += "2001: A Space Odyssey (1968)"
    found = parsing.lines(text)
    assert [item.text for item in found] == [
        "Up (2009)",
        "",
        "Heat (1995)",
        "",
        "12 Monkeys (1995)",
        "2001: A Space Odyssey (1968)",
    ]


def test_blocks_in_their_order():
    text = "x<SLATE>[1] [2]</SLATE> <RANK>[2]</RANK>"
    spans = parsing.blocks(text, ["SLATE", "RANK"])
    assert [text[start:end] for start, end in spans] == ["[1] [2]", "[2]"]
    for wrong in (
        "<RANK>[2]</RANK><SLATE>[1]</SLATE>",
        "<SLATE>[1]<RANK></SLATE>[2]</RANK>",
        "<SLATE>1</SLATE><SLATE>1</SLATE><RANK>2</RANK>",
        "</SLATE><SLATE><RANK></RANK>",
        "",
    ):
        assert parsing.blocks(wrong, ["SLATE", "RANK"]) is None
