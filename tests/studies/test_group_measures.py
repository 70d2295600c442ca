"""Studies of learning from groups measure what they say, and learn what is rewarded."""

import numpy as np
import pytest
import torch

from policyrank.learn.rewards import Rubric, rubric_reward
from policyrank.studies import f_grpo, pow3r, rank_grpo, rank_r1, rapo, reasonrank, vqathinker
from policyrank.studies.scorers import (
    ScoredItems,
    Training,
    judged,
    predicted,
    split_by_group,
    train_scorer,
)


def test_expected_score_of_a_rubric_is_that_of_many_answers():
    """Exact chances of conjunctions against 20,000 answers."""
    world = pow3r.World.of(np.random.default_rng(3))
    chance = torch.sigmoid(world.features @ world.start)
    found = []
    generator = torch.Generator().manual_seed(0)
    for prompt, rubric in enumerate(world.rubrics[:6]):
        contents = torch.bernoulli(chance[prompt].expand(20_000, -1), generator=generator)
        verdicts = world.verdicts(prompt, contents)
        found.append(float(rubric_reward(verdicts, rubric).mean()))
    part = pow3r.World(world.features[:6], world.start, world.rubrics[:6], world.needs[:6])
    assert part.score(world.start) == pytest.approx(np.mean(found), abs=0.005)


def test_a_criterion_asks_for_all_its_contents():
    """One content short is not passed."""
    needs = [torch.tensor([[True, True, False], [False, False, True]])]
    rubric = Rubric(torch.tensor([2.0, 1.0]))
    world = pow3r.World(torch.ones(1, 1), torch.zeros(1, 3), [rubric], needs)
    contents = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1]]).double()
    assert world.verdicts(0, contents).tolist() == [[1, 0], [0, 1], [1, 1]]


def test_training_by_a_rubric_raises_its_score():
    """Turned round, it would fall."""
    curve = pow3r.trained(pow3r.FIXED, 0.1, (7, 0), 25)
    assert curve[-1] > curve[0] + 0.2
    assert pow3r._first([0.1, 0.5, 0.9], 0.5) == 1
    assert pow3r._first([0.1, 0.2], 0.5) == 1


@pytest.fixture
def line():
    """Items whose score is a line in two features."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 2))
    return ScoredItems(features, 0.5 + 0.1 * features @ [1.0, -1.0], np.arange(300))


@pytest.mark.parametrize("method", list(rapo.REWARDS))
def test_scorers_learn_from_each_reward(line, method):
    """The order is found by each; the level by all but the order alone."""
    training = Training(updates=300)
    scorer = train_scorer(line, rapo.REWARDS[method], training, rate=1e-2, seed=0)
    found = judged(predicted(scorer, line.features), line.score)
    assert found["SRCC"] > 0.9
    if method != rapo.RELATIVE:
        assert found["RMSE"] < 0.08


def test_parts_of_the_data_are_disjoint(line):
    """By groups, each in one part, and in what is learned or what judges."""
    items = ScoredItems(line.features, line.score, np.arange(300) // 3)
    parts = rapo._parts(items, np.random.default_rng(0))
    seen = [set(own.group.tolist()) for pair in parts for own in pair]
    assert sum(map(len, seen)) == 100
    assert len(set().union(*seen)) == 100
    train, test = split_by_group(items, np.random.default_rng(0), 0.2)
    assert len(test.score) == 60
    assert not set(train.group) & set(test.group)


def test_shuffled_frames_differ_more_over_time():
    """A clip that pans is told from its shuffle by its differences; judder and blur lower it."""
    clips = vqathinker.Clips.of(np.random.default_rng(2), 60)
    even = np.arange(60) % 2 == 0
    assert (clips.twins[even, 1] > clips.items.features[even, 1]).all()
    assert clips.items.score[even].mean() > clips.items.score[~even].mean() + 0.5
    sharp = clips.items.features[:, 0]
    assert np.corrcoef(sharp, clips.items.score)[0, 1] > 0.3


def test_a_bonus_by_video_never_goes_to_one_whose_twin_won():
    """By batch it does."""
    twins = torch.zeros(3, 2)

    def scorer(features):
        return torch.distributions.Normal(torch.tensor([[3.0], [3.0], [1.0]]), 1e-3)

    found = {}
    for gate in (vqathinker.OWN, vqathinker.BATCH):
        reward = vqathinker.Rewarded(gate, twins, scorer, torch.arange(3))
        scores = torch.tensor([[3.0, 3.0], [3.0, 4.9], [3.0, 3.0]])
        reward(scores, torch.tensor([3.0, 3.0, 3.0]))
        found[gate] = (reward.given, reward.astray)
    assert found[vqathinker.OWN][1] == 0
    assert found[vqathinker.BATCH][1] > 0


def test_phases_of_an_output_have_their_own_rewards():
    """Greedy outputs of known scores: recall of the slate, nDCG of the ranking."""
    features = torch.zeros(1, 20, 2)
    gold = torch.zeros(1, 20, dtype=torch.bool)
    gold[0, [0, 15]] = True
    policy = f_grpo.SlateRanker(2)

    def scores(_):
        first = -torch.arange(20.0)[None]
        return first, torch.arange(20.0)[None]

    policy.forward = scores
    said = policy.write(f_grpo.Pool(features, gold), 1)
    # The slate is 0..9, of the two supporting ones it has one; ranked are 9, 8, 7, 6, 5.
    assert said.rewards[f_grpo.OWN].tolist() == [[0.5, 0.0]]
    assert said.rewards[f_grpo.JOINT].tolist() == [[0.5, 0.5]]
    assert said.rewards[f_grpo.TO_GO].tolist() == [[0.5, 0.0]]
    policy.forward = lambda _: (-torch.arange(20.0)[None],) * 2
    said = policy.write(f_grpo.Pool(features, gold), 1)
    ideal = 1 + 1 / np.log2(3)
    assert said.rewards[f_grpo.OWN][0].tolist() == pytest.approx([0.5, 1 / ideal])
    assert said.rewards[f_grpo.WITHIN][0].tolist() == pytest.approx([0.5, 1.0])
    assert said.rewards["found"].tolist() == [[0.5]]


def test_an_update_of_a_phase_raises_what_it_is_rewarded_for():
    """Each way learns: recall of slates rises over 40 updates."""
    rng = np.random.default_rng(0)
    gold = torch.from_numpy(rng.random((40, 20)) < 0.15)
    gold[:, 0] |= ~gold.any(dim=1)
    noise = torch.from_numpy(rng.normal(size=(40, 20, 1))).float()
    features = torch.cat([gold[..., None].float() + 0.3 * noise, noise], dim=-1)
    pool = f_grpo.Pool(features, gold)
    for method in f_grpo.METHODS:
        first, *_, last = f_grpo.curve(method, 1e-2, pool, pool, (1, 20, 60), 3, 0)
        assert last[1][f_grpo.NDCG] > max(0.8, first[1][f_grpo.NDCG])


def test_recall_of_teachers_is_what_the_data_say(data):
    """GPT-4 .178, GPT-3.5 .154 over 253 films, by names that stand in the catalogue."""
    turns, _ = data("inspired")
    films = np.array([len(turn["target_ids"]) for turn in turns])
    assert films.sum() == 253
    found = {}
    for method, task, metric, _, value in rank_grpo.of_teachers(0):
        found.setdefault((method, metric), {})[task] = value
    names = [f"{turn['dialog']}, {turn['turn']}" for turn in turns]
    for teacher, recall in (("GPT-4", 0.178), ("GPT-3.5", 0.154)):
        own = found[rank_grpo.FILTER, f"recall@20, {teacher}"]
        values = np.array([own[name] for name in names])
        assert (values * films).sum() / 253 == pytest.approx(recall, abs=0.005)


def test_ranks_are_credited_as_their_names_say():
    """Gains of a list at ranks 2 and 4."""
    gains = torch.tensor([[0.0, 1, 0, 1]])
    discount = 1 / np.log2([3, 5])
    assert rank_grpo._credit(rank_grpo.OWN, gains).tolist() == [[0, 1, 0, 1]]
    whole = rank_grpo._credit(rank_grpo.WHOLE, gains)[0].tolist()
    assert whole == pytest.approx([discount.sum()] * 4)
    below = rank_grpo._credit(rank_grpo.BELOW, gains)[0].tolist()
    assert below == pytest.approx([discount.sum(), discount.sum(), discount[1], discount[1]])


def test_lists_gain_by_training():
    """More than without."""
    for method in rank_grpo.METHODS:
        start = rank_grpo.trained(method, 1e-2, 1, 0, (4, 0))
        end = rank_grpo.trained(method, 3e-2, 1, 100, (4, 0))
        assert end[rank_grpo.GAIN] > start[rank_grpo.GAIN] + 0.5


def test_views_of_an_order_are_those_of_the_card():
    """The multi-view reward of lists of four; the teacher's order is that of the labels."""
    orders = torch.tensor([[1, 0, 2, 3], [3, 2, 1, 0]])
    grades = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    teacher = torch.arange(4).expand(2, -1)
    found = reasonrank.rewards(orders, grades, teacher, reasonrank.WEIGHTS[reasonrank.VIEWS])
    assert found.tolist() == pytest.approx([0.905930, 0.812308], abs=1e-5)
    alone = reasonrank.rewards(orders, grades, teacher, reasonrank.WEIGHTS[reasonrank.OVERLAP])
    assert alone.tolist() == pytest.approx([0.75, 0.416667], abs=1e-5)


def test_calls_of_heaps():
    """23.2, 31.4 and 81.7 on the mean, and the true first ten."""
    rows = list(rank_r1.of_calls(np.random.default_rng(0), 60))
    calls = {}
    for method, _, metric, _, value in rows:
        calls.setdefault((method, metric), []).append(value)
    for method, mean in (("19 children", 23.2), ("9 children", 31.4), ("3 children", 81.7)):
        assert np.mean(calls[method, rank_r1.CALLS]) == pytest.approx(mean, abs=1)
        assert min(calls[method, rank_r1.FIRST_TEN]) == 1
