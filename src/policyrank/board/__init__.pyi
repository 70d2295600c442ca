from .assembly import make_leaderboard as make_leaderboard
from .clusters import ClusteredMean as ClusteredMean, clustered_mean as clustered_mean
from .comparison import MethodComparison as MethodComparison
from .leaderboard import Leaderboard as Leaderboard, Note as Note
from .page import audit_html as audit_html, html as html
from .plots import ratings as ratings
from .rank_sets import (
    RankSets as RankSets,
    rank_confidence_sets as rank_confidence_sets,
    rank_probabilities as rank_probabilities,
)
from .rollout_pages import rollouts_html as rollouts_html, rollouts_text as rollouts_text
from .terminal import (
    comparison_text as comparison_text,
    findings_text as findings_text,
    markdown as markdown,
    text as text,
)

__all__ = [
    "ClusteredMean",
    "Leaderboard",
    "MethodComparison",
    "Note",
    "RankSets",
    "audit_html",
    "clustered_mean",
    "comparison_text",
    "findings_text",
    "html",
    "make_leaderboard",
    "markdown",
    "rank_confidence_sets",
    "rank_probabilities",
    "ratings",
    "rollouts_html",
    "rollouts_text",
    "text",
]
