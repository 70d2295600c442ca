"""Studies of learning from trajectories measure what they say."""

import numpy as np
import pytest
import torch

from policyrank.learn import discounted_step_returns
from policyrank.studies import hgpo, searchllm


def test_exact_advantages_of_the_corridor():
    """By hand at the last visit, and against what 200,000 walks gain."""
    habits = np.array(hgpo.USUAL)
    exact = hgpo.exact_advantages(habits)
    assert (exact @ habits) == pytest.approx(np.zeros((hgpo.STEPS, 2)))
    # At step 6 only the door pays, for a room's step back is the eighth: V = .4 with the key.
    assert exact[6, 1] == pytest.approx([0.6, -0.4, -0.4])
    assert exact[6, 0] == pytest.approx([0.0, 0.0, 0.0])
    # At step 4 without the key L is worth .95^2 x .4 = .361, and V = .3 x .361 = .1083.
    assert exact[4, 0] == pytest.approx([-0.1083, 0.361 - 0.1083, -0.1083])
    steps = hgpo.walked(habits, 200_000, np.random.default_rng(0))
    gained = discounted_step_returns(steps.reward, steps.trajectory, discount=hgpo.DISCOUNT)
    for time in (0, 2, 4):
        for key in range(2 if time else 1):
            here = (steps.place == hgpo.HUB) & (steps.time == time) & (steps.key == key)
            value = gained[here].mean()
            found = [float(gained[here & (steps.action == a)].mean() - value) for a in range(3)]
            assert found == pytest.approx(exact[time, key].tolist(), abs=0.01)


def test_walks_obey_the_corridor():
    steps = hgpo.walked(np.array(hgpo.USUAL), 300, np.random.default_rng(1))
    before, after = slice(None, -1), slice(1, None)
    same = steps.trajectory[before] == steps.trajectory[after]
    assert (steps.time[after] == steps.time[before] + 1)[same].all()
    room = steps.place[before] != hgpo.HUB
    assert (steps.place[after] == hgpo.HUB)[same & room].all()
    door = (steps.place == hgpo.HUB) & (steps.action == hgpo.DOOR)
    assert not (same & door[before]).any()
    assert torch.equal(steps.reward, (door & (steps.key == 1)).double())
    gained = (steps.key[after] > steps.key[before])[same]
    assert (gained == ((steps.place[after] == hgpo.LEFT) & (steps.key[before] == 0))[same]).all()
    assert steps.time.max() == hgpo.STEPS - 1


def test_errors_of_estimates_are_of_each_key_and_action():
    exact = np.array([0.0, 1.0, 0.0, 1.0])
    said = exact + np.array([0.3, 0.1, -0.1, -0.3])
    found = hgpo.errors(said, exact, np.array([0, 0, 4, 4]))
    assert np.exp(found[hgpo.BIAS]) == pytest.approx(0.2)
    assert np.exp(found[hgpo.MSE]) == pytest.approx(0.05)
    assert found[hgpo.CORRELATION] == pytest.approx(np.sqrt(0.8))


def test_groups_by_the_key_itself_are_nearly_unbiased():
    """Time aside; groups by what is seen are not, and least so with the key in sight."""
    rng = np.random.default_rng(2)
    habits = np.array(hgpo.USUAL)
    hidden = dict(hgpo.measured(habits, 64, 6400, rng, in_sight=False))
    seen = dict(hgpo.measured(habits, 64, 6400, rng, in_sight=True))
    bias = {method: np.exp(own[hgpo.BIAS]) for method, own in hidden.items() if hgpo.BIAS in own}
    assert bias[hgpo.ORACLE] < 0.05 < bias[hgpo.TWO] < bias[hgpo.OBSERVED]
    assert seen[hgpo.OBSERVED] == seen[hgpo.ORACLE]


@pytest.fixture
def pool():
    """One question with eight sentences: 0 and 5 hold the answer, 6 and 7 are foreign."""
    likeness = torch.eye(8)
    likeness[0, 1] = likeness[1, 0] = 0.6
    features = torch.zeros(1, 8, 2)
    features[0, 6:, 0] = 1
    features[0, [0, 5], 1] = 1
    return searchllm.Pool(
        features,
        torch.ones(1, 8, dtype=torch.bool),
        (torch.arange(8) > 5)[None],
        torch.isin(torch.arange(8), torch.tensor([0, 5]))[None],
        torch.full((1, 8), 30.0),
        torch.tensor([[0, 0, 1, 2, 3, 4, 5, 6]]),
        likeness[None],
    )


def test_answers_are_judged_by_the_rules(pool):
    """Six of 30 words are 180; by hand."""
    picked = torch.tensor([[[1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7]]])
    own = searchllm.judged(pool, picked)
    length = searchllm.WORDS / 180
    assert own.constraints[0, 0].tolist() == pytest.approx([1, length, 1])
    assert own.constraints[0, 1].tolist() == pytest.approx([4 / 6, length, 0])
    assert own.objectives[0, 0].tolist() == pytest.approx([5 / 6, 1 - 2 * 0.6 / 30, 0.5])
    assert own.objectives[0, 1].tolist() == pytest.approx([1, 1, 0])
    assert own.feasible.tolist() == [[False, False]]
    short = searchllm.Pool(**{**vars(pool), "words": torch.full((1, 8), 25.0)})
    assert searchllm.judged(short, picked).feasible.tolist() == [[True, False]]


def test_advantages_are_of_the_gate():
    """One answer keeps all, one is richer and does not."""
    own = searchllm.Judged(
        torch.tensor([[[1.0, 1, 1], [0.5, 1, 1]]]),
        torch.tensor([[[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]]]),
    )
    said = {way: searchllm.advantages_of(own, way)[0] for way in searchllm.METHODS}
    for way in (searchllm.LINEAR, searchllm.GEOMETRIC, searchllm.GDPO):
        assert said[way] < 0  # .75 against .87; .5 against .9 x .5^(1/3) = .72
    for way in (searchllm.PRODUCT, searchllm.LEAST, searchllm.HARD, searchllm.FEASIBLE):
        assert said[way] > 0


def test_a_policy_learns_to_leave_foreign_sentences_out(pool):
    short = searchllm.Pool(**{**vars(pool), "words": torch.full((1, 8), 25.0)})
    many = short.take(np.zeros(16, dtype=np.int64))
    before, _ = searchllm.started(many, 0, 0)
    after = searchllm.trained(searchllm.PRODUCT, 3e-2, many, 40, 0, 0)
    found = [searchllm.reached(own, many, 0, 0) for own in (before, after)]
    assert found[1][searchllm.VIOLATED] < found[0][searchllm.VIOLATED] - 0.3
    assert found[1][searchllm.KEPT] > found[0][searchllm.KEPT] + 0.2


def test_sentences_are_cut_at_their_ends():
    row = {"title": "T", "paragraph_text": "It is 3.5 m. Is it? Yes! (No.) end"}
    found = [(own.text, own.place) for own in searchllm.sentences_of(row)]
    assert found == [("It is 3.5 m.", 0), ("Is it?", 1), ("Yes!", 2), ("(No.) end", 3)]
