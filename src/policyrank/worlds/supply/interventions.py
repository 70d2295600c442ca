"""Interventions on a supply network, ranked: by first order at the present state, and exactly."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict, Unpack

import numpy as np
import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.evidence.base import named_once
from policyrank.worlds.supply.network import Float, SupplyNetwork

Score = Literal[
    "first order",
    "first order at T",
    "second order",
    "ground energy",
    "free energy",
    "mean stress",
    "tail",
    "ground stress",
]


STEP = 1e-4


@dataclass(frozen=True)
class Intervention:
    """An operator that is added to H: sum z_i Z_i + sum zz_ij Z_i Z_j + sum x_i X_i.

    Attributes
    ----------
    z
        node -> strength; negative ones pull towards stable
    zz
        (node, node) -> strength; positive ones loosen a coupling
    x
        node -> strength of the transverse field that is added
    cost
        in any unit; 0: free
    """

    name: str
    z: Mapping[Hashable, float] = field(default_factory=dict)
    zz: Mapping[tuple[Hashable, Hashable], float] = field(default_factory=dict)
    x: Mapping[Hashable, float] = field(default_factory=dict)
    cost: float = 0.0

    def __post_init__(self) -> None:
        strengths = [*self.z.values(), *self.zz.values(), *self.x.values()]
        if not np.isfinite(strengths).all():
            raise EvidenceError(f"intervention {self.name!r} has a strength that is not finite.")
        if not self.cost >= 0:
            raise EvidenceError(
                f"intervention {self.name!r} costs {self.cost}: it costs at least 0."
            )

    def apply(self, network: SupplyNetwork, strength: float = 1.0) -> SupplyNetwork:
        """The network with the operator added, times a strength."""
        fields, shock = network.field.copy(), network.shock.copy()
        for name, amount in self.z.items():
            fields[network.number(name)] += strength * amount
        for name, amount in self.x.items():
            shock[network.number(name)] -= strength * amount
        pairs = map(tuple, network.edges.tolist())
        coupling = dict(zip(pairs, network.coupling.tolist(), strict=True))
        for (first, second), amount in self.zz.items():
            low, high = sorted((network.number(first), network.number(second)))
            if low == high:
                raise EvidenceError(f"intervention {self.name!r} couples {first!r} with itself.")
            coupling[low, high] = coupling.get((low, high), 0.0) - strength * amount
        return replace(
            network,
            field=fields,
            shock=shock,
            edges=np.array(list(coupling), dtype=np.int64).reshape(-1, 2),
            coupling=np.array(list(coupling.values())),
        )


def first_order(
    network: SupplyNetwork, intervention: Intervention, temperature: float | None = None
) -> float:
    """<dH> in the ground state, or at a temperature.

    It is the derivative of E0 or F by the operator's strength (Hellmann-Feynman), without a second
    solution: <Z_i> and <Z_i Z_j> come from the present state, and <X_i> = -dF/d(x_i) by differences
    of it. At the ground state of a network whose nodes are classical <X> is 0, so that operators of
    X alone are not seen: use ``"second order"`` or a temperature.
    """
    warmth = network.coldest if temperature is None else temperature
    spin = 1 - 2 * network.stress(warmth)
    signs = np.outer([1, -1], [1, -1])
    total = 0.0
    for name, strength in intervention.z.items():
        total += strength * spin[network.number(name)]
    coupled = 0.0
    for (first, second), strength in intervention.zz.items():
        coupled += strength * float((network.pair(first, second, warmth) * signs).sum())
    total += coupled
    for name, strength in intervention.x.items():
        if network.shock[network.number(name)] != 0:  # else H commutes with Z of the node: <X> = 0
            total += strength * _gap(network, name, temperature) / (2 * STEP)
    return float(total)


def _gap(network: SupplyNetwork, name: Hashable, temperature: float | None) -> float:
    """E0, or F at a temperature, with a little X of a node added less that with it taken off."""
    only = Intervention(name="", x={name: 1.0})
    energies = []
    for strength in (STEP, -STEP):
        changed = only.apply(network, strength)
        if temperature is None:
            energies.append(changed.ground_energy)
        else:
            energies.append(changed.free_energy(temperature))
    return energies[0] - energies[1]


def second_order(network: SupplyNetwork, intervention: Intervention, step: float = 1e-2) -> float:
    """<dH> + the second-order term, from E0 at strengths 0, +-step.

    E0(1) as a parabola would have it. Sees operators of X.
    """
    strengths = (-step, 0.0, step)
    low, mid, high = (intervention.apply(network, one).ground_energy for one in strengths)
    return (high - low) / (2 * step) + (high - 2 * mid + low) / (2 * step**2)


def score(
    network: SupplyNetwork,
    intervention: Intervention,
    by: Score = "mean stress",
    *,
    temperature: float = 1.0,
    at_least: int | None = None,
    among: Sequence[Hashable] | None = None,
) -> float:
    """What an intervention changes: lower is better.

    Parameters
    ----------
    by
        ``"first order"``, ``"first order at T"``, ``"second order"``: of E0 or F, cheap. Exact
        changes: ``"ground energy"``, ``"free energy"``, ``"ground stress"``, ``"mean stress"`` (at
        T), ``"tail"``: P(at least ``at_least`` of ``among`` are stressed). Energy that falls is not
        risk that falls: an operator that pulls towards stressed lowers E0 as well
    at_least
        None: half of ``among``
    """
    if by == "first order":
        return first_order(network, intervention)
    if by == "first order at T":
        return first_order(network, intervention, temperature)
    if by == "second order":
        return second_order(network, intervention)
    after = intervention.apply(network)
    if by == "ground energy":
        return after.ground_energy - network.ground_energy
    if by == "free energy":
        return after.free_energy(temperature) - network.free_energy(temperature)
    if by == "ground stress":
        return float(after.ground_stress().mean() - network.ground_stress().mean())
    if by == "mean stress":
        return float(after.stress(temperature).mean() - network.stress(temperature).mean())
    if by == "tail":
        chosen = list(network.names if among is None else among)
        k = (len(chosen) + 1) // 2 if at_least is None else at_least
        return after.tail(temperature, k, chosen) - network.tail(temperature, k, chosen)
    raise EvidenceError(f"by={by!r}: use one of {', '.join(Score.__args__)}.")


class ScoreOptions(TypedDict, total=False):
    """Options of ``score``."""

    temperature: float
    at_least: int | None
    among: Sequence[Hashable] | None


def rank_interventions(
    network: SupplyNetwork,
    interventions: Sequence[Intervention],
    by: Score = "mean stress",
    *,
    per_cost: bool = False,
    **options: Unpack[ScoreOptions],
) -> pl.DataFrame:
    """Interventions, best first: policy, change (negative: better), cost, change per cost, rank.

    Parameters
    ----------
    options
        of ``score``
    per_cost
        rank by what a unit of cost brings; free interventions are ranked by the change itself and
        stand first where they help
    """
    if not interventions:
        raise EvidenceError("no interventions to rank.")
    change = np.array([score(network, one, by, **options) for one in interventions])
    cost = np.array([one.cost for one in interventions])
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.where(np.abs(change) < 1e-12, 0.0, np.sign(change) * np.inf)
        unit: Float = np.where(cost > 0, change / cost, free)
    keys = (change, unit) if per_cost else (change, change)
    order = np.lexsort(keys)
    table = {
        "policy": [interventions[place].name for place in order],
        "change": change[order],
        "cost": cost[order],
        "per cost": unit[order],
        "rank": np.arange(len(order)) + 1,
    }
    return pl.DataFrame(table)


def perturbed(network: SupplyNetwork, spread: float, seed: int) -> SupplyNetwork:
    """Fields, couplings and shocks each times a log-normal number of this relative spread.

    Weights that are guessed are not known.
    """
    if not spread >= 0:
        raise EvidenceError(f"spread={spread}: it is at least 0.")
    rng = np.random.default_rng(seed)

    def shaken(values: Float) -> Float:
        return values * np.exp(spread * rng.standard_normal(values.shape))

    field, coupling = shaken(network.field), shaken(network.coupling)
    shock = shaken(network.shock)
    return replace(network, field=field, coupling=coupling, shock=shock)


def evidence(
    networks: Mapping[str, SupplyNetwork],
    interventions: Sequence[Intervention],
    by: Score = "mean stress",
    *,
    spread: float = 0.2,
    runs: int = 100,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
    **options: Unpack[ScoreOptions],
) -> Scores:
    """Interventions on networks whose weights are uncertain.

    Networks (states of the world) are tasks, drawn weights replicates, the same for every
    intervention; lower is better. ``options`` are those of ``score``.
    """
    if not networks or not interventions:
        raise EvidenceError("name at least one network and one intervention.")
    named_once(((one.name, one) for one in interventions), "intervention")
    rows = []
    for task, network in networks.items():
        for run in range(runs):
            if report is not None:
                report(f"{task}: {run + 1} of {runs}")
            drawn = perturbed(network, spread, seed + run)
            for one in interventions:
                rows.append((one.name, task, run, score(drawn, one, by, **options)))
    policies, tasks, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        policies, tasks, values, metric=[by] * len(rows), replicate=replicates, lower_is_better=[by]
    )
