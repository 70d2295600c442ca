"""Answers are what the chat template adds to their prompts, in token ids."""

from pathlib import Path

import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Conversation, transcript_prompt

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.models.fitting import Seen, fitted
from policyrank.models.language import load_causal_lm, sample
from policyrank.models.tokens import answer_tokens, ask, encode_prompt, pad_apart, stop_ids

TURNS = (
    "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


CALL = assistant(
    "",
    tool_calls=[
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
    ],
)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def tokenizer(lm):
    """Characters, with a template whose turns end in a token that is not the end token."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(lm)
    found.add_special_tokens({"additional_special_tokens": ["<e>"]})
    found.chat_template = TURNS
    return found


def text_of(tokenizer, ids):
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def test_an_answer_ends_with_the_templates_own_end_of_turn(tokenizer):
    asked = ask(tokenizer, "hi")
    found = answer_tokens(tokenizer, asked, "yes")
    assert text_of(tokenizer, asked.ids) == "u hi<e>a "
    assert text_of(tokenizer, found.ids) == "yes<e>"
    assert text_of(tokenizer, answer_tokens(tokenizer, asked, "yes", end=False).ids) == "yes"
    whole = tokenizer.apply_chat_template([user("hi"), assistant("yes")], tokenize=False)
    assert tokenizer(whole, add_special_tokens=False)["input_ids"] == asked.ids + found.ids
    plain = ask(tokenizer, "hi", chat=False)
    assert text_of(tokenizer, answer_tokens(tokenizer, plain, "yes").ids) == "yes</s>"


def test_a_turn_that_was_begun_is_continued(tokenizer):
    asked = ask(tokenizer, [user("hi"), assistant("ye")])
    assert text_of(tokenizer, asked.ids) == "u hi<e>a ye"
    assert text_of(tokenizer, answer_tokens(tokenizer, asked, "s").ids) == "s<e>"


def test_what_a_tool_said_is_no_token_of_the_policy(tokenizer):
    answer = [assistant("let me"), {"role": "tool", "content": "42"}, assistant("it is 42")]
    found = answer_tokens(tokenizer, ask(tokenizer, [user("hi")]), answer)
    own = [token for token, step in zip(found.ids, found.steps, strict=True) if step]
    assert text_of(tokenizer, found.ids) == "let me<e>t 42<e>a it is 42<e>"
    assert text_of(tokenizer, own) == "let me<e>it is 42<e>"


def test_steps_keep_the_tokens_of_the_whole_text(tokenizer):
    for chat, end in ((True, "<e>"), (False, "</s>")):
        asked = ask(tokenizer, "hi", chat=chat)
        found = answer_tokens(tokenizer, asked, "ab c", steps=["ab", " c"])
        assert text_of(tokenizer, found.ids) == "ab c" + end
        assert found.ids == answer_tokens(tokenizer, asked, "ab c").ids
        assert found.steps == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("prompt", "answer", "message"),
    [
        ([user("hi")], [CALL], "no place for calls of tools"),
        ([user("hi")], [assistant("x", reasoning_content="deep")], "leaves out or rewrites"),
        (Conversation((user("hi"),), (TOOL,)), "x", "no place for tools: 'weather'"),
        ([{"role": "user"}], "x", "the chat template refuses the messages"),
        ([user("hi")], [assistant("x"), user("y")], "does not end with a message of the assistant"),
    ],
)
def test_what_a_template_loses_is_refused(tokenizer, prompt, answer, message):
    with pytest.raises(EvidenceError, match=message):
        answer_tokens(tokenizer, ask(tokenizer, prompt), answer)


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer):
    tokenizer.chat_template = "{{ messages|length }}" + TURNS
    with pytest.raises(EvidenceError, match="writes the prompt otherwise once an answer follows"):
        answer_tokens(tokenizer, ask(tokenizer, "hi"), "yes")


def test_thoughts_opened_for_sampling_are_not_in_the_prompt_of_given_answers(tokenizer):
    tokenizer.chat_template = TURNS.replace("'a '", "'a z'")
    asked = ask(tokenizer, "hi")
    assert text_of(tokenizer, asked.ids) == "u hi<e>a "
    assert text_of(tokenizer, answer_tokens(tokenizer, asked, "yes").ids) == "yes<e>"
    assert text_of(tokenizer, encode_prompt(tokenizer, "hi")) == "u hi<e>a z"


def test_no_space_is_put_before_an_answer(lm):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "<unk>", "▁", *"abcdef:\n[]/INST"]
    core = Tokenizer(models.Unigram([(piece, -1.0) for piece in dict.fromkeys(pieces)], unk_id=2))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    spaced = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    spaced.chat_template = "{% for m in messages %}{{ '[' + m['content'] + ']\n' }}{% endfor %}"
    for chat, whole in ((False, "ab:cd"), (True, "[ab]\n[cd]\n")):
        asked = ask(spaced, "ab:" if not chat else "ab", chat=chat)
        found = answer_tokens(spaced, asked, "cd", end=chat)
        together = spaced(whole, add_special_tokens=False)["input_ids"]
        assert asked.ids + found.ids == together
        assert spaced.convert_tokens_to_ids("▁") not in found.ids


def test_dialogues_of_texts_are_read_plain_where_there_is_no_template(tokenizer):
    prompt = transcript_prompt("\n\nHuman: hi\n\nAssistant: yes\n\nHuman: go\n\nAssistant:")
    asked = ask(tokenizer, prompt)
    assert text_of(tokenizer, asked.ids) == "u hi<e>a yes<e>u go<e>a "
    plain = ask(tokenizer, prompt, chat=False)
    assert plain.ids == tokenizer(prompt.transcript)["input_ids"]
    assert text_of(tokenizer, answer_tokens(tokenizer, plain, "ok").ids) == " ok</s>"


def test_prompts_too_long_for_their_answers_are_counted(tokenizer):
    asked = ask(tokenizer, "x" * 20, chat=False)
    tails = [answer_tokens(tokenizer, asked, text) for text in ("a", "b" * 30)]
    seen = Seen()
    assert fitted(asked.ids, tails, 24, "leave out", seen) is None
    head, (short, long) = fitted(asked.ids, tails, 24, "cut", seen)
    assert (len(head), short.ids, len(long.ids)) == (12, tails[0].ids, 12)
    assert head == asked.ids[-12:]
    assert (seen.long, seen.cut) == (2, 1)
    head, _ = fitted(asked.ids, tails[:1], 24, "leave out", Seen())
    assert len(head) == 20


def test_a_cut_answer_keeps_its_end_where_a_reward_is_read(tokenizer):
    asked = ask(tokenizer, "x" * 4, chat=False)
    tail = answer_tokens(tokenizer, asked, "b" * 30)
    for keep, last in ((False, "b"), (True, "</s>")):
        _, (cut,) = fitted(asked.ids, [tail], 12, "leave out", Seen(), keep_end=keep)
        assert len(cut.ids) == len(cut.steps) == 8
        assert text_of(tokenizer, cut.ids[-1:]) == last


def test_a_head_finds_the_end_token(tokenizer):
    assert stop_ids(tokenizer) == [1, tokenizer.convert_tokens_to_ids("<e>")]
    tokenizer.pad_token = "</s>"
    assert pad_apart(tokenizer) == tokenizer.unk_token_id == tokenizer.pad_token_id


def test_samples_end_where_the_template_ends_a_turn(lm, tokenizer):
    model, _ = load_causal_lm(str(lm), device="cpu")
    model.resize_token_embeddings(len(tokenizer))
    stop = tokenizer.convert_tokens_to_ids("<e>")
    with torch.no_grad():
        model.lm_head.weight[stop] += 0.3 * model.lm_head.weight.norm()
    (made,) = sample(
        model, tokenizer, ["hi"], n=64, max_new_tokens=12, temperature=1.0, batch=64, seed=0
    )
    ended = [one for one in made if stop in one.ids]
    assert ended
    for one in made:
        assert one.ended == (one.ids[-1] in (1, stop))
        assert not set(one.ids[:-1]) & {1, stop}
        assert one.ended or len(one.ids) == 12
        assert "<e>" not in one.text


FAMILIES = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama3_1", "qwen3", "gemma3", "phi3", "gptoss", "lfm2_2_5"])
def test_templates_of_other_families(family):
    _, tokenizer = load_causal_lm("smollm2", device="cpu")
    tokenizer.chat_template = (FAMILIES / f"{family}.jinja").read_text(encoding="utf-8")
    history = [user("hi"), assistant("Hello!"), user("and now?")]
    for prompt, answer in (("What is it?", "An answer.\nTwo lines."), (history, "Bye.")):
        asked = ask(tokenizer, prompt)
        found = answer_tokens(tokenizer, asked, answer)
        messages = history if not isinstance(prompt, str) else [user(prompt)]
        whole = tokenizer.apply_chat_template([*messages, assistant(answer)], tokenize=False)
        assert tokenizer.decode(asked.ids + found.ids) == whole
        assert all(found.steps)
    open_turn = ask(tokenizer, [user("hi"), assistant("The sky is")])
    assert tokenizer.decode(answer_tokens(tokenizer, open_turn, " blue.").ids).startswith(" blue.")


@pytest.mark.slow
def test_tools_of_a_family_that_has_them():
    _, tokenizer = load_causal_lm("smollm2", device="cpu")
    tokenizer.chat_template = (FAMILIES / "qwen2_5.jinja").read_text(encoding="utf-8")
    asked = ask(tokenizer, Conversation((user("weather in Bern?"),), (TOOL,)))
    answer = [CALL, {"role": "tool", "content": "sunny"}, assistant("It is sunny.")]
    found = answer_tokens(tokenizer, asked, answer)
    own = [token for token, step in zip(found.ids, found.steps, strict=True) if step]
    written = tokenizer.decode(own)
    assert '"name": "weather"' in written
    assert "It is sunny.<|im_end|>" in written
    assert "tool_response" not in written
    assert "<tool_response>\nsunny" in tokenizer.decode(found.ids)


def test_a_long_prompt_cuts_no_other_answers(lm, tokenizer):
    model, _ = load_causal_lm(str(lm), device="cpu")
    model.config.max_position_embeddings = 40
    model.resize_token_embeddings(len(tokenizer))
    model.lm_head.weight.data[tokenizer.eos_token_id] = 0
    prompts, seen = ["p" * 35, "a", "bbb", "q" * 50], Seen()
    made = sample(
        model, tokenizer, prompts, max_new_tokens=20, temperature=0, chat=False, seen=seen
    )
    together = [[len(one.ids) for one in own] for own in made]
    alone = []
    for prompt in prompts[:3]:
        ((one,),) = sample(model, tokenizer, [prompt], max_new_tokens=20, temperature=0, chat=False)
        alone.append([len(one.ids)])
    assert together == [*alone, []]
    assert alone[0][0] <= 5
    assert seen.long == 1
