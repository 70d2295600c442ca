from .assembly import make_leaderboard as make_leaderboard
from .comparison import MethodComparison as MethodComparison
from .intervals import (
    RankSets as RankSets,
    rank_confidence_sets as rank_confidence_sets,
    rank_probabilities as rank_probabilities,
)
from .leaderboard import Leaderboard as Leaderboard, Note as Note
from .page import audit_html as audit_html, html as html
from .plots import ratings as ratings
from .terminal import (
    comparison_text as comparison_text,
    findings_text as findings_text,
    markdown as markdown,
    text as text,
)

__all__ = [
    "Leaderboard",
    "MethodComparison",
    "Note",
    "RankSets",
    "audit_html",
    "comparison_text",
    "findings_text",
    "html",
    "make_leaderboard",
    "markdown",
    "rank_confidence_sets",
    "rank_probabilities",
    "ratings",
    "text",
]
