"""Rooms open when they are asked for: names load from the stub beside, extras are named."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import lazy_loader

from policyrank.errors import MissingExtraError

EXTRAS = {
    "accelerate": "llm",
    "bm25s": "retrieval",
    "datasets": "llm",
    "fastapi": "serve",
    "gymnasium": "control",
    "mcp": "agents",
    "pandas": "pandas",
    "peft": "llm",
    "pyarrow": "pandas",
    "pycocotools": "detection",
    "pyspiel": "games",
    "qiskit": "quantum",
    "ray": "ray",
    "sentence_transformers": "retrieval",
    "sklearn": "causal",
    "stable_baselines3": "control",
    "torch": "learn",
    "transformers": "llm",
    "trl": "trl",
    "uvicorn": "serve",
}
"""Module -> the extra that brings it."""


def missing_extra(error: ImportError) -> MissingExtraError | None:
    """What to install, when ``error`` says that a package of an extra is missing."""
    module = (error.name or "").split(".")[0]
    if module not in EXTRAS:
        return None
    hint = f"needs {module}: pip install 'policyrank[{EXTRAS[module]}]'"
    return MissingExtraError(hint, name=module)


def require(module: str, room: str) -> None:
    """Refuse to open ``room`` without ``module``, in one line that says what to install."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        told = missing_extra(error)
        if told is None:
            raise
        raise MissingExtraError(f"{room} {told}", name=told.name) from None


def attach(room: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a room, from the stub beside its file."""
    load, names, public = lazy_loader.attach_stub(room, file)

    def load_or_name_extra(name: str) -> Any:
        try:
            return load(name)
        except ModuleNotFoundError as error:
            told = missing_extra(error)
            if told is None:
                raise
            raise MissingExtraError(f"{room}.{name} {told}", name=told.name) from None

    return load_or_name_extra, names, public
