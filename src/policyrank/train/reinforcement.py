"""Reinforcement fine-tuning: sample answers, score them, learn from the group, and again.

Learning is by clipped policy gradient.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from policyrank.checkpoints import newest_whole, written_checkpoint
from policyrank.evidence.answers import Prompt
from policyrank.files import write_json
from policyrank.fingerprints import Fingerprint, hashed
from policyrank.models.language import Sampled, sample as draw, token_logprobs
from policyrank.models.tokens import padding
from policyrank.train.judges import Scorer
from policyrank.train.preference import ListwisePreferenceTrainer
from policyrank.train.preference_config import ListwisePreferenceConfig
from policyrank.train.resumable import model_facts, training_settings
from policyrank.train.samples import prompts_within, refuse_nothing, sampled_data

STATE, WEIGHTS = "rounds.json", "rounds.safetensors"
"""What a checkpoint of rounds holds."""


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
    kept: KeptRounds | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """Train a language model to please a scorer.

    A reward model, a judge, or a policy discriminator with reference answers (POLAR's use). What is
    learned from are the tokens as they were sampled.

    Parameters
    ----------
    model, tokenizer
        trained in place; a peft model trains its adapters
    scorer
        (prompts, answers of each) -> scores; answers without one (NaN) are left out
    arguments
        stage name -> ``TrainingArguments``, of one round
    rounds, batch, samples
        how often; prompts of a round, answers of each
    kl
        weight of log pi - log pi_start of whole answers, taken from their scores, so that the model
        stays where the scorer can be trusted (0: no copy of the start is kept)
    sample
        of ``models.language.sample``
    max_length
        tokens of prompt and answer; longer prompts are left out
    kept
        where an interrupted run goes on from

    Returns
    -------
    model, one record a round: mean score and log-ratio of the samples, their tokens, the share that
    was cut, and groups that said something

    Raises
    ------
    EvidenceError
        When there is nothing to learn in the first round: all answers of every prompt are scored
        the same; or no prompt leaves room for an answer.
    """
    say = report or (lambda text: None)
    drawn = {"max_new_tokens": 128, "temperature": 1.0} | dict(sample or {})
    known = prompts_within(tokenizer, prompts, max_length - drawn["max_new_tokens"], chat, say)
    before = copy.deepcopy(model).eval() if kl else None
    run = kept or KeptRounds(None)
    settings = {"batch": batch, "samples": samples, "kl": kl, "seed": seed, **drawn}
    settings |= {"loss": loss, "loss_options": dict(loss_options or {})}
    settings |= {"max_length": max_length, "chat": chat}
    own = _fingerprint(run, settings, arguments, known, model)
    history = run.resume(model, own, say)
    if history:
        say(f"going on after round {len(history)}")
    pad = padding(tokenizer)
    for number in range(len(history) + 1, rounds + 1):
        rng = np.random.default_rng([seed, number])
        chosen = rng.choice(len(known), size=min(batch, len(known)), replace=False)
        asked = [known[k][0] for k in chosen]
        heads = [known[k][1] for k in chosen]
        made = draw(
            model, tokenizer, asked, n=samples, chat=chat, seed=int(rng.integers(2**31)), **drawn
        )
        scores = scorer(asked, [[answer.text for answer in answers] for answers in made])
        rewards, far = scores, [[0.0]]
        if before is not None:
            far = _differences(
                _likelihoods(model, heads, made, pad), _likelihoods(before, heads, made, pad)
            )
            rewards = _differences(scores, far, kl)
        data = sampled_data(heads, made, rewards)
        history.append(_record(number, scores, far, made, len(data)))
        say(_told(history[-1], rounds))
        if not len(data) and number == 1:
            refuse_nothing(scores, "Raise the temperature, or look at the scorer.")
        if len(data):
            config = ListwisePreferenceConfig.of(
                arguments(f"round-{number}"),
                loss=loss,
                loss_options=dict(loss_options or {}),
                max_length=max_length,
                chat=chat,
            )
            trainer = ListwisePreferenceTrainer(model, config, data, processing_class=tokenizer)
            trainer.train()
            model = trainer.model
        run.keep(model, history, own, last=number == rounds)
    return model, history


def _fingerprint(
    run: KeptRounds,
    settings: Mapping[str, Any],
    arguments: Callable[[str], Any],
    known: Sequence[tuple[Prompt, list[int]]],
    model: Any,
) -> Fingerprint:
    """What rounds depend on; how many there will be does not count."""
    if run.folder is None:
        return Fingerprint({}, {})
    parts = {
        "settings": {**training_settings(arguments("round-1")), **settings},
        "prompts": {"prompts": len(known), "texts": hashed([ids for _, ids in known])},
        "model": model_facts(model),
    }
    return Fingerprint({**parts, **run.depends})


def _likelihoods(
    model: Any, heads: Sequence[list[int]], made: Sequence[Sequence[Sampled]], pad: int
) -> list[list[float]]:
    """Log-probability of each sampled answer, by its ids."""
    coded = []
    for head, answers in zip(heads, made, strict=True):
        coded += [(head, answer.ids) for answer in answers]
    flat = [0.0] * len(coded)
    model.eval()
    for done in token_logprobs(model, coded, pad=pad):
        for k, total in done:
            flat[k] = total
    rest = iter(flat)
    return [list(islice(rest, len(answers))) for answers in made]


def _differences(
    values: Sequence[Sequence[float]], others: Sequence[Sequence[float]], weight: float = 1.0
) -> list[list[float]]:
    """Values less the others times a weight."""
    out = []
    for own, less in zip(values, others, strict=True):
        out.append([value - weight * other for value, other in zip(own, less, strict=True)])
    return out


def _record(
    number: int,
    scores: Sequence[Sequence[float]],
    far: Sequence[Sequence[float]],
    made: Sequence[Sequence[Sampled]],
    groups: int,
) -> dict[str, float]:
    answers = list(chain.from_iterable(made))
    return {
        "round": number,
        "score": _mean(chain.from_iterable(scores)),
        "log_ratio": _mean(chain.from_iterable(far)),
        "groups": groups,
        "tokens": _mean(len(answer.ids) for answer in answers),
        "cut": _mean(not answer.ended for answer in answers),
        "unscored": sum(math.isnan(value) for value in chain.from_iterable(scores)),
    }


def _told(record: Mapping[str, float], rounds: int) -> str:
    text = (
        f"round {record['round']} of {rounds}: mean score {record['score']:.4g}, log-ratio to the"
        f" start {record['log_ratio']:.3g}, {record['tokens']:.0f} tokens an answer"
    )
    if record["cut"]:
        text += f" ({record['cut']:.0%} cut)"
    if record["unscored"]:
        text += f", {record['unscored']} answers without a score"
    return text


def _mean(values: Any) -> float:
    known = [float(value) for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


@dataclass(frozen=True)
class KeptRounds:
    """Rounds kept in a folder: the weights that are trained, and the history.

    Attributes
    ----------
    folder
        of checkpoints; None: nothing is kept. It stays when all rounds are done, so that nothing is
        lost before the model is saved: ``remove`` it then
    every
        rounds between two checkpoints
    depends
        what the run depends on beside the options of ``reinforce``, prompts and model, such as the
        scorer: part -> name -> value
    """

    folder: Path | None
    every: int = 10
    depends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resume(
        self, model: Any, fingerprint: Fingerprint, say: Callable[[str], None]
    ) -> list[dict[str, float]]:
        """The history so far, the weights of its last checkpoint put into the model.

        Raises
        ------
        EvidenceError
            For checkpoints of another run, with what differs.
        """
        found = newest_whole(self.folder, fingerprint)
        for remark in found.remarks:
            say(f"! {remark}")
        found.set_aside()
        if found.last is None:
            return []
        from safetensors.torch import load_file

        kept = load_file(found.last / WEIGHTS)
        for name, weights in _trained(model):
            weights.data.copy_(kept[name])
        return list(json.loads((found.last / STATE).read_text(encoding="utf-8")))

    def keep(
        self,
        model: Any,
        history: Sequence[dict[str, float]],
        fingerprint: Fingerprint,
        *,
        last: bool,
    ) -> None:
        """Write a checkpoint every so many rounds, and after the last one."""
        if self.folder is None or (len(history) % self.every and not last):
            return
        from safetensors.torch import save_file

        weights = {name: own.detach().cpu().contiguous() for name, own in _trained(model)}
        with written_checkpoint(self.folder, len(history), fingerprint) as part:
            save_file({name: own.clone() for name, own in weights.items()}, part / WEIGHTS)
            write_json(part / STATE, list(history))

    def remove(self) -> None:
        """Once the model is saved, the checkpoints are not needed any more."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _trained(model: Any) -> Iterator[tuple[str, Any]]:
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            yield name, weights
