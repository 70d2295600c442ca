"""Released POLAR checkpoints are read as their authors' client does."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Conversation
from policyrank.models.language import load_causal_lm
from policyrank.models.reward_models import load_reward_model
from policyrank.train.reward import polar_scorer, reference_prompt

CODE = '''
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class CountingConfig(PretrainedConfig):
    model_type = "counting"


class CountingModel(PreTrainedModel):
    """Its reward is the sum of place times id: any other text gives another one."""

    config_class = CountingConfig

    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, attention_mask=None):
        place = torch.arange(1, input_ids.shape[1] + 1)
        total = (input_ids * attention_mask * place).sum(dim=1, keepdim=True)
        return SequenceClassifierOutput(logits=total.float() * self.weight)
'''


@pytest.fixture
def checkpoint(lm, tmp_path):
    """A model that comes with its own code."""
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    folder = tmp_path / "polar"
    tokenizer = AutoTokenizer.from_pretrained(lm)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|reward|>", "[UNUSED_TOKEN_130]", "\n"]}
    )
    tokenizer.save_pretrained(folder)
    (folder / "modeling_counting.py").write_text(CODE)
    config = {
        "architectures": ["CountingModel"],
        "auto_map": {
            "AutoConfig": "modeling_counting.CountingConfig",
            "AutoModel": "modeling_counting.CountingModel",
        },
        "model_type": "counting",
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def weight_of(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=True)
    return sum(place * token for place, token in enumerate(ids, 1))


def test_the_string_that_the_authors_client_makes(checkpoint):
    model, tokenizer = load_reward_model(str(checkpoint), trust_remote_code=True, device="cpu")
    chat = Conversation(({"role": "user", "content": "hi"}, {"role": "user", "content": "you"}))
    references = {"say a": "aaa", "hi\n\nyou": "me"}
    for wrapper, join in (("sft", "\n"), ("pretrain", "")):
        score = polar_scorer(model, tokenizer, references, wrapper=wrapper)
        (first, second), (third,) = score(["say a", chat], [["ab", "b"], ["yes"]])
        for found, asked, reference, answer in (
            (first, "say a", "aaa", "ab"),
            (second, "say a", "aaa", "b"),
            (third, "hi\nyou", "me", "yes"),
        ):
            text = f"{asked}{join}{reference}<|reward|>{asked}{join}{answer}[UNUSED_TOKEN_130]"
            assert found == weight_of(tokenizer, text)
    with pytest.raises(EvidenceError, match="no reference answer for the prompt 'other'"):
        score(["other"], [["x"]])


def test_long_texts_are_cut_as_the_client_cuts_them(checkpoint):
    model, tokenizer = load_reward_model(str(checkpoint), trust_remote_code=True, device="cpu")
    prompt, reference, answer = "p" * 10 + "q" * 8, "r" * 9, "s" * 9
    score = polar_scorer(
        model, tokenizer, {prompt: reference}, max_length=24, answer_length=5, wrapper="pretrain"
    )
    # 24 - 4 - 5 - 5 tokens are left, half of them for each of the two copies of the prompt.
    # What was cut is decoded again, which puts spaces between this tokenizer's characters.
    asked, known, given = " ".join("qqqqq"), " ".join("rrrrr"), " ".join("sssss")
    text = f"{asked}{known}<|reward|>{asked}{given}[UNUSED_TOKEN_130]"
    assert score([prompt], [[answer]])[0][0] == weight_of(tokenizer, text)


def test_chats_stand_on_lines_of_their_own():
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    assert reference_prompt(chat, "good") == "hi\nyes\ngood<|reward|>hi\nyes\n"


def test_code_of_others_is_not_run_unasked(checkpoint):
    with pytest.raises(EvidenceError, match="is no reward model"):
        load_reward_model(str(checkpoint), device="cpu")


def test_discriminators_ask_for_references(lm, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"say {c}", "completions": [c * 3, "zz", c + "z"], "scores": [2, 0, 1]}
        for c in "abcd"
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "references.jsonl").write_text(
        "".join(
            json.dumps({"prompt": r["prompt"], "answer": r["completions"][0]}) + "\n" for r in rows
        )
    )
    code, said = command(
        "train",
        "reward",
        "--data",
        "rows.jsonl",
        "--model",
        lm,
        "--out",
        "polar",
        "--with-reference",
        "--steps",
        10,
        "--learning-rate",
        "0.01",
    )
    assert code == 0, said.err
    known = json.loads((tmp_path / "polar" / "policyrank.json").read_text())
    assert (known["kind"], known["chat"], known["separator"]) == (
        "discriminator",
        False,
        "<|reward|>",
    )
    code, said = command("score", "rows.jsonl", "--reward", "polar")
    assert code == 2
    assert "polar reads a reference answer before each candidate" in said.err
    code, said = command(
        "score", "rows.jsonl", "--reward", "polar", "--references", "references.jsonl"
    )
    assert code == 0, said.err
    assert "pairs in the order of the file" in said.err


def test_an_untrained_lm_gives_no_reward(lm):
    assert load_causal_lm(str(lm), device="cpu")
    with pytest.raises(EvidenceError, match="is no reward model"):
        load_reward_model(str(lm), device="cpu")
