"""Text by masked diffusion: an answer begins as masks, and each step unmasks some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.models.group_sampling import Decoding, _seed
from policyrank.models.masked_language import MaskedModel, MaskPredictor, Prediction, mask_of
from policyrank.models.sampling import Sampled, context_of
from policyrank.models.tokens import stop_ids
from policyrank.models.unmasking_policy import UnmaskingPolicy, policy_of

Order = Literal["random", "confidence", "margin", "entropy", "learned"]


class Confidence(Protocol):
    """Log-probabilities (rows, positions, vocabulary) and tokens (rows, positions) -> scores.

    Of positions (rows, positions): the highest are unmasked first.
    """

    def __call__(self, log_probs: Tensor, tokens: Tensor, /) -> Tensor: ...


def token_confidence(log_probs: Tensor, tokens: Tensor) -> Tensor:
    """How likely the token is that was drawn: LLaDA's rule (low-confidence remasking)."""
    return log_probs.gather(-1, tokens[..., None]).squeeze(-1)


def margin(log_probs: Tensor, _: Tensor) -> Tensor:
    """How much likelier the first token is than the second."""
    first, second = log_probs.topk(2, dim=-1).values.exp().unbind(dim=-1)
    return first - second


def negative_entropy(log_probs: Tensor, _: Tensor) -> Tensor:
    """How little is open, in nats."""
    return (log_probs.exp() * log_probs.clamp(min=-1e9)).sum(dim=-1)


CONFIDENCES: dict[str, Confidence] = {
    "confidence": token_confidence,
    "margin": margin,
    "entropy": negative_entropy,
}
"""Orders that follow from what the model predicts; beside them "random" and "learned"."""


@dataclass(frozen=True)
class Denoising:
    """How masks become an answer.

    Parameters
    ----------
    tokens
        of an answer, all masked at first
    steps
        of denoising; None: one token a step. Where they do not divide a block, its first steps
        unmask one token more, as LLaDA's
    block
        tokens of a block: blocks are unmasked one after the other (semi-autoregressive); None: all
        are one
    temperature
        what logits are divided by; 0: the likeliest tokens, and the highest scores of positions
    order
        ``"random"``; ``"confidence"``: the likeliest of the tokens drawn; ``"margin"``: the largest
        lead of the first token; ``"entropy"``: the least; ``"learned"``: drawn by the scores of the
        model's unmasking policy

    Raises
    ------
    OptionError
        For numbers out of their range, or blocks that do not fit.

    Examples
    --------
    >>> Denoising(tokens=6, steps=4, block=3).schedule()
    [(1, 2), (1, 1), (2, 2), (2, 1)]
    """

    tokens: int = 128
    steps: int | None = None
    block: int | None = None
    temperature: float = 1.0
    order: Order = "confidence"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise OptionError(f"tokens={self.tokens}: at least 1.")
        if not self.temperature >= 0:
            raise OptionError(f"temperature={self.temperature}: at least 0.")
        if self.order not in get_args(Order):
            names = ", ".join(get_args(Order))
            raise OptionError(f"order={self.order!r}: use one of {names}.")
        if self._block < 1 or self.tokens % self._block:
            raise OptionError(
                f"block={self.block}: blocks of equal size fill the {self.tokens} tokens."
            )
        blocks = self.tokens // self._block
        if self.count < blocks or self.count % blocks or self.count > self.tokens:
            raise OptionError(
                f"steps={self.steps}: as many for each of {blocks} blocks of {self._block}, and at"
                " most one a token."
            )

    @property
    def _block(self) -> int:
        return self.tokens if self.block is None else self.block

    @property
    def count(self) -> int:
        """Steps of an answer."""
        return self.tokens if self.steps is None else self.steps

    @property
    def most(self) -> int:
        """Tokens of the largest step."""
        return max(count for _, count in self.schedule())

    def schedule(self) -> list[tuple[int, int]]:
        """Of each step, the number of its block, from 1, and how many tokens it unmasks."""
        blocks = self.tokens // self._block
        each = self.count // blocks
        found = []
        for number in range(1, blocks + 1):
            for step in range(each):
                found.append((number, self._block // each + (step < self._block % each)))
        return found

    def blocks(self) -> Tensor:
        """The number of each token's block, from 1: (tokens,)."""
        return torch.arange(self.tokens) // self._block + 1


@dataclass(frozen=True, eq=False)
class Written:
    """Answers, and how they came to be.

    Attributes
    ----------
    ids
        (rows, tokens)
    steps, places
        (rows, tokens), in which step each was unmasked, and as which of it, from 1
    blocks
        (rows, tokens), numbers of blocks, from 1
    log_probs
        (rows, tokens), of each token when it was drawn, at the temperature
    """

    ids: Tensor
    steps: Tensor
    places: Tensor
    blocks: Tensor
    log_probs: Tensor


def denoise(
    predict: MaskPredictor,
    heads: Tensor,
    how: Denoising,
    *,
    policy: UnmaskingPolicy | None = None,
    seed: int | torch.Generator = 0,
) -> Written:
    """An answer to each prompt.

    Parameters
    ----------
    predict
        what masked positions may hold
    heads
        (rows, prompt), ids of prompts of one length; it may be 0
    policy
        of a learned order
    seed
        of tokens and of positions that are drawn

    Raises
    ------
    OptionError
        For a learned order without a policy, or without hidden states.

    References
    ----------
    Nie et al. (2025), "Large Language Diffusion Models", arXiv 2502.09992; Huang et al. (2025),
    arXiv 2505.10446.
    """
    rows, prompt = heads.shape
    device = heads.device
    generator = seed
    if isinstance(generator, int):
        generator = torch.Generator(device).manual_seed(generator)
    decoding = Decoding(how.tokens, how.temperature)
    ids = torch.cat([heads, heads.new_zeros(rows, how.tokens)], dim=1)
    steps = torch.zeros(rows, how.tokens, dtype=torch.long, device=device)
    places, told = torch.zeros_like(steps), torch.zeros(steps.shape, device=device)
    blocks = how.blocks().to(device).expand_as(steps)
    before = torch.zeros(rows, prompt, dtype=torch.bool, device=device)
    for number, (block, count) in enumerate(how.schedule(), 1):
        masked = steps == 0
        found = predict(ids, torch.cat([before, masked], dim=1), how.tokens)
        log_probs = decoding.log_probs(found.logits)
        tokens = decoding.drawn(log_probs, generator)
        here = blocks == block
        share = (number - 1) / how.count
        scores = _scores(found, tokens, how.order, policy, share, masked, here)
        if how.order == "random" or (how.order == "learned" and how.temperature > 0):
            scores = scores + _gumbel(scores, generator)
        keys = scores.masked_fill(~(masked & here), -torch.inf)
        chosen = keys.argsort(dim=-1, descending=True, stable=True)[:, :count]
        kept, place = tokens.gather(1, chosen), torch.arange(1, count + 1, device=device)
        own = log_probs.gather(-1, tokens[..., None]).squeeze(-1)
        ids[:, prompt:].scatter_(1, chosen, kept)
        steps.scatter_(1, chosen, number)
        places.scatter_(1, chosen, place.expand_as(chosen))
        told.scatter_(1, chosen, own.gather(1, chosen).float())
    return Written(ids[:, prompt:], steps, places, blocks, told)


def _gumbel(scores: Tensor, generator: torch.Generator) -> Tensor:
    """Noise with which the highest of scores are a draw by Plackett-Luce, in its order."""
    wait = torch.empty_like(scores).exponential_(generator=generator)
    return -torch.log(wait.clamp(min=torch.finfo(wait.dtype).tiny))


def _scores(
    found: Prediction,
    tokens: Tensor,
    order: Order,
    policy: UnmaskingPolicy | None,
    share: float,
    masked: Tensor,
    block: Tensor,
) -> Tensor:
    """Of positions, the highest first: (rows, positions)."""
    if order == "random":
        return torch.zeros(masked.shape, device=masked.device)
    if order == "learned":
        return position_scores(policy, found, share, masked, block)
    plain = torch.log_softmax(found.logits.float(), dim=-1)
    return CONFIDENCES[order](plain, tokens)


def position_scores(
    policy: UnmaskingPolicy | None, found: Prediction, share: float, masked: Tensor, block: Tensor
) -> Tensor:
    """What an unmasking policy makes of a prediction: (rows, positions).

    Parameters
    ----------
    share
        of the steps that are done, in [0, 1)
    masked, block
        (rows, positions)

    Raises
    ------
    OptionError
        When there is no policy, or there are no hidden states.
    """
    if policy is None or found.hidden is None:
        raise OptionError(
            "a learned order needs the model's hidden states and its unmasking policy: add one"
            " (models.add_policy), or load a model that was trained with it."
        )
    time = torch.full((len(masked),), share, device=masked.device)
    return policy(found.hidden, time, masked, block)


@dataclass(frozen=True)
class Denoised(Sampled):
    """A sample by masked diffusion: ids of the whole answer, its end and what follows it.

    Attributes
    ----------
    steps, places, blocks
        of each token, as ``learn.Unmasking`` has them
    """

    steps: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()


@dataclass
class MaskedDiffusionSampler:
    """A ``GroupSampler`` by a masked language model of transformers.

    Sampled as the model stands when it is called; the mode it is in comes back. Prompts of one
    length are sampled together, so that nothing is padded.

    Parameters
    ----------
    model, tokenizer
        the tokenizer says what ends an answer; one that ends none counts as ended
    how
        how masks become an answer
    chat
        whether prompts came through the chat template, whose end of turn then ends answers too
    rows
        answers that are sampled at once
    """

    model: Any
    tokenizer: Any
    how: Denoising = field(default_factory=Denoising)
    chat: bool | None = None
    rows: int = 64

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        """``samples`` of each prompt, ``Denoised``; the same seed draws the same.

        Raises
        ------
        OptionError
            For several samples where nothing is drawn, a prompt that leaves no room in the
            context, and a learned order of a model without a policy.
        """
        if not self.how.temperature and self.how.order != "random" and samples > 1:
            raise OptionError("temperature 0 gives the same sample again: raise it, or ask for 1.")
        context, longest = context_of(self.model), max(map(len, heads), default=0)
        if longest + self.how.tokens > context:
            raise OptionError(
                f"a prompt of {longest:,} and an answer of {self.how.tokens:,} tokens: the model"
                f" reads {context:,}."
            )
        predict = MaskedModel(
            self.model, mask_of(self.model, self.tokenizer), hidden=self.how.order == "learned"
        )
        device, was = next(self.model.parameters()).device, self.model.training
        flat: list[Sampled | None] = [None] * (len(heads) * samples)
        self.model.eval()
        try:
            with torch.inference_mode():
                for number, which in enumerate(self._batches(heads, samples)):
                    ids = torch.tensor([list(heads[k // samples]) for k in which], device=device)
                    made = denoise(
                        predict,
                        ids.reshape(len(which), -1).long(),
                        self.how,
                        policy=policy_of(self.model),
                        seed=_seed(seed, number),
                    )
                    for k, own in zip(which, self._told(made), strict=True):
                        flat[k] = own
        finally:
            self.model.train(was)
        done = [own for own in flat if own is not None]
        return [done[k : k + samples] for k in range(0, len(done), samples)]

    def _batches(self, heads: Sequence[Sequence[int]], samples: int) -> Iterator[list[int]]:
        """Numbers of answers that are sampled together: of prompts of one length."""
        by_length: dict[int, list[int]] = {}
        for k, head in enumerate(heads):
            own = range(k * samples, (k + 1) * samples)
            by_length.setdefault(len(head), []).extend(own)
        for length in sorted(by_length):
            own_rows = by_length[length]
            for first in range(0, len(own_rows), self.rows):
                yield own_rows[first : first + self.rows]

    def _told(self, made: Written) -> Iterator[Denoised]:
        stop = stop_ids(self.tokenizer, self.chat)
        parts = (made.ids, made.log_probs, made.steps, made.places, made.blocks)
        for ids, known, *when in zip(*(own.tolist() for own in parts), strict=True):
            ends = [place for place, token in enumerate(ids, 1) if token in stop]
            text = self.tokenizer.decode(ids[: ends[0] if ends else None], skip_special_tokens=True)
            ended = bool(ends) or not stop
            steps, places, blocks = map(tuple, when)
            yield Denoised(text, tuple(ids), ended, tuple(known), steps, places, blocks)
