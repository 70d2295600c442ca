"""What TRL's GRPOTrainer samples, as rollouts of all processes; and what it would not heed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig

from policyrank.errors import OptionError
from policyrank.learn.advantages import group_keys
from policyrank.learn.losses import POLICY_OBJECTIVES, PolicyObjective
from policyrank.learn.rollouts import Reward, Rollouts

GroupKey = Callable[[Mapping[str, Any]], Hashable]
Segmenter = Callable[[Rollouts], Tensor]

_OF_LOSS = (
    "loss_type",
    "importance_sampling_level",
    "epsilon",
    "epsilon_high",
    "delta",
    "top_entropy_quantile",
    "off_policy_mask_threshold",
    "entropy_coef",
    "use_adaptive_entropy",
    "use_bias_correction_kl",
)
_TOLD = ("prompt", "completion", "completion_ids")
_TENSORS = ("ids", "where", "groups", "log_probs", "segments", "ended")


class OfGroups:
    """A reward of groups where TRL expects one of its own: what was found of the rows here."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.__name__ = getattr(reward, "__name__", type(reward).__name__)
        self.values = torch.zeros(0)
        self.rows = slice(0)

    def __call__(self, **_: Any) -> list[float]:
        values = self.values[self.rows]
        return (values.nanmean(dim=1) if values.ndim > 1 else values).tolist()


@dataclass(frozen=True)
class Sampled:
    """What TRL's ``_generate`` gave a process, as far as rollouts need it.

    Attributes
    ----------
    rows
        of the data, one a completion
    ids, masks, log_probs
        of each completion; masks and log-probabilities may be None
    stops
        tokens that end one
    size
        completions of a prompt
    first
        place of the first row among those of all processes
    """

    rows: Sequence[Mapping[str, Any]]
    prompts: Sequence[Any]
    completions: Sequence[Any]
    ids: Sequence[Sequence[int]]
    masks: Sequence[Sequence[int]] | None
    log_probs: Sequence[Sequence[float]] | None
    stops: frozenset[int]
    size: int
    first: int

    def rollouts(
        self, groups: str | GroupKey | None, segments: Segmenter | None, progress: float
    ) -> Rollouts:
        """The rollouts of this process, with the groups of all."""
        count = len(self.ids)
        names = dict.fromkeys(name for row in self.rows for name in row if name not in _TOLD)
        written: Any = [[True] * len(row) for row in self.ids]
        written = written if self.masks is None else self.masks
        found = Rollouts(
            ids=_padded(self.ids, torch.long),
            where=_padded(written, torch.bool),
            groups=self._keys(groups),
            log_probs=None if self.log_probs is None else _padded(self.log_probs, torch.float32),
            ended=torch.tensor([bool(row) and row[-1] in self.stops for row in self.ids]),
            prompts=list(self.prompts),
            completions=list(self.completions),
            columns={name: [row.get(name) for row in self.rows] for name in names},
            progress=progress,
        )
        if segments is None:
            return found
        index = segments(found).cpu()
        if index.shape != found.ids.shape:
            shapes = f"{tuple(index.shape)} for ids {(count, found.ids.shape[1])}"
            raise OptionError(f"segments {shapes}: give each token one.")
        return replace(found, segments=index)

    def _keys(self, groups: str | GroupKey | None) -> Tensor:
        if groups is None:
            return (self.first + torch.arange(len(self.ids))) // self.size
        keys = []
        for row in self.rows:
            if isinstance(groups, str) and groups not in row:
                raise OptionError(f"groups={groups!r}: the data have {', '.join(row)}.")
            keys.append(row[groups] if isinstance(groups, str) else groups(row))
        return group_keys(gather_object(keys))[self.first : self.first + len(keys)]


def of_all(here: Rollouts, processes: int) -> Rollouts:
    """The rollouts of all processes, in their order."""
    if processes == 1:
        return here
    parts: list[Rollouts] = gather_object([here])
    tokens = max(part.ids.shape[1] for part in parts)

    def joined(name: str) -> Any:
        own = [getattr(part, name) for part in parts]
        if own[0] is None:
            return None
        return torch.cat([wide(one, tokens, 0) if one.ndim > 1 else one for one in own])

    names = dict.fromkeys(name for part in parts for name in part.columns)
    return Rollouts(
        **{name: joined(name) for name in _TENSORS},
        prompts=[prompt for part in parts for prompt in part.prompts],
        completions=[text for part in parts for text in part.completions],
        columns={
            name: [value for part in parts for value in part.columns.get(name, [None] * len(part))]
            for name in names
        },
        progress=here.progress,
    )


def wide(rows: Tensor, tokens: int, filled: float) -> Tensor:
    """As many columns as a batch of TRL has: (rows, tokens)."""
    short = tokens - rows.shape[1]
    if short <= 0:
        return rows[:, :tokens]
    return torch.cat([rows, rows.new_full((len(rows), short), filled)], dim=1)


def named_objective(objective: str | PolicyObjective | None) -> PolicyObjective | None:
    """One of ``POLICY_OBJECTIVES`` by name; else what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(objective, str):
        return objective
    if objective not in POLICY_OBJECTIVES:
        names = ", ".join(POLICY_OBJECTIVES)
        raise OptionError(f"objective={objective!r}: use one of {names}, or a PolicyObjective.")
    return POLICY_OBJECTIVES[objective]


def check_loss(objective: PolicyObjective | None, args: GRPOConfig | None, segments: bool) -> None:
    """Refuse options of TRL's loss where another loss is used, and a reference that is not kept.

    Raises
    ------
    OptionError
    """
    if objective is None:
        return
    if "segment" in (objective.ratio, objective.average) and not segments:
        raise OptionError("an objective of segments: give the segments, a function of rollouts.")
    given = args or GRPOConfig
    usual = {field.name: field.default for field in fields(GRPOConfig)}
    idle = [name for name in _OF_LOSS if getattr(given, name) != usual[name]]
    if idle:
        raise OptionError(
            f"{', '.join(idle)} of args: the objective has its own; leave them as they were."
        )
    if objective.beta != given.beta:
        raise OptionError(
            f"beta={objective.beta} of the objective and {given.beta} of args, by which TRL keeps"
            " the reference: give both the same."
        )


def _padded(rows: Sequence[Any], dtype: torch.dtype) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=dtype) for row in rows], batch_first=True)
