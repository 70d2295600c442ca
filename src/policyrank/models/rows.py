"""Several continuations of a prompt in one row of a causal language model, token by token."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policyrank.models.sampling import padded_left

PROMPT, NOBODY = -1, -2
"""Whose a key is that is of no sample: of the prompt, which all see, or of padding."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Of the mean log-probability of a token in two layouts; of other dtypes .1."""


def takes(model: Any, name: str) -> bool:
    """Whether a model, wrapped by peft or not, reads an argument of this name."""
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return name in inspect.signature(model.forward).parameters


def window_of(config: Any) -> float:
    """Tokens that a layer looks back, at most."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    if window is None or getattr(text, "use_sliding_window", True) is False:
        return math.inf
    return float(window)


class GroupRows:
    """Prompts and what their samples wrote so far, a row each.

    Parameters
    ----------
    model
        that keeps samples in one row apart (``keeps_apart``)
    heads
        ids of each prompt
    samples
        of each; sample k of prompt j is number ``j * samples + k``
    pad
        id of padding

    Attributes
    ----------
    prompts
        (prompts, tokens), padded on the left
    """

    def __init__(self, model: Any, heads: Sequence[list[int]], samples: int, pad: int) -> None:
        self._device = next(model.parameters()).device
        ids, mask = padded_left(heads, pad)
        self.prompts, self._mask = ids.to(self._device), mask.to(self._device)
        self._model, self._samples, self._pad = model, samples, pad
        self._lengths = self._mask.sum(dim=-1)
        self._owner = torch.where(self._mask > 0, PROMPT, NOBODY)
        self._rows = torch.arange(len(heads), device=self._device)  # prompts still in the cache
        self._past: Any = None
        self._cache = "cache" if takes(model, "cache") else "past_key_values"
        self._done = 0

    def first(self) -> Tensor:
        """Read the prompts: logits of each sample's first token, (samples, vocabulary)."""
        keep = {"logits_to_keep": 1} if takes(self._model, "logits_to_keep") else {}
        found = self._model(
            input_ids=self.prompts,
            attention_mask=self._mask,
            position_ids=(self._mask.cumsum(dim=-1) - 1).clamp(min=0),
            use_cache=True,
            **keep,
        )
        self._past = getattr(found, self._cache)
        return found.logits[:, -1].repeat_interleave(self._samples, dim=0)

    def step(self, at: Tensor, tokens: Tensor) -> Tensor:
        """Read one more token of some samples: logits of their next ones.

        Parameters
        ----------
        at
            (n,), their numbers, ascending, each of which was read at every step before
        tokens
            (n,)

        Returns
        -------
        (n, vocabulary)
        """
        self._leave(at // self._samples)
        row = torch.searchsorted(self._rows, at // self._samples)
        first = torch.searchsorted(row, torch.arange(len(self._rows), device=self._device))
        column = torch.arange(len(at), device=self._device) - first[row]
        shape = (len(self._rows), int(column.max()) + 1)
        ids = torch.full(shape, self._pad, device=self._device)
        ids[row, column] = tokens
        own = torch.full(shape, NOBODY, device=self._device)
        own[row, column] = at
        positions = (self._lengths + self._done)[:, None].expand(shape)
        self._owner = torch.cat([self._owner, own], dim=-1)
        self._done += 1
        found = self._model(
            input_ids=ids,
            attention_mask=self._shown(own),
            position_ids=positions,
            use_cache=True,
            **{self._cache: self._past},
        )
        self._past = getattr(found, self._cache)
        return found.logits[row, column]

    def _leave(self, prompts: Tensor) -> None:
        """Take rows out of which no sample goes on."""
        there = torch.isin(self._rows, prompts)
        if bool(there.all()):
            return
        kept = there.nonzero().squeeze(-1)
        self._past.batch_select_indices(kept)
        self._rows = self._rows[kept]
        self._lengths, self._owner = self._lengths[kept], self._owner[kept]

    def _shown(self, own: Tensor) -> Tensor:
        """What each token sees, as an additive mask: (rows, 1, tokens, keys)."""
        seen = (self._owner[:, None] == own[..., None]) | (self._owner[:, None] == PROMPT)
        dtype = next(self._model.parameters()).dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=self._device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def forced(model: Any, head: list[int], tails: Tensor) -> Tensor:
    """Log-probabilities of given continuations, read in one row: (samples, tokens)."""
    rows = GroupRows(model, [head], len(tails), head[-1])
    every = torch.arange(len(tails), device=tails.device)
    logits = [rows.first()]
    logits += [rows.step(every, token) for token in tails.T[:-1]]
    found = torch.stack(logits, dim=1).log_softmax(dim=-1)
    return found.gather(-1, tails[..., None]).squeeze(-1)


def forced_in_rows(model: Any, head: list[int], tails: Tensor) -> Tensor:
    """The same, each continuation in a row of its own."""
    before = torch.tensor(head, device=tails.device).expand(len(tails), -1)
    ids = torch.cat([before, tails], dim=1)
    logits = model(input_ids=ids, use_cache=False).logits[:, len(head) - 1 : -1]
    return logits.log_softmax(dim=-1).gather(-1, tails[..., None]).squeeze(-1)


def keeps_apart(model: Any) -> bool:
    """Whether a model gives samples in one row what it gives each in a row of its own.

    Tried on a few tokens; the model must be in evaluation mode. A window is ``window_of``'s matter.
    """
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(int(text.vocab_size), (9,), generator=rng).tolist()
    tails = torch.randint(int(text.vocab_size), (3, 5), generator=rng)
    tails = tails.to(next(model.parameters()).device)
    try:
        with torch.inference_mode():
            apart = forced(model, ids, tails) - forced_in_rows(model, ids, tails)
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError):
        return False
    return bool(apart.abs().mean() < TOLERANCE.get(model.dtype, 0.1))
