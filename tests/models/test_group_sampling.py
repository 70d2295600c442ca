"""Samples of a group in one row: what each in a row of its own is, token for token."""

import math

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import OptionError
from policyrank.models import group_sampling
from policyrank.models.group_sampling import APART, Decoding, ModelSampler
from policyrank.models.rows import GroupRows, forced, forced_in_rows, keeps_apart

SIZES = {
    "vocab_size": 41,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
KINDS = {
    "llama": ("Llama", SIZES),
    "qwen2": ("Qwen2", SIZES),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 8}),
    "gpt2": (
        "GPT2",
        {"vocab_size": 41, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    ),
}
HEADS = [[5, 9, 3, 7, 11, 4], [8], [6, 2, 13]]


def tiny(kind, dtype=torch.float64, **more):
    name, sizes = KINDS.get(kind, (kind, SIZES))
    config = getattr(transformers, f"{name}Config")(**{**sizes, **more})
    torch.manual_seed(0)
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{name}{head}")(config).to(dtype).eval()
    with torch.no_grad():  # so that what is seen decides what is said
        for weights in model.parameters():
            weights.mul_(3.0)
    return model


@pytest.fixture
def tokenizer(lm):
    return transformers.AutoTokenizer.from_pretrained(lm)


@pytest.mark.parametrize("kind", KINDS)
def test_forced_tokens_are_as_likely_as_in_rows(kind):
    model = tiny(kind)
    tails = torch.randint(41, (5, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        one, rows = forced(model, HEADS[0], tails), forced_in_rows(model, HEADS[0], tails)
    assert torch.allclose(one, rows, atol=1e-12)
    assert rows.std() > 0.3
    assert keeps_apart(model)


def test_prompts_of_several_lengths_and_samples_that_end(tokenizer):
    """Each step is what rows say of the same tokens, though some samples and prompts are done."""
    model = tiny("llama")
    alive = [[0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [2, 5], [5]]
    rng = torch.Generator().manual_seed(2)
    tokens = torch.randint(41, (6, 5), generator=rng)
    with torch.inference_mode():
        rows = GroupRows(model, HEADS, 2, pad=1)
        found = rows.first()
        seen = {k: HEADS[k // 2] for k in range(6)}
        for place, at in enumerate(alive):
            found = rows.step(torch.tensor(at), tokens[at, place])
            for row, k in enumerate(at):
                seen[k] = [*seen[k], int(tokens[k, place])]
                wanted = model(input_ids=torch.tensor([seen[k]])).logits[0, -1]
                assert torch.allclose(found[row], wanted, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_tokens_are_those_of_generate(kind, tokenizer):
    model = tiny(kind, torch.float32)
    sampler = ModelSampler(model, tokenizer, Decoding(12, temperature=0))
    found = sampler(HEADS, 1, seed=0)
    for head, (own,) in zip(HEADS, found, strict=True):
        made = model.generate(
            input_ids=torch.tensor([head]), do_sample=False, max_new_tokens=12, pad_token_id=1,
            attention_mask=torch.ones(1, len(head)), eos_token_id=1,
        )  # fmt: skip
        wanted = made[0, len(head) :].tolist()
        assert list(own.ids) == wanted
        assert own.ended == (wanted[-1] == 1)


@pytest.mark.parametrize("layout", ["one row", "rows"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_the_policys_at_the_temperature(
    layout, temperature, tokenizer, monkeypatch
):
    model = tiny("llama", torch.float32)
    if layout == "rows":
        monkeypatch.setattr(group_sampling, "keeps_apart", lambda model: False)
    said = []
    decoding = Decoding(9, temperature, top_k=11, top_p=0.9)
    found = ModelSampler(model, tokenizer, decoding, report=said.append)(HEADS, 4, seed=3)
    assert said == ([APART] if layout == "rows" else [])
    lengths = set()
    for head, group in zip(HEADS, found, strict=True):
        assert len(group) == 4
        for own in group:
            lengths.add(len(own.ids))
            assert len(own.ids) == len(own.log_probs)
            assert own.ended == (own.ids[-1] == 1)
            assert 1 not in own.ids[:-1]
            assert own.text == tokenizer.decode(own.ids, skip_special_tokens=True)
            logits = model(input_ids=torch.tensor([[*head, *own.ids]])).logits[0].detach()
            wanted = (logits[len(head) - 1 : -1] / temperature).log_softmax(dim=-1)
            wanted = wanted.gather(-1, torch.tensor(own.ids)[:, None]).squeeze(-1)
            assert torch.tensor(own.log_probs) == pytest.approx(wanted, abs=1e-4)
    assert len(lengths) > 1


@pytest.mark.parametrize("layout", ["one row", "rows"])
def test_a_seed_is_a_draw(layout, tokenizer, monkeypatch):
    if layout == "rows":
        monkeypatch.setattr(group_sampling, "keeps_apart", lambda model: False)
    model = tiny("llama", torch.float32).train()
    sampler = ModelSampler(model, tokenizer, Decoding(6))
    state = torch.random.get_rng_state()
    assert sampler(HEADS, 3, seed=5) == sampler(HEADS, 3, seed=5)
    assert sampler(HEADS, 3, seed=5) != sampler(HEADS, 3, seed=6)
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["one row", "rows"])
def test_tokens_are_drawn_as_often_as_they_are_likely(layout, tokenizer, monkeypatch):
    if layout == "rows":
        monkeypatch.setattr(group_sampling, "keeps_apart", lambda model: False)
    model = tiny("llama", torch.float32)
    sampler = ModelSampler(model, tokenizer, Decoding(1, 0.5, top_k=4), rows=4000)
    (group,) = sampler([HEADS[0]], 4000, seed=0)
    logits = model(input_ids=torch.tensor([HEADS[0]])).logits[0, -1].detach() / 0.5
    best = logits.topk(4)
    wanted = best.values.softmax(dim=-1)
    counts = torch.tensor([own.ids[0] for own in group]).bincount(minlength=41) / 4000
    assert counts[best.indices] == pytest.approx(wanted, abs=4 * math.sqrt(0.25 / 4000))
    assert counts.sum() == pytest.approx(float(counts[best.indices].sum()))


def test_only_the_likeliest_that_have_the_probability_are_drawn():
    log_probs = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(2000, -1)
    rng = torch.Generator().manual_seed(0)
    for top_p, kept in ((0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (1.0, 4)):
        drawn = Decoding(top_p=top_p).drawn(log_probs, rng)
        assert sorted(drawn.unique().tolist()) == list(range(kept))
    for top_k in (1, 3, 99):
        drawn = Decoding(top_k=top_k).drawn(log_probs, rng)
        assert sorted(drawn.unique().tolist()) == list(range(min(top_k, 4)))


def test_what_has_no_chance_is_never_drawn():
    """At the ends of the distribution function, and with a chance of almost 1."""
    chances = torch.tensor([[0.0, 1e-7, 0.0, 1.0, 0.0], [0.25, 0.0, 0.5, 0.25, 0.0]])
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([group_sampling._chosen(chances, rng) for _ in range(4000)])
    assert set(drawn[:, 0].tolist()) <= {1, 3}
    shares = drawn[:, 1].bincount(minlength=5) / len(drawn)
    assert shares == pytest.approx(torch.tensor([0.25, 0, 0.5, 0.25, 0]), abs=0.03)


def test_prompts_in_batches_are_what_they_are_alone(tokenizer):
    model = tiny("llama", torch.float32)
    whole = ModelSampler(model, tokenizer, Decoding(5, temperature=0), rows=64)
    apart = ModelSampler(model, tokenizer, Decoding(5, temperature=0), rows=1)
    for one, other in zip(whole(HEADS, 1, seed=0), apart(HEADS, 1, seed=0), strict=True):
        assert one[0].ids == other[0].ids


def test_samples_end_where_the_context_does(tokenizer):
    model = tiny("llama", torch.float32)
    long = [7] * 60
    found = ModelSampler(model, tokenizer, Decoding(30, temperature=0))([long, [5]], 1, seed=0)
    assert len(found[0][0].ids) <= 4
    assert len(found[1][0].ids) <= 30
    with pytest.raises(OptionError, match="the model reads 64"):
        ModelSampler(model, tokenizer)([[7] * 64], 2, seed=0)


@pytest.mark.parametrize("layout", ["one row", "rows"])
def test_processors_see_ids_and_change_logits(layout, tokenizer, monkeypatch):
    if layout == "rows":
        monkeypatch.setattr(group_sampling, "keeps_apart", lambda model: False)
    model = tiny("llama", torch.float32)
    seen = []

    def only(ids, logits):
        seen.append(tuple(ids.shape))
        return torch.full_like(logits, -1e9).index_fill(1, torch.tensor([12]), 0.0)

    several = transformers.LogitsProcessorList([only])
    decoding = Decoding(3, processors=several)
    found = ModelSampler(model, tokenizer, decoding)([HEADS[0]], 2, seed=0)
    assert [own.ids for own in found[0]] == [(12, 12, 12)] * 2
    assert [own.log_probs for own in found[0]] == [(0, 0, 0)] * 2
    assert seen == [(2, 6), (2, 7), (2, 8)]


def test_a_window_that_may_be_left_takes_rows(tokenizer):
    model = tiny("Mistral", torch.float32, sliding_window=8)
    sampler = ModelSampler(model, tokenizer, Decoding(10, temperature=0))
    (own,) = sampler([HEADS[0]], 1, seed=0)[0]
    made = model.generate(
        input_ids=torch.tensor([HEADS[0]]), do_sample=False, max_new_tokens=10, pad_token_id=1,
        attention_mask=torch.ones(1, 6),
    )  # fmt: skip
    assert list(own.ids) == made[0, 6:].tolist()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Mamba", {"state_size": 4}),
        ("RecurrentGemma", {"lru_width": 32, "attention_window_size": 32, "num_hidden_layers": 3}),
        ("Bloom", {"n_head": 4}),
    ],
)
def test_models_that_mix_samples_are_found_out(kind, more, tokenizer):
    """Recurrent layers, and positions that are counted by place."""
    model = tiny(kind, torch.float32, **more)
    assert not keeps_apart(model)
    found = ModelSampler(model, tokenizer, Decoding(4))([HEADS[0]], 3, seed=0)
    assert [len(own.log_probs) for own in found[0]] == [len(own.ids) for own in found[0]]


def test_bad_numbers_are_refused(tokenizer):
    for options in ({"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}):
        with pytest.raises(OptionError):
            Decoding(**options)
    model = tiny("llama", torch.float32)
    with pytest.raises(OptionError, match="temperature 0"):
        ModelSampler(model, tokenizer, Decoding(temperature=0))(HEADS, 2, seed=0)
    assert ModelSampler(model, tokenizer)([], 2, seed=0) == []
