"""Learning with a critic: what it reads, what is credited, what moves, and what goes on."""

import ast
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import RunningMoments
from policyrank.models.language import load_causal_lm
from policyrank.train import PPOConfig, PPOTrainer
from policyrank.train.critics import critic_of, token_values
from policyrank.train.reward import reward_model

from .test_group import ROWS, Canned, by_length, logs_of, numbers_in, other_model, weights_of


def trainer_of(lm, folder, rewards=by_length, rows=ROWS, sampler=None, model=None, **options):
    """A trainer of the tiny model in plain steps, whose critic learns with it from the first."""
    names = {"reference_model", "segments", "peft_config", "eval_dataset", "critic", "pretraining"}
    names |= {"show", "companion", "replay"}
    more = {name: options.pop(name) for name in names & options.keys()}
    loaded, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    given = {
        "samples": 2, "tokens": 8, "max_length": 32, "optim": "sgd", "learning_rate": 1.0,
        "lr_scheduler_type": "constant", "max_grad_norm": 0, "per_device_train_batch_size": 2,
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "max_steps": 1,
        "save_strategy": "no", "logging_steps": 1, "critic_rounds": 0,
    }  # fmt: skip
    args = PPOConfig(str(folder), **given | options)
    return PPOTrainer(
        loaded if model is None else model, args, rewards, rows, processing_class=tokenizer,
        sampler=sampler or Canned(), **more,
    )  # fmt: skip


def plain_values(critic, head, ids):
    """Values before each token, an output in a row of its own."""
    with torch.no_grad():
        hidden = critic.base_model(torch.tensor([[*head, *ids]])).last_hidden_state
        return critic.score(hidden)[0, len(head) - 1 : -1, 0]


def plain_log_probs(model, head, ids):
    row = torch.tensor([[*head, *ids]])
    with torch.no_grad():
        logits = model(row).logits[0, len(head) - 1 : -1]
    return logits.log_softmax(-1).gather(1, row[0, len(head) :, None])[:, 0]


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_advantages_and_returns_are_those_of_plain_rows(lm, tmp_path, layout):
    """Token by token by hand: k1 to another reference, running moments, clip, GAE by its sum."""
    trainer = trainer_of(
        lm, tmp_path, layout=layout, kl=0.3, discount=0.9, decay=0.7, reward_clip=0.5,
        reference_model=other_model(lm),
    )  # fmt: skip
    critic = trainer.critic.model
    torch.nn.init.normal_(critic.score.weight, generator=torch.Generator().manual_seed(0))
    chosen = numbers_in(trainer)
    policy, tokenizer = load_causal_lm(str(lm), device="cpu")
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    made = Canned()(heads, 2, seed=0)
    flat = [(head, own.ids) for head, group in zip(heads, made, strict=True) for own in group]
    raw = np.array([by_length(None, [list(ids)])[0] for _, ids in flat])
    scores = np.clip((raw - raw.mean()) / raw.std(ddof=1), -0.5, 0.5)
    wanted = []
    for score, (head, ids) in zip(scores, flat, strict=True):
        apart = plain_log_probs(policy, head, ids) - plain_log_probs(other_model(lm), head, ids)
        rewards = -0.3 * apart.numpy()
        rewards[-1] += score
        values = np.append(plain_values(critic, head, ids).numpy(), 0.0)
        gain, later = np.zeros(len(ids)), 0.0
        for t in reversed(range(len(ids))):
            later = rewards[t] + 0.9 * values[t + 1] - values[t] + 0.9 * 0.7 * later
            gain[t] = later
        wanted.append((gain, gain + values[:-1], values[:-1]))
    round_of = trainer._sampled([chosen])
    (batch,) = round_of.batches
    for row, (gain, returns, values) in enumerate(wanted):
        n = len(gain)
        assert batch["advantages"][row, :n].numpy() == pytest.approx(gain, abs=1e-4)
        assert batch["returns"][row, :n].numpy() == pytest.approx(returns, abs=1e-4)
        assert batch["values"][row, :n].numpy() == pytest.approx(values, abs=1e-5)
        assert not batch["learns"][row, n:].any()


def test_one_step_moves_policy_and_critic_by_their_gradients(lm, tmp_path):
    """SGD of rate 1: the step is the gradient of -mean(A log pi) and of half the square error."""
    trainer = trainer_of(lm, tmp_path, critic_learning_rate=1.0, kl=0.0)
    critic = trainer.critic.model
    before = weights_of(trainer), {n: p.detach().clone() for n, p in critic.named_parameters()}
    chosen = numbers_in(trainer)
    (batch,) = trainer._sampled([chosen]).batches
    trainer.credit.moments = RunningMoments()
    trainer.train()
    policy, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    fresh, _ = reward_model(str(lm), seed=0, device="cpu")
    fresh.load_state_dict(before[1])
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    flat = [
        (h, own.ids) for h, g in zip(heads, Canned()(heads, 2, seed=0), strict=True) for own in g
    ]
    total = sum(len(ids) for _, ids in flat)
    loss, error = 0.0, 0.0
    for row, (head, ids) in enumerate(flat):
        told = torch.tensor([[*head, *ids]])
        logits = policy(told).logits[0, len(head) - 1 : -1]
        log_probs = logits.log_softmax(-1).gather(1, told[0, len(head) :, None])[:, 0]
        hidden = fresh.base_model(told).last_hidden_state
        values = fresh.score(hidden)[0, len(head) - 1 : -1, 0]
        loss = loss - (batch["advantages"][row, : len(ids)] * log_probs).sum() / total
        error = error + 0.5 * ((values - batch["returns"][row, : len(ids)]) ** 2).sum() / total
    loss.backward()
    error.backward()
    for name, own in policy.named_parameters():
        moved = before[0][name] - dict(trainer.model.named_parameters())[name]
        assert moved.detach().numpy() == pytest.approx(own.grad.numpy(), abs=1e-5), name
    for name, own in fresh.named_parameters():
        moved = before[1][name] - dict(critic.named_parameters())[name]
        assert moved.detach().numpy() == pytest.approx(own.grad.numpy(), abs=1e-5), name


def test_the_critic_learns_alone_at_first(lm, tmp_path):
    trainer = trainer_of(lm, tmp_path, critic_rounds=2, max_steps=2)
    start, critic = weights_of(trainer), trainer.critic.model.score.weight.detach().clone()
    trainer.train()
    for name, own in weights_of(trainer).items():
        assert torch.equal(own, start[name])
    assert not torch.equal(trainer.critic.model.score.weight, critic)
    third = trainer_of(lm, tmp_path, critic_rounds=2, max_steps=3)
    third.train()
    assert any(not torch.equal(own, start[name]) for name, own in weights_of(third).items())


def test_a_critic_begins_as_it_is_given(lm, tmp_path):
    made, _ = reward_model(str(lm), seed=3, device="cpu")
    made.save_pretrained(tmp_path / "reward")
    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    tokenizer.save_pretrained(tmp_path / "reward")
    policy, _ = load_causal_lm(str(lm), device="cpu")
    named = critic_of(str(tmp_path / "reward"), policy, 0)
    assert torch.equal(named.score.weight, made.score.weight)
    fresh, again = critic_of(None, policy, 5), critic_of(None, policy, 5)
    assert torch.equal(fresh.score.weight, again.score.weight)
    assert not torch.equal(fresh.score.weight, critic_of(None, policy, 6).score.weight)
    body, own = (
        dict(fresh.base_model.named_parameters()),
        dict(policy.base_model.named_parameters()),
    )
    assert all(torch.equal(body[name], own[name]) for name in own)
    two = transformers.AutoModelForSequenceClassification.from_pretrained(str(lm), num_labels=2)
    with pytest.raises(OptionError, match="2 outputs"):
        critic_of(two, policy, 0)
    with pytest.raises(OptionError, match="no head"):
        critic_of(policy, policy, 0)


def test_values_do_not_see_the_token_itself_nor_other_outputs(lm, tmp_path):
    trainer = trainer_of(lm, tmp_path)
    torch.nn.init.normal_(trainer.critic.model.score.weight)
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    before = token_values(trainer.critic.model, batch, layout="shared")
    changed = dict(batch)
    last = int(batch["at"][(batch["row"] == 0) & (batch["answer"] == 1)].max())
    changed["input_ids"] = batch["input_ids"].clone()
    changed["input_ids"][0, last] = (batch["input_ids"][0, last] + 1) % 30
    after = token_values(trainer.critic.model, changed, layout="shared")
    assert after.detach().numpy() == pytest.approx(before.detach().numpy(), abs=1e-6)


def test_what_was_cut_or_not_rewarded_is_not_learned_from(lm, tmp_path):
    def some(completions, completion_ids, **columns):
        return [None if k == 0 else float(sum(ids)) for k, ids in enumerate(completion_ids)]

    sampler = Canned(lengths=(4, 5, 6), ended=(True, True, False))
    trainer = trainer_of(lm, tmp_path, some, samples=3, sampler=sampler, mask_cut=True)
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    learned = (~batch["advantages"].isnan() & batch["learns"].bool()).any(dim=-1)
    assert learned.tolist() == [False, True, False] * 2
    assert trainer.moments.count == 4  # what was cut is rewarded, and counts in the moments
    told = trainer_of(lm, tmp_path, some, samples=3, sampler=sampler, cut_reward=-7.0)
    told._sampled([numbers_in(told)])
    low = RunningMoments.of(torch.tensor([-7.0, -7.0]))
    assert told.moments.mean < trainer.moments.mean
    assert told.moments.count == 4
    assert low.mean == -7


def test_rewards_are_normalised_by_all_that_was_seen(lm, tmp_path):
    plain = {"reward_centre": False, "reward_scale": False, "reward_clip": None}
    trainer = trainer_of(lm, tmp_path, max_steps=3, **plain)
    trainer.train()
    seen = [record["reward"] for record in logs_of(trainer)]
    assert trainer.moments.mean == pytest.approx(np.mean(seen), abs=1e-5)
    assert trainer.moments.count == 3 * 4


def test_whitened_and_clipped_advantages(lm, tmp_path):
    trainer = trainer_of(lm, tmp_path, whiten=True)
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    gains = batch["advantages"][batch["learns"].bool()]
    assert float(gains.mean()) == pytest.approx(0, abs=1e-5)
    assert float(gains.std(unbiased=False)) == pytest.approx(1, abs=1e-3)
    clipped = trainer_of(lm, tmp_path, whiten=True, advantage_clip=0.4)
    (batch,) = clipped._sampled([numbers_in(clipped)]).batches
    assert float(batch["advantages"].nan_to_num().abs().max()) == pytest.approx(0.4)


@pytest.mark.parametrize("kept", [1, 3])
def test_filters_choose_what_is_learned_from(lm, tmp_path, kept):
    trainer = trainer_of(lm, tmp_path, samples=4, filter="best", kept=kept)
    chosen = numbers_in(trainer)
    (batch,) = trainer._sampled([chosen]).batches
    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    best = []
    for group in Canned()(heads, 4, seed=0):
        scores = by_length(None, [list(own.ids) for own in group])
        top = [own for own, score in zip(group, scores, strict=True) if score == max(scores)]
        best.append({tuple(own.ids) for own in top})
    assert len(batch["learns"]) == 2 * kept
    for row in range(2 * kept):
        mask = batch["answer"] == row
        ids = tuple(batch["input_ids"][batch["row"][mask], batch["at"][mask]].tolist())
        assert ids in best[row // kept]


def test_fluency_is_learned_from_text(lm, tmp_path):
    """Rewards all alike, a critic that says 0: only the text moves the policy."""
    texts = ["abc abc abc", "say it again"]
    options = {
        "pretraining": texts, "pretraining_weight": 1.0, "reward_centre": False, "kl": 0.0,
        "reward_scale": False, "critic_learning_rate": 1e-9, "pretraining_rows": 2,
    }  # fmt: skip
    trainer = trainer_of(lm, tmp_path, lambda group: [0.0] * len(group), max_steps=6, **options)
    torch.nn.init.zeros_(trainer.critic.model.score.weight)
    trainer.args.learning_rate = 0.1
    trainer.train()
    losses = [own["pretraining_loss"] for own in logs_of(trainer)]
    assert losses[-1] < losses[0] - 0.01
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    each = []
    for text in texts:
        ids = tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]
        each.append(plain_log_probs(model, ids[:1], ids[1:]))
    assert losses[0] == pytest.approx(-float(torch.cat(each).mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"advantage": "rloo"}, "advantage is of groups"),
        ({"reward_kl": 0.1}, "reward_kl is of groups"),
        ({"objective": "dpo"}, "ranked groups"),
        ({"decay": 1.5}, "decay=1.5"),
        ({"kl": -1.0}, "kl=-1.0"),
        ({"filter": "zzz"}, "use one of all"),
        ({"filter": "best", "samples": 1}, "sample several"),
        ({"pretraining_weight": 1.0}, "give both"),
        ({"samples": 0}, "samples=0"),
        ({"value_clip": 0.0}, "value_clip=0.0"),
    ],
)
def test_what_cannot_be_is_refused_before_training(lm, tmp_path, options, said):
    with pytest.raises(OptionError, match=said):
        trainer_of(lm, tmp_path, **options)


def test_nothing_to_learn_is_refused(lm, tmp_path):
    trainer = trainer_of(lm, tmp_path, lambda group: [None] * len(group))
    with pytest.raises(EvidenceError, match="no output could be rewarded"):
        trainer.train()
    with pytest.raises(EvidenceError, match="no text"):
        trainer_of(lm, tmp_path, pretraining=[{"prompt": "x"}], pretraining_weight=1.0)


def test_adapters_are_trained_beside_a_whole_critic(lm, tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    with pytest.raises(OptionError, match="name a model for its critic"):
        trainer_of(lm, tmp_path, peft_config=config)
    trainer = trainer_of(lm, tmp_path, peft_config=config, critic=str(lm), max_steps=2)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora_" in name for name in moved)
    trainer.save_model(str(tmp_path / "out"))
    assert (tmp_path / "out" / "adapter_config.json").is_file()
    again = critic_of(str(tmp_path / "out" / "critic"), trainer.model, 0)
    assert torch.equal(again.score.weight, trainer.critic.model.score.weight.cpu())


def test_a_run_goes_on_inside_a_round_and_between(lm, tmp_path):
    """Critic, moments, optimizer and round are those of the run that was not stopped."""

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step >= 3
            return control

    options = {
        "passes": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 1, "critic_rounds": 1,
        "optim": "adamw_torch", "learning_rate": 1e-2, "sampler": None, "kl": 0.1,
    }  # fmt: skip
    ends = []
    for stops in (False, True):
        trainer = trainer_of(lm, tmp_path / str(stops), **options)
        if stops:
            trainer.add_callback(Stop())
        trainer.train()
        if stops:
            assert trainer.state.global_step == 3
            trainer = trainer_of(lm, tmp_path / str(stops), **options)
            trainer.train(resume_from_checkpoint=True)
        own = {f"critic.{n}": p.detach() for n, p in trainer.critic.model.named_parameters()}
        ends.append((weights_of(trainer) | own, trainer.moments))
    for name, own in ends[0][0].items():
        assert torch.equal(own, ends[1][0][name]), name
    assert ends[0][1] == ends[1][1]
    other = trainer_of(lm, tmp_path / "True", **options, value_clip=0.3)
    with pytest.raises(EvidenceError, match=r"value_clip 0\.2, here 0\.3"):
        other.train(resume_from_checkpoint=True)


@pytest.mark.slow
def test_a_model_learns_what_is_rewarded(lm, tmp_path):
    def letters(completions, **columns):
        return [text.count("a") for text in completions]

    from policyrank.models.group_sampling import Decoding, ModelSampler

    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    trainer = trainer_of(
        lm, tmp_path, letters, model=model, samples=4, optim="adamw_torch", learning_rate=3e-3,
        per_device_train_batch_size=6, max_steps=60, critic_rounds=5, kl=0.01, max_grad_norm=1.0,
        sampler=ModelSampler(model, tokenizer, Decoding(8)),
    )  # fmt: skip
    trainer.train()
    rewards = [own["reward"] for own in logs_of(trainer)]
    assert np.mean(rewards[-8:]) > np.mean(rewards[:8]) + 0.3
    explained = [own["value_explained"] for own in logs_of(trainer) if "value_explained" in own]
    assert np.mean(explained[-20:]) > np.mean(explained[:5])
    assert not math.isnan(rewards[-1])
    assert json.dumps(trainer.moments.state_dict())


def test_a_filter_that_keeps_nothing_teaches_the_critic_nothing(lm, tmp_path):
    """A threshold beyond all rewards: neither policy nor critic move, whatever is divided by."""
    trainer = trainer_of(
        lm, tmp_path, samples=4, filter="above", filter_options={"threshold": 99.0}, kl=0.1
    )
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    assert batch["advantages"].isnan().all()
    assert batch["returns"].isnan().all()
    before = {n: p.detach().clone() for n, p in trainer.critic.model.named_parameters()}
    trainer.train()
    assert all(torch.equal(p, before[n]) for n, p in trainer.critic.model.named_parameters())
    assert not any("value_error" in own for own in trainer.state.log_history)


def test_outputs_without_a_reward_are_never_drawn(lm, tmp_path):
    """Rewards of segments below 0, and one output of which nothing is known, not even a 0."""
    from policyrank.learn import Rewards

    def reward(group):
        rows = torch.arange(len(group), dtype=torch.float)
        values = torch.stack([-1 - rows, -2 - rows], dim=-1)
        values[1] = torch.nan
        return Rewards(values)

    trainer = trainer_of(
        lm, tmp_path, reward, samples=4, filter="best", kept=2, reward_centre=False,
        segments=lambda rollouts: rollouts.where.long(),
    )  # fmt: skip
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    assert not batch["advantages"][batch["learns"].bool()].isnan().any()


def test_the_critics_loss_is_a_mean_over_what_it_learns_from(lm, tmp_path):
    """Ratios of segments leave tokens out that the critic reads: it has a count of its own."""
    trainer = trainer_of(
        lm, tmp_path, objective="segment-grpo", kl=0.0,
        segments=lambda rollouts: (torch.arange(rollouts.ids.shape[1]) > 0) * rollouts.where.long(),
    )  # fmt: skip
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    trainer._count([batch], torch.device("cpu"))
    counted = trainer.values.counted(batch["returns"], batch["learns"], batch["segments"])
    assert trainer._valued == counted


def test_a_policy_that_would_never_learn_is_said(lm, tmp_path, caplog):
    trainer = trainer_of(lm, tmp_path, critic_rounds=2, passes=2, max_steps=4)
    trainer.train()
    assert "only the critic learns in the first 4 steps (critic_rounds=2)" in caplog.text
    caplog.clear()
    trainer_of(lm, tmp_path, critic_rounds=2, max_steps=3).train()
    assert "only the critic" not in caplog.text


def test_training_goes_on_in_one_trainer(lm, tmp_path):
    """The critic's weights are in the optimizer once, and decay where the policy's do."""
    trainer = trainer_of(lm, tmp_path, weight_decay=0.1)
    trainer.train()
    trainer.args.max_steps = 2
    trainer.train()
    groups = trainer.optimizer.param_groups
    own = {id(p) for p in trainer.critic.weights}
    theirs = [group for group in groups if id(group["params"][0]) in own]
    assert sum(len(group["params"]) for group in theirs) == len(own)
    names = {id(p): n for n, p in trainer.critic.model.named_parameters()}
    plain = {names[id(p)] for group in theirs if not group["weight_decay"] for p in group["params"]}
    assert plain == {n for n in names.values() if "norm" in n}


def test_a_critic_of_other_tokens_is_refused(lm, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(lm, other)
    told = json.loads((other / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (other / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(OptionError, match="another tokenizer: it reads 'a' as 'b'"):
        trainer_of(lm, tmp_path, critic=str(other))
    small, _ = reward_model(str(lm), seed=0, device="cpu")
    small.resize_token_embeddings(9)
    with pytest.raises(OptionError, match="knows 9 tokens"):
        trainer_of(lm, tmp_path, critic=small)


def test_a_critic_that_mixes_outputs_reads_rows(lm, tmp_path):
    config = transformers.MistralConfig(
        vocab_size=41, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_labels=1,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=6, max_position_embeddings=64,
    )  # fmt: skip
    critic = transformers.MistralForSequenceClassification(config)
    trainer = trainer_of(lm, tmp_path, critic=critic)
    trainer._sampled([numbers_in(trainer)])
    assert trainer.likely.collate.layout == "rows"
    same = trainer_of(lm, tmp_path)
    same._sampled([numbers_in(same)])
    assert same.likely.collate.layout == "shared"


def test_values_have_no_dropout(lm, tmp_path):
    config = transformers.GPT2Config(
        vocab_size=41, bos_token_id=0, eos_token_id=1, n_embd=32, n_layer=2, n_head=2,
        n_positions=64, num_labels=1, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
    )  # fmt: skip
    critic = transformers.GPT2ForSequenceClassification(config).train()
    trainer = trainer_of(lm, tmp_path, critic=critic)
    (batch,) = trainer._sampled([numbers_in(trainer)]).batches
    again = trainer.critic.read(batch, trainer.likely.collate.layout)
    assert again.detach().numpy() == pytest.approx(batch["values"].numpy(), abs=1e-5)


def test_short_texts_are_counted(lm, tmp_path):
    trainer = trainer_of(lm, tmp_path, pretraining=["abc", "", ""], pretraining_weight=1.0)
    assert "pretraining: 2 texts of less than two tokens are left out" in trainer.notes


def test_trajectories_are_kept_as_of_groups(lm, tmp_path):
    """What a log of rollouts is shown, and what learns beside, are those of ``GroupTrainer``."""
    seen = []

    class Log:
        def __call__(self, records):
            seen.append(("shown", len(records)))

        def compared(self, found, step, process):
            seen.append(("compared", len(found.rollouts), step, process))

    class Beside:
        def compared(self, found, step):
            seen.append(("beside", len(found.rollouts), step))
            return {"ranker/reward": 0.5}

        def facts(self):
            return {}

    trainer = trainer_of(lm, tmp_path, show=Log(), companion=Beside(), filter="best", kept=1)
    trainer.train()
    assert sorted(seen) == [("beside", 4, 0), ("compared", 4, 0, 0), ("shown", 2)]
    assert logs_of(trainer)[0]["ranker/reward"] == 0.5


def test_less_memory_reaches_the_critic(lm, tmp_path):
    """Its layers keep less for the gradient, which is the same."""
    found = []
    for less in (False, True):
        own = trainer_of(lm, tmp_path, kl=0.0, gradient_checkpointing=less)
        layers = [m for m in own.critic.model.modules() if hasattr(m, "gradient_checkpointing")]
        assert any(layer.gradient_checkpointing for layer in layers) == less
        own.train()
        found.append({name: p.detach() for name, p in own.critic.model.named_parameters()})
    for name, values in found[0].items():
        assert values.numpy() == pytest.approx(found[1][name].numpy(), abs=1e-6), name


@pytest.mark.parametrize(("name", "option"), [("FSDP", "fsdp"), ("DeepSpeed", "deepspeed")])
def test_models_in_shards_are_refused(lm, tmp_path, monkeypatch, name, option):
    own = trainer_of(lm, tmp_path)
    monkeypatch.setattr(own.args, option, "full_shard", raising=False)
    said = f"{name} splits the policy, and does not know its critic"
    with pytest.raises(OptionError, match=said):
        PPOTrainer(own.model, own.args, by_length, ROWS, processing_class=own.processing_class)
    monkeypatch.setattr(own.args, option, None)
    monkeypatch.setenv(f"ACCELERATE_USE_{option.upper()}", "true")
    with pytest.raises(OptionError, match=said):
        PPOTrainer(own.model, own.args, by_length, ROWS, processing_class=own.processing_class)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from train.test_group import Canned
from train.test_ppo import trainer_of
own = trainer_of(
    {lm!r}, {out!r}, sampler=Canned(known=True), samples=3, passes=2, max_steps=6, whiten=True,
    per_device_train_batch_size=4 // {processes}, learning_rate=0.1, kl=0.1, max_grad_norm=0.5,
    objective_options={{"entropy_weight": 0.1}}, critic_learning_rate=0.2,
)
own.train()
if own.is_world_process_zero():
    print("\\nfound", sorted(own.moments.state_dict().items()))
own.save_model({out!r})
"""


@pytest.mark.slow
def test_two_processes_train_policy_and_critic_to_the_weights_of_one(lm, tmp_path):
    """Moments, whitening, counts and gradients are of all processes."""
    from safetensors.torch import load_file

    found, told = [], []
    for processes in (1, 2):
        out, script = tmp_path / f"of-{processes}", tmp_path / f"script-{processes}.py"
        names = {"lm": str(lm), "out": str(out), "processes": processes}
        script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), **names))
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
        done = subprocess.run(
            [sys.executable, *map(str, launch), str(script)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        weights = load_file(out / "model.safetensors")
        critic = load_file(out / "critic" / "model.safetensors")
        found.append(weights | {f"critic {name}": own for name, own in critic.items()})
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("found"))
        told.append(dict(ast.literal_eval(line.removeprefix("found "))))
    assert told[0] == pytest.approx(told[1])
    start = dict(load_causal_lm(str(lm), device="cpu")[0].named_parameters())
    moved = [(found[0][name] - own).abs().max() for name, own in start.items() if name in found[0]]
    assert max(moved) > 1e-3
    for name, values in found[0].items():
        assert torch.allclose(values, found[1][name], atol=2e-6), name
