"""Rankers that were trained here, or by others, read back to rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from policyrank.errors import EvidenceError
from policyrank.models import kind_of_model
from policyrank.models.encoders import refuse_new_head
from policyrank.models.provenance import about
from policyrank.train.rankers import RANKERS
from policyrank.train.text_rankers import TEXT_RANKERS


def kind_of(ranker: str, kind: str | None) -> str:
    """cross-encoder or bi-encoder: as told, or as its files say.

    Raises
    ------
    EvidenceError
        When neither says it.
    """
    kinds = " or a ".join(TEXT_RANKERS)
    if kind is None:
        try:
            kind = kind_of_model(ranker)
        except EvidenceError:
            raise EvidenceError(f"{ranker}: say with --kind whether it is a {kinds}.") from None
    if kind not in TEXT_RANKERS:
        raise EvidenceError(f"{ranker}: say with --kind whether it is a {kinds}.")
    return kind


def load_text_ranker(
    ranker: str,
    *,
    kind: str | None = None,
    max_length: int | None = None,
    dtype: str | None = None,
    report: Callable[[str], Any],
) -> Any:
    """An encoder as it was trained, or as told, where ``report`` hears what differs.

    Raises
    ------
    EvidenceError
        When it cannot be read, nothing says what it is, or its head was never trained.
    """
    trained = about(ranker)
    options: dict[str, Any] = {}
    for name, value in {"kind": kind, "max_length": max_length, "dtype": dtype}.items():
        before = getattr(trained, name, None)
        options[name] = before if value is None else value
        if None not in (before, value) and before != value:
            report(f"{ranker} was trained with {name} {before}: it is {value} now, as told")
    found = kind_of(ranker, options.pop("kind"))
    module = TEXT_RANKERS[found](ranker, trainable=False, **options)
    if found == "cross-encoder":
        refuse_new_head(module.encoder, ranker)
    for note in module.notes:
        report(note)
    return module


@dataclass(frozen=True)
class FeatureRanker:
    """A ranker of features as it was trained.

    Attributes
    ----------
    model
        (lists, n, features) and a mask -> scores (lists, n)
    features
        how many it reads
    features_from
        the number of the first one in files
    standardise
        whether it reads them standardised within each query
    """

    model: nn.Module
    features: int
    features_from: int
    standardise: bool


def load_feature_ranker(ranker: str | Path) -> FeatureRanker:
    """What ``policyrank train ranker`` wrote for features.

    Raises
    ------
    EvidenceError
        When there is no such file, or it is none.
    """
    import torch

    if not Path(ranker).is_file():
        raise EvidenceError(f"{ranker}: no such file. Train one with `policyrank train ranker`.")
    try:
        kept = torch.load(ranker, weights_only=True)
        model = RANKERS[kept["kind"]](kept["features"], **kept["options"])
        model.load_state_dict(kept["weights"])
        first = kept.get("features_from", 1)
        return FeatureRanker(model, kept["features"], first, kept["standardise"])
    except Exception as error:
        why = str(error).splitlines()[0][:200]
        raise EvidenceError(f"{ranker}: not a ranker of policyrank ({why}).") from None
