"""The command line as a user types it: in a process of its own."""

import importlib
import inspect
import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from policyrank.cli import build
from policyrank.cli.verbs import FAMILIES, GROUPS

BATTLES = "model_a,model_b,winner,judge,task\n" + "".join(
    f"{a},{b},{w},j{k % 5},t{k % 3}\n"
    for k in range(30)
    for a, b, w in (
        ("one", "two", ["model_a", "model_a", "model_b", "tie"][k % 4]),
        ("two", "three", ["model_a", "model_b"][k % 4 == 0]),
        ("one", "three", ["model_a", "tie", "model_a", "model_b"][k % 4]),
    )
)


def run(*args, stdin=None, cwd=None, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "policyrank", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert "Traceback" not in done.stderr
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "battles.csv"
    path.write_text(BATTLES)
    return path


def test_rank_prints_a_board(file):
    out = run("rank", file).stdout
    assert out.index("one") < out.index("two") < out.index("three")
    assert "Bradley-Terry" in out
    assert "●" in out


def test_rank_writes_everything_and_pipes(file, tmp_path):
    html, plot = tmp_path / "b.html", tmp_path / "b.png"
    done = run(
        "rank",
        file,
        "--html",
        html,
        "--plot",
        plot,
        "--cluster",
        "rater",
        "--rater",
        "judge",
        "--json",
        "--title",
        "T&T",
    )
    board = json.loads(done.stdout)
    assert board["settings"]["cluster"] == "rater"
    assert "T&amp;T" in html.read_text()
    assert "maximal-lotteries" in html.read_text()
    assert plot.read_bytes()[:4] == b"\x89PNG"
    drawn = "rank", file, "--csv", "--interval", "bootstrap", "--seed", "3"
    refused = run(*drawn, check=False)
    assert "5 raters" in refused.stderr
    csv = run(*drawn, "--cluster", "none").stdout
    assert pl.read_csv(csv.encode())["policy"].to_list() == ["one", "two", "three"]
    assert run("rank", file, "--markdown").stdout.startswith("| rank |")
    assert (
        json.loads(run("rank", "-", "--json", stdin=BATTLES).stdout)["policies"]
        == json.loads(run("rank", file, "--json").stdout)["policies"]
    )


@pytest.mark.parametrize(
    "method",
    ["davidson", "thurstone", "elo", "kemeny", "schulze", "alpha-rank", "bradley-terry-by-task"],
)
def test_rank_by_method(file, method):
    assert (
        json.loads(run("rank", file, "-m", method, "--json").stdout)["policies"][0]["policy"]
        == "one"
    )


def test_options_reach_the_method(file):
    board = json.loads(
        run(
            "rank",
            file,
            "--anchor",
            "two=1000",
            "--prior",
            "3",
            "--level",
            "0.9",
            "--order-effect",
            "--scale",
            "elo",
            "--json",
        ).stdout
    )
    assert [p["rating"] for p in board["policies"] if p["policy"] == "two"] == [1000]
    assert board["level"] == 0.9
    assert board["settings"]["prior"] == 3
    assert board["extras"]["coefficients"][0]["name"] == "listed first"
    board = json.loads(run("rank", file, "-m", "approval", "-o", "k=1", "--json").stdout)
    assert board["settings"]["k"] == 1
    board = json.loads(
        run(
            "rank", file, "--only", "one", "--only", "two", "--on", "t1", "--task", "task", "--json"
        ).stdout
    )
    assert len(board["policies"]) == 2


def test_compare_and_methods(file, tmp_path):
    out = run("compare", file, "--html", tmp_path / "c.html").stdout
    assert "kemeny" in out
    assert "tau" in out
    assert "kemeny" in (tmp_path / "c.html").read_text()
    found = json.loads(run("compare", file, "--methods", "borda,schulze", "--json").stdout)
    assert found["methods"] == ["borda", "schulze"]
    assert len(run("methods").stdout.splitlines()) > 20


def test_audit(file, tmp_path):
    owners = tmp_path / "owners.csv"
    owners.write_text("policy,owner\none,me\ntwo,you\n")
    done = run("audit", file, "--html", tmp_path / "a.html", "--owners", owners)
    assert "! near ties" in done.stdout or "near ties" in done.stdout
    assert "(no owner named)" in done.stdout
    assert "What to do:" in (tmp_path / "a.html").read_text()
    found = json.loads(run("audit", file, "--json").stdout)
    assert {"raters", "without one task", "order"} <= {f["check"] for f in found["findings"]}
    verdicts = {f["verdict"] for f in found["findings"]}
    assert run("audit", file, "--fail-on-concern", check=False).returncode == (
        3 if "concern" in verdicts else 0
    )
    scores = tmp_path / "scores.csv"
    scores.write_text("model,go,chess,shogi\nx,1,2,3000\ny,2,1,1000\nz,0,0,2000\n")
    assert "scale" in run("audit", scores).stdout


def test_plan(file):
    out = run("plan", file, "--budget", "20").stdout
    assert "20 comparisons" in out
    assert "against" in out
    made = json.loads(run("plan", file, "--budget", "20", "--goal", "best", "--json").stdout)
    assert sum(r["comparisons"] for r in made["plan"]) == 20
    assert "comparisons" in run("plan", file, "--csv").stdout.splitlines()[0]
    assert "goal" in run("plan", file, "--goal", "luck", check=False).stderr


SPEC = """
import numpy as np
def policy(mean):
    return lambda task, seed: mean + np.random.default_rng(seed).normal()
def broken(task, seed):
    raise ValueError("out of order")
POLICIES = {"strong": policy(1.5), "weak": policy(0.0), "broken": broken}
TASKS = ["a", "b"]
"""


def test_evaluate(tmp_path):
    spec = tmp_path / "spec.py"
    spec.write_text(SPEC)
    done = run(
        "evaluate",
        spec,
        "--budget",
        "120",
        "--workers",
        "2",
        "--store",
        tmp_path / "s.db",
        "--out",
        tmp_path / "r.csv",
        "--html",
        tmp_path / "b.html",
        "--json",
    )
    assert json.loads(done.stdout)["policies"][0]["policy"] == "strong"
    assert "out of order" in done.stderr
    assert "set aside" in done.stderr
    again = run("evaluate", spec, "--budget", "150", "--workers", "0", "--store", tmp_path / "s.db")
    assert "150 evaluations" in again.stderr
    assert (
        json.loads(run("rank", tmp_path / "r.csv", "--json").stdout)["policies"][0]["policy"]
        == "strong"
    )
    (tmp_path / "players.py").write_text(
        "def play(a, b, task, seed):\n    return float(a() > b())\ndef one():\n    return 1\ndef"
        " two():\n    return 2\n"
    )
    toml = tmp_path / "spec.toml"
    toml.write_text(
        'tasks = ["t"]\nplay = "players:play"\n[policies]\none = "players:one"\ntwo ='
        ' "players:two"\n'
    )
    done = run("evaluate", toml, "--stop", "best", "--budget", "500", "--workers", "0")
    assert "two is the best" in done.stderr
    for text, message in [
        ("x = (", "cannot be run"),
        ("TASKS = ['a']", "no policies"),
        ("POLICIES = {'a': 1, 'b': 2}\nTASKS = ['t']", "callable"),
        ("POLICIES = {'a': print}", "no tasks"),
    ]:
        spec.write_text(text)
        failed = run("evaluate", spec, check=False)
        assert failed.returncode == 1
        assert message in failed.stderr
    assert run("evaluate", toml, "--stop", "luck", check=False).returncode == 2


def test_demo_needs_nothing(tmp_path):
    out = run("demo", cwd=tmp_path).stdout
    assert "r2d2(bandit)" in out
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == [
        "atari.csv",
        "atari.html",
        "atari.png",
    ]
    again = json.loads(run("rank", tmp_path / "demo" / "atari.csv", "--json").stdout)
    assert again["policies"][0]["policy"] == "r2d2(bandit)"


@pytest.mark.parametrize(
    ("args", "content", "code", "message"),
    [
        (["rank", "FILE"], "", 1, "empty"),
        (["rank", "FILE"], "a,b,winner\nx,y,huh\n", 1, "row 1"),
        (["rank", "FILE"], "a,b,winner\nx,x,a\n", 1, "itself"),
        (["rank", "FILE", "--method", "magic"], BATTLES, 2, "no method is called"),
        (["rank", "FILE", "--outcome", "nope"], BATTLES, 1, "no column 'nope'"),
        (["rank", "FILE", "--score", "judge"], BATTLES, 1, "--score"),
        (["rank", "FILE", "--html", "/no/such/folder/x.html"], BATTLES, 1, "folder"),
        (["rank", "FILE", "--plot", "x.gif"], BATTLES, 1, "png"),
        (["rank", "FILE", "-o", "colour=blue"], BATTLES, 2, "no option"),
        (["rank", "FILE", "-m", "approval", "-o", "k=many"], BATTLES, 1, "cannot use"),
        (["compare", "FILE", "--methods", "magic"], BATTLES, 2, "no method is called"),
        (["rank", "FILE", "--level", "95"], BATTLES, 2, "level"),
        (["rank", "FILE", "--json", "--csv"], BATTLES, 2, "one of"),
        (["rank", "FILE", "--anchor", "two"], BATTLES, 2, "NAME=VALUE"),
        (["rank", "no-such-file.csv"], "", 1, "no such file"),
        (["rank"], "", 2, "FILE"),
        (["study", "run", "nothing"], "", 1, "no study"),
    ],
)
def test_errors_are_one_line_with_a_remedy(tmp_path, args, content, code, message):
    path = tmp_path / "f.csv"
    path.write_text(content)
    done = run(*[path if a == "FILE" else a for a in args], cwd=tmp_path, check=False)
    assert done.returncode == code
    assert message in done.stderr
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stderr.startswith("policyrank: ")


def test_skip_bad_is_counted(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(BATTLES + "one,one,model_a,j,t\none,two,,j,t\n")
    board = json.loads(run("rank", path, "--skip-bad", "--json").stdout)
    assert sum("left out" in n["text"] for n in board["notes"]) == 2


def test_closed_pipe_is_quiet(file):
    code = f"{sys.executable} -m policyrank rank {file} --json | head -1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""


def test_names_that_look_like_trouble(tmp_path):
    names = ["a,b", 'q"uote', "line\nbreak", "<b>x</b>", "שלום", "--html"]
    rng = np.random.default_rng(0)
    i = rng.integers(6, size=300)
    j = (i + rng.integers(1, 6, size=300)) % 6
    path = tmp_path / "t.csv"
    pl.DataFrame(
        {
            "left": pl.Series(names)[i],
            "right": pl.Series(names)[j],
            "winner": pl.Series(["left", "right", "tie"])[rng.integers(3, size=300)],
        }
    ).write_csv(path)
    board = json.loads(run("rank", path, "--json").stdout)
    assert sorted(p["policy"] for p in board["policies"]) == sorted(names)
    assert run("rank", path).stdout.count("●") == 6


ALL_VERBS = [(name,) for verbs in GROUPS.values() for name in verbs]
ALL_VERBS += [(family, name) for family, (_, _, verbs) in FAMILIES.items() for name in verbs]


@pytest.mark.parametrize("verb", ALL_VERBS, ids=" ".join)
def test_help_of_a_verb_is_its_docstring(verb):
    families = [verbs for _, _, verbs in FAMILIES.values()]
    place, about = next(
        verbs[verb[-1]] for verbs in [*families, *GROUPS.values()] if verb[-1] in verbs
    )
    module, _, function = place.partition(":")
    found = getattr(importlib.import_module(f"policyrank.cli.{module}"), function)
    assert about == inspect.getdoc(found).splitlines()[0]
    text = run(*verb, "--help").stdout
    assert about in " ".join(text.split())
    app = build(verb)
    for name in verb:
        app = app[name]
    for argument in app.assemble_argument_collection(parse_docstring=True):
        assert bool(argument.children) or bool(argument.parameter.help), f"{argument.name}: no help"


def test_help_imports_nothing_heavy():
    heavy = ("numpy", "polars", "scipy", "torch", "matplotlib", "jinja2")
    for verb in [(), *ALL_VERBS]:
        code = (
            f"import sys; sys.argv = ['policyrank', *{verb!r}, '--help'];"
            " from policyrank.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stderr.strip() == "[]", verb


def test_a_missing_file_is_told_before_anything_heavy(tmp_path):
    code = (
        "import sys; sys.argv = ['policyrank', 'rank', 'nothing.csv']; from policyrank.cli import"
        " main\ntry: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'polars', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert "no such file" in done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_a_configuration_gives_options_and_flags_win(tmp_path, kind):
    battles = tmp_path / "battles.csv"
    battles.write_text(BATTLES)
    config = tmp_path / f"policyrank.{kind}"
    text = {
        "toml": '[rank]\nmethod = "copeland"\nlevel = 0.5\nonly = ["one", "two"]\njson = true\n',
        "yaml": "rank:\n  method: copeland\n  level: 0.5\n  only: [one, two]\n  json: true\n",
    }
    config.write_text(text[kind])
    board = json.loads(run("rank", battles, "--config", config).stdout)
    assert (board["method"], board["level"], len(board["policies"])) == ("copeland", 0.5, 2)
    board = json.loads(run("rank", battles, f"--config={config}", "--level", ".9").stdout)
    assert (board["method"], board["level"]) == ("copeland", 0.9)
    config.write_text(text[kind].replace("level", "levle"))
    done = run("rank", battles, "--config", config, check=False)
    assert done.returncode == 2
    assert "levle" in done.stderr
    done = run("rank", battles, "--config", tmp_path / "none.toml", check=False)
    assert done.returncode == 2
    assert "no such file" in done.stderr


def test_import_is_quick_and_light():
    code = (
        "import time, sys; t = time.perf_counter(); import policyrank; s = time.perf_counter() -"
        " t;print(s, [m for m in ('torch', 'transformers', 'gymnasium', 'numba', 'matplotlib',"
        " 'polars') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    seconds, modules = out.split(" ", 1)
    assert float(seconds) < 0.5
    assert modules.strip() == "[]"
    code = (
        "import sys, policyrank as pr; pr.rank({'a': ['x', 'y'], 'b': ['y', 'x'], 'outcome': [1,"
        " 0.5]}); print('numba' in sys.modules or 'torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


def test_csv_holds_no_formulas_and_can_be_turned_back(tmp_path):
    import re

    names = ["=1+1", "+x", "-x", "@x", "'=x", "plain", "a=b", "'x"]
    file = tmp_path / "x.jsonl"
    rows = [{"model": name, "task": "t", "score": -i} for i, name in enumerate(names)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = pl.read_csv(run("read", file, "--csv").stdout.encode(), quote_char='"')
    found = printed["policy"].to_list()
    assert not any(name.startswith(("=", "+", "-", "@")) for name in found)
    assert [re.sub(r"^'('*[=+\-@\t\r])", r"\1", name) for name in found] == names
    assert printed["score"].to_list() == [-float(i) for i in range(len(names))]
    assert pl.read_csv(run("rank", file, "--csv").stdout.encode())["policy"].to_list()[0] == "'=1+1"


def test_a_full_disk_behind_standard_output_is_one_line(tmp_path):
    file = tmp_path / "battles.csv"
    file.write_text("a,b,winner\nx,y,x\ny,x,y\n")
    command = [sys.executable, "-m", "policyrank", "rank", str(file), "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["policyrank: standard output: No space left on device"]
