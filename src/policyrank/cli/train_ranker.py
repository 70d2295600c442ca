"""``policyrank train ranker``: rankers of features or of texts, from lists."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from policyrank.cli.options import METHOD, OUT, AtLeastOne, check_writable
from policyrank.cli.output import say, working, wrote
from policyrank.cli.rerank import first_stage_run
from policyrank.errors import EvidenceError, OptionError

SETS = ("train", "validation", "test")
OF_TEXTS = frozenset("queries documents run first_stage depth in_batch random encoder".split())
OF_FEATURES = frozenset({"standardise"})


class Config(NamedTuple):
    """The tables of a configuration file."""

    path: Path
    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]

    @property
    def of_texts(self) -> bool:
        """Whether a ranker of texts is trained."""
        return "documents" in self.data or "queries" in self.data

    def file(self, name: str) -> Path:
        """Where a file that [data] names lies: beside the configuration."""
        return self.path.parent / self.data[name]

    @property
    def sets(self) -> list[str]:
        """Which of training, validation and test data are named."""
        return [name for name in SETS if name in self.data]


def train_on_lists(
    config: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    epochs: Annotated[AtLeastOne | None, Parameter(group=METHOD)] = None,
    seed: Annotated[int | None, Parameter(group=METHOD)] = None,
) -> None:
    """Train a ranker of features or of texts.

    An interrupted run goes on from its checkpoint.

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

    Parameters
    ----------
    config
        TOML file with [data], [model] and [train], see above.
    out
        Where the trained ranker goes: a file (ranker.pt), for encoders a folder (ranker).
    epochs
        Instead of the file's.
    seed
        Instead of the file's.
    """
    given = read_config(config)
    out = out or Path("ranker" if given.of_texts else "ranker.pt")
    if not given.of_texts or not out.is_dir():
        check_writable(out)
    settings = dict(given.train)
    for name, value in (("epochs", epochs), ("seed", seed)):
        if value is not None:
            settings[name] = value
    import torch

    from policyrank.train import RankerTrainer

    if "curriculum" in settings:
        settings["curriculum"] = curriculum_of(config, settings["curriculum"])
    accelerator = _accelerator()
    kind, make = _kind(given)
    with working("Reading …"):
        sets = _text_sets(given) if given.of_texts else _letor_sets(given)
    torch.manual_seed(settings.get("seed", 0))
    features = {} if given.of_texts else {"features": sets["train"].features.shape[1]}
    about: dict[str, Any] = {"kind": kind, **features}
    options = {name: value for name, value in given.model.items() if name != "kind"}
    checkpoint = Path(f"{out}.checkpoint")
    try:
        module = make(**features, **options)
        trainer = RankerTrainer(
            module, checkpoint=str(checkpoint), accelerator=accelerator, **settings
        )
    except TypeError as error:
        raise EvidenceError(f"{config}: {error}.") from None
    with working("Training …") as update:
        trainer.report = lambda epoch: update(
            f"epoch {epoch.epoch + 1} of {trainer.epochs}: loss {epoch.loss:.4f}, {trainer.metric}"
            f" {epoch.validation:.4f}"
        )
        history = trainer.fit(sets["train"], sets["validation"])
    tested = trainer.evaluate(sets["test"]) if "test" in sets else None
    if accelerator is not None and not accelerator.is_main_process:
        return
    if given.of_texts:
        _save_encoder(module, out, about | {"settings": settings})
    else:
        standardise = given.data.get("standardise", True)
        about |= {"options": options, "standardise": standardise, "weights": module.state_dict()}
        torch.save(about, out)
    checkpoint.unlink(missing_ok=True)
    wrote(out)
    best = max(history, key=lambda epoch: epoch.validation)
    print(
        f"best epoch {best.epoch + 1} of {len(history)}: validation {trainer.metric}"
        f" {best.validation:.4f}"
    )
    if tested is not None:
        print(f"test {trainer.metric} {tested.mean():.4f} over {len(sets['test'])} queries")


def _save_encoder(module: Any, folder: Path, about: dict[str, Any]) -> None:
    """A folder that sentence-transformers loads, and beside it what it is."""
    module.save(folder)
    text = json.dumps(about, default=str)
    (folder / "policyrank.json").write_text(text, encoding="utf-8")


def read_config(path: Path) -> Config:
    """The tables of a configuration, its names checked."""
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file. Give a TOML file.")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"{path}: not a TOML file ({error}).") from None
    config = Config(path, found.get("data", {}), found.get("model", {}), found.get("train", {}))
    needs, takes = ["train", "validation"], {*SETS, *OF_FEATURES}
    if config.of_texts:
        needs, takes = [*needs, "queries", "documents"], {*SETS, *OF_TEXTS}
    for name in needs:
        if name not in config.data:
            raise EvidenceError(f"{path}: [data] lacks {name}, the name of a file.")
    for name in config.data:
        if name not in takes:
            there = ", ".join(sorted(takes))
            raise EvidenceError(f"{path}: [data] knows no {name}. It takes {there}.")
    return config


def _kind(config: Config) -> tuple[str, Any]:
    """The kind of ranker, and what makes one."""
    from policyrank.train import RANKERS, TEXT_RANKERS

    known: Any = TEXT_RANKERS if config.of_texts else RANKERS
    kind = config.model.get("kind", "cross-encoder" if config.of_texts else "mlp")
    if kind not in known:
        raise EvidenceError(
            f"{config.path}: [model] kind = {kind!r}; use one of {', '.join(known)}."
        )
    return kind, known[kind]


def curriculum_of(config: Path, options: Any) -> Any:
    """The curriculum of [train.curriculum]."""
    from policyrank.learn import Curriculum

    try:
        return Curriculum(**options)
    except (TypeError, OptionError) as error:
        raise EvidenceError(f"{config}: [train.curriculum] {str(error).rstrip('.')}.") from None


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


def _letor_sets(config: Config) -> dict[str, Any]:
    from policyrank.train import read_letor

    sets = {name: read_letor(config.file(name)) for name in config.sets}
    widths = {name: data.features.shape[1] for name, data in sets.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise EvidenceError(f"{config.path}: the files have different numbers of features: {told}.")
    if not config.data.get("standardise", True):
        return sets
    return {name: data.standardised() for name, data in sets.items()}


def _text_sets(config: Config) -> dict[str, Any]:
    import polars as pl

    from policyrank.evidence import read_qrels, read_run, read_texts
    from policyrank.train import TextData

    data = config.data
    queries, documents = read_texts(config.file("queries")), read_texts(config.file("documents"))
    qrels = {name: read_qrels(config.file(name)) for name in config.sets}
    asked = pl.concat([found["query"] for found in qrels.values()]).unique().to_list()
    unknown = sorted(set(asked) - set(queries))
    if unknown:
        raise EvidenceError(
            f"{config.path}: query {unknown[0]!r} is judged, but not in {data['queries']}."
        )
    if "run" in data:
        run = read_run(config.file("run"))
    else:
        wanted = set(asked)
        judged = {query: text for query, text in queries.items() if query in wanted}
        stage, depth = data.get("first_stage", "bm25"), data.get("depth", 100)
        run = first_stage_run(judged, documents, stage, depth, data.get("encoder", "minilm"))
    sets = {}
    for name, found in qrels.items():
        own = run.filter(pl.col("query").is_in(found["query"].unique().to_list()))
        sets[name] = TextData.of(queries, documents, own, found, add_relevant=name == "train")
        if lost := found["query"].n_unique() - len(sets[name]):
            say(
                f"{name}: {lost} judged queries have no candidates in the first stage and are"
                " left out"
            )
    in_batch, random = data.get("in_batch", False), data.get("random", 0)
    sets["train"] = replace(sets["train"], in_batch=in_batch, random=random)
    return sets
