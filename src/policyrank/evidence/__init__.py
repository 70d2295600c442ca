"""Evidence: what is known of the policies. Comparisons, scores and rankings, and how to read them."""

from policyrank.evidence.answers import AnswerSets, RankedAnswers, read_answers
from policyrank.evidence.base import EvidenceError, Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.ranking_readers import Evidence, detect, read, read_rankings
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.readers import read_comparisons
from policyrank.evidence.score_readers import read_lm_eval, read_scores
from policyrank.evidence.scores import Scores
from policyrank.evidence.texts import read_texts
from policyrank.evidence.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "AnswerSets",
    "Comparisons",
    "Evidence",
    "EvidenceError",
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
