"""Inventory: the published episodes to all digits, the published environment step by step, plans
against each other, learning.
"""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.stats import poisson

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import datasets
from policyrank.worlds import inventory as inv
from policyrank.worlds.inventory.draws import Stream, quantile

SEEDS = [42, 123, 456, 789, 1011, 2022, 3033, 4044, 5055, 6066]
NAMES = {
    "newsvendor": "Newsvendor",
    "(s, S)": "s,S",
    "smoothing": "ExpSmoothing",
    "echelon": "EchelonApprox",
}
COLUMNS = {
    "profit": "Profit",
    "fill rate": "FillRate",
    "inventory": "AvgInv",
    "unmet": "Unfulfilled",
    "revenue": "Revenue",
    "holding": "HoldingCost",
    "penalty": "BacklogPenalty",
    "procurement": "ProcurementCost",
    "operating": "OperatingCost",
    "fixed": "FixedOrderingCost",
    "bullwhip": "BullwhipRatio",
}


def published(name, agent):
    """Rows of an agent's ten episodes, in the order of SEEDS."""
    network, demand, *rest = name.split(", ")
    demand = {"series": "M5_volatile"}.get(demand, demand)
    rows = datasets.load("inventory-episodes").filter(
        (pl.col("Block") != "C_MARL")
        & (pl.col("Network") == network)
        & (pl.col("Demand") == demand)
        & (pl.col("Goodwill") == ("goodwill" in rest))
        & (pl.col("Backlog") == ("backlog" in rest))
        & (pl.col("Agent") == agent)
    )
    return pl.DataFrame({"Seed": SEEDS}).join(rows, on="Seed", how="left", maintain_order="left")


@pytest.mark.slow
def test_heuristics_reproduce_every_published_episode(data):
    data("inventory-episodes")
    grid = inv.core_grid(datasets.load("m5-window"))
    assert len(grid) == 22
    for name, scenario in grid.items():
        for heuristic, (controller, information) in inv.HEURISTICS.items():
            agent = NAMES[heuristic.removesuffix("-I")] + ("-I" if heuristic.endswith("-I") else "")
            rows, found = (
                published(name, agent),
                inv.simulate(scenario, controller, SEEDS, information=information),
            )
            for kpi, column in COLUMNS.items():
                np.testing.assert_allclose(
                    found.kpis[kpi],
                    rows[column].to_numpy(),
                    rtol=1e-9,
                    atol=1e-7,
                    err_msg=f"{name} {agent} {kpi}",
                )


def test_oracle_and_plans_reproduce_published_profits(data):
    data("inventory-episodes")
    for name, scenario in inv.core_grid(datasets.load("m5-window")).items():
        found = inv.oracle(scenario, SEEDS[:3]).profit
        np.testing.assert_allclose(
            found, published(name, "Oracle")["Profit"][:3], rtol=1e-6, err_msg=name
        )
        if "goodwill" in name:
            continue
        plans = {
            "DLP": (inv.deterministic_plan(first_guess="base demand"), "blind"),
            "DLP-I": inv.PLANS["DLP-I"],
        }
        for plan, (controller, information) in plans.items():
            profit = inv.simulate(scenario, controller, SEEDS[:1], information=information).profit
            np.testing.assert_allclose(
                profit, published(name, plan)["Profit"][:1], rtol=1e-6, err_msg=f"{name} {plan}"
            )


@pytest.mark.parametrize(
    ("network", "heuristic", "profits"),
    [
        ("serial", "newsvendor", (798.8740, 864.9571)),
        ("serial", "newsvendor-I", (845.7852, 828.3672)),
        ("serial", "(s, S)", (852.3705, 913.3322)),
        ("serial", "smoothing", (824.3509, 875.8100)),
        ("serial", "echelon-I", (887.6320, 905.1173)),
        ("serial", "DLP-I", (641.68, 629.44)),
        ("base", "newsvendor", (778.6162,)),
        ("base", "(s, S)", (757.5132,)),
        ("base", "DLP-I", (817.985,)),
    ],
)
def test_known_profits(network, heuristic, profits):
    controller, information = {**inv.HEURISTICS, **inv.PLANS}[heuristic]
    found = inv.simulate(
        inv.scenario(network), controller, SEEDS[: len(profits)], information=information
    ).profit
    assert found == pytest.approx(profits, abs=6e-3)


def test_stochastic_plan_comes_near_the_published_mean(data):
    # Its sampled paths are drawn by another generator: near, not equal.
    data("inventory-episodes")
    controller, information = inv.PLANS["MSSP-I"]
    scenario = inv.scenario("serial")
    profit, theirs = (
        inv.simulate(scenario, controller, SEEDS, information=information).profit,
        published(scenario.name, "MSSP-I")["Profit"],
    )
    assert profit.mean() == pytest.approx(theirs.mean(), abs=8)
    assert (profit <= inv.oracle(scenario, SEEDS).profit + 1e-6).all()


@pytest.mark.parametrize("network", ["serial", "base"])
@pytest.mark.parametrize("goodwill", [False, True])
@pytest.mark.parametrize("backlog", [False, True])
def test_published_environment_step_by_step(network, goodwill, backlog):
    published_env = pytest.importorskip("gym_invmgmt")
    from policyrank.worlds.inventory.environments import InventoryEnv

    demand = {
        "type": "trend+seasonal+shock",
        "base_mu": 20,
        "use_goodwill": goodwill,
        "noise_scale": 1.5,
    }
    theirs = published_env.CoreEnv(
        scenario={"base": "network"}.get(network, network), demand_config=demand, backlog=backlog
    )
    ours = InventoryEnv(
        inv.scenario(network, "trend+seasonal+shock", goodwill=goodwill, backlog=backlog, noise=1.5)
    )
    assert ours.observation_space.shape == theirs.observation_space.shape
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(0)
    for seed in (1, 2):
        a, _ = theirs.reset(seed=seed)
        b, _ = ours.reset(seed=seed)
        for t in range(30):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-7)
            action = rng.uniform(-5, 60, theirs.action_space.shape)
            a, reward, _, ended, _ = theirs.step(action)
            b, own, terminated, truncated, _ = ours.step(action)
            assert own == pytest.approx(reward, abs=1e-7)
            assert (terminated, truncated) == (False, ended) == (False, t == 29)


def test_gymnasium_accepts_the_environments():
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    from policyrank.worlds.inventory.environments import InventoryVectorEnv

    env = gymnasium.make("policyrank/Inventory-v0", world=inv.scenario("divergent"))
    check_env(env.unwrapped, skip_render_check=True)
    many = InventoryVectorEnv(5, inv.scenario("base"))
    first, _ = many.reset(seed=3)
    assert first.shape == (5, 71)
    for t in range(30):
        observation, _, _, truncated, _ = many.step(np.full((5, 11), 20.0))
        assert truncated.all() == (t == 29)
    again, zero, *_ = many.step(np.full((5, 11), 20.0))
    np.testing.assert_array_equal(again, first)
    assert not zero.any()
    assert many.reset()[0].shape == observation.shape


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["serial", "base", "divergent"]),
    st.booleans(),
    st.booleans(),
    st.floats(0, 80),
)
def test_books_balance(seed, network, backlog, goodwill, most):
    scenario = inv.scenario(network, "trend+seasonal", backlog=backlog, goodwill=goodwill)
    net, rng = scenario.network, np.random.default_rng(seed)
    done = inv.simulate(
        scenario,
        lambda view: rng.uniform(0, most, (2, len(net.edges))),
        [seed, seed + 1],
        draws="quantile",
    )
    sim, k = done.simulation, done.kpis
    parts = k["revenue"] - sum(
        k[c] for c in ("procurement", "holding", "operating", "penalty", "fixed")
    )
    np.testing.assert_allclose(k["profit"], parts, rtol=1e-9, atol=1e-6)
    raw = sim.filled[:, :, net.supplier < 0].sum(axis=(0, 2))
    goods = sim.stock.sum(axis=1) + sim.transit.sum(axis=1) + sim.sold.sum(axis=(0, 2))
    np.testing.assert_allclose(net.stock.sum() + raw, goods, rtol=1e-9)
    assert (sim.left >= -1e-9).all()
    assert (sim.filled <= np.maximum(sim.requested, 0) + 1e-9).all()
    waiting = (
        sim.demand.sum(axis=0) - sim.sold.sum(axis=0) if backlog else sim.demand[-1] - sim.sold[-1]
    )
    np.testing.assert_allclose(sim.unmet, waiting, atol=1e-7)


def test_quantile_is_scipys():
    rng = np.random.default_rng(0)
    u, mean = rng.random(5000), np.exp(rng.uniform(-3, 9, 5000))
    np.testing.assert_array_equal(quantile(u, mean), poisson.ppf(u, mean))


def test_streams_are_numpys():
    rng = np.random.default_rng(0)
    mean = np.exp(rng.uniform(-3, 6, (200, 40, 2)))
    mean[rng.random(mean.shape) < 0.05] = 0
    stream = Stream(range(40))
    found = np.stack([stream.poisson(m) for m in mean])
    plain = [np.random.default_rng(k) for k in range(40)]
    np.testing.assert_array_equal(
        found, [[[plain[k].poisson(x) for x in m[k]] for k in range(40)] for m in mean]
    )


def random_network(rng):
    """A plant, a shop, perhaps a second town, a kiosk behind the shop, fixed costs, losses."""

    def ordered(price):
        return {"lead": int(rng.integers(0, 3)), "price": price, "fixed": 30.0 * rng.integers(2)}

    plant = {"capacity": rng.choice([np.inf, 25.0]), "yield": rng.choice([1.0, 0.8])}
    nodes = {
        "plant": plant | {"stock": rng.integers(60), "holding": rng.uniform(0, 0.2)},
        "shop": {"stock": rng.integers(60), "holding": rng.uniform(0, 0.3)},
    }
    edges = {
        ("raw", "plant"): ordered(rng.uniform(0, 1)),
        ("plant", "shop"): ordered(rng.uniform(0.5, 1.5)),
        ("shop", "town"): {"price": rng.uniform(0, 4), "backlog": rng.uniform(0, 1)},
    }
    if rng.random() < 0.5:
        edges["shop", "city"] = {"price": rng.uniform(1, 4), "backlog": rng.uniform(0, 1)}
    if rng.random() < 0.5:
        nodes["kiosk"] = {"stock": rng.integers(30), "holding": rng.uniform(0, 0.3)}
        edges["shop", "kiosk"] = ordered(rng.uniform(1, 2))
        edges["kiosk", "village"] = {"price": rng.uniform(2, 5), "backlog": rng.uniform(0, 1)}
    return inv.Network.of(nodes, edges)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
@example(16)
@example(33)
@example(54)
def test_no_controller_earns_more_than_the_oracle(seed):
    """After the last step: with fixed costs, losses, capacities, and customers who are served in
    turn.
    """
    rng = np.random.default_rng(seed)
    scenario = inv.Scenario(
        random_network(rng),
        inv.Demand(base=rng.uniform(2, 12)),
        backlog=bool(rng.integers(2)),
        periods=int(rng.integers(3, 8)),
        discount=rng.choice([1, 0.95]),
    )
    best = inv.oracle(scenario, range(2)).profit
    plans = {plan: inv.PLANS[plan] for plan in ("DLP", "DLP-I")}
    if not scenario.network.fixed.any():
        plans["MSSP"] = (inv.stochastic_plan(paths=4, depth=2), "blind")
    for name, (controller, information) in (inv.HEURISTICS | plans).items():
        found = inv.simulate(scenario, controller, range(2), information=information)
        assert (found.profit <= best + 1e-5).all(), name


@pytest.mark.parametrize("name", inv.HEURISTICS)
def test_heuristics_where_holding_costs_nothing(name):
    """The critical ratio is 1: not all stock that there is, but far above the demand."""
    nodes = {"plant": {"capacity": 50}, "shop": {"stock": 10}}
    edges = {
        ("raw", "plant"): {"price": 1},
        ("plant", "shop"): {"price": 2, "lead": 1},
        ("shop", "town"): {"price": 4, "backlog": 1},
    }
    scenario = inv.Scenario(inv.Network.of(nodes, edges), inv.Demand(base=5), periods=20)
    controller, information = inv.HEURISTICS[name]
    found = inv.simulate(scenario, controller, range(3), information=information)
    assert np.isfinite(found.profit).all()
    assert (found.profit <= inv.oracle(scenario, range(3)).profit + 1e-5).all()
    assert (found.simulation.stock < 200).all()


def test_stock_may_be_sent_on_only_to_hold_it_cheaply():
    """By hand: 50 lie at 1 a unit and period, 5 are wanted; sent on at once they cost nothing."""
    nodes = {"plant": {"stock": 50, "holding": 1}, "shop": {"holding": 0}}
    edges = {
        ("raw", "plant"): {"price": 1},
        ("plant", "shop"): {"lead": 0, "fixed": 7},
        ("shop", "town"): {"price": 2},
    }
    demand = inv.Demand(base=5, noise=0)
    scenario = inv.Scenario(inv.Network.of(nodes, edges), demand, periods=4)
    assert inv.oracle(scenario, [0]).profit == pytest.approx(4 * 5 * 2 - 7)


def test_one_order_may_hold_all_that_losses_take():
    """By hand: two factories lose half each, so one order of 4 x 25 at a fee of 100 is best."""
    nodes = {name: {"yield": 0.5, "holding": 0} for name in ("mill", "plant")}
    edges = {
        ("raw", "mill"): {"price": 1, "fixed": 100},
        ("mill", "plant"): {},
        ("plant", "town"): {"price": 20},
    }
    demand = inv.Demand(base=5, noise=0)
    scenario = inv.Scenario(inv.Network.of(nodes, edges), demand, periods=5)
    # Customers wait, at no cost, until what was bought has come through.
    found = inv.oracle(scenario, [0])
    assert found.profit == pytest.approx(5 * 5 * 20 - 4 * 25 - 100)
    assert np.count_nonzero(found.simulation.filled[:, 0, 0]) == 1


def test_blind_plans_start_from_what_they_can_know():
    """Two worlds that differ in the mean only: a blind plan orders the same in the first period."""
    for plan in (inv.deterministic_plan(), inv.stochastic_plan(paths=3)):
        first = []
        for base in (5.0, 40.0):
            sim = inv.Simulation(inv.scenario("serial", base=base), [1])
            first.append(plan(inv.View(sim, "blind")))
        np.testing.assert_array_equal(*first)
    with pytest.raises(OptionError, match="first_guess='hope'"):
        inv.deterministic_plan(first_guess="hope")


def test_no_rest_of_a_tolerance_costs_an_order():
    edges = {
        ("raw", "shop"): {"lead": 0, "price": 0.0, "fixed": 100},
        ("shop", "town"): {"price": 10, "backlog": 5},
    }
    network = inv.Network.of({"shop": {"stock": 400, "holding": 0.1}}, edges)
    scenario = inv.Scenario(network)
    best = inv.oracle(scenario, range(8))
    filled = best.simulation.filled
    assert ((filled == 0) | (filled > 1e-3)).all()  # no rest of a tolerance that costs an order
    for controller, information in inv.HEURISTICS.values():
        found = inv.simulate(scenario, controller, range(8), information=information)
        assert (found.profit <= best.profit + 1e-6).all()


def test_heuristics_order_what_is_wanted_whatever_the_stock():
    edges = {
        ("raw", "shop"): {"lead": 2, "price": 1},
        ("shop", "town"): {"price": 2, "backlog": 0.1},
    }
    boards = []
    for stock in (0, 60):
        network = inv.Network.of({"shop": {"stock": stock, "holding": 0.05}}, edges)
        scenario = inv.Scenario(network)
        assert scenario.largest_order >= 30 * 20
        profits = {}
        for name, (controller, information) in inv.HEURISTICS.items():
            found = inv.simulate(scenario, controller, range(10), information=information)
            assert found.simulation.requested[:, :, 0].sum(axis=0).min() > 400
            profits[name] = found.simulation.requested[8:, :, 0].mean()
        boards.append(profits)
    for name in inv.HEURISTICS:
        assert boards[0][name] == pytest.approx(boards[1][name], rel=0.05)
    assert inv.scenario("serial").largest_order == 3200


def test_fixed_costs_make_rarer_orders():
    nodes = {"shop": {"stock": 40, "holding": 0.05}}
    plain = {
        ("raw", "shop"): {"lead": 1, "price": 1},
        ("shop", "town"): {"price": 3, "backlog": 0.5},
    }
    dear = {**plain, ("raw", "shop"): {"lead": 1, "price": 1, "fixed": 8}}
    orders = []
    for edges in (plain, dear):
        scenario = inv.Scenario(
            inv.Network.of(nodes, edges), inv.Demand(base=5, noise=0), periods=12
        )
        found = inv.oracle(scenario, [0])
        orders.append(int((found.simulation.filled > 1e-6).sum()))
        assert found.kpis["fixed"][0] == (8 * orders[-1] if edges is dear else 0)
    assert orders[1] < orders[0]
    # By hand: 60 wanted, 40 there: 20 bought at 1; at most two orders at a fee of 8 can pay.
    assert orders[1] <= 2
    # A rolling plan on the mean, which is what comes, does as well as the oracle over a horizon of
    # the whole episode.
    plan = inv.simulate(scenario, inv.deterministic_plan(horizon=12), [0], information="informed")
    assert plan.profit[0] == pytest.approx(found.profit[0], rel=5e-3)


def test_plans_with_fixed_costs_print_nothing(capfd):
    nodes = {"shop": {"stock": 40, "holding": 0.05}}
    edges = {
        ("raw", "shop"): {"lead": 1, "price": 1, "fixed": 8},
        ("shop", "town"): {"price": 3, "backlog": 0.5},
    }
    scenario = inv.Scenario(inv.Network.of(nodes, edges), inv.Demand(base=5), periods=6)
    inv.oracle(scenario, [0])
    inv.simulate(scenario, inv.stochastic_plan(paths=3), [0], information="informed")
    assert capfd.readouterr().out == ""


def test_networks_are_read_from_files(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[nodes.shop]\nstock = 40\nholding = 0.05\n[[edges]]\nfrom = "raw"\nto = "shop"\nlead ='
        ' 1\nprice = 1\n[[edges]]\nfrom = "shop"\nto = "town"\nprice = 3\nbacklog = 0.5\n'
    )
    scenario = inv.scenario(str(path), base=5)
    assert scenario.name == "mine, stationary, backlog"
    same = inv.Scenario(
        inv.Network.of(
            {"shop": {"stock": 40, "holding": 0.05}},
            {
                ("raw", "shop"): {"lead": 1, "price": 1},
                ("shop", "town"): {"price": 3, "backlog": 0.5},
            },
        ),
        inv.Demand(base=5),
    )
    np.testing.assert_array_equal(
        inv.simulate(scenario, inv.newsvendor, [1, 2]).profit,
        inv.simulate(same, inv.newsvendor, [1, 2]).profit,
    )
    for text, message in (
        ("nodes = ", "not a TOML file"),
        ("[[edges]]\nfrom = 1\n", "edge 1"),
        ("[node.a]\n", "'node'"),
        ('[nodes.a]\nstok = 1\n[[edges]]\nfrom = "a"\nto = "b"\n', "mine.toml: node 'a'"),
    ):
        path.write_text(text)
        with pytest.raises(EvidenceError, match=message):
            inv.scenario(str(path))
    with pytest.raises(EvidenceError, match="no such file"):
        inv.scenario(str(tmp_path / "none.toml"))


def test_blind_controllers_cannot_see_the_mean():
    with pytest.raises(EvidenceError, match="blind controller"):
        inv.simulate(inv.scenario(), lambda view: np.zeros((1, 3)) + view.mean().sum(), [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: inv.scenario(base=-1), "base demand"),
        (lambda: inv.scenario(series=(1.0, -2.0)), "period 1"),
        (lambda: inv.scenario("star"), "network='star'"),
        (lambda: inv.scenario(regime="chaos"), "regime='chaos'"),
        (lambda: inv.Network.of({1: {}}, {(2, 1): {"lead": 1.5}, (1, 0): {}}), "not whole"),
        (lambda: inv.Network.of({1: {"hold": 1}}, {(2, 1): {}, (1, 0): {}}), "hold"),
        (lambda: inv.Network.of({1: {}, 2: {}}, {(1, 2): {}, (2, 1): {}, (1, 0): {}}), "cycle"),
        (
            lambda: inv.Network.of(
                {1: {}, 2: {}}, {(9, 1): {}, (1, 0): {}, (8, 2): {}, (2, 7): {}}
            ),
            "not connected",
        ),
        (lambda: inv.Network.of({1: {}, 2: {}}, {(9, 1): {}, (1, 0): {}, (1, 2): {}}), "no outlet"),
        (lambda: inv.Network.of({1: {"stock": -3}}, {(9, 1): {}, (1, 0): {}}), "stock of node 1"),
        (lambda: inv.simulate(inv.scenario(), lambda v: np.zeros((1, 2)), [1]), "shape"),
        (
            lambda: inv.simulate(inv.scenario(), lambda v: np.full((1, 3), np.nan), [1]),
            "not finite",
        ),
        (lambda: inv.evidence({}, inv.HEURISTICS, [1]), "nothing to simulate"),
        (lambda: inv.evidence({"a": inv.scenario()}, inv.HEURISTICS, [1], kpi="joy"), "kpi='joy'"),
    ],
)
def test_bad_parameters_get_one_clear_error(change, message):
    with pytest.raises(EvidenceError, match=message):
        change()


def test_evidence_ranks_and_the_runner_drives_it():
    import policyrank as pr

    scenarios = {s.name: s for s in (inv.scenario("serial"), inv.scenario("serial", backlog=False))}
    scores = inv.evidence(scenarios, inv.HEURISTICS, range(10))
    assert (set(scores.policies), len(scores)) == (set(inv.HEURISTICS), 160)
    board = pr.aggregate(scores, resample="replicates")
    assert set(board.policies) == set(inv.HEURISTICS)
    rules = {
        name: lambda task, seed, c=c, i=i: float(
            inv.simulate(task, c, [seed], information=i).profit[0]
        )
        for name, (c, i) in inv.HEURISTICS.items()
    }
    run = pr.evaluate(rules, scenarios, budget=64, workers=0)
    assert run.evidence is not None
    assert len(run.results) == 64


@pytest.mark.parametrize("architecture", ["mlp", "transformer", "graph"])
@pytest.mark.slow
def test_controllers_learn_and_are_saved(architecture, tmp_path):
    pytest.importorskip("stable_baselines3")
    from policyrank.train.control import inventory as control

    scenario = inv.scenario("serial")
    idle = inv.simulate(scenario, lambda view: np.zeros((20, 3)), range(20)).profit.mean()
    learned = control.ppo(scenario, architecture=architecture, steps=8000, seed=1)
    found = inv.simulate(scenario, learned, range(20)).profit
    assert found.mean() > idle
    learned.save(tmp_path / "c.pt")
    again = control.LearnedController.load(tmp_path / "c.pt", scenario.network)
    np.testing.assert_allclose(inv.simulate(scenario, again, range(20)).profit, found)
    with pytest.raises(EvidenceError, match="another network"):
        control.LearnedController.load(tmp_path / "c.pt", inv.scenario("base").network)


@pytest.mark.slow
def test_residual_starts_at_its_base_and_imitation_comes_near_its_expert():
    pytest.importorskip("stable_baselines3")
    from policyrank.train.control import inventory as control

    scenario = inv.scenario("serial")
    base = inv.simulate(scenario, *inv.HEURISTICS["echelon"][:1], range(30)).profit.mean()
    corrected = control.ppo(scenario, base="echelon", reach=1e-9, steps=4000)
    assert inv.simulate(scenario, corrected, range(30)).profit.mean() == pytest.approx(
        base, rel=1e-6
    )
    pupil = control.imitate(scenario, "echelon", rounds=3, episodes=32, epochs=60)
    assert inv.simulate(scenario, pupil, range(30)).profit.mean() > base - 60
    with pytest.raises(OptionError, match="expert='nobody'"):
        control.imitate(scenario, "nobody")
    with pytest.raises(OptionError, match="at least one"):
        control.imitate(scenario, "echelon", rounds=0)
    with pytest.raises(OptionError, match="base='nobody'"):
        control.ppo(scenario, base="nobody")
    with pytest.raises(EvidenceError, match="share both"):
        control.ppo([scenario, inv.scenario("base")])
