"""TRL's GRPOTrainer on rollouts: its own steps where nothing is changed, and what changes."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from policyrank.errors import MissingExtraError, OptionError
from policyrank.learn import POLICY_OBJECTIVES, PolicyObjective, Rewards, group_advantage, of_batch
from policyrank.train import trl as ours

PROMPTS = ["ab", "cd", "ef", "gh"]
ROWS = Dataset.from_dict({"prompt": PROMPTS, "topic": ["x", "y", "x", "y"]})


def letters(completions, **_):
    """TRL's kind: how many of the first letters of the alphabet."""
    return [sum(c in "abcdefgh" for c in text) / 8 for text in completions]


def of_group(group):
    """Ours, of a group: the same number, and its place among the group's."""
    found = torch.tensor(letters(group.completions))
    ranks = found.argsort().argsort().float()
    return Rewards(found, {"place": ranks})


def halves(rollouts):
    """Two segments: the first three tokens, and the rest."""
    index = 1 + (torch.arange(rollouts.ids.shape[1]) >= 3).long()
    return index.expand_as(rollouts.ids).masked_fill(~rollouts.where, 0)


@pytest.fixture
def made(lm, tmp_path):
    """A trainer of the tiny model, with one step of SGD: what it learns is its gradient."""

    def make(cls=ours.RolloutGRPOTrainer, rows=ROWS, args=(), rewards=letters, **options):
        given = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_completion_length": 8,
            "max_steps": 1,
            "optim": "sgd",
            "learning_rate": 1.0,
            "max_grad_norm": 0.0,
            "lr_scheduler_type": "constant",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        tokenizer = AutoTokenizer.from_pretrained(lm)
        tokenizer.pad_token = "<unk>"
        model = AutoModelForCausalLM.from_pretrained(lm)
        config = trl.GRPOConfig(**(given | dict(args)))
        return cls(
            model,
            rewards,
            config,
            train_dataset=rows,
            processing_class=tokenizer,
            **options,
        )

    return make


def step(trainer):
    """What one step changes of the weights, as one vector: the gradient; and what it logged."""
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    trainer.train()
    pairs = zip(before, trainer.model.parameters(), strict=True)
    moved = torch.cat([(old - new.detach()).flatten() for old, new in pairs])
    return moved, trainer.state.log_history[0]


SAME = {
    "dapo": {},
    "grpo, KL": {"loss_type": "grpo", "beta": 0.1},
    "Dr. GRPO": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "GSPO": {"loss_type": "grpo", "importance_sampling_level": "sequence", "num_iterations": 2},
    "GDPO": {"multi_objective_aggregation": "normalize_then_sum", "loss_type": "bnpo"},
    "batch": {"scale_rewards": "batch"},
    "cut off": {"mask_truncated_completions": True},
}


@pytest.mark.parametrize("name", SAME)
def test_the_step_is_trls(made, name):
    args = SAME[name] | {"max_steps": 2 if name == "GSPO" else 1}
    plain, logged = step(made(trl.GRPOTrainer, args=args))
    own, said = step(made(args=args, keep_agreeing=True))
    assert plain.norm() > 1e-4
    assert (own - plain).norm() <= 1e-5 * plain.norm()
    for key in ("reward", "reward_std", "entropy", "loss", "rewards/letters/mean"):
        assert said[key] == pytest.approx(logged[key], abs=1e-6)


def test_rewards_of_groups_beside_trls_own(made):
    """The same number from both, of halves of its weight, is the step of one."""
    plain, _ = step(made(trl.GRPOTrainer))
    args = {"reward_weights": [0.25, 0.75]}
    own, said = step(made(args=args, group_rewards=of_group))
    assert (own - plain).norm() <= 1e-5 * plain.norm()
    assert said["rewards/of_group/mean"] == pytest.approx(said["rewards/letters/mean"])
    assert said["rewards/of_group/place"] == 1.5
    alone, _ = step(made(rewards=None, group_rewards=[of_group]))
    assert (alone - plain).norm() <= 1e-5 * plain.norm()


def test_groups_and_batches_that_rewards_see(made):
    sizes, topics = [], []

    def watched(group):
        sizes.append(len(group))
        topics.append(set(group.columns["topic"]))
        assert 0 <= group.progress < 1
        return of_group(group)

    trainer = made(rewards=None, group_rewards=watched, groups="topic")
    step(trainer)
    assert sizes == [8, 8]
    assert topics == [{"x"}, {"y"}] or topics == [{"y"}, {"x"}]
    sizes.clear()
    step(made(rewards=None, group_rewards=watched, groups=lambda row: row["prompt"] == "ab"))
    assert sorted(sizes) == [4, 12]
    sizes.clear()
    step(made(rewards=None, group_rewards=of_batch(watched)))
    assert sizes == [16]


def test_advantages_are_those_of_the_groups(made):
    seen = {}

    def advantage(values, rollouts):
        seen.update(values=values, groups=rollouts.groups)
        return group_advantage(values, rollouts.groups, baseline="loo")

    trainer = made(groups="topic", advantage=advantage)
    trainer.train()
    assert torch.bincount(seen["groups"]).tolist() == [8, 8]
    wanted = group_advantage(seen["values"], seen["groups"], baseline="loo")
    shown = torch.tensor(list(trainer._logs["advantages"]))
    assert torch.allclose(shown, wanted, equal_nan=True)


def in_halves(group):
    """Each half's letters."""
    index = halves(group)
    hit = torch.tensor([[i % 2 for i in row] for row in group.ids.tolist()]).float()
    first = (hit * (index == 1)).sum(dim=1)
    return torch.stack([first, (hit * (index == 2)).sum(dim=1)], dim=1)


def captured(trainer):
    """The batches that the loss is taken of."""
    seen, plain = [], trainer._compute_loss

    def loss(model, inputs):
        out = plain(model, inputs)
        seen.append((inputs, out.detach()))
        return out

    trainer._compute_loss = loss
    trainer.train()
    return seen


def test_segments_have_their_own_advantages(made):
    trainer = made(rewards=None, group_rewards=in_halves, segments=halves)
    batches = captured(trainer)
    sampled = trainer.sampled
    wanted = group_advantage(in_halves(sampled), sampled.groups, scale="sample")
    ids = {
        tuple(row[written].tolist()): k
        for k, (row, written) in enumerate(zip(sampled.ids, sampled.where, strict=True))
    }
    assert len(ids) == 16
    for inputs, _ in batches:
        for row, written, gains, index in zip(
            inputs["completion_ids"],
            inputs["completion_mask"].bool(),
            inputs["advantages"],
            inputs["segments"],
            strict=True,
        ):
            found = wanted[ids[tuple(row[written].tolist())]]
            assert torch.allclose(gains[index == 1], found[0].expand((index == 1).sum()))
            assert torch.allclose(gains[index == 2], found[1].expand((index == 2).sum()))
            assert (gains[index == 0] == 0).all()


def test_what_is_said_of_one_segment_moves_only_its_tokens(made):
    """A reward of the second half alone: tokens of the first have no advantage, nor a share."""

    def second(group):
        values = in_halves(group)
        values[:, 0] = torch.nan
        return values

    for beside in (None, letters):  # what is said of a row does not bring a segment in
        for inputs, _ in captured(made(rewards=beside, group_rewards=second, segments=halves)):
            first = inputs["segments"] == 1
            assert (inputs["advantages"][first] == 0).all()
            assert (inputs["tool_mask"][first] == 0).all()
            assert inputs["advantages"].abs().sum() > 0
    with pytest.raises(OptionError, match="give the segments"):
        made(rewards=None, group_rewards=in_halves).train()


def test_tokens_take_advantages_too(made):
    def advantage(values, rollouts):
        gains = group_advantage(values, rollouts.groups)[:, None] * torch.ones(rollouts.ids.shape)
        gains[:, 0] = torch.nan
        return gains

    for inputs, _ in captured(made(advantage=advantage)):
        assert (inputs["tool_mask"][:, 0] == 0).all()
        assert inputs["tool_mask"][:, 1].sum() > 0
    with pytest.raises(OptionError, match="it is of rows, of segments"):
        made(advantage=lambda values, _: values[:, None].repeat(1, 3)).train()
    with pytest.raises(OptionError, match="3 rows for 16"):
        made(advantage=lambda values, _: values[:3]).train()


def silent(completions, **_):
    return [None if k % 4 == 0 else len(text) % 5 / 4 for k, text in enumerate(completions)]


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo"])
def test_rows_that_say_nothing_have_no_share(made, loss_type):
    """With one batch a step, the loss is that of the other rows alone, KL included."""
    args = {
        "loss_type": loss_type,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "beta": 0.5,
    }
    trainer = made(args=args, rewards=silent)
    with torch.no_grad():
        for weight in trainer.ref_model.parameters():
            weight.mul_(1.2)
    ((inputs, loss),) = captured(trainer)
    speaks = (inputs["completion_mask"] * inputs["tool_mask"]).any(dim=1)
    assert 0 < speaks.sum() < 16
    assert inputs["num_items_in_batch"] == inputs["completion_mask"][speaks].sum()
    assert trainer.state.log_history[0]["silent_share"] == 1 - speaks.sum().item() / 16
    left = {
        name: own[speaks] if isinstance(own, torch.Tensor) and own.ndim else own
        for name, own in inputs.items()
    }
    rest = made(args=args, rewards=silent)
    rest.current_gradient_accumulation_steps = 1
    wanted = trl.GRPOTrainer._compute_loss(rest, rest.model.train(), left)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert abs(wanted.item()) > 1e-4


def test_groups_of_equal_rewards_give_no_gradient(made):
    """Neither of the policy nor of KL, and no NaN; kept, KL's."""

    def equal(completions, **_):
        return [0.3] * len(completions)

    for keep, moves in ((False, False), (True, True)):
        trainer = made(args={"beta": 1.0}, rewards=equal, keep_agreeing=keep)
        with torch.no_grad():
            for weight in trainer.ref_model.parameters():
                weight.mul_(1.2)
        moved, said = step(trainer)
        assert bool(moved.isfinite().all())
        assert bool(moved.abs().sum() > 0) is moves
        assert said["silent_share"] == (0 if moves else 1)


OBJECTIVES = {
    "dapo": (PolicyObjective(), {}),
    "grpo": (
        PolicyObjective(average="sequence", beta=0.1, weighted_divergence=True),
        {"loss_type": "grpo", "beta": 0.1},
    ),
    "grpo of old": (
        PolicyObjective(average="sequence", beta=0.1),
        {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": False},
    ),
    "dr_grpo": (PolicyObjective(average="length", length=8), {"loss_type": "dr_grpo"}),
    "gspo": (
        PolicyObjective(ratio="sequence", average="sequence"),
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    ),
    "entropy": (PolicyObjective(entropy_weight=0.1), {"entropy_coef": 0.1}),
    "cispo": (
        PolicyObjective(surrogate="weighted", clip=(1.0, 0.2)),
        {"loss_type": "cispo", "epsilon_high": 1.2},
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_the_loss(made, name):
    """Settings that TRL has too, over two steps on one sample: the second is off-policy."""
    objective, theirs = OBJECTIVES[name]
    more = {"num_iterations": 2, "max_steps": 2, "learning_rate": 0.3}
    plain, logged = step(made(trl.GRPOTrainer, args=more | theirs))
    given = more | {"beta": objective.beta}
    own, said = step(made(args=given, objective=objective, keep_agreeing=True))
    assert (own - plain).norm() <= 1e-5 * plain.norm()
    assert said["entropy"] == pytest.approx(logged["entropy"], abs=1e-5)


def test_weights_of_a_sampler_are_heeded(made):
    """What vLLM sampled with other chances is weighed as TRL weighs it."""
    own, plain = (made(objective=objective) for objective in (PolicyObjective(), None))
    inputs, _ = captured(own)[0]
    rng = torch.Generator().manual_seed(0)
    shape = inputs["completion_ids"].shape
    inputs["importance_sampling_ratio"] = 0.5 + torch.rand(shape, generator=rng)
    losses = []
    for trainer in (own, plain):
        trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
        trainer.current_gradient_accumulation_steps = 2
        trainer.model = own.model.train()
        losses.append(type(trainer)._compute_loss(trainer, own.model, inputs).item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    inputs["importance_sampling_ratio"] = torch.ones(shape)
    assert abs(type(plain)._compute_loss(plain, own.model, inputs).item() - losses[0]) > 1e-4


def test_ratios_of_segments(made):
    """On samples of the policy itself a segment's ratio has the token ratios' gradient."""
    options = {"rewards": None, "group_rewards": in_halves, "segments": halves}
    tokens, _ = step(made(objective=PolicyObjective(), **options))
    objective = replace(POLICY_OBJECTIVES["segment-grpo"], average="token")
    parted, _ = step(made(objective=objective, **options))
    assert (parted - tokens).norm() <= 1e-5 * tokens.norm()
    more = {"num_iterations": 2, "max_steps": 2}
    tokens, _ = step(made(args=more, objective="ppo", **options))
    parted, _ = step(made(args=more, objective=objective, **options))
    assert (parted - tokens).norm() > 1e-3 * tokens.norm()
    mean, _ = step(made(objective="segment-grpo", **options))
    assert (mean - tokens).norm() > 1e-3 * tokens.norm()


def test_what_is_refused(made, monkeypatch):
    with pytest.raises(OptionError, match="use one of ppo"):
        made(objective="nothing")
    with pytest.raises(OptionError, match="give the segments"):
        made(objective="segment-grpo")
    with pytest.raises(OptionError, match=r"loss_type, epsilon of args"):
        made(objective="ppo", args={"loss_type": "grpo", "epsilon": 0.1})
    with pytest.raises(OptionError, match=r"beta=0.04 .* give both the same"):
        made(objective="grpo")
    with pytest.raises(OptionError, match="cannot be taken from its denominator"):
        made(args={"loss_type": "grpo", "entropy_coef": 0.1})
    monkeypatch.setattr(ours, "version", lambda _: "1.17.0")
    with pytest.raises(MissingExtraError, match=r"written for TRL 1.16, not 1.17.0: pip install"):
        made()
