"""Rankers of texts: cross- and bi-encoders of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.errors import OptionError
from policyrank.models.encoders import head_is_new, load_cross_encoder, load_encoder
from policyrank.models.quiet import quietly
from policyrank.train.adapters import Layers, adapted, adapter_facts, is_adapted, save_stacked
from policyrank.train.freezing import train_last
from policyrank.train.texts import TextData, Texts


def _read(encoder: Any, texts: Sequence[Any], device: Any) -> Any:
    """What an encoder of sentence-transformers says of texts (or pairs), on a device."""
    inputs = {}
    for name, values in encoder.preprocess(list(texts)).items():
        if isinstance(values, Tensor):
            inputs[name] = values.to(device)
    return encoder(inputs)


def _longest_first(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.argsort([-len(text) for text in texts], kind="stable")


class TextRanker(nn.Module):
    """An encoder of sentence-transformers that scores texts, ``batch`` read at once.

    Attributes
    ----------
    encoder
        of sentence-transformers
    batch
        texts read at once, the longest first
    notes
        what was done when the encoder was loaded
    """

    def __init__(self, encoder: Any, batch: int, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.encoder, self.batch, self.notes = encoder, batch, tuple(notes)
        self._below: Layers | None = None

    @property
    def body(self) -> Any:
        """The model of transformers, or of peft, within the encoder."""
        return self.encoder[0].model

    @property
    def task(self) -> str:
        """What peft calls its task."""
        name = type(self.body).__name__
        if name.endswith("ForSequenceClassification"):
            return "SEQ_CLS"
        return (
            "CAUSAL_LM" if name.endswith(("ForCausalLM", "LMHeadModel")) else "FEATURE_EXTRACTION"
        )

    @property
    def adapters(self) -> dict[str, Any] | None:
        """The options of its adapters; None without any."""
        return adapter_facts(self.body.active_peft_config) if is_adapted(self.body) else None

    def adapt(self, peft_config: Any) -> None:
        """Train adapters in place of the weights.

        Parameters
        ----------
        peft_config
            of new adapters, stacked on those that the encoder has

        Raises
        ------
        MissingExtraError
            When peft is missing.
        OptionError
            For adapters that do not fit, or cannot be stacked.
        """
        self.encoder[0].model, self._below = adapted(self.body, peft_config)

    def save(self, path: Any) -> None:
        """In sentence-transformers' own format; adapters as a folder of adapters."""
        with quietly():
            self.encoder.save_pretrained(str(path), create_model_card=False)
        if is_adapted(self.body):
            Path(path, "README.md").unlink(missing_ok=True)  # an empty form of peft's
        if self._below is not None:
            save_stacked(self.body, self._below, path)


class CrossEncoderRanker(TextRanker):
    """Scores of a cross-encoder: query and document read together.

    Parameters
    ----------
    encoder
        ``sentence_transformers.CrossEncoder`` with one label
    batch
        pairs read at once, the longest first
    notes
        what was done when the encoder was loaded
    """

    def __init__(self, encoder: Any, batch: int = 32, notes: Sequence[str] = ()) -> None:
        super().__init__(encoder, batch, notes)

    def forward(self, texts: Texts, where: Tensor) -> Tensor:
        shown = where.cpu().numpy()
        queries = np.nonzero(shown)[0]
        documents = [texts.collection[place] for place in texts.documents[shown]]
        order = _longest_first(documents)
        parts = []
        for start in range(0, len(order), self.batch):
            group = order[start : start + self.batch]
            pairs = [(texts.queries[queries[k]], documents[k]) for k in group]
            parts.append(_read(self.encoder, pairs, where.device)["scores"].squeeze(-1).float())
        out = torch.zeros(where.shape, device=where.device)
        if not parts:
            return out
        back = torch.from_numpy(np.argsort(order)).to(where.device)
        return out.masked_scatter(where, torch.cat(parts)[back])


class BiEncoderRanker(TextRanker):
    """Scores of a bi-encoder: ``scale`` times the cosine of query and document.

    Each document of a step is read once.

    Parameters
    ----------
    encoder
        ``sentence_transformers.SentenceTransformer``
    scale
        20 is the field's custom for softmax losses
    batch
        texts read at once, the longest first
    notes
        what was done when the encoder was loaded
    """

    def __init__(
        self, encoder: Any, scale: float = 20.0, batch: int = 64, notes: Sequence[str] = ()
    ) -> None:
        super().__init__(encoder, batch, notes)
        self.scale = scale

    def vectors(self, texts: Sequence[str], device: Any) -> Tensor:
        """Unit vectors (texts, d), with gradients."""
        order = _longest_first(texts)
        parts = []
        for start in range(0, len(order), self.batch):
            group = [texts[k] for k in order[start : start + self.batch]]
            found = _read(self.encoder, group, device)["sentence_embedding"]
            parts.append(nn.functional.normalize(found.float(), dim=-1))
        return torch.cat(parts)[torch.from_numpy(np.argsort(order)).to(device)]

    def forward(self, texts: Texts, where: Tensor) -> Tensor:
        shown = where.cpu().numpy()
        if not shown.any():
            return torch.zeros(where.shape, device=where.device)
        used, back = np.unique(texts.documents[shown], return_inverse=True)
        documents = self.vectors([texts.collection[k] for k in used], where.device)
        queries = self.vectors(texts.queries, where.device)
        place = np.zeros(shown.shape, dtype=np.int64)
        place[shown] = back
        cosine = (queries @ documents.T).gather(1, torch.from_numpy(place).to(where.device))
        return (self.scale * cosine).masked_fill(~where, 0.0)


def cross_encoder(
    name: str = "minilm",
    *,
    batch: int = 32,
    max_length: int | None = None,
    layers: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    trainable: bool = True,
) -> CrossEncoderRanker:
    """A cross-encoder by folder, hub name, or ``minilm``, to be trained.

    Parameters
    ----------
    batch
        pairs read at once
    max_length
        tokens of a pair; what is longer is cut (None: as the encoder was saved)
    layers
        train only so many of its last layers and the head
    dtype
        of the weights (None: float32, even where they were saved in half precision)
    trainable
        adapters stay apart and are trained further; otherwise they are merged into their base
    """
    encoder = load_cross_encoder(name, device, max_length, dtype, trainable=trainable)
    notes = _widened(encoder, name, dtype)
    if head_is_new(encoder):
        notes.append(f"{name}: the head is new, its weights are drawn at random")
    return CrossEncoderRanker(_partly(encoder, layers), batch, notes)


def bi_encoder(
    name: str = "minilm",
    *,
    scale: float = 20.0,
    batch: int = 64,
    max_length: int | None = None,
    layers: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    trainable: bool = True,
) -> BiEncoderRanker:
    """A bi-encoder by folder, hub name, or ``minilm``, to be trained.

    Parameters
    ----------
    scale
        what cosines are multiplied by
    batch
        texts read at once
    max_length
        tokens of a text; what is longer is cut (None: as the encoder was saved)
    layers
        train only so many of its last layers
    dtype
        of the weights (None: float32, even where they were saved in half precision)
    trainable
        adapters stay apart and are trained further; otherwise they are merged into their base
    """
    encoder = load_encoder(name, device, dtype, trainable=trainable)
    if max_length is not None:
        encoder.max_seq_length = max_length
    notes = _widened(encoder, name, dtype)
    return BiEncoderRanker(_partly(encoder, layers), scale, batch, notes)


def _partly(encoder: Any, layers: int | None) -> Any:
    """An encoder of which only the last layers are trained."""
    if layers is not None and is_adapted(encoder[0].model):
        raise OptionError("layers: the model is adapters, which are trained as they are.")
    return train_last(encoder, layers)


def _widened(encoder: Any, name: str, dtype: str | None) -> list[str]:
    """Put weights in half precision into float32, where no ``dtype`` is told; what is said of it.

    A step of training is often smaller than what half precision can tell apart.
    """
    saved = {own.dtype for own in encoder.parameters() if own.is_floating_point()}
    small = saved & {torch.bfloat16, torch.float16}
    halves = sorted(str(own).removeprefix("torch.") for own in small)
    if dtype is not None or not halves:
        return []
    encoder.float()
    return [f"{name}: saved in {' and '.join(halves)}, its weights are float32 while it trains"]


TEXT_RANKERS: dict[str, Callable[..., Any]] = {
    "cross-encoder": cross_encoder,
    "bi-encoder": bi_encoder,
}


def long_texts(ranker: TextRanker, data: TextData, *, most: int = 10_000) -> tuple[int, int]:
    """How many candidates are longer than what a ranker reads, and how many were looked at.

    Parameters
    ----------
    most
        candidates to look at, spread over all; of a bi-encoder their documents are looked at, of a
        cross-encoder the pairs with their queries
    """
    rows = np.unique(np.linspace(0, len(data.labels) - 1, min(most, len(data.labels))).astype(int))
    documents = [data.collection[place] for place in data.documents[rows]]
    query = np.searchsorted(data.offsets, rows, side="right") - 1
    found = token_lengths(ranker, [data.texts[place] for place in query], documents)
    return int((found > ranker.encoder.max_seq_length).sum()), len(rows)


def token_lengths(
    ranker: TextRanker, queries: Sequence[str], documents: Sequence[str]
) -> NDArray[np.int64]:
    """Tokens of each candidate, before any is cut: (candidates,).

    Of a bi-encoder of the document, of a cross-encoder of the pair with its query.
    """
    texts = [list(documents)]
    if isinstance(ranker, CrossEncoderRanker):
        texts = [list(queries), list(documents)]
    found = ranker.encoder.tokenizer(*texts, truncation=False, verbose=False)["input_ids"]
    return np.fromiter(map(len, found), dtype=np.int64, count=len(documents))
