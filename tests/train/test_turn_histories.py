"""Turns compared with those that share their history: the card's numbers, and in a trainer."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import OptionError
from policyrank.learn import Rollouts
from policyrank.train import history_advantage

from .test_group import numbers_in, trainer_of
from .test_ppo_turns import Turns

NAN = float("nan")


def rollouts_of(observations):
    """Of each trajectory what its turns were answered."""
    told = [{"turns": [{"observation": text} for text in own]} for own in observations]
    rows = len(told)
    return Rollouts(
        torch.zeros(rows, 1),
        torch.ones(rows, 1),
        torch.zeros(rows).long(),
        columns={"trajectory": told},
    )


def test_numbers_of_the_card():
    """Six trajectories: first a or b, then all at h; what each gains in the end is 1 or 0."""
    seen = rollouts_of([[first, "h", ""] for first in "aaabbb"])
    values = torch.tensor([1.0, 1, 0, 0, 0, 1])[:, None].expand(6, 3)
    found = history_advantage(depth=1, scale="none")(values, seen)
    first = torch.tensor([1 / 3, 1 / 3, -2 / 3, -1 / 3, -1 / 3, 2 / 3])
    assert torch.allclose(found[:, 1], first, atol=1e-6)
    assert torch.allclose(found[:, 2], torch.tensor([0.4, 0.4, -0.6, -0.4, -0.4, 0.6]), atol=1e-6)
    assert torch.allclose(found[:, 0], torch.tensor([0.5, 0.5, -0.5, -0.5, -0.5, 0.5]), atol=1e-6)
    here = history_advantage(depth=0, scale="none")(values, seen)
    assert torch.allclose(here[:, 2], found[:, 0], atol=1e-6)


def test_turns_that_were_not_and_tasks_apart():
    seen = rollouts_of([["h", ""], ["h"], ["x", ""]])
    values = torch.tensor([[1.0, 2.0], [0.0, NAN], [3.0, 9.0]])
    found = history_advantage(depth=0, scale="none")(values, seen)
    assert torch.allclose(found[:, 0], torch.tensor([-1 / 3, -4 / 3, 5 / 3]), atol=1e-6)
    assert found[:, 1].isnan().all()  # alone at h, and alone at x
    apart = Rollouts(seen.ids, seen.where, torch.tensor([0, 1, 1]), columns=seen.columns)
    found = history_advantage(depth=0, scale="none")(values, apart)
    assert found[0].isnan().all()
    assert found[1:, 0].tolist() == [-1.5, 1.5]


def test_what_it_cannot_compare_is_refused():
    seen = rollouts_of([["h"], ["h"]])
    with pytest.raises(OptionError, match="a value a trajectory"):
        history_advantage()(torch.zeros(2), seen)
    bare = Rollouts(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2))
    with pytest.raises(OptionError, match="no turns"):
        history_advantage()(torch.zeros(2, 1), bare)


class Seen(Turns):
    """Trajectories that say what their turns were answered: the first two the same."""

    def __call__(self, heads, samples, *, seed):
        made = super().__call__(heads, samples, seed=seed)
        for group in made:
            for k, own in enumerate(group):
                answers = ["same" if k < 2 else f"other {k}", ""]
                told = {"turns": [{"observation": text} for text in answers]}
                object.__setattr__(own, "columns", {"trajectory": told})
        return made


def test_a_trainer_learns_from_turns_that_have_company(lm, tmp_path):
    def by_turn(group):
        assert group.columns["trajectory"][0]["turns"][0]["observation"] == "same"
        return torch.tensor([[1.0, 3.0], [0.0, 1.0], [0.8, 8.0]])

    trainer = trainer_of(
        lm, tmp_path, by_turn, samples=3, sampler=Seen(lengths=(6, 7, 6), ended=(True,) * 3),
        advantage=history_advantage(depth=1, scale="none"), objective="ppo",
    )  # fmt: skip
    trainer.train()
    (batch,) = trainer._round.batches
    first, second = batch["advantages"][:3, 0], batch["advantages"][:3, 5]
    assert first.tolist() == pytest.approx([0.4, -0.6, 0.2], abs=1e-6)
    assert second[:2].tolist() == pytest.approx([1.0, -1.0], abs=1e-6)
    assert bool(second[2].isnan())
    assert numbers_in(trainer)
