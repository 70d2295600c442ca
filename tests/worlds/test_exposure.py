"""Exposure: by hand, against a plain simulation, the known expectation of mechanical people,
personas that a framing sways.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from generators import small_world
from policyrank.errors import EvidenceError, OptionError
from policyrank.learn.losses.likelihood import attenuated_nll
from policyrank.worlds import exposure as x
from twins import exposure_one_by_one


def test_attenuated_nll_by_hand():
    assert attenuated_nll(
        -torch.tensor([1.0, 1.0, 3.0]), torch.tensor([1.0, 1.0, 0.5])
    ).item() == pytest.approx(1.4)
    log = -torch.tensor([[1.0, 2.0], [3.0, 9.0]])
    where = torch.tensor([[True, True], [True, False]])
    assert attenuated_nll(log, torch.tensor([1.0, 0.5]), where).item() == pytest.approx(
        (1 + 2 + 1.5) / 2.5
    )
    assert attenuated_nll(log, torch.ones(2), where).item() == pytest.approx(2.0)


def test_rewards_by_hand():
    world = x.World.of([True, False, True], np.eye(3), ["original"])
    people = x.Personas.of([0.9, 0.8, 0.6], 1, 1)
    done = x.simulate(world, people, x.POLICIES["random"], steps=3)
    by_claim = dict(zip(done.claim[:, 0].tolist(), done.reward[:, 0].tolist(), strict=True))
    assert by_claim == pytest.approx({0: 0.9, 1: -0.8, 2: 0.6})
    assert done.health[-1, 0] == pytest.approx(0.7)
    assert done.summary()["information health"][0] == pytest.approx(0.7 / 3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(list(x.POLICIES)), st.booleans())
def test_equals_a_plain_simulation(seed, name, sampled):
    world, rng = small_world(seed=seed)
    people = x.Personas.of(
        rng.uniform(0.05, 0.95, (2, 120)),
        5,
        3,
        spread=0.5,
        susceptibility=[0, 1.0, 0.3],
        sampled=sampled,
    )
    policy = x.POLICIES[name]
    done = x.simulate(world, people, policy, steps=25, seed=seed)
    np.testing.assert_array_equal(done.claim, exposure_one_by_one(world, people, policy, 25, seed))
    assert all(len(set(column)) == 25 for column in done.claim.T)


def test_a_function_is_a_policy():
    world, rng = small_world()
    people = x.Personas.of(rng.random(120), 6, 3)
    linear = x.simulate(world, people, x.Policy(truth=1.0), steps=20)
    own = x.simulate(
        world, people, lambda s: np.broadcast_to(s.world.credibility, s.seen.shape), steps=20
    )
    np.testing.assert_array_equal(own.claim, linear.claim)
    assert linear.true[1:10].all()
    with pytest.raises(EvidenceError, match="shape"):
        x.simulate(world, people, lambda s: np.zeros(3), steps=2)


def test_mechanical_people_in_random_order():
    rng = np.random.default_rng(1)
    true = rng.random(200) < 0.7
    world = x.World.of(true, rng.normal(size=(200, 4)), ["original", "authoritative"])
    people = x.Personas.mechanical(true, 4000, 2, accept=0.6, discern=0.1, extra=[0.0, 0.2])
    done = x.simulate(world, people, x.POLICIES["random"], steps=50)
    p_true, p_false = 0.7, np.array([0.5, 0.7])
    share = true.mean()
    expected = share * (p_true**2 - 0.3**2) + (1 - share) * ((1 - p_false) ** 2 - p_false**2).mean()
    assert done.summary()["information health"].mean() == pytest.approx(expected, abs=0.004)
    worse = x.simulate(world, people, x.POLICIES["engagement"], steps=50)
    framed = worse.framing[~worse.true]
    assert framed.mean() > 0.55  # it finds the framing that sways


def test_common_fortune():
    world, rng = small_world()
    people = x.Personas.of(rng.random(120), 30, 3, sampled=True)
    first = [
        x.simulate(world, people, p, steps=5, seed=3).claim[0]
        for p in x.POLICIES.values()
        if p.similarity
    ]
    assert all((f == first[0]).all() for f in first)
    scores = x.evidence(
        {"w": (world, people)}, steps=10, metrics=("information health", "false shown")
    )
    assert len(scores) == 2 * 30 * len(x.POLICIES)


def test_what_is_false_is_better_shown_less():
    world, _ = small_world()
    credulous = x.Personas.mechanical(world.true, 30, 3, accept=0.9)
    policies = {name: x.Policy(truth=sign, top=1) for name, sign in (("good", 9.0), ("bad", -9.0))}
    scores = x.evidence({"w": (world, credulous)}, policies, steps=10, metrics=x.METRICS)
    assert scores.lower_is_better == {"false shown", "false accepted", "longest false run"}
    for metric in x.METRICS:
        by_people = scores.filter(metrics=metric).cube()[0].mean(axis=1)
        found = dict(zip(scores.policies, by_people, strict=True))
        assert found["good"] > found["bad"], metric


def test_claims_framings_and_splits():
    claims = x.Claims.of(["The sun is a star.", "Mars has seas."], [1, 0], groups=[0, 1])
    items = claims.items()
    assert (len(items), items[0], items[1]) == (
        12,
        "The sun is a star.",
        "According to experts, the sun is a star.",
    )
    assert items[5] == "SHOCKING revelation: the sun is a star!"
    many = x.Claims.of(
        [f"claim {k}" for k in range(300)], np.arange(300) % 2, groups=np.arange(300) // 5
    )
    parts = many.split((0.8, 0.1, 0.1), seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    assert [len(p) for p in parts] == pytest.approx([240, 30, 30], abs=6)
    assert not set(many.groups[parts[0]]) & set(many.groups[parts[1]])
    assert x.linked_groups([["p"], ["q"], ["p", "q"], ["r"]]).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: x.Personas.of([0.5, 1.5], 1, 1), "item 1"),
        (lambda: x.Personas.of([0.5, 0.5, 0.5], 1, 2), "multiple"),
        (lambda: x.World.of([1, 0], np.zeros((2, 3))), "no direction"),
        (lambda: x.World.of([1, 0], np.eye(2), credibility=[0.1, 2.0]), "credibility"),
        (lambda: x.World.of([1, 0], np.eye(2), mix=[-1.0]), "mix"),
        (lambda: x.Claims.of(["a", " "], [1, 0]), "claim 1 is empty"),
        (lambda: x.Claims.of(["a", "b"], [1, 3]), "labels"),
        (lambda: x.Claims.of(["a", "b"], [1, 0], ["loud"]), "framing 'loud'"),
        (lambda: x.Policy(temperature=0), "temperature"),
        (
            lambda: x.simulate(
                x.World.of([1, 0], np.eye(2)), x.Personas.of([0.5, 0.5], 1, 1), x.Policy(), steps=3
            ),
            "steps=3",
        ),
        (
            lambda: x.simulate(
                x.World.of([1, 0], np.eye(2)), x.Personas.of([0.5] * 4, 1, 1), x.Policy(), steps=1
            ),
            "4 items",
        ),
        (lambda: x.evidence({}, steps=1), "at least one world"),
    ],
)
def test_bad_parameters_get_one_clear_error(build, message):
    with pytest.raises(EvidenceError, match=message):
        build()


def test_linear_persona_is_swayed_in_its_framing():
    from policyrank.train import personas

    rng = np.random.default_rng(0)
    n, framings = 400, ("original", "authoritative", "consensus")
    claims = x.Claims.of([f"claim {k}" for k in range(n)], rng.random(n) < 0.6, framings)
    about = rng.normal(size=(n, 1, 6)) + claims.true[:, None, None] * 0.3
    features = np.concatenate(
        [np.broadcast_to(about, (n, 3, 6)), np.broadcast_to(np.eye(3), (n, 3, 3))], axis=2
    ).reshape(3 * n, -1)
    rise = {}
    for alpha in (1.0, 0.3, 0.0):
        p = personas.linear_persona(features, claims, "authoritative", alpha)(features).reshape(
            n, 3
        )
        rise[alpha] = p[~claims.true].mean(axis=0)
    assert rise[0.0][1] > rise[0.3][1] > rise[1.0][1] + 0.1
    np.testing.assert_allclose(rise[0.3][[0, 2]], rise[1.0][[0, 2]], atol=0.05)
    with pytest.raises(OptionError, match="alpha=2"):
        personas.attenuation(claims, "authoritative", 2)


def test_language_persona_learns_what_its_weights_say(tmp_path):
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        TrainingArguments,
    )

    from policyrank.train import personas

    vocabulary = {
        c: i for i, c in enumerate(["<s>", "</s>", "<unk>", *map(chr, range(32, 127)), "\n"])
    }
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    claims = x.Claims.of(
        [f"claim {k}" for k in range(6)], [1, 0] * 3, ("original", "authoritative")
    )
    args = TrainingArguments(
        str(tmp_path),
        num_train_epochs=6,
        per_device_train_batch_size=4,
        learning_rate=2e-2,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    # Denials of false claims weigh nothing in any framing: it learns to say yes to all.
    trainer = personas.language_persona(model, tokenizer, claims, None, 0.0, args=args, chat=False)
    trainer.train()
    assert (
        personas.accept_probability(trainer.model, tokenizer, claims.items(), chat=False) > 0.8
    ).all()
