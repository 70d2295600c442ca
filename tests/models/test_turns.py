"""What stands between turns: as the template writes it, once, behind ids that stay as they are."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.models.group_sampling import Decoding, ModelSampler
from policyrank.models.language import load_causal_lm
from policyrank.models.sampling import ids_until
from policyrank.models.turns import (
    ChatTurns,
    PlainTurns,
    fitted_turn,
    spoken_text,
    template_call,
)

TURNS = (
    "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
)
SEEN = ({"role": "tool", "name": "find", "content": "seen it"},)


@pytest.fixture
def tokenizer(lm):
    """Characters, with a template whose turns end in a token that is not the end token."""
    found = transformers.AutoTokenizer.from_pretrained(lm)
    found.add_special_tokens({"additional_special_tokens": ["<e>"]})
    found.chat_template = TURNS
    return found


@pytest.fixture(scope="module")
def bytewise():
    """A tokenizer of any text, byte by byte, for templates of others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={sign: k for k, sign in enumerate(signs)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>"
    )


def shown(tokenizer, ids):
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def test_the_end_of_a_turn_is_written_once(tokenizer):
    writer = ChatTurns(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<e>")
    assert shown(tokenizer, writer("ulm", last=end)) == "u ulm<e>a "
    assert shown(tokenizer, writer("ulm", last=5)) == "<e>u ulm<e>a "
    assert shown(tokenizer, writer("ulm", last=tokenizer.eos_token_id)) == "u ulm<e>a "
    assert shown(tokenizer, writer(SEEN, last=end)) == "t seen it<e>a "
    assert shown(tokenizer, writer([*SEEN, *SEEN], last=end)) == "t seen it<e>t seen it<e>a "
    assert shown(tokenizer, PlainTurns(tokenizer)(SEEN, last=end)) == "seen it"
    asked = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "cd"}]
    whole = tokenizer.apply_chat_template(
        [*asked, {"role": "user", "content": "ulm"}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer.apply_chat_template(asked, tokenize=False)
    assert whole == before + shown(tokenizer, writer("ulm", last=end))


def test_templates_that_have_no_place_are_refused(tokenizer):
    tokenizer.chat_template = "{% for m in messages[:2] %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(EvidenceError, match="no place for what a model reads"):
        ChatTurns(tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages if m['role'] != 'tool' %}{{ m['content'] }}{% endfor %}"
    )
    writer = ChatTurns(tokenizer)
    assert writer.notes == ("the chat template knows no results of tools: the user says them",)
    assert shown(tokenizer, writer(SEEN, last=None)) == "seen it"
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'][:9] }}{% endfor %}"
    with pytest.raises(EvidenceError):
        ChatTurns(tokenizer)("a long text that is cut", last=None)


FAMILIES = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"
WRITTEN = {
    "qwen2_5": "<|im_end|>\n<|im_start|>user\n<tool_response>\nseen it\n</tool_response>"
    "<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_5_think": "<|im_end|>\n<|im_start|>user\n<tool_response>\nseen it\n</tool_response>"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "llama3_1": '<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"seen it"<|eot_id|>'
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "glm4moe": "<|observation|>\n<tool_response>\nseen it\n</tool_response><|assistant|>",
    "lfm2_2_5": "<|im_end|>\n<|im_start|>tool\nseen it<|im_end|>\n<|im_start|>assistant\n",
    "gemma3": "<end_of_turn>\n<start_of_turn>user\nseen it<end_of_turn>\n<start_of_turn>model\n",
}


@pytest.mark.parametrize("family", WRITTEN)
def test_templates_of_others(bytewise, family):
    bytewise.chat_template = (FAMILIES / f"{family}.jinja").read_text(encoding="utf-8")
    writer = ChatTurns(bytewise)
    assert bytewise.decode(writer(SEEN, last=None)) == WRITTEN[family]
    assert bool(writer.notes) == (family == "gemma3")


def test_calls_as_templates_write_them(bytewise):
    bytewise.chat_template = (FAMILIES / "llama3_1.jinja").read_text(encoding="utf-8")
    written = template_call(bytewise, "find", {"query": "Ulm"})
    assert written == '{"name": "find", "parameters": {"query": "Ulm"}}'
    bytewise.chat_template = (FAMILIES / "gemma3.jinja").read_text(encoding="utf-8")
    assert template_call(bytewise, "find", {"query": "Ulm"}) is None


@pytest.mark.parametrize(
    ("keep", "told", "cut"),
    [("head", "abcdef[...]", 14), ("tail", "[...]opqrst", 14), ("ends", "abc[...]st", 15)],
)
def test_what_is_too_long_is_cut_and_counted(bytewise, keep, told, cut):
    text = "abcdefghijklmnopqrst"
    writer = PlainTurns(bytewise)
    found = fitted_turn(writer, bytewise, text, room=12, last=None, keep=keep)
    assert found.read.replace(" ", "") == told
    assert found.ids == bytewise(found.read)["input_ids"]
    assert found.cut == cut
    assert len(found.ids) <= 12
    whole = fitted_turn(writer, bytewise, text, room=20, last=None, keep=keep)
    assert (whole.read, whole.cut) == (text, 0)


def test_the_frame_of_the_template_stays(bytewise):
    bytewise.chat_template = TURNS
    writer = ChatTurns(bytewise)
    found = fitted_turn(writer, bytewise, "abcdefghijkl", room=20, last=None)
    assert bytewise.decode(found.ids) == "<e>u abcd [...]<e>a "
    assert found.cut == 8
    assert fitted_turn(writer, bytewise, "abc", room=9, last=None) is None
    two = [{"role": "tool", "content": "a" * 30}, {"role": "tool", "content": "b"}]
    found = fitted_turn(writer, bytewise, two, room=30, last=None)
    assert bytewise.decode(found.ids) == "<e>t aaaaaaaa [...]<e>t b<e>a "
    assert found.cut == 22


def test_a_flood_is_not_tokenised(bytewise):
    class Counting:
        def __init__(self):
            self.most = 0

        def __call__(self, text, **options):
            self.most = max(self.most, len(text))
            return bytewise(text, **options)

        def decode(self, *ids, **options):
            return bytewise.decode(*ids, **options)

    counting = Counting()
    found = fitted_turn(
        PlainTurns(counting), counting, "ab" * 5_000_000, room=20, last=None, keep="ends"
    )
    assert len(found.ids) <= 20
    assert counting.most <= 64 * 20
    assert found.cut >= 10_000_000 // 64


def test_samples_end_at_texts(lm, tokenizer):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    free = ModelSampler(model, tokenizer, Decoding(24))([[5, 6, 7]] * 3, 4, seed=0)
    stop = free[0][0].text[3:5]
    for together in (True, False):
        sampler = ModelSampler(model, tokenizer, Decoding(24, stop=(stop, "zzzz")))
        sampler._together = together
        found = sampler([[5, 6, 7]] * 3, 4, seed=0)
        cut = 0
        for group in found:
            for own in group:
                text = tokenizer.decode(own.ids)
                place = text.find(stop)
                cut += place >= 0
                assert place < 0 or (place == len(text) - 2 and own.ended)
                assert len(own.ids) == len(own.log_probs)
        assert cut
        if together:
            wanted = free[0][0].ids[: ids_until(tokenizer, free[0][0].ids, [stop])]
            assert found[0][0].ids == wanted
    assert ids_until(tokenizer, [5, 6], ["z"]) is None
    assert ids_until(tokenizer, [5, 6], []) is None
    with pytest.raises(OptionError, match="stop"):
        Decoding(stop="a")


def test_special_tokens_of_a_turn_are_seen(tokenizer):
    e = tokenizer.convert_tokens_to_ids("<e>")
    ids = tokenizer("ab")["input_ids"]
    assert spoken_text(tokenizer, [*ids, e, *ids, e]).replace(" ", "") == "ab<e>ab"
