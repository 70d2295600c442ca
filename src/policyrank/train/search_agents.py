"""Agents that search a corpus until they can answer: prompts, environments and their sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from policyrank.errors import EvidenceError, OptionError
from policyrank.train.turn_data import environment_rows
from policyrank.train.turn_limits import TurnLimits
from policyrank.train.turn_sampling import TurnSampler, call_style
from policyrank.worlds.agents import (
    CALL_STYLES,
    SEARCH_TAGS,
    SEARCH_TOOLS,
    Environment,
    Find,
    search_environment,
)


@dataclass(frozen=True)
class SearchTask:
    """Questions that are answered by searching.

    Parameters
    ----------
    find
        an engine of ``train.search_engines``, or any function of a query and how many
    tokenizer
        of the agent
    style
        of its calls: a name in ``CALL_STYLES``; ``"template"``: its chat template's own; None: that
        where the template has one, else ``"tags"``
    limits
        of a trajectory; tags end a turn where they close
    passages, label, metric, question, words, failed
        see ``worlds.agents.search_environment``
    instruction
        before each question; None: ``SEARCH_TAGS`` or ``SEARCH_TOOLS``
    chat
        whether prompts go through the chat template (None: where there is one)

    Raises
    ------
    OptionError
        For an unknown style.
    EvidenceError
        When calls are to be as the template has them, and it has none that are known here.
    """

    find: Find
    tokenizer: Any
    style: str | None = None
    limits: TurnLimits = field(default_factory=TurnLimits)
    passages: int = 3
    label: str = "answer"
    metric: Literal["f1", "exact"] = "f1"
    question: str = "question"
    words: int | None = None
    failed: float = 0.0
    instruction: str | None = None
    chat: bool | None = None

    def __post_init__(self) -> None:
        style = self.style
        if style not in (None, "template", *CALL_STYLES):
            known = ", ".join(("template", *CALL_STYLES))
            raise OptionError(f"style={style!r}: use one of {known}.")
        if style == "template":
            object.__setattr__(self, "style", call_style(self.tokenizer))
        elif style is None:
            object.__setattr__(self, "style", self._own_style())
        chat = self.chat
        if chat is None:
            chat = bool(getattr(self.tokenizer, "chat_template", None))
        if self.style != "tags" and not chat:
            raise OptionError(f"style={self.style!r}: results are messages of a chat. Take tags.")
        object.__setattr__(self, "chat", chat)

    def _own_style(self) -> str:
        if self.chat is False:
            return "tags"
        try:
            return call_style(self.tokenizer)
        except EvidenceError:
            return "tags"

    def environment(self) -> Environment:
        """One of them, for one trajectory."""
        fresh = getattr(self.find, "fresh", None)
        return search_environment(
            self.find if fresh is None else fresh(),
            passages=self.passages,
            label=self.label,
            metric=self.metric,
            style=str(self.style),
            question=self.question,
            words=self.words,
            failed=self.failed,
        )

    def rows(self, source: Any) -> list[dict[str, Any]]:
        """Rows of questions with their prompts, for ``GroupTrainer``.

        Raises
        ------
        EvidenceError
            Naming the row without a question.
        """
        told = self.instruction
        if told is None:
            told = SEARCH_TAGS
            if self.style != "tags":
                told = SEARCH_TOOLS + "\n\nQuestion: "
        return environment_rows(source, self.environment, before=told, chat=bool(self.chat))

    def sampler(self, **options: Any) -> TurnSampler:
        """The sampler of trajectories; ``options`` are those of ``TurnSampler``."""
        limits = self.limits
        if self.style == "tags" and not limits.stop:
            values = {name: getattr(limits, name) for name in limits.__dataclass_fields__}
            limits = TurnLimits(**values | {"stop": ("</search>", "</answer>")})
        make: Callable[[], Environment] = self.environment
        if self.style == "tags":
            from policyrank.models.turns import PlainTurns

            options.setdefault("turns", PlainTurns(self.tokenizer))
        return TurnSampler(make, self.tokenizer, limits, chat=self.chat, **options)
