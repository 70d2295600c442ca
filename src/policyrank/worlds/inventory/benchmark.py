"""Controllers on scenarios: evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.worlds.inventory.planning import oracle
from policyrank.worlds.inventory.scenarios import Scenario
from policyrank.worlds.inventory.simulator import KPIS, Controller, Draws, Information, simulate

SHARE = "share of the oracle's profit"

Named = Mapping[str, tuple[Controller, Information]]


def growing_evidence(
    scenarios: Mapping[str, Scenario],
    controllers: Named,
    seeds: Sequence[int],
    *,
    kpi: str = SHARE,
    draws: Draws = "stream",
    report: Callable[[str], None] | None = None,
) -> Iterator[Scores]:
    """As ``evidence``, but yields what there is after each scenario."""
    if kpi != SHARE and kpi not in KPIS:
        raise EvidenceError(f"kpi={kpi!r}: use {SHARE!r}, {', '.join(KPIS)}.")
    if not scenarios or not controllers:
        raise EvidenceError("nothing to simulate: name at least one scenario and one controller.")
    policies: list[str] = []
    tasks: list[str] = []
    values: list[np.ndarray] = []
    figure, scale = kpi, 1.0
    for number, (task, scenario) in enumerate(scenarios.items(), start=1):
        if kpi == SHARE:
            figure, scale = "profit", _best_profit(task, scenario, seeds, draws)
        for name, (controller, information) in controllers.items():
            if report is not None:
                report(f"{name} on {task} ({number} of {len(scenarios)})")
            found = simulate(scenario, controller, seeds, information=information, draws=draws)
            values.append(found.kpis[figure] / scale)
            policies += [name] * len(seeds)
            tasks += [task] * len(seeds)
        yield Scores.of(
            policies,
            tasks,
            np.concatenate(values),
            metric=[kpi] * len(tasks),
            replicate=np.tile(np.arange(len(seeds)), len(values)),
            lower_is_better=[kpi] if kpi in LOWER else [],
        )


def _best_profit(task: str, scenario: Scenario, seeds: Sequence[int], draws: Draws) -> float:
    """Mean profit of the oracle, of which shares are given."""
    most = float(oracle(scenario, seeds, draws=draws).profit.mean())
    if most <= 0:
        raise EvidenceError(
            f"the oracle earns {most:.4g} in {task!r}: no share of it can be given. Use"
            " kpi='profit'."
        )
    return most


LOWER = (
    "bullwhip",
    "inventory",
    "unmet",
    "procurement",
    "holding",
    "operating",
    "penalty",
    "fixed",
)


def evidence(
    scenarios: Mapping[str, Scenario],
    controllers: Named,
    seeds: Sequence[int],
    *,
    kpi: str = SHARE,
    draws: Draws = "stream",
    report: Callable[[str], None] | None = None,
) -> Scores:
    """Controllers on scenarios with common customers: scenarios are tasks, seeds replicates.

    Parameters
    ----------
    controllers
        name -> (controller, what it may know), as in ``HEURISTICS`` and ``PLANS``
    kpi
        profit over the mean profit of the oracle in the scenario, on the same customers (1 minus
        the published optimality gap), or a key figure of ``Episodes``
    """
    *_, last = growing_evidence(scenarios, controllers, seeds, kpi=kpi, draws=draws, report=report)
    return last
