"""Formats of test tools, code harnesses and experiment trackers: how their files are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.peek import Peek


def _evalplus(peek: Peek) -> bool:
    evals = peek.at("eval")
    if not isinstance(evals, Mapping) or not evals or peek.is_list:
        return False
    first = next(iter(evals.values()))
    if isinstance(first, Mapping):
        return {"nfiles", "base"} <= set(first)
    sample = first[0] if isinstance(first, list) and first else None
    return isinstance(sample, Mapping) and "base_status" in sample


def _bigcode(peek: Peek) -> bool:
    if isinstance(peek.at("results"), list) and isinstance(peek.at("meta", "model"), str):
        return True
    return isinstance(peek.at("config", "model"), str) and not {"results", "eval"} & peek.keys


def _instance(peek: Peek) -> Mapping[str, Any]:
    """The first instance of SWE-bench that says whether it was resolved."""
    if peek.is_list or not isinstance(peek.value, Mapping) or not peek.value:
        return {}
    first = next(iter(peek.value.values()))
    if isinstance(first, Mapping) and isinstance(first.get("resolved"), bool):
        return first
    return {}


_OF_LOGS = {"patch_exists", "patch_is_None", "patch_successfully_applied", "tests_status"}


def _swe_submission(peek: Peek) -> bool:
    if isinstance(peek.at("resolved"), list):
        return bool({"no_generation", "no_logs"} & peek.keys)
    instance = _instance(peek)
    return bool(instance) and not _OF_LOGS & set(instance)


def _simple_evals(peek: Peek) -> bool:
    if peek.is_list or "score" not in peek.keys:
        return False
    if {"htmls", "convos"} <= peek.keys:
        return True
    flat = all(isinstance(value, (int, float)) for value in peek.value.values())
    return flat and bool({"score:std", "score:n_samples", "score:bootstrap_std"} & peek.keys)


def _langfuse(peek: Peek) -> bool:
    scores = peek.has("traceId", "dataType", "stringValue", "name", "value")
    return scores or peek.has("id", "timestamp", "sessionId", "userId", "tags", "totalCost")


def _langsmith(peek: Peek) -> bool:
    feedback = any(name.startswith("feedback.") for name in peek.columns)
    return feedback and any(name.startswith(("inputs.", "outputs.")) for name in peek.columns)


def _wandb(peek: Peek) -> bool:
    columns = set(peek.columns)
    return any({f"{name}__MIN", f"{name}__MAX"} <= columns for name in columns)


TOOLS: tuple[Format, ...] = (
    Format("EvalPlus results", "scores", "evalplus", _evalplus, "code_harnesses:read_evalplus"),
    Format(
        "SWE-bench reports",
        "scores",
        "swe-bench-reports",
        lambda peek: (
            {"resolved_ids", "schema_version"} <= peek.keys
            or {"resolved_ids", "unresolved_ids"} <= peek.keys
        ),
        "swe_bench:read_reports",
    ),
    Format(
        "SWE-bench submissions",
        "scores",
        "swe-bench",
        _swe_submission,
        "swe_bench:read_submissions",
    ),
    Format(
        "SWE-bench logs",
        "scores",
        "swe-bench",
        lambda peek: bool(_OF_LOGS & set(_instance(peek))),
        "swe_bench:read_logs",
    ),
    Format(
        "openai/evals logs",
        "scores",
        "openai-evals",
        lambda peek: isinstance(peek.at("spec", "completion_fns"), list),
        "openai_evals:read_logs",
    ),
    Format(
        "simple-evals results", "scores", "simple-evals", _simple_evals, "openai_evals:read_simple"
    ),
    Format(
        "promptfoo results",
        "scores",
        "promptfoo",
        lambda peek: (
            isinstance(peek.at("results", "results"), list)
            and ("evalId" in peek.keys or isinstance(peek.at("results", "version"), int))
        ),
        "promptfoo:read_results",
    ),
    Format(
        "DeepEval test runs",
        "scores",
        "deepeval",
        lambda peek: (
            "testCases" in peek.keys
            and bool({"metricsScores", "hyperparameters", "testPassed"} & peek.keys)
        ),
        "deepeval:read_runs",
    ),
    Format("BigCode harness results", "scores", "bigcode", _bigcode, "code_harnesses:read_bigcode"),
    Format(
        "OpenCompass summaries",
        "scores",
        "opencompass",
        lambda peek: peek.columns[:4] == ("dataset", "version", "metric", "mode"),
        "opencompass:read_summary",
    ),
    Format("Langfuse exports", "nothing", "langfuse", _langfuse, "trackers:refuse_langfuse"),
    Format("LangSmith experiments", "scores", "langsmith", _langsmith, "trackers:read_langsmith"),
    Format("a chart of Weights & Biases", "scores", "wandb", _wandb, "trackers:read_wandb"),
    Format(
        "runs of MLflow",
        "scores",
        "mlflow",
        lambda peek: peek.has("Start Time", "Duration", "Run ID", "Status"),
        "trackers:read_mlflow",
    ),
)
