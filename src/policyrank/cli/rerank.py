"""``policyrank rerank``: candidates ranked by a trained ranker, as a TREC run."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.options import DATA, OUT, TEXTS, AtLeastOne, Flag, check_writable
from policyrank.cli.output import say, show_exactly, working, wrote
from policyrank.cli.ranker_reading import ReadAs
from policyrank.cli.rerank_endpoint import AtEndpoint, rerank_at_endpoint
from policyrank.cli.rerank_language import Asked, rerank_by_language
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    import polars as pl


def rerank_candidates(
    ranker: str,
    file: Path | None = None,
    /,
    *,
    zero_based: Annotated[Flag, Parameter(group=DATA)] = False,
    queries: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    documents: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    run: Annotated[Path | None, Parameter(group=TEXTS)] = None,
    first_stage: Annotated[
        Literal["bm25", "dense"] | None, Parameter(group=TEXTS, show_default="bm25")
    ] = None,
    depth: Annotated[
        AtLeastOne | None, Parameter(group=TEXTS, show_default="100; of a run all")
    ] = None,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    candidates_out: Annotated[Path | None, Parameter(group=OUT)] = None,
    read: ReadAs = ReadAs(),
    asked: Asked = Asked(),
    there: AtEndpoint = AtEndpoint(),
) -> None:
    """Rank candidates with a trained ranker, an endpoint, or by asking a language model.

    Writes a TREC run. Texts are named as their files name them, lines of a LETOR file by their
    number within the query (1, 2, ...).

    Parameters
    ----------
    ranker
        What `policyrank train ranker` wrote, with --kind a sentence-transformers folder or hub
        name, the URL of a rerank endpoint, or with --method a causal language model or the URL of
        an OpenAI-compatible endpoint.
    file
        LETOR file with the candidates (rankers of features).
    zero_based
        Features are numbered from 0 (as the ranker was trained if not given).
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
    out
        Write a TREC run here (otherwise to standard output).
    candidates_out
        Write the candidates here as the first stage ranks them: a run to compare with by
        `policyrank eval-run`.
    """
    check_writable(out)
    check_writable(candidates_out)
    if (file is None) == (queries is None or documents is None):
        raise EvidenceError("give either a LETOR file, or both --queries and --documents.")
    stage = {"run": run, "first-stage": first_stage, "depth": depth}
    told = {name.replace("_", "-"): value for name, value in read.told().items()}
    of_texts = {**stage, **told, "candidates-out": candidates_out}
    _check(of_texts if file is not None else {"zero-based": zero_based or None})
    check_first_stage("--", run, first_stage, None)
    asked.check(ranker)
    there.check(ranker, asked.method)
    remote = "://" in ranker
    if file is not None:
        if asked.method is not None or remote:
            raise OptionError("language models and endpoints read texts: --queries, --documents.")
        found = _rerank_letor(Path(ranker), file, zero_based)
    else:
        if asked.method is not None or remote:
            read.refuse("encoders that are read here", but=() if remote else ("dtype",))
        texts = _texts(queries, documents)
        listed = candidates(*texts, run, first_stage, depth)
        if candidates_out is not None:
            _write(listed, "first-stage" if run is None else run.stem, candidates_out)
        if asked.method is not None:
            found = rerank_by_language(ranker, asked, there, read.dtype, texts, listed)
        elif remote:
            words = (asked.query_words, asked.passage_words)
            endpoint = there.reranker(ranker)
            found = rerank_at_endpoint(endpoint, texts, listed, words=words, calls=asked.calls)
        else:
            found = _rerank_texts(ranker, read.told(), texts, listed)
    _write(found, _tag(ranker, there.served_model), out)


def _texts(queries: Path | None, documents: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    from policyrank.evidence import read_texts

    assert queries is not None
    assert documents is not None
    return read_texts(queries), read_texts(documents)


def _tag(ranker: str, served_model: str | None) -> str:
    """What the run calls who ranked: a file's name, or an endpoint's model or host."""
    if "://" not in ranker:
        return Path(ranker).stem
    return served_model or ranker.split("://")[1].split("/")[0]


def _write(found: pl.DataFrame, tag: str, out: Path | None) -> None:
    """A TREC run, to a file or to standard output."""
    from policyrank.evidence import write_run

    if out is not None:
        write_run(found, out, tag=tag)
        wrote(out)
        return
    text = BytesIO()
    write_run(found, text, tag=tag)
    show_exactly(text.getvalue().decode())


def _check(vain: dict[str, Any]) -> None:
    """Refuse options that say nothing about what is ranked."""
    for name, value in vain.items():
        if value is not None:
            about = "features" if name == "zero-based" else "texts"
            raise OptionError(f"--{name} is of rankers of {about}: leave it out.")


def check_first_stage(
    mark: str, run: Path | None, first_stage: str | None, encoder: str | None
) -> None:
    """Refuse options of a first stage that does not run; ``mark`` stands before their names."""
    if run is not None and first_stage is not None:
        raise OptionError(f"{mark}run gives the candidates: leave {mark}first-stage out.")
    if encoder is not None and (run is not None or first_stage != "dense"):
        raise OptionError(f"{mark}encoder is of {mark}first-stage dense: leave it out.")


def candidates(
    queries: dict[str, str],
    documents: dict[str, str],
    run: Path | None,
    first_stage: str | None,
    depth: int | None,
    encoder: str = "minilm",
) -> pl.DataFrame:
    """Candidates of each query: of a run, or by BM25 or the vectors of an encoder."""
    if run is not None:
        return _run_to(run, depth)
    from policyrank.train.first_stage import bm25_run, dense_run

    kind, depth = first_stage or "bm25", depth or 100
    if kind == "bm25":
        return bm25_run(queries, documents, depth=depth)
    if kind != "dense":
        raise EvidenceError(f"first stage {kind!r}: use bm25 or dense, or give a run.")
    from policyrank.models.encoders import load_encoder

    return dense_run(queries, documents, load_encoder(encoder), depth=depth)


def _run_to(path: Path, depth: int | None) -> pl.DataFrame:
    """A run, of each query the first ``depth``; ties of score by document, as everywhere."""

    from policyrank.evidence import read_run

    found = read_run(path)
    if depth is None:
        return found
    found = found.sort("query", "score", "document", descending=[False, True, True])
    kept = found.group_by("query", maintain_order=True).head(depth)
    if len(kept) < len(found):
        say(f"{path.name}: {len(found) - len(kept):,} candidates below {depth:,} are left out")
    return kept


def _rerank_letor(ranker: Path, file: Path, zero_based: bool) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    from policyrank.train import RankerTrainer, read_letor_files
    from policyrank.train.saved_rankers import load_feature_ranker

    kept = load_feature_ranker(ranker)
    features_from: Any = 0 if zero_based else kept.features_from
    if features_from != kept.features_from:
        say(
            f"the ranker was trained on features from {kept.features_from}, they are read from 0"
            " as told"
        )
    found = read_letor_files({"": file}, features_from=features_from, features=kept.features)
    data = found.sets[""]
    say(
        f"{file.name}: {len(data):,} queries, {len(data.labels):,} rows, {found.features:,}"
        f" features (numbered from {found.features_from})"
    )
    for note in found.notes:
        say(note)
    if kept.standardise:
        data = data.standardised()
    length = np.diff(data.offsets)
    place = np.arange(len(data.labels)) - np.repeat(data.offsets[:-1], length)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), length),
            "document": (place + 1).astype(str),
            "score": RankerTrainer(kept.model).scores(data),
        }
    )


def tell_long_texts(module: Any, data: Any) -> None:
    """Say how many candidates an encoder reads the beginning of only."""
    from policyrank.train.text_rankers import long_texts

    longer, seen = long_texts(module, data)
    if not longer:
        return
    of = f"{seen:,} candidates"
    if seen < len(data.labels):
        of = f"{seen:,} candidates that were looked at, of {len(data.labels):,},"
    say(
        f"{longer:,} of {of} are longer than max_length = {module.encoder.max_seq_length} tokens:"
        " their end is not read"
    )


def _rerank_texts(
    ranker: str,
    told: dict[str, Any],
    texts: tuple[dict[str, str], dict[str, str]],
    listed: pl.DataFrame,
) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    from policyrank.train import RankerTrainer, TextData
    from policyrank.train.saved_rankers import load_text_ranker

    module = load_text_ranker(ranker, **told, report=say)
    data = TextData.of(*texts, listed)
    tell_long_texts(module, data)
    with working("Ranking …"):
        scores = RankerTrainer(module).scores(data)
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(data.queries), np.diff(data.offsets)),
            "document": np.array(data.names)[data.documents],
            "score": scores,
        }
    )
