"""Rerank endpoints: what each shape sends, and what may come back: one score each, or one line."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from policyrank.errors import EvidenceError, OptionError
from policyrank.train.posting import RefusedError, post
from policyrank.train.rerank_endpoints import RerankEndpoint, rank_lists, read_scores

TEXTS = ["one", "two", "three"]
WORTH = {"one": 1.5, "two": -0.5, "three": 7.0}


def cohere(body):
    rows = [{"index": k, "relevance_score": WORTH[d]} for k, d in enumerate(body["documents"])]
    rows.sort(key=lambda row: -row["relevance_score"])
    units = {"billed_units": {"search_units": 1}, "api_version": {"version": "2"}}
    return {"id": "x", "results": rows[: body.get("top_n", 3)], "meta": units}


def jina(body):
    rows = cohere(body)["results"]
    rows = [row | {"document": {"text": "..."}} for row in rows]
    return {"model": "m", "object": "list", "usage": {"total_tokens": 11}, "results": rows}


def vllm(body):
    rows = jina(body)["results"]
    usage = {"total_tokens": 12, "prompt_tokens": 12}
    return {"id": "rerank-1", "model": "m", "usage": usage, "results": rows}


def vllm_score(body):
    rows = [
        {"index": k, "object": "score", "score": WORTH[d]} for k, d in enumerate(body["text_2"])
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0}
    return {"id": "score-1", "object": "list", "created": 1, "data": rows, "usage": usage}


def tei(body):
    rows = [{"index": k, "score": WORTH[text]} for k, text in enumerate(body["texts"])]
    return sorted(rows, key=lambda row: -row["score"])


def voyage(body):
    return {"object": "list", "data": cohere(body)["results"], "usage": {"total_tokens": 3}}


@pytest.fixture
def server(monkeypatch):
    """A server: ``reply`` makes (status, headers, body) of a request; ``asked`` has them all."""
    monkeypatch.setattr("time.sleep", lambda seconds: found.slept.append(seconds))
    found = SimpleNamespace(asked=[], slept=[], reply=None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append((self.path, dict(self.headers), body))
            made = found.reply(body)
            status, headers, said = made if isinstance(made, tuple) else (200, {}, made)
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.handle_error = lambda *_: None  # who asked went away
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    found.url = f"http://127.0.0.1:{running.server_port}"
    yield found
    running.shutdown()
    running.server_close()


SHAPES = [
    ("/v2/rerank", {}, cohere, None, {"query", "documents", "top_n"}),
    ("/v1/rerank", {"model": "m"}, jina, 11, {"model", "query", "documents", "top_n"}),
    (
        "/v1",
        {"truncate": True},
        vllm,
        12,
        {"query", "documents", "top_n", "truncate_prompt_tokens"},
    ),
    ("/v1/score", {"model": "m"}, vllm_score, 5, {"model", "text_1", "text_2"}),
    ("/v1", {"api": "score"}, vllm_score, 5, {"text_1", "text_2"}),
    ("", {"api": "tei"}, tei, None, {"query", "texts", "raw_scores", "truncate"}),
    ("/v1/rerank", {"model": "m"}, voyage, 3, {"model", "query", "documents", "top_n"}),
]


@pytest.mark.parametrize(("path", "options", "reply", "tokens", "sent"), SHAPES)
def test_shapes(server, path, options, reply, tokens, sent):
    server.reply = reply
    endpoint = RerankEndpoint(server.url + path, **options)
    found, kept = endpoint.scores("q", TEXTS)
    assert (found.scores, found.tokens, kept) == ((1.5, -0.5, 7.0), tokens, False)
    assert not found.unordered
    ((asked, _, body),) = server.asked
    assert asked.endswith("/score" if reply is vllm_score else "/rerank")
    assert set(body) == sent
    assert body.get("top_n", 3) == 3
    assert body.get("query", body.get("text_1")) == "q"


def test_a_server_that_cuts_unless_told_is_told(server):
    server.reply = lambda body: cohere(body | {"top_n": min(body.get("top_n", 1), 3)})
    assert RerankEndpoint(server.url).scores("q", TEXTS)[0].scores == (1.5, -0.5, 7.0)


def row(index, score=1.0):
    return {"index": index, "relevance_score": score}


WRONG = [
    ({"results": [row(0), row(1)]}, "scores 2 of 3 documents: does the server cut"),
    ({"results": [row(0), row(1), row(1)]}, "names document 1 twice"),
    ({"results": [row(0), row(1), row(3)]}, "names document 3 of 3"),
    ({"results": [row(0), row(1), row(-1)]}, "names document -1 of 3"),
    ({"results": [row(0), row(1), row(2, None)]}, "no number as the score of document 2"),
    ({"results": [row(0), row(1), row(2, float("nan"))]}, "no number as the score of document 2"),
    ({"results": [row(0), row(1), row(2, 1e999)]}, "no number as the score of document 2"),
    ({"results": [row(0), row(1), {"index": 2}]}, "no number as the score of document 2"),
    ({"results": [row(0), row(1), row(2, "7")]}, "the reply"),
    ({"results": [row(0), row(1), {"relevance_score": 1}]}, "the reply"),
    ({"message": "hello"}, "holds no results"),
    (b"", "the reply"),
    (b"<html>busy</html>", "the reply"),
    ([], "scores 0 of 3 documents"),
]


@pytest.mark.parametrize(("reply", "says"), WRONG, ids=lambda own: repr(own)[:40])
def test_what_comes_back_wrong_is_one_line(server, reply, says, tmp_path):
    server.reply = lambda _: reply
    endpoint = RerankEndpoint(server.url, retries=1, cache=tmp_path / "kept.jsonl")
    with pytest.raises(EvidenceError, match=says) as error:
        endpoint.scores("q", TEXTS)
    assert len(str(error.value).splitlines()) == 1
    assert len(server.asked) == 2
    assert not (tmp_path / "kept.jsonl").exists()


def test_scores_out_of_order_are_counted():
    listed = [row(2, 1.0), row(0, 3.0), row(1, 2.0)]
    found = read_scores(json.dumps(listed).encode(), 3)
    assert (found.scores, found.unordered) == ((3.0, 2.0, 1.0), True)
    assert not read_scores(json.dumps(listed).encode(), 3, by_score=False).unordered


def test_failures_that_may_pass_are_waited_for(server):
    waiting = [
        (503, {}, b"down"),
        (429, {"Retry-After": "7"}, b""),
        (429, {"Retry-After": "1e9"}, b""),
    ]
    server.reply = lambda body: waiting.pop(0) if waiting else cohere(body)
    assert RerankEndpoint(server.url).scores("q", TEXTS)[0].scores[2] == 7.0
    assert server.slept == [1.0, 7.0, 4.0]
    server.reply = lambda _: (500, {}, b"out of\nmemory")
    with pytest.raises(EvidenceError, match=r"500 out of memory\. Answers had so far"):
        RerankEndpoint(server.url, retries=0).scores("q", TEXTS)


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [
        (400, "This model's maximum context length is 512 tokens.", "truncate"),
        (413, "batch size 40 > maximum allowed batch size 32", "at-once"),
        (422, "`inputs` must have less than 512 tokens. Given: 600", "truncate"),
        (422, "missing field `texts`", r"api: rerank, score, tei"),
        (404, "no such model", "served-model"),
        (401, "who are you?", "401 who are you"),
    ],
)
def test_refusals_are_told_once_with_a_remedy(server, status, said, remedy):
    server.reply = lambda _: (status, {}, said.encode())
    with pytest.raises(EvidenceError, match=remedy):
        RerankEndpoint(server.url).scores("q", TEXTS)
    assert len(server.asked) == 1


def test_what_is_too_long(server):
    server.reply = lambda _: (400, {}, b"maximum context length is 512 tokens")
    with pytest.raises(RefusedError) as error:
        post(server.url, {}, bytes.decode)
    assert error.value.too_long
    assert not RefusedError("", 401, "context length").too_long
    assert not RefusedError("", 400, "no such field").too_long


def test_a_server_that_says_nothing_runs_out_of_time(server):
    waits = threading.Event()
    server.reply = lambda body: waits.wait(20) or cohere(body)
    with pytest.raises(EvidenceError, match="timed out"):
        RerankEndpoint(server.url, timeout=0.2, retries=1).scores("q", TEXTS)
    assert len(server.asked) == 2
    waits.set()
    with pytest.raises(EvidenceError, match=r"refused|reset|closed"):
        RerankEndpoint("http://127.0.0.1:9", retries=0).scores("q", TEXTS)


LISTS = [(f"q{k}", TEXTS) for k in range(6)]


def test_many_lists_by_several_at_once_go_on_where_they_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "secret")
    cache = tmp_path / "kept.jsonl"
    server.reply = lambda body: cohere(body) if body["query"] != "q4" else (400, {}, b"no")
    endpoint = RerankEndpoint(server.url, key="KEY", cache=cache, workers=3)
    with pytest.raises(EvidenceError, match="400 no"):
        rank_lists(endpoint, LISTS)
    assert {own["Authorization"] for _, own, _ in server.asked} == {"Bearer secret"}
    had = len(cache.read_text().splitlines())
    assert had >= 2
    server.asked.clear()
    server.reply = cohere
    told = []
    again = RerankEndpoint(server.url, key="KEY", cache=cache, workers=3)
    found, met = rank_lists(again, LISTS, report=lambda *own: told.append(own))
    assert found == [(1.5, -0.5, 7.0)] * 6
    assert (met.kept, met.requests, len(server.asked)) == (had, 6 - had, 6 - had)
    assert told[-1] == (6, 6)
    for other in ({"model": "other"}, {"truncate": True}):
        found, met = rank_lists(RerankEndpoint(server.url, key="KEY", cache=cache, **other), LISTS)
        assert met.requests == 6
    monkeypatch.delenv("KEY")
    with pytest.raises(EvidenceError, match="variable KEY"):
        rank_lists(endpoint, LISTS)


def test_parts_and_a_budget(server):
    server.reply = tei
    endpoint = RerankEndpoint(server.url, api="tei", at_once=2)
    found, met = rank_lists(endpoint, [("q", TEXTS), ("r", TEXTS[:2]), ("s", []), ("t", TEXTS)])
    assert found == [(1.5, -0.5, 7.0), (1.5, -0.5), (), (1.5, -0.5, 7.0)]
    assert sorted(len(body["texts"]) for _, _, body in server.asked) == [1, 1, 2, 2, 2]
    assert (met.split, met.requests) == (2, 5)
    server.asked.clear()
    found, met = rank_lists(endpoint, [("q", TEXTS), ("r", TEXTS), ("s", TEXTS[:1])], calls=3)
    assert [own is None for own in found] == [False, True, True]
    assert (len(server.asked), met.requests, met.refused) == (2, 2, 3)
    found, met = rank_lists(endpoint, [("q", TEXTS)], calls=2)
    assert (found, met.refused) == ([(1.5, -0.5, 7.0)], 0)
    many = [f"one{k}" for k in range(70)]
    server.reply = lambda body: [{"index": k, "score": 1} for k, _ in enumerate(body["texts"])]
    _, met = rank_lists(RerankEndpoint(server.url, api="tei"), [("q", many)])
    assert met.requests == 3
    with pytest.raises(OptionError, match="api='bogus'"):
        RerankEndpoint(server.url, api="bogus")


def test_what_a_server_tells_of_cutting_is_counted(server):
    server.reply = lambda body: cohere(body) | {"meta": {"truncated": [0, 2]}}
    _, met = rank_lists(RerankEndpoint(server.url), LISTS[:2])
    assert met.truncated == 4
