"""The formats that are known by their content, the first that fits wins.

Each line says how a file is told and what reads it; readers are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.known_boards import BOARDS
from policyrank.evidence.formats.known_harnesses import HARNESSES
from policyrank.evidence.formats.known_judges import JUDGES
from policyrank.evidence.formats.known_runs import LEARNING
from policyrank.evidence.formats.known_tools import TOOLS
from policyrank.evidence.formats.peek import Peek
from policyrank.evidence.sources import Source


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _lm_eval(peek: Peek) -> bool:
    marks = {"group_subtasks", "n-shot", "config", "configs", "model_name", "date", "versions"}
    return _is_map(peek.at("results")) and bool(marks & peek.keys)


def _open_llm(peek: Peek) -> bool:
    results = peek.at("results")
    return _is_map(results) and any(str(key).startswith("harness|") for key in results)


FORMATS: tuple[Format, ...] = (
    *HARNESSES,
    *JUDGES,
    *TOOLS,
    *LEARNING,
    *BOARDS,
    Format(
        "Open LLM Leaderboard v1 results",
        "scores",
        "open-llm",
        _open_llm,
        "lighteval:read_open_llm",
    ),
    Format(
        "lighteval results",
        "scores",
        "lighteval",
        lambda peek: _is_map(peek.at("results")) and "config_general" in peek.keys,
        "lighteval:read_results",
    ),
    Format("lm-evaluation-harness results", "scores", "lm-eval", _lm_eval, "lm_eval:read_results"),
    Format(
        "lm-evaluation-harness samples",
        "scores",
        "lm-eval",
        lambda peek: peek.has("doc_id", "arguments") or peek.has("doc_id", "doc_hash"),
        "lm_eval:read_samples",
    ),
)
"""The list of README's "who writes what": the first that fits wins."""


def recognise(source: Source) -> Format | None:
    """The format of a file, told by its content; None: perhaps a plain table."""
    if source.ending in (".parquet", ".arrow", ".feather", ".ipc"):
        return None
    peek = Peek(source)
    for form in FORMATS:
        if form.fits(peek):
            return form
    return None
