from .answers import encode_answers as encode_answers
from .data import (
    Batch as Batch,
)
from .data import (
    Lists as Lists,
)
from .data import (
    RankingData as RankingData,
)
from .data import (
    gap_lists as gap_lists,
)
from .data import (
    read_letor as read_letor,
)
from .negatives import SAMPLERS as SAMPLERS
from .negatives import Sampler as Sampler
from .preference import ListwisePreferenceTrainer as ListwisePreferenceTrainer
from .ranker import Epoch as Epoch
from .ranker import RankerTrainer as RankerTrainer
from .rankers import (
    RANKERS as RANKERS,
)
from .rankers import (
    ListTransformer as ListTransformer,
)
from .rankers import (
    Mlp as Mlp,
)
from .rankers import (
    linear as linear,
)
from .reward import (
    RewardModelTrainer as RewardModelTrainer,
)
from .reward import (
    reward_model as reward_model,
)
from .reward import (
    reward_scorer as reward_scorer,
)
from .texts import (
    TEXT_RANKERS as TEXT_RANKERS,
)
from .texts import (
    BiEncoderRanker as BiEncoderRanker,
)
from .texts import (
    CrossEncoderRanker as CrossEncoderRanker,
)
from .texts import (
    TextData as TextData,
)
from .texts import (
    Texts as Texts,
)
from .texts import (
    bi_encoder as bi_encoder,
)
from .texts import (
    cross_encoder as cross_encoder,
)

__all__ = [
    "RANKERS",
    "SAMPLERS",
    "TEXT_RANKERS",
    "Batch",
    "BiEncoderRanker",
    "CrossEncoderRanker",
    "Epoch",
    "ListTransformer",
    "Lists",
    "ListwisePreferenceTrainer",
    "Mlp",
    "RankerTrainer",
    "RankingData",
    "RewardModelTrainer",
    "Sampler",
    "TextData",
    "Texts",
    "bi_encoder",
    "cross_encoder",
    "encode_answers",
    "gap_lists",
    "linear",
    "read_letor",
    "reward_model",
    "reward_scorer",
]
