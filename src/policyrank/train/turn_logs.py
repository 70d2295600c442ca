"""Trajectories of turns as they are trained on, a line of JSON each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from policyrank.errors import OptionError
from policyrank.evidence.conversations import as_messages
from policyrank.files import append_lines
from policyrank.train.group_making import ComparedGroups
from policyrank.train.group_report import SampleLog, of_outputs
from policyrank.train.logs import cut_after


class RolloutLog(SampleLog):
    """Keeps all trajectories of a run in its folder's rollouts.jsonl, for ``GroupTrainer(show=)``.

    Of other processes in rollouts-1.jsonl and so on. ``policyrank rollouts show`` reads them,
    ``evidence.read_rollouts`` too. Where training goes on, what comes again is not kept twice.
    """

    def rollouts(self, process: int = 0) -> Path:
        """Where those of a process are kept."""
        number = f"-{process}" if process else ""
        return self.path.with_name(f"rollouts{number}.jsonl")

    def compared(self, found: ComparedGroups, step: int, process: int = 0) -> None:
        """Keep the trajectories of a round.

        Raises
        ------
        OptionError
            When the rollouts have no turns.
        """
        path = self.rollouts(process)
        path.parent.mkdir(parents=True, exist_ok=True)
        append_lines(path, [json.dumps(own, default=str) for own in rollout_records(found, step)])

    def callback(self) -> TrainerCallback:
        """For the trainer whose ``show`` this is."""
        log, samples = self, super().callback()

        class Cut(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                samples.on_train_begin(args, state, control, **more)
                cut_after(log.rollouts(args.process_index), "step", state.global_step - 1)

        return Cut()


def rollout_records(found: ComparedGroups, step: int) -> list[dict[str, Any]]:
    """Trajectories of a round, as ``evidence.LoggedRollout`` has them.

    Raises
    ------
    OptionError
        When the rollouts have no turns.
    """
    rollouts, said = found.rollouts, found.said
    if "trajectory" not in rollouts.columns:
        raise OptionError("the rollouts have no turns: sample them by TurnSampler.")
    rewards, columns = of_outputs(said.values), rollouts.columns
    samples: dict[int, int] = {}
    records = []
    for row, group in enumerate(rollouts.groups.tolist()):
        samples[group] = samples.get(group, -1) + 1
        parts = {name: _plain(float(values[row])) for name, values in said.parts.items()}
        records.append(
            {
                "step": step,
                "group": group,
                "sample": samples[group],
                "prompt": _shown(rollouts.prompts[row]),
                "reward": _plain(float(rewards[row])),
                "parts": parts,
                "stopped": columns["stopped"][row],
                "answer": columns["final_answer"][row],
                **columns["trajectory"][row],
            }
        )
    return records


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(prompt: Any) -> str:
    return "\n\n".join(str(own.get("content") or "") for own in as_messages(prompt))
