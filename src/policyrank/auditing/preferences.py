"""Does a language model rank the answers as people do? Log-probabilities of real pairs, and what
they say.

Chen et al. (2024), "Preference Learning Algorithms Do Not Learn Preference Rankings", arXiv
2405.19534.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.board.intervals import quantile
from policyrank.errors import EvidenceError
from policyrank.evidence.answers import read_rows, text_of
from policyrank.metrics import idealized_log_ratio
from policyrank.models.language import LogProb, answer_logprobs

Float = NDArray[np.float64]
BETAS = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Pair:
    """A prompt, the answer that people preferred, the other one, and the share of raters that
    preferred it.
    """

    prompt: str
    chosen: str
    rejected: str
    alpha: float | None = None


def read_pairs(source: str | Path | Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Pairs from JSONL, parquet or CSV with columns prompt, chosen, rejected and perhaps alpha; or
    from such rows.

    Chat messages (lists of ``{"role", "content"}``) are taken too: the last message is the answer,
    those before it are the prompt when there is no prompt column.

    Raises
    ------
    EvidenceError
        Naming the row that lacks something or prefers an answer to itself.
    """
    out = []
    for place, row in read_rows(source):
        if missing := [c for c in ("chosen", "rejected") if row.get(c) is None]:
            raise EvidenceError(
                f"{place}: no {missing[0]}. Each row has prompt, chosen and rejected."
            )
        prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
        if prompt is None and isinstance(chosen, list):
            prompt = chosen[:-1]
        if prompt is None:
            raise EvidenceError(f"{place}: no prompt.")
        pair = Pair(
            text_of(prompt),
            text_of(chosen[-1:] if isinstance(chosen, list) else chosen),
            text_of(rejected[-1:] if isinstance(rejected, list) else rejected),
            row.get("alpha"),
        )
        if pair.chosen == pair.rejected:
            raise EvidenceError(f"{place}: chosen and rejected are the same answer.")
        if pair.alpha is not None and not 0.5 < pair.alpha <= 1:
            raise EvidenceError(
                f"{place}: alpha={pair.alpha}; the preferred answer has more than half of the"
                " raters."
            )
        out.append(pair)
    if not out:
        raise EvidenceError(f"{source if isinstance(source, (str, Path)) else 'pairs'}: no pairs.")
    return out


class Cache:
    """Log-probabilities in a JSONL file, appended as they are computed, so that an interrupted run
    goes on.

    Parameters
    ----------
    path
        the file; None: only in memory
    settings
        what the numbers depend on; kept ones under other settings are not used
    """

    def __init__(self, path: str | Path | None, settings: Mapping[str, Any]) -> None:
        self.path = Path(path) if path is not None else None
        self.salt = json.dumps(settings, sort_keys=True, default=str)
        self.kept: dict[str, LogProb] = {}
        if self.path is not None and self.path.exists():
            lines = self.path.read_bytes().splitlines(keepends=True)
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    self.kept[row["key"]] = LogProb(row["logprob"], row["tokens"], row["cut"])
                except (json.JSONDecodeError, KeyError, TypeError):
                    if number < len(lines):
                        raise EvidenceError(
                            f"{path}, line {number}: not a kept log-probability. Name another file."
                        ) from None
                    # A run that was killed while writing leaves half a line.
                    self.path.write_bytes(b"".join(lines[:-1]))

    def key(self, prompt: str, answer: str) -> str:
        return hashlib.sha256("\x1f".join((self.salt, prompt, answer)).encode()).hexdigest()[:32]

    def add(self, found: Mapping[str, LogProb]) -> None:
        self.kept.update(found)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                for key, value in found.items():
                    row = {
                        "key": key,
                        "logprob": value.logprob,
                        "tokens": value.tokens,
                        "cut": value.cut,
                    }
                    file.write(json.dumps(row) + "\n")
                file.flush()


def score_pairs(
    pairs: Sequence[Pair],
    model: Any,
    tokenizer: Any,
    *,
    cache: Cache | None = None,
    report: Callable[[int, int], None] | None = None,
    **options: Any,
) -> tuple[list[LogProb], list[LogProb]]:
    """Log-probabilities of the preferred and of the other answers; each distinct text is computed
    once.

    ``options`` are those of ``answer_logprobs``; ``report`` is called with answers done and in all.
    """
    cache = Cache(None, {}) if cache is None else cache
    keys = {cache.key(p.prompt, a): (p.prompt, a) for p in pairs for a in (p.chosen, p.rejected)}
    todo = [k for k in keys if k not in cache.kept]
    done = len(keys) - len(todo)
    for batch in (
        answer_logprobs(model, tokenizer, [keys[k] for k in todo], **options) if todo else ()
    ):
        cache.add({todo[i]: value for i, value in batch})
        done += len(batch)
        if report is not None:
            report(done, len(keys))
    return (
        [cache.kept[cache.key(p.prompt, p.chosen)] for p in pairs],
        [cache.kept[cache.key(p.prompt, p.rejected)] for p in pairs],
    )


@dataclass(frozen=True, eq=False)
class PreferenceAudit:
    """Whether a model ranks answers as people do.

    Attributes
    ----------
    frame
        measure, accuracy, lower, upper (95%, prompts as clusters)
    difficulty
        float (pairs,), log pi(rejected) / pi(chosen): how far preference training has to move each
        pair
    notes
        what a careful reader should know
    """

    frame: pl.DataFrame
    difficulty: Float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.difficulty):,} pairs", ""]
        for r in self.frame.iter_rows(named=True):
            lines.append(
                f"{r['measure']:52s} {r['accuracy']:6.1%}   [{r['lower']:.1%}, {r['upper']:.1%}]"
            )
        q = np.quantile(self.difficulty, [0.1, 0.5, 0.9])
        lines += [
            "",
            (
                f"difficulty log pi(rejected) / pi(chosen), nats: 10% {q[0]:.1f}, median"
                f" {q[1]:.1f}, 90% {q[2]:.1f}"
            ),
        ]
        return "\n".join([*lines, *(f"! {n}" for n in self.notes)])


def preference_audit(
    pairs: Sequence[Pair],
    chosen: Sequence[LogProb],
    rejected: Sequence[LogProb],
    *,
    betas: Sequence[float] = BETAS,
    level: float = 0.95,
) -> PreferenceAudit:
    """Ranking accuracy, per token too, beside the length baseline, and the accuracy of the ideal of
    preference training.

    Parameters
    ----------
    pairs
        with ``alpha`` where several raters voted
    chosen, rejected
        log-probabilities under the model, which is also the reference of the ideal
    betas
        KL penalties of the ideal (Theorem 3.1 of the paper); shown when every pair has its alpha
    """
    w, lo = (np.array([x.logprob for x in side]) for side in (chosen, rejected))
    nw, nl = (
        np.array([max(x.tokens, 1) for x in side], dtype=float) for side in (chosen, rejected)
    )
    group = np.unique([p.prompt for p in pairs], return_inverse=True)[1]
    shorter = np.where(nw == nl, 0.5, nw < nl)
    measures = {
        "the model (log-probability)": w >= lo,
        "the model, per token": w / nw >= lo / nl,
        "length alone: the shorter answer": shorter,
        "length alone: the longer answer": 1 - shorter,
    }
    notes = []
    alpha = [p.alpha for p in pairs]
    if all(a is not None for a in alpha):
        share = np.array(alpha, dtype=float)
        for beta in betas:
            measures[f"ideal of preference training, beta {beta:g}"] = (
                idealized_log_ratio(w - lo, share, beta) > 0
            )
        for beta in betas:
            measures[f"ideal, per token, beta {beta:g}"] = (
                idealized_log_ratio(w / nw - lo / nl, share, beta) > 0
            )
    rows = [
        (name, *_clustered(np.asarray(v, dtype=float), group, level))
        for name, v in measures.items()
    ]
    frame = pl.DataFrame(rows, schema=["measure", "accuracy", "lower", "upper"], orient="row")
    model, baseline = rows[0][1], max(rows[2][1], rows[3][1])
    if baseline >= model - 0.01:
        which = "shorter" if rows[2][1] >= rows[3][1] else "longer"
        notes.append(
            f"Taking the {which} answer is right in {baseline:.1%}: the model's accuracy is no sign"
            " that it knows what people prefer."
        )
    if cut := sum(x.cut for side in (chosen, rejected) for x in side):
        notes.append(
            f"{cut:,} answers were cut at the limit of tokens; their log-probabilities are too"
            " high."
        )
    if empty := sum(x.tokens == 0 for side in (chosen, rejected) for x in side):
        notes.append(f"{empty:,} answers are empty: probability 1, as end tokens are left out.")
    if (groups := int(group.max()) + 1) < 30:
        notes.append(f"Only {groups} prompts: intervals treat each as one observation.")
    return PreferenceAudit(frame, lo - w, tuple(notes))


def _clustered(values: Float, group: NDArray[np.int64], level: float) -> tuple[float, float, float]:
    """Mean and its interval with groups as clusters."""
    mean, groups = float(values.mean()), int(group.max()) + 1
    if groups < 2:
        return mean, 0.0, 1.0
    total = np.bincount(group, values - mean)
    half = (
        quantile((1 + level) / 2, groups - 1)
        * np.sqrt(groups / (groups - 1) * (total**2).sum())
        / len(values)
    )
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)
