"""Steps of rankers: rates, accumulated gradients, precision, logs, and what resuming refuses."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generators import ranking_data
from policyrank.errors import EvidenceError, MissingExtraError, OptionError
from policyrank.learn import Curriculum
from policyrank.learn.losses import LOSSES, ranknet
from policyrank.train import Mlp, RankerTrainer, RankingData, linear
from policyrank.train.ranker_steps import SCHEDULES, lists_that_count, rate_factor


def trained(data=None, **options):
    torch.manual_seed(0)
    trainer = RankerTrainer(linear(5), **{"epochs": 1, **options})
    trainer.fit(ranking_data() if data is None else data)
    return trainer


def weights(trainer):
    return torch.cat([own.detach().flatten() for own in trainer.model.parameters()])


class Watched(torch.optim.SGD):
    """Keeps the gradients and the rates that it was given."""

    def __init__(self, weights, *, lr, weight_decay):
        super().__init__(weights, lr=lr, weight_decay=weight_decay)
        self.seen = []
        SEEN.append(self.seen)

    def step(self):
        group = self.param_groups[0]
        gradient = torch.cat([own.grad.flatten() for own in group["params"]])
        self.seen.append((group["lr"], gradient.clone()))
        super().step()


SEEN = []


def steps_of(data, **options):
    """Rate and gradient of each step."""
    SEEN.clear()
    trained(data, optimizer=Watched, clip=1e9, **options)
    return SEEN[0]


def first_two(labels, first_stage, size, rng):
    return np.arange(2)


def lists_some_of_which_say_nothing():
    """Five lists, of two of which the first two items have one label."""
    rng = np.random.default_rng(3)
    labels = np.array([[1, 0, 2], [1, 1, 0], [2, 0, 0], [0, 0, 1], [1, 2, 0]])
    return RankingData.of(
        np.repeat(np.arange(5), 3).astype(str), labels.ravel(), rng.normal(size=(15, 5))
    )


LISTWISE = ("listmle", "listnet", "softmax", "approx-ndcg", "mse")
PAIRWISE = ("ranknet", "lambdarank", "hinge")


@pytest.mark.parametrize(
    ("loss", "curriculum"),
    [
        *[(loss, None) for loss in LISTWISE + PAIRWISE],
        *[(loss, Curriculum("reciprocal-rank", None)) for loss in PAIRWISE],
    ],
)
def test_accumulated_gradients_are_the_whole_steps(loss, curriculum):
    """Five lists at once, or 2 + 2 + 1 of them."""
    options = {"loss": loss, "size": 2, "sampler": first_two, "curriculum": curriculum}
    data = lists_some_of_which_say_nothing()
    ((_, whole),) = steps_of(data, lists=5, **options)
    ((_, parts),) = steps_of(data, lists=2, accumulate=3, **options)
    assert whole.abs().max() > 1e-3
    assert parts == pytest.approx(whole, abs=1e-6)


def test_accumulated_gradients_of_ones_own_loss():
    """One without ``reduce``: means are weighed by lists; one that sums is added up."""

    def mean(scores, labels, *, where):
        return ((scores - labels) ** 2).mean()

    def total(scores, labels, *, where):
        return ((scores - labels) ** 2).sum()

    data = lists_some_of_which_say_nothing()
    ((_, whole),) = steps_of(data, loss=mean, lists=5)
    ((_, parts),) = steps_of(data, loss=mean, lists=2, accumulate=3)
    assert parts == pytest.approx(whole, abs=1e-6)
    assert total(torch.ones(2), torch.zeros(2), where=None) == 2
    sums = {"loss": "mse", "loss_options": {"reduce": "sum"}}
    ((_, whole),) = steps_of(data, lists=5, **sums)
    ((_, parts),) = steps_of(data, lists=2, accumulate=3, **sums)
    assert parts == pytest.approx(whole, abs=1e-5)


def test_lists_that_count_by_hand():
    labels = torch.tensor([[1.0, 0.0, 5.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 1.0]])
    where = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]).bool()
    state = torch.get_rng_state()
    counts = {
        name: lists_that_count(LOSSES[name], labels, where, {})
        for name in ("ranknet", "softmax", "pg-rank", "mse")
    }
    assert counts == {"ranknet": 2, "softmax": 3, "pg-rank": 2, "mse": 4}
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_of_sgd_by_hand():
    """RankNet of one pair at weights 0: the gradient is -(x_0 - x_1) / 2."""
    x = np.array([[1.0, 0, 0, 0, 2], [0, 3, 0, 0, 1]])
    data = RankingData.of(["q", "q"], [1, 0], x)
    model = linear(5)
    torch.nn.init.zeros_(model.net[0].weight)
    trainer = RankerTrainer(
        model, loss="ranknet", optimizer="sgd", learning_rate=0.1, epochs=1, clip=100.0
    )
    trainer.fit(data)
    assert model.net[0].weight.tolist()[0] == pytest.approx([0.05, -0.15, 0, 0, 0.05])


def test_rates_by_hand_and_as_transformers():
    factors = [rate_factor(step, 6, 2, SCHEDULES["cosine"]) for step in range(1, 7)]
    half = np.sqrt(0.5) / 2
    assert factors == pytest.approx([0.5, 1, 1, 0.5 + half, 0.5, 0.5 - half])
    assert [rate_factor(step, 10, 0.25, SCHEDULES["constant"]) for step in (1, 3, 4)] == [
        1 / 3,
        1,
        1,
    ]


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_those_of_transformers(name):
    """Save for the warm-up, which begins with a step of rate 0 there."""
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = transformers.get_scheduler(name, optimizer, 3, 11)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    ours = [rate_factor(step, 11, 3, SCHEDULES[name]) for step in range(1, 12)]
    assert ours[3:] == pytest.approx(rates[3:])


def test_rates_of_a_training():
    """4 lists of 10 a step: 3 steps an epoch, 6 in all, the first 2 of which rise."""
    data = ranking_data(queries=10)
    seen = steps_of(data, lists=4, epochs=2, learning_rate=0.5, scheduler="linear", warmup=0.3)
    assert [rate for rate, _ in seen] == pytest.approx([0.25, 0.5, 0.5, 0.375, 0.25, 0.125])
    seen = steps_of(
        data, lists=2, accumulate=2, epochs=1, learning_rate=0.5, scheduler=lambda done: 1 - done**2
    )
    assert [rate for rate, _ in seen] == pytest.approx([0.5, 0.5 * 8 / 9, 0.5 * 5 / 9])


class Seen(torch.nn.Module):
    """A linear ranker that remembers in what it computes."""

    def __init__(self):
        super().__init__()
        self.inner, self.kinds = linear(5), []

    def forward(self, features, where):
        scores = self.inner(features, where)
        self.kinds.append((self.training, scores.dtype))
        return scores


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16"
)
def test_bfloat16_computes_and_float32_is_kept():
    trainer = RankerTrainer(Seen(), epochs=8, lists=4, learning_rate=1e-2, bf16=True)
    before = trainer.evaluate(ranking_data(1)).mean()
    trainer.fit(ranking_data(), ranking_data(1))
    assert set(trainer.model.kinds) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {own.dtype for own in trainer.model.parameters()} == {torch.float32}
    assert trainer.evaluate(ranking_data(1)).mean() > before + 0.05


def test_a_processor_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(OptionError, match="bf16: this cpu has no bfloat16"):
        trained(bf16=True)


def test_the_log_has_a_line_an_epoch_and_between(tmp_path):
    data = ranking_data(queries=10)
    options = {"lists": 4, "log": tmp_path / "log", "log_every": 2, "scheduler": "constant"}
    kept = {"checkpoint": tmp_path / "c.pt"}
    trainer = RankerTrainer(linear(5), epochs=1, **options, **kept)
    trainer.fit(data, ranking_data(1))
    with (tmp_path / "log").open("a") as file:
        file.write('{"epoch": 2, "step": 4}\n')  # of an epoch that was interrupted
    history = RankerTrainer(linear(5), epochs=2, **options, **kept).fit(data, ranking_data(1))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 6),
        (2, 6),
    ]
    assert all(line["learning_rate"] == 1e-3 and line["lists_per_second"] > 0 for line in lines)
    told = [line for line in lines if "validation" in line]
    assert [line["validation"] for line in told] == [epoch.validation for epoch in history]
    assert [line["loss"] for line in told] == [epoch.loss for epoch in history]
    assert told[0]["metric"] == "nDCG@10"
    RankerTrainer(linear(5), epochs=1, log=tmp_path / "log").fit(data)
    (line,) = (tmp_path / "log").read_text().splitlines()  # a new run begins anew
    assert json.loads(line)["validation"] is None


def test_progress_tells_where_training_is(monkeypatch):
    monkeypatch.setattr("policyrank.train.ranker_loop.TOLD_EVERY", 0.0)
    told = []
    trainer = RankerTrainer(linear(5), epochs=2, lists=4, progress=told.append)
    history = trainer.fit(ranking_data(queries=10), ranking_data(1))
    assert [(own.epoch, own.step, own.steps) for own in told] == [
        (e, s, 3) for e in (0, 1) for s in (1, 2, 3)
    ]
    assert np.isnan(told[0].validation)
    assert told[3].validation == history[0].validation
    assert told[2].loss == pytest.approx(history[0].loss)
    assert all(own.lists_per_second > 0 for own in told)
    assert told[0].seconds_left > 0
    assert told[-1].seconds_left == 0


def test_trackers_get_the_numbers(monkeypatch):
    tracking = pytest.importorskip("accelerate.tracking")
    calls = []

    class Fake(tracking.GeneralTracker):
        name, requires_logging_directory, tracker = "fake", False, None

        def __init__(self, project):
            super().__init__()
            calls.append(project)

        def store_init_configuration(self, values):
            calls.append(values)

        def log(self, values, step=None):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "fake", Fake)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["fake"])
    trained(ranking_data(queries=10), lists=5, epochs=2, report_to="fake")
    project, settings, first, second, end = calls
    assert project == "policyrank"
    assert settings["learning_rate"] == 1e-3
    assert settings["loss_options"] == "{}"
    assert (first[0], second[0], end) == (2, 4, "finished")
    assert {"loss", "learning_rate", "lists_per_second", "epoch"} <= set(first[1])
    with pytest.raises(MissingExtraError, match="'wandb' needs wandb: pip install wandb"):
        RankerTrainer(linear(5), report_to=["wandb"])
    with pytest.raises(OptionError, match="report_to='nope': use "):
        RankerTrainer(linear(5), report_to=["nope"])
    assert RankerTrainer(linear(5), report_to="none")


def changed(**parts):
    data = ranking_data()
    query = np.repeat(data.queries, 12)
    given = {"query": query, "labels": data.labels, "features": data.features, **parts}
    return RankingData.of(**given, first_stage=data.first_stage)


def test_resuming_from_other_data_or_settings_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    trained(checkpoint=path)
    assert len(trained(checkpoint=path, epochs=2).fit(ranking_data())) == 2
    features = ranking_data().features.copy()
    features[7, 2] += 1e-3
    labels = ranking_data().labels.copy()
    labels[0] = 3 - labels[0]
    for data, said in (
        (ranking_data(queries=41), "training data: queries 40, here 41; rows 480, here 492"),
        (changed(features=features), "training data: features differ"),
        (changed(labels=labels), "training data: labels differ"),
        (ranking_data(features=5, documents=13), "training data: rows 480, here 520"),
    ):
        with pytest.raises(EvidenceError, match=f"other {said}"):
            trained(data, checkpoint=path)
    for options, said in (
        ({"learning_rate": 0.5}, "learning_rate 0.001, here 0.5"),
        ({"loss_options": {"k": 3}}, "other settings: k None, here 3"),
        ({"accumulate": 2}, "accumulate 1, here 2"),
        ({"optimizer": partial(torch.optim.SGD, momentum=0.9)}, "optimizer adamw, here SGD{'mom"),
    ):
        with pytest.raises(EvidenceError, match="other settings") as error:
            trained(checkpoint=path, **options)
        assert said in str(error.value)
    with pytest.raises(EvidenceError, match="other validation data: none, here some"):
        RankerTrainer(linear(5), epochs=1, checkpoint=path).fit(ranking_data(), ranking_data(1))
    with pytest.raises(EvidenceError, match=r"other model: net.0.weight \[1, 5\], here \[4, 5\]"):
        RankerTrainer(Mlp(5, (4,)), epochs=1, checkpoint=path).fit(ranking_data())
    shutil.rmtree(path)
    path.write_bytes(b"junk")
    with pytest.raises(EvidenceError, match="not a folder of checkpoints"):
        trained(checkpoint=path)


def test_rates_that_depend_on_the_end_are_resumed_to_the_same_end_only(tmp_path):
    options = {"scheduler": "linear", "checkpoint": tmp_path / "c.pt"}
    trained(epochs=2, **options)
    with pytest.raises(EvidenceError, match="other settings: epochs 2, here 3"):
        trained(epochs=3, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lists": 0}, "lists=0: it is a whole number of at least 1"),
        ({"epochs": 1.5}, "epochs=1.5: it is a whole number"),
        ({"learning_rate": -1}, "learning_rate=-1: it is a number of at least 0"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3': it is a number"),
        ({"accumulate": True}, "accumulate=True"),
        ({"warmup": float("nan")}, "warmup=nan"),
        ({"scheduler": "step"}, "scheduler='step': use one of constant, linear, cosine"),
        ({"optimizer": "lion"}, "optimizer='lion': use one of adamw, adam, sgd"),
    ],
)
def test_wrong_options_are_refused_at_the_door(options, said):
    with pytest.raises(OptionError, match=said):
        RankerTrainer(linear(5), **options)


def test_labels_that_a_loss_cannot_read_are_refused_before_training():
    for options, said in (
        ({"loss": "sigmoid"}, r"query '3': loss 'sigmoid' takes shares.*: label 3 is 3;"),
        ({"loss": "ordinal", "loss_options": {"cutoffs": [0.5, 1.5]}}, "at most 2: label"),
    ):
        with pytest.raises(OptionError, match=said):
            trained(**options)
    data = ranking_data()
    below = RankingData.of(np.repeat(data.queries, 12), data.labels - 1, data.features)
    for options in ({"loss": "lambdarank"}, {"loss": partial(ranknet, lambda_weight="ndcg-1")}):
        with pytest.raises(OptionError, match="takes gains"):
            trained(below, **options)
    assert trained(below, loss="ranknet")


def test_ordinal_takes_its_cutoffs_as_a_list():
    options = {"loss": "ordinal", "loss_options": {"cutoffs": [0.5, 1.5, 2.5]}}
    trainer = trained(epochs=20, lists=4, learning_rate=0.02, **options)
    assert trainer.evaluate(ranking_data(2)).mean() > 0.9


def test_gradient_checkpointing_needs_an_encoder():
    with pytest.raises(OptionError, match="gradient_checkpointing: the model has no encoder"):
        trained(gradient_checkpointing=True)
