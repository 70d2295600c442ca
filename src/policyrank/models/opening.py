"""One door for models: what a name stands for, and the model behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.json_schema import read_json
from policyrank.models.loading import adapter_config, architectures, load_causal_lm
from policyrank.models.masked_language import load_masked_lm
from policyrank.models.provenance import About, Kind, about
from policyrank.models.reward_models import load_reward_model


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model, and what it is.

    Attributes
    ----------
    kind
        policy, masked-diffusion, reward, discriminator, cross-encoder or bi-encoder
    model
        of transformers, peft or sentence-transformers
    tokenizer
        None of an encoder, which has its own
    about
        what training said of it; None where policyrank did not write it
    """

    kind: Kind
    model: Any
    tokenizer: Any
    about: About | None


_OF_ADAPTERS: dict[Any, Kind] = {"SEQ_CLS": "reward", "FEATURE_EXTRACTION": "bi-encoder"}
"""Task of adapters, as peft names it -> what they are."""


def kind_of_model(name: str) -> Kind:
    """What a name stands for: as training wrote it, or as the files look.

    A classifier is taken for a reward model, as it may be; a cross-encoder has to be told apart by
    sentence-transformers' files, or by ``kind`` of ``load``.

    Raises
    ------
    EvidenceError
        When nothing tells.
    """
    told = about(name)
    if told is not None:
        return told.kind
    if name == "minilm":
        return "bi-encoder"
    if name == "smollm2" or name.endswith(".gguf"):
        return "policy"
    encoder = _kind_of_encoder(Path(name))
    if encoder is not None:
        return encoder
    adapters = adapter_config(name)
    if adapters is not None:
        return _OF_ADAPTERS.get(adapters.get("task_type"), "policy")
    classes = architectures(name)
    if any(found.endswith("ForSequenceClassification") for found in classes):
        return "reward"
    if any(found.endswith(("ForCausalLM", "LMHeadModel")) for found in classes):
        return "policy"
    if any(found.endswith("ForMaskedLM") for found in classes):
        return "masked-diffusion"
    raise EvidenceError(
        f"{name}: nothing tells whether it is a language model, a reward model or a ranker. Say so"
        " (kind=)."
    )


def _kind_of_encoder(folder: Path) -> Kind | None:
    """What sentence-transformers wrote there; None where it did not."""
    path = folder / "config_sentence_transformers.json"
    try:
        told = read_json(path, dict[str, Any]).get("model_type")
    except EvidenceError:
        told = None
    if told == "CrossEncoder":
        return "cross-encoder"
    if (folder / "modules.json").is_file():  # cross-encoders had none before they named themselves
        return "bi-encoder"
    return "cross-encoder" if path.is_file() else None


def load(name: str, kind: Kind | None = None, **options: Any) -> Loaded:
    """A model by folder, hub name or package: base, adapters, merged, reward model or ranker.

    Parameters
    ----------
    kind
        what it is used as; None: what it says that it is
    options
        of ``load_causal_lm``, ``load_masked_lm``, ``load_reward_model``, ``load_encoder`` or
        ``load_cross_encoder``, such as ``device`` and ``dtype``

    Raises
    ------
    MissingExtraError, EvidenceError
        When a package is missing, or the model cannot be loaded as what it is used as.

    Examples
    --------
    >>> load("smollm2").kind  # doctest: +SKIP
    'policy'
    """
    kind = kind or kind_of_model(name)
    if kind == "policy":
        return Loaded(kind, *load_causal_lm(name, **options), about(name))
    if kind == "masked-diffusion":
        return Loaded(kind, *load_masked_lm(name, **options), about(name))
    if kind in ("reward", "discriminator"):
        return Loaded(kind, *load_reward_model(name, **options), about(name))
    from policyrank.models.encoders import load_cross_encoder, load_encoder

    makes = load_encoder if kind == "bi-encoder" else load_cross_encoder
    return Loaded(kind, makes(name, **options), None, about(name))
