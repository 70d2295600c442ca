"""``policyrank merge``: adapters become part of their base's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import OUT, check_folder
from policyrank.cli.output import working, wrote
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    from policyrank.models.provenance import About


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

    What comes out is a model of its own, a policy, a reward model or a ranker of texts as the
    adapters were, which needs neither peft nor its base.

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
    from policyrank.models import kind_of_model
    from policyrank.models.loading import adapter_config, base_of
    from policyrank.models.provenance import About, about
    from policyrank.train import TEXT_RANKERS
    from policyrank.train.saving import refuse_overwriting

    if adapter_config(model) is None:
        raise EvidenceError(f"{model}: no folder of adapters (there is no adapter_config.json).")
    refuse_overwriting(out, {"MODEL": model}, below=())
    kind = kind_of_model(model)
    known = replace(about(model) or About(kind, base=base_of(model)), adapter=False)
    with working(f"Merging {model} ..."):
        if kind in TEXT_RANKERS:
            _merge_ranker(model, known, out, dtype)
        else:
            _merge_model(model, known, out, dtype)
    wrote(out)


def _merge_ranker(model: str, known: About, out: Path, dtype: str) -> None:
    from policyrank.models import load
    from policyrank.train.saving import write_ranker
    from policyrank.train.text_rankers import TextRanker

    encoder = load(model, known.kind, device="cpu", dtype=None if dtype == "auto" else dtype).model
    if known.max_length is not None:
        encoder.max_seq_length = known.max_length
    write_ranker(TextRanker(encoder, batch=1), out, known)


def _merge_model(model: str, known: About, out: Path, dtype: str) -> None:
    from policyrank.models.language import load_causal_lm
    from policyrank.models.loading import merged
    from policyrank.models.reward_models import load_reward_model
    from policyrank.train.saving import write_model

    load = load_causal_lm if known.kind == "policy" else load_reward_model
    loaded, tokenizer = load(model, device="cpu", dtype=dtype)
    write_model(merged(loaded, model), tokenizer, out, known)
