from . import (
    auditing as auditing,
)
from . import (
    board as board,
)
from . import (
    evaluation as evaluation,
)
from . import (
    evidence as evidence,
)
from . import (
    metrics as metrics,
)
from . import (
    ranking as ranking,
)
from . import (
    studies as studies,
)
from .auditing import audit as audit
from .board import Leaderboard as Leaderboard
from .board import rank_confidence_sets as rank_confidence_sets
from .errors import (
    EvidenceError as EvidenceError,
)
from .errors import (
    OptionError as OptionError,
)
from .errors import (
    PolicyrankError as PolicyrankError,
)
from .evaluation import evaluate as evaluate
from .evaluation import plan as plan
from .evidence import (
    Comparisons as Comparisons,
)
from .evidence import (
    Rankings as Rankings,
)
from .evidence import (
    Scores as Scores,
)
from .evidence import (
    read as read,
)
from .evidence import (
    read_comparisons as read_comparisons,
)
from .evidence import (
    read_lm_eval as read_lm_eval,
)
from .evidence import (
    read_rankings as read_rankings,
)
from .evidence import (
    read_scores as read_scores,
)
from .ranking import (
    METHODS as METHODS,
)
from .ranking import (
    aggregate as aggregate,
)
from .ranking import (
    alpha_rank as alpha_rank,
)
from .ranking import (
    alpharank as alpharank,
)
from .ranking import (
    approval as approval,
)
from .ranking import (
    borda as borda,
)
from .ranking import (
    bradley_terry as bradley_terry,
)
from .ranking import (
    bradley_terry_by_task as bradley_terry_by_task,
)
from .ranking import (
    compare as compare,
)
from .ranking import (
    copeland as copeland,
)
from .ranking import (
    elo as elo,
)
from .ranking import (
    instant_runoff as instant_runoff,
)
from .ranking import (
    kemeny as kemeny,
)
from .ranking import (
    maximal_lotteries as maximal_lotteries,
)
from .ranking import (
    minimax as minimax,
)
from .ranking import (
    nash_averaging as nash_averaging,
)
from .ranking import (
    plackett_luce as plackett_luce,
)
from .ranking import (
    plurality as plurality,
)
from .ranking import (
    rank as rank,
)
from .ranking import (
    ranked_pairs as ranked_pairs,
)
from .ranking import (
    schulze as schulze,
)
from .ranking import (
    select as select,
)
from .ranking import (
    soft_condorcet as soft_condorcet,
)
from .ranking import (
    task_mixture as task_mixture,
)
from .ranking import (
    thurstone as thurstone,
)

__version__: str

__all__ = [
    "METHODS",
    "Comparisons",
    "EvidenceError",
    "Leaderboard",
    "OptionError",
    "PolicyrankError",
    "Rankings",
    "Scores",
    "__version__",
    "aggregate",
    "alpha_rank",
    "alpharank",
    "approval",
    "audit",
    "auditing",
    "board",
    "borda",
    "bradley_terry",
    "bradley_terry_by_task",
    "compare",
    "copeland",
    "elo",
    "evaluate",
    "evaluation",
    "evidence",
    "instant_runoff",
    "kemeny",
    "maximal_lotteries",
    "metrics",
    "minimax",
    "nash_averaging",
    "plackett_luce",
    "plan",
    "plurality",
    "rank",
    "rank_confidence_sets",
    "ranked_pairs",
    "ranking",
    "read",
    "read_comparisons",
    "read_lm_eval",
    "read_rankings",
    "read_scores",
    "schulze",
    "select",
    "soft_condorcet",
    "studies",
    "task_mixture",
    "thurstone",
]
