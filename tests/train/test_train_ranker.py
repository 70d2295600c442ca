"""`policyrank train ranker` and `rerank`: by flags or by a file; what is said, kept and refused."""

import gzip
import json
from dataclasses import fields

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from generators import ranking_data
from policyrank.cli.ranker_options import DEFAULTS, Kept, Ranker, Steps
from policyrank.evidence import read_run, write_qrels
from policyrank.train import RankerTrainer, read_letor


def write_letor(found, path, first=1, width=5):
    lines = []
    labels, features = iter(found.labels), iter(found.features)
    for query, length in zip(found.queries, np.diff(found.offsets), strict=True):
        for _ in range(length):
            pairs = [f"{k + first}:{v:.6g}" for k, v in enumerate(next(features)[:width])]
            lines.append(f"{int(next(labels))} qid:{query} {' '.join(pairs)} # doc\n")
    text = "".join(lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.fixture
def letor(tmp_path):
    """Training, validation and test files, and the same numbered from 0."""
    for name, seed in (("train", 0), ("validation", 1), ("test", 2)):
        write_letor(ranking_data(seed), tmp_path / f"{name}.txt")
        write_letor(ranking_data(seed), tmp_path / f"{name}0.txt", first=0)
    write_letor(ranking_data(0), tmp_path / "train.txt.gz")
    return tmp_path


def named(folder, ending="", sets=("train", "validation", "test")):
    words = []
    for name in sets:
        words += [f"--{name}", folder / f"{name}{ending}.txt"]
    return words


CONFIG = """[data]
train = "train.txt.gz"
validation = "validation.txt"
test = "test.txt"
[model]
kind = "transformer"
width = 16
layers = 1
[train]
loss = "listnet"
epochs = 10
lists = 4
learning_rate = 0.01
"""


def test_by_a_file(letor, command):
    config, out = letor / "config.toml", letor / "ranker.pt"
    config.write_text(CONFIG)
    code, said = command("train", "ranker", config, "--out", out)
    assert code == 0, said.err
    assert "best epoch" in said.out
    assert "test nDCG@10" in said.out
    assert "train: 40 queries, 480 rows, 5 features (numbered from 1)" in said.err
    assert not (letor / "ranker.pt.checkpoint").exists()
    code, said = command("rerank", out, letor / "test.txt", "--out", letor / "run.txt")
    assert code == 0, said.err
    test = ranking_data(2)
    length = np.diff(test.offsets)
    document = np.concatenate([np.arange(1, n + 1) for n in length]).astype(str)
    query = np.repeat(np.array(test.queries), length)
    qrels = pl.DataFrame({"query": query, "document": document, "grade": test.labels})
    write_qrels(qrels, letor / "qrels.txt")
    code, said = command("eval-run", letor / "run.txt", letor / "qrels.txt", "-m", "nDCG@10")
    assert float(said.out.split()[-1]) > 0.85
    code, said = command("rerank", letor / "qrels.txt", letor / "test.txt")
    assert code == 1
    assert "not a ranker" in said.err


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (CONFIG.replace("transformer", "forest"), "kind = 'forest'; use one of linear, mlp"),
        (CONFIG.replace("lists = 4", "listes = 4"), "[train] has no option 'listes'. Did you mean"),
        (CONFIG.replace("width = 16", "widht = 16"), "[model] has no option 'widht'. Did you mean"),
        (CONFIG.replace("test =", "tets ="), "[data] has no option 'tets'. Did you mean 'test'"),
        (CONFIG.replace("[train]", "[trian]"), "knows no [trian]"),
        (
            CONFIG.replace("[train]", "features_from = 2\n[train]").replace("[model]", "[data.x]"),
            "[data]",
        ),
        ("[data]\n", "lacks train"),
        ("nonsense", "not a TOML"),
    ],
)
def test_a_wrong_file_is_refused(letor, command, bad, said):
    (letor / "bad.toml").write_text(bad)
    code, found = command("train", "ranker", letor / "bad.toml", "--out", letor / "x.pt")
    assert code == 1
    assert said in found.err
    assert not (letor / "x.pt").exists()


def test_flags_say_what_a_file_says_and_win(letor, command):
    """The same training by TOML, by YAML, by flags, and by a file that flags correct."""
    tables = {
        "data": {"train": "train.txt", "validation": "validation.txt", "standardise": False},
        "model": {"kind": "mlp", "hidden": [8], "dropout": 0.0},
        "train": {"loss": "lambdarank", "loss_options": {"k": 5}, "epochs": 2, "lists": 5},
    }
    text = json.dumps(tables)[:-2] + ', "learning_rate": 1e-3}}'  # JSON is YAML
    (letor / "c.yaml").write_text(text)
    toml = CONFIG.replace("width = 16\nlayers = 1", "hidden = [8]\ndropout = 0.0")
    toml = toml.replace("train.txt.gz", "train.txt").replace(
        '"test.txt"', '"test.txt"\nstandardise = false'
    )
    (letor / "c.toml").write_text(toml)
    model = ["--kind", "mlp", "--model-option", "hidden=[8]", "--model-option", "dropout=0.0"]
    steps = ["--loss", "lambdarank", "--option", "k=5", "--epochs", 2, "--lists", 5]
    steps += ["--learning-rate", "1e-3"]
    kept = []
    for k, words in enumerate(
        (
            [letor / "c.yaml"],
            [*named(letor), "--raw", *model, *steps],
            [letor / "c.toml", "--kind", "mlp", *steps],
        )
    ):
        code, said = command("train", "ranker", *words, "--out", letor / f"{k}.pt")
        assert code == 0, said.err
        kept.append(torch.load(letor / f"{k}.pt", weights_only=True))
    first, *others = kept
    for other in others:
        assert other["settings"] == first["settings"]
        for name, values in first["weights"].items():
            assert torch.equal(values, other["weights"][name])
    assert first["settings"]["loss_options"] == {"k": 5}
    assert first["settings"]["learning_rate"] == 1e-3
    assert first["standardise"] is False


def test_what_a_ranker_keeps(letor, command):
    out = letor / "r.pt"
    words = [
        "--epochs",
        3,
        "--seed",
        7,
        "--scheduler",
        "cosine",
        "--warmup",
        0.1,
        "--accumulate",
        2,
    ]
    code, said = command("train", "ranker", *named(letor), *words, "--out", out, "--log-every", 4)
    assert code == 0, said.err
    kept = torch.load(out, weights_only=True)
    assert (kept["kind"], kept["features"], kept["features_from"]) == ("mlp", 5, 1)
    assert kept["objective"] == "listmle"
    settings = kept["settings"]
    assert (settings["seed"], settings["scheduler"], settings["epochs"]) == (7, "cosine", 3)
    assert settings["trained_epochs"] == 3
    assert {"torch", "policyrank"} <= set(kept["versions"])
    train = read_letor(letor / "train.txt").standardised()
    assert kept["data"]["train"] == train.fingerprint()
    lines = (letor / "r.pt.log.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["epoch"] for line in told if "validation" in line] == [1, 2, 3]
    assert len(told) == 3 + 15  # 40 lists, 2 a step: 20 steps an epoch, every fourth


def run_of(command, *words):
    code, said = command("rerank", *words)
    assert code == 0, said.err
    return said


def test_zero_based_files_train_the_same_ranker_and_are_read_as_it_was(letor, command):
    kept = {}
    for ending in ("", "0"):
        words = [*named(letor, ending), "--epochs", 2, "--out", letor / f"r{ending}.pt"]
        code, said = command("train", "ranker", *words)
        assert code == 0, said.err
        kept[ending] = torch.load(letor / f"r{ending}.pt", weights_only=True)
    assert kept["0"]["features_from"] == 0
    assert kept["0"]["data"] == kept[""]["data"]
    one = run_of(command, letor / "r.pt", letor / "test.txt").out
    zero = run_of(command, letor / "r0.pt", letor / "test0.txt").out
    assert one.replace(" r\n", " r0\n") == zero
    # A file whose first feature is always 0 would look as numbered from 1.
    (letor / "thin.txt").write_text("1 qid:1 1:0.3\n0 qid:1 2:0.4\n")
    said = run_of(command, letor / "r0.pt", letor / "thin.txt")
    assert "5 features (numbered from 0)" in said.err
    said = run_of(command, letor / "r.pt", letor / "thin.txt", "--zero-based")
    assert "trained on features from 1, they are read from 0 as told" in said.err
    code, said = command("rerank", letor / "r.pt", letor / "test0.txt")
    assert code == 1
    assert "line 1: feature 0" in said.err


def test_widths_are_joined_and_a_wider_file_is_refused_later(letor, command):
    write_letor(ranking_data(0), letor / "narrow.txt", width=4)
    words = ["--train", letor / "narrow.txt", "--validation", letor / "validation.txt"]
    code, said = command("train", "ranker", *words, "--epochs", 1, "--out", letor / "r.pt")
    assert code == 0, said.err
    assert "train 4, validation 5; all get 5" in said.err
    assert "1 features are 0 in all training rows" in said.err
    (letor / "wide.txt").write_text("1 qid:1 1:0.3\n0 qid:1 6:0.4\n")
    code, said = command("rerank", letor / "r.pt", letor / "wide.txt")
    assert code == 1
    assert "feature 6 is the 6th, and there are to be 5" in said.err


def test_without_validation_the_last_epoch_is_kept_and_said(letor, command):
    flat = letor / "flat.txt"
    flat.write_text((letor / "train.txt").read_text() + "1 qid:f 1:1\n1 qid:f 1:2\n")
    code, said = command("train", "ranker", "--train", flat, "--epochs", 2, "--out", letor / "r.pt")
    assert code == 0, said.err
    assert "no validation data: the last epoch's weights are kept" in said.err
    assert "left out: 1 queries of one label" in said.err
    assert said.out.startswith("2 epochs: loss ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--kind", "cross-encoder"], 1, "a cross-encoder reads texts: name --queries and"),
        (["--loss", "nope"], 2, "loss='nope'"),
        (["--option", "kk=3"], 2, "has no option 'kk'. Did you mean 'k'"),
        (["--loss", "sigmoid"], 2, "'sigmoid' takes shares"),
        (["--max-length", "20"], 1, "[model] has no option 'max_length'"),
        (["--report-to", "wandb"], 1, "pip install wandb"),
        (["--gradient-checkpointing"], 2, "no encoder of transformers"),
        (["--lists", "0"], 2, "lists"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(letor, command, words, code, said):
    found, told = command("train", "ranker", *named(letor), *words, "--out", letor / "r.pt")
    assert found == code
    assert said in told.err.splitlines()[-1]
    assert not (letor / "r.pt").exists()


def test_an_interrupted_run_goes_on(letor, command, monkeypatch):
    """And is refused on other data, with what differs."""
    words = ["train", "ranker", *named(letor), "--epochs", 3, "--out"]
    command(*words, letor / "whole.pt")
    fit = RankerTrainer.fit

    def interrupted(self, *sets):
        self.report = stop_after(2)
        return fit(self, *sets)

    def stop_after(epochs):
        def report(epoch):
            if epoch.epoch + 1 == epochs:
                raise KeyboardInterrupt

        return report

    monkeypatch.setattr(RankerTrainer, "fit", interrupted)
    code, _ = command(*words, letor / "r.pt")
    assert code == 130
    monkeypatch.setattr(RankerTrainer, "fit", fit)
    other = [*named(letor, sets=("validation",)), "--train", letor / "test.txt"]
    code, said = command("train", "ranker", *other, "--epochs", 3, "--out", letor / "r.pt")
    assert code == 1
    assert "was made with other training data: labels differ; features differ" in said.err
    code, said = command(*words, letor / "r.pt")
    assert code == 0, said.err
    assert "going on from" in said.err
    whole, again = (torch.load(letor / f"{name}.pt", weights_only=True) for name in ("whole", "r"))
    for name, values in whole["weights"].items():
        assert torch.equal(values, again["weights"][name])


def test_defaults_of_the_flags_are_the_trainers():
    trainer = {field.name: field.default for field in fields(RankerTrainer)}
    for flags in (Ranker, Steps, Kept):
        for field in fields(flags):
            if field.name in trainer and field.name in DEFAULTS:
                assert DEFAULTS[field.name] == trainer[field.name], field.name
    steps = {field.name for field in fields(Steps)}
    assert steps <= set(trainer)


# Texts

TOPICS = {"dogs": "puppy barks", "tax": "income deduction", "rain": "storm cloud"}
QUERIES = {topic: f"about {topic}" for topic in TOPICS}
DOCUMENTS = {
    f"{t}{k}": f"{t} {words} {'long ' * 20 * k}" for t, words in TOPICS.items() for k in (0, 1)
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A body of two small layers, saved in bfloat16, as a hub's would be."""
    pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    words = " ".join([*TOPICS, *TOPICS.values(), "about long"]).split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path):
    """Files of texts, a run of all documents, and judgements."""
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in QUERIES.items()))
    rows = [json.dumps({"_id": k, "text": v}) for k, v in DOCUMENTS.items()]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    pairs = [(q, d) for q in QUERIES for d in DOCUMENTS]
    judged = [f"{q} 0 {d} {int(d.startswith(q))}\n" for q, d in pairs]
    (tmp_path / "qrels").write_text("".join(judged))
    run = [f"{q} Q0 {d} {k + 1} {9 - k} r\n" for k, (q, d) in enumerate(pairs)]
    (tmp_path / "run").write_text("".join(run))
    return tmp_path


def read_from(folder):
    return [
        "--queries",
        folder / "q.tsv",
        "--documents",
        folder / "d.jsonl",
        "--run",
        folder / "run",
    ]


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_texts_by_flags(texts, tiny, command, kind):
    judged = ["--train", texts / "qrels", "--validation", texts / "qrels"]
    words = ["--kind", kind, "--name", tiny, "--max-length", 16, "--gradient-checkpointing"]
    words += ["--epochs", 2, "--metric", "AP", "--layers", 1, "--loss", "ranknet"]
    out = texts / "mine"
    code, said = command("train", "ranker", *read_from(texts), *judged, *words, "--out", out)
    assert code == 0, said.err
    assert "saved in bfloat16, its weights are float32 while it trains" in said.err
    assert ("the head is new" in said.err) == (kind == "cross-encoder")
    assert "9 of 18 candidates are longer than max_length = 16 tokens" in said.err
    about = json.loads((out / "policyrank.json").read_text())
    assert (about["kind"], about["max_length"], about["dtype"]) == (kind, 16, "float32")
    assert (about["objective"], about["base"]) == ("ranknet", str(tiny))
    assert about["settings"]["learning_rate"] == 2e-5
    assert about["data"]["train"]["documents"] == 6
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    run = texts / "mine.run"
    code, said = command("rerank", out, *read_from(texts), "--out", run)
    assert code == 0, said.err
    assert "max_length = 16" in said.err
    code, said = command("eval-run", run, texts / "qrels", "-m", "AP")
    best = max(
        json.loads(line)["validation"] for line in (out / "log.jsonl").read_text().splitlines()
    )
    assert float(said.out.split()[-1]) == pytest.approx(best, abs=2e-3)
    code, said = command("rerank", out, *read_from(texts), "--max-length", 32, "--out", run)
    assert code == 0, said.err
    assert "was trained with max_length 16: it is 32 now, as told" in said.err
    assert "18 candidates are longer" not in said.err
    assert read_run(run).height == 18
    about["max_length"] = 12
    (out / "policyrank.json").write_text(json.dumps(about))
    code, said = command("rerank", out, *read_from(texts), "--out", run)
    assert "longer than max_length = 12 tokens" in said.err


def test_a_head_that_was_never_trained_does_not_rank(texts, tiny, command):
    code, said = command("rerank", tiny, "--kind", "cross-encoder", *read_from(texts))
    assert code == 1
    assert "its head is new, and its scores would be random. Train it first" in said.err
    code, said = command("rerank", tiny, *read_from(texts))
    assert code == 1
    assert "say with --kind" in said.err


def test_encoders_are_float32_in_training_unless_told(tiny):
    from policyrank.train import bi_encoder, cross_encoder

    for make in (bi_encoder, cross_encoder):
        for dtype, kept in ((None, torch.float32), ("bfloat16", torch.bfloat16)):
            ranker = make(str(tiny), dtype=dtype, device="cpu")
            assert {own.dtype for own in ranker.parameters()} == {kept}
            widened = [note for note in ranker.notes if "saved in bfloat16" in note]
            assert len(widened) == (dtype is None)
    from policyrank.models.encoders import load_encoder

    assert next(load_encoder(str(tiny), "cpu").parameters()).dtype == torch.bfloat16


def test_gradient_checkpointing_changes_no_gradient(texts, tiny):
    from policyrank.evidence import read_qrels, read_run
    from policyrank.train import TextData, cross_encoder

    data = TextData.of(QUERIES, DOCUMENTS, read_run(texts / "run"), read_qrels(texts / "qrels"))
    weights = []
    for wanted in (False, True):
        torch.manual_seed(0)
        ranker = cross_encoder(str(tiny), device="cpu")
        options = {"epochs": 1, "lists": 3, "optimizer": "sgd", "learning_rate": 1.0}
        RankerTrainer(ranker, gradient_checkpointing=wanted, **options).fit(data)
        assert not any(getattr(own, "gradient_checkpointing", False) for own in ranker.modules())
        weights.append(torch.cat([own.detach().flatten() for own in ranker.parameters()]))
    assert torch.allclose(*weights, atol=1e-6)
