"""Groups of answers by masked diffusion: how they came to be, and how likely each step was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.learn import Rollouts, Unmasking, choice_log_prob, token_log_prob
from policyrank.models.masked_diffusion import Denoised, position_scores
from policyrank.models.masked_language import MaskedModel, mask_of
from policyrank.models.unmasking_policy import policy_of
from policyrank.train.denoising_config import MaskedDiffusionConfig
from policyrank.train.group_data import PromptRow
from policyrank.train.group_likelihood import GroupLikelihood
from policyrank.train.group_making import GroupMaker
from policyrank.train.rounds import Batch, as_rollouts


@dataclass(frozen=True, eq=False)
class DenoisedRollouts(Rollouts):
    """Rollouts whose segments are denoising steps.

    Attributes
    ----------
    path
        when each token was unmasked
    """

    path: Unmasking | None = None

    def take(self, rows: Tensor | Sequence[int]) -> DenoisedRollouts:
        """Some of the rows, in their order."""
        found = vars(super().take(rows))
        path = None if self.path is None else self.path.take(torch.as_tensor(rows))
        return DenoisedRollouts(**found | {"path": path})


@dataclass(frozen=True, eq=False)
class DenoisedGroups(GroupMaker):
    """A ``GroupMaker`` of answers by masked diffusion; rewards may be of steps."""

    def sampled(self, rows: Sequence[PromptRow], *, seed: int, progress: float) -> Rollouts:
        """A group of answers for each prompt.

        Raises
        ------
        EvidenceError
            When the sampler gives no steps, or another number of answers.
        """
        return self.written(rows, self.sampler, self.args.samples, seed=seed, progress=progress)

    def written(
        self, rows: Sequence[PromptRow], sampler: Any, samples: int, *, seed: int, progress: float
    ) -> DenoisedRollouts:
        """Answers of any sampler, so many of each prompt."""
        made = sampler([row.ids for row in rows], samples, seed=seed)
        flat = [own for group in made for own in group]
        if [len(group) for group in made] != [samples] * len(rows):
            raise EvidenceError(f"the sampler gave other than {samples} answers a prompt.")
        if not all(isinstance(own, Denoised) for own in flat):
            raise EvidenceError("the sampler gives no steps: give a MaskedDiffusionSampler.")
        found = as_rollouts(rows, made, pad=self.pad, progress=progress)
        path = Unmasking(
            torch.tensor([own.steps for own in flat]),
            torch.tensor([own.places for own in flat]),
            torch.tensor([own.blocks for own in flat]),
        )
        kept = {own.name: getattr(found, own.name) for own in fields(found)}
        return DenoisedRollouts(**kept | {"segments": path.steps}, path=path)


class StepLikelihood(GroupLikelihood):
    """How likely denoising steps were, by the model as it is.

    A step's log-probability is that of its positions, where their order is learned, and of the
    tokens that they got. Rows of one length are read together, so that nothing is padded.
    """

    _args: MaskedDiffusionConfig

    def __init__(self, model: Any, accelerator: Any, args: Any, pad: int, tokenizer: Any) -> None:
        super().__init__(model, accelerator, args, pad, learned_entropy=False)
        self._pad = pad
        self._mask = mask_of(model, tokenizer)

    def settle(self, rows: Sequence[PromptRow], critic: Any = None) -> None:
        """Nothing is tried: each answer has a row of its own."""

    def _batch(
        self, rows: Sequence[PromptRow], rollouts: Rollouts, learned: dict[str, Tensor]
    ) -> Batch:
        """Some groups as they are learned from.

        By answer: ``ids`` (answers, prompt and answer), prompts padded on their left, whose
        ``heads`` are their lengths; ``steps``, ``places``, ``blocks`` (answers, tokens);
        ``advantages`` and ``learns`` (answers, denoising steps).
        """
        samples = self._args.samples
        assert isinstance(rollouts, DenoisedRollouts)
        assert rollouts.path is not None
        path = rollouts.path
        assert path.blocks is not None
        width = max(len(row.ids) for row in rows)
        heads = torch.full((len(rows), width), self._pad)
        for k, row in enumerate(rows):
            heads[k, width - len(row.ids) :] = torch.tensor(row.ids, dtype=torch.long)
        lengths = torch.tensor([len(row.ids) for row in rows])
        gains = torch.full((len(rollouts), self._width(rollouts)), torch.nan)
        if "advantages" in learned:  # all tokens of a step have its advantage
            gains.scatter_(1, path.steps - 1, learned["advantages"])
        found = {
            "ids": torch.cat([heads.repeat_interleave(samples, dim=0), rollouts.ids], dim=1),
            "heads": lengths.repeat_interleave(samples),
            "steps": path.steps,
            "places": path.places,
            "blocks": path.blocks,
            "advantages": gains,
            "learns": torch.ones_like(gains, dtype=torch.bool),
        }
        known = ("old", "kept_to")
        return found | {name: learned[name] for name in known if name in learned}

    def _width(self, rollouts: Rollouts) -> int:
        return self._args.denoising().count

    def together(self, batch: Batch, rows: Tensor) -> list[Tensor]:
        """Rows by the lengths of their prompts."""
        lengths = batch["heads"][rows]
        return [rows[lengths == length] for length in lengths.unique()]

    def of_step(self, model: Any, batch: Batch, rows: Tensor, step: int) -> Tensor:
        """Log-probability of what a step did, of rows of one length: (rows,)."""
        steps, args = batch["steps"][rows], self._args
        tokens, head = steps.shape[1], int(batch["heads"][rows[0]])
        path = Unmasking(steps, batch["places"][rows], batch["blocks"][rows])
        masked, now = path.masked(step), path.now(step)
        ids = batch["ids"][rows][:, batch["ids"].shape[1] - head - tokens :]
        shown = torch.zeros(len(rows), head, dtype=torch.bool, device=ids.device)
        learned = args.order == "learned"
        with self._accelerator.autocast():
            predict = MaskedModel(model, self._mask, hidden=learned)
            found = predict(ids, torch.cat([shown, masked], dim=1), tokens)
            log_prob = token_log_prob(found.logits, ids[:, head:], now > 0, args.temperature)
            if not learned:
                return log_prob
            block, share = path.block(step), (step - 1) / args.denoising().count
            policy = policy_of(self._accelerator.unwrap_model(model))
            scores = position_scores(policy, found, share, masked, block)
            return log_prob + choice_log_prob(scores, masked & block, now, args.choice)

    def read(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of all steps: (answers, steps), and zeros for their entropies."""
        found = torch.zeros(batch["advantages"].shape, device=batch["steps"].device)
        for rows in self.together(batch, torch.arange(len(found), device=found.device)):
            for step in range(1, found.shape[1] + 1):
                found[rows, step - 1] = self.of_step(model, batch, rows, step).float()
        return found, torch.zeros_like(found)


def greedy(sampler: Any) -> Any:
    """The sampler at temperature 0: the likeliest tokens, the highest scores of positions."""
    return replace(sampler, how=replace(sampler.how, temperature=0.0))
