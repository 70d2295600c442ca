"""Options that all trainers of language models have, beside those of transformers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from transformers import TrainingArguments

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.models.fitting import LongPrompts

CHOICES: dict[str, tuple[str, ...]] = {
    "labels": ("as-given", "win-shares"),
    "weights": ("float32", "as given"),
    "long_prompts": ("leave out", "cut"),
    "mean_over": ("lists", "tokens"),
    "layout": ("shared", "rows"),
    "failures": ("stop", "count"),
}
"""Option of a trainer -> its choices."""


@dataclass
class TextConfig(TrainingArguments):
    """How texts are read and weights are kept.

    Attributes
    ----------
    max_length, long_prompts, chat
        see ``encode_answers``
    dropout
        keep the model's dropout; off, policy and reference read alike
    weights
        ``"float32"``: weights in half precision are trained in float32; ``"as given"``
    """

    max_length: int = 1024
    long_prompts: LongPrompts = "leave out"
    chat: bool | None = None
    dropout: bool = False
    weights: Literal["float32", "as given"] = "float32"

    @classmethod
    def of(cls, args: TrainingArguments, **options: Any) -> Self:
        """The arguments as they are, with a trainer's options.

        Raises
        ------
        OptionError
            For an option that there is not.
        """
        refuse_unknown_options(options, (own.name for own in fields(cls)), of=cls.__name__)
        # Not made anew: __post_init__ has been run on these arguments.
        made = cls.__new__(cls)
        for own in fields(cls):
            if own.default_factory is dict:
                setattr(made, own.name, {})
        vars(made).update(vars(args) | options)
        return made

    def check_choices(self) -> None:
        """Refuse words that are none of an option's choices.

        Raises
        ------
        OptionError
            Naming them.
        """
        for name, choices in CHOICES.items():
            given = getattr(self, name, choices[0])
            if given not in choices:
                raise OptionError(f"{name}={given!r}: use {' or '.join(map(repr, choices))}.")

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; functions stand by their names."""
        return _named(super().to_dict())

    def __getstate__(self) -> dict[str, Any]:
        """What is saved beside a model; functions stand by their names."""
        return _named(vars(self))


def _named(values: dict[str, Any]) -> dict[str, Any]:
    named = dict(values)
    for name, value in values.items():
        if callable(value):
            named[name] = getattr(value, "__name__", type(value).__name__)
    return named
