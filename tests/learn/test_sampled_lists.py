"""Losses of preferences on groups that a policy sampled: lists, their rewards, what they count."""

import math

import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import OptionError
from policyrank.learn import ListObjective, preference_loss

NAN = math.nan


def some(rows=6, tokens=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(rows, tokens, generator=rng, dtype=torch.float64)
    old = log_probs - 0.1 * torch.rand(rows, tokens, generator=rng, dtype=torch.float64)
    where = torch.arange(tokens) < torch.tensor([[4], [2], [3], [1], [4], [2]])[:rows]
    return log_probs, old, where


def test_dpo_on_pairs_by_hand():
    """-log sigmoid(beta (difference of log-ratios)), the mean over two pairs."""
    log_probs, old, where = some(4)
    objective = ListObjective(preference_loss("dpo"), 2, {"beta": 0.3})
    found = objective(log_probs, torch.tensor([2.0, 5.0, 1.0, 0.0]), where, old=old)
    ahead = ((log_probs - old) * where).sum(dim=-1)
    gaps = torch.stack([ahead[1] - ahead[0], ahead[2] - ahead[3]])
    assert float(found.loss) == pytest.approx(float(-torch.log(torch.sigmoid(0.3 * gaps)).mean()))
    assert float(found.divergence) == pytest.approx(
        float(((log_probs - old) * where).sum() / where.sum())
    )
    assert float(found.ratio) == pytest.approx(float((log_probs - old).exp()[where].mean()))


def test_a_reference_takes_the_place_of_who_sampled():
    log_probs, old, where = some(4)
    rewards = torch.tensor([2.0, 5.0, 1.0, 0.0])
    objective = ListObjective(preference_loss("ipo"), 2)
    own = objective(log_probs, rewards, where, old=old).loss
    given = objective(log_probs, rewards, where, old=old + 1, reference=old).loss
    assert float(own) == pytest.approx(float(given))
    free = ListObjective(preference_loss("simpo"), 2, referred=False)
    first = free(log_probs, rewards, where, old=old).loss
    assert float(first) == pytest.approx(float(free(log_probs, rewards, where, old=old + 1).loss))


@pytest.mark.parametrize("loss", ["dpo", "lipo-lambda", "softmax", "grpo", "pro", "dpo-pl"])
def test_what_says_nothing_moves_nothing(loss):
    """Ties, what is not rewarded, and what the policy did not write: neither loss nor share."""
    log_probs, old, where = some()
    rewards = torch.tensor([1.0, 1.0, 1.0, 3.0, NAN, 0.0])
    objective = ListObjective(preference_loss(loss), 3)
    log_probs.requires_grad_()
    gains = rewards[:, None].expand(where.shape)
    found = objective(log_probs, gains, where, old=old).loss
    found.backward()
    assert (log_probs.grad[:3] == 0).all()
    assert (log_probs.grad[4] == 0).all()
    assert (log_probs.grad[~where] == 0).all()
    assert float(log_probs.grad[3].abs().sum()) > 0
    assert int(objective.counted(gains, where)) == 1
    assert objective.counting(gains, where).any(dim=-1).tolist() == [False] * 3 + [
        True,
        False,
        True,
    ]
    alone = objective(log_probs[3:], gains[3:], where[3:], old=old[3:]).loss
    assert float(alone.detach()) == pytest.approx(float(found.detach()))


def test_parts_of_a_batch_add_up():
    log_probs, old, where = some()
    rewards = torch.tensor([1.0, 2.0, 0.0, 3.0, 1.0, 0.0])
    objective = ListObjective(preference_loss("lipo-lambda"), 3)
    whole = objective(log_probs, rewards, where, old=old).loss
    total = objective.counted(rewards, where)
    parts = 0.0
    for at in (slice(0, 3), slice(3, 6)):
        parts += objective(log_probs[at], rewards[at], where[at], old=old[at], total=total).loss
    assert float(parts) == pytest.approx(float(whole))


def test_what_it_cannot_be_is_refused():
    log_probs, _, where = some()
    objective = ListObjective(preference_loss("dpo"), 4)
    with pytest.raises(OptionError, match="6 outputs are no groups of 4"):
        objective(log_probs, torch.arange(6.0), where)
    by_token = torch.arange(24.0).reshape(6, 4)
    with pytest.raises(OptionError, match="not one a segment"):
        ListObjective(preference_loss("dpo"), 3)(log_probs, by_token, where)
