"""Retrieval runs against judgements, as evidence: each query a task, each measure a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from policyrank.metrics.retrieval import Judged, Measure, measure


def judged(run: pl.DataFrame, qrels: pl.DataFrame, queries: Sequence[str]) -> Judged:
    """A run's rows against judgements for these queries; ties of score by document, descending, as
    in trec_eval.

    Parameters
    ----------
    run
        columns query, document, score
    qrels
        columns query, document, grade
    """
    code = pl.DataFrame({"query": list(queries), "code": np.arange(len(queries))})
    rows = (
        run.join(code, on="query")
        .join(qrels, on=["query", "document"], how="left")
        .sort("code", "score", "document", descending=[False, True, True])
    )
    best = qrels.join(code, on="query").sort("code", "grade", descending=[False, True])

    def ends(frame: pl.DataFrame) -> NDArray[np.int64]:
        return np.concatenate(
            [[0], np.cumsum(np.bincount(frame["code"].to_numpy(), minlength=len(queries)))]
        ).astype(np.int64)

    return Judged(
        ends(rows),
        rows["grade"].cast(pl.Float64).fill_null(-1.0).to_numpy(),
        best["grade"].cast(pl.Float64).to_numpy(),
        ends(best),
    )


def score_runs(
    runs: Mapping[str, pl.DataFrame],
    qrels: pl.DataFrame,
    measures: Sequence[str] = ("nDCG@10", "AP", "RR", "R@100"),
    *,
    least: float = 1,
) -> Scores:
    """Scores of runs: policies are runs, tasks are queries, metrics are measures.

    Parameters
    ----------
    runs
        name -> columns query, document, score
    qrels
        columns query, document, grade
    measures
        names as ``metrics.retrieval.measure`` reads them
    least
        queries without a document of this grade say nothing and are left out

    Returns
    -------
    Scores
        A query that a run lacks scores 0, and a note says how many there are.

    Raises
    ------
    EvidenceError
        When no query is left, or a measure is unknown.
    """
    has, rules = _queries(qrels, least), _rules(measures)
    dropped = qrels["query"].n_unique() - len(has)
    notes = [f"{dropped:,} queries without a relevant document are left out"] if dropped else []
    policies, tasks, metrics, values = [], [], [], []
    for name, run in runs.items():
        missing = len(has) - run.filter(pl.col("query").is_in(has))["query"].n_unique()
        if missing == len(has):
            raise EvidenceError(
                f"run {name}: none of its queries is judged. Do the query names of run and qrels"
                " match?"
            )
        if missing:
            notes.append(f"{name} lacks {missing:,} of {len(has):,} queries: they score 0")
        found = judged(run, qrels, has)
        for label, rule in rules.items():
            policies += [name] * len(has)
            tasks += has
            metrics += [label] * len(has)
            values.append(rule(found))
    lower = frozenset(m for m in rules if m.lower().startswith("lastrelevant"))
    return Scores(
        Labels.of(policies),
        Labels.of(tasks),
        np.concatenate(values),
        metric=Labels.of(metrics),
        lower_is_better=lower,
        notes=tuple(notes),
    )


def run_means(
    run: pl.DataFrame,
    qrels: pl.DataFrame,
    measures: Sequence[str] = ("nDCG@10", "AP", "RR", "R@100"),
    *,
    least: float = 1,
) -> dict[str, float]:
    """Means of one run over the queries that have a relevant document. Parameters and errors as in
    ``score_runs``.
    """
    has, rules = _queries(qrels, least), _rules(measures)
    if not run["query"].is_in(has).any():
        raise EvidenceError(
            "none of the run's queries is judged. Do the query names of run and qrels match?"
        )
    found = judged(run, qrels, has)
    return {name: float(rule(found).mean()) for name, rule in rules.items()}


def _queries(qrels: pl.DataFrame, least: float) -> list[str]:
    has = qrels.filter(pl.col("grade") >= least)["query"].unique(maintain_order=True).to_list()
    if not has:
        raise EvidenceError(
            "the judgements hold no relevant document. Check the grades, and the file."
        )
    return has


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
    """
    if method not in ("permutation", "t"):
        raise EvidenceError(f"method={method!r}: use 'permutation' or 't'.")
    table, rng = scores.table(), generator(seed)
    raw = []
    for i, j in combinations(range(len(scores.policies)), 2):
        gap = table[:, i] - table[:, j]
        gap = gap[~np.isnan(gap)]
        n = len(gap)
        if n < 2:
            continue
        mean, error = float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(n))
        if method == "t":
            p = float(2 * student.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
        else:
            signs = rng.integers(0, 2, size=(draws, n), dtype=np.int8) * 2 - 1
            p = float((1 + (np.abs(signs @ gap) >= abs(gap.sum()) - 1e-12).sum()) / (draws + 1))
        half = float(student.ppf((1 + level) / 2, n - 1)) * error
        a, b, sign = (i, j, 1.0) if mean >= 0 else (j, i, -1.0)
        raw.append(
            (
                scores.policies[a],
                scores.policies[b],
                abs(mean),
                sign * mean - half,
                sign * mean + half,
                p,
                n,
            )
        )
    order = np.argsort([r[5] for r in raw], kind="stable")
    holm, worst = np.ones(len(raw)), 0.0
    for place, k in enumerate(order):
        worst = max(worst, min(1.0, raw[k][5] * (len(raw) - place)))
        holm[k] = worst
    return [PairedTest(*r[:6], float(h), r[6]) for r, h in zip(raw, holm, strict=True)]


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
        score = pl.col("score")
        if how == "combsum":
            low, high = score.min().over("query"), score.max().over("query")
            value = pl.when(high > low).then((score - low) / (high - low)).otherwise(1.0)
            parts.append(run.select("query", "document", score=weight * value))
        else:
            ordered = run.sort("query", "score", "document", descending=[False, True, True])
            rank = pl.int_range(1, pl.len() + 1).over("query")
            parts.append(ordered.select("query", "document", score=weight / (k + rank)))
    return (
        pl.concat(parts)
        .group_by("query", "document", maintain_order=True)
        .agg(pl.col("score").sum())
    )
