"""``policyrank merge``: adapters become part of their base's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import OUT, check_folder
from policyrank.cli.output import working, wrote
from policyrank.errors import EvidenceError


def merge_adapters(
    model: str,
    /,
    *,
    out: Annotated[Path, Parameter(group=OUT)],
    dtype: Annotated[
        Literal["float32", "auto", "bfloat16", "float16"], Parameter(group=OUT)
    ] = "float32",
) -> None:
    """Merge adapters into the weights of their base.

    What comes out is a model of its own, a policy or a reward model as the adapters were, which
    needs neither peft nor its base.

    Parameters
    ----------
    model
        Folder of adapters, as `train ... --lora` writes it.
    out
        Folder for the merged model.
    dtype
        Of its weights; auto: as the base has them.
    """
    check_folder(out)
    from policyrank.models.language import load_causal_lm
    from policyrank.models.loading import adapter_config, base_of, merged
    from policyrank.models.provenance import About, about
    from policyrank.models.reward_models import load_reward_model
    from policyrank.train.saving import refuse_overwriting, write_model

    config = adapter_config(model)
    if config is None:
        raise EvidenceError(f"{model}: no folder of adapters (there is no adapter_config.json).")
    refuse_overwriting(out, {"MODEL": model}, below=())
    of_reward = config.get("task_type") == "SEQ_CLS"
    with working(f"Merging {model} ..."):
        load = load_reward_model if of_reward else load_causal_lm
        loaded, tokenizer = load(model, device="cpu", dtype=dtype)
        whole = merged(loaded, model)
    known = about(model) or About("reward" if of_reward else "policy", base=base_of(model))
    write_model(whole, tokenizer, out, replace(known, adapter=False))
    wrote(out)
