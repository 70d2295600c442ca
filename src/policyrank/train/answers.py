"""Ranked answers as tokens: encoded once, laid out so that no token is read twice and little
padding is read at all.

In the layout ``shared`` the answers of a list follow their prompt in one row: each sees the prompt
and itself, not the others (by the attention mask) and has the positions that it would have alone;
several short lists share a row. In ``rows`` each answer has a row with its own copy of the prompt,
for models that take no such mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.evidence import AnswerSets, RankedAnswers, read_answers
from policyrank.models.language import encode_answer, encode_prompt

Layout = Literal["shared", "rows"]
LongPrompts = Literal["leave out", "cut"]


@dataclass(frozen=True)
class EncodedAnswers:
    """One list as tokens.

    Attributes
    ----------
    prompt
        token ids
    completions
        token ids of each, end token included
    steps
        of each token, its step (1, 2, ...)
    labels
        of each completion, higher is better
    reference
        log-probability of each completion's steps under the reference, (completions, steps); None
        before it is computed
    """

    prompt: list[int]
    completions: list[list[int]]
    steps: list[list[int]]
    labels: list[float]
    reference: list[list[float]] | None = None

    @property
    def tokens(self) -> int:
        """In the layout that shares the prompt."""
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(eq=False)
class AnswerData(torch.utils.data.Dataset[EncodedAnswers]):
    """Encoded lists, and what was left out or cut on the way."""

    lists: list[EncodedAnswers]
    notes: tuple[str, ...] = ()
    answers: list[RankedAnswers] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: int) -> EncodedAnswers:
        return self.lists[k]

    def with_reference(self, found: Sequence[list[list[float]]]) -> AnswerData:
        """The same lists with log-probabilities under a reference."""
        return replace(
            self, lists=[replace(x, reference=r) for x, r in zip(self.lists, found, strict=True)]
        )


def encode_answers(
    source: Any,
    tokenizer: Any,
    *,
    max_length: int = 1024,
    long_prompts: LongPrompts = "leave out",
    chat: bool | None = None,
    end: bool = True,
) -> AnswerData:
    """Tokens of ranked answers.

    Parameters
    ----------
    source
        what ``read_answers`` takes
    max_length
        tokens of prompt and one completion; longer completions are cut at the end, which is counted
    long_prompts
        prompts that leave no room for half of ``max_length``: lists are left out, or prompts cut at
        their beginning; counted either way
    chat, end
        see ``models.language.encode``

    Raises
    ------
    EvidenceError
        When nothing is left, or a row is malformed.
    """
    sets: AnswerSets = read_answers(source)
    half, lists, kept = max_length // 2, [], []
    cut = long = same = 0
    for found in sets:
        head = encode_prompt(tokenizer, found.prompt, chat=chat)
        if len(head) > half:
            long += 1
            if long_prompts == "leave out":
                continue
            head = head[-half:]
        coded = [encode_answer(tokenizer, a, end=end) for a in found.steps or found.completions]
        room = max_length - len(head)
        cut += sum(len(ids) > room for ids, _ in coded)
        tails = [ids[:room] for ids, _ in coded]
        same += len(tails) - len({tuple(t) for t in tails})
        lists.append(EncodedAnswers(head, tails, [s[:room] for _, s in coded], list(found.labels)))
        kept.append(found)
    notes = list(sets.notes)
    if long:
        notes.append(
            f"{'left out' if long_prompts == 'leave out' else 'cut at their beginning'}: {long:,}"
            f" prompts of more than {half} tokens (half of max_length)"
        )
    if cut:
        notes.append(f"cut: {cut:,} completions at {max_length} tokens, prompt included")
    if same:
        notes.append(
            f"{same:,} completions are the same as another of their list once they are tokens"
        )
    if not lists:
        raise EvidenceError(
            f"no list is left: {'; '.join(notes)}. Raise max_length, or take long_prompts='cut'."
        )
    return AnswerData(lists, tuple(notes), kept)


@dataclass(frozen=True)
class AnswerCollator:
    """Lists -> tensors of one step.

    ``input_ids``, ``position_ids`` (rows, tokens); ``owner`` (rows, tokens): the list, -1 for
    padding; ``part``: 0 for the prompt, k for the k-th completion. For every completion token,
    flat: ``row``, ``place`` (of the token that predicts it), ``target``, ``answer`` (list * longest
    list + completion) and ``step``. ``labels``, ``where``, ``lengths`` (lists, longest list);
    ``reference`` (lists, longest list, steps) where there is one.
    """

    pad: int
    layout: Layout = "shared"

    def __call__(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        pieces = self._pieces(lists)
        longest = max(sum(len(ids) for ids, *_ in piece) for piece in pieces)
        rows: list[list[list[tuple[Any, ...]]]] = []
        room: list[int] = []
        for piece in sorted(
            pieces, key=lambda p: -sum(len(ids) for ids, *_ in p)
        ):  # first fit, longest first
            size = sum(len(ids) for ids, *_ in piece)
            at = (
                next((r for r, free in enumerate(room) if free >= size), len(rows))
                if self.layout == "shared"
                else len(rows)
            )
            if at == len(rows):
                rows.append([])
                room.append(longest)
            rows[at].append(piece)
            room[at] -= size
        shape = (len(rows), max(longest - free for free in room))
        ids, position = np.full(shape, self.pad), np.zeros(shape, dtype=np.int64)
        owner, part = np.full(shape, -1), np.zeros(shape, dtype=np.int64)
        flat: list[list[np.ndarray[Any, Any]]] = [[] for _ in range(5)]
        wide = max(len(x.completions) for x in lists)
        for r, row in enumerate(rows):
            start = 0
            for piece in row:
                head_end = start
                for tokens, which, completion, steps in piece:
                    n = len(tokens)
                    own = slice(start, start + n)
                    ids[r, own], owner[r, own], part[r, own] = tokens, which, completion
                    if completion == 0:
                        position[r, own] = np.arange(n)
                        head_end = start + n
                    else:
                        head = len(lists[which].prompt)
                        position[r, own] = np.arange(head, head + n)
                        before = np.concatenate([[head_end - 1], np.arange(start, start + n - 1)])
                        answer = np.full(n, which * wide + completion - 1)
                        for column, values in zip(
                            flat, (np.full(n, r), before, tokens, answer, steps), strict=True
                        ):
                            column.append(np.asarray(values, dtype=np.int64))
                    start += n
        out = {"input_ids": ids, "position_ids": position, "owner": owner, "part": part}
        out |= {
            name: np.concatenate(c)
            for name, c in zip(("row", "place", "target", "answer", "step"), flat, strict=True)
        }
        tensors = {k: torch.from_numpy(v) for k, v in out.items()}
        tensors["labels"] = _padded([x.labels for x in lists], wide, torch.float32)
        tensors["lengths"] = _padded(
            [[len(c) for c in x.completions] for x in lists], wide, torch.int64
        )
        tensors["where"] = tensors["lengths"] > 0
        if all(x.reference is not None for x in lists):
            steps = max(len(s) for x in lists for s in x.reference or ())
            tensors["reference"] = torch.stack(
                [
                    torch.nn.functional.pad(
                        _padded(x.reference or [], steps, torch.float32),
                        (0, 0, 0, wide - len(x.completions)),
                    )
                    for x in lists
                ]
            )
        return tensors

    def _pieces(self, lists: Sequence[EncodedAnswers]) -> list[list[tuple[Any, ...]]]:
        """What must stand in one row: a prompt and what is read after it, as (tokens, list,
        completion, steps).
        """
        out = []
        for which, x in enumerate(lists):
            head = (x.prompt, which, 0, None)
            tails = [
                (c, which, k, s)
                for k, (c, s) in enumerate(zip(x.completions, x.steps, strict=True), 1)
            ]
            out += [[head, *tails]] if self.layout == "shared" else [[head, tail] for tail in tails]
        return out


def _padded(rows: Sequence[Sequence[float]], width: int, dtype: torch.dtype) -> Tensor:
    out = torch.zeros(len(rows), width, dtype=dtype)
    for k, row in enumerate(rows):
        out[k, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def attention(owner: Tensor, part: Tensor, dtype: torch.dtype) -> Tensor:
    """What each token sees, as an additive mask (rows, 1, tokens, tokens): the prompt of its list
    and its own completion, up to itself; padding sees itself.
    """
    n = owner.shape[1]
    shown = (owner[:, :, None] == owner[:, None, :]) & (
        (part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :])
    )
    shown &= torch.ones(n, n, dtype=torch.bool, device=owner.device).tril()
    return torch.zeros(shown.shape, dtype=dtype, device=owner.device).masked_fill_(
        ~shown, torch.finfo(dtype).min
    )[:, None]


def token_log_probs(
    model: Any, batch: dict[str, Tensor], *, layout: Layout, keep: bool, hidden: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of all completion tokens, flat as the collator lists them, and with
    ``hidden`` the last hidden states (tokens, d) of the tokens themselves.

    Parameters
    ----------
    model
        causal language model of transformers, wrapped by peft, accelerate or not
    keep
        whether it takes ``logits_to_keep``: logits are then computed only where something is
        predicted
    """
    row, place = batch["row"], batch["place"]
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
    found = model(**seen)
    logits = found.logits
    log_probs = _LogProbs.apply(logits, row, place, batch["target"])
    if not hidden:
        return log_probs, None
    at = torch.nonzero(batch["part"] > 0)  # row by row, as the flat columns are
    return log_probs, found.hidden_states[-1][at[:, 0], at[:, 1]]


class _LogProbs(torch.autograd.Function):
    """log softmax(logits)[row, place, target] in float32; the gradient is made in one pass over the
    logits.
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
