"""Gymnasium environments whose actions and observations are texts, or can be said in texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from policyrank.errors import OptionError
from policyrank.worlds.agents.stepping import Observation, Step, as_step
from policyrank.worlds.agents.tool_calls import spoken


@dataclass
class GymnasiumText:
    """A gymnasium environment, spoken to in words.

    Parameters
    ----------
    env
        of gymnasium
    act
        what an agent wrote -> an action; it raises ValueError for what is none. None: the text
        after thinking as it is (``Text`` spaces), the number or name of an action (``Discrete``)
    show
        an observation of its -> a text; None: as it is, or as Python writes it
    actions
        names of the actions of a ``Discrete`` space, in its order
    seed
        column with the seed of a row; None, or a row without it: gymnasium's own draw
    bad
        reward of a turn that is no action; nothing is then done in the world

    Raises
    ------
    OptionError
        For a space that needs ``act``.
    """

    env: Any
    act: Callable[[str], Any] | None = None
    show: Callable[[Any], str] | None = None
    actions: tuple[str, ...] = ()
    seed: str | None = "seed"
    bad: float = 0.0
    _last: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        kind = type(self.env.action_space).__name__
        if self.act is None and kind not in ("Text", "Discrete"):
            raise OptionError(f"actions of {kind}: give act, which makes one of a text.")
        if self.actions and kind == "Discrete" and len(self.actions) != self.env.action_space.n:
            raise OptionError(
                f"{len(self.actions)} names of actions for {self.env.action_space.n}."
            )

    def reset(self, row: Mapping[str, Any], /) -> Observation:
        """Begin anew, with the row's seed."""
        seed = None if self.seed is None else row.get(self.seed)
        observation, _ = self.env.reset(seed=None if seed is None else int(seed))
        self._last = self._shown(observation)
        return self._last

    def step(self, action: str, /) -> Step:
        """One action; what is none is told, and the world stays as it is."""
        try:
            own = self._action(spoken(action).strip())
        except ValueError as error:
            told = f"{error}\n{self._last}"
            return Step(told, self.bad, False, {"troubles": ("bad action",)})
        observation, reward, ended, cut, info = self.env.step(own)
        self._last = self._shown(observation)
        return as_step((self._last, reward, bool(ended or cut), info))

    def close(self) -> None:
        """Close gymnasium's environment."""
        self.env.close()

    def _shown(self, observation: Any) -> str:
        if self.show is not None:
            return self.show(observation)
        return observation if isinstance(observation, str) else str(observation)

    def _action(self, text: str) -> Any:
        if self.act is not None:
            return self.act(text)
        space = self.env.action_space
        if type(space).__name__ == "Text":
            if not space.contains(text):
                raise ValueError(f"That is no action here: {text[:60]!r}.")
            return text
        if text in self.actions:
            return int(space.start) + self.actions.index(text)
        if text.lstrip("-").isdecimal() and space.contains(int(text)):
            return int(text)
        known = ", ".join(self.actions) or f"{space.start} to {space.start + space.n - 1}"
        raise ValueError(f"That is no action here: {text[:60]!r}. There are: {known}.")
