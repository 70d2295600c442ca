"""How likely outputs of groups are, by the model that learns and by what KL is to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from policyrank.learn import Rollouts
from policyrank.models.rows import TOLERANCE, takes, window_of
from policyrank.train.adapters import AdapterStart, is_adapted
from policyrank.train.answers import AnswerCollator, EncodedAnswers
from policyrank.train.critics import CriticReader
from policyrank.train.group_config import GroupConfig
from policyrank.train.group_data import PromptRow
from policyrank.train.group_making import ComparedGroups
from policyrank.train.rounds import Batch, by_output, learning_batch
from policyrank.train.token_likelihood import layouts_agree, readings_agree, sampled_log_probs

logger = logging.getLogger(__name__)


class GroupLikelihood:
    """Reads groups in one layout, at the temperature of sampling.

    Parameters
    ----------
    model
        that learns
    accelerator
        of its trainer: device and precision
    pad
        id of padding
    learned_entropy
        whether the entropy has a gradient

    Attributes
    ----------
    collate
        lays groups out
    reference
        a model, or the start of adapters; None: KL is to nothing
    """

    def __init__(
        self, model: Any, accelerator: Any, args: GroupConfig, pad: int, *, learned_entropy: bool
    ) -> None:
        self._model, self._accelerator, self._args = model, accelerator, args
        self._keep = takes(model, "logits_to_keep")
        self._learned_entropy = learned_entropy
        self._settled = False
        self.collate = AnswerCollator(pad, args.layout)
        self.reference: Any = None

    def refer(self, given: Any, weight: float) -> None:
        """Take a reference: a model, or where KL has a weight this one as it is now."""
        self.reference = given
        if given is None and weight:
            start = AdapterStart if is_adapted(self._model) else deepcopy
            self.reference = start(self._model)
        if isinstance(self.reference, torch.nn.Module):
            self.reference = self._accelerator.prepare_model(
                self.reference.eval().requires_grad_(False), evaluation_mode=True
            )

    def settle(self, rows: Sequence[PromptRow], critic: CriticReader | None = None) -> None:
        """Give each output a row of its own where a model does not keep them apart in one."""
        if self._settled or self.collate.layout == "rows":
            return
        self._settled = True
        first, args = rows[0].ids, self._args
        tails = [first[-5:], first[::-1][:7], [*first[-1:], *first[:3]]]
        own = EncodedAnswers(first, tails, [[1] * len(tail) for tail in tails], [0.0] * 3)
        apart = TOLERANCE.get(self._model.dtype, 0.1)
        if args.bf16 or args.fp16:
            apart = 0.1
        longest = max(len(row.ids) for row in rows) + args.tokens
        together = longest <= window_of(self._model.config)
        if together:
            pad = self.collate.pad
            with self._accelerator.autocast():
                together = layouts_agree(self._model, own, pad, keep=self._keep, apart=apart)
                if together and critic is not None:
                    together = longest <= window_of(critic.model.config)
                    together = together and readings_agree(critic.flat, own, pad, apart=apart)
        if not together:
            self.collate = AnswerCollator(self.collate.pad, "rows")
            logger.warning(
                "this model does not keep outputs in one row apart; each gets a row of its own"
                " (layout='rows')"
            )

    def laid_out(
        self,
        batches: Sequence[Sequence[PromptRow]],
        found: ComparedGroups,
        *,
        first: int,
        served: bool,
        known: Mapping[str, Tensor] | None = None,
    ) -> list[Batch]:
        """What is learned from, by batch; of groups that say nothing at most one in a batch.

        Parameters
        ----------
        batches
            prompts of each, whose groups follow one another in ``found``
        first
            batches that are learned from first: how likely their outputs were is known then
        served
            with log-probabilities of who sampled
        known
            what ``fixed`` gave
        """
        group, rollouts = 0, found.rollouts
        sizes = rollouts.groups.unique_consecutive(return_counts=True)[1]
        outputs = torch.arange(len(rollouts)).split(sizes.tolist())
        learned = {"advantages": found.gains, **(known or {})}
        if rollouts.segments is not None:
            learned["segments"] = rollouts.segments
        if served and rollouts.log_probs is not None:
            learned["sampled"] = rollouts.log_probs
        made = []
        for number, rows in enumerate(batches):
            every = range(group, group + len(rows))
            chosen = [k for k in every if found.telling[k]] or [group]
            at = torch.cat([outputs[k] for k in chosen])
            told = {name: own[at] for name, own in learned.items()}
            batch = self._batch([rows[k - group] for k in chosen], rollouts.take(at), told)
            batch["number"] = torch.tensor(number)
            if number >= first and "old" not in batch:
                batch["old"] = self._fixed(self._model, batch)
            if self.reference is not None and "kept_to" not in batch:
                batch["kept_to"] = self._of_reference(batch)
            group += len(rows)
            made.append(batch)
        return made

    def fixed(
        self, batches: Sequence[Sequence[PromptRow]], rollouts: Rollouts
    ) -> dict[str, Tensor]:
        """Log-probabilities of all outputs before anything is learned from them.

        By the policy (``old``), and where there is a reference by it (``kept_to``): (outputs,
        tokens).
        """
        found = {"old": self.of_all(batches, rollouts, partial(self._fixed, self._model))}
        if self.reference is not None:
            found["kept_to"] = self.of_all(batches, rollouts, self._of_reference)
        return found

    def of_all(
        self,
        batches: Sequence[Sequence[PromptRow]],
        rollouts: Rollouts,
        read: Callable[[Batch], Tensor],
    ) -> Tensor:
        """What is read of each batch's outputs, together: (outputs, tokens)."""
        found, group, width = [], 0, self._width(rollouts)
        samples = len(rollouts) // sum(map(len, batches))
        for rows in batches:
            at = range(group * samples, (group + len(rows)) * samples)
            own = read(self._batch(rows, rollouts.take(at), {}))
            found.append(torch.nn.functional.pad(own, (0, width - own.shape[1])))
            group += len(rows)
        return torch.cat(found)

    def entropies(self, rows: Sequence[PromptRow], rollouts: Rollouts) -> Tensor:
        """Of the policy at each token, a group at a time: (outputs, tokens).

        ``rows``: the prompt of each group.
        """
        read = partial(self._fixed_both, self._model)
        return self.of_all([[row] for row in rows], rollouts, lambda batch: read(batch)[1])

    def _batch(
        self, rows: Sequence[PromptRow], rollouts: Rollouts, learned: dict[str, Tensor]
    ) -> Batch:
        """Some groups as they are learned from."""
        return learning_batch(self.collate, rows, rollouts, learned)

    def _width(self, rollouts: Rollouts) -> int:
        """Columns of what is learned of each output."""
        return rollouts.ids.shape[1]

    def read(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of a batch that is on the device: (outputs, tokens)."""
        with self._accelerator.autocast():
            flat, uncertain = sampled_log_probs(
                model,
                batch,
                layout=self.collate.layout,
                keep=self._keep,
                temperature=self._args.temperature,
                learned_entropy=self._learned_entropy,
            )
        return by_output(flat, batch), by_output(uncertain, batch)

    def _of_reference(self, batch: Batch) -> Tensor:
        """Log-probabilities by the reference: (outputs, tokens)."""
        before: AbstractContextManager[Any] = nullcontext()
        model = self.reference
        if isinstance(model, AdapterStart):
            model, before = self._model, model.put_back()
        with before:
            return self._fixed(model, batch)

    def _fixed(self, model: Any, batch: Batch) -> Tensor:
        """Log-probabilities by a model that does not learn: (outputs, tokens)."""
        return self._fixed_both(model, batch)[0]

    def _fixed_both(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies by a model that does not learn: (outputs, tokens)."""
        moved = {name: own.to(self._accelerator.device) for name, own in batch.items()}
        was = model.training
        model.eval()
        with torch.no_grad():
            found = self.read(model, moved)
        model.train(was)
        return found[0].cpu(), found[1].cpu()
