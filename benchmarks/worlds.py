"""Worlds beside what else there is, in one run: ``make bench`` writes docs/benchmarks-worlds.md and
the scaling plot.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from policyrank.evaluation.off_policy import off_policy_value
from policyrank.evaluation.targeting import rank_effects
from policyrank.worlds import exposure, inventory, matching, supply

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def best(run: Callable[[], Any], times: int = 3) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def inventories() -> list[str]:
    import gym_invmgmt

    from policyrank.worlds.inventory.environments import InventoryVectorEnv

    lines = [
        (
            "| network, goodwill | gym-invmgmt | one number at a time (`stream`) | `quantile` |"
            " times faster |"
        ),
        "| :-- | --: | --: | --: | --: |",
    ]
    for network, goodwill in (("serial", False), ("serial", True), ("base", False), ("base", True)):
        world = inventory.scenario(network, "trend+seasonal+shock", goodwill=goodwill)
        theirs = gym_invmgmt.CoreEnv(
            scenario={"base": "network"}.get(network, network),
            demand_config={"type": "trend+seasonal+shock", "base_mu": 20, "use_goodwill": goodwill},
        )
        action = np.full(theirs.action_space.shape, 20.0)

        def one(theirs: Any = theirs, action: Any = action) -> None:
            for seed in range(20):
                theirs.reset(seed=seed)
                for _ in range(30):
                    theirs.step(action)

        reference = best(one) / 600
        ours = []
        for draws in ("stream", "quantile"):
            many = InventoryVectorEnv(4096, world, draws)  # type: ignore[arg-type]
            actions = np.tile(action, (4096, 1))

            def all_at_once(many: Any = many, actions: Any = actions) -> None:
                many.reset(seed=0)
                for _ in range(30):
                    many.step(actions)

            all_at_once()
            ours.append(best(all_at_once) / 30 / 4096)
        stream, quantile = ours
        name = network + (", goodwill" if goodwill else "")
        lines.append(
            f"| {name} | {1e6 * reference:.0f} µs | {1e6 * stream:.2f} µs | {1e6 * quantile:.2f} µs"
            f" | {reference / stream:.0f}, {reference / quantile:.0f} |"
        )
    return [
        "## Inventory",
        "",
        (
            "Seconds a step of an episode; ours steps 4,096 episodes together, resets and"
            " observations included."
        ),
        "",
        *lines,
    ]


def networks(image: Path) -> list[str]:
    from qiskit.primitives import StatevectorEstimator

    from policyrank.worlds.supply import quantum

    exact, dense, circuit = {}, {}, {}
    for n in (8, 12, 16, 20, 40, 100, 300, 1000):
        x = supply.tiered(n, seed=3)

        def solve(n: int = n) -> None:
            y = supply.tiered(n, seed=3)
            y.stress(1.0), y.failures(1.0), y.levels(2)

        exact[n] = (best(solve, 2), x.width)
        if n <= 12:
            h = quantum.hamiltonian(x)
            dense[n] = best(lambda h=h: np.linalg.eigvalsh(h.to_matrix().real), 1)
        if n <= 20:
            h, ansatz = quantum.hamiltonian(x), quantum.layered(n, 3)
            theta = np.zeros(ansatz.num_parameters)
            circuit[n] = best(
                lambda a=ansatz, h=h, t=theta: (
                    StatevectorEstimator().run([(a, h, t)]).result()[0].data.evs
                ),
                1,
            )
    published = {12: 0.012, 16: 0.153, 20: 3.139, 24: 8.944, 26: 37.5, 28: 187.8, 30: 1192.3}
    figure, axis = plt.subplots(figsize=(5.6, 3.6), dpi=110, layout="constrained")
    axis.spines[["top", "right"]].set_visible(False)
    axis.loglog(
        list(exact),
        [v for v, _ in exact.values()],
        marker="o",
        color="#3a7d44",
        label="all answers, exact, by elimination",
    )
    axis.loglog(
        list(dense),
        list(dense.values()),
        marker="s",
        color="#555555",
        label="spectrum, dense diagonalisation",
    )
    axis.loglog(
        list(circuit),
        list(circuit.values()),
        marker="^",
        color="#1f4e79",
        label="one energy, simulated circuit (here)",
    )
    axis.loglog(
        list(published),
        list(published.values()),
        marker="v",
        color="#c8553d",
        label="one energy, simulated circuit (published)",
    )
    axis.set(
        xlabel="nodes",
        ylabel="seconds",
        xticks=[10, 30, 100, 300, 1000],
        xticklabels=["10", "30", "100", "300", "1,000"],
    )
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(image, facecolor="white")
    lines = [
        (
            "| nodes | width | all answers, exact | dense diagonalisation | one energy of a VQE"
            " circuit, depth 3 |"
        ),
        "| --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {n:,} | {w} | {t:.3f} s | {f'{dense[n]:.2f} s' if n in dense else ''} |"
        f" {f'{circuit[n]:.3f} s' if n in circuit else ''} |"
        for n, (t, w) in exact.items()
    ]
    return [
        "## Supply chain",
        "",
        (
            "Random four-tier networks, T = 1; all answers: every node's stress, the distribution"
            " of the number of stressed nodes, ground energy and gap. A VQE takes thousands of"
            " energies for one of them."
        ),
        "",
        *lines,
        "",
        f"![Seconds by nodes](images/{image.name})",
    ]


def matchings() -> list[str]:
    lines = [
        "| instance | 200 runs of balance | stochastic configuration LP |",
        "| :-- | --: | --: |",
    ]
    for name, x in (
        ("thick triangle, 20 types, 1,000 arrivals", matching.upper_triangular(20, 1, 50)),
        (
            "random, 300 offline, 1,500 arrivals",
            matching.random_bipartite(300, 1500, degree=4, seed=0),
        ),
        (
            "random, 1,000 offline, 4,000 arrivals",
            matching.random_bipartite(1000, 4000, degree=4, seed=0),
        ),
        (
            "random, 2,000 offline, 5,000 arrivals",
            matching.random_bipartite(2000, 5000, degree=4, seed=0),
        ),
    ):
        run = best(lambda x=x: matching.simulate(x, "balance", runs=200))
        bound = best(lambda x=x: matching.bound(x), 1)
        lines.append(f"| {name} | {run:.2f} s | {bound:.1f} s |")
    return ["## Matching", "", *lines]


def exposures() -> list[str]:
    rng = np.random.default_rng(0)
    true = rng.random(1400) < 0.7
    world = exposure.World.of(
        true,
        rng.normal(size=(1400, 384)),
        ["original", *[f for f in exposure.FRAMINGS if f != "original"]],
    )
    people = exposure.Personas.mechanical(
        true, 10_000, 6, accept=0.55, discern=0.05, extra=[0, 0.3, 0, 0, 0, 0]
    )
    lines = ["| policy | seconds |", "| :-- | --: |"]
    for name, policy in exposure.POLICIES.items():
        exposure.simulate(world, people, policy, steps=2)
        lines.append(
            f"| {name} |"
            f" {best(lambda p=policy: exposure.simulate(world, people, p, steps=100), 2):.1f} |"
        )
    return [
        "## Exposure",
        "",
        "10,000 people, 100 steps, 1,400 claims in six framings.",
        "",
        *lines,
    ]


def effects() -> list[str]:
    from econml.dr import LinearDRLearner
    from sklearn.linear_model import LinearRegression, LogisticRegression

    rng = np.random.default_rng(0)
    n = 100_000
    x = rng.normal(size=(n, 10))
    e = 1 / (1 + np.exp(-x[:, 0]))
    a = (rng.random(n) < e).astype(int)
    y = x.sum(axis=1) + a * x[:, 1] + rng.normal(size=n)
    policies = {f"policy {k}": (x @ rng.normal(size=10) > 0).astype(int) for k in range(100)}
    ours = best(
        lambda: off_policy_value(policies, a, y, x, np.c_[1 - e, e], model=LinearRegression()), 2
    )
    theirs = best(
        lambda: LinearDRLearner(
            model_propensity=LogisticRegression(),
            model_regression=LinearRegression(),
            cv=5,
            random_state=0,
        ).fit(y, a, X=None, W=x),
        2,
    )
    estimates = {f"estimate {k}": rng.normal(size=5000) for k in range(20)}
    ranked = best(lambda: rank_effects(estimates, rng.normal(size=5000)), 1)
    return [
        "## Effects",
        "",
        "| job | seconds |",
        "| :-- | --: |",
        f"| values of 100 policies on 100,000 logged rows, five folds, rank sets | {ours:.2f} |",
        (
            "| econml LinearDRLearner, one average effect on the same rows, five folds (fits"
            f" propensities too) | {theirs:.2f} |"
        ),
        f"| AUTOC of 20 estimates on 5,000 rows | {ranked:.2f} |",
    ]


def programs() -> list[str]:
    """Programs in the sandbox: seconds alone, and how many a minute two at a time."""
    from policyrank.worlds.sandbox import run_program, run_tests, unavailable

    if why := unavailable():
        return ["## Programs in the sandbox", "", f"Not measured: {why}."]
    asyncio = (
        "import asyncio\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\n"
        "asyncio.run(asyncio.sleep(0))\nprint(A())"
    )
    kinds: dict[str, Callable[[], Any]] = {
        "`print(1)`": lambda: run_program("print(1)"),
        "dataclasses and asyncio": lambda: run_program(asyncio),
        "ten tests": lambda: run_tests("def f(x): return x", ["assert f(1) == 1"] * 10),
        "`import numpy`": lambda: run_program("import numpy", packages=["numpy"]),
    }
    lines = ["| program | one alone | two at a time, programs a minute |", "| :-- | --: | --: |"]
    for name, run in kinds.items():
        alone = best(run, 10)
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _, run=run: run(), range(100)))
        rate = 100 * 60 / (time.perf_counter() - start)
        lines.append(f"| {name} | {1000 * alone:.0f} ms | {rate:,.0f} |")
    return ["## Programs in the sandbox", "", *lines]


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    image = (
        (given.out.parent if given.out else Path()) / "images" / "supply-scaling.png"
        if given.out
        else Path("supply-scaling.png")
    )
    packages = ("numpy", "scipy", "numba", "highspy", "gym-invmgmt", "qiskit", "econml")
    text = [
        "# Worlds: speed",
        "",
        (
            "`python benchmarks/worlds.py --out docs/benchmarks-worlds.md` (part of `make bench`),"
            " best of a few runs, two cores."
        ),
        "",
    ]
    for part in (inventories, lambda: networks(image), matchings, exposures, effects, programs):
        text += [*part(), ""]
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("policyrank", *packages))
    text.append(f"{versions}; Python {platform.python_version()}, {platform.machine()}.")
    done = "\n".join(text) + "\n"
    print(done)
    if given.out:
        given.out.write_text(done, encoding="utf-8")


if __name__ == "__main__":
    main()
