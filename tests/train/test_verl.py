"""Our estimators and losses in verl's registries: its numbers, and what it lacks."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("verl")

from tensordict import TensorDict
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig

from policyrank.errors import OptionError
from policyrank.learn import Rewards, group_advantage, mixed_advantage, of_batch
from policyrank.train import verl as ours
from policyrank.train.places import imported
from policyrank.train.verl_seams import (
    NOTHING,
    GroupOptions,
    marked,
    read_segments,
    told,
    unmarked,
)
from verl_here import importable

ROWS, TOKENS = 6, 7
LENGTHS = torch.tensor([7, 5, 1, 6, 3, 4])
MASK = (torch.arange(TOKENS) < LENGTHS[:, None]).long()


def scored(values, mask=MASK):
    """Rewards of rows as verl writes them."""
    out = torch.zeros(mask.shape)
    out[torch.arange(len(mask)), mask.sum(dim=1) - 1] = torch.as_tensor(values)
    return out


def estimated(name, values, uid, mask=MASK, **config):
    """What an estimator of verl's registry says, called as ``compute_advantage`` calls it."""
    rewards = values if getattr(values, "ndim", 1) > 1 else scored(values, mask)
    options = {"norm_adv_by_std_in_grpo": True} | config
    found, returns = core_algos.get_adv_estimator_fn(name)(
        token_level_rewards=rewards.clone(),
        response_mask=mask,
        config=SimpleNamespace(get=options.get, **options),
        index=np.array(uid, dtype=object),
    )
    assert found.shape == returns.shape == mask.shape
    return found


OF_VERL = {
    "grpo": {},
    "grpo_vectorized": {},
    "rloo": {"policyrank": {"baseline": "loo", "scale": "none"}},
    "rloo_vectorized": {"policyrank": {"baseline": "loo", "scale": "none"}},
}


@pytest.mark.parametrize("name", OF_VERL)
def test_advantages_are_verls(name):
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        values = torch.randn(ROWS, generator=rng)
        uid = ["a", "b", "a", "b", "a", "a"]
        wanted = estimated(name, values, uid)
        found = estimated("policyrank", values, uid, **OF_VERL[name])
        assert torch.allclose(found, wanted, atol=2e-6)


def test_numbers_of_verl():
    """Rewards 1, 0, 0, 0 of one group: as verl's own estimators say."""
    mask = torch.ones(4, 2, dtype=torch.long)

    def first(**options):
        config = {"policyrank": options} if options else {}
        return estimated("policyrank", [1.0, 0, 0, 0], ["a"] * 4, mask, **config)[:2, 0].tolist()

    assert first() == pytest.approx([1.499997, -0.499999], abs=2e-6)
    assert first(baseline="loo", scale="none") == pytest.approx([1, -1 / 3], abs=2e-6)
    assert first(scale="none") == pytest.approx([0.75, -0.25], abs=2e-6)
    config = {"norm_adv_by_std_in_grpo": False}
    found = estimated("policyrank", [1.0, 0, 0, 0], ["a"] * 4, mask, **config)
    assert found[:2, 0].tolist() == pytest.approx([0.75, -0.25], abs=2e-6)


def test_replayed_rows_are_rows_of_their_group():
    """Eight failures and a replayed success by hand; as ``mixed_advantage`` on any groups."""
    mask = torch.ones(9, 2, dtype=torch.long)
    values = [0.0] * 8 + [1.0]
    for damping in (1.0, 2.0):
        found = estimated("policyrank", values, ["a"] * 9, mask, policyrank={"damping": damping})
        expected = torch.tensor([-1 / 3, 8 / 3]) / damping
        assert torch.allclose(found[7:, 0], expected, atol=2e-5)
    rng = torch.Generator().manual_seed(0)
    keys = torch.tensor([0, 1, 0, 1, 0, 0])
    for scale in ("sample", "std", "batch", "none"):
        values = torch.randn(ROWS, generator=rng)
        options = {"damping": 1.7, "scale": scale}
        found = estimated("policyrank", values, keys.tolist(), policyrank=options)
        expected = mixed_advantage(values, keys, damping=1.7, scale=scale)
        assert torch.allclose(found[:, 0], expected, atol=2e-6)
    with pytest.raises(OptionError, match="damping=0"):
        GroupOptions(damping=0)


def test_a_group_of_one_says_nothing():
    """verl's gives it its raw reward."""
    mask = torch.ones(4, 2, dtype=torch.long)
    uid = ["a", "b", "c", "c"]
    theirs = estimated("grpo", [1.0, 0.25, 1.0, 0.0], uid, mask)
    assert theirs[:2, 0].tolist() == pytest.approx([0.999999, 0.25], abs=1e-5)
    found = estimated("policyrank", [1.0, 0.25, 1.0, 0.0], uid, mask)
    assert (found[:2] == 0).all()
    assert found[2:, 0].tolist() == pytest.approx([0.7071, -0.7071], abs=1e-3)


def test_equal_rewards_and_padding_say_nothing():
    mask = MASK.clone()
    mask[3] = 0
    values = torch.tensor([0.3, 0.3, 1.0, 99.0, 0.0, 0.5])
    uid = ["a", "a", "b", "b", "b", "b"]
    rewards = scored(values, MASK)
    found = estimated("policyrank", rewards, uid, mask)
    assert (found[[0, 1, 3]] == 0).all()
    alone = group_advantage(values[[2, 4, 5]], scale="sample", epsilon=1e-6)
    assert found[[2, 4, 5], 0].tolist() == pytest.approx(alone.tolist(), abs=2e-6)
    kept = estimated("policyrank", rewards, uid, mask, policyrank={"keep_agreeing": True})
    assert (kept[0] != 0).all()
    assert kept[0].abs().max() < 1e-10


INDEX = torch.tensor(
    [
        [1, 1, 2, 2, 3, 3, 3],
        [1, 2, 2, 3, 3, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 2, 2, 2, 0],
        [1, 2, 3, 0, 0, 0, 0],
        [1, 1, 2, 2, 0, 0, 0],
    ]
)


def of_segments():
    nan = torch.nan
    return torch.tensor(
        [[0.5, 0, 1], [0, nan, 1], [2, nan, nan], [0, 0.25, nan], [1, 0, 0], [-1, 0, nan]]
    )


def test_marks_carry_segments():
    values, index = unmarked(marked(of_segments(), INDEX, MASK), MASK)
    assert torch.equal(index, INDEX)
    assert torch.equal(values.isnan(), of_segments().isnan())
    assert torch.equal(values.nan_to_num(), of_segments().nan_to_num())
    assert marked(of_segments(), INDEX, MASK).sum() == pytest.approx(of_segments().nansum().item())
    plain, index = unmarked(scored([0.0, 1, 0, 2, 0, 3]), MASK)
    assert plain[:, 0].tolist() == [0, 1, 0, 2, 0, 3]
    assert torch.equal(index, MASK)
    tail = torch.zeros(1, 4)
    tail[0, 1] = 5.0
    assert unmarked(tail, torch.ones(1, 4))[1].tolist() == [[1, 1, 0, 0]]
    for wrong in ([[1, 3, 3]], [[2, 1, 1]], [[2, 2, 2]]):
        with pytest.raises(OptionError, match="follow one another"):
            marked(torch.ones(1, 3), torch.tensor(wrong), torch.ones(1, 3))


def test_segments_have_their_own_advantages():
    uid = ["a", "a", "a", "b", "b", "b"]
    marks = marked(of_segments(), INDEX, MASK)
    found = estimated("policyrank", marks, uid, policyrank={"scale": "none"})
    gains = group_advantage(of_segments(), uid)
    for row in range(ROWS):
        for token in range(TOKENS):
            segment = INDEX[row, token]
            wanted = gains[row, segment - 1].nan_to_num() if segment else torch.tensor(0.0)
            assert found[row, token].item() == pytest.approx(wanted.item(), abs=3e-6)
    later = estimated("policyrank", marks, uid, policyrank={"scale": "none", "to_go": True})
    assert later[0, 0].item() == pytest.approx(1.5 - (1.5 + 1 + 2) / 3, abs=3e-6)


def test_losses_read_the_segments_again():
    gains = torch.tensor([[1.0, 1, 1, 0, 0, torch.nan, -1]])
    index = torch.tensor([[1, 1, 2, 3, 4, 5, 6]])
    assert read_segments(told(gains, index)).tolist() == [[1, 1, 2, 3, 4, 0, 5]]
    for index, wanted in (([[1, 0, 1]], [[1, 0, 1]]), ([[1, 2, 3]], [[1, 0, 2]])):
        interrupted = told(torch.tensor([[1.0, torch.nan, 1.0]]), torch.tensor(index))
        assert read_segments(interrupted).tolist() == wanted
    index = torch.tensor([[1, 1, 2, 3, 4, 5, 6]])
    assert told(gains, index)[0, [0, 2, 6]].tolist() == pytest.approx([1, 1, -1], abs=2e-6)


def actor(**options):
    given = {
        "strategy": "fsdp",
        "rollout_n": 4,
        "ppo_micro_batch_size_per_gpu": 1,
        "clip_ratio_low": 0.1,
        "clip_ratio_high": 0.15,
    }
    return ActorConfig(**given | options)


def drawn(seed=0, of_tokens=False):
    rng = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(ROWS, TOKENS, generator=rng, dtype=torch.float64)
    old = log_probs + 0.4 * torch.randn(ROWS, TOKENS, generator=rng, dtype=torch.float64)
    gains = torch.randn(ROWS, TOKENS if of_tokens else 1, generator=rng, dtype=torch.float64)
    gains = gains.expand(ROWS, TOKENS) * MASK
    return {
        "old_log_prob": old,
        "log_prob": log_probs.requires_grad_(),
        "advantages": gains,
        "response_mask": MASK.bool(),
    }


def lost(name, config, average="token-mean", seed=0, of_tokens=False, **more):
    """Value, gradient and metrics of a registered loss, called as verl's actor calls it."""
    given = drawn(seed, of_tokens)
    loss, metrics = core_algos.get_policy_loss_fn(name)(
        **given | {"loss_agg_mode": average, "config": config, "rollout_is_weights": None} | more
    )
    loss.backward()
    return loss.item(), given["log_prob"].grad, metrics


PAIRS = {
    "policyrank_token": ("vanilla", {}),
    "policyrank_sequence": ("gspo", {"clip_ratio_c": 1e9}),
    "policyrank_geometric": ("geo_mean", {}),
    "policyrank_weighted": ("cispo", {"clip_ratio_low": 1.0}),
}
AVERAGES = [
    "token-mean",
    "token-sum",
    "seq-mean-token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum-norm",
]


ONLY_ONE = ("policyrank_sequence", "policyrank_geometric")
"""verl's GSPO has another gradient under other averages; its GMPO knows no other."""


@pytest.mark.parametrize(
    ("name", "average"),
    [
        *[(name, average) for name in PAIRS for average in AVERAGES if name not in ONLY_ONE],
        *[(name, "seq-mean-token-mean") for name in ONLY_ONE],
    ],
)
def test_losses_are_verls(name, average):
    theirs, options = PAIRS[name]
    for seed in range(3):
        config = actor(**options)
        value, gradient, metrics = lost(name, config, average, seed)
        wanted, slope, said = lost(theirs, config, average, seed)
        assert value == pytest.approx(wanted, abs=1e-6)
        assert torch.allclose(gradient, slope, atol=1e-6)
        assert metrics["actor/ppo_kl"] == pytest.approx(said["actor/ppo_kl"], abs=1e-6)
        if theirs == "vanilla":
            share = metrics["actor/pg_clipfrac"]
            assert share == pytest.approx(said["actor/pg_clipfrac"], abs=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_a_part_of_a_batch_is_divided_as_verl_divides(average):
    whole = {"dp_size": 2, "batch_num_tokens": 90, "global_batch_size": 24, "loss_scale_factor": 9}
    config = actor()
    config.global_batch_info.update(whole)
    value, gradient, _ = lost("policyrank_token", config, average, of_tokens=True)
    wanted, slope, _ = lost("vanilla", config, average, of_tokens=True)
    assert value == pytest.approx(wanted, abs=1e-9)
    assert torch.allclose(gradient, slope, atol=1e-9)


def test_weights_of_the_sampler_are_heeded():
    weights = torch.linspace(0.5, 2, ROWS * TOKENS, dtype=torch.float64).reshape(ROWS, TOKENS)
    value, gradient, _ = lost("policyrank_token", actor(), rollout_is_weights=weights)
    wanted, slope, _ = lost("vanilla", actor(), rollout_is_weights=weights)
    assert value == pytest.approx(wanted, abs=1e-9)
    assert torch.allclose(gradient, slope, atol=1e-9)


def test_ratios_of_ranks():
    """Rank-GRPO's card: log-ratios (.2, 0) and (-.1), clip .06 and .08, advantages 1 and -1."""
    log_prob = torch.tensor([[0.2, 0.0, -0.1]], dtype=torch.float64)
    gains = torch.tensor([[1.0, 1.0, -1.0]], dtype=torch.float64)
    given = {
        "old_log_prob": torch.zeros(1, 3),
        "log_prob": log_prob,
        "advantages": told(gains, torch.tensor([[1, 1, 2]])),
        "response_mask": torch.ones(1, 3, dtype=torch.bool),
        "config": actor(clip_ratio_low=0.06, clip_ratio_high=0.08),
    }
    found, metrics = core_algos.get_policy_loss_fn("policyrank_segment_mean")(**given)
    assert found.item() == pytest.approx(-(1.08 - 0.94) / 2, abs=1e-5)
    assert metrics["actor/pg_clipfrac"] == 1
    tokens, _ = core_algos.get_policy_loss_fn("policyrank_segment")(**given)
    assert tokens.item() == pytest.approx(-(2 * 1.08 - 0.94) / 3, abs=1e-5)
    given["advantages"] = told(gains.abs(), torch.tensor([[1, 1, 2]]))
    alike, _ = core_algos.get_policy_loss_fn("policyrank_segment_mean")(**given)
    assert alike.item() == pytest.approx(-(1.08 + 0.904837) / 2, abs=1e-5)


def test_what_is_refused():
    call = {"token_level_rewards": scored(torch.arange(6.0)), "response_mask": MASK}
    estimator = core_algos.get_adv_estimator_fn("policyrank")
    with pytest.raises(OptionError, match="no uid"):
        estimator(**call, config=AlgoConfig())
    uid = np.array(list("aabbcc"), dtype=object)
    for options, says in (
        ({"baseline": "median"}, "use one of none, mean, loo, rank"),
        ({"scale": "big"}, "use one of none, std"),
        ({"basline": "mean"}, "Did you mean 'baseline'"),
    ):
        with pytest.raises(OptionError, match=says):
            estimator(**call, index=uid, config={"policyrank": options})
    assert GroupOptions.of(AlgoConfig(norm_adv_by_std_in_grpo=False)).scale == "none"
    loss = core_algos.get_policy_loss_fn("policyrank_token")
    with pytest.raises(OptionError, match="configuration of the actor"):
        loss(**drawn())
    with pytest.raises(OptionError, match="use one of token-mean"):
        loss(**drawn(), config=actor(), loss_agg_mode="mean")


def long_enough(group):
    """1 where the answer has the number of letters that the data ask for; else nothing is said."""
    wanted = group.columns["ground_truth"]
    values = [
        None if text == "?" else float(len(text) >= int(number))
        for text, number in zip(group.completions, wanted, strict=True)
    ]
    return Rewards(torch.tensor([torch.nan if v is None else v for v in values]))


@pytest.fixture
def here(monkeypatch):
    """This file, where names of functions are looked up."""
    monkeypatch.setitem(sys.modules, "rewards_of_users", sys.modules[__name__])
    imported.cache_clear()
    return "rewards_of_users"


def test_scores_of_samples(here):
    def score(text, reward=f"{here}:long_enough"):
        return ours.sample_score("letters", text, "3", {"more": 1}, reward=reward, unread=None)

    assert score("abc") == {"score": 1.0, "applies": 1.0}
    assert score("ab") == {"score": 0.0, "applies": 1.0}
    assert score("?") == {"score": NOTHING, "applies": 0.0}
    for wrong, says in (("math", 'write "module:name'), ("math:no", "cannot be imported")):
        with pytest.raises(OptionError, match=says):
            score("abc", wrong)


def test_a_score_that_says_nothing_is_no_rival():
    values = torch.tensor([1.0, 0.0, NOTHING, 1.0, 0.0, 0.0])
    found = estimated("policyrank", values, ["a"] * 6)
    assert (found[2] == 0).all()
    rest = group_advantage(values[[0, 1, 3, 4, 5]], scale="sample", epsilon=1e-6)
    assert found[[0, 1, 3, 4, 5], 0].tolist() == pytest.approx(rest.tolist(), abs=3e-6)


def halves(tokenizer):
    """Segments, of a tokenizer."""
    assert tokenizer.eos_token_id == 1

    def segments(rollouts):
        index = 1 + (torch.arange(rollouts.ids.shape[1]) >= 2).long()
        return index.expand_as(rollouts.ids).masked_fill(~rollouts.where, 0)

    return segments


def in_halves(group):
    assert len(set(group.columns["topic"])) == 1
    return torch.stack([group.ids[:, 0].float(), group.ids[:, -1].float()], dim=1)


def batch_size(rollouts):
    assert rollouts.progress == 0.25
    return [len(rollouts) / 10] * len(rollouts)


@pytest.fixture
def trainer(monkeypatch, here):
    """verl's trainer without what it samples with: its own steps on a batch that it kept."""
    importable(monkeypatch)
    from omegaconf import OmegaConf
    from verl.trainer.ppo.v1 import get_trainer_cls, trainer_base

    from policyrank.train import verl_trainer

    def make(batch, **options):
        kept = dict(batch)

        def get(keys, partition_id, select_fields):
            return TensorDict(
                {name: kept[name] for name in select_fields if name in kept}, batch_size=len(keys)
            )

        def put(keys, partition_id, fields):
            kept.update({name: fields[name] for name in list(fields.keys())})
            return Keys()

        queue = SimpleNamespace(kv_batch_get=get, kv_batch_put=put)
        monkeypatch.setattr(trainer_base, "tq", queue)
        monkeypatch.setattr(verl_trainer, "queue", queue)
        base = trainer_base.PPOTrainer
        monkeypatch.setattr(base, "__init__", lambda self, config: setattr(self, "config", config))
        given = {
            "algorithm": {
                "adv_estimator": "policyrank",
                "gamma": 1.0,
                "lam": 1.0,
                "use_kl_in_reward": False,
                "policyrank": {"scale": "none"},
            },
            "actor_rollout_ref": {"rollout": {"n": 2}},
            "trainer": {"v1": {"trainer_mode": "policyrank"}},
            "policyrank": options,
        }
        config = OmegaConf.create(given)
        OmegaConf.set_struct(config, True)
        made = get_trainer_cls("policyrank")(config)
        assert config.trainer.v1.trainer_mode == "sync"
        made.global_steps, made.total_training_steps = 1, 4
        made.tokenizer = SimpleNamespace(
            eos_token_id=1,
            pad_token_id=0,
            batch_decode=lambda ids, **_: [" ".join(map(str, row.tolist())) for row in ids],
        )
        return made, kept

    return make


class Keys:
    """Of the rows that verl keeps."""

    keys, partition_id = list("abcde"), "train"

    def __len__(self):
        return len(self.keys)


def of_verl():
    """A batch as verl keeps it: ragged, the last row there to fill it up."""
    responses = [[5, 6, 7, 1], [4, 1], [9, 8, 1], [2, 3, 2, 2], [1]]
    mask = [[1, 1, 1, 1], [1, 1], [1, 0, 1], [1, 1, 1, 1], [0]]

    def nested(rows):
        return torch.nested.as_nested_tensor(
            [torch.tensor(row) for row in rows], layout=torch.jagged
        )

    from tensordict.tensorclass import NonTensorData, NonTensorStack

    def column(values):
        return NonTensorStack(*[NonTensorData(value) for value in values])

    return {
        "uid": column(["p", "p", "q", "q", "q"]),
        "responses": nested(responses),
        "response_mask": nested(mask),
        "rm_scores": nested([[0.0] * len(row) for row in responses]),
        "raw_prompt": column([[{"role": "user", "content": "x"}]] * 5),
        "data_source": column(["d"] * 5),
        "reward_model": column([{"ground_truth": "3"}] * 5),
        "extra_info": column([{"topic": t} for t in "aabbb"]),
    }


def test_the_trainer_hands_over_what_verl_does_not(trainer, here):
    from verl.trainer.ppo.v1 import trainer_base

    assert trainer_base.TRAINER_REGISTRY["policyrank"].__name__ == "RolloutPPOTrainer"
    sys.modules[here].of_size = of_batch(batch_size)
    rewards = [f"{here}:in_halves", f"{here}:of_size"]
    made, kept = trainer(
        of_verl(), rewards=rewards, weights=[1.0, 2.0], groups="topic", segments=f"{here}:halves"
    )
    metrics = {}
    assert made._compute_advantage(Keys(), metrics) is not None
    found = kept["advantages"].unbind()
    first, second = (5 - 4) / 2, (1 - 0) / 2
    assert found[0].tolist() == pytest.approx([first, first, second, second], abs=1e-5)
    assert found[1].tolist() == pytest.approx([-first, -first], abs=1e-5)
    assert found[2].tolist() == pytest.approx([3.5, 0, (0 - 2) / 2], abs=1e-5)
    assert found[4].tolist() == [0]
    assert [row.tolist() for row in kept["loss_mask"].unbind()] == [
        [1, 1, 1, 1],
        [1, 1],
        [1, 0, 1],
        [1, 1, 1, 1],
        [0],
    ]
    assert kept["rm_scores"].unbind()[0][-1].item() == pytest.approx(5 + 1 + 2 * 2 * 0.4)
    assert metrics["policyrank/of_size"] == pytest.approx(0.4)
    assert metrics["policyrank/silent"] == 0


def test_steps_are_compared_with_those_that_share_their_history(trainer, here):
    """The corridor of the estimator by hand: at the hub all, and those that came the same way."""
    sys.modules[here].by_topic = lambda group: [float(text) for text in group.columns["pay"]]
    batch = of_verl()
    column = type(batch["uid"])
    from tensordict.tensorclass import NonTensorData

    rows = {
        "uid": ["p"] * 5,
        "anchor_obs": ["a", "hub", "a", "hub", "hub"],
        "traj_uid": ["one", "one", "two", "two", "three"],
    }
    for name, values in rows.items():
        batch[name] = column(*[NonTensorData(value) for value in values])
    pays = ["0", "1", "0", "0", "9"]
    batch["extra_info"] = column(*[NonTensorData({"pay": pay}) for pay in pays])
    history = {"depth": 1, "scale": "none", "discount": 1.0}
    made, kept = trainer(batch, rewards=[f"{here}:by_topic"], history=history)
    made._compute_advantage(Keys(), {})
    first = [float(row[0]) for row in kept["advantages"].unbind()]
    # The last row wrote nothing: of nobody. At the hub 1 against 0, and so among those from a.
    assert first == pytest.approx([0.5, 0.5, -0.5, -0.5, 0.0], abs=1e-6)
    made, _ = trainer(of_verl(), rewards=[f"{here}:long_enough"], history={"depth": 1})
    with pytest.raises(OptionError, match="reads 'anchor_obs': the data have uid"):
        made._compute_advantage(Keys(), {})
    with pytest.raises(OptionError, match="depht"):
        trainer(of_verl(), rewards=[f"{here}:long_enough"], history={"depht": 1})


def test_options_of_the_trainer(trainer, here):
    one = f"{here}:long_enough"
    for options, says in (
        ({}, "rewards is empty"),
        ({"rewards": [one], "weights": [1.0, 2.0]}, "2 weights, 1 rewards"),
        ({"rewards": [one], "group": "x"}, "Did you mean 'groups'"),
    ):
        with pytest.raises(OptionError, match=says):
            trainer(of_verl(), **options)
    for options, says in (
        ({"rewards": [f"{here}:in_halves"]}, "give policyrank.segments"),
        ({"rewards": [one], "groups": "subject"}, "the data have uid, data_source"),
    ):
        made, _ = trainer(of_verl(), **options)
        with pytest.raises(OptionError, match=says):
            made._compute_advantage(Keys(), {})
    made, kept = trainer(of_verl(), rewards=[one], groups=f"{here}:by_source")
    made._compute_advantage(Keys(), {})
    assert (kept["advantages"].unbind()[0] == 0).all()


def by_source(row):
    return row["data_source"]
