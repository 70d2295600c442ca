from .answers import (
    AnswerSets as AnswerSets,
)
from .answers import (
    RankedAnswers as RankedAnswers,
)
from .answers import (
    read_answers as read_answers,
)
from .base import Labels as Labels
from .comparisons import Comparisons as Comparisons
from .ranking_readers import (
    Evidence as Evidence,
)
from .ranking_readers import (
    detect as detect,
)
from .ranking_readers import (
    read as read,
)
from .ranking_readers import (
    read_rankings as read_rankings,
)
from .rankings import Rankings as Rankings
from .readers import read_comparisons as read_comparisons
from .score_readers import read_lm_eval as read_lm_eval
from .score_readers import read_scores as read_scores
from .scores import Scores as Scores
from .texts import read_texts as read_texts
from .trec import (
    read_qrels as read_qrels,
)
from .trec import (
    read_run as read_run,
)
from .trec import (
    write_qrels as write_qrels,
)
from .trec import (
    write_run as write_run,
)

__all__ = [
    "AnswerSets",
    "Comparisons",
    "Evidence",
    "Labels",
    "RankedAnswers",
    "Rankings",
    "Scores",
    "detect",
    "read",
    "read_answers",
    "read_comparisons",
    "read_lm_eval",
    "read_qrels",
    "read_rankings",
    "read_run",
    "read_scores",
    "read_texts",
    "write_qrels",
    "write_run",
]
