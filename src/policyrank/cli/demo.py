"""``policyrank demo``: the main job on published results that come with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the page, the plot and the table.")] = Path("demo"),
) -> None:
    """Rank eight agents by their published scores on 57 Atari games; needs no network."""
    from policyrank.evidence import datasets
    from policyrank.rank import compare as compare_methods
    from policyrank.rank import rank as rank_evidence
    from policyrank.report import comparison_text, terminal

    scores = datasets.atari()
    folder.mkdir(parents=True, exist_ok=True)
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
