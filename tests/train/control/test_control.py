"""Critics, policies of three classes and their improvement, on tasks whose answer is known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import Critic, Imitator, Scored
from policyrank.train.control import (
    POLICY_KINDS,
    CloneConfig,
    CriticConfig,
    DiffusionPolicy,
    EnsembleCritic,
    GaussianPolicy,
    Improvement,
    OnlineConfig,
    TokenPolicy,
    Transitions,
    clone,
    distil,
    fine_tune,
    improved,
    train_critic,
)
from policyrank.train.control.improvement import ImprovedPolicy
from policyrank.train.control.networks import EnsembleMLP, follow
from policyrank.train.control.policies import SquashedGaussian

SMALL = {"hidden": (32, 32), "batch": 64}


def transitions(**changes):
    """Two episodes: three steps to an end, and two that were cut."""
    columns = {
        "observations": np.arange(10.0).reshape(5, 2),
        "actions": np.zeros((5, 1)),
        "following": np.arange(10.0).reshape(5, 2) + 2,
        "rewards": np.array([-1.0, -1.0, 0.0, -1.0, -1.0]),
        "terminated": np.array([False, False, True, False, False]),
        "episode": np.array([0, 0, 0, 1, 1]),
    }
    return Transitions.of(**(columns | changes))


def bandit(rows=4000, seed=0):
    """One step; the reward is 1 less the square distance of the action from the observation."""
    rng = np.random.default_rng(seed)
    seen = rng.uniform(-0.5, 0.5, (rows, 1))
    done = rng.uniform(-1, 1, (rows, 1))
    reward = 1 - ((done - seen) ** 2)[:, 0]
    ends = np.ones(rows, dtype=bool)
    return Transitions.of(seen, done, seen, reward, ends, np.arange(rows))


# Logs


def test_returns_end_with_the_episode():
    data = transitions()
    assert data.returns(0.5).tolist() == [-1.5, -1, 0, -1.5, -1]
    assert data.returns(0.5, endless=-2).tolist() == [-1.5, -1, 0, -2, -2]
    assert data.starts.tolist() == [0, 3]
    rows = data.taken(torch.tensor([1, 2, 4]))
    assert rows.known.tolist() == [True, False, False]
    both = data.joined(data)
    assert both.episode.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rewards": np.array([0.0, np.nan, 0, 0, 0])}, "rewards: row 1"),
        ({"actions": np.zeros((4, 1))}, "actions: 4 rows"),
        ({"following": np.zeros((5, 3))}, "must agree"),
        ({"terminated": np.array([True, False, False, False, False])}, "row 0 ends"),
        ({"episode": np.array([0, 1, 0, 1, 1])}, "episode 0 starts twice"),
    ],
)
def test_logs_that_are_broken(changes, says):
    with pytest.raises(EvidenceError, match=says):
        transitions(**changes)
    with pytest.raises(EvidenceError, match="no steps"):
        Transitions.of(*[np.zeros((0, 2))] * 3, *[np.zeros(0)] * 3)


# Networks


def test_members_of_an_ensemble_are_networks_of_their_own():
    torch.manual_seed(0)
    network = EnsembleMLP(3, 2, (8, 8), members=4)
    inputs = torch.randn(5, 3)
    found = network(inputs)
    for member in range(4):
        x = inputs
        layers = zip(network.weights, network.biases, network.scales, strict=False)
        for weight, bias, scale in layers:
            x = x @ weight[member] + bias[member]
            x = torch.relu(torch.nn.functional.layer_norm(x, x.shape[-1:]) * scale[member])
        x = x @ network.weights[-1][member] + network.biases[-1][member]
        assert torch.allclose(found[member], x, atol=1e-6)
    assert not torch.allclose(found[0], found[1])
    other = EnsembleMLP(3, 2, (8, 8), members=4)
    before = other.weights[0].clone()
    follow(other, network, 0.25)
    assert torch.allclose(other.weights[0], 0.75 * before + 0.25 * network.weights[0])


def test_protocols_are_met():
    assert isinstance(EnsembleCritic(2, 1), Critic)
    for kind in POLICY_KINDS.values():
        assert isinstance(kind(2, 1), Imitator)
    assert isinstance(GaussianPolicy(2, 1), Scored)
    assert isinstance(TokenPolicy(2, 1), Scored)


# Critics


@pytest.mark.parametrize("rule", ["iql", "cql", "cal-ql"])
def test_critics_learn_what_actions_are_worth(rule):
    """Episodes of a step: an action's value is its reward."""
    config = CriticConfig(rule, steps=500, learning_rate=2e-3, alpha=0.0, **SMALL)
    critic = train_critic(bandit(), config)
    seen = torch.tensor([[0.3], [-0.3]])
    actions = torch.linspace(-1, 1, 41)[:, None].expand(2, -1, 1)
    values = critic.q(seen, actions)
    assert values.shape == (2, 2, 41)
    right = 1 - (actions[..., 0] - seen) ** 2
    assert (values - right).abs().mean() < 0.08
    best = actions[0, values.amin(dim=0).argmax(dim=-1), 0]
    assert best.tolist() == pytest.approx([0.3, -0.3], abs=0.16)
    assert critic.features(seen, actions).shape == (2, 2, 41, 32)


@pytest.mark.parametrize("rule", ["cql", "cal-ql"])
def test_the_penalty_holds_down_what_the_log_does_not_do(rule):
    data = bandit()
    near = (data.actions - data.observations).abs()[:, 0] < 0.2
    log = Transitions.of(
        data.observations[near].numpy(),
        data.actions[near].numpy(),
        data.following[near].numpy(),
        data.rewards[near].numpy(),
        data.terminated[near].numpy(),
        np.arange(int(near.sum())),
    )
    options = {"steps": 300, "learning_rate": 2e-3, **SMALL}
    free = train_critic(log, CriticConfig(rule, alpha=0.0, **options))
    held = train_critic(log, CriticConfig(rule, alpha=5.0, **options))
    seen, done = torch.full((1, 1), 0.4), torch.tensor([[[-0.9], [0.4]]])

    def gap(critic):
        far, own = critic.q(seen, done).detach().mean(dim=0)[0]
        return float(far - own)

    assert gap(held) < gap(free) - 0.3


def test_value_is_carried_back_but_not_beyond_an_end():
    """A corridor of -1 a step: the value of a step is minus the steps that are left."""
    rows = []
    for episode in range(200):
        for place in range(4):
            rows.append((place, place + 1, -float(place < 3), place == 3, episode))
    at, after, reward, ends, episode = (np.array(own) for own in zip(*rows, strict=True))
    log = Transitions.of(
        at[:, None], np.zeros((800, 1)), after[:, None], reward, ends.astype(bool), episode
    )
    config = CriticConfig(
        steps=900, learning_rate=3e-3, discount=0.5, follow=0.05, expectile=0.5, **SMALL
    )
    critic = train_critic(log, config)
    values = critic.q(torch.arange(4.0)[:, None], torch.zeros(4, 1)).mean(dim=0)
    assert values.tolist() == pytest.approx([-1.75, -1.5, -1, 0], abs=0.12)


def test_penalties_on_features_do_something():
    """With the weight of the penalty, features of consecutive pairs are less alike."""
    data = transitions(
        actions=np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]),
        rewards=10 * np.array([-1.0, -1.0, 0.0, -1.0, -1.0]),
    )
    told = {}
    for name, options in (
        ("none", {}),
        ("product", {"product": 5.0}),
        ("cosine", {"cosine": 50.0}),
    ):
        config = CriticConfig(steps=60, learning_rate=1e-3, **options, **SMALL)
        critic = train_critic(data, config)
        own = critic.features(data.observations[:2], data.actions[:2]).detach()
        then = critic.features(data.observations[1:3], data.actions[1:3]).detach()
        alike = torch.cosine_similarity(own, then, dim=-1).mean()
        told[name] = float((own * then).sum(dim=-1).mean()), float(alike)
    assert told["product"][0] < 0.8 * told["none"][0]
    assert told["cosine"][1] < told["none"][1] - 0.01


def test_a_critic_is_kept(tmp_path):
    critic = EnsembleCritic(2, 1, hidden=(16,), members=3)
    critic.fit_scale(torch.randn(50, 2) * 9 + 4)
    critic.save(tmp_path / "critic.pt")
    kept = EnsembleCritic.load(tmp_path / "critic.pt")
    seen, done = torch.randn(4, 2), torch.zeros(4, 1)
    assert (kept.q(seen, done) == critic.q(seen, done)).all()
    with pytest.raises(EvidenceError, match="no such file"):
        EnsembleCritic.load(tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_bytes(b"x")
    with pytest.raises(EvidenceError, match="holds no critic"):
        EnsembleCritic.load(tmp_path / "bad.pt")
    with pytest.raises(EvidenceError, match="observations of 2"):
        critic.q(torch.zeros(4, 3), done)
    with pytest.raises(EvidenceError, match="ActionScale"):
        train_critic(transitions(actions=np.full((5, 1), 2.0)))
    for bad in ({"rule": "q"}, {"steps": 0}, {"discount": 1.0}, {"follow": 0}):
        with pytest.raises(OptionError):
            CriticConfig(**bad)


# Policies


@pytest.mark.parametrize("kind", POLICY_KINDS)
def test_policies_clone_two_ways_of_acting(kind):
    """Actions are 0.5 or -0.5 by the sign of the observation, with a little noise."""
    rng = np.random.default_rng(0)
    seen = rng.choice([-1.0, 1.0], (3000, 1))
    done = np.clip(0.5 * seen + rng.normal(0, 0.05, seen.shape), -1, 1)
    log = Transitions.of(
        seen, done, seen, np.zeros(3000), np.ones(3000, dtype=bool), np.arange(3000)
    )
    torch.manual_seed(0)
    policy = POLICY_KINDS[kind](1, 1, hidden=(64, 64))
    clone(policy, log, CloneConfig(steps=500, learning_rate=2e-3))
    where = torch.tensor([[-1.0], [1.0]])
    drawn = policy.sample(where, 200, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 200, 1)
    assert drawn.abs().max() <= 1
    assert drawn.mean(dim=1)[:, 0].tolist() == pytest.approx([-0.5, 0.5], abs=0.1)
    acted = policy.act(where, generator=torch.Generator().manual_seed(1))
    assert acted[:, 0].tolist() == pytest.approx([-0.5, 0.5], abs=0.25)
    again = policy.sample(where, 200, generator=torch.Generator().manual_seed(1))
    assert (again == drawn).all()
    with pytest.raises(EvidenceError, match="observations of 1"):
        policy.act(torch.zeros(2, 3))


def test_schedules_tokens_and_densities():
    policy = DiffusionPolicy(2, 1)
    told = [0.101294, 0.279544, 0.473635, 0.724052, 0.999]
    assert policy.betas.tolist() == pytest.approx(told, abs=1e-6)
    kept = [0.898706, 0.647478, 0.340810, 0.094046, 0.000094]
    assert policy.kept.tolist() == pytest.approx(kept, abs=1e-6)
    tokens = TokenPolicy(2, 2, bins=5)
    assert tokens.tokens(torch.tensor([[-1.0, 0.2], [0.3, 1.0]])).tolist() == [[0, 2], [3, 4]]
    every = torch.cartesian_prod(tokens.points, tokens.points)
    mass = tokens.log_prob(torch.zeros(25, 2), every).exp().sum()
    assert mass.item() == pytest.approx(1, abs=1e-5)
    squashed = SquashedGaussian(1, 1, (8,))
    actions, density = squashed.drawn(torch.zeros(1, 1), 4000)
    assert (actions.shape, density.shape) == ((1, 4000, 1), (1, 4000))
    # The mean of 1 / density over its own draws is the length of what it covers.
    grid = torch.linspace(-0.999, 0.999, 2001)
    mean, spread = squashed.network(squashed.seen(torch.zeros(1, 1)))[0].tolist()
    normal = torch.distributions.Normal(mean, np.exp(spread))
    by_hand = normal.log_prob(grid.atanh()) - (1 - grid**2).log()
    near = (actions[0, :, 0, None] - grid).abs().argmin(dim=-1)
    assert (density[0] - by_hand[near]).abs().median() < 0.01


# Improvement


class Hill:
    """Likes actions near 0.5."""

    def q(self, observations, actions):
        return -((actions[..., 0] - 0.5) ** 2)[None]


def test_candidates_are_ranked_and_lifted():
    seen = torch.zeros(1, 2)
    candidates = torch.tensor([[[-0.5], [0.9], [0.3], [0.0]]])
    ranked = improved(Hill(), seen, candidates, Improvement(samples=4, kept=2, steps=0))
    assert ranked.actions[0, :, 0].tolist() == pytest.approx([0.3, 0.9])
    lifted = improved(Hill(), seen, candidates, Improvement(4, 2, steps=3, rate=0.1))
    assert (lifted.values > ranked.values).all()
    assert lifted.actions[0, 0, 0].item() == pytest.approx(0.5 - 0.2 * 0.8**3)
    kept = improved(Hill(), seen, candidates, Improvement(4, 2, 0), logged=torch.tensor([[0.5]]))
    assert kept.actions[0, :, 0].tolist() == pytest.approx([0.5, 0.3])
    assert ranked.before.item() == pytest.approx((-1 - 0.16 - 0.04 - 0.25) / 4)
    many = torch.rand(9, 4, 1)
    whole = improved(Hill(), torch.zeros(9, 2), many, Improvement(4, 2, 3))
    parts = improved(Hill(), torch.zeros(9, 2), many, Improvement(4, 2, 3, chunk=2))
    assert torch.allclose(whole.actions, parts.actions)
    assert torch.allclose(whole.gradient, parts.gradient)
    for bad in ({"samples": 3, "kept": 4}, {"kept": 0}, {"temperature": 0}):
        with pytest.raises(OptionError):
            Improvement(**bad)


@pytest.mark.parametrize("kind", POLICY_KINDS)
def test_any_class_learns_its_own_improved_actions(kind):
    rng = np.random.default_rng(0)
    seen, done = rng.normal(size=(800, 2)), rng.uniform(-0.6, 0.6, (800, 1))
    log = Transitions.of(seen, done, seen, np.zeros(800), np.zeros(800, bool), np.arange(800))
    torch.manual_seed(0)
    policy = POLICY_KINDS[kind](2, 1, hidden=(32, 32))
    clone(policy, log, CloneConfig(steps=150, learning_rate=2e-3))
    draw = {"generator": torch.Generator().manual_seed(0)}
    before = policy.sample(log.observations[:200], 4, **draw)
    acts = ImprovedPolicy(policy, Hill(), Improvement(16, 4, 0))
    chosen = acts.act(log.observations[:200], **draw)
    found = distil(
        policy, Hill(), log.observations, Improvement(16, 4, 0), CloneConfig(300, 128, 2e-3)
    )
    after = policy.sample(log.observations[:200], 4, **draw)

    def far(actions):
        return float((actions - 0.5).abs().mean())

    assert far(chosen) < 0.5 * far(before)
    assert far(after) < 0.7 * far(before)
    assert (found.values[:, 0] >= found.before).all()
    assert acts.sample(log.observations[:3], 5).shape == (3, 5, 1)


def test_online_a_critic_s_error_is_found_out():
    """Its log never holds actions above 0, where it is wrong: there the reward is -1."""
    rng = np.random.default_rng(0)
    done = rng.uniform(-1, 0, (1000, 1))
    log = Transitions.of(
        np.zeros((1000, 1)), done, np.zeros((1000, 1)), done[:, 0], np.ones(1000, bool),
        np.arange(1000),
    )  # fmt: skip
    torch.manual_seed(0)
    policy = GaussianPolicy(1, 1, hidden=(32, 32))
    clone(policy, log, CloneConfig(steps=200, learning_rate=2e-3))
    critic = train_critic(log, CriticConfig("cql", steps=200, alpha=0, **SMALL))
    before = float(policy.act(torch.zeros(1, 1)))

    def collect(acting, number):
        acts = acting.act(torch.zeros(60, 1)).numpy().astype(float)
        reward = np.where(acts > 0, -1.0, acts)[:, 0]
        zeros = np.zeros((60, 1))
        return Transitions.of(zeros, acts, zeros, reward, np.ones(60, bool), np.arange(60))

    told = []
    config = OnlineConfig(
        rounds=6,
        critic_steps=150,
        states=60,
        how=Improvement(16, 4, 0),
        imitation=CloneConfig(100, 32, 2e-3),
        critic=CriticConfig("cql", alpha=0, learning_rate=2e-3, **SMALL),
    )
    rounds = fine_tune(policy, critic, log, collect, config, report=lambda *own: told.append(own))
    assert [own.steps for own in rounds] == [60 * k for k in range(1, 7)]
    assert [number for number, _ in told] == list(range(1, 7))
    after = float(policy.act(torch.zeros(1, 1)))
    assert before < -0.3
    assert -0.25 < after < 0.1
    with pytest.raises(OptionError, match="online"):
        OnlineConfig(critic=CriticConfig("iql"))
    with pytest.raises(OptionError, match="mixing"):
        OnlineConfig(mixing=2)
