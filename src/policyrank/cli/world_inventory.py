"""``policyrank world inventory``: controllers of inventory, ranked."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    MODEL,
    AtLeastOne,
    AtLeastTwo,
    Flag,
    Names,
    NotNegative,
    Printed,
    Scores,
    Written,
    check_table,
)
from policyrank.cli.output import say, working
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policyrank.worlds.inventory import Network

from policyrank.cli.world import WorldSeed, board_of, finish

UNMET = {"backlog": [True], "lost": [False], "both": [True, False]}
GOODWILL = {"no": [False], "yes": [True], "both": [False, True]}


def rank_inventory(
    *,
    network: Annotated[Names, Parameter(group=MODEL)] = None,
    regime: Annotated[Names, Parameter(group=MODEL)] = None,
    unmet: Annotated[Literal["backlog", "lost", "both"], Parameter(group=MODEL)] = "both",
    goodwill: Annotated[Literal["no", "yes", "both"], Parameter(group=MODEL)] = "no",
    series: Annotated[Path | None, Parameter(group=MODEL)] = None,
    noise: Annotated[NotNegative, Parameter(group=MODEL)] = 1.0,
    periods: Annotated[AtLeastOne, Parameter(group=MODEL)] = 30,
    core_grid: Annotated[Flag, Parameter(group=MODEL)] = False,
    controller: Annotated[Names, Parameter(group=METHOD)] = None,
    episodes: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 100,
    kpi: Annotated[str, Parameter(group=METHOD)] = "share of the oracle's profit",
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank inventory controllers over scenarios.

    Examples:

      policyrank world inventory --network serial --regime trend+seasonal --html inventory.html

      policyrank world inventory --core-grid --controller newsvendor --episodes 20

    Parameters
    ----------
    network
        base, serial, divergent, or a TOML file of your own (see the docs); repeatable.
    regime
        Demand: stationary, trend, seasonal, shock, trend+seasonal, trend+seasonal+shock;
        repeatable.
    unmet
        What becomes of unmet demand.
    goodwill
        Whether demand follows service.
    series
        CSV file with your demand, a row a period, instead of the mean of 20.
    noise
        Factor of the Poisson noise; 0: none.
    periods
        Length of an episode.
    core_grid
        The published scenarios instead: 2 networks, 20 scenarios, with --series 22.
    controller
        A heuristic or plan (see the docs), or a file of `policyrank train controller`; repeatable.
        Default: all heuristics.
    episodes
        Of each scenario; the same customers for every controller.
    kpi
        What counts: 'share of the oracle's profit', profit, fill rate, service level, bullwhip,
        inventory, unmet.
    """
    check_table(out)
    own = series_of(series)
    from policyrank.evidence.base import named_once
    from policyrank.worlds import inventory as inv

    if core_grid:
        _refuse_demand(
            regime=bool(regime),
            unmet=unmet != "both",
            goodwill=goodwill != "no",
            noise=noise != 1,
            periods=periods != 30,
        )
        strange = set(network or []) - set(inv.NETWORKS)
        if strange:
            raise EvidenceError(f"--core-grid has the networks {', '.join(inv.NETWORKS)}.")
        scenarios = inv.core_grid(own, network or ("base", "serial"))
    else:
        demand: dict[str, Any] = {"noise": noise}
        if own is not None:
            demand["series"] = own
        networks, regimes = network or ["serial"], regime or ["stationary"]
        made = []
        for where, when, backlog, kind in product(
            networks, regimes, UNMET[unmet], GOODWILL[goodwill]
        ):
            made.append(
                inv.scenario(where, when, backlog=backlog, goodwill=kind, periods=periods, **demand)
            )
        scenarios = named_once(((one.name, one) for one in made), "scenario")
    used = network or (("base", "serial") if core_grid else ("serial",))
    controllers = _controllers(controller, used, next(iter(scenarios.values())).network)
    title = (
        f"{len(controllers)} controllers on {len(scenarios)} scenarios, {episodes} episodes each"
    )
    with working("Simulating …") as update:
        *_, scores = inv.growing_evidence(
            scenarios, controllers, range(seed, seed + episodes), kpi=kpi, report=update
        )
        board = board_of(scores)
    finish(scores, board, title, out=out, written=written, printed=printed)


def _refuse_demand(**told: bool) -> None:
    """Refuse what would be said of demand in vain: the published scenarios have their own."""
    for name, given in told.items():
        if given:
            raise OptionError(f"--core-grid has its own demand: leave out --{name}.")


def _controllers(names: Names, networks: Sequence[str], network: Network) -> dict[str, Any]:
    """Heuristics and plans by name, trained controllers by file."""
    from policyrank.evidence.base import named_once
    from policyrank.worlds import inventory as inv

    known = {**inv.HEURISTICS, **inv.PLANS}
    found: list[tuple[str, Any]] = []
    for name in names or list(inv.HEURISTICS):
        if name in known:
            found.append((name, known[name]))
            continue
        if not Path(name).is_file():
            raise EvidenceError(
                f"--controller {name}: neither a file of `policyrank train controller` nor one of"
                f" {', '.join(known)}."
            )
        if len(networks) != 1:
            raise EvidenceError(
                f"{name}: a trained controller runs on the network it was trained on. Name that one"
                " with --network."
            )
        from policyrank.train.control.inventory import LearnedController

        learned = LearnedController.load(name, network)
        found.append((Path(name).stem, (learned, learned.information)))
    return named_once(found, "controller")


def series_of(path: Path | None) -> tuple[float, ...] | None:
    """Demand, a row a period, of a CSV file, with a heading or without; says from which column."""
    if path is None:
        return None
    from policyrank.evidence.series import read_series

    series, told = read_series(path)
    say(told)
    return series
