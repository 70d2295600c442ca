"""Rewards made of rewards: the signature stays, parts are told, what does not apply is left out."""

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import Rewards, Rollouts, as_reward, of_batch, rewarded
from policyrank.learn.rewards import gate, normalised, weighted

NAN = float("nan")


def rollouts(groups=(0, 0, 1, 1), **more):
    n = len(groups)
    return Rollouts(
        torch.zeros(n, 2), torch.ones(n, 2), torch.tensor(groups), prompts=["p"] * n,
        completions=["a", "bbb", "cc", "dddd"][:n], **more,
    )  # fmt: skip


def length(completions, **columns):
    return [len(text) for text in completions]


def first(group):
    return Rewards(torch.tensor([1.0, NAN])[: len(group)], {"half": torch.tensor([0.5, 0.0])})


def test_a_sum_leaves_out_what_does_not_apply_and_tells_its_parts():
    found = rewarded(rollouts(), weighted([length, first], [1.0, 10.0]))
    assert found.values.tolist() == [11, 3, 12, 4]
    assert found.parts["length"].tolist() == [1, 3, 2, 4]
    assert found.parts["first/half"].tolist() == [0.5, 0, 0.5, 0]
    assert torch.equal(found.parts["first"].isnan(), torch.tensor([False, True, False, True]))


def test_each_is_standardised_in_its_group_first():
    found = rewarded(rollouts(), normalised({"a": length, "b": lambda group: [5.0, 1.0]}))
    assert found.values == pytest.approx(torch.zeros(4), abs=1e-3)
    one = rewarded(rollouts(), normalised([length], epsilon=0.0))
    assert one.values == pytest.approx(torch.tensor([-1, 1, -1, 1]) / 2**0.5)


def test_a_gate_decides():
    held = gate([lambda group: [0.2, 1.0], lambda group: [0.8, 0.7]], "hard")
    assert rewarded(rollouts(), held).values == pytest.approx(torch.tensor([0, 0.7, 0, 0.7]))
    product = gate({"a": lambda group: [0.2, 1.0], "b": lambda group: [0.8, 0.7]}, "product")
    assert rewarded(rollouts(), product).values[:2] == pytest.approx(torch.tensor([0.16, 0.7]))


def test_compositions_compose_and_segments_stay():
    def by_rank(group):
        return torch.tensor([[1.0, 2.0], [3.0, NAN]])

    found = rewarded(rollouts(), weighted([weighted([by_rank], [2.0]), by_rank]))
    assert found.values[:2].nan_to_num(-1).tolist() == [[3, 6], [9, -1]]
    assert found.parts["by_rank"][:2].tolist() == [3, 6]
    assert found.parts["by_rank 2"][:2].tolist() == [1.5, 3]
    with pytest.raises(OptionError, match="one shape"):
        rewarded(rollouts(), weighted([by_rank, length]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="2 weights for 1 rewards"):
        weighted([length], [1.0, 2.0])
    with pytest.raises(OptionError, match="no reward"):
        weighted([])
    with pytest.raises(OptionError, match="a group of 2"):
        rewarded(rollouts(), weighted([lambda group: [1.0]]))


def test_functions_of_trls_kind_are_told_by_their_signature():
    group = rollouts(columns={"label": [1, 2, 3, 4]})
    assert rewarded(group, as_reward(lambda completions, label, **_: label)).values[3] == 4
    assert rewarded(group, as_reward(lambda rows: rows.columns["label"])).values[3] == 4


def test_what_sees_the_whole_batch_sees_it_in_a_composition_too():
    def place(rollouts):
        return torch.arange(float(len(rollouts)))

    assert rewarded(rollouts(), weighted([of_batch(place), length])).values.tolist() == [1, 4, 4, 7]
    found = rewarded(rollouts(), normalised([of_batch(place)], epsilon=0.0)).values
    assert found == pytest.approx(torch.tensor([-1, 1, -1, 1]) / 2**0.5)
