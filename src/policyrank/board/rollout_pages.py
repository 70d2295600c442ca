"""Trajectories of turns, to be read: in a terminal, and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from policyrank.board.page import filled_page
from policyrank.board.terminal import printed, width_of
from policyrank.board.wording import clean
from policyrank.evidence.rollout_logs import (
    LoggedCall,
    LoggedRollout,
    LoggedTurn,
    rollout_summary,
)


def rollouts_text(
    rollouts: Sequence[LoggedRollout],
    *,
    source: str,
    top: int | None = None,
    most: int = 400,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Trajectories for a terminal: a summary, then turn by turn what was written and read.

    Parameters
    ----------
    source
        what they are of
    top
        so many are shown (None: all); the summary is of all
    most
        characters of each text; longer ones are cut in their middle

    Examples
    --------
    >>> turn = LoggedTurn("<search>Ulm</search>", "A town.", troubles=())
    >>> one = LoggedRollout((turn,), prompt="Where?", reward=0.5, stopped="turn limit")
    >>> print(rollouts_text([one], source="x.jsonl", width=60))
    rollouts  x.jsonl: 1 of 1 group, reward .500, 1.0 turns
    stopped: turn limit 1
    <BLANKLINE>
    0.0.0  reward .500  turn limit
      asked  Where?
      1 >    <search>Ulm</search>
        <    A town.
    """
    parts: list[RenderableType] = [*_heading(rollouts, source)]
    for own in rollouts[:top]:
        parts += [Text(""), _title(own), _turns(own, most)]
    if top is not None and len(rollouts) > top:
        parts += [Text(""), Text(f"and {len(rollouts) - top:,} more", style="dim")]
    return printed(Group(*parts), width_of(width, 100, 140), colour)


def _heading(rollouts: Sequence[LoggedRollout], source: str) -> list[Text]:
    found = rollout_summary(rollouts)
    groups = f"{found['groups']:,} group{'s' if found['groups'] != 1 else ''}"
    told = f"  {source}: {found['rollouts']:,} of {groups}, reward {_number(found['reward'])}"
    lines = [Text.assemble(("rollouts", "bold"), f"{told}, {found['turns']:.1f} turns")]
    for name in ("stopped", "troubles", "calls"):
        if found[name]:
            counts = ", ".join(f"{clean(key)} {n:,}" for key, n in found[name].items())
            lines.append(Text(f"{name}: {counts}"))
    if found["not rewarded"]:
        lines.append(Text(f"! not rewarded: {found['not rewarded']:,}", style="yellow"))
    if found["tokens cut"]:
        lines.append(Text(f"! tokens of observations cut: {found['tokens cut']:,}", style="yellow"))
    return lines


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _title(own: LoggedRollout) -> Text:
    title = Text.assemble((own.key, "bold"), f"  reward {_number(own.reward)}")
    title.append(f"  {own.stopped}", style="" if own.stopped == "done" else "yellow")
    if own.why:
        title.append(f" ({clean(own.why)})", style="yellow")
    return title


def _turns(own: LoggedRollout, most: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("  asked", Text(_short(own.prompt, most)))
    for number, turn in enumerate(own.turns, 1):
        grid.add_row(f"  {number} >", Text(_short(turn.action, most), style="bold"))
        for call in turn.calls:
            grid.add_row("    call", Text(_short(_call(call), most)))
        if turn.observation:
            grid.add_row("    <", Text(_short(turn.observation, most), style="dim"))
        for told in _remarks(turn):
            grid.add_row("    !", Text(told, style="yellow"))
        if turn.reward:
            grid.add_row("    =", Text(f"reward {_number(turn.reward)}"))
    if own.answer is not None:
        grid.add_row("  answer", Text(_short(own.answer, most)))
    return grid


def _remarks(turn: LoggedTurn) -> list[str]:
    told = list(turn.troubles)
    if turn.cut:
        told.append(f"{turn.cut:,} tokens cut of what was read")
    return told


def _call(call: LoggedCall) -> str:
    return f"{call.name} {json.dumps(call.arguments, ensure_ascii=False, default=str)}"


def _short(text: str, most: int) -> str:
    """A text as it can be shown, cut in its middle."""
    text = text.strip()
    if len(text) > most:
        left = len(text) - most
        text = f"{text[: most - most // 3]} [{left:,} characters] {text[-(most // 3) :]}"
    return "\n".join(map(clean, text.splitlines()))


def rollouts_html(
    rollouts: Sequence[LoggedRollout],
    path: str | Path | None = None,
    *,
    title: str = "Rollouts",
    command: str | None = None,
    most: int = 4000,
) -> str:
    """Trajectories as one self-contained page, written to ``path`` when given.

    Examples
    --------
    >>> one = LoggedRollout((LoggedTurn("<search>Ulm"),), prompt="Where?", reward=0.5)
    >>> "&lt;search&gt;Ulm" in rollouts_html([one])
    True
    """
    found = rollout_summary(rollouts)
    rows: list[dict[str, Any]] = []
    for own in rollouts:
        turns = []
        for number, turn in enumerate(own.turns, 1):
            turns.append(
                {
                    "number": number,
                    "action": _short(turn.action, most),
                    "observation": _short(turn.observation, most),
                    "calls": [_short(_call(call), most) for call in turn.calls],
                    "remarks": _remarks(turn),
                    "reward": _number(turn.reward) if turn.reward else "",
                    "tokens": f"{turn.tokens:,} written, {turn.read:,} read, {turn.seconds:.2f} s",
                }
            )
        parts = [(name, _number(value)) for name, value in own.parts.items() if value]
        row = {
            "key": own.key,
            "reward": _number(own.reward),
            "stopped": own.stopped,
            "why": clean(own.why),
            "prompt": _short(own.prompt, most),
            "answer": None if own.answer is None else _short(own.answer, most),
            "parts": parts,
            "turns": turns,
        }
        rows.append(row)
    counts = [(name, found[name]) for name in ("stopped", "troubles", "calls") if found[name]]
    return filled_page(
        "rollouts.html",
        path,
        title=title,
        command=command,
        found=found | {"reward": _number(found["reward"])},
        counts=counts,
        rows=rows,
    )
