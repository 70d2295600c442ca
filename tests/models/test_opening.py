"""One door for models: what a name stands for is known before it is loaded."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError
from policyrank.models import About, kind_of_model, load, load_causal_lm
from policyrank.train import reward_model


def test_kinds_are_told_by_what_lies_there(lm, tmp_path):
    assert kind_of_model(str(lm)) == "policy"
    assert kind_of_model("smollm2") == "policy"
    assert kind_of_model("minilm") == "bi-encoder"
    model, tokenizer = reward_model(str(lm), device="cpu")
    model.save_pretrained(tmp_path / "reward")
    tokenizer.save_pretrained(tmp_path / "reward")
    assert kind_of_model(str(tmp_path / "reward")) == "reward"
    About("discriminator", base="x").write(tmp_path / "reward")
    assert kind_of_model(str(tmp_path / "reward")) == "discriminator"
    found = load(str(tmp_path / "reward"), device="cpu")
    assert (found.kind, found.about.base) == ("discriminator", "x")
    assert found.model.config.num_labels == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvidenceError, match="nothing tells whether"):
        load(str(tmp_path / "empty"))
    (tmp_path / "reward" / "policyrank.json").write_text("[]")
    with pytest.raises(EvidenceError, match="not what policyrank writes"):
        load(str(tmp_path / "reward"))


def test_adapters_are_loaded_on_their_base(lm, tmp_path):
    peft = pytest.importorskip("peft")
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    found = load(str(tmp_path / "adapter"), device="cpu")
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        assert torch.allclose(found.model(ids).logits, adapted(ids).logits, atol=1e-5)
    assert found.kind == "policy"
    assert found.tokenizer.get_vocab() == tokenizer.get_vocab()
    path = tmp_path / "adapter" / "adapter_config.json"
    broken = json.loads(path.read_text()) | {"base_model_name_or_path": "/nowhere/at/all"}
    path.write_text(json.dumps(broken))
    with pytest.raises(EvidenceError, match="is not there any more"):
        load(str(tmp_path / "adapter"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_come_as_told(lm, dtype):
    found = load(str(lm), device="cpu", dtype=dtype)
    assert found.model.dtype == getattr(torch, dtype)


@pytest.fixture
def pairs_encoder(tmp_path):
    """A tiny BERT over six words with a head of one score, and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: k for k, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b"])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=32, **special)
    tokenizer.save_pretrained(tmp_path / "base")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=6, intermediate_size=16, num_labels=1, **size)
    model = BertForSequenceClassification(config)
    model.save_pretrained(tmp_path / "base")
    return model.eval(), tokenizer


def test_an_encoder_of_pairs_is_no_reward_model(pairs_encoder, tmp_path):
    with pytest.raises(EvidenceError, match="reads a question and an answer as a pair"):
        load(str(tmp_path / "base"), "reward")


def test_adapters_of_rankers_rank(pairs_encoder, tmp_path, command, monkeypatch):
    peft = pytest.importorskip("peft")
    pytest.importorskip("sentence_transformers")
    model, tokenizer = pairs_encoder
    model.config._name_or_path = model.name_or_path = str(tmp_path / "base")
    config = peft.LoraConfig(
        r=2, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False
    )
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        known = float(adapted(**tokenizer("a b", "b a", return_tensors="pt")).logits)
        plain = float(model(**tokenizer("a b", "b a", return_tensors="pt")).logits)
    found = load(str(tmp_path / "adapter"), "cross-encoder", device="cpu")
    assert float(found.model.predict([("a b", "b a")])[0]) == pytest.approx(known, abs=1e-5)
    assert plain == pytest.approx(known, abs=1e-6)  # the adapters are part of the model given
    base = load(str(tmp_path / "base"), "cross-encoder", device="cpu")
    assert float(base.model.predict([("a b", "b a")])[0]) != pytest.approx(known, abs=1e-5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.tsv").write_text("q1\ta b\n")
    (tmp_path / "d.tsv").write_text("d1\tb a\nd2\ta\n")
    (tmp_path / "run.trec").write_text("q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0 x\n")
    texts = ("--queries", "q.tsv", "--documents", "d.tsv", "--run", "run.trec")
    code, said = command("rerank", "adapter", "--kind", "cross-encoder", *texts)
    assert code == 0, said.err
    scores = {line.split()[2]: float(line.split()[4]) for line in said.out.splitlines()}
    assert scores["d1"] == pytest.approx(known, abs=1e-4)
