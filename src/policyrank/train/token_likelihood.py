"""One pass over laid-out answers: log-probabilities of their tokens, and sums over their steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from policyrank.train.answers import AnswerCollator, EncodedAnswers, Layout


def attention(owner: Tensor, part: Tensor, dtype: torch.dtype) -> Tensor:
    """What each token sees, as an additive mask: (rows, 1, tokens, tokens).

    The prompt of its list and its own completion, up to itself; padding sees itself.
    """
    n = owner.shape[1]
    same_list = owner[:, :, None] == owner[:, None, :]
    same_part = (part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :])
    before = torch.ones(n, n, dtype=torch.bool, device=owner.device).tril()
    shown = same_list & same_part & before
    mask = torch.zeros(shown.shape, dtype=dtype, device=owner.device)
    return mask.masked_fill_(~shown, torch.finfo(dtype).min)[:, None]


def token_log_probs(
    model: Any, batch: dict[str, Tensor], *, layout: Layout, keep: bool, hidden: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of all completion tokens, flat as the collator lists them.

    With ``hidden`` also the last hidden states (tokens, d) of the tokens themselves.

    Parameters
    ----------
    model
        causal language model of transformers, wrapped by peft, accelerate or not
    keep
        whether it takes ``logits_to_keep``: logits are then computed only where something is
        predicted
    """
    found, place = _read(model, batch, layout, keep, hidden)
    log_probs = _LogProbs.apply(found.logits, batch["row"], place, batch["target"])
    if not hidden:
        return log_probs, None
    return log_probs, found.hidden_states[-1][batch["row"], batch["at"]]


def sampled_log_probs(
    model: Any,
    batch: dict[str, Tensor],
    *,
    layout: Layout,
    keep: bool,
    temperature: float = 1.0,
    learned_entropy: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of completion tokens, and the entropy where each was drawn: flat.

    Parameters
    ----------
    temperature
        of sampling, by which logits are divided: what is learned is what was sampled from
    learned_entropy
        whether the entropy has a gradient
    """
    found, place = _read(model, batch, layout, keep, hidden=False)
    logits = found.logits if temperature == 1.0 else found.logits / temperature
    log_probs = _LogProbs.apply(logits, batch["row"], place, batch["target"])
    if learned_entropy:
        return log_probs, _entropy(logits[batch["row"], place])
    entropy = torch.zeros_like(log_probs)
    with torch.no_grad():
        for start in range(0, len(place), 256):  # so that little more memory is taken
            own = slice(start, start + 256)
            entropy[own] = _entropy(logits[batch["row"][own], place[own]])
    return log_probs, entropy


def _entropy(logits: Tensor) -> Tensor:
    """Of each distribution: (tokens, vocabulary) -> (tokens,)."""
    log_probs = logits.float().log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def _read(
    model: Any, batch: dict[str, Tensor], layout: Layout, keep: bool, hidden: bool
) -> tuple[Any, Tensor]:
    """What a model makes of a batch, and where in its logits each token is predicted."""
    place = batch["place"]
    dtype = next(model.parameters()).dtype
    seen: dict[str, Any] = {
        "input_ids": batch["input_ids"],
        "position_ids": batch["position_ids"],
        "use_cache": False,
    }
    if layout == "shared":
        seen["attention_mask"] = attention(batch["owner"], batch["part"], dtype)
    else:
        seen["attention_mask"] = (batch["owner"] >= 0).long()
    if keep:
        used, place = torch.unique(place, return_inverse=True)
        seen["logits_to_keep"] = used
    if hidden:
        seen["output_hidden_states"] = True
    return model(**seen), place


def layouts_agree(model: Any, own: EncodedAnswers, pad: int, *, keep: bool, apart: float) -> bool:
    """Whether the shared layout gives what rows give, on the beginnings of one list.

    Parameters
    ----------
    apart
        how far the mean log-probability of a token may be apart
    """
    device, was = next(model.parameters()).device, model.training

    def read(batch: dict[str, Tensor], layout: Layout) -> Tensor:
        moved = {name: values.to(device) for name, values in batch.items()}
        with torch.no_grad():
            return token_log_probs(model, moved, layout=layout, keep=keep)[0].cpu()

    model.eval()
    try:
        return readings_agree(read, own, pad, apart=apart)
    finally:
        model.train(was)


def readings_agree(
    read: Callable[[dict[str, Tensor], Layout], Tensor],
    own: EncodedAnswers,
    pad: int,
    *,
    apart: float,
) -> bool:
    """Whether what is read of each token, flat, is the same in both layouts, as ``layouts_agree``.

    Parameters
    ----------
    apart
        how far the means of answers may be apart
    """
    short = EncodedAnswers(
        own.prompt[-64:],
        [tokens[:64] for tokens in own.completions[:3]],
        [steps[:64] for steps in own.steps[:3]],
        own.labels[:3],
    )
    layouts: tuple[Layout, ...] = ("shared", "rows")
    means = []
    try:
        for layout in layouts:
            batch = AnswerCollator(pad, layout)([short])
            sums = by_step(read(batch, layout), batch, int(batch["step"].max()))
            means.append(sums / batch["lengths"][..., None])
    except (RuntimeError, ValueError, TypeError):
        return False
    return bool((means[0] - means[1]).abs().max() < apart)


def by_step(flat: Tensor, batch: dict[str, Tensor], steps: int) -> Tensor:
    """Sums over the tokens of each answer's steps: (lists, longest list, steps)."""
    shape = (*batch["labels"].shape, steps)
    key = batch["answer"] * steps + batch["step"] - 1
    return flat.new_zeros(math.prod(shape)).index_add(0, key, flat).reshape(shape)


def hidden_by_step(hidden: Tensor, batch: dict[str, Tensor], steps: int) -> tuple[Tensor, Tensor]:
    """Mean hidden state of each step (lists, longest list, steps, d), and whether it is there."""
    shape = (*batch["labels"].shape, steps)
    size, device = math.prod(shape), batch["answer"].device
    key = batch["answer"] * steps + batch["step"] - 1
    one = torch.ones_like(key, dtype=torch.float32)
    count = torch.zeros(size, device=device).index_add_(0, key, one)
    total = torch.zeros(size, hidden.shape[-1], device=device)
    total.index_add_(0, key, hidden.detach().float())
    means = total / count.clamp(min=1)[:, None]
    return means.reshape(*shape, -1), count.reshape(shape) > 0


class _LogProbs(torch.autograd.Function):
    """log softmax(logits)[row, place, target] in float32.

    The gradient is made in one pass over the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, row: Tensor, place: Tensor, target: Tensor) -> Tensor:
        normaliser = torch.logsumexp(logits.float(), dim=-1)
        ctx.save_for_backward(logits, normaliser, row, place, target)
        return logits[row, place, target].float() - normaliser[row, place]

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        logits, normaliser, row, place, target = ctx.saved_tensors
        share = torch.zeros_like(normaliser).index_put_((row, place), -outer, accumulate=True)
        grad = (logits.float() - normaliser[..., None]).exp_().mul_(share[..., None])
        grad.index_put_((row, place, target), outer, accumulate=True)
        return grad.to(logits.dtype), None, None, None
