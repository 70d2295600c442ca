"""What a run depends on: what differs is named, the first three, the innermost."""

from functools import partial

import pytest

from policyrank.errors import EvidenceError
from policyrank.fingerprints import Fingerprint, content_hash, hashed, known_versions


def given(**settings):
    return Fingerprint({"settings": settings}, {})


def test_differences_are_named_with_their_values():
    then = given(seed=0, loss="dpo", options={"beta": 0.1, "k": {"a": 1}}, data=hashed(["a"]))
    assert then.differences(then) == ""
    now = given(seed=0, loss="dpo", options={"beta": 0.2, "k": {"a": 1}}, data=hashed(["b"]))
    assert then.differences(now) == "other settings: beta 0.1, here 0.2; data differ"
    now = given(seed=1, loss="simpo", options={}, data=hashed(["b"]))
    assert then.differences(now) == (
        "other settings: seed 0, here 1; loss dpo, here simpo; beta 0.1, here None; and 2 more"
    )
    assert given().differences(given(x=None)) == "other settings: x None, here None"
    long = given(x="a" * 100).differences(given(x="b"))
    assert long == f"other settings: x {'a' * 57}..., here b"


def test_parts_that_are_missing():
    then = Fingerprint({"data": {"rows": 1}}, {})
    now = Fingerprint({"data": {"rows": 2}, "validation": {"rows": 1}}, {})
    told = "other data: rows 1, here 2; other validation: none, here some"
    assert then.differences(now) == told
    assert now.differences(then).endswith("other validation: some, here none")


def test_functions_are_told_by_their_names_and_not_by_where_they_lie():
    class Odd:
        pass

    one, other = given(f=max, g=partial(max, 1), h=Odd()), given(f=max, g=partial(max, 1), h=Odd())
    assert one == other
    assert one.parts["settings"]["f"] == "max"
    assert one.differences(given(f=min, g=partial(max, 1), h=Odd())) == (
        "other settings: f max, here min"
    )


def test_it_is_read_as_it_was_written():
    then = Fingerprint({"settings": {"a": (1, 2), "b": 0.1}})
    assert Fingerprint.read(then.plain()) == then
    assert then.versions == known_versions()
    for other in (None, [], {}, {"parts": 1}):
        with pytest.raises(ValueError, match="no fingerprint"):
            Fingerprint.read(other)


def test_versions_are_said_or_refused():
    then = Fingerprint({}, {"policyrank": "1", "torch": "2"})
    assert then.check(then, "place") == []
    assert then.check(Fingerprint({}, {"policyrank": "1", "torch": "3"}), "place") == [
        "place was made with torch 2, here 3: last digits may differ"
    ]
    with pytest.raises(EvidenceError, match="place was made with policyrank 1, here 2"):
        then.check(Fingerprint({}, {"policyrank": "2", "torch": "2"}), "place")
    assert Fingerprint({}, {}).check(then, "place") == []


def test_files_are_told_apart_by_what_they_hold(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x" * 5000)
    other.write_bytes(b"x" * 5000)
    assert content_hash(one) == content_hash(other)
    other.write_bytes(b"x" * 4999 + b"y")
    assert content_hash(one) != content_hash(other)
