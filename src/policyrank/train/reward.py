"""Reward models: made, and used to score answers.

Policy discriminators (POLAR) are reward models that read a reference answer first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt, text_of
from policyrank.models.fitting import LongPrompts, Seen, fitted
from policyrank.models.reward_models import load_reward_model
from policyrank.models.sampling import context_of
from policyrank.models.tokens import answer_tokens, ask
from policyrank.train.judges import Scorer, as_lists, each_answer

SEPARATOR = "<|reward|>"
"""Between a reference and the prompt of a candidate."""
REWARD_TOKEN = "[UNUSED_TOKEN_130]"
"""On which released POLAR checkpoints give their reward."""


def reward_model(
    name: str,
    *,
    layers: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "auto",
) -> tuple[Any, Any]:
    """A reward model to be trained, and its tokenizer.

    A saved one (adapters too), or a causal language model's body with a new head of one score.

    Parameters
    ----------
    name
        as in ``models.reward_models.load_reward_model``
    layers
        train only so many last layers and the head (None: all)
    seed
        of the new head

    Raises
    ------
    EvidenceError
        When the model cannot be loaded.
    """
    model, tokenizer = load_reward_model(
        name, new_head=True, seed=seed, device=device, dtype=dtype, trainable=True
    )
    if layers is not None:
        from policyrank.train.freezing import train_last

        train_last(model.base_model, layers)
    return model, tokenizer


def reward_scorer(
    model: Any,
    tokenizer: Any,
    *,
    max_length: int = 1024,
    batch: int = 16,
    chat: bool | None = None,
    long_prompts: LongPrompts = "leave out",
    seen: Seen | None = None,
) -> Scorer:
    """Scores of a reward model, the longest answers first.

    NaN where the prompt is too long, or the answer cannot be read; ``seen`` counts
    (``models.fitting``).
    """
    counted = seen or Seen()
    limit = min(max_length, context_of(model))

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[Any]]) -> list[list[float]]:
        coded: list[list[int] | None] = []
        for prompt, answer in each_answer(prompts, completions):
            try:
                asked = ask(tokenizer, prompt, chat=chat)
                tail = answer_tokens(tokenizer, asked, answer)
            except EvidenceError as error:
                counted.skip(error)
                coded.append(None)
                continue
            found = fitted(asked.ids, [tail], limit, long_prompts, counted, keep_end=True)
            coded.append(None if found is None else [*found[0], *found[1][0].ids])
        return as_lists(rewards_of(model, coded, batch), completions)

    return score


def rewards_of(model: Any, coded: Sequence[list[int] | None], batch: int = 16) -> list[float]:
    """Rewards of texts as token ids, NaN where there is none."""
    there = [k for k, ids in enumerate(coded) if ids is not None]
    there.sort(key=lambda k: -len(coded[k] or ()))
    out = [float("nan")] * len(coded)
    was = model.training
    model.eval()
    for start in range(0, len(there), batch):
        group = there[start : start + batch]
        for k, value in zip(group, _rewards(model, [coded[k] or [] for k in group]), strict=True):
            out[k] = value
    model.train(was)
    return out


def _rewards(model: Any, texts: Sequence[list[int]]) -> list[float]:
    """Rewards of token ids, the longest first."""
    ids = torch.full((len(texts), len(texts[0])), model.config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(texts):
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    device = next(model.parameters()).device
    with torch.inference_mode():
        found = model(input_ids=ids.to(device), attention_mask=mask.to(device))
    scores: Tensor = found.logits
    return scores.squeeze(-1).float().cpu().tolist()


def reference_prompt(prompt: Prompt, reference: str, separator: str = SEPARATOR) -> str:
    """What a policy discriminator reads before a candidate (POLAR's input).

    Prompt and reference, separator, and the prompt again; messages stand on lines of their own.
    """
    text = lines_of(prompt)
    return f"{text}\n{reference}{separator}{text}\n"


def lines_of(prompt: Prompt) -> str:
    """A text, or the contents of messages joined by line breaks, as POLAR reads chats."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(text_of([message]) for message in prompt)


def with_reference(
    answers: Sequence[RankedAnswers], separator: str = SEPARATOR
) -> list[RankedAnswers]:
    """POLAR's fine-tuning lists: the best answer becomes the reference, the others the candidates.

    Lists of two have nothing left to rank and are left out.
    """
    out = []
    for found in answers:
        if len(found.labels) < 3:
            continue
        completions, labels = list(map(text_of, found.completions)), list(found.labels)
        reference = completions.pop(found.best)
        labels.pop(found.best)
        asked = reference_prompt(found.prompt, reference, separator)
        out.append(RankedAnswers(asked, tuple(completions), tuple(labels)))
    return out


def policy_lists(
    outputs: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    lists: int,
    others: int = 1,
    across_prompts: bool = False,
    separator: str = SEPARATOR,
    seed: int = 0,
) -> list[RankedAnswers]:
    """POLAR's pre-training lists.

    A reference of one policy, another answer of the same (label 1), and answers of other policies
    to the same prompt (label 0).

    Parameters
    ----------
    outputs
        policy -> prompt -> its answers
    lists, others
        how many lists, and answers of other policies in each
    across_prompts
        the reference is the policy's answer to another prompt, for policies with one answer a
        prompt

    Raises
    ------
    EvidenceError
        When no prompt has what a list needs.
    """
    rng = np.random.default_rng(seed)
    need = 1 if across_prompts else 2
    usable = []
    for policy in sorted(outputs):
        for prompt, found in outputs[policy].items():
            enough = len(found) >= need and len(_others(outputs, policy, prompt)) >= others
            if enough and not (across_prompts and len(outputs[policy]) == 1):
                usable.append((policy, prompt))
    if not usable:
        raise EvidenceError(
            f"no prompt has {need} answers of one policy and answers of {others} others."
        )
    out = []
    for k in rng.integers(len(usable), size=lists):
        policy, prompt = usable[k]
        own = outputs[policy]
        if across_prompts:
            seen = rng.choice([other for other in own if other != prompt])
            reference = rng.choice(own[seen])
            same = rng.choice(own[prompt])
            asked = f"{seen}\n{reference}{separator}{prompt}\n"
        else:
            reference, same = rng.choice(own[prompt], size=2, replace=False)
            asked = reference_prompt(prompt, str(reference), separator)
        rivals = rng.choice(_others(outputs, policy, prompt), size=others, replace=False)
        texts = [str(same), *(str(rng.choice(outputs[rival][prompt])) for rival in rivals)]
        out.append(RankedAnswers(asked, tuple(texts), (1.0, *[0.0] * others)))
    return out


def _others(
    outputs: Mapping[str, Mapping[str, Sequence[str]]], policy: str, prompt: str
) -> list[str]:
    """The other policies that answered a prompt."""
    return [name for name in sorted(outputs) if name != policy and outputs[name].get(prompt)]


def reference_scorer(
    model: Any,
    tokenizer: Any,
    references: Mapping[str, str],
    separator: str = SEPARATOR,
    **options: Any,
) -> Scorer:
    """Rewards of a policy discriminator: prompts have their reference answers by text.

    Compare only candidates of one prompt.
    """
    options.setdefault("chat", False)
    scorer = reward_scorer(model, tokenizer, **options)

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[Any]]) -> list[list[float]]:
        asked = []
        for prompt in prompts:
            reference = _reference(references, prompt)
            asked.append(reference_prompt(prompt, reference, separator))
        return scorer(asked, [list(map(text_of, answers)) for answers in completions])

    return score


def _reference(references: Mapping[str, str], prompt: Prompt) -> str:
    text = text_of(prompt)
    if text not in references:
        raise EvidenceError(f"no reference answer for the prompt {text[:60]!r}.")
    return references[text]


def polar_scorer(
    model: Any,
    tokenizer: Any,
    references: Mapping[str, str],
    *,
    wrapper: Literal["sft", "pretrain"] = "sft",
    token: str = REWARD_TOKEN,
    max_length: int = 16384,
    answer_length: int = 4096,
    batch: int = 4,
) -> Scorer:
    """Rewards of a released POLAR checkpoint, read as its authors' client does.

    Prompt, line break, reference, separator, prompt, line break, candidate, reward token; without
    line breaks for models that were only pre-trained. Answers are cut to ``answer_length`` tokens
    at their end, prompts to half of what is then left of ``max_length`` - 4 at their beginning.

    References
    ----------
    InternLM/POLAR, "Pre-Trained Policy Discriminators are General Reward Models" (2025), arXiv
    2507.05197.
    """

    def cut(text: str, most: int, *, end: bool = False) -> tuple[str, int]:
        ids = tokenizer.encode(text, add_special_tokens=True)
        if len(ids) <= most:
            return text, len(ids)
        ids = ids[-most:] if end else ids[:most]
        return tokenizer.decode(ids, skip_special_tokens=True), most

    def text_for(prompt: Prompt, reference: str, answer: str) -> str:
        known, used = cut(reference, answer_length)
        given, more = cut(answer, answer_length)
        asked, _ = cut(lines_of(prompt), (max_length - 4 - used - more) // 2, end=True)
        join = {"sft": "\n", "pretrain": ""}[wrapper]
        return f"{asked}{join}{known}{SEPARATOR}{asked}{join}{given}{token}"

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[Any]]) -> list[list[float]]:
        coded: list[list[int] | None] = []
        for prompt, answers in zip(prompts, completions, strict=True):
            reference = _reference(references, prompt)
            for answer in answers:
                text = text_for(prompt, reference, text_of(answer))
                coded.append(tokenizer.encode(text, add_special_tokens=True))
        return as_lists(rewards_of(model, coded, batch), completions)

    return score
