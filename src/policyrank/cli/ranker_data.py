"""The data of `policyrank train ranker`, read, and what is said of them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from policyrank.cli.output import say
from policyrank.cli.ranker_config import Config
from policyrank.cli.rerank import candidates
from policyrank.errors import EvidenceError


def tell(text: str) -> None:
    """A line on standard error, once of all processes."""
    if os.environ.get("RANK", "0") == "0":
        say(text)


def read_sets(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training, validation and test data by name; and what was assumed of features."""
    sets, about = _text_sets(config) if config.of_texts else _letor_sets(config)
    if "validation" not in sets:
        tell("no validation data: the last epoch's weights are kept")
    return sets, about


def _letor_sets(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    from policyrank.train import read_letor_files

    paths = {name: config.data[name] for name in config.sets}
    found = read_letor_files(paths, features_from=config.data.get("features_from"))
    for name, data in found.sets.items():
        tell(
            f"{name}: {counted(data)}, {features_of(data, found.features_from)}{_flat(name, data)}"
        )
    for note in found.notes:
        tell(note)
    standardise = config.data.get("standardise", True)
    sets = found.sets
    if standardise:
        sets = {name: data.standardised() for name, data in sets.items()}
    about = {
        "features": found.features,
        "features_from": found.features_from,
        "standardise": standardise,
    }
    return sets, about


def counted(data: Any) -> str:
    """How many queries and rows."""
    return f"{len(data):,} queries, {len(data.labels):,} rows"


def features_of(data: Any, first: int) -> str:
    """How many features, from which number, and how they are kept."""
    rows, width = data.features.shape
    told = f"{width:,} features (numbered from {first})"
    if hasattr(data.features, "nnz"):
        share = data.features.nnz / (rows * width)
        told += f", kept sparse: {share:.2%} are not 0"
    return told


def _flat(name: str, data: Any) -> str:
    """What is said of queries that training leaves out."""
    import numpy as np

    if name != "train":
        return ""
    starts = data.offsets[:-1]
    highest = np.maximum.reduceat(data.labels, starts)
    flat = int((highest == np.minimum.reduceat(data.labels, starts)).sum())
    if not flat:
        return ""
    return f"; left out: {flat:,} queries of one label, which say nothing of an order"


def _text_sets(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    import polars as pl

    from policyrank.evidence import read_qrels, read_texts
    from policyrank.train import TextData

    data = config.data
    queries, documents = read_texts(data["queries"]), read_texts(data["documents"])
    qrels = {name: read_qrels(data[name]) for name in config.sets}
    asked = pl.concat([found["query"] for found in qrels.values()]).unique().to_list()
    unknown = sorted(set(asked) - set(queries))
    if unknown:
        raise EvidenceError(
            f"{config.name}: query {unknown[0]!r} is judged, but not in {data['queries']}."
        )
    wanted = set(asked)
    run = candidates(
        {query: text for query, text in queries.items() if query in wanted},
        documents,
        data.get("run"),
        data.get("first_stage"),
        data.get("depth"),
        data.get("encoder", "minilm"),
    )
    sets = {}
    for name, found in qrels.items():
        own = run.filter(pl.col("query").is_in(found["query"].unique().to_list()))
        sets[name] = TextData.of(queries, documents, own, found, add_relevant=name == "train")
        tell(f"{name}: {counted(sets[name])}{_flat(name, sets[name])}")
        if lost := found["query"].n_unique() - len(sets[name]):
            tell(
                f"{name}: {lost} judged queries have no candidates in the first stage and are"
                " left out"
            )
    in_batch, random = data.get("in_batch", False), data.get("random", 0)
    sets["train"] = replace(sets["train"], in_batch=in_batch, random=random)
    return sets, {}
