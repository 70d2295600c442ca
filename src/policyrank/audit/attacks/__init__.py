"""Attacks on rankers, to test a ranker one owns: how far can a document be moved, at what cost, and
does it show? Needs the extra ``learn``.
"""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank.audit.attacks.detect import deletion_defence, query_share, suspicion, thresholds
from policyrank.audit.attacks.imitation import (
    Imitation,
    Victim,
    imitate,
    pairs_from_ranking,
    smoothed_pair_loss,
)
from policyrank.audit.attacks.language import Corpus, words
from policyrank.audit.attacks.measures import (
    attack_metrics,
    group_metrics,
    perturbation_rate,
    rank_of,
    word_cosine,
)
from policyrank.audit.attacks.run import AttackReport, agreement, attack
from policyrank.audit.attacks.topic import (
    TopicAttack,
    TopicTask,
    candidate_words,
    discounted_returns,
    group_queries,
    promote_reward,
)
from policyrank.audit.attacks.topics import TopicReport, attack_topics, edited_text
from policyrank.audit.attacks.triggers import METHODS, Attack, Method, search_trigger

__all__ = [
    "METHODS",
    "Attack",
    "AttackReport",
    "Corpus",
    "Imitation",
    "Method",
    "TopicAttack",
    "TopicReport",
    "TopicTask",
    "Victim",
    "agreement",
    "attack",
    "attack_metrics",
    "attack_topics",
    "candidate_words",
    "deletion_defence",
    "discounted_returns",
    "edited_text",
    "group_metrics",
    "group_queries",
    "imitate",
    "pairs_from_ranking",
    "perturbation_rate",
    "promote_reward",
    "query_share",
    "rank_of",
    "search_trigger",
    "smoothed_pair_loss",
    "suspicion",
    "thresholds",
    "word_cosine",
    "words",
]
