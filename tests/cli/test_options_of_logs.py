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
