"""What a round of groups was like: numbers for the log, and a few outputs as texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import TrainerCallback

from policyrank.evidence.answers import text_of
from policyrank.learn import Rewards, Rollouts
from policyrank.train.group_making import ComparedGroups
from policyrank.train.logs import append_line, cut_after

Float = NDArray[np.float64]


def of_outputs(values: Tensor) -> Float:
    """One number an output: of segments their sum, NaN where none says anything."""
    found = values.double()
    if found.ndim > 1:
        none = found.isnan().all(dim=-1)
        found = found.nan_to_num(nan=0.0).flatten(1).sum(dim=-1).masked_fill(none, math.nan)
    return found.numpy()


def reward_report(rollouts: Rollouts, said: Rewards) -> dict[str, Float]:
    """By prompt: mean and best reward, parts, tokens, shares that were cut and not rewarded."""
    rewards, groups = of_outputs(said.values), rollouts.groups.numpy()
    lengths = rollouts.where.sum(dim=-1).double().numpy()
    cut = np.zeros(len(rollouts))
    if rollouts.ended is not None:
        cut = 1.0 - rollouts.ended.double().numpy()
    each = {"reward": rewards, "tokens": lengths, "cut": cut, "empty": lengths == 0}
    each["unrewarded"] = np.isnan(rewards)
    for name, values in said.parts.items():
        each[f"reward/{name}"] = values.double().numpy()
    found = {name: _by_group(values, groups, np.mean) for name, values in each.items()}
    return found | {"reward_best": _by_group(rewards, groups, np.max)}


def means(parts: Sequence[dict[str, Float]]) -> dict[str, float]:
    """Of each number its mean over all prompts, and of the reward its standard error."""
    found = {}
    for name in parts[0]:
        values = np.concatenate([own[name] for own in parts])
        values = values[~np.isnan(values)]
        if len(values):
            found[name] = float(values.mean())
        if name == "reward" and len(values) > 1:
            found["reward_error"] = float(values.std(ddof=1) / len(values) ** 0.5)
    return found


def _by_group(values: Any, groups: NDArray[np.int64], rule: Any) -> Float:
    """A number of each group, of what is not NaN."""
    found = []
    for key in np.unique(groups):
        own = np.asarray(values, dtype=float)[groups == key]
        own = own[~np.isnan(own)]
        found.append(float(rule(own)) if len(own) else math.nan)
    return np.array(found)


def round_report(compared: ComparedGroups, failed: int) -> dict[str, float]:
    """For the log: the same over all prompts, and the share of groups that say nothing."""
    rollouts, said = compared.rollouts, compared.said
    report = reward_report(rollouts, said)
    spread = _by_group(of_outputs(said.values), rollouts.groups.numpy(), np.std)
    found = {}
    for name, values in {**report, "reward_spread": spread}.items():
        known = values[~np.isnan(values)]
        found[name] = float(known.mean()) if len(known) else math.nan
    found["silent"] = 1.0 - float(np.mean(compared.telling))
    if failed:
        found["failed_rewards"] = float(failed)
    return found


def shown(compared: ComparedGroups, most: int) -> list[dict[str, Any]]:
    """A few outputs as texts, of as many prompts, with what they earned."""
    rollouts, said = compared.rollouts, compared.said
    rewards, found = of_outputs(said.values), []
    firsts = [int(rows[0]) for rows, _ in rollouts.by_group()]
    for row in firsts[:most]:
        record: dict[str, Any] = {
            "prompt": _text(rollouts.prompts[row]),
            "completion": _text(rollouts.completions[row]),
            "reward": float(rewards[row]),
            "ended": rollouts.ended is None or bool(rollouts.ended[row]),
        }
        for name, values in said.parts.items():
            record[f"reward/{name}"] = float(values[row])
        found.append(record)
    return found


def _text(value: Any) -> Any:
    """A text where it is one; messages with tools and pictures as they are."""
    try:
        return text_of(value)
    except ValueError:
        return value


class SampleLog:
    """Keeps the outputs that are shown in a folder's samples.jsonl, a line each.

    Where training goes on, what comes again is not kept twice.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder, "samples.jsonl")

    def __call__(self, records: Sequence[dict[str, Any]]) -> None:
        """Keep the outputs of a round."""
        for record in records:
            append_line(self.path, record)

    def callback(self) -> TrainerCallback:
        """For the trainer whose ``show`` this is."""
        path = self.path

        class Cut(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    cut_after(path, "step", state.global_step - 1)

        return Cut()
