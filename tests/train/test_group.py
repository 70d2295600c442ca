"""Learning from groups: TRL's own gradient, what must not move, what fails, and what is told."""

import ast
import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import PolicyObjective, Rewards
from policyrank.learn.rewards import normalised
from policyrank.models.language import load_causal_lm
from policyrank.models.provenance import about
from policyrank.models.sampling import Sampled
from policyrank.train.group import GroupTrainer
from policyrank.train.group_config import GroupConfig

ROWS = [{"prompt": f"say {c}", "letter": c} for c in "abcdef"]


class Canned:
    """A sampler that gives the same outputs to a prompt each time."""

    def __init__(self, lengths=(5, 3, 6, 1), ended=(True, True, False, True), known=False, seed=0):
        self.lengths, self.ended, self.known, self.seed = lengths, ended, known, seed
        self.asked = []

    def __call__(self, heads, samples, *, seed):
        self.asked.append((len(heads), samples, seed))
        made = []
        for head in heads:
            rng = np.random.default_rng([self.seed, *head])
            group = []
            for k in range(samples):
                n = self.lengths[k % len(self.lengths)]
                ids = tuple(int(token) for token in rng.integers(3, 35, size=n))
                known = tuple(rng.normal(-3, 0.3, size=n)) if self.known else None
                group.append(Sampled(f"{ids}", ids, self.ended[k % len(self.ended)], known))
            made.append(group)
        return made


def by_length(completions, completion_ids, **columns):
    return [sum(ids) % 7 / 3 for ids in completion_ids]


def trainer_of(lm, folder, rewards=by_length, rows=ROWS, sampler=None, model=None, **options):
    """A trainer of the tiny model in plain steps: a step of 1 takes the gradient off."""
    of_trainer = {"reference_model", "segments", "show", "peft_config", "eval_dataset", "replay"}
    more = {name: options.pop(name) for name in of_trainer & options.keys()}
    loaded, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    given = {
        "samples": 4, "tokens": 8, "max_length": 32, "optim": "sgd", "learning_rate": 1.0,
        "lr_scheduler_type": "constant", "max_grad_norm": 0, "per_device_train_batch_size": 2,
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "max_steps": 1,
        "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    args = GroupConfig(str(folder), **given | options)
    return GroupTrainer(
        loaded if model is None else model, args, rewards, rows, processing_class=tokenizer,
        sampler=sampler, **more,
    )  # fmt: skip


def weights_of(trainer):
    return {name: own.detach().clone() for name, own in trainer.model.named_parameters()}


def moved(trainer):
    """The gradient of one step, as its weights moved."""
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    return {name: before[name] - after[name] for name in before}


def logs_of(trainer):
    return [record for record in trainer.state.log_history if "reward" in record]


def numbers_in(trainer):
    """The prompts of the first step, in their order."""
    return list(iter(trainer._order()))[: trainer.args.per_device_train_batch_size]


def trl_gradient(lm, folder, chosen, advantages, sampler, reference=None, **options):
    """What TRL's trainer makes of the same samples with the same advantages."""
    trl = pytest.importorskip("trl")
    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    tokenizer.pad_token = tokenizer.eos_token
    args = trl.GRPOConfig(
        str(folder), num_generations=4, per_device_train_batch_size=8, report_to=[], use_cpu=True,
        bf16=False, max_completion_length=8, **options,
    )  # fmt: skip
    data = [{"prompt": row["prompt"]} for row in ROWS]
    from datasets import Dataset

    theirs = trl.GRPOTrainer(
        model, reward_funcs=[by_length], args=args, train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
    )  # fmt: skip
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    flat = [(h, own) for h, g in zip(heads, sampler(heads, 4, seed=0), strict=True) for own in g]
    wide, long = max(map(len, heads)), max(len(own.ids) for _, own in flat)

    def padded(rows, width, left):
        out, mask = torch.zeros(len(rows), width).long(), torch.zeros(len(rows), width).long()
        for k, row in enumerate(rows):
            own = slice(width - len(row), width) if left else slice(0, len(row))
            out[k, own], mask[k, own] = torch.tensor(row), 1
        return out, mask

    prompts, prompt_mask = padded([head for head, _ in flat], wide, True)
    completions, mask = padded([own.ids for _, own in flat], long, False)
    inputs = {
        "prompt_ids": prompts, "prompt_mask": prompt_mask, "completion_ids": completions,
        "completion_mask": mask, "advantages": advantages, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    theirs.model.train()
    theirs.current_gradient_accumulation_steps = 1
    if reference is not None:
        ids, shown = torch.cat([prompts, completions], 1), torch.cat([prompt_mask, mask], 1)
        places = (shown.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = reference(input_ids=ids, attention_mask=shown, position_ids=places).logits
        kept = (logits[:, wide - 1 : -1] / args.temperature).log_softmax(-1)
        inputs["ref_per_token_logps"] = kept.gather(-1, completions[..., None]).squeeze(-1)
    theirs._compute_loss(theirs.model, inputs).backward()
    return {name: own.grad for name, own in theirs.model.named_parameters()}


def other_model(lm):
    """The tiny model with other weights."""
    model, _ = load_causal_lm(str(lm), device="cpu")
    torch.manual_seed(5)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    return model


def gains_of(trainer, chosen, sampler):
    """Rewards less their mean, over their deviation and 1e-4: (prompts, samples)."""
    heads = [trainer.train_dataset[k].ids for k in chosen]
    ids = [[out.ids for out in group] for group in sampler(heads, 4, seed=0)]
    rewards = torch.tensor([by_length(None, group) for group in ids])
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-4)


def norm(gradient):
    return math.sqrt(sum(float((own**2).sum()) for own in gradient.values() if own is not None))


@pytest.mark.parametrize(
    ("objective", "theirs"),
    [
        ("dapo", {"loss_type": "dapo", "epsilon_high": 0.28}),
        ("grpo", {"loss_type": "grpo"}),
        ("dr-grpo", {"loss_type": "dr_grpo"}),
        ("gspo", {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
    ],
)
@pytest.mark.parametrize(("layout", "beta"), [("shared", 0.3), ("rows", 0.0)])
def test_the_gradient_is_trls(lm, tmp_path, objective, theirs, layout, beta):
    sampler, reference = Canned(), other_model(lm) if beta else None
    own = trainer_of(
        lm, tmp_path, sampler=sampler, objective=objective, layout=layout, temperature=0.8,
        objective_options={"beta": beta, "weighted_divergence": True}, reference_model=reference,
    )  # fmt: skip
    chosen = numbers_in(own)
    gains = gains_of(own, chosen, sampler)
    found = moved(own)
    assert own.likely.collate.layout == layout
    wanted = trl_gradient(
        lm, tmp_path, chosen, gains.flatten(), sampler, reference, temperature=0.8, beta=beta,
        **theirs,
    )  # fmt: skip
    apart = norm({name: found[name] - wanted[name] for name in found})
    assert norm(wanted) > 0.1
    assert apart < 1e-5 * max(norm(wanted), 1.0)


def equal(completions, **columns):
    return [0.3] * len(completions)


@pytest.mark.parametrize("advantage", ["grpo", "rloo", "ranks", "batch"])
def test_groups_that_agree_move_nothing(lm, tmp_path, advantage):
    """Neither policy nor KL gradient, no NaN; only if they are to be kept the KL counts."""
    for keep in (False, True):
        own = trainer_of(
            lm, tmp_path, equal, sampler=Canned(), objective_options={"beta": 0.5},
            reference_model=other_model(lm), keep_agreeing=keep, advantage=advantage,
        )  # fmt: skip
        found = moved(own)
        assert all(torch.isfinite(values).all() for values in found.values())
        assert (norm(found) > 1e-3) == keep
        assert logs_of(own)[0]["silent"] == (0 if keep else 1)


def on_some(letters):
    """Rewards that say something of some prompts only."""

    def reward(completion_ids, letter, **columns):
        found = by_length(None, completion_ids)
        return found if letter[0] in letters else [1.0] * len(found)

    return reward


@pytest.mark.parametrize("objective", ["dapo", "grpo", "dr-grpo"])
def test_groups_that_agree_have_no_share_of_the_denominator(lm, tmp_path, objective):
    options = {"objective": objective, "objective_options": {"beta": 0.0}, "sampler": Canned()}
    both = trainer_of(lm, tmp_path, on_some("a"), ROWS[:2], **options)
    alone = trainer_of(
        lm, tmp_path, on_some("a"), ROWS[:1], per_device_train_batch_size=1, **options
    )
    found, wanted = moved(both), moved(alone)
    assert norm(wanted) > 0.01
    assert norm({name: found[name] - wanted[name] for name in found}) < 1e-6
    assert logs_of(both)[0]["silent"] == 0.5
    kept = trainer_of(lm, tmp_path, on_some("a"), ROWS[:2], keep_agreeing=True, **options)
    assert norm(moved(kept)) < 0.75 * norm(wanted)


@pytest.mark.parametrize("objective", ["dapo", "grpo", "segment-grpo"])
def test_a_step_is_the_same_however_it_is_cut(lm, tmp_path, objective):
    def thirds(rollouts):
        return (1 + torch.arange(rollouts.ids.shape[1]) // 3).expand(rollouts.ids.shape)

    found = []
    for batch, parts in ((4, 1), (2, 2), (1, 4)):
        own = trainer_of(
            lm, tmp_path, on_some("abd"), sampler=Canned(), per_device_train_batch_size=batch,
            gradient_accumulation_steps=parts, objective=objective, segments=thirds,
            objective_options={"entropy_weight": 0.2, "beta": 0.0},
        )  # fmt: skip
        found.append(moved(own))
    for other in found[1:]:
        assert norm({name: own - other[name] for name, own in found[0].items()}) < 1e-6
    assert norm(found[0]) > 0.05


def by_hand(lm, trainer, chosen, gains, objective, steps, sampler):
    """Weights after plain steps on rows, the ratio to the policy that the round began with.

    ``steps``: which of the groups each step takes.
    """
    model, _ = load_causal_lm(str(lm), device="cpu", trainable=True)
    heads = [trainer.train_dataset[k].ids for k in chosen]
    made = sampler(heads, 4, seed=0)
    wide = max(len(own.ids) for group in made for own in group)

    def log_probs_of(groups):
        rows = []
        for k in groups:
            for own in made[k]:
                ids = torch.tensor([[*heads[k], *own.ids]])
                logits = model(input_ids=ids).logits[0, len(heads[k]) - 1 : -1]
                each = logits.log_softmax(-1).gather(-1, torch.tensor(own.ids)[:, None])[:, 0]
                rows.append(torch.nn.functional.pad(each, (0, wide - len(own.ids))))
        return torch.stack(rows)

    where = torch.tensor(
        [[[t < len(own.ids) for t in range(wide)] for own in group] for group in made]
    )
    with torch.no_grad():
        old = log_probs_of(range(len(chosen))).reshape(len(chosen), 4, wide)
    for groups in steps:
        found = objective(
            log_probs_of(groups), gains[groups].flatten(), where[groups].flatten(0, 1),
            old=old[groups].flatten(0, 1),
        )  # fmt: skip
        model.zero_grad()
        found.loss.backward()
        with torch.no_grad():
            for weights in model.parameters():
                weights -= weights.grad
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    ("passes", "steps_per_round", "steps"),
    [(3, 1, [[0, 1]] * 3), (1, 2, [[0, 1], [2, 3]]), (2, 2, [[0, 1], [2, 3]] * 2)],
)
def test_passes_take_the_ratio_to_the_policy_that_sampled(
    lm, tmp_path, passes, steps_per_round, steps
):
    sampler = Canned()
    own = trainer_of(
        lm, tmp_path, sampler=sampler, passes=passes, steps_per_round=steps_per_round,
        max_steps=len(steps),
    )  # fmt: skip
    chosen = list(iter(own._order()))[: 2 * steps_per_round]
    objective = PolicyObjective(clip=(0.2, 0.28))
    gains = gains_of(own, chosen, sampler)
    wanted = by_hand(lm, own, chosen, gains, objective, steps, sampler)
    sampler.asked.clear()
    own.train()
    assert [asked[:2] for asked in sampler.asked] == [(2 * steps_per_round, 4)]
    for name, weights in own.model.named_parameters():
        assert torch.allclose(weights, wanted[name], atol=2e-6), name
    assert [record["ratio"] == 1 for record in own.state.log_history if "ratio" in record] == [
        True, *[False] * (len(steps) - 1),
    ]  # fmt: skip


def test_outputs_that_were_cut_leave_numerator_and_denominator(lm, tmp_path):
    """As if their tokens were not there, though they are compared."""
    masked = trainer_of(lm, tmp_path, sampler=Canned(), mask_cut=True)
    chosen = numbers_in(masked)
    gains = gains_of(masked, chosen, Canned())
    gains[:, 2] = torch.nan  # the third is cut
    wanted = by_hand(
        lm, masked, chosen, gains, PolicyObjective(clip=(0.2, 0.28)), [[0, 1]], Canned()
    )
    masked.train()
    for name, weights in masked.model.named_parameters():
        assert torch.allclose(weights, wanted[name], atol=2e-6), name
    assert logs_of(masked)[0]["cut"] == 0.25


def test_a_servers_samples_are_weighted_by_how_likely_they_are_here(lm, tmp_path):
    sampler = Canned(known=True)
    plain = trainer_of(lm, tmp_path, sampler=sampler, correction=None)
    weighed = trainer_of(lm, tmp_path, sampler=sampler, correction=1.2)
    chosen = numbers_in(plain)
    heads = [plain.train_dataset[k].ids for k in chosen]
    unweighted, found = moved(plain), moved(weighed)
    assert norm({name: found[name] - unweighted[name] for name in found}) > 1e-3
    log = logs_of(weighed)[0]
    model, _ = load_causal_lm(str(lm), device="cpu")
    gaps, weights = [], []
    for head, group in zip(heads, sampler(heads, 4, seed=0), strict=True):
        for own in group:
            logits = model(input_ids=torch.tensor([[*head, *own.ids]])).logits[
                0, len(head) - 1 : -1
            ]
            here = logits.log_softmax(-1).gather(-1, torch.tensor(own.ids)[:, None])[:, 0]
            gaps += (here - torch.tensor(own.log_probs)).tolist()
    weights = np.exp(gaps)
    assert log["sampler_gap"] == pytest.approx(np.abs(gaps).mean(), abs=1e-4)
    assert log["sampler_weight"] == pytest.approx(np.minimum(weights, 1.2).mean(), abs=1e-4)
    assert log["weights_cut"] == pytest.approx((weights > 1.2).mean(), abs=1e-6)
    assert logs_of(plain)[0]["sampler_weight"] == 1


def test_rewards_of_segments_are_advantages_of_their_tokens(lm, tmp_path):
    """Two segments, of which one says nothing: as if only the other's tokens were there."""

    def halves(rollouts):
        return (1 + (torch.arange(rollouts.ids.shape[1]) >= 2).long()).expand(rollouts.ids.shape)

    def second(group):
        ids = [own[mask].tolist() for own, mask in zip(group.ids, group.where, strict=True)]
        values = torch.tensor(by_length(None, ids))
        return torch.stack([torch.full_like(values, torch.nan), values], dim=1)

    own = trainer_of(lm, tmp_path, second, sampler=Canned((5, 3, 6, 4)), segments=halves)
    found = moved(own)
    assert norm(found) > 0.01
    batch = own._round.batches[0]
    told = own.objective.counting(batch["advantages"], batch["learns"])
    assert not told[:, :2].any()
    assert torch.equal(told[:, 2:], batch["learns"][:, 2:])

    def last(rollouts):
        return (halves(rollouts) - 1).masked_fill(~rollouts.where, 0)

    plain = trainer_of(lm, tmp_path, sampler=Canned((5, 3, 6, 4)), segments=last)
    alone = moved(plain)  # what is of no segment says nothing
    assert norm({name: alone[name] - found[name] for name in found}) < 1e-6
    with pytest.raises(OptionError, match="give the segments"):
        trainer_of(lm, tmp_path, second, sampler=Canned()).train()


def test_several_rewards_with_weights_or_composed(lm, tmp_path):
    def first(completions, letter, **columns):
        assert len(set(letter)) == 1
        return [None, 1.0, 2.0, 3.0]

    def second(group):
        assert group.progress == 0
        return Rewards(torch.tensor([1.0, 0, 0, 0]), {"half": torch.ones(4)})

    own = trainer_of(
        lm, tmp_path, {"one": first, "two": second}, sampler=Canned(), reward_weights=[1.0, 10.0]
    )
    own.train()
    log = logs_of(own)[0]
    assert log["reward"] == pytest.approx((10 + 1 + 2 + 3) / 4)
    assert (log["reward/one"], log["reward/two"], log["reward/two/half"]) == (2, 0.25, 1)
    assert log["reward_best"] == 10
    assert (log["tokens"], log["cut"], log["unrewarded"]) == (3.75, 0.25, 0)
    assert log["entropy"] == pytest.approx(math.log(38), abs=0.2)
    composed = trainer_of(lm, tmp_path, normalised([first, second]), sampler=Canned())
    composed.train()
    assert abs(logs_of(composed)[0]["reward"]) < 0.2
    with pytest.raises(OptionError, match="2 weights for 1 rewards"):
        trainer_of(lm, tmp_path, [first], sampler=Canned(), reward_weights=[1.0, 2.0])
    with pytest.raises(OptionError, match="of several rewards"):
        trainer_of(lm, tmp_path, first, sampler=Canned(), reward_weights=[1.0])
    with pytest.raises(OptionError, match="no reward"):
        trainer_of(lm, tmp_path, None)


def raises(completions, letter, **columns):
    if letter[0] in "ab":
        raise KeyError("no such label")
    return by_length(**columns | {"completions": completions})


def hangs(completions, **columns):
    import time

    time.sleep(5)
    return [1.0] * len(completions)


def test_rewards_that_fail_are_told_or_counted(lm, tmp_path):
    with pytest.raises(
        EvidenceError, match=r"reward raises failed on a group \('say .'\): KeyError"
    ):
        trainer_of(lm, tmp_path, raises, sampler=Canned(), per_device_train_batch_size=6).train()
    own = trainer_of(
        lm, tmp_path, raises, sampler=Canned(), failures="count", per_device_train_batch_size=6
    )
    own.train()
    log = logs_of(own)[0]
    assert log["failed_rewards"] == 2
    assert log["unrewarded"] == pytest.approx(1 / 3)
    assert own.groups.reward.error.startswith("KeyError")
    with pytest.raises(EvidenceError, match=r"TimeoutError: no reward within 0.1 seconds"):
        trainer_of(lm, tmp_path, hangs, sampler=Canned(), reward_seconds=0.1).train()
    with pytest.raises(EvidenceError, match=r"no output could be rewarded .TimeoutError"):
        trainer_of(
            lm, tmp_path, hangs, sampler=Canned(), reward_seconds=0.1, failures="count"
        ).train()
    with pytest.raises(OptionError, match=r"values of shape \(1,\) for a group of 4"):
        trainer_of(lm, tmp_path, lambda group: [1.0], sampler=Canned()).train()
    with pytest.raises(OptionError, match="infinite"):
        trainer_of(lm, tmp_path, lambda group: [math.inf] * 4, sampler=Canned()).train()
    with pytest.raises(EvidenceError, match="no output could be rewarded"):
        trainer_of(lm, tmp_path, lambda group: [math.nan] * 4, sampler=Canned()).train()


def test_outputs_that_are_empty_or_missing(lm, tmp_path):
    own = trainer_of(lm, tmp_path, sampler=Canned((0, 2, 3, 0)))
    found = moved(own)
    assert norm(found) > 0
    assert all(torch.isfinite(values).all() for values in found.values())
    assert logs_of(own)[0]["empty"] == 0.5
    nothing = trainer_of(lm, tmp_path, lambda group: [1.0, 2, 3, 4], sampler=Canned((0,)))
    assert norm(moved(nothing)) == 0

    def fewer(heads, samples, *, seed):
        return Canned()(heads, samples - 1, seed=seed)

    with pytest.raises(EvidenceError, match=r"2 groups of .3. outputs for 2 prompts: 4 of each"):
        trainer_of(lm, tmp_path, sampler=fewer).train()


def test_bad_options_are_refused_before_training(lm, tmp_path):
    for options, told in (
        ({"samples": 1}, "a group needs two"),
        ({"temperature": 0.0}, "differ above 0"),
        ({"passes": 0}, "passes=0"),
        ({"correction": 0.0}, "correction=0.0"),
        ({"objective": "no"}, "use one of ppo, grpo"),
        ({"objective_options": {"bet": 1}}, "beta"),
        ({"advantage": "no"}, "use one of grpo"),
        ({"advantage_options": {"scal": 1}}, "scal"),
        ({"layout": "no"}, "'shared' or 'rows'"),
        ({"failures": "no"}, "'stop' or 'count'"),
        ({"tokens": 32}, "nothing is left of prompts"),
    ):
        with pytest.raises(OptionError, match=told):
            trainer_of(lm, tmp_path, sampler=Canned(), **options)


def test_data_are_rows_files_and_tables(lm, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [*ROWS, {"prompt": "x" * 40, "letter": "x", "more": 1}, {"prompt": "y"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = trainer_of(lm, tmp_path, rows=str(path))
    assert len(own.train_dataset) == 7
    assert own.train_dataset[6].columns == {"letter": None}
    assert "train: left out: 1 prompts of more than 24 tokens" in own.notes
    assert "train: letter: missing in 1 of 7 rows (None to rewards)" in own.notes
    assert "train: 1 prompts come twice in an epoch, to fill its last round" in own.notes
    cut = trainer_of(lm, tmp_path, rows=str(path), long_prompts="cut")
    assert len(cut.train_dataset[6].ids) == 24
    assert own.train_dataset.fingerprint() != cut.train_dataset.fingerprint()
    datasets = pytest.importorskip("datasets")
    table = trainer_of(lm, tmp_path, rows=datasets.Dataset.from_list(ROWS))
    assert [row.columns["letter"] for row in table.train_dataset.rows] == list("abcdef")
    taken = trainer_of(lm, tmp_path, rows=[{"prompt": "a", "completions": ["b"], "question": "c"}])
    assert taken.train_dataset[0].columns == {"question": "c"}
    assert "completions: left out" in taken.notes[0]
    with pytest.raises(EvidenceError, match="no prompt has at most 24"):
        trainer_of(lm, tmp_path, rows=[{"prompt": "a" * 50}])


def test_chats_are_rewarded_as_messages(lm, tmp_path):
    from policyrank.models.language import load_causal_lm as load

    model, tokenizer = load(str(lm), device="cpu", trainable=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    seen = []

    def reward(prompts, completions, **columns):
        seen.append((prompts, completions))
        return list(range(len(completions)))

    args = GroupConfig(
        str(tmp_path), samples=2, tokens=4, max_length=32, max_steps=1, report_to=[], use_cpu=True,
        per_device_train_batch_size=1, disable_tqdm=True,
    )  # fmt: skip
    rows = [{"prompt": [{"role": "user", "content": "hi"}]}]
    GroupTrainer(model, args, reward, rows, processing_class=tokenizer).train()
    ((prompts, completions),) = seen
    assert prompts == [rows[0]["prompt"]] * 2
    assert [own[0]["role"] for own in completions] == ["assistant"] * 2


def test_a_model_learns_what_is_rewarded_and_shows_it(lm, tmp_path):
    """Sampled by itself: the letter that is rewarded comes ever more often."""
    seen = []

    def count(completions, **columns):
        return [text.count("a") / 6 for text in completions]

    own = trainer_of(
        lm, tmp_path, count, optim="adamw_torch", learning_rate=0.01, max_steps=12, samples=8,
        tokens=6, show=seen.extend, eval_dataset=ROWS, objective="grpo", passes=2,
    )  # fmt: skip
    before = own.evaluate()
    assert own.evaluate()["eval_reward"] == before["eval_reward"]
    own.train()
    after = own.evaluate()
    assert after["eval_reward"] > before["eval_reward"] + 4 * before["eval_reward_error"]
    assert after["eval_reward"] <= after["eval_reward_best"] <= 1
    assert [record["step"] for record in seen] == [k for k in range(0, 12, 2) for _ in range(2)]
    assert seen[0]["prompt"].startswith("say ")
    assert set(seen[0]) >= {"completion", "reward", "ended"}
    log = logs_of(own)[-1]
    assert log["kl"] > 0.01


def test_a_run_goes_on_inside_a_round_and_between(lm, tmp_path):
    options = {
        "optim": "adamw_torch", "learning_rate": 0.01, "max_steps": 7, "passes": 2,
        "steps_per_round": 2, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 20,
        "objective": "grpo",
    }  # fmt: skip

    def letters(completions, **columns):
        return [len(set(text)) for text in completions]

    whole = trainer_of(lm, tmp_path / "whole", letters, **options)
    whole.train()
    for step in (1, 2, 3, 4, 6, 7):  # the last is whole already
        again = trainer_of(lm, tmp_path / "whole", letters, **options)
        again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert again.state.global_step == 7
        for name, weights in again.model.named_parameters():
            assert torch.equal(weights, whole.model.get_parameter(name)), (step, name)
    kept = sorted((tmp_path / "whole").glob("checkpoint-*/round-0.safetensors"))
    assert {path.parent.name for path in kept} == {f"checkpoint-{k}" for k in (1, 2, 3, 5, 6, 7)}
    other = trainer_of(lm, tmp_path / "whole", letters, **options | {"samples": 5})
    with pytest.raises(EvidenceError, match="samples"):
        other.train(resume_from_checkpoint=True)


@pytest.fixture
def swapped(lm, tmp_path):
    """The tiny model with two letters in each other's place."""
    other = tmp_path / "swapped"
    shutil.copytree(lm, other)
    told = json.loads((other / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (other / "tokenizer.json").write_text(json.dumps(told))
    return other


def test_a_reference_of_other_tokens_is_refused(lm, tmp_path, swapped):
    with pytest.raises(OptionError, match="another tokenizer: it reads 'a' as 'b'"):
        trainer_of(lm, tmp_path, reference_model=str(swapped))
    small = other_model(lm)
    small.resize_token_embeddings(9)
    with pytest.raises(OptionError, match="the reference model knows 9 tokens"):
        trainer_of(lm, tmp_path, reference_model=small)


def test_adapters_are_trained_and_kept_to_their_start(lm, tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    own = trainer_of(
        lm, tmp_path, sampler=Canned(), peft_config=config, objective="grpo", max_steps=3,
        optim="adamw_torch", learning_rate=0.05, per_device_train_batch_size=6,
    )  # fmt: skip
    before = weights_of(own)
    own.train()
    after = weights_of(own)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora" in name for name in changed)
    kl = [record["kl"] for record in logs_of(own)]
    assert kl[0] == 0
    assert kl[2] > 1e-4
    own.save_model(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "A language model, made from `" in card
    told = about(tmp_path / "saved")
    assert (told.kind, told.adapter, told.objective) == ("policy", True, own.args.objective)
    assert told.settings["samples"] == own.args.samples
    assert told.data["rows"] == len(own.train_dataset)
    again, _ = load_causal_lm(str(tmp_path / "saved"), device="cpu")
    ids = torch.tensor([[3, 4, 5]])
    own.model.eval()
    assert torch.allclose(again(input_ids=ids).logits, own.model(input_ids=ids).logits, atol=1e-5)


def test_models_that_mix_outputs_take_rows(lm, tmp_path, caplog):
    config = transformers.MistralConfig(
        vocab_size=38, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=6, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.MistralForCausalLM(config)
    own = trainer_of(lm, tmp_path, model=model)
    own.train()
    assert own.likely.collate.layout == "rows"
    assert "each gets a row of its own" in caplog.text


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from test_group import Canned, on_some, trainer_of
own = trainer_of(
    {lm!r}, {out!r}, on_some("abd"), sampler=Canned(known=True),
    per_device_train_batch_size=4 // {processes}, passes=2, max_steps=3, eval_dataset={rows!r},
    objective_options={{"beta": 0.1, "entropy_weight": 0.1}},
)
own.train()
found = sorted(own.evaluate().items())
if own.is_world_process_zero():
    print("found", found)
own.save_model({out!r})
"""


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(lm, tmp_path):
    """Three steps, the last in another round, with groups that say nothing."""
    from safetensors.torch import load_file

    found, told = [], []
    for processes in (1, 2):
        out, script = tmp_path / f"of-{processes}", tmp_path / f"script-{processes}.py"
        names = {"lm": str(lm), "out": str(out), "processes": processes}
        here = os.path.dirname(__file__)
        script.write_text(SCRIPT.format(here=here, rows=ROWS, **names))
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
    assert all(torch.allclose(found[0][k], found[1][k], atol=2e-6) for k in found[0])
    assert told[0] == pytest.approx(told[1])


def test_in_half_precision_and_with_less_memory(lm, tmp_path):
    """bf16 computes nearly the same, checkpointing of gradients the same."""
    options = {"objective": "grpo", "passes": 2, "max_steps": 2, "learning_rate": 0.1}
    plain = moved(trainer_of(lm, tmp_path, sampler=Canned(), **options))
    less = moved(trainer_of(lm, tmp_path, sampler=Canned(), gradient_checkpointing=True, **options))
    assert norm({name: plain[name] - less[name] for name in plain}) < 1e-5 * norm(plain)
    half = trainer_of(lm, tmp_path, sampler=Canned(), bf16=True, **options)
    found = moved(half)
    assert half.model.dtype == torch.float32
    assert 0 < norm({name: plain[name] - found[name] for name in plain}) < 0.1 * norm(plain)
    own = trainer_of(lm, tmp_path, bf16=True, **options)
    own.train()
    assert own.likely.collate.layout == "shared"
