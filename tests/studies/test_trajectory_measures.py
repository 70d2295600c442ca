"""Studies of learning from trajectories measure what they say."""

import numpy as np
import pytest
import torch

from policyrank.learn import RunningMoments, discounted_step_returns
from policyrank.studies import hgpo, pf_ppo, ppo_max, searchllm


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


def test_noise_leaves_the_ends_alone():
    """By hand: all of it at z = 0, nothing that can be seen at z = 3."""
    true, other = torch.tensor([0.0, 3.0, -3.0]), torch.tensor([1.0, 1.0, 1.0])
    found = pf_ppo.seen_of(true, other, 1.5)
    assert found.tolist() == pytest.approx(np.tanh([1.5, 1.8, -1.8]).tolist(), abs=1e-6)


@pytest.fixture(scope="module")
def place():
    """A world whose reward is noisy in its middle."""
    return pf_ppo.Noisy.of(7, 0, pf_ppo.NOISE[pf_ppo.ENDS], 60)


def test_training_on_best_and_worst_reaches_more(place):
    """Turned round, less; 5/2 of the updates go further than the same ones."""
    before = place.reached(place.start, 200)
    after = place.reached(pf_ppo.trained(place, pf_ppo.WORST, 3e-3, 8), 200)
    assert after > before + 0.1
    far = [place.kl(pf_ppo.trained(place, arm, 1e-3, 4)) for arm in (pf_ppo.ALL, pf_ppo.LONGER)]
    assert far[1] > 1.5 * far[0]


def test_reliability_of_filters_sees_where_noise_is(place):
    """A reward that is the truth has an R^2 of nearly 1 with every filter."""
    seen, true, group = place.logged(200)
    exact = pf_ppo.reliabilities(true, true, group, 0, 20)
    assert set(exact) == {*pf_ppo.FILTERS, pf_ppo.ONE, pf_ppo.TWO}
    assert min(exact.values()) > 0.999
    noisy = pf_ppo.reliabilities(seen, true, group, 0, 20)
    assert noisy[pf_ppo.BEST] < noisy[pf_ppo.ALL] < 0.999


def test_the_rule_is_followed_where_orders_agree():
    trust = {"all": 0.5, "best": 0.1, "best-random": 0.6, "best-worst": 0.9, "power": 0.7}
    same = {rule: own / 2 for rule, own in trust.items()}
    turned = {rule: -own for rule, own in trust.items()}
    for values, wanted in ((same, 1.0), (turned, -1.0)):
        found = {metric: own for _, _, metric, _, own in pf_ppo.followed("", 0, values, trust)}
        assert found == pytest.approx({pf_ppo.FOLLOWS: wanted, pf_ppo.WITHOUT: wanted})


def test_exact_means_of_a_policy():
    """The reference's own KL is 0; two actions by hand."""
    logits = np.log([[0.25, 0.75]])
    bandit = ppo_max.Bandit(np.zeros((1, 2)), np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))
    found = bandit.exact(logits)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found[ppo_max.GOLD] == pytest.approx(1.75)
    assert found[ppo_max.PROXY] == pytest.approx(3.0)
    assert found[ppo_max.ENTROPY] == pytest.approx(entropy)
    assert found[ppo_max.KL] == pytest.approx(np.log(2) - entropy)


def test_the_proxy_errs_where_the_reference_hardly_goes():
    bandit = ppo_max.Bandit.of(np.random.default_rng(0))
    error = np.abs(bandit.proxy - 0.8 * bandit.gold)
    rare = np.exp(ppo_max._log_softmax(bandit.reference)) < 1 / ppo_max.ACTIONS
    assert np.median(error[rare]) / np.median(error[~rare]) == pytest.approx(2 / 0.3, rel=0.1)


def test_rewards_are_as_the_recipe_has_them():
    """Batch [1, 2, 3, 4, 10, 12]: mean 5.3333, deviation 4.5461."""
    seen = np.array([1.0, 2, 3, 4, 10, 12])
    found = {
        name: ppo_max.shaped(seen, own, RunningMoments()) for name, own in ppo_max.RECIPES.items()
    }
    assert found[ppo_max.VANILLA].tolist() == seen.tolist()
    assert found[ppo_max.SCALED] == pytest.approx(seen / 4.5460606)
    expected = ((seen - 16 / 3) / 4.5460606).clip(-0.8, 0.8)
    assert found[ppo_max.CLIPPED] == pytest.approx(expected)


def test_a_policy_learns_its_proxy_and_kl_holds_it():
    bandit = ppo_max.Bandit.of(np.random.default_rng(1))
    start = bandit.exact(bandit.reference)
    runs = {
        kl: ppo_max.course(
            bandit, ppo_max.Recipe(True, True, 0.8, kl), 1.0, 60, np.random.default_rng(0)
        )
        for kl in (0.0, 1.0)
    }
    assert runs[0.0].proxy[0] == pytest.approx(start[ppo_max.PROXY])
    assert runs[0.0].end[ppo_max.PROXY] > start[ppo_max.PROXY] + 0.5
    assert runs[1.0].end[ppo_max.KL] < 0.8 * runs[0.0].end[ppo_max.KL]


def course_of(gold, usual, tight=None):
    """A run by its gold, with the steps of its signals' alarms; its proxy rises."""
    alarms = {ppo_max.USUAL: usual, ppo_max.TIGHT: usual if tight is None else tight}
    return ppo_max.Course(np.array(gold), np.arange(float(len(gold))), alarms, {})


FALLING = [0.0, 0.5, 0.45, 0.2, 0.6]
"""Falls at step 3, by .3 from its height."""
HEALTHY = [0.0, 0.1, 0.2, 0.3, 0.4]


def test_alarms_count_where_they_come_before_the_fall():
    """Beyond healthy runs: of two, one had an alarm by then."""
    early = course_of(FALLING, {"kl": 2}, {"kl": 1})
    healthy = [course_of(HEALTHY, {"kl": 2}), course_of(HEALTHY, {"kl": 3})]
    assert (early.fall, healthy[0].fall) == (3, None)
    found = {(name, metric): own for name, metric, own in ppo_max.alarms_of(early, healthy)}
    assert found[ppo_max.USUAL, ppo_max.BEFORE] == found["kl", ppo_max.BEFORE] == 1
    assert found["entropy", ppo_max.BEFORE] == 0
    assert found[ppo_max.USUAL, ppo_max.BEYOND] == 0.5
    assert found[ppo_max.USUAL, ppo_max.LEAD] == 1
    assert found[ppo_max.TIGHT, ppo_max.LEAD] == 2
    late = course_of(FALLING, {"kl": 3})
    found = {(name, metric): own for name, metric, own in ppo_max.alarms_of(late, healthy)}
    assert found[ppo_max.USUAL, ppo_max.BEFORE] == 0
    assert found[ppo_max.USUAL, ppo_max.BEYOND] == -0.5
    assert (ppo_max.USUAL, ppo_max.LEAD) not in found
    well = {(name, metric): own for name, metric, own in ppo_max.alarms_of(healthy[1], healthy)}
    assert well[ppo_max.USUAL, ppo_max.FALSE] == well["kl", ppo_max.FALSE] == 1
    assert well["entropy", ppo_max.FALSE] == 0
    assert {metric for _, metric in well} == {ppo_max.FALSE}


def test_alarms_of_a_world_are_shares_of_its_runs():
    """At each step size, and of all runs together."""
    runs = {
        ("a", "step .3"): course_of(FALLING, {"kl": 2}),
        ("b", "step .3"): course_of(HEALTHY, {}),
        ("a", "step 1"): course_of(FALLING, {}),
        ("b", "step 1"): course_of(FALLING, {}),
    }
    found = {row[:3]: row[4] for row in ppo_max.warned(0, runs)}
    usual = ppo_max.USUAL
    assert found[usual, "step .3", ppo_max.BEFORE] == 1
    assert found[usual, "step 1", ppo_max.BEFORE] == 0
    assert found[usual, ppo_max.POOLED, ppo_max.BEFORE] == pytest.approx(1 / 3)
    assert found[usual, ppo_max.POOLED, ppo_max.FALSE] == 0
    assert found[usual, ppo_max.POOLED, ppo_max.BEYOND] == 1
    assert (usual, "step 1", ppo_max.BEYOND) not in found
    after = {row[:3]: row[4] for row in ppo_max.after_falls(0, runs)}
    assert after["a", ppo_max.POOLED, ppo_max.FALLS] == 1
    assert after["b", ppo_max.POOLED, ppo_max.FALLS] == 0.5
    assert after["a", ppo_max.POOLED, ppo_max.RISES] == 1


def test_runs_are_compared_with_vanilla_of_their_world():
    vanilla = {ppo_max.GOLD: 1.0, ppo_max.PROXY: 7.0}
    near = {ppo_max.GOLD: 2.0, ppo_max.PROXY: 3.9}
    far = {ppo_max.GOLD: 2.0, ppo_max.PROXY: 7.1}
    values = [
        {row[2]: row[4] for row in ppo_max.beside_vanilla("clipped", "", 0, end, vanilla)}
        for end in (near, far)
    ]
    assert values == [{ppo_max.THIRD: 1, ppo_max.BELOW: 1}, {ppo_max.THIRD: 0, ppo_max.BELOW: 0}]


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
