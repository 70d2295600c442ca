"""Pictures of typical runs of the worlds for docs/images: ``make pictures``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from policyrank.worlds import exposure, inventory, matching, supply

COLOURS = ("#1f4e79", "#c8553d", "#3a7d44", "#8e6c8a", "#c9a227", "#555555")


def axes(rows: int, columns: int, height: float = 3.2) -> tuple[Any, Any]:
    figure, found = plt.subplots(
        rows, columns, figsize=(4.6 * columns, height * rows), dpi=110, layout="constrained"
    )
    for a in np.ravel(found):
        a.spines[["top", "right"]].set_visible(False)
    return figure, found


def inventories() -> Any:
    scenario = inventory.scenario("serial", "trend+seasonal+shock")
    seeds = range(100, 120)
    runs = {
        name: inventory.simulate(scenario, rule, seeds, information=i)
        for name, (rule, i) in (
            ("newsvendor", inventory.HEURISTICS["newsvendor"]),
            ("echelon-I", inventory.HEURISTICS["echelon-I"]),
            ("MSSP-I", inventory.PLANS["MSSP-I"]),
        )
    }
    runs["oracle"] = inventory.oracle(scenario, seeds)
    figure, (left, middle, right) = axes(1, 3)
    demand = runs["oracle"].simulation.demand[:, 0, 0]
    left.bar(range(30), demand, color="#dddddd", label="demand")
    for (name, run), colour in zip(runs.items(), COLOURS, strict=False):
        left.plot(run.simulation.left[:, 0, 0], color=colour, label=name)
        middle.plot(run.simulation.backlog[:, 0, 0], color=colour, label=name)
        parts = run.simulation.parts
        profit = (parts["revenue"] - sum(v for k, v in parts.items() if k != "revenue")).cumsum(
            axis=0
        )
        right.plot(profit.mean(axis=1), color=colour)
        low, high = np.quantile(profit, [0.1, 0.9], axis=1)
        right.fill_between(range(30), low, high, color=colour, alpha=0.15, lw=0)
    left.set(xlabel="period", title="the retailer's stock, one episode")
    middle.set(xlabel="period", title="customers who wait")
    right.set(xlabel="period", title="profit so far, 20 episodes (10 to 90%)")
    left.legend(frameon=False, fontsize=8)
    return figure


def networks() -> Any:
    figure, (left, right) = axes(1, 2, 3.4)
    field = [0.10] * 2 + [0.15] * 7 + [0.20] * 11 + [0.25] * 20
    rng = np.random.default_rng(4)
    edges = [(int(rng.integers(2)), k, float(rng.uniform(0.4, 0.9))) for k in range(2, 9)]
    edges += [
        (int(s), k, float(rng.uniform(0.3, 0.8)))
        for k in range(9, 20)
        for s in rng.choice(range(2, 9), 2, replace=False)
    ]
    edges += [
        (int(s), k, float(rng.uniform(0.2, 0.7)))
        for k in range(20, 40)
        for s in rng.choice(range(9, 20), 1)
    ]
    network = supply.SupplyNetwork.of(field, [*edges, (0, 1, 0.3)])
    for x, label, colour in (
        (network, "nothing known", COLOURS[0]),
        (network.given({0: 1}), "node 0 has failed", COLOURS[1]),
    ):
        left.semilogy(x.failures(1.0), color=colour, label=f"{label}, exact")
        left.semilogy(
            supply.independent(x.stress(1.0)),
            color=colour,
            ls=":",
            label=f"{label}, independent nodes",
        )
    left.set(
        xlabel="stressed nodes of 40",
        ylabel="probability",
        ylim=(1e-9, 1),
        title="how many nodes are stressed (T = 1)",
    )
    left.legend(frameon=False, fontsize=8)
    fix = {
        "suppliers": dict.fromkeys(range(2, 9), -0.3),
        "distributors": dict.fromkeys(range(9, 20), -0.2),
        "stores": dict.fromkeys(range(20, 40), -0.1),
    }
    strengths = np.linspace(0, 2, 15)
    for (name, z), colour in zip(fix.items(), COLOURS, strict=False):
        plan = supply.Intervention(name, z=z)
        right.plot(
            strengths,
            [plan.apply(network.given({0: 1}), s).stress(1.0).mean() for s in strengths],
            color=colour,
            label=f"protect {name}",
        )
    right.set(
        xlabel="strength (a total of about 2 each at 1)",
        ylabel="mean stress",
        title="interventions after node 0 has failed",
    )
    right.legend(frameon=False, fontsize=8)
    return figure


def exposures() -> Any:
    rng = np.random.default_rng(0)
    topic = rng.integers(12, size=600)
    true = rng.random(600) < np.where(topic < 4, 0.3, 0.85)
    vectors = rng.normal(size=(12, 32))[topic] + 0.8 * rng.normal(size=(600, 32))
    world = exposure.World.of(true, vectors, ["original", "authoritative"])
    figure, (left, right) = axes(1, 2)
    people = exposure.Personas.mechanical(
        true, 2000, 2, accept=0.65, discern=0.15, extra=[0.0, 0.3]
    )
    for name, colour in zip(
        ("random", "similarity", "similarity, locked", "engagement", "similarity + credibility"),
        COLOURS,
        strict=False,
    ):
        done = exposure.simulate(world, people, exposure.POLICIES[name], steps=100)
        at = np.arange(1, 101)[:, None]
        health = done.health / at
        left.plot(health.mean(axis=1), color=colour, label=name)
        low, high = np.quantile(health, [0.1, 0.9], axis=1)
        left.fill_between(range(100), low, high, color=colour, alpha=0.1, lw=0)
        right.plot((~done.true).cumsum(axis=0).mean(axis=1) / at[:, 0], color=colour)
    left.set(
        xlabel="step", title="information health a step (10 to 90% of people)", ylim=(-0.4, 0.8)
    )
    right.set(xlabel="step", title="share of false claims shown", ylim=(0, 1))
    left.legend(frameon=False, fontsize=8)
    return figure


def triangles() -> Any:
    figure, axis = axes(1, 1)
    for k, (rule, colour) in enumerate(
        zip(("balance", "ranking", "random", "last"), COLOURS, strict=False)
    ):
        shares, runs = [], []
        for mass in (0.5, 1, 1.5, 2, 2.5, 3):
            x = matching.upper_triangular(20, mass, 50)
            v = matching.simulate(x, rule, runs=200) / matching.bound(x, tolerance=1e-4)
            shares.append(v.mean())
            runs.append(v.std(ddof=1) / np.sqrt(len(v)))
        axis.errorbar(
            np.array((0.5, 1, 1.5, 2, 2.5, 3)) + 0.03 * (k - 1),
            shares,
            2 * np.array(runs),
            color=colour,
            label=rule,
            capsize=2,
        )
    axis.axhline(0.611, color="#999999", ls=":", lw=1)
    axis.text(2.2, 0.617, "proved for balance: .611", fontsize=8, color="#666666")
    axis.set(
        xlabel="arrivals' mass a type",
        title="thick triangles: share of the best bound",
        ylim=(0.55, 1),
    )
    axis.legend(frameon=False, fontsize=8)
    return figure


def targeting() -> Any:
    from policyrank.evaluation.transport import TRANSPORTS, Trial
    from policyrank.studies.trial_transport import synthetic

    target, sources, x, effect = synthetic(np.random.default_rng(1), 300)
    known = np.concatenate([np.flatnonzero(target.treated == a)[:15] for a in (0, 1)])
    target = Trial(target.x[known], target.treated[known], target.outcome[known])
    figure, (left, right) = axes(1, 2)
    share = np.arange(1, len(effect) + 1) / len(effect)
    for name, colour in zip(
        ("proposed", "outcome transport", "target only"), COLOURS, strict=False
    ):
        estimate = TRANSPORTS[name](target, sources, 0)(x)
        gain = (
            effect[np.argsort(-estimate)].cumsum() / np.arange(1, len(effect) + 1) - effect.mean()
        )
        left.plot(share[20:], gain[20:], color=colour, label=name)
        right.plot(effect, estimate, ".", ms=2, color=colour)
    left.plot(
        share[20:],
        (np.sort(effect)[::-1].cumsum() / np.arange(1, len(effect) + 1) - effect.mean())[20:],
        color="#999999",
        ls=":",
        label="true order",
    )
    left.axhline(0, color="#dddddd", lw=1)
    left.set(
        xlabel="share treated",
        ylabel="gain in mean effect",
        title="targeting curve (AUTOC is its area)",
    )
    right.set(xlabel="true effect", ylabel="estimate", title="effects of the target's patients")
    left.legend(frameon=False, fontsize=8)
    return figure


def reality() -> Any:
    from policyrank.evaluation.simulation import in_distribution

    rng = np.random.default_rng(2)
    strength, skill = rng.uniform(0, 1, 30), rng.uniform(0.7, 1, 30)
    simulated = skill - 0.1 * strength
    truth, ordinary = np.zeros(30), np.zeros(30)
    for k in range(30):
        trained, held = (rng.normal(0, 1 + 2 * strength[k], (n, 6)) for n in (300, 200))
        real = rng.normal(0, 2.2, (150, 6))
        ordinary[k] = in_distribution(trained, held, real).mean()
        truth[k] = skill[k] * (1 - 0.7 * max(0.0, 0.6 - strength[k]))
    figure, (left, right) = axes(1, 2)
    left.scatter(simulated, truth, c=strength, cmap="viridis", s=18)
    dots = right.scatter(simulated * ordinary, truth, c=strength, cmap="viridis", s=18)
    figure.colorbar(dots, ax=right, label="randomisation in training")
    left.set(xlabel="score in simulation", ylabel="score in reality", title="simulation alone")
    right.set(xlabel="score x how ordinary real observations are", title="combined")
    return figure


def detections() -> Any:
    from policyrank.evidence import datasets
    from policyrank.metrics.detection import detection_ap, gamed
    from policyrank.studies.large_vocabulary_ap import simulated

    truth = datasets.load("lvis100")
    found = simulated(truth, np.random.default_rng(0), 900)
    figure, axis = axes(1, 1)
    limits = (10, 30, 100, 300, 1000)
    axis.axhline(
        detection_ap(truth, found, budget="fixed").summary()["AP"],
        color=COLOURS[2],
        label="AP-Fixed",
    )
    for some, label, colour in (
        (found, "a limit an image", COLOURS[0]),
        (
            found.take(gamed(found, 20)),
            "the same, gamed: the best 20 of each class first",
            COLOURS[1],
        ),
    ):
        axis.plot(
            limits,
            [detection_ap(truth, some, budget=("image", k)).summary()["AP"] for k in limits],
            color=colour,
            marker="o",
            label=label,
        )
    axis.set(xscale="log", xlabel="detections an image", ylabel="AP")
    axis.legend(frameon=False, fontsize=8)
    return figure


PICTURES = {
    "inventory": inventories,
    "supply": networks,
    "exposure": exposures,
    "matching": triangles,
    "effects": targeting,
    "sim-to-real": reality,
    "detections": detections,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("which", nargs="*")
    given = parser.parse_args()
    for name in given.which or PICTURES:
        PICTURES[name]().savefig(given.out / f"{name}.png", facecolor="white")
        print(f"wrote {given.out / name}.png")


if __name__ == "__main__":
    main()
