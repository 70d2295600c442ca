"""How an environment of text is spoken to, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Message

Observation = str | Sequence[Message]
"""A text, or messages as a chat template takes them (``{"role": "tool", ...}``)."""

TROUBLES = {
    "malformed call": "a call that cannot be read",
    "unknown tool": "a call of a tool that there is not",
    "bad arguments": "arguments that do not fit the tool",
    "tool raised": "a tool that raised",
    "tool late": "a tool that took too long",
    "no call": "a turn with neither a call nor a final answer",
    "no answer": "no final answer in the end",
    "bad action": "an action that the world does not know",
}
"""What can go wrong in a turn by the agent's or a tool's doing, and what that means."""


class Step(NamedTuple):
    """What comes of an action.

    Attributes
    ----------
    observation
        what the agent reads next
    reward
        of this turn
    done
        whether it is over: nothing is read any more
    info
        what logs should know: ``troubles`` (names in ``TROUBLES``), ``calls`` (name, arguments,
        result), ``answer`` (the final one), and anything else
    """

    observation: Observation
    reward: float = 0.0
    done: bool = False
    info: Mapping[str, Any] = {}


class Environment(Protocol):
    """A world of text for one trajectory at a time.

    What it may have beside: ``tools`` (schemas of functions, for the chat template),
    ``thread_safe = False`` (no two of its kind are called at once), and ``close()``.
    """

    def reset(self, row: Mapping[str, Any], /) -> Observation:
        """Begin anew for a row of data; what the agent reads first."""

    def step(self, action: str, /) -> Step:
        """Answer what the agent wrote in one turn."""


@dataclass(frozen=True)
class TurnRecord:
    """A turn, as it is logged.

    Attributes
    ----------
    action
        what the agent wrote, special tokens and all but its end
    observation
        what it then read; as it was cut
    reward
        by the environment
    tokens, read
        that the agent wrote, and that it read after it
    cut
        tokens of the observation that were left out, to fit the context
    seconds
        that the environment took
    troubles
        names in ``TROUBLES``
    calls
        of tools: name, arguments, result
    """

    action: str
    observation: str = ""
    reward: float = 0.0
    tokens: int = 0
    read: int = 0
    cut: int = 0
    seconds: float = 0.0
    troubles: tuple[str, ...] = ()
    calls: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)


def as_step(said: Any) -> Step:
    """What an environment's ``step`` gave, four values or gymnasium's five, as a ``Step``.

    Raises
    ------
    EvidenceError
        When it is something else.

    Examples
    --------
    >>> as_step(("a wall", 0.5, False, False, {})).observation
    'a wall'
    """
    values = tuple(said) if isinstance(said, (tuple, list)) else (said,)
    if len(values) == 5:
        observation, reward, ended, cut, info = values
        values = (observation, reward, bool(ended) or bool(cut), info)
    if not 2 <= len(values) <= 4:
        raise EvidenceError(
            f"a step gave {type(said).__name__}: an environment gives observation, reward, done"
            " and info."
        )
    observation = values[0]
    done = bool(values[2]) if len(values) > 2 else False
    info = values[3] if len(values) > 3 else {}
    reward = _number(values[1])
    if not isinstance(info, Mapping):
        raise EvidenceError(f"a step's info is {type(info).__name__}: give a mapping.")
    return Step(checked_observation(observation), reward, done, info)


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise EvidenceError(f"a step's reward is {str(value)[:60]!r}: give a number.") from None
    if found in (float("inf"), float("-inf")):
        raise EvidenceError("a step's reward is infinite: give a number.")
    return found


def checked_observation(observation: Any) -> Observation:
    """An observation as it is.

    Raises
    ------
    EvidenceError
        When it is neither a text nor messages with texts.
    """
    if isinstance(observation, str):
        return observation
    if isinstance(observation, Sequence) and all(map(_is_message, observation)):
        return tuple(observation)
    raise EvidenceError(
        f"an observation is {str(observation)[:60]!r}: give a text, or messages with role and"
        " content."
    )


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, Mapping)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
    )


def observed_text(observation: Observation) -> str:
    """An observation as one text, a line between messages."""
    if isinstance(observation, str):
        return observation
    return "\n".join(str(message["content"]) for message in observation)
