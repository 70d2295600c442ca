"""Groups learned from as ranked lists, and held to the reference in their rewards."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.models.language import load_causal_lm
from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer
from policyrank.train.samples import sampled_data

from .test_group import ROWS, Canned, by_length, moved, numbers_in, other_model, trainer_of


@pytest.mark.parametrize("loss", ["dpo", "lipo-lambda", "softmax", "simpo", "dpo-pl"])
def test_lists_move_as_the_preference_trainer_moves_them(lm, tmp_path, loss):
    """The same samples, scored and learned from: one step of either, from the same weights."""
    sampler = Canned()
    ours = trainer_of(lm, tmp_path / "a", sampler=sampler, objective=loss)
    chosen = numbers_in(ours)
    found = moved(ours)

    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    made = sampler(heads, 4, seed=0)
    scores = []
    for own in made:
        ids = [list(answer.ids) for answer in own]
        scores.append(by_length(None, ids))
    config = ListwisePreferenceConfig(
        str(tmp_path / "b"), loss=loss, max_length=32, optim="sgd", learning_rate=1.0,
        lr_scheduler_type="constant", max_grad_norm=0, per_device_train_batch_size=2, max_steps=1,
        report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no",
    )  # fmt: skip
    data = sampled_data(heads, made, scores)
    assert len(data) == 2
    theirs = moved(ListwisePreferenceTrainer(model, config, data, processing_class=tokenizer))
    size = max(float(own.abs().max()) for own in theirs.values())
    assert size > 1e-4
    for name, own in theirs.items():
        assert found[name] == pytest.approx(own.numpy(), abs=1e-5 * size + 1e-8), name


def test_straying_from_the_reference_is_taken_from_the_rewards(lm, tmp_path):
    """By hand: log-probabilities of whole outputs by both models, at the sampling temperature."""
    sampler, other = Canned(), other_model(lm)
    trainer = trainer_of(
        lm, tmp_path, sampler=sampler, reward_kl=0.5, temperature=0.7, advantage="dr-grpo",
        reference_model=other,
    )  # fmt: skip
    chosen = numbers_in(trainer)
    policy, tokenizer = load_causal_lm(str(lm), device="cpu")
    heads = [tokenizer(ROWS[k]["prompt"])["input_ids"] for k in chosen]
    expected, far = [], []
    for head, own in zip(heads, sampler(heads, 4, seed=0), strict=True):
        for answer in own:
            ids = torch.tensor([[*head, *answer.ids]])
            ratio = 0.0
            for model, sign in ((policy, 1), (other_model(lm), -1)):
                with torch.no_grad():
                    logits = model(ids).logits[0, len(head) - 1 : -1] / 0.7
                told = logits.log_softmax(-1).gather(1, ids[0, len(head) :, None]).sum()
                ratio += sign * float(told)
            far.append(ratio)
            expected.append(by_length(None, [list(answer.ids)])[0] - 0.5 * ratio)
    trainer.train()
    rows = trainer._round.batches[0]
    gains = torch.where(rows["learns"], rows["advantages"], torch.nan).nanmean(dim=-1)
    wanted = np.array(expected).reshape(-1, 4)
    wanted = (wanted - wanted.mean(axis=1, keepdims=True)).reshape(-1)
    assert gains.numpy() == pytest.approx(wanted, abs=1e-4)
    (record,) = [own for own in trainer.state.log_history if "reward/log_ratio" in own]
    assert record["reward/log_ratio"] == pytest.approx(np.mean(far), abs=1e-4)
    raw = [by_length(None, [list(a.ids)])[0] for own in sampler(heads, 4, seed=0) for a in own]
    assert record["reward"] == pytest.approx(np.mean(raw), abs=1e-5)


def test_at_the_start_nothing_has_strayed(lm, tmp_path):
    held = trainer_of(lm, tmp_path / "a", sampler=Canned(), reward_kl=3.0)
    free = trainer_of(lm, tmp_path / "b", sampler=Canned())
    assert held.likely.reference is not None
    one, two = moved(held), moved(free)
    for name, own in one.items():
        assert own.numpy() == pytest.approx(two[name].numpy(), abs=1e-6)


def test_a_list_is_held_to_who_sampled_unless_a_reference_is_given(lm, tmp_path):
    given = {"sampler": Canned(), "objective": "dpo", "objective_options": {"beta": 1.0}}
    round_start = moved(trainer_of(lm, tmp_path / "a", **given))
    with_kl = moved(trainer_of(lm, tmp_path / "b", reward_kl=1e-9, **given))
    other = moved(trainer_of(lm, tmp_path / "c", reference_model=other_model(lm), **given))
    name = max(other, key=lambda key: float(other[key].abs().max()))
    assert round_start[name].numpy() == pytest.approx(with_kl[name].numpy(), abs=1e-6)
    assert float((round_start[name] - other[name]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "zzz"}, "use one of ppo.*lipo-lambda"),
        ({"objective": "dpo", "objective_options": {"zzz": 1}}, "zzz"),
        ({"objective": "dpo", "objective_options": {"beta": "x"}}, "is no number"),
        ({"objective": "dpo", "advantage": "rloo"}, "leave advantage"),
        ({"objective": "dpo", "keep_agreeing": True}, "leave advantage"),
        ({"reward_kl": -1.0}, "reward_kl=-1.0"),
    ],
)
def test_what_cannot_be_is_refused_before_training(lm, tmp_path, options, said):
    with pytest.raises(OptionError, match=said):
        trainer_of(lm, tmp_path, **options)


def test_rewards_of_segments_are_not_held_as_wholes(lm, tmp_path):
    def by_half(group):
        return torch.arange(2.0 * len(group)).reshape(len(group), 2)

    def halves(rollouts):
        return torch.where(torch.arange(rollouts.ids.shape[1]) < 2, 1, 2).expand(rollouts.ids.shape)

    trainer = trainer_of(lm, tmp_path, by_half, sampler=Canned(), segments=halves, reward_kl=0.1)
    with pytest.raises(OptionError, match="whole outputs"):
        trainer.train()
    lists = trainer_of(lm, tmp_path, by_half, sampler=Canned(), segments=halves, objective="dpo")
    with pytest.raises((OptionError, EvidenceError), match="not one a segment"):
        lists.train()


def test_rewards_that_a_loss_cannot_take_are_refused_or_become_shares(lm, tmp_path):
    """Gains below 0 would be seen as none: what lipo-lambda learned would fade in silence."""

    def negative(completions, completion_ids, **columns):
        return [-20.0 - sum(ids) % 7 for ids in completion_ids]

    options = {"objective": "lipo-lambda", "sampler": Canned()}
    with pytest.raises(OptionError, match=r"takes gains.*--labels win-shares"):
        trainer_of(lm, tmp_path, negative, **options).train()
    own = trainer_of(lm, tmp_path, negative, labels="win-shares", **options)
    (batch,) = own._sampled([numbers_in(own)]).batches
    rows = [own.train_dataset[k] for k in numbers_in(own)]
    found = own.groups.compared(own.groups.sampled(rows, seed=0, progress=0.0))
    rewards = found.said.values.reshape(2, 4)
    above = (rewards[:, :, None] > rewards[:, None, :]).float()
    above += 0.5 * (rewards[:, :, None] == rewards[:, None, :]).float()
    wanted = (above.sum(dim=-1) - 0.5) / 3
    assert batch["advantages"][:, 0].reshape(2, 4).numpy() == pytest.approx(wanted.numpy())
    own.train()
    with pytest.raises(OptionError, match="labels='win-shares' are of objectives of preferences"):
        trainer_of(lm, tmp_path, labels="win-shares")
    with pytest.raises(OptionError, match=r"a label 1\.5"):
        trainer_of(
            lm, tmp_path, lambda group: [1.5, 0.0, 0.0, 0.0], sampler=Canned(),
            objective="point-sigmoid",
        ).train()  # fmt: skip


def test_kl_is_told_to_the_reference_of_the_rewards(lm, tmp_path):
    """Preferences are held to who sampled, but what is logged is how far the start is away."""
    own = trainer_of(
        lm, tmp_path, objective="dpo", reward_kl=0.1, sampler=Canned(), max_steps=3,
        learning_rate=0.3,
    )  # fmt: skip
    own.train()
    told = [record["kl"] for record in own.state.log_history if "kl" in record]
    assert told[0] == 0
    assert abs(told[-1]) > 1e-4
