"""Logged answers with what a reward said of them and what they were worth in truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.evidence import tables

PROMPT = (
    "prompt_id", "task_id", "question_id", "query_id", "problem_id", "example_id", "uid", "group",
    "prompt", "question", "query", "task", "problem", "instruction", "input",
)  # fmt: skip
REWARD = (
    "reward", "rewards", "reward_score", "rm_score", "rm_reward", "proxy_reward", "proxy",
    "predicted_reward", "model_score",
)  # fmt: skip
SCORE = (
    "true_score", "true_reward", "gold_reward", "gold_score", "gold", "correct", "is_correct",
    "passed", "pass", "accuracy", "acc", "success", "score", "scores", "label",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Logged:
    """Answers with what a reward said of them and what they were worth.

    Attributes
    ----------
    rewards, scores
        (answers,), by the reward that would be trained on, and in truth
    prompts
        (answers,), integers, whose answer each is
    columns
        prompt, reward and score -> the columns that were read as these
    left_out
        rows without a reward or a score
    """

    rewards: Tensor
    scores: Tensor
    prompts: Tensor
    columns: Mapping[str, str]
    left_out: int = 0


def read_logged(
    source: str | Path,
    *,
    prompt: Sequence[str] | None = None,
    reward: str | None = None,
    score: str | None = None,
) -> Logged:
    """Logged answers from JSONL, parquet or CSV: a row each, or a row a prompt with lists.

    Parameters
    ----------
    prompt
        columns that together say whose answer it is (such as prompt and step); None: one with a
        usual name
    reward, score
        columns of the reward and of the true score, numbers or true and false; None: with a usual
        name

    Raises
    ------
    EvidenceError
        When a column is missing, holds what is no number, or nothing is left; naming file and row.
    """
    frame, name = tables.open_table(source)
    table = tables.collect(frame, name)
    columns = table.columns
    found: dict[str, str] = {}
    for role, told, usual in (("reward", reward, REWARD), ("score", score, SCORE)):
        others = [one for one in columns if one not in found.values()]
        column = tables.given(others, told, usual, role, name)
        if column is None:
            raise EvidenceError(
                f"{name}: no column that is the {role}. It has {tables.listing(columns)}; name it"
                f" (--{role})."
            )
        found[role] = column
    keys = _prompt_columns(columns, prompt, name)
    lists = [role for role, column in found.items() if table[column].dtype == pl.List]
    if len(lists) == 1:
        raise EvidenceError(
            f"{name}: {found[lists[0]]!r} holds lists, and the other of reward and score does not."
        )
    table = table.select(
        pl.Series("prompt", _whose(table, keys)),
        pl.col(found["reward"]).alias("reward"),
        pl.col(found["score"]).alias("score"),
    )
    if lists:
        _check_lengths(table, name)
        table = table.explode("reward", "score")
    numbers = {role: _numbers(table[role], found[role], name) for role in ("reward", "score")}
    known = numbers["reward"].is_finite() & numbers["score"].is_finite()
    known = known.fill_null(False)
    kept = table["prompt"].filter(known)
    if not len(kept):
        raise EvidenceError(f"{name}: no row has both a reward and a score.")
    prompts = torch.tensor(kept.rank("dense").to_list(), dtype=torch.long) - 1
    values = {role: own.filter(known).to_list() for role, own in numbers.items()}
    return Logged(
        torch.tensor(values["reward"], dtype=torch.float64),
        torch.tensor(values["score"], dtype=torch.float64),
        prompts,
        {"prompt": " + ".join(keys), **found},
        int((~known).sum()),
    )


def _prompt_columns(columns: Sequence[str], told: Sequence[str] | None, name: str) -> list[str]:
    if told:
        for column in told:
            tables.given(columns, column, (), "the prompt", name)
        return list(told)
    usual = tables.find(columns, PROMPT)
    if usual is None:
        raise EvidenceError(
            f"{name}: no column says whose answer a row is. It has {tables.listing(columns)}; name"
            " it (--prompt)."
        )
    return [usual]


def _whose(table: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """One text for each row's prompt; messages by their contents."""
    if len(keys) == 1 and not table[keys[0]].dtype.is_nested():
        return tables.as_text(table[keys[0]]).fill_null("").to_list()
    return [json.dumps(row, default=str, ensure_ascii=False) for row in table.select(keys).rows()]


def _check_lengths(table: pl.DataFrame, name: str) -> None:
    apart = table["reward"].list.len() != table["score"].list.len()
    if apart.any():
        row = int(apart.arg_true()[0])
        raise EvidenceError(f"{name}, row {row + 1:,}: as many scores as rewards are needed.")


def _numbers(column: pl.Series, named: str, name: str) -> pl.Series:
    """Numbers, true and false as 1 and 0, null where nothing stands."""
    if column.dtype.is_nested():
        raise EvidenceError(f"{name}: {tables.nested(named)}")
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64)
    texts = tables.as_text(column).str.strip_chars().str.to_lowercase()
    texts = texts.replace({"true": "1", "false": "0", "": None, "none": None, "null": None})
    numbers = texts.cast(pl.Float64, strict=False)
    bad = texts.is_not_null() & numbers.is_null()
    if bad.any():
        row = int(bad.arg_true()[0])
        raise EvidenceError(f"{name}, row {row + 1:,}: {named} {column[row]!r} is no number.")
    return numbers
