"""What a critic loses: card values, verl's numbers, averages, and gradients."""

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import PolicyObjective, ValueObjective, pretraining_loss

ONE = torch.ones(1, 1)


@pytest.mark.parametrize(("target", "loss"), [(0.9, 0.18), (2.0, 0.32)])
def test_values_of_the_card(target, loss):
    found = ValueObjective()(ONE * 1.5, ONE * target, ONE, old=ONE)
    assert found.loss.item() == pytest.approx(loss)
    assert found.clip_share.item() == (target == 2.0)
    free = ValueObjective(clip=None)(ONE * 1.5, ONE * target, ONE, old=ONE)
    assert free.loss.item() == pytest.approx((1.5 - target) ** 2 / 2)


def test_numbers_of_verl():
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    torch.manual_seed(0)
    values, old, returns = torch.randn(3, 6, 11)
    mask = (torch.rand(6, 11) < 0.6).float()
    mask[:, 0] = 1
    for name, own in (
        ("token-mean", ValueObjective()),
        ("seq-mean-token-mean", ValueObjective(average="sequence")),
        ("seq-mean-token-sum", ValueObjective(average="sum")),
    ):
        theirs, share = core.compute_value_loss(values, returns, old, mask, 0.2, name)
        found = own(values, returns, mask, old=old)
        assert found.loss.item() == pytest.approx(theirs.item(), abs=1e-6)
        assert found.clip_share.item() == pytest.approx(share.item(), abs=1e-6)


@pytest.mark.parametrize("average", ["token", "sequence", "segment", "sum", "length"])
def test_averages_are_those_of_the_policy(average):
    """A policy that loses half a square error at each token loses what the critic loses."""
    torch.manual_seed(0)
    values, returns = torch.randn(2, 4, 7)
    where = torch.rand(4, 7) < 0.7
    segments = torch.randint(0, 3, (4, 7))
    given = {"average": average, "length": 9}
    critic = ValueObjective(clip=None, **given)
    policy = PolicyObjective(clip=(1e9, 1e9), **given)
    lost = -0.5 * (values - returns) ** 2
    total = 5.0
    for options in ({}, {"total": total}):
        found = critic(values, returns, where, segments=segments, **options).loss
        other = policy(torch.zeros(4, 7), lost, where, segments=segments, **options).loss
        assert found.item() == pytest.approx(other.item(), rel=1e-5)
    assert critic.counted(returns, where, segments) == policy.counted(lost, where, segments)


def test_what_does_not_count_has_no_gradient():
    values = torch.randn(2, 4, requires_grad=True)
    returns = torch.tensor([[1.0, torch.nan, 2.0, torch.inf], [0.0, 0.0, torch.nan, torch.nan]])
    where = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]])
    old = torch.full((2, 4), torch.nan)
    old[0, [0, 2]] = old[1, 0] = 0.0
    found = ValueObjective()(values, returns, where, old=old)
    found.loss.backward()
    counts = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0]]).bool()
    assert (values.grad[~counts] == 0).all()
    assert values.grad.isfinite().all()
    assert found.explained.isfinite()


def test_parts_of_a_batch_sum_to_the_whole():
    torch.manual_seed(0)
    values, returns, old = torch.randn(3, 6, 5)
    where = torch.rand(6, 5) < 0.6
    objective = ValueObjective()
    whole = objective(values, returns, where, old=old).loss
    total = objective.counted(returns, where)
    parts = [slice(0, 2), slice(2, 6)]
    summed = sum(
        objective(values[k], returns[k], where[k], old=old[k], total=total).loss for k in parts
    )
    assert summed.item() == pytest.approx(whole.item())


def test_what_is_explained():
    returns = torch.tensor([[0.0, 1.0, 2.0]])
    where = torch.ones(1, 3)
    objective = ValueObjective(clip=None)
    assert objective(returns, returns, where).explained == 1
    assert objective(returns + 5, returns, where).explained == 1
    assert objective(torch.zeros(1, 3), returns, where).explained == 0
    assert objective(returns, torch.zeros(1, 3), where).explained.isnan()


def test_pretraining():
    log_probs = torch.tensor([[-1.0, -2.0, torch.nan], [-4.0, -9.0, -9.0]])
    where = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pretraining_loss(log_probs, where).item() == pytest.approx(7 / 3)
    for average, loss in (("sequence", 2.75), ("segment", 2.75), ("sum", 3.5)):
        assert pretraining_loss(log_probs, where, average=average).item() == pytest.approx(loss)
    assert pretraining_loss(log_probs, where, total=14).item() == pytest.approx(0.5)


def test_refusals():
    for wrong in ({"average": "median"}, {"average": "length"}, {"clip": 0.0}):
        with pytest.raises(OptionError):
            ValueObjective(**wrong)
    with pytest.raises(OptionError):
        ValueObjective()(ONE, torch.ones(1, 2), ONE)
    with pytest.raises(OptionError):
        ValueObjective(average="segment")(ONE, ONE, ONE)
    with pytest.raises(OptionError):
        pretraining_loss(ONE, torch.ones(2, 1))
    with pytest.raises(OptionError):
        pretraining_loss(ONE, ONE, average="mode")
