"""Train rankers on lists with any loss, curriculum and measure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import Curriculum, RankingLoss
from policyrank.learn._options import check_options
from policyrank.learn.losses import ranking_loss
from policyrank.metrics.retrieval import Judged
from policyrank.metrics.retrieval_names import measure
from policyrank.train.data import Batch, Lists
from policyrank.train.negatives import Sampler, named_sampler

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

    Raises
    ------
    OptionError
        For an unknown loss, option of it, sampler or measure.

    Examples
    --------
    >>> from policyrank.train import Mlp, RankingData
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3))
    >>> queries, labels = np.repeat(np.arange(20), 10).astype(str), (x[:, 0] > 0.5).astype(float)
    >>> data = RankingData.of(queries, labels, x)
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

    def __post_init__(self) -> None:
        self._objective = ranking_loss(self.loss)
        given = {"where"} if self.curriculum is None else {"where", "weights"}
        check_options(
            self._objective, self.loss_options, name=f"loss {_name(self.loss)!r}", given=given
        )
        self._sampler = named_sampler(self.sampler)
        _measure(self.metric)

    def fit(self, train: Lists, validation: Lists | None = None) -> list[Epoch]:
        """Train, and leave the best validation epoch's weights in the model.

        Without validation: the last epoch's.

        Raises
        ------
        EvidenceError
            For training queries that say nothing, a checkpoint of other settings, or a loss that is
            NaN.
        OptionError
            For a model without a weight to train.
        """
        says = _telling(train)
        weights = [own for own in self.model.parameters() if own.requires_grad]
        if not weights:
            raise OptionError("the model has no weight to train: all are frozen.")
        if self.curriculum is not None:
            self._easiness = train.easiness(self.curriculum)
        optimizer = torch.optim.AdamW(
            weights, lr=self.learning_rate, weight_decay=self.weight_decay
        )
        history, best, start = self._resume(optimizer)
        model = self.model
        if self.accelerator is not None:
            model, optimizer = self.accelerator.prepare(self.model, optimizer)
        first = self._share()[0] == 0
        for epoch in range(start, self.epochs):
            if self.patience is not None and best is not None and epoch - best[0] > self.patience:
                break
            loss = self._epoch(model, optimizer, train, says, epoch)
            reached = np.nan
            if validation is not None:
                reached = float(self.evaluate(validation).mean())
            history.append(Epoch(epoch, loss, reached))
            if best is None or validation is None or reached > history[best[0]].validation:
                best = (epoch, _copied(self.model.state_dict()))
            if first:
                self._keep(optimizer, history, best)
            if self.report is not None and first:
                self.report(history[-1])
        if best is not None:
            self.model.load_state_dict(best[1])
        return history

    def _epoch(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        train: Lists,
        says: NDArray[np.int64],
        epoch: int,
    ) -> float:
        """One pass over the queries; its mean loss."""
        rank, world = self._share()
        rng = np.random.default_rng([self.seed, epoch])
        torch.manual_seed(int(rng.integers(2**31)))
        order = rng.permutation(says)[: self.per_epoch]
        if world > 1:  # processes share the order, and draw their own documents
            rng = np.random.default_rng([self.seed, epoch, rank])
        model.train()
        losses = []
        step = epoch * -(-len(order) // (self.lists * world))
        for at in range(0, len(order), self.lists * world):
            chunk = order[at : at + self.lists * world]
            # No process may be left without a list.
            chunk = np.append(chunk, order[: max(world - len(chunk), 0)])
            batch = train.batch(chunk[rank::world], self.size, rng, self._sampler)
            loss = self._step_loss(model, batch, epoch)
            step += 1
            rate = self.learning_rate * min(1.0, step / max(self.warmup, 1))
            self._update(model, optimizer, loss, rate)
            losses.append(float(loss.detach()))
        return float(self._sum(np.array([np.mean(losses) / world]))[0])

    def _step_loss(self, model: Any, batch: Batch, epoch: int) -> Tensor:
        device = next(self.model.parameters()).device
        labels, where = batch.labels.to(device), batch.where.to(device)
        options = dict(self.loss_options)
        if self.curriculum is not None:
            easy = self._easiness[batch.rows].to(device)
            options["weights"] = self.curriculum.weights(easy, labels, where, epoch)
        scores = model(batch.features.to(device), where)
        loss = self._objective(scores, labels, where=where, **options)
        if not torch.isfinite(loss):
            raise EvidenceError(
                f"epoch {epoch + 1}: the loss is {loss.item()}. Lower learning_rate, or scale the"
                " features."
            )
        return loss

    def _update(
        self, model: Any, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float
    ) -> None:
        optimizer.zero_grad()
        if self.accelerator is None:
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        else:
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(model.parameters(), self.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

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
        if self.accelerator is None:
            return 0, 1
        return self.accelerator.process_index, self.accelerator.num_processes

    def _sum(self, values: Float) -> Float:
        """Over processes."""
        if self._share()[1] == 1:
            return values
        found = torch.from_numpy(values).to(self.accelerator.device, torch.float32)
        return self.accelerator.reduce(found, "sum").cpu().numpy().astype(float)

    def evaluate(self, data: Lists, metric: str | None = None) -> Float:
        """A measure of each query: (queries,)."""
        code = np.repeat(np.arange(len(data)), np.diff(data.offsets))
        return _measure(metric or self.metric)(Judged.of(code, self.scores(data), data.labels))

    def _settings(self) -> str:
        shape = [[name, list(own.shape)] for name, own in self.model.named_parameters()]
        settings = [
            _name(self.loss),
            self.loss_options,
            repr(self.curriculum),
            self.metric,
            self.lists,
            self.size,
            _name(self.sampler),
            self.per_epoch,
            self.learning_rate,
            self.warmup,
            self._share()[1],
            self.weight_decay,
            self.clip,
            self.seed,
            shape,
        ]
        return json.dumps(settings, default=str)

    def _keep(self, optimizer: torch.optim.Optimizer, history: list[Epoch], best: Any) -> None:
        if self.checkpoint is None:
            return
        part = Path(f"{self.checkpoint}.part")
        state = {
            "settings": self._settings(),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": list(map(astuple, history)),
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
        history = [Epoch(*told) for told in state["history"]]
        return history, state["best"], len(history)


def _telling(data: Lists) -> NDArray[np.int64]:
    """Queries with two different labels."""
    says = []
    for query, (start, stop) in enumerate(pairwise(data.offsets)):
        if len(np.unique(data.labels[start:stop])) > 1:
            says.append(query)
    if not says:
        raise EvidenceError(
            "every training query has equal labels only: there is nothing to learn an order from."
        )
    return np.array(says)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().clone() for name, values in state.items()}


def _measure(name: str) -> Callable[[Judged], Float]:
    try:
        return measure(name)
    except ValueError as error:
        raise OptionError(str(error)) from None


def _name(given: Any) -> str:
    """A name, or that of a function."""
    if isinstance(given, str):
        return given
    return getattr(given, "__name__", type(given).__name__)
