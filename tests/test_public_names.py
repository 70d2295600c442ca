"""What a user's editor and type checker see is what is there."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "policyrank"
STUBS = sorted(SOURCE.rglob("__init__.pyi"))


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: str(path.parent.relative_to(SOURCE)))
def test_all_is_what_is_exported(stub):
    name = ".".join(stub.parent.relative_to(SOURCE.parent).parts)
    room = importlib.import_module(name)
    told, exported = [], set()
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            exported |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            exported.add(node.target.id)
        else:
            told = ast.literal_eval(node.value)
    assert sorted(told) == sorted(exported) == sorted(room.__all__)
    for public in told:
        assert getattr(room, public) is not None


def test_no_file_bears_the_name_of_what_it_gives():
    """A room would give the module where its function was asked for."""
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        given = {node.name for node in tree.body if hasattr(node, "name")}
        assert path.stem not in given, path


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def test_the_readme_type_checks_as_a_user_would(tmp_path):
    """A misspelt option is found, and so is nothing else."""
    given = "import numpy as np\n\nestimates = np.zeros(2)\ncovariance = np.eye(2)\n"
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(given + "\n".join(python_blocks(ROOT / "README.md")))
    wrong.write_text(
        'import policyrank as pr\n\npr.read_comparisons("x.csv", frist_wins=1)\n'
        'pr.rank("x.csv", methods="borda", mehtod=3).nothing\npr.no_such_name\n'
        'pr.copeland(pr.read_rankings("x.csv"), levle=0.9)\n'
    )
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports", "."]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "right.py" not in found, found
    for what in ("frist_wins", "nothing", "no_such_name", "levle"):
        assert re.search(rf"wrong.py.*{what}", found), found
