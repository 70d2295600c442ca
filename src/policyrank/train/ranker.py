"""Train rankers on lists with any loss, curriculum and measure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from policyrank.errors import EvidenceError
from policyrank.learn import LOSSES, Curriculum, RankingLoss
from policyrank.metrics.retrieval import Judged, measure
from policyrank.train.data import Lists
from policyrank.train.negatives import SAMPLERS, Sampler

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss, and the mean of the measure over the validation queries."""

    epoch: int
    loss: float
    validation: float


@dataclass
class RankerTrainer:
    """Trains a ranker; the weights of the best validation epoch are kept.

    Parameters
    ----------
    model
        module that maps features (lists, n, d), or texts, and a mask (lists, n) to scores (lists,
        n): one of ``RANKERS`` or ``TEXT_RANKERS``, for example
    loss
        a name in ``learn.LOSSES``, or a function
    loss_options
        passed to the loss
    curriculum
        weights of samples by the first stage's scores; its samples must be what the loss takes
        (pairs or points)
    metric
        measure on validation, for example nDCG@10 (higher is better)
    epochs, patience
        passes over the queries; stop after so many without gain (None: never)
    lists, size, sampler
        lists of a step (of each process); documents of a list, drawn anew each time (None: all) by
        one of ``SAMPLERS`` or a function
    per_epoch
        lists between two evaluations, drawn anew (None: all)
    learning_rate, warmup, weight_decay, clip
        of AdamW, the rate rising over so many first steps; largest norm of the gradient
    seed
        of everything that is drawn: the same seed gives the same weights on the same machine
    checkpoint
        file written after each epoch; when it is there, training goes on from it
    report
        called with each epoch
    accelerator
        ``accelerate.Accelerator()``, for several devices or mixed precision: every process makes
        the same calls, each takes its share of the lists, and all end with the same weights. Not
        for sharded weights (FSDP)

    Examples
    --------
    >>> from policyrank.train import Mlp, RankingData
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3))
    >>> data = RankingData.of(np.repeat(np.arange(20), 10).astype(str), (x[:, 0] > 0.5).astype(float), x)
    >>> torch.set_num_threads(1)
    >>> trainer = RankerTrainer(Mlp(3, (8,)), loss="listmle", epochs=15, learning_rate=1e-2)
    >>> trainer.fit(data, data)[-1].validation > 0.9
    True
    """

    model: Any
    loss: str | RankingLoss = "listmle"
    loss_options: dict[str, Any] = field(default_factory=dict)
    curriculum: Curriculum | None = None
    metric: str = "nDCG@10"
    epochs: int = 30
    patience: int | None = None
    lists: int = 1
    size: int | None = None
    sampler: str | Sampler = "uniform"
    per_epoch: int | None = None
    learning_rate: float = 1e-3
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    seed: int = 0
    checkpoint: str | Path | None = None
    report: Callable[[Epoch], None] | None = None
    accelerator: Any = None

    def fit(self, train: Lists, validation: Lists | None = None) -> list[Epoch]:
        """Train, and leave the best validation epoch's weights in the model (without validation:
        the last epoch's).

        Raises
        ------
        EvidenceError
            For an unknown loss or measure, training queries that say nothing, a checkpoint of other
            settings, or a loss that is NaN.
        """
        loss = self._loss()
        self._measure()
        says = np.flatnonzero(
            [
                len(np.unique(train.labels[a:b])) > 1
                for a, b in zip(train.offsets[:-1], train.offsets[1:], strict=True)
            ]
        )
        if not len(says):
            raise EvidenceError(
                "every training query has equal labels only: there is nothing to learn an order"
                " from."
            )
        sampler = self._sampler()
        if not any(p.requires_grad for p in self.model.parameters()):
            raise EvidenceError("the model has no weight to train: all are frozen.")
        optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        history, best, start = self._resume(optimizer)
        model = self.model
        if self.accelerator is not None:
            model, optimizer = self.accelerator.prepare(self.model, optimizer)
        device = next(self.model.parameters()).device
        rank, world = self._share()
        step = start * -(-min(len(says), self.per_epoch or len(says)) // (self.lists * world))
        for epoch in range(start, self.epochs):
            if self.patience is not None and best is not None and epoch - best[0] > self.patience:
                break
            rng = np.random.default_rng([self.seed, epoch])
            torch.manual_seed(int(rng.integers(2**31)))
            model.train()
            losses = []
            order = rng.permutation(says)[: self.per_epoch]
            if world > 1:  # processes share the order, and draw their own documents
                rng = np.random.default_rng([self.seed, epoch, rank])
            for at in range(0, len(order), self.lists * world):
                chunk = order[at : at + self.lists * world]
                chunk = np.append(
                    chunk, order[: max(world - len(chunk), 0)]
                )  # no process may be left without a list
                batch = train.batch(chunk[rank::world], self.size, rng, sampler)
                labels, where = batch.labels.to(device), batch.where.to(device)
                options = dict(self.loss_options)
                if self.curriculum is not None:
                    options["weights"] = self.curriculum(
                        batch.first_stage.to(device), labels, where, epoch
                    )
                value = loss(
                    model(batch.features.to(device), where), labels, where=where, **options
                )
                if not torch.isfinite(value):
                    raise EvidenceError(
                        f"epoch {epoch + 1}: the loss is {value.item()}. Lower learning_rate, or"
                        " scale the features."
                    )
                optimizer.zero_grad()
                if self.accelerator is None:
                    value.backward()
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                else:
                    self.accelerator.backward(value)
                    self.accelerator.clip_grad_norm_(model.parameters(), self.clip)
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * min(1.0, step / max(self.warmup, 1))
                optimizer.step()
                losses.append(float(value.detach()))
            mean = self._sum(np.array([np.mean(losses) / world]))[0]
            mean_validation = (
                np.nan if validation is None else float(self.evaluate(validation).mean())
            )
            history.append(Epoch(epoch, float(mean), mean_validation))
            if (
                best is None
                or validation is None
                or history[-1].validation > history[best[0]].validation
            ):
                best = (epoch, {k: v.detach().clone() for k, v in self.model.state_dict().items()})
            if rank == 0:
                self._keep(optimizer, history, best)
            if self.report is not None and rank == 0:
                self.report(history[-1])
        if best is not None:
            self.model.load_state_dict(best[1])
        return history

    def scores(self, data: Lists) -> Float:
        """Scores of all rows: (rows,)."""
        self.model.eval()
        device, out = next(self.model.parameters()).device, np.zeros(len(data.labels))
        rank, world = self._share()
        with torch.no_grad():
            for batch in data.batches(np.arange(rank, len(data), world), max(self.lists, 16)):
                found = self.model(batch.features.to(device), batch.where.to(device)).float().cpu()
                out[batch.rows[batch.where].numpy()] = found[batch.where].numpy()
        return self._sum(out)

    def _share(self) -> tuple[int, int]:
        """This process, and how many there are."""
        return (
            (0, 1)
            if self.accelerator is None
            else (self.accelerator.process_index, self.accelerator.num_processes)
        )

    def _sum(self, values: Float) -> Float:
        """Over processes."""
        if self._share()[1] == 1:
            return values
        found = torch.from_numpy(values).to(self.accelerator.device, torch.float32)
        return self.accelerator.reduce(found, "sum").cpu().numpy().astype(float)

    def evaluate(self, data: Lists, metric: str | None = None) -> Float:
        """A measure of each query: (queries,)."""
        code = np.repeat(np.arange(len(data)), np.diff(data.offsets))
        return self._measure(metric)(Judged.of(code, self.scores(data), data.labels))

    def _measure(self, name: str | None = None) -> Callable[[Judged], Float]:
        try:
            return measure(name or self.metric)
        except ValueError as error:
            raise EvidenceError(str(error)) from None

    def _loss(self) -> RankingLoss:
        if not isinstance(self.loss, str):
            return self.loss
        if self.loss not in LOSSES:
            raise EvidenceError(
                f"loss={self.loss!r}: use one of {', '.join(LOSSES)}, or a function."
            )
        return LOSSES[self.loss]

    def _sampler(self) -> Sampler:
        if not isinstance(self.sampler, str):
            return self.sampler
        if self.sampler not in SAMPLERS:
            raise EvidenceError(
                f"sampler={self.sampler!r}: use one of {', '.join(SAMPLERS)}, or a function."
            )
        return SAMPLERS[self.sampler]

    def _settings(self) -> str:
        loss = (
            self.loss
            if isinstance(self.loss, str)
            else getattr(self.loss, "__name__", type(self.loss).__name__)
        )
        shape = [[n, list(p.shape)] for n, p in self.model.named_parameters()]
        sampler = (
            self.sampler
            if isinstance(self.sampler, str)
            else getattr(self.sampler, "__name__", type(self.sampler).__name__)
        )
        return json.dumps(
            [
                loss,
                self.loss_options,
                repr(self.curriculum),
                self.metric,
                self.lists,
                self.size,
                sampler,
                self.per_epoch,
                self.learning_rate,
                self.warmup,
                self._share()[1],
                self.weight_decay,
                self.clip,
                self.seed,
                shape,
            ],
            default=str,
        )

    def _keep(self, optimizer: torch.optim.Optimizer, history: list[Epoch], best: Any) -> None:
        if self.checkpoint is None:
            return
        part = Path(f"{self.checkpoint}.part")
        state = {
            "settings": self._settings(),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": [(h.epoch, h.loss, h.validation) for h in history],
            "best": best,
        }
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def _resume(self, optimizer: torch.optim.Optimizer) -> tuple[list[Epoch], Any, int]:
        if self.checkpoint is None or not Path(self.checkpoint).exists():
            return [], None, 0
        state = torch.load(self.checkpoint, weights_only=True)
        if state["settings"] != self._settings():
            raise EvidenceError(
                f"{self.checkpoint}: a checkpoint of other settings or another model. Name another"
                " file, or remove it."
            )
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = [Epoch(*h) for h in state["history"]]
        return history, state["best"], len(history)
