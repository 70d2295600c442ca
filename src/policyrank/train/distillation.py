"""Distil a black-box teacher into a small model: one answer of the teacher a prompt, then the
student ranks its own answers beside it (arXiv 2601.20687, reconstructed).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

Learn = Literal["list", "pair", "group"]
OBJECTIVES: dict[Learn, str] = {
    "list": "label-distribution",
    "pair": "dpo",
    "group": "label-distribution-grpo",
}


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
    """Single answers to imitate, as data of ``ListwisePreferenceTrainer(loss=imitation,
    reference=None)``; prompts that leave no room are left out and counted.
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
    return AnswerData(
        lists, (f"left out: {lost} prompts longer than {max_length} tokens",) if lost else ()
    )


@dataclass
class Distillation:
    """What distillation left: anchors by prompt, ranked candidates of each round, and a record of
    each stage.
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
    """
    if judge not in ("rating", "vote") and not callable(judge):
        raise EvidenceError(f"judge={judge!r}: use rating, vote, or a scorer.")
    if learn not in OBJECTIVES:
        raise EvidenceError(f"learn={learn!r}: use {', '.join(OBJECTIVES)}.")
    say = report or (lambda text: None)
    place = None if folder is None else Path(folder)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    texts = [text_of(p) for p in prompts]
    say("asking the teacher")
    anchors = _kept(place, "anchors", lambda: _ask(teacher, prompts, texts))
    done = Distillation(anchors)
    say("imitating the anchors")
    options: dict[str, Any] = {
        "processing_class": tokenizer,
        "max_length": max_length,
        "chat": chat,
    }
    data = imitation_data(
        prompts, [anchors[t] for t in texts], tokenizer, max_length=max_length, chat=chat
    )
    first = ListwisePreferenceTrainer(
        model, arguments("imitation"), data, loss=imitation, reference=None, **options
    )
    done.history.append({"stage": 0, "loss": float(first.train().training_loss)})
    model = first.model
    for number in range(1, rounds + 1):
        say(
            f"round {number} of {rounds}: sampling and ranking {candidates} candidates of"
            f" {len(prompts)} prompts"
        )

        def made(number: int = number) -> dict[str, Any]:
            found = sampler(
                model, tokenizer, chat=chat, seed=seed * 10_007 + number, **(sample or {})
            )(prompts, candidates)
            scorer = (
                judge
                if callable(judge)
                else {"rating": rating_judge, "vote": vote_judge}[judge](model, tokenizer, anchors)
            )
            usable = [[a for a in dict.fromkeys(m) if a.strip()] for m in found]
            return {
                t: {"answers": m, "scores": s}
                for t, m, s in zip(texts, usable, scorer(prompts, usable), strict=True)
            }

        ranked = _kept(place, f"round-{number}", made)
        lists = [
            RankedAnswers(p, tuple(ranked[t]["answers"]), tuple(ranked[t]["scores"]))
            for p, t in zip(prompts, texts, strict=True)
        ]
        if learn == "pair":
            lists = [_ends(x) for x in lists if len(x.labels) > 1]
        done.rounds.append(lists)
        say(f"round {number} of {rounds}: learning from the ranking")
        trainer = ListwisePreferenceTrainer(
            model,
            arguments(f"round-{number}"),
            lists,
            loss=OBJECTIVES[learn],
            loss_options=loss_options,
            **options,
        )
        loss = float(trainer.train().training_loss)
        spread = float(np.mean([np.std(x.labels) for x in lists if x.labels]))
        done.history.append({"stage": number, "loss": loss, "score_spread": spread})
    return done


def _ends(x: RankedAnswers) -> RankedAnswers:
    worst = min(range(len(x.labels)), key=lambda k: x.labels[k])
    return RankedAnswers(
        x.prompt, (x.completions[x.best], x.completions[worst]), (x.labels[x.best], x.labels[worst])
    )


def _ask(
    teacher: Generator | Mapping[str, str], prompts: Sequence[Prompt], texts: Sequence[str]
) -> dict[str, str]:
    if isinstance(teacher, Mapping):
        if missing := [t for t in texts if t not in teacher]:
            raise EvidenceError(f"the teacher has no answer to {missing[0][:60]!r}.")
        found = {t: teacher[t] for t in texts}
    else:
        found = {t: a[0] for t, a in zip(texts, teacher(prompts, 1), strict=True)}
    if empty := [t for t, a in found.items() if not a.strip()]:
        raise EvidenceError(f"the teacher's answer to {empty[0][:60]!r} is empty.")
    return found


def _kept(folder: Path | None, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    path = None if folder is None else folder / f"{name}.json"
    if path is not None and path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    with torch.random.fork_rng():
        found = make()
    if path is not None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        part.replace(path)
    return found
