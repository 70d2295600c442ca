"""What runs append to files: read back whole, half a line left out, anything else refused."""

import msgspec
import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence.kept_lines import read_kept_lines
from policyrank.files import append_lines


class Kept(msgspec.Struct):
    key: str
    answers: list[str]


WHOLE = b'{"key": "k", "answers": ["a"]}\n{"key": "l", "answers": []}\n'


def test_no_file_holds_nothing(tmp_path):
    assert read_kept_lines(tmp_path / "cache.jsonl", Kept) == []


def test_half_a_line_anywhere_is_left_out_and_told(tmp_path):
    path = tmp_path / "cache.jsonl"
    for end in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:end])
        told = []
        found = read_kept_lines(path, Kept, told.append)
        *_, last = WHOLE[:end].split(b"\n")
        lines = WHOLE[: end + 1].count(b"\n")  # the last line break may be missing
        assert [kept.key for kept in found] == ["k", "l"][:lines]
        assert len(told) == (last != b"" and not last.endswith(b"}"))
        append_lines(path, ['{"key": "m", "answers": ["b"]}'])
        again = read_kept_lines(path, Kept, told.append)
        assert [kept.key for kept in again] == [*["k", "l"][:lines], "m"]


@pytest.mark.parametrize(
    "line",
    [
        *(b"{}", b"[]", b"null", b"3", b"nonsense", b'{"key": 1, "answers": []}', b"[" * 100_000),
        *(b'{"key": "k", "answers": "a"}', b'{"key": "k", "answers": [1]}', b"\xff\xfe", b"\x00"),
    ],
)
def test_other_lines_are_refused_with_file_and_line(line, tmp_path):
    path = tmp_path / "cache.jsonl"
    path.write_bytes(WHOLE + line + b"\n" + WHOLE)
    with pytest.raises(EvidenceError, match=r"cache\.jsonl, line 3") as error:
        read_kept_lines(path, Kept)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(EvidenceError, match="cannot be read"):
        read_kept_lines(tmp_path, Kept)
