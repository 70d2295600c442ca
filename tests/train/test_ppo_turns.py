"""A critic of agents: what a tool said has no value, takes no time, and moves nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.models.sampling import Trajectory

from .test_group import Canned, numbers_in, weights_of
from .test_ppo import trainer_of

READ = (2, 3)
"""Places of what a tool said."""


class Turns(Canned):
    """Trajectories of two turns, with what was read between them; longer ones only."""

    def __call__(self, heads, samples, *, seed):
        made = super().__call__(heads, samples, seed=seed)
        return [[as_turns(own) for own in group] for group in made]


def as_turns(own):
    where = tuple(k not in READ for k in range(len(own.ids)))
    segments = tuple(1 if k < READ[0] else 2 if wrote else 0 for k, wrote in enumerate(where))
    return Trajectory(own.text, own.ids, own.ended, own.log_probs, where, segments)


def by_turn(group):
    return torch.tensor([[1.0, 3.0], [-2.0, 0.5]])


def made_by(lm, folder, **options):
    plain = {"reward_centre": False, "reward_scale": False, "reward_clip": None, "kl": 0.0}
    sampler = Turns(lengths=(6, 7), ended=(True, True))
    return trainer_of(lm, folder, by_turn, sampler=sampler, **plain | options)


def test_turns_are_credited_by_hand(lm, tmp_path):
    """GAE over the written tokens alone; a turn's reward at its last one."""
    trainer = made_by(lm, tmp_path, discount=0.9, decay=0.6)
    torch.nn.init.normal_(trainer.critic.model.score.weight)
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    for row in range(4):
        length = (6, 7)[row % 2]
        wrote = [k for k in range(length) if k not in READ]
        values = np.append(batch["values"][row, wrote].numpy(), 0.0)
        rewards = np.zeros(len(wrote))
        rewards[1], rewards[-1] = by_turn(None)[row % 2].tolist()
        later = 0.0
        for t in reversed(range(len(wrote))):
            later = rewards[t] + 0.9 * values[t + 1] - values[t] + 0.9 * 0.6 * later
            assert float(batch["advantages"][row, wrote[t]]) == pytest.approx(later, abs=1e-5)
            told = float(batch["returns"][row, wrote[t]])
            assert told == pytest.approx(later + values[t], abs=1e-5)
        assert not batch["learns"][row, list(READ)].any()
        assert batch["advantages"][row, list(READ)].isnan().all()


def test_what_was_read_moves_neither_policy_nor_critic(lm, tmp_path):
    """Whatever stands as advantage, return, value or likelihood of read tokens: the same step."""
    ends = []
    for filled in (0.0, 77.0):
        trainer = made_by(lm, tmp_path / str(filled), critic_learning_rate=0.1, learning_rate=0.1)
        sampled = trainer._sampled

        def spoiled(numbers, sampled=sampled, filled=filled):
            found = sampled(numbers)
            for batch in found.batches:
                for name in ("advantages", "returns", "values", "old"):
                    batch[name][:, list(READ)] = filled
            return found

        trainer._sampled = spoiled
        before = weights_of(trainer)
        trainer.train()
        own = {f"critic.{n}": p.detach() for n, p in trainer.critic.model.named_parameters()}
        ends.append(weights_of(trainer) | own)
        assert any(not torch.equal(ends[-1][name], before[name]) for name in before)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
