"""What policy gradient learns from: rollouts, and what rewards say of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError

_BY_ROW = ("where", "groups", "log_probs", "segments", "ended", "trajectories", "steps")
_TEXTS = ("prompts", "completions")


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Outputs of a policy as they were sampled, a row each; prompts are not among the tokens.

    Parameters
    ----------
    ids
        (rows, tokens), as they were sampled: never text that is tokenised again
    where
        (rows, tokens), what the policy wrote itself and learns from: not what tools or a world
        said, not padding
    groups
        (rows,), integers: whom each is compared with
    log_probs
        (rows, tokens), by whoever sampled; None: not known
    segments
        (rows, tokens), phase, rank, step or turn of each token, from 1; 0: of none
    ended
        (rows,), whether the policy ended its output; else it was cut. None: all did
    trajectories, steps
        (rows,), of whose several steps each row is one; None: each row is a whole one
    prompts, completions
        of each row, as text or messages
    columns
        what the data say of each row beside the prompt: name -> (rows) values
    progress
        of training, in [0, 1], for rewards that change with it

    Raises
    ------
    OptionError
        For shapes that do not fit one another.
    """

    ids: Tensor
    where: Tensor
    groups: Tensor
    log_probs: Tensor | None = None
    segments: Tensor | None = None
    ended: Tensor | None = None
    trajectories: Tensor | None = None
    steps: Tensor | None = None
    prompts: Sequence[Any] = ()
    completions: Sequence[Any] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    progress: float = 0.0

    def __post_init__(self) -> None:
        if self.ids.ndim != 2:
            raise OptionError(f"ids {tuple(self.ids.shape)} must be (rows, tokens).")
        for name in ("where", "log_probs", "segments"):
            own = getattr(self, name)
            if own is not None and own.shape != self.ids.shape:
                shapes = f"{tuple(own.shape)} and ids {tuple(self.ids.shape)}"
                raise OptionError(f"{name} {shapes} must have one shape.")
        for name in ("groups", "ended", "trajectories", "steps"):
            own = getattr(self, name)
            if own is not None and own.shape != (len(self),):
                raise OptionError(f"{name} {tuple(own.shape)}: give one of each of {len(self)}.")
        texts = {name: getattr(self, name) for name in _TEXTS if getattr(self, name)}
        for name, column in {**texts, **self.columns}.items():
            if len(column) != len(self):
                raise OptionError(f"{name}: {len(column)} values for {len(self)} rollouts.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor | Sequence[int]) -> Rollouts:
        """Some of the rows, in their order."""
        at = torch.as_tensor(rows, dtype=torch.long)
        order = at.tolist()
        tensors: dict[str, Any] = {}
        for name in _BY_ROW:
            own = getattr(self, name)
            tensors[name] = own if own is None else own[at.to(own.device)]
        return Rollouts(
            ids=self.ids[at.to(self.ids.device)],
            **tensors,
            prompts=[self.prompts[k] for k in order] if self.prompts else (),
            completions=[self.completions[k] for k in order] if self.completions else (),
            columns={name: [own[k] for k in order] for name, own in self.columns.items()},
            progress=self.progress,
        )

    def by_group(self) -> Iterator[tuple[Tensor, Rollouts]]:
        """Each group's rows, and its rollouts, in the order of first occurrence."""
        seen: dict[int, list[int]] = {}
        for row, key in enumerate(self.groups.tolist()):
            seen.setdefault(key, []).append(row)
        for rows in seen.values():
            yield torch.tensor(rows), self.take(rows)


@dataclass(frozen=True, eq=False)
class Rewards:
    """What a reward says.

    Attributes
    ----------
    values
        (rows,) or (rows, segments); NaN: does not apply
    parts
        name -> (rows,), what it was made of, for the log
    """

    values: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Reward(Protocol):
    """Rollouts of one group -> values of each, NaN where it does not apply, and their parts."""

    def __call__(self, group: Rollouts, /) -> Rewards | Tensor | Sequence[float | None]: ...


def of_batch(reward: Reward) -> Reward:
    """A reward that sees the whole batch at once: items compared with one another, not answers."""

    def whole(rollouts: Rollouts) -> Any:
        return reward(rollouts)

    whole.__name__ = getattr(reward, "__name__", type(reward).__name__)
    whole.of_batch = True  # type: ignore[attr-defined]
    return whole


def of_columns(function: Callable[..., Any]) -> Reward:
    """A function of TRL's kind, ``f(prompts=, completions=, **columns)``, as a reward.

    It is called with one group, and beside the data's columns with ``completion_ids``, ``ended``
    and ``progress``.
    """

    def reward(group: Rollouts) -> Any:
        where = group.where.bool()
        ids = [own[mask].tolist() for own, mask in zip(group.ids, where, strict=True)]
        ended = [True] * len(group) if group.ended is None else group.ended.tolist()
        return function(
            prompts=list(group.prompts),
            completions=list(group.completions),
            completion_ids=ids,
            ended=ended,
            progress=group.progress,
            **group.columns,
        )

    reward.__name__ = getattr(function, "__name__", type(function).__name__)
    return reward


def as_reward(function: Callable[..., Any]) -> Reward:
    """A reward as it is, and a function of TRL's kind as ``of_columns`` makes one of it.

    Of TRL's kind is what takes ``completions``, or keywords of any name.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return function
    kinds = {own.kind for own in parameters.values()}
    if "completions" in parameters or inspect.Parameter.VAR_KEYWORD in kinds:
        return of_columns(function)
    return function


def rewarded(rollouts: Rollouts, reward: Reward) -> Rewards:
    """What a reward says of all groups, a group at a time (``of_batch``: of all at once).

    Raises
    ------
    OptionError
        For a reward that gives another number of values than there are rollouts in a group, values
        of no number, infinite ones, or other segments from group to group.
    """
    name = getattr(reward, "__name__", type(reward).__name__)
    parts_of = rollouts.by_group()
    if getattr(reward, "of_batch", False):
        parts_of = iter([(torch.arange(len(rollouts)), rollouts)] if len(rollouts) else [])
    found = []
    for rows, group in parts_of:
        found.append((rows, _checked(reward(group), name, len(group))))
    if not found:
        return Rewards(torch.zeros(0))
    told = [own for _, own in found if own.values.ndim > 1 or not own.values.isnan().all()]
    shapes = {own.values.shape[1:] for own in told} or {torch.Size()}
    if len(shapes) > 1:
        widths = ", ".join(str(tuple(shape)) for shape in sorted(shapes))
        raise OptionError(f"reward {name}: values of segments {widths}; pad them with NaN.")
    values = torch.full((len(rollouts), *shapes.pop()), torch.nan)
    parts: dict[str, Tensor] = {}
    for rows, own in found:
        if own.values.shape[1:] == values.shape[1:]:
            values[rows] = own.values
        for part, said in own.parts.items():
            parts.setdefault(part, torch.full((len(rollouts),), torch.nan))[rows] = said
    return Rewards(values, parts)


def _checked(said: Any, name: str, rows: int) -> Rewards:
    if not isinstance(said, Rewards):
        said = Rewards(_numbers(said, name))
    parts = {}
    for part, values in said.parts.items():
        parts[part] = _numbers(values, f"{name}, part {part}")
    out = Rewards(_numbers(said.values, name), parts)
    for own in (out.values, *parts.values()):
        if own.ndim == 0 or len(own) != rows:
            raise OptionError(
                f"reward {name}: values of shape {tuple(own.shape)} for a group of {rows}; give"
                " one of each (None or NaN where it does not apply)."
            )
        if bool(own.isinf().any()):
            raise OptionError(f"reward {name}: infinite values; give NaN where it does not apply.")
    return out


def _numbers(said: Any, name: str) -> Tensor:
    try:
        if not isinstance(said, Tensor):
            said = [torch.nan if value is None else value for value in said]
        return torch.as_tensor(said).detach().to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"reward {name}: no numbers ({error}).") from None
