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


def test_an_encoder_of_pairs_is_no_reward_model(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: k for k, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b"])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(tmp_path)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=6, intermediate_size=16, num_labels=1, **size)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(EvidenceError, match="reads a question and an answer as a pair"):
        load(str(tmp_path), "reward")
