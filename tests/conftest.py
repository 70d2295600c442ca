"""Shared by the suite: where the data of others lies, and small random evidence."""

import os
from pathlib import Path

import numpy as np
import pytest

from policyrank.evidence import Comparisons


@pytest.fixture(autouse=True, scope="session")
def _data_folder():
    """Use the data folder beside the checkout where POLICYRANK_DATA names none."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    if "POLICYRANK_DATA" not in os.environ and beside.is_dir():
        os.environ["POLICYRANK_DATA"] = str(beside)


@pytest.fixture(scope="session")
def data():
    """Load a named data set; the test is skipped, loudly, where its files are missing."""
    from policyrank.evidence import datasets

    def load(name):
        if "POLICYRANK_DATA" not in os.environ:
            pytest.skip(f"data set {name!r} not tested: POLICYRANK_DATA is not set")
        return datasets.load(name)

    return load


@pytest.fixture
def battles():
    """Random battles with ties between ``n`` policies."""

    def make(n=6, size=400, seed=0, ties=0.2):
        rng = np.random.default_rng(seed)
        i = rng.integers(n, size=size)
        j = (i + rng.integers(1, n, size=size)) % n
        theta = np.linspace(1, -1, n)
        win = rng.random(size) < 1 / (1 + np.exp(theta[j] - theta[i]))
        outcome = np.where(rng.random(size) < ties, 0.5, win.astype(float))
        names = np.array([f"p{k:02d}" for k in range(n)])
        return Comparisons.of(names[i], names[j], outcome, policies=names.tolist())

    return make


@pytest.fixture
def one_thread():
    """Models this small gain nothing from more."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def command(capsys, monkeypatch):
    """Run the command line here: exit code, and what it printed."""
    from policyrank.cli import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["policyrank", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, capsys.readouterr()

    return call
