"""Reinforcement fine-tuning: sample answers, score them, learn from the group by clipped policy
gradient, and again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt
from policyrank.train.judges import Scorer, likelihood_scorer, sampler
from policyrank.train.preference import ListwisePreferenceTrainer


def reinforce(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    scorer: Scorer,
    *,
    arguments: Callable[[str], Any],
    rounds: int = 30,
    batch: int = 16,
    samples: int = 8,
    loss: str = "grpo",
    loss_options: Mapping[str, Any] | None = None,
    kl: float = 0.05,
    sample: Mapping[str, Any] | None = None,
    max_length: int = 1024,
    chat: bool | None = None,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """Train a language model to please a scorer: a reward model, a judge, or a policy discriminator
    with reference answers (POLAR's use).

    Parameters
    ----------
    model, tokenizer
        trained in place
    scorer
        (prompts, answers of each) -> scores
    arguments
        stage name -> ``TrainingArguments``, of one round
    rounds, batch, samples
        how often; prompts of a round, answers of each
    kl
        weight of log pi - log pi_start of whole answers, taken from their scores, so that the model
        stays where the scorer can be trusted (0: no copy of the start is kept)
    sample
        options of ``models.language.generate``

    Returns
    -------
    model, one record a round: mean score and log-ratio of the samples, and groups that said
    something

    Raises
    ------
    EvidenceError
        When there is nothing to learn in the first round: all answers of every prompt are scored
        the same.
    """
    say = report or (lambda text: None)
    rng = np.random.default_rng(seed)
    before = (
        likelihood_scorer(
            copy.deepcopy(model).eval(),
            tokenizer,
            per_token=False,
            max_length=max_length,
            chat=chat,
        )
        if kl
        else None
    )
    history: list[dict[str, float]] = []
    for number in range(1, rounds + 1):
        asked = [
            prompts[k]
            for k in rng.choice(len(prompts), size=min(batch, len(prompts)), replace=False)
        ]
        made = sampler(
            model, tokenizer, chat=chat, seed=int(rng.integers(2**31)), **(sample or {})
        )(asked, samples)
        made = [[a for a in dict.fromkeys(m) if a.strip()] for m in made]
        scores = scorer(asked, made)
        rewards, far = scores, [[0.0]]
        if before is not None:
            own = likelihood_scorer(
                model, tokenizer, per_token=False, max_length=max_length, chat=chat
            )(asked, made)
            far = [
                [a - b for a, b in zip(x, y, strict=True)]
                for x, y in zip(own, before(asked, made), strict=True)
            ]
            rewards = [
                [s - kl * f for s, f in zip(x, y, strict=True)]
                for x, y in zip(scores, far, strict=True)
            ]
        lists = [
            RankedAnswers(p, tuple(m), tuple(s))
            for p, m, s in zip(asked, made, rewards, strict=True)
            if len(set(s)) > 1
        ]
        record = {
            "round": number,
            "score": _mean(scores),
            "log_ratio": _mean(far),
            "groups": len(lists),
        }
        history.append(record)
        say(
            f"round {number} of {rounds}: mean score {record['score']:.4g}, log-ratio to the start"
            f" {record['log_ratio']:.3g}"
        )
        if not lists:
            if number == 1:
                raise EvidenceError(
                    "every answer of a prompt is scored the same: nothing to learn. Raise the"
                    " temperature, or look at the scorer."
                )
            continue
        trainer = ListwisePreferenceTrainer(
            model,
            arguments(f"round-{number}"),
            lists,
            processing_class=tokenizer,
            loss=loss,
            loss_options=loss_options,
            max_length=max_length,
            chat=chat,
        )
        trainer.train()
        model = trainer.model
    return model, history


def _mean(values: Sequence[Sequence[float]]) -> float:
    flat = [v for row in values for v in row]
    return float(np.mean(flat)) if flat else float("nan")
