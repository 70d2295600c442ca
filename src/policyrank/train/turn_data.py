"""Prompts of what environments say first, and rewards of what they said in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answer_prompts import renamed
from policyrank.evidence.answers import read_rows
from policyrank.learn import Reward, Rewards, Rollouts
from policyrank.train.turn_limits import FAILED
from policyrank.worlds.agents import TROUBLES, Environment
from policyrank.worlds.agents.guarded import answered_calls
from policyrank.worlds.agents.stepping import checked_observation


def environment_rows(
    source: Any,
    environment: Callable[[], Environment],
    *,
    system: str | None = None,
    before: str = "",
    chat: bool = True,
    seconds: float | None = 60.0,
) -> list[dict[str, Any]]:
    """Rows of data with the prompt that their environment begins with.

    Parameters
    ----------
    source
        rows, a table or a file, as ``encode_prompts`` takes them; a prompt of their own becomes
        ``given_prompt``
    environment
        makes one; it must begin alike for a row each time
    system
        what the agent is told before; a text with {tools} is told their names
    before
        stands before what an environment says that says a text
    chat
        messages, with the environment's tools; else one text
    seconds
        that a reset may take

    Raises
    ------
    EvidenceError
        Naming the row whose environment fails, or says nothing.
    """
    rows = []
    for place, row in read_rows(source):
        world = environment()
        (said,) = answered_calls([lambda w=world, r=row: w.reset(r)], seconds=seconds)  # type: ignore[misc]
        if said.failure:
            raise EvidenceError(f"{place}: the environment {said.failure} ({said.why}).")
        observation = checked_observation(said.value)
        if not observation:
            raise EvidenceError(f"{place}: the environment says nothing first: give prompts.")
        tools = tuple(getattr(world, "tools", ()))
        close = getattr(world, "close", None)
        if close is not None:
            answered_calls([close], seconds=seconds)
        if before and isinstance(observation, str):
            observation = before + observation
        rows.append(_with_prompt(row, observation, system, tools, chat))
    return rows


def _with_prompt(
    row: Any, observation: Any, system: str | None, tools: tuple[Any, ...], chat: bool
) -> dict[str, Any]:
    names = ", ".join(tool["function"]["name"] for tool in tools)
    told = None if system is None else system.replace("{tools}", names)
    kept = renamed(row, ("prompt", "tools", "system", "system_prompt"))
    if not chat:
        if not isinstance(observation, str):
            observation = "\n\n".join(str(message["content"]) for message in observation)
        text = observation if told is None else f"{told}\n\n{observation}"
        return {**kept, "prompt": text}
    messages = [{"role": "system", "content": told}] if told is not None else []
    if isinstance(observation, str):
        messages.append({"role": "user", "content": observation})
    else:
        messages += [dict(message) for message in observation]
    found = {**kept, "prompt": messages}
    return found | ({"tools": list(tools)} if tools else {})


def turn_reward(
    *, by_turn: int | None = None, discount: float = 1.0, unfinished: float | None = None
) -> Reward:
    """What the environments gave, and how trajectories went, for the log.

    Where the environment failed (``train.turn_limits.FAILED``) it does not apply.

    Parameters
    ----------
    by_turn
        None: one value of a trajectory, the sum over its turns. A number: of each of so many turns
        what is gained in it and after it, NaN for turns that there were not; advantages are then a
        turn each. Give the limit of turns
    discount
        of what is gained a turn later
    unfinished
        added to the last turn of trajectories that a limit stopped; None: nothing

    Returns
    -------
    A reward with the parts ``turns``, ``failed`` and ``unfinished`` (shares), ``tokens_cut``, and
    how often each of ``TROUBLES`` was.

    Raises
    ------
    OptionError
        For a discount out of [0, 1]; when the rollouts have no turns, or more than ``by_turn``.

    Examples
    --------
    >>> columns = {"turn_rewards": [(0.0, 1.0)], "stopped": ["done"], "troubles": [()]}
    >>> columns |= {"turns": [2], "tokens_cut": [0]}
    >>> one = Rollouts(torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1), columns=columns)
    >>> turn_reward(by_turn=3, discount=0.5)(one).values
    tensor([[0.5000, 1.0000,    nan]])
    """
    if not 0 <= discount <= 1:
        raise OptionError(f"discount={discount}: in [0, 1].")

    def reward(group: Rollouts) -> Rewards:
        if "turn_rewards" not in group.columns:
            raise OptionError("the rollouts have no turns: sample them by TurnSampler.")
        stopped = group.columns["stopped"]
        gained = [list(own) for own in group.columns["turn_rewards"]]
        for own, why in zip(gained, stopped, strict=True):
            if own and unfinished is not None and why != "done" and why not in FAILED:
                own[-1] += unfinished
        values = returns_to_go(gained, discount, by_turn)
        if by_turn is None:
            values = values[:, 0]
        values[[why in FAILED for why in stopped]] = torch.nan
        return Rewards(values, _parts(group))

    reward.__name__ = "turns"
    return reward


def returns_to_go(gained: list[list[float]], discount: float, turns: int | None) -> Tensor:
    """Discounted sums from each turn on: (rows, turns), NaN where there is no turn.

    A row without a turn has 0 in all where ``turns`` is None, and there is one column at least.

    Raises
    ------
    OptionError
        When a row has more than ``turns``.
    """
    most = max([*map(len, gained), 1])
    width = most if turns is None else turns
    if most > width:
        raise OptionError(f"by_turn={turns}: a trajectory has {most} turns. Give their limit.")
    rewards = torch.zeros(len(gained), width, dtype=torch.float64)
    there = torch.zeros(rewards.shape, dtype=torch.bool)
    for row, own in enumerate(gained):
        rewards[row, : len(own)] = torch.tensor(own, dtype=torch.float64)
        there[row, : len(own)] = True
    out = torch.zeros_like(rewards)
    after = rewards.new_zeros(len(gained))
    for turn in reversed(range(width)):
        after = rewards[:, turn] + discount * after
        out[:, turn] = after
    return out.masked_fill(~there, torch.nan).float() if turns is not None else out.float()


def _parts(group: Rollouts) -> dict[str, Tensor]:
    stopped = group.columns["stopped"]
    found = {
        "turns": list(map(float, group.columns["turns"])),
        "failed": [float(why in FAILED) for why in stopped],
        "unfinished": [float(why != "done" and why not in FAILED) for why in stopped],
        "tokens_cut": list(map(float, group.columns["tokens_cut"])),
    }
    for trouble in TROUBLES:
        found[trouble] = [float(list(own).count(trouble)) for own in group.columns["troubles"]]
    return {name: torch.tensor(values) for name, values in found.items()}
