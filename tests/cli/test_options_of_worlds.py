"""Each option of the worlds, and of training a controller in one, is seen to do something."""

import json
import re

import numpy as np
import polars as pl
import pytest

NODES, EDGES = (
    "node,h\nmill,0.1\nplant,0.2\nshop,0.2\n",
    "source,target,J\nmill,plant,0.8\nplant,shop,0.5\n",
)
PLANS = '[credit]\nz = {shop = -0.3}\n[source]\nzz = {"mill plant" = 0.5}\nx = {plant = -0.2}\n'
ADS = "offline,arrival,chance\na,1,0.5\na,2,0.5\nb,1,0.3\nb,3,0.9\n"
CLAIMS = "claim,label\n" + "".join(f"Number {k} is odd,{int(k % 3 > 0)}\n" for k in range(40))

INVENTORY = "inventory --controller newsvendor --controller echelon --episodes 2 --kpi profit"
SUPPLY = "supply --nodes nodes.csv --edges edges.csv --interventions plans.toml --runs 3"
MATCHING = "matching ads.csv --runs 20 --bound none"
EXPOSURE = "exposure claims.csv --people 20 --steps 10 --policy random --policy engagement"
WORLDS = (INVENTORY, SUPPLY, MATCHING, EXPOSURE)


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb beside small files; what it printed, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("nodes.csv", NODES), ("edges.csv", EDGES), ("plans.toml", PLANS)):
        (tmp_path / name).write_text(text)
    for name, text in (("ads.csv", ADS), ("claims.csv", CLAIMS)):
        (tmp_path / name).write_text(text)
    series = "".join(f"{30 + 10 * (t % 3)}\n" for t in range(30))
    (tmp_path / "series.csv").write_text(f"units\n{series}")

    return ran


@pytest.fixture
def encoders(monkeypatch):
    """Names of the encoders that were loaded; vectors are drawn, of each text the same."""
    pytest.importorskip("torch")
    loaded = []

    def encode(encoder, texts, **_):
        vectors = []
        for text in texts:
            draw = np.random.default_rng([*text.encode()]).normal(size=4)
            vectors.append([*draw, float("studies" in text.lower())])
        return np.array(vectors)

    monkeypatch.setattr("policyrank.models.encoders.load_encoder", loaded.append)
    monkeypatch.setattr("policyrank.models.encoders.encode_texts", encode)
    return loaded


@pytest.fixture
def world(run, encoders, tmp_path):
    """The scores of a world."""

    def call(words, *more):
        words = words.split()
        for option in more[::2]:
            if option in words:
                place = words.index(option)
                del words[place : place + 2]
        run("world", *words, *more, "--out", "scores.csv")
        return pl.read_csv(tmp_path / "scores.csv", infer_schema_length=None)

    return call


@pytest.mark.parametrize("words", WORLDS, ids=lambda words: words.split()[0])
def test_where_a_board_goes(run, encoders, tmp_path, words):
    words = ("world", *words.split())
    plain = run(*words, "--html", "a.html", "--plot", "a.png").out
    run(*words, "--html", "b.html", "--plot", "b.png", "--title", "A & B")
    assert ["A &amp; B" in (tmp_path / f"{name}.html").read_text() for name in "ab"] == [
        False,
        True,
    ]
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    board = json.loads(run(*words, "--json").out)
    assert run(*words, "--csv").out.startswith("policy,rating,")
    assert run(*words, "--markdown").out.startswith("| rank |")
    last = re.escape(board["policies"][-1]["policy"])
    shown = [
        re.search(rf"^ *\d+ +{last} ", text, re.M) for text in (plain, run(*words, "--top", 1).out)
    ]
    assert [bool(found) for found in shown] == [True, False]
    assert not (tmp_path / "scores.csv").exists()
    run(*words, "--out", "scores.csv")
    names = {own["policy"] for own in board["policies"]}
    assert set(pl.read_csv(tmp_path / "scores.csv")["policy"]) == names


@pytest.mark.parametrize("words", WORLDS, ids=lambda words: words.split()[0])
def test_a_seed_is_a_draw(world, words):
    one, again, other = (world(words, "--seed", seed) for seed in (1, 1, 2))
    assert one.equals(again)
    assert one["score"].to_list() != other["score"].to_list()


def test_demand_of_an_inventory(world):
    old = world(INVENTORY)
    tasks = sorted(set(old["task"]))
    assert len(tasks) == 2
    for words, part in (
        (("--network", "base"), "base"),
        (("--regime", "trend"), "trend"),
        (("--goodwill", "yes"), "goodwill"),
    ):
        assert not any(part in task for task in tasks)
        assert all(part in task for task in world(INVENTORY, *words)["task"]), words
    assert [len(set(world(INVENTORY, "--unmet", w)["task"])) for w in ("lost", "both")] == [1, 2]
    means = [frame["score"].mean() for frame in (old, world(INVENTORY, "--series", "series.csv"))]
    assert means[1] > 1.2 * means[0]
    assert world(INVENTORY, "--periods", 10)["score"].mean() < 0.5 * means[0]
    still = (
        world(INVENTORY, "--noise", 0).group_by("policy", "task").agg(pl.col("score").n_unique())
    )
    assert set(still["score"]) == {1}
    assert old.group_by("policy", "task").agg(pl.col("score").n_unique())["score"].min() == 2


def test_controllers_episodes_and_what_counts(world, run):
    one = world("inventory --episodes 3 --controller newsvendor --controller smoothing --kpi unmet")
    assert set(one["policy"]) == {"newsvendor", "smoothing"}
    assert one["replicate"].n_unique() == 3
    rates = world("inventory --episodes 2 --controller newsvendor --controller smoothing")
    assert rates["score"].max() <= 1 < one["score"].max()
    assert len(set(world("inventory --episodes 2 --unmet lost --kpi profit")["policy"])) > 4
    assert len(set(world(INVENTORY, "--core-grid")["task"])) == 20


@pytest.mark.parametrize(
    "option", ["regime trend", "unmet lost", "goodwill yes", "noise 0", "periods 9"]
)
def test_published_scenarios_have_their_own_demand(run, option):
    name, value = option.split()
    said = run("world", *INVENTORY.split(), "--core-grid", f"--{name}", value, code=2)
    assert f"--core-grid has its own demand: leave out --{name}" in said.err


def test_a_supply_network(world, run, tmp_path):
    def mean(*words):
        frame = world(SUPPLY, "--spread", 0, *words)
        return dict(frame.group_by("policy").agg(pl.col("score").mean()).iter_rows())

    old = mean()
    assert set(old) == {"no intervention", "credit", "source"}
    for words in (
        ("--shock", "mill=0.6"),
        ("--failed", "plant"),
        ("--temperature", 3),
        ("--convention", "paper"),
        ("--by", "free energy"),
    ):
        assert mean(*words) != pytest.approx(old, rel=0.01), words
    tail = [mean("--by", "tail", "--at-least", k)["credit"] for k in (1, 3)]
    assert tail[0] != pytest.approx(tail[1], rel=0.01)
    assert world(SUPPLY, "--runs", 5)["replicate"].n_unique() == 5
    spreads = []
    for spread in (0, 0.1, 0.4):
        frame = world(SUPPLY, "--spread", spread).filter(pl.col("policy") == "credit")
        spreads.append(frame["score"].std())
    assert spreads[0] < 1e-12 < spreads[1] < spreads[2]
    for name, text in (
        ("nodes", "shop,0.9"),
        ("edges", "mill,plant,0.1"),
        ("plans", "shop = -0.9"),
    ):
        path = next(tmp_path.glob(f"{name}.*"))
        before = path.read_text()
        path.write_text(re.sub(text[:-3] + "0..", text, before))
        assert mean() != pytest.approx(old, rel=0.01), name
        path.write_text(before)


def test_matchings(world, run):
    old = world(MATCHING)
    assert len(set(old["policy"])) > 4
    some = world(
        MATCHING, "--rule", "greedy", "--rule", "ranking", "--triangle", 3, "--random", "4x6"
    )
    assert set(some["policy"]) == {"greedy", "ranking"}
    assert set(some["task"]) == {"ads.csv", "triangle 3", "random 4x6"}
    assert old["replicate"].n_unique() == 20
    for bound in ("matching", "optimum"):
        said = run("world", *MATCHING.split()[:-1], bound)
        assert f"({bound})" in said.err
        assert f"share of the {bound} bound" in said.out or "no rule can reach" in said.err
    shares = world("matching ads.csv --runs 40 --bound optimum")
    assert shares.group_by("policy").agg(pl.col("score").mean())["score"].max() < 1.2
    assert old["score"].max() > 1.2


def test_exposure(world, encoders):
    old = world(EXPOSURE)
    assert set(old["policy"]) == {"random", "engagement"}
    assert encoders[-1] == "minilm"
    assert world(EXPOSURE, "--encoder", "mine").equals(old)
    assert encoders[-1] == "mine"
    assert old["replicate"].n_unique() == 20
    assert world(EXPOSURE, "--people", 7)["replicate"].n_unique() == 7
    assert any(
        "sensationalist" in task for task in world(EXPOSURE, "--framing", "sensationalist")["task"]
    )
    for words in (("--alpha", 1), ("--spread", 3), ("--steps", 3), ("--metric", "false accepted")):
        assert world(EXPOSURE, *words)["score"].to_list() != old["score"].to_list(), words
    swayed = world(EXPOSURE, "--alpha", 1).pivot("task", index=["policy", "replicate"])
    assert swayed[:, -1].to_list() == swayed[:, -2].to_list()


@pytest.fixture
def trained(run, monkeypatch):
    """What a controller is trained with, and the episodes it is measured on."""
    pytest.importorskip("stable_baselines3")
    from policyrank.train.control import inventory as control
    from policyrank.worlds import inventory as inv

    measured = inv.evidence

    class Learned:
        information = "blind"

        def __call__(self, view):
            return inv.newsvendor(view) / 2

        def save(self, path):
            path.write_text("saved")

    def call(*words):
        told = {}

        def learn(kind, scenarios, *imitated, **options):
            told.update(options, kind=kind, scenarios=scenarios, imitated=imitated)
            return Learned()

        def evidence(worlds, controllers, seeds, **options):
            told.update(episodes=len(seeds), controllers=list(controllers))
            return measured(worlds, controllers, range(2), **options)

        for kind in ("ppo", "imitate"):
            monkeypatch.setattr(control, kind, lambda *a, kind=kind, **o: learn(kind, *a, **o))
        monkeypatch.setattr(inv, "evidence", evidence)
        run("train", "controller", *words)
        return told

    return call


def test_a_controller_is_trained_as_told(trained, run, tmp_path):
    told = trained("--out", "mine.pt")
    assert (tmp_path / "mine.pt").read_text() == "saved"
    assert told["controllers"][-1] == "mine"
    (world,) = told["scenarios"]
    assert (told["kind"], told["base"], told["steps"], told["seed"]) == ("ppo", None, 200_000, 0)
    assert (told["architecture"], told["episodes"]) == ("transformer", 100)
    words = "--network divergent --regime trend --regime shock --lost-sales --goodwill --seed 3"
    words += " --series series.csv --architecture mlp --base echelon --steps 50 --episodes 7"
    told = trained(*words.split())
    assert [told[name] for name in ("seed", "base", "steps", "episodes")] == [3, "echelon", 50, 7]
    assert told["architecture"] == "mlp"
    for name, other in zip(("trend", "shock"), told["scenarios"], strict=True):
        assert name in other.name
        assert (world.backlog, other.backlog) == (True, False)
        assert (world.demand.goodwill, other.demand.goodwill) == (False, True)
        assert ("serial" in world.name, "divergent" in other.name) == (True, True)
        assert (world.demand.series, other.demand.series[:2]) == (None, (30, 40))
    told = trained("--imitate", "DLP-I", "--rounds", 2)
    assert (told["kind"], told["imitated"], told["rounds"]) == ("imitate", ("DLP-I",), 2)
    assert trained("--imitate", "DLP-I")["rounds"] == 4
    for words in ("--rounds 2", "--imitate DLP-I --steps 50"):
        said = run("train", "controller", *words.split(), code=2)
        assert f"{words.split()[-2]} are of " in said.err
