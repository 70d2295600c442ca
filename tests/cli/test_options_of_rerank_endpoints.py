"""`policyrank rerank URL`: every option is seen to do something, on an endpoint that counts."""

import pytest

QUERIES = {"dogs": "about dogs", "tax": "about tax"}
DOCUMENTS = {
    "d0": "dogs puppy barks",
    "d1": "tax income deduction",
    "d2": "rain storm cloud",
    "d3": "tax puppy" + " long" * 70,
}
TEXTS = ("--queries", "q.tsv", "--documents", "d.tsv", "--run", "run")


@pytest.fixture
def here(ran, tmp_path, monkeypatch):
    """Small files of texts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in DOCUMENTS.items()))
    rows = [f"{q} Q0 {d} 1 {9 - k} r\n" for q in QUERIES for k, d in enumerate(DOCUMENTS)]
    (tmp_path / "run").write_text("".join(rows))
    return ran


def test_how_a_rerank_endpoint_is_asked(here, monkeypatch, tmp_path):
    from policyrank.train import rerank_endpoints

    made = []
    real = rerank_endpoints.RerankEndpoint

    class Fake(real):
        def __post_init__(self):
            super().__post_init__()
            made.append(self)

        def scores(self, query, documents):
            asked.append((query, list(documents)))
            worth = tuple(float(len(text)) for text in documents)
            return rerank_endpoints.Scored(worth, None, len(documents) > 3 or None, True), False

    asked = []
    monkeypatch.setattr(rerank_endpoints, "RerankEndpoint", Fake)
    url = "http://here/v1"

    def call(*words, code=0):
        asked.clear()
        return here("rerank", url, *TEXTS, *words, code=code)

    said = call()
    usual = made[-1]
    assert (usual.url, usual.model, usual.shape, usual.key, usual.most) == (
        url, None, "rerank", None, None,
    )  # fmt: skip
    assert (usual.truncate, usual.cache, usual.workers, usual.retries, usual.timeout) == (
        False, None, 8, 5, 120.0,
    )  # fmt: skip
    assert "2 requests, 0 more answers kept from before\n" in said.err
    assert "2 documents are longer than the server reads" in said.err
    assert "2 answers were not in the order of their scores" in said.err
    assert said.out.splitlines()[0].split()[2:] == ["d3", "1", "359.0", "here"]
    words = "--api tei --served-model m --key KEY --workers 3 --at-once 2 --truncate --retries 0"
    said = call(*words.split(), "--timeout", 1.5, "--cache", "kept.jsonl")
    told = made[-1]
    assert (told.shape, told.model, told.key, told.workers, told.most) == ("tei", "m", "KEY", 3, 2)
    assert (told.truncate, told.retries, told.timeout) == (True, 0, 1.5)
    assert str(told.cache) == "kept.jsonl"
    assert [len(own) for _, own in asked] == [2, 2, 2, 2]
    assert "2 queries were asked about in parts of 2 documents" in said.err
    assert said.out.splitlines()[0].split()[-1] == "m"
    said = call("--query-words", 1, "--passage-words", 2)
    assert asked[0] == (
        "about ...",
        ["dogs puppy ...", "tax income ...", "rain storm ...", "tax puppy ..."],
    )
    assert "8 of 8 candidates are longer than 2 words" in said.err
    said = call("--calls", 1)
    assert len(asked) == 1
    assert "1 queries are as the first stage had them: --calls 1 were spent" in said.err
    assert [line.split()[2] for line in said.out.splitlines()[4:]] == list(DOCUMENTS)


@pytest.mark.parametrize(
    ("ranker", "words", "says"),
    [
        ("bi", "--api tei", "--api is of an endpoint"),
        ("bi", "--timeout 3", "--timeout is of an endpoint"),
        ("bi", "--retries 0", "--retries is of an endpoint"),
        ("bi", "--calls 3", "give --method too"),
        ("http://here", "--votes 3", "give --method too"),
        ("http://here", "--kind bi-encoder", "of encoders that are read here"),
        ("http://here", "--dtype float16", "of encoders that are read here"),
        ("http://here", "--method pairwise --served-model m --api tei", "--api says nothing"),
        ("http://here", "--method pairwise --served-model m --truncate", "--truncate says nothing"),
        ("http://here", "--method pairwise --served-model m --dtype float16", "read here"),
    ],
)
def test_what_says_nothing_about_an_endpoint(here, ranker, words, says):
    assert says in here("rerank", ranker, *TEXTS, *words.split(), code=2).err
