"""What training leaves in a folder, and what it goes on from."""

import json
import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.models.provenance import About, about
from policyrank.train import saving
from policyrank.train.logs import append_line, cut_after


def test_only_files_that_libraries_write_are_removed(tmp_path):
    theirs = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "config.json",
    ]
    others = ["my_model.safetensors", "rounds.safetensors", "config.json.bak", "log.jsonl", "a.bin"]
    for name in (*theirs, *others):
        (tmp_path / name).write_text("x")
    (tmp_path / "model.bin").mkdir()
    (tmp_path / "critic").mkdir()
    for name in ("model.safetensors", "config.json", "mine.txt"):
        (tmp_path / "critic" / name).write_text("x")
    for path in saving.weight_files(tmp_path):
        path.unlink()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "model.bin", "critic"}
    assert [path.name for path in (tmp_path / "critic").iterdir()] == ["mine.txt"]


@pytest.fixture
def adapters(tmp_path):
    """A folder of adapters, and one of the base that it names."""
    base, folder = tmp_path / "base", tmp_path / "adapters"
    base.mkdir()
    folder.mkdir()
    (base / "model.safetensors").write_text("x")
    config = {"base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_text("y")
    return folder


def test_a_model_or_its_base_is_not_overwritten(adapters, tmp_path, monkeypatch):
    base, link = tmp_path / "base", tmp_path / "link"
    link.symlink_to(base)
    monkeypatch.chdir(tmp_path)
    for out, name in [(adapters, "adapters"), (base, "adapters"), (link, "base")]:
        with pytest.raises(OptionError, match=r"--model .* is there, and would be overwritten"):
            saving.refuse_overwriting(out, {"--reward": None, "--model": name})
    (base / "checkpoints").mkdir()
    with pytest.raises(OptionError, match="would be overwritten"):
        saving.refuse_overwriting(base, {"--model": "base/checkpoints"})
    saving.refuse_overwriting(tmp_path / "new", {"--model": "adapters", "--reward": "of/hub"})


def test_adapters_that_stand_on_themselves_end(adapters):
    config = {"base_model_name_or_path": str(adapters)}
    (adapters / "adapter_config.json").write_text(json.dumps(config))
    assert saving.folders_of(adapters) == [adapters]


def test_weights_are_told_apart(adapters, tmp_path):
    was = saving.weights_fingerprint(adapters)
    assert was == saving.weights_fingerprint(adapters)
    assert saving.weights_fingerprint("some/hub-name") is None
    (adapters / "notes.txt").write_text("other")
    assert saving.weights_fingerprint(adapters) == was
    os.utime(tmp_path / "base" / "model.safetensors", (1, 1))
    assert saving.weights_fingerprint(adapters) != was


def test_a_log_is_cut_where_training_goes_on(tmp_path):
    for step in (0, 5, 10, 15):
        append_line(tmp_path / "log.jsonl", {"step": step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    cut_after(tmp_path / "log.jsonl", "step", 10)
    left = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in left] == [0, 5, 10]
    cut_after(tmp_path / "nowhere", "step", 3)


def test_an_unknown_kind_is_told_with_its_file(tmp_path):
    About("policy").write(tmp_path)
    path = tmp_path / "policyrank.json"
    for kind in ("oracle", ["policy"], None):
        path.write_text(json.dumps({"kind": kind}))
        with pytest.raises(EvidenceError, match=r"policyrank.json: kind .* is none of policy"):
            about(tmp_path)


def test_a_card_names_a_local_base_by_its_folder(adapters, tmp_path):
    class Nothing:
        def save_pretrained(self, folder):
            pass

    base = str(tmp_path / "base")
    saving.write_model(Nothing(), Nothing(), adapters, About("policy", base=base, adapter=True))
    card = (adapters / "README.md").read_text()
    assert "made from `base` by" in card
    assert base not in card
    assert about(adapters).base == base
