"""Reinforcement fine-tuning: sample answers, score them, learn from the group, and again.

Learning is by clipped policy gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import Prompt
from policyrank.train.judges import Scorer, likelihood_scorer, sampler
from policyrank.train.preference import ListwisePreferenceTrainer
from policyrank.train.preference_config import ListwisePreferenceConfig
from policyrank.train.samples import ranked_lists, usable_answers


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
    """Train a language model to please a scorer.

    A reward model, a judge, or a policy discriminator with reference answers (POLAR's use).

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
    likelihood = partial(
        likelihood_scorer, tokenizer=tokenizer, per_token=False, max_length=max_length, chat=chat
    )
    before = likelihood(copy.deepcopy(model).eval()) if kl else None
    history: list[dict[str, float]] = []
    for number in range(1, rounds + 1):
        chosen = rng.choice(len(prompts), size=min(batch, len(prompts)), replace=False)
        asked = [prompts[k] for k in chosen]
        policy = sampler(
            model, tokenizer, chat=chat, seed=int(rng.integers(2**31)), **(sample or {})
        )
        made = usable_answers(policy(asked, samples))
        scores = scorer(asked, made)
        rewards, far = scores, [[0.0]]
        if before is not None:
            far = _difference(likelihood(model)(asked, made), before(asked, made))
            rewards = _difference(scores, far, kl)
        lists = ranked_lists(asked, made, rewards)
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
        if not lists and number == 1:
            raise EvidenceError(
                "every answer of a prompt is scored the same: nothing to learn. Raise the"
                " temperature, or look at the scorer."
            )
        if lists:
            trainer = ListwisePreferenceTrainer(
                model,
                ListwisePreferenceConfig.of(
                    arguments(f"round-{number}"),
                    loss=loss,
                    loss_options=dict(loss_options or {}),
                    max_length=max_length,
                    chat=chat,
                ),
                lists,
                processing_class=tokenizer,
            )
            trainer.train()
            model = trainer.model
    return model, history


def _difference(
    values: Sequence[Sequence[float]], others: Sequence[Sequence[float]], weight: float = 1.0
) -> list[list[float]]:
    """Values less the others times a weight."""
    out = []
    for own, less in zip(values, others, strict=True):
        out.append([value - weight * other for value, other in zip(own, less, strict=True)])
    return out


def _mean(values: Sequence[Sequence[float]]) -> float:
    flat = list(chain.from_iterable(values))
    return float(np.mean(flat)) if flat else float("nan")
