"""ORPO, CPO and unpaired KTO: hand-computed values, TRL's functions, and what they must not do."""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from policyrank.learn.losses import PREFERENCE_LOSSES
from policyrank.learn.losses.odds import cpo, orpo
from policyrank.learn.losses.unpaired import unpaired_kto


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def pairs(seed=0, count=5):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count, 2), generator=generator)
    log_probs = -torch.rand(count, 2, generator=generator) * 3 * lengths
    return log_probs, torch.tensor([[1.0, 0.0]]).expand(count, 2), lengths


def test_values_by_hand():
    log_probs, labels = torch.tensor([-2.0, -6.0]), torch.tensor([1.0, 0.0])
    lengths = torch.tensor([2, 3])
    odds = [math.log(p / (1 - p)) for p in (math.exp(-1), math.exp(-2))]
    expected = 1 + 0.1 * math.log(1 + math.exp(odds[1] - odds[0]))
    assert float(orpo(log_probs, labels, lengths=lengths)) == pytest.approx(expected, abs=1e-6)
    expected = math.log(1 + math.exp(-0.1 * 4)) + 1
    assert float(cpo(log_probs, labels, lengths=lengths)) == pytest.approx(expected, abs=1e-6)
    only = cpo(log_probs, labels, lengths=lengths, nll_weight=0)
    dpo = PREFERENCE_LOSSES["dpo"](log_probs, labels)
    assert float(only) == pytest.approx(float(dpo), abs=1e-6)

    ratio = torch.tensor([[2.0, 1.0], [-1.0, 0.0], [0.5, 2.0]])
    labels = torch.tensor([[1.0, -1.0], [0.0, -1.0], [1.0, -1.0]])
    each = [1 - sigmoid(0.5 * (2 - 1)), 1 - sigmoid(0.5 * (1 + 1)), 1 - sigmoid(0.5 * (0.5 - 1))]
    found = unpaired_kto(ratio, labels, beta=0.5, reduce="none")
    assert found.tolist() == pytest.approx(each, abs=1e-6)
    assert float(unpaired_kto(ratio, labels, beta=0.5)) == pytest.approx(sum(each) / 3, abs=1e-6)
    weighed = unpaired_kto(ratio, labels, beta=0.5, undesirable_weight=3.0, reduce="sum")
    assert float(weighed) == pytest.approx(each[0] + 3 * each[1] + each[2], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_equal_trl(seed):
    pytest.importorskip("trl")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    log_probs, labels, lengths = pairs(seed)
    own = SimpleNamespace(
        beta=0.3,
        alpha=0.0,
        loss_type="sigmoid",
        label_smoothing=0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    mean = log_probs / lengths
    nll = -mean[:, 0]
    theirs = nll - ORPOTrainer.odds_ratio_loss(own, mean[:, 0], mean[:, 1])[0]
    ours = orpo(log_probs, labels, lengths=lengths, beta=0.3, reduce="none")
    assert torch.allclose(ours, theirs, atol=1e-5)
    theirs = nll + CPOTrainer.cpo_loss(own, log_probs[:, 0], log_probs[:, 1])[0]
    ours = cpo(log_probs, labels, lengths=lengths, beta=0.3, reduce="none")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_certain_answer_gives_finite_gradients():
    log_probs = torch.tensor([[0.0, -5.0], [-1e-9, -4.0]], requires_grad=True)
    orpo(log_probs, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), lengths=torch.ones(2, 2)).backward()
    assert torch.isfinite(log_probs.grad).all()


def test_what_is_taken_as_zero_is_not_learned_through():
    ratio = torch.tensor([[1.0, 2.0], [-1.0, 3.0]], requires_grad=True)
    labels = torch.tensor([[1.0, -1.0], [0.0, -1.0]])
    unpaired_kto(ratio, labels).backward()
    assert ratio.grad[:, 1].tolist() == [0.0, 0.0]
    assert ratio.grad[0, 0] < 0 < ratio.grad[1, 0]
