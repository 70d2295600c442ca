"""Distil a black-box teacher into a small model.

One answer of the teacher a prompt, then the student ranks its own answers beside it (arXiv
2601.20687, reconstructed).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt, text_of
from policyrank.learn.losses import Reduce
from policyrank.models.language import encode_answer, encode_prompt
from policyrank.train.answers import AnswerData, EncodedAnswers
from policyrank.train.judges import Generator, Scorer, rating_judge, sampler, vote_judge
from policyrank.train.preference import ListwisePreferenceTrainer
from policyrank.train.preference_config import ListwisePreferenceConfig
from policyrank.train.samples import usable_answers, write_whole

Learn = Literal["list", "pair", "group"]
OBJECTIVES: dict[Learn, str] = {
    "list": "label-distribution",
    "pair": "dpo",
    "group": "label-distribution-grpo",
}
JUDGES = {"rating": rating_judge, "vote": vote_judge}


def imitation(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Mean negative log-likelihood of a token: supervised fine-tuning as an objective.

    Raises
    ------
    OptionError
        Without ``where`` and ``lengths``.
    """
    if where is None or lengths is None:
        raise OptionError("imitation is a mean over tokens: give where and lengths.")
    return -(log_probs * where).sum() / lengths.sum().clamp(min=1)


def imitation_data(
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    tokenizer: Any,
    *,
    max_length: int = 1024,
    chat: bool | None = None,
) -> AnswerData:
    """Single answers to imitate, as data of a trainer with ``imitation`` and no reference.

    Prompts that leave no room are left out and counted.
    """
    lists = []
    for prompt, answer in zip(prompts, answers, strict=True):
        head = encode_prompt(tokenizer, prompt, chat=chat)
        ids, steps = encode_answer(tokenizer, answer)
        room = max_length - len(head)
        if room > 0:
            lists.append(EncodedAnswers(head, [ids[:room]], [steps[:room]], [1.0]))
    if not lists:
        raise EvidenceError(f"no prompt leaves room for an answer within {max_length} tokens.")
    lost = len(prompts) - len(lists)
    if not lost:
        return AnswerData(lists)
    return AnswerData(lists, (f"left out: {lost} prompts longer than {max_length} tokens",))


@dataclass
class Distillation:
    """What distillation left.

    Anchors by prompt, ranked candidates of each round, and a record of each stage.
    """

    anchors: dict[str, str]
    rounds: list[list[RankedAnswers]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def distil(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    teacher: Generator | Mapping[str, str],
    *,
    judge: str | Scorer = "rating",
    learn: Learn = "list",
    candidates: int = 4,
    rounds: int = 1,
    arguments: Callable[[str], Any],
    loss_options: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    max_length: int = 1024,
    chat: bool | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Distillation:
    """Teach a student from one teacher answer a prompt.

    First the student imitates the anchors. Then, each round, it samples candidates, ranks them
    beside the anchor (``judge``), and learns from the ranking: the anchor is never a rival, and no
    candidate is called bad as such.

    Parameters
    ----------
    model, tokenizer
        the student; it is trained in place
    teacher
        (prompts, 1) -> answers, or answers by prompt text; asked once a prompt
    judge
        ``"rating"`` or ``"vote"`` by the student itself as it stands, or a scorer
    learn
        ``"list"``: cross-entropy with the label distribution; ``"pair"``: DPO on best and worst;
        ``"group"``: clipped policy gradient, for many short rounds
    arguments
        stage name -> ``TrainingArguments``
    loss_options
        of the ranking's objective
    sample
        options of ``models.language.generate``
    folder
        where anchors and candidates are written as they come; what is there is not asked or sampled
        again

    Raises
    ------
    EvidenceError
        When every candidate of all prompts is scored the same, or the teacher gives nothing.
    OptionError
        For a judge or a way to learn that there is not.
    """
    if not callable(judge) and judge not in JUDGES:
        raise OptionError(f"judge={judge!r}: use {', '.join(JUDGES)}, or a scorer.")
    if learn not in OBJECTIVES:
        raise OptionError(f"learn={learn!r}: use {', '.join(OBJECTIVES)}.")
    say = report or (lambda text: None)
    place = None if folder is None else Path(folder)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    texts = [text_of(prompt) for prompt in prompts]
    say("asking the teacher")
    anchors = _kept(place, "anchors", lambda: _ask(teacher, prompts, texts))
    done = Distillation(anchors)
    say("imitating the anchors")
    data = imitation_data(
        prompts, [anchors[text] for text in texts], tokenizer, max_length=max_length, chat=chat
    )
    trained = partial(_trained, tokenizer=tokenizer, max_length=max_length, chat=chat)
    model, loss = trained(model, arguments("imitation"), data, loss=imitation, reference=None)
    done.history.append({"stage": 0, "loss": loss})
    for number in range(1, rounds + 1):
        say(
            f"round {number} of {rounds}: sampling and ranking {candidates} candidates of"
            f" {len(prompts)} prompts"
        )
        drawn = {"chat": chat, "seed": seed * 10_007 + number, **(sample or {})}
        make = partial(_ranked, model, tokenizer, prompts, candidates, judge, anchors, drawn)
        ranked = _kept(place, f"round-{number}", make)
        lists = []
        for prompt, text in zip(prompts, texts, strict=True):
            own = ranked[text]
            lists.append(RankedAnswers(prompt, tuple(own["answers"]), tuple(own["scores"])))
        if learn == "pair":
            lists = [_ends(own) for own in lists if len(own.labels) > 1]
        done.rounds.append(lists)
        say(f"round {number} of {rounds}: learning from the ranking")
        model, loss = trained(
            model,
            arguments(f"round-{number}"),
            lists,
            loss=OBJECTIVES[learn],
            loss_options=dict(loss_options or {}),
        )
        spread = float(np.mean([np.std(own.labels) for own in lists if own.labels]))
        done.history.append({"stage": number, "loss": loss, "score_spread": spread})
    return done


def _trained(
    model: Any, args: Any, data: Any, *, tokenizer: Any, **options: Any
) -> tuple[Any, float]:
    """The model after a stage, and the stage's loss."""
    config = ListwisePreferenceConfig.of(args, **options)
    trainer = ListwisePreferenceTrainer(model, config, data, processing_class=tokenizer)
    loss = float(trainer.train().training_loss)
    return trainer.model, loss


def _ranked(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    candidates: int,
    judge: str | Scorer,
    anchors: Mapping[str, str],
    drawn: Mapping[str, Any],
) -> dict[str, Any]:
    """Candidates of each prompt's text, and their scores."""
    made = usable_answers(sampler(model, tokenizer, **drawn)(prompts, candidates))
    if isinstance(judge, str):
        judge = JUDGES[judge](model, tokenizer, anchors)
    found = {}
    for prompt, answers, scores in zip(prompts, made, judge(prompts, made), strict=True):
        found[text_of(prompt)] = {"answers": answers, "scores": scores}
    return found


def _ends(own: RankedAnswers) -> RankedAnswers:
    """Best and worst of a list."""
    worst = own.labels.index(min(own.labels))
    return RankedAnswers(
        own.prompt,
        (own.completions[own.best], own.completions[worst]),
        (own.labels[own.best], own.labels[worst]),
    )


def _ask(
    teacher: Generator | Mapping[str, str], prompts: Sequence[Prompt], texts: Sequence[str]
) -> dict[str, str]:
    """The teacher's answer to each prompt."""
    found = {}
    if isinstance(teacher, Mapping):
        for text in texts:
            if text not in teacher:
                raise EvidenceError(f"the teacher has no answer to {text[:60]!r}.")
            found[text] = teacher[text]
    else:
        for text, answers in zip(texts, teacher(prompts, 1), strict=True):
            found[text] = answers[0]
    for text, answer in found.items():
        if not answer.strip():
            raise EvidenceError(f"the teacher's answer to {text[:60]!r} is empty.")
    return found


def _kept(folder: Path | None, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is kept in the folder under a name; made and kept where it is not there."""
    path = None if folder is None else folder / f"{name}.json"
    if path is not None and path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    with torch.random.fork_rng():
        found = make()
    if path is not None:
        write_whole(path, found)
    return found
