"""Adapters of peft: added where they are asked for, trained further, and stacked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policyrank._rooms import require
from policyrank.errors import OptionError
from policyrank.files import written

OPTIONS = (
    *("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"),
    *("bias", "target_modules", "modules_to_save", "layers_to_transform"),
)
"""Options of adapters that decide what they learn."""

Layers = dict[str, tuple[Tensor, Tensor]]
"""Name of a layer -> A (rank, in) and B (out, rank) of its adapter, the scale within B."""


def adapted(model: Any, peft_config: Any, seed: int | None = None) -> tuple[Any, Layers | None]:
    """The model as it is trained, and the adapters that lie below the new ones.

    Parameters
    ----------
    model
        of transformers or peft
    peft_config
        of new adapters. Where the model has adapters already they are merged into its weights, and
        the new ones are stacked on top: ``save_stacked`` writes both as one. None: no new ones;
        adapters that the model has are trained further
    seed
        of the new adapters' first weights; None: they are drawn as torch stands

    Raises
    ------
    MissingExtraError
        When peft is missing.
    OptionError
        For adapters that cannot be stacked.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise OptionError(
            "the model holds adapters that transformers put in, which would be lost. Load it by its"
            " folder's name, or by policyrank.models.language.load_causal_lm."
        )
    if peft_config is None:
        if is_adapted(model):
            model.set_adapter(model.active_adapter)  # opens its weights for training
        return model, None
    require("peft", "peft_config")
    from peft import get_peft_model

    below = None
    if is_adapted(model):
        below = layers_of(model)
        model = model.merge_and_unload()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of one library about another
        try:
            with torch.random.fork_rng(enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                return get_peft_model(model, peft_config), below
        except (ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:300]
            raise OptionError(f"adapters do not fit the model: {why}") from None


def adapter_facts(config: Any) -> dict[str, Any]:
    """Options of adapters that decide what they learn, the same in each process."""
    found = {}
    for name in OPTIONS:
        value = getattr(config, name, None)
        if isinstance(value, (set, frozenset, list, tuple)):
            value = sorted(map(str, value))
        if value is not None:
            found[name] = value
    return found


def is_adapted(model: Any) -> bool:
    """Whether a model has adapters of peft."""
    return hasattr(model, "merge_and_unload") and hasattr(model, "active_adapter")


def layers_of(model: Any) -> Layers:
    """The low-rank matrices of a model's active adapter.

    Raises
    ------
    OptionError
        When it holds anything else, such as a trained head.
    """
    config = model.active_peft_config
    plain = getattr(config, "peft_type", None) == "LORA" and not config.use_dora
    if not plain or config.bias != "none" or config.modules_to_save:
        raise OptionError(
            "only plain LoRA adapters can be stacked. Train these further (no new adapters), or"
            " merge them first: policyrank merge."
        )
    found: Layers = {}
    name = model.active_adapter
    for place, module in model.named_modules():
        if name in getattr(module, "lora_A", ()):
            a, b = module.lora_A[name].weight, module.lora_B[name].weight
            found[place] = (a.detach().clone(), b.detach() * module.scaling[name])
        elif name in getattr(module, "lora_embedding_A", ()):
            raise OptionError("adapters of embeddings cannot be stacked: policyrank merge first.")
    return found


def save_stacked(model: Any, below: Layers, folder: str | Path) -> None:
    """Write a model's adapters and those below them as one, of the sum of both ranks.

    Exactly their sum: A stands above A, B beside B.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    above = layers_of(model)
    rank = _rank(above) + _rank(below)
    tensors = {}
    for place in sorted({*above, *below}):
        parts = [own[place] for own in (below, above) if place in own]
        a = torch.cat([part[0].float().cpu() for part in parts])
        b = torch.cat([part[1].float().cpu() for part in parts], dim=1)
        short = rank - len(a)
        tensors[f"{place}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, short))
        tensors[f"{place}.lora_B.weight"] = torch.nn.functional.pad(b, (0, short))
    config = model.active_peft_config
    LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(
            place.removeprefix("base_model.model.") for place in {*above, *below}
        ),
        task_type=config.task_type,
        base_model_name_or_path=config.base_model_name_or_path,
        inference_mode=True,
    ).save_pretrained(str(folder))
    contiguous = {name: values.contiguous() for name, values in tensors.items()}
    with written(Path(folder, "adapter_model.safetensors")) as part:
        save_file(contiguous, part)


def _rank(layers: Layers) -> int:
    return max((len(a) for a, _ in layers.values()), default=0)


class AdapterStart:
    """The adapters' weights as they were when training began: the reference of such a model."""

    def __init__(self, model: Any) -> None:
        self._pairs: list[tuple[Any, Tensor]] = []
        for weights in model.parameters():
            if weights.requires_grad:
                self._pairs.append((weights, weights.detach().clone()))

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Within, the model is what it was; no gradients may be taken."""
        now = []
        for weights, start in self._pairs:
            now.append(weights.data)
            weights.data = start.to(weights.device)
        try:
            yield
        finally:
            for (weights, _), own in zip(self._pairs, now, strict=True):
                weights.data = own
