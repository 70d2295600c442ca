"""Replay and reflection: what is kept, which groups get it, what is learned, what goes on."""

import ast
import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import OptionError
from policyrank.evidence.conversations import Conversation
from policyrank.learn.rewards import entropy_rank_reward
from policyrank.models.language import load_causal_lm
from policyrank.train import Replay
from policyrank.train.group_data import PromptRow
from policyrank.train.reflecting import ReflectedRow, reflected_row
from policyrank.train.replay_buffer import CHOICES, KeptOutput, ReplayBuffer, Visit

from .test_group import ROWS, Canned, logs_of, moved, numbers_in, trainer_of
from .test_ppo import trainer_of as ppo_trainer_of

HEADS = len("say a")


def output(ids=(7, 8, 9, 1), reward=1.0, solved=None, log_probs=None, at=0):
    solved = reward >= 1 if solved is None else solved
    where = (True,) * len(ids)
    return KeptOutput(tuple(ids), where, None, log_probs, reward, solved, True, at)


def nothing(completions, **columns):
    return [0.0] * len(completions)


def everything(completions, **columns):
    return [1.0] * len(completions)


def with_kept(trainer, *outputs, prompts=range(6)):
    for prompt in prompts:
        for own in outputs:
            trainer.replaying.buffer.add(prompt, own)
    return trainer


# What is kept


def test_a_buffer_keeps_so_many_of_each_side_and_forgets_the_old():
    buffer = ReplayBuffer(capacity=2, oldest=3)
    for at in range(4):
        buffer.add(5, output(reward=float(at % 2), at=at))
        buffer.visit(5, Visit(at, float(at), 2))
    assert [own.round for own in buffer.of(5, solved=True)] == [1, 3]
    assert [own.round for own in buffer.of(5, solved=False)] == [0, 2]
    assert not buffer.of(4, solved=True)
    assert buffer.mean_reward(5) == 6 / 8
    buffer.add(5, output(reward=0.0, at=4))
    assert [own.round for own in buffer.of(5, solved=False)] == [2, 4]
    buffer.forget(5)
    assert [own.round for own in buffer.of(5, solved=True)] == [3]
    assert buffer.mean_reward(5) == 5 / 4
    assert math.isnan(buffer.mean_reward(9))
    assert len(buffer) == 3


def test_which_are_replayed():
    rng = np.random.default_rng(0)
    kept = [
        output(reward=1.0, log_probs=(-1.0,) * 4, at=0),
        output(reward=1.5, log_probs=(-3.0,) * 4, at=1),
        output(reward=1.5, log_probs=(-2.0,) * 4, at=2),
    ]

    def rounds(choice, most=2):
        return [own.round for own in CHOICES[choice](kept, most, rng)]

    assert rounds("newest") == [2, 1]
    assert rounds("reward") == [2, 1]
    assert rounds("surest") == [0, 2]
    assert sorted(rounds("any", 5)) == [0, 1, 2]
    assert {tuple(rounds("any", 1)) for _ in range(50)} == {(0,), (1,), (2,)}
    with pytest.raises(OptionError, match="gives no log-probabilities"):
        CHOICES["surest"]([output()], 1, rng)


def test_a_buffer_comes_back_from_its_file(tmp_path):
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(capacity=5)
    for at in range(30):
        n = int(rng.integers(1, 6))
        where = tuple(bool(k) for k in rng.integers(2, size=n))
        made = KeptOutput(
            tuple(rng.integers(99, size=n).tolist()), where,
            tuple(rng.integers(3, size=n).tolist()) if at % 2 else None,
            tuple(rng.normal(size=n).tolist()) if at % 3 else None,
            float(rng.normal()), bool(rng.integers(2)), bool(rng.integers(2)), at,
            bool(rng.integers(2)),
        )  # fmt: skip
        buffer.add(int(rng.integers(3)), made)
        buffer.visit(int(rng.integers(3)), Visit(at, float(rng.normal()), 4))
    again = ReplayBuffer(capacity=5)
    again.add(7, output())
    buffer.save(tmp_path / "kept", {"a": 1})
    assert again.load(tmp_path / "kept") == {"a": 1}
    assert again == buffer
    empty = ReplayBuffer()
    empty.save(tmp_path / "empty", {})
    again.load(tmp_path / "empty")
    assert len(again) == 0


# Advantages


@pytest.mark.parametrize("damping", [1.0, 2.0])
def test_eight_failures_and_a_success_have_the_papers_advantages(lm, tmp_path, damping):
    """Sample deviation 1/3: -1/3 and 8/3; alpha = 2 halves both."""
    own = trainer_of(
        lm, tmp_path, nothing, sampler=Canned(), samples=8, per_device_train_batch_size=1,
        advantage_options={"epsilon": 0.0}, replay=Replay(most=1, damping=damping),
    )  # fmt: skip
    with_kept(own, output(), output(reward=0.0))
    (batch,) = own._sampled([numbers_in(own)]).batches
    first = batch["advantages"][:, 0]
    assert first.numpy() == pytest.approx([-1 / 3 / damping] * 8 + [8 / 3 / damping], abs=1e-6)
    assert batch["learns"][8].tolist()[:5] == [True] * 4 + [False]


def test_a_bonus_of_the_one_success_is_normalised_away(lm, tmp_path):
    own = trainer_of(
        lm, tmp_path, nothing, sampler=Canned(), samples=8, per_device_train_batch_size=1,
        advantage_options={"epsilon": 0.0}, replay=Replay(most=1),
    )  # fmt: skip
    with_kept(own, output(reward=1.75))
    (batch,) = own._sampled([numbers_in(own)]).batches
    assert batch["advantages"][7:, 0].numpy() == pytest.approx([-1 / 3, 8 / 3], abs=1e-6)


def test_groups_of_successes_get_failures_unless_told(lm, tmp_path):
    for sides, found in (("both", 5), ("solved", 4)):
        own = trainer_of(
            lm, tmp_path, everything, sampler=Canned(), per_device_train_batch_size=1,
            replay=Replay(most=1, sides=sides),
        )  # fmt: skip
        with_kept(own, output(), output(reward=0.0))
        (batch,) = own._sampled([numbers_in(own)]).batches
        assert len(batch["advantages"]) == found
        if sides == "both":
            assert batch["advantages"][0, 0] > 0 > batch["advantages"][4, 0]


def test_other_groups_are_as_they_were(lm, tmp_path):
    """One fails, one succeeds, one says something, one has nothing kept; counts tell which."""

    def some(completion_ids, letter, **columns):
        by = {"a": 0.0, "b": 1.0}
        own = [by.get(letter[0], k % 2) for k in range(len(completion_ids))]
        return [0.0] * len(own) if letter[0] == "d" else own

    options = {"sampler": Canned(), "per_device_train_batch_size": 6}
    plain = trainer_of(lm, tmp_path, some, **options)
    chosen = numbers_in(plain)
    (before,) = plain._sampled([chosen]).batches
    own = trainer_of(lm, tmp_path, some, replay=Replay(most=2), **options)
    with_kept(own, output(), output(reward=0.0, at=-3), prompts=range(3))
    (batch,) = own._sampled([chosen]).batches
    letters = [ROWS[k]["letter"] for k in chosen]
    told = [letter for letter in letters if letter not in "abd"]
    rows = {letter: k for k, letter in enumerate(x for x in letters if x != "d")}
    for k, letter in enumerate(told):
        here = batch["advantages"].reshape(5, 5, -1)[rows[letter]]
        there = before["advantages"].reshape(3, 4, -1)[k]
        assert torch.equal(here[:4, :8].nan_to_num(), there[:, :8].nan_to_num())
        assert not batch["learns"].reshape(5, 5, -1)[rows[letter], 4].any()
    counts = own.replaying.counts
    assert (counts.groups, counts.failed, counts.solved) == (6, 2, 1)
    assert (counts.replayed, counts.outputs, counts.missing) == (2, 2, 1)
    assert (counts.age, counts.oldest) == (3, 3)
    (line,) = counts.told(own.replaying.how)
    assert "2 got 2 outputs of earlier rounds, 1.5 rounds old on average and 3 at most" in line
    assert "for 1 none was kept" in line
    # All were kept once they had been compared.
    assert len(own.replaying.buffer) == 6 + 24


def test_a_group_never_replays_itself(lm, tmp_path):
    own = trainer_of(
        lm, tmp_path, nothing, sampler=Canned(), per_device_train_batch_size=6,
        replay=Replay(most=2),
    )  # fmt: skip
    own._sampled([numbers_in(own)])
    assert own.replaying.counts.missing == 6
    assert own.replaying.counts.outputs == 0
    assert all(len(own.replaying.buffer.of(k, solved=False)) == 4 for k in range(6))


# Gradients


def plain_gradient(lm, chosen, kept, weight_of, samples=4):
    """Of -mean over tokens of weight * log pi, each output in a row of its own."""
    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    made = Canned(known=True)(heads, samples, seed=0)
    total, loss = 0, 0.0
    for head, group in zip(heads, made, strict=True):
        rows = [(own.ids, False) for own in group] + [(kept.ids, True)]
        total += sum(len(ids) for ids, _ in rows)
        for ids, replayed in rows:
            whole = torch.tensor([[*head, *ids]])
            logits = model(whole).logits[0, len(head) - 1 : -1]
            log_probs = logits.log_softmax(-1).gather(1, whole[0, len(head) :, None])[:, 0]
            loss = loss - (weight_of(log_probs.detach(), replayed) * log_probs).sum()
    (loss / total).backward()
    return {name: own.grad for name, own in model.named_parameters()}


SD = (1 / 5) ** 0.5
"""Sample deviation of four failures and a success."""


@pytest.mark.parametrize("layout", ["shared", "rows"])
@pytest.mark.parametrize("ratio", ["fresh", "stored"])
def test_the_step_is_the_gradient_by_hand(lm, tmp_path, layout, ratio):
    """SGD of rate 1 moves by it; with stored log-probabilities what is beyond the clip is 0."""
    stored = (-1.0, -3.6, -9.0, -3.4)
    kept = output(log_probs=stored)
    own = trainer_of(
        lm, tmp_path, nothing, sampler=Canned(known=True), layout=layout, correction=None,
        advantage_options={"epsilon": 0.0}, objective_options={"clip": (0.2, 0.3)},
        replay=Replay(most=1, ratio=ratio),
    )  # fmt: skip
    chosen = numbers_in(own)
    with_kept(own, kept)
    found = moved(own)

    def weight_of(log_probs, replayed):
        gain = (0.8 if replayed else -0.2) / SD
        if not replayed or ratio == "fresh":
            return torch.full_like(log_probs, gain)
        times = (log_probs - torch.tensor(stored)).exp()
        return gain * times * (times <= 1.3)

    wanted = plain_gradient(lm, chosen, kept, weight_of)
    for name, values in wanted.items():
        assert found[name].numpy() == pytest.approx(values.numpy(), abs=2e-6), name


def test_a_replayed_success_becomes_likelier(lm, tmp_path):
    kept = output()
    own = trainer_of(
        lm, tmp_path, nothing, sampler=Canned(), learning_rate=0.05, replay=Replay(most=1)
    )
    chosen = numbers_in(own)
    with_kept(own, kept)

    def likely():
        head = own.train_dataset[chosen[0]].ids
        row = torch.tensor([[*head, *kept.ids]])
        with torch.no_grad():
            logits = own.model(row).logits[0, len(head) - 1 : -1]
        return float(logits.log_softmax(-1).gather(1, row[0, len(head) :, None]).sum())

    before = likely()
    own.train()
    assert likely() > before + 0.01


def test_servers_correct_what_they_sampled_themselves_alone(lm, tmp_path):
    """Weights of a replayed output are 1; the gap is of tokens of this round."""
    plain = trainer_of(lm, tmp_path, nothing, sampler=Canned(known=True), replay=Replay(most=1))
    with_kept(plain, output())
    plain.train()
    (log,) = logs_of(plain)
    assert math.isfinite(log["sampler_gap"])
    assert log["groups_replayed"] == 1
    assert log["silent"] == 1
    assert log["reward"] == 0
    assert log["replay_age"] == 0


# Rewards of entropy


def test_cut_failures_are_ranked_by_their_entropy(lm, tmp_path):
    options = {"sampler": Canned((5, 4, 6, 3), (False, True, False, False))}
    own = trainer_of(
        lm, tmp_path, nothing, per_device_train_batch_size=1, advantage="none",
        replay=Replay(most=0, entropy_reward=0.5, entropy_share=0.4), **options,
    )  # fmt: skip
    (number,) = numbers_in(own)
    (batch,) = own._sampled([[number]]).batches
    head = own.train_dataset[number].ids
    (group,) = options["sampler"]([head], 4, seed=0)
    entropies = torch.zeros(4, 6)
    for k, made in enumerate(group):
        with torch.no_grad():
            logits = own.model(torch.tensor([[*head, *made.ids]])).logits[0, len(head) - 1 : -1]
        log_probs = logits.log_softmax(-1)
        entropies[k, : len(made.ids)] = -(log_probs.exp() * log_probs).sum(-1)
    where = torch.arange(6) < torch.tensor([[5], [4], [6], [3]])
    wanted = entropy_rank_reward(
        entropies, where, torch.zeros(4).long(), torch.tensor([1, 0, 1, 1]), torch.zeros(4),
        share=0.4, most=0.5,
    )  # fmt: skip
    assert wanted.unique().numel() > 1
    assert batch["advantages"][:, 0].numpy() == pytest.approx(wanted.numpy(), abs=1e-6)
    assert own.replaying.counts.failed == 1  # by their outcomes, not by these rewards
    assert {kept.reward for kept in own.replaying.buffer.of(number, solved=False)} == {0.0}


# Reflection


def test_hard_prompts_are_asked_again_with_a_failed_answer(lm, tmp_path):
    asked = []

    def some(prompts, completion_ids, letter, **columns):
        asked.append((prompts[0], letter[0]))
        return [float(len(prompts[0]) > HEADS)] * len(prompts)

    own = trainer_of(
        lm, tmp_path, some, sampler=Canned(), max_length=48, per_device_train_batch_size=2,
        replay=Replay(most=1, hard=0.5, reflection="{prompt} not {answer} so {reward}"),
    )  # fmt: skip
    failed = output(ids=(5, 6, 1), reward=0.25)
    chosen = numbers_in(own)
    with_kept(own, failed, prompts=chosen[:1])
    own.replaying.buffer.visit(chosen[0], Visit(-1, 1.0, 4))
    own.replaying.buffer.visit(chosen[1], Visit(-1, 3.0, 4))  # not hard
    (batch,) = own._sampled([chosen]).batches
    letters = [ROWS[k]["letter"] for k in chosen]
    again = f"say {letters[0]} not c d so 0 25".replace("0 25", "0.25")
    assert asked == [*((f"say {c}", c) for c in letters), (asked[2][0], letters[0])]
    assert asked[2][0].replace(" ", "") == again.replace(" ", "")
    assert own.replaying.counts.reflections == own.replaying.counts.answered == 1
    # Its successes are the original prompt's, and do not count as how that fared.
    kept = own.replaying.buffer.of(chosen[0], solved=True)
    assert len(kept) == 4
    assert all(one.reflected for one in kept)
    assert own.replaying.buffer.mean_reward(chosen[0]) == 1 / 8
    # In the next round they are replayed where the original fails.
    asked.clear()
    own.replaying.how = replace(own.replaying.how, hard=None)
    (batch,) = own._sampled([chosen[:1]]).batches
    assert len(batch["advantages"]) == 5
    assert batch["advantages"][4, 0] > 0


def test_reports_are_of_the_prompts_themselves(lm, tmp_path):
    def some(prompts, **columns):
        return [5.0 if len(prompts[0]) > HEADS else -1.0] * len(prompts)

    shown = []
    own = trainer_of(
        lm, tmp_path, some, sampler=Canned(), max_length=64, show=shown.extend,
        replay=Replay(most=0, hard=0.5, reflection="{prompt} b {answer}"),
    )  # fmt: skip
    with_kept(own, output(reward=0.0))
    for prompt in range(6):
        own.replaying.buffer.visit(prompt, Visit(-1, 0.0, 4))
    own.train()
    (log,) = logs_of(own)
    assert log["reward"] == -1
    assert log["reflected_reward"] == 5
    assert log["reflections"] == 2
    assert len(shown) == 2


def test_an_answer_is_cut_to_its_room(lm):
    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    row = PromptRow(3, "say a", tokenizer("say a")["input_ids"], {"letter": "a"})
    failed = output(ids=tuple(range(3, 23)), reward=0.0)

    def made(room, prompt="say a", template="{prompt} {answer} b"):
        own = replace(row, prompt=prompt)
        return reflected_row(own, failed, tokenizer, template, room=room, chat=None)

    whole, short = made(200), made(30)
    assert (type(short), short.number, short.columns) == (ReflectedRow, 3, {"letter": "a"})
    assert len(short.ids) <= 30 < len(whole.ids)
    assert short.prompt[:12] == whole.prompt[:12]
    assert short.prompt.endswith(" b")
    assert short.ids == tokenizer(short.prompt)["input_ids"]
    assert made(8).ids == tokenizer("say a  b")["input_ids"]
    assert made(7) is None
    # What is filled in is not looked at again.
    assert "{answer}" in made(200, "say {answer}").prompt.replace(" ", "")


def test_the_last_message_of_a_chat_is_asked_again(lm):
    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    failed = output(ids=(5, 1), reward=0.0)

    def made(prompt):
        row = PromptRow(0, prompt, [3], {})
        return reflected_row(row, failed, tokenizer, "{prompt} {answer}", room=99, chat=True)

    messages = ({"role": "system", "content": "b"}, {"role": "user", "content": "a"})
    found = made(Conversation(messages, options={"x": 1}))
    assert [message["content"] for message in found.prompt] == ["b", "a c"]
    assert found.prompt.options == {"x": 1}
    assert [message["content"] for message in made(list(messages)).prompt] == ["b", "a c"]
    assert made([*messages, {"role": "assistant", "content": "c"}]) is None
    assert made(Conversation(messages, transcript="b a")) is None


def test_ppo_asks_again(lm, tmp_path):
    def some(prompts, **columns):
        return [float(len(prompts[0]) > HEADS)] * len(prompts)

    how = Replay(most=0, hard=0.5, reflection="{prompt} b {answer}")
    own = ppo_trainer_of(lm, tmp_path, some, max_length=64, max_steps=4, replay=how)
    own.train()
    counts = own.replaying.counts
    assert counts.reflections == counts.answered >= 2
    assert counts.groups == 8
    assert all(log["reward"] == 0 for log in logs_of(own))
    with pytest.raises(OptionError, match="no group is silent"):
        ppo_trainer_of(lm, tmp_path, some, replay=Replay())


# Runs


def test_a_run_goes_on_with_what_was_kept(lm, tmp_path):
    """To the same bits, inside a round and between, and with the same counts."""
    options = {
        "optim": "adamw_torch", "learning_rate": 0.01, "max_steps": 24, "passes": 2,
        "save_strategy": "steps", "save_steps": 1, "save_total_limit": 30, "max_length": 60,
        "objective": "grpo",
        "replay": Replay(
            most=2, hard=0.5, oldest=4, ratio="stored", entropy_reward=0.2,
            reflection="{prompt} b {answer}",
        ),
    }  # fmt: skip

    def letters(completions, **columns):
        return [float(text.count("a") + text.count("b") > 1) for text in completions]

    whole = trainer_of(lm, tmp_path / "whole", letters, **options)
    whole.train()
    counts = whole.replaying.counts
    assert counts.outputs > 2
    assert counts.reflections > 2
    assert counts.age > counts.outputs
    for step in (1, 12, 17, 22):
        again = trainer_of(lm, tmp_path / "whole", letters, **options)
        again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        for name, weights in again.model.named_parameters():
            assert torch.equal(weights, whole.model.get_parameter(name)), (step, name)
        assert again.replaying.counts == counts
        assert again.replaying.buffer == whole.replaying.buffer
    from policyrank.errors import EvidenceError

    other = options | {"replay": replace(options["replay"], most=1)}
    with pytest.raises(EvidenceError, match="most"):
        trainer_of(lm, tmp_path / "whole", letters, **other).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("replay", "options", "said"),
    [
        ({"most": -1}, {}, "most=-1"),
        ({"capacity": 0}, {}, "capacity=0"),
        ({"oldest": 0}, {}, "oldest=0"),
        ({"choice": "zzz"}, {}, "any, newest, reward, surest"),
        ({"sides": "zzz"}, {}, "both, solved"),
        ({"ratio": "zzz"}, {}, "fresh, stored"),
        ({"damping": 0}, {}, "damping=0"),
        ({"damping": 2}, {"advantage": "rloo"}, "'grpo'"),
        ({"solved": math.inf}, {}, "solved=inf"),
        ({"entropy_reward": 1.0}, {}, "worth as much"),
        ({"entropy_share": 0.0}, {}, "entropy_share"),
        ({"reflection": "{prompt}"}, {}, "lacks {answer}"),
        ({}, {"objective": "dpo"}, "ranks whole groups"),
        ({}, {"advantage": "batch"}, "batch"),
        ({}, {"reward_kl": 0.1}, "reward_kl"),
        ({"entropy_reward": 0.1}, {"mask_cut": True}, "mask_cut"),
    ],
)
def test_what_does_not_go_together_is_refused(lm, tmp_path, replay, options, said):
    with pytest.raises(OptionError, match=said):
        trainer_of(lm, tmp_path, replay=Replay(**replay), **options)


def test_what_cannot_be_replayed_is_refused(lm, tmp_path):
    own = trainer_of(lm, tmp_path, nothing, sampler=Canned(), replay=Replay(ratio="stored"))
    with pytest.raises(OptionError, match="gives no log-probabilities"):
        own.train()

    def parts(group):
        return torch.zeros(len(group), 2)

    own = trainer_of(
        lm, tmp_path, parts, replay=Replay(), segments=lambda rollouts: rollouts.where.long()
    )
    with pytest.raises(OptionError, match="rewards are of segments"):
        own.train()


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from train.test_group import Canned, trainer_of
from policyrank.train import Replay
from policyrank.models.sampling import Sampled

def some(completion_ids, prompts, letter, **columns):
    found = [float((sum(ids) + len(prompts[0])) % 5 == 0) for ids in completion_ids]
    return [0.0] * len(found) if letter[0] in "ab" and len(prompts[0]) < 6 else found

own = trainer_of(
    {lm!r}, {out!r}, some, sampler=Canned(known=True), max_length=64,
    per_device_train_batch_size=4 // {processes}, passes=2, max_steps=8,
    replay=Replay(most=2, hard=0.3, reflection="{{prompt}} b {{answer}}"),
)
own.train()
if own.is_world_process_zero():
    print("found", sorted(vars(own.replaying.counts).items()))
own.save_model({out!r})
"""


@pytest.mark.slow
def test_two_processes_replay_what_one_does(lm, tmp_path):
    """Whatever a process sampled is known to all: prompts change hands between epochs."""
    from pathlib import Path

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
        found.append(load_file(out / "model.safetensors"))
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("found"))
        told.append(dict(ast.literal_eval(line.removeprefix("found "))))
    assert told[0] == told[1]
    assert told[0]["outputs"] > 2
    assert told[0]["reflections"] > 2
    assert json.dumps(told[0])
    assert all(torch.allclose(found[0][k], found[1][k], atol=2e-6) for k in found[0])
