"""A language model and environments in turn, all trajectories that still go on at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.conversations import as_messages
from policyrank.models.group_sampling import Decoding, GroupSampler
from policyrank.models.sampling import Sampled, Trajectory, context_of
from policyrank.models.turns import (
    ChatTurns,
    PlainTurns,
    TurnWriter,
    fitted_turn,
    spoken_text,
    template_call,
)
from policyrank.train.group_data import PromptRow
from policyrank.train.turn_limits import TURN_COLUMNS, Going, TurnLimits
from policyrank.worlds.agents import Environment, Step, TurnRecord, as_step
from policyrank.worlds.agents.guarded import Answered, answered_calls
from policyrank.worlds.agents.stepping import checked_observation, observed_text
from policyrank.worlds.agents.tool_calls import ToolCall, style_in

_PROBE = ToolCall("search", {"query": "Ulm now", "k": 3})


def call_style(tokenizer: Any) -> str:
    """In which style the chat template writes calls of tools: a name in ``CALL_STYLES``.

    Found by having it write one, and reading that.

    Raises
    ------
    EvidenceError
        When it has no place for calls, or writes them in no style that is known here.
    """
    text = template_call(tokenizer, _PROBE.name, _PROBE.arguments)
    if text is None:
        raise EvidenceError(
            "the chat template has no place for calls of tools: name their style (style='tags',"
            " 'json', ...), and say in the prompt how they are written."
        )
    found = style_in(text, _PROBE)
    if found is None:
        raise EvidenceError(
            f"the chat template writes calls of tools as {text.strip()[:80]!r}, which is no style"
            " that is known here: give a function."
        )
    return found


@dataclass
class TurnSampler:
    """A ``GroupSampler`` of trajectories, for ``GroupTrainer(sampler=...)``.

    The ids that were sampled stay; what an environment says is tokenised once and put behind them.
    What goes wrong in one trajectory stands in its columns (``TURN_COLUMNS``), and the others go
    on.

    Parameters
    ----------
    environment
        makes one; each trajectory has its own
    tokenizer
        of the policy
    limits
        of a trajectory
    turns
        writes what is read between turns; None: the chat template where there is one
        (``ChatTurns``, with the environment's tools), else texts as they are (``PlainTurns``)
    sampler
        of one turn, by its own ``limits.turn_tokens`` and ``limits.stop``, such as a
        ``ServerSampler``; None: the model that ``GroupTrainer`` trains
    context
        tokens that the policy reads, at most; None: as its model has it
    chat
        whether prompts came through the chat template

    Attributes
    ----------
    failed
        trajectories so far whose environment raised, hung or began otherwise
    error
        what the first of them failed by
    """

    environment: Callable[[], Environment]
    tokenizer: Any
    limits: TurnLimits = field(default_factory=TurnLimits)
    turns: TurnWriter | None = None
    sampler: GroupSampler | None = None
    context: int | None = None
    chat: bool | None = None
    failed: int = field(default=0, init=False)
    error: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.turns is None:
            template = getattr(self.tokenizer, "chat_template", None)
            if template and self.chat is not False:
                tools = tuple(getattr(self.environment(), "tools", ()))
                self.turns = ChatTurns(self.tokenizer, tools)
            else:
                self.turns = PlainTurns(self.tokenizer)

    def decoding(self, how: Decoding) -> Decoding:
        """How one turn is drawn, where all in all is drawn so."""
        return replace(how, max_new_tokens=self.limits.turn_tokens, stop=self.limits.stop)

    def update(self, model: Any) -> None:
        """Give the sampler of turns the model as it is now, if it wants it."""
        update = getattr(self.sampler, "update", None)
        if update is not None:
            update(model)

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        """Trajectories of prompts as ids, of which the environment knows no data."""
        rows = [PromptRow(k, "", list(head), {}) for k, head in enumerate(heads)]
        return [list(group) for group in self.of_rows(rows, samples, seed=seed)]

    def of_rows(
        self, rows: Sequence[PromptRow], samples: int, /, *, seed: int
    ) -> list[list[Trajectory]]:
        """``samples`` trajectories of each row of data.

        Raises
        ------
        OptionError
            Without a sampler, or when the data have a column of a name in ``TURN_COLUMNS``.
        EvidenceError
            When not one environment could begin.
        """
        if self.sampler is None:
            raise OptionError("no sampler of turns: give one, or train by GroupTrainer.")
        _refuse_taken(rows)
        until = None if self.limits.seconds is None else time.monotonic() + self.limits.seconds
        every = [Going(row) for row in rows for _ in range(samples)]
        self._begin(every)
        alive, made = self._first(every, samples, seed)
        for turn in range(1, self.limits.turns + 1):
            acting = self._write(alive, made)
            self._act(acting)
            late = until is not None and time.monotonic() > until
            alive = [own for own in acting if not own.stopped]
            if turn == self.limits.turns or late:
                for own in alive:
                    own.stopped = "time limit" if late else "turn limit"
            alive = [own for own in alive if not own.stopped]
            if not alive:
                break
            heads = [own.context for own in alive]
            made = [group[0] for group in self.sampler(heads, 1, seed=_seed(seed, turn))]
        self._close(every)
        found = [own.finished(self.tokenizer) for own in every]
        return [found[k : k + samples] for k in range(0, len(found), samples)]

    def _begin(self, every: Sequence[Going]) -> None:
        """Make and reset all environments; what fails stops."""
        made = answered_calls(
            [self.environment] * len(every), seconds=self.limits.environment_seconds, workers=1
        )
        for own, found in zip(every, made, strict=True):
            own.environment = found.value
            if found.failure:
                self._fail(own, f"environment {found.failure}", found.why)
        self._reset([own for own in every if not own.stopped])
        if every and all(own.stopped for own in every):
            raise EvidenceError(
                f"no environment could begin: {every[0].stopped} ({every[0].why}). Mend it, or make"
                " prompts of what it says (environment_rows)."
            )

    def _reset(self, every: Sequence[Going]) -> None:
        calls = []
        for own in every:
            row = {"prompt": own.row.prompt, **own.row.columns}
            row["prompt"] = row.get("given_prompt", own.row.prompt)
            calls.append(partial(_reset, own.environment, row))
        for own, said in zip(every, self._asked(every, calls), strict=True):
            if said.failure:
                self._fail(own, f"environment {said.failure}", said.why)
            elif own.row.prompt and not _holds(own.row, said.value):
                self._fail(own, "start differs", f"it says {str(said.value)[:100]!r}")

    def _first(
        self, every: Sequence[Going], samples: int, seed: int
    ) -> tuple[list[Going], list[Sampled]]:
        """First turns: the prompt of a group is read once."""
        assert self.sampler is not None
        groups = [every[k : k + samples] for k in range(0, len(every), samples)]
        groups = [group for group in groups if not all(own.stopped for own in group)]
        if not groups:
            return [], []
        made = self.sampler([group[0].row.ids for group in groups], samples, seed=_seed(seed, 0))
        alive, sampled = [], []
        for group, found in zip(groups, made, strict=True):
            for own, said in zip(group, found, strict=True):
                if not own.stopped:
                    alive.append(own)
                    sampled.append(said)
        return alive, sampled

    def _room(self, own: Going) -> int:
        """Tokens that a trajectory may still have."""
        room = self.limits.tokens - len(own.ids)
        context, model = self.context, getattr(self.sampler, "model", None)
        if context is None and hasattr(model, "config"):
            context = context_of(model)
        return room if context is None else min(room, context - len(own.row.ids) - len(own.ids))

    def _write(self, alive: Sequence[Going], made: Sequence[Sampled]) -> list[Going]:
        """Put what was sampled behind; those whose turn the environment is to answer."""
        acting = []
        for own, sampled in zip(alive, made, strict=True):
            room = self._room(own)
            ended = own.write(sampled, min(room, self.limits.turn_tokens), self.tokenizer)
            if not ended and (self.limits.stop_cut or self._room(own) < 1):
                own.stopped = "turn cut" if self._room(own) > 0 else "token limit"
                own.turns.append(TurnRecord(self._action(own), tokens=_written(own)))
            else:
                acting.append(own)
        return acting

    def _act(self, acting: Sequence[Going]) -> None:
        """The environments' answers to what was written, put behind it."""
        actions = [self._action(own) for own in acting]
        calls = []
        for own, action in zip(acting, actions, strict=True):
            calls.append(partial(_step, own.environment, action))
        answers = self._asked(acting, calls)
        for own, action, said in zip(acting, actions, answers, strict=True):
            self._answer(own, action, said)

    def _action(self, own: Going) -> str:
        written = own.ids[len(own.ids) - _written(own) :]
        return spoken_text(self.tokenizer, written, chat=self.chat)

    def _answer(self, own: Going, action: str, said: Answered[Step]) -> None:
        record = TurnRecord(action, tokens=_written(own), seconds=round(said.seconds, 6))
        if said.value is None:
            own.turns.append(record)
            self._fail(own, f"environment {said.failure}", said.why)
            return
        step = said.value
        troubles, calls = tuple(step.info.get("troubles", ())), tuple(step.info.get("calls", ()))
        record = replace(record, reward=step.reward, troubles=troubles, calls=calls)
        answer = step.info.get("answer")
        own.answer = own.answer if answer is None else str(answer)
        if step.done:
            own.stopped = "done"
            text = observed_text(step.observation)
            own.turns.append(replace(record, observation=text))
            return
        last_turn = len(own.turns) + 1 == self.limits.turns
        room = min(self.limits.read_tokens, self._room(own) - 1)
        assert self.turns is not None
        read = None
        if room > 0:
            read = fitted_turn(
                self.turns,
                self.tokenizer,
                step.observation,
                room=self.limits.read_tokens if last_turn else room,
                last=own.ids[-1] if own.ids else None,
                keep=self.limits.keep,
            )
        if read is None:
            own.stopped = "turn limit" if last_turn else "token limit"
            own.turns.append(record)
            return
        record = replace(record, observation=observed_text(read.read), cut=read.cut)
        if not last_turn:
            own.read(read.ids, read.read)
            record = replace(record, read=len(read.ids))
        own.turns.append(record)

    def _asked(self, every: Sequence[Going], calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Environments' answers, each within its time; one after the other where that is needed."""
        apart = [getattr(own.environment, "thread_safe", True) is False for own in every]
        return answered_calls(
            calls,
            seconds=self.limits.environment_seconds,
            workers=1 if any(apart) else self.limits.workers,
        )

    def _fail(self, own: Going, stopped: str, why: str) -> None:
        own.stopped, own.why = stopped, why
        self.failed += 1
        self.error = self.error or why

    def _close(self, every: Sequence[Going]) -> None:
        """Close environments that answer, and want it."""
        done = [own for own in every if own.stopped != "environment hung" and own.environment]
        calls = [own.environment.close for own in done if hasattr(own.environment, "close")]
        answered_calls(calls, seconds=self.limits.environment_seconds, workers=1)


def _written(own: Going) -> int:
    """Tokens of the turn that was written last."""
    turn = len(own.turns) + 1
    count = 0
    for segment in reversed(own.segments):
        if segment != turn:
            break
        count += 1
    return count


def _reset(environment: Environment, row: dict[str, Any]) -> Any:
    return checked_observation(environment.reset(row))


def _step(environment: Environment, action: str) -> Step:
    return as_step(environment.step(action))


def _holds(row: PromptRow, observation: Any) -> bool:
    """Whether a prompt shows what an environment begins with."""
    shown = "\n".join(str(message.get("content") or "") for message in as_messages(row.prompt))
    return observed_text(observation).strip() in shown


def _refuse_taken(rows: Sequence[PromptRow]) -> None:
    taken = [name for name in TURN_COLUMNS if rows and name in rows[0].columns]
    if taken:
        raise OptionError(
            f"column {taken[0]}: trajectories have one of this name. Rename it in the data."
        )


def _seed(seed: int, turn: int) -> int:
    return int(np.random.default_rng([seed, turn]).integers(2**31))
