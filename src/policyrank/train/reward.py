"""Reward models: made, and used to score answers.

Policy discriminators (POLAR) are reward models that read a reference answer first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt, text_of
from policyrank.models.language import best_device, encode, load_causal_lm, padding
from policyrank.train.judges import Scorer

SEPARATOR = "<|reward|>"


def reward_model(
    name: str, *, layers: int | None = None, seed: int = 0, device: str | None = None
) -> tuple[Any, Any]:
    """A reward model and its tokenizer.

    A saved one, or a causal language model's body with a new head of one score.

    Parameters
    ----------
    name
        folder or hub name of a sequence classifier or of a causal language model, ``*.gguf``, or
        ``smollm2``
    layers
        train only so many last layers and the head (None: all)
    seed
        of the new head

    Raises
    ------
    EvidenceError
        When the model cannot be loaded.
    """
    from transformers import AutoTokenizer

    if _is_classifier(name):
        model: Any = AutoModelForSequenceClassification.from_pretrained(name)
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    else:
        body, tokenizer = load_causal_lm(name, device="cpu")
        body.config.num_labels = 1
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(body.config, dtype=body.dtype)
        model.base_model.load_state_dict(body.base_model.state_dict())
    if model.config.pad_token_id is None:
        model.config.pad_token_id = padding(tokenizer)
    if layers is not None:
        from policyrank.train.texts import train_last

        train_last(model.base_model, layers)
    return model.to(device or best_device()), tokenizer


def _is_classifier(name: str) -> bool:
    """Whether a saved model is a sequence classifier."""
    from transformers import AutoConfig

    try:
        architectures = AutoConfig.from_pretrained(name).architectures or []
    except (OSError, ValueError):
        return False
    return any(known.endswith("ForSequenceClassification") for known in architectures)


def reward_scorer(
    model: Any, tokenizer: Any, *, max_length: int = 1024, batch: int = 16, chat: bool | None = None
) -> Scorer:
    """Scores of a reward model, the longest answers first."""

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        coded, place = [], []
        for i, (prompt, answers) in enumerate(zip(prompts, completions, strict=True)):
            for j, answer in enumerate(answers):
                head, tail, _ = encode(tokenizer, prompt, answer, max_length, chat=chat)
                coded.append([*head, *tail])
                place.append((i, j))
        order = sorted(range(len(coded)), key=lambda k: -len(coded[k]))
        out = [[0.0] * len(answers) for answers in completions]
        was = model.training
        model.eval()
        for start in range(0, len(order), batch):
            group = order[start : start + batch]
            found = _rewards(model, [coded[k] for k in group])
            for k, value in zip(group, found, strict=True):
                i, j = place[k]
                out[i][j] = value
        model.train(was)
        return out

    return score


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

    Prompt and reference, separator, and the prompt again.
    """
    text = text_of(prompt)
    return f"{text}\n{reference}{separator}{text}\n"


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
        completions, labels = list(found.completions), list(found.labels)
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

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        asked = []
        for text in map(text_of, prompts):
            if text not in references:
                raise EvidenceError(f"no reference answer for the prompt {text[:60]!r}.")
            asked.append(reference_prompt(text, references[text], separator))
        return scorer(asked, completions)

    return score
