"""Causal language models of others: log-probabilities of answers, choices, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError
from policyrank.evidence.answers import Prompt
from policyrank.models.loading import best_device, load_causal_lm
from policyrank.models.tokens import encode, encode_answer, encode_prompt, padding

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LogProb",
    "answer_logprobs",
    "best_device",
    "choice_probs",
    "encode",
    "encode_answer",
    "encode_prompt",
    "generate",
    "load_causal_lm",
    "padding",
]


@dataclass(frozen=True)
class LogProb:
    """Log-probability of an answer: nats, its tokens, and whether it had to be cut."""

    logprob: float
    tokens: int
    cut: bool


def answer_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[Prompt, str]],
    *,
    max_length: int = 1024,
    batch_tokens: int = 4096,
    chat: bool | None = None,
    end: bool = True,
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

    Yields
    ------
    list of (index into ``texts``, LogProb)
    """
    coded, sizes = [], []
    for prompt, answer in texts:
        head, tail, cut = encode(tokenizer, prompt, answer, max_length, chat=chat, end=end)
        coded.append((head, tail, cut))
        sizes.append(len(head) + len(tail))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    for batch in _batches(sizes, batch_tokens):
        totals = _totals(model, _chosen(coded, batch), pad)
        done = []
        for k, total in zip(batch, totals, strict=True):
            _, tail, cut = coded[k]
            done.append((k, LogProb(float(total), len(tail), cut)))
        yield done


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
    model: Any, texts: Sequence[tuple[list[int], list[int], bool]], pad: int
) -> NDArray[np.float64]:
    """Log-probability of each answer after its prompt, of one batch: (texts,)."""
    import torch

    width = max(len(head) + len(tail) for head, tail, _ in texts)
    ids = torch.full((len(texts), width), pad, dtype=torch.long)
    mask, answer = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (head, tail, _) in enumerate(texts):
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
) -> NDArray[np.float64]:
    """Probabilities of the options as what comes next, among themselves: (prompts, options).

    Options of one token cost one pass over the prompts for all of them.
    """
    coded = [encode_answer(tokenizer, option, end=False)[0] for option in options]
    if set(map(len, coded)) == {1}:
        heads = []
        for prompt in prompts:
            heads.append(encode(tokenizer, prompt, "", max_length, chat=chat, end=False)[0])
        log = _next_tokens(model, heads, list(chain.from_iterable(coded)), batch_tokens)
    else:
        texts = list(product(prompts, options))
        log = np.empty((len(prompts), len(options)))
        for done in answer_logprobs(
            model,
            tokenizer,
            texts,
            max_length=max_length,
            batch_tokens=batch_tokens,
            chat=chat,
            end=False,
        ):
            for k, found in done:
                log[divmod(k, len(options))] = found.logprob
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
        ids, mask = _padded_left(_chosen(heads, group), 0)
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


def _padded_left(heads: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts that end in the last place, where the next token is predicted."""
    import torch

    width = max(map(len, heads))
    ids = torch.full((len(heads), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, head in enumerate(heads):
        ids[row, width - len(head) :] = torch.tensor(head)
        mask[row, width - len(head) :] = 1
    return ids, mask


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    n: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 0.7,
    top_p: float = 1.0,
    batch: int = 16,
    seed: int | None = None,
    chat: bool | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """``n`` sampled answers of each prompt; temperature 0 takes the likeliest token (and n = 1).

    Parameters
    ----------
    batch
        sequences decoded at once
    seed
        of torch's generators (None: as they stand)
    report
        called with prompts done and in all

    Raises
    ------
    OptionError
        For several answers at temperature 0.
    """
    import torch

    if temperature == 0 and n > 1:
        raise OptionError(
            f"temperature 0 gives {n} times the same answer. Raise it, or ask for one."
        )
    if seed is not None:
        torch.manual_seed(seed)
    heads = [encode_prompt(tokenizer, prompt, chat=chat) for prompt in prompts]
    order = sorted(range(len(heads)), key=lambda k: len(heads[k]))
    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    options |= {"max_new_tokens": max_new_tokens, "num_return_sequences": n}
    pad, device = padding(tokenizer), next(model.parameters()).device
    out: list[list[str]] = [[] for _ in prompts]
    size, done, was_training = max(1, batch // n), 0, model.training
    model.eval()
    for start in range(0, len(order), size):
        group = order[start : start + size]
        ids, mask = _padded_left(_chosen(heads, group), pad)
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                pad_token_id=pad,
                **options,
            )
        texts = tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
        for row, k in enumerate(group):
            out[k] = texts[row * n : (row + 1) * n]
        done += len(group)
        if report is not None:
            report(done, len(prompts))
    model.train(was_training)
    return out
