"""Does a language model rank the answers as people do?

Log-probabilities of real pairs, and what they say. Chen et al. (2024), "Preference Learning
Algorithms Do Not Learn Preference Rankings", arXiv 2405.19534.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.board.bounded import share_interval
from policyrank.errors import EvidenceError
from policyrank.evidence.answer_rows import read_row
from policyrank.evidence.answers import Answer, Prompt, read_rows
from policyrank.evidence.kept_lines import read_kept_lines
from policyrank.files import append_lines
from policyrank.metrics import idealized_log_ratio, tied_share
from policyrank.models.language import LogProb, answer_logprobs

Float = NDArray[np.float64]
BETAS = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Pair:
    """A prompt, the answer that people preferred, the other one.

    ``alpha`` is the share of raters that preferred it.
    """

    prompt: Prompt
    chosen: Answer
    rejected: Answer
    alpha: float | None = None


def read_pairs(source: str | Path | Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Pairs from JSONL, parquet or CSV, or from such rows.

    Columns are prompt, chosen, rejected and perhaps alpha. Texts and chat messages are read as
    ``read_answers`` reads them.

    Raises
    ------
    EvidenceError
        Naming the row that lacks something or prefers an answer to itself.
    """
    out = [_pair(place, row) for place, row in read_rows(source)]
    if not out:
        name = source if isinstance(source, (str, Path)) else "pairs"
        raise EvidenceError(f"{name}: no pairs.")
    return out


def _pair(place: str, row: Mapping[str, Any]) -> Pair:
    for column in ("chosen", "rejected"):
        if row.get(column) is None:
            raise EvidenceError(f"{place}: no {column}. Each row has prompt, chosen and rejected.")
    found = read_row(place, {name: row[name] for name in row if name != "margin"})
    chosen, rejected = found.completions
    alpha = row.get("alpha")
    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, (int, float))):
        raise EvidenceError(f"{place}: alpha is {str(alpha)[:60]!r}; it is a share of raters.")
    pair = Pair(found.prompt, chosen, rejected, alpha)
    if pair.chosen == pair.rejected:
        raise EvidenceError(f"{place}: chosen and rejected are the same answer.")
    if pair.alpha is not None and not 0.5 < pair.alpha <= 1:
        raise EvidenceError(
            f"{place}: alpha={pair.alpha}; the preferred answer has more than half of the raters."
        )
    return pair


def _text(value: Prompt | Answer) -> str:
    """A text, or messages written down: what a pair is known by."""
    if isinstance(value, str):
        return value
    return json.dumps(list(value), default=str)


class _Kept(msgspec.Struct):
    """A line of the file."""

    key: str
    logprob: float
    tokens: int
    cut: bool


class Cache:
    """Log-probabilities in a JSONL file, appended as they are computed, so that an interrupted run
    goes on.

    Parameters
    ----------
    path
        the file; None: only in memory
    settings
        what the numbers depend on; kept ones under other settings are not used
    report
        told what is left out of the file
    """

    def __init__(
        self,
        path: str | Path | None,
        settings: Mapping[str, Any],
        report: Callable[[str], Any] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.salt = json.dumps(settings, sort_keys=True, default=str)
        self.kept: dict[str, LogProb] = {}
        if self.path is not None:
            for line in read_kept_lines(self.path, _Kept, report):
                self.kept[line.key] = LogProb(line.logprob, line.tokens, line.cut)

    def key(self, prompt: Prompt, answer: Answer) -> str:
        text = "\x1f".join((self.salt, _text(prompt), _text(answer)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def add(self, found: Mapping[str, LogProb]) -> None:
        self.kept.update(found)
        if self.path is None:
            return
        lines = []
        for key, value in found.items():
            numbers = {"logprob": value.logprob, "tokens": value.tokens, "cut": value.cut}
            lines.append(json.dumps({"key": key} | numbers))
        append_lines(self.path, lines)


def score_pairs(
    pairs: Sequence[Pair],
    model: Any,
    tokenizer: Any,
    *,
    cache: Cache | None = None,
    report: Callable[[int, int], None] | None = None,
    **options: Any,
) -> tuple[list[LogProb], list[LogProb]]:
    """Log-probabilities of the preferred and of the other answers.

    Each distinct text is computed once. ``options`` are those of ``answer_logprobs``; ``report`` is
    called with answers done and in all.
    """
    cache = cache or Cache(None, {})
    texts: dict[str, tuple[Prompt, Answer]] = {}
    chosen, rejected = [], []
    for pair in pairs:
        chosen.append(cache.key(pair.prompt, pair.chosen))
        rejected.append(cache.key(pair.prompt, pair.rejected))
        texts[chosen[-1]] = (pair.prompt, pair.chosen)
        texts[rejected[-1]] = (pair.prompt, pair.rejected)
    todo = [key for key in texts if key not in cache.kept]
    done = len(texts) - len(todo)
    if todo:
        asked = list(map(texts.__getitem__, todo))
        for batch in answer_logprobs(model, tokenizer, asked, **options):
            cache.add({todo[place]: value for place, value in batch})
            done += len(batch)
            if report is not None:
                report(done, len(texts))
    return [cache.kept[key] for key in chosen], [cache.kept[key] for key in rejected]


@dataclass(frozen=True, eq=False)
class PreferenceAudit:
    """Whether a model ranks answers as people do.

    Attributes
    ----------
    frame
        measure, accuracy, lower, upper (95%, prompts as clusters)
    difficulty
        float (pairs,), log pi(rejected) / pi(chosen): how far preference training has to move each
        pair; NaN where the prompt was too long
    notes
        what a careful reader should know
    """

    frame: pl.DataFrame
    difficulty: Float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        known = self.difficulty[np.isfinite(self.difficulty)]
        lines = [f"{len(known):,} pairs", ""]
        for measure, accuracy, lower, upper in self.frame.iter_rows():
            lines.append(f"{measure:52s} {accuracy:6.1%}   [{lower:.1%}, {upper:.1%}]")
        low, median, high = np.quantile(known, [0.1, 0.5, 0.9])
        difficulty = (
            f"difficulty log pi(rejected) / pi(chosen), nats: 10% {low:.1f}, median {median:.1f},"
            f" 90% {high:.1f}"
        )
        lines += ["", difficulty]
        for note in self.notes:
            lines.append(f"! {note}")
        return "\n".join(lines)


def preference_audit(
    pairs: Sequence[Pair],
    chosen: Sequence[LogProb],
    rejected: Sequence[LogProb],
    *,
    betas: Sequence[float] = BETAS,
    level: float = 0.95,
) -> PreferenceAudit:
    """Ranking accuracy beside the length baseline and the ideal of preference training.

    Parameters
    ----------
    pairs
        with ``alpha`` where several raters voted
    chosen, rejected
        log-probabilities under the model, which is also the reference of the ideal
    betas
        KL penalties of the ideal (Theorem 3.1 of the paper); shown when every pair has its alpha
    """
    difficulty = _logprobs(rejected) - _logprobs(chosen)
    there = np.flatnonzero(np.isfinite(difficulty))
    if not len(there):
        raise EvidenceError("no prompt leaves room for an answer. Raise max_length.")
    pairs, chosen, rejected = ([side[k] for k in there] for side in (pairs, chosen, rejected))
    win, lose = _logprobs(chosen), _logprobs(rejected)
    win_tokens, lose_tokens = _tokens(chosen), _tokens(rejected)
    group = np.unique([_text(pair.prompt) for pair in pairs], return_inverse=True)[1]
    shorter = np.where(win_tokens == lose_tokens, 0.5, win_tokens < lose_tokens)
    per_token = win / win_tokens, lose / lose_tokens
    measures = {
        "the model (log-probability)": win > lose,
        "the model, per token": per_token[0] > per_token[1],
        "length alone: the shorter answer": shorter,
        "length alone: the longer answer": 1 - shorter,
    }
    alpha = [pair.alpha for pair in pairs]
    if None not in alpha:
        share, gap = np.array(alpha, dtype=float), per_token[0] - per_token[1]
        for beta in betas:
            ideal = idealized_log_ratio(win - lose, share, beta)
            measures[f"ideal of preference training, beta {beta:g}"] = ideal > 0
        for beta in betas:
            ideal = idealized_log_ratio(gap, share, beta)
            measures[f"ideal, per token, beta {beta:g}"] = ideal > 0
    rows = []
    for name, right in measures.items():
        share = np.asarray(right, dtype=float)
        rows.append((name, float(share.mean()), *share_interval(share, group, level)))
    frame = pl.DataFrame(rows, schema=["measure", "accuracy", "lower", "upper"], orient="row")
    notes = _notes(frame, [*chosen, *rejected], int(group.max()) + 1, tied_share(win, lose))
    if lost := len(difficulty) - len(there):
        notes = (f"left out: {lost:,} pairs whose prompt leaves no room for an answer", *notes)
    return PreferenceAudit(frame, difficulty, notes)


def _logprobs(side: Sequence[LogProb]) -> Float:
    return np.array([answer.logprob for answer in side])


def _tokens(side: Sequence[LogProb]) -> Float:
    """Lengths, at least 1."""
    return np.maximum(np.array([answer.tokens for answer in side], dtype=float), 1)


def _notes(
    frame: pl.DataFrame, answers: Sequence[LogProb], prompts: int, tied: float
) -> tuple[str, ...]:
    """What a careful reader should know."""
    notes = []
    model, _, shorter, longer = frame["accuracy"][:4]
    which, baseline = ("shorter", shorter) if shorter >= longer else ("longer", longer)
    if baseline >= model - 0.01:
        notes.append(
            f"Taking the {which} answer is right in {baseline:.1%}: the model's accuracy is no sign"
            " that it knows what people prefer."
        )
    if tied:
        notes.append(f"{tied:.1%} of the pairs tie under the model: equal counts as wrong.")
    cut = empty = 0
    for answer in answers:
        cut += answer.cut
        empty += answer.tokens == 0
    if cut:
        notes.append(
            f"{cut:,} answers were cut at the limit of tokens; their log-probabilities are too"
            " high."
        )
    if empty:
        notes.append(f"{empty:,} answers are empty: probability 1, as end tokens are left out.")
    if prompts < 30:
        notes.append(f"Only {prompts} prompts: intervals treat each as one observation.")
    return tuple(notes)
