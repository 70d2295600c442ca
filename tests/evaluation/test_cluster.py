"""Evaluations on a real Ray cluster that was started beforehand, on this machine."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation import evaluate

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    start = [
        *ray,
        "start",
        "--head",
        "--num-cpus=2",
        f"--port={port}",
        "--include-dashboard=false",
        "--disable-usage-stats",
        "--object-store-memory=100000000",
    ]
    subprocess.run(start, check=True, capture_output=True, timeout=120)
    yield f"127.0.0.1:{port}"
    subprocess.run([*ray, "stop", "--force"], check=True, capture_output=True, timeout=120)


def test_the_same_results_as_here(cluster):
    offset = 0.5
    policies = {
        name: lambda task, seed, mean=mean: mean + offset + np.random.default_rng(seed).normal()
        for name, mean in (("low", 0.0), ("high", 2.0), ("mid", 1.0))
    }
    there = evaluate(
        policies, ["a", "b"], sampler="rank-uncertainty", budget=60, workers=1, ray=cluster, seed=3
    )
    here = evaluate(policies, ["a", "b"], sampler="rank-uncertainty", budget=60, workers=1, seed=3)
    assert [(r.policy, r.task, r.value) for r in there.results] == [
        (r.policy, r.task, r.value) for r in here.results
    ]
    assert {r.host for r in there.results} == {socket.gethostname()}


def test_hangs_deaths_and_failures(cluster):
    def fails(task, seed):
        raise RuntimeError("no luck")

    policies = {
        "good": lambda t, s: 1.0,
        "fine": lambda t, s: 0.5,
        "fails": fails,
        "hangs": lambda t, s: time.sleep(120),
        "dies": lambda t, s: os._exit(3),
    }
    # Five pairs, the hang in the third: one worker must get over it. Ten seconds are more than a
    # busy machine needs for what takes no time.
    found = evaluate(
        policies,
        ["t"],
        sampler="round-robin",
        budget=10,
        workers=1,
        ray=cluster,
        timeout=10,
        retries=0,
    )
    errors = {r.policy: r.error for r in found.failures}
    assert set(errors) == {"fails", "hangs", "dies"}
    assert "no luck" in errors["fails"]
    assert "longer than" in errors["hangs"]
    assert "exit code 3" in errors["dies"]
    assert len(found.results) == 10
    assert {r.policy for r in found.results if r.status == "done"} == {"good", "fine"}


SPEC = """
import time
def policy(k):
    def run(task, seed):
        time.sleep(0.01)
        return -k + seed % 7
    return run
POLICIES = {f"p{k}": policy(k) for k in range(4)}
TASKS = ["a", "b"]
"""


def kept(path):
    """How many results the store holds."""
    if not path.exists():
        return 0
    with sqlite3.connect(path) as db:
        try:
            return db.execute("select count(*) from policyrank_results").fetchone()[0]
        except sqlite3.OperationalError:  # the table is not there yet
            return 0


def test_killed_and_resumed_from_the_command_line(cluster, tmp_path):
    (tmp_path / "spec.py").write_text(SPEC)
    command = [
        sys.executable,
        "-m",
        "policyrank",
        "evaluate",
        str(tmp_path / "spec.py"),
        "--ray",
        cluster,
        "--budget",
        "300",
        "--store",
        str(tmp_path / "store.db"),
        "--json",
    ]
    for least in (10, 20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and kept(tmp_path / "store.db") < least:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kept(tmp_path / "store.db") >= 20
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")
    with sqlite3.connect(tmp_path / "store.db") as db:
        keys = db.execute("select policy, task, replicate from policyrank_results").fetchall()
    assert len(keys) == len(set(keys)) == 300


def test_what_cannot_be_reached_or_sent(cluster):
    policies = {"a": lambda t, s: 1.0, "b": lambda t, s: 0.0}
    with pytest.raises(EvidenceError, match="no cluster can be reached"):
        evaluate(policies, ["t"], ray="127.0.0.1:1")
    lock = threading.Lock()
    with pytest.raises(EvidenceError, match="cannot be sent"):
        evaluate({**policies, "c": lambda t, s: lock.locked()}, ["t"], ray=cluster)
