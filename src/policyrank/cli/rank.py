"""``policyrank rank``: from a results file to a leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    METHOD,
    UNSURE,
    FileName,
    Flag,
    Level,
    Names,
    Printed,
    Reading,
    Seed,
    Whole,
    Written,
    number,
    numbers,
    split,
    title_of,
)
from policyrank.cli.output import print_board, working, write_board
from policyrank.errors import EvidenceError, PolicyrankError

if TYPE_CHECKING:
    from policyrank.board import Leaderboard, MethodComparison
    from policyrank.evidence import Evidence

AHEAD = ("policyrank.ranking.choose", "policyrank.ranking.bradley_terry_fit", "rich.table")
"""What nearly every board needs."""

KEEPS = {"bradley-terry-by-task": "task", "elo": "time"}
"""Method -> the optional column that it needs."""


def rank_file(
    *files: FileName,
    method: Annotated[str, Parameter(group=METHOD, alias="-m")] = "auto",
    scale: Annotated[Literal["elo", "natural"] | None, Parameter(group=METHOD)] = None,
    prior: Annotated[str | None, Parameter(group=METHOD)] = None,
    anchor: Annotated[Names, Parameter(group=METHOD)] = None,
    order_effect: Annotated[Flag, Parameter(group=METHOD)] = False,
    option: Annotated[Names, Parameter(group=METHOD, alias="-o")] = None,
    interval: Annotated[str | None, Parameter(group=UNSURE)] = None,
    cluster: Annotated[
        Literal["auto", "ballot", "rater", "task", "none"] | None, Parameter(group=UNSURE)
    ] = None,
    level: Level = 0.95,
    marginal: Annotated[Flag, Parameter(group=UNSURE)] = False,
    resamples: Annotated[Whole | None, Parameter(group=UNSURE, validator=Number(gte=20))] = None,
    seed: Seed = 0,
    written: Written = Written(),
    printed: Printed = Printed(),
    reading: Reading = Reading(),
) -> None:
    """Rank the policies in FILE, and say how sure that is.

    Intervals, rank sets, and what to know before quoting the board. Columns are found by their
    usual names (model_a, model_b, winner; policy, task, score; ballot, policy, rank; wide tables)
    or named by options.

    Examples:

      policyrank rank battles.parquet --html board.html

      policyrank rank scores.csv --method kemeny

      policyrank rank runs/*.json

      policyrank rank votes.csv --cluster rater --json | jq .may_be_best

    Parameters
    ----------
    method
        auto, or a name that `policyrank methods` lists.
    scale
        elo or natural (log-odds).
    prior
        auto, none, or the sd of a Gaussian prior in log-odds.
    anchor
        NAME=RATING: fix a rating; repeatable.
    order_effect
        Fit the advantage of being listed first.
    option
        NAME=VALUE: any other option of the method; repeatable.
    interval
        auto, sandwich, fisher, bootstrap, none (as the method has them).
    cluster
        ballot, rater or task: comparisons of one are not independent; none: all are; auto: as the
        evidence knows.
    marginal
        Rank sets that hold for each policy alone, not for all at once.
    resamples
        Bootstrap resamples.
    """
    options: dict[str, Any] = {
        "seed": seed or None,
        "interval": interval,
        "cluster": cluster,
        "resamples": resamples,
        "scale": scale,
        "order_effect": order_effect or None,
        "anchors": numbers(anchor, "--anchor") or None,
        "level": None if level == 0.95 else level,
        "simultaneous": False if marginal else None,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if prior is not None:
        options["prior"] = _prior(prior)
    options |= _others(option)
    keep = {"ballot", "rater"}
    if cluster == "none":
        keep = set()
    keep |= {name for name in (cluster, KEEPS.get(method)) if name not in (None, "auto", "none")}
    with working(f"Reading {title_of(files)} …") as update:
        evidence = reading.evidence(files, keep=keep, ahead=AHEAD)
        update(f"Ranking {len(evidence.policies)} policies …")
        if method == "kemeny":
            options["report"] = update
        board = _ranked(evidence, method, options, others_given=bool(option))
        if written.html is not None:
            update("Comparing with other methods …")
        title = "Leaderboard" if files == ("-",) else title_of(files)
        _write(board, evidence, written, title)
    print_board(board, printed)


def _ranked(
    evidence: Evidence, method: str, options: dict[str, Any], *, others_given: bool
) -> Leaderboard:
    from policyrank.ranking import rank

    try:
        return rank(evidence, method=method, **options)
    except PolicyrankError:
        raise
    except (TypeError, ValueError) as error:
        if not others_given:
            raise
        raise EvidenceError(
            f"{method}: an --option has a value that it cannot use ({error})."
        ) from None


def _write(board: Leaderboard, evidence: Evidence, written: Written, title: str) -> None:
    compared: MethodComparison | None = None
    if written.html is not None:
        from policyrank.ranking import compare

        compared = compare(evidence, first=board.method)
    write_board(board, written, title=title, evidence=evidence, compared=compared)


def _prior(text: str) -> float | str | None:
    if text in ("auto", "none"):
        return {"auto": "auto", "none": None}[text]
    return number(text, "--prior")


def _others(option: Names) -> dict[str, Any]:
    """NAME=VALUE of the method's further options, values as numbers or words."""
    found = {}
    for text in option or []:
        name, value = split(text, "--option")
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
