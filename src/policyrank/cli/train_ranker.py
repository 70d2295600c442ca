"""``policyrank train ranker``: rankers of features or of texts, from lists."""

from __future__ import annotations

import os
from math import isnan
from pathlib import Path
from shutil import rmtree
from typing import Any

from policyrank.cli.options import check_writable
from policyrank.cli.output import show, working, wrote
from policyrank.cli.ranker_config import (
    Config,
    check_config,
    curriculum_of,
    kind_of_ranker,
    made,
    made_of_texts,
    read_config,
    with_defaults,
    with_flags,
)
from policyrank.cli.ranker_data import read_sets, tell
from policyrank.cli.ranker_options import (
    OF_TEXTS,
    Adapters,
    Candidates,
    Kept,
    Ranker,
    Sets,
    Steps,
    given,
)
from policyrank.cli.rerank import tell_long_texts
from policyrank.cli.training_run import named_base
from policyrank.errors import EvidenceError
from policyrank.files import written


def train_on_lists(
    config: Path | None = None,
    /,
    *,
    sets: Sets = Sets(),
    candidates: Candidates = Candidates(),
    ranker: Ranker = Ranker(),
    adapters: Adapters = Adapters(),
    steps: Steps = Steps(),
    kept: Kept = Kept(),
) -> None:
    """Train a ranker of features or of texts.

    An interrupted run goes on from its checkpoint.

    Features: --train, --validation and perhaps --test name LETOR files. Texts: --queries and
    --documents name the texts, --train, --validation and --test judgements; candidates are those of
    --run, or of --first-stage.

    A configuration says the same in tables: [data] train, validation, test, queries, documents,
    run, first_stage, depth, ..., standardise = false, features_from = 0; [model] kind, name,
    max_length, layers, lora, and what the kind takes; [train] loss, loss_options, epochs, ...;
    [train.curriculum] easiness, epochs, samples, anti, normalise. Files in it lie beside it. On
    several devices: accelerate launch -m policyrank train ranker ...

    Parameters
    ----------
    config
        TOML or YAML file with [data], [model] and [train]; options typed here win.
    """
    data = sets.data() | given(candidates)
    train = ranker.train() | given(steps) | kept.train()
    told = with_flags(read_config(config), data, ranker.model() | given(adapters), train)
    told = with_defaults(told, OF_TEXTS)
    out = kept.out or Path("ranker" if told.of_texts else "ranker.pt")
    if not told.of_texts or not out.is_dir():
        check_writable(out)
    check_config(told)
    if told.of_texts:
        from policyrank.train.saving import refuse_overwriting

        refuse_overwriting(out, {"--name": told.model["name"]}, below=())
    _train(told, out)


def _train(config: Config, out: Path) -> None:
    import torch

    from policyrank.checkpoints import STEM
    from policyrank.train import RankerTrainer

    settings = dict(config.train)
    if "curriculum" in settings:
        settings["curriculum"] = curriculum_of(config.name, settings["curriculum"])
    RankerTrainer(None, **settings)  # refuses what there is not before anything is read
    accelerator = _accelerator()
    kind, make = kind_of_ranker(config)
    with working("Reading …"):
        sets, about = read_sets(config)
    torch.manual_seed(settings.get("seed", 0))
    if config.of_texts:
        module = made_of_texts(config, make)
    else:
        module = made(config, make, {"features": about["features"]})
    for note in getattr(module, "notes", ()):
        tell(note)
    checkpoint = Path(f"{out}.checkpoint")
    trainer = RankerTrainer(
        module,
        checkpoint=str(checkpoint),
        depends=_depends(config),
        log=out / "log.jsonl" if config.of_texts else f"{out}.log.jsonl",
        accelerator=accelerator,
        **settings,
    )
    if config.of_texts and (accelerator is None or accelerator.is_main_process):
        tell_long_texts(module, sets["train"])
    if any(checkpoint.glob(f"{STEM}*")):
        tell(f"going on from {checkpoint}")
    history = _fitted(trainer, sets)
    tested = trainer.evaluate(sets["test"]) if "test" in sets else None
    if accelerator is not None and not accelerator.is_main_process:
        return
    about |= {"kind": kind} | _about(trainer, sets, history)
    _write(module, out, config, about)
    rmtree(checkpoint, ignore_errors=True)
    wrote(out)
    _tell_end(trainer, history, len(sets.get("test", ())), tested)


def _depends(config: Config) -> dict[str, Any]:
    """What a ranker of texts is made from."""
    if not config.of_texts:
        return {}
    from policyrank.train.saving import weights_fingerprint

    name = config.model["name"]
    return {"name": named_base(name, adapter=False), "files": weights_fingerprint(name)}


def _fitted(trainer: Any, sets: dict[str, Any]) -> list[Any]:
    """The epochs of training, shown as it goes."""

    def place(told: Any) -> str:
        measured = ""
        if not isnan(told.validation):
            measured = f"{trainer.metric} {told.validation:.4f}, "
        return (
            f"epoch {told.epoch + 1}/{trainer.epochs}, step {told.step:,}/{told.steps:,}:"
            f" loss {told.loss:.4f}, {measured}{told.lists_per_second:,.0f} lists/s,"
            f" {_duration(told.seconds_left)} left"
        )

    with working("Training …") as update:
        trainer.progress = lambda told: update(place(told))
        return trainer.fit(sets["train"], sets.get("validation"))


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, as far as they count."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    if seconds >= 60:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds:.0f} s"


def _tell_end(trainer: Any, history: list[Any], queries: int, tested: Any) -> None:
    """The best epoch, and the measure on test data."""
    best = max(history, key=lambda epoch: epoch.validation)
    if isnan(best.validation):
        show(f"{len(history)} epochs: loss {history[-1].loss:.4f} in the last")
    else:
        show(
            f"best epoch {best.epoch + 1} of {len(history)}: validation {trainer.metric}"
            f" {best.validation:.4f}"
        )
    if tested is not None:
        show(f"test {trainer.metric} {tested.mean():.4f} over {queries:,} queries")


def _about(trainer: Any, sets: dict[str, Any], history: list[Any]) -> dict[str, Any]:
    """What is kept beside the weights: how they were trained, and from what."""
    settings = trainer.settings() | {"epochs": trainer.epochs, "patience": trainer.patience}
    best = max(history, key=lambda epoch: epoch.validation)
    settings |= {"trained_epochs": len(history), "best_epoch": best.epoch + 1}
    return {
        "objective": settings["loss"],
        "data": {name: data.fingerprint() for name, data in sets.items()},
        "settings": settings,
    }


def _write(module: Any, out: Path, config: Config, about: dict[str, Any]) -> None:
    """A file of our own, or a folder that sentence-transformers loads; and what it is."""
    import torch

    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
    from policyrank.train.saving import write_ranker

    model = {name: value for name, value in config.model.items() if name != "kind"}
    if not config.of_texts:
        weights = module.state_dict()
        kept = {**about, "options": model, "versions": known_versions(), "weights": weights}
        with written(out) as part:
            torch.save(kept, part)
        return
    adapter = module.adapters is not None
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    told = About(
        base=named_base(model["name"], adapter=adapter),
        adapter=adapter,
        max_length=module.encoder.max_seq_length,
        dtype=dtype,
        options=about["settings"]["loss_options"],
        versions=known_versions(),
        **about,
    )
    write_ranker(module, out, told)


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
