"""`policyrank rerank --method`: every option is seen to do something, on an oracle's endpoint."""

import re
from types import SimpleNamespace

import pytest

WORTH = {f"d{k}": (k * 7) % 30 for k in range(30)}
BEST = sorted(WORTH, key=lambda name: -WORTH[name])
URL = "http://here/v1"


@pytest.fixture
def rerank(ran, lm, tmp_path, monkeypatch):
    """Rerank; the orders, what was said, and what was asked."""
    from policyrank.train import endpoints

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lm").symlink_to(lm)
    queries = "".join(f"q{k}\twhich one of {k} is best of all\n" for k in range(2))
    (tmp_path / "q.tsv").write_text(queries)
    texts = "".join(f"{name}\tworth {worth} points in all\n" for name, worth in WORTH.items())
    (tmp_path / "d.tsv").write_text(texts)
    listed = "".join(f"q{q} Q0 {d} 1 {-k} r\n" for q in range(2) for k, d in enumerate(WORTH))
    (tmp_path / "run").write_text(listed)
    from policyrank.train.spent import Spent

    told = SimpleNamespace(prompts=[], made=[], form="{}")

    class Oracle:
        def __init__(self, url, model, **options):
            told.made.append((url, model, options))
            self.spent = Spent()

        def __call__(self, prompts):
            return [[answer(prompt)] for prompt in prompts]

    def answer(prompt):
        told.prompts.append(prompt)
        found = re.findall(r"^\[(\d+)\] worth (\d+)", prompt, re.MULTILINE)
        order = sorted(found, key=lambda own: -int(own[1]))
        if prompt.startswith("Which"):
            order = order[:1]
        return told.form.format(" > ".join(f"[{label}]" for label, _ in order))

    monkeypatch.setattr(endpoints, "Endpoint", Oracle)

    def call(*words, ranker=URL, code=0):
        told.prompts.clear()
        base = ["rerank", ranker, "--queries", "q.tsv", "--documents", "d.tsv", "--run", "run"]
        if "://" in ranker and "--served-model" not in words:
            base += ["--served-model", "big"]
        said = ran(*base, *words, code=code)
        orders = {}
        for line in said.out.splitlines():
            query, _, document, *_ = line.split()
            orders.setdefault(query, []).append(document)
        return SimpleNamespace(orders=orders, err=said.err, prompts=list(told.prompts))

    call.told = told
    return call


SORTS = ("setwise-heapsort", "setwise-bubble", "pairwise", "listwise-window")


@pytest.mark.parametrize("method", SORTS)
def test_methods_bring_the_best_up(rerank, method):
    found = rerank("--method", method)
    for order in found.orders.values():
        assert order[:10] == BEST[:10]
        assert sorted(order) == sorted(WORTH)
    assert f"2 queries, {len(found.prompts)} questions asked; 0 without" in found.err


def test_how_it_is_asked(rerank):
    heap = ("--method", "setwise-heapsort")
    usual = rerank(*heap)
    assert max(prompt.count("worth") for prompt in usual.prompts) == 20
    few = rerank(*heap, "--children", 4, "--places", 2, "--votes", 3)
    assert max(prompt.count("worth") for prompt in few.prompts) == 5
    assert few.orders["q0"][:2] == BEST[:2]
    assert few.orders["q0"][2:] == [name for name in WORTH if name not in BEST[:2]]
    assert len(few.prompts) % 3 == 0
    assert len(rerank(*heap, "--votes", 3).prompts) > 2 * len(usual.prompts)
    short = rerank(*heap, "--query-words", 2, "--passage-words", 3).prompts[0]
    assert "Query: which one ...\n" in short
    assert "points ...\n" in short
    few = rerank(*heap, "--query-words", 2, "--passage-words", 3)
    assert "2 of 2 queries are longer than 2 words: their end is not shown" in few.err
    assert "60 of 60 candidates are longer than 3 words" in few.err
    assert "not shown" not in usual.err
    assert any("Query: which one of 0 is best of all\n" in own for own in usual.prompts)


def test_the_order_of_rows_says_nothing(rerank, tmp_path):
    """Ties of score are by document, as in every run; a query without candidates is told."""
    rerank.told.form = "no answer"
    tied = [f"q0 Q0 {d} 1 {k // 3} r\n" for k, d in enumerate(WORTH)]
    orders = []
    for rows in (tied, tied[::-1]):
        (tmp_path / "run").write_text("".join(rows))
        for depth in ((), ("--depth", 7)):
            found = rerank("--method", "setwise-heapsort", *depth)
            orders.append(found.orders["q0"])
            assert "1 queries have no candidates" in found.err
    assert orders[0] == orders[2]
    assert orders[1] == orders[3] == orders[0][:7]


def test_the_methods_are_those_of_the_library():
    from typing import get_args

    from policyrank.cli.rerank_language import Method
    from policyrank.train.language_rankers import METHODS

    assert get_args(Method) == METHODS


def test_windows(rerank):
    usual = rerank("--method", "listwise-window")
    assert [prompt.count("worth") for prompt in usual.prompts].count(20) == 4
    small = rerank("--method", "listwise-window", "--window", 6, "--step", 3, "--passes", 2)
    assert max(prompt.count("worth") for prompt in small.prompts) == 6
    assert len(small.prompts) == 2 * 2 * 9


def test_thinking(rerank):
    words = ("--method", "setwise-bubble", "--thinks")
    rerank.told.form = "<think>[1]?</think><answer>{}</answer>"
    found = rerank(*words)
    assert found.orders["q1"][:10] == BEST[:10]
    assert "<think>" in found.prompts[0]
    assert rerank.told.made[-1][2]["max_tokens"] == 2048
    rerank(*words, "--tokens", 99)
    assert rerank.told.made[-1][2]["max_tokens"] == 99


def test_the_endpoint_is_as_told(rerank, tmp_path):
    rerank("--method", "pairwise", "--served-model", "m", "--key", "KEY", "--cache", "c.jsonl")
    url, model, options = rerank.told.made[-1]
    assert (url, model, options["key"], str(options["cache"])) == (URL, "m", "KEY", "c.jsonl")
    assert (options["temperature"], options["max_tokens"]) == (0, 64)
    assert "retries" not in options
    rerank("--method", "pairwise", "--retries", 0, "--timeout", 2.5)
    options = rerank.told.made[-1][2]
    assert (options["retries"], options["timeout"]) == (0, 2.5)
    rerank("--method", "listwise-window", "--window", 30)
    assert rerank.told.made[-1][2]["max_tokens"] == 240


def test_questions_in_other_words(rerank, tmp_path):
    """Of what is asked in German the oracle understands nothing but the labels."""
    told = 'order = "Ordne {count} Texte zu: {query}\\n{passages}\\n{how}"\nlabel = "Nur Zahlen."\n'
    (tmp_path / "german.toml").write_text(told)
    found = rerank("--method", "listwise-window", "--questions", "german.toml")
    assert found.orders["q0"][:10] == BEST[:10]
    assert found.prompts[0].startswith(
        "Ordne 20 Texte zu: which one of 0 is best of all\n[1] worth"
    )
    assert found.prompts[0].endswith("\nNur Zahlen.")
    for content, says in (
        ('order = "{query}"', "does not show {passages}"),
        ('ordre = "{query} {passages}"', "has 'ordre': it has choice"),
        ("order = 3", "order is no text"),
        ("order", "not a TOML file"),
    ):
        (tmp_path / "german.toml").write_text(content)
        words = ("--method", "listwise-window", "--questions", "german.toml")
        assert says in rerank(*words, code=2 if "show" in says else 1).err


def test_workers_are_queries_at_once(rerank, monkeypatch):
    from policyrank.train import language_rankers

    seen, real = [], language_rankers.rerank_all
    monkeypatch.setattr(
        language_rankers,
        "rerank_all",
        lambda *own, **options: seen.append(options["concurrency"]) or real(*own, **options),
    )
    rerank("--method", "setwise-heapsort")
    rerank("--method", "setwise-heapsort", "--workers", 3)
    rerank("--method", "setwise-heapsort", ranker="lm")
    assert seen == [8, 3, 1]


def test_a_budget_and_answers_that_cannot_be_read(rerank):
    found = rerank("--method", "setwise-bubble", "--workers", 1, "--calls", 30)
    assert len(found.prompts) == 30
    assert "more were not asked: --calls 30 were spent" in found.err
    assert found.orders["q0"][:10] == BEST[:10]
    assert found.orders["q1"] != found.orders["q0"]
    rerank.told.form = "I would rather not say."
    found = rerank("--method", "setwise-heapsort")
    assert found.orders["q0"] == list(WORTH)
    assert "2 queries are as the first stage had them" in found.err


def test_a_local_model_weighs_or_writes(rerank):
    shown = ("--passage-words", 2, "--query-words", 1)
    few = {"setwise-heapsort": ("--children", 1, "--places", 1), "pointwise": ()}
    for method, words in few.items():
        found = rerank("--method", method, *shown, *words, ranker="lm")
        assert sorted(found.orders["q0"]) == sorted(WORTH)
        assert "; 0 without an answer" in found.err
    words = ("--method", "setwise-heapsort", *shown, *few["setwise-heapsort"])
    assert "as the first stage" in rerank(*words, "--write", ranker="lm").err
    assert "longer than the model reads" in rerank("--method", "setwise-bubble", ranker="lm").err


@pytest.fixture
def serve(ran, rerank, monkeypatch):
    """What `policyrank serve` would run: who orders, and the application."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from policyrank.cli import serve as verb
    from policyrank.train import served_language

    made, real = [], served_language.ServedLanguage
    monkeypatch.setattr(verb, "_run", lambda app, listening, *_: made.append((app, listening)))
    monkeypatch.setattr(
        served_language, "ServedLanguage", lambda own: made.append(own) or real(own)
    )

    def call(*words, ranker="lm", code=0):
        made.clear()
        said = ran("serve", ranker, "--port", 0, *words, code=code)
        if code:
            return said
        orders, (app, listening) = made
        listening.close()
        return SimpleNamespace(ranker=orders, app=app)

    return call


def test_a_language_model_serves_what_it_reranks(serve, rerank):
    pytest.importorskip("httpx2")
    from starlette.testclient import TestClient

    words = ("--method", "setwise-heapsort", "--children", 1, "--places", 3, "--votes", 1)
    shown = ("--passage-words", 2, "--query-words", 1)
    order = rerank(*words, *shown, ranker="lm").orders["q0"]
    texts = {f"worth {worth} points in all": name for name, worth in WORTH.items()}
    with TestClient(serve(*words, *shown).app) as client:
        body = {"query": "which one of 0 is best of all", "documents": list(texts)}
        found = client.post("/v1/rerank", json=body).json()["results"]
    assert [list(texts.values())[row["index"]] for row in found] == order
    assert order[:3] != list(WORTH)[:3]


def test_how_a_served_language_model_is_asked(serve, tmp_path):
    (tmp_path / "german.toml").write_text('label = "Nur Zahlen."\n')
    windows = serve(
        *("--method", "listwise-window", "--window", 6, "--step", 3, "--passes", 2),
        *("--query-words", 5, "--passage-words", 7, "--tokens", 9, "--questions", "german.toml"),
    ).ranker
    assert (windows.window, windows.step, windows.passes) == (6, 3, 2)
    asking = windows.asking
    assert (asking.query_words, asking.passage_words, asking.thinks) == (5, 7, False)
    assert asking.questions.label == "Nur Zahlen."
    sorts = ("--method", "setwise-bubble", "--children", 2, "--places", 4, "--votes", 3)
    weighs = serve(*sorts).ranker
    assert (weighs.children, weighs.k, weighs.votes, weighs.write) == (2, 4, 3, None)
    thinks = serve(*sorts, "--write", "--thinks", "--tokens", 20).ranker
    assert thinks.asking.thinks
    assert thinks.weigh is None
    for words, says in (
        (("--votes", 3), "give --method too"),
        (("--method", "pairwise", "--window", 3), "--window says nothing"),
        (("--method", "pairwise", "--sigmoid"), "--sigmoid is of scores of encoders"),
        (("--method", "pairwise", "--kind", "bi-encoder"), "of encoders"),
    ):
        assert says in serve(*words, code=2).err
    assert "file or folder here" in serve(*sorts, ranker=URL, code=2).err


@pytest.mark.parametrize(
    ("ranker", "words", "says"),
    [
        (URL, "--votes 3", "give --method too"),
        (URL, "--method pairwise --votes 3", "--votes says nothing with --method pairwise"),
        (URL, "--method setwise-bubble --window 3", "--window says nothing"),
        ("lm", "--method pairwise --workers 3", "--workers is of an endpoint"),
        ("lm", "--method pairwise --thinks", "give --write too"),
        ("lm", "--method pairwise --tokens 3", "give --write too"),
        (URL, "--method pointwise", "which only a local model tells"),
        (URL, "--method pairwise --kind bi-encoder", "of encoders"),
    ],
)
def test_what_says_nothing(rerank, ranker, words, says):
    assert says in rerank(*words.split(), ranker=ranker, code=2).err


def test_an_endpoint_needs_a_name_and_texts_a_method(ran, rerank, tmp_path):
    texts = ("--queries", "q.tsv", "--documents", "d.tsv", "--run", "run")
    said = ran("rerank", URL, *texts, "--method", "pairwise", code=2)
    assert "--served-model" in said.err
    (tmp_path / "x.txt").write_text("1 qid:1 1:0.5\n")
    assert "--queries" in ran("rerank", "lm", "x.txt", "--method", "pairwise", code=2).err
    (tmp_path / "run").write_text("q0 Q0 gone 1 1 r\n")
    assert "'gone', which has no text" in rerank("--method", "pairwise", code=1).err
