"""Train: rankers from lists. Needs the extra ``learn``."""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank.train.data import Batch, Lists, RankingData, gap_lists, read_letor
from policyrank.train.negatives import SAMPLERS, Sampler
from policyrank.train.ranker import Epoch, RankerTrainer
from policyrank.train.rankers import RANKERS, ListTransformer, Mlp, linear
from policyrank.train.texts import (
    TEXT_RANKERS,
    BiEncoderRanker,
    CrossEncoderRanker,
    TextData,
    Texts,
    bi_encoder,
    cross_encoder,
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
    "Mlp",
    "RankerTrainer",
    "RankingData",
    "Sampler",
    "TextData",
    "Texts",
    "bi_encoder",
    "cross_encoder",
    "gap_lists",
    "linear",
    "read_letor",
]
