"""``policyrank world supply``: interventions on a supply network, ranked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    MODEL,
    UNSURE,
    AtLeastOne,
    AtLeastTwo,
    Names,
    NotNegative,
    Printed,
    Scores,
    Written,
    check_table,
    numbers,
)
from policyrank.cli.output import say, working
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    from policyrank.worlds.supply import Intervention, SupplyNetwork

from policyrank.cli.world import WorldSeed, board_of, finish


def rank_supply(
    *,
    nodes: Annotated[Path, Parameter(group=MODEL)],
    edges: Annotated[Path, Parameter(group=MODEL)],
    interventions: Annotated[Path, Parameter(group=MODEL)],
    shock: Annotated[Names, Parameter(group=MODEL)] = None,
    failed: Annotated[Names, Parameter(group=MODEL)] = None,
    temperature: Annotated[float, Parameter(group=MODEL)] = 1.0,
    convention: Annotated[Literal["stable", "paper"], Parameter(group=MODEL)] = "stable",
    by: Annotated[
        Literal[
            "mean stress",
            "tail",
            "ground energy",
            "free energy",
            "ground stress",
            "first order",
            "first order at T",
            "second order",
        ],
        Parameter(group=METHOD),
    ] = "mean stress",
    at_least: Annotated[AtLeastOne | None, Parameter(group=METHOD)] = None,
    spread: Annotated[NotNegative, Parameter(group=UNSURE)] = 0.2,
    runs: Annotated[AtLeastTwo, Parameter(group=UNSURE)] = 100,
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank interventions on a supply network.

    By the stress that they take away, exactly, over the uncertainty of its weights.

    Example:

      policyrank world supply --nodes nodes.csv --edges edges.csv --interventions plans.toml

    Parameters
    ----------
    nodes
        CSV with node and h, the strength with which it prefers stable.
    edges
        CSV with source, target and J.
    interventions
        TOML: [name] with z, zz, x (node = strength) and cost.
    shock
        NODE=STRENGTH of a transverse field; repeatable.
    failed
        Node that is known to be stressed; repeatable.
    temperature
        T of the Boltzmann distribution.
    convention
        stable: nodes at rest prefer stable; paper: the printed sign.
    by
        What is taken away.
    at_least
        Of tail: how many stressed nodes are a catastrophe (half of them).
    spread
        Relative uncertainty of every weight.
    runs
        Draws of the weights.
    """
    check_table(out)
    shocks: Mapping[Any, float] = numbers(shock, "--shock")
    from policyrank.evidence.base import named_once
    from policyrank.worlds import supply as s

    network = s.SupplyNetwork.of(
        named_once(_weights(nodes, ("node", "h")), f"{nodes}: node"),
        _weights(edges, ("source", "target", "J")),
        shocks,
        convention=convention,
    )
    if failed:
        network = network.given(dict.fromkeys(failed, 1))
    plans = [s.Intervention("no intervention"), *_interventions(interventions)]
    options: dict[str, Any] = {"temperature": temperature}
    if by == "tail":
        options["at_least"] = at_least
    with working("Solving …") as update:
        _tell_stress(network, temperature)
        scores = s.evidence(
            {"network": network},
            plans,
            by,
            spread=spread,
            runs=runs,
            seed=seed,
            report=update,
            **options,
        )
        board = board_of(scores)
    title = f"Interventions by {by}"
    finish(scores, board, title, out=out, written=written, printed=printed)


def _tell_stress(network: SupplyNetwork, temperature: float) -> None:
    """How stressed the network is, and how much of the tail its links make."""
    from policyrank.worlds.supply import independent

    stress = network.stress(temperature)
    half = (len(network) + 1) // 2
    tail = network.failures(temperature)[half:].sum()
    alone = independent(stress)[half:].sum()
    say(
        f"{len(network)} nodes, width {network.width}: {stress.mean():.1%} stressed on average;"
        f" P(at least {half} stressed) {tail:.3g}, {alone:.3g} if nodes were independent"
    )


def _weights(path: Path, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Names, and a number in the last column."""
    from policyrank.evidence.plain_tables import read_columns

    return read_columns(path, texts=columns[:-1], numbers=columns[-1:]).rows()


def _interventions(path: Path) -> list[Intervention]:
    from policyrank.evidence.settings_files import read_settings, refuse_others, table_in
    from policyrank.worlds.supply import Intervention

    found = []
    for name, parts in read_settings(path).items():
        where = f"{path}: [{name!r}]"
        refuse_others(table_in(parts, where), ("z", "zz", "x", "cost"), where)
        z = _strengths(parts.get("z", {}), f"{where} z")
        x = _strengths(parts.get("x", {}), f"{where} x")
        zz: dict[tuple[Hashable, Hashable], float] = {}
        for text, strength in _strengths(parts.get("zz", {}), f"{where} zz").items():
            first, space, second = str(text).partition(" ")
            if not space:
                raise EvidenceError(f"{where} zz has {text!r}: write 'node node' = strength.")
            zz[first, second] = strength
        cost = _strengths({"cost": parts.get("cost", 0.0)}, where)["cost"]
        found.append(Intervention(name, z, zz, x, cost))
    return found


def _strengths(given: object, where: str) -> dict[Hashable, float]:
    """A table of numbers."""
    from policyrank.evidence.settings_files import table_in

    found: dict[Hashable, float] = {}
    for name, value in table_in(given, where).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
            raise EvidenceError(f"{where}: {name} is {value!r}, and strengths are numbers.")
        found[name] = float(value)
    return found
