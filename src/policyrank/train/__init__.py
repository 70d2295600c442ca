"""Train: rankers from lists. Needs the extra ``learn``."""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank.train.data import Batch, RankingData, gap_lists, read_letor
from policyrank.train.ranker import Epoch, RankerTrainer
from policyrank.train.rankers import RANKERS, ListTransformer, Mlp, linear

__all__ = [
    "RANKERS",
    "Batch",
    "Epoch",
    "ListTransformer",
    "Mlp",
    "RankerTrainer",
    "RankingData",
    "gap_lists",
    "linear",
    "read_letor",
]
