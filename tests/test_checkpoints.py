"""Checkpoints: written whole or not at all, two kept, damage left out, other runs refused."""

import json
import os

import pytest

from policyrank.checkpoints import SEAL, is_whole, newest_whole, prune, seal, written_checkpoint
from policyrank.errors import EvidenceError
from policyrank.fingerprints import Fingerprint

RUN = Fingerprint({"settings": {"seed": 0}}, {"policyrank": "1.0", "torch": "2.1"})


def write(place, number):
    with written_checkpoint(place, number, RUN) as part:
        (part / "weights").write_bytes(bytes(range(200)))
        (part / "deep").mkdir()
        (part / "deep" / "state.json").write_text('{"step": 1}')


@pytest.fixture
def place(tmp_path):
    """Three checkpoints were written; two stay."""
    for number in (9, 10, 11):
        write(tmp_path / "kept", number)
    return tmp_path / "kept"


def test_two_are_kept_and_the_newest_is_taken(place):
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint-10", "checkpoint-11"]
    found = newest_whole(place, RUN)
    assert (found.last, found.left_out, found.remarks) == (place / "checkpoint-11", (), ())
    assert newest_whole(place / "nowhere", RUN).last is None
    assert newest_whole(None, RUN).last is None


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def _zeros(path):
    path.write_bytes(path.read_bytes()[:50] + bytes(20) + path.read_bytes()[70:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda own: _cut(own / "weights"),
        lambda own: _zeros(own / "weights"),
        lambda own: (own / "weights").write_bytes(b""),
        lambda own: (own / "weights").unlink(),
        lambda own: (own / "deep" / "state.json").unlink(),
        lambda own: (own / SEAL).unlink(),
        lambda own: _cut(own / SEAL),
        lambda own: (own / SEAL).write_text("[]"),
    ],
)
def test_what_is_damaged_is_left_out_and_the_one_before_taken(place, damage):
    last = place / "checkpoint-11"
    damage(last)
    assert not is_whole(last)
    found = newest_whole(place, RUN)
    assert (found.last, found.left_out) == (place / "checkpoint-10", (last,))
    assert found.remarks == ("checkpoint-11: written only in part or damaged, and left out",)
    found.set_aside()
    assert sorted(path.name for path in place.iterdir()) == [
        "checkpoint-10",
        "checkpoint-11.left-out",
    ]
    damage(place / "checkpoint-10")
    found = newest_whole(place, RUN)
    assert found.last is None
    assert found.remarks[-1] == "no checkpoint is whole: training starts anew"


def stopped(place, number):
    with written_checkpoint(place, number, RUN) as part:
        (part / "weights").write_bytes(b"half")
        raise KeyboardInterrupt


def test_writing_that_fails_leaves_what_was_there(place):
    there = sorted(place.iterdir())
    for number in (11, 12):
        with pytest.raises(KeyboardInterrupt):
            stopped(place, number)
        assert sorted(place.iterdir()) == there
        assert newest_whole(place, RUN).last == place / "checkpoint-11"
    write(place, 12)
    assert newest_whole(place, RUN).last == place / "checkpoint-12"


def test_what_a_killed_run_wrote_in_part_goes(place):
    left = place / ".part-1-ab"
    left.mkdir()
    (left / "weights").write_bytes(b"half")
    assert newest_whole(place, RUN).last == place / "checkpoint-11"
    write(place, 12)
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint-11", "checkpoint-12"]


def test_a_seal_is_of_what_is_there_then(place):
    last = place / "checkpoint-11"
    (last / "more").write_text("x")
    assert is_whole(last)
    (last / "weights").write_bytes(b"other")
    seal(last, RUN)
    assert is_whole(last)
    assert set(json.loads((last / SEAL).read_text())["files"]) == {
        "weights",
        "more",
        "deep/state.json",
    }


def test_another_run_is_refused_with_what_differs(place):
    other = Fingerprint({"settings": {"seed": 1}}, RUN.versions)
    with pytest.raises(EvidenceError, match="kept was made with other settings: seed 0, here 1"):
        newest_whole(place, other)
    later = Fingerprint(RUN.parts, {"policyrank": "1.1", "torch": "2.1"})
    with pytest.raises(EvidenceError, match=r"with policyrank 1\.0, here 1\.1, in which"):
        newest_whole(place, later)
    newer = Fingerprint(RUN.parts, {"policyrank": "1.0", "torch": "2.2", "peft": "1"})
    (remark,) = newest_whole(place, newer).remarks
    assert remark.endswith("kept was made with torch 2.1, here 2.2: last digits may differ")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "kept").write_text("x")
    with pytest.raises(EvidenceError, match="not a folder of checkpoints"):
        newest_whole(tmp_path / "kept", RUN)


def test_the_seal_is_written_last_and_all_reaches_the_disk(tmp_path, monkeypatch):
    synced, replaced = [], []
    fsync, replace = os.fsync, os.replace

    def to_disk(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        return fsync(handle)

    def renamed(old, new):
        replaced.append((os.path.basename(new), [os.path.basename(path) for path in synced]))
        return replace(old, new)

    monkeypatch.setattr(os, "fsync", to_disk)
    monkeypatch.setattr(os, "replace", renamed)
    write(tmp_path, 1)
    (sealed, before), (named, all_before) = replaced
    assert (sealed, named) == (SEAL, "checkpoint-1")
    assert {"weights", "state.json"} < set(before)
    assert {SEAL, "deep"} < set(all_before)
    assert os.path.basename(synced[-1]) == tmp_path.name


def test_the_best_one_may_be_spared(place):
    write(place, 12)
    write(place, 13)
    prune(place, 1, spare=place / "checkpoint-12")
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint-12", "checkpoint-13"]
    prune(place, 1)
    assert [path.name for path in place.iterdir()] == ["checkpoint-13"]
