from .encoders import (
    encode_texts as encode_texts,
    load_cross_encoder as load_cross_encoder,
    load_encoder as load_encoder,
)
from .group_sampling import (
    Decoding as Decoding,
    GroupSampler as GroupSampler,
    ModelSampler as ModelSampler,
)
from .language import (
    LogProb as LogProb,
    answer_logprobs as answer_logprobs,
    choice_probs as choice_probs,
)
from .loading import load_causal_lm as load_causal_lm
from .opening import Loaded as Loaded, kind_of_model as kind_of_model, load as load
from .provenance import About as About, about as about
from .reward_models import load_reward_model as load_reward_model
from .sampling import (
    Sampled as Sampled,
    Trajectory as Trajectory,
    generate as generate,
    sample as sample,
)
from .turns import ChatTurns as ChatTurns, PlainTurns as PlainTurns, TurnWriter as TurnWriter

__all__ = [
    "About",
    "ChatTurns",
    "Decoding",
    "GroupSampler",
    "Loaded",
    "LogProb",
    "ModelSampler",
    "PlainTurns",
    "Sampled",
    "Trajectory",
    "TurnWriter",
    "about",
    "answer_logprobs",
    "choice_probs",
    "encode_texts",
    "generate",
    "kind_of_model",
    "load",
    "load_causal_lm",
    "load_cross_encoder",
    "load_encoder",
    "load_reward_model",
    "sample",
]
