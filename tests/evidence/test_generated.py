"""Generated inputs: every reader gives evidence that accounts for all rows, or one clear line.

``POLICYRANK_GENERATED`` sets how many inputs are made of each seed.
"""

import io
import os
import re
import signal
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from damages import damaged, generator, odd_columns
from policyrank.errors import PolicyrankError
from policyrank.evidence import (
    Comparisons,
    Rankings,
    read,
    read_answers,
    read_qrels,
    read_run,
    read_texts,
)
from policyrank.evidence.detections import read_detections, read_ground_truth
from seeds import all_seeds, tables, truth

EACH = int(os.environ.get("POLICYRANK_GENERATED", "60"))
"""How many damaged inputs are made of each seed."""

SLOWEST = 20
"""Seconds after which an input counts as hanging."""

LONGEST = 2000
"""Characters of a message; longer ones are no line to read."""


@contextmanager
def no_longer_than(seconds):
    """An error where something takes longer."""

    def stop(number, frame):
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def written(files, root):
    """What to read: the one file, or the folder that several were written into."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return root if len(files) > 1 else root / next(iter(files))


def _detections(source):
    import json

    place = source.with_name("truth-beside.json")
    place.write_text(json.dumps(truth()))
    return read_detections(source, read_ground_truth(place))


READERS = {
    "answers": read_answers,
    "truth": read_ground_truth,
    "detections": _detections,
    "texts": read_texts,
    "run": read_run,
    "qrels": read_qrels,
}


def read_seed(seed, source, **options):
    """What the seed's reader makes of a source."""
    if seed.reader != "read":
        return READERS[seed.reader](source)
    if seed.metric is not None:
        options["metric"] = seed.metric
    return read(source, **options)


def results(found, *, entries=False):
    """How many results evidence holds."""
    if isinstance(found, Comparisons):
        return found.total
    if isinstance(found, Rankings) and entries:
        return len(found.policy)
    return len(getattr(found, "image", found))


def fault_of(message, files):
    """What is wrong with the message of an error; nothing: None."""
    names = {re.sub(r"[^!-~]|[?]", "", Path(path).name) for path in files}
    shown = re.sub(r"[^!-~]|[?]", "", message)
    if len(message.splitlines()) != 1:
        return "several lines"
    if len(message) > LONGEST:
        return "a message too long to be read"
    named = any(name in shown for name in names) or re.search(r"\b\d+ files", message) is not None
    return None if named else "it names no file"


ONE_EACH = {
    *("comparisons", "scores, long", "ballots, long", "AlpacaEval", "Arena-Hard", "compar:IA"),
    *("MT-bench pairs", "MT-bench ratings", "FastChat logs", "WildBench scores"),
    *("WildBench pairs", "detections", "texts"),
}
"""Seeds of which a row or an entry is one result."""

_LEFT_OUT = re.compile(r"^([\d,]+) [\w ]+?(?:left out|not used)")
_EMPTY = re.compile(r"^([\d,]+) of ([\d,]+) cells are empty")
_COLUMNS_OUT = re.compile(r"([\d,]+) columns? left out")


def _counted(pattern, notes):
    """The sum of the numbers with which notes begin that fit a pattern."""
    found = [pattern.search(note) for note in notes]
    return sum(int(one[1].replace(",", "")) for one in found if one)


def unaccounted(seed, made, found):
    """What does not add up: rows used and left out make the rows of the input."""
    notes = getattr(found, "notes", ())
    used, out = results(found, entries=True), _counted(_LEFT_OUT, notes)
    if made.rows is None:
        return None
    if seed.name in ONE_EACH and not any(map(_EMPTY.search, notes)):
        there = made.rows
    elif seed.name == "scores, wide" and "json" not in made.what:
        columns = 3 - _counted(_COLUMNS_OUT, notes)
        there = (made.rows - _counted(re.compile(r"^([\d,]+) rows? left out"), notes)) * columns
        out = _counted(_EMPTY, notes)
    else:
        return None
    return None if used + out == there else f"{there} there, {used} used, {out} out: {notes}"


def fault_in_reading(seed, made, source, **options):
    """What a reading does that no reading may; nothing: None."""
    try:
        with no_longer_than(SLOWEST):
            found = read_seed(seed, source, **options)
    except PolicyrankError as error:
        fault = fault_of(str(error), made.files)
        return fault and f"{fault}: {str(error)[:300]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:300]}"
    notes = getattr(found, "notes", ())
    if any(len(note.splitlines()) != 1 or len(note) > LONGEST for note in notes):
        return f"a note is no line: {notes}"
    return unaccounted(seed, made, found)


def fault_in_command(source, files):
    """What ``policyrank read`` does that no reading may; nothing: None."""
    from policyrank.cli import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["policyrank", "read", str(source), "--csv"]
    code = None
    try:
        with no_longer_than(SLOWEST), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as done:
        code = done.code
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        sys.argv = before
    said = err.getvalue()
    if code == 0:
        return None if out.getvalue() else "nothing was printed"
    message = said.removeprefix("policyrank: ").rstrip("\n")
    if code not in (1, 2) or message == said:
        return f"exit code {code}: {said[:300]}"
    fault = fault_of(message, files)
    return fault and f"{fault}: {message[:300]!r}"


@pytest.mark.parametrize("seed", all_seeds(), ids=lambda seed: seed.name)
def test_a_seed_is_read_whole(seed, tmp_path):
    source = written(seed.files, tmp_path)
    if not seed.rows:
        with pytest.raises(PolicyrankError):
            read_seed(seed, source)
        return
    found = read_seed(seed, source)
    assert results(found, entries=seed.name == "ballots, long") == seed.rows


@pytest.mark.parametrize("seed", all_seeds(), ids=lambda seed: seed.name)
def test_damaged_inputs_are_read_or_refused_in_one_line(seed, tmp_path):
    faults = []
    for number in range(EACH):
        made = damaged(generator(seed, number), seed)
        source = written(made.files, tmp_path / str(number))
        options = {"bad": "skip"} if number % 3 == 1 and seed.reader == "read" else {}
        fault = fault_in_reading(seed, made, source, **options)
        if fault is None and number % 10 == 0 and seed.reader == "read":
            fault = fault_in_command(source, made.files)
        if fault is not None:
            faults.append(f"{number}, {made.what}: {fault}")
    assert not faults, "\n".join(faults)


def held(columns, number):
    """Columns as a program holds them: a dict, or a frame of polars or pandas; None: impossible."""
    import polars as pl

    try:
        if number % 3 == 1:
            return pl.DataFrame(columns, strict=False)
        if number % 3 == 2:
            return pytest.importorskip("pandas").DataFrame(columns)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return None
    return columns


@pytest.mark.parametrize("seed", tables(), ids=lambda seed: seed.name)
def test_odd_tables_in_memory_are_read_or_refused_in_one_line(seed):
    messages = []
    for number in range(EACH):
        source = held(odd_columns(generator(seed, number), seed), number)
        if source is None:
            continue
        try:
            assert results(read(source, bad="skip"))
        except PolicyrankError as error:
            messages.append(str(error))
    assert not [text for text in messages if fault_of(text, ["the table", "the frame"])]
