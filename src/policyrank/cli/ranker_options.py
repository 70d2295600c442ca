"""Options of `policyrank train ranker`, and what holds where neither they nor a file say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    DATA,
    METHOD,
    OUT,
    TEXTS,
    TUNE,
    AtLeastOne,
    Count,
    Names,
    NotNegative,
    Whole,
)
from policyrank.cli.tuning import ADAPTERS, Alpha, Portion, Positive

DEFAULTS: dict[str, Any] = {
    "loss": "listmle",
    "metric": "nDCG@10",
    "epochs": 30,
    "lists": 1,
    "sampler": "uniform",
    "accumulate": 1,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "scheduler": "constant",
    "warmup": 0,
    "weight_decay": 0.0,
    "clip": 1.0,
    "seed": 0,
    "kind": "mlp",
    "depth": 100,
    "first_stage": "bm25",
    "encoder": "minilm",
    "random": 0,
}
"""Option -> its value where nobody says one; those of training are RankerTrainer's own."""

OF_TEXTS: dict[str, Any] = {
    "kind": "cross-encoder",
    "name": "minilm",
    "epochs": 3,
    "lists": 8,
    "size": 16,
    "learning_rate": 2e-5,
}
"""As ``DEFAULTS``, where encoders are trained."""


def _or(name: str, without: str = "") -> Parameter:
    """Help shows the default that holds without a configuration."""
    shown = f"{DEFAULTS.get(name, without)}"
    if name in OF_TEXTS:
        shown = f"{shown}; of texts {OF_TEXTS[name]}".removeprefix("; ")
    return Parameter(show_default=shown)


Maybe = Annotated[bool | None, Parameter(show_default=False)]


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class Sets:
    """What is learned from.

    Parameters
    ----------
    train
        LETOR file (label qid:Q 1:value ...), plain or packed, or judgements of texts (TREC qrels,
        BEIR's table).
    validation
        The same; its best epoch is kept. Without one, the last epoch is.
    test
        The same; measured at the end.
    zero_based
        LETOR features are numbered from 0 (told by the files if not given).
    raw
        LETOR features as they are, not sign(x) log(1 + |x|) standardised within each query.
    """

    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    zero_based: Maybe = None
    raw: Maybe = None

    def data(self) -> dict[str, Any]:
        """As the table [data]."""
        found = given(self)
        if found.pop("zero_based", False):
            found["features_from"] = 0
        if found.pop("raw", False):
            found["standardise"] = False
        return found


@Parameter(name="*", group=TEXTS)
@dataclass(frozen=True)
class Candidates:
    """Texts, and where candidates come from.

    Parameters
    ----------
    queries
        TSV (name, text) or JSONL.
    documents
        TSV (name, text) or JSONL.
    run
        TREC run with the candidates.
    first_stage
        Where candidates come from without a run.
    depth
        Candidates of a query.
    encoder
        Of the first stage dense: folder, hub name, or minilm.
    in_batch
        Documents of a step's other queries join as negatives.
    random
        So many random documents join each step as negatives.
    """

    queries: Path | None = None
    documents: Path | None = None
    run: Path | None = None
    first_stage: Annotated[Literal["bm25", "dense"] | None, _or("first_stage")] = None
    depth: Annotated[AtLeastOne | None, _or("depth")] = None
    encoder: Annotated[str | None, _or("encoder")] = None
    in_batch: Maybe = None
    random: Annotated[Count | None, _or("random")] = None


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Ranker:
    """What is trained.

    Parameters
    ----------
    kind
        linear, mlp, transformer (items of a list see each other); of texts cross-encoder,
        bi-encoder.
    name
        Encoder to start from: folder, hub name, or minilm.
    layers
        Of an encoder: train only so many last layers. Of a transformer: its layers.
    max_length
        Tokens that an encoder reads, of the pair or of a text (as it was saved if not given).
    dtype
        Of an encoder's weights: float32, bfloat16, float16.
    model_option
        NAME=VALUE for the kind, such as hidden=[64,32], dropout=0, batch=64; repeatable.
    loss
        lambdarank, listmle, ranknet, softmax, approx-ndcg, ...
    option
        NAME=VALUE for the loss, such as k=10; repeatable.
    metric
        Measure on validation: nDCG@10, AP, RR@10, ...
    """

    kind: Annotated[str | None, _or("kind")] = None
    name: Annotated[str | None, _or("name")] = None
    layers: Annotated[Count | None, _or("layers", "all")] = None
    max_length: Annotated[Whole | None, Parameter(validator=Number(gte=4))] = None
    dtype: Annotated[str | None, _or("dtype", "float32")] = None
    model_option: Names = None
    loss: Annotated[str | None, _or("loss")] = None
    option: Names = None
    metric: Annotated[str | None, _or("metric")] = None

    def model(self) -> dict[str, Any]:
        """As the table [model]."""
        from policyrank.cli.answer_options import objective_options

        found = {}
        for name in ("kind", "name", "layers", "max_length", "dtype"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found | objective_options(self.model_option)

    def train(self) -> dict[str, Any]:
        """As the table [train]."""
        from policyrank.cli.answer_options import objective_options

        found: dict[str, Any] = {}
        if self.loss is not None:
            found["loss"] = self.loss
        if self.metric is not None:
            found["metric"] = self.metric
        if self.option:
            found["loss_options"] = objective_options(self.option)
        return found


@Parameter(name="*", group=ADAPTERS)
@dataclass(frozen=True)
class Adapters:
    """Adapters in place of an encoder's own weights.

    Parameters
    ----------
    lora
        Train LoRA adapters of this rank, and a head. Where NAME is adapters already, the new ones
        are stacked on them; without --lora they are trained further.
    lora_alpha
        Scale (twice the rank if not given).
    lora_dropout
        Of their inputs.
    lora_target
        Layers by name, repeatable (all linear ones but the head if not given).
    rslora
        Scale by the square root of the rank.
    """

    lora: Annotated[Count | None, _or("lora", "0")] = None
    lora_alpha: Alpha = None
    lora_dropout: Annotated[Portion | None, _or("lora_dropout", "0")] = None
    lora_target: Names = None
    rslora: Maybe = None


@Parameter(name="*", group=TUNE)
@dataclass(frozen=True)
class Steps:
    """How it is trained.

    Parameters
    ----------
    epochs
        Passes over the queries.
    patience
        Stop after so many without gain.
    lists
        Queries that are read at once, on each device.
    accumulate
        So many times --lists make a step.
    size
        Documents of a list in a step, drawn anew each time.
    sampler
        How they are drawn: uniform, hard, weighted (by 1 / rank in the first stage).
    per_epoch
        Lists between two evaluations.
    learning_rate
        Its peak.
    scheduler
        How the rate falls: constant, linear, cosine.
    warmup
        Steps over which it rises, or their share (below 1).
    optimizer
        adamw, adam, sgd.
    weight_decay
        Of the optimizer.
    clip
        Largest norm of the gradient.
    bf16
        Compute in bfloat16 while training.
    gradient_checkpointing
        Of encoders: less memory, more time.
    seed
        Of everything that is drawn.
    """

    epochs: Annotated[AtLeastOne | None, _or("epochs")] = None
    patience: Annotated[Count | None, _or("patience", "never")] = None
    lists: Annotated[AtLeastOne | None, _or("lists")] = None
    accumulate: Annotated[AtLeastOne | None, _or("accumulate")] = None
    size: Annotated[AtLeastOne | None, _or("size", "all")] = None
    sampler: Annotated[str | None, _or("sampler")] = None
    per_epoch: Annotated[AtLeastOne | None, _or("per_epoch", "all")] = None
    learning_rate: Annotated[Positive | None, _or("learning_rate")] = None
    scheduler: Annotated[str | None, _or("scheduler")] = None
    warmup: Annotated[NotNegative | None, _or("warmup")] = None
    optimizer: Annotated[str | None, _or("optimizer")] = None
    weight_decay: Annotated[NotNegative | None, _or("weight_decay")] = None
    clip: Annotated[Positive | None, _or("clip")] = None
    bf16: Maybe = None
    gradient_checkpointing: Maybe = None
    seed: Annotated[Whole | None, _or("seed")] = None


@Parameter(name="*", group=OUT)
@dataclass(frozen=True)
class Kept:
    """Where it goes.

    Parameters
    ----------
    out
        The trained ranker: a file, of encoders a folder that sentence-transformers loads.
        OUT.log.jsonl, in a folder log.jsonl, gets a line an epoch.
    log_every
        A line every so many steps, too.
    report_to
        Tracker of experiments, too: tensorboard, wandb, mlflow, ...; repeatable.
    """

    out: Annotated[Path | None, Parameter(show_default="ranker.pt; of texts ranker")] = None
    log_every: AtLeastOne | None = None
    report_to: Names = None

    def train(self) -> dict[str, Any]:
        """As the table [train]."""
        found = given(self)
        found.pop("out", None)
        return found


def given(options: Any) -> dict[str, Any]:
    """The options that were typed, by name."""
    found = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None and value != []:
            found[field.name] = value
    return found
