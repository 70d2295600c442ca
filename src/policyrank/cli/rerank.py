"""``policyrank rerank``: candidates ranked by a trained ranker, as a TREC run."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import OUT, TEXTS, AtLeastOne, check_writable
from policyrank.cli.output import working, wrote
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    import polars as pl


def rerank_candidates(
    ranker: str,
    file: Path | None = None,
    /,
    *,
    queries: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    documents: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    run: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    first_stage: Annotated[Literal["bm25", "dense"], Parameter(group=TEXTS)] = "bm25",
    depth: Annotated[AtLeastOne, Parameter(group=TEXTS)] = 100,
    kind: Annotated[str | None, Parameter(group=TEXTS)] = None,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
) -> None:
    """Rank candidates with a trained ranker.

    Writes a TREC run. Texts are named as their files name them, lines of a LETOR file by their
    number within the query (1, 2, ...).

    Parameters
    ----------
    ranker
        What `policyrank train ranker` wrote, or with --kind a sentence-transformers folder or hub
        name.
    file
        LETOR file with the candidates (rankers of features).
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
    kind
        cross-encoder or bi-encoder, for models of others.
    out
        Write a TREC run here (otherwise to standard output).
    """
    check_writable(out)
    if (file is None) == (queries is None or documents is None):
        raise EvidenceError("give either a LETOR file, or both --queries and --documents.")
    if file is not None:
        found = _rerank_letor(Path(ranker), file)
    else:
        assert queries is not None
        assert documents is not None
        found = _rerank_texts(ranker, kind, queries, documents, run, first_stage, depth)
    from policyrank.evidence import write_run

    tag = Path(ranker).stem
    if out is not None:
        write_run(found, out, tag=tag)
        wrote(out)
        return
    text = BytesIO()
    write_run(found, text, tag=tag)
    sys.stdout.write(text.getvalue().decode())


def kind_of(ranker: str, kind: str | None) -> str:
    """cross-encoder or bi-encoder: as told, or as our own trainer wrote it beside the model."""
    from policyrank.train import TEXT_RANKERS

    about = Path(ranker) / "policyrank.json"
    if kind is None and about.is_file():
        kind = json.loads(about.read_text(encoding="utf-8"))["kind"]
    if kind not in TEXT_RANKERS:
        kinds = " or a ".join(TEXT_RANKERS)
        raise EvidenceError(f"{ranker}: say with --kind whether it is a {kinds}.")
    return str(kind)


def first_stage_run(
    queries: dict[str, str], documents: dict[str, str], kind: str, depth: int, encoder: str
) -> pl.DataFrame:
    """Candidates of each query by BM25 or by the vectors of an encoder."""
    from policyrank.train.first_stage import bm25_run, dense_run

    if kind == "bm25":
        return bm25_run(queries, documents, depth=depth)
    if kind != "dense":
        raise EvidenceError(f"first stage {kind!r}: use bm25 or dense, or give a run.")
    from policyrank.models.encoders import load_encoder

    return dense_run(queries, documents, load_encoder(encoder), depth=depth)


def _rerank_letor(ranker: Path, file: Path) -> pl.DataFrame:
    if not ranker.is_file():
        raise EvidenceError(f"{ranker}: no such file. Train one with `policyrank train ranker`.")
    import numpy as np
    import polars as pl
    import torch

    from policyrank.train import RANKERS, RankerTrainer, read_letor

    try:
        kept = torch.load(ranker, weights_only=True)
        model = RANKERS[kept["kind"]](kept["features"], **kept["options"])
        model.load_state_dict(kept["weights"])
    except Exception as error:
        first = str(error).splitlines()[0][:200]
        raise EvidenceError(f"{ranker}: not a ranker of policyrank ({first}).") from None
    data = read_letor(file)
    if data.features.shape[1] != kept["features"]:
        raise EvidenceError(
            f"{file} has {data.features.shape[1]} features, the ranker wants {kept['features']}."
        )
    if kept["standardise"]:
        data = data.standardised()
    length = np.diff(data.offsets)
    place = np.arange(len(data.features)) - np.repeat(data.offsets[:-1], length)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), length),
            "document": (place + 1).astype(str),
            "score": RankerTrainer(model).scores(data),
        }
    )


def _rerank_texts(
    ranker: str,
    kind: str | None,
    queries: Path,
    documents: Path,
    run: Path | None,
    first_stage: str,
    depth: int,
) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    from policyrank.evidence import read_run, read_texts
    from policyrank.train import TEXT_RANKERS, RankerTrainer, TextData

    kind = kind_of(ranker, kind)
    asked, texts = read_texts(queries), read_texts(documents)
    if run is not None:
        found = read_run(run)
    else:
        found = first_stage_run(asked, texts, first_stage, depth, "minilm")
    data = TextData.of(asked, texts, found)
    with working("Ranking …"):
        scores = RankerTrainer(TEXT_RANKERS[kind](ranker)).scores(data)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), np.diff(data.offsets)),
            "document": np.array(data.names)[data.documents],
            "score": scores,
        }
    )
