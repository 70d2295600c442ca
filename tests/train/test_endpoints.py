"""What endpoints may send, and what their caches may hold: answers, or one line."""

import http.client
import io
import json
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from policyrank.errors import EvidenceError

pytest.importorskip("torch")
from policyrank.train.endpoints import Endpoint

GOOD = {"choices": [{"message": {"content": "yes"}}]}


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    """An endpoint whose server sends these, one after the other, the last of them for ever."""
    monkeypatch.setattr("time.sleep", lambda _: None)

    def make(*replies, **options):
        waiting = list(replies)

        def send(*_, **__):
            reply = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if isinstance(reply, Exception):
                raise reply
            return io.BytesIO(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        monkeypatch.setattr("urllib.request.urlopen", send)
        options = {"cache": tmp_path / "cache.jsonl", "workers": 1, "retries": 2} | options
        return Endpoint("http://localhost:1/v1", "m", **options)

    return make


WRONG = [
    *({"choices": []}, {}, [], None, 3, {"choices": None}, {"choices": {}}, {"choices": [None]}),
    *({"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": [{"message": "yes"}]}),
    *({"choices": [{"message": {"content": 3}}]}, {"choices": [{"message": {"content": ["a"]}}]}),
    *({"error": {"message": "no\nsuch\x1b[31m model"}}, b"", b"<html>busy</html>", b"[" * 100_000),
    *(b'{"choices": [{"message": {"con', b"\xff\xfe", b'{"choices": 1e999}'),
    *(http.client.IncompleteRead(b"{"), http.client.BadStatusLine(""), TimeoutError("timed out")),
    urllib.error.HTTPError("http://localhost", 500, "down", {}, io.BytesIO(b"a\nb")),
]


@pytest.mark.parametrize("reply", WRONG, ids=lambda reply: repr(reply)[:40])
def test_replies_of_other_shapes_are_one_line_and_asked_for_again(reply, endpoint):
    with pytest.raises(EvidenceError, match=r"localhost:1/v1/chat/completions: ") as error:
        endpoint(reply)(["p"])
    assert len(str(error.value).splitlines()) == 1
    assert endpoint(reply, GOOD)(["p"]) == [["yes"]]


def test_more_answers_than_were_asked_for_are_not_kept(endpoint):
    many = {"choices": [{"message": {"content": str(k)}} for k in range(3)]}
    assert endpoint(many)(["p"], 2) == [["0", "1"]]
    assert endpoint(GOOD)(["p"], 2) == [["0", "1"]]
    assert endpoint({"choices": [{"message": {"content": None}}]})(["q"]) == [[""]]


def test_addresses_that_are_none_are_one_line():
    with pytest.raises(EvidenceError, match="unknown url type"):
        Endpoint("nowhere", "m")(["p"])


def test_half_a_line_in_the_cache_is_asked_for_again(endpoint, tmp_path):
    endpoint(GOOD)(["p", "q"])
    path = tmp_path / "cache.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    said = []
    assert endpoint({"choices": []}, report=said.append)(["p"]) == [["yes"]]
    assert len(said) == 1
    assert "line 2: half a line" in said[0]
    asking = endpoint(GOOD)
    assert asking(["p", "q"]) == [["yes"], ["yes"]]
    assert path.read_bytes() == whole
    path.write_bytes(b"nonsense\n" + whole)
    assert asking(["p"]) == [["yes"]]  # it has read the file
    with pytest.raises(EvidenceError, match=r"cache\.jsonl, line 1"):
        endpoint(GOOD)(["p"])


def test_endpoints_are_asked_once_and_again_after_failures(tmp_path, monkeypatch):
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body["messages"][0]["content"]))
            if len(asked) == 1:
                self.send_response(503)
                self.end_headers()
                return
            if body["messages"][0]["content"] == "bad":
                self.send_response(400)
                self.end_headers()
                self.wfile.write(b"no such model")
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                json.dumps(
                    {
                        "choices": [
                            {"message": {"content": "answer " + body["messages"][0]["content"]}}
                        ]
                    }
                ).encode()
            )

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("KEY", "secret")
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    teacher = Endpoint(url, "m", "KEY", cache=tmp_path / "cache.jsonl", workers=1)
    assert teacher(["p", "q"], 2) == [["answer p"] * 2, ["answer q"] * 2]
    assert asked[0] == ("/v1/chat/completions", "Bearer secret", "p")
    count = len(asked)
    assert teacher(["q", "p"], 2) == [["answer q"] * 2, ["answer p"] * 2]
    assert len(asked) == count
    elsewhere = Endpoint(url + "v2/", "m", "KEY", cache=tmp_path / "cache.jsonl")
    assert elsewhere(["p"], 2) == [["answer p"] * 2]
    assert asked[-1][0] == "/v1/v2/chat/completions"
    with pytest.raises(EvidenceError, match="400 no such model"):
        teacher(["bad"])
    monkeypatch.delenv("KEY")
    with pytest.raises(EvidenceError, match="variable KEY"):
        teacher(["p"])
    server.shutdown()


def test_many_at_once_keep_whole_lines_and_read_the_file_once(endpoint, tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from policyrank.train import endpoints

    asked = endpoint(GOOD)
    read, calls = endpoints.read_kept_lines, []
    monkeypatch.setattr(endpoints, "read_kept_lines", lambda *own: calls.append(1) or read(*own))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: asked([f"prompt {k % 40}"]), range(200)))
    assert found == [[["yes"]]] * 200
    lines = (tmp_path / "cache.jsonl").read_text().splitlines()
    assert {json.loads(line)["answers"][0] for line in lines} == {"yes"}
    assert 40 <= len(lines) <= 200
    assert len(calls) == 1
