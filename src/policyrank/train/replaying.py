"""Outputs of earlier rounds in groups that say nothing, and failures that are asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn import (
    GroupAdvantage,
    Rewards,
    Rollouts,
    mixed_advantage,
    one_sided,
    token_gains,
)
from policyrank.learn.rewards import entropy_rank_reward
from policyrank.train.group_data import PromptRow
from policyrank.train.group_making import ComparedGroups, GroupMaker
from policyrank.train.mixed_groups import mixed_rollouts
from policyrank.train.reflecting import ReflectedRow, reflected_row
from policyrank.train.replay_buffer import CHOICES, KeptOutput, ReplayBuffer, Visit
from policyrank.train.replay_config import Replay
from policyrank.train.replay_counts import ReplayCounts

FILE = "replays.safetensors"
"""What is kept, in a checkpoint."""
EPSILON = 1e-4
"""What is added to a deviation unless told, as in ``group_advantage``."""
_REPLAYED, _REFLECTED = 1, 2
"""Of what a draw is, beside seed, round and prompt."""

Entropies = Callable[[Sequence[PromptRow], Rollouts], Tensor]
"""Prompts and the rollouts of their groups -> entropy of each token: (outputs, tokens)."""
Gathered = Callable[[Any], list[Any]]
"""What one process has -> what each has, in their order."""


class Replaying:
    """What a trainer keeps of its rounds, replays, and asks again.

    Parameters
    ----------
    maker
        compares groups, and knows their options
    tokenizer
        of the policy
    gathered
        what one process kept -> what all did, so that all know the same
    """

    def __init__(self, how: Replay, maker: GroupMaker, tokenizer: Any, gathered: Gathered) -> None:
        self.how, self.maker = how, maker
        self._tokenizer, self._gathered = tokenizer, gathered
        self.buffer = ReplayBuffer(how.capacity, how.oldest)
        self.counts, self._now = ReplayCounts(), ReplayCounts()

    # Prompts that are asked again

    def with_reflections(
        self, batches: Sequence[Sequence[PromptRow]], number: int
    ) -> list[list[PromptRow]]:
        """Batches with prompts that are asked again at their ends."""
        self.buffer.forget(number)
        return [[*batch, *self._again(batch, number)] for batch in batches]

    def _again(self, batch: Sequence[PromptRow], number: int) -> Iterator[PromptRow]:
        how, args = self.how, self.maker.args
        for row in batch:
            failures = self.buffer.of(row.number, solved=False)
            if how.hard is None or not failures:
                continue
            if self.buffer.mean_reward(row.number) >= how.hard:
                continue
            chosen = int(self._draw(number, row.number, _REFLECTED).integers(len(failures)))
            made = reflected_row(
                row,
                failures[chosen],
                self._tokenizer,
                how.reflection,
                room=args.max_length - args.tokens,
                chat=args.chat,
            )
            if made is None:
                self._now.refused += 1
            else:
                self._now.reflections += 1
                yield made

    def _draw(self, number: int, prompt: int, what: int) -> np.random.Generator:
        """The same on one process and on many, wherever a prompt is."""
        return np.random.default_rng([self.maker.args.seed, number, prompt, what])

    # Groups

    def learned(
        self, rows: Sequence[PromptRow], found: ComparedGroups, number: int, entropies: Entropies
    ) -> tuple[ComparedGroups, dict[str, Tensor], dict[str, float]]:
        """Groups as they are learned from, what is known of their tokens, numbers for the log.

        What was sampled is kept after outputs for it were chosen: no group replays itself.

        Parameters
        ----------
        rows
            the prompt of each group
        number
            of the round

        Raises
        ------
        OptionError
            For rewards of segments, and where log-probabilities are missing that are asked for.
        """
        outcomes = self._outcomes(found)
        sides = self._sides(found, outcomes)
        own = torch.tensor([not isinstance(row, ReflectedRow) for row in rows])
        added = list(self._added(rows, sides, number))
        self._count(sides, outcomes, found, own)
        told = self._told(found, own, added, number)
        if self.how.changes:
            made = self._mixed(rows, found, sides, outcomes, added, entropies)
        else:
            made = found, {}
        self._keep(rows, found, outcomes, number)
        return (*made, told)

    def _outcomes(self, found: ComparedGroups) -> Tensor:
        """Whether each output succeeded, NaN where it was not rewarded: (outputs,)."""
        values = found.said.values
        if values.ndim > 1:
            raise OptionError("replay is of whole outputs, and rewards are of segments.")
        if self.how.ratio == "stored" and self.how.most and found.rollouts.log_probs is None:
            raise OptionError(
                "ratio='stored': the sampler gives no log-probabilities. Take 'fresh'."
            )
        return (values >= self.how.solved).float().masked_fill(values.isnan(), torch.nan)

    def _sides(self, found: ComparedGroups, outcomes: Tensor) -> Tensor:
        """Of each group whether all fail (-1), all succeed (1), or neither."""
        groups = found.rollouts.groups
        firsts = torch.searchsorted(groups, groups.unique())
        return one_sided(outcomes, groups)[firsts]

    def _added(
        self, rows: Sequence[PromptRow], sides: Tensor, number: int
    ) -> Iterator[tuple[int, KeptOutput]]:
        """Outputs that groups get, with their groups."""
        how = self.how
        for group, (row, side) in enumerate(zip(rows, sides.tolist(), strict=True)):
            wanted = side < 0 or (side > 0 and how.sides == "both")
            if not how.most or not wanted or isinstance(row, ReflectedRow):
                continue
            kept = self.buffer.of(row.number, solved=side < 0)
            self._now.missing += not kept
            self._now.replayed += bool(kept)
            draw = self._draw(number, row.number, _REPLAYED)
            for own in CHOICES[how.choice](kept, how.most, draw) if kept else ():
                self._now.outputs += 1
                self._now.age += number - own.round
                self._now.oldest = max(self._now.oldest, number - own.round)
                yield group, own

    def _mixed(
        self,
        rows: Sequence[PromptRow],
        found: ComparedGroups,
        sides: Tensor,
        outcomes: Tensor,
        added: Sequence[tuple[int, KeptOutput]],
        entropies: Entropies,
    ) -> tuple[ComparedGroups, dict[str, Tensor]]:
        """Groups with what they got, compared anew where they got something."""
        paid, ranked = self._paid(rows, found, sides, outcomes, entropies)
        mix = mixed_rollouts(found.rollouts, added, pad=self.maker.pad)
        paid = mix.joined(paid, torch.tensor([own.reward for own in mix.kept]))
        nothing = torch.full((len(mix.kept), mix.rollouts.ids.shape[1]), torch.nan)
        gains = mix.joined(found.gains, nothing)
        got = torch.zeros(len(rows), dtype=torch.bool)
        got[[group for group, _ in added]] = True
        key = torch.searchsorted(found.rollouts.groups.unique(), mix.rollouts.groups)
        for changed, advantage in ((got, self._advantage()), (ranked & ~got, None)):
            at = changed[key].nonzero().squeeze(-1)
            if len(at):
                own = mix.rollouts.take(at)
                gain = self.maker.gains(paid[at], own, advantage)
                gains[at] = token_gains(gain, own.where, own.segments).to(gains)
        telling = self.maker.telling(gains, mix.rollouts)
        known = {}
        if self.how.ratio == "stored" and added:
            known["behaviour"] = mix.of_tokens("log_probs")
        return ComparedGroups(mix.rollouts, Rewards(paid), gains, telling), known

    def _paid(
        self,
        rows: Sequence[PromptRow],
        found: ComparedGroups,
        sides: Tensor,
        outcomes: Tensor,
        entropies: Entropies,
    ) -> tuple[Tensor, Tensor]:
        """Rewards with those of entropy, and which groups have some: (outputs,), (groups,)."""
        values, rollouts, how = found.said.values, found.rollouts, self.how
        ranked = torch.zeros(len(rows), dtype=torch.bool)
        if not how.entropy_reward or rollouts.ended is None:
            return values, ranked
        key = torch.searchsorted(rollouts.groups.unique(), rollouts.groups)
        failing = (sides < 0)[key] & ~rollouts.ended
        ranked[key[failing]] = True
        at = ranked[key].nonzero().squeeze(-1)
        if not len(at):
            return values, ranked
        own = rollouts.take(at)
        assert own.ended is not None
        read = entropies(
            [row for row, there in zip(rows, ranked.tolist(), strict=True) if there], own
        )
        more = entropy_rank_reward(
            read,
            own.where,
            own.groups,
            ~own.ended,
            outcomes[at].nan_to_num(nan=0.0),
            share=how.entropy_share,
            most=how.entropy_reward,
        )
        return values.index_add(0, at, more.to(values)), ranked

    def _advantage(self) -> GroupAdvantage | None:
        """Of groups with replayed outputs; None: as of others."""
        if self.how.damping == 1:
            return None
        epsilon = self.maker.args.advantage_options.get("epsilon", EPSILON)
        return partial(mixed_advantage, scale="sample", damping=self.how.damping, epsilon=epsilon)

    # What is kept, counted and told

    def _count(self, sides: Tensor, outcomes: Tensor, found: ComparedGroups, own: Tensor) -> None:
        self._now.groups += int(own.sum())
        self._now.failed += int((sides[own] < 0).sum())
        self._now.solved += int((sides[own] > 0).sum())
        key = torch.searchsorted(found.rollouts.groups.unique(), found.rollouts.groups)
        answered = torch.zeros(len(own), dtype=torch.bool)
        answered[key[outcomes > 0]] = True
        self._now.answered += int((answered & ~own).sum())

    def _told(
        self,
        found: ComparedGroups,
        own: Tensor,
        added: Sequence[tuple[int, KeptOutput]],
        number: int,
    ) -> dict[str, float]:
        """Of this round, in this process."""
        now, groups = self._now, max(int(own.sum()), 1)
        told = {
            "groups_failed": now.failed / groups,
            "groups_solved": now.solved / groups,
            "kept_outputs": float(len(self.buffer)),
        }
        if self.how.most:
            told["groups_replayed"] = now.replayed / groups
        if added:
            told["replay_age"] = float(np.mean([number - one.round for _, one in added]))
        if self.how.hard is not None:
            told["reflections"] = float(now.reflections)
        if not bool(own.all()):
            asked = found.of_groups(~own)
            told["reflected_reward"] = float(asked.said.values.nanmean())
        return told

    def _keep(
        self, rows: Sequence[PromptRow], found: ComparedGroups, outcomes: Tensor, number: int
    ) -> None:
        """Keep what was sampled, in all processes alike."""
        here = list(self._sampled(rows, found, outcomes, number))
        for outputs, counts in self._gathered((here, self._now)):
            self.counts.merge(counts)
            for prompt, own in outputs:
                if isinstance(own, Visit):
                    self.buffer.visit(prompt, own)
                else:
                    self.buffer.add(prompt, own)
        self._now = ReplayCounts()

    def _sampled(
        self, rows: Sequence[PromptRow], found: ComparedGroups, outcomes: Tensor, number: int
    ) -> Iterator[tuple[int, KeptOutput | Visit]]:
        """The outputs of a round with their prompts, and what each prompt's own earned."""
        rollouts, values = found.rollouts, found.said.values
        for row, (at, group) in zip(rows, rollouts.by_group(), strict=True):
            paid = values[at]
            known = ~paid.isnan()
            if not isinstance(row, ReflectedRow) and bool(known.any()):
                yield row.number, Visit(number, float(paid[known].sum()), int(known.sum()))
            for k in known.nonzero().squeeze(-1).tolist():
                made = _kept(group, k, outcomes[at[k]], paid[k], number, row)
                if made is not None:
                    yield row.number, made

    # Files

    def save(self, checkpoint: Path) -> None:
        """Write what is kept and counted."""
        self.buffer.save(checkpoint / FILE, vars(self.counts))

    def load(self, checkpoint: Path) -> None:
        """Go on from what was kept and counted."""
        told: Mapping[str, int] = dict(self.buffer.load(checkpoint / FILE))  # type: ignore[call-overload]
        self.counts = ReplayCounts(**told)


def _kept(
    group: Rollouts, k: int, outcome: Tensor, reward: Tensor, number: int, row: PromptRow
) -> KeptOutput | None:
    """One output of a group as it is kept; None: the policy wrote nothing."""
    n = int((group.where[k].long() * torch.arange(1, group.ids.shape[1] + 1)).max())
    if not n:
        return None

    def tokens(own: Tensor | None) -> Any:
        return None if own is None else tuple(own[k, :n].tolist())

    return KeptOutput(
        tokens(group.ids),
        tokens(group.where),
        tokens(group.segments),
        tokens(group.log_probs),
        float(reward),
        bool(outcome > 0),
        group.ended is None or bool(group.ended[k]),
        number,
        isinstance(row, ReflectedRow),
    )
