"""``policyrank demo``: the main job on published results, or on a world simulated on the spot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.output import show, working

CONTROLLERS = (
    "newsvendor",
    "newsvendor-I",
    "(s, S)",
    "(s, S)-I",
    "smoothing",
    "echelon",
    "echelon-I",
)


def show_demo(
    what: Literal["atari", "inventory"] = "atari",
    /,
    *,
    folder: Annotated[Path, Parameter(name="--out")] = Path("demo"),
) -> None:
    """Rank published or simulated results on the spot.

    Eight agents by their published scores on 57 Atari games, or eight inventory controllers on 20
    scenarios; needs no network.

    Parameters
    ----------
    what
        atari: rank published scores; inventory: simulate and rank.
    folder
        Folder for the page, the plot and the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if what == "atari":
        _atari(folder)
    else:
        _inventory(folder)


def _inventory(folder: Path) -> None:
    from policyrank.board import text
    from policyrank.cli.world import ranked_live
    from policyrank.worlds import inventory as inv

    controllers = {name: inv.HEURISTICS[name] for name in CONTROLLERS}
    controllers["DLP-I"] = inv.PLANS["DLP-I"]
    scenarios = inv.core_grid()
    title = f"Eight inventory controllers on {len(scenarios)} scenarios"
    show(
        f"{title}, 20 episodes each with the same customers (Barati and Hu 2026, arXiv 2605.11355);"
        " -I: knows the mean demand\n"
    )
    scores, board = ranked_live(inv.growing_evidence(scenarios, controllers, range(20)), title)
    show(text(board, colour=sys.stdout.isatty()))
    page, plot, table = (folder / f"inventory.{kind}" for kind in ("html", "png", "csv"))
    scores.write(table)
    board.to_html(page, evidence=scores, title=title, command="policyrank demo inventory")
    board.plot(plot, title=title)
    show("\n1.0 is the profit of an oracle that knows all customers in advance.")
    show(f"wrote {page}, {plot}, {table}")
    show(
        "try    policyrank world inventory --network serial --controller MSSP-I --controller"
        " echelon-I --episodes 10"
    )


def _atari(folder: Path) -> None:
    from policyrank.board import comparison_text, text
    from policyrank.evidence import datasets
    from policyrank.ranking import compare, rank

    scores = datasets.atari()
    page, plot, table = (folder / f"atari.{kind}" for kind in ("html", "png", "csv"))
    scores.write(table)
    colour = sys.stdout.isatty()
    title = "Eight agents on 57 Atari games"
    show(f"{title} (scores published by Badia et al. 2020, arXiv 2003.13350)\n")
    with working("Ranking …"):
        board = rank(scores)
        compared = compare(scores)
    show(text(board, colour=colour))
    show("\nThe same scores by every method that applies: the mean score tells another story.\n")
    show(comparison_text(compared, colour=colour))
    command = f"policyrank rank {table} --html {page}"
    board.to_html(page, evidence=scores, compared=compared, title=title, command=command)
    board.plot(plot, title=title)
    show(f"\nwrote {page} (the whole story on one page), {plot}, {table}")
    show(f"try    policyrank rank {table} --method kemeny")
