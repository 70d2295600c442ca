"""Rankers learn, resume to the same weights, and say what is wrong."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generators import ranking_data
from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import LOSSES, Curriculum
from policyrank.train import RANKERS, Mlp, RankerTrainer, RankingData, read_letor


def trainer(**options):
    torch.manual_seed(0)
    return RankerTrainer(
        Mlp(5, (16,)), **{"epochs": 4, "lists": 4, "learning_rate": 1e-2, **options}
    )


@pytest.mark.parametrize(
    "loss", [n for n in LOSSES if n not in ("ordinal", "sigmoid", "margin-mse")]
)
def test_every_loss_learns(loss):
    ours = trainer(loss=loss, epochs=12)
    before = ours.evaluate(ranking_data(1)).mean()
    history = ours.fit(ranking_data(0), ranking_data(1))
    after = ours.evaluate(ranking_data(2)).mean()
    assert after > max(before + 0.05, 0.8), loss
    assert ours.evaluate(ranking_data(1)).mean() == pytest.approx(
        max(h.validation for h in history)
    )


@pytest.mark.parametrize("kind", RANKERS)
def test_rankers_do_not_mind_the_order_or_padding(kind):
    torch.manual_seed(0)
    model = RANKERS[kind](5).eval()
    x, where = torch.randn(2, 6, 5), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    with torch.no_grad():
        out = model(x, where)
        shuffle = torch.tensor([3, 1, 0, 2, 4, 5])
        assert torch.allclose(model(x[:, shuffle], where[:, shuffle]), out[:, shuffle], atol=1e-5)
        assert torch.allclose(model(x[1:, :4], where[1:, :4]), out[1:, :4], atol=1e-5)
        assert torch.isfinite(model(x, torch.zeros_like(where))).all()


def test_one_seed_one_result_and_resume_to_the_same(tmp_path):
    whole = trainer(loss="pg-rank", epochs=6)
    whole.fit(ranking_data(), ranking_data(1))
    again = trainer(loss="pg-rank", epochs=6)
    again.fit(ranking_data(), ranking_data(1))
    cut = trainer(loss="pg-rank", epochs=3, checkpoint=tmp_path / "c.pt")
    cut.fit(ranking_data(), ranking_data(1))
    torch.manual_seed(99)
    more = RankerTrainer(
        Mlp(5, (16,)),
        loss="pg-rank",
        epochs=6,
        lists=4,
        learning_rate=1e-2,
        checkpoint=tmp_path / "c.pt",
    )
    history = more.fit(ranking_data(), ranking_data(1))
    assert len(history) == 6
    for other in (again, more):
        for a, b in zip(whole.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)
    with pytest.raises(EvidenceError, match="other settings"):
        trainer(loss="listmle", checkpoint=tmp_path / "c.pt").fit(ranking_data(), ranking_data(1))


def test_easiness_is_of_the_whole_run():
    """A list that was cut keeps the places that its documents had before."""
    run = -np.arange(100.0)
    labels = np.zeros(100)
    labels[49] = 1
    data = RankingData.of(["q"] * 100, labels, np.zeros((100, 2)), run)
    curriculum = Curriculum("reciprocal-rank", 20)
    easy = data.easiness(curriculum)
    assert easy[49].item() == pytest.approx(1 / 50)
    batch = data.batch([0], 2, np.random.default_rng(0))
    assert 49 in batch.rows
    own = easy[batch.rows]
    weight = curriculum.weights(own, batch.labels, batch.where, 0)
    best, other = batch.labels[0].argmax(), batch.labels[0].argmin()
    place = batch.rows[0, other].item() + 1
    assert weight[0, best, other].item() == pytest.approx((1 / 50 - 1 / place + 1) / 2, abs=1e-6)


def test_a_wrong_easiness_is_refused_at_the_door():
    with pytest.raises(OptionError, match="hope"):
        Curriculum("hope")


def test_early_stopping_curriculum_and_cut_lists():
    seen = []
    ours = trainer(
        loss="ranknet",
        epochs=50,
        patience=2,
        size=6,
        curriculum=Curriculum("kde", 3),
        report=seen.append,
    )
    history = ours.fit(ranking_data(), ranking_data(1))
    assert len(history) == len(seen) < 50
    batch = ranking_data().batch([0, 1], 6, np.random.default_rng(0))
    assert batch.labels.shape == (2, 6)
    assert batch.labels[0].max() == ranking_data().labels[:12].max()
    with pytest.raises(EvidenceError, match="generator"):
        ranking_data().batch([0], 6)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(OptionError, match="loss='nope'"):
        trainer(loss="nope")
    with pytest.raises(OptionError, match="measure 'nope'"):
        trainer(metric="nope")
    with pytest.raises(OptionError, match=r"no option 'sigmaa'.* It has: k, lambda_weight"):
        trainer(loss="ranknet", loss_options={"sigmaa": 1.0})
    flat = RankingData.of(["a"] * 3, [1, 1, 1], np.zeros((3, 5)))
    with pytest.raises(EvidenceError, match="equal labels"):
        trainer().fit(flat, ranking_data(1))
    with pytest.raises(EvidenceError, match="the loss is"):
        trainer(loss=lambda s, y, where: s.sum() * float("nan")).fit(
            ranking_data(), ranking_data(1)
        )
    for arguments, said in (
        ((["a"], [1, 2], np.zeros((2, 1))), "do not fit"),
        (([], [], np.zeros((0, 1))), "no rows"),
        ((["a"], [np.nan], np.zeros((1, 1))), "row 1: a label"),
        ((["a"], [1], np.full((1, 1), np.inf)), "row 1: a feature"),
    ):
        with pytest.raises(EvidenceError, match=said):
            RankingData.of(*arguments)
    with pytest.raises(EvidenceError, match="no such file"):
        read_letor(tmp_path / "nothing")


def test_lists_with_gaps():
    from policyrank.train import gap_lists

    labels = np.round(np.random.default_rng(0).normal(size=500), 1)
    found = gap_lists(labels, 50, 5, 0.2, np.random.default_rng(1))
    assert found.shape == (50, 5)
    assert (np.diff(labels[found], axis=1) <= -0.2 + 1e-9).all()
    assert len(np.unique(found)) > 60
    with pytest.raises(EvidenceError, match="hardly"):
        gap_lists(labels, 5, 5, 3.0, np.random.default_rng(1))


def test_encoder_that_a_package_ships():
    pytest.importorskip("sentence_transformers")
    from policyrank.models.encoders import encode_texts, load_encoder

    vectors = encode_texts(
        load_encoder("minilm", device="cpu"), ["a dog runs", "a puppy is running", "tax law"]
    )
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    with pytest.raises(EvidenceError, match="cannot be loaded"):
        load_encoder("/nowhere/at/all")


def test_options_of_a_loss_may_change_with_the_epoch():
    one = {"loss": "ranklist", "epochs": 3, "size": 8}
    steady = trainer(**one, loss_options={"skip": 2})
    steady.fit(ranking_data())
    weights = {}
    for name, value in (
        ("same", {"start": 2, "end": 2}),
        ("rising", {"start": 1, "end": 3, "every": 1}),
        ("own", lambda epoch: 1 + epoch),
    ):
        ours = trainer(**one, schedules={"skip": value})
        ours.fit(ranking_data())
        weights[name] = ours.model.net[0].weight
    assert torch.equal(weights["same"], steady.model.net[0].weight)
    assert torch.equal(weights["rising"], weights["own"])
    assert not torch.allclose(weights["rising"], weights["same"])
    found = trainer(**one, schedules={"skip": {"end": 3}})
    assert [found.options_at(epoch)["skip"] for epoch in (0, 1, 2, 5)] == [1, 2, 3, 3]
    assert found.settings()["schedules"] == {"skip": {"end": 3}}
    for wrong, said in (
        ({"leap": {"end": 3}}, "no option 'leap'"),
        ({"skip": {"stop": 3}}, "no option 'stop'. It has: end, every, start"),
        ({"skip": 3}, "give start, end and every"),
        ({"skip": {"end": 0}}, "whole, at least 1"),
    ):
        with pytest.raises(OptionError, match=said):
            trainer(loss="ranklist", schedules=wrong)
