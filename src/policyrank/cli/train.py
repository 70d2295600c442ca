"""``policyrank train`` and ``policyrank rerank``: rankers from lists."""

from __future__ import annotations

import sys
import tomllib
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.evidence import EvidenceError

train = typer.Typer(help="Train policies.", no_args_is_help=True, rich_markup_mode=None)


@train.command("ranker")
def ranker(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML file with [data], [model] and [train], see above.")
    ],
    out: Annotated[Path, typer.Option(help="Where the trained ranker goes (.pt).", rich_help_panel=c.OUT)] = Path(
        "ranker.pt"
    ),
    epochs: Annotated[int | None, typer.Option(help="Instead of the file's.", min=1, rich_help_panel=c.METHOD)] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's.", rich_help_panel=c.METHOD)] = None,
) -> None:
    """Train a ranker of features on LETOR files; an interrupted run goes on from its checkpoint.

    [data] train, validation and perhaps test name LETOR files (label qid:Q 1:value ...), standardise = true scales features within
    each query. [model] kind is linear, mlp or transformer, with its options. [train] takes what RankerTrainer takes: loss,
    loss_options, metric, epochs, patience, lists, size, learning_rate, weight_decay, seed.
    """
    import torch

    from policyrank.train import RANKERS, RankerTrainer, RankingData, read_letor

    c.check_writable(out)
    data, model, settings = _config(config)
    if epochs is not None:
        settings["epochs"] = epochs
    if seed is not None:
        settings["seed"] = seed
    sets: dict[str, RankingData] = {}
    for name in ("train", "validation", "test"):
        if name in data:
            found = read_letor(config.parent / data[name])
            sets[name] = found.standardised() if data.get("standardise", True) else found
    width = sets["train"].features.shape[1]
    if any(s.features.shape[1] != width for s in sets.values()):
        raise EvidenceError(
            f"{config}: the files have different numbers of features: {', '.join(f'{n} {s.features.shape[1]}' for n, s in sets.items())}."
        )
    kind = model.pop("kind", "mlp")
    if kind not in RANKERS:
        raise EvidenceError(f"{config}: [model] kind = {kind!r}; use one of {', '.join(RANKERS)}.")
    torch.manual_seed(settings.get("seed", 0))
    try:
        trainer = RankerTrainer(RANKERS[kind](width, **model), checkpoint=f"{out}.checkpoint", **settings)
    except TypeError as error:
        raise EvidenceError(f"{config}: {error}.") from None
    with c.working("Training …") as update:
        trainer.report = lambda e: update(
            f"epoch {e.epoch + 1} of {trainer.epochs}: loss {e.loss:.4f}, {trainer.metric} {e.validation:.4f}"
        )
        history = trainer.fit(sets["train"], sets["validation"])
    best = max(history, key=lambda e: e.validation)
    torch.save(
        {
            "kind": kind,
            "features": width,
            "options": model,
            "standardise": data.get("standardise", True),
            "weights": trainer.model.state_dict(),
        },
        out,
    )
    Path(f"{out}.checkpoint").unlink(missing_ok=True)
    c.written(out)
    print(f"best epoch {best.epoch + 1} of {len(history)}: validation {trainer.metric} {best.validation:.4f}")
    if "test" in sets:
        print(f"test {trainer.metric} {trainer.evaluate(sets['test']).mean():.4f} over {len(sets['test'])} queries")


def _config(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file. Give a TOML file.")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"{path}: not a TOML file ({error}).") from None
    data = found.get("data", {})
    if missing := [n for n in ("train", "validation") if n not in data]:
        raise EvidenceError(f"{path}: [data] lacks {missing[0]}, the name of a LETOR file.")
    return data, dict(found.get("model", {})), dict(found.get("train", {}))


def rerank(
    ranker: Annotated[Path, typer.Argument(metavar="RANKER", help="What `policyrank train ranker` wrote.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="LETOR file with the candidates.")],
    out: Annotated[
        Path | None, typer.Option(help="Write a TREC run here (otherwise to standard output).", rich_help_panel=c.OUT)
    ] = None,
) -> None:
    """Rank the candidates of a LETOR file: a TREC run, documents named by their line within the query (1, 2, ...)."""
    import numpy as np
    import polars as pl
    import torch

    from policyrank.evidence import write_run
    from policyrank.train import RANKERS, RankerTrainer, read_letor

    c.check_writable(out)
    if not ranker.is_file():
        raise EvidenceError(f"{ranker}: no such file. Train one with `policyrank train ranker`.")
    try:
        kept = torch.load(ranker, weights_only=True)
        model = RANKERS[kept["kind"]](kept["features"], **kept["options"])
        model.load_state_dict(kept["weights"])
    except Exception as error:
        raise EvidenceError(f"{ranker}: not a ranker of policyrank ({str(error).splitlines()[0][:200]}).") from None
    data = read_letor(file)
    if data.features.shape[1] != kept["features"]:
        raise EvidenceError(f"{file} has {data.features.shape[1]} features, the ranker wants {kept['features']}.")
    data = data.standardised() if kept["standardise"] else data
    length = np.diff(data.offsets)
    run = pl.DataFrame({
        "query": np.repeat(np.array(data.queries), length), "document": np.concatenate([np.arange(1, n + 1) for n in length]).astype(str),
        "score": RankerTrainer(model).scores(data),
    })  # fmt: skip
    if out is None:
        text = BytesIO()
        write_run(run, text, tag=ranker.stem)
        sys.stdout.write(text.getvalue().decode())
        return
    write_run(run, out, tag=ranker.stem)
    c.written(out)
