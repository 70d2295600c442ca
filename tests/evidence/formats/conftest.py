"""Write files of a format and read them, as the door does."""

import json
from pathlib import Path

import pytest

from policyrank.evidence import read


class Folder:
    """A folder that tests write into: dicts and lists become JSON, lists of lines stay text."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def lines(self, name: str, values: list[object]) -> Path:
        return self.write(name, "".join(json.dumps(value) + "\n" for value in values))

    def read(self, name: str = ".", **options: object):
        return read(self.root / name, **options)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def values():
    """Policy -> task -> mean score, of scores."""

    def mean_scores(scores):
        table = scores.table(oriented=False)
        found = {}
        for j, policy in enumerate(scores.policies):
            column = {
                task: round(float(table[i, j]), 6)
                for i, task in enumerate(scores.columns)
                if table[i, j] == table[i, j]
            }
            found[policy] = column
        return found

    return mean_scores


@pytest.fixture
def duels():
    """Rows [a, b, outcome] of comparisons."""

    def rows(comparisons):
        c = comparisons
        return [
            [c.policies[i], c.policies[j], round(float(outcome), 6)]
            for i, j, outcome in zip(c.a, c.b, c.outcome, strict=True)
        ]

    return rows


@pytest.fixture
def noted():
    """The one note that holds a text."""

    def find(evidence, text):
        found = [note for note in evidence.notes if text in note]
        assert len(found) == 1, evidence.notes
        return found[0]

    return find
