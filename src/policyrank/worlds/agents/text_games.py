"""Games of TextWorld, a room and a command at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from policyrank.errors import EvidenceError, MissingExtraError
from policyrank.worlds.agents.stepping import Observation, Step
from policyrank.worlds.agents.tool_calls import spoken

PLAY = """You play a text game. Think first where you need to; your last line is a command.

"""


@dataclass
class TextGame:
    """A game of TextWorld; the last line of what an agent writes is its command.

    A turn earns by how much it raised the score, over the highest one that there is. Games are
    made by ``tw-make`` (``tw-make tw-simple --rewards dense --goal brief --seed 1 --output
    game.z8``); ``pip install textworld``.

    Parameters
    ----------
    game
        file of a game; None: column ``game`` of the row has it
    commands
        whether commands that are possible are shown

    Raises
    ------
    MissingExtraError
        When textworld is missing.
    """

    game: str | None = None
    commands: bool = True
    thread_safe = False
    """TextWorld's interpreters share what a process has."""

    _env: Any = field(default=None, init=False, repr=False)
    _score: float = field(default=0.0, init=False, repr=False)
    _highest: float = field(default=1.0, init=False, repr=False)
    _possible: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            import textworld
        except ModuleNotFoundError:
            raise MissingExtraError("games of TextWorld need it: pip install textworld") from None
        self._infos = textworld.EnvInfos(
            admissible_commands=True, won=True, lost=True, score=True, max_score=True
        )

    def reset(self, row: Mapping[str, Any], /) -> Observation:
        """Begin the game anew.

        Raises
        ------
        EvidenceError
            Without a game.
        """
        import textworld

        game = self.game or row.get("game")
        if not isinstance(game, str):
            raise EvidenceError("no game: name a file, or give a column game.")
        self.close()
        self._env = textworld.start(game, self._infos)
        state = self._env.reset()
        self._score, self._highest = 0.0, float(state.get("max_score") or 1.0)
        return self._shown(state)

    def step(self, action: str, /) -> Step:
        """Give a command; one that is not possible changes nothing, and is told so by the game."""
        lines = spoken(action).strip().splitlines()
        command = lines[-1].strip().strip("`>* ") if lines else ""
        troubles = () if command in self._possible else ("bad action",)
        state, score, done = self._env.step(command or "look")
        gained = (float(score) - self._score) / self._highest
        self._score = float(score)
        info: dict[str, Any] = {"troubles": troubles, "won": bool(state.get("won"))}
        if done:
            info["answer"] = "won" if state.get("won") else "lost"
        return Step(self._shown(state), gained, bool(done), info)

    def close(self) -> None:
        """End the game."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _shown(self, state: Any) -> str:
        self._possible = tuple(state.get("admissible_commands") or ())
        feedback = "\n".join(line.rstrip() for line in str(state["feedback"]).splitlines())
        text = feedback.strip()
        if self.commands and self._possible:
            text += "\n\nPossible: " + ", ".join(sorted(self._possible))
        return text
