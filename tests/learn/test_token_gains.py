"""What says nothing, and what each token has of what was said of its row."""

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import token_gains, without_ties


def test_tied_groups_say_nothing_but_a_mean_member_does():
    """All columns of a group together; what is NaN stays, and does not speak for its group."""
    nan = torch.nan
    gains = torch.tensor([[0.0, nan], [0.0, 0.0], [nan, -0.5], [0.0, 0.0], [0.0, 0.5]])
    found = without_ties(gains, torch.tensor([3, 3, 9, 9, 9]))
    assert found[:2].isnan().all()
    assert torch.equal(found[2:].nan_to_num(nan=9.0), gains[2:].nan_to_num(nan=9.0))
    assert without_ties(torch.zeros(3)).isnan().all()


def test_tokens_have_what_was_said_of_them():
    where = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    index = torch.tensor([[1, 2, 2, 0], [0, 1, 3, 1]])
    nan = torch.nan

    def shown(*given):
        return token_gains(*given).nan_to_num(nan=-9.0).tolist()

    gains = torch.tensor([2.0, nan])
    assert shown(gains, where) == [[2, 2, 2, -9], [-9, -9, -9, -9]]
    assert shown(gains, where, index) == [[2, 2, 2, -9], [-9, -9, -9, -9]]
    assert shown(torch.tensor([2.0, 3.0]), where, index)[1] == [-9, 3, 3, 3]
    parts = torch.tensor([[1.0, nan], [3.0, 4.0]])
    assert shown(parts, where, index) == [[1, -9, -9, -9], [-9, 3, -9, 3]]
    with pytest.raises(OptionError, match="give the segments"):
        token_gains(parts, where)
