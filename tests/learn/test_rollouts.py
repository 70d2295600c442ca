"""Rollouts and what rewards say of them."""

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import Rewards, Rollouts, of_batch, of_columns, rewarded


def rollouts(**changed):
    own = {
        "ids": torch.tensor([[1, 2], [3, 4], [5, 6]]),
        "where": torch.tensor([[True, True], [True, False], [True, True]]),
        "groups": torch.tensor([7, 2, 7]),
        "prompts": ["p", "q", "p"],
        "completions": ["a", "b", "c"],
        "columns": {"answer": [10, 20, 30]},
    }
    return Rollouts(**own | changed)


def test_groups_come_whole_and_in_their_order():
    """Each group's rows with all that is theirs."""
    made = rollouts(log_probs=torch.arange(6.0).reshape(3, 2), ended=torch.tensor([1, 0, 1]))
    groups = [(rows.tolist(), group) for rows, group in made.by_group()]
    assert [rows for rows, _ in groups] == [[0, 2], [1]]
    first = groups[0][1]
    assert first.completions == ["a", "c"]
    assert first.columns == {"answer": [10, 30]}
    assert first.ids.tolist() == [[1, 2], [5, 6]]
    assert first.ended.tolist() == [1, 1]
    assert first.log_probs.tolist() == [[0, 1], [4, 5]]
    assert first.segments is None


def test_a_reward_sees_its_group_and_each_gets_its_own():
    """Values and parts return to their rows; None and NaN do not apply."""

    def longest(group):
        lengths = [len(text) for text in group.completions]
        values = torch.tensor([float(own == max(lengths)) for own in lengths])
        return Rewards(values, {"length": torch.tensor(lengths)})

    said = rewarded(rollouts(completions=["aa", "b", "c"]), longest)
    assert said.values.tolist() == [1, 1, 0]
    assert said.parts["length"].tolist() == [2, 1, 1]

    def by_column(prompts, completions, answer, completion_ids, progress, **_):
        assert progress == 0.5
        return [
            None if own == 20 else own + len(ids)
            for own, ids in zip(answer, completion_ids, strict=True)
        ]

    values = rewarded(rollouts(progress=0.5), of_columns(by_column)).values
    assert values[[0, 2]].tolist() == [12, 32]
    assert values[1].isnan()


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (lambda group: [1.0], "values of shape \\(1,\\) for a group of 2"),
        (lambda group: 1.0, "no numbers"),
        (lambda group: ["good"] * len(group), "no numbers"),
        (lambda group: torch.tensor(1.0), "shape \\(\\)"),
        (lambda group: [float("inf")] * len(group), "infinite"),
        (lambda group: torch.zeros(len(group), len(group)), "values of segments"),
        (lambda group: Rewards(torch.zeros(len(group)), {"x": torch.zeros(1)}), "part|shape"),
    ],
)
def test_what_is_no_reward_is_named(said, match):
    """Nothing becomes a zero silently."""
    with pytest.raises(OptionError, match=match):
        rewarded(rollouts(), said)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"ids": torch.zeros(3)}, "must be \\(rows, tokens\\)"),
        ({"where": torch.ones(3, 1)}, "where"),
        ({"groups": torch.zeros(2)}, "groups"),
        ({"steps": torch.zeros(3, 1)}, "steps"),
        ({"completions": ["a"]}, "completions: 1 values"),
        ({"columns": {"answer": []}}, "answer: 0 values"),
    ],
)
def test_what_does_not_fit_is_named(changed, match):
    """Shapes are checked where rollouts are made."""
    with pytest.raises(OptionError, match=match):
        rollouts(**changed)


def test_a_reward_of_the_batch_sees_all_groups():
    def told(batch):
        assert batch.groups.tolist() == [7, 2, 7]
        return Rewards(torch.tensor([1.0, torch.nan, 3.0]), {"all": torch.arange(3.0)})

    found = rewarded(rollouts(), of_batch(told))
    assert found.values[[0, 2]].tolist() == [1, 3]
    assert found.values[1].isnan()
    assert found.parts["all"].tolist() == [0, 1, 2]

    def wrong(batch):
        return [1.0]

    with pytest.raises(OptionError, match="reward wrong: values of shape"):
        rewarded(rollouts(), of_batch(wrong))
