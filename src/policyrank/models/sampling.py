"""Answers sampled from causal language models, as texts and as the ids that were sampled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.conversations import Prompt
from policyrank.models.fitting import LongPrompts, Seen
from policyrank.models.tokens import encode_prompt, padding, stop_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampled:
    """A sampled answer.

    Attributes
    ----------
    text
        without special tokens
    ids
        as they were sampled, the end token included where it was
    ended
        whether the model ended it; else it was cut at the most new tokens
    log_probs
        of each id, by whoever sampled; None: not known
    """

    text: str
    ids: tuple[int, ...]
    ended: bool
    log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Trajectory(Sampled):
    """Turns of a model and what it read between them, one behind the other.

    Attributes
    ----------
    where
        of each id, whether the model wrote it; ``log_probs`` of others are 0
    segments
        of each id, its turn (1, 2, ...); 0 for what the model read
    messages
        what was said, in turn
    columns
        name -> what is known of it, such as why it stopped
    """

    where: tuple[bool, ...] = ()
    segments: tuple[int, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)


def sample(
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
    room: int | None = None,
    long_prompts: LongPrompts = "leave out",
    seen: Seen | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[list[Sampled]]:
    """``n`` sampled answers of each prompt; temperature 0 takes the likeliest token (and n = 1).

    An answer ends with the end token, or with the end of turn of the chat template.

    Parameters
    ----------
    batch
        sequences decoded at once
    seed
        of torch's generators (None: as they stand)
    max_new_tokens
        of an answer, at most; fewer where the model's context ends
    room
        tokens of a prompt, at most (None: as the model's context has it)
    long_prompts
        longer ones get no answer, or are cut at their beginning
    seen
        counts them
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
    heads = []
    for number, prompt in enumerate(prompts, 1):
        try:
            heads.append(encode_prompt(tokenizer, prompt, chat=chat))
        except EvidenceError as error:
            raise EvidenceError(f"prompt {number}: {error}") from None
    context = context_of(model)
    room = min(room or context, context - 1)
    long = sum(len(head) > room for head in heads)
    (seen or Seen()).long += long
    if long_prompts == "cut":
        heads = [head[-room:] for head in heads]
    order = [k for k, head in enumerate(heads) if len(head) <= room]
    order.sort(key=lambda k: len(heads[k]))
    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    stop = stop_ids(tokenizer, chat)
    options["num_return_sequences"] = n
    options["eos_token_id"] = stop or None
    pad, device = padding(tokenizer), next(model.parameters()).device
    out: list[list[Sampled]] = [[] for _ in prompts]
    done, was_training = 0, model.training
    model.eval()
    for group in _groups(order, heads, max(1, batch // n), context - max_new_tokens):
        ids, mask = padded_left([heads[k] for k in group], pad)
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                pad_token_id=pad,
                max_new_tokens=min(max_new_tokens, context - ids.shape[1]),
                **options,
            )
        rows = made[:, ids.shape[1] :].tolist()
        for row, k in enumerate(group):
            own = rows[row * n : (row + 1) * n]
            out[k] = [as_sampled(tokenizer, row_ids, stop) for row_ids in own]
        done += len(group)
        if report is not None:
            report(done, len(prompts))
    model.train(was_training)
    return out


def _groups(
    order: Sequence[int], heads: Sequence[Sequence[int]], size: int, room: int
) -> Iterator[list[int]]:
    """Prompts that are answered together, shortest first.

    One that leaves less room than an answer may take is answered alone, so that it does not cut
    those of others.
    """
    group: list[int] = []
    for k in order:
        if group and (len(group) == size or len(heads[k]) > room):
            yield group
            group = []
        group.append(k)
    if group:
        yield group


def context_of(model: Any) -> int:
    """The most tokens that a model reads."""
    config = model.config
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    names = ("max_position_embeddings", "max_sequence_length")  # as most have it; as LLaDA
    known = [getattr(config, name, None) for name in names]
    return int(known[0] or known[1] or 2**30)


def as_sampled(tokenizer: Any, ids: Sequence[int], stop: Sequence[int]) -> Sampled:
    """An answer up to its end; what follows is padding."""
    own = list(ids)
    for place, token in enumerate(own):
        if token in stop:
            own = own[: place + 1]
            break
    text = tokenizer.decode(own, skip_special_tokens=True)
    return Sampled(text, tuple(own), bool(own) and own[-1] in stop)


def ids_until(tokenizer: Any, ids: Sequence[int], stops: Sequence[str]) -> int | None:
    """How many ids it takes until one of some texts is written; None: none is.

    Special tokens count as their texts.
    """
    own = list(ids)

    def holds(n: int) -> bool:
        text = tokenizer.decode(own[:n], skip_special_tokens=False)
        return any(stop in text for stop in stops)

    if not stops or not holds(len(own)):
        return None
    return bisect_left(range(len(own)), True, key=holds)


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], **options: Any
) -> list[list[str]]:
    """The texts of ``sample``'s answers; ``options`` are its own."""
    made = sample(model, tokenizer, prompts, **options)
    return [[answer.text for answer in answers] for answers in made]


def padded_left(heads: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts that end in the last place, where the next token is predicted."""
    import torch

    width = max(map(len, heads))
    ids = torch.full((len(heads), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, head in enumerate(heads):
        ids[row, width - len(head) :] = torch.tensor(head)
        mask[row, width - len(head) :] = 1
    return ids, mask
