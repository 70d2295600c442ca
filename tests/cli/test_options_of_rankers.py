"""Each option of training, using and attacking rankers is seen to do something."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

TOPICS = {"dogs": "puppy barks", "tax": "income deduction", "rain": "storm cloud"}
QUERIES = {topic: f"about {topic}" for topic in TOPICS}
DOCUMENTS = {
    f"{t}{k}": f"{t} {words} {'long ' * 9 * k}" for t, words in TOPICS.items() for k in (0, 1)
}
LETOR = "".join(f"{k % 3} qid:{q} 1:{k}.5 2:{q}\n" for q in (1, 2) for k in range(4))
TEXTS = "--queries q.tsv --documents d.tsv"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A body of two small layers."""
    pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    words = " ".join([*TOPICS, *TOPICS.values(), "about long"]).split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(vocabulary), intermediate_size=32, max_position_embeddings=64, **sizes
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb beside small files; what it printed, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    for name, first in (("train", 1), ("validation", 1), ("test", 1), ("zero", 0)):
        text = LETOR.replace(" 1:", f" {first}:").replace(" 2:", f" {first + 1}:")
        (tmp_path / f"{name}.txt").write_text(text if name != "test" else text[: len(text) // 2])
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in DOCUMENTS.items()))
    pairs = [(q, d) for q in QUERIES for d in DOCUMENTS]
    judged = [f"{q} 0 {d} {int(d.startswith(q))}\n" for q, d in pairs]
    (tmp_path / "qrels").write_text("".join(judged))
    (tmp_path / "some").write_text("".join(judged[:6]))
    listed = [f"{q} Q0 {d} {k + 1} {9 - k} r\n" for k, (q, d) in enumerate(pairs) if d != "tax1"]
    (tmp_path / "run").write_text("".join(listed))

    return ran


@pytest.fixture
def train(run, monkeypatch):
    """Train a ranker up to the training itself: the trainer, its data, and what was said."""
    from policyrank.train import RankerTrainer

    seen = []

    def fit(self, learned, validation=None):
        seen.append((self, learned, validation))
        return [SimpleNamespace(epoch=0, validation=0.5, loss=0.1)]

    monkeypatch.setattr(RankerTrainer, "fit", fit)

    def call(*words, out="r.pt"):
        said = run("train", "ranker", *words, "--out", out)
        return SimpleNamespace(
            **dict(zip(("trainer", "data", "validation"), seen[-1], strict=True)), said=said
        )

    return call


STEPS = {
    "--loss": ("loss", "lambdarank"),
    "--metric": ("metric", "AP"),
    "--epochs": ("epochs", 2),
    "--patience": ("patience", 3),
    "--lists": ("lists", 4),
    "--accumulate": ("accumulate", 2),
    "--size": ("size", 3),
    "--sampler": ("sampler", "hard"),
    "--per-epoch": ("per_epoch", 5),
    "--learning-rate": ("learning_rate", 0.02),
    "--scheduler": ("scheduler", "cosine"),
    "--warmup": ("warmup", 0.2),
    "--optimizer": ("optimizer", "sgd"),
    "--weight-decay": ("weight_decay", 0.1),
    "--clip": ("clip", 0.5),
    "--seed": ("seed", 7),
    "--log-every": ("log_every", 2),
    "--bf16": ("bf16", True),
}
"""Option -> the trainer's name of it, and a value that is not the default."""


def test_how_a_ranker_is_trained(train):
    old = train("--train", "train.txt").trainer
    words = ["--option", "k=5"]
    for option, (_, value) in STEPS.items():
        words += [option] if value is True else [option, value]
    new = train("--train", "train.txt", *words).trainer
    for option, (name, value) in STEPS.items():
        assert getattr(new, name) == value != getattr(old, name), option
    assert (old.loss_options, new.loss_options) == ({}, {"k": 5})


def test_what_a_ranker_is(train, tmp_path):
    def sizes(*words):
        model = train("--train", "train.txt", "--kind", *words).trainer.model
        return type(model).__name__, [tuple(own.shape) for own in model.parameters()]

    assert sizes("linear")[0] != sizes("transformer")[0]
    assert (8, 2) in sizes("mlp", "--model-option", "hidden=[8]")[1]
    assert (8, 2) not in sizes("mlp")[1]
    one, two = (len(sizes("transformer", "--layers", k)[1]) for k in (1, 2))
    assert one < two
    (tmp_path / "c.toml").write_text('[model]\nkind = "linear"\n')
    by_file = train("c.toml", "--train", "train.txt").trainer.model
    assert type(by_file).__name__ == sizes("linear")[0]


def test_what_a_ranker_of_features_learns_from(train, tmp_path):
    one = train("--train", "train.txt")
    assert (len(one.data), one.validation) == (2, None)
    assert "test nDCG" not in one.said.out
    words = ("--train", "train.txt", "--validation", "validation.txt", "--test", "test.txt")
    whole = train(*words, out="mine.pt")
    assert len(whole.validation) == 2
    assert "test nDCG@10" in whole.said.out
    assert (tmp_path / "mine.pt").is_file()
    raw = train("--train", "train.txt", "--raw").data.features
    assert np.abs(raw - np.array([[k + 0.5, q] for q in (1, 2) for k in range(4)])).max() == 0
    assert np.abs(raw - one.data.features).max() > 1
    kept = []
    for words in ((), ("--zero-based",)):
        train("--train", "train.txt", *words)
        kept.append(torch.load("r.pt", weights_only=True))
    assert [own["features_from"] for own in kept] == [1, 0]
    assert [own["features"] for own in kept] == [2, 3]


def test_trackers_of_experiments(run):
    said = run("train", "ranker", "--train", "train.txt", "--report-to", "nobody", code=2)
    assert "nobody" in said.err


def of_texts(tiny, *words):
    given = ("--train", "qrels", "--name", tiny, "--kind", "bi-encoder", *words)
    return (*TEXTS.split(), *(() if "--first-stage" in words else ("--run", "run")), *given)


@pytest.fixture
def stages(monkeypatch):
    """The first stages that were asked for candidates."""
    from policyrank.models import encoders
    from policyrank.train import first_stage, text_rankers

    told = []

    def stage(kind):
        def listed(queries, documents, *encoder, depth):
            told.append((kind, *encoder, depth))
            rows = [(q, d, 1.0) for q in queries for d in list(documents)[:depth]]
            return pl.DataFrame(rows, schema=["query", "document", "score"], orient="row")

        return listed

    for kind in ("bm25", "dense"):
        monkeypatch.setattr(first_stage, f"{kind}_run", stage(kind))
    assert text_rankers.load_encoder is encoders.load_encoder  # it keeps its own
    monkeypatch.setattr(encoders, "load_encoder", lambda name: f"encoder {name}")
    return told


def test_what_a_ranker_of_texts_learns_from(train, run, tiny, stages):
    def data(*words):
        return train(*of_texts(tiny, *words), out="texts").data

    old = data()
    assert set(old.names) == set(DOCUMENTS)
    assert (old.in_batch, old.random, len(old.documents)) == (False, 0, 16)
    new = data("--in-batch", "--random", 2)
    assert (new.in_batch, new.random) == (True, 2)
    data("--first-stage", "bm25")
    data("--first-stage", "dense", "--depth", 3, "--encoder", "mine")
    assert stages == [("bm25", 100), ("dense", "encoder mine", 3)]
    cut = data("--depth", 2)
    assert len(cut.documents) < len(old.documents)
    for words in ("--run run --first-stage dense", "--first-stage bm25 --encoder mine"):
        given = (*TEXTS.split(), "--train", "qrels", "--name", tiny, *words.split())
        said = run("train", "ranker", *given, "--out", "texts", code=2)
        assert words.split()[2] in said.err


def test_how_an_encoder_is_trained(train, tiny, tmp_path):
    pytest.importorskip("peft")

    def made(*words):
        found = train(*of_texts(tiny, *words), out="texts")
        trained = [
            name for name, own in found.trainer.model.named_parameters() if own.requires_grad
        ]
        return found.trainer.model, " ".join(trained), found.trainer

    model, trained, trainer = made()
    assert ".layer.0." in trained
    assert (model.encoder.max_seq_length, trainer.gradient_checkpointing) == (64, False)
    assert next(model.parameters()).dtype == torch.float32
    assert json.loads((tmp_path / "texts" / "policyrank.json").read_text())["base"] == str(tiny)
    words = ("--layers", 1, "--max-length", 20, "--dtype", "bfloat16", "--gradient-checkpointing")
    model, trained, trainer = made(*words)
    assert ".layer.0." not in trained
    assert ".layer.1." in trained
    assert (model.encoder.max_seq_length, trainer.gradient_checkpointing) == (20, True)
    assert next(model.parameters()).dtype == torch.bfloat16
    words = "--lora 3 --lora-alpha 5 --lora-dropout 0.25 --lora-target query --rslora"
    model, trained, _ = made(*words.split())
    (peft,) = model.body.peft_config.values()
    found = (peft.r, peft.lora_alpha, peft.lora_dropout, peft.target_modules, peft.use_rslora)
    assert found == (3, 5, 0.25, {"query"}, True)


@pytest.fixture
def encoder(train, tiny):
    """A bi-encoder that was saved, its head and all."""
    train(*of_texts(tiny), out="saved")
    return "saved"


def ranked(text):
    """Query -> its documents, the best first."""
    found = {}
    for line in text.splitlines():
        query, _, document, *_ = line.split()
        found.setdefault(query, []).append(document)
    return found


def first_of_run(folder, depth):
    """The documents of each query that the run's scores put first."""
    lines = [line.split() for line in (folder / "run").read_text().splitlines()]
    found = {}
    for query, _, document, *_ in sorted(lines, key=lambda own: -float(own[4])):
        found.setdefault(query, []).append(document)
    return {query: set(own[:depth]) for query, own in found.items()}


def test_reranking_texts(run, encoder, tiny, tmp_path, stages):
    words = ("rerank", encoder, *TEXTS.split())
    all_of_run = ranked(run(*words, "--run", "run").out)
    assert set(all_of_run["dogs"]) == set(DOCUMENTS) - {"tax1"}
    assert run(*words, "--run", "run", "--out", "out.run").out == ""
    assert ranked((tmp_path / "out.run").read_text()) == all_of_run
    said = run(*words, "--run", "run", "--max-length", 8, "--dtype", "bfloat16")
    assert "was trained with max_length 64: it is 8 now" in said.err
    assert "was trained with dtype float32: it is bfloat16 now" in said.err
    shallow = ranked(run(*words, "--depth", 2).out)
    assert {len(own) for own in shallow.values()} == {2}
    run(*words, "--first-stage", "dense")
    assert stages == [("bm25", 2), ("dense", "encoder minilm", 100)]
    cut = run(*words, "--run", "run", "--depth", 3)
    assert {query: set(own) for query, own in ranked(cut.out).items()} == first_of_run(tmp_path, 3)
    assert "candidates below 3 are left out" in cut.err
    said = run(*words, "--run", "run", "--depth", 3, "--candidates-out", "first.run")
    assert "wrote first.run" in said.err
    shown = ranked((tmp_path / "first.run").read_text())
    assert {query: set(own) for query, own in shown.items()} == first_of_run(tmp_path, 3)
    assert shown != ranked(said.out)
    said = run(*words, "--run", "run", "--first-stage", "dense", code=2)
    assert "leave --first-stage out" in said.err
    words = ("rerank", tiny, *TEXTS.split(), "--run", "run")
    assert "--kind" in run(*words, code=1).err
    assert ranked(run(*words, "--kind", "bi-encoder").out) == all_of_run


def test_what_says_nothing_is_refused(run, train, tmp_path):
    train("--train", "train.txt")
    assert len(run("rerank", "r.pt", "test.txt").out.splitlines()) == 4
    vain = ("--run run", "--kind bi-encoder", "--max-length 9", "--dtype float32")
    for words in (*vain, "--first-stage bm25", "--depth 3", "--candidates-out x"):
        said = run("rerank", "r.pt", "test.txt", *words.split(), code=2)
        assert f"{words.split()[0]} is of rankers of texts" in said.err
    said = run("rerank", "r.pt", *TEXTS.split(), "--zero-based", code=2)
    assert "--zero-based is of rankers of features" in said.err
    said = run("rerank", "r.pt", "zero.txt", code=1)
    assert "feature 0" in said.err
    assert "read from 0 as told" in run("rerank", "r.pt", "test.txt", "--zero-based", code=1).err


@pytest.fixture
def attack(run, monkeypatch, tmp_path):
    """Attack, less than was told; what was told, what was printed, whom it met."""
    from policyrank.auditing import attacks

    told, victims = {}, []

    def record(kind, **less):
        attacking = getattr(attacks, kind)

        def call(victim, queries, documents, listed, *groups, **options):
            told.update(options, listed=listed, groups=groups, kind=kind)
            less.update(attacked=1, targets=1, budget=1)
            return attacking(victim, queries, documents, listed, *groups, **options | less)

        monkeypatch.setattr(attacks, kind, call)

    def victim(*named):
        victims.append(named)
        return lambda query, texts: np.array(
            [sum(w in text.split() for w in query.split()) + len(text) / 1e4 for text in texts]
        )

    record("attack", lists=2)
    record("attack_topics", updates=1)
    monkeypatch.setattr("policyrank.cli.attack._victim", victim)
    ends = ("is law", "in sea", "or sky")
    texts = {f"{t}{k}": f"{t} number {k} {end}" for t in TOPICS for k, end in enumerate(ends)}
    asked = {f"{t}{k}": f"about {t} {k}" for t in TOPICS for k in (0, 1)}
    for name, found in (("d", texts), ("q", asked)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in found.items()))
    (tmp_path / "groups.tsv").write_text("".join(f"{query[:-1]}\t{query}\n" for query in asked))
    listed = [f"{q} Q0 {d} 1 {-i} r\n" for q in asked for i, d in enumerate(texts)]
    (tmp_path / "run").write_text("".join(listed))

    def call(*words):
        told.clear()
        said = run("attack", "mine", *TEXTS.split(), *words)
        return dict(told), said, victims[-1]

    return call


def test_attacks_are_as_told(attack, tmp_path):
    """--run, --depth, --method, --seed and sizes; --csv and --out are where it goes."""
    pytest.importorskip("bm25s")
    old, said, victim = attack()
    assert victim == ("mine", None)
    names = ("methods", "attacked", "targets", "budget", "lists", "seed")
    assert [old[name] for name in names] == [None, 30, 5, 6, 150, 0]
    assert "imitation from" in said.out
    words = "--kind bi-encoder --method trigger --attacked 4 --targets 2 --budget 3 --lists 9"
    words += " --seed 1"
    new, said, victim = attack(*words.split(), "--csv", "--out", "o.csv")
    assert victim == ("mine", "bi-encoder")
    assert [new[name] for name in names] == [["trigger"], 4, 2, 3, 9, 1]
    assert said.out.startswith("method,")
    assert "text" in pl.read_csv(tmp_path / "o.csv").columns
    orders = [tuple(own["listed"]["dogs0"]) for own in (old, new, attack("--run", "run")[0])]
    assert len(set(orders)) == 3
    assert orders[2][0] == "dogs0"
    assert orders[2][-1] == "rain2"
    (tmp_path / "d.tsv").write_text("".join(f"d{k}\tabout dogs {k}\n" for k in range(20)))
    assert len(attack("--depth", 12)[0]["listed"]["dogs0"]) == 12


def test_attacks_on_topics_are_as_told(attack, run):
    pytest.importorskip("bm25s")
    old = attack("--topics", "groups.tsv")[0]
    assert (old["kind"], old["attacked"], old["targets"]) == ("attack_topics", 10, 3)
    assert len(old["groups"][0]) == 3
    words = "--topics groups.tsv --attacked 11 --targets 4 --budget 2 --seed 3"
    new = attack(*words.split())[0]
    assert [new[name] for name in ("attacked", "targets", "budget", "seed")] == [11, 4, 2, 3]
    for words in ("--lists 9", "--method trigger"):
        said = run("attack", "m", *TEXTS.split(), "--topics", "groups.tsv", *words.split(), code=1)
        assert f"leave {words.split()[0]} out" in said.err
