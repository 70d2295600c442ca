"""``policyrank world matching``: rules of online matching, ranked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    MODEL,
    AtLeastTwo,
    Names,
    Printed,
    Scores,
    Written,
    check_table,
    whole,
)
from policyrank.cli.output import say, working
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    import polars as pl

    from policyrank import evidence
    from policyrank.worlds.matching import Matching

from policyrank.cli.world import WorldSeed, board_of, finish


def rank_matching(
    *instances: Path,
    triangle: Annotated[list[int] | None, Parameter(group=MODEL, converter=whole)] = None,
    random: Annotated[Names, Parameter(group=MODEL)] = None,
    rule: Annotated[Names, Parameter(group=METHOD)] = None,
    bound: Annotated[
        Literal["stochastic configuration", "matching", "optimum", "none"],
        Parameter(group=METHOD),
    ] = "stochastic configuration",
    runs: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 500,
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank rules that match arrivals when a match may fail.

    Examples:

      policyrank world matching --triangle 20 --random 300x1500

      policyrank world matching ads.csv --rule balance --rule greedy

    Parameters
    ----------
    instances
        CSV with offline, arrival (in order), chance and perhaps weight of the offline vertex.
    triangle
        Thick triangle of so many types, 50 arrivals each; repeatable.
    random
        OFFLINExARRIVALS: random graph of degree 4; repeatable.
    rule
        balance, least load, ranking, greedy, random, last; repeatable. Default: all.
    bound
        What values are divided by; optimum: for few vertices only.
    runs
        Simulated runs, the same fortune for every rule.
    """
    check_table(out)
    from policyrank.worlds import matching as m

    given = {str(path): _instance(path) for path in instances}
    for types in triangle or []:
        given[f"triangle {types}"] = m.upper_triangular(types)
    for text in random or []:
        offline, arrivals = _sizes(text)
        given[f"random {text}"] = m.random_bipartite(offline, arrivals, degree=4, seed=seed)
    if not given:
        given["triangle 20"] = m.upper_triangular(20)
    title = "Online matching, value"
    with working("Simulating …") as update:
        scores = m.evidence(given, rule or tuple(m.RULES), runs=runs, seed=seed)
        if bound != "none":
            title = f"Online matching, share of the {bound} bound"
            most = {}
            for name, instance in given.items():
                update(f"Bounding {name} …")
                most[name] = m.bound(instance, bound)
                say(f"{name}: no rule can reach more than {most[name]:.6g} ({bound})")
            scores = _shares(scores, most)
        board = board_of(scores)
    finish(scores, board, title, out=out, written=written, printed=printed)


def _sizes(text: str) -> tuple[int, int]:
    offline, _, arrivals = text.partition("x")
    for size in (offline, arrivals):
        if not size.isdigit() or int(size) == 0:
            raise EvidenceError(f"--random {text}: write OFFLINExARRIVALS, such as 300x1500.")
    return int(offline), int(arrivals)


def _shares(scores: evidence.Scores, most: dict[str, float]) -> evidence.Scores:
    """Values as shares of what each task's bound allows."""
    import polars as pl

    from policyrank.evidence import Scores

    bound = pl.col("task").replace_strict(most, return_dtype=pl.Float64)
    frame = scores.to_frame().with_columns(pl.col("score") / bound)
    return Scores.of(
        frame["policy"], frame["task"], frame["score"].to_numpy(), replicate=frame["replicate"]
    )


def _instance(path: Path) -> Matching:
    import numpy as np

    from policyrank.evidence.plain_tables import read_columns
    from policyrank.evidence.remarks import naming
    from policyrank.worlds.matching import Matching

    frame = read_columns(
        path,
        texts=("offline", "arrival"),
        numbers=("chance", "weight"),
        perhaps=("weight",),
    )
    offline = frame["offline"].unique(maintain_order=True).to_list()
    arrivals = frame["arrival"].unique(maintain_order=True).to_list()
    _refuse_twins(frame, path)
    row = [offline.index(name) for name in frame["offline"]]
    column = [arrivals.index(name) for name in frame["arrival"]]
    chance = np.zeros((len(offline), len(arrivals)))
    chance[row, column] = frame["chance"].to_numpy()
    weights = None
    if "weight" in frame.columns:
        weights = np.ones(len(offline))
        weights[row] = frame["weight"].to_numpy()
    with naming(str(path)):
        return Matching.of(chance, weights)


def _refuse_twins(frame: pl.DataFrame, path: Path) -> None:
    """Refuse a pair with two chances, and an offline vertex with two weights."""
    twice = frame.filter(frame.select("offline", "arrival").is_duplicated())
    if len(twice):
        first, second = twice.row(0, named=True)["offline"], twice.row(0, named=True)["arrival"]
        raise EvidenceError(f"{path}: the pair of {first!r} and {second!r} is there twice.")
    if "weight" in frame.columns:
        weights = frame.select("offline", "weight").unique(maintain_order=True)
        several = weights.filter(weights["offline"].is_duplicated())
        if len(several):
            name = several["offline"][0]
            raise EvidenceError(f"{path}: {name!r} has two weights. Give it one, in all its rows.")
