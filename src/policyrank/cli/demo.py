"""``policyrank demo``: the main job on published results that come with the package, or on a world
that is simulated on the spot.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError


def demo(
    what: Annotated[
        str, typer.Argument(help="atari: rank published scores; inventory: simulate and rank.")
    ] = "atari",
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the page, the plot and the table.")
    ] = Path("demo"),
) -> None:
    """Rank eight agents by their published scores on 57 Atari games, or eight inventory controllers
    on 20 scenarios; needs no network.
    """
    shows = {"atari": _atari, "inventory": _inventory}
    if what not in shows:
        raise EvidenceError(f"demo {what}: there are {', '.join(shows)}.")
    folder.mkdir(parents=True, exist_ok=True)
    shows[what](folder)


def _inventory(folder: Path) -> None:
    from policyrank.board import terminal
    from policyrank.cli.world import ranked_live
    from policyrank.worlds import inventory as inv

    chosen = (
        "newsvendor",
        "newsvendor-I",
        "(s, S)",
        "(s, S)-I",
        "smoothing",
        "echelon",
        "echelon-I",
    )
    controllers = {name: inv.HEURISTICS[name] for name in chosen} | {"DLP-I": inv.PLANS["DLP-I"]}
    scenarios = inv.core_grid()
    title = f"Eight inventory controllers on {len(scenarios)} scenarios"
    print(
        f"{title}, 20 episodes each with the same customers (Barati and Hu 2026, arXiv 2605.11355);"
        " -I: knows the mean demand\n"
    )
    scores, board = ranked_live(inv.growing_evidence(scenarios, controllers, range(20)), title)
    print(terminal.text(board, colour=sys.stdout.isatty()))
    page, plot, table = (
        folder / "inventory.html",
        folder / "inventory.png",
        folder / "inventory.csv",
    )
    scores.write(table)
    board.to_html(page, evidence=scores, title=title, command="policyrank demo inventory")
    board.plot(plot, title=title)
    print(
        f"\n1.0 is the profit of an oracle that knows all customers in advance.\nwrote {page},"
        f" {plot}, {table}"
    )
    print(
        "try    policyrank world inventory --network serial --controller MSSP-I --controller"
        " echelon-I --episodes 10"
    )


def _atari(folder: Path) -> None:
    from policyrank.board import comparison_text, terminal
    from policyrank.evidence import datasets
    from policyrank.ranking import compare as compare_methods, rank as rank_evidence

    scores = datasets.atari()
    scores.write(folder / "atari.csv")
    colour = sys.stdout.isatty()
    title = "Eight agents on 57 Atari games"
    print(f"{title} (scores published by Badia et al. 2020, arXiv 2003.13350)\n")
    with c.working("Ranking …"):
        board = rank_evidence(scores)
        compared = compare_methods(scores)
    print(terminal.text(board, colour=colour))
    print("\nThe same scores by every method that applies: the mean score tells another story.\n")
    print(comparison_text(compared, colour=colour))
    page, plot = folder / "atari.html", folder / "atari.png"
    board.to_html(
        page,
        evidence=scores,
        compared=compared,
        title=title,
        command=f"policyrank rank {folder / 'atari.csv'} --html {page}",
    )
    board.plot(plot, title=title)
    print(f"\nwrote {page} (the whole story on one page), {plot}, {folder / 'atari.csv'}")
    print(f"try    policyrank rank {folder / 'atari.csv'} --method kemeny")
