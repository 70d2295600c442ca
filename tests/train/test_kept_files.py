"""Files that are kept: damage named, other runs refused."""

import math

import pytest

from policyrank.errors import EvidenceError
from policyrank.fingerprints import Fingerprint
from policyrank.train.kept_files import keep, read_kept

RUN = Fingerprint({"settings": {"seed": 0}})


def test_what_was_kept_is_read_again(tmp_path):
    path, said = tmp_path / "deep" / "round.json", []
    assert read_kept(path, RUN, said.append) is None
    keep(path, RUN, {"scores": [[0.1, math.inf]], "texts": ["é"]})
    assert read_kept(path, RUN, said.append) == {"scores": [[0.1, math.inf]], "texts": ["é"]}
    keep(path, RUN, [math.nan])
    assert math.isnan(read_kept(path, RUN, said.append)[0])
    keep(path, RUN, ["half \ud800"])
    assert read_kept(path, RUN, said.append) == ["half ?"]
    assert said == []
    with pytest.raises(EvidenceError, match="other settings: seed 0, here 1"):
        read_kept(path, Fingerprint({"settings": {"seed": 1}}), said.append)
    torch = Fingerprint(RUN.parts, {**RUN.versions, "torch": "0"})
    assert read_kept(path, torch, said.append) is not None
    assert "here 0: last digits may differ" in said[0]


@pytest.mark.parametrize("cut", [0, 1, 30, -2])
def test_a_damaged_file_is_named_and_made_again(tmp_path, cut):
    path, said = tmp_path / "round.json", []
    keep(path, RUN, {"texts": ["abc", "def"]})
    path.write_bytes(path.read_bytes()[:cut])
    assert read_kept(path, RUN, said.append) is None
    assert "round.json: damaged" in said[0]


def test_one_letter_that_changed_is_damage(tmp_path):
    path, said = tmp_path / "round.json", []
    keep(path, RUN, {"texts": ["abc"]})
    path.write_text(path.read_text().replace("abc", "abd"))
    assert read_kept(path, RUN, said.append) is None
    assert len(said) == 1
