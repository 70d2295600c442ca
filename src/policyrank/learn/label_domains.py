"""Which labels each loss takes, told by its name or by the function."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from policyrank.errors import OptionError
from policyrank.learn.labels import LabelDomain
from policyrank.learn.losses import LOSSES, PREFERENCE_LOSSES
from policyrank.learn.losses.lambda_weights import LARGEST_DCG_LABEL, dcg_weight
from policyrank.learn.rewards import REWARD_LOSSES

LABEL_DOMAINS: dict[str, LabelDomain] = {
    # losses of rankings
    "mse": "scores",
    "sigmoid": "shares",
    "ordinal": "grades",
    "ranknet": "order",
    "hinge": "order",
    "pair-softmax": "order",
    "margin-mse": "scores",
    "lambdarank": "gains",
    "lambda-ndcg-1": "gains",
    "lambda-ndcg-2": "gains",
    "lambda-ndcg-2pp": "gains",
    "softmax": "gains",
    "listnet": "scores",
    "listmle": "order",
    "p-listmle": "order",
    "approx-ndcg": "gains",
    "neural-ndcg": "gains",
    "ranklist": "order",
    "ranklist-lse": "order",
    "pg-rank": "gains",
    # objectives of preferences
    "dpo": "order",
    "cdpo": "order",
    "robust-dpo": "order",
    "slic": "order",
    "ipo": "order",
    "apo-zero": "scores",
    "kto": "scores",
    "sppo": "order",
    "simpo": "order",
    "rrhf": "order",
    "pro": "scores",
    "orpo": "order",
    "cpo": "order",
    "dpo-pl": "order",
    "lipo-lambda": "gains",
    "label-distribution": "scores",
    "grpo": "scores",
    "label-distribution-grpo": "scores",
    "point-mse": "scores",
    "point-sigmoid": "shares",
    # losses of reward models
    "bradley-terry": "order",
    "plackett-luce": "order",
}
"""What each loss, by its name in ``LOSSES``, ``PREFERENCE_LOSSES`` or ``REWARD_LOSSES``, takes."""


def label_domain(loss: str | Callable[..., Any]) -> LabelDomain:
    """What a loss reads in labels, options that were bound to it included.

    Parameters
    ----------
    loss
        a name in ``LABEL_DOMAINS``; a function of this library, or a ``functools.partial`` of one
        (``of_ranking`` bound to a loss too); or one's own function, whose attribute
        ``label_domain`` tells, and which without one takes ``"scores"``

    Raises
    ------
    OptionError
        For an unknown name.

    Examples
    --------
    >>> from policyrank.learn.losses import ranknet
    >>> label_domain("listmle"), label_domain(partial(ranknet, lambda_weight="ndcg-2"))
    ('order', 'gains')
    """
    if isinstance(loss, str):
        if loss not in LABEL_DOMAINS:
            raise OptionError(f"no loss is called {loss!r}. There are: {', '.join(LABEL_DOMAINS)}.")
        return LABEL_DOMAINS[loss]
    function, options = _unbound(loss)
    of_library = _of_function(function)
    if of_library is None:
        return getattr(loss, "label_domain", getattr(function, "label_domain", "scores"))
    if options.get("lambda_weight") is not None:
        return "gains"
    if options.get("margin_per_label"):
        return "scores"
    if not options.get("gaps", True):
        return "order"
    return of_library


def largest_label(loss: str | Callable[..., Any]) -> float:
    """The largest label that a loss takes; inf where it takes any of its domain.

    A hundred where gains are not divided by their ideal (``lambda_weight="dcg"``, lipo-lambda), for
    2 to the power of more leaves float32; the number of cutoffs of ``ordinal``, where they are
    bound.

    Parameters
    ----------
    loss
        as in ``label_domain``

    Examples
    --------
    >>> largest_label("lipo-lambda"), largest_label("lambdarank")
    (100.0, inf)
    """
    _, options = _unbound(_named(loss))
    if options.get("lambda_weight") in ("dcg", dcg_weight):
        return float(LARGEST_DCG_LABEL)
    if options.get("cutoffs") is not None:
        return float(len(options["cutoffs"]))
    return math.inf


def _named(loss: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(loss, str):
        return loss
    for losses in (LOSSES, PREFERENCE_LOSSES, REWARD_LOSSES):
        if loss in losses:
            return losses[loss]
    raise OptionError(f"no loss is called {loss!r}. There are: {', '.join(LABEL_DOMAINS)}.")


def _unbound(loss: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function that reads the labels, and the options bound to it on the way."""
    options: dict[str, Any] = {}
    while isinstance(loss, partial):
        options = {**loss.keywords, **options}
        bound = loss.args[:1]
        loss = loss.func
        if bound and callable(bound[0]):  # of_ranking, of a loss
            loss = bound[0]
    return loss, options


def _of_function(function: Callable[..., Any]) -> LabelDomain | None:
    """The domain of a function of the library, where no option changes it; None of one's own."""
    for losses in (LOSSES, PREFERENCE_LOSSES, REWARD_LOSSES):
        for name, loss in losses.items():
            known, options = _unbound(loss)
            if known is function and "lambda_weight" not in options:
                return LABEL_DOMAINS[name]
    return None
