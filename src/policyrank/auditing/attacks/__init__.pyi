from .detect import (
    deletion_defence as deletion_defence,
)
from .detect import (
    query_share as query_share,
)
from .detect import (
    suspicion as suspicion,
)
from .detect import (
    thresholds as thresholds,
)
from .imitation import (
    Imitation as Imitation,
)
from .imitation import (
    Victim as Victim,
)
from .imitation import (
    imitate as imitate,
)
from .imitation import (
    pairs_from_ranking as pairs_from_ranking,
)
from .imitation import (
    smoothed_pair_loss as smoothed_pair_loss,
)
from .language import Corpus as Corpus
from .language import words as words
from .measures import (
    attack_metrics as attack_metrics,
)
from .measures import (
    group_metrics as group_metrics,
)
from .measures import (
    perturbation_rate as perturbation_rate,
)
from .measures import (
    rank_of as rank_of,
)
from .measures import (
    word_cosine as word_cosine,
)
from .run import AttackReport as AttackReport
from .run import agreement as agreement
from .run import attack as attack
from .topic import (
    TopicAttack as TopicAttack,
)
from .topic import (
    TopicTask as TopicTask,
)
from .topic import (
    candidate_words as candidate_words,
)
from .topic import (
    discounted_returns as discounted_returns,
)
from .topic import (
    group_queries as group_queries,
)
from .topic import (
    promote_reward as promote_reward,
)
from .topics import (
    TopicReport as TopicReport,
)
from .topics import (
    attack_topics as attack_topics,
)
from .topics import (
    edited_text as edited_text,
)
from .triggers import (
    METHODS as METHODS,
)
from .triggers import (
    Attack as Attack,
)
from .triggers import (
    Method as Method,
)
from .triggers import (
    search_trigger as search_trigger,
)

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
