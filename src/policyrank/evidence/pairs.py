"""The two columns of policies in a table of comparisons, and the form of its outcome."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t, usual_names
from policyrank.evidence.directions import words

Kind = Literal["label", "winner first", "counts", "scores"]


@dataclass(frozen=True)
class Form:
    """How a table says who won.

    Attributes
    ----------
    kind
        one column of labels, names or numbers; the first policy of a row is the winner; counts (or
        flags) of wins, losses and ties; a score of each policy
    column
        of the label
    counts
        outcome -> its column of counts or flags
    scores
        the two columns of scores
    tie
        a column that says whether it was a tie, beside the label
    """

    kind: Kind
    column: str | None = None
    counts: dict[float, str] = field(default_factory=dict)
    scores: tuple[str, str] | None = None
    tie: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it uses."""
        own = [self.column, self.tie, *self.counts.values(), *(self.scores or ())]
        return tuple(column for column in own if column is not None)

    @property
    def is_flags(self) -> bool:
        """Whether the counted columns are flags of one result a row: winner_model_a, ..."""
        return any("winner" in _parts(column) for column in self.counts.values())

    @property
    def title(self) -> str:
        """The outcome, as the first line calls it."""
        if self.kind == "winner first" and self.tie is not None:
            return f"the first policy of a row won, or a tie by {self.tie}"
        if self.kind == "winner first":
            return "the first policy of a row won"
        if self.kind == "scores":
            return f"outcome by {' against '.join(self.scores or ())}"
        named = ", ".join(self.columns)
        return f"outcome from {named}"


def _parts(name: str) -> tuple[str, ...]:
    """Words of a name, with numbers apart from letters: ``player1`` is two."""
    found: list[str] = []
    for word in words(name):
        found += re.findall(r"[^\W\d_]+|\d+", word)
    return tuple(found)


def pairs_in(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of columns that may hold the two policies, the surest first."""
    found = []
    for pair in usual_names.PAIRS:
        first, second = (t.find(columns, (side,)) for side in pair)
        if first is not None and second is not None:
            found.append((first, second))
    sided = _sided(columns)
    for base, sides in sided.items():
        if not base or base & usual_names.SIDED != base or _is_numbered(base, columns):
            continue
        for one, other in usual_names.SIDES:
            if one in sides and other in sides:
                found.append((sides[one], sides[other]))
    return list(dict.fromkeys(found))


def _sided(columns: Sequence[str]) -> dict[frozenset[str], dict[str, str]]:
    """Words of a name without its side -> side -> column."""
    all_sides = {side for pair in usual_names.SIDES for side in pair}
    found: dict[frozenset[str], dict[str, str]] = {}
    for column in columns:
        parts = _parts(column)
        for side in all_sides.intersection(parts):
            rest = frozenset(parts) - {side}
            found.setdefault(rest, {}).setdefault(side, column)
    return found


def _is_numbered(base: frozenset[str], columns: Sequence[str]) -> bool:
    """Whether more than two columns of these words are numbered: model0 to model9 are no pair."""
    alike = 0
    for column in columns:
        parts = _parts(column)
        digits = [part for part in parts if part.isdigit()]
        alike += len(digits) == 1 and frozenset(parts) - {digits[0]} == base
    return alike > 2


def _is_winner_first(first: str, second: str) -> bool:
    ours, theirs = set(_parts(first)), set(_parts(second))
    return any({one} <= ours and {other} <= theirs for one, other in _WINNERS)


_WINNERS = (("winner", "loser"), ("chosen", "rejected"))


def pair_of(columns: Sequence[str], a: str | None, b: str | None, name: str) -> tuple[str, str]:
    """The two columns with the policies: those that the caller named, or those of usual names."""
    if (a is None) != (b is None):
        raise EvidenceError("give both a=... and b=... (--a and --b), or neither.")
    if a is not None and b is not None:
        for column, what in ((a, "the first policy"), (b, "the second policy")):
            t.given(columns, column, (), what, name)
        return a, b
    found = pairs_in(columns)
    if not found:
        raise EvidenceError(
            f"{name}: no pair of columns with the two policies. It has: {t.listing(columns)}. Name"
            " them with a=..., b=... (--a, --b)."
        )
    return found[0]


_TIES = ("both_equal", "is_tie", "tie", "equal", "draw", "is_draw", "ties", "draws")
_WINS = ("wins", "win", "won", "winner", "preferred", "victories", "votes")


def outcome_of(
    columns: Sequence[str], first: str, second: str, given: str | None, name: str
) -> Form:
    """How the table says who won.

    Raises
    ------
    EvidenceError
        When nothing does.
    """
    if given is not None:
        column = t.given(columns, given, (), "the outcome", name)
        _not_a_policy(column, first, second, name)
        return Form("label", column, tie=_tie_beside(columns, column))
    if _is_winner_first(first, second):
        return _winner_first(columns, first, second)
    form = _form(columns, first, second)
    if form is None:
        raise EvidenceError(
            f"{name}: no column with the outcome of {first} against {second}. It has:"
            f" {t.listing(columns)}. Name it with outcome=... (--outcome)."
        )
    return form


def _winner_first(columns: Sequence[str], first: str, second: str) -> Form:
    """The winner stands first, unless a flag or equal points say that it was a tie."""
    rest = [column for column in columns if column not in (first, second)]
    for pair in _WINNERS_POINTS:
        points = [t.find(rest, (side,)) for side in pair]
        if points[0] is not None and points[1] is not None:
            return Form("scores", scores=(points[0], points[1]))
    return Form("winner first", tie=t.find(rest, (*_TIES[:4], "draw", "is_draw", "drawn")))


_WINNERS_POINTS = (
    ("ptsw", "ptsl"),
    ("wpts", "lpts"),
    ("winner_score", "loser_score"),
    ("winner_points", "loser_points"),
    ("wscore", "lscore"),
)


def has_outcome(columns: Sequence[str], first: str, second: str) -> bool:
    """Whether a table says who won."""
    return _is_winner_first(first, second) or _form(columns, first, second) is not None


def _form(columns: Sequence[str], first: str, second: str) -> Form | None:
    rest = [column for column in columns if column not in (first, second)]
    counts = _counts(rest, first, second)
    scores = _two_scores(rest, first, second)
    label = t.find(rest, usual_names.OUTCOME)
    if label is not None and label not in counts.values() and label not in (scores or ()):
        return Form("label", label, tie=_tie_beside(rest, label))
    if counts:
        return Form("counts", counts=counts)
    chosen = _chosen_name(rest)
    if chosen is not None:
        return Form("label", chosen, tie=_tie_beside(rest, chosen))
    return Form("scores", scores=scores) if scores is not None else None


def _not_a_policy(column: str | None, first: str, second: str, name: str) -> None:
    if column in (first, second):
        raise EvidenceError(
            f"{name}: column {column!r} cannot be both a policy and the outcome. Name the columns."
        )


def _tie_beside(columns: Sequence[str], label: str | None) -> str | None:
    tie = t.find(columns, _TIES[:4])
    return tie if tie != label else None


def _chosen_name(columns: Sequence[str]) -> str | None:
    usual = ("chosen_model_name", "chosen_model", "winner_name", "winner_model", "chosen")
    return t.find(columns, (*usual, "preferred_model", "winning_model", "better"))


def _counts(columns: Sequence[str], first: str, second: str) -> dict[float, str]:
    """Columns of wins, losses and ties of the first: counted, or flags of one result a row."""
    won = t.find(columns, _own_wins(first))
    lost = t.find(columns, (*_own_wins(second), "losses", "loss", "lost"))
    if won is None:
        won = t.find(columns, ("wins", "wins_a", "a_wins", "win_a", "wins1", "a_win", "wins_1"))
        usual = ("losses", "wins_b", "b_wins", "win_b", "wins2", "loss", "b_win", "wins_2")
        lost = t.find(columns, usual)
    if won is None and all(t.find(columns, (letter,)) for letter in "wdl"):
        won, lost = t.find(columns, ("w",)), t.find(columns, ("l",))
        return {1.0: str(won), 0.0: str(lost), 0.5: str(t.find(columns, ("d",)))}
    if won is None:
        return {}
    tied = t.find(columns, ("ties", "draws", "tie", "draw", "winner_tie", "tied", "tie_count"))
    found = {1.0: won, 0.0: lost, 0.5: tied}
    return {outcome: column for outcome, column in found.items() if column is not None}


def _own_wins(policy: str) -> tuple[str, ...]:
    """Names such as ``winner_model_a`` and ``model_a_wins``."""
    sides = [policy]
    last = _parts(policy)[-1:]
    sides += last
    return tuple(
        name for side in sides for word in _WINS for name in (f"{word}_{side}", f"{side}_{word}")
    )


_SCORED = frozenset(
    """
    score scores goals goal points point rating ratings reward rewards pts result runs tore buts
    goles punkte
    """.split()
)
_KNOWN_SCORES = (("fthg", "ftag"), ("hg", "ag"), ("home_goals", "away_goals"))


def _two_scores(columns: Sequence[str], first: str, second: str) -> tuple[str, str] | None:
    """A column of scores for each of the two policies."""
    for pair in _KNOWN_SCORES:
        one, other = (t.find(columns, (side,)) for side in pair)
        if one is not None and other is not None:
            return one, other
    ours, theirs = set(_parts(first)), set(_parts(second))
    for base, sides in _sided(columns).items():
        if not base & _SCORED:
            continue
        for one, other in usual_names.SIDES:
            if one in sides and other in sides and one in ours and other in theirs:
                return sides[one], sides[other]
    return None


def with_outcome(frame: pl.LazyFrame, form: Form, roles: dict[str, str]) -> pl.LazyFrame:
    """The table with one column for the outcome, named in ``roles``, where it has none as it is."""
    if form.kind == "winner first" and form.tie is not None:
        tied = _is_true(form.tie)
        roles["outcome"] = OUTCOME
        return frame.with_columns(pl.when(tied).then(0.5).otherwise(1.0).alias(OUTCOME))
    if form.kind == "label" and form.tie is None:
        assert form.column is not None
        roles["outcome"] = form.column
        return frame
    if form.kind == "label":
        assert form.column is not None
        assert form.tie is not None
        tied = _is_true(form.tie)
        label = pl.col(form.column).cast(pl.String)
        roles["outcome"] = OUTCOME
        return frame.with_columns(pl.when(tied).then(pl.lit("tie")).otherwise(label).alias(OUTCOME))
    if form.kind == "scores":
        assert form.scores is not None
        one, other = (pl.col(c).cast(pl.Float64, strict=False) for c in form.scores)
        roles["outcome"] = OUTCOME
        return frame.with_columns((0.5 + 0.5 * (one - other).sign()).alias(OUTCOME))
    return frame


def _is_true(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.to_lowercase().is_in(["true", "1", "1.0", "yes"])


OUTCOME = "policyrank.outcome"
"""The column that an outcome was computed into."""
