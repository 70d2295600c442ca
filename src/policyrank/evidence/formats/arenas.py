"""Arenas where people vote: FastChat's logs and battles, LMArena, compar:IA."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.duels import Duels
from policyrank.evidence.formats.entries import all_shaped, of_shape, records
from policyrank.evidence.formats.results import Duel, Wanted, document, read_as
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

VOTES = {
    "leftvote": 1.0,
    "rightvote": 0.0,
    "tievote": 0.5,
    "bothbad_vote": 0.5,
    "bothbadvote": 0.5,
}
"""Kinds of lines in FastChat's logs that are votes -> the outcome for the left."""


class _State(msgspec.Struct):
    model_name: str | None = None


class _Vote(msgspec.Struct):
    type: str
    states: list[_State]
    models: list[str | None] | None = None
    ip: str | None = None


def read_logs(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """FastChat's conversation logs: the votes given while the names were hidden."""
    duels = Duels(wanted.account)
    people: dict[str | None, str] = {}
    known = others = 0
    for source in sources:
        votes = []
        for record in records(source):
            if isinstance(record.value, Mapping) and str(record.value.get("type")) not in VOTES:
                others += 1
            else:
                votes.append(record)
        for place, vote in all_shaped(votes, _Vote, wanted.account):
            if not _anonymous(vote):
                known += 1
                continue
            names = [state.model_name or "" for state in vote.states]
            a, b = names if len(names) == 2 else ("", "")
            person = people.setdefault(vote.ip, f"arena_user_{len(people)}")
            duels.put(place, Duel(a, b, VOTES[vote.type], rater=person))
    _say_known(known, len(duels.rows), wanted)
    if others:
        wanted.account.note(f"{plural(others, 'line')} that are no votes not used")
    read_as(wanted.account, "FastChat's conversation logs", sources, "addresses as raters")
    return duels.comparisons()


def _anonymous(vote: _Vote) -> bool:
    shown = (vote.models or [""])[0] or ""
    return shown.strip().lower() in ("", "model a")


def _say_known(known: int, used: int, wanted: Wanted) -> None:
    if not known:
        return
    if not used:
        raise EvidenceError(
            f"{wanted.account.name}: all {known:,} votes were given when the names were known."
            " Ratings use the anonymous ones only: give those."
        )
    wanted.account.note(f"{plural(known, 'vote')} left out: not anonymous, the names were known")


class _Comparia(msgspec.Struct):
    model_a_name: str
    model_b_name: str
    chosen_model_name: str | None
    both_equal: Any = None
    session_hash: str | None = None
    visitor_id: str | None = None


def read_comparia(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """compar:IA's votes: the chosen model's name, or both_equal; sessions are the raters."""
    duels = Duels(wanted.account)
    without = 0
    for source in sources:
        for place, one in of_shape(source, _Comparia, wanted.account):
            sides = {one.model_a_name: 1.0, one.model_b_name: 0.0}
            if str(one.both_equal).lower() in ("true", "t", "1"):
                outcome = 0.5
            elif one.chosen_model_name is None:
                without += 1
                continue
            else:
                outcome = sides.get(one.chosen_model_name, math.nan)
            rater = one.session_hash or one.visitor_id or ""
            duels.put(place, Duel(one.model_a_name, one.model_b_name, outcome, rater=rater))
    if without:
        wanted.account.note(f"{plural(without, 'row')} left out: no vote was given")
    read_as(wanted.account, "compar:IA votes", sources, "sessions as raters")
    return duels.comparisons()


_ALL = ("full", "overall", "overall_text", "text")
"""Names of the category that holds all votes."""


class _Rating(msgspec.Struct):
    rating: float
    rating_q025: float = math.nan
    rating_q975: float = math.nan


def read_ratings(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """LMArena's ratings by category, which overlap: one category is read."""
    ratings: dict[str, dict[str, _Rating]] = {}
    for source in sources:
        found = document(source, dict[str, dict[str, _Rating]])
        twice = sorted(set(ratings) & set(found))
        if twice:
            raise EvidenceError(
                f"{wanted.account.name}: several files hold the category {twice[0]!r}. Give one."
            )
        ratings.update(found)
    category = wanted.metric or next((name for name in _ALL if name in ratings), None)
    if category not in ratings:
        raise EvidenceError(
            f"{wanted.account.name}: no category {category or 'full'!r}. Name one (metric=...,"
            f" --metric): {listed(ratings)}."
        )
    board = ratings[category]
    broken = [name for name, one in board.items() if not math.isfinite(one.rating)]
    wanted.account.unusable("no finite rating", broken)
    others = [name for name in ratings if name != category]
    if others:
        wanted.account.note(
            f"other categories (metric=..., --metric), which overlap: {listed(others)}"
        )
    read_as(wanted.account, "LMArena ratings", sources, f"category {category!r}")
    names = [name for name in board if name not in broken]
    bounds = np.array([[board[name].rating_q025, board[name].rating_q975] for name in names])
    return Scores.of(
        names,
        [category] * len(names),
        [board[name].rating for name in names],
        interval=None if np.isnan(bounds).all() else bounds,
        notes=tuple(wanted.account.notes),
    )
