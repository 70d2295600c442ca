"""What trainers of language models share: one pass over lists, in the layout that a model takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging as progress

from policyrank.models.rows import TOLERANCE, takes, window_of
from policyrank.train.answer_trainer import AnswerTrainer
from policyrank.train.answers import AnswerCollator, AnswerData, EncodedAnswers, Layout
from policyrank.train.token_likelihood import by_step, layouts_agree, token_log_probs

logger = logging.getLogger(__name__)


class LikelihoodTrainer(AnswerTrainer):
    """A trainer of a causal language model, which knows how likely answers are under it."""

    layout: Layout
    kind = "policy"

    def __init__(self, model: Any, args: Any, *data: Any, layout: Layout, **options: Any) -> None:
        super().__init__(model, args, *data, layout=layout, **options)
        self.layout = layout
        self._keep = takes(self.model, "logits_to_keep")

    def _settle_layout(self) -> None:
        """Give each answer a row of its own where the model does not keep them apart in one."""
        if self.layout == "rows" or self._may_share(self._sets()):
            return
        self.layout = "rows"
        self.collate = AnswerCollator(self.collate.pad, "rows")
        if self.is_world_process_zero():
            logger.warning(
                "this model does not keep answers in one row apart; each gets a row of its own"
                " (layout='rows')"
            )

    def _sets(self) -> list[AnswerData]:
        """Training data and all sets of evaluation data."""
        found = [self.train_dataset]
        if isinstance(self.eval_dataset, Mapping):
            found += list(self.eval_dataset.values())
        else:
            found.append(self.eval_dataset)
        return [data for data in found if data is not None]

    def _may_share(self, sets: Sequence[AnswerData]) -> bool:
        """Whether the answers of a list may stand in one row."""
        longest = 0
        for data in sets:
            for own in data.lists:
                longest = max(longest, len(own.prompt) + max(map(len, own.completions)))
        return longest <= window_of(self.model.config) and self._answers_kept_apart(sets[0][0])

    def _answers_kept_apart(self, first: EncodedAnswers) -> bool:
        """Whether the shared layout gives what rows give, on one list."""
        dtype = self.model.dtype
        if self.args.bf16 or self.args.fp16:
            dtype = torch.bfloat16
        apart = TOLERANCE.get(dtype, 0.1)
        with self.accelerator.autocast():
            return layouts_agree(self.model, first, self.collate.pad, keep=self._keep, apart=apart)

    def _flat(self, batch: dict[str, Tensor], layout: Layout) -> Tensor:
        was = self.model.training
        self.model.eval()
        # In the same precision as the policy, or a policy that has not moved would differ.
        with torch.no_grad(), self.accelerator.autocast():
            found, _ = token_log_probs(self.model, batch, layout=layout, keep=self._keep)
        self.model.train(was)
        return found

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        return {name: values.to(device) for name, values in batch.items()}

    def step_log_probs(
        self, data: AnswerData, *, in_order: bool = False
    ) -> list[list[list[float]]]:
        """Log-probabilities of each answer's steps under the model as it is.

        Of each list, (completions, steps). ``in_order``: in the batches of evaluation, so that a
        model that has not moved is equal to the last digit.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.accelerator.device.type != "cpu":
            self.model.to(self.accelerator.device)
        order = list(range(len(data)))
        if not in_order:
            order.sort(key=lambda k: -data[k].tokens)
        order = order[rank::processes]
        size = self.args.per_device_eval_batch_size
        found: dict[int, list[list[float]]] = {}
        hidden = self.args.disable_tqdm or rank > 0
        with progress.tqdm(total=len(order), desc="Reference", disable=hidden) as bar:
            for start in range(0, len(order), size):
                group = order[start : start + size]
                sums = self._step_sums([data[k] for k in group])
                found.update(zip(group, sums, strict=True))
                bar.update(len(group))
        if processes > 1:
            parts: list[Any] = [None] * processes
            torch.distributed.all_gather_object(parts, found)
            for part in parts:
                found |= part
        return [found[k] for k in range(len(data))]

    def _step_sums(self, lists: Sequence[EncodedAnswers]) -> list[list[list[float]]]:
        batch = self._on_device(self.collate(lists))
        deepest = max(max(own.depths) for own in lists)
        sums = by_step(self._flat(batch, self.layout), batch, deepest).cpu()
        found = []
        for row, own in zip(sums, lists, strict=True):
            found.append([row[c, :depth].tolist() for c, depth in enumerate(own.depths)])
        return found
