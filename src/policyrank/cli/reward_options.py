"""Options of verbs that learn from own outputs: what these are rewarded for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Group, Parameter

from policyrank.cli.answer_options import Judging, named_in_file
from policyrank.cli.options import AtLeastOne, Flag, Names
from policyrank.cli.tuning import Positive, Weight
from policyrank.errors import EvidenceError, OptionError, PolicyrankError

if TYPE_CHECKING:
    from policyrank.cli.answer_options import Texts
    from policyrank.learn import Reward
    from policyrank.models.fitting import Seen

REWARDS = Group("Rewards", sort_key=2)
OF_LABELS = ("ndcg", "recall", "choice", "exact", "tests")
"""Rewards that read columns of the data."""
OF_MODELS = ("rubric", "reward-model", "judge", "likelihood")
"""Rewards that ask a model: ``NAME:MODEL``."""


@Parameter(name="*", group=REWARDS)
@dataclass(frozen=True)
class Rewarding:
    """What outputs are rewarded for.

    Parameters
    ----------
    reward
        ndcg, recall, choice or exact (by --label), tests (programs, in the sandbox), rubric:MODEL,
        reward-model:MODEL, judge:MODEL, likelihood:MODEL, or your function as FILE.py:NAME,
        module:NAME or module:NAME(option=value); repeatable.
    weight
        Of each reward, in their order; repeatable (None: 1 each).
    reward_kl
        Weight of the log-ratio of whole outputs to the reference, taken from their rewards.
    references
        JSONL of prompt, answer: a reward-model: is a policy discriminator that reads the answer as
        reference, a judge: sees it.
    polar
        The reward-model: is a released POLAR checkpoint, fine-tuned (sft) or only pre-trained, and
        read as its authors do; with --references.
    trust_remote_code
        Run the code that comes with a reward-model:.
    compose
        Several rewards: their sum, normalised in each group first or not, or a gate.
    label
        Column with the relevance of the items as shown (a list), or the right answer (exact).
    places
        First places of a ranking that count (None: all).
    lenient
        Mend rankings and answers that are not as asked, instead of giving them 0.
    test_seconds
        Time of each test of a program.
    package
        Installed package that programs may import beside the standard library; repeatable.
    reward_seconds
        Time that the rewards of one group may take.
    count_failures
        Leave out groups whose reward raises or takes too long, and count them, instead of stopping.
    """

    reward: Names = None
    weight: list[float] | None = None
    reward_kl: Weight = 0.0
    references: Path | None = None
    polar: Literal["sft", "pretrain"] | None = None
    trust_remote_code: Flag = False
    compose: Literal["sum", "normalised", "geometric", "product", "least", "hard"] = "sum"
    label: str = "label"
    places: AtLeastOne | None = None
    lenient: Flag = False
    test_seconds: Positive = 2.0
    package: Names = None
    reward_seconds: Positive = 600.0
    count_failures: Flag = False

    def composed(self, texts: Texts, seen: Seen) -> Reward:
        """One reward of all that were named.

        Raises
        ------
        OptionError
            For none, an unknown one, or weights that do not fit.
        EvidenceError
            When a function or a model is not there, or programs cannot be run apart.
        """
        if not self.reward:
            raise OptionError("--reward: name at least one.")
        self._check_models()
        if self.compose not in ("sum", "normalised") and self.weight:
            raise OptionError(f"--weight is of sums, not of --compose {self.compose}.")
        from policyrank.learn import rewards

        named = {}
        for spec in self.reward:
            if spec in named:
                raise OptionError(f"--reward {spec}: named twice.")
            named[spec] = self._one(spec, texts, seen)
        if self.compose == "sum":
            return rewards.weighted(named, self.weight)
        if self.compose == "normalised":
            return rewards.normalised(named, self.weight)
        return rewards.gate(named, self.compose)

    def _one(self, spec: str, texts: Texts, seen: Seen) -> Any:
        kind, _, model = spec.partition(":")
        if spec in OF_LABELS:
            return self._of_label(spec)
        if kind in OF_MODELS and model:
            return self._of_model(kind, model, texts, seen)
        if model:
            return imported_function(spec)
        known = ", ".join((*OF_LABELS, *(f"{name}:MODEL" for name in OF_MODELS)))
        raise OptionError(f"--reward {spec}: use {known}, FILE.py:NAME or module:NAME.")

    def _of_label(self, name: str) -> Reward:
        from policyrank.train import named_rewards
        from policyrank.worlds import sandbox

        if name == "tests":
            if why := sandbox.unavailable():
                raise EvidenceError(f"programs cannot be run apart here: {why}.")
            packages = self.package or ()
            return named_rewards.program_reward(seconds=self.test_seconds, packages=packages)
        parsed: dict[str, Any] = {"label": self.label, "strict": not self.lenient}
        if name == "exact":
            return named_rewards.exact_reward(**parsed)
        if name == "choice":
            return named_rewards.choice_reward(**parsed)
        metric: Any = name
        return named_rewards.list_reward(metric, places=self.places, **parsed)

    def _check_models(self) -> None:
        """Refuse options of models that are not asked."""
        kinds = {spec.partition(":")[0] for spec in self.reward or []}
        if self.references is not None and not kinds & {"reward-model", "judge"}:
            raise OptionError("--references are read by a reward-model: or a judge:; name one.")
        for name in ("polar", "trust_remote_code"):
            if getattr(self, name) and "reward-model" not in kinds:
                option = name.replace("_", "-")
                raise OptionError(f"--{option} is of a reward model: name it (reward-model:NAME).")

    def _of_model(self, kind: str, name: str, texts: Texts, seen: Seen) -> Reward:
        """A reward by a model's scores, or by its verdicts on a rubric."""
        from policyrank.train import named_rewards

        if kind == "rubric":
            from policyrank.models.language import load_causal_lm
            from policyrank.models.provenance import about

            model, tokenizer = load_causal_lm(name)
            read = texts.of(name, about(name))
            return named_rewards.rubric_by(
                model, tokenizer, max_length=2 * read.max_length, chat=read.chat, seen=seen
            )
        judging = Judging(likelihood=name)
        if kind == "judge":
            judging = Judging(judge=name, references=self.references)
        elif kind == "reward-model":
            own = ("references", "polar", "trust_remote_code")
            judging = Judging(reward=name, **{option: getattr(self, option) for option in own})
        return named_rewards.of_scorer(judging.scorer(texts, seen), f"{kind}:{name}")

    def models(self) -> dict[str, str | None]:
        """Option -> the model that it names."""
        found: dict[str, str | None] = {}
        for spec in self.reward or []:
            kind, _, model = spec.partition(":")
            if kind in OF_MODELS:
                found[f"--reward {kind}:"] = model
        return found

    def settings(self) -> dict[str, Any]:
        """As ``GroupConfig`` has them."""
        return {
            "reward_kl": self.reward_kl,
            "reward_seconds": self.reward_seconds,
            "failures": "count" if self.count_failures else "stop",
        }

    def told(self) -> dict[str, Any]:
        """What is written beside a model of what it was rewarded for."""
        found = {"rewards": self.reward, "compose": self.compose, "reward_kl": self.reward_kl}
        return found | ({"weights": self.weight} if self.weight else {})

    def depends(self) -> dict[str, Any]:
        """What rewards depend on: names, and what files and models of these hold."""
        from policyrank.fingerprints import content_hash
        from policyrank.train.saving import weights_fingerprint

        found: dict[str, Any] = {key: str(value) for key, value in vars(self).items()}
        for spec in self.reward or []:
            kind, _, model = spec.partition(":")
            if kind in OF_MODELS:
                found[f"{spec} weights"] = str(weights_fingerprint(model))
            elif kind.endswith(".py") and Path(kind).is_file():
                found[f"{spec} content"] = content_hash(kind)
        if self.references is not None:
            found["references content"] = content_hash(self.references)
        return found


def imported_function(place: str, option: str = "--reward") -> Any:
    """A user's function, ``FILE.py:NAME``, ``module:NAME`` or ``module:NAME(option=value)``."""
    from policyrank.train.places import imported

    where = place.partition(":")[0]
    if where.endswith(".py"):
        return named_in_file(option, place)
    sys.path.insert(0, os.getcwd())
    try:
        found = imported(place)
    except PolicyrankError as error:
        raise OptionError(f"{option} {error}") from None
    except Exception as error:  # whatever a user's module raises
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise EvidenceError(f"{option} {place}: {where} cannot be imported ({why}).") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise OptionError(f"{option} {place}: that is no function.")
    return found
