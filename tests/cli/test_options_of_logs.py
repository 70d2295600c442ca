"""Each option of the verbs that read logs of training is seen to do something."""

import json

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb beside small files; what it printed, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = []
    for prompt in range(40):
        for _ in range(4):
            truth = draw.normal()
            own = {"prompt": f"p{prompt}", "half": prompt // 2, "reward": truth + draw.normal()}
            rows.append({**own, "other": draw.normal(), "correct": truth > 0, "worth": truth})
    pl.DataFrame(rows).write_csv("logged.csv")
    log = []
    for t in range(60):
        own = {"tick": 10 * t, "kl": 0.1, "mine": 2.0 if t < 30 else 0.6, "reward": t}
        log.append({**own, "entropy": 2.0 if t < 40 else 0.1})
    pl.DataFrame(log).write_csv("log.csv")
    charted = {f"{name} - kl": [0.1 * (k + 1)] * 9 for k, name in enumerate("ab")}
    pl.DataFrame({"Step": range(9), **charted}).write_csv("chart.csv")
    return ran


FILTERS = "train filter --from logged.csv --json"
CHANGES = {
    "--prompt": ("--prompt half", lambda old, new: new["prompts"] == 20),
    "--reward": ("--reward other", lambda old, new: new["columns"]["reward"] == "other"),
    "--score": ("--score worth", lambda old, new: new["columns"]["score"] == "worth"),
    "--groups": ("--groups 5", lambda old, new: new["bins"] == 5 and r2(new) != r2(old)),
    "--level": ("--level 0.5", lambda old, new: width(new) < width(old)),
    "--resamples": ("--resamples 60", lambda old, new: width(new) != width(old)),
    "--seed": ("--seed 1", lambda old, new: width(new) != width(old) and r2(new) == r2(old)),
    "--threshold": ("--threshold 0.5", lambda old, new: names(new) - names(old) >= {"above"}),
    "--bottom": (
        "--threshold 0.5 --bottom -0.5",
        lambda old, new: "outside" in names(new) - names(old),
    ),
}


def names(told):
    return {row["filter"] for row in told["filters"]}


def of_all(told):
    return next(row for row in told["filters"] if row["filter"] == "all")


def r2(told):
    return of_all(told)["r2"]


def width(told):
    return of_all(told)["upper"] - of_all(told)["lower"]


@pytest.mark.parametrize("option", CHANGES)
def test_filters_differ(run, option):
    words, differs = CHANGES[option]
    old, new = (json.loads(run(*FILTERS.split(), *more.split()).out) for more in ("", words))
    assert differs(old, new)


def test_where_filters_go(run, tmp_path):
    told = json.loads(run(*FILTERS.split(), "--out", "filters.csv").out)
    table = pl.read_csv(tmp_path / "filters.csv")
    assert table["filter"].to_list() == [row["filter"] for row in told["filters"]]
    assert "R^2" in run(*FILTERS.removesuffix("--json").split()).out


def told(run, words, file="log.csv", code=0):
    return json.loads(run("collapse", file, *words.split(), "--json", code=code).out)


def steps(found):
    return {alarm["signal"]: alarm["step"] for alarm in found["alarms"]}


def test_how_a_log_is_read(run):
    assert steps(told(run, "")) == {"entropy": 46}
    assert steps(told(run, "--step tick")) == {"entropy": 460}
    named = told(run, "--column perplexity=mine --column length=reward")
    assert named["columns"]["perplexity"] == "mine"
    assert {"perplexity", "length"} <= set(steps(named))
    assert told(run, "--run b", "chart.csv")["columns"] == {"kl": "kl"}
    assert "2 runs" in run("collapse", "chart.csv", code=1).err
    for wrong in ("--column kl", "--column nosuch=mine", "--column kl=nosuch"):
        run("collapse", "log.csv", *wrong.split(), code=1 if wrong == "--column kl=nosuch" else 2)


def test_limits_differ(run):
    assert steps(told(run, "--limit entropy=off")) == {}
    assert steps(told(run, "--limit entropy.drops=0.01")) == {}
    slow = "--limit entropy.drops=0.01 --limit entropy.falls=0.5"
    assert steps(told(run, slow)) == {"entropy": 46}
    assert steps(told(run, "--limit kl.over=0.05")) == {"kl": 14, "entropy": 46}
    assert steps(told(run, "--patience 1")) == {"entropy": 42}
    assert steps(told(run, "--baseline 58")) == {}
    for wrong in ("entropy", "entropy=3", "entropy.falls=x", "entropy.about=3"):
        run("collapse", "log.csv", "--limit", wrong, code=2)


def test_where_the_signals_go(run, tmp_path):
    run("collapse", "log.csv", "--html", "page.html", "--plot", "signals.png", "--title", "Mine")
    assert "Mine" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "signals.png").stat().st_size > 1000
    said = run("collapse", "log.csv", "--fail-on-alarm", code=3).out
    assert "entropy of the policy fell" in " ".join(said.split())
    told(run, "--limit entropy=off --fail-on-alarm")
