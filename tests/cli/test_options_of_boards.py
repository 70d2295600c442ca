"""Each option of the verbs that rank, compare, audit and plan is seen to do something."""

import json
import re
import sys

import polars as pl
import pytest

OUTCOMES = ["model_a", "model_a", "model_b", "tie"], ["model_a", "model_b"], ["model_a", "tie"]
PAIRS = ("one", "two"), ("two", "three"), ("one", "three")
BATTLES = "model_a,model_b,winner,judge,task\n" + "".join(
    f"{a},{b},{own[k % len(own)]},j{k % 9},t{k % 3}\n"
    for k in range(36)
    for (a, b), own in zip(PAIRS, OUTCOMES, strict=True)
)
CLOSE = "model_a,model_b,winner\n" + "".join(
    f"p{i},p{j},model_{'b' if k % (3 + j - i) == 0 else 'a'}\n"
    for i in range(5)
    for j in range(i + 1, 5)
    for k in range(14)
)
RUNS = "policy,task,seed,score\n" + "".join(
    f"{name},t{task},{seed},{mean + (seed * 7 + task * 3) % 5 / 10}\n"
    for name, mean in (("x", 0.2), ("y", 0.4), ("z", 0.45))
    for task in range(3)
    for seed in range(5)
)


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb beside small files; what it printed, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "battles.csv").write_text(BATTLES)
    (tmp_path / "runs.csv").write_text(RUNS)

    return ran


def width(board):
    return sum(own["upper"] - own["lower"] for own in board["policies"])


def spread(board):
    ratings = [own["rating"] for own in board["policies"]]
    return max(ratings) - min(ratings)


def ranks(board):
    return sum(own["rank_upper"] - own["rank_lower"] for own in board["policies"])


RANK = {
    "--method": ("--method copeland", lambda old, new: new["method"] == "copeland"),
    "-m": ("-m copeland", lambda old, new: new["method"] == "copeland"),
    "--scale": ("--scale natural", lambda old, new: spread(new) < spread(old) / 100),
    "--prior": ("--prior 0.1", lambda old, new: spread(new) < spread(old) / 2),
    "--anchor": ("--anchor two=7", lambda old, new: new["policies"][1]["rating"] == 7),
    "--order-effect": (
        "--order-effect",
        lambda old, new: new["extras"]["coefficients"][0]["name"] == "listed first",
    ),
    "--interval": ("--interval none", lambda old, new: new["policies"][0]["lower"] is None),
    "--cluster": ("--cluster none", lambda old, new: width(new) != pytest.approx(width(old))),
    "--level": ("--level 0.5", lambda old, new: width(new) < width(old) / 2),
}


@pytest.mark.parametrize("option", RANK)
def test_a_board_differs(run, option):
    words, differs = RANK[option]
    old, new = (
        json.loads(run("rank", "battles.csv", "--json", *w).out) for w in ((), words.split())
    )
    assert differs(old, new)


def test_rank_sets_of_each_policy_alone(run, tmp_path):
    (tmp_path / "close.csv").write_text(CLOSE)
    old, new = (
        json.loads(run("rank", "close.csv", "--json", *w).out) for w in ((), ("--marginal",))
    )
    assert ranks(new) < ranks(old)


@pytest.mark.parametrize("option", ["--option", "-o"])
def test_options_of_a_method(run, option):
    words = ("rank", "battles.csv", "-m", "approval", "--json")
    found = [json.loads(run(*words, option, f"k={k}").out)["settings"]["k"] for k in (1, 2)]
    assert found == [1, 2]


@pytest.mark.parametrize(
    "words", ["rank battles.csv --cluster none --json", "profile runs.csv --csv"]
)
def test_resampling(run, words):
    """More resamples are others; a seed is a draw, and the same one each time."""
    words += " --interval bootstrap"
    drawn = [
        run(*words.split(), "--resamples", number, "--seed", seed).out
        for number, seed in ((50, 1), (50, 1), (50, 2), (90, 1))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


FORMS = [
    ("rank", "battles.csv", "--json --csv --markdown"),
    ("compare", "battles.csv --methods borda,elo", "--json --csv"),
    ("read", "battles.csv", "--json --csv"),
    ("profile", "runs.csv", "--json --csv"),
    ("plan", "battles.csv --budget 5", "--json --csv"),
    ("audit", "battles.csv", "--json"),
    ("evaluate", "spec.py --budget 20 --workers 0 --store forms.db", "--json --csv --markdown"),
]


@pytest.mark.parametrize(("verb", "words", "forms"), FORMS)
def test_forms_of_output(run, tmp_path, monkeypatch, verb, words, forms):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "spec.py").write_text(SPEC)
    assert not well_formed(run(verb, *words.split()).out)
    for form in forms.split():
        assert well_formed(run(verb, *words.split(), form).out) == form


def well_formed(text):
    """Which of the forms a text is."""
    if text.startswith("{"):
        return json.loads(text) and "--json"
    if text.startswith("| "):
        return "--markdown"
    return re.match(r"\w+(,\w+)+\n", text) and pl.read_csv(text.encode()).height and "--csv"


@pytest.mark.parametrize("verb", ["rank", "compare"])
def test_only_the_first_are_shown(run, verb):
    words = (verb, "battles.csv", *(("--methods", "borda") if verb == "compare" else ()))
    assert re.search("^ *(2 +)?two ", run(*words).out, re.MULTILINE)
    assert not re.search("^ *(2 +)?two ", run(*words, "--top", 1).out, re.MULTILINE)


def test_methods_that_are_compared(run):
    found = json.loads(run("compare", "battles.csv", "--methods", "borda, elo", "--json").out)
    assert found["methods"] == ["borda", "elo"]


@pytest.mark.parametrize("verb", ["rank", "compare", "audit"])
def test_pages_and_their_titles(run, tmp_path, verb):
    words = (verb, "battles.csv", *(("--methods", "borda") if verb == "compare" else ()))
    run(*words, "--html", "plain.html")
    run(*words, "--html", "titled.html", "--title", "A & B")
    plain, titled = ((tmp_path / f"{name}.html").read_text() for name in ("plain", "titled"))
    assert "battles.csv</title>" in plain
    assert "A &amp; B</title>" in titled


@pytest.mark.parametrize("words", ["rank battles.csv", "profile runs.csv"])
def test_plots_and_their_titles(run, tmp_path, words):
    for name, title in (("a", ()), ("b", ()), ("c", ("--title", "mine"))):
        run(*words.split(), "--plot", f"{name}.png", *title)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a[:4] == b"\x89PNG"
    assert a == b != c


def test_first_rows(run):
    assert "… and 98 more rows" in run("read", "battles.csv").out
    assert "… and 106 more rows" in run("read", "battles.csv", "--first", 2).out


def test_an_audit_differs(run, tmp_path):
    (tmp_path / "owners.csv").write_text("policy,owner\none,me\ntwo,you\nthree,me\n")
    old, level, owned = (
        json.loads(run("audit", "battles.csv", "--json", *words).out)["findings"]
        for words in ((), ("--level", 0.5), ("--owners", "owners.csv"))
    )
    assert "at 95%" in str(old)
    assert "at 50%" in str(level)
    assert "at 95%" not in str(level)
    assert "me 67%" in str(owned)
    assert "me 67%" not in str(old)
    assert "concern" in str(old)
    run("audit", "battles.csv", "--fail-on-concern", code=3)


def test_a_plan_differs(run):
    old, more, best = (
        json.loads(run("plan", "battles.csv", "--json", *words).out)
        for words in ((), ("--budget", 7), ("--goal", "best"))
    )
    assert [sum(row["comparisons"] for row in own["plan"]) for own in (old, more)] == [100, 7]
    assert best["plan"] != old["plan"]


def test_profiles_differ(run):
    def table(*words):
        return pl.read_csv(run("profile", "runs.csv", "--csv", *words).out.encode())

    old = table("--threshold", 0.5, "--threshold", 0.6)
    assert old["threshold"].unique().sort().to_list() == [0.5, 0.6]
    given = ("--threshold", 0.5, "--threshold", 0.6)
    narrow, none = table(*given, "--level", 0.5), table(*given, "--interval", "none")
    assert (narrow["upper"] - narrow["lower"]).sum() < 0.7 * (old["upper"] - old["lower"]).sum()
    assert none["lower"].null_count() == none.height


@pytest.fixture
def judged(run, tmp_path):
    """Two runs and judgements: nothing is of grade 2 for the second query."""
    good, bad = "q1 Q0 a 1 2 r\nq1 Q0 b 2 1 r\n", "q1 Q0 b 1 2 r\nq1 Q0 a 2 1 r\n"
    for name, text in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.run").write_text(text + text.replace("q1", "q2"))
    (tmp_path / "qrels").write_text("q1 0 a 2\nq1 0 b 0\nq2 0 a 1\nq2 0 b 0\n")
    return "eval-run", "good.run", "bad.run", "qrels"


def test_retrieval_runs(run, judged, tmp_path):
    run(*judged, "--out", "all.csv", "--html", "page.html")
    run(*judged, "--least", 2, "--out", "least.csv")
    every, least = (pl.read_csv(tmp_path / f"{name}.csv") for name in ("all", "least"))
    assert every["task"].unique().sort().to_list() == ["q1", "q2"]
    assert least["task"].unique().to_list() == ["q1"]
    assert "nDCG@10" in (tmp_path / "page.html").read_text()
    for option in ("--measure", "-m"):
        said = run(*judged, option, "P@1", option, "RR")
        assert "P@1" in said.out
        assert "nDCG@10" not in said.out
    assert json.loads(run(*judged, "--json").out)["board"]["policies"][0]["policy"] == "good"
    with (tmp_path / "qrels").open("a") as file:
        file.write("q3 0 a 1\n")
    run(*judged, "--answered", "--out", "answered.csv")
    assert pl.read_csv(tmp_path / "answered.csv")["task"].n_unique() == 2
    one = ("eval-run", "bad.run", "qrels", "-m", "RR")
    said = run(*one)
    assert "bad lacks 1 of 3 judged queries: they score 0 (--answered leaves them out)" in said.err
    assert said.out.split() == ["RR", "0.3333"]
    said = run(*one, "--answered")
    assert "they are left out" in said.err
    assert said.out.split() == ["RR", "0.5000"]
    shown = [run(*judged, *top).out.split("paired over")[0] for top in ((), ("--top", 1))]
    assert [re.findall("^.*bad .*$", text, re.MULTILINE) != [] for text in shown] == [True, False]


@pytest.fixture
def detections(run, tmp_path):
    """Two detectors of two objects in an image; the boxes of the first are right, its masks not."""
    pytest.importorskip("pycocotools")

    def square(x, size):
        return [[x, 0, x + size, 0, x + size, size, x, size]]

    objects = [
        {"id": k, "image_id": 1, "category_id": k, "bbox": [20 * k, 0, 10, 10], "area": 100}
        | {"segmentation": square(20 * k, 10), "iscrowd": 0}
        for k in (1, 2)
    ]
    image = {"id": 1, "width": 100, "height": 100}
    kinds = [{"id": k, "name": f"kind {k}"} for k in (1, 2)]
    truth = {"images": [image], "annotations": objects, "categories": kinds}
    found = []
    for own in objects:
        x, *_ = own["bbox"]
        mine = {name: own[name] for name in ("image_id", "category_id", "bbox")}
        found.append(mine | {"segmentation": square(x, 3), "score": 0.5})
    shifted = [own | {"bbox": [own["bbox"][0] + 3, 0, 10, 10]} for own in found]
    many = [own | {"bbox": [50, 50, 5, 5], "score": 0.9} for own in found for _ in range(120)]
    for name, what in (("good", found), ("bad", shifted + many), ("truth", truth)):
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    return "eval-detections", "good.json", "bad.json", "truth.json"


def test_detectors(run, detections, tmp_path):
    def ap(*words):
        return json.loads(run(*detections, "--json", *words).out)

    old = ap()
    assert old["good"]["AP"] == pytest.approx(1)
    assert 0 < old["bad"]["AP"] < 1
    assert ap("--masks")["good"]["AP"] == 0
    assert ap("--iou", 0.9)["bad"]["AP"] == 0 < ap("--iou", 0.5)["bad"]["AP"]
    assert "AR@1" not in old["good"]
    assert ap("--recall-at", 1)["bad"]["AR@1"] == 0
    assert ap("--recall-at", 200)["bad"]["AR@200"] > 0
    assert ap("--budget", "coco")["bad"]["AP"] == 0
    said = run(*detections, "--out", "by.csv", "--html", "page.html")
    assert pl.read_csv(tmp_path / "by.csv")["task"].unique().sort().to_list() == [
        "kind 1",
        "kind 2",
    ]
    assert "good" in (tmp_path / "page.html").read_text()
    assert "best 50" not in said.out
    assert "best 50" in run(*detections, "--audit").out


def test_a_page_of_detectors_is_written_or_refused(run, detections, tmp_path):
    run(*detections, "--json", "--html", "page.html")
    assert "good" in (tmp_path / "page.html").read_text()
    one = (detections[0], detections[1], detections[3])
    assert "--html needs two" in run(*one, "--html", "one.html", code=1).err
    assert "--audit" in run(*detections, "--json", "--audit", code=2).err


def test_what_is_listed(run, tmp_path):
    assert "kemeny" in run("methods").out
    objectives = run("methods", "--train").out
    assert "lambdarank" in objectives
    assert "kemeny" not in objectives
    run("demo", "atari", "--out", "elsewhere")
    assert (tmp_path / "elsewhere" / "atari.html").is_file()


SPEC = """
import os
from pathlib import Path
import numpy as np

def policy(name, mean):
    def play(task, seed):
        with Path("calls").open("a") as file:
            file.write(f"{name} {seed} {os.getpid()}\\n")
        if "LOUD" in os.environ:
            print(name, "plays")
        if name == os.environ.get("BROKEN"):
            raise ValueError("out of order")
        if name == os.environ.get("SLOW"):
            import time
            time.sleep(20)
        return mean + np.random.default_rng(seed).normal()
    return play

POLICIES = {name: policy(name, mean) for name, mean in (("strong", 2.0), ("weak", 0.0))}
if "THIRD" in os.environ:
    POLICIES["middle"] = policy("middle", 1.5)
TASKS = ["a", "b"]
"""


@pytest.fixture
def evaluated(run, tmp_path, monkeypatch):
    """Evaluate; the calls that were made (policy, seed, process), and what was said."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "spec.py").write_text(SPEC)

    def call(*words, code=0):
        (tmp_path / "calls").write_text("")
        if "--workers" not in words:
            words += ("--workers", 0)
        said = run("evaluate", "spec.py", *words, code=code)
        return [line.split() for line in (tmp_path / "calls").read_text().splitlines()], said

    return call


def test_a_store_is_of_one_spec(evaluated, tmp_path):
    evaluated("--budget", 10, "--store", "s.db")
    spec = tmp_path / "spec.py"
    spec.write_text(spec.read_text() + "\n\n# a comment\n")
    calls, _ = evaluated("--budget", 12, "--store", "s.db")
    assert len(calls) == 2
    spec.write_text(spec.read_text().replace('("weak", 0.0)', '("weak", 0.5)'))
    _, said = evaluated("--budget", 20, "--store", "s.db", code=1)
    assert "store s.db: run 'run' was made with other spec: code differ. Go on with" in said.err
    evaluated("--budget", 10, "--store", "s.db", "--run", "second")


def test_how_many_evaluations_and_of_whom(evaluated, monkeypatch):
    calls, said = evaluated("--budget", 40)
    assert len(calls) == 40
    assert "40 evaluations" in said.err
    monkeypatch.setenv("THIRD", "there")
    found = [evaluated("--budget", 90, "--sampler", name)[0] for name in ("round-robin", "ucb")]
    weak = [sum(name == "weak" for name, *_ in calls) for calls in found]
    assert weak[0] == 30 > weak[1]


def test_when_evaluation_stops(evaluated):
    lengths = []
    for words in ((), ("--delta", 0.4), ("--delta", 1e-9)):
        calls, said = evaluated("--stop", "best", "--budget", 300, *words)
        assert "is the best" in said.err
        lengths.append(len(calls))
    assert lengths[1] < lengths[0] < lengths[2] < 300
    assert len(evaluated("--budget", 300)[0]) == 300
    assert "give --stop" in evaluated("--delta", 0.1, code=2)[1].err
    assert "give --store" in evaluated("--run", "first", code=2)[1].err


def test_seeds_of_evaluations(evaluated):
    def seeds(*words):
        calls, _ = evaluated("--budget", 12, *words)
        return [{seed for own, seed, _ in calls if own == name} for name in ("strong", "weak")]

    common, apart = seeds(), seeds("--independent")
    assert common[0] == common[1]
    assert not apart[0] & apart[1]
    assert seeds("--seed", 1) == seeds("--seed", 1) != common


def test_failures_are_tried_again(evaluated, monkeypatch):
    monkeypatch.setenv("BROKEN", "weak")
    tries = []
    for retries in (0, 2):
        calls, said = evaluated("--budget", 8, "--retries", retries, code=1)
        assert "out of order" in said.err
        tries.append(len(calls) - len({(name, seed) for name, seed, _ in calls}))
    assert tries[0] == 0 < tries[1]


def test_where_evaluations_run(evaluated, monkeypatch):
    import os

    assert {int(pid) for *_, pid in evaluated("--budget", 4)[0]} == {os.getpid()}
    monkeypatch.setenv("SLOW", "weak")
    words = ("--budget", 3, "--workers", 1, "--timeout", 0.5, "--retries", 0)
    calls, said = evaluated(*words, code=1)
    assert os.getpid() not in {int(pid) for *_, pid in calls}
    assert "weak failed" in said.err
    assert "--workers" in evaluated("--timeout", 1, code=2)[1].err


def test_a_cluster_is_named(evaluated, monkeypatch):
    def evaluate(*_, ray, **options):
        raise SystemExit(f"on {ray}")

    monkeypatch.setattr("policyrank.evaluation.evaluate", evaluate)
    evaluated("--ray", "auto", code="on auto")


def test_what_policies_print_is_kept(evaluated, tmp_path, monkeypatch):
    _, said = evaluated("--budget", 4)
    assert not list(tmp_path.glob("*.log"))
    monkeypatch.setenv("LOUD", "1")
    for workers in (0, 1):
        _, said = evaluated("--budget", 4, "--json", "--workers", workers)
        assert json.loads(said.out)
        assert "what policies printed is in spec.log" in said.err
        assert (tmp_path / "spec.log").read_text().count("strong plays") == 2
    assert "mine.txt" in evaluated("--budget", 4, "--log", "mine.txt")[1].err
    assert (tmp_path / "mine.txt").exists()


def test_what_evaluation_keeps_and_writes(evaluated, tmp_path):
    words = ("--store", "s.db", "--budget", 20)
    assert len(evaluated(*words, "--out", "r.csv", "--html", "page.html")[0]) == 20
    assert pl.read_csv(tmp_path / "r.csv").height == 20
    assert "strong" in (tmp_path / "page.html").read_text()
    assert len(evaluated(*words)[0]) == 0
    assert len(evaluated(*words, "--run", "other")[0]) == 20
    shown = [evaluated(*words, *top)[1].out for top in ((), ("--top", 1))]
    assert [bool(re.search("^ *2 +weak ", text, re.MULTILINE)) for text in shown] == [True, False]
