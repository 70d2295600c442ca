"""Results of games: PGN, tennis; rating lists of Ordo, BayesElo and ClubElo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.base import Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.entries import rows_of_text
from policyrank.evidence.formats.results import Duel, Wanted, comparisons_of, read_as
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

_TAG = re.compile(r'^\[(\w+)\s+"((?:[^"\\]|\\.)*)"\]\s*$')
_RESULTS = {"1-0": 1.0, "0-1": 0.0, "1/2-1/2": 0.5}


def read_pgn(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """Chess games: White against Black; unfinished games are left out."""
    rows, unfinished, broken = [], 0, []
    for source in sources:
        for line, tags in _games(source):
            result = tags.get("Result", "")
            if result == "*":
                unfinished += 1
            elif result not in _RESULTS or not _names(tags):
                broken.append(f"{source.name}, game at line {line}")
            else:
                rows.append(Duel(tags["White"], tags["Black"], _RESULTS[result]))
    wanted.account.unusable("a game without names or a result", broken, "game")
    if unfinished:
        wanted.account.note(f"{plural(unfinished, 'unfinished game')} left out")
    wanted.account.note("White is the first policy: the option order_effect fits White's advantage")
    read_as(wanted.account, "PGN", sources, "policies from White and Black, outcome from Result")
    return comparisons_of(rows, wanted.account)


def _names(tags: Mapping[str, str]) -> bool:
    return all(tags.get(side, "?") not in ("", "?") for side in ("White", "Black"))


def _games(source: Source) -> list[tuple[int, dict[str, str]]]:
    """The tags of each game, with the line that they begin at."""
    games: list[tuple[int, dict[str, str]]] = []
    inside = False
    for number, line in enumerate(source.text.splitlines(), 1):
        found = _TAG.match(line.strip())
        if found is None:
            inside = inside and not line.strip()
            continue
        tag, value = found.groups()
        if not inside or tag in games[-1][1]:
            games.append((number, {}))
        inside = True
        games[-1][1][tag] = value.replace('\\"', '"').strip()
    return games


def read_tennis(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """Tennis matches (winner_name, loser_name, score); walkovers were not played."""
    rows, walkovers, retired, broken = [], 0, 0, []
    names = _tennis_names(sources)
    for source in sources:
        for number, row in _rows(source):
            ids = row.get("winner_id"), row.get("loser_id")
            score = (row.get("score") or "").upper()
            if not all(ids):
                broken.append(f"{source.name}, row {number}")
            elif "W/O" in score or "WALKOVER" in score:
                walkovers += 1
            else:
                retired += "RET" in score or "DEF" in score
                rows.append(Duel(names[str(ids[0])], names[str(ids[1])], 1.0))
    wanted.account.unusable("a match without its players", broken, "match")
    if walkovers:
        wanted.account.note(f"{plural(walkovers, 'walkover')} left out: not played")
    if retired:
        wanted.account.note(f"{plural(retired, 'match')} ended early (RET, DEF): counted as won")
    read_as(wanted.account, "tennis matches", sources, "policies from winner_name and loser_name")
    return comparisons_of(rows, wanted.account)


def _tennis_names(sources: Sequence[Source]) -> dict[str, str]:
    """Name of each player's id; players of one name are told apart by it."""
    of_id: dict[str, str] = {}
    for source in sources:
        for _, row in _rows(source):
            for side in ("winner", "loser"):
                of_id.setdefault(str(row.get(f"{side}_id")), str(row.get(f"{side}_name")).strip())
    names = list(of_id.values())
    return {
        player: f"{name} ({player})" if names.count(name) > 1 else name
        for player, name in of_id.items()
    }


def _rows(source: Source) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV that hold anything, numbered from 1."""
    found = []
    for number, (_, row) in enumerate(rows_of_text(source.text, source.name), 1):
        found.append((number, {key: value for key, value in row.items() if isinstance(key, str)}))
    return found


def read_clubelo(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """ClubElo's ratings: of a club's history the newest."""
    newest: dict[str, tuple[str, float]] = {}
    older, broken = 0, []
    for source in sources:
        for number, row in _rows(source):
            club, rating = (row.get("Club") or "").strip(), _number(row.get("Elo"))
            if not club or not np.isfinite(rating):
                broken.append(f"{source.name}, row {number}")
                continue
            until = row.get("To") or ""
            older += club in newest
            if club not in newest or until >= newest[club][0]:
                newest[club] = until, rating
    wanted.account.unusable("a row without a club or its Elo", broken, "row")
    if older:
        wanted.account.note(f"{plural(older, 'earlier rating')} of the same clubs left out")
    read_as(wanted.account, "ClubElo ratings", sources, "policies from Club, task Elo")
    ratings = {club: rating for club, (_, rating) in newest.items()}
    return _ratings(ratings, "Elo", {}, wanted)


def _number(text: object) -> float:
    try:
        return float(str(text).strip().rstrip("%"))
    except ValueError:
        return float("nan")


_ORDO_LINE = re.compile(r"^\s*\d+\s+(.+?)\s+:\s+(-?[\d.]+)\s+(\S+)")


def read_ordo(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Ordo's rating lists, as text or CSV; ERROR is half of the 95% interval."""
    ratings: dict[str, float] = {}
    ends: dict[str, tuple[float, float]] = {}
    anchors = []
    for source in sources:
        for name, rating, error in _ordo_rows(source):
            ratings[name] = rating
            if not np.isfinite(error):
                anchors.append(name)
                error = 0.0
            ends[name] = rating - error, rating + error
    wanted.account.note("ERROR taken as half of a 95% interval, relative to the anchor")
    if anchors:
        wanted.account.note(f"without an error, being the anchor: {listed(anchors)}")
    read_as(wanted.account, "an Ordo rating list", sources, "policies from PLAYER, task RATING")
    return _ratings(ratings, "RATING", ends, wanted)


def _ordo_rows(source: Source) -> list[tuple[str, float, float]]:
    if source.text.lstrip().startswith('"#"'):
        found = []
        for _, row in _rows(source):
            name = row.get("PLAYER") or ""
            found.append((name, _number(row.get("RATING")), _number(row.get("ERROR"))))
        return found
    matches = map(_ORDO_LINE.match, source.text.splitlines())
    groups = [match.groups() for match in matches if match is not None]
    return [(name, _number(rating), _number(error)) for name, rating, error in groups]


_BAYESELO_LINE = re.compile(
    r"^\s*\d+\s+(.+?)\s+(-?\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+%\s+-?\d+\s+\d+%\s*$"
)


def read_bayeselo(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """BayesElo's ``ratings``: Elo with an upper and a lower half of the 95% interval."""
    ratings: dict[str, float] = {}
    ends: dict[str, tuple[float, float]] = {}
    for source in sources:
        for line in source.text.splitlines():
            found = _BAYESELO_LINE.match(line)
            if found is None:
                continue
            elo, above, below = (float(part) for part in found.groups()[1:4])
            ratings[found.group(1)] = elo
            ends[found.group(1)] = elo - below, elo + above
    read_as(wanted.account, "BayesElo ratings", sources, "policies from Name, task Elo")
    wanted.account.note("+ and - taken as the 95% interval of Elo")
    return _ratings(ratings, "Elo", ends, wanted)


def _ratings(
    ratings: Mapping[str, float],
    task: str,
    ends: Mapping[str, tuple[float, float]],
    wanted: Wanted,
) -> Scores:
    if not ratings:
        raise EvidenceError(f"{wanted.account.name}: it holds no ratings. Check the file.")
    interval = None
    if ends:
        nothing = (np.nan, np.nan)
        interval = np.array([ends.get(name, nothing) for name in ratings])
    return Scores(
        Labels.of(ratings),
        Labels.of([task] * len(ratings)),
        np.array(list(ratings.values())),
        interval=interval,
        stderr=None if interval is None else (interval[:, 1] - interval[:, 0]) / 3.92,
        notes=tuple(wanted.account.notes),
    )
