"""Distil a black-box teacher into a small model.

One answer of the teacher a prompt, then the student ranks its own answers beside it (arXiv
2601.20687, reconstructed).
"""

from __future__ import annotations

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
from policyrank.fingerprints import Fingerprint, hashed
from policyrank.learn.losses import Reduce
from policyrank.models.fitting import Seen, fitted
from policyrank.models.language import Sampled, sample as draw
from policyrank.models.tokens import answer_tokens, ask
from policyrank.train.answers import AnswerData, EncodedAnswers
from policyrank.train.judges import Generator, Scorer, rating_judge, vote_judge
from policyrank.train.kept_files import keep, read_kept
from policyrank.train.preference import ListwisePreferenceTrainer
from policyrank.train.preference_config import ListwisePreferenceConfig
from policyrank.train.resumable import model_facts, training_settings
from policyrank.train.samples import (
    prompts_within,
    ranked_lists,
    refuse_nothing,
    sampled_data,
    usable_samples,
)

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
    """Negative log-likelihood of tokens, their mean or sum: supervised fine-tuning.

    Raises
    ------
    OptionError
        Without ``where`` and ``lengths``.
    """
    if where is None or lengths is None:
        raise OptionError("imitation is a mean over tokens: give where and lengths.")
    each = -(log_probs * where).sum(dim=-1)
    if reduce == "none":
        return each
    if reduce == "sum":
        return each.sum()
    return each.sum() / lengths.sum().clamp(min=1)


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
    lists, seen = [], Seen()
    for prompt, answer in zip(prompts, answers, strict=True):
        asked = ask(tokenizer, prompt, chat=chat)
        tail = answer_tokens(tokenizer, asked, answer)
        found = fitted(asked.ids, [tail], max_length, "leave out", seen)
        if found is not None:
            head, (kept,) = found
            lists.append(EncodedAnswers(head, [kept.ids], [kept.steps], [1.0]))
    if not lists:
        raise EvidenceError(f"no prompt leaves room for an answer within {max_length} tokens.")
    return AnswerData(lists, tuple(seen.notes(max_length, "leave out")))


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
    depends: Mapping[str, Mapping[str, Any]] | None = None,
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
        options of ``models.language.sample``
    folder
        where anchors and candidates are written as they come; what is there is not asked or sampled
        again
    depends
        what they depend on beside these options and the student: part -> name -> value; anchors on
        its part "teacher" alone. What was kept with others is refused, with what differs; damaged
        files are named and made again

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
    drawn = {"max_new_tokens": 128} | dict(sample or {})
    room = max_length - drawn["max_new_tokens"]
    within = prompts_within(tokenizer, prompts, room, chat, say)
    prompts, heads = [prompt for prompt, _ in within], [ids for _, ids in within]
    texts = [text_of(prompt) for prompt in prompts]
    say("asking the teacher")
    parts = dict(depends or {})
    anchors = _anchors(place, Fingerprint(_only(parts, "teacher")), teacher, prompts, texts, say)
    done = Distillation(anchors)
    settings = {"seed": seed, "candidates": candidates, "learn": learn, **drawn}
    settings |= {"max_length": max_length, "chat": chat, "loss_options": dict(loss_options or {})}
    if not callable(judge):
        settings["judge"] = judge
    kept = _Kept(place, say)
    if place is not None:
        parts |= {
            "settings": training_settings(arguments("imitation")) | settings,
            "prompts": {"prompts": len(texts), "texts": hashed(texts)},
            "anchors": {"anchors": len(anchors), "texts": hashed(sorted(anchors.items()))},
            "student": model_facts(model),
        }
        kept = _Kept(place, say, Fingerprint(parts))
    say("imitating the anchors")
    data = imitation_data(
        prompts, [anchors[text] for text in texts], tokenizer, max_length=max_length, chat=chat
    )
    trained = partial(_trained, tokenizer=tokenizer, max_length=max_length, chat=chat)
    model, loss = trained(
        model, arguments("imitation"), data, loss=imitation, reference=None, mean_over="tokens"
    )
    done.history.append({"stage": 0, "loss": loss})
    for number in range(1, rounds + 1):
        say(
            f"round {number} of {rounds}: sampling and ranking {candidates} candidates of"
            f" {len(prompts)} prompts"
        )
        options = {"chat": chat, "seed": seed * 10_007 + number, **drawn}
        make = partial(_ranked, model, tokenizer, prompts, candidates, judge, anchors, options)
        made, scores = kept.made(f"round-{number}", make)
        done.rounds.append(ranked_lists(prompts, _texts(made), scores))
        say(f"round {number} of {rounds}: learning from the ranking")
        data = _to_learn(heads, made, scores, learn)
        if not len(data):
            refuse_nothing(scores, "Raise the temperature, or take another judge.")
        model, loss = trained(
            model,
            arguments(f"round-{number}"),
            data,
            loss=OBJECTIVES[learn],
            loss_options=dict(loss_options or {}),
        )
        spread = float(np.mean([np.std(own.labels) for own in data.lists]))
        done.history.append({"stage": number, "loss": loss, "score_spread": spread})
    return done


def _texts(made: Sequence[Sequence[Sampled]]) -> list[list[str]]:
    return [[answer.text for answer in answers] for answers in made]


def _to_learn(
    heads: Sequence[list[int]],
    made: Sequence[Sequence[Sampled]],
    scores: Sequence[Sequence[float]],
    learn: Learn,
) -> AnswerData:
    """Candidates as they were sampled; of pairs, best and worst alone."""
    data = sampled_data(heads, made, scores)
    if learn == "pair":
        return AnswerData(list(map(_ends, data.lists)))
    return data


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
) -> tuple[list[list[Sampled]], list[list[float]]]:
    """Candidates of each prompt, and their scores."""
    made = usable_samples(draw(model, tokenizer, prompts, n=candidates, **drawn))
    if isinstance(judge, str):
        judge = JUDGES[judge](model, tokenizer, anchors)
    return made, judge(prompts, _texts(made))


def _ends(own: EncodedAnswers) -> EncodedAnswers:
    """Best and worst of a list."""
    order = sorted(range(len(own.labels)), key=lambda k: -own.labels[k])
    places = [order[0], order[-1]]
    return EncodedAnswers(
        own.prompt,
        [own.completions[k] for k in places],
        [own.steps[k] for k in places],
        [own.labels[k] for k in places],
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


def _only(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One part, where it is told."""
    return {name: parts[name]} if name in parts else {}


def _anchors(
    folder: Path | None,
    fingerprint: Fingerprint,
    teacher: Generator | Mapping[str, str],
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, str]:
    """The teacher's answers by prompt; it is asked for those that are not kept."""
    path = None if folder is None else folder / "anchors.json"
    known: dict[str, str] = {}
    if path is not None:
        known = dict(read_kept(path, fingerprint, say) or {})
    new = {text: prompt for text, prompt in zip(texts, prompts, strict=True) if text not in known}
    if new:
        with torch.random.fork_rng():
            known |= _ask(teacher, list(new.values()), list(new))
        if path is not None:
            keep(path, fingerprint, known)
    return {text: known[text] for text in texts}


@dataclass(frozen=True)
class _Kept:
    """Candidates and scores that are kept in a folder; None: nowhere."""

    folder: Path | None
    say: Callable[[str], None]
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint({}, {}))

    def made(
        self, name: str, make: Callable[[], tuple[list[list[Sampled]], list[list[float]]]]
    ) -> tuple[list[list[Sampled]], list[list[float]]]:
        """Those of a round; made and kept where they are not there."""
        path = None if self.folder is None else self.folder / f"{name}.json"
        if path is not None and (found := read_kept(path, self.fingerprint, self.say)) is not None:
            made = []
            for answers in found["answers"]:
                made.append([Sampled(text, tuple(ids), ended) for text, ids, ended in answers])
            return made, found["scores"]
        with torch.random.fork_rng():
            made, scores = make()
        if path is not None:
            plain = [[[one.text, list(one.ids), one.ended] for one in answers] for answers in made]
            keep(path, self.fingerprint, {"answers": plain, "scores": scores})
        return made, scores
