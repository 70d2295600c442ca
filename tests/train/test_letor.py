"""LETOR files are read as people have them: sparse, zero-based, packed, of different widths."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import scipy.sparse
import zstandard

from generators import ranking_data
from policyrank.errors import EvidenceError
from policyrank.train import Mlp, RankerTrainer, RankingData, letor, read_letor, read_letor_files

TEXT = """# a header
2 qid:7 1:0.5 3:-2e-1 # doc 1

0\tqid:7   2:1
1 qid:x 3:4 1:3
"""
TABLE = [[0.5, 0, -0.2], [0, 1, 0], [3, 0, 4]]


def test_a_file_by_hand():
    data = read_letor(TEXT.encode())
    assert data.queries == ("7", "x")
    assert data.offsets.tolist() == [0, 2, 3]
    assert data.labels.tolist() == [2, 0, 1]
    assert np.array_equal(data.features, np.array(TABLE, dtype=np.float32))


PACKED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("ending", PACKED)
def test_packed_files(tmp_path, ending):
    path = tmp_path / f"train.txt{ending}"
    path.write_bytes(PACKED[ending](TEXT.encode()))
    assert read_letor(path).fingerprint() == read_letor(TEXT.encode()).fingerprint()


def dumped(data, **options):
    datasets = pytest.importorskip("sklearn.datasets")
    file = io.BytesIO()
    names = np.array(data.queries, dtype=int)
    query = np.repeat(names, np.diff(data.offsets))
    datasets.dump_svmlight_file(data.features, data.labels, file, query_id=query, **options)
    return file.getvalue()


@pytest.mark.parametrize("comment", [None, "from a test"])
def test_zero_based_equals_one_based(comment):
    data = ranking_data()
    x = data.features.copy()
    if comment is not None:
        x[:, 0] = 0  # the numbers do not tell, scikit-learn's comment does
    data = RankingData.of(np.repeat(data.queries, 12), data.labels, x)
    found = {}
    for first in (0, 1):
        text = dumped(data, zero_based=first == 0, comment=comment)
        files = read_letor_files({"train": text})
        assert files.features_from == first
        found[first] = files.sets["train"]
    assert np.array_equal(found[0].features, x)
    assert found[0].fingerprint() == found[1].fingerprint()


def test_numbering_and_width_are_of_all_files_together():
    files = read_letor_files(
        {
            "train": b"1 qid:1 1:2\n0 qid:1 2:3\n",
            "test": b"1 qid:1 0:4 3:5\n",
            "validation": b"1 qid:1",
        }
    )
    assert (files.features_from, files.features) == (0, 4)
    assert files.sets["train"].features.tolist() == [[0, 2, 0, 0], [0, 0, 3, 0]]
    assert files.sets["test"].features.tolist() == [[4, 0, 0, 5]]
    assert files.sets["validation"].features.tolist() == [[0, 0, 0, 0]]
    assert files.notes == (
        "features named in the files: train 3, test 4, validation 1; all get 4, the others are 0",
        "1 features are 0 in all training rows: nothing is learned of them",
    )
    alone = read_letor_files({"train": b"1 qid:1 1:2\n0 qid:1 2:3\n"})
    assert (alone.features_from, alone.features, alone.notes) == (1, 2, ())
    told = read_letor(b"1 qid:1 1:2\n", features_from=0, features=5)
    assert told.features.tolist() == [[0, 2, 0, 0, 0]]


def test_sizes_of_queries_beside_the_file(tmp_path):
    (tmp_path / "a.train").write_text("1 0:2\n0 1:3\n2 1:1\n")
    with pytest.raises(EvidenceError, match=r"line 1: .* no qid.* a.train.query"):
        read_letor(tmp_path / "a.train")
    (tmp_path / "a.train.query").write_text("2\n1\n")
    files = read_letor_files({"": tmp_path / "a.train"})
    assert files.sets[""].offsets.tolist() == [0, 2, 3]
    assert files.sets[""].features.tolist() == [[2, 0], [0, 3], [0, 1]]
    assert files.notes == ("no qid: queries are cut by the sizes in a.train.query",)
    (tmp_path / "a.train.query").write_text("2\n2\n")
    with pytest.raises(EvidenceError, match=r"gives 4 rows to 2 queries, a\.train has 3 rows"):
        read_letor(tmp_path / "a.train")
    (tmp_path / "a.train").write_text("1 0:2\n0 qid:1 1:3\n")
    with pytest.raises(EvidenceError, match=r"line 1: .* no qid"):
        read_letor(tmp_path / "a.train")


def test_scattered_queries_and_numbers_beyond_float32():
    text = b"1 qid:a 1:1.79769313486231570E+308\n2 qid:b 1:-1e39\n0 qid:a 1:3\n"
    files = read_letor_files({"test": text})
    data = files.sets["test"]
    assert data.queries == ("a", "b")
    assert data.labels.tolist() == [1, 0, 2]
    most = float(np.finfo(np.float32).max)
    assert data.features.ravel().tolist() == [most, 3, -most]
    assert np.isfinite(data.standardised().features).all()
    scattered, cut = files.notes
    assert scattered.startswith("test: the rows of 1 of 2 queries do not stand together")
    assert cut.startswith("test: 2 values beyond the range of float32")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 qid:1 1:2\n1 2:3\n", "line 2: .*no qid"),
        ("x qid:1 1:2\n", "line 1: the label 'x'"),
        ("1 qid: 1:2\n", "line 1: qid: without a name"),
        ("1 qid:1 1:2\n1 qid:1 1:2 3\n", "line 2: '3' is not number:value"),
        ("1 qid:1 1:2:3\n", "line 1: '1:2:3'"),
        ("1 qid:1 1 2:3:4\n", "line 1: '1' is not"),
        ("1 qid:1 -1:2\n", "line 1: '-1:2'"),
        ("1 qid:1 1:a\n", "line 1: '1:a'"),
        ("1 qid:1 1:2 1:3\n", "line 1: feature 1 stands twice"),
        ("1 qid:1 2:2 1:3 2:4\n", "line 1: feature 2 stands twice"),
        ("1 qid:1 1:2\n# c\n1 qid:1 2:nan\n", "line 3: feature 2 is nan"),
        ("1 qid:1 1:inf\n", "line 1: feature 1 is inf"),
        ("1 qid:1 99999999:1\n", "line 1: feature 99999999"),
        ("# nothing\n", "empty"),
    ],
)
def test_what_is_malformed_is_named(text, said):
    with pytest.raises(EvidenceError, match=said):
        read_letor(text.encode())


def test_what_does_not_fit_what_was_told():
    with pytest.raises(EvidenceError, match=r"line 2: feature 0, .* from 1.*zero-based"):
        read_letor(b"1 qid:1 1:2\n1 qid:1 0:2\n", features_from=1)
    with pytest.raises(EvidenceError, match="feature 3 is the 3th, and there are to be 2"):
        read_letor(b"1 qid:1 3:2\n", features=2)


def test_too_little_memory_is_said(monkeypatch):
    monkeypatch.setattr(letor, "_free_memory", lambda: 1e9)
    with pytest.raises(EvidenceError, match=r"1 rows of 300,000,000 features take 1.2 GB, and 1.0"):
        letor._table("x", 1, 300_000_000)


def test_wide_thin_features_are_sparse():
    wide = read_letor(b"1 qid:1 1:2 5000:1\n0 qid:1 3:1\n")
    assert scipy.sparse.issparse(wide.features)
    assert wide.features.shape == (2, 5000)
    batch = wide.batch([0]).features
    assert batch.nonzero().tolist() == [[0, 0, 0], [0, 0, 4999], [0, 1, 2]]
    narrow = read_letor(b"1 qid:1 1:2 500:1\n0 qid:1 3:1\n")
    assert isinstance(narrow.features, np.ndarray)


def holed(seed):
    """A table half of zeros, and the same sparse."""
    data = ranking_data(seed)
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(data.features.shape) < 0.5, 0, data.features)
    query = np.repeat(data.queries, 12)
    dense = RankingData.of(query, data.labels, x)
    return dense, RankingData.of(query, data.labels, scipy.sparse.coo_array(x))


@pytest.mark.parametrize("standardise", [False, True])
def test_sparse_equals_dense(standardise):
    dense, sparse = holed(0)
    if standardise:
        dense, sparse = dense.standardised(), sparse.standardised()
    for which in ([0], [3, 1, 2]):
        one, other = (data.batch(which, 5, np.random.default_rng(1)) for data in (dense, sparse))
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.features[one.where], other.features[one.where])
    weights = []
    for data in (dense, sparse):
        torch.manual_seed(0)
        trainer = RankerTrainer(Mlp(5, (8,)), epochs=2, lists=3, learning_rate=1e-2)
        trainer.fit(data, data)
        weights.append(torch.cat([own.flatten() for own in trainer.model.parameters()]))
    assert torch.equal(*weights)


def test_wide_sparse_features_are_measured_in_small_batches(monkeypatch):
    monkeypatch.setattr("policyrank.train.data.MOST_CELLS", 2 * 12 * 5)
    dense, sparse = holed(0)
    assert [len(batch.labels) for batch in sparse.batches(range(5), 16)] == [2, 2, 1]
    assert [len(batch.labels) for batch in dense.batches(range(5), 16)] == [5]
    trainer = RankerTrainer(Mlp(5, (8,)))
    assert trainer.scores(sparse) == pytest.approx(trainer.scores(dense), abs=1e-6)


def test_sparse_features_are_checked():
    x = scipy.sparse.csr_array(np.array([[0, 0], [0, np.nan], [1, 0]]))
    with pytest.raises(EvidenceError, match="row 2: a feature is not finite"):
        RankingData.of(["a"] * 3, [0, 1, 2], x)
    with pytest.raises(EvidenceError, match="do not fit"):
        RankingData.of(["a"] * 2, [0, 1], x)
