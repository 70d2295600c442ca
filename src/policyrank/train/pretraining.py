"""Text that keeps a policy fluent while it learns from rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answers import read_rows
from policyrank.fingerprints import hashed
from policyrank.learn.losses import pretraining_loss
from policyrank.models.tokens import padding
from policyrank.train.ppo_config import PPOConfig


class PretrainingTexts:
    """Texts as token ids, some of which each batch learns from.

    Parameters
    ----------
    texts
        texts, rows with ``text``, or a file of such rows (JSONL, parquet, CSV)
    tokenizer
        of the policy; its end token closes each text that is not cut

    Raises
    ------
    EvidenceError
        For no text of two tokens, or rows without one.
    """

    def __init__(self, texts: Any, tokenizer: Any, args: PPOConfig) -> None:
        self._pad, self._args = padding(tokenizer), args
        self.notes: tuple[str, ...] = ()
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        coded = [tokenizer(text)["input_ids"] + end for text in _texts(texts)]
        cut = sum(len(ids) > args.max_length for ids in coded)
        short = sum(len(ids) < 2 for ids in coded)
        self.ids = [ids[: args.max_length] for ids in coded if len(ids) > 1]
        if not self.ids:
            raise EvidenceError("pretraining: no text of at least two tokens.")
        if cut:
            self.notes += (f"pretraining: {cut:,} texts are cut at {args.max_length:,} tokens",)
        if short:
            self.notes += (f"pretraining: {short:,} texts of less than two tokens are left out",)

    def fingerprint(self) -> str:
        """What they hold."""
        return hashed(self.ids)

    def loss(self, model: Any, step: int, number: int) -> Tensor:
        """Mean negative log-likelihood of a token, of some texts drawn for this batch: ()."""
        args = self._args
        rng = np.random.default_rng([args.seed, step, number, args.process_index])
        size = min(args.pretraining_rows, len(self.ids))
        chosen = [self.ids[k] for k in rng.choice(len(self.ids), size, replace=False)]
        width = max(map(len, chosen))
        ids = torch.full((size, width), self._pad)
        there = torch.zeros(ids.shape, dtype=torch.bool)
        for k, own in enumerate(chosen):
            ids[k, : len(own)] = torch.tensor(own)
            there[k, : len(own)] = True
        device = next(model.parameters()).device
        ids, there = ids.to(device), there.to(device)
        logits = model(input_ids=ids, attention_mask=there.long(), use_cache=False).logits
        each = logits[:, :-1].float().log_softmax(dim=-1)
        log_probs = each.gather(-1, ids[:, 1:, None]).squeeze(-1)
        return pretraining_loss(log_probs, there[:, 1:])


def _texts(given: Any) -> Sequence[str]:
    if isinstance(given, (str, Path)):
        given = [row for _, row in read_rows(given)]
    found = []
    for number, row in enumerate(given):
        text = row if isinstance(row, str) else row.get("text") if hasattr(row, "get") else None
        if not isinstance(text, str):
            raise EvidenceError(f"pretraining, row {number + 1}: no text. Give a column 'text'.")
        found.append(text)
    if not found:
        raise OptionError("pretraining: no texts.")
    return found
