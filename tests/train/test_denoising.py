"""Learning to denoise: the gradient step by step, its memory, what it says nothing of, resuming."""

import copy
import os
import subprocess
import sys
import weakref

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import PolicyObjective, group_advantage
from policyrank.models import load_masked_lm
from policyrank.models.unmasking_policy import add_policy, policy_of
from policyrank.train import MaskedDiffusionConfig, MaskedDiffusionTrainer

ROWS = [{"prompt": text} for text in ("abc", "de", "fgh", "ij", "k l", "mnop")]


def vowels(completions, **columns):
    return [sum(text.count(c) for c in "aeiou") + 0.01 * len(text) for text in completions]


def trainer_of(folder, masked_lm, rewards=vowels, rows=ROWS, model=None, **options):
    """A trainer of the tiny model in plain steps: a step of 1 takes the gradient off."""
    more = {k: options.pop(k) for k in ("reference_model", "show", "eval_dataset") if k in options}
    loaded, tokenizer = load_masked_lm(str(masked_lm), device="cpu")
    given = {
        "samples": 4, "tokens": 6, "denoising_steps": 3, "max_length": 32, "optim": "sgd",
        "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0,
        "per_device_train_batch_size": 3, "report_to": [], "disable_tqdm": True, "use_cpu": True,
        "max_steps": 1, "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    args = MaskedDiffusionConfig(str(folder), **given | options)
    return MaskedDiffusionTrainer(
        loaded if model is None else model, args, rewards, rows, processing_class=tokenizer, **more
    )


def moved(trainer):
    """The gradient of one step, as its weights moved."""
    before = {name: own.detach().clone() for name, own in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    return {name: before[name] - after[name].detach() for name in before}


def near(found, expected, within=1e-4):
    gap = sum(float((found[name] - own).square().sum()) for name, own in expected.items()) ** 0.5
    size = sum(float(own.square().sum()) for own in expected.values()) ** 0.5
    assert size > 0
    assert gap / size < within, gap / size


def published(trainer, rounds):
    """The loss of the paper's code, in one graph: rows and positions one at a time."""
    model, args = trainer.model, trainer.args
    mask, count = trainer.processing_class.mask_token_id, args.denoising().count
    policy, total, answers = policy_of(model), torch.zeros(()), 0
    for group, rewards in rounds:
        gains = group_advantage(torch.tensor(rewards), scale="sample")
        for own, gain in zip(group, gains.tolist(), strict=True):
            answers += 1
            prompt, tokens = own[0], own[1]
            for step in range(1, count + 1):
                masked = torch.tensor([[k >= step for k in tokens.steps]])
                here = [k for k in range(args.tokens) if tokens.steps[k] == step]
                here.sort(key=lambda k, own=tokens: own.places[k])
                number = tokens.blocks[here[0]]
                block = torch.tensor([[k == number for k in tokens.blocks]])
                ids = list(prompt)
                for k in range(args.tokens):
                    ids.append(mask if masked[0, k] else tokens.ids[k])
                said = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
                logits = said.logits[0, len(prompt) :].clone()
                logits[:, mask] = -torch.inf
                logs = (logits / args.temperature).log_softmax(-1)
                log = sum(logs[k, tokens.ids[k]] for k in here)
                if args.order == "learned":
                    hidden = said.hidden_states[-1][:, len(prompt) :]
                    time = torch.tensor([(step - 1) / count])
                    scores = policy(hidden, time, masked, block)[0]
                    left = [k for k in range(args.tokens) if masked[0, k] and block[0, k]]
                    if len(left) > len(here):
                        for k in here:
                            log = log + scores[k] - scores[left].logsumexp(0)
                            left.remove(k)
                total = total - gain * log / count
    return total / answers


def kept_samples(trainer):
    """What the trainer samples, a group at a time: answers with their prompts, and rewards."""
    made, sampler = [], trainer.groups.sampler

    def sampled(heads, samples, *, seed):
        found = sampler(heads, samples, seed=seed)
        for head, group in zip(heads, found, strict=True):
            texts = [own.text for own in group]
            made.append(([(head, own) for own in group], vowels(texts)))
        return found

    object.__setattr__(trainer.groups, "sampler", sampled)
    return made


@pytest.mark.parametrize(
    "options",
    [
        {"choice": "order", "order": "learned"},
        {"choice": "order", "denoising_steps": 4, "block": 3, "temperature": 0.7},
        {"order": "random"},
        {"choice": "order", "gradient_accumulation_steps": 3, "per_device_train_batch_size": 1},
    ],
)
def test_the_gradient_is_the_published_one(masked_lm, tmp_path, options):
    """Step by step and in batches, against one graph of single answers."""
    trainer = trainer_of(tmp_path, masked_lm, **options)
    made = kept_samples(trainer)
    start = {name: own.detach().clone() for name, own in trainer.model.named_parameters()}
    found = moved(trainer)
    assert len(made) == 3
    assert all(len(set(rewards)) > 1 for _, rewards in made)
    with torch.no_grad():
        for name, own in trainer.model.named_parameters():
            own.copy_(start[name])
    trainer.model.zero_grad()
    published(trainer, made).backward()
    expected = {}
    for name, own in trainer.model.named_parameters():
        expected[name] = torch.zeros_like(own) if own.grad is None else own.grad
    near(found, expected)
    learned = trainer.args.order == "learned"
    assert any(
        "unmasking_policy" in name and own.abs().max() > 0 for name, own in found.items()
    ) == (learned)


def test_sets_have_another_gradient_than_orders(masked_lm, tmp_path):
    """The same answers: tokens teach the same, positions by what came of them."""
    by_set = moved(trainer_of(tmp_path, masked_lm, choice="set"))
    by_order = moved(trainer_of(tmp_path, masked_lm, choice="order"))
    name = "unmasking_policy.score.weight"
    assert not torch.allclose(by_set[name], by_order[name], rtol=1e-2)
    one = {"denoising_steps": 6}
    near(
        moved(trainer_of(tmp_path, masked_lm, choice="set", **one)),
        moved(trainer_of(tmp_path, masked_lm, choice="order", **one)),
    )


def peak_of(trainer):
    """The most bytes that are kept for backward at one time while it learns."""
    now, most = [0], [0]

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    def pack(tensor):
        kept, size = Kept(tensor), tensor.numel() * tensor.element_size()
        now[0] += size
        most[0] = max(most[0], now[0])
        weakref.finalize(kept, lambda: now.__setitem__(0, now[0] - size))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        trainer.train()
    assert now[0] == 0
    return most[0]


def test_memory_does_not_grow_with_steps(masked_lm, tmp_path):
    """Twelve steps keep what two do, but for which rows say something."""
    rows = [{"prompt": "abc"}] * 3
    peaks = {}
    for steps in (2, 4, 12):
        trainer = trainer_of(tmp_path, masked_lm, rows=rows, tokens=12, denoising_steps=steps)
        peaks[steps] = peak_of(trainer)
    assert max(peaks.values()) < 1.2 * min(peaks.values())


def test_later_passes_have_ratios_to_the_policy_that_sampled(masked_lm, tmp_path):
    """A ratio is a step's; the clip binds once the policy has moved."""
    model, _ = load_masked_lm(str(masked_lm), device="cpu")
    add_policy(model)
    trainer = trainer_of(
        tmp_path, masked_lm, model=model, passes=3, max_steps=3, learning_rate=0.05,
        objective="ppo",
    )  # fmt: skip
    trainer.train()
    logs = [record for record in trainer.state.log_history if "ratio" in record]
    assert [record["ratio"] for record in logs[:1]] == [1]
    assert logs[2]["ratio"] != 1
    assert logs[2]["clip_share"] > 0
    batch = trainer._round.batches[0]
    assert batch["old"].shape == batch["advantages"].shape == (12, 3)


def test_the_derivative_is_the_objectives_own(masked_lm, tmp_path):
    """With ratios and KL: weights of steps times their log-probabilities have its gradient."""
    model, _ = load_masked_lm(str(masked_lm), device="cpu")
    add_policy(model)
    with torch.no_grad():
        other = trainer_of(tmp_path, masked_lm).model
        for own in other.parameters():
            own.add_(0.02 * torch.randn(own.shape, generator=torch.Generator().manual_seed(5)))
    trainer = trainer_of(
        tmp_path, masked_lm, model=model, objective="grpo", objective_options={"beta": 0.3},
        reference_model=other,
    )  # fmt: skip
    trainer.train()
    batch = dict(trainer._round.batches[0])
    batch["old"] = batch["kept_to"] + 0.1
    _, weights = trainer._weighed(trainer.model, batch)
    trainer.model.zero_grad()
    rows = torch.arange(12)
    for step in (1, 2, 3):
        for own in trainer.likely.together(batch, rows):
            log = trainer.likely.of_step(trainer.model, batch, own, step)
            (log * weights[own, step - 1]).sum().backward()
    named = list(trainer.model.named_parameters())
    grown = [(name, own) for name, own in named if own.grad is not None]
    found = {name: own.grad.clone() for name, own in grown}
    trainer.model.zero_grad()
    log_probs, _ = trainer.likely.read(trainer.model, batch)
    PolicyObjective(average="sequence", beta=0.3)(
        log_probs, batch["advantages"], batch["learns"], old=batch["old"],
        reference=batch["kept_to"],
    ).loss.backward()  # fmt: skip
    near(found, {name: own.grad for name, own in grown})
    assert any(record.get("kl", 0) > 0 for record in trainer.state.log_history)


def test_kl_that_is_taken_from_rewards(masked_lm, tmp_path):
    """Of whole answers: the sum over steps of log-ratios to the reference."""
    other, _ = load_masked_lm(str(masked_lm), device="cpu")
    add_policy(other, seed=7)
    with torch.no_grad():
        other.cls.predictions.bias.add_(torch.linspace(0, 1, len(other.cls.predictions.bias)))
    trainer = trainer_of(
        tmp_path, masked_lm, lambda completions, **_: [0.0] * len(completions),
        reward_kl=0.5, advantage="dr-grpo", reference_model=other,
    )  # fmt: skip
    trainer.train()
    batch = trainer._round.batches[0]
    gap = (batch["old"] - batch["kept_to"]).sum(dim=-1)
    expected = group_advantage(-0.5 * gap, torch.arange(3).repeat_interleave(4))
    assert torch.allclose(batch["advantages"], expected[:, None].expand(-1, 3), atol=1e-5)
    assert gap.std() > 0.1
    again = trainer_of(tmp_path, masked_lm)
    with torch.no_grad():
        log_probs, _ = again.likely.read(again.model, batch)
    assert torch.allclose(log_probs, batch["old"], atol=1e-5)


def test_a_step_does_not_see_what_came_later(masked_lm, tmp_path):
    trainer = trainer_of(tmp_path, masked_lm)
    trainer.train()
    batch = trainer._round.batches[0]
    with torch.no_grad():
        before, _ = trainer.likely.read(trainer.model, batch)
        for step in (1, 2, 3):
            late = batch["steps"] > step
            tail = batch["ids"][:, -6:]
            other = dict(batch)
            other["ids"] = torch.cat([batch["ids"][:, :-6], torch.where(late, 7, tail)], dim=1)
            after, _ = trainer.likely.read(trainer.model, other)
            assert torch.equal(before[:, :step], after[:, :step])
            if step < 3:
                assert not torch.equal(before[:, step:], after[:, step:])


def test_rewards_of_steps(masked_lm, tmp_path):
    """A reward may say something of each step: then each has its own advantage."""

    def of_steps(group):
        assert group.segments.max() == 3
        values = torch.zeros(len(group), 3)
        values[:, 1] = torch.arange(len(group))
        return values

    trainer = trainer_of(tmp_path, masked_lm, rewards=of_steps)
    trainer.train()
    gains = trainer._round.batches[0]["advantages"]
    assert (gains[:, [0, 2]] == 0).all()
    assert gains[:4, 1].tolist() == pytest.approx([-1.1618, -0.3873, 0.3873, 1.1618], abs=1e-3)


def test_what_says_nothing_changes_nothing(masked_lm, tmp_path):
    silent = moved(trainer_of(tmp_path, masked_lm, rewards=lambda completions, **_: [1.0] * 4))
    assert all(float(own.abs().max()) == 0 for own in silent.values())

    def one_tells(completions, prompts, **columns):
        return vowels(completions) if prompts[0] == "abc" else [0.0] * len(completions)

    trainer = trainer_of(tmp_path, masked_lm, rewards=one_tells, per_device_train_batch_size=6)
    assert any(float(own.abs().max()) > 0 for own in moved(trainer).values())
    assert len(trainer._round.batches[0]["ids"]) == 4


def test_it_learns_and_says_so_in_both_modes(masked_lm, tmp_path):
    shown = []
    trainer = trainer_of(
        tmp_path, masked_lm, rows=[{"prompt": "ab"}] * 4, max_steps=40, optim="adamw_torch",
        learning_rate=0.01, samples=8, per_device_train_batch_size=4, show=shown.extend,
        eval_dataset=[{"prompt": "ab"}] * 4,
    )  # fmt: skip
    assert trainer.notes[0] == "the model has no unmasking policy: a new one was drawn"
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_reward"] > before["eval_reward"] + 1
    assert after["eval_greedy_reward"] > before["eval_greedy_reward"]
    assert shown[0].keys() >= {"prompt", "completion", "reward", "step"}
    assert trainer.evaluate([{"prompt": "ab"}] * 4)["eval_reward"] == after["eval_reward"]
    trainer.save_model(str(tmp_path / "saved"))
    trainer.processing_class.save_pretrained(tmp_path / "saved")
    again, _ = load_masked_lm(str(tmp_path / "saved"), device="cpu")
    for name, own in trainer.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], own), name


def test_it_goes_on_where_it_was_stopped(masked_lm, tmp_path):
    """In the middle of a round of two passes, to the last bit."""
    options = {
        "max_steps": 6, "passes": 2, "steps_per_round": 2, "save_strategy": "steps",
        "save_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 0.05,
    }  # fmt: skip
    whole = trainer_of(tmp_path, masked_lm, **options)
    whole.train()
    for folder in tmp_path.glob("checkpoint-6"):
        folder.rename(tmp_path / "aside")
    again = trainer_of(tmp_path, masked_lm, **options)
    again.train(resume_from_checkpoint=True)
    for name, own in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], own), name
    other = trainer_of(tmp_path, masked_lm, **options | {"choice": "order"})
    with pytest.raises(EvidenceError, match="choice"):
        other.train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top_k": 5}, "top_k=5: not of masked diffusion"),
        ({"layout": "rows"}, "layout='rows'"),
        ({"correction": 1.0}, "correction"),
        ({"choice": "sets"}, "choice='sets'"),
        ({"tokens": 22, "denoising_steps": 2}, "a step unmasks 11 tokens"),
        ({"block": 4}, "block=4"),
        ({"denoising_steps": 7}, "steps=7"),
        ({"order": "best"}, "order='best'"),
        ({"objective": "segment-grpo"}, "segment"),
        ({"objective_options": {"entropy_weight": 0.1}}, "entropy_weight"),
        ({"objective": "lipo-lambda"}, "'lipo-lambda': not of masked diffusion"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_options_that_do_not_fit(masked_lm, tmp_path, options, told):
    with pytest.raises(OptionError, match=told):
        trainer_of(tmp_path, masked_lm, **options)


def test_what_a_length_is(tmp_path):
    given = {"tokens": 12, "denoising_steps": 4, "objective": "dr-grpo"}
    assert MaskedDiffusionConfig(str(tmp_path), **given).group_objective().length == 4
    told = {"objective_options": {"length": 9}}
    assert MaskedDiffusionConfig(str(tmp_path), **given | told).group_objective().length == 9


def test_other_arguments_are_refused(masked_lm, tmp_path):
    args = MaskedDiffusionConfig(str(tmp_path), use_cpu=True, report_to=[])
    for wrong in ({"peft_config": 1}, {"sampler": 1}, {"segments": 1}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            MaskedDiffusionTrainer(str(masked_lm), args, vowels, ROWS, **wrong)
    with pytest.raises(OptionError, match="give MaskedDiffusionConfig"):
        MaskedDiffusionTrainer(str(masked_lm), transformers.TrainingArguments(str(tmp_path)))
    model, _ = load_masked_lm(str(masked_lm), device="cpu")
    with pytest.raises(OptionError, match="no tokenizer"):
        MaskedDiffusionTrainer(model, args, vowels, ROWS)


def canned(trainer):
    """Answers by the model as it began, the same to a prompt in any process and round."""
    start = copy.deepcopy(trainer.groups.sampler)

    def sampled(heads, samples, *, seed):
        return [start([head], samples, seed=sum(head))[0] for head in heads]

    object.__setattr__(trainer.groups, "sampler", sampled)
    return trainer


def on_some(prompts, completions, **columns):
    return vowels(completions) if prompts[0] in ("abc", "fgh", "ij") else [0.0] * len(completions)


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from test_denoising import canned, on_some, trainer_of
own = canned(trainer_of(
    {out!r}, {lm!r}, on_some, per_device_train_batch_size=4 // {processes}, passes=2, max_steps=3,
    learning_rate=0.1, objective_options={{"beta": 0.1}}, order={order!r},
))
own.train()
own.save_model({out!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ["learned", "random"])
def test_two_processes_train_to_the_weights_of_one(masked_lm, tmp_path, order):
    """Three steps, the last in another round, with groups that say nothing."""
    from safetensors.torch import load_file

    found = []
    for processes in (1, 2):
        out, script = tmp_path / f"of-{processes}", tmp_path / f"script-{processes}.py"
        names = {"lm": str(masked_lm), "out": str(out), "processes": processes, "order": order}
        script.write_text(SCRIPT.format(here=os.path.dirname(__file__), **names))
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
    assert any("unmasking_policy" in name for name in found[0]) == (order == "learned")
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], atol=1e-5), name


def test_in_half_precision_and_with_less_memory(masked_lm, tmp_path):
    """bf16 computes nearly the same, checkpointing of gradients the same."""
    trained = canned(trainer_of(tmp_path, masked_lm))
    plain = moved(trained)
    near(moved(canned(trainer_of(tmp_path, masked_lm, gradient_checkpointing=True))), plain)
    batch = trained._round.batches[0]
    found = []
    for bf16 in (False, True):
        own = trainer_of(tmp_path, masked_lm, bf16=bf16)
        with torch.no_grad():
            found.append(own.likely.read(own.model, batch)[0])
        assert own.model.dtype == torch.float32
    assert 0 < (found[0] - found[1]).abs().mean() < 0.02 * found[0].abs().mean()
    own.train()
