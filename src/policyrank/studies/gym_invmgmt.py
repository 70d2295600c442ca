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
the tests), on new customers: a replicate is a block of ten customer sequences and, for learned
controllers, a training run. These are trained blind (what they observe holds no mean), one for each
network, over the eight scenarios with trend and season: PPO with three encoders, PPO as a
correction of the blind echelon heuristic, all of equal budget, and imitation of MSSP-I (DAgger).
Differences from the paper: fewer steps (150,000 against 200,000 and more), orders bounded by four
times the mean demand, an episode's end is treated as its end, and no domain randomisation but the
eight scenarios themselves; language models are only in the published episodes.
"""

from __future__ import annotations

import polars as pl
from scipy.stats import kendalltau

from policyrank.evidence import Scores, datasets
from policyrank.studies.frame import Claim, Report, Scale, quiet
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
SERIAL, BASE = (tuple(name for name in CORE if name.startswith(n)) for n in ("serial", "base"))
PAIRS = ("MSSP", "DLP", "Newsvendor", "s,S", "ExpSmoothing", "EchelonApprox")
LEARNED = ("PPO mlp", "PPO graph", "PPO transformer", "PPO on echelon", "imitation of MSSP-I")
CLAIMS = (
    Claim(
        "MSSP-I beats the best learned controller (published)",
        "MSSP-I",
        "PPO-Transformer",
        PUBLISHED,
    ),
    Claim(
        "MSSP-I beats the best informed heuristic (published)",
        "MSSP-I",
        "EchelonApprox-I",
        PUBLISHED,
    ),
    *(
        Claim(f"{name} gains from knowing the mean (published)", f"{name}-I", name, PUBLISHED)
        for name in PAIRS
    ),
    Claim(
        "The order on one network agrees with that on the other by a tau below .3 (published)",
        ".3",
        "28 controllers",
        TAU,
    ),
    Claim("The same on own runs", ".3", "own controllers", TAU),
    Claim("MSSP-I beats every informed heuristic's best (own)", "MSSP-I", "echelon-I", OWN),
    *(
        Claim(f"{name} gains from knowing the mean (own)", f"{name}-I", name, OWN)
        for name in ("MSSP", "DLP", "newsvendor", "(s, S)", "smoothing", "echelon")
    ),
    *(
        Claim(
            f"The transformer learns more than the MLP ({where})",
            "PPO transformer",
            "PPO mlp",
            OWN,
            tasks=tasks,
        )
        for where, tasks in (("serial", SERIAL), ("base", BASE))
    ),
    *(
        Claim(
            f"Correcting a heuristic improves it ({where})",
            "PPO on echelon",
            "echelon",
            OWN,
            tasks=tasks,
        )
        for where, tasks in (("serial", SERIAL), ("base", BASE))
    ),
    *(
        Claim(
            "PPO with a transformer beats (s, S), the best blind heuristic of the published table"
            f" ({where})",
            "PPO transformer",
            "(s, S)",
            OWN,
            tasks=tasks,
        )
        for where, tasks in (("serial", SERIAL), ("base", BASE))
    ),
    *(
        Claim(
            f"A blind imitator of MSSP-I beats blind MSSP ({where})",
            "imitation of MSSP-I",
            "MSSP",
            OWN,
            tasks=tasks,
        )
        for where, tasks in (("serial", SERIAL), ("base", BASE))
    ),
)


def _tau(rows: list[tuple[str, str, float]]) -> float:
    """Of (policy, task, value): the order of means on the base network against that on the serial
    one.
    """
    table = pl.DataFrame(rows, schema=["policy", "task", "value"], orient="row").with_columns(
        pl.col("task").str.split(",").list.first().alias("network")
    )
    wide = (
        table.group_by("policy", "network")
        .agg(pl.col("value").mean())
        .pivot("network", index="policy", values="value")
        .drop_nulls()
    )
    return float(kendalltau(wide["base"], wide["serial"]).statistic)


def _published() -> list[tuple[str, str, str, int, float]]:
    episodes = datasets.load("inventory-episodes").filter(
        (pl.col("Block") != "C_MARL") & (pl.col("Agent") != "PPO-MLP-raw")
    )
    task = pl.concat_str(
        [
            pl.col("Network"),
            pl.col("Demand").replace("M5_volatile", "series"),
            pl.when("Goodwill").then(pl.lit("goodwill")).otherwise(None),
            pl.when("Backlog").then(pl.lit("backlog")).otherwise(pl.lit("lost sales")),
        ],
        separator=", ",
        ignore_nulls=True,
    )
    table = episodes.select("Agent", "Seed", "Profit", task=task)
    best = (
        table.filter(pl.col("Agent") == "Oracle")
        .group_by("task")
        .agg(pl.col("Profit").mean().alias("most"))
    )
    table = (
        table.filter(pl.col("Agent") != "Oracle")
        .join(best, on="task")
        .with_columns(share=pl.col("Profit") / pl.col("most"))
        .sort("Agent", "task", "Seed")
    )
    rows: list[tuple[str, str, str, int, float]] = []
    for k, seed in enumerate(sorted(table["Seed"].unique().to_list())):
        part = table.filter(pl.col("Seed") == seed)
        rows += [
            (a, t, PUBLISHED, k, v) for a, t, v in part.select("Agent", "task", "share").rows()
        ]
        rows += [
            (
                "28 controllers",
                "base to serial",
                TAU,
                k,
                _tau(part.select("Agent", "task", "Profit").rows()),
            ),
            (".3", "base to serial", TAU, k, 0.3),
        ]
    return rows


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a published seed, or a block of customers and a training run."""
    from policyrank.train import control

    blocks, episodes, steps, taught = {
        "smoke": (2, 2, 2000, 8),
        "small": (3, 10, 150_000, 32),
        "full": (5, 50, 1_000_000, 64),
    }[scale]
    rows = _published()
    grid = inv.core_grid(datasets.load("m5-window"))
    fixed: dict[str, tuple[inv.Controller, inv.Information]] = {
        **inv.HEURISTICS,
        **{k: v for k, v in inv.PLANS.items() if scale != "smoke"},
    }
    for k in range(blocks):
        seeds = range(
            10_000 + 1000 * seed + episodes * k, 10_000 + 1000 * seed + episodes * (k + 1)
        )
        learned: dict[str, dict[str, inv.Controller]] = {}
        for network, tasks in (("serial", SERIAL), ("base", BASE)):
            if scale == "smoke" and network == "base":
                continue
            worlds, own = [grid[t] for t in tasks], 100 * seed + k

            def say(text: str, network: str = network, k: int = k) -> None:
                report(f"training run {k + 1} of {blocks}, {network}: {text}")

            found: dict[str, inv.Controller] = {
                f"PPO {a}": control.ppo(worlds, architecture=a, steps=steps, seed=own, report=say)
                for a in ("mlp", "graph", "transformer")
            }
            found["PPO on echelon"] = control.ppo(
                worlds, base="echelon", steps=steps, seed=own, report=say
            )
            expert = "echelon-I" if scale == "smoke" else "MSSP-I"
            found[f"imitation of {expert}"] = control.imitate(
                worlds,
                expert,
                architecture="transformer",
                rounds=1 if scale == "smoke" else 4,
                episodes=taught,
                epochs=2 if scale == "smoke" else 40,
                seed=own,
                report=say,
            )
            learned[network] = found
        mine: list[tuple[str, str, float]] = []
        for task, world in grid.items():
            report(f"block {k + 1} of {blocks}: {task}")
            most = inv.oracle(world, seeds).profit.mean()
            trained = learned.get(task.split(",")[0], {}) if task in CORE else {}
            everyone = {**fixed, **{name: (c, "blind") for name, c in trained.items()}}
            for name, (controller, information) in everyone.items():
                profit = inv.simulate(
                    world, controller, seeds, information=information
                ).profit.mean()
                rows.append((name, task, OWN, k, float(profit / most)))
                if task in CORE:
                    mine.append((name, task, float(profit)))
        if scale != "smoke":
            rows += [
                ("own controllers", "base to serial", TAU, k, _tau(mine)),
                (".3", "base to serial", TAU, k, 0.3),
            ]
    policies, tasks_, metrics, replicates, values = zip(*dict.fromkeys(rows), strict=True)
    return Scores.of(policies, tasks_, values, metric=metrics, replicate=replicates)
