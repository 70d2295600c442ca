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
from .masked_diffusion import (
    CONFIDENCES as CONFIDENCES,
    Confidence as Confidence,
    Denoised as Denoised,
    Denoising as Denoising,
    MaskedDiffusionSampler as MaskedDiffusionSampler,
    Written as Written,
    denoise as denoise,
)
from .masked_language import (
    MaskedModel as MaskedModel,
    MaskPredictor as MaskPredictor,
    Prediction as Prediction,
    load_masked_lm as load_masked_lm,
)
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
from .unmasking_policy import (
    PolicySizes as PolicySizes,
    UnmaskingPolicy as UnmaskingPolicy,
    add_policy as add_policy,
)

__all__ = [
    "CONFIDENCES",
    "About",
    "ChatTurns",
    "Confidence",
    "Decoding",
    "Denoised",
    "Denoising",
    "GroupSampler",
    "Loaded",
    "LogProb",
    "MaskPredictor",
    "MaskedDiffusionSampler",
    "MaskedModel",
    "ModelSampler",
    "PlainTurns",
    "PolicySizes",
    "Prediction",
    "Sampled",
    "Trajectory",
    "TurnWriter",
    "UnmaskingPolicy",
    "Written",
    "about",
    "add_policy",
    "answer_logprobs",
    "choice_probs",
    "denoise",
    "encode_texts",
    "generate",
    "kind_of_model",
    "load",
    "load_causal_lm",
    "load_cross_encoder",
    "load_encoder",
    "load_masked_lm",
    "load_reward_model",
    "sample",
]
