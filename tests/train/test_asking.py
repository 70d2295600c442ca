"""What is shown of texts, in any script; what does not fit is shortened, counted, or left out."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from policyrank.errors import OptionError
from policyrank.train.asking import Asking, Questions, count_words, first_words, longer_than
from policyrank.train.endpoints import Endpoint
from policyrank.train.language_rankers import LanguageRanker, fits_in, rerank_all, writer
from policyrank.train.posting import RefusedError
from policyrank.train.spent import Spent

PASSAGES = [f"worth {k} " + "word " * 48 for k in range(6)]


@pytest.mark.parametrize(
    ("text", "words", "shown", "count"),
    [
        ("one two three", 2, "one two ...", 3),
        ("one\ntwo", 2, "one two", 2),
        ("", 2, "", 0),
        ("今日は良い天気です", 4, "今日は良 ...", 9),
        ("GPU温度が高い", 3, "GPU温度 ...", 6),
        ("สวัสดีครับ", 4, "สวัส ...", 10),
        ("한국어 문장 하나", 2, "한국어 문장 ...", 3),
        ("все люди рождаются", 2, "все люди ...", 3),
        ("مرحبا يا عالم", 3, "مرحبا يا عالم", 3),
    ],
)
def test_words_of_any_script(text, words, shown, count):
    assert first_words(text, words) == shown
    assert count_words(text) == count
    assert longer_than(text, words) == (count > words)


def test_passages_that_hold_marks_are_shown_as_they_are():
    shown = Asking().choice("{passages}", ["{query} and {count}", "x"])
    assert "Query: {passages}\n\n[1] {query} and {count}\n[2] x\n" in shown
    assert "{how}" not in shown
    assert (
        Asking(questions=Questions(relevance="{query}? {passages}")).relevance("a", "b") == "a? b"
    )
    with pytest.raises(OptionError, match=r"'letter' does not show \{passages\}"):
        Questions(letter="{query}")


def reads(limit, *, told=True):
    """A model that reads so many words; it says so, or a server refuses."""
    asked = []

    def fits(prompt):
        return len(prompt.split()) <= limit

    def write(prompts):
        asked.append(len(prompts[0].split()))
        if not fits(prompts[0]):
            raise RefusedError("too long", 400, "maximum context length is 9 tokens")
        return ["[1]"]

    return (write, fits if told else None, asked)


@pytest.mark.parametrize("told", [True, False])
def test_passages_longer_than_the_window_are_shown_shorter(told):
    write, fits, asked = reads(200, told=told)
    ranker = LanguageRanker(write=write, fits=fits, children=5, k=1)
    found = ranker("q", PASSAGES)
    assert (found.invalid, found.gave_up) == (0, False)
    assert ranker.spent.shortened == found.calls
    assert ranker.spent.long == 0
    assert 100 < asked[-1] <= 200
    assert (len(asked) == found.calls) == told
    write, fits, asked = reads(10**6, told=told)
    ranker = LanguageRanker(write=write, fits=fits, children=5, k=1)
    ranker("q", PASSAGES)
    assert (ranker.spent.shortened, asked[-1] > 300) == (0, True)


@pytest.mark.parametrize("told", [True, False])
def test_what_does_not_fit_with_a_word_of_each_is_left_out(told):
    write, fits, _ = reads(20, told=told)
    ranker = LanguageRanker(write=write, fits=fits, children=5, k=1)
    found = ranker("q", PASSAGES)
    assert (found.gave_up, found.order) == (True, tuple(range(6)))
    assert ranker.spent.long == found.invalid == found.calls
    assert ranker.spent.shortened == 0


def test_other_refusals_end_the_run():
    def write(prompts):
        raise RefusedError("no such model", 404, "no such model")

    with pytest.raises(RefusedError, match="no such model"):
        LanguageRanker(write=write)("q", PASSAGES)


def test_the_context_holds_the_answer_too(lm):
    """Room for what is thought is kept free: a question that would leave less is shortened."""
    from policyrank.models.language import load_causal_lm

    model, tokenizer = load_causal_lm(str(lm), device="cpu")  # 256 characters
    asking = Asking(questions=Questions(choice="{query} {passages}"))
    spent = Spent()
    write = writer(model, tokenizer, tokens=100, spent=spent)
    fits = fits_in(model, tokenizer, 100)
    assert fits("a" * 156)
    assert not fits("a" * 157)
    ranker = LanguageRanker(
        write=write, asking=asking, fits=fits, spent=spent, children=2, k=1, give_up=1.0
    )
    found = ranker("q", ["abc " * 20] * 3)
    assert spent.shortened == spent.answers == found.calls > 0
    assert spent.read <= 156 * found.calls
    assert 0 < spent.written <= 100 * found.calls
    with pytest.raises(OptionError, match="tokens=256: the model reads 256 in all"):
        fits_in(model, tokenizer, 256)


@pytest.mark.parametrize("answer", ["[3]", "[3] > [3] > [3]", "[3] > [9]", "[3] > [1] > [2] > [3]"])
def test_one_passage_or_repeated_ones_order_what_they_say(answer):
    """What is named comes first, the others follow as they stood; how often is counted."""
    ranker = LanguageRanker(write=lambda prompts: [answer], method="listwise-window")
    found = ranker("q", ["a", "b", "c"])
    assert (found.order, found.invalid) == ((2, 0, 1), 0)
    assert ranker.spent.mended == 1
    assert "1 orders left passages out, or named them twice" in ranker.spent.notes()[0]


def test_tokens_of_an_endpoint_and_answers_that_were_cut(tmp_path):
    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ended = "length" if "odd" in body["messages"][0]["content"] else "stop"
            reply = {"choices": [{"message": {"content": "[1]"}, "finish_reason": ended}]}
            if "mute" not in body["messages"][0]["content"]:
                reply["usage"] = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    asked = Endpoint(url, "m", cache=tmp_path / "c.jsonl")
    asked(["even", "odd", "mute"])
    spent = asked.spent
    assert (spent.read, spent.written, spent.answers, spent.told) == (14, 4, 3, 2)
    assert (spent.cut, spent.kept) == (1, 0)
    assert spent.notes()[:2] == [
        "14 tokens read, 4 written (as 2 of 3 answers tell)",
        "! 1 answers were cut at the most tokens (tokens)",
    ]
    again = Endpoint(url, "m", cache=tmp_path / "c.jsonl")
    again(["even", "odd"])
    assert again.spent.notes() == ["2 answers kept from before"]
    server.shutdown()
    server.server_close()


def test_what_is_spent_is_counted_over_all_queries():
    ranker = LanguageRanker(write=lambda prompts: ["[2]"], method="listwise-window")
    list(rerank_all(ranker, [("q", ["a", "b", "c"])] * 4, concurrency=2))
    assert ranker.spent.mended == 4
