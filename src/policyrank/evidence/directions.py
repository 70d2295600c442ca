"""Which way is better, told by the words of a name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise

from policyrank.evidence.account import listed

ALL = "*"
"""In ``lower_is_better``: every metric."""

LOWER = frozenset(
    """
    loss losses error errors errorrate perplexity perplexities ppl wer cer ter mer
    eer mae mse rmse mape smape nll crossentropy latency runtime seconds cost costs
    regret fid kid brier ece mce rank ranks rmsd mpe rmsle logloss deviance
    toxicity hallucination hallucinations violation violations collision collisions
    failures bpb ttft tpot delay jitter incorrect
    """.split()
)
"""Words of metrics whose smaller values are better."""

_LOWER_ALONE = frozenset(
    "time duration per der err distance divergence price gap wrong failed failure bits".split()
)
"""Words that say so only where they are the whole name, units aside: a game may be Time Pilot."""

_UNITS = frozenset("s ms sec secs ns us min minutes hours h usd eur pct percent".split())

_PHRASES = frozenset(
    {
        ("failure", "rate"),
        ("miss", "rate"),
        ("false", "positive"),
        ("false", "negative"),
        ("cross", "entropy"),
        ("log", "loss"),
        ("bits", "per"),
        ("edit", "distance"),
        ("run", "time"),
        ("response", "time"),
        ("inference", "time"),
        ("execution", "time"),
        ("wall", "time"),
        ("train", "time"),
    }
)
_HIGHER = frozenset(
    """
    accuracy acc f1 reduction improvement gain winrate correct success throughput speedup reward
    return corr correlation auc auroc r2 recall precision
    """.split()
)
"""Words that turn a name of a smaller-is-better metric round: error reduction, time gain."""


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: split at signs, and where capitals begin a word.

    Examples
    --------
    >>> words("LS Clean WER"), words("latency_ms"), words("wordPerplexity,none")
    (('ls', 'clean', 'wer'), ('latency', 'ms'), ('word', 'perplexity', 'none'))
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", str(name))
    return tuple(re.findall(r"[^\W_]+", apart.lower()))


def usually_lower(name: str) -> bool:
    """Whether a metric of this name (``word_perplexity,none``, ``AMI WER``) is better when smaller.

    Examples
    --------
    >>> usually_lower("Avg. WER"), usually_lower("error_reduction"), usually_lower("mmlu")
    (True, False, False)
    """
    found = words(name)
    if _HIGHER & set(found):
        return False
    if LOWER & set(found) or _PHRASES & set(pairwise(found)):
        return True
    return len(set(found) - _UNITS) == 1 and bool(_LOWER_ALONE & set(found))


def matching(names: Iterable[str], patterns: Iterable[str]) -> tuple[frozenset[str], list[str]]:
    """The names that fit a pattern (``*wer*``; upper and lower case alike, a name fits itself), and
    the patterns that none fits.
    """
    there = list(names)
    found: set[str] = set()
    idle = []
    for pattern in patterns:
        fits = {pattern} & set(there)
        if not fits:
            fits = {name for name in there if fnmatchcase(name.lower(), pattern.lower())}
        if not fits:
            idle.append(pattern)
        found |= fits
    return frozenset(found), idle


def tasks_in_words(tasks: Sequence[str], lower: Collection[str], column: str | None = None) -> str:
    """The tasks, and which are better when smaller, as the first line of a reading says.

    Examples
    --------
    >>> tasks_in_words(["acc", "wer"], {"wer"})
    'tasks acc, wer (lower is better: wer)'
    """
    shown = listed(tasks, most=6)
    if column is not None:
        shown = f"from {column} ({shown})"
    text = f"{'task' if len(tasks) == 1 else 'tasks'} {shown}"
    if not lower:
        return text
    which = "all" if ALL in lower else listed(sorted(lower), most=6)
    return f"{text} (lower is better: {which})"
