"""How published boards, games and ballots are told."""

from __future__ import annotations

import re

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.peek import Peek

_ORDERS = (".soc", ".soi", ".toc", ".toi")


def _is_preflib(peek: Peek) -> bool:
    return peek.starts("# FILE NAME") or any(
        line.startswith(("# ALTERNATIVE NAME", "# NUMBER ALTERNATIVES")) for line in peek.lines
    )


def _is_old_preflib(peek: Peek) -> bool:
    """One whole number n, then n lines ``i,name``."""
    lines = peek.lines
    if len(lines) < 3 or not lines[0].strip().isdigit():
        return False
    return bool(re.match(r"\s*[01]\s*,", lines[1]))


def _preflib_ballots(peek: Peek) -> bool:
    ending = peek.source.ending
    if ending in _ORDERS:
        return True
    return ending not in (".cat", ".wmd") and (_is_preflib(peek) or _is_old_preflib(peek))


def _is_ordo(peek: Peek) -> bool:
    first = peek.lines[0] if peek.lines else ""
    return bool(re.match(r'\s*"?#"?,?\s*"?PLAYER"?', first))


def _is_bayeselo(peek: Peek) -> bool:
    return any("Rank Name" in line and "oppo." in line for line in peek.lines)


def _is_kaggle(peek: Peek) -> bool:
    starts = ("teamid,teamname", "rank,teamid,teamname")
    return any(line.lstrip("\ufeff").lower().startswith(starts) for line in peek.lines[:5])


def _is_trec(peek: Peek) -> bool:
    """Lines of ``query Q0 document rank score tag``."""
    fields = [line.split() for line in peek.lines[:5]]
    return bool(fields) and all(len(one) == 6 and one[1].upper() == "Q0" for one in fields)


def _is_text_table(peek: Peek, *names: str) -> bool:
    """A table of text, no JSON or Markdown, with these columns."""
    return peek.value is None and not peek.starts("|") and peek.has(*names)


BOARDS: tuple[Format, ...] = (
    Format(
        "PrefLib approvals or grades",
        "rankings",
        "preflib",
        lambda peek: peek.source.ending == ".cat" and _is_preflib(peek),
        "preflib:read_categories",
    ),
    Format(
        "PrefLib matching instances",
        "nothing",
        "preflib-matching",
        lambda peek: peek.source.ending == ".wmd",
        "preflib:refuse_matching",
    ),
    Format("PrefLib ballots", "rankings", "preflib", _preflib_ballots, "preflib:read_ballots"),
    Format("runs of TREC", "nothing", "trec", _is_trec, "boards:refuse_trec"),
    Format(
        "PGN",
        "comparisons",
        "pgn",
        lambda peek: peek.starts("[Event ") or peek.source.ending == ".pgn",
        "sports:read_pgn",
    ),
    Format(
        "tennis matches",
        "comparisons",
        "tennis",
        lambda peek: _is_text_table(
            peek, "winner_id", "loser_id", "winner_name", "loser_name", "score"
        ),
        "sports:read_tennis",
    ),
    Format(
        "ClubElo ratings",
        "scores",
        "clubelo",
        lambda peek: _is_text_table(peek, "Club", "Country", "Elo", "From", "To"),
        "sports:read_clubelo",
    ),
    Format("Ordo rating lists", "scores", "ordo", _is_ordo, "sports:read_ordo"),
    Format("BayesElo ratings", "scores", "bayeselo", _is_bayeselo, "sports:read_bayeselo"),
    Format("Kaggle leaderboards", "scores", "kaggle", _is_kaggle, "boards:read_kaggle"),
    Format(
        "Open LLM Leaderboard v2",
        "scores",
        "open-llm-v2",
        lambda peek: _is_text_table(peek, "eval_name", "fullname", "Flagged", "IFEval"),
        "boards:read_open_llm_v2",
    ),
    Format(
        "Open LLM Leaderboard v1",
        "scores",
        "open-llm-v1",
        lambda peek: (
            _is_text_table(peek, "model", "average", "parameters")
            and any(name.startswith("hellaswag") for name in peek.names)
        ),
        "boards:read_open_llm_v1",
    ),
    Format(
        "the Open ASR Leaderboard",
        "scores",
        "open-asr",
        lambda peek: _is_text_table(peek, "RTFx", "Model size (B)"),
        "boards:read_open_asr",
    ),
    Format(
        "MTEB arena boards",
        "scores",
        "mteb-arena-board",
        lambda peek: _is_text_table(peek, "key", "Model", "Arena Elo rating (anony)"),
        "boards:read_mteb_arena",
    ),
    Format(
        "AlpacaEval boards",
        "scores",
        "alpaca-board",
        lambda peek: (
            _is_text_table(peek, "win_rate", "standard_error", "n_wins", "n_total")
            or _is_text_table(peek, "win_rate", "length_controlled_winrate")
        ),
        "boards:read_alpaca_board",
    ),
)
"""Ballots of PrefLib, results and ratings of games, boards that people publish."""
