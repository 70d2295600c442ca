"""Formats of evaluation harnesses of models: how their files are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.peek import Peek


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _helm_run(peek: Peek) -> bool:
    if peek.is_list:
        return _is_map(peek.at("name")) and "count" in peek.keys
    return {"name", "adapter_spec", "scenario_spec"} <= peek.keys


def _helm_table(peek: Peek) -> bool:
    header = peek.at("header")
    return isinstance(header, list) and isinstance(peek.at("rows"), list) and bool(header)


def _inspect(peek: Peek) -> bool:
    if _is_map(peek.at("eval")) and {"status", "version"} <= peek.keys and not peek.is_list:
        return True
    return peek.source.ending == ".eval" or bool(
        {"header.json", "_journal/start.json"} & peek.zipped
    )


def _mteb(peek: Peek) -> bool:
    if "mteb_dataset_name" in peek.keys or ("task_name" in peek.keys and "scores" in peek.keys):
        return not peek.is_list
    meta = peek.source.parts[-1] == "model_meta.json"
    return meta and {"name", "revision"} <= peek.keys


HARNESSES: tuple[Format, ...] = (
    Format("HELM runs", "scores", "helm", _helm_run, "helm:read_runs"),
    Format(
        "HELM results by instance",
        "nothing",
        "helm",
        lambda peek: {"instance_id", "train_trial_index", "stats"} <= peek.keys,
        "helm:refuse_instances",
    ),
    Format("HELM tables", "scores", "helm", _helm_table, "helm:read_tables"),
    Format("inspect_ai logs", "scores", "inspect", _inspect, "inspect_ai:read_logs"),
    Format("MTEB results", "scores", "mteb", _mteb, "mteb:read_results"),
)
