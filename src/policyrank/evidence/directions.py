"""Which way is better, told by the words of a name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise

from policyrank.evidence.account import listed

ALL = "*"
"""In ``lower_is_better``: every metric."""

LOWER = frozenset(
    """
    loss losses error errors err errs errorrate perplexity perplexities ppl wer cer ter mer
    eer mae mse rmse nmse nrmse mape smape mase wape wrmsse nll crossentropy crps
    latency runtime walltime elapsed seconds makespan tardiness delay jitter ttft tpot rank ranks
    cost costs regret fid kid fvd fad mcd lpips brier ece mce epe absrel ade fde minade minfde
    fpr fnr fp fn mindcf chamfer emd hausdorff hd assd kl jsd tvd wasserstein levenshtein
    rmsd mpe rmsle logloss deviance residual residuals mistakes surprisal bpb bpc bpp
    toxicity hallucination hallucinations violation violations collision collisions crashes
    harmfulness unfairness failures timeouts incorrect stockouts backlog spoilage churn penalty
    penalties fehler fehlerrate verlust kosten erreur erreurs perte coût coûts
    """.split()
)
"""Words of metrics whose smaller values are better."""

_LOWER_ALONE = frozenset(
    """
    time times duration per der distance divergence price gap wrong failed failure bits energy
    carbon co2 risk damage waste bias fail wait
    """.split()
)
"""Words that say so only where they are the whole name, units and the like aside: a game may be
Time Pilot.
"""

_BESIDE = frozenset(
    """
    s ms sec secs ns us min minutes hours h usd eur pct percent j kwh kg avg mean median total
    average max pred predict prediction fit train training test val eval inference run wall
    response execution solve cpu gpu lap per step first chunk end to p50 p90 p95 p99
    """.split()
)

_PHRASES = frozenset(
    {
        ("failure", "rate"),
        ("miss", "rate"),
        ("drop", "rate"),
        ("false", "positive"),
        ("false", "positives"),
        ("false", "negative"),
        ("false", "negatives"),
        ("cross", "entropy"),
        ("log", "loss"),
        ("bits", "per"),
        ("edit", "distance"),
        ("lost", "sales"),
        ("unmet", "demand"),
        ("id", "switches"),
        ("optimality", "gap"),
        ("distance", "to"),
        ("num", "steps"),
    }
)
_HIGHER = frozenset(
    """
    accuracy acc f1 reduction improvement gain winrate correct success throughput speedup reward
    return corr correlation auc auroc r2 recall precision free prevention between score quality
    explained ic improved saved
    """.split()
)
"""Words that turn a name of a smaller-is-better metric round: error reduction, time gain."""


_ARROWS = re.compile("[↓⬇🔽▼↑⬆🔼▲]")


@lru_cache(maxsize=1 << 17)
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
    arrow = _ARROWS.search(str(name))
    if arrow is not None:
        return arrow[0] in "↓⬇🔽▼"
    found = words(name)
    bare = {re.sub(r"\d+k?$", "", word) or word for word in found} | set(found)
    if _HIGHER & bare:
        return False
    if LOWER & bare or _PHRASES & set(pairwise(found)):
        return True
    return bool(_LOWER_ALONE & bare) and not set(found) - _BESIDE - _LOWER_ALONE


def says_higher(name: str) -> bool:
    """Whether a name says that larger is better: accuracy, gain, an arrow upwards."""
    arrow = _ARROWS.search(str(name))
    if arrow is not None:
        return arrow[0] in "↑⬆🔼▲"
    return bool(_HIGHER & set(words(name)))


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
