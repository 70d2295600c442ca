from .answers import (
    AnswerSets as AnswerSets,
    RankedAnswers as RankedAnswers,
    read_answers as read_answers,
)
from .base import Labels as Labels
from .comparisons import Comparisons as Comparisons
from .databases import Query as Query
from .rankings import Rankings as Rankings
from .readers import (
    Evidence as Evidence,
    detect as detect,
    read as read,
    read_comparisons as read_comparisons,
    read_rankings as read_rankings,
    read_scores as read_scores,
)
from .rollout_logs import (
    LoggedRollout as LoggedRollout,
    LoggedTurn as LoggedTurn,
    chosen_rollouts as chosen_rollouts,
    read_rollouts as read_rollouts,
    rollout_summary as rollout_summary,
)
from .scores import Scores as Scores
from .texts import read_corpus as read_corpus, read_texts as read_texts
from .trec import (
    read_qrels as read_qrels,
    read_run as read_run,
    write_qrels as write_qrels,
    write_run as write_run,
)

__all__ = [
    "AnswerSets",
    "Comparisons",
    "Evidence",
    "Labels",
    "LoggedRollout",
    "LoggedTurn",
    "Query",
    "RankedAnswers",
    "Rankings",
    "Scores",
    "chosen_rollouts",
    "detect",
    "read",
    "read_answers",
    "read_comparisons",
    "read_corpus",
    "read_qrels",
    "read_rankings",
    "read_rollouts",
    "read_run",
    "read_scores",
    "read_texts",
    "rollout_summary",
    "write_qrels",
    "write_run",
]
