"""`policyrank sim2real` and `log check`: each option does something."""

import json

import numpy as np
import pytest

TABLE = """policy,task,sim,real,n
a,x,0.9,0.8,20
b,x,0.7,0.75,20
c,x,0.5,0.2,20
d,x,0.3,0.35,20
e,x,0.2,0.1,20
f,x,0.1,0.15,20
"""


@pytest.fixture
def sim2real(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    names = TABLE.replace("policy,task,sim,real,n", "who,where,guess,truth,count")
    (tmp_path / "other.csv").write_text(names.replace(",20", ",20,50").replace("count", "count,m"))

    def call(*words, file="t.csv", code=0):
        return ran("sim2real", *([file] if file else []), *words, code=code)

    return call


def test_one_table(sim2real):
    said = sim2real()
    assert "simulation and reality both put a first" in said.out
    assert "policy from policy, task from task, simulated from sim, real from real" in said.err
    assert "real_trials from n" in said.err
    found = json.loads(sim2real("--json").out)
    assert found["best"] == {"simulated": ["a"], "real": ["a"]}
    rows = sim2real("--csv").out.splitlines()
    assert rows[0].startswith("measure,scope,policies,value,lower,upper")
    assert "all cells" in rows[1]


def test_columns_are_as_told(sim2real):
    assert "--policy COLUMN" in sim2real(file="other.csv", code=2).err
    words = ("--policy", "who", "--task", "where", "--simulated", "guess", "--real", "truth")
    plain = json.loads(sim2real(*words, "--json", file="other.csv").out)
    trials = ("--real-trials", "count", "--simulated-trials", "m")
    drawn = json.loads(sim2real(*words, *trials, "--json", file="other.csv").out)
    assert plain["ceiling"] is None
    assert 0.8 < drawn["ceiling"] < 1
    assert "no column 'gone'" in sim2real("--real", "gone", code=1).err


def test_how_sure(sim2real):
    def width(*words):
        row = json.loads(sim2real("--json", *words).out)["agreement"][0]
        return row["upper"] - row["lower"]

    assert width("--level", 0.5) < width()
    assert width("--seed", 1) != width()
    assert width("--draws", 100) != width()


def test_where_it_goes(sim2real, tmp_path):
    sim2real("--html", "p.html", "--plot", "p.png", "--title", "Mine & yours")
    page = (tmp_path / "p.html").read_text()
    assert "<title>Mine &amp; yours</title>" in page
    assert "<svg" in page
    assert "<caption>Agreement" in page
    assert "policyrank sim2real t.csv" in page
    assert (tmp_path / "p.png").stat().st_size > 1000
    sim2real("--fail-on-concern")
    turned = TABLE.replace("a,x,0.9", "a,x,0.1")
    (tmp_path / "t.csv").write_text(turned)
    assert "simulation puts b first, reality a" in sim2real("--fail-on-concern", code=3).out


def test_episodes_in_two_files(sim2real, tmp_path):
    for name, shift in (("sim", 0.1), ("real", 0.0)):
        rows = ["policy,task,score,seed"]
        for k, policy in enumerate("abc"):
            for seed in range(10):
                rows.append(f"{policy},x,{float(seed < 3 * k) + shift},{seed}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    said = sim2real("sim.csv", "real.csv", file=None)
    assert "both put c first" in said.out
    assert "one table" in sim2real("sim.csv", "real.csv", "--task", "x", file=None, code=2).err
    assert "two files" in sim2real(file=None, code=2).err


def test_a_log_of_control(ran, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from policyrank.worlds.control.room import Room, logged

    monkeypatch.chdir(tmp_path)
    log = logged(Room(), 30, 0)
    flat = {"obs": log.observations, "action": log.actions, "terminated": log.terminated}
    marks = {"episode": log.episode, "reward": log.rewards}
    np.savez("log.npz", **flat, **marks)
    said = ran("log", "check", "log.npz", "--html", "p.html", "--title", "Mine")
    assert f"log.npz ({len(log.rewards):,} steps, 30 episodes" in said.out
    assert "<title>Mine</title>" in (tmp_path / "p.html").read_text()
    assert json.loads(ran("log", "check", "log.npz", "--json").out)["findings"]
    ran("log", "check", "log.npz", "--fail-on-concern")
    np.savez("log.npz", **flat, **marks | {"reward": np.zeros(len(log.rewards))})
    ran("log", "check", "log.npz", "--fail-on-concern", code=3)
