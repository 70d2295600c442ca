"""Which method for which evidence: the default and why, and all applicable methods side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_TOO_MANY_TASKS = 200
_DEFAULTS: dict[str, tuple[str, str]] = {
    "comparisons": (
        "bradley-terry",
        "Bradley-Terry: the comparisons are pairwise, and it corrects for whom each policy met.",
    ),
    "approvals": (
        "approval",
        "Approval: no ballot has more than two places, those approved and the others.",
    ),
    "complete ballots": (
        "borda",
        "Borda: every ballot ranks every policy, so mean places are fair.",
    ),
    "different ballots": (
        "plackett-luce",
        "Plackett-Luce: ballots rank different policies, so it corrects for whom each policy met.",
    ),
    "one task": ("mean", "Mean score: there is one task, so scores share a scale."),
    "missing scores": (
        "plackett-luce",
        "Plackett-Luce over tasks: some scores are missing, so means would be over different"
        " tasks.",
    ),
    "several tasks": (
        "borda",
        "Borda over tasks (each task a voter): tasks have their own scales, and means would let"
        " the widest decide.",
    ),
}
"""What there is -> the method that suits it, and why."""


def default_method(evidence: Evidence) -> tuple[str, str]:
    """The method that suits the evidence, and the reason in a sentence.

    Examples
    --------
    >>> default_method(Comparisons.of(["x"], ["y"], [1]))[0]
    'bradley-terry'
    """
    return _DEFAULTS[_situation(evidence)]


def _situation(evidence: Evidence) -> str:
    if isinstance(evidence, Comparisons):
        return "comparisons"
    if isinstance(evidence, Rankings):
        if evidence.is_approval:
            return "approvals"
        if evidence.is_complete:
            return "complete ballots"
        return "different ballots"
    if len(evidence.columns) == 1:
        return "one task"
    if np.isnan(evidence.table()).any():
        return "missing scores"
    return "several tasks"


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
    notes = _disagreement(board, used)
    if why:
        notes.insert(0, Note("method", why))
    if converted:
        notes.append(Note("conversion", converted))
    board = replace(board, notes=_with_reading_first(board.notes, notes))
    return replace(board, method=name, source=evidence.summary)


def _with_reading_first(own: Sequence[Note], more: Sequence[Note]) -> tuple[Note, ...]:
    """What the input was read as comes first, then why this method."""
    read = [note for note in own[:1] if note.kind == "input"]
    return (*read, *more, *own[len(read) :])


def _check(name: str, options: Iterable[str]) -> None:
    """Refuse a method or an option that there is not."""
    if name not in METHODS:
        raise OptionError(f"no method is called {name!r}. There are: {', '.join(METHODS)}.")
    refuse_unknown_options(options, ("method", *METHODS[name].options), of=name)


def _disagreement(board: Leaderboard, evidence: Evidence) -> list[Note]:
    """Whether plain counting (wins by pair, and majorities) would order the policies otherwise."""
    if len(board) < 3 or len(board) > 2000:
        return []
    if isinstance(evidence, Scores):
        evidence = evidence.to_rankings()
    where = [evidence.policies.index(policy) for policy in board.policies]
    rate = win_rates(evidence.preferences())[np.ix_(where, where)]
    np.fill_diagonal(rate, 0)
    others = {
        "the mean win rate over opponents": rate.sum(axis=1),
        "majorities (Copeland)": np.sign(rate - rate.T).sum(axis=1),
    }
    notes = []
    for name, rating in others.items():
        tau = kendall_tau(board.rating, rating)
        same_first = rating[0] == rating.max()
        if not np.isfinite(tau) or (tau >= 0.8 and same_first):
            continue
        ahead = ""
        if not same_first:
            ahead = f" and puts {board.policies[int(np.argmax(rating))]} first"
        text = (
            f"The order by {name} agrees only to a Kendall's tau of {tau:.2f}{ahead}. See:"
            " policyrank compare."
        )
        notes.append(Note("method disagreement", text))
    return notes


def convert(evidence: Evidence, name: str) -> tuple[Evidence, str | None]:
    """Evidence in the form that a method takes, and a sentence about the conversion.

    Raises
    ------
    EvidenceError
        When no conversion keeps its meaning.

    Examples
    --------
    >>> votes = Rankings.of([["x", "y"], ["x", "y"], ["y", "x"]])
    >>> used, text = convert(votes, "elo")
    >>> len(used), text
    (3, 'Each pair of policies on each ballot became a comparison.')
    """
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
    wanted = " or ".join(form.__name__ for form in takes)
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
    names = [default_method(evidence)[0]]
    for name, method in METHODS.items():
        if name not in names and method.compare and _applies(name, evidence):
            names.append(name)
    return names


def _applies(name: str, evidence: Evidence) -> bool:
    if name == "bradley-terry-by-task":
        if not isinstance(evidence, Comparisons) or evidence.task is None:
            return False
        return len(evidence.task.names) <= _TOO_MANY_TASKS
    takes = METHODS[name].takes
    if isinstance(evidence, takes):
        return True
    # Scores and rankings convert into what compares policies; comparisons only now and then.
    return not isinstance(evidence, Comparisons) and (Rankings in takes or Comparisons in takes)


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
    names = _compared(evidence, methods, first)
    known = {"methods", "first", "interval"}
    for name in names:
        _check(name, ())
        known.update(METHODS[name].options)
    refuse_unknown_options(options, sorted(known), of="compare")
    boards, failed = [], {}
    for name in names:
        own = _own_options(name, interval, len(evidence.policies))
        try:
            boards.append(rank(evidence, method=name, **own, **options))
        except (EvidenceError, OptionError) as error:
            if methods is not None:
                raise
            failed[name] = str(error)
        except MemoryError:
            failed[name] = f"not enough memory for {len(evidence):,} results"
    if not boards:
        reasons = [f"{name}: {reason}" for name, reason in failed.items()]
        raise EvidenceError("no method applies: " + "; ".join(reasons))
    return _side_by_side(boards, failed)


def _compared(evidence: Evidence, methods: Iterable[str] | None, first: str | None) -> list[str]:
    """Names of the methods to compare, ``first`` at the front."""
    if methods is None:
        methods = applicable(evidence)
    names = list(methods)
    if first is None:
        return names
    return [first, *(name for name in names if name != first)]


def _own_options(name: str, interval: str, policies: int) -> dict[str, Any]:
    """What a method is told when it is one of many."""
    own: dict[str, Any] = {}
    if interval != "default" and METHODS[name].has_interval:
        own["interval"] = "none"
    if name == "kemeny" and policies > _SLOW_BEYOND:
        own["solver"] = "local"
    return own


def _side_by_side(boards: list[Leaderboard], failed: dict[str, str]) -> MethodComparison:
    policies = boards[0].policies
    ranks, ratings = [], []
    for board in boards:
        where = [board.position(policy) for policy in policies]
        ranks.append(board.rank[where])
        ratings.append(board.rating[where])
    agreement = np.empty((len(boards), len(boards)))
    for one, other in np.ndindex(agreement.shape):
        agreement[one, other] = kendall_tau(ratings[one], ratings[other])
    return MethodComparison(tuple(boards), policies, np.column_stack(ranks), agreement, failed)
