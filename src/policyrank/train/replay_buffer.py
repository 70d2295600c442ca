"""Outputs of earlier rounds, by prompt and by whether they solved it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.files import written


@dataclass(frozen=True)
class KeptOutput:
    """An output as it was sampled, and what it earned.

    Attributes
    ----------
    ids
        its tokens
    where
        of each, whether the policy wrote it
    segments
        of each, from 1; 0: of none. None: the output has none
    log_probs
        of each, by who sampled; None: not known
    reward, solved, ended
        what it was paid, whether that is a success, and whether the policy ended it
    round
        in which it was sampled
    reflected
        whether it was an attempt at the prompt with a failed answer in it
    """

    ids: tuple[int, ...]
    where: tuple[bool, ...]
    segments: tuple[int, ...] | None
    log_probs: tuple[float, ...] | None
    reward: float
    solved: bool
    ended: bool
    round: int
    reflected: bool = False


Choice = Callable[[Sequence[KeptOutput], int, np.random.Generator], list[KeptOutput]]
"""Outputs in the order in which they were kept, so many at most, a generator -> some of them."""


def _any(kept: Sequence[KeptOutput], most: int, rng: np.random.Generator) -> list[KeptOutput]:
    """Each as likely as any other."""
    return [kept[k] for k in rng.permutation(len(kept))[:most]]


def _newest(kept: Sequence[KeptOutput], most: int, _: np.random.Generator) -> list[KeptOutput]:
    return list(kept[::-1][:most])


def _dearest(kept: Sequence[KeptOutput], most: int, _: np.random.Generator) -> list[KeptOutput]:
    """Those with the highest rewards, of equal ones the newest."""
    return sorted(kept, key=lambda own: own.reward)[::-1][:most]


def _surest(kept: Sequence[KeptOutput], most: int, _: np.random.Generator) -> list[KeptOutput]:
    """Those whose tokens were the likeliest when sampled: an estimate of the lowest entropy."""
    return sorted(kept, key=mean_log_prob)[::-1][:most]


CHOICES: dict[str, Choice] = {
    "any": _any,
    "newest": _newest,
    "reward": _dearest,
    "surest": _surest,
}
"""Which of a prompt's outputs are replayed."""


def mean_log_prob(kept: KeptOutput) -> float:
    """Of the tokens that the policy wrote.

    Raises
    ------
    OptionError
        When who sampled did not say.
    """
    if kept.log_probs is None:
        raise OptionError(
            "choice='surest': the sampler gives no log-probabilities. Take 'any', 'newest' or"
            " 'reward'."
        )
    own = [value for value, there in zip(kept.log_probs, kept.where, strict=True) if there]
    return sum(own) / len(own)


@dataclass(frozen=True)
class Visit:
    """What the outputs of a prompt earned in a round: their sum, and how many there were."""

    round: int
    total: float
    count: int


@dataclass
class ReplayBuffer:
    """Outputs by prompt, successes and failures apart, and how each prompt fared.

    Parameters
    ----------
    capacity
        outputs of each prompt that are kept, of successes and of failures; the oldest go first
    oldest
        rounds that an output is kept; None: any
    """

    capacity: int = 16
    oldest: int | None = None
    _kept: dict[tuple[int, bool], list[KeptOutput]] = field(default_factory=dict, repr=False)
    _visits: dict[int, list[Visit]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def add(self, prompt: int, output: KeptOutput) -> None:
        """Keep an output."""
        own = self._kept.setdefault((prompt, output.solved), [])
        own.append(output)
        del own[: -self.capacity]

    def visit(self, prompt: int, visit: Visit) -> None:
        """Note what the outputs of a prompt earned."""
        self._visits.setdefault(prompt, []).append(visit)

    def forget(self, now: int) -> None:
        """Drop what is older than ``oldest`` rounds."""
        if self.oldest is None:
            return
        first = now - self.oldest
        for outputs in self._kept.values():
            outputs[:] = [own for own in outputs if own.round >= first]
        for visits in self._visits.values():
            visits[:] = [own for own in visits if own.round >= first]

    def of(self, prompt: int, *, solved: bool) -> Sequence[KeptOutput]:
        """Outputs that are kept of a prompt, the oldest first."""
        return self._kept.get((prompt, solved), ())

    def mean_reward(self, prompt: int) -> float:
        """Of all outputs of a prompt that are not too old, also those that gave way; NaN: none."""
        visits = self._visits.get(prompt, ())
        count = sum(own.count for own in visits)
        return sum(own.total for own in visits) / count if count else math.nan

    # Files

    def save(self, path: Path, told: object) -> None:
        """Write it, with what else is ``told``: anything that JSON holds."""
        from safetensors.torch import save_file

        with written(path) as part:
            save_file(self._tensors(), part, metadata={"told": json.dumps(told)})

    def load(self, path: Path) -> object:
        """Take what was saved, in place of what is here; what was told beside it."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self._kept, self._visits = {}, {}
        for prompt, output in _outputs(tensors):
            self.add(prompt, output)
        rounds = tensors["visits"].tolist()
        for (prompt, number, count), total in zip(rounds, tensors["totals"].tolist(), strict=True):
            self.visit(prompt, Visit(number, total, count))
        return told

    def _tensors(self) -> dict[str, Tensor]:
        """All that is kept, a row each; of tokens one behind the other."""
        rows = [(prompt, own) for (prompt, _), kept in self._kept.items() for own in kept]
        outputs = [own for _, own in rows]
        visits = [(prompt, own) for prompt, known in self._visits.items() for own in known]
        numbers = []
        for prompt, own in rows:
            flags = (own.solved, own.ended, own.reflected)
            known = (own.segments is not None, own.log_probs is not None)
            numbers.append((prompt, own.round, len(own.ids), *flags, *known))
        segments = [own.segments or (0,) * len(own.ids) for own in outputs]
        known_log_probs = [own.log_probs or (0.0,) * len(own.ids) for own in outputs]
        return {
            "numbers": torch.tensor(numbers, dtype=torch.int64).reshape(-1, 8),
            "rewards": torch.tensor([own.reward for own in outputs], dtype=torch.float64),
            "ids": _flat([own.ids for own in outputs], torch.int64),
            "where": _flat([own.where for own in outputs], torch.bool),
            "segments": _flat(segments, torch.int64),
            "log_probs": _flat(known_log_probs, torch.float64),
            "visits": torch.tensor(
                [(prompt, own.round, own.count) for prompt, own in visits], dtype=torch.int64
            ).reshape(-1, 3),
            "totals": torch.tensor([own.total for _, own in visits], dtype=torch.float64),
        }


def _flat(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=dtype)


def _outputs(tensors: dict[str, Tensor]) -> Iterator[tuple[int, KeptOutput]]:
    """What ``ReplayBuffer._tensors`` wrote, with the prompt of each."""
    numbers = tensors["numbers"].tolist()
    sizes = [row[2] for row in numbers]
    names = ("ids", "where", "segments", "log_probs")
    by_token = zip(*(tensors[name].split(sizes) for name in names), strict=True)
    rewards = tensors["rewards"].tolist()
    for row, reward, tokens in zip(numbers, rewards, by_token, strict=True):
        prompt, number, _, solved, ended, reflected, in_segments, known = row
        ids, where, segments, log_probs = (tuple(own.tolist()) for own in tokens)
        yield (
            prompt,
            KeptOutput(
                ids,
                where,
                segments if in_segments else None,
                log_probs if known else None,
                reward,
                bool(solved),
                bool(ended),
                number,
                bool(reflected),
            ),
        )
