"""`policyrank serve`: each option does something, and `rerank` reads it as the ranker."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient

from policyrank.evidence import read_run

WORDS = "dogs puppy barks tax income deduction rain storm cloud about long"
QUERIES = {"dogs": "about dogs", "tax": "about tax"}
DOCUMENTS = {
    "d0": "dogs puppy barks",
    "d1": "tax income deduction",
    "d2": "rain storm cloud",
    "d3": "tax puppy" + " long" * 70,
}
TEXTS = ("--queries", "q.tsv", "--documents", "d.tsv", "--run", "run")


@pytest.fixture(scope="module")
def rankers(tmp_path_factory):
    """A folder with a bi-encoder, a cross-encoder, adapters, and a ranker of features."""
    pytest.importorskip("sentence_transformers")
    peft = pytest.importorskip("peft")
    from transformers import BertConfig, BertModel, BertTokenizer

    from policyrank.models.provenance import About
    from policyrank.train import RANKERS, bi_encoder, cross_encoder

    folder = tmp_path_factory.mktemp("rankers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder / "body")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(vocabulary), intermediate_size=32, max_position_embeddings=64, **sizes
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder / "body")
    body = str(folder / "body")
    bi_encoder(body, device="cpu").save(folder / "bi")
    cross_encoder(body, device="cpu").save(folder / "cross")
    About(kind="cross-encoder", base=body, max_length=64).write(folder / "cross")
    adapted = bi_encoder(str(folder / "bi"), device="cpu")
    adapted.adapt(peft.LoraConfig(r=2, init_lora_weights=False, target_modules=["query"]))
    adapted.save(folder / "adapters")
    About(kind="bi-encoder", base=str(folder / "bi"), adapter=True).write(folder / "adapters")
    model = RANKERS["linear"](3)
    kept = {"kind": "linear", "features": 3, "options": {}, "weights": model.state_dict()}
    torch.save({**kept, "standardise": False}, folder / "features.pt")
    return folder


@pytest.fixture
def here(ran, rankers, tmp_path, monkeypatch):
    """Small files, and rankers beside them."""
    monkeypatch.chdir(tmp_path)
    for own in ("bi", "cross", "adapters", "features.pt", "body"):
        (tmp_path / own).symlink_to(rankers / own)
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in DOCUMENTS.items()))
    rows = [f"{q} Q0 {d} 1 {9 - k} r\n" for q in QUERIES for k, d in enumerate(DOCUMENTS)]
    (tmp_path / "run").write_text("".join(rows))
    return ran


@pytest.fixture
def serve(here, monkeypatch):
    """What `policyrank serve` would run: a client of it, where it listens, and what was said."""
    from policyrank.cli import serve as verb

    made, clients = [], []
    monkeypatch.setattr(verb, "_run", lambda *own: made.append(own))

    def call(ranker, *words, code=0, asked=True):
        said = here("serve", ranker, *words, code=code)
        if code:
            return said
        app, listening, name, kind = made[-1]
        host, port = listening.getsockname()[:2]
        listening.close()
        client = TestClient(app, raise_server_exceptions=False)
        if asked:
            clients.append(client.__enter__())

        def scores(**more):
            body = {"query": QUERIES["tax"], "documents": list(DOCUMENTS.values()), **more}
            answer = client.post("/v1/rerank", json=body)
            return {row["index"]: row["relevance_score"] for row in answer.json()["results"]}

        return SimpleNamespace(
            app=app, client=client, name=name, kind=kind, host=host, port=port, err=said.err,
            scores=scores,
        )  # fmt: skip

    yield call
    for client in clients:
        client.__exit__(None, None, None)


def test_what_is_served(serve):
    free = ("--port", 0)
    plain = serve("bi", "--kind", "bi-encoder", *free)
    assert (plain.kind, plain.name, plain.host) == ("bi-encoder", "bi", "127.0.0.1")
    cross = serve("cross", *free)
    assert cross.kind == "cross-encoder"
    assert serve("adapters", *free).scores() != pytest.approx(plain.scores(), abs=1e-4)
    assert serve("features.pt", *free).kind == "features"
    short = serve("cross", *free, "--max-length", 8)
    assert "was trained with max_length 64: it is 8 now, as told" in short.err
    answer = short.client.post("/v1/rerank", json={"query": "tax", "documents": ["long " * 9]})
    assert answer.json()["meta"]["truncated"] == [0]
    half = serve("cross", *free, "--dtype", "bfloat16").scores()
    assert half == pytest.approx(cross.scores(), abs=0.1)
    assert half != cross.scores()
    shares = serve("cross", *free, "--sigmoid").scores()
    whole = torch.tensor([cross.scores()[k] for k in range(4)])
    assert [shares[k] for k in range(4)] == pytest.approx(torch.sigmoid(whole).tolist(), abs=1e-6)
    assert "is of rankers of texts" in serve("features.pt", *free, "--dtype", "float16", code=2).err
    assert "its head is new" in serve("body", "--kind", "cross-encoder", *free, code=1).err


def test_where_it_is_served(serve, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: " in serve("features.pt", "--port", port, code=2).err
    assert serve("features.pt", "--port", port).port == port
    assert "no.such.host" in serve("features.pt", "--host", "no.such.host", code=2).err
    everywhere = serve("features.pt", "--host", "0.0.0.0", "--port", 0)
    assert everywhere.host == "0.0.0.0"
    assert "whoever reaches 0.0.0.0 can use it" in everywhere.err
    monkeypatch.setenv("SECRET", "abc")
    kept = serve("features.pt", "--host", "0.0.0.0", "--port", 0, "--key", "SECRET")
    assert kept.err == ""
    assert kept.client.get("/v1/models").status_code == 401
    headers = {"Authorization": "Bearer abc"}
    assert kept.client.get("/v1/models", headers=headers).status_code == 200
    assert "variable NONE" in serve("features.pt", "--key", "NONE", "--port", 0, code=2).err
    named = serve("features.pt", "--served-model", "rerank-v3.5", "--port", 0)
    assert named.client.get("/v1/models").json()["data"][0]["id"] == "rerank-v3.5"


def test_what_is_taken(serve):
    small = ("--max-documents", 2, "--max-megabytes", 1, "--max-waiting", 1)
    post = serve("features.pt", "--port", 0, *small).client.post
    body = {"query": "", "documents": [{"features": [1, 2, 3]}]}
    assert post("/v1/rerank", json=body).status_code == 200
    many = {"query": "", "documents": body["documents"] * 3}
    assert "at most 2" in post("/v1/rerank", json=many).json()["detail"]
    assert post("/v1/rerank", json=body | {"query": "q" * 2**20}).status_code == 413
    limits = serve("features.pt", "--port", 0, *small).app.state.limits
    assert limits.waiting == 1


def test_a_missing_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['policyrank', 'serve', 'x'];"
        " from policyrank.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "policyrank[serve]" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(here, number, tmp_path):
    words = [sys.executable, "-m", "policyrank", "serve", "features.pt", "--port", "0"]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        line = running.stderr.readline()
        url = re.search(r"http://[\d.]+:\d+", line)[0]
        body = {"query": "", "documents": [{"features": [1, 2, 3]}]}
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{url}/v1/rerank", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert json.load(answer)["results"][0]["index"] == 0
        os.kill(running.pid, number)
        _, rest = running.communicate(timeout=30)
        assert (running.returncode, rest) == (0, "stopped\n")
    finally:
        running.kill()


@pytest.fixture
def listening(serve):
    """A server of a ranker that listens: its address."""
    import uvicorn

    running = []

    def call(ranker, *words):
        app = serve(ranker, "--port", 0, *words, asked=False).app
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{port}"

    yield call
    for server, thread in running:
        server.should_exit = True
        thread.join()


def order(name):
    return [line.split()[2] for line in Path(name).read_text().splitlines()]


@pytest.mark.parametrize("ranker", ["bi", "cross", "adapters"])
def test_both_ways_give_what_the_ranker_gives(here, listening, ranker):
    kind = ("--kind", "bi-encoder") if ranker == "bi" else ()
    alone = here("rerank", ranker, *kind, *TEXTS, "--out", "alone")
    url = listening(ranker, *kind)
    assert "tokens: their end is not read" in alone.err
    for path, words in (("", ()), ("/v1/rerank", ("--at-once", 3)), ("/v1/score", ())):
        said = here("rerank", url + path, *TEXTS, *words, "--out", "there")
        rows = [read_run(name).sort("query", "document") for name in ("alone", "there")]
        assert rows[0]["document"].to_list() == rows[1]["document"].to_list()
        assert rows[1]["score"].to_list() == pytest.approx(rows[0]["score"].to_list(), abs=1e-5)
        assert order("there") == order("alone")
        assert "tokens read" in said.err
