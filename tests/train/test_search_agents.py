"""Agents that search: engines over anybody's corpus, answers judged by the data, and training."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("bm25s")

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import read_corpus
from policyrank.metrics.short_answers import (
    answer_f1,
    exact_match,
    holds_answer,
    query_words,
    token_f1,
)
from policyrank.models.sampling import Sampled
from policyrank.train import (
    Bm25Engine,
    DenseEngine,
    OracleEngine,
    Passage,
    RerankedEngine,
    SearchTask,
    ServerEngine,
    TurnLimits,
)
from policyrank.train.first_stage import bm25_run
from policyrank.train.group_data import encode_prompts
from policyrank.train.served import Answered
from policyrank.worlds.agents import search_environment

DOCUMENTS = {
    "ulm": "Ulm is a town on the Danube. Albert Einstein was born in Ulm.",
    "bern": "Bern is the capital of Switzerland. Einstein worked in Bern.",
    "kepler": "Johannes Kepler was an astronomer who died in Regensburg.",
}
ROWS = [
    {"question": "Where was Einstein born?", "answer": ["Ulm", "Ulm, Germany"]},
    {"question": "Where did Kepler die?", "answer": "Regensburg"},
]


def test_values_of_the_card():
    one, other = (
        "host nation of 2004 summer olympic games",
        "host nation of the 2004 Summer Olympics",
    )
    assert token_f1(query_words(one), query_words(other)) == pytest.approx(10 / 13)
    labels = query_words("Jay-Z current record label"), query_words("Jay-Z record label")
    assert token_f1(*labels) == pytest.approx(8 / 9)
    assert token_f1([], []) == 0
    assert not holds_answer("Pelé scored", ["Pele"])
    assert holds_answer("PELÉ scored", ["pele\u0301"])
    assert not holds_answer("in the US today", ["U.S."])
    assert exact_match("The Ulm", ["ulm"]) == 1
    assert answer_f1("town of Ulm", ["Ulm in the south", "Ulm"]) == pytest.approx(0.5)
    assert np.isnan(answer_f1("x", []))


def test_engines_by_words_and_by_vectors():
    engine = Bm25Engine(DOCUMENTS)
    run = bm25_run({"q": "Einstein born"}, DOCUMENTS)
    found = engine("Einstein born", 5)
    assert [own.name for own in found] == run["document"].to_list() == ["ulm", "bern"]
    assert [own.score for own in found] == run["score"].to_list()
    assert engine("zebra", 5) == []

    class Encoder:
        def encode(self, texts, **options):
            letters = "abcdefghijklmnopqrstuvwxyz"
            counts = np.array([[t.lower().count(c) for c in letters] for t in texts], dtype=float)
            return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    dense = DenseEngine(DOCUMENTS, Encoder())
    found = dense(DOCUMENTS["kepler"], 2)
    assert found[0].name == "kepler"
    assert found[0].score == pytest.approx(1, abs=1e-5)
    assert len(found) == 2


def test_a_learned_ranker_and_an_oracle_order_what_was_found():
    class Shortest:
        def __call__(self, asked):
            return [Answered(tuple(-float(len(text)) for text in asked[0].documents))]

    first = Bm25Engine(DOCUMENTS)
    found = RerankedEngine(first, Shortest(), depth=3)("Einstein was", 1)
    assert [own.name for own in found] == ["bern"]
    oracle = OracleEngine(first)
    assert [own.name for own in oracle.for_row({"answer": "Switzerland"})("Einstein born", 2)] == [
        "bern",
        "ulm",
    ]
    assert [own.name for own in oracle.for_row({"answer": "x"})("Einstein born", 2)] == [
        "ulm",
        "bern",
    ]
    with pytest.raises(OptionError, match="for_row"):
        oracle("Einstein", 1)
    world = search_environment(oracle, passages=1, question=None)
    world.reset({"answer": ["Switzerland"]})
    (call,) = world.step("<search>Einstein born</search>").info["calls"]
    assert call["detail"]["found"] == ["bern"]


@pytest.fixture
def server():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(server.reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.url = asked, f"http://127.0.0.1:{server.server_port}/retrieve"
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_a_running_server_searches(server):
    document = {"id": "7", "contents": "Ulm\nA town."}
    server.reply = {"result": [[{"document": document, "score": 2.5}, "a text alone"]]}
    found = ServerEngine(server.url)("where", 2)
    assert found == [Passage("7", "Ulm\nA town.", 2.5), Passage("2", "a text alone", 0.5)]
    assert server.asked == [{"queries": ["where"], "topk": 2, "return_scores": True}]
    for bad in ({}, {"result": []}, {"result": [[{"document": {"id": 1}}]]}):
        server.reply = bad
        with pytest.raises(EvidenceError, match=r"the reply has no result|has no contents"):
            ServerEngine(server.url, retries=0)("where", 2)
    world = search_environment(ServerEngine(server.url, retries=0), question=None)
    world.reset({"answer": "x"})
    assert world.step("<search>a</search>").info["troubles"] == ("tool raised",)


def test_corpora_of_all_kinds(tmp_path):
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "ulm.txt").write_text(DOCUMENTS["ulm"])
    (folder / "more" / "bern.md").write_text(DOCUMENTS["bern"])
    (folder / "empty.txt").write_text(" \n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    assert read_corpus(folder) == {"more/bern.md": DOCUMENTS["bern"], "ulm.txt": DOCUMENTS["ulm"]}
    lines = tmp_path / "texts.jsonl"
    lines.write_text(
        "".join(json.dumps({"_id": k, "text": t}) + "\n" for k, t in DOCUMENTS.items())
    )
    assert read_corpus(lines) == DOCUMENTS
    table = tmp_path / "texts.parquet"
    pl.DataFrame({"id": [1, 2], "title": ["Ulm", None], "contents": ["a town", "b"]}).write_parquet(
        table
    )
    assert read_corpus(table) == {"1": "Ulm a town", "2": "b"}
    parts = read_corpus(folder, words=7)
    assert parts["ulm.txt#1"] == "Ulm is a town on the Danube."
    assert " ".join(parts[f"ulm.txt#{k}"] for k in (1, 2)) == DOCUMENTS["ulm"]
    empty = tmp_path / "none"
    empty.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "odd.parquet")
    (tmp_path / "no.parquet").write_text("no")
    for bad in (empty, tmp_path / "odd.parquet", tmp_path / "no.parquet", tmp_path / "missing"):
        with pytest.raises(EvidenceError):
            read_corpus(bad)


@pytest.fixture(scope="module")
def bytewise():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={sign: k for k, sign in enumerate(signs)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>"
    )


class Scripted:
    def __init__(self, tokenizer, script):
        self.tokenizer, self.script, self.turn = tokenizer, script, 0

    def __call__(self, heads, samples, *, seed):
        texts = iter(self.script[self.turn])
        self.turn += 1
        made = []
        for _ in heads:
            group = [tuple(self.tokenizer(next(texts))["input_ids"]) for _ in range(samples)]
            made.append([Sampled("", ids, True, (-1.0,) * len(ids)) for ids in group])
        return made


def test_an_agent_searches_and_answers_as_search_r1_does(bytewise):
    limits = TurnLimits(turns=3, tokens=2000, read_tokens=900)
    task = SearchTask(Bm25Engine(DOCUMENTS), bytewise, limits=limits, passages=1)
    assert (task.style, task.chat) == ("tags", False)
    rows = task.rows(ROWS)
    assert rows[0]["prompt"].endswith("Question: Where was Einstein born?")
    data = encode_prompts(rows, bytewise, room=2000, chat=False).rows
    script = [
        ["<think>hm</think><search>Einstein born</search>", "<answer>Bern</answer>"],
        ["<answer>Ulm</answer>"],
    ]
    sampler = task.sampler(sampler=Scripted(bytewise, script))
    assert sampler.limits.stop == ("</search>", "</answer>")
    ((first, second),) = sampler.of_rows(data[:1], 2, seed=0)
    whole = bytewise.decode(first.ids)
    assert whole == (
        "<think>hm</think><search>Einstein born</search>\n\n<information>[1] (ulm) "
        f"{DOCUMENTS['ulm']}</information>\n\n<answer>Ulm</answer>"
    )
    assert first.columns["turn_rewards"] == (0.0, 1.0)
    assert first.columns["final_answer"] == "Ulm"
    assert second.columns["turn_rewards"] == (0.0,)
    read = [token for token, wrote in zip(first.ids, first.where, strict=True) if not wrote]
    assert bytewise.decode(read).strip().startswith("<information>")


def test_an_agent_calls_as_its_template_does(bytewise):
    from pathlib import Path

    folder = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"
    bytewise.chat_template = (folder / "qwen2_5.jinja").read_text(encoding="utf-8")
    try:
        limits = TurnLimits(turns=3, tokens=2000, read_tokens=900)
        task = SearchTask(Bm25Engine(DOCUMENTS), bytewise, limits=limits, passages=1)
        assert (task.style, task.chat) == ("json", True)
        rows = task.rows(ROWS)
        data = encode_prompts(rows, bytewise, room=4000).rows
        asked = bytewise.decode(data[0].ids)
        assert '"name": "search"' in asked
        assert "Question: Where was Einstein born?" in asked
        call = (
            '<tool_call>\n{"name": "search", "arguments": {"query": "Einstein born"}}\n</tool_call>'
        )
        script = [[call], ["<answer>Ulm</answer>"]]
        ((one,),) = task.sampler(sampler=Scripted(bytewise, script)).of_rows(data[:1], 1, seed=0)
        assert (
            f"<tool_response>\n[1] (ulm) {DOCUMENTS['ulm']}\n</tool_response>"
            in bytewise.decode(one.ids)
        )
        assert one.columns["turn_rewards"] == (0.0, 1.0)
        with pytest.raises(OptionError, match="messages of a chat"):
            SearchTask(Bm25Engine(DOCUMENTS), bytewise, style="json", chat=False)
    finally:
        bytewise.chat_template = None
    with pytest.raises(EvidenceError, match="no place for calls"):
        SearchTask(Bm25Engine(DOCUMENTS), bytewise, style="template")
    with pytest.raises(OptionError, match="style='jsn'"):
        SearchTask(Bm25Engine(DOCUMENTS), bytewise, style="jsn")


def test_answers_that_are_missing_are_not_rewarded(bytewise):
    world = search_environment(Bm25Engine(DOCUMENTS), question=None)
    for row in ({"answer": None}, {"answer": []}, {"answer": " "}):
        world.reset(row)
        assert np.isnan(world.step("<answer>Ulm</answer>").reward)
    world.reset({})
    with pytest.raises(OptionError, match="label='answer'"):
        world.step("<answer>Ulm</answer>")
    with pytest.raises(EvidenceError, match="row 1"):
        SearchTask(Bm25Engine(DOCUMENTS), bytewise).rows([{"query": "x"}])
