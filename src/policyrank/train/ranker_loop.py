"""Passes over lists: batches, gradients, steps, and what is told of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.learn.losses import ranking_loss
from policyrank.train import ranker_steps as stepping
from policyrank.train.data import Batch, Lists
from policyrank.train.negatives import named_sampler
from policyrank.train.ranker_processes import Processes
from policyrank.train.ranker_progress import Pace, Progress, RunLog

if TYPE_CHECKING:
    from policyrank.train.ranker import RankerTrainer

TOLD_EVERY = 0.2
"""Seconds between two calls of ``progress``."""


@dataclass(eq=False)
class Loop:
    """Takes the steps of a trainer.

    Attributes
    ----------
    options
        the trainer
    processes, model, optimizer
        model and optimizer as the processes prepared them
    train, says
        the lists, and those of them that say something
    log
        of steps, where the trainer wants one
    epochs
        that were trained before
    validation
        the measure after the last epoch
    """

    options: RankerTrainer
    processes: Processes
    model: Any
    optimizer: Any
    train: Lists
    says: NDArray[np.int64]
    log: RunLog
    epochs: int = 0
    validation: float = math.nan
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        self.device = next(options.model.parameters()).device
        self._objective = ranking_loss(options.loss)
        self._sampler = named_sampler(options.sampler)
        self._schedule = stepping.named("scheduler", options.scheduler, stepping.SCHEDULES)
        self._together = options.lists * self.processes.number
        self._whole = self._together * options.accumulate
        lists = len(self.says)
        if options.per_epoch is not None:
            lists = min(lists, options.per_epoch)
        self.steps = -(-lists // self._whole)
        self.pace = Pace(self.steps * (options.epochs - self.epochs))
        self._told = 0.0
        if options.curriculum is not None:
            self._easiness = self.train.easiness(options.curriculum)

    def epoch(self, epoch: int) -> float:
        """One pass over the queries; its mean loss over the steps."""
        options, processes = self.options, self.processes
        rng = np.random.default_rng([options.seed, epoch])
        torch.manual_seed(int(rng.integers(2**31)))
        order = rng.permutation(self.says)[: options.per_epoch]
        if processes.number > 1:  # processes share the order, and draw their own documents
            rng = np.random.default_rng([options.seed, epoch, processes.index])
        self.model.train()
        self.pace.start_epoch()
        losses: list[float] = []
        for at in range(0, len(order), self._whole):
            chunk = order[at : at + self._whole]
            step = epoch * self.steps + len(losses) + 1
            losses.append(self._step(self._batches(order, chunk, rng), epoch, step))
            self.pace.step(len(chunk))
            self._tell(epoch, step, losses)
        return self._mean(losses)

    def rate(self, step: int) -> float:
        """The learning rate at a step, from 1."""
        options = self.options
        steps = self.steps * options.epochs
        factor = stepping.rate_factor(step, steps, options.warmup, self._schedule)
        return options.learning_rate * factor

    def _batches(
        self, order: NDArray[np.int64], chunk: NDArray[np.int64], rng: np.random.Generator
    ) -> list[Batch]:
        """This process' lists of a step, in the parts that are read at once."""
        processes, found = self.processes, []
        for at in range(0, len(chunk), self._together):
            part = chunk[at : at + self._together]
            # No process may be left without a list.
            part = np.append(part, order[: max(processes.number - len(part), 0)])
            own = part[processes.index :: processes.number]
            found.append(self.train.batch(own, self.options.size, rng, self._sampler))
        return found

    def _step(self, batches: list[Batch], epoch: int, step: int) -> float:
        """Take a step; this process' share of the loss of all its lists."""
        self.optimizer.zero_grad()
        reduce, weights = self._weights(batches, epoch)
        total = 0.0
        for place, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
            with self.processes.adding(self.model, place == len(batches) - 1):
                loss = self._loss(batch, epoch, reduce)
                if weight != 1:
                    loss = loss * weight
                # Processes take the mean of their gradients.
                shared = loss if self.processes.number == 1 else loss * self.processes.number
                self.processes.backward(shared)
            total += float(loss.detach())
        self.processes.clip(self.model, self.options.clip)
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return total

    def _weights(self, batches: list[Batch], epoch: int) -> tuple[dict[str, Any], list[float]]:
        """How losses of parts are reduced and weighed, so that they add up to that of the step."""
        if len(batches) == self.processes.number == 1:
            return {}, [1.0]
        options = self.options.loss_options
        if not stepping.takes_sum(self._objective, options):
            if options.get("reduce") == "sum":
                return {}, [1.0] * len(batches)
            lists = [len(batch.labels) for batch in batches]
            together = self._over_processes(sum(lists))
            return {}, [own / together for own in lists]
        telling = 0
        for batch in batches:
            given = self._loss_options(batch, epoch, torch.device("cpu"))
            telling += stepping.lists_that_count(self._objective, batch.labels, batch.where, given)
        weight = 1 / max(self._over_processes(telling), 1)
        return {"reduce": "sum"}, [weight] * len(batches)

    def _loss(self, batch: Batch, epoch: int, reduce: dict[str, Any]) -> Tensor:
        labels, where = batch.labels.to(self.device), batch.where.to(self.device)
        features = batch.features.to(self.device)
        with stepping.autocast(self.options.bf16, self.device):
            scores = self.model(features, where)
        options = self._loss_options(batch, epoch, self.device) | reduce
        loss = self._objective(scores, labels, where=where, **options)
        if not torch.isfinite(loss):
            raise EvidenceError(
                f"epoch {epoch + 1}: the loss is {loss.item()}. Lower learning_rate, or scale the"
                " features."
            )
        return loss

    def _loss_options(self, batch: Batch, epoch: int, device: torch.device) -> dict[str, Any]:
        """Options of the loss, with a curriculum's weights."""
        options, curriculum = self.options.options_at(epoch), self.options.curriculum
        if curriculum is not None:
            easy = self._easiness[batch.rows].to(device)
            labels, where = batch.labels.to(device), batch.where.to(device)
            options["weights"] = curriculum.weights(easy, labels, where, epoch)
        return options

    def _tell(self, epoch: int, step: int, losses: list[float]) -> None:
        """Of a step: a line of the log and a call of ``progress``, when they are due."""
        every = self.options.log_every
        if every is not None and step % every == 0:
            told = self.place(epoch, step, self._mean(losses[-every:]))
            if self.processes.first:
                self.log.write(told)
        progress, now = self.options.progress, time.perf_counter()
        if progress is None or not self.processes.first or now - self._told < TOLD_EVERY:
            return
        self._told = now
        progress(
            Progress(
                epoch,
                len(losses),
                self.steps,
                float(np.mean(losses)) * self.processes.number,
                self.validation,
                self.pace.lists_per_second,
                self.pace.seconds_left,
            )
        )

    def place(self, epoch: int, step: int, loss: float) -> dict[str, Any]:
        """A line of the log: where training is, and how fast it went there."""
        return {
            "epoch": epoch + 1,
            "step": step,
            "loss": loss,
            "learning_rate": self.rate(step),
            "lists_per_second": round(self.pace.lists_per_second, 3),
        }

    def _mean(self, losses: list[float]) -> float:
        """Of steps, each shared by all processes."""
        return float(self.processes.sum(np.array([np.mean(losses)]))[0])

    def _over_processes(self, value: float) -> float:
        return float(self.processes.sum(np.array([float(value)]))[0])
