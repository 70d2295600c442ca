"""Retrieval runs against judgements, as evidence: each query a task, each measure a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.evidence.base import Labels
from policyrank.metrics.retrieval import Judged
from policyrank.metrics.retrieval_names import Measure, measure


def judged(run: pl.DataFrame, qrels: pl.DataFrame, queries: Sequence[str]) -> Judged:
    """A run's rows against judgements for these queries; ties of score by document, descending, as
    in trec_eval.

    Parameters
    ----------
    run
        columns query, document, score
    qrels
        columns query, document, grade

    Examples
    --------
    >>> listed = {"query": ["q"] * 3, "document": ["x", "y", "z"]}
    >>> run = pl.DataFrame({**listed, "score": [1.0, 3.0, 2.0]})
    >>> qrels = pl.DataFrame({"query": ["q"] * 2, "document": ["z", "w"], "grade": [1, 2]})
    >>> found = judged(run, qrels, ["q"])
    >>> measure("RR")(found)
    array([0.5])
    """
    code = pl.DataFrame({"query": list(queries), "code": np.arange(len(queries))})
    rows = (
        run.join(code, on="query")
        .join(qrels, on=["query", "document"], how="left")
        .sort("code", "score", "document", descending=[False, True, True])
    )
    best = qrels.join(code, on="query").sort("code", "grade", descending=[False, True])
    return Judged(
        _offsets(rows, len(queries)),
        rows["grade"].cast(pl.Float64).fill_null(-1.0).to_numpy(),
        best["grade"].cast(pl.Float64).to_numpy(),
        _offsets(best, len(queries)),
    )


def _offsets(frame: pl.DataFrame, queries: int) -> NDArray[np.int64]:
    """Where each query's rows begin, and where the last ones end."""
    counts = np.bincount(frame["code"].to_numpy(), minlength=queries)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def score_runs(
    runs: Mapping[str, pl.DataFrame],
    qrels: pl.DataFrame,
    measures: Sequence[str] = ("nDCG@10", "AP", "RR", "R@100"),
    *,
    least: float = 1,
    answered: bool = False,
) -> Scores:
    """Scores of runs: policies are runs, tasks are queries, metrics are measures.

    Parameters
    ----------
    runs
        name -> columns query, document, score
    qrels
        columns query, document, grade
    measures
        names as ``metrics.retrieval_names.measure`` reads them
    least
        queries without a document of this grade say nothing and are left out
    answered
        queries that no run answers are left out too, where only some of those that are judged were
        asked about

    Returns
    -------
    Scores
        A query that a run lacks scores 0, and a note says how many there are.

    Raises
    ------
    EvidenceError
        When no query is left, or a measure is unknown.

    Examples
    --------
    >>> qrels = pl.DataFrame({"query": ["q", "r"], "document": ["x", "x"], "grade": [1, 1]})
    >>> run = pl.DataFrame({"query": ["q", "q"], "document": ["y", "x"], "score": [2.0, 1.0]})
    >>> best = pl.DataFrame({"query": ["q", "r"], "document": ["x", "x"], "score": [1.0, 1.0]})
    >>> scores = score_runs({"run": run, "best": best}, qrels, ["RR"])
    >>> scores.table().tolist(), scores.notes
    ([[1.0, 0.5], [1.0, 0.0]], ('run lacks 1 of 2 queries: they score 0',))
    """
    queries, rules = _queries(qrels, least), _rules(measures)
    notes = []
    dropped = qrels["query"].n_unique() - len(queries)
    if answered:
        queries, silent = _answered(queries, list(runs.values()))
        notes += silent
    if dropped:
        notes.append(f"{dropped:,} queries without a relevant document are left out")
    policies, tasks, metrics, values = [], [], [], []
    for name, run in runs.items():
        own = run.filter(pl.col("query").is_in(queries))["query"].n_unique()
        missing = len(queries) - own
        if own == 0:
            raise EvidenceError(
                f"run {name}: none of its queries is judged. Do the query names of run and qrels"
                " match?"
            )
        if missing:
            notes.append(f"{name} lacks {missing:,} of {len(queries):,} queries: they score 0")
        found = judged(run, qrels, queries)
        for label, rule in rules.items():
            policies += [name] * len(queries)
            tasks += queries
            metrics += [label] * len(queries)
            values.append(rule(found))
    lower = [label for label in rules if label.lower().startswith("lastrelevant")]
    return Scores(
        Labels.of(policies),
        Labels.of(tasks),
        np.concatenate(values),
        metric=Labels.of(metrics),
        lower_is_better=frozenset(lower),
        notes=tuple(notes),
    )


def run_means(
    run: pl.DataFrame,
    qrels: pl.DataFrame,
    measures: Sequence[str] = ("nDCG@10", "AP", "RR", "R@100"),
    *,
    least: float = 1,
    answered: bool = False,
) -> dict[str, float]:
    """Means of one run over the queries that have a relevant document. Parameters and errors as in
    ``score_runs``.

    Examples
    --------
    >>> qrels = pl.DataFrame({"query": ["q"], "document": ["x"], "grade": [1]})
    >>> run = pl.DataFrame({"query": ["q", "q"], "document": ["y", "x"], "score": [2.0, 1.0]})
    >>> run_means(run, qrels, ["RR", "P@2"])
    {'RR': 0.5, 'P@2': 0.5}
    """
    queries, rules = _queries(qrels, least), _rules(measures)
    if not run["query"].is_in(queries).any():
        raise EvidenceError(
            "none of the run's queries is judged. Do the query names of run and qrels match?"
        )
    if answered:
        queries, _ = _answered(queries, [run])
    found = judged(run, qrels, queries)
    return {name: float(rule(found).mean()) for name, rule in rules.items()}


def unanswered(run: pl.DataFrame, qrels: pl.DataFrame, *, least: float = 1) -> tuple[int, int]:
    """How many queries with a relevant document a run lacks, and how many there are.

    Examples
    --------
    >>> qrels = pl.DataFrame({"query": ["q", "r"], "document": ["x", "x"], "grade": [1, 1]})
    >>> unanswered(pl.DataFrame({"query": ["q"], "document": ["x"], "score": [1.0]}), qrels)
    (1, 2)
    """
    queries = _queries(qrels, least)
    return len(queries) - len(_answered(queries, [run])[0]), len(queries)


def _answered(queries: list[str], runs: Sequence[pl.DataFrame]) -> tuple[list[str], list[str]]:
    """Queries that some run answers, and what is said of the others."""
    there = {name for run in runs for name in run["query"].unique()}
    found = [query for query in queries if query in there]
    left = len(queries) - len(found)
    return found, [f"{left:,} judged queries that no run answers are left out"] if left else []


def _queries(qrels: pl.DataFrame, least: float) -> list[str]:
    relevant = qrels.filter(pl.col("grade") >= least)
    queries = relevant["query"].unique(maintain_order=True).to_list()
    if not queries:
        raise EvidenceError(
            "the judgements hold no relevant document. Check the grades, and the file."
        )
    return queries


def _rules(measures: Sequence[str]) -> dict[str, Measure]:
    try:
        return {name: measure(name) for name in measures}
    except ValueError as error:
        raise EvidenceError(str(error)) from None


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison of two policies over tasks: mean difference, its interval, p-values (raw,
    and Holm's over all pairs).
    """

    better: str
    than: str
    difference: float
    lower: float
    upper: float
    p: float
    p_holm: float
    tasks: int


def paired_tests(
    scores: Scores,
    *,
    method: str = "permutation",
    level: float = 0.95,
    draws: int = 10_000,
    seed: Seed = 0,
) -> list[PairedTest]:
    """Paired tests of every two policies over tasks, the better one first, with Holm's correction.

    Parameters
    ----------
    scores
        of one metric
    method
        ``"permutation"``: random signs of the differences; ``"t"``: Student's paired t
    level
        of the (Student) intervals of the mean difference
    draws
        random sign vectors; the smallest p-value is 1 / (draws + 1)

    Examples
    --------
    >>> names, tasks = ["x"] * 5 + ["y"] * 5, [*"12345"] * 2
    >>> values = np.array([1.0, 2, 3, 4, 6, 0, 1, 2, 3, 4])
    >>> test = paired_tests(Scores(Labels.of(names), Labels.of(tasks), values))[0]
    >>> test.better, test.difference, round(test.p, 2)
    ('x', 1.2, 0.06)
    """
    if method not in ("permutation", "t"):
        raise EvidenceError(f"method={method!r}: use 'permutation' or 't'.")
    table, rng = scores.table(), generator(seed)
    pairs = []
    for first, second in combinations(range(len(scores.policies)), 2):
        gap = table[:, first] - table[:, second]
        gap = gap[~np.isnan(gap)]
        if len(gap) < 2:
            continue
        names = scores.policies[first], scores.policies[second]
        if gap.mean() < 0:
            gap, names = -gap, names[::-1]
        p = _p_value(gap, method, draws, rng)
        mean, error = _mean_and_error(gap)
        half = float(student.ppf((1 + level) / 2, len(gap) - 1)) * error
        test = PairedTest(*names, mean, mean - half, mean + half, p, p, len(gap))
        pairs.append(test)
    return _with_holm(pairs)


def _mean_and_error(gap: NDArray[np.float64]) -> tuple[float, float]:
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))


def _p_value(gap: NDArray[np.float64], method: str, draws: int, rng: np.random.Generator) -> float:
    """Student's, or the share of random signs that sum to as much as the differences do, these
    counted too.
    """
    if method == "t":
        mean, error = _mean_and_error(gap)
        if error > 0:
            return float(2 * student.sf(abs(mean) / error, len(gap) - 1))
        return float(mean == 0)
    signs = rng.integers(0, 2, size=(draws, len(gap)), dtype=np.int8) * 2 - 1
    as_far = np.abs(signs @ gap) >= abs(gap.sum()) - 1e-12
    return float((1 + as_far.sum()) / (draws + 1))


def _with_holm(tests: list[PairedTest]) -> list[PairedTest]:
    """The tests with p-values that hold for all of them together (Holm 1979)."""
    order = np.argsort([test.p for test in tests], kind="stable")
    corrected, worst = list(tests), 0.0
    for place, which in enumerate(order):
        test = tests[which]
        worst = max(worst, min(1.0, test.p * (len(tests) - place)))
        corrected[which] = replace(test, p_holm=float(worst))
    return corrected


def fuse_runs(
    runs: Sequence[pl.DataFrame],
    how: Literal["combsum", "rrf"] = "combsum",
    *,
    weights: Sequence[float] | None = None,
    k: float = 60,
) -> pl.DataFrame:
    """One run of several: sums over runs, columns query, document, score.

    Parameters
    ----------
    runs
        columns query, document, score
    how
        ``"combsum"``: scores scaled to [0, 1] within each query and run (Fox and Shaw 1994; all
        equal: 1); ``"rrf"``: 1 / (k + rank), equal scores ranked by document, descending (Cormack
        et al. 2009)
    weights
        one a run; 1 each if not given

    Raises
    ------
    EvidenceError
        For no runs, or as many weights as there are no runs.

    Examples
    --------
    >>> listed = {"query": ["q"] * 3, "document": ["x", "y", "z"]}
    >>> a = pl.DataFrame({**listed, "score": [3.0, 1.0, 2.0]})
    >>> b = pl.DataFrame({**listed, "score": [0.0, 10.0, 5.0]})
    >>> fuse_runs([a, b])["score"].to_list()
    [1.0, 1.0, 1.0]
    """
    if not runs or (weights is not None and len(weights) != len(runs)):
        raise EvidenceError(
            f"{len(runs)} runs and {len(weights or ())} weights: give at least one run, and a"
            " weight for each or none."
        )
    parts = []
    for run, weight in zip(runs, weights or [1.0] * len(runs), strict=True):
        if how == "combsum":
            parts.append(_scaled(run, weight))
        else:
            parts.append(_reciprocal_ranks(run, weight, k))
    pooled = pl.concat(parts).group_by("query", "document", maintain_order=True)
    return pooled.agg(pl.col("score").sum())


def _scaled(run: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Scores in [0, 1] within each query, 1 where all are equal, times the weight."""
    score = pl.col("score")
    low, high = score.min().over("query"), score.max().over("query")
    value = pl.when(high > low).then((score - low) / (high - low)).otherwise(1.0)
    return run.select("query", "document", score=weight * value)


def _reciprocal_ranks(run: pl.DataFrame, weight: float, k: float) -> pl.DataFrame:
    """Scores weight / (k + rank) within each query."""
    ordered = run.sort("query", "score", "document", descending=[False, True, True])
    rank = pl.int_range(1, pl.len() + 1).over("query")
    return ordered.select("query", "document", score=weight / (k + rank))
