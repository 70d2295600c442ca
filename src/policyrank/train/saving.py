"""What training writes: a model that others load, what it is, how it went, and its card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError, OptionError
from policyrank.files import write_text, written_folder
from policyrank.fingerprints import hashed
from policyrank.models.loading import adapter_config, base_of
from policyrank.models.provenance import ARTICLES, CHECKPOINTS, CRITIC, About
from policyrank.models.quiet import quietly

PARTS = re.compile(
    r"adapter_config\.json|adapter_model\.(safetensors|bin)"
    r"|(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
    r"|(generation_)?config\.json|unmasking_policy\.json"
)
"""Files that are a model's or adapters' weights, and what says how they are loaded."""

LOADS: dict[str, str] = {
    "policy": "AutoModelForCausalLM",
    "masked-diffusion": "AutoModelForMaskedLM",
    "reward": "AutoModelForSequenceClassification",
    "discriminator": "AutoModelForSequenceClassification",
    "cross-encoder": "CrossEncoder",
    "bi-encoder": "SentenceTransformer",
}
"""Kind -> the class of transformers, or of sentence-transformers, that loads it."""

PIPELINES: dict[str, str] = {
    "policy": "text-generation",
    "masked-diffusion": "text-generation",
    "cross-encoder": "text-ranking",
    "bi-encoder": "sentence-similarity",
}
"""Kind -> what the Hugging Face hub calls its use; of the others text-classification."""

RANKERS = ("cross-encoder", "bi-encoder")
"""Kinds that sentence-transformers loads."""


def write_model(
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    about: About,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write a model and its tokenizer, policyrank.json and a model card: all of them, or none."""
    place = Path(folder)
    with written_folder(place, weight_files(place)) as part, quietly():
        model.save_pretrained(part)
        add_about(part, place, tokenizer, about, metrics)


def add_about(
    part: Path,
    place: Path,
    tokenizer: Any,
    about: About,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write what belongs beside weights into a folder that will be ``place``."""
    tokenizer.save_pretrained(part)
    write_about(part, place, about, metrics or {})


def write_ranker(
    ranker: Any, folder: str | Path, about: About, metrics: Mapping[str, float] | None = None
) -> None:
    """Write a ranker of texts, policyrank.json and a model card."""
    place = Path(folder)
    with written_folder(place, weight_files(place)) as part:
        ranker.save(part)
        write_about(part, place, about, metrics or {})


def write_about(part: Path, place: Path, about: About, metrics: Mapping[str, float]) -> None:
    """Write policyrank.json and a card into a folder that is, or will be, ``place``."""
    about.write(part)
    write_text(part / "README.md", _card(place, about, metrics))


def weight_files(folder: str | Path) -> list[Path]:
    """The model or the adapters that lie in a folder, which go when others are written there.

    And the critic beside them, which is of no other policy. Only files of the names that
    transformers and peft give them: adapters that stayed would be loaded in place of a model.
    """
    paths = sorted([*Path(folder).glob("*"), *Path(folder, CRITIC).glob("*")])
    return [path for path in paths if path.is_file() and PARTS.fullmatch(path.name)]


def folders_of(name: str | Path) -> list[Path]:
    """The folder of a model and, where it is adapters, those of their bases; none of a hub's name.

    A ``.gguf`` stands for itself.

    Raises
    ------
    EvidenceError
        When adapters do not say what their base is, or it is not there any more.
    """
    found: list[Path] = []
    while Path(name).exists() and Path(name).resolve() not in found:
        found.append(Path(name).resolve())
        if adapter_config(str(name)) is None:
            break
        name = base_of(str(name))
    return found


def refuse_overwriting(
    out: str | Path,
    named: Mapping[str, str | None],
    *,
    below: Sequence[str] = (CHECKPOINTS, CRITIC),
) -> None:
    """Refuse to write where a model lies that is read, or the base of its adapters.

    Parameters
    ----------
    out
        folder that is to be written
    named
        option -> the model that it names
    below
        folders in ``out`` that are written and removed too

    Raises
    ------
    OptionError
        Naming the option.
    """
    place = Path(out).resolve()
    for option, name in named.items():
        if name is None:
            continue
        for folder in folders_of(name):
            inside = any(folder.is_relative_to(place / part) for part in below)
            if folder == place or inside:
                what = "the model" if folder == Path(name).resolve() else "the base of the adapters"
                raise OptionError(
                    f"--out {out}: {what} that {option} {name} names is there, and would be"
                    " overwritten. Name another folder."
                )


def weights_fingerprint(name: str | Path) -> str | None:
    """Hash of names, sizes and times of a model's weight files, its bases' too.

    None of a hub's name.
    """
    parts = []
    for folder in folders_of(name):
        files = [folder]
        if folder.is_dir():
            files = [path for path in sorted(folder.glob("*")) if PARTS.fullmatch(path.name)]
        for path in files:
            stat = path.stat()
            parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashed(parts) if parts else None


def _card(place: Path, about: About, metrics: Mapping[str, float]) -> str:
    """A model card as the Hugging Face hub reads it."""
    from huggingface_hub import ModelCardData

    ranks = about.kind in RANKERS
    library = "sentence-transformers" if ranks else "transformers"
    if about.adapter:
        library = "peft"
    base = about.base
    known = base is not None and not Path(base).exists() and base.count("/") == 1
    data = ModelCardData(
        base_model=base if known else None,
        library_name=library,
        tags=["policyrank", *([about.objective] if about.objective else [])],
        pipeline_tag=PIPELINES.get(about.kind, "text-classification"),
    )
    what = ARTICLES[about.kind].partition(" ")[2]
    named = Path(base).name if base is not None and Path(base).exists() else base
    lines = [
        "---",
        data.to_yaml().strip(),
        "---",
        "",
        f"# {place.resolve().name}",
        "",
        f"A {what}, made from `{named}` by policyrank {about.versions.get('policyrank', '')}.",
        "",
        "| what | value |",
        "|---|---|",
    ]
    reading = {True: "chat template", False: "plain", None: "chat template where there is one"}
    facts: dict[str, Any] = {
        "objective": about.objective,
        "options": _plain(about.options),
        "texts": f"{'' if ranks else reading[about.chat] + ', '}at most {about.max_length} tokens",
        "weights": about.dtype,
        "data": _plain(about.data),
        "settings": _plain(about.settings),
        **{name: f"{value:.4g}" for name, value in metrics.items()},
    }
    lines += [f"| {name} | {value} |" for name, value in facts.items() if value not in (None, "")]
    return "\n".join([*lines, "", *_loading(place, about), ""])


def _plain(values: Mapping[str, Any]) -> str:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):  # of several sets: their sizes
            sizes = {own: number for own, number in value.items() if isinstance(number, int)}
            value = f"({_plain(sizes)})"
        found.append(f"{name} {value}")
    return ", ".join(found)


def _loading(place: Path, about: About) -> list[str]:
    """How it is loaded without policyrank."""
    kind = LOADS[about.kind]
    name = place.resolve().name
    if about.kind in RANKERS:
        code = [f"from sentence_transformers import {kind}", f'model = {kind}("{name}")']
    elif about.adapter:
        kind = kind.replace("Auto", "AutoPeft")
        more = "" if about.kind == "policy" else ", num_labels=1"
        code = [f"from peft import {kind}", f'model = {kind}.from_pretrained("{name}"{more})']
    else:
        code = [f"from transformers import {kind}", f'model = {kind}.from_pretrained("{name}")']
    return ["```python", *code, "```"]


def push(folder: str | Path, name: str) -> str:
    """Upload a folder to the Hugging Face hub as a private model; its address.

    Raises
    ------
    EvidenceError
        When it cannot be uploaded: the folder stays as it is.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=str(folder)))
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EvidenceError(
            f"what was trained is in {folder}, but was not uploaded to {name}: {why[:300]}"
        ) from None
