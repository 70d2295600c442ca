"""Steering: the best of a policy's own samples; one sample is the policy itself."""

import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import EvidenceError, OptionError
from policyrank.evaluation.steering import SteeredPolicy, steer
from policyrank.learn import ActionScale


class Normal:
    """Draws around the observation."""

    def act(self, observations, *, generator=None):
        return self.sample(observations, 1, generator=generator)[:, 0]

    def sample(self, observations, count, *, generator=None):
        noise = torch.randn(len(observations), count, 1, generator=generator)
        return (observations[:, None, :1] + 0.2 * noise).clamp(-1, 1)


class Near:
    """Likes actions near a point, the members each another one."""

    def __init__(self, *points):
        self.points, self.rows = torch.tensor(points), []

    def q(self, observations, actions):
        self.rows.append(actions.shape[0])
        return -((actions[..., 0] - self.points.reshape(-1, 1, 1)) ** 2)


SEEN = torch.zeros(500, 2)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_sample_is_the_policy():
    plain = Normal().act(SEEN, generator=drawn())
    steered = SteeredPolicy(Normal(), Near(0.9), samples=1).act(SEEN, generator=drawn())
    assert (steered == plain).all()


def test_more_samples_come_nearer_and_a_blind_critic_gains_nothing():
    near = [
        SteeredPolicy(Normal(), Near(0.5), samples=count).act(SEEN, generator=drawn()).mean()
        for count in (1, 10, 50)
    ]
    assert near[0] < near[1] < near[2]
    # The mean of the largest of ten standard normals is 1.5388.
    far = SteeredPolicy(Normal(), Near(9.0), samples=10).act(SEEN, generator=drawn())
    assert far.mean().item() == pytest.approx(0.2 * 1.5388, abs=0.02)

    class Blind:
        def q(self, observations, actions):
            return torch.rand(2, *actions.shape[:-1], generator=drawn(5))

    blind = SteeredPolicy(Normal(), Blind(), samples=50).act(SEEN, generator=drawn())
    assert blind.mean().item() == pytest.approx(0, abs=0.03)


def test_members_speak_together():
    candidates = torch.tensor([[[0.0], [0.45], [0.9]]])
    seen = torch.zeros(1, 2)
    assert steer(Near(0.0, 0.9), seen, candidates).index.item() == 1
    assert steer(Near(0.0, 0.95), seen, candidates, pooling="mean").index.item() == 1
    assert steer(Near(0.0), seen, candidates).index.item() == 0


def test_temperature_softens():
    hot = SteeredPolicy(Normal(), Near(0.5), samples=20, temperature=100.0)
    mean = hot.act(SEEN, generator=drawn()).mean().item()
    assert mean == pytest.approx(0, abs=0.03)
    one = steer(Near(0.5), SEEN, Normal().sample(SEEN, 4), temperature=0.1, generator=drawn(2))
    same = steer(Near(0.5), SEEN, Normal().sample(SEEN, 4), temperature=0.1, generator=drawn(2))
    assert one.index.shape == same.index.shape == (500,)


def test_actions_are_read_on_the_critic_s_scale_and_given_on_the_policy_s():
    scale = ActionScale(torch.tensor([0.0]), torch.tensor([10.0]))
    candidates = torch.tensor([[[1.0], [7.4], [12.0]]])
    found = steer(Near(0.5), torch.zeros(1, 2), candidates, scale=scale)
    assert found.actions.item() == pytest.approx(7.4)
    assert found.outside.item() == pytest.approx(1 / 3)
    with pytest.raises(EvidenceError, match="ActionScale"):
        steer(Near(0.5), torch.zeros(1, 2), candidates)
    policy = SteeredPolicy(Normal(), Near(0.5), samples=5, scale=scale)
    policy.act(SEEN, generator=drawn())
    assert policy.states == 500
    assert 0.3 < policy.outside < 0.7


def test_chunks_change_nothing():
    critic, candidates = Near(0.5), Normal().sample(SEEN, 7, generator=drawn())
    whole = steer(critic, SEEN, candidates)
    parts = steer(critic, SEEN, candidates, chunk=70)
    assert (whole.index == parts.index).all()
    assert critic.rows[1:] == [10] * 50
    drawn_twice = SteeredPolicy(Normal(), critic, samples=7).sample(SEEN[:4], 3)
    assert drawn_twice.shape == (4, 3, 1)


def test_what_cannot_be_steered_is_named():
    seen, candidates = torch.zeros(3, 2), torch.zeros(3, 4, 1)
    for bad in (candidates[:2], candidates[:, :0], candidates[..., 0]):
        with pytest.raises(OptionError, match="candidates"):
            steer(Near(0.5), seen, bad)
    seen[1, 0] = torch.nan
    with pytest.raises(EvidenceError, match="observations: row 1"):
        steer(Near(0.5), seen, candidates)
    candidates[2, 0, 0] = torch.inf
    with pytest.raises(EvidenceError, match="candidates: row 2"):
        steer(Near(0.5), torch.zeros(3, 2), candidates)
    with pytest.raises(EvidenceError, match="not finite"):
        steer(Near(float("nan")), torch.zeros(3, 2), torch.zeros(3, 4, 1))
    with pytest.raises(OptionError, match="samples"):
        SteeredPolicy(Normal(), Near(0.5), samples=0)
