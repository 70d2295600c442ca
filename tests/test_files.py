"""Files are written whole or not at all, by one function."""

import ast
import os
import re
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import policyrank as pr
from policyrank.errors import EvidenceError
from policyrank.evidence import write_qrels, write_run
from policyrank.files import (
    append_lines,
    write_bytes,
    write_json,
    write_text,
    written_folder,
    written_whole_folder,
)

OLD = b"what was there"
RUN = pl.DataFrame({"query": ["q"] * 30, "document": map(str, range(30)), "score": [1.0] * 30})


@contextmanager
def full_disk(limit=60):
    """No file can grow beyond so many bytes: the system fails every write after them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def scores():
    rng = np.random.default_rng(0)
    names, tasks = np.repeat(["ant", "bee", "cat"], 40), np.tile(np.arange(40).astype(str), 3)
    return pr.Scores.of(names, tasks, rng.random(120))


def comparisons():
    return pr.Comparisons.of(["ant", "bee"] * 9, ["bee", "cat"] * 9, np.tile([1, 0.5], 9))


def _board(path):
    return pr.rank(scores()).to_json(path)


def _controller(path):
    pytest.importorskip("stable_baselines3")
    from policyrank.train.control.controllers import LearnedController, policy_of
    from policyrank.worlds.inventory import NETWORKS

    network = NETWORKS["serial"]()
    policy = policy_of(network, "mlp")
    one = np.ones(1)
    LearnedController(policy, one, one, one, "mlp", "none", None, 0.0, str(network.edges)).save(
        path
    )


WRITERS = {
    "text.txt": lambda path: write_text(path, "new" * 100),
    "bytes.bin": lambda path: write_bytes(path, b"new" * 100),
    "plain.json": lambda path: write_json(path, ["new"] * 100),
    "board.json": _board,
    "board.html": lambda path: pr.rank(scores()).to_html(path),
    "board.png": lambda path: pr.rank(scores()).plot(path),
    "board.svg": lambda path: pr.rank(scores()).plot(path),
    "board.pdf": lambda path: pr.rank(scores()).plot(path),
    "audit.json": lambda path: pr.audit(comparisons()).to_json(path),
    "run.run": lambda path: write_run(RUN, path),
    "judged.qrels": lambda path: write_qrels(RUN.rename({"score": "grade"}), path),
    "controller.pt": _controller,
} | {f"scores{end}": lambda path: scores().write(path) for end in (".csv", ".tsv", ".parquet")}
WRITERS |= {f"scores{end}": lambda path: scores().write(path) for end in (".jsonl", ".arrow")}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_what_was_there(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(OLD)
    with full_disk(), pytest.raises(EvidenceError, match=re.escape(name)) as error:
        WRITERS[name](path)
    assert len(str(error.value).splitlines()) == 1
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == [name]
    WRITERS[name](path)
    assert path.read_bytes() != OLD
    assert os.listdir(tmp_path) == [name]


def test_what_is_stopped_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "board.json"
    path.write_bytes(OLD)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["board.json"]


def test_links_modes_and_pipes_stay_what_they_are(tmp_path):
    there, link = tmp_path / "there.txt", tmp_path / "link.txt"
    there.write_bytes(OLD)
    there.chmod(0o640)
    link.symlink_to(there)
    write_text(link, "new")
    assert link.is_symlink()
    assert there.read_text() == "new"
    assert stat.S_IMODE(there.stat().st_mode) == 0o640
    write_text("/dev/null", "new")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)


def test_names_as_long_as_a_folder_takes_are_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".csv")
    scores().write(path)
    assert len(pr.read(path)) == 120


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    weights, other = place / "model.safetensors", place / "log.jsonl"
    weights.write_bytes(OLD)
    other.write_bytes(OLD)

    def write(size):
        with written_folder(place, [weights]) as part:
            (part / "config.json").write_text("new")
            (part / "deeper").mkdir()
            (part / "deeper" / "model.bin").write_bytes(b"n" * size)

    with full_disk(), pytest.raises(EvidenceError, match="model: cannot be written"):
        write(100)
    assert sorted(os.listdir(place)) == ["log.jsonl", "model.safetensors"]
    (place / ".part-1-ab.json").write_text("of a process that was killed")
    write(10)
    assert sorted(os.listdir(place)) == ["config.json", "deeper", "log.jsonl"]
    assert (place / "deeper" / "model.bin").read_bytes() == b"n" * 10
    assert other.read_bytes() == OLD


def test_a_whole_folder_takes_the_place_of_another_in_one_step(tmp_path):
    place = tmp_path / "checkpoint-1"

    def write(size):
        with written_whole_folder(place) as part:
            (part / "deeper").mkdir()
            (part / "deeper" / "model.bin").write_bytes(b"n" * size)

    write(10)
    (place / "old").write_bytes(OLD)
    with full_disk(), pytest.raises(EvidenceError, match="checkpoint-1: cannot be written"):
        write(100)
    assert sorted(os.listdir(place)) == ["deeper", "old"]
    assert os.listdir(tmp_path) == ["checkpoint-1"]
    write(20)
    assert os.listdir(place) == ["deeper"]
    assert (place / "deeper" / "model.bin").read_bytes() == b"n" * 20


def test_what_is_written_and_its_name_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def to_disk(handle):
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", to_disk)
    write_text(tmp_path / "board.txt", "new")
    file, folder = synced
    assert file.name.startswith(".part")
    assert folder == tmp_path
    with written_folder(tmp_path / "model") as part:
        (part / "deeper").mkdir()
        (part / "deeper" / "model.bin").write_bytes(b"new")
    assert synced[2].name == "model.bin"
    assert set(synced[3:]) == {tmp_path / "model", tmp_path / "model" / "deeper"}


def test_lines_are_appended_whole_or_not_at_all(tmp_path):
    path = tmp_path / "log.jsonl"
    append_lines(path, ['{"a": 1}', '{"a": 2}'])
    whole = path.read_bytes()
    with full_disk(), pytest.raises(EvidenceError, match=re.escape("log.jsonl")):
        append_lines(path, ['{"a": 3}', "x" * 100])
    assert path.read_bytes() == whole == b'{"a": 1}\n{"a": 2}\n'
    path.write_bytes(whole + b'{"a": 3}')
    append_lines(path, ['{"a": 4}'])
    assert path.read_bytes() == whole + b'{"a": 3}\n{"a": 4}\n'
    path.write_bytes(whole + b'{"a": 3, "b')
    append_lines(path, ['{"a": 4}'])
    assert path.read_bytes() == whole + b'{"a": 4}\n'


SOURCE = Path(pr.__file__).parent
WRITING = {
    *("write_text", "write_bytes", "write_csv", "write_parquet", "write_ndjson", "write_ipc"),
    *("savefig", "save_file", "save_pretrained", "to_csv", "to_parquet", "sink_csv"),
    *("sink_parquet", "dump", "savez", "savetxt", "urlretrieve"),
}
OTHERS = {
    ("cli/study.py", "open"): "the log of a process that runs",
    ("evaluation/runner.py", "open"): "the log of what policies print while they run",
    ("evaluation/workers.py", "open"): "what a process prints, as it prints it",
    ("worlds/isolation.py", "write_text"): "limits of a control group",
    ("train/adapters.py", "save_pretrained"): "into a folder that written_folder gives",
    ("train/text_rankers.py", "save_pretrained"): "into a folder that written_folder gives",
    ("train/saving.py", "save_pretrained"): "into a folder that written_folder gives",
    ("evidence/trec.py", "write_csv"): "into memory",
}
"""Where else something is written, and why it may."""


def _is_writing(call):
    name = _name(call)
    if name == "open":
        texts = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant)]
        modes = [text for text in texts if isinstance(text, str)]
        return any(re.fullmatch("[rbt]*[wax+][bt+]*", mode) for mode in modes)
    if ast.unparse(call.func) in ("torch.save", "np.save"):
        return True
    to_a_path = isinstance(call.func, ast.Attribute) and bool(call.args)
    return name == "save_file" or (name in WRITING and to_a_path)


def _name(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _writers(tree):
    """Names of calls that write outside of a block of ``written`` or ``written_folder``."""
    waiting = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.Call) and not inside and _is_writing(node):
            yield _name(node)
        if isinstance(node, ast.With):
            inside |= any("written" in ast.unparse(item) for item in node.items)
        if isinstance(node, ast.FunctionDef):
            inside = False
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def test_nothing_else_writes_files():
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name != "files.py":
            found |= {(name, writer) for writer in _writers(ast.parse(path.read_text()))}
    assert found == set(OTHERS)


@pytest.mark.parametrize(
    "line",
    [
        'Path("x").write_text("new")',
        'open("x", "w").write("new")',
        'Path("x").open(mode="ab")',
        'frame.write_parquet("x")',
        "figure.savefig(path)",
        "torch.save(kept, path)",
        "json.dump(kept, file)",
    ],
)
def test_what_writes_is_seen(line):
    assert list(_writers(ast.parse(line)))
    assert not list(_writers(ast.parse(f"with written(path) as part:\n    {line}")))
