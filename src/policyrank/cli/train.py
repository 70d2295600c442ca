"""``policyrank train`` and ``policyrank rerank``: rankers from lists."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError

train = typer.Typer(help="Train policies.", no_args_is_help=True, rich_markup_mode=None)
SETS = ("train", "validation", "test")


@train.command("ranker")
def ranker(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", help="TOML file with [data], [model] and [train], see above."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Where the trained ranker goes: a file (ranker.pt), for encoders a folder (ranker)."
            ),
            rich_help_panel=c.OUT,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Instead of the file's.", min=1, rich_help_panel=c.METHOD)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Instead of the file's.", rich_help_panel=c.METHOD)
    ] = None,
) -> None:
    """Train a ranker of features or of texts; an interrupted run goes on from its checkpoint.

    Features: [data] train, validation and perhaps test name LETOR files (label qid:Q 1:value ...),
    standardise = true scales features within each query. [model] kind is linear, mlp or
    transformer, with its options.

    Texts: [data] queries and documents name TSV (name, text) or JSONL files, train, validation and
    perhaps test name judgements (TREC qrels, or BEIR's table), run a TREC run with the candidates;
    or first_stage = "bm25" or "dense", with depth. in_batch = true and random = N add negatives.
    [model] kind is cross-encoder or bi-encoder, with name (folder, hub name, or minilm),
    max_length, batch, layers.

    [train] takes what RankerTrainer takes: loss, loss_options, metric, epochs, patience, lists,
    size, sampler, per_epoch, learning_rate, warmup, weight_decay, seed; [train.curriculum]
    easiness, epochs, samples, anti, normalise. On several devices: accelerate launch -m policyrank
    train ranker CONFIG.
    """
    import torch

    from policyrank.train import RANKERS, TEXT_RANKERS, RankerTrainer

    data, model, settings = _config(config)
    kind = model.pop("kind", "cross-encoder" if "documents" in data else "mlp")
    known: dict[str, Callable[..., Any]] = TEXT_RANKERS if "documents" in data else RANKERS
    if kind not in known:
        raise EvidenceError(f"{config}: [model] kind = {kind!r}; use one of {', '.join(known)}.")
    out = out or Path("ranker" if "documents" in data else "ranker.pt")
    if "documents" not in data or not out.is_dir():
        c.check_writable(out)
    if "curriculum" in settings:
        settings["curriculum"] = _curriculum(config, settings["curriculum"])
    settings |= {k: v for k, v in (("epochs", epochs), ("seed", seed)) if v is not None}
    accelerator = _accelerator()
    first = accelerator is None or accelerator.is_main_process
    with c.working("Reading …"):
        sets = _text_sets(config, data) if "documents" in data else _letor_sets(config, data)
    torch.manual_seed(settings.get("seed", 0))
    try:
        width = 0 if "documents" in data else sets["train"].features.shape[1]
        module = known[kind](**({"features": width} if width else {}), **model)
        trainer = RankerTrainer(
            module, checkpoint=f"{out}.checkpoint", accelerator=accelerator, **settings
        )
    except TypeError as error:
        raise EvidenceError(f"{config}: {error}.") from None
    with c.working("Training …") as update:
        trainer.report = lambda e: update(
            f"epoch {e.epoch + 1} of {trainer.epochs}: loss {e.loss:.4f}, {trainer.metric}"
            f" {e.validation:.4f}"
        )
        history = trainer.fit(sets["train"], sets["validation"])
    tested = trainer.evaluate(sets["test"]) if "test" in sets else None
    if not first:
        return
    if "documents" in data:
        module.save(out)
        (out / "policyrank.json").write_text(
            json.dumps({"kind": kind, "settings": settings}, default=str), encoding="utf-8"
        )
    else:
        kept = {
            "kind": kind,
            "features": width,
            "options": model,
            "standardise": data.get("standardise", True),
            "weights": module.state_dict(),
        }
        torch.save(kept, out)
    Path(f"{out}.checkpoint").unlink(missing_ok=True)
    c.written(out)
    best = max(history, key=lambda e: e.validation)
    print(
        f"best epoch {best.epoch + 1} of {len(history)}: validation {trainer.metric}"
        f" {best.validation:.4f}"
    )
    if tested is not None:
        print(f"test {trainer.metric} {tested.mean():.4f} over {len(sets['test'])} queries")


def _curriculum(config: Path, options: Any) -> Any:
    from policyrank.learn import EASINESS, Curriculum

    try:
        found = Curriculum(**options)
    except TypeError as error:
        raise EvidenceError(f"{config}: [train.curriculum] {error}.") from None
    if found.easiness not in EASINESS:
        raise EvidenceError(
            f"{config}: [train.curriculum] easiness = {found.easiness!r}; use one of"
            f" {', '.join(EASINESS)}."
        )
    return found


def _accelerator() -> Any:
    """Where several processes were launched."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError:
        raise EvidenceError(
            "several processes need accelerate: pip install 'policyrank[retrieval]'"
        ) from None
    return Accelerator()


def _config(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file. Give a TOML file.")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"{path}: not a TOML file ({error}).") from None
    data = found.get("data", {})
    texts = "documents" in data or "queries" in data
    if missing := [
        n
        for n in ("train", "validation", *(("queries", "documents") if texts else ()))
        if n not in data
    ]:
        raise EvidenceError(f"{path}: [data] lacks {missing[0]}, the name of a file.")
    takes = {
        *SETS,
        *(
            ("queries", "documents", "run", "first_stage", "depth", "in_batch", "random", "encoder")
            if texts
            else ("standardise",)
        ),
    }
    if extra := sorted(set(data) - takes):
        raise EvidenceError(
            f"{path}: [data] knows no {extra[0]}. It takes {', '.join(sorted(takes))}."
        )
    return data, dict(found.get("model", {})), dict(found.get("train", {}))


def _letor_sets(config: Path, data: dict[str, Any]) -> dict[str, Any]:
    from policyrank.train import read_letor

    sets = {n: read_letor(config.parent / data[n]) for n in SETS if n in data}
    if len({s.features.shape[1] for s in sets.values()}) > 1:
        raise EvidenceError(
            f"{config}: the files have different numbers of features:"
            f" {', '.join(f'{n} {s.features.shape[1]}' for n, s in sets.items())}."
        )
    return {n: s.standardised() for n, s in sets.items()} if data.get("standardise", True) else sets


def _text_sets(config: Path, data: dict[str, Any]) -> dict[str, Any]:
    import polars as pl

    from policyrank.evidence import read_qrels, read_run, read_texts
    from policyrank.train import TextData

    queries, documents = (
        read_texts(config.parent / data["queries"]),
        read_texts(config.parent / data["documents"]),
    )
    qrels = {n: read_qrels(config.parent / data[n]) for n in SETS if n in data}
    asked = {q for found in qrels.values() for q in found["query"]}
    if unknown := sorted(asked - set(queries)):
        raise EvidenceError(
            f"{config}: query {unknown[0]!r} is judged, but not in {data['queries']}."
        )
    if "run" in data:
        run = read_run(config.parent / data["run"])
    else:
        run = _first_stage(
            {q: t for q, t in queries.items() if q in asked},
            documents,
            data.get("first_stage", "bm25"),
            data.get("depth", 100),
            data.get("encoder", "minilm"),
        )
    sets = {}
    for name, found in qrels.items():
        own = run.filter(pl.col("query").is_in(found["query"].unique().to_list()))
        sets[name] = TextData.of(queries, documents, own, found, add_relevant=name == "train")
        if lost := found["query"].n_unique() - len(sets[name]):
            c.say(
                f"{name}: {lost} judged queries have no candidates in the first stage and are"
                " left out"
            )
    from dataclasses import replace

    sets["train"] = replace(
        sets["train"], in_batch=data.get("in_batch", False), random=data.get("random", 0)
    )
    return sets


def _first_stage(
    queries: dict[str, str], documents: dict[str, str], kind: str, depth: int, encoder: str
) -> Any:
    from policyrank.models.encoders import load_encoder
    from policyrank.train.first_stage import bm25_run, dense_run

    if kind == "bm25":
        return bm25_run(queries, documents, depth=depth)
    if kind == "dense":
        return dense_run(queries, documents, load_encoder(encoder), depth=depth)
    raise EvidenceError(f"first stage {kind!r}: use bm25 or dense, or give a run.")


def rerank(
    ranker: Annotated[
        str,
        typer.Argument(
            metavar="RANKER",
            help=(
                "What `policyrank train ranker` wrote, or with --kind a sentence-transformers"
                " folder or hub name."
            ),
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="LETOR file with the candidates (rankers of features)."
        ),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="TSV (name, text) or JSONL.", rich_help_panel="Texts")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="TSV (name, text) or JSONL.", rich_help_panel="Texts")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="TREC run with the candidates.", rich_help_panel="Texts")
    ] = None,
    first_stage: Annotated[
        str,
        typer.Option(
            help="Where candidates come from without a run: bm25 or dense.", rich_help_panel="Texts"
        ),
    ] = "bm25",
    depth: Annotated[
        int, typer.Option(help="Candidates of a query.", min=1, rich_help_panel="Texts")
    ] = 100,
    kind: Annotated[
        str | None,
        typer.Option(
            help="cross-encoder or bi-encoder, for models of others.", rich_help_panel="Texts"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a TREC run here (otherwise to standard output).", rich_help_panel=c.OUT
        ),
    ] = None,
) -> None:
    """Rank candidates: a TREC run. Texts are named as their files name them, lines of a LETOR file
    by their number within the query (1, 2, ...).
    """
    from policyrank.evidence import write_run

    c.check_writable(out)
    if (file is None) == (queries is None or documents is None):
        raise EvidenceError("give either a LETOR file, or both --queries and --documents.")
    found = (
        _rerank_letor(Path(ranker), file)
        if file is not None
        else _rerank_texts(ranker, kind, queries, documents, run, first_stage, depth)
    )
    if out is None:
        text = BytesIO()
        write_run(found, text, tag=Path(ranker).stem)
        sys.stdout.write(text.getvalue().decode())
        return
    write_run(found, out, tag=Path(ranker).stem)
    c.written(out)


def kind_of(ranker: str, kind: str | None) -> str:
    """cross-encoder or bi-encoder: as told, or as our own trainer wrote it beside the model."""
    from policyrank.train import TEXT_RANKERS

    about = Path(ranker) / "policyrank.json"
    kind = kind or (
        json.loads(about.read_text(encoding="utf-8"))["kind"] if about.is_file() else None
    )
    if kind not in TEXT_RANKERS:
        raise EvidenceError(
            f"{ranker}: say with --kind whether it is a {' or a '.join(TEXT_RANKERS)}."
        )
    return str(kind)


def _rerank_letor(ranker: Path, file: Path) -> Any:
    import numpy as np
    import polars as pl
    import torch

    from policyrank.train import RANKERS, RankerTrainer, read_letor

    if not ranker.is_file():
        raise EvidenceError(f"{ranker}: no such file. Train one with `policyrank train ranker`.")
    try:
        kept = torch.load(ranker, weights_only=True)
        model = RANKERS[kept["kind"]](kept["features"], **kept["options"])
        model.load_state_dict(kept["weights"])
    except Exception as error:
        raise EvidenceError(
            f"{ranker}: not a ranker of policyrank ({str(error).splitlines()[0][:200]})."
        ) from None
    data = read_letor(file)
    if data.features.shape[1] != kept["features"]:
        raise EvidenceError(
            f"{file} has {data.features.shape[1]} features, the ranker wants {kept['features']}."
        )
    data = data.standardised() if kept["standardise"] else data
    length = np.diff(data.offsets)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), length),
            "document": np.concatenate([np.arange(1, n + 1) for n in length]).astype(str),
            "score": RankerTrainer(model).scores(data),
        }
    )


def _rerank_texts(
    ranker: str,
    kind: str | None,
    queries: Any,
    documents: Any,
    run: Path | None,
    first_stage: str,
    depth: int,
) -> Any:
    import numpy as np
    import polars as pl

    from policyrank.evidence import read_run, read_texts
    from policyrank.train import TEXT_RANKERS, RankerTrainer, TextData

    kind = kind_of(ranker, kind)
    asked, texts = read_texts(queries), read_texts(documents)
    found = (
        read_run(run)
        if run is not None
        else _first_stage(asked, texts, first_stage, depth, "minilm")
    )
    data = TextData.of(asked, texts, found)
    with c.working("Ranking …"):
        scores = RankerTrainer(TEXT_RANKERS[kind](ranker)).scores(data)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), np.diff(data.offsets)),
            "document": np.array(data.names)[data.documents],
            "score": scores,
        }
    )
