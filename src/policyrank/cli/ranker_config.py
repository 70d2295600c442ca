"""What a ranker is trained from: a configuration file, and flags that win over it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from policyrank.cli.rerank import check_first_stage
from policyrank.cli.tuning import Lora
from policyrank.errors import EvidenceError, OptionError, refuse_unknown_options

SETS = ("train", "validation", "test")
FILES = (*SETS, "queries", "documents", "run")
FOR_TEXTS = frozenset("queries documents run first_stage depth in_batch random encoder".split())
FOR_FEATURES = frozenset({"standardise", "features_from"})
LORA = frozenset(own.name for own in fields(Lora))
NOT_TOLD = frozenset("model report progress accelerator checkpoint log".split())
"""Options of RankerTrainer that the command line sets itself."""


class Config(NamedTuple):
    """The tables of a configuration; ``path`` is None where there are flags only."""

    path: Path | None
    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]

    @property
    def of_texts(self) -> bool:
        """Whether a ranker of texts is trained."""
        return "documents" in self.data or "queries" in self.data

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the options" if self.path is None else str(self.path)

    @property
    def sets(self) -> list[str]:
        """Which of training, validation and test data are named."""
        return [name for name in SETS if name in self.data]


def read_config(path: Path | None) -> Config:
    """The tables of a TOML or YAML file; files that [data] names lie beside it."""
    if path is None:
        return Config(None, {}, {}, {})
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file. Give a TOML or YAML file.")
    found = _tables(path)
    unknown = sorted(set(found) - {"data", "model", "train"})
    if unknown:
        raise EvidenceError(f"{path}: knows no [{unknown[0]}]. It has [data], [model] and [train].")
    for name, table in found.items():
        if not isinstance(table, dict):
            raise EvidenceError(f"{path}: {name} is no table. Write [{name}], and its options.")
    data = dict(found.get("data", {}))
    for name in FILES:
        if name in data:
            data[name] = path.parent / str(data[name])
    return Config(path, data, found.get("model", {}), found.get("train", {}))


def _tables(path: Path) -> dict[str, Any]:
    from policyrank.evidence.settings_files import read_settings

    found = read_settings(path)
    return _with_numbers(found) if path.suffix in (".yaml", ".yml") else found


_POWER = re.compile(r"[+-]?\d+e[+-]?\d+", re.IGNORECASE)


def _with_numbers(table: dict[str, Any]) -> dict[str, Any]:
    """Numbers such as 2e-5, which YAML takes for texts, as numbers."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found[name] = _with_numbers(value)
        elif isinstance(value, str) and _POWER.fullmatch(value):
            found[name] = float(value)
        else:
            found[name] = value
    return found


def with_flags(
    config: Config, data: Mapping[str, Any], model: Mapping[str, Any], train: Mapping[str, Any]
) -> Config:
    """A configuration in which flags win."""
    settings = {**config.train, **train}
    if "loss_options" in train and "loss" not in train:
        settings["loss_options"] = {**config.train.get("loss_options", {}), **train["loss_options"]}
    elif "loss" in train and "loss_options" not in train:
        settings.pop("loss_options", None)  # they were of another loss
    return Config(config.path, {**config.data, **data}, {**config.model, **model}, settings)


def with_defaults(config: Config, of_texts: Mapping[str, Any]) -> Config:
    """A configuration of texts, with what holds for them where it says nothing."""
    if not config.of_texts:
        return config
    model: dict[str, Any] = {}
    train: dict[str, Any] = {}
    for name, value in of_texts.items():
        table = model if name in ("kind", "name") else train
        table[name] = value
    return config._replace(model={**model, **config.model}, train={**train, **config.train})


def check_config(config: Config) -> None:
    """Refuse a configuration that lacks what is needed, or has what there is not.

    Raises
    ------
    EvidenceError
        Naming the table and what it takes.
    """
    from policyrank.train import RankerTrainer

    needs, takes = ["train"], {*SETS, *FOR_FEATURES}
    if config.of_texts:
        needs, takes = ["train", "queries", "documents"], {*SETS, *FOR_TEXTS}
    for name in needs:
        if name not in config.data:
            if config.path is None:
                raise EvidenceError(f"no {name} data: give --{name} FILE, or a configuration.")
            raise EvidenceError(
                f"{config.path}: [data] lacks {name}, the name of a file. Or give --{name}."
            )
    _check_names(config, "data", config.data, takes)
    trained = {field.name for field in fields(RankerTrainer)} - NOT_TOLD
    _check_names(config, "train", config.train, trained)
    stage = [config.data.get(name) for name in ("run", "first_stage", "encoder")]
    check_first_stage("" if config.path else "--", *stage)
    if config.data.get("features_from", 1) not in (0, 1):
        raise EvidenceError(f"{config.name}: [data] features_from is 0 or 1.")


def _check_names(config: Config, table: str, given: Iterable[str], takes: Iterable[str]) -> None:
    try:
        refuse_unknown_options(given, sorted(takes), of=f"[{table}]")
    except OptionError as error:
        raise EvidenceError(f"{config.name}: {error}") from None


def kind_of_ranker(config: Config) -> tuple[str, Any]:
    """The kind of ranker, and what makes one."""
    from policyrank.train import RANKERS, TEXT_RANKERS

    known: Any = TEXT_RANKERS if config.of_texts else RANKERS
    kind = config.model.get("kind", "mlp")
    if kind in TEXT_RANKERS and not config.of_texts:
        raise EvidenceError(f"a {kind} reads texts: name --queries and --documents.")
    if kind not in known:
        raise EvidenceError(
            f"{config.name}: [model] kind = {kind!r}; use one of {', '.join(known)}."
        )
    return kind, known[kind]


def made(config: Config, make: Any, shape: Mapping[str, Any]) -> Any:
    """The ranker of [model]."""
    options = {name: value for name, value in config.model.items() if name != "kind"}
    parameters = inspect.signature(make).parameters.values()
    if all(own.kind is not own.VAR_KEYWORD for own in parameters):
        takes = {own.name for own in parameters} - {*shape, "device", "trainable"}
        _check_names(config, "model", options, takes)
    try:
        return make(**shape, **options)
    except TypeError as error:
        raise EvidenceError(f"{config.name}: [model] {error}.") from None


def made_of_texts(config: Config, make: Any) -> Any:
    """The ranker of texts of [model], with the adapters that it asks for."""
    own: dict[str, Any] = {}
    of_lora: dict[str, Any] = {}
    for name, value in config.model.items():
        table = of_lora if name in LORA else own
        table[name] = value
    try:
        lora = Lora(**of_lora)
    except OptionError as error:
        raise EvidenceError(f"{config.name}: {error}") from None
    layers = own.pop("layers", None) if lora.lora else None
    module = made(config._replace(model=own), make, {})
    if lora.lora:
        module.adapt(lora.config(module.body, layers=layers, task=module.task))
    return module


def curriculum_of(config: Any, options: Any) -> Any:
    """The curriculum of [train.curriculum]."""
    from policyrank.learn import Curriculum

    try:
        return Curriculum(**options)
    except (TypeError, OptionError) as error:
        raise EvidenceError(f"{config}: [train.curriculum] {str(error).rstrip('.')}.") from None
