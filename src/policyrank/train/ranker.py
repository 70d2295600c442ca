"""Train rankers on lists with any loss, curriculum and measure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.fingerprints import Fingerprint
from policyrank.learn import (
    Curriculum,
    RankingLoss,
    check_labels,
    label_domain,
    largest_label,
)
from policyrank.learn._options import check_options
from policyrank.learn.losses import ranking_loss
from policyrank.metrics.retrieval import Judged
from policyrank.metrics.retrieval_names import measure
from policyrank.train import ranker_checkpoints as checkpoints, ranker_steps as stepping
from policyrank.train.data import Lists
from policyrank.train.negatives import Sampler, named_sampler
from policyrank.train.ranker_loop import Loop
from policyrank.train.ranker_processes import Processes
from policyrank.train.ranker_progress import (
    Epoch,
    Progress,
    RunLog,
    check_trackers,
    started_trackers,
)
from policyrank.train.weights import weights_hash

Float = NDArray[np.float64]

LEAST = {
    "epochs": 0,
    "patience": 0,
    "lists": 1,
    "size": 1,
    "per_epoch": 1,
    "accumulate": 1,
    "learning_rate": 0.0,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "clip": 0.0,
    "seed": 0,
    "log_every": 1,
}
"""Option -> the smallest value that it takes."""

WHOLE = ("epochs", "patience", "lists", "size", "per_epoch", "accumulate", "seed", "log_every")
SETTINGS = (
    *("loss", "loss_options", "schedules", "metric", "lists", "size", "sampler", "per_epoch"),
    *("accumulate", "optimizer", "learning_rate", "scheduler", "warmup", "weight_decay", "clip"),
    *("bf16", "seed"),
)
"""Options that decide the weights."""


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
    schedules
        options of the loss that change: name -> ``{"start", "end", "every"}`` of
        ``learn.losses.skip_schedule``, or a function of the epoch (from 0)
    curriculum
        weights of samples by the first stage's scores; its samples must be what the loss takes
        (pairs or points)
    metric
        measure on validation, for example nDCG@10 (higher is better)
    epochs, patience
        passes over the queries; stop after so many without gain (None: never)
    lists, size, sampler
        lists that are read at once (by each process); documents of a list, drawn anew each time
        (None: all) by one of ``SAMPLERS`` or a function
    per_epoch
        lists between two evaluations, drawn anew (None: all)
    accumulate
        so many times ``lists`` make a step, and the gradient is that of all its lists at once: of
        their mean loss, those that say nothing left out (of a function without ``reduce``, of the
        means weighed by their lists)
    optimizer
        one of ``OPTIMIZERS`` (adamw, adam, sgd), or a function of weights, lr and weight_decay
    learning_rate, scheduler, warmup
        peak of the rate; how it falls, one of ``SCHEDULES`` (constant, linear and cosine to 0 in
        the last epoch) or a function; first steps over which it rises, below 1 their share
    weight_decay, clip
        of the optimizer; largest norm of the gradient
    bf16
        the model computes in bfloat16 while it trains; weights, loss and evaluation stay float32
    gradient_checkpointing
        encoders of transformers keep less for the gradient and compute it twice
    seed
        of everything that is drawn: the same seed gives the same weights on the same machine
    checkpoint
        folder where a checkpoint is written after each epoch, and the last two stay; training goes
        on from the newest whole one
    depends
        what the weights depend on beside options, data and model, such as the model's name: a
        checkpoint of others is refused
    log, log_every
        file of JSON lines: one an epoch, and one every so many steps (None: none between)
    report_to
        trackers of experiments, of those of accelerate: tensorboard, wandb, mlflow, ...
    report, progress
        called with each epoch; called with where training is, a few times a second
    accelerator
        ``accelerate.Accelerator()``, for several devices or mixed precision: every process makes
        the same calls, each takes its share of the lists, and all end with the same weights. Not
        for sharded weights (FSDP). Its own trackers get the log too

    Raises
    ------
    OptionError
        For an unknown loss, option of it, sampler, measure, optimizer, schedule or tracker, and for
        numbers out of range.
    MissingExtraError
        For a tracker that is not installed.

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
    schedules: dict[str, Any] = field(default_factory=dict)
    curriculum: Curriculum | None = None
    metric: str = "nDCG@10"
    epochs: int = 30
    patience: int | None = None
    lists: int = 1
    size: int | None = None
    sampler: str | Sampler = "uniform"
    per_epoch: int | None = None
    accumulate: int = 1
    optimizer: str | stepping.MakesOptimizer = "adamw"
    learning_rate: float = 1e-3
    scheduler: str | stepping.Schedule = "constant"
    warmup: float = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    bf16: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0
    checkpoint: str | Path | None = None
    depends: Mapping[str, Any] = field(default_factory=dict)
    log: str | Path | None = None
    log_every: int | None = None
    report_to: str | Sequence[str] = ()
    report: Callable[[Epoch], None] | None = None
    progress: Callable[[Progress], None] | None = None
    accelerator: Any = None

    def __post_init__(self) -> None:
        objective = ranking_loss(self.loss)
        given = {"where"} if self.curriculum is None else {"where", "weights"}
        name = f"loss {stepping.name_of(self.loss)!r}"
        self._schedules = stepping.made_schedules(self.schedules)
        check_options(objective, self.options_at(0), name=name, given=given)
        named_sampler(self.sampler)
        stepping.named("scheduler", self.scheduler, stepping.SCHEDULES)
        stepping.named("optimizer", self.optimizer, stepping.OPTIMIZERS)
        stepping.check_numbers(self, LEAST, WHOLE)
        _measure(self.metric)
        names = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        self._trackers = check_trackers(names)

    def fit(self, train: Lists, validation: Lists | None = None) -> list[Epoch]:
        """Train, and leave the best validation epoch's weights in the model.

        Without validation: the last epoch's.

        Raises
        ------
        EvidenceError
            For training queries that say nothing, a checkpoint of other settings, another model or
            other data, or a loss that is NaN.
        OptionError
            For labels that the loss cannot read, a model without a weight to train, and bfloat16 or
            gradient checkpointing where there is none.
        """
        says = telling(train)
        self._check_labels(train)
        weights = [own for own in self.model.parameters() if own.requires_grad]
        if not weights:
            raise OptionError("the model has no weight to train: all are frozen.")
        if self.bf16:
            stepping.check_bf16(weights[0].device)
        make = stepping.named("optimizer", self.optimizer, stepping.OPTIMIZERS)
        optimizer = make(weights, lr=self.learning_rate, weight_decay=self.weight_decay)
        processes = Processes(self.accelerator)
        own = self._fingerprint(train, validation)
        state = checkpoints.resume(self.checkpoint, own, self.model, optimizer, processes)
        model, optimizer = processes.prepare(self.model, optimizer)
        done = len(state.history)
        with (
            self._log(processes, done) as log,
            stepping.checkpointed_gradients(self.model, self.gradient_checkpointing),
        ):
            loop = Loop(self, processes, model, optimizer, train, says, log, done)
            for epoch in range(done, self.epochs):
                if self._stops(state, epoch):
                    break
                told = self._epoch(loop, state, epoch, validation)
                if not processes.first:
                    continue
                log.write(told)
                if self.checkpoint is not None:
                    checkpoints.keep(self.checkpoint, own, self.model, optimizer, state)
                if self.report is not None:
                    self.report(state.history[-1])
        if state.best is not None:
            self.model.load_state_dict(state.best[1])
        return state.history

    def _epoch(
        self, loop: Loop, state: checkpoints.State, epoch: int, validation: Lists | None
    ) -> dict[str, Any]:
        """Train and measure an epoch, and keep the best weights; what the log says of it."""
        began = time.perf_counter()
        loss = loop.epoch(epoch)
        told = loop.place(epoch, (epoch + 1) * loop.steps, loss)
        reached = math.nan
        if validation is not None:
            reached = float(self.evaluate(validation).mean())
        loop.validation = reached
        state.history.append(Epoch(epoch, loss, reached))
        best = state.best
        if best is None or validation is None or reached > state.history[best[0]].validation:
            state.best = (epoch, _copied(self.model.state_dict()))
        seconds = round(time.perf_counter() - began, 3)
        return {**told, "metric": self.metric, "validation": reached, "seconds": seconds}

    def _stops(self, state: checkpoints.State, epoch: int) -> bool:
        """Whether too many epochs have brought no gain."""
        if self.patience is None or state.best is None:
            return False
        return epoch - state.best[0] > self.patience

    def options_at(self, epoch: int) -> dict[str, Any]:
        """Options of the loss at an epoch, from 0."""
        scheduled = {name: value(epoch) for name, value in self._schedules.items()}
        return {**self.loss_options, **scheduled}

    def scores(self, data: Lists) -> Float:
        """Scores of all rows: (rows,)."""
        self.model.eval()
        device, out = next(self.model.parameters()).device, np.zeros(len(data.labels))
        processes = Processes(self.accelerator)
        own = np.arange(processes.index, len(data), processes.number)
        with torch.no_grad():
            for batch in data.batches(own, max(self.lists, 16)):
                found = self.model(batch.features.to(device), batch.where.to(device)).float().cpu()
                out[batch.rows[batch.where].numpy()] = found[batch.where].numpy()
        return processes.sum(out)

    def evaluate(self, data: Lists, metric: str | None = None) -> Float:
        """A measure of each query: (queries,)."""
        code = np.repeat(np.arange(len(data)), np.diff(data.offsets))
        return _measure(metric or self.metric)(Judged.of(code, self.scores(data), data.labels))

    def settings(self) -> dict[str, Any]:
        """What decides the weights, as plain values: of functions their names."""
        found = {name: getattr(self, name) for name in SETTINGS}
        for name in ("loss", "sampler", "optimizer", "scheduler"):
            found[name] = stepping.name_of(found[name])
        found["schedules"] = {
            name: value if isinstance(value, Mapping) else stepping.name_of(value)
            for name, value in self.schedules.items()
        }
        found["curriculum"] = None if self.curriculum is None else repr(self.curriculum)
        found["processes"] = Processes(self.accelerator).number
        return json.loads(json.dumps(found, default=str))

    def _check_labels(self, data: Lists) -> None:
        """Refuse labels outside of what the loss reads."""
        loss = partial(ranking_loss(self.loss), **self.loss_options)
        domain, most = label_domain(loss), largest_label(loss)
        name = f"loss {stepping.name_of(self.loss)!r}"
        try:
            check_labels(data.labels, domain, most=most, name=name)
        except OptionError:  # again, to name the query
            for query, (start, stop) in zip(data.queries, pairwise(data.offsets), strict=True):
                own = f"query {query!r}: {name}"
                check_labels(data.labels[start:stop], domain, most=most, name=own)
            raise

    def _fingerprint(self, train: Lists, validation: Lists | None) -> Fingerprint:
        """What must be the same for training to go on from a checkpoint."""
        if self.checkpoint is None:
            return Fingerprint({}, {})
        settings = self.settings()
        if stepping.name_of(self.scheduler) != "constant" or 0 < self.warmup < 1:
            settings["epochs"] = self.epochs  # rates depend on how many there will be
        named = list(self.model.named_parameters())
        model = {name: str(list(own.shape)) for name, own in named}
        frozen = [(name, own) for name, own in named if not own.requires_grad]
        model["frozen weights"] = weights_hash(frozen)
        model |= dict(self.depends)
        if adapters := getattr(self.model, "adapters", None):
            model["adapters"] = adapters
        parts = {"settings": settings, "model": model, "training data": train.fingerprint()}
        if validation is not None:
            parts["validation data"] = validation.fingerprint()
        return Fingerprint(parts)

    def _log(self, processes: Processes, done: int) -> RunLog:
        """Where epochs and steps are written, by the first process."""
        if not processes.first:
            return RunLog()
        beside = Path(self.log or self.checkpoint or "policyrank")
        name = beside.name.removesuffix(".jsonl").removesuffix(".log").removesuffix(".checkpoint")
        folder = beside.with_name(f"{name}.trackers")
        trackers = started_trackers(self._trackers, folder, self.settings())
        others = [] if self.accelerator is None else self.accelerator.trackers
        return RunLog(self.log, trackers, others, done)


def telling(data: Lists) -> NDArray[np.int64]:
    """Queries with two different labels.

    Raises
    ------
    EvidenceError
        When there is none.
    """
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
