"""Masked diffusion: LLaDA's rule, the law of what is drawn, and models with code of their own."""

import json
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import PlackettLuce
from policyrank.models import (
    Denoising,
    MaskedDiffusionSampler,
    MaskedModel,
    PolicySizes,
    Prediction,
    UnmaskingPolicy,
    add_policy,
    denoise,
    kind_of_model,
    load,
    load_masked_lm,
)
from policyrank.models.masked_diffusion import CONFIDENCES
from policyrank.models.unmasking_policy import load_policy, policy_of, write_sizes

HEADS = [[5, 6, 7], [8, 9], [10, 11, 12]]


@pytest.fixture
def model(masked_lm):
    return load_masked_lm(str(masked_lm), device="cpu")


def by_llada(model, head, mask, tokens, steps, block):
    """LLaDA's rule at temperature 0, a row and a position at a time."""
    ids = list(head) + [mask] * tokens
    per_block = steps // (tokens // block)
    for first in range(len(head), len(ids), block):
        here = range(first, first + block)
        for step in range(per_block):
            count = block // per_block + (step < block % per_block)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0].double()
            logits[:, mask] = -torch.inf
            chance = logits.softmax(-1).numpy()
            sure = {k: chance[k].max() for k in here if ids[k] == mask}
            for k in sorted(sure, key=sure.get, reverse=True)[:count]:
                ids[k] = int(chance[k].argmax())
    return ids[len(head) :]


@pytest.mark.parametrize(("steps", "block"), [(None, None), (4, None), (5, None), (4, 6), (6, 4)])
def test_the_likeliest_first_is_lladas_rule(model, steps, block):
    net, tokenizer = model
    how = Denoising(tokens=12, steps=steps, block=block, temperature=0)
    made = MaskedDiffusionSampler(net, tokenizer, how)(HEADS, 1, seed=0)
    for head, (own,) in zip(HEADS, made, strict=True):
        expected = by_llada(net, head, tokenizer.mask_token_id, 12, steps or 12, block or 12)
        assert list(own.ids) == expected
        sizes = np.bincount(own.steps)[1:].tolist()
        assert sizes == [count for _, count in how.schedule()]
        for step, (number, count) in enumerate(how.schedule(), 1):
            at = [k for k in range(12) if own.steps[k] == step]
            assert sorted(own.places[k] for k in at) == list(range(1, count + 1))
            assert {own.blocks[k] for k in at} == {number}


def test_schedules_by_hand():
    assert Denoising(tokens=4).schedule() == [(1, 1)] * 4
    assert Denoising(tokens=8, steps=3).schedule() == [(1, 3), (1, 3), (1, 2)]
    assert Denoising(tokens=8, steps=4, block=4).schedule() == [(1, 2), (1, 2), (2, 2), (2, 2)]
    assert Denoising(tokens=6, steps=4, block=3).blocks().tolist() == [1, 1, 1, 2, 2, 2]
    for wrong in (
        {"tokens": 0},
        {"tokens": 8, "block": 3},
        {"tokens": 8, "block": 0},
        {"tokens": 8, "steps": 3, "block": 4},
        {"tokens": 8, "steps": 9},
        {"tokens": 8, "steps": 1, "block": 4},
        {"order": "best"},
        {"temperature": -1},
    ):
        with pytest.raises(OptionError):
            Denoising(**wrong)


class Pairs:
    """Exact marginals of pairs of equal symbols: 0 1 and 2 3 are pairs, of three symbols."""

    def __init__(self):
        self.asked = []

    def __call__(self, ids, masked, last):
        self.asked.append((ids.clone(), masked.clone()))
        partner = torch.arange(4) ^ 1
        known, symbol = ~masked[:, partner], ids[:, partner]
        logits = torch.zeros(*ids.shape, 3)
        forced = torch.full_like(logits, -torch.inf).scatter(-1, symbol[..., None], 0.0)
        return Prediction(torch.where(known[..., None], forced, logits))


@pytest.mark.parametrize(("steps", "chance"), [(4, 1.0), (2, 2 / 3 + 1 / 27)])
def test_pairs_come_as_often_as_they_should(steps, chance):
    """One token a step is exact; two at once draw a pair by its marginals a third of the time."""
    how = Denoising(tokens=4, steps=steps, order="random")
    made = denoise(Pairs(), torch.zeros(20_000, 0, dtype=torch.long), how, seed=0)
    right = (made.ids[:, 0] == made.ids[:, 1]) & (made.ids[:, 2] == made.ids[:, 3])
    error = 4 * (chance * (1 - chance) / 20_000) ** 0.5
    assert abs(float(right.double().mean()) - chance) <= error
    if steps == 4:
        counts = torch.bincount(3 * made.ids[:, 0] + made.ids[:, 2])
        assert (counts - 20_000 / 9).abs().max() < 4 * (20_000 / 9) ** 0.5
        chances = made.log_probs.exp().round(decimals=5).unique().tolist()
        assert chances == pytest.approx([1 / 3, 1.0], abs=1e-5)


def test_orders_by_hand():
    """Two positions: likely token and wide lead against low entropy."""
    chances = torch.tensor([[[0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.98, 0.01, 0.01]]])
    logs, tokens = chances.log(), torch.tensor([[2, 1, 0]])
    found = {name: rule(logs, tokens)[0].tolist() for name, rule in CONFIDENCES.items()}
    assert found["confidence"] == pytest.approx(np.log([0.01, 0.3, 0.98]).tolist(), 1e-5)
    assert found["margin"] == pytest.approx([0.01, 0.1, 0.97], abs=1e-6)
    entropies = -(chances * logs).sum(-1)[0]
    assert found["entropy"] == pytest.approx((-entropies).tolist())
    barred = torch.tensor([[[0.0, -torch.inf]]])
    assert float(CONFIDENCES["entropy"](barred, tokens[:, :1] * 0)) == 0


@pytest.mark.parametrize("order", ["random", "confidence", "margin", "entropy", "learned"])
def test_what_lies_under_masks_never_enters(model, order):
    net, tokenizer = model
    add_policy(net, seed=1)
    how = Denoising(tokens=6, steps=3, order=order)
    predict = MaskedModel(net, tokenizer.mask_token_id, hidden=True)
    heads = torch.tensor([[5, 6, 7]] * 3)
    asked = []

    def spoiled(ids, masked, last):
        asked.append(int(masked.sum()))
        noise = torch.randint(3, 30, ids.shape)
        return predict(torch.where(masked, noise, ids), masked, last)

    with torch.no_grad():
        first = denoise(predict, heads, how, policy=policy_of(net), seed=3)
        second = denoise(spoiled, heads, how, policy=policy_of(net), seed=3)
    assert asked == [18, 12, 6]
    for name in ("ids", "steps", "places", "log_probs"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert tokenizer.mask_token_id not in first.ids


def test_the_learned_order_is_plackett_luce_by_the_policy(model):
    """Drawn as often as the scores say; at temperature 0 the highest come first."""
    net, tokenizer = model
    policy = add_policy(net, seed=1)
    torch.nn.init.normal_(policy.score.weight, std=1.0)
    predict = MaskedModel(net, tokenizer.mask_token_id, hidden=True)
    head = torch.tensor([[5, 6, 7]])
    asked = torch.cat([head, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    masked = torch.tensor([[False] * 3 + [True] * 4])
    with torch.no_grad():
        hidden = predict(asked, masked, 4).hidden
        scores = policy(hidden, torch.zeros(1), masked[:, 3:], masked[:, 3:])[0]
        how = Denoising(tokens=4, steps=2, order="learned")
        made = denoise(predict, head.expand(4000, -1), how, policy=policy, seed=0)
        best = denoise(
            predict, head, Denoising(tokens=4, steps=2, order="learned", temperature=0),
            policy=policy,
        )  # fmt: skip
    law = PlackettLuce(scores)
    for members in product([False, True], repeat=4):
        if sum(members) == 2:
            chance = float(law.set_log_prob(torch.tensor(members)).exp())
            found = ((made.steps == 1) == torch.tensor(members)).all(dim=-1).double().mean()
            assert abs(float(found) - chance) < 4 * (chance * (1 - chance) / 4000) ** 0.5 + 1e-9
    first = scores.argsort(descending=True)[:2]
    assert best.steps[0, first].tolist() == [1, 1]
    assert best.places[0, first].tolist() == [1, 2]
    with pytest.raises(OptionError, match="add one"):
        denoise(predict, head, how)


def test_log_probabilities_are_those_of_sampling(model):
    """Of each token given what was unmasked before its step, at the temperature."""
    net, tokenizer = model
    how = Denoising(tokens=5, steps=3, temperature=0.7, order="entropy")
    ((own,),) = MaskedDiffusionSampler(net, tokenizer, how)([[5, 6]], 1, seed=4)
    for k in range(5):
        ids = [5, 6]
        for other in range(5):
            before = own.steps[other] < own.steps[k]
            ids.append(own.ids[other] if before else tokenizer.mask_token_id)
        with torch.no_grad():
            logits = net(input_ids=torch.tensor([ids])).logits[0, 2 + k].double() / 0.7
        logits[tokenizer.mask_token_id] = -torch.inf
        expected = float(logits.log_softmax(-1)[own.ids[k]])
        assert own.log_probs[k] == pytest.approx(expected, abs=1e-5)


def test_samples_are_groups(model):
    """Prompts of any lengths, the same seed the same, ends cut from texts, the mode comes back."""
    net, tokenizer = model
    how = Denoising(tokens=6, steps=3, order="random")
    sampler = MaskedDiffusionSampler(net.train(), tokenizer, how, rows=3)
    made = sampler(HEADS, 4, seed=1)
    assert net.training
    assert [len(group) for group in made] == [4, 4, 4]
    assert made == sampler(HEADS, 4, seed=1)
    assert made != sampler(HEADS, 4, seed=2)
    assert sampler([], 4, seed=1) == []
    end, seen = tokenizer.eos_token_id, set()
    for own in (own for group in made for own in group):
        assert len(own.ids) == 6
        seen.add(own.ended)
        assert own.ended == (end in own.ids)
        until = own.ids.index(end) if own.ended else 6
        assert own.text == tokenizer.decode(own.ids[:until], skip_special_tokens=True)
    tokenizer.eos_token = None
    assert all(own.ended for own in sampler(HEADS, 4, seed=1)[0])
    for wrong, told in (
        ((HEADS, 2, Denoising(tokens=6, temperature=0)), "the same sample again"),
        ((HEADS, 1, Denoising(tokens=62)), "the model reads 64"),
    ):
        with pytest.raises(OptionError, match=told):
            MaskedDiffusionSampler(net, tokenizer, wrong[2])(wrong[0], wrong[1], seed=0)


def test_a_policy_is_saved_and_loaded_with_its_model(model, tmp_path):
    net, tokenizer = model
    policy = add_policy(net, seed=3, layers=2)
    assert (policy.sizes.width, policy.sizes.heads) == (16, 2)
    net.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_policy(net, tmp_path) is None  # nothing says that there is one
    write_sizes(tmp_path, policy)
    other, _ = load_masked_lm(str(tmp_path), device="cpu")
    found = policy_of(other)
    assert found.sizes == PolicySizes(16, 2, 2)
    for name, own in policy.state_dict().items():
        assert torch.equal(found.state_dict()[name], own), name
    for name, own in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], own), name
    assert policy_of(load_masked_lm(str(tmp_path), device="cpu", dtype="bfloat16")[0]) is not None
    plain = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(plain.state_dict()["cls.predictions.bias"], net.cls.predictions.bias)
    with pytest.raises(OptionError, match="train that one"):
        add_policy(other)
    sizes = json.loads((tmp_path / "unmasking_policy.json").read_text())
    (tmp_path / "unmasking_policy.json").write_text(json.dumps(sizes | {"width": 8}))
    with pytest.raises(EvidenceError, match="do not fit"):
        load_masked_lm(str(tmp_path), device="cpu")


def test_a_new_policy_hardly_prefers_and_depends_on_what_it_is_told():
    policy = UnmaskingPolicy(PolicySizes(width=32, heads=4))
    hidden = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    masked = torch.tensor([[True, True, False, True, True, True]] * 2)
    first = policy(hidden, torch.zeros(2), masked, masked)
    assert first.std() < 0.5
    policy.half()
    assert policy(hidden.half(), torch.zeros(2), masked, masked).dtype == torch.float32
    policy.float()
    for other in (
        policy(hidden, torch.full((2,), 0.9), masked, masked),
        policy(hidden, torch.zeros(2), ~masked, masked),
        policy(hidden, torch.zeros(2), masked, ~masked),
        policy(hidden.roll(1, dims=1), torch.zeros(2), masked, masked),
    ):
        assert not torch.allclose(first, other, atol=1e-4)
    with pytest.raises(OptionError, match="not divided"):
        UnmaskingPolicy(PolicySizes(width=6, heads=4))


LLADA = """
import torch
from torch import nn
from types import SimpleNamespace
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class TinyConfig(PretrainedConfig):
    model_type = "tiny-llada"

    def __init__(self, d_model=8, n_heads=2, vocab_size=40, mask_token_id=2,
                 max_sequence_length=32, **more):
        super().__init__(**more)
        self.d_model, self.n_heads, self.vocab_size = d_model, n_heads, vocab_size
        self.mask_token_id, self.max_sequence_length = mask_token_id, max_sequence_length
        self.use_cache = False


class TinyModelLM(PreTrainedModel):
    config_class = TinyConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        self.model = nn.Embedding(config.vocab_size, config.d_model)
        self.mix = nn.Linear(config.d_model, config.d_model)
        self.out = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, use_cache=None,
                output_hidden_states=None):
        assert not use_cache
        hidden = self.model(input_ids)
        hidden = self.mix(hidden + hidden.cumsum(1) + hidden.flip(1).cumsum(1).flip(1)).tanh()
        states = (hidden,) if output_hidden_states else None
        return CausalLMOutputWithPast(logits=self.out(hidden), hidden_states=states)
"""


def test_a_model_with_code_of_its_own(masked_lm, tmp_path):
    """As LLaDA: AutoModel by its own code, d_model for the width, the mask in its configuration."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(masked_lm)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "modeling_tiny.py").write_text(LLADA)
    sizes = {"d_model": 8, "n_heads": 2, "vocab_size": 40, "mask_token_id": 2}
    code = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModelLM"}
    config = {"model_type": "tiny-llada", "architectures": ["TinyModelLM"], "auto_map": code}
    (tmp_path / "config.json").write_text(json.dumps(config | sizes))
    namespace = {}
    exec(LLADA, namespace)
    torch.manual_seed(0)
    net = namespace["TinyModelLM"](namespace["TinyConfig"]())
    from safetensors.torch import save_file

    save_file(net.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(EvidenceError, match="trust_remote_code"):
        load_masked_lm(str(tmp_path), device="cpu")
    found, tokens = load_masked_lm(str(tmp_path), device="cpu", trust_remote_code=True)
    assert torch.equal(found.out.weight, net.out.weight)
    add_policy(found)
    how = Denoising(tokens=6, steps=3, order="learned")
    made = MaskedDiffusionSampler(found, tokens, how)(HEADS, 2, seed=0)
    assert all(2 not in own.ids for group in made for own in group)
    with pytest.raises(OptionError, match="the model reads 32"):
        MaskedDiffusionSampler(found, tokens, Denoising(tokens=30))(HEADS, 1, seed=0)


def test_what_is_no_masked_model_is_refused(lm, masked_lm):
    with pytest.raises(EvidenceError, match="from left to right"):
        load_masked_lm(str(lm), device="cpu")
    assert kind_of_model(str(masked_lm)) == "masked-diffusion"
    found = load(str(masked_lm), device="cpu")
    assert type(found.model).__name__ == "BertForMaskedLM"
    found.tokenizer.mask_token = None
    with pytest.raises(OptionError, match="no mask token"):
        MaskedDiffusionSampler(found.model, found.tokenizer, Denoising(4))(HEADS, 1, seed=0)
