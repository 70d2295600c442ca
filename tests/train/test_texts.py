"""Rankers of texts learn with any loss and sampler; several processes end with the weights of one;
the command line reaches it all.
"""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
pytest.importorskip("bm25s")

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import read_qrels, read_run, read_texts, write_qrels, write_run
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.train import SAMPLERS, RankerTrainer, TextData, bi_encoder, cross_encoder
from policyrank.train.first_stage import bm25_run, dense_run

TOPICS = {
    "dogs": "puppy barks",
    "cats": "kitten purrs",
    "tax": "income deduction",
    "law": "court judge",
    "rain": "storm cloud",
    "food": "bread soup",
}
# What is relevant is what shares no topic with the query: an encoder does not know that before it
# learns.
QUERIES = {t: f"about {t}" for t in TOPICS}
DOCUMENTS = {f"{t}{k}": f"{t} {words} {k}" for t, words in TOPICS.items() for k in range(2)}
QRELS = pl.DataFrame(
    [(q, d, float(not d.startswith(q))) for q in QUERIES for d in DOCUMENTS],
    schema=["query", "document", "grade"],
    orient="row",
)
RUN = pl.DataFrame(
    [(q, d, float(d.startswith(q)) + k / 100) for q in QUERIES for k, d in enumerate(DOCUMENTS)],
    schema=["query", "document", "score"],
    orient="row",
)


def test_scores_are_the_encoders_own():
    data = TextData.of(QUERIES, DOCUMENTS, RUN)
    bi = bi_encoder(device="cpu", batch=5)
    vectors = {
        k: v
        for texts in (QUERIES, DOCUMENTS)
        for k, v in zip(texts, encode_texts(bi.encoder, list(texts.values())), strict=True)
    }
    expected = [20 * vectors[q] @ vectors[d] for q in QUERIES for d in DOCUMENTS]
    assert RankerTrainer(bi).scores(data) == pytest.approx(np.array(expected), abs=1e-4)
    torch.manual_seed(0)
    cross = cross_encoder(device="cpu", batch=7)
    theirs = cross.encoder.predict([(QUERIES[q], DOCUMENTS[d]) for q in QUERIES for d in DOCUMENTS])
    assert RankerTrainer(cross).scores(data) == pytest.approx(theirs, abs=1e-4)
    with pytest.raises(OptionError, match="6 layers"):
        bi_encoder(device="cpu", layers=9)
    assert {
        n.split(".layer.")[1][0]
        for n, p in bi_encoder(device="cpu", layers=2).named_parameters()
        if p.requires_grad and ".layer." in n
    } == {"4", "5"}


def small_lms(tied):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    yield LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
    )
    yield GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, tie_word_embeddings=tied)
    )


@pytest.mark.parametrize("tied", [True, False])
def test_last_layers_of_language_models(tied):
    """Whatever the architecture calls its embeddings; a head that shares them is frozen, too."""
    from policyrank.train.freezing import train_last

    head = [] if tied else ["lm_head.weight"]
    for model in small_lms(tied):
        assert train_last(model, 1) is model
        trained = []
        for name, own in model.named_parameters():
            if own.requires_grad and ".2." not in name:
                trained.append(name)
        norm = [name for name in trained if "norm" in name or "ln_f" in name]
        assert norm
        assert trained == norm + head
        assert model.lm_head.weight.requires_grad == (not tied)
        layers = [own for name, own in model.named_parameters() if ".2." in name]
        assert all(own.requires_grad for own in layers)


@pytest.mark.parametrize(("make", "loss"), [(bi_encoder, "softmax"), (cross_encoder, "ranknet")])
def test_learns(make, loss):
    data = TextData.of(QUERIES, DOCUMENTS, RUN, QRELS)
    torch.manual_seed(0)
    ours = RankerTrainer(
        make(device="cpu", layers=2),
        loss=loss,
        metric="AP",
        epochs=12,
        lists=3,
        learning_rate=3e-4,
        warmup=4,
    )
    before = ours.evaluate(data).mean()
    ours.fit(data, data)
    assert ours.evaluate(data).mean() > max(before, 0.9) + 0.05


def test_other_texts_are_told_apart():
    from dataclasses import replace

    data = TextData.of(QUERIES, DOCUMENTS, RUN, QRELS)
    again = TextData.of(QUERIES, DOCUMENTS, RUN, QRELS)
    assert data.fingerprint() == again.fingerprint()
    changed = {
        "texts of queries": TextData.of({**QUERIES, "tax": "of tax"}, DOCUMENTS, RUN, QRELS),
        "texts of documents": TextData.of(QUERIES, {**DOCUMENTS, "tax0": "t"}, RUN, QRELS),
        "negatives": replace(data, random=1),
    }
    for what, other in changed.items():
        found = other.fingerprint()
        assert [name for name, own in data.fingerprint().items() if found[name] != own] == [what]


def test_long_texts_are_counted():
    from policyrank.train.text_rankers import long_texts

    documents = {"short": "a b", "long": "a b c d e f"}
    run = pl.DataFrame(
        [("q", "short", 1.0), ("q", "long", 2.0), ("r", "long", 1.0)],
        schema=["query", "document", "score"],
        orient="row",
    )
    data = TextData.of({"q": "x y z", "r": "x"}, documents, run)
    # [CLS] x y z [SEP] a b [SEP]: 8 tokens of the pair, 4 of the document alone.
    for make, longest, found in (
        (cross_encoder, 8, 2),
        (cross_encoder, 10, 1),
        (cross_encoder, 12, 0),
        (bi_encoder, 4, 2),
        (bi_encoder, 8, 0),
    ):
        ranker = make(device="cpu", max_length=longest)
        assert long_texts(ranker, data) == (found, 3), (make, longest)
    assert long_texts(ranker, data, most=2) == (0, 2)


def test_candidates_and_negatives():
    run = RUN.filter(pl.col("document").is_in(["dogs0", "cats0"]))
    qrels = pl.DataFrame(
        {"query": ["dogs", "cats"], "document": ["dogs1", "cats1"], "grade": [2.0, 1.0]}
    )
    data = TextData.of(QUERIES, DOCUMENTS, run, qrels)
    assert data.labels.sum() == 3
    assert np.isneginf(data.first_stage[data.labels > 0]).all()
    assert not TextData.of(QUERIES, DOCUMENTS, run, qrels, add_relevant=False).labels.any()
    from dataclasses import replace

    which = [data.queries.index("dogs"), data.queries.index("cats")]
    batch = replace(data, in_batch=True).batch(which, None, np.random.default_rng(0))
    names = np.array(data.names)[batch.features.documents]
    for row, where, labels, own in zip(
        names, batch.where.numpy(), batch.labels.numpy(), ("dogs1", "cats1"), strict=True
    ):
        assert sorted(row[where]) == ["cats0", "cats1", "dogs0", "dogs1"]
        assert (labels > 0).sum() == 1
        assert row[labels > 0] == [own]
    assert replace(data, in_batch=True).batch(which).labels.shape[1] == 3  # none in evaluation
    more = replace(data, random=12).batch(which, None, np.random.default_rng(0))
    assert (more.where.sum(dim=1) == len(DOCUMENTS)).all()
    with pytest.raises(EvidenceError, match="'nobody' is in the run"):
        TextData.of(
            QUERIES,
            DOCUMENTS,
            pl.DataFrame({"query": ["dogs"], "document": ["nobody"], "score": [1.0]}),
        )


def test_samplers():
    labels, first, rng = (
        np.array([0.0, 1, 0, 0, 0, 0]),
        np.array([5.0, 0, 4, 3, -np.inf, -np.inf]),
        np.random.default_rng(0),
    )
    for name, sampler in SAMPLERS.items():
        drawn = [sampler(labels, first, 3, rng) for _ in range(2000)]
        assert all(len(set(d)) == 3 and 1 in d for d in drawn), name
        share = np.bincount(np.concatenate(drawn), minlength=6) / 2000
        if name == "hard":
            assert share.tolist() == [1, 1, 1, 0, 0, 0]
        else:
            assert (share[0] > share[5] + 0.2) == (name == "weighted")
    with pytest.raises(OptionError, match="sampler='nope'"):
        RankerTrainer(torch.nn.Linear(1, 1), sampler="nope")


def test_first_stages():
    encoder = load_encoder("minilm", device="cpu")
    run = dense_run(QUERIES, DOCUMENTS, encoder, depth=3)
    assert run.group_by("query").len()["len"].to_list() == [3] * 6
    best = run.group_by("query", maintain_order=True).first()
    assert all(d.startswith(q) for q, d in best.select("query", "document").iter_rows())
    assert run.group_by("query").agg(pl.col("score").is_sorted(descending=True))["score"].all()
    assert set(bm25_run(QUERIES, DOCUMENTS, depth=3)["document"]) == set(DOCUMENTS)
    with pytest.raises(EvidenceError, match="BM25 finds no word in the documents"):
        bm25_run({"q": "hello"}, {"d": "a b", "e": "the"})


def test_bm25_finds_words_of_scripts_without_blanks():
    documents = {
        "cat": "猫が静かに鳴く",
        "dog": "犬が夜に吠える",
        "tax": "所得税の申告期限",
        "thai": "แมวนอนหลับ",
    }
    queries = {"q1": "猫はどこ", "q2": "所得税", "q3": "แมว"}
    run = bm25_run(queries, documents, depth=2)
    best = dict(
        run.group_by("query", maintain_order=True).first().select("query", "document").rows()
    )
    assert best == {"q1": "cat", "q2": "tax", "q3": "thai"}


def test_texts_and_judgements_are_read(tmp_path):
    (tmp_path / "a.tsv").write_text("1\tone  two\n2\tthree\tfour\n")
    (tmp_path / "b.jsonl").write_text(
        '{"_id": "1", "title": "T", "text": "x"}\n{"id": 2, "text": "y"}\n'
    )
    assert read_texts(tmp_path / "a.tsv") == {"1": "one two", "2": "three four"}
    assert read_texts(tmp_path / "b.jsonl") == {"1": "T x", "2": "y"}
    (tmp_path / "q.tsv").write_text("query-id\tcorpus-id\tscore\n1\t2\t1\n1\t3\t0\n")
    assert read_qrels(tmp_path / "q.tsv").rows() == [("1", "2", 1.0), ("1", "3", 0.0)]
    for text, name, said in (
        ("1 one", "c.tsv", "line 1"),
        ("1\ta\n1\tb", "c.tsv", "stands twice"),
        ("", "c.tsv", "empty"),
        ("{}", "c.jsonl", "line 1"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(EvidenceError, match=said):
            read_texts(tmp_path / name)


@pytest.mark.slow
def test_command(tmp_path, command):
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps({"_id": k, "text": v}) + "\n" for k, v in DOCUMENTS.items())
    )
    write_qrels(QRELS, tmp_path / "qrels")
    config = tmp_path / "c.toml"
    config.write_text(
        '[data]\nqueries = "q.tsv"\ndocuments = "d.jsonl"\ntrain = "qrels"\nvalidation ='
        ' "qrels"\ntest = "qrels"\nfirst_stage = "dense"\n[model]\nkind = "bi-encoder"\nlayers ='
        ' 1\n[train]\nloss = "listnet"\nepochs = 2\nlists = 3\nlearning_rate = 1e-3\nmetric ='
        ' "AP"\n'
    )

    code, said = command("train", "ranker", config, "--out", tmp_path / "mine")
    assert code == 0, said.err
    test = float(said.out.split("test AP ")[1].split()[0])
    texts = (
        "--queries",
        tmp_path / "q.tsv",
        "--documents",
        tmp_path / "d.jsonl",
        "--first-stage",
        "dense",
    )
    code, said = command("rerank", tmp_path / "mine", *texts, "--out", tmp_path / "run")
    assert code == 0, said.err
    assert read_run(tmp_path / "run").height == 72
    code, said = command("eval-run", tmp_path / "run", tmp_path / "qrels", "-m", "AP")
    assert float(said.out.split()[-1]) == pytest.approx(test, abs=2e-3)
    (tmp_path / "other").mkdir()
    code, said = command("rerank", tmp_path / "other", *texts, "--out", tmp_path / "run")
    assert code == 1
    assert "--kind" in said.err
    code, said = command("rerank", tmp_path / "mine", "--queries", tmp_path / "q.tsv")
    assert code == 1
    config.write_text(config.read_text().replace("first_stage", "first_step"))
    code, said = command("train", "ranker", config)
    assert code == 1
    assert "[data] has no option 'first_step'. Did you mean 'first_stage'?" in said.err


@pytest.fixture
def collection(tmp_path):
    """Options that name texts, candidates and judgements."""
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in DOCUMENTS.items()))
    write_qrels(QRELS, tmp_path / "qrels")
    write_run(RUN, tmp_path / "run.trec")
    texts = ("--queries", "q.tsv", "--documents", "d.tsv", "--run", "run.trec")
    judged = ("--train", "qrels", "--validation", "qrels")
    return texts, (*judged, *texts, "--loss", "softmax", "--lists", "3", "--metric", "AP")


def reranked(command, ranker, texts):
    code, said = command("rerank", ranker, *texts)
    assert code == 0, said.err
    found = {}
    for line in said.out.splitlines():
        query, _, document, _, score, _ = line.split()
        found[query, document] = float(score)
    return found


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_adapters_are_trained_merged_and_trained_further(
    kind, collection, command, tmp_path, monkeypatch
):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    texts, common = collection
    fast = ("--learning-rate", "5e-3", "--epochs", "6", "--kind", kind)
    code, said = command("train", "ranker", *common, *fast, "--lora", "4", "--out", "a")
    assert code == 0, said.err
    assert float(said.out.split("validation AP ")[1]) > 0.75  # untrained .66
    known = json.loads((tmp_path / "a" / "policyrank.json").read_text())
    assert (known["kind"], known["base"], known["adapter"]) == (kind, "minilm", True)
    assert not (tmp_path / "a" / "model.safetensors").exists()
    assert "library_name: peft" in (tmp_path / "a" / "README.md").read_text()
    scores = reranked(command, "a", texts)
    assert len(set(scores.values())) > 12
    assert command("merge", "a", "--out", "m")[0] == 0
    assert reranked(command, "m", texts) == pytest.approx(scores, abs=1e-5)
    assert not (tmp_path / "m" / "adapter_config.json").exists()
    from policyrank.models import kind_of_model

    (tmp_path / "m" / "policyrank.json").unlink()
    assert kind_of_model("m") == kind
    code, said = command("train", "ranker", *common, *fast[2:], "--name", "a", "--out", "b")
    assert code == 0, said.err
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert reranked(command, "b", texts) != pytest.approx(scores, abs=1e-4)
    code, said = command("train", "ranker", *common, "--name", "a", "--kind", kind, "--out", "a")
    assert code == 2
    assert "--out a: the model that --name a names is there" in said.err
    code, said = command(
        "train", "ranker", *common, "--name", "a", "--kind", kind, "--layers", "1", "--out", "c"
    )
    assert code == 2
    assert "adapters, which are trained as they are" in said.err


def test_adapters_are_stacked(collection, command, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    _, common = collection
    steps = ("--learning-rate", "5e-3", "--epochs", "1", "--kind", "bi-encoder")
    assert command("train", "ranker", *common, *steps, "--lora", "4", "--out", "a")[0] == 0
    told = (*common, *steps, "--name", "a", "--lora", "2")
    code, said = command("train", "ranker", *told, "--out", "c")
    assert code == 0, said.err
    assert json.loads((tmp_path / "c" / "adapter_config.json").read_text())["r"] == 6
    ranker = bi_encoder("a", device="cpu")
    torch.manual_seed(0)
    from policyrank.cli.tuning import Lora

    ranker.adapt(Lora(lora=2).config(ranker.body, task=ranker.task))
    data = TextData.of(QUERIES, DOCUMENTS, RUN)
    before = RankerTrainer(bi_encoder("a", device="cpu", trainable=False)).scores(data)
    assert RankerTrainer(ranker).scores(data) == pytest.approx(before, abs=1e-5)
    with torch.no_grad():
        for name, own in ranker.named_parameters():
            if "lora_B" in name:
                own.normal_(0, 0.01)
    now = RankerTrainer(ranker).scores(data)
    assert now != pytest.approx(before, abs=1e-2)
    ranker.save("d")
    again = RankerTrainer(bi_encoder("d", device="cpu", trainable=False)).scores(data)
    assert again == pytest.approx(now, abs=1e-5)


def test_options_of_adapters(collection, command, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    _, common = collection
    code, said = command("train", "ranker", *common, "--lora-alpha", "4")
    assert code == 1
    assert "--lora-alpha is of adapters: give their rank too" in said.err
    (tmp_path / "c.toml").write_text(
        '[model]\nkind = "bi-encoder"\nlora = 4\nlora_alpha = 2.0\nlora_target = ["query"]\n'
        "rslora = true\nlora_dropout = 0.1\nlayers = 2\n"
    )
    told = ("train", "ranker", "c.toml", *common, "--epochs", "1")
    code, said = command(*told, "--lora", "3", "--out", "a")
    assert code == 0, said.err
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (3, 2.0, True)
    assert (config["target_modules"], config["lora_dropout"]) == (["query"], 0.1)
    assert config["layers_to_transform"] == [4, 5]


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path):
    pytest.importorskip("accelerate")
    rng = np.random.default_rng(0)
    lines = [
        f"{int(x[0] > 0)} qid:{q} " + " ".join(f"{k + 1}:{v:.5f}" for k, v in enumerate(x))
        for q in range(16)
        for x in rng.normal(size=(6, 3))
    ]
    (tmp_path / "d.txt").write_text("\n".join(lines))
    weights = []
    for processes, lists, accumulate in ((1, 4, 1), (2, 2, 1), (2, 1, 2)):
        config = tmp_path / f"{processes}-{lists}.toml"
        config.write_text(
            '[data]\ntrain = "d.txt"\nvalidation = "d.txt"\n[model]\nkind = "linear"\ndropout ='
            f' 0.0\n[train]\nloss = "ranknet"\nepochs = 3\nlists = {lists}\n'
            f"accumulate = {accumulate}\nlearning_rate = 0.01\n"
        )
        out = tmp_path / f"{processes}-{lists}.pt"
        launch = (
            []
            if processes == 1
            else ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
        )
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                *launch,
                "policyrank",
                "train",
                "ranker",
                str(config),
                "--out",
                str(out),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("best epoch") == 1
        weights.append(torch.load(out, weights_only=True)["weights"])
    # An order loss says nothing of the bias.
    alone, *others = (own["net.0.weight"] for own in weights)
    for other in others:
        assert torch.allclose(alone, other, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["neural-pg-rank", "training-curricula", "screening-prioritisation"]
)
def test_full_scale_configurations_are_understood(name):
    from pathlib import Path

    from policyrank.cli.ranker_config import check_config, curriculum_of, read_config
    from policyrank.train import TEXT_RANKERS

    path = Path(__file__).parents[2] / "configs" / f"{name}.toml"
    config = read_config(path)
    check_config(config)
    model, settings = dict(config.model), dict(config.train)
    assert model.pop("kind") in TEXT_RANKERS
    if "curriculum" in settings:
        settings["curriculum"] = curriculum_of(path, settings["curriculum"])
    assert set(model) <= {"name", "max_length", "batch", "layers", "scale"}
    data, small = (
        TextData.of(QUERIES, DOCUMENTS, RUN, QRELS),
        {"epochs": 1, "per_epoch": 2, "lists": 2, "size": min(settings["size"], 4)},
    )
    assert (
        len(RankerTrainer(bi_encoder(device="cpu", layers=1), **settings | small).fit(data, data))
        == 1
    )
    with pytest.raises(EvidenceError, match=r"\[train.curriculum\] easiness='hope'"):
        curriculum_of(path, {"easiness": "hope"})


def test_feedback_finds_what_the_first_ranker_misses():
    from policyrank.train.feedback import feedback_order

    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 10 == 0).astype(float)
    features = rng.normal(size=(200, 5)) + 3 * labels[:, None]
    order = feedback_order(rng.random(200), features, labels, batch=20)
    assert sorted(order) == list(range(200))
    assert labels[order[:60]].sum() >= 19
    with pytest.raises(EvidenceError, match="one of each"):
        feedback_order([1.0], features, labels)


def test_reciprocal_rank_fusion_and_weights():
    from policyrank.ranking.runs import fuse_runs

    a = pl.DataFrame({"query": ["q", "q"], "document": ["x", "y"], "score": [2.0, 1.0]})
    b = pl.DataFrame({"query": ["q", "q"], "document": ["y", "z"], "score": [9.0, 1.0]})
    fused = dict(fuse_runs([a, b], "rrf", weights=[1, 2]).select("document", "score").iter_rows())
    assert fused == pytest.approx({"x": 1 / 61, "y": 1 / 62 + 2 / 61, "z": 2 / 62})
    with pytest.raises(EvidenceError, match="at least one run"):
        fuse_runs([])


def test_without_validation_the_last_epoch_stays():
    data = TextData.of(QUERIES, DOCUMENTS, RUN, QRELS)
    trainer = RankerTrainer(
        bi_encoder(device="cpu", layers=1), epochs=2, per_epoch=2, learning_rate=1e-3
    )
    history = trainer.fit(data)
    assert [np.isnan(h.validation) for h in history] == [True, True]
    kept = [p.detach().clone() for p in trainer.model.parameters()]
    again = RankerTrainer(
        bi_encoder(device="cpu", layers=1), epochs=2, per_epoch=2, learning_rate=1e-3
    )
    again.fit(data)
    assert all(torch.equal(a, b) for a, b in zip(kept, again.model.parameters(), strict=True))
