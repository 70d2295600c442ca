"""Retrieval metrics by name: the one list that the command line, trainers and runs read."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError
from policyrank.metrics import retrieval, retrieval_sets
from policyrank.metrics.retrieval import Judged

Float = NDArray[np.float64]
Measure = Callable[[Judged], Float]

_PATTERN = re.compile(r"^(?P<name>[A-Za-z]+)(\((?P<options>[^)]*)\))?(@(?P<k>[\d.]+))?$")
_TO_DEPTH: dict[str, Callable[..., Float]] = {
    "ndcg": retrieval.ndcg,
    "nndcg": retrieval.normalised_ndcg,
    "ap": retrieval.average_precision,
    "map": retrieval.average_precision,
    "rr": retrieval.reciprocal_rank,
    "mrr": retrieval.reciprocal_rank,
    "p": retrieval.precision,
    "r": retrieval.recall,
    "recall": retrieval.recall,
    "success": retrieval.success,
    "err": retrieval.expected_reciprocal_rank,
    "rbp": retrieval.rank_biased_precision,
    "judged": retrieval_sets.judged_share,
}
"""Measures of the first k."""

_WHOLE: dict[str, Callable[..., Float]] = {
    "lastrelevant": retrieval.last_relevant,
    "rprec": retrieval_sets.r_precision,
    "bpref": retrieval_sets.bpref,
    "setp": retrieval_sets.set_precision,
    "setr": retrieval_sets.set_recall,
    "setf": retrieval_sets.set_f,
    "setap": retrieval_sets.set_average_precision,
}
"""Measures of all that was returned."""

MEASURES = (
    "nDCG@k",
    "nDCG(gain=exp2)@k",
    "nnDCG@k",
    "AP",
    "RR@k",
    "P@k",
    "R@k",
    "Success@k",
    "Rprec",
    "Bpref",
    "SetP",
    "SetP(relative=true)",
    "SetR",
    "SetF(beta=1)",
    "SetAP",
    "Judged@k",
    "R%@p",
    "ERR@k",
    "RBP(p=0.8)",
    "LastRelevant",
    "WSS@95",
)


def measure(name: str) -> Measure:
    """The measure that a name stands for.

    Names are such as nDCG@10, nDCG(gain=exp2)@10, AP, RR, P(least=2)@5, R@100, Success@5, Rprec,
    Bpref, SetF(beta=2), Judged@10, R%@10, ERR@20, RBP(p=0.8), WSS@95. ``judged_only=true`` in
    brackets first takes out the documents that nobody judged.

    Raises
    ------
    OptionError
        For a name or an option that there is not.

    Examples
    --------
    >>> found = Judged.of([0, 0, 0], [3, 2, 1], [-1, 1, 0])
    >>> measure("RR")(found), measure("RR(judged_only=true)")(found)
    (array([0.5]), array([1.]))
    """
    found = _PATTERN.match(name.replace("R%", "Rpercent"))
    if found is None:
        raise _none_such(name)
    options = _options(found["options"] or "")
    condensed = options.pop("judged_only", False)
    rule, fixed = _rule(found["name"].lower(), found["k"], name)
    strange = options.keys() - signature(rule).parameters.keys()
    if strange or options.keys() & {"judged", *fixed}:
        raise OptionError(f"measure {name!r}: {found['name']} has no such option.")
    chosen = partial(rule, **fixed, **options)
    if condensed:
        return lambda judged: chosen(retrieval_sets.judged_only(judged))
    return chosen


def _rule(kind: str, k: str | None, name: str) -> tuple[Callable[..., Float], dict[str, Any]]:
    """The function of a kind, and what follows from the number after @."""
    if kind in _TO_DEPTH:
        return _TO_DEPTH[kind], {"k": int(k) if k else None}
    if kind in _WHOLE and not k:
        return _WHOLE[kind], {}
    if kind == "rpercent" and k:
        return retrieval.recall_at_percent, {"percent": float(k)}
    if kind == "wss" and k:
        return retrieval.work_saved, {"x": float(k) / 100}
    raise _none_such(name)


def _none_such(name: str) -> OptionError:
    return OptionError(
        f"measure {name!r}: use {', '.join(MEASURES)}; least=2 in brackets counts grades from 2 on"
        " as relevant, judged_only=true takes out what nobody judged."
    )


_WORDS = {"true": True, "false": False}


def _options(text: str) -> dict[str, Any]:
    """Of ``key=value, ...``: a gain is a word, the others are numbers, or true and false."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = map(str.strip, part.partition("="))
        if key == "gain":
            found[key] = value
        elif value.lower() in _WORDS:
            found[key] = _WORDS[value.lower()]
        else:
            found[key] = _number(key, value)
    return found


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise OptionError(f"measure option {key}={value}: give a number.") from None
