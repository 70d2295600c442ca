"""Train: rankers from lists (extra ``learn``), language models and reward models from ranked
answers (extra ``llm``).
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from policyrank.train.answers import encode_answers
    from policyrank.train.preference import ListwisePreferenceTrainer
    from policyrank.train.reward import RewardModelTrainer, reward_model, reward_scorer

_LLM = {
    "ListwisePreferenceTrainer": "preference",
    "RewardModelTrainer": "reward",
    "encode_answers": "answers",
    "reward_model": "reward",
    "reward_scorer": "reward",
}


def __getattr__(name: str) -> Any:
    if name not in _LLM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"policyrank.train.{_LLM[name]}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs {error.name}: pip install 'policyrank[llm]'"
        ) from None


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
