"""PrefLib's files of ballots and approvals, of today and of before 2022."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.results import Wanted
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.sources import Source

_HEADER = re.compile(r"#\s*([A-Z][A-Z ]*?)\s*(\d+)?\s*:\s*(.*)$")
_GROUP = re.compile(r"\s*(?:\{([^{}]*)\}|([^,{}]+))\s*(?:,|$)")
_COUNT = re.compile(r"[+-]?\d+(?:\.\d+)?")

Ballot = list[list[str]]


@dataclass
class _File:
    """A file of PrefLib: its header, and ballots of numbers with their counts."""

    source: Source
    names: dict[str, str] = field(default_factory=dict)
    categories: int = 0
    kind: str = ""
    totals: dict[str, int] = field(default_factory=dict)
    ballots: list[tuple[int, float, Ballot]] = field(default_factory=list)

    def refuse(self, line: int, why: str) -> NoReturn:
        """An error at a line."""
        raise EvidenceError(f"{self.source.name}, line {line}: {why}")


def read_ballots(sources: Sequence[Source], wanted: Wanted) -> Rankings:
    """Orders (.soc, .soi, .toc, .toi): unlisted alternatives are not ranked by a ballot."""
    file = _one(sources)
    ballots = [_named(file, ballot) for _, _, ballot in file.ballots]
    _check_complete(file)
    return _rankings(file, ballots, wanted, "a ballot a line")


def _check_complete(file: _File) -> None:
    """Orders that are called complete (.soc, .toc) rank every alternative."""
    if (file.kind or file.source.ending.lstrip(".")) not in ("soc", "toc") or not file.names:
        return
    for line, _, ballot in file.ballots:
        ranked = sum(map(len, ballot))
        if ranked < len(file.names):
            file.refuse(
                line,
                f"a complete order ranks all {len(file.names)} alternatives, and this one"
                f" {ranked}. Mend it, or call the file .soi or .toi.",
            )


def read_categories(sources: Sequence[Source], wanted: Wanted) -> Rankings:
    """Categories (.cat), best first; of two the first is approval.

    A ballot that puts all into the last of two categories approves of nobody: it stays, and says
    nothing about who is better.
    """
    file = _one(sources)
    ballots, empty = [], 0.0
    for _, count, ballot in file.ballots:
        filled = [group for group in _named(file, ballot, may_be_empty=True) if group]
        if file.categories == 2 and not ballot[0]:
            filled, empty = [], empty + count
        ballots.append(filled)
    if empty:
        wanted.account.note(f"{plural(int(empty), 'ballot')} approve of nobody")
    held = "approval ballots" if file.categories == 2 else "grades, the first category is best"
    return _rankings(file, ballots, wanted, held)


def refuse_matching(sources: Sequence[Source], wanted: Wanted) -> Rankings:
    """Matching instances (.wmd, .dat) hold no rankings of policies."""
    raise EvidenceError(
        f"{sources[0].name}: a matching instance of PrefLib (a weighted graph), no ballots. Give a"
        " .soc, .soi, .toc, .toi or .cat file, or read it with: policyrank world matching."
    )


def _one(sources: Sequence[Source]) -> _File:
    if len(sources) > 1:
        raise EvidenceError(
            f"{plural(len(sources), 'file')} of PrefLib: elections are ranked apart. Give one of"
            f" {listed([source.name for source in sources], most=4)}."
        )
    source = sources[0]
    lines = source.text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    file = _old(source, lines) if _is_old(first) else _new(source, lines)
    _check(file)
    return file


def _is_old(first: str) -> bool:
    return first.strip().isdigit()


def _new(source: Source, lines: Sequence[str]) -> _File:
    file = _File(source)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            _header(file, number, line)
            continue
        count, colon, order = line.partition(":")
        if not colon:
            file.refuse(number, f"{line!r} is no 'count: order'. Mend it.")
        _add(file, number, count, order)
    return file


def _header(file: _File, number: int, line: str) -> None:
    found = _HEADER.match(line.strip())
    if found is None:
        return
    key, place, value = found.groups()
    if key == "ALTERNATIVE NAME" and place is not None:
        _declare(file, number, place, value.strip())
    elif key == "DATA TYPE":
        file.kind = value.strip().lower()
    elif key == "NUMBER CATEGORIES" and value.strip().isdigit():
        file.categories = int(value)
    elif key.startswith("NUMBER") and value.strip().isdigit():
        file.totals[key] = int(value)


def _declare(file: _File, number: int, place: str, name: str) -> None:
    name = name or place
    if place in file.names:
        file.refuse(number, f"alternative {place} is named twice. Mend the header.")
    if name in file.names.values():
        other = next(key for key, known in file.names.items() if known == name)
        file.refuse(
            number,
            f"alternatives {other} and {place} are both called {name!r} in the header. Give them"
            " different names.",
        )
    file.names[place] = name


def _old(source: Source, lines: Sequence[str]) -> _File:
    """n, then ``i,name``, then ``voters,sum,unique``, then ``count,order``."""
    file = _File(source)
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    size = int(rows[0][1])
    for number, line in rows[1 : size + 1]:
        place, comma, name = line.partition(",")
        if not comma or not place.strip().isdigit():
            file.refuse(number, f"{line!r} is no 'number,name' of an alternative. Mend it.")
        _declare(file, number, place.strip(), name.strip())
    if len(rows) < size + 2:
        file.refuse(rows[-1][0], "the file ends before its ballots. Fetch it again.")
    number, line = rows[size + 1]
    totals = [part.strip() for part in line.split(",")]
    if len(totals) != 3 or not all(part.isdigit() for part in totals):
        file.refuse(number, f"{line!r} is no 'voters,sum,unique orders'. Mend it.")
    file.totals = {"NUMBER ALTERNATIVES": size, "NUMBER UNIQUE ORDERS": int(totals[2])}
    for number, line in rows[size + 2 :]:
        count, _, order = line.partition(",")
        _add(file, number, count, order)
    voters = sum(count for _, count, _ in file.ballots)
    if voters != int(totals[1]):  # the sum of counts; some files have only the voters right
        file.totals["NUMBER VOTERS"] = int(totals[0])
    return file


def _add(file: _File, number: int, count: str, order: str) -> None:
    if not _COUNT.fullmatch(count.strip()) or float(count) < 0:
        file.refuse(number, f"{count.strip()!r} is no count of voters >= 0. Mend it.")
    ballot: Ballot = []
    place = 0
    while place < len(order.rstrip()):
        found = _GROUP.match(order, place)
        if found is None:
            file.refuse(number, f"{order.strip()!r} is no order such as '1,{{2,3}}'. Mend it.")
        tied, alone = found.groups()
        text = alone if tied is None else tied
        ballot.append([part.strip() for part in text.split(",") if part.strip()])
        place = found.end()
    if not ballot:
        file.refuse(number, "no order stands behind the count. Mend it.")
    file.ballots.append((number, float(count), ballot))


def _check(file: _File) -> None:
    """The totals that the file itself gives."""
    if not file.ballots:
        raise EvidenceError(f"{file.source.name}: it holds no ballots. Fetch it again.")
    found = {
        "NUMBER ALTERNATIVES": len(file.names) or None,
        "NUMBER VOTERS": sum(count for _, count, _ in file.ballots),
        "NUMBER UNIQUE ORDERS": len(file.ballots),
        "NUMBER UNIQUE PREFERENCES": len(file.ballots),
    }
    for key, there in found.items():
        told = file.totals.get(key)
        if told is not None and there is not None and there != told:
            what = key.lower().removeprefix("number ").replace("unique ", "different ")
            raise EvidenceError(
                f"{file.source.name}: the header says {told:,} {what}, and there are {there:,.0f}."
                " The file is cut off or was changed: fetch it again."
            )


def _named(file: _File, ballot: Ballot, *, may_be_empty: bool = False) -> Ballot:
    line = next(number for number, _, one in file.ballots if one is ballot)
    seen: set[str] = set()
    groups = []
    for group in ballot:
        if not group and not may_be_empty:
            file.refuse(line, "an empty place in the order. Mend it.")
        for number in group:
            if file.names and number not in file.names:
                file.refuse(line, f"alternative {number} is not declared in the header. Mend it.")
            if number in seen:
                file.refuse(line, f"alternative {number} stands twice on the ballot. Mend it.")
            seen.add(number)
        groups.append([file.names.get(number, number) for number in group])
    return groups


def _rankings(file: _File, ballots: list[Ballot], wanted: Wanted, held: str) -> Rankings:
    on_ballots = {name for ballot in ballots for group in ballot for name in group}
    unseen = [name for name in file.names.values() if name not in on_ballots]
    if unseen:
        wanted.account.note(f"on no ballot: {listed(unseen)}")
    policies = list(file.names.values()) or None
    weight = [count for _, count, _ in file.ballots]
    notes = (f"read from {file.source.name} as PrefLib: {held}", *wanted.account.notes)
    return Rankings.of(ballots, weight=weight, policies=policies, notes=notes)
