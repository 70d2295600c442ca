"""A ranker behind HTTP: what it answers, what it refuses, and that it lives on."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from policyrank.train.asking import Asking
from policyrank.train.batching import Batches
from policyrank.train.language_rankers import LanguageRanker
from policyrank.train.rankers import RANKERS
from policyrank.train.saved_rankers import FeatureRanker
from policyrank.train.served import Answered, Asked, ServedFeatures
from policyrank.train.served_language import ServedLanguage
from policyrank.train.serving import Limits, rerank_app


class Lengths:
    """Scores a text by its length, reads ten characters of it; what it is told breaks it."""

    kind, longest, ordered = "cross-encoder", 10, False

    def __init__(self):
        self.batches, self.hold = [], None

    def check(self, asked):
        pass

    def __call__(self, asked):
        self.batches.append([len(own.documents) for own in asked])
        if self.hold is not None:
            self.hold.wait(10)
        return [self.one(own) for own in asked]

    def one(self, asked):
        texts = asked.documents
        if "boom" in texts:
            raise ValueError("boom")
        if "big" in texts:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        scores = [float("nan") if text == "nan" else float(len(text)) for text in texts]
        cut = tuple(k for k, text in enumerate(texts) if len(text) > 10)
        return Answered(tuple(scores), sum(min(len(text), 10) for text in texts), cut)


@pytest.fixture
def served():
    """A client of a server of ``Lengths``; what it was told of failures."""
    made = []

    def make(**options):
        ranker, told = Lengths(), []
        app = rerank_app(ranker, "mine", report=told.append, **options)
        client = TestClient(app, raise_server_exceptions=False).__enter__()
        made.append(client)
        return SimpleNamespace(client=client, ranker=ranker, told=told, post=client.post)

    yield make
    for client in made:
        client.__exit__(None, None, None)


ASKED = {"query": "q", "documents": ["aa", {"text": "aaaa"}, "a"]}


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_rerank(served, path):
    answer = served().post(path, json=ASKED)
    assert answer.status_code == 200
    found = answer.json()
    assert [(row["index"], row["relevance_score"]) for row in found["results"]] == [
        (1, 4.0),
        (0, 2.0),
        (2, 1.0),
    ]
    assert "document" not in found["results"][0]
    assert (found["model"], found["usage"]["total_tokens"]) == ("mine", 7)
    assert found["meta"]["truncated"] == found["meta"]["warnings"] == []


def test_how_many_results_and_with_what(served):
    post = served().post
    found = post("/v1/rerank", json=ASKED | {"top_n": 2, "return_documents": True}).json()
    assert [row["document"]["text"] for row in found["results"]] == ["aaaa", "aa"]
    for top_n in (None, 0, 99):
        found = post("/v1/rerank", json=ASKED | {"top_n": top_n, "model": "mine"}).json()
        assert len(found["results"]) == 3
    tied = post("/v1/rerank", json=ASKED | {"documents": ["b", "a", "c"]}).json()
    assert [row["index"] for row in tied["results"]] == [0, 1, 2]


def test_what_is_cut_and_what_is_not_read_is_said(served):
    post = served().post
    long = ASKED | {"documents": ["a", "b" * 11]}
    found = post("/v1/rerank", json=long | {"max_chunks_per_doc": 3}).json()
    assert found["meta"]["truncated"] == [1]
    assert found["meta"]["warnings"] == [
        "not read: max_chunks_per_doc",
        "1 documents are longer than the ranker reads: their end was not read",
    ]
    assert post("/v1/rerank", json=long | {"truncate_prompt_tokens": -1}).status_code == 200
    found = post("/v1/rerank", json=long | {"truncate_prompt_tokens": 3}).json()
    assert "truncate_prompt_tokens" in found["meta"]["warnings"][0]
    answer = post("/v1/rerank", json=long | {"truncation": False})
    assert answer.status_code == 400
    assert "documents 1 are longer than the 10 tokens" in answer.json()["detail"]
    found = post("/v1/score", json={"text_1": ["q", "r"], "text_2": ["a", "b" * 11]}).json()
    assert found["meta"]["truncated"] == [1]


def test_scores(served):
    post = served().post
    for first, second, scores in (
        ("q", "aa", [2.0]),
        ("q", ["aa", "a"], [2.0, 1.0]),
        (["q"], ["aa", "a"], [2.0, 1.0]),
        (["q", "r"], ["aa", "a"], [2.0, 1.0]),
    ):
        found = post("/v1/score", json={"text_1": first, "text_2": second}).json()
        assert [row["score"] for row in found["data"]] == scores
        assert [row["index"] for row in found["data"]] == list(range(len(scores)))
    answer = post("/v1/score", json={"text_1": ["q", "r"], "text_2": ["a"]})
    assert answer.status_code == 422
    assert "2 texts" in answer.json()["message"]
    assert post("/v1/score", json={"text_1": [], "text_2": ["a"]}).status_code == 422


def test_scores_between_0_and_1(served):
    post = served(sigmoid=True).post
    found = post("/v1/score", json={"text_1": "q", "text_2": ["", "aa", "a" * 800]}).json()
    scores = [row["score"] for row in found["data"]]
    assert scores == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 1.0])


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"query": "q"}, 422, "documents"),
        ({"query": "q", "documents": []}, 422, "documents"),
        ({"query": "q", "documents": ["a", 3]}, 422, "documents.1"),
        ({"query": "q", "documents": [{}]}, 422, "document 0: give"),
        ({"query": 3, "documents": ["a"]}, 422, "query"),
        ({"query": "q", "documents": ["a"], "top_n": -1}, 422, "top_n"),
        ({"query": "q", "documents": ["a"] * 6}, 400, "6 documents in a request: at most 5"),
        ({"query": "q", "documents": ["a"], "model": "z"}, 404, "'mine' is"),
        ({"query": "q", "documents": ["nan"]}, 500, "document 0 no finite score"),
        ({"query": "q", "documents": ["boom"]}, 500, "the ranker failed (ValueError)"),
        ({"query": "q", "documents": ["big"]}, 500, "out of memory: send fewer"),
        (b"{", 400, "no JSON"),
        (b"[" * 5000, 400, ""),
        (b"3", 422, ""),
    ],
)
def test_what_is_refused_or_fails_is_told_in_the_shape_of_the_apis(served, body, code, says):
    here = served(limits=Limits(documents=5))
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = here.post("/v1/rerank", content=data, headers={"Content-Type": "application/json"})
    found = answer.json()
    assert answer.status_code == code
    assert says in found["error"]["message"]
    assert found["error"]["code"] == code
    assert found["message"] == found["detail"] == found["error"]["message"]
    assert here.post("/v1/rerank", json=ASKED).status_code == 200


def test_other_forms_and_places(served):
    here = served(limits=Limits(bytes=200))
    assert "application/json" in here.post("/v1/rerank", content=b'{"a": 1}').json()["detail"]
    assert here.client.get("/v1/rerank").status_code == 405
    assert here.client.get("/nowhere").json()["error"]["code"] == 404
    assert here.client.get("/health").json() == {"status": "ok", "waiting": 0}
    (model,) = here.client.get("/v1/models").json()["data"]
    assert (model["id"], model["kind"], model["max_model_len"]) == ("mine", "cross-encoder", 10)
    long = {"query": "q" * 200, "documents": ["a"]}
    assert here.post("/v1/rerank", json=long).status_code == 413
    parts = (part for part in (b'{"query": "', b"q" * 300, b'", "documents": ["a"]}'))
    headers = {"Content-Type": "application/json"}
    answer = here.post("/v1/rerank", content=parts, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, 413)


def test_a_key_is_asked_for(served):
    here = served(key="sésame")
    assert here.client.get("/health").status_code == 200
    for told in (None, "Bearer no", "sésame"):
        headers = {} if told is None else {"Authorization": told.encode()}
        assert here.post("/v1/rerank", json=ASKED, headers=headers).status_code == 401
    headers = {"Authorization": "Bearer sésame".encode()}
    assert here.post("/v1/rerank", json=ASKED, headers=headers).status_code == 200


def test_requests_that_wait_are_scored_together(served):
    """While one is scored others come: they make one batch, and one that fails fails alone."""
    here = served(limits=Limits(documents=5, waiting=4))
    here.ranker.hold = threading.Event()

    def ask(*documents):
        body = {"query": "q", "documents": documents}
        return here.post("/v1/rerank", json=body)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, "a")
        wait_for(lambda: here.ranker.batches)
        others = [pool.submit(ask, *own) for own in (["aa", "b"], ["boom"], ["ccc"], ["d", "e"])]
        wait_for(lambda: here.client.get("/health").json()["waiting"] == 4)
        assert pool.submit(ask, "late").result().status_code == 503
        here.ranker.hold.set()
        codes = [own.result().status_code for own in others]
    assert first.result().json()["results"][0]["relevance_score"] == 1.0
    assert sorted(codes) == [200, 200, 200, 500]
    assert here.ranker.batches[0] == [1]
    assert len(here.ranker.batches[1]) >= 3
    assert sum(here.ranker.batches[1]) <= 5
    assert any("boom" in own for own in here.told)


def wait_for(happens):
    end = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_who_went_away_is_not_scored():
    ranker = Lengths()

    async def go():
        batches = Batches(ranker)
        gone = asyncio.create_task(batches.score([Asked("q", ["a"])]))
        stays = asyncio.create_task(batches.score([Asked("q", ["aa"])]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        running = asyncio.create_task(batches.run())
        found = await stays
        running.cancel()
        return found

    assert asyncio.run(go())[0].scores == (2.0,)
    assert ranker.batches == [[1]]


def test_a_ranker_of_features():
    torch.manual_seed(0)
    model = RANKERS["transformer"](3, width=8, layers=1)
    ranker = ServedFeatures(FeatureRanker(model, 3, 1, standardise=True))
    rows = np.random.default_rng(0).normal(size=(5, 3)).tolist()
    with TestClient(rerank_app(ranker, "mine")) as client:

        def ask(documents):
            body = {"query": "", "documents": documents, "return_documents": True}
            return client.post("/v1/rerank", json=body)

        found = ask([{"features": row} for row in rows]).json()["results"]
        assert found[0]["document"]["features"] == rows[found[0]["index"]]
        scores = {row["index"]: row["relevance_score"] for row in found}
        assert len(set(scores.values())) == 5
        for documents in ([{"features": [1, 2]}], ["text"], [{"features": [1, 2, 1e300]}]):
            assert ask(documents).status_code == 422
        assert client.post("/v1/score", json={"text_1": "a", "text_2": "b"}).status_code == 422
    from policyrank.train import RankerTrainer, RankingData

    data = RankingData.of(["q"] * 5, np.zeros(5), np.array(rows)).standardised()
    expected = RankerTrainer(model).scores(data)
    assert [scores[k] for k in range(5)] == pytest.approx(expected.tolist(), abs=1e-6)


class Longest:
    """Prefers the longest passage; says Yes the surer the longer, and nothing of "mute"."""

    def __init__(self, **options):
        self.options = {"weigh": self.weigh, **options}

    def weigh(self, prompts, labels):
        self.ranker.spent.add(read=5 * len(prompts), answers=len(prompts), told=len(prompts))
        return np.array([self.chances(prompt, labels) for prompt in prompts])

    def chances(self, prompt, labels):
        if "mute" in prompt:
            return [np.nan] * len(labels)
        if len(labels) == 2 and labels[0] == "Yes":
            share = prompt.count("a") / 1000
            return [share, 1 - share]
        shown = [prompt.split(f"\n{label}: ")[1].split("\n")[0] for label in labels]
        return [len(text) for text in shown]

    def client(self):
        self.ranker = LanguageRanker(**self.options)
        return TestClient(rerank_app(ServedLanguage(self.ranker), "mine"))


def test_a_language_model_orders_documents():
    texts = ["aa", "aaaa", "a", "aaa bbb ccc"]
    asked = {"query": "q", "documents": texts}
    with Longest(children=2).client() as client:
        answer = client.post("/v1/rerank", json=asked).json()
        found = [(row["index"], row["relevance_score"]) for row in answer["results"]]
        assert found == [(3, 4.0), (1, 3.0), (0, 2.0), (2, 1.0)]
        assert answer["meta"]["warnings"] == []
        assert answer["usage"]["total_tokens"] > 0
        assert answer["usage"]["total_tokens"] % 5 == 0
        # A text alone has no place in an order.
        pairs = client.post("/v1/score", json={"text_1": "q", "text_2": texts})
        assert pairs.status_code == 400
        assert "/v1/rerank" in pairs.json()["detail"]
        assert "model" in client.get("/v1/models").json()["data"][0]["object"]
        half = '{"query": "q", "documents": ["a", "\\ud800"]}'
        bad = client.post("/v1/rerank", content=half, headers={"content-type": "application/json"})
        assert bad.status_code == 422


def test_what_a_language_model_did_not_read_is_told():
    asking = Asking(query_words=2, passage_words=2)
    with Longest(asking=asking).client() as client:
        body = {"query": "one two three", "documents": ["mute", "mute b", "mute b c"]}
        meta = client.post("/v1/rerank", json=body).json()["meta"]
        assert meta["truncated"] == [2]
        assert any("query is longer than 2 words" in own for own in meta["warnings"])
        assert any("no answer that could be read" in own for own in meta["warnings"])
        assert any("as they were sent" in own for own in meta["warnings"])
        refused = client.post("/v1/rerank", json=body | {"truncation": False})
        assert refused.status_code == 400
        assert "documents 2 are longer than is read" in refused.json()["detail"]


def test_each_document_alone_has_its_chance():
    with Longest(method="pointwise").client() as client:
        body = {"query": "q", "documents": ["a" * 300, "mute", "a" * 20]}
        answer = client.post("/v1/rerank", json=body).json()
        assert [row["index"] for row in answer["results"]] == [0, 2, 1]
        scores = [row["relevance_score"] for row in answer["results"]]
        assert scores[0] > scores[1] > scores[2] == 0
        assert "1 of 3 questions had no answer" in answer["meta"]["warnings"][0]
        pairs = client.post("/v1/score", json={"text_1": "q", "text_2": body["documents"]})
        told = [row["score"] for row in pairs.json()["data"]]
        assert told == [scores[0], 0, scores[1]]
