"""Reward models: bodies of language models with a head of one score."""

from __future__ import annotations

from typing import Any

from policyrank._rooms import require
from policyrank.errors import EvidenceError, OptionError
from policyrank.models.loading import (
    adapter_config,
    architectures,
    base_of,
    best_device,
    load_causal_lm,
    merged,
    own_tokenizer,
    with_adapters,
)
from policyrank.models.provenance import expect
from policyrank.models.quiet import quietly
from policyrank.models.tokens import pad_apart

HEADS = ("score", "classifier", "v_head", "out_proj")
"""What the layer is called that gives the score."""


def load_reward_model(
    name: str,
    *,
    new_head: bool = False,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "auto",
    trainable: bool = False,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A reward model and its tokenizer: a saved one, or with ``new_head`` one to be trained.

    Parameters
    ----------
    name
        folder or hub name of a sequence classifier with one output, or of adapters of one; with
        ``new_head`` also of a causal language model, ``*.gguf``, or ``smollm2``, whose body then
        gets a new head
    seed
        of a new head
    device, dtype, trainable
        as in ``load_causal_lm``
    trust_remote_code
        run the code that comes with a model, as released POLAR checkpoints need

    Raises
    ------
    EvidenceError
        When the model cannot be loaded, has several outputs, or a head that was never trained.
    """
    require("transformers", "a reward model")
    told = None if new_head else expect(name, ("reward", "discriminator"))
    adapters = adapter_config(name)
    if trust_remote_code:
        return _remote(name, dtype, device)
    if adapters is not None and adapters.get("task_type") == "SEQ_CLS":
        model, tokenizer = _of_adapters(name, trainable, dtype, seed)
    elif any(found.endswith("ForSequenceClassification") for found in architectures(name)):
        model, tokenizer = _saved(name, dtype, new_head)
    elif new_head:
        model, tokenizer = _new(name, dtype, seed)
    else:
        raise EvidenceError(
            f"{name} is no reward model: it has no head that gives a score. Train one (policyrank"
            " train reward), or score by its likelihood (--likelihood) or judgement (--judge)."
        )
    if told is None and not new_head:
        _refuse_pairs(tokenizer, name)
    config = model.config
    if config.num_labels != 1:
        raise EvidenceError(
            f"{name}: a classifier of {config.num_labels} labels; a reward model gives one score."
        )
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = pad_apart(tokenizer)
    return model.to(device or best_device()).eval(), tokenizer


def _refuse_pairs(tokenizer: Any, name: str) -> None:
    """Refuse an encoder that reads two texts at once, each with an end of its own."""
    ids = tokenizer("a")["input_ids"]
    if len(ids) > 1 and ids[-1] in tokenizer.all_special_ids:
        raise EvidenceError(
            f"{name} reads a question and an answer as a pair, as cross-encoders do. Rank with it:"
            " policyrank rerank --kind cross-encoder."
        )


def _saved(name: str, dtype: str, new_head: bool) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        with quietly():
            model, found = AutoModelForSequenceClassification.from_pretrained(
                name, dtype=dtype, output_loading_info=True
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EvidenceError(f"reward model {name}: cannot be loaded ({why[:300]}).") from None
    missing = sorted(found["missing_keys"])
    untrained = [key for key in missing if any(head in key.split(".") for head in HEADS)]
    if untrained and not new_head:
        raise EvidenceError(
            f"{name}: its head ({untrained[0]}) is not among the saved weights: it was never"
            " trained, and would score at random."
        )
    return model, tokenizer


def _remote(name: str, dtype: str, device: str | None) -> tuple[Any, Any]:
    """A model of code that comes with it, which gives one number a text as its logits."""
    from transformers import AutoModel, AutoTokenizer

    try:
        with quietly():
            model: Any = AutoModel.from_pretrained(name, dtype=dtype, trust_remote_code=True)
            tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=True)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EvidenceError(f"reward model {name}: cannot be loaded ({why[:300]}).") from None
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = pad_apart(tokenizer)
    return model.to(device or best_device()).eval(), tokenizer


def _new(name: str, dtype: str, seed: int) -> tuple[Any, Any]:
    """The body of a language model, with a new head."""
    import torch
    from transformers import AutoModelForSequenceClassification

    body, tokenizer = load_causal_lm(name, device="cpu", dtype=dtype)
    if hasattr(body, "merge_and_unload"):
        body = merged(body, name)
    body.config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model: Any = AutoModelForSequenceClassification.from_config(
                body.config, dtype=body.dtype
            )
            model.base_model.load_state_dict(body.base_model.state_dict())
        except (ValueError, RuntimeError) as error:
            why = str(error).strip().splitlines()[0][:200]
            raise EvidenceError(
                f"{name}: transformers has no classifier of this kind of model ({why})."
            ) from None
    model.config.pad_token_id = pad_apart(tokenizer)
    return model, tokenizer


def _of_adapters(name: str, trainable: bool, dtype: str, seed: int) -> tuple[Any, Any]:
    base = base_of(name)
    if base == name:
        raise OptionError(f"{name}: adapters that name themselves as their base.")
    model, tokenizer = load_reward_model(base, new_head=True, seed=seed, device="cpu", dtype=dtype)
    found = with_adapters(model, name, trainable=trainable)
    return found, own_tokenizer(name) or tokenizer
