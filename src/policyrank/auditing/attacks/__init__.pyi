from .detect import (
    deletion_defence as deletion_defence,
    query_share as query_share,
    suspicion as suspicion,
    thresholds as thresholds,
)
from .imitation import (
    Imitation as Imitation,
    Victim as Victim,
    imitate as imitate,
    pairs_from_ranking as pairs_from_ranking,
    smoothed_pair_loss as smoothed_pair_loss,
)
from .language import Corpus as Corpus, words as words
from .measures import (
    attack_metrics as attack_metrics,
    group_metrics as group_metrics,
    perturbation_rate as perturbation_rate,
    rank_of as rank_of,
    word_cosine as word_cosine,
)
from .run import AttackReport as AttackReport, agreement as agreement, attack as attack
from .topic import (
    TopicAttack as TopicAttack,
    TopicTask as TopicTask,
    candidate_words as candidate_words,
    discounted_returns as discounted_returns,
    group_queries as group_queries,
    promote_reward as promote_reward,
)
from .topics import (
    TopicReport as TopicReport,
    attack_topics as attack_topics,
    edited_text as edited_text,
)
from .triggers import (
    ATTACKS as ATTACKS,
    Attack as Attack,
    Rewrite as Rewrite,
    search_trigger as search_trigger,
)

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackReport",
    "Corpus",
    "Imitation",
    "Rewrite",
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
