"""gym-invmgmt: controllers of inventory over a grid of scenarios.

Barati and Hu (2026), "gym-invmgmt: An Open Benchmarking Framework for Inventory Management
Methods", arXiv 2605.11355.

**The claim**: On one auditable grid of 22 scenarios informed multi-stage stochastic programming is
the best controller that is no oracle, knowing the mean demand helps every heuristic and plan,
learned controllers come second, and rankings hardly transfer between network topologies.

**What is done here**: *Published episodes*: profits of 28 controllers, 22 scenarios, ten seeds, as
a share of the oracle's mean profit in the scenario; a replicate is a seed; Kendall's tau of the
controllers' mean profits on one network against the other, seed by seed. *Own runs*: the same
environment rebuilt (heuristics, oracle and deterministic plans reproduce the published profits in
the tests; blind plans start from the base demand, as published), on new customers: a replicate is a
block of ten customer sequences and, for learned controllers, a training run. These are trained
blind (what they observe holds no mean), one for each network, over the eight scenarios with trend
and season: PPO with three encoders, PPO as a correction of the blind echelon heuristic, all of
equal budget, and imitation of MSSP-I (DAgger). Differences from the paper: fewer steps (150,000
against 200,000 and more), orders bounded by four times the mean demand, an episode's end is treated
as its end, and no domain randomisation but the eight scenarios themselves; language models are only
in the published episodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from scipy.stats import kendalltau

from policyrank.evidence import Scores, datasets
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, prefixed, quiet, scores_of
from policyrank.worlds import inventory as inv

TITLE = "Inventory"
PAPER = "arXiv 2605.11355"
ABOUT = "controllers of inventory over a grid of scenarios, published and our own"
PUBLISHED, OWN, TAU = (
    "share of the oracle, published",
    "share of the oracle, own runs",
    "Kendall's tau",
)
GRID = tuple(inv.core_grid([1.0]))
CORE = tuple(name for name in GRID if "trend" in name)
NETWORKS = {
    "serial": tuple(name for name in CORE if name.startswith("serial")),
    "base": tuple(name for name in CORE if name.startswith("base")),
}
"""Network -> its scenarios with trend, on which is learned."""
ACROSS = "base to serial"
PAIRS = ("MSSP", "DLP", "Newsvendor", "s,S", "ExpSmoothing", "EchelonApprox")
PLANS: dict[str, tuple[inv.Controller, inv.Information]] = inv.PLANS | {
    "DLP": (inv.deterministic_plan(first_guess="base demand"), "blind"),
    "MSSP": (inv.stochastic_plan(first_guess="base demand"), "blind"),
}
LEARNED = ("PPO mlp", "PPO graph", "PPO transformer", "PPO on echelon", "imitation of MSSP-I")


def _on_each(text: str, better: str, than: str) -> list[Claim]:
    """A claim of own runs, for each network."""
    return [
        Claim(f"{text} ({network})", better, than, OWN, tasks=tasks)
        for network, tasks in NETWORKS.items()
    ]


UNIT, SEED = Unit("block of customers and training runs"), Unit("published seed")
CLAIMS = (
    Claim(
        "MSSP-I beats the best learned controller (published)",
        "MSSP-I",
        "PPO-Transformer",
        PUBLISHED,
        unit=SEED,
    ),
    Claim(
        "MSSP-I beats the best informed heuristic (published)",
        "MSSP-I",
        "EchelonApprox-I",
        PUBLISHED,
        unit=SEED,
    ),
    *for_each(
        PAIRS,
        Claim("{} gains from knowing the mean (published)", "{}-I", "{}", PUBLISHED, unit=SEED),
    ),
    Claim(
        "The order on one network agrees with that on the other by a tau below .3 (published)",
        "28 controllers",
        0.3,
        TAU,
        unit=SEED,
    ),
    Claim("The same on own runs", "own controllers", 0.3, TAU),
    Claim("MSSP-I beats every informed heuristic's best (own)", "MSSP-I", "echelon-I", OWN),
    *for_each(
        ("MSSP", "DLP", "newsvendor", "(s, S)", "smoothing", "echelon"),
        Claim("{} gains from knowing the mean (own)", "{}-I", "{}", OWN),
    ),
    *_on_each("The transformer learns more than the MLP", "PPO transformer", "PPO mlp"),
    *_on_each("Correcting a heuristic improves it", "PPO on echelon", "echelon"),
    *_on_each(
        "PPO with a transformer beats (s, S), the best blind heuristic of the published table",
        "PPO transformer",
        "(s, S)",
    ),
    *_on_each("A blind imitator of MSSP-I beats blind MSSP", "imitation of MSSP-I", "MSSP"),
)


@dataclass(frozen=True)
class Size:
    """``taught``: episodes, ``rounds`` and ``epochs`` are of imitation of the ``expert``."""

    blocks: int
    episodes: int
    steps: int
    taught: int
    rounds: int = 4
    epochs: int = 40
    expert: str = "MSSP-I"
    networks: tuple[str, ...] = ("serial", "base")
    plans: bool = True


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 2, 2000, 8, 1, 2, "echelon-I", ("serial",), plans=False),
    "small": Size(blocks=3, episodes=10, steps=150_000, taught=32),
    "full": Size(blocks=5, episodes=50, steps=1_000_000, taught=64),
}


def _tau(rows: list[tuple[str, str, float]]) -> float:
    """Of (policy, task, value): the order of means on the base network against the serial one."""
    table = pl.DataFrame(rows, schema=["policy", "task", "value"], orient="row")
    network = pl.col("task").str.split(",").list.first()
    table = table.with_columns(network=network)
    wide = (
        table.group_by("policy", "network")
        .agg(pl.col("value").mean())
        .pivot("network", index="policy", values="value")
        .drop_nulls()
    )
    return float(kendalltau(wide["base"], wide["serial"]).statistic)


def _published() -> Iterator[Row]:
    """Shares of the oracle's profit in the published episodes, and how the networks agree."""
    episodes = datasets.load("inventory-episodes").filter(
        (pl.col("Block") != "C_MARL") & (pl.col("Agent") != "PPO-MLP-raw")
    )
    parts = [
        pl.col("Network"),
        pl.col("Demand").replace("M5_volatile", "series"),
        pl.when("Goodwill").then(pl.lit("goodwill")).otherwise(None),
        pl.when("Backlog").then(pl.lit("backlog")).otherwise(pl.lit("lost sales")),
    ]
    task = pl.concat_str(parts, separator=", ", ignore_nulls=True)
    table = episodes.select("Agent", "Seed", "Profit", task=task)
    oracle = pl.col("Agent") == "Oracle"
    best = table.filter(oracle).group_by("task").agg(most=pl.col("Profit").mean())
    table = table.filter(~oracle).join(best, on="task")
    table = table.with_columns(share=pl.col("Profit") / pl.col("most"))
    by_seed = table.sort("Seed", "Agent", "task").partition_by("Seed", maintain_order=True)
    for k, part in enumerate(by_seed):
        for agent, setting, share in part.select("Agent", "task", "share").rows():
            yield agent, setting, PUBLISHED, k, share
        tau = _tau(part.select("Agent", "task", "Profit").rows())
        yield "28 controllers", ACROSS, TAU, k, tau


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a published seed, or a block of customers and a training run."""
    size = SCALES[scale]
    rows = list(_published())
    for k in range(size.blocks):
        rows += _block(size, k, seed, report)
    return scores_of(dict.fromkeys(rows), lower_is_better=[TAU])


def _block(size: Size, k: int, seed: int, report: Report) -> Iterator[Row]:
    """A training run, and all controllers on the same new customers."""
    grid = inv.core_grid(datasets.load("m5-window"))
    fixed = inv.HEURISTICS | PLANS if size.plans else inv.HEURISTICS
    learned: dict[str, dict[str, inv.Controller]] = {}
    for network in size.networks:
        say = prefixed(report, f"training run {k + 1} of {size.blocks}, {network}: ")
        worlds = [grid[task] for task in NETWORKS[network]]
        learned[network] = _trained(worlds, size, 100 * seed + k, say)
    start = 10_000 + 1000 * seed + size.episodes * k
    seeds = range(start, start + size.episodes)
    profits: list[tuple[str, str, float]] = []
    for task, world in grid.items():
        report(f"block {k + 1} of {size.blocks}: {task}")
        most = inv.oracle(world, seeds).profit.mean()
        everyone = dict(fixed)
        if task in CORE:
            network = task.split(",")[0]
            for name, controller in learned.get(network, {}).items():
                everyone[name] = (controller, "blind")
        for name, (controller, information) in everyone.items():
            done = inv.simulate(world, controller, seeds, information=information)
            profit = done.profit.mean()
            yield name, task, OWN, k, float(profit / most)
            if task in CORE:
                profits.append((name, task, float(profit)))
    if len(size.networks) > 1:
        yield "own controllers", ACROSS, TAU, k, _tau(profits)


def _trained(
    worlds: list[inv.Scenario], size: Size, seed: int, report: Report
) -> dict[str, inv.Controller]:
    """Controllers that learned on these scenarios, blind."""
    from policyrank.train.control import inventory as control

    found: dict[str, inv.Controller] = {}
    for architecture in ("mlp", "graph", "transformer"):
        found[f"PPO {architecture}"] = control.ppo(
            worlds, architecture=architecture, steps=size.steps, seed=seed, report=report
        )
    found["PPO on echelon"] = control.ppo(
        worlds, base="echelon", steps=size.steps, seed=seed, report=report
    )
    found[f"imitation of {size.expert}"] = control.imitate(
        worlds,
        size.expert,
        architecture="transformer",
        rounds=size.rounds,
        episodes=size.taught,
        epochs=size.epochs,
        seed=seed,
        report=report,
    )
    return found
