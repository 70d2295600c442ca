"""What training writes: a model that others load, what it is, how it went, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyrank.models.provenance import ARTICLES, About
from policyrank.models.quiet import quietly

LOG = "log.jsonl"
LOADS: dict[str, str] = {
    "policy": "AutoModelForCausalLM",
    "reward": "AutoModelForSequenceClassification",
    "discriminator": "AutoModelForSequenceClassification",
}
"""Kind -> the class of transformers that loads it."""


def write_model(
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    about: About,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write a model and its tokenizer, policyrank.json and a model card.

    ``model`` None: the weights are there already.
    """
    place = Path(folder)
    with quietly():
        if model is not None:
            model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    about.write(place)
    card = _card(place, about, metrics or {})
    (place / "README.md").write_text(card, encoding="utf-8")


def _card(place: Path, about: About, metrics: Mapping[str, float]) -> str:
    """A model card as the Hugging Face hub reads it."""
    from huggingface_hub import ModelCardData

    library = "peft" if about.adapter else "transformers"
    base = about.base
    known = base is not None and not Path(base).exists() and base.count("/") == 1
    data = ModelCardData(
        base_model=base if known else None,
        library_name=library,
        tags=["policyrank", *([about.objective] if about.objective else [])],
        pipeline_tag="text-generation" if about.kind == "policy" else "text-classification",
    )
    what = ARTICLES[about.kind].partition(" ")[2]
    lines = [
        "---",
        data.to_yaml().strip(),
        "---",
        "",
        f"# {place.resolve().name}",
        "",
        f"A {what}, made from `{base}` by policyrank {about.versions.get('policyrank', '')}.",
        "",
        "| what | value |",
        "|---|---|",
    ]
    reading = {True: "chat template", False: "plain", None: "chat template where there is one"}
    facts: dict[str, Any] = {
        "objective": about.objective,
        "options": _plain(about.options),
        "texts": f"{reading[about.chat]}, at most {about.max_length} tokens",
        "weights": about.dtype,
        "data": _plain(about.data),
        "settings": _plain(about.settings),
        **{name: f"{value:.4g}" for name, value in metrics.items()},
    }
    lines += [f"| {name} | {value} |" for name, value in facts.items() if value not in (None, "")]
    return "\n".join([*lines, "", *_loading(place, about), ""])


def _plain(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _loading(place: Path, about: About) -> list[str]:
    """How it is loaded without policyrank."""
    kind = LOADS.get(about.kind)
    if kind is None:
        return []
    name = place.resolve().name
    if about.adapter:
        kind = kind.replace("Auto", "AutoPeft")
        more = "" if about.kind == "policy" else ", num_labels=1"
        code = [f"from peft import {kind}", f'model = {kind}.from_pretrained("{name}"{more})']
    else:
        code = [f"from transformers import {kind}", f'model = {kind}.from_pretrained("{name}")']
    return ["```python", *code, "```"]


def append_log(folder: str | Path, record: Mapping[str, Any]) -> None:
    """A line of what training says, beside the model."""
    path = Path(folder, LOG)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(record), default=float) + "\n")


def push(folder: str | Path, name: str) -> str:
    """Upload a folder to the Hugging Face hub as a private model; its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(name, private=True, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=str(folder)))
