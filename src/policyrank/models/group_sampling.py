"""Groups of samples of one prompt, which is read once: their next tokens stand in one row.

Every step feeds the next token of each sample, side by side in one row; an additive mask shows each
the prompt and what it wrote itself. The cache holds the prompt once, and grows by the samples that
are not done. Models that do not keep samples in one row apart (sliding windows, recurrent layers)
sample each in a row of its own, by transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.models.rows import GroupRows, keeps_apart, window_of
from policyrank.models.sampling import Sampled, as_sampled, context_of, ids_until, padded_left
from policyrank.models.tokens import padding, stop_ids

APART = "this model does not keep samples in one row apart; each is sampled in a row of its own"


class GroupSampler(Protocol):
    """Prompts as token ids, samples of each, a seed -> the samples of each prompt.

    With the ids as they were sampled, and where it is known with their log-probabilities.
    """

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]: ...


@dataclass(frozen=True)
class Decoding:
    """How the next token is drawn.

    Parameters
    ----------
    max_new_tokens
        of a sample, at most; fewer where the model's context ends
    temperature
        what logits are divided by; 0: the likeliest token
    top_k, top_p
        draw among so many likeliest tokens (0: all), and among those that together have this
        probability
    stop
        texts that end a sample when it has written one, such as ``</search>``; the ids stay as they
        were sampled, the last one may reach further than the text
    processors
        of transformers' ``generate`` (a ``LogitsProcessorList``), called with ids
        (samples, tokens) and logits (samples, vocabulary) before all others

    Raises
    ------
    OptionError
        For a number out of its range.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    processors: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise OptionError(f"max_new_tokens={self.max_new_tokens}: at least 1.")
        if not self.temperature >= 0:
            raise OptionError(f"temperature={self.temperature}: at least 0.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise OptionError(
                f"top_k={self.top_k}, top_p={self.top_p}: 0 or more tokens, of a probability in"
                " (0, 1]."
            )
        if isinstance(self.stop, str) or not all(self.stop):
            raise OptionError(f"stop={self.stop!r}: texts that are not empty, in a tuple.")

    def log_probs(self, logits: Tensor) -> Tensor:
        """Of every token, at the temperature: (..., vocabulary); top-k and top-p do not count.

        So trainers compute them too, of which a ratio is taken. Temperature 0 counts as 1.
        """
        return torch.log_softmax(logits.float() / (self.temperature or 1.0), dim=-1)

    def drawn(self, log_probs: Tensor, generator: torch.Generator) -> Tensor:
        """One token of each: (samples, vocabulary) -> (samples,)."""
        if not self.temperature:
            return log_probs.argmax(dim=-1)
        kept = log_probs
        if self.top_k:
            least = kept.topk(min(self.top_k, kept.shape[-1])).values[..., -1:]
            kept = kept.masked_fill(kept < least, -torch.inf)
        if self.top_p < 1:
            kept = _nucleus(kept, self.top_p)
        return _chosen(kept.softmax(dim=-1), generator)


def _chosen(chances: Tensor, generator: torch.Generator) -> Tensor:
    """One of each row, by the inverse of its distribution function: one random number a row.

    ``torch.multinomial`` draws one for each entry, which takes longer than a small model's layers.
    """
    whole = chances.double().cumsum(dim=-1)
    at = torch.rand(
        (*chances.shape[:-1], 1), generator=generator, dtype=whole.dtype, device=whole.device
    )
    found = torch.searchsorted(whole, at * whole[..., -1:], right=True)
    return found.clamp(max=chances.shape[-1] - 1).squeeze(-1)


def _nucleus(log_probs: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens that together have so much probability; the others at -inf."""
    ordered, order = log_probs.softmax(dim=-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    beyond = (before >= top_p).scatter(-1, order, before >= top_p)
    return log_probs.masked_fill(beyond, -torch.inf)


@dataclass
class ModelSampler:
    """A ``GroupSampler`` by a causal language model of transformers.

    Sampled as the model stands when it is called; the mode it is in comes back. Log-probabilities
    are those of ``Decoding.log_probs``.

    Parameters
    ----------
    model, tokenizer
        the tokenizer says what ends a sample
    chat
        whether prompts came through the chat template, whose end of turn then ends them too
    rows
        samples in the cache at once: prompts are taken together as long as they fit
    report
        told when the model needs a row for each sample
    """

    model: Any
    tokenizer: Any
    decoding: Decoding = field(default_factory=Decoding)
    chat: bool | None = None
    rows: int = 64
    report: Callable[[str], Any] | None = None
    _together: bool | None = field(default=None, init=False, repr=False)

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        """``samples`` of each prompt; the same seed draws the same.

        Raises
        ------
        OptionError
            For several samples at temperature 0, and for a prompt that fills the context.
        """
        if not self.decoding.temperature and samples > 1:
            raise OptionError("temperature 0 gives the same sample again: raise it, or ask for 1.")
        if not heads:
            return []
        context = context_of(self.model)
        longest = max(map(len, heads))
        if longest >= context:
            raise OptionError(f"a prompt of {longest:,} tokens: the model reads {context:,}.")
        was, draw = self.model.training, self._rows
        self.model.eval()
        try:
            if self._in_one_row(longest, context):
                draw = self._groups
            out: list[list[Sampled]] = [[] for _ in heads]
            with torch.inference_mode():
                for number, which in enumerate(self._batches(heads, samples, context)):
                    own = [list(heads[k]) for k in which]
                    made = draw(own, samples, _seed(seed, number), context)
                    for k, found in zip(which, made, strict=True):
                        out[k] = found
        finally:
            self.model.train(was)
        return out

    def _batches(
        self, heads: Sequence[Sequence[int]], samples: int, context: int
    ) -> Iterator[list[int]]:
        """Prompts that are sampled together, shortest first.

        One that leaves less room than a sample may take comes alone: it would cut the others.
        """
        size, room = max(1, self.rows // samples), context - self.decoding.max_new_tokens
        batch: list[int] = []
        for k in sorted(range(len(heads)), key=lambda k: len(heads[k])):
            if batch and (len(batch) == size or len(heads[k]) > room):
                yield batch
                batch = []
            batch.append(k)
        yield batch

    def _in_one_row(self, longest: int, context: int) -> bool:
        most = min(longest + self.decoding.max_new_tokens, context)
        if self._together is None:
            self._together = keeps_apart(self.model)
            if not self._together and self.report is not None:
                self.report(APART)
        return self._together and most <= window_of(self.model.config)

    def _groups(
        self, heads: list[list[int]], samples: int, seed: int, context: int
    ) -> list[list[Sampled]]:
        """Samples of prompts, those of each in one row."""
        device = next(self.model.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        stop = torch.tensor(stop_ids(self.tokenizer, self.chat), device=device)
        most = min(self.decoding.max_new_tokens, context - max(map(len, heads)))
        rows = GroupRows(self.model, heads, samples, padding(self.tokenizer))
        ids = torch.zeros(len(heads) * samples, most, dtype=torch.long, device=device)
        told = torch.zeros(ids.shape, device=device)
        lengths = torch.full((len(ids),), most, device=device)
        at = torch.arange(len(ids), device=device)  # the samples that are not done
        logits = rows.first()
        for place in range(most):
            logits = self._processed(logits, rows.prompts, ids, at, place, samples)
            log_probs = self.decoding.log_probs(logits)
            token = self.decoding.drawn(log_probs, generator)
            ids[at, place] = token
            told[at, place] = log_probs.gather(-1, token[:, None]).squeeze(-1)
            over = torch.isin(token, stop) | self._stopped(ids[at, : place + 1])
            lengths[at[over]] = place + 1
            at = at[~over]
            if not len(at) or place + 1 == most:
                break
            logits = rows.step(at, ids[at, place])
        ended = torch.ones(len(ids), dtype=torch.bool, device=device)
        ended[at] = False
        return self._told(ids, told, lengths, ended, samples)

    def _stopped(self, ids: Tensor) -> Tensor:
        """Which samples have just written a text that ends them: (samples,)."""
        stops = self.decoding.stop
        out = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        if stops:
            # A token may be one byte, so that no more than so many hold the longest text.
            most = max(len(text.encode()) for text in stops)
            texts = self.tokenizer.batch_decode(ids[:, -most:], skip_special_tokens=False)
            for row, text in enumerate(texts):
                out[row] = any(stop in text for stop in stops)
        return out

    def _processed(
        self, logits: Tensor, prompts: Tensor, ids: Tensor, at: Tensor, place: int, samples: int
    ) -> Tensor:
        if self.decoding.processors is None:
            return logits
        seen = torch.cat([prompts[at // samples], ids[at, :place]], dim=1)
        return self.decoding.processors(seen, logits.float())

    def _told(
        self, ids: Tensor, log_probs: Tensor, lengths: Tensor, ended: Tensor, samples: int
    ) -> list[list[Sampled]]:
        flat = []
        sizes, done = lengths.tolist(), ended.tolist()
        for own, known, n, over in zip(ids.tolist(), log_probs.tolist(), sizes, done, strict=True):
            text = self.tokenizer.decode(own[:n], skip_special_tokens=True)
            flat.append(Sampled(text, tuple(own[:n]), over, tuple(known[:n])))
        return [flat[k : k + samples] for k in range(0, len(flat), samples)]

    def _rows(
        self, heads: list[list[int]], samples: int, seed: int, context: int
    ) -> list[list[Sampled]]:
        """The same by ``generate``, each sample in a row of its own."""
        from transformers import LogitsProcessorList, StoppingCriteriaList

        device, pad = next(self.model.parameters()).device, padding(self.tokenizer)
        stop = stop_ids(self.tokenizer, self.chat)
        ids, mask = padded_left(heads, pad)
        how = self.decoding
        recorder = _Recorder(how)
        drawing: dict[str, Any] = {"do_sample": False}
        if how.temperature:
            drawing = {"do_sample": True, "temperature": how.temperature}
            drawing |= {"top_p": how.top_p, "top_k": how.top_k}
        if how.stop:  # generate's own stop strings want to know what each token is alone
            start = ids.shape[1]
            ends = [lambda seen, scores, **_: self._stopped(seen[:, start:])]
            drawing["stopping_criteria"] = StoppingCriteriaList(ends)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            made = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                pad_token_id=pad,
                eos_token_id=stop or None,
                num_return_sequences=samples,
                max_new_tokens=min(how.max_new_tokens, context - ids.shape[1]),
                logits_processor=LogitsProcessorList([recorder]),
                **drawing,
            )
        recorder.chosen(made)
        rows, known = made[:, ids.shape[1] :].tolist(), recorder.log_probs()
        flat = []
        for own, log_probs in zip(rows, known, strict=True):
            most = ids_until(self.tokenizer, own, how.stop)
            found = as_sampled(self.tokenizer, own[:most], stop)
            found = replace(found, ended=found.ended or most == len(found.ids))
            flat.append(replace(found, log_probs=tuple(log_probs[: len(found.ids)])))
        return [flat[k : k + samples] for k in range(0, len(flat), samples)]


class _Recorder:
    """A processor of ``generate``: log-probabilities of what was chosen, after those given."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._last: Tensor | None = None
        self._found: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.chosen(input_ids)
        if self._decoding.processors is not None:
            scores = self._decoding.processors(input_ids, scores)
        self._last = self._decoding.log_probs(scores)
        return scores

    def chosen(self, input_ids: Tensor) -> None:
        """Keep how likely the newest token was."""
        if self._last is not None:
            self._found.append(self._last.gather(-1, input_ids[:, -1:]))

    def log_probs(self) -> list[list[float]]:
        """Of each row's tokens, those after its end among them."""
        return torch.cat(self._found, dim=-1).tolist()


def _seed(seed: int, number: int) -> int:
    """A seed for each batch of a call."""
    return (seed + 1_000_003 * number) % 2**63
