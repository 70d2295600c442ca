"""Masked language models of others: loaded by name, and asked what masked positions may hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from policyrank._rooms import require
from policyrank.errors import EvidenceError, OptionError
from policyrank.models.loading import best_device, named_dtype
from policyrank.models.provenance import expect
from policyrank.models.quiet import quietly


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of positions.

    Attributes
    ----------
    logits
        (rows, positions, vocabulary); -inf of a token that is never drawn, such as the mask
    hidden
        (rows, positions, width), of its last layer; None: not asked for
    """

    logits: Tensor
    hidden: Tensor | None = None


class MaskPredictor(Protocol):
    """Ids and what of them is masked (rows, positions), how many are asked -> their prediction.

    Asked for are the last ``last`` positions. Ids under the mask must not enter.
    """

    def __call__(self, ids: Tensor, masked: Tensor, last: int, /) -> Prediction: ...


@dataclass(frozen=True, eq=False)
class MaskedModel:
    """A ``MaskPredictor`` by a model of transformers that gives logits of all positions.

    All rows of a call have one length, and no attention mask is given: some models with code of
    their own, LLaDA's among them, do not read it.

    Parameters
    ----------
    model
        such as ``BertForMaskedLM``, or LLaDA's
    mask
        id of the mask token: ids under the mask are replaced by it, and it is never drawn
    hidden
        give hidden states too
    """

    model: Any
    mask: int
    hidden: bool = False

    def __call__(self, ids: Tensor, masked: Tensor, last: int, /) -> Prediction:
        """Logits and hidden states of the last positions."""
        options: dict[str, Any] = {"output_hidden_states": True} if self.hidden else {}
        found = self.model(input_ids=ids.masked_fill(masked, self.mask), **options)
        logits = found.logits[:, -last:].clone()
        logits[..., self.mask] = -float("inf")
        return Prediction(logits, found.hidden_states[-1][:, -last:] if self.hidden else None)


def mask_of(model: Any, tokenizer: Any) -> int:
    """Id of the mask token, as the tokenizer or the model's configuration has it.

    Raises
    ------
    OptionError
        When neither has one.
    """
    for found in (
        getattr(tokenizer, "mask_token_id", None),
        getattr(getattr(model, "config", None), "mask_token_id", None),
    ):
        if found is not None:
            return int(found)
    raise OptionError(
        "no mask token: neither the tokenizer nor the model's configuration has mask_token_id. It"
        " is no masked diffusion model, or has to be told (tokenizer.mask_token)."
    )


def load_masked_lm(
    model: str,
    device: str | None = None,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A masked language model and its tokenizer, with its unmasking policy where it has one.

    Parameters
    ----------
    model
        folder or hub name: any ``AutoModelForMaskedLM``; with ``trust_remote_code`` one that brings
        its code, such as GSAI-ML/LLaDA-8B-Instruct
    device
        "cpu", "cuda", ...; None: a GPU if there is one
    dtype
        of the weights: "auto" as they were saved, "float32", "bfloat16", ...
    trust_remote_code
        run the code that comes with the model

    Raises
    ------
    MissingExtraError
        When the extra ``llm`` is missing.
    EvidenceError
        When the model cannot be loaded, or reads from left to right only.
    """
    require("torch", "a masked language model")
    require("transformers", "a masked language model")
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

    from policyrank.models.unmasking_policy import load_policy

    expect(model, ("masked-diffusion",))
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        with quietly():
            config = AutoConfig.from_pretrained(model, **options)
            _refuse_causal(model, config, trust_remote_code)
            tokenizer = AutoTokenizer.from_pretrained(model, **options)
            own_code = getattr(config, "auto_map", None) or {}
            kind: Any = AutoModelForMaskedLM
            if trust_remote_code and own_code and "AutoModelForMaskedLM" not in own_code:
                kind = AutoModel
            loaded = kind.from_pretrained(model, dtype="auto", **options)
    except EvidenceError:
        raise
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        remedy = ""
        if "custom code" in why and not trust_remote_code:
            remedy = " If you trust that code, say so: trust_remote_code=True."
        raise EvidenceError(f"model {model}: cannot be loaded ({why}).{remedy}") from None
    if Path(model).is_dir():
        load_policy(loaded, model)
    if dtype != "auto":
        loaded.to(named_dtype(dtype))
    loaded.to(device or best_device()).eval()
    return loaded, tokenizer


def _refuse_causal(model: str, config: Any, own_code: bool) -> None:
    classes = getattr(config, "architectures", None) or []
    if not own_code and any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        raise EvidenceError(
            f"{model} writes from left to right: a masked language model is asked for, such as"
            " BertForMaskedLM, or LLaDA with trust_remote_code."
        )
