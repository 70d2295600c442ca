"""Names of others that steer terminals, turn directions or are markup: shown as mere names."""

import ast
import json
import re
from pathlib import Path

import pytest

import policyrank as pr
from policyrank.errors import EvidenceError, OptionError, printable

HOSTILE = {
    "colour": "ant\x1b[31mred",
    "title": "bee\x1b]0;owned\x07",
    "csi": "cat\x9b2Jclear",
    "turned": "dog\u202egod\u2066",
    "back": "eel\rfox",
    "markup": "[/red]gnu[bold]",
    "html": "<script>alert(1)</script>",
    "maths": "hen$\\frac{$",
    "null": "ibis\x08\x7f",
}
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def file(tmp_path):
    """Scores of hostile names on a hostile task."""
    rows = []
    for place, name in enumerate(HOSTILE.values()):
        for task in ("go\x1b[2J", "chess", "dice\u202e"):
            rows.append({"model": name, "task": task, "score": place + len(task) / 7})
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def battles(tmp_path):
    names = list(HOSTILE.values())
    rows = []
    for k in range(40):
        a, b = names[k % len(names)], names[(k * 2 + 1) % len(names)]
        if a != b:
            rows.append({"model_a": a, "model_b": b, "winner": ("model_a", "tie")[k % 2]})
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "words",
    [
        *(["rank"], ["rank", "--markdown"], ["rank", "--json"], ["compare"], ["read"]),
        *(["read", "--json"], ["audit"], ["audit", "--json"], ["profile"]),
    ],
    ids=" ".join,
)
def test_no_output_steers_the_terminal(words, file, ran):
    verb, *options = words
    said = ran(verb, file, *options)
    assert not STEERING.search(said.out + said.err)
    if options == ["--json"]:
        assert json.loads(said.out)


@pytest.mark.parametrize("words", [["rank"], ["plan"], ["audit"], ["read"]], ids=" ".join)
def test_no_output_of_comparisons_steers_the_terminal(words, battles, ran):
    said = ran(words[0], battles)
    assert not STEERING.search(said.out + said.err)


def test_json_keeps_the_names(file, ran):
    found = json.loads(ran("rank", file, "--json").out)
    names = {re.sub("<[^>]+>", "", name) for name in HOSTILE.values()}  # as names are read
    assert {row["policy"] for row in found["policies"]} == names


def test_errors_and_notes_steer_nothing(file, command, tmp_path):
    code, said = command("rank", file, "--only", "no\x1b[31msuch\u202e")
    assert code == 1
    assert not STEERING.search(said.err)
    code, said = command("rank", tmp_path / "no\x1b[31m\u202e.csv")
    assert code == 1
    assert not STEERING.search(said.err)
    for kind in (EvidenceError, OptionError):
        assert str(kind("a\x1b[31m\rb\u202e\nc")) == "a�[31m b� c"


def test_pages_and_plots_hold_mere_names(file, tmp_path):
    board = pr.rank(pr.read(file))
    page = board.to_html(
        tmp_path / "x.html", title="<script>x</script>\u202e", evidence=pr.read(file)
    )
    assert "<script>alert" not in page
    assert "<script>x" not in page
    assert not STEERING.search(page)
    board.plot(tmp_path / "x.svg")
    assert not STEERING.search((tmp_path / "x.svg").read_text())
    board.plot(tmp_path / "x.png", title="$\\frac{$")


def test_printable_keeps_lines_and_letters():
    assert printable("née\tß 中文 عربى\n") == "née\tß 中文 عربى\n"


def test_verbs_print_by_the_functions_that_clean():
    folder = Path(pr.__file__).parent / "cli"
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
            ):
                found.append(path.name)
    assert set(found) == {"__init__.py", "output.py"}
