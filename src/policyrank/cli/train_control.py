"""``policyrank train controller``: controllers of the inventory world."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.cli.train import train
from policyrank.cli.world import MODEL, Seed, series_of
from policyrank.evidence import EvidenceError


@train.command("controller")
def controller(
    out: Annotated[Path, typer.Option(help="File of the trained controller.", rich_help_panel=c.OUT)] = Path("controller.pt"),
    network: Annotated[str, typer.Option(help="base, serial or divergent.", rich_help_panel=MODEL)] = "serial",
    regime: Annotated[list[str] | None, typer.Option(help="Demand to train on; repeatable: a generalist.", rich_help_panel=MODEL)] = None,
    lost: Annotated[bool, typer.Option("--lost-sales", help="Unmet demand is lost instead of waiting.", rich_help_panel=MODEL)] = False,
    goodwill: Annotated[bool, typer.Option("--goodwill", help="Demand follows service.", rich_help_panel=MODEL)] = False,
    series: Annotated[Path | None, typer.Option(help="CSV file with your demand, a row a period.", rich_help_panel=MODEL)] = None,
    architecture: Annotated[str, typer.Option(help="mlp, transformer or graph.", rich_help_panel=c.METHOD)] = "transformer",
    base: Annotated[str | None, typer.Option(help="Heuristic to correct, instead of ordering alone.", rich_help_panel=c.METHOD)] = None,
    imitate: Annotated[str | None, typer.Option(help="Plan or heuristic to imitate (DAgger), instead of PPO.", rich_help_panel=c.METHOD)] = None,
    steps: Annotated[int, typer.Option(help="Of PPO, periods over all episodes.", min=1, rich_help_panel=c.METHOD)] = 200_000,
    rounds: Annotated[int, typer.Option(help="Of DAgger; 1: behaviour cloning.", min=1, rich_help_panel=c.METHOD)] = 4,
    episodes: Annotated[int, typer.Option(help="On which it is evaluated at the end.", min=2, rich_help_panel=c.METHOD)] = 100,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Train a controller by PPO or imitation, and rank it against the heuristics on episodes that it has not seen.

    Examples:

      policyrank train controller --network serial --regime stationary --out mine.pt

      policyrank world inventory --network serial --controller mine.pt --controller echelon-I
    """
    from policyrank.cli.rank import emit
    from policyrank.cli.world import board_of
    from policyrank.train import control
    from policyrank.worlds import inventory as inv

    c.check_writable(out)
    if base is not None and imitate is not None:
        raise EvidenceError("--base and --imitate are two ways to learn: choose one.")
    own = series_of(series)
    demand: dict[str, Any] = {} if own is None else {"series": own}
    made = [inv.scenario(network, r, backlog=not lost, goodwill=goodwill, **demand) for r in regime or ["stationary"]]  # fmt: skip
    with c.working("Training …") as update:
        if imitate is not None:
            learned = control.imitate(made, imitate, architecture=architecture, rounds=rounds, seed=seed, report=update)  # type: ignore[arg-type]
        else:
            learned = control.ppo(made, architecture=architecture, base=base, steps=steps, seed=seed, report=update)  # type: ignore[arg-type]
        learned.save(out)
        name = re.sub(r"\.pt$", "", out.name)
        # Training seeds are drawn over 2^62 numbers: these do not occur among them.
        scores = inv.evidence({s.name: s for s in made}, {**inv.HEURISTICS, name: (learned, learned.information)}, range(episodes), report=update)  # fmt: skip
    emit(board_of(scores), json=False, csv=False, markdown=False, top=None)
    c.written(out)
