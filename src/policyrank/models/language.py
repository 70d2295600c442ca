"""Causal language models of others: log-probabilities of answers, and of choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Answer, Prompt
from policyrank.models.fitting import LongPrompts, Seen, encode, fitted
from policyrank.models.loading import best_device, load_causal_lm
from policyrank.models.sampling import Sampled, context_of, generate, padded_left, sample
from policyrank.models.tokens import answer_tokens, ask, encode_prompt, option_ids, padding

__all__ = [
    "LogProb",
    "Sampled",
    "answer_logprobs",
    "best_device",
    "choice_probs",
    "encode",
    "encode_prompt",
    "generate",
    "load_causal_lm",
    "padding",
    "sample",
    "token_logprobs",
]


@dataclass(frozen=True)
class LogProb:
    """Log-probability of an answer: nats, its tokens, and whether it had to be cut.

    NaN of no token where the prompt was too long, or the answer cannot be read.
    """

    logprob: float
    tokens: int
    cut: bool


def answer_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[Prompt, Answer]],
    *,
    max_length: int = 1024,
    batch_tokens: int = 4096,
    chat: bool | None = None,
    end: bool = True,
    long_prompts: LongPrompts = "leave out",
    seen: Seen | None = None,
) -> Iterator[list[tuple[int, LogProb]]]:
    """Log-probabilities of (prompt, answer) texts under a causal language model.

    Batch by batch, shortest first.

    Parameters
    ----------
    model, tokenizer
        as ``load_causal_lm`` gives them
    texts
        (prompt, answer)
    max_length
        tokens of prompt and answer; longer answers are cut, and say so
    batch_tokens
        tokens of a batch, padding included
    long_prompts, seen
        what is done to prompts that are too long, and what counts them; see ``tokens.fitted``

    Yields
    ------
    list of (index into ``texts``, LogProb)
    """
    counted, lost = seen or Seen(), []
    places, coded, cuts = [], [], []
    limit = min(max_length, context_of(model))
    for k, (prompt, answer) in enumerate(texts):
        found = None
        try:
            asked = ask(tokenizer, prompt, chat=chat)
            tail = answer_tokens(tokenizer, asked, answer, end=end)
            found = fitted(asked.ids, [tail], limit, long_prompts, counted)
        except EvidenceError as error:
            counted.skip(error)
        if found is None:
            lost.append((k, LogProb(float("nan"), 0, True)))
            continue
        head, (kept,) = found
        places.append(k)
        coded.append((head, kept.ids))
        cuts.append(len(kept.ids) < len(tail.ids))
    if lost:
        yield lost
    for batch in token_logprobs(model, coded, pad=padding(tokenizer), batch_tokens=batch_tokens):
        done = []
        for k, total in batch:
            done.append((places[k], LogProb(total, len(coded[k][1]), cuts[k])))
        yield done


def token_logprobs(
    model: Any,
    coded: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    pad: int | None = None,
    batch_tokens: int = 4096,
) -> Iterator[list[tuple[int, float]]]:
    """Log-probabilities, nats, of answers after their prompts, both as token ids.

    Batch by batch, shortest first: (index, log-probability).
    """
    sizes = [len(head) + len(tail) for head, tail in coded]
    for batch in _batches(sizes, batch_tokens):
        totals = _totals(model, _chosen(coded, batch), pad or 0)
        yield list(zip(batch, map(float, totals), strict=True))


def _chosen(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[k] for k in places]


def _batches(sizes: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Places of texts, shortest first, in batches of so many tokens, padding included."""
    batch: list[int] = []
    for k in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batch and sizes[k] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def _totals(
    model: Any, texts: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int
) -> NDArray[np.float64]:
    """Log-probability of each answer after its prompt, of one batch: (texts,)."""
    import torch

    width = max(len(head) + len(tail) for head, tail in texts)
    ids = torch.full((len(texts), width), pad, dtype=torch.long)
    mask, answer = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (head, tail) in enumerate(texts):
        stop = len(head) + len(tail)
        ids[row, :stop] = torch.tensor([*head, *tail])
        mask[row, :stop] = 1
        answer[row, len(head) : stop] = True
    # Only positions that predict a token of some answer need logits.
    first = width - 1
    if answer.any():
        first = int(answer.any(dim=0).to(torch.int8).argmax())
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            logits_to_keep=width - first + 1,
        ).logits[:, :-1]
        target = ids[:, first:].to(device)
        gathered = logits.gather(-1, target[..., None]).squeeze(-1).float()
        token = gathered - torch.logsumexp(logits.float(), dim=-1)
        return (token.double() * answer[:, first:].to(device)).sum(dim=1).cpu().numpy()


def choice_probs(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    options: Sequence[str],
    *,
    max_length: int = 1024,
    batch_tokens: int = 4096,
    chat: bool | None = None,
    seen: Seen | None = None,
) -> NDArray[np.float64]:
    """Probabilities of the options as what comes next, among themselves: (prompts, options).

    Options of one token cost one pass over the prompts for all of them. Prompts longer than
    ``max_length`` get NaN, and ``seen`` counts them.
    """
    counted, limit = seen or Seen(), min(max_length, context_of(model))
    coded = [option_ids(tokenizer, option) for option in options]
    log = np.full((len(prompts), len(options)), np.nan)
    heads, places = [], []
    for k, prompt in enumerate(prompts):
        head = encode_prompt(tokenizer, prompt, chat=chat)
        if len(head) + max(map(len, coded)) > limit:
            counted.long += 1
            continue
        heads.append(head)
        places.append(k)
    if set(map(len, coded)) == {1}:
        if heads:
            log[places] = _next_tokens(model, heads, list(chain.from_iterable(coded)), batch_tokens)
    else:
        pairs = list(product(heads, coded))
        pad = padding(tokenizer)
        for batch in token_logprobs(model, pairs, pad=pad, batch_tokens=batch_tokens):
            for k, found in batch:
                row, column = divmod(k, len(options))
                log[places[row], column] = found
    share = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _next_tokens(
    model: Any, heads: Sequence[list[int]], tokens: Sequence[int], batch_tokens: int
) -> NDArray[np.float64]:
    """Logits of tokens as the next one, the longest prompts first: (prompts, tokens)."""
    import torch

    log = np.empty((len(heads), len(tokens)))
    order = sorted(range(len(heads)), key=lambda k: -len(heads[k]))
    device = next(model.parameters()).device
    start = 0
    while start < len(order):
        width = len(heads[order[start]])
        group = order[start : start + max(1, batch_tokens // width)]
        ids, mask = padded_left(_chosen(heads, group), 0)
        place = (mask.cumsum(dim=1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=place.to(device),
                logits_to_keep=1,
            ).logits[:, -1]
        log[group] = logits[:, list(tokens)].double().cpu().numpy()
        start += len(group)
    return log
