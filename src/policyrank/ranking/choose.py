"""Which method for which evidence: the default and why, and all applicable methods side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from policyrank.board.comparison import MethodComparison
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError, OptionError, refuse_unknown_options
from policyrank.evidence import Comparisons, Evidence, Rankings, Scores, read
from policyrank.metrics import kendall_tau
from policyrank.ranking.games import win_rates
from policyrank.ranking.methods import METHODS

_SLOW_BEYOND = 60


def default_method(evidence: Evidence) -> tuple[str, str]:
    """The method that suits the evidence, and the reason in a sentence.

    Examples
    --------
    >>> default_method(Comparisons.of(["x"], ["y"], [1]))[0]
    'bradley-terry'
    """
    if isinstance(evidence, Comparisons):
        return (
            "bradley-terry",
            (
                "Bradley-Terry: the comparisons are pairwise, and it corrects for whom each policy"
                " met."
            ),
        )
    if isinstance(evidence, Rankings):
        if evidence.is_complete:
            return (
                "borda",
                (
                    "Borda: every ballot ranks every policy, so mean places are fair, and their"
                    " intervals are exact."
                ),
            )
        return (
            "plackett-luce",
            (
                "Plackett-Luce: ballots rank different policies, so it corrects for whom each"
                " policy met."
            ),
        )
    if len(evidence.columns) == 1:
        return "mean", "Mean score: there is one task, so scores share a scale."
    if np.isnan(evidence.table()).any():
        return (
            "plackett-luce",
            (
                "Plackett-Luce over tasks: some scores are missing, so means would be over"
                " different tasks."
            ),
        )
    return (
        "borda",
        (
            "Borda over tasks (each task a voter): tasks have their own scales, and means would let"
            " the widest decide."
        ),
    )


def rank(evidence: Any, *, method: str = "auto", **options: Any) -> Leaderboard:
    """Rank policies from any evidence.

    Parameters
    ----------
    evidence
        Comparisons, Scores or Rankings, or anything that ``policyrank.read`` reads (a path, a
        frame)
    method
        a name in ``METHODS``; ``"auto"`` picks one, and the board's notes say which and why
    options
        of the method; ``level``, ``seed``, ``interval`` and ``simultaneous`` are common to nearly
        all

    Returns
    -------
    Leaderboard

    Raises
    ------
    EvidenceError
        For evidence that cannot be read or a method that does not take it.
    OptionError
        For a method or an option that there is not; where the method is named, before the evidence
        is read.

    Examples
    --------
    >>> battles = Comparisons.of(["x", "x", "y", "x"], ["y", "z", "z", "y"], [1, 1, 1, 0])
    >>> rank(battles).policies
    ('x', 'y', 'z')
    """
    if method != "auto":
        _check(method, options)
    if not isinstance(evidence, (Comparisons, Scores, Rankings)):
        evidence = read(evidence)
    name, why = method, None
    if method == "auto":
        name, why = default_method(evidence)
        _check(name, options)
    used, converted = convert(evidence, name)
    board = METHODS[name](used, **options)
    notes = [Note("method", why)] if why else []
    notes += _disagreement(board, used)
    if converted:
        notes.append(Note("conversion", converted))
    return replace(board.with_notes(*notes, first=True), method=name, source=evidence.summary)


def _check(name: str, options: Iterable[str]) -> None:
    """Refuse a method or an option that there is not."""
    if name not in METHODS:
        raise OptionError(f"no method is called {name!r}. There are: {', '.join(METHODS)}.")
    refuse_unknown_options(options, ("method", *METHODS[name].options), of=name)


def _disagreement(board: Leaderboard, evidence: Evidence) -> list[Note]:
    """Whether plain counting (wins by pair, and majorities) would order the policies otherwise."""
    if len(board) < 3 or len(board) > 2000:
        return []
    votes = evidence.to_rankings() if isinstance(evidence, Scores) else evidence
    wins = votes.preferences()
    where = [votes.policies.index(p) for p in board.policies]
    rate = win_rates(wins)[np.ix_(where, where)]
    np.fill_diagonal(rate, 0)
    others = {
        "the mean win rate over opponents": rate.sum(axis=1),
        "majorities (Copeland)": np.sign(rate - rate.T).sum(axis=1),
    }
    notes = []
    for name, rating in others.items():
        tau, first = kendall_tau(board.rating, rating), board.policies[int(np.argmax(rating))]
        if np.isfinite(tau) and (tau < 0.8 or rating[0] < rating.max()):
            ahead = f" and puts {first} first" if rating[0] < rating.max() else ""
            notes.append(
                Note(
                    "method disagreement",
                    f"The order by {name} agrees only to a Kendall's tau of {tau:.2f}{ahead}. See:"
                    " policyrank compare.",
                )
            )
    return notes


def convert(evidence: Evidence, name: str) -> tuple[Evidence, str | None]:
    """Evidence in the form that a method takes, and a sentence about the conversion."""
    takes = METHODS[name].takes
    if isinstance(evidence, takes):
        return evidence, None
    if Rankings in takes:
        if isinstance(evidence, Scores):
            text = "Each task became a ballot that ranks the policies by their score on it."
            return evidence.to_rankings(), text
        if isinstance(evidence, Comparisons) and np.isin(evidence.outcome, (0, 0.5, 1)).all():
            return evidence.to_rankings(), "Each comparison became a ballot over two policies."
    if Comparisons in takes:
        if isinstance(evidence, Scores):
            text = "Each pair of policies on each task became a comparison."
            return evidence.to_comparisons(), text
        if isinstance(evidence, Rankings):
            text = "Each pair of policies on each ballot became a comparison."
            return Comparisons.of_rankings(evidence), text
    wanted = " or ".join(t.__name__ for t in takes)
    raise EvidenceError(
        f"{name} needs {wanted}, and {type(evidence).__name__} cannot be turned into that."
    )


def applicable(evidence: Evidence) -> list[str]:
    """Methods that can rank this evidence, the default first; those that need tasks, times or
    groups only with them.

    Examples
    --------
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> applicable(votes)[:2]
    ['borda', 'bradley-terry']
    """
    first = default_method(evidence)[0]
    names = [first]
    for name, method in METHODS.items():
        if name == first or not method.compare:
            continue
        if not isinstance(evidence, method.takes) and (
            isinstance(evidence, Comparisons) or not {Rankings, Comparisons} & set(method.takes)
        ):
            continue
        if name == "bradley-terry-by-task" and (
            not isinstance(evidence, Comparisons)
            or evidence.task is None
            or len(evidence.task.names) > 200
        ):
            continue
        names.append(name)
    return names


def compare(
    evidence: Any,
    *,
    methods: Iterable[str] | None = None,
    first: str | None = None,
    interval: str = "none",
    **options: Any,
) -> MethodComparison:
    """Rank by several methods side by side.

    Parameters
    ----------
    evidence
        as for ``rank``
    methods
        names; None: all that apply, those that fail are listed in ``failed``
    first
        the method that the others are compared with; None: the default one, or the first of
        ``methods``
    interval
        ``"none"``: ranks only (fast); ``"default"``: each method's own intervals

    Examples
    --------
    >>> battles = Comparisons.of(["x", "x", "y"], ["y", "z", "z"], [1, 1, 1])
    >>> compare(battles, methods=["bradley-terry", "copeland"]).frame.rows()
    [('x', 1, 1), ('y', 2, 2), ('z', 3, 3)]
    """
    if not isinstance(evidence, (Comparisons, Scores, Rankings)):
        evidence = read(evidence)
    boards, failed = [], {}
    names = list(methods) if methods is not None else applicable(evidence)
    if first is not None:
        names = [first, *(n for n in names if n != first)]
    for name in names:
        _check(name, ())
    known = {"methods", "first", "interval"}.union(*(METHODS[name].options for name in names))
    refuse_unknown_options(options, sorted(known), of="compare")
    for name in names:
        extra: dict[str, Any] = (
            {} if interval == "default" or not METHODS[name].has_interval else {"interval": "none"}
        )
        if name == "kemeny" and len(evidence.policies) > _SLOW_BEYOND:
            extra["solver"] = "local"
        try:
            boards.append(rank(evidence, method=name, **extra, **options))
        except (EvidenceError, OptionError) as error:
            if methods is not None:
                raise
            failed[name] = str(error)
    if not boards:
        raise EvidenceError(
            "no method applies: " + "; ".join(f"{k}: {v}" for k, v in failed.items())
        )
    policies = boards[0].policies
    where = [[b.position(p) for p in policies] for b in boards]
    ranks = np.column_stack([b.rank[w] for b, w in zip(boards, where, strict=True)])
    ratings = [b.rating[w] for b, w in zip(boards, where, strict=True)]
    agreement = np.array([[kendall_tau(x, y) for y in ratings] for x in ratings])
    return MethodComparison(tuple(boards), policies, ranks, agreement, failed)
