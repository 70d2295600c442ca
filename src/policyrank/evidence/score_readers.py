"""Read scores: long and wide tables, and result folders of lm-evaluation-harness."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels
from policyrank.evidence.readers import Bad
from policyrank.evidence.scores import ALL, Scores

LOWER = {
    "loss",
    "error",
    "errorrate",
    "perplexity",
    "wordperplexity",
    "byteperplexity",
    "bitsperbyte",
    "ppl",
    "wer",
    "cer",
    "ter",
    "mae",
    "mse",
    "rmse",
    "latency",
    "runtime",
    "seconds",
    "cost",
    "regret",
    "fid",
    "brier",
    "ece",
}
_MISSING = ("", "-", "–", "—", "na", "n/a", "nan", "null", "none", "?")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


def read_scores(
    source: Any,
    *,
    policy: str | None = None,
    task: str | None = None,
    score: str | None = None,
    metric: str | None = None,
    replicate: str | None = None,
    weight: str | None = None,
    tasks: Sequence[str] | None = None,
    rows: Literal["policies", "tasks"] | None = None,
    lower_is_better: Iterable[str] | bool | None = None,
    bad: Bad = "raise",
) -> Scores:
    """Read scores of policies on tasks.

    Parameters
    ----------
    source
        as for ``read_comparisons``, or a folder of lm-evaluation-harness results
    policy, task, score, metric, replicate, weight
        columns of a long table, found by their usual names when not given
    tasks
        columns of a wide table to use as tasks (or, with tasks as rows, the policies); all numeric
        ones when not given. Columns such as "Average" or "Score" that sum up the others are left
        out, and the notes say so.
    rows
        what the rows of a wide table are; policies, unless its first column is called task, game,
        dataset, ...
    lower_is_better
        names of metrics or tasks whose smaller values are better, or True for all; when not given,
        those called loss, error, perplexity, wer, ... are taken so, and the notes say so
    bad
        ``"skip"`` leaves out rows without a usable score and counts them. Empty cells of a wide
        table are simply not measured.

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.
    """
    if isinstance(source, (str, Path)) and str(source) != "-" and Path(source).is_dir():
        scores = read_lm_eval(source, metric=metric)
        return scores if lower_is_better is None else _directed(scores, lower_is_better)
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    found = {
        "policy": t.given(columns, policy, t.POLICY, "the policy", name),
        "task": t.given(columns, task, t.TASK, "the task", name),
        "score": t.given(columns, score, t.SCORE, "the score", name),
        "metric": t.given(columns, metric, t.METRIC, "the metric", name),
        "replicate": t.given(columns, replicate, t.REPLICATE, "the replicate", name),
        "weight": t.given(columns, weight, t.WEIGHT, "the weight", name),
    }
    table = t.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    long = (
        found["policy"]
        and found["score"]
        and (found["task"] or len(columns) <= 3)
        and rows is None
        and tasks is None
    )
    scores = (
        _long(table, name, {k: v for k, v in found.items() if v}, bad)
        if long
        else _wide(table, name, found, tasks, rows)
    )
    if lower_is_better is None and "lower_is_better" in table.columns and long:
        lower = table.filter(pl.col("lower_is_better").cast(pl.String).str.to_lowercase() == "true")
        role = found["metric"] or found["task"]
        lower_is_better = lower[role].unique().to_list() if role else bool(lower.height)
    return _directed(scores, lower_is_better)


def _directed(scores: Scores, lower: Iterable[str] | bool | None) -> Scores:
    names = scores.metric.names if scores.metric else scores.task.names
    notes = scores.notes
    if lower is None:
        if scores.lower_is_better:
            return scores
        chosen = frozenset(n for n in names if t.key(n) in LOWER or t.key(n.split(",")[0]) in LOWER)
        if chosen:
            notes = (*notes, f"taken as lower is better, by name: {', '.join(sorted(chosen))}")
    else:
        chosen = (
            frozenset()
            if lower is False
            else frozenset({ALL})
            if lower is True
            else frozenset(lower)
        )
    return Scores(
        scores.policy,
        scores.task,
        scores.score,
        metric=scores.metric,
        replicate=scores.replicate,
        weight=scores.weight,
        lower_is_better=chosen,
        notes=notes,
    )


def _parse(series: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Numbers, which cells hold text that is no number, and how many had a spread (``1.5±0.2``)
    that was cut.
    """
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(np.nan).to_numpy(), np.zeros(len(series), bool), 0
    text = series.cast(pl.String).fill_null("").str.strip_chars()
    spread = text.str.contains(r"±|\+/-")
    text = text.str.replace(r"\s*(±|\+/-).*$", "").str.strip_suffix("%")
    values = text.cast(pl.Float64, strict=False)
    grouped = values.is_null() & text.str.contains(f"^{_GROUPED.pattern}$")
    if grouped.any():
        values = pl.select(
            pl.when(grouped)
            .then(text.str.replace_all(",", "").cast(pl.Float64, strict=False))
            .otherwise(values)
        ).to_series()
    missing = text.str.to_lowercase().is_in(list(_MISSING))
    return (
        values.fill_null(np.nan).to_numpy(),
        (values.is_null() & ~missing).to_numpy(),
        int(spread.sum()),
    )


def _names(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).fill_null("").str.strip_chars()


def _long(table: pl.DataFrame, name: str, found: dict[str, str], bad: Bad) -> Scores:
    values, text, spread = _parse(table[found["score"]])
    labels = {
        r: _names(table[found[r]]) for r in ("policy", "task", "metric", "replicate") if r in found
    }
    labels.setdefault("task", pl.repeat(found["score"], len(values), dtype=pl.String, eager=True))
    problems = {
        f"a score that is no number, in column {found['score']!r}": text,
        "a missing score": ~text & ~np.isfinite(values),
        **{f"a missing {r}": (s == "").to_numpy() for r, s in labels.items()},
    }
    good, notes = np.ones(len(values), bool), []
    for what, mask in problems.items():
        mask = mask & good
        if mask.any():
            row, rows = int(np.argmax(mask)), int(mask.sum())
            if bad == "raise":
                raise EvidenceError(
                    f"{name}, row {row + 1:,} ({labels['policy'][row]!r}:"
                    f" {table[found['score']][row]!r}): {what}; {rows:,} such"
                    f" row{'s' * (rows != 1)}. Mend the file, or leave such rows out with"
                    " bad='skip' (--skip-bad)."
                )
            good &= ~mask
            notes.append(f"{rows:,} row{'s' * (rows != 1)} left out: {what}")
    if not good.any():
        raise EvidenceError(f"{name}: no usable row is left ({'; '.join(notes)}).")
    if spread:
        notes.append(f"the spread after ± was cut from {spread:,} scores")
    kept = {r: Labels.of(s.filter(good)) for r, s in labels.items()}
    if "replicate" not in kept:
        cells = pl.DataFrame({r: s.codes for r, s in kept.items()})
        if repeated := cells.height - cells.unique().height:
            notes.append(
                f"{repeated:,} scores repeat a policy on the same task: taken as replicates"
            )
    weight = _parse(table[found["weight"]])[0][good] if "weight" in found else None
    return Scores(
        kept["policy"],
        kept["task"],
        values[good],
        metric=kept.get("metric"),
        replicate=kept.get("replicate"),
        weight=weight,
        notes=(f"read from {name}, long, columns {', '.join(found.values())}", *notes),
    )


def _wide(
    table: pl.DataFrame,
    name: str,
    found: dict[str, str | None],
    chosen: Sequence[str] | None,
    rows: str | None,
) -> Scores:
    columns = table.columns
    label = found["task"] if rows == "tasks" and found["task"] else found["policy"]
    if label is None or (rows is None and t.find(columns[:1], t.TASK)):
        label = columns[0]
    if rows is None:
        rows = "tasks" if t.find([label], t.TASK) and not t.find([label], t.POLICY) else "policies"
    names = _names(table[label])
    if (names == "").any():
        raise EvidenceError(
            f"{name}, row {int((names == '').arg_true()[0]) + 1}: column {label!r} is empty. Every"
            " row needs a name."
        )
    if names.is_duplicated().any():
        row = int(names.is_duplicated().arg_true()[-1])
        raise EvidenceError(
            f"{name}, row {row + 1}: {names[row]!r} stands in {label!r} twice. In a wide table a"
            f" row is one of the {rows}; for a long table name its columns (policy, task, score)."
        )
    notes: list[str] = []
    parsed, spread = {}, 0
    for column in chosen if chosen is not None else [c for c in columns if c != label]:
        if column not in columns:
            raise EvidenceError(f"{name}: no column {column!r}. It has: {t.listing(columns)}.")
        values, text, cut = _parse(table[column])
        if text.all() or (chosen is None and text.mean() > 0.5):
            if chosen is not None:
                raise EvidenceError(f"{name}: column {column!r} holds no numbers.")
            notes.append(f"column {column!r} left out: it holds no numbers")
        elif text.any():
            row = int(np.argmax(text))
            raise EvidenceError(
                f"{name}, row {row + 1}, column {column!r}: {table[column][row]!r} is no number."
                " Mend it, leave it empty (not measured), or choose other columns with tasks=[...]"
                " (--tasks)."
            )
        elif np.isinf(values).any():
            raise EvidenceError(
                f"{name}, row {int(np.argmax(np.isinf(values))) + 1}, column {column!r}: an"
                " infinite score. Mend it."
            )
        elif np.isnan(values).all():
            notes.append(f"column {column!r} left out: it is empty")
        else:
            parsed[column] = values
            spread += cut
    if chosen is None:
        summary = [c for c in parsed if t.find([c], t.SUMMARY) is not None]
        if summary and len(parsed) - len(summary) >= 2:
            for column in summary:
                del parsed[column]
            notes.append(f"left out as summaries of the other columns: {', '.join(summary)}")
    if not parsed:
        raise EvidenceError(f"{name}: no column of scores. It has: {t.listing(columns)}.")
    if spread:
        notes.append(f"the spread after ± was cut from {spread:,} scores")
    values = np.column_stack(list(parsed.values()))
    if rows == "policies":
        values = values.T
        task_names, policy_names = list(parsed), names.to_list()
    else:
        task_names, policy_names = names.to_list(), list(parsed)
    empty = int(np.isnan(values).sum())
    if empty:
        notes.append(f"{empty:,} of {values.size:,} cells are empty: not measured")
    measured = ~np.isnan(values).all(axis=0)
    if not measured.all():
        notes.append("without any score: " + ", ".join(np.array(policy_names)[~measured]))
    scores = Scores.from_table(
        values[:, measured], task_names, np.array(policy_names)[measured].tolist()
    )
    return Scores(
        scores.policy,
        scores.task,
        scores.score,
        notes=(f"read from {name}, wide, {rows} as rows", *notes),
    )


_PREFERRED = ("acc_norm", "acc", "exact_match", "f1", "em", "pass@1", "mc2", "word_perplexity")


def read_lm_eval(folder: str | Path, *, metric: str | None = None) -> Scores:
    """Read a folder of lm-evaluation-harness results (``results_*.json``, at any depth).

    One score a model and task: the named ``metric``, else acc_norm, acc, exact_match, f1, ... in
    this order. Of several runs of a model on a task the newest counts; groups whose subtasks are
    there are left out; the notes say so.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*.json") if p.name.startswith("results"))
    if not files:
        raise EvidenceError(
            f"{folder}: no results*.json of lm-evaluation-harness in this folder. Give the folder"
            " that --output_path named."
        )
    latest: dict[tuple[str, str], tuple[float, str, float, bool]] = {}
    notes, replaced, groups = [], 0, set()
    for path in files:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            results = data["results"]
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError(
                f"{path}: not a results file of lm-evaluation-harness ({type(error).__name__}:"
                f" {error}). Remove it."
            ) from None
        model, date = _model(data, path), float(data.get("date") or 0)
        subtasks = data.get("group_subtasks") or {}
        for task, values in results.items():
            if any(s in results for s in subtasks.get(task) or ()):
                groups.add(task)
                continue
            found = _metric(values, metric)
            if found is None:
                if metric is not None:
                    raise EvidenceError(
                        f"{path.name}: task {task!r} has no metric {metric!r}. It has:"
                        f" {t.listing([k for k in values if 'stderr' not in k])}."
                    )
                continue
            short, value = found
            higher = (data.get("higher_is_better") or {}).get(task, {}).get(short)
            lower = not higher if higher is not None else t.key(short) in LOWER
            replaced += (model, task) in latest
            if (model, task) not in latest or date >= latest[model, task][0]:
                latest[model, task] = (date, short, value, lower)
    if groups:
        notes.append(f"groups left out because their subtasks count: {', '.join(sorted(groups))}")
    if replaced:
        notes.append(f"{replaced:,} results replaced by a newer run of the same model and task")
    if not latest:
        raise EvidenceError(f"{folder}: the results hold no numeric metric.")
    rows = [
        (m, task, short, value, lower) for (m, task), (_, short, value, lower) in latest.items()
    ]
    policies, tasks, metrics, numbers, lowers = zip(*rows, strict=True)
    return Scores(
        Labels.of(policies),
        Labels.of(tasks),
        np.array(numbers),
        metric=Labels.of(metrics),
        lower_is_better=frozenset(m for m, low in zip(metrics, lowers, strict=True) if low),
        notes=(
            (
                f"read from {len(files)} result files in {folder.name}, metrics"
                f" {', '.join(sorted(set(metrics)))}"
            ),
            *notes,
        ),
    )


def _model(data: dict[str, Any], path: Path) -> str:
    name = data.get("model_name") or (data.get("config") or {}).get("model_args")
    if isinstance(name, dict):
        name = name.get("pretrained") or name.get("model")
    found = re.search(r"(?:pretrained|model)=([^,]+)", str(name or ""))
    return found.group(1) if found else str(name or path.parent.name)


def _metric(values: dict[str, Any], wanted: str | None) -> tuple[str, float] | None:
    numbers = {
        k: v
        for k, v in values.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and "stderr" not in k
    }
    short = {k.split(",")[0]: float(v) for k, v in reversed(numbers.items())}
    short.pop("sample_len", None)
    if wanted is not None:
        return (wanted, short[wanted]) if wanted in short else None
    order = [*(p for p in _PREFERRED if p in short), *short]
    return (order[0], short[order[0]]) if order else None
