"""Formats of judges and arenas: how their files are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.peek import Peek


def _first_value(peek: Peek) -> Mapping[str, Any]:
    """The first value of a JSON object, where it is an object itself."""
    if peek.is_list or not isinstance(peek.value, Mapping) or not peek.value:
        return {}
    first = next(iter(peek.value.values()))
    return first if isinstance(first, Mapping) else {}


def _arena_ratings(peek: Peek) -> bool:
    inner = next(iter(_first_value(peek).values()), None)
    return isinstance(inner, Mapping) and {"rating", "rating_q025"} <= set(inner)


def _wildbench_board(peek: Peek) -> bool:
    keys = set(_first_value(peek))
    return {"win_much", "lose_much"} <= keys or {"adjusted_score", "task_macro_score"} <= keys


def _arena_log(peek: Peek) -> bool:
    return {"tstamp", "type"} <= peek.keys and bool({"state", "states", "models"} & peek.keys)


def _reward_items(peek: Peek) -> bool:
    return {"model", "results", "id"} <= peek.keys and isinstance(peek.at("results"), list)


JUDGES: tuple[Format, ...] = (
    Format(
        "AlpacaEval annotations",
        "comparisons",
        "alpaca-board",
        lambda peek: peek.has("generator_1", "generator_2", "preference"),
        "judges:read_alpaca",
    ),
    Format(
        "Arena-Hard judgments",
        "comparisons",
        "arena-hard",
        lambda peek: peek.has("games", "model") and (peek.has("uid") or peek.has("question_id")),
        "judges:read_arena_hard",
    ),
    Format(
        "Arena-Hard battles",
        "comparisons",
        "arena-hard",
        lambda peek: peek.keys == {"question_id", "model_a", "model_b", "winner"},
        "judges:read_battles",
    ),
    Format(
        "MT-bench pairs",
        "comparisons",
        "mt-bench",
        lambda peek: peek.has("model_1", "model_2", "g1_winner", "g2_winner"),
        "mt_bench:read_pairs",
    ),
    Format(
        "MT-bench ratings",
        "scores",
        "mt-bench",
        lambda peek: peek.has("question_id", "model", "judge", "score", "turn"),
        "mt_bench:read_single",
    ),
    Format(
        "FastChat's conversation logs", "comparisons", "fastchat", _arena_log, "arenas:read_logs"
    ),
    Format(
        "compar:IA votes",
        "comparisons",
        "comparia",
        lambda peek: peek.has("model_a_name", "model_b_name", "chosen_model_name"),
        "arenas:read_comparia",
    ),
    Format("LMArena ratings", "scores", "lmarena", _arena_ratings, "arenas:read_ratings"),
    Format(
        "WildBench scores",
        "scores",
        "wildbench",
        lambda peek: peek.has("session_id", "model_test", "score"),
        "wildbench:read_scores",
    ),
    Format(
        "WildBench pairs",
        "comparisons",
        "wildbench",
        lambda peek: {"session_id", "model_A", "model_B", "winner"} <= peek.keys,
        "wildbench:read_pairs",
    ),
    Format("WildBench boards", "scores", "wildbench", _wildbench_board, "wildbench:read_board"),
    Format(
        "RewardBench results by item",
        "scores",
        "reward-bench-items",
        _reward_items,
        "reward_bench:read_items",
    ),
    Format(
        "RewardBench results",
        "scores",
        "reward-bench",
        lambda peek: {"model", "model_type"} <= peek.keys and not peek.is_list,
        "reward_bench:read_subsets",
    ),
)
