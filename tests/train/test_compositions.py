"""Rewards of whole settings: the values of the papers' cards; phases of tokens; length."""

import json

import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import OptionError
from policyrank.learn import Rollouts, group_advantage, rewarded
from policyrank.train.compositions import (
    chosen,
    hits,
    listed,
    ordered,
    scored,
    slate_and_order,
    text_of,
)
from policyrank.train.phases import by_lines, by_markers, with_length
from policyrank.train.places import imported


def group(texts, groups=None, **columns):
    rows = len(texts)
    return Rollouts(
        ids=torch.zeros(rows, 1, dtype=torch.long),
        where=torch.ones(rows, 1, dtype=torch.bool),
        groups=torch.zeros(rows, dtype=torch.long) if groups is None else torch.tensor(groups),
        prompts=["p"] * rows,
        completions=texts,
        columns={
            name: own if isinstance(own, list) else [own] * rows for name, own in columns.items()
        },
    )


def thought(answer):
    return f"<think>t</think><answer>{answer}</answer>"


def test_a_choice_is_right_form_and_all():
    texts = [thought(" [3] "), thought("[03]"), "[3]", thought("[2]"), f"x {thought('[3]')}"]
    found = rewarded(group(texts, items=5, answer=3), chosen)
    assert found.values.tolist() == [1, 0, 0, 0, 1]
    assert found.parts["form"].tolist() == [1, 1, 0, 1, 1]
    spoken = [[{"role": "assistant", "content": thought("[3]")}]]
    assert rewarded(group(spoken, items=5, answer=3), chosen).values.tolist() == [1]


def test_views_of_an_order():
    """ReasonRank: 1.3 at best, 0 for what is no order, -1 for no answer."""
    best = thought("[2] > [1] > [3] > [4]")
    texts = [best, thought("[4] > [3] > [1] > [2]"), thought("[2] > [1]"), "[2] > [1] > [3] > [4]"]
    data = {"order": [[2, 1, 3, 4]] * 4, "relevant": [[2, 1]] * 4}
    found = rewarded(group(texts, **data), ordered())
    assert found.values[0].item() == pytest.approx(1.3)
    ndcg = (0.5 + 0.4306766) / (1 + 0.6309298)
    overlap = (0 + 0 + 2 / 3 + 1) / 4
    assert found.values[1].item() == pytest.approx(ndcg + 0.2 + 0.1 * overlap, abs=1e-6)
    assert found.values[2:].tolist() == [0, -1]
    assert found.parts["overlap"][2:].isnan().all()
    more = rewarded(group(texts[:1], **{n: own[:1] for n, own in data.items()}, found=4), ordered())
    whole = 1 + 0.6309298 + 0.5 + 0.4306766
    assert more.values.item() == pytest.approx(1.6309298 / whole + 0.2 * 0.5 + 0.1, abs=1e-6)


def test_lines_are_credited_each():
    text = "1. Heat (1995)\nUp (2010)\nUp (2009)\n\nSolaris (1972)"
    data = {"relevant": [["Up (2009)", "solaris (1973)"]], "seen": [["Heat (1995)"]]}
    found = rewarded(group([text], **data), listed(places=6))
    assert found.values.tolist() == [[0, 1, 0, 0, 1, 0]]
    assert found.parts["hits"].item() == 2
    later = rewarded(
        group(["x\nUp (2009)\ny\nSolaris (1972)"], **data), listed(places=4, future=None)
    )
    wanted = [1.0616, 1.0616, 0.4307, 0.4307]
    assert later.values[0].tolist() == pytest.approx(wanted, abs=1e-4)
    assert hits(["Up (2012)", "Up"], ["Up (2009)"], []) == []
    assert hits(["Up (2010)", "Up (2009)"], ["Up (2009)", "Up (2011)"], []) == [0, 1]


def test_a_slate_and_its_order():
    """F-GRPO's card: recall .5, NDCG@2 .3869; what is not of the slate, or said again, nothing."""
    texts = [
        "<SLATE>[1] [3] [4]</SLATE> <RANK>[3] [1]</RANK>",
        "<SLATE>[3] [4]</SLATE> <RANK>[1] [2]</RANK>",
        "<SLATE>[1] [2]</SLATE> <RANK>[1] [1] [2]</RANK>",
        "[1] [2]",
    ]
    reward = slate_and_order(k=2, unformed=-0.5)
    found = rewarded(group(texts, relevant=[[1, 2]] * 4), reward).values
    assert found[0].tolist() == pytest.approx([0.5, 0.3869], abs=1e-4)
    assert found[1].tolist() == [0, 0]
    assert found[2].tolist() == pytest.approx([1, 1])
    assert found[3].tolist() == [-0.5, -0.5]


def test_scores_of_items():
    """RAPO's card: [[4, 3], [2, 2.5]] of targets 4 and 2; VQAThinker's decimals and bonus."""
    texts = [thought(t) for t in ("4", "3", "2", "2.5")]
    batch = group(texts, groups=[0, 0, 1, 1], target=[4.0, 4.0, 2.0, 2.0])
    found = rewarded(batch, scored(low=1, high=5, sigma=0.5))
    wanted = [0.994264, 0.911280, 0.986450, 0.948127]
    assert found.parts["rank"].tolist() == pytest.approx(wanted, abs=1e-6)
    near = [1, 0.135335, 1, 0.606531]
    assert found.parts["near"].tolist() == pytest.approx(near, abs=1e-6)
    total = [a + b + 1 for a, b in zip(near, wanted, strict=True)]
    assert found.values.tolist() == pytest.approx(total, abs=1e-5)
    decimals = [thought(t) for t in ("3.51", "3.514", "3.50", "3", "75")]
    more = rewarded(group(decimals, target=3.51), scored(low=1, high=5, sigma=0.5, decimals=2))
    told = [1, 0.999968, 0.79984, 0.475521]
    assert more.parts["near"][:4].tolist() == pytest.approx(told, abs=1e-5)
    assert more.parts["near"][4].isnan()
    assert more.values[4].item() == 1
    tied = group(texts, groups=[0, 0, 1, 1], target=3.0)
    found = rewarded(tied, scored(low=1, high=5, sigma=0.5, tie=1.0))
    assert found.parts["rank"].tolist() == pytest.approx(
        [0.994264, 0.911280, 0.170973, 0.321863], abs=1e-6
    )


def test_what_answers_lose_on_spoilt_inputs():
    """Twins teach nothing; each item against its own, in a batch of several."""
    said = ["4", "3.9", "2", "2", "1", "1", "4", "4"]
    data = {
        "target": [4.0, 4, 2, 2, 4, 4, 2, 2],
        "item": ["a", "a", "b", "b", "a", "a", "b", "b"],
        "corrupted": [False] * 4 + [True] * 4,
    }
    batch = group([thought(t) for t in said], groups=[0, 0, 1, 1, 2, 2, 3, 3], **data)
    plain = rewarded(batch, scored(low=1, high=5, sigma=0.5))
    found = rewarded(batch, scored(low=1, high=5, sigma=0.5, bonus=0.3))
    assert found.values[4:].isnan().all()
    assert (found.parts["near"] - plain.parts["near"])[:4].tolist() == pytest.approx([0.3] * 4)
    assert (found.values - plain.values)[:4].tolist() == pytest.approx([0.6] * 4, abs=1e-6)
    worse = {**data, "target": [1.0, 1, 4, 4, 1, 1, 4, 4]}
    again = group([thought(t) for t in said], groups=[0, 0, 1, 1, 2, 2, 3, 3], **worse)
    reward = scored(low=1, high=5, sigma=0.5, bonus=0.3, gates=(0.0, 0.0))
    lost = rewarded(again, reward).parts["near"][:4]
    assert (lost < 0.3).all()


class Words:
    """A tokenizer of a few tokens."""

    texts = ("x", "\n", "", "\n\n", "</SL", "ATE>", " [1]", "</SLATE> y")
    eos_token_id = 2

    def decode(self, ids):
        return "".join(self.texts[k] for k in ids)

    def batch_decode(self, rows):
        return [self.decode(row) for row in rows]


X, LINE, END, TWO = range(4)


def sampled(rows, ended=None, groups=None):
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    where = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    keys = torch.zeros(len(rows), dtype=torch.long) if groups is None else torch.tensor(groups)
    return Rollouts(ids=ids, where=where, groups=keys, ended=ended)


def test_phases():
    lines = sampled([[X, LINE, X, LINE, END], [X, TWO, X, END], [X]])
    assert by_lines(most=2)(Words())(lines).tolist() == [
        [1, 1, 2, 2, 3],
        [1, 1, 3, 3, 0],
        [1, 0, 0, 0, 0],
    ]
    marked = sampled([[X, 4, 5, 6, END], [X, 7, X], [X, X, 4, 6], [4, 5]])
    assert by_markers(markers=["</SLATE>"])(Words())(marked).tolist() == [
        [1, 1, 1, 2, 2],
        [1, 1, 2, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    ("tokens", "ended", "wanted"),
    [
        ([X, LINE, X, END], True, {3: 0.1}),
        ([X, LINE, X, LINE, END], True, {4: -0.1}),
        ([X, LINE, END], True, {2: 0.1}),
        ([X, END], True, {1: -0.1}),
        ([X, TWO, X, END], True, {2: -0.1, 3: -0.1}),
        ([X, LINE, X], False, {}),
    ],
)
def test_length_of_lists(tokens, ended, wanted):
    """Rank-GRPO's card, two places: what the end, and what is beyond, are credited with."""
    rollouts = sampled([tokens, [X, LINE, X, END]], torch.tensor([ended, True]))
    index = by_lines(most=2)(Words())(rollouts)
    from dataclasses import replace

    values = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    found = with_length(places=2)(values, replace(rollouts, segments=index))[0]
    gains = group_advantage(values, scale="sample")[0]
    for place, segment in enumerate(index[0, : len(tokens)].tolist()):
        plain = gains[segment - 1].item() if segment <= 2 else 9.0
        assert found[place].item() == pytest.approx(wanted.get(place, plain), abs=1e-6)
    assert found[len(tokens) :].isnan().all()


def test_rubrics_follow_the_policy(tmp_path):
    """POW3R's card, one update; factors are kept, and read by another process."""
    from policyrank.train.rubric_judging import RubricReward

    verdicts = [[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    asked = []

    def ask(questions):
        asked.extend(questions)
        return ["Yes." if one else "no" for row in verdicts for one in row]

    data = {
        "id": "q",
        "criteria": [["a", "b", "c", "d"]] * 4,
        "weights": [[5, 3, 5, 2]] * 4,
        "categories": [["x", "x", "x", "y"]] * 4,
    }
    kept = tmp_path / "factors.jsonl"
    reward = RubricReward(ask, factors=kept)
    first = rewarded(group(list("stuv"), **data), reward)
    assert first.values.tolist() == pytest.approx([0.8077, 0.6923, 0.3077, 0.1923], abs=1e-4)
    assert "Answer: s" in asked[0]
    assert "Criterion: d" in asked[3]
    row = json.loads(kept.read_text())
    assert row["factors"] == pytest.approx([0.934, 1.1, 0.934, 1.0], abs=1e-3)
    other = RubricReward(ask, factors=kept)
    second = rewarded(group(list("stuv"), **data), other)
    assert second.values.tolist() == pytest.approx([0.8153, 0.6847, 0.3153, 0.1847], abs=1e-4)
    assert second.parts["dead"].tolist() == [0.25] * 4
    still = RubricReward(ask, factors=kept, strength=0)
    assert torch.equal(rewarded(group(list("stuv"), **data), still).values, first.values)
    unread = RubricReward(lambda questions: ["perhaps"] * len(questions))
    assert rewarded(group(["s"] * 4, **data), unread).parts["unread"].tolist() == [1] * 4
    with pytest.raises(OptionError, match="rows of other ids"):
        rewarded(group(list("stuv"), **data | {"id": list("qqqr")}), RubricReward(ask))
    with pytest.raises(OptionError, match="3 weights, 4 criteria"):
        rewarded(group(list("stuv"), **data | {"weights": [[1, 2, 3]] * 4}), RubricReward(ask))


def test_functions_that_files_name():
    place = "policyrank.train.compositions:listed(places=3, future=None)"
    assert imported(place) is imported(place)
    assert imported("policyrank.train.compositions:chosen") is chosen
    for wrong, says in (
        ("policyrank.train.compositions", "write"),
        ("policyrank.train.compositions:no", "cannot be imported"),
        ("policyrank.train.compositions:listed(3)", "write"),
        ("policyrank.train.compositions:listed(places=print())", "write"),
        ("policyrank.train.compositions:listed(place=3)", "unexpected keyword"),
    ):
        with pytest.raises(OptionError, match=says):
            imported(wrong)


def test_texts_of_messages():
    said = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}]
    assert text_of([*said, {"role": "assistant", "content": "b"}]) == "ab"
