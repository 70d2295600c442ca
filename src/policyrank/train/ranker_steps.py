"""Steps of training: rates, optimizers, precision, and how the parts of a step are weighed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn import RankingLoss
from policyrank.learn._options import options_of
from policyrank.learn.losses import skip_schedule
from policyrank.train.preparing import switch_checkpointing


class Schedule(Protocol):
    """Share of the steps after the warm-up that are taken, in [0, 1) -> factor of the rate."""

    def __call__(self, done: float, /) -> float: ...


def constant(done: float) -> float:
    """The same rate all the way."""
    return 1.0


def linear(done: float) -> float:
    """Falls in a line; as transformers' schedule of that name."""
    return 1.0 - done


def cosine(done: float) -> float:
    """Falls along half a cosine; as transformers' schedule of that name."""
    return (1.0 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}


class MakesOptimizer(Protocol):
    """Weights, and keywords lr and weight_decay -> a torch optimizer."""

    def __call__(
        self, weights: Iterable[Tensor], /, *, lr: float, weight_decay: float
    ) -> torch.optim.Optimizer: ...


OPTIMIZERS: dict[str, MakesOptimizer] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


def made_schedules(given: Mapping[str, Any]) -> dict[str, Callable[[int], Any]]:
    """Functions of the epoch, from functions or settings of ``skip_schedule``.

    Raises
    ------
    OptionError
        For other settings than start, end, every.
    """
    found: dict[str, Callable[[int], Any]] = {}
    for name, value in given.items():
        if callable(value):
            found[name] = value
            continue
        if not isinstance(value, Mapping):
            raise OptionError(f"schedules: {name} is {value!r}; give start, end and every.")
        refuse_unknown_options(value, ["end", "every", "start"], of=f"schedules.{name}")
        if not all(isinstance(number, int) and number >= 1 for number in value.values()):
            raise OptionError(f"schedules: start, end and every of {name} are whole, at least 1.")
        found[name] = partial(skip_schedule, **value)
    return found


def named(kind: str, given: Any, known: dict[str, Any]) -> Any:
    """What a name stands for; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(given, str):
        return given
    if given not in known:
        raise OptionError(f"{kind}={given!r}: use one of {', '.join(known)}, or a function.")
    return known[given]


def name_of(given: Any) -> str:
    """A name, or that of a function with what is bound to it."""
    if isinstance(given, str):
        return given
    if isinstance(given, partial):
        return f"{name_of(given.func)}{given.args or ''}{given.keywords or ''}"
    return getattr(given, "__name__", type(given).__name__)


def rate_factor(step: int, steps: int, warmup: float, schedule: Schedule) -> float:
    """What the learning rate is multiplied by at a step.

    Parameters
    ----------
    step
        from 1
    steps
        of the whole training
    warmup
        first steps over which the rate rises; below 1, their share of all

    Examples
    --------
    >>> [rate_factor(step, 6, 2, linear) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    rising = warmup_steps(warmup, steps)
    if step <= rising:
        return step / rising
    if step > steps:
        return 0.0
    return schedule((step - 1 - rising) / (steps - rising))


def warmup_steps(warmup: float, steps: int) -> int:
    """Steps of the warm-up, where it is a share of all or their number."""
    return math.ceil(warmup * steps) if warmup < 1 else int(warmup)


def autocast(bf16: bool, device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 where that is safe; weights and gradients stay as they are."""
    if not bf16:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def check_bf16(device: torch.device) -> None:
    """Refuse bfloat16 where the device computes without it.

    Raises
    ------
    OptionError
    """
    if device.type == "cuda":
        there = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        there = torch.backends.mkldnn.is_available()
        there = there and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        there = True
    if not there:
        raise OptionError(f"bf16: this {device.type} has no bfloat16. Train without it.")


@contextmanager
def checkpointed_gradients(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Encoders of transformers keep less for the gradient, and compute it twice.

    Raises
    ------
    OptionError
        For a model that has none.
    """
    if not wanted:
        yield
        return
    encoders: list[Any] = []
    for module in model.modules():
        if getattr(module, "supports_gradient_checkpointing", False):
            encoders.append(module)
    if not encoders:
        raise OptionError("gradient_checkpointing: the model has no encoder of transformers.")
    for encoder in encoders:
        switch_checkpointing(encoder, "enable", {"use_reentrant": False})
    try:
        yield
    finally:
        for encoder in encoders:
            switch_checkpointing(encoder, "disable")


def takes_sum(loss: RankingLoss, options: dict[str, Any]) -> bool:
    """Whether a loss can give the sum over its lists instead of the mean."""
    known = options_of(loss)
    return "reduce" not in options and (known is None or "reduce" in known)


def lists_that_count(
    loss: RankingLoss, labels: Tensor, where: Tensor, options: dict[str, Any]
) -> int:
    """How many lists say something: those of which a loss's mean is the mean.

    By the labels, the mask and weights only, never by scores: asked of the loss itself, at scores
    drawn at random, as its sum over its mean.

    Parameters
    ----------
    labels, where
        (lists, n), on the CPU
    options
        of the loss
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scores = torch.randn(labels.shape, dtype=torch.float64) / 8
    others = {}
    for name, value in options.items():
        if not isinstance(value, torch.Generator):  # that of training is not to be moved
            others[name] = value
    found = []
    for reduce in ("sum", "mean"):
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # losses that sample draw the same for both
            given = {**others, "where": where, "reduce": reduce}
            found.append(float(loss(scores, labels.double(), **given)))
    total, mean = found
    return round(total / mean) if mean else 0


def check_numbers(given: Any, least: dict[str, float], whole: Sequence[str]) -> None:
    """Refuse options that are no numbers, too small, or not whole; None is left alone.

    Parameters
    ----------
    given
        what has the options as attributes
    least
        option -> smallest value
    whole
        options that are whole numbers

    Raises
    ------
    OptionError
    """
    for name, smallest in least.items():
        value = getattr(given, name)
        if value is None:
            continue
        kinds = (int,) if name in whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= smallest:
            kind = "a whole number" if name in whole else "a number"
            raise OptionError(f"{name}={value!r}: it is {kind} of at least {smallest:g}.")
