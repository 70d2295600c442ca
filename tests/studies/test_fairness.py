"""Methods are tuned alike, compared at equal cost, and unhealthy ones are failed runs."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from policyrank.evaluation.trials import Trial
from policyrank.evidence import Scores
from policyrank.studies import Health, page
from policyrank.studies.fairness import Curve, typical
from policyrank.studies.frame import Measured, judged

torch = pytest.importorskip("torch")

from policyrank.studies import (
    discriminators,
    polar,
    preference_ranking_accuracy as accuracy,
    pro,
    pu_rl_distillation as distillation,
    trial_transport,
)
from policyrank.studies.sequences import (
    FARTHEST,
    TUNING,
    Place,
    RankedSequences,
    Watch,
    align,
    signs,
    tuned_by_wins,
    win_by_kl,
)
from policyrank.worlds.sequences import SequenceWorld


@pytest.fixture(scope="module")
def place():
    return Place.of(3, 0, 30, prompts=50)


@pytest.fixture(scope="module")
def data(place):
    x = place.world.prompts(64, seed=1)
    y = place.base.sample(x, 4, seed=2)
    return RankedSequences(x, y, place.world.reward(x, y))


def test_curves_are_read_where_the_cost_first_comes_to_a_level():
    curve = Curve(np.array([0.0, 2.0, 1.0, 4.0]), np.array([0.5, 0.7, 0.6, 0.9]))
    assert curve.at(1.0) == pytest.approx(0.6)  # on the way up, not where it came back
    assert curve.at(3.0) == pytest.approx(0.8)
    assert curve.at(0.0) == 0.5
    assert curve.at(4.1) is None


def test_signs_are_those_of_the_median_run():
    runs = [Health("a", "KL", value, most=10.0) for value in (1.0, 2.0, 30.0)]
    assert [own.healthy for own in typical(runs)] == [True]
    far = [Health("a", "KL", value, most=10.0) for value in (1.0, 20.0, 30.0)]
    assert [own.healthy for own in typical(far)] == [False]
    lost = [*runs, Health("a", "KL", math.nan, most=10.0)]
    assert not typical(lost)[0].healthy
    two = typical([*runs, Health("b", "KL", 3.0), Health("a", "rows", 5.0)])
    assert [(own.method, own.sign, own.value) for own in two] == [
        ("a", "KL", 2.0),
        ("b", "KL", 3.0),
        ("a", "rows", 5.0),
    ]


def test_students_are_well_if_they_learned_and_stayed_near():
    assert all(own.healthy for own in signs("a", 1.0, [0.7, 0.4]))
    assert [own.healthy for own in signs("a", FARTHEST + 1, [0.4, 0.7])] == [False, False]
    assert [own.healthy for own in signs("a", math.nan)] == [False]


def test_every_draw_of_a_place_hangs_on_the_master_seed(place):
    again, other, tuning = (Place.of(*own, 30, prompts=50) for own in ((3, 0), (4, 0), (3, TUNING)))
    assert torch.equal(place.arena.prompts, again.arena.prompts)
    assert torch.equal(place.base.head.weight, again.base.head.weight)
    for one in (other, tuning):
        assert not torch.equal(place.world.follow, one.world.follow)
        assert not torch.equal(place.arena.prompts, one.arena.prompts)
        assert not torch.equal(place.base.head.weight, one.base.head.weight)
    from policyrank.studies import lipo, objectives, tpo

    for draw in (
        lambda own: lipo.labelled(own, 16, 4),
        lambda own: pro.ranked_lists(own, 16, 4),
        lambda own: tpo.trees(own, 16),
        lambda own: objectives.labelled(own, 16),
    ):
        assert torch.equal(draw(place).labels, draw(again).labels)
        assert not torch.equal(draw(place).prompts, draw(other).prompts)


def test_training_tells_its_loss_and_is_watched(place, data):
    losses = []
    trained = align(place.base, data, "dpo", epochs=3, lr=3e-3, seed=1, losses=losses)
    assert losses[-1] < losses[0] == pytest.approx(math.log(2), rel=0.01)
    assert place.arena(trained, 1)["win rate"] > 0.5
    curve = win_by_kl(place.arena, data, "dpo", most=0.05, epochs=20, lr=1e-2, seed=1)
    assert curve.cost[-1] > 0.05 >= curve.cost[-2]
    assert curve.value[0] == 0.5 < curve.at(0.05)
    watch = Watch(place.arena, 100.0, 1)
    align(place.base, data, "dpo", epochs=2, lr=1e-2, seed=1, watch=watch)
    assert len(watch.curve.cost) == 3


def test_rates_are_chosen_by_wins_of_policies_that_are_well(place, data, monkeypatch):
    rates = [{"lr": rate} for rate in (1e-4, 1e-2)]

    def reached(where, method, settings):
        policy = align(where.base, data, "dpo", epochs=3, seed=1, **settings)
        return where.arena.won(policy, 1)

    found = tuned_by_wins(["dpo"], [place], reached, rates=rates)["dpo"]
    assert found.chosen == {"lr": 1e-2}
    assert (found.worlds, [settings for settings, _ in found.tried]) == (1, rates)
    trained = align(place.base, data, "dpo", epochs=3, lr=1e-2, seed=1)
    monkeypatch.setattr("policyrank.studies.sequences.FARTHEST", 1e-6)
    assert place.arena.won(trained, 1) is None
    nowhere = tuned_by_wins(["dpo"], [place], reached, rates=rates)["dpo"]
    assert all(math.isnan(mean) for _, mean in nowhere.tried)


def test_discriminators_learn_which_candidate_is_the_first():
    world = SequenceWorld(1)
    policies = discriminators.Policies(world, 1)
    torch.manual_seed(0)
    test, pool = policies.triples(500), policies.points(64)
    models = {name: discriminators.Discriminator(world) for name in ("slow", "fast")}
    losses = discriminators.learn_together(
        {"slow": (models["slow"], 1e-6), "fast": (models["fast"], 1e-2)},
        lambda: policies.triples(128, pool),
        100,
    )
    assert losses["fast"] < losses["slow"] == pytest.approx(math.log(2), abs=0.01)
    assert discriminators.right(models["fast"], test) > 0.6
    labels, scores = torch.tensor([[2.0, 1.0, 0.0]] * 2), torch.tensor([[3.0, 2.0, 1.0]] * 2)
    scores[1] *= -1
    assert discriminators.in_order(labels, scores).tolist() == [1.0, 0.0]
    assert pro.ndcg(labels, scores)[0] == 1.0 > pro.ndcg(labels, scores)[1]


def test_a_power_law_falls_by_its_exponent():
    sizes = [10, 100, 1000]
    assert polar.power_law(sizes, [2 * n**-0.25 for n in sizes]) == pytest.approx((0.25, 1.0))
    assert polar.power_law(sizes, [0.1, 0.2, 0.3])[0] < 0
    assert polar.power_law(sizes, [0.3, 0.1, 0.3])[1] < 0.1


def test_ranking_accuracy_along_training(place, data):
    x, pairs = data.prompts, data.answers[:, :2]
    rewards = data.labels[:, :2]
    right = accuracy.ranked_rightly(place.base, x, pairs, rewards)
    assert right + accuracy.ranked_rightly(place.base, x, pairs, -rewards) == pytest.approx(1.0)
    ours = place.base(x, pairs).sum(dim=-1).detach()
    assert accuracy.ranked_rightly(place.base, x, pairs, ours) == 1.0
    table = accuracy.checkpoints(place, "dpo", 2)
    assert table.shape == (3, 3)
    assert table[:, 2].argmin() == 0 == pytest.approx(table[0, 2], abs=1e-6)
    rising = np.arange(4.0)
    assert accuracy.correlation(rising, 2 * rising) == pytest.approx(1.0)
    assert accuracy.correlation(rising, -rising) == pytest.approx(-1.0)
    assert accuracy.correlation(rising[:2], rising[:2]) is None


def test_lessons_of_a_student():
    size = replace(distillation.SCALES["smoke"], prompts=8, steps=5, judged=20)
    place = distillation.Taught.after(2, 0, size)
    spin, loss, _ = distillation.lesson(place, distillation.SPIN)
    assert loss == "dpo"
    assert torch.equal(spin.answers[:, 0], place.anchor)
    assert spin.labels[0].tolist() == [1.0, 0.0]
    pair, _, _ = distillation.lesson(place, "pair, noise .5")
    assert (pair.labels[:, 0] >= pair.labels[:, 1]).all()
    likeness = place.ranked("likeness").labels
    beside = place.anchor[:, None].expand(-1, 8, -1)
    same = replace(place, answers=beside).ranked("likeness").labels
    assert (same == 1).all()
    assert (likeness < 1).any()


def trials(rng, shift):
    people = []
    for centre in (shift, 0.0, 0.0):
        x = rng.normal(centre, 1, size=(60, 3))
        treated = np.arange(60) % 2
        people.append(Trial(x, treated, x[:, 0] + treated + rng.normal(0, 0.1, 60)))
    return people[0], people[1:]


def test_lasso_fits_that_do_not_converge_are_counted(monkeypatch):
    """A rule that warns twice is a method with two; more than a path of them is not well."""
    exceptions = pytest.importorskip("sklearn.exceptions")
    target, sources = trials(np.random.default_rng(0), 0.0)

    def rule(*_):
        for _ in range(2):
            warnings.warn("slow", exceptions.ConvergenceWarning, stacklevel=1)
        return lambda x: np.zeros(len(x))

    monkeypatch.setattr(trial_transport, "TRANSPORTS", {"slow": rule})
    (found,) = trial_transport.effects(target, sources, target.x, [1])[1]
    assert (found.method, found.value, found.healthy) == ("slow", 2.0, True)
    assert not replace(found, value=trial_transport.MOST_UNFINISHED + 1).healthy


def test_transports_that_the_sources_do_not_bear_are_refused():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    target, sources = trials(rng, 0.0)
    estimates, health = trial_transport.effects(target, sources, target.x, [1], connected=False)
    assert set(trial_transport.WEIGHTED) <= set(estimates)
    effective = [own for own in health if own.sign == trial_transport.EFFECTIVE]
    assert len(effective) == 2
    assert all(own.value > 0.5 for own in effective)
    far, sources = trials(rng, 30.0)
    estimates, health = trial_transport.effects(far, sources, far.x, [1], connected=False)
    assert not set(trial_transport.WEIGHTED) & set(estimates)
    effective = [own for own in health if own.sign == trial_transport.EFFECTIVE]
    assert [own.value for own in effective] == [0.0, 0.0]
    rows = list(trial_transport.measured(estimates, np.ones(60), "t", 0))
    ranks = {method: value for method, _, metric, _, value in rows if metric == "rank of PEHE"}
    assert (
        ranks["weighted transport"]
        == ranks["balanced transport"]
        > max(value for method, value in ranks.items() if method not in trial_transport.WEIGHTED)
    )
    seen, _ = trial_transport.effects(
        replace(far, x=np.c_[target.x, far.x]),
        [replace(own, x=np.c_[own.x, own.x]) for own in sources],
        np.c_[target.x, far.x],
        [1],
        connected=False,
        covariates=3,
    )
    assert set(trial_transport.WEIGHTED) <= set(seen)


def test_pages_stand_where_a_seed_has_not_measured_a_setting():
    studies = []
    for seed, settings in ((1, ["K=2", "K=8"]), (2, ["K=2"])):
        methods = ["LiPO-lambda", "DPO (pairs)"] * len(settings) * 2
        tasks = [name for name in settings for _ in range(4)]
        replicates = ["0", "0", "1", "1"] * len(settings)
        values = np.arange(len(tasks)) / 10
        found = Scores.of(
            methods, tasks, values, metric=["win rate"] * len(tasks), replicate=replicates
        )
        sick = Health("DPO (pairs)", "KL", 20.0, most=10.0)
        study = judged("lipo", Measured(found, health=(sick,)), "smoke", seed, 1.0, {}, None)
        studies.append(study)
    text = page(studies, "policyrank study run lipo")
    assert "| K=8 | 0.6 /  | 0.5 /  |" in text
    assert "**failed**" in text
    assert "**failed run**" in text
